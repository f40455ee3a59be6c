//! Requests that another node must coordinate: those that this node cannot coordinate, and those that were sent to that
//! node and got no answer.
//!
//! Only writes are forwarded. The forwarding node retries until it gets an answer; copies are harmless (`dedup`). If
//! this node itself picked the coordinator, the request uses a dedup window that the coordinator granted to this node.
//! If the request names another server, it keeps the slot that it came with.

use super::dedup::{Arrival, OF_CLIENT, OF_NODE};
use super::{Caller, Coordinator, Op, Turn, Work, small};
use crate::dynamo::{Achieved, ClientReply, ClientRequest, Message, OpId, Refusal, Slot, WindowId};
use crate::mutant::Bug;
use crate::types::{NodeId, Policy, Time};
use std::time::Duration;

/// A request of a client of this node that another node coordinates.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub to: NodeId,
    request: ClientRequest,
    /// It uses a dedup window of this node, not the client's.
    own: bool,
    /// How often it was sent in that window.
    sent: u32,
    /// How many nodes must hold it.
    pub wanted: u8,
    /// When to retry.
    pub again: Time,
    /// How long to wait after that; it doubles.
    pub pause: Duration,
}

impl Forwarded {
    pub fn send(&mut self, op: OpId, turn: &mut Turn<'_>) {
        self.sent += 1;
        turn.out.send(self.to, Message::Forward { op, request: Box::new(self.request.clone()) });
    }

    /// The receiver does not know the dedup window. Moves the request to the granted window and returns true, unless
    /// another copy of it may have been executed.
    fn goes_to(&mut self, (refused, granted): (WindowId, WindowId)) -> bool {
        let ClientRequest::Put { slot, .. } = &mut self.request else { return false };
        let first = slot.window == refused && (refused == 0 || self.sent == 1);
        if first {
            (slot.window, self.sent) = (granted, 0);
        }
        first
    }

    /// Approximate number of bytes it keeps.
    pub fn bytes(&self) -> usize {
        self.request.bytes()
    }

    fn window(&self) -> WindowId {
        if let ClientRequest::Put { slot, .. } = &self.request { slot.window } else { 0 }
    }
}

impl Coordinator {
    /// Accepts a request from its client or from the forwarding node. A write that is a copy gets the answer of the
    /// first.
    pub(super) fn arrives(
        &mut self,
        caller: Caller,
        mut request: ClientRequest,
        turn: &mut Turn<'_>,
    ) -> Option<(Caller, ClientRequest)> {
        let ClientRequest::Put { slot, write, .. } = &mut request else { return Some((caller, request)) };
        if slot.server != self.config.id {
            return Some((caller, request)); // To be forwarded.
        }
        let room = if matches!(caller, Caller::Client { .. }) { OF_CLIENT } else { OF_NODE };
        match self.windows.arrives(*slot, room) {
            Arrival::New => {}
            Arrival::Copy(_) if self.config.mutant.is(Bug::ForwardedTwice) && room == OF_NODE => {
                write.client = self.rng.next();
            }
            Arrival::UnknownWindow(granted) => {
                self.tell(caller, ClientReply::UnknownWindow { refused: slot.window, granted }, turn);
                return None;
            }
            Arrival::Copy(Some(reply)) => {
                self.tell(caller, reply, turn);
                return None;
            }
            Arrival::Copy(None) => {
                // A node asks again. A client's request must not stay open without an operation that can answer it.
                if matches!(caller, Caller::Client { .. }) {
                    self.tell(caller, ClientReply::Unfinished { achieved: Achieved::default() }, turn);
                }
                return None;
            }
        }
        let slot = Some(*slot);
        let caller = match caller {
            Caller::Client { id, .. } => Caller::Client { id, slot },
            Caller::Node { node, op, .. } => Caller::Node { node, op, slot },
        };
        Some((caller, request))
    }

