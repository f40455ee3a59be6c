//! The gate: nothing leaves before its fsync. It holds the messages of one core that wait for the disk.
//!
//! Each core counts its own tickets. One batch contains records of all cores.

use crate::protocol::{Outgoing, Ticket};
use crate::types::{Lane, NodeId};
use std::collections::BTreeMap;

/// The bytes that all gates of a node hold. A message beyond the limit is dropped, as if the network had lost it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: usize,
    limit: usize,
}

/// Bytes charged for a message besides its payload.
const OVERHEAD: usize = 256;

impl Held {
    /// Creates an empty account with a limit of `limit` bytes.
    pub(super) fn new(limit: usize) -> Held {
        Held { bytes: 0, limit }
    }
}

/// The waiting messages of one core, in the order in which they may leave. A message that needs the batch in progress
/// may come after one that needs the next batch.
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

/// A message that may leave: the receiver, and the lane if the size does not decide it.
pub(super) type Free<M> = (NodeId, Option<Lane>, M);

impl<M> Gate<M> {
    pub(super) fn new() -> Gate<M> {
        Gate { durable: Ticket::default(), held: BTreeMap::new(), next: 0 }
    }

    /// Returns the message if it may leave now (with `early`, always); otherwise keeps it. `size` returns its payload
    /// bytes. `held` counts what all gates of the node keep.
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

    /// Records that everything up to `ticket` is durable.
    pub(super) fn durable(&mut self, ticket: Ticket) {
        self.durable = ticket;
    }

    /// Returns the next message that no longer waits.
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
