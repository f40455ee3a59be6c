//! Nothing leaves before its fsync: the messages of one core that wait for the disk.
//!
//! Each core counts tickets of its own; one batch covers records of all of them.

use crate::protocol::{Outgoing, Ticket};
use crate::types::NodeId;
use std::collections::BTreeMap;

/// Messages of one node that wait for the disk; what comes beyond is dropped, as if the network had lost it.
const MAX_HELD: usize = 10_000;

/// The messages of one core that wait, in the order in which they may leave: a core may say something that needs the batch
/// under way after something that needs the next one.
pub(super) struct Gate<M> {
    durable: Ticket,
    held: BTreeMap<(Ticket, u64), (NodeId, M)>,
    next: u64,
}

impl<M> Gate<M> {
    pub(super) fn new() -> Gate<M> {
        Gate { durable: Ticket::default(), held: BTreeMap::new(), next: 0 }
    }

    /// Gives the message back if it may leave now (`early`: it does, whatever it waits for), keeps it otherwise. `held`
    /// counts what all gates of the node keep.
    pub(super) fn pass(&mut self, outgoing: Outgoing<M>, early: bool, held: &mut usize) -> Option<(NodeId, M)> {
        let Outgoing { to, message, after } = outgoing;
        let Some(after) = after.filter(|ticket| !early && *ticket > self.durable) else { return Some((to, message)) };
        if *held < MAX_HELD {
            *held += 1;
            self.held.insert((after, self.next), (to, message));
            self.next += 1;
        }
        None
    }

    /// Everything up to `ticket` is durable.
    pub(super) fn durable(&mut self, ticket: Ticket) {
        self.durable = ticket;
    }

    /// The next message that waits no longer.
    pub(super) fn next(&mut self, held: &mut usize) -> Option<(NodeId, M)> {
        let first = self.held.first_entry().filter(|first| first.key().0 <= self.durable)?;
        *held -= 1;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_less_leaves_first_and_nothing_leaves_early() {
        let (mut gate, mut held) = (Gate::new(), 0);
        let say = |gate: &mut Gate<u8>, held: &mut usize, message, after: Option<u64>| {
            let outgoing = Outgoing { to: NodeId(2), message, after: after.map(Ticket) };
            gate.pass(outgoing, false, held).map(|(_, message)| message)
        };
        for (message, after) in [(1, 2), (2, 1), (3, 2), (4, 1)] {
            assert_eq!(say(&mut gate, &mut held, message, Some(after)), None);
        }
        assert_eq!(say(&mut gate, &mut held, 5, None), Some(5));
        assert_eq!((gate.next(&mut held), held), (None, 4));
        for (durable, leaves) in [(1, [2, 4]), (2, [1, 3])] {
            gate.durable(Ticket(durable));
            let left: Vec<u8> = std::iter::from_fn(|| gate.next(&mut held)).map(|(_, message)| message).collect();
            assert_eq!(left, leaves);
        }
        assert_eq!((held, say(&mut gate, &mut held, 6, Some(2))), (0, Some(6)));
    }
}
