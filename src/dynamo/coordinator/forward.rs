//! Requests that another node has to coordinate.
//!
//! Only writes are passed on. The node that passes one on asks again until it is answered, so copies are usual, and the
//! network makes more: a receiver carries each (sender, life of the sender, number) out once and repeats its answer to copies.
//! It remembers [`WINDOW`] of each sender; numbers grow, so what is older than all it remembers is known to be a copy, or late
//! beyond use, and is ignored. Beyond a restart of the receiver itself the write's own id tells copies apart.

use super::{Caller, Coordinator, Op, Turn, Work};
use crate::dynamo::{ClientReply, ClientRequest, Message, OpId};
use crate::mutant::Bug;
use crate::types::{NodeId, Policy, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Forwarded writes remembered of each sender.
const WINDOW: usize = 1024;
/// Larger answers are not remembered: a copy of such a write is not answered.
const LARGE_REPLY: usize = 1 << 10;
/// Former lives of each sender that are remembered.
const LIVES: usize = 16;

/// A request of a client of this node that another node coordinates.
#[derive(Debug)]
pub(super) struct Forwarded {
    to: NodeId,
    request: ClientRequest,
    /// How many are to hold it.
    pub wanted: u8,
    /// When to ask again.
    pub again: Time,
    /// How long to wait after that; it doubles.
    pub pause: Duration,
}

impl Forwarded {
    pub fn send(&self, op: OpId, life: u64, turn: &mut Turn<'_>) {
        turn.out.send(self.to, Message::Forward { op, life, request: self.request.clone() });
    }
}

/// What one node passed on.
#[derive(Debug)]
pub(super) struct Window {
    life: u64,
    /// The answer to each, if it has been given and is small.
    seen: BTreeMap<OpId, Option<ClientReply>>,
    /// All numbers up to this one are forgotten.
    floor: OpId,
    former: VecDeque<u64>,
}

/// What a forwarded request is.
enum Arrival {
    New,
    Copy(Option<ClientReply>),
    /// Of a former life or older than what is remembered.
    Late,
}

impl Window {
    fn new(life: u64) -> Window {
        Window { life, seen: BTreeMap::new(), floor: 0, former: VecDeque::new() }
    }

    fn arrives(&mut self, life: u64, op: OpId) -> Arrival {
        if self.former.contains(&life) {
            return Arrival::Late;
        }
        if life != self.life {
            let mut former = std::mem::take(&mut self.former);
            former.push_back(self.life);
            former.drain(..former.len().saturating_sub(LIVES));
            *self = Window { former, ..Window::new(life) };
        }
        if let Some(reply) = self.seen.get(&op) {
            return Arrival::Copy(reply.clone());
        }
        if op <= self.floor {
            return Arrival::Late;
        }
        self.seen.insert(op, None);
        if self.seen.len() > WINDOW
            && let Some((oldest, _)) = self.seen.pop_first()
        {
            self.floor = oldest;
        }
        Arrival::New
    }

    pub fn answered(&mut self, life: u64, op: OpId, reply: &ClientReply) {
        if life == self.life
            && let Some(answer) = self.seen.get_mut(&op)
            && reply_bytes(reply) <= LARGE_REPLY
        {
            *answer = Some(reply.clone());
        }
    }
}

fn reply_bytes(reply: &ClientReply) -> usize {
    match reply {
        ClientReply::Value { siblings, context, .. } => {
            context.len() + siblings.iter().map(|s| 64 + s.value.as_ref().map_or(0, |v| v.len())).sum::<usize>()
        }
        _ => 0,
    }
}

impl Coordinator {
    /// Passes a client's request on.
    pub(super) fn forward(
        &mut self,
        caller: Caller,
        (to, wanted): (NodeId, u8),
        (request, policy, deadline_ms): (ClientRequest, Policy, u32),
        turn: &mut Turn<'_>,
    ) {
        let id = self.number();
        let pause = self.config.hint_after;
        let again = self.now + pause;
        let key = request.key().clone();
        let forwarded = Forwarded { to, request, wanted, again, pause };
        forwarded.send(id, self.config.life, turn);
        let deadline = self.end(deadline_ms);
        let op = Op { key, policy, caller: Some(caller), deadline, armed: deadline, work: Work::Forward(forwarded) };
        self.keep(id, op, turn);
    }

    /// Takes a request that another node passed on.
    pub fn forwarded(
        &mut self,
        (node, life, op): (NodeId, u64, OpId),
        mut request: ClientRequest,
        turn: &mut Turn<'_>,
    ) {
        let window = self.windows.entry(node).or_insert_with(|| Window::new(life));
        match window.arrives(life, op) {
            Arrival::New => {}
            Arrival::Copy(_) if self.config.mutant.is(Bug::ForwardedTwice) => {
                if let ClientRequest::Put { write, .. } = &mut request {
                    write.client = self.rng.next();
                }
            }
            Arrival::Copy(Some(reply)) => return turn.out.send(node, Message::ForwardReply { op, reply }),
            Arrival::Copy(None) | Arrival::Late => return,
        }
        self.request(Caller::Node { node, life, op }, request, turn);
    }

    /// Takes the answer to a request that this node passed on.
    pub fn forward_reply(&mut self, from: NodeId, id: OpId, reply: ClientReply, turn: &mut Turn<'_>) {
        self.resume(id, turn, |this, op, turn| {
            if let Work::Forward(Forwarded { to, .. }) = op.work
                && to == from
                && let Some(caller) = op.caller.take()
            {
                this.answer(caller, reply, turn);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::Achieved;

    #[test]
    fn a_window_knows_copies_and_what_is_too_late() {
        let mut window = Window::new(1);
        let done = ClientReply::Done { achieved: Achieved::default() };
        assert!(matches!(window.arrives(1, 2), Arrival::New));
        assert!(matches!(window.arrives(1, 2), Arrival::Copy(None)), "still under way");
        window.answered(1, 2, &done);
        assert!(matches!(window.arrives(1, 2), Arrival::Copy(Some(reply)) if reply == done));
        for op in 3..3 + WINDOW as u64 {
            assert!(matches!(window.arrives(1, op), Arrival::New));
        }
        assert!(window.seen.len() <= WINDOW);
        assert!(matches!(window.arrives(1, 2), Arrival::Late), "forgotten, and older than all that is not");
        // The sender has restarted; what it sent before comes late.
        assert!(matches!(window.arrives(2, 2), Arrival::New));
        assert!(matches!(window.arrives(1, 5000), Arrival::Late));
        window.answered(1, 2, &done);
        assert!(matches!(window.arrives(2, 2), Arrival::Copy(None)), "the answer was to the former life");
    }
}
