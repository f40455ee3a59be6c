//! What peers send that would have to be written: taken in only while there is room for it before the disk.

use super::driver::Driver;
use super::shared::Now;
use super::{Clock, Observer, StorageHost, Transport};
use crate::dynamo;
use crate::protocol::Input;
use crate::raft::{Body, Message};
use crate::types::NodeId;
use crate::wire::{ap_bytes, raft_bytes};

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Whether there is room for the records of what a leader sends; if not, it is as good as lost on its way.
    pub(super) fn takes_append(&mut self, message: &Message) -> bool {
        let writes = matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty());
        if writes && self.shared.writes_pile_up() {
            return false;
        }
        self.shared.records.add(if writes { raft_bytes(message) } else { 0 });
        true
    }

    /// What would have to be written is refused when there is no room for that, or, where that cannot be refused, dropped.
    pub(super) fn on_ap_message(&mut self, peer: NodeId, message: dynamo::Message, at: Now) {
        let Some(core) = &mut self.ap else { return };
        let put = match &message {
            dynamo::Message::Put { op, .. } => Some(Some(*op)),
            dynamo::Message::Forward { .. } => Some(None),
            _ => None,
        };
        match put {
            Some(op) if self.shared.writes_pile_up() => {
                if let Some(op) = op {
                    let refused = dynamo::Message::PutReply { op, result: dynamo::PutResult::NoRoom };
                    self.shared.mail.ap((peer, None), refused);
                }
            }
            _ => {
                self.shared.records.add(if put.is_some() { ap_bytes(&message) } else { 0 });
                core.step(Input::Message(peer, message), at);
            }
        }
    }
}
