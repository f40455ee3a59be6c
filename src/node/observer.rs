//! A window on a running node, for cross-node checks in simulation and for logs in deployment. It may look, not touch.

use crate::kv::Kv;
use crate::raft::{Effect, Message, Raft, Record, Role};
use crate::types::NodeId;
use tracing::info;

/// Told what a node does, in order, on the node's own task.
pub trait Observer: Send {
    /// These records are about to be written in one batch.
    fn persisting(&mut self, _records: &[Record]) {}
    /// The core asked for this; it has not been carried out yet.
    fn effect(&mut self, _effect: &Effect) {}
    /// This message is handed to the transport now.
    fn sending(&mut self, _to: NodeId, _message: &Message) {}
    /// A turn is over: everything that had arrived is processed and what may be sent is sent.
    fn turn(&mut self, _raft: &Raft, _kv: &Kv) {}
}

/// What a deployed server uses: tells the log when a node's role changes.
#[derive(Debug, Default)]
pub struct LogRoles;

impl Observer for LogRoles {
    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Became(soft) if soft.role == Role::Leader => info!(term = soft.term, "this node leads"),
            Effect::Became(soft) => info!(role = ?soft.role, term = soft.term, leader = ?soft.leader, "role changed"),
            Effect::Restore { meta } => info!(index = meta.index, "restoring from a snapshot"),
            _ => {}
        }
    }
}