    /// Forwards a write that names another server.
    pub(super) fn pass_on(
        &mut self,
        caller: Caller,
        (request, policy): (ClientRequest, Policy),
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let ClientRequest::Put { slot: Slot { server, .. }, deadline_ms, .. } = request else { return Ok(()) };
        if !self.knows(server) || !matches!(caller, Caller::Client { .. }) {
            return Err(Refusal::Invalid(format!("the write is for {server}, which cannot be asked from here")));
        }
        if self.is_up(server) {
            self.forward(caller, (server, 0, false), (request, policy, deadline_ms), turn);
        } else {
            // No node can tell whether it was executed.
            self.answer(caller, ClientReply::Unfinished { achieved: Achieved::default() }, turn);
        }
        Ok(())
    }

    /// Has `to` coordinate a write of this node's client.
    pub(super) fn give_to(
        &mut self,
        caller: Caller,
        (to, wanted): (NodeId, usize),
        (mut request, policy): (ClientRequest, Policy),
        turn: &mut Turn<'_>,
    ) {
        let window = self.given.get(&to).copied().unwrap_or(0);
        let ClientRequest::Put { slot, deadline_ms, .. } = &mut request else { return };
        *slot = Slot { server: to, window, number: 0 };
        let deadline_ms = *deadline_ms;
        self.forward(caller, (to, small(wanted), true), (request, policy, deadline_ms), turn);
    }

    fn forward(
        &mut self,
        caller: Caller,
        (to, wanted, own): (NodeId, u8, bool),
        (mut request, policy, deadline_ms): (ClientRequest, Policy, u32),
        turn: &mut Turn<'_>,
    ) {
        let id = self.number();
        if let ClientRequest::Put { slot, .. } = &mut request
            && own
        {
            slot.number = id;
        }
        let pause = self.pace.patience(self.config.hint_after, self.end(deadline_ms).since(self.now));
        let key = request.key().clone();
        let mut forwarded = Forwarded { to, request, own, sent: 0, wanted, again: self.now + pause, pause };
        forwarded.send(id, turn);
        let deadline = self.end(deadline_ms);
        let op = Op::new((key, policy), self.now, Some(caller), deadline, Work::Forward(forwarded));
        self.keep(id, op, turn);
    }

    /// Handles a timeout: sends the request again. If the coordinator is down, the outcome is unknown, and the caller
    /// is told so.
    pub(super) fn forward_is_slow(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) {
        let Work::Forward(forwarded) = &mut op.work else { return };
        if self.down.contains(&forwarded.to) {
            let achieved = Achieved { wanted: forwarded.wanted, ..Achieved::default() };
            return self.end_forward(op, ClientReply::Unfinished { achieved }, turn);
        }
        forwarded.send(id, turn);
        forwarded.pause *= 2;
        forwarded.again = self.now + forwarded.pause;
    }

    /// Handles the answer to a request that this node forwarded.
    pub fn forward_reply(&mut self, from: NodeId, id: OpId, reply: ClientReply, turn: &mut Turn<'_>) {
        self.resume(id, turn, |this, op, turn| {
            let Work::Forward(forwarded) = &mut op.work else { return };
            if forwarded.to != from {
                return;
            }
            let ClientReply::UnknownWindow { refused, granted } = reply else {
                return this.end_forward(op, reply, turn);
            };
            if !forwarded.own {
                return this.end_forward(op, reply, turn);
            }
            if refused != forwarded.window() {
                return; // It is about an earlier copy.
            }
            this.given.insert(from, granted);
            if forwarded.goes_to((refused, granted)) {
                forwarded.send(id, turn);
            } else {
                let achieved = Achieved { wanted: forwarded.wanted, ..Achieved::default() };
                this.end_forward(op, ClientReply::Unfinished { achieved }, turn);
            }
        });
    }

    fn end_forward(&mut self, op: &mut Op, reply: ClientReply, turn: &mut Turn<'_>) {
        if let Some(caller) = op.caller.take() {
            self.answer(caller, reply, turn);
        }
    }
}
