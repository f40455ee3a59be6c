//! Nothing leaves before its fsync: the messages of one core that wait for the disk.
//!
//! Each core counts tickets of its own; one batch covers records of all of them.

use crate::protocol::{Outgoing, Ticket};
use crate::types::NodeId;
use std::collections::VecDeque;

/// Messages of one node that wait for the disk; what comes beyond is dropped, as if the network had lost it.
const MAX_HELD: usize = 10_000;

/// The messages of one core that wait, in order.
pub(super) struct Gate<M> {
    durable: Ticket,
    held: VecDeque<Outgoing<M>>,
}

impl<M> Gate<M> {
    pub(super) fn new() -> Gate<M> {
        Gate { durable: Ticket::default(), held: VecDeque::new() }
    }

    /// Gives the message back if it may leave now (`early`: it does, whatever it waits for), keeps it otherwise. `held`
    /// counts what all gates of the node keep.
    pub(super) fn pass(&mut self, outgoing: Outgoing<M>, early: bool, held: &mut usize) -> Option<(NodeId, M)> {
        if early || outgoing.after.is_none_or(|ticket| ticket <= self.durable) {
            return Some((outgoing.to, outgoing.message));
        }
        if *held < MAX_HELD {
            *held += 1;
            self.held.push_back(outgoing);
        }
        None
    }

    /// Everything up to `ticket` is durable.
    pub(super) fn durable(&mut self, ticket: Ticket) {
        self.durable = ticket;
    }

    /// The next message that waits no longer.
    pub(super) fn next(&mut self, held: &mut usize) -> Option<(NodeId, M)> {
        self.held.front().filter(|m| m.after <= Some(self.durable))?;
        *held -= 1;
        self.held.pop_front().map(|outgoing| (outgoing.to, outgoing.message))
    }
}
