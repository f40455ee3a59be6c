//! Nothing leaves before its fsync: the messages of one core that wait for the disk.
//!
//! Each core counts tickets of its own; one batch covers records of all of them.

use crate::protocol::{Outgoing, Ticket};
use crate::types::{Lane, NodeId};
use std::collections::BTreeMap;

/// What the gates of a node hold together; what comes beyond is dropped, as if the network had lost it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: usize,
    limit: usize,
}

/// What a message costs besides its payload.
const OVERHEAD: usize = 256;

impl Held {
    /// Nothing yet, and never more than so many bytes.
    pub(super) fn new(limit: usize) -> Held {
        Held { bytes: 0, limit }
    }
}

/// The messages of one core that wait, in the order in which they may leave: a core may say something that needs the batch
/// under way after something that needs the next one.
pub(super) struct Gate<M> {
    durable: Ticket,
    held: BTreeMap<(Ticket, u64), Waiting<M>>,
    next: u64,
}

/// A message that waits, with its bytes.
struct Waiting<M> {
    to: NodeId,
    lane: Option<Lane>,
    message: M,
    bytes: usize,
}

/// A message that may leave: to whom, and in which lane if its size does not say.
pub(super) type Free<M> = (NodeId, Option<Lane>, M);

impl<M> Gate<M> {
    pub(super) fn new() -> Gate<M> {
        Gate { durable: Ticket::default(), held: BTreeMap::new(), next: 0 }
    }

    /// Gives the message back if it may leave now (`early`: it does, whatever it waits for), keeps it otherwise. `size` tells
    /// its payload, `held` counts what all gates of the node keep.
    pub(super) fn pass(
        &mut self,
        outgoing: Outgoing<M>,
        early: bool,
        size: impl FnOnce(&M) -> usize,
        held: &mut Held,
    ) -> Option<Free<M>> {
        let Outgoing { to, message, after, lane } = outgoing;
        let Some(after) = after.filter(|ticket| !early && *ticket > self.durable) else {
            return Some((to, lane, message));
        };
        let bytes = OVERHEAD + size(&message);
        if held.bytes + bytes <= held.limit {
            held.bytes += bytes;
            self.held.insert((after, self.next), Waiting { to, lane, message, bytes });
            self.next += 1;
        }
        None
    }

    /// Everything up to `ticket` is durable.
    pub(super) fn durable(&mut self, ticket: Ticket) {
        self.durable = ticket;
    }

    /// The next message that waits no longer.
    pub(super) fn next(&mut self, held: &mut Held) -> Option<Free<M>> {
        let first = self.held.first_entry().filter(|first| first.key().0 <= self.durable)?;
        let Waiting { to, lane, message, bytes } = first.remove();
        held.bytes -= bytes;
        Some((to, lane, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_less_leaves_first_and_nothing_leaves_early() {
        let (mut gate, mut held) = (Gate::new(), Held::new(4 * (OVERHEAD + 10)));
        let say = |gate: &mut Gate<u8>, held: &mut Held, message, after: Option<u64>| {
            let outgoing = Outgoing { to: NodeId(2), message, after: after.map(Ticket), lane: None };
            gate.pass(outgoing, false, |_| 10, held).map(|(.., message)| message)
        };
        for (message, after) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
            assert_eq!(say(&mut gate, &mut held, message, Some(after)), None);
        }
        assert_eq!(say(&mut gate, &mut held, 5, None), Some(5));
        assert_eq!(say(&mut gate, &mut held, 7, Some(2)), None, "dropped: there is no room");
        assert_eq!((gate.next(&mut held), held.bytes), (None, 4 * (OVERHEAD + 10)));
        for (durable, leaves) in [(1, [2, 4]), (2, [1, 3])] {
            gate.durable(Ticket(durable));
            let left: Vec<u8> = std::iter::from_fn(|| gate.next(&mut held)).map(|(.., message)| message).collect();
            assert_eq!(left, leaves);
        }
        assert_eq!((held.bytes, say(&mut gate, &mut held, 6, Some(2))), (0, Some(6)));
    }
}
