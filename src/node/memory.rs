//! The memory budget of a node's queues.
//!
//! [`Memory`] divides one budget among all queues, so that together they never hold more than it: frames that are
//! arriving or wait to be processed, open requests, records and messages that wait for the disk, chunks of snapshots,
//! and frames that wait to be written. A queue that has no room refuses or drops. The data itself, the log since the
//! last snapshot, and hints have their own limits. An empty queue accepts one frame of any size, so that nothing is
//! stuck forever.

/// Minimum memory budget of a node, in bytes.
pub const MIN_MEMORY_BYTES: usize = 32 << 20;

/// The budget of a node's queues, in bytes, and its shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory(pub usize);

impl Memory {
    /// Number of parts that the budget is divided into.
    const PARTS: usize = 64;

    const fn parts(self, parts: usize) -> usize {
        self.0 / Memory::PARTS * parts
    }

    /// Frames from clients that wait to be processed. The share is small, because a request that waits long is of no
    /// use any more.
    #[must_use]
    pub const fn from_clients(self) -> usize {
        self.parts(1)
    }

    /// Large frames from clients that are still arriving.
    #[must_use]
    pub const fn arriving(self) -> usize {
        self.parts(1)
    }

    /// Frames from peers that wait to be processed, for each lane.
    #[must_use]
    pub const fn from_peers(self) -> usize {
        self.parts(2)
    }

    /// Frames that wait to be written to peers, all together.
    #[must_use]
    pub const fn to_peers(self) -> usize {
        self.parts(16)
    }

    /// Bytes of messages after which a packet to a peer is closed and another begun. A large packet would find no room
    /// in a queue that small ones keep full. This is well below the frame limit.
    #[must_use]
    pub const fn packet(self) -> usize {
        let part = self.to_peers() / 64;
        if part < 1 << 20 { part } else { 1 << 20 }
    }

    /// Responses that wait to be written to clients, all together.
    #[must_use]
    pub const fn to_clients(self) -> usize {
        self.parts(10)
    }

    /// Open requests of both modes.
    #[must_use]
    pub const fn requests(self) -> usize {
        self.parts(16)
    }

    /// Frames that wait to be written to one peer in a cluster of `nodes` nodes, in the control and in the bulk lane.
    /// Only half of the share is used, because frames that are being written take memory too.
    #[must_use]
    pub const fn to_peer(self, nodes: usize) -> [usize; 2] {
        let share = self.to_peers() / 2 / if nodes < 2 { 2 } else { nodes };
        [share / 4, share / 4 * 3]
    }

    /// Open requests of one mode. They must fit in the queue to each peer.
    #[must_use]
    pub fn admitted(self, nodes: usize) -> usize {
        (self.requests() / 2).min(self.to_peer(nodes)[1] / 2)
    }

    /// Records that wait for the disk or are being written.
    #[must_use]
    pub const fn records(self) -> usize {
        self.parts(8)
    }

    /// Messages that wait for the disk.
    #[must_use]
    pub const fn held(self) -> usize {
        self.parts(4)
    }

    /// Chunks of snapshots that wait for the disk.
    #[must_use]
    pub const fn snapshots(self) -> usize {
        self.parts(4)
    }
}

/// Bytes of records that wait for the disk or are being written.
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

    /// Adds bytes that will have to be written.
    pub(super) fn add(&mut self, bytes: usize) {
        self.waiting += bytes;
    }

    /// Clears the waiting bytes: they produced no records, because they were already stored or were refused.
    pub(super) fn none(&mut self) {
        self.waiting = 0;
    }

    /// The disk is given everything that waits.
    pub(super) fn written(&mut self) {
        self.writing = std::mem::take(&mut self.waiting);
    }

    /// The disk has finished.
    pub(super) fn durable(&mut self) {
        self.writing = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting + self.writing
    }

    /// Returns whether the disk does not keep up. Then further writes are refused.
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
