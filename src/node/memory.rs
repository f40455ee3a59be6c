//! The memory budget of a node's queues, and how much of what is asked for it takes on.
//!
//! [`Memory`] divides one budget among all queues, so that they hold no more than it together, whatever happens: frames that
//! wait to be taken, requests that are open, records and messages that wait for the disk, pieces of snapshots, frames that wait
//! to be written. What a queue cannot hold is refused or dropped there. The data itself, the log since the last snapshot and
//! hints have limits of their own. A queue that is empty takes one frame of any size, so that nothing is stuck for ever.
//!
//! [`Admission`] is for requests, of each mode its own: bytes of requests may be open up to a limit that moves. If answers take
//! longer than a target, requests only wait in line, and fewer are taken on; if they do not, and the limit was reached, more are.
//! It is additive increase and multiplicative decrease, as of TCP's window, with time as the signal. The rest is refused as
//! busy at once, while that costs nothing yet. So what is taken on is done while its client still waits, and a mode that is
//! overloaded leaves the other its share.

use crate::mutant::{Bug, Mutant};
use crate::types::Time;
use std::time::Duration;

/// Least memory budget of a node, in bytes.
pub const MIN_MEMORY_BYTES: usize = 32 << 20;

/// Requests are counted with so many bytes besides their payload.
const REQUEST: usize = 256;

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

/// How many bytes of requests of a mode may be open.
#[derive(Debug)]
pub(super) struct Admission {
    least: usize,
    most: usize,
    limit: usize,
    open: usize,
    /// How long answers should take at most.
    target: Duration,
    /// The present interval: until when it lasts, bytes answered in it, how long they took by bytes, and most bytes open.
    until: Time,
    answered: u128,
    waited: u128,
    peak: usize,
    mutant: Mutant,
}

impl Admission {
    pub(super) fn new(most: usize, target: Duration, now: Time, mutant: Mutant) -> Admission {
        let least = most / 16;
        let until = now + target;
        Admission { least, most, limit: most, open: 0, target, until, answered: 0, waited: 0, peak: 0, mutant }
    }

    /// Bytes of open requests.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Takes on a request with so many bytes of payload, if there is room; the bytes to give back later.
    pub(super) fn admit(&mut self, payload: usize) -> Option<usize> {
        let bytes = REQUEST + payload;
        let room = self.open == 0 || self.open + bytes <= self.limit || self.mutant.is(Bug::BusyNever);
        if !room {
            self.peak = self.peak.max(self.limit);
            return None;
        }
        self.open += bytes;
        self.peak = self.peak.max(self.open);
        Some(bytes)
    }

    /// A request has ended; `took`: after how long it was answered, if that was by this node itself.
    pub(super) fn end(&mut self, bytes: usize, took: Option<Duration>, now: Time) {
        self.open -= bytes;
        if let Some(took) = took {
            self.answered += bytes as u128;
            self.waited += bytes as u128 * took.as_nanos();
        }
        if now >= self.until {
            self.adapt();
            self.until = now + self.target;
            (self.answered, self.waited, self.peak) = (0, 0, self.open);
        }
    }

    fn adapt(&mut self) {
        let slow = self.waited > self.answered * self.target.as_nanos();
        if slow {
            self.limit = (self.limit.min(self.peak) / 4 * 3).max(self.least);
        } else if self.answered > 0 && self.peak > self.limit / 4 * 3 {
            self.limit = (self.limit + self.most / 16).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_do_not_exceed_the_budget() {
        for budget in [MIN_MEMORY_BYTES, 256 << 20, (1 << 40) - 1] {
            let of = Memory(budget);
            let shares = of.from_clients() + 2 * of.from_peers() + of.to_peers() + of.to_clients();
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

    #[test]
    fn what_takes_too_long_is_taken_on_less() {
        let ms = Duration::from_millis;
        let mut now = Time(0);
        let mut admission = Admission::new(1 << 20, ms(100), now, Mutant::default());
        let payload = (1 << 14) - REQUEST;
        let mut interval = |admission: &mut Admission, took| {
            let mut open = Vec::new();
            while let Some(bytes) = admission.admit(payload) {
                open.push(bytes);
            }
            now = now + ms(101);
            let count = open.len();
            open.into_iter().for_each(|bytes| admission.end(bytes, Some(took), now));
            count
        };
        assert_eq!(interval(&mut admission, ms(300)), 64);
        for _ in 0..20 {
            interval(&mut admission, ms(300));
        }
        assert_eq!(interval(&mut admission, ms(300)), 4, "the least");
        for _ in 0..40 {
            interval(&mut admission, ms(10));
        }
        assert_eq!((interval(&mut admission, ms(10)), admission.open()), (64, 0), "the most");
        assert!(admission.admit(1 << 30).is_some(), "one of any size, if there is no other");
        assert!(admission.admit(0).is_none());
    }
}
