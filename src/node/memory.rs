//! The memory budget of a node's queues.
//!
//! [`Memory`] divides one budget among all queues, so that they hold no more than it together, whatever happens: frames that
//! arrive or wait to be taken, requests that are open, records and messages that wait for the disk, pieces of snapshots, frames that wait
//! to be written. What a queue cannot hold is refused or dropped there. The data itself, the log since the last snapshot and
//! hints have limits of their own. A queue that is empty takes one frame of any size, so that nothing is stuck for ever.

/// Least memory budget of a node, in bytes.
pub const MIN_MEMORY_BYTES: usize = 32 << 20;

/// The budget of a node's queues, in bytes, and the shares of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory(pub usize);

impl Memory {
    /// Parts that the budget is divided into.
    const PARTS: usize = 64;

    const fn parts(self, parts: usize) -> usize {
        self.0 / Memory::PARTS * parts
    }

    /// Frames from clients that wait to be taken: few, for what waits long is of no use any more.
    #[must_use]
    pub const fn from_clients(self) -> usize {
        self.parts(1)
    }

    /// Large frames from clients that are still arriving.
    #[must_use]
    pub const fn arriving(self) -> usize {
        self.parts(1)
    }

    /// Frames from peers that wait to be taken, of each lane.
    #[must_use]
    pub const fn from_peers(self) -> usize {
        self.parts(2)
    }

    /// Frames that wait to be written to peers, all together.
    #[must_use]
    pub const fn to_peers(self) -> usize {
        self.parts(16)
    }

    /// Messages after which a packet to a peer is closed and another begun: a large packet would find no room in a queue that
    /// small ones keep full, and is well below the frame limit.
    #[must_use]
    pub const fn packet(self) -> usize {
        let part = self.to_peers() / 64;
        if part < 1 << 20 { part } else { 1 << 20 }
    }

    /// Answers that wait to be written to clients, all together.
    #[must_use]
    pub const fn to_clients(self) -> usize {
        self.parts(10)
    }

    /// Open requests, of both modes.
    #[must_use]
    pub const fn requests(self) -> usize {
        self.parts(16)
    }

    /// Frames that wait to be written to one peer of a cluster of so many nodes, in the control and in the bulk lane. Half of the
    /// share, since what is being written is held besides.
    #[must_use]
    pub const fn to_peer(self, nodes: usize) -> [usize; 2] {
        let share = self.to_peers() / 2 / if nodes < 2 { 2 } else { nodes };
        [share / 4, share / 4 * 3]
    }

    /// Open requests of one mode: what the node takes on must find room in the queue to each peer.
    #[must_use]
    pub fn admitted(self, nodes: usize) -> usize {
        (self.requests() / 2).min(self.to_peer(nodes)[1] / 2)
    }

    /// Records that wait for the disk or are with it.
    #[must_use]
    pub const fn records(self) -> usize {
        self.parts(8)
    }

    /// Messages that wait for the disk.
    #[must_use]
    pub const fn held(self) -> usize {
        self.parts(4)
    }

    /// Pieces of snapshots that wait for the disk.
    #[must_use]
    pub const fn snapshots(self) -> usize {
        self.parts(4)
    }
}

/// What waits for the disk, in bytes: what it has not been given yet and what it is working on.
#[derive(Debug)]
pub(super) struct Records {
    limit: usize,
    waiting: usize,
    writing: usize,
}

impl Records {
    pub(super) fn new(limit: usize) -> Records {
        Records { limit, waiting: 0, writing: 0 }
    }

    /// So many bytes more will have to be written.
    pub(super) fn add(&mut self, bytes: usize) {
        self.waiting += bytes;
    }

    /// What was added made no records: it was held already, or refused.
    pub(super) fn none(&mut self) {
        self.waiting = 0;
    }

    /// The disk is given all that waits.
    pub(super) fn written(&mut self) {
        self.writing = std::mem::take(&mut self.waiting);
    }

    /// It has done so.
    pub(super) fn durable(&mut self) {
        self.writing = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting + self.writing
    }

    /// The disk does not keep up: what would have to be written is refused.
    pub(super) fn pile_up(&self) -> bool {
        self.bytes() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_exceed_the_budget() {
        for budget in [MIN_MEMORY_BYTES, 256 << 20, (1 << 40) - 1] {
            let of = Memory(budget);
            let shares = of.from_clients() + of.arriving() + 2 * of.from_peers() + of.to_peers() + of.to_clients();
            let shares = shares + of.requests() + of.records() + of.held() + of.snapshots();
            assert!(shares <= budget && shares > budget / 8 * 7, "{shares} of {budget}");
        }
    }

    #[test]
    fn records_pile_up_until_the_disk_has_done_its_work() {
        let mut records = Records::new(100);
        records.add(60);
        records.written();
        records.add(39);
        assert!(!records.pile_up());
        records.add(1);
        assert!(records.pile_up() && records.bytes() == 100);
        records.durable();
        assert!(!records.pile_up() && records.bytes() == 40);
    }
}
