//! A window on a running node, for cross-node checks in simulation and for logs in deployment. It may look, not touch.

use crate::dynamo::{self, Dynamo};
use crate::identity::Standing;
use crate::kv::Kv;
use crate::raft::{Effect, Message, Raft, Record, Role};
use crate::types::{GroupId, NodeId};
use tracing::info;

/// Told what a node does, in order, on the node's own task.
pub trait Observer: Send {
    /// These records of a group are about to be written, with others in one batch.
    fn persisting(&mut self, _group: GroupId, _records: &[Record]) {}
    /// A group's core asked for this; it has not been carried out yet.
    fn effect(&mut self, _group: GroupId, _effect: &Effect) {}
    /// This message of a group is handed to the transport now.
    fn sending(&mut self, _to: NodeId, _group: GroupId, _message: &Message) {}
    /// A turn is over in which this group had something to do: everything that had arrived for it is processed and what
    /// may be sent is sent.
    fn turn(&mut self, _group: GroupId, _raft: &Raft, _kv: &Kv) {}
    /// How the node takes part from now on.
    fn stands(&mut self, _standing: Standing) {}
    /// The AP core asked for this; it has not been carried out yet.
    fn ap_effect(&mut self, _effect: &dynamo::Effect) {}
    /// The AP core begins with what it found on its disk.
    fn ap_starts(&mut self, _dynamo: &Dynamo) {}
    /// What has changed in the AP core's state in this turn, in order; it is about to be written.
    fn ap_changes(&mut self, _records: &[dynamo::Record]) {}
    /// The first so many of those changes that were not durable yet are.
    fn ap_durable(&mut self, _records: usize) {}
    /// The node's queues hold so many bytes as the turn ends, of those that its memory budget is for.
    fn queued(&mut self, _bytes: usize) {}
}

/// What a deployed server uses: tells the log when a node's role changes.
#[derive(Debug, Default)]
pub struct LogRoles;

impl Observer for LogRoles {
    fn effect(&mut self, group: GroupId, effect: &Effect) {
        match effect {
            Effect::Became(soft) if soft.role == Role::Leader => {
                info!(group = group.0, term = soft.term, "this node leads");
            }
            Effect::Became(soft) => {
                info!(group = group.0, role = ?soft.role, term = soft.term, leader = ?soft.leader, "role changed");
            }
            Effect::Restore { meta } => info!(group = group.0, index = meta.index, "restoring from a snapshot"),
            _ => {}
        }
    }
}
