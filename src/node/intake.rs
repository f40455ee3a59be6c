//! Intake: admits clients' requests ([`admission`](super::admission)), and accepts data to be written only while there
//! is room for it in the queue before the disk.

use super::Observer;
use super::driver::Driver;
use super::group::Group;
use super::pending::Load;
use super::requests::Route;
use super::turn::Now;
use crate::dynamo::{self, ClientRequest};
use crate::env::{Clock, StorageHost, Transport};
use crate::protocol::Input;
use crate::raft::{Body, Message};
use crate::types::{Addr, GroupId, MAX_KEY_BYTES, MAX_VALUE_BYTES, NodeId};
use crate::wire::{Refused, RequestBody, ap_bytes, raft_bytes};
use std::time::Duration;

/// Returns whether a request is a write.
pub(super) fn writes(body: &RequestBody) -> bool {
    matches!(body, RequestBody::Ap(ClientRequest::Put { .. }) | RequestBody::Write { .. })
}

/// Returns the refusal of a request that should be retried after `retry`.
pub(super) fn busy(retry: Duration) -> Refused {
    Refused::Busy { retry_ms: u32::try_from(retry.as_millis()).unwrap_or(u32::MAX) }
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Admits a client's request if there is room for it. A forwarded request is admitted by the node that executes it:
    /// here it only needs room among the requests that wait for that node.
    ///
    /// # Errors
    /// The time after which the client should retry.
    pub(super) fn admits(
        &mut self,
        client: Addr,
        id: u64,
        body: &RequestBody,
        (group, route): (Option<GroupId>, Route),
        (again, patience): (bool, Duration),
    ) -> Result<u64, Duration> {
        let ap = matches!(body, RequestBody::Ap(_) | RequestBody::Expect { ap: true, .. });
        if let Route::Pass(to) = route {
            let room = self.turn.pending.has_place() && self.relays.has_room(to, body.bytes(), &self.turn.config);
            return if room { Ok(self.turn.pending.asks(client, id, ap)) } else { Err(Duration::ZERO) };
        }
        let announced = match body {
            RequestBody::Expect { bytes, ap, .. } if *ap || group.is_some_and(|group| self.leads(group)) => {
                Some((*bytes as usize).min(MAX_KEY_BYTES + MAX_VALUE_BYTES))
            }
            // The client is told who leads; and a busy node must still report its status.
            RequestBody::Expect { .. } | RequestBody::Status | RequestBody::Why { .. } => {
                return Ok(self.turn.pending.asks(client, id, ap));
            }
            _ => None,
        };
        let payload = announced.or_else(|| writes(body).then(|| body.bytes()));
        let load = Load { ap, payload, again, patience };
        if payload.is_some() && self.turn.writes_pile_up() {
            return Err(self.turn.pending.comes_again(load));
        }
        if announced.is_none() {
            return self.turn.pending.open(client, id, load);
        }
        self.turn.pending.promise(client, load)?;
        Ok(self.turn.pending.asks(client, id, ap))
    }

    pub(super) fn leads(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(Group::leads)
    }

    /// Returns whether there is room for the records of a leader's message. If not, the message is dropped, as if it
    /// were lost.
    pub(super) fn takes_append(&mut self, message: &Message) -> bool {
        let writes = matches!(&message.body, Body::Append { entries, .. } if !entries.is_empty());
        if writes && self.turn.writes_pile_up() {
            return false;
        }
        self.turn.records.add(if writes { raft_bytes(message) } else { 0 });
        true
    }

    /// Steps the AP core with a peer's message. If a message needs a write and there is no room for it, a put of a
    /// coordinator is refused and a forwarded request is dropped.
    pub(super) fn on_ap_message(&mut self, peer: NodeId, message: dynamo::Message, at: Now) {
        let Some(core) = &mut self.ap else { return };
        let put = match &message {
            dynamo::Message::Put { op, .. } => Some(Some(*op)),
            dynamo::Message::Forward { .. } => Some(None),
            _ => None,
        };
        match put {
            Some(op) if self.turn.writes_pile_up() => {
                if let Some(op) = op {
                    let refused = dynamo::Message::PutReply { op, result: dynamo::PutResult::NoRoom };
                    self.turn.outbound.ap((peer, None), refused);
                }
            }
            _ => {
                self.turn.records.add(if put.is_some() { ap_bytes(&message) } else { 0 });
                core.step(Input::Message(peer, message), at);
            }
        }
    }
}
