//! Observes a running node, for cross-node checks in simulation and for logs in deployment. An observer reads but
//! changes nothing.

use crate::dynamo::{self, Dynamo};
use crate::identity::Standing;
use crate::kv::Kv;
use crate::raft::{Effect, Message, Raft, Record, Role};
use crate::types::{GroupId, NodeId};
use tracing::info;

/// Called for what a node does, in order, on the node's own task.
pub trait Observer: Send {
    /// These records of a group are about to be written, with others in one batch.
    fn persisting(&mut self, _group: GroupId, _records: &[Record]) {}
    /// A group's core asked for this; it has not been carried out yet.
    fn effect(&mut self, _group: GroupId, _effect: &Effect) {}
    /// This message of a group is about to be handed to the transport.
    fn sending(&mut self, _to: NodeId, _group: GroupId, _message: &Message) {}
    /// A turn is over in which this group had something to do: everything that had arrived for it is processed, and
    /// what may be sent is sent.
    fn turn(&mut self, _group: GroupId, _raft: &Raft, _kv: &Kv) {}
    /// The node's standing, at its start and after each change.
    fn stands(&mut self, _standing: Standing) {}
    /// The AP core asked for this; it has not been carried out yet.
    fn ap_effect(&mut self, _effect: &dynamo::Effect) {}
    /// The AP core starts with what it found on its disk.
    fn ap_starts(&mut self, _dynamo: &Dynamo) {}
    /// Changes of the AP core's state in this turn, in order; they are about to be written.
    fn ap_changes(&mut self, _records: &[dynamo::Record]) {}
    /// The first `records` of the changes that were not yet durable now are.
    fn ap_durable(&mut self, _records: usize) {}
    /// Bytes in the queues of the node's memory budget at the end of the turn.
    fn queued(&mut self, _bytes: usize) {}
}

/// The observer of a deployed server: logs changes of a node's role.
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
