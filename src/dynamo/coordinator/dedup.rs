//! Lanes: a write is carried out by one coordinator only, and once.
//!
//! Two coordinators that took the same write would give it two dots. Once one of these is superseded, nothing but a memory of
//! all writes there ever were could tell the other one from a new write, and it would come back from the dead. So no write is
//! ever taken twice. A server gives whoever asks it for writes a *lane*; the sender numbers its requests there, and a request
//! that is sent again has the number it had. The server carries out each number once and repeats its answer to copies; a refusal
//! is an answer too, and final. A sender without an answer asks no other server to carry the write out: others can only pass
//! the same request on ([`Slot::server`]). In the end what became of it is not known, and is told so. RIFL (Lee and others,
//! 2015) makes remote calls happen once in much the same way.
//!
//! Lanes are in memory. A request in a lane that the server does not know, because it has started anew or has forgotten the
//! lanes that were used the longest time ago, is not carried out, and its sender gets a new lane. If it was sent only once that
//! is all there is to say of it, for what was on its way to a dead process does not reach the next one.

use crate::dynamo::{ClientReply, Slot, WindowId};
use crate::types::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Lanes that are remembered.
const WINDOWS: usize = 10_000;
/// Requests remembered of a lane of a client, which asks for one write at a time.
pub(super) const OF_CLIENT: usize = 64;
/// And of one of another node, which passes on what its clients ask.
pub(super) const OF_NODE: usize = 1024;
/// Bytes of answers that are remembered, of all lanes together; beyond that the lanes used the longest time ago go.
const BYTES: usize = 32 << 20;
/// Larger answers to writes are remembered without what they left behind.
const LARGE_REPLY: usize = 1 << 10;

/// The lanes that this node has given.
#[derive(Debug)]
pub(super) struct DedupWindows {
    rng: Rng,
    windows: BTreeMap<WindowId, Window>,
    /// By when they were last used.
    order: BTreeSet<(u64, WindowId)>,
    uses: u64,
    bytes: usize,
}

/// What came in a lane.
#[derive(Debug)]
struct Window {
    used: u64,
    room: usize,
    /// The answer to each, if it has been given.
    seen: BTreeMap<u64, Option<ClientReply>>,
    /// All numbers up to this one are forgotten.
    floor: u64,
    bytes: usize,
}

/// What a request in a lane is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// With its answer; `None`: it is under way, or older than what is remembered.
    Copy(Option<ClientReply>),
    /// There is no such lane, but this one.
    UnknownWindow(WindowId),
}

impl DedupWindows {
    pub fn new(rng: Rng) -> DedupWindows {
        DedupWindows { rng, windows: BTreeMap::new(), order: BTreeSet::new(), uses: 0, bytes: 0 }
    }

    /// Takes note of a request; should it need a lane, that remembers `room` requests.
    pub fn arrives(&mut self, slot: Slot, room: usize) -> Arrival {
        self.uses += 1;
        let Some(window) = self.windows.get_mut(&slot.window) else { return Arrival::UnknownWindow(self.grant(room)) };
        self.order.remove(&(window.used, slot.window));
        window.used = self.uses;
        self.order.insert((window.used, slot.window));
        self.bytes -= window.bytes;
        let arrival = window.arrives(slot.number);
        self.bytes += window.bytes;
        arrival
    }

    /// Remembers the answer to a request.
    pub fn answered(&mut self, slot: Slot, reply: &ClientReply) {
        let Some(window) = self.windows.get_mut(&slot.window) else { return };
        let Some(answer) = window.seen.get_mut(&slot.number) else { return };
        let small = answer.insert(small(reply));
        window.bytes += bytes(small);
        self.bytes += bytes(small);
        while self.bytes > BYTES {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_first().and_then(|(_, oldest)| self.windows.remove(&oldest));
        self.bytes -= oldest.map_or(0, |window| window.bytes);
    }

    fn grant(&mut self, room: usize) -> WindowId {
        let window = self.rng.next() | 1;
        self.windows.insert(window, Window { used: self.uses, room, seen: BTreeMap::new(), floor: 0, bytes: 0 });
        self.order.insert((self.uses, window));
        if self.windows.len() > WINDOWS {
            self.forget_oldest();
        }
        window
    }
}

impl Window {
    fn arrives(&mut self, number: u64) -> Arrival {
        if let Some(reply) = self.seen.get(&number) {
            return Arrival::Copy(reply.clone());
        }
        if number <= self.floor {
            return Arrival::Copy(None);
        }
        self.seen.insert(number, None);
        if self.seen.len() > self.room
            && let Some((oldest, answer)) = self.seen.pop_first()
        {
            self.floor = oldest;
            self.bytes -= answer.as_ref().map_or(0, bytes);
        }
        Arrival::New
    }
}

fn small(reply: &ClientReply) -> ClientReply {
    match reply {
        ClientReply::Value { achieved, .. } if bytes(reply) > LARGE_REPLY => ClientReply::Done { achieved: *achieved },
        reply => reply.clone(),
    }
}

/// The bytes of what a reply says.
fn bytes(reply: &ClientReply) -> usize {
    match reply {
        ClientReply::Value { siblings, context, .. } => {
            context.len() + siblings.iter().map(|s| s.value.as_ref().map_or(0, |v| v.len())).sum::<usize>()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::{Achieved, Refusal};
    use crate::types::{Bytes, NodeId};

    fn windows() -> DedupWindows {
        DedupWindows::new(Rng::new(1, "lanes"))
    }

    fn granted(windows: &mut DedupWindows) -> WindowId {
        match windows.arrives(slot(0, 1), 4) {
            Arrival::UnknownWindow(window) => window,
            other => panic!("{other:?}"),
        }
    }

    fn slot(window: WindowId, number: u64) -> Slot {
        Slot { server: NodeId(1), window, number }
    }

    #[test]
    fn each_number_is_carried_out_once_and_copies_get_its_answer() {
        let mut windows = windows();
        let (one, two) = (granted(&mut windows), granted(&mut windows));
        assert_eq!(windows.arrives(slot(one, 1), 4), Arrival::New);
        assert_eq!(windows.arrives(slot(two, 1), 4), Arrival::New, "of another lane");
        assert_eq!(windows.arrives(slot(one, 1), 4), Arrival::Copy(None), "under way");
        let refused = ClientReply::Refused(Refusal::Busy);
        windows.answered(slot(one, 1), &refused);
        assert_eq!(windows.arrives(slot(one, 1), 4), Arrival::Copy(Some(refused)), "final");
        for number in 2..=5 {
            assert_eq!(windows.arrives(slot(one, number), 4), Arrival::New);
        }
        assert_eq!(windows.arrives(slot(one, 1), 4), Arrival::Copy(None), "forgotten, and known to be old");
    }

    #[test]
    fn the_lanes_used_least_lately_go() {
        let mut windows = windows();
        let (kept, gone) = (granted(&mut windows), granted(&mut windows));
        assert_eq!(windows.arrives(slot(kept, 1), 4), Arrival::New);
        for _ in 1..WINDOWS {
            granted(&mut windows);
        }
        assert_eq!(windows.arrives(slot(kept, 1), 4), Arrival::Copy(None));
        assert!(matches!(windows.arrives(slot(gone, 1), 4), Arrival::UnknownWindow(_)));
        assert_eq!((windows.windows.len(), windows.order.len()), (WINDOWS, WINDOWS));
    }

    #[test]
    fn answers_have_a_limit_together() {
        let mut windows = windows();
        let achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
        let reply = ClientReply::Value { siblings: Vec::new(), context: Bytes::from(vec![0; LARGE_REPLY]), achieved };
        for _ in 0..100 {
            let Arrival::UnknownWindow(window) = windows.arrives(slot(0, 1), OF_NODE) else { panic!("no lane") };
            for number in 1..=1000 {
                assert_eq!(windows.arrives(slot(window, number), OF_NODE), Arrival::New);
                windows.answered(slot(window, number), &reply);
            }
        }
        assert!(windows.bytes <= BYTES && windows.bytes > BYTES / 2);
        assert_eq!(windows.bytes, windows.windows.values().map(|window| window.bytes).sum::<usize>());
    }

    #[test]
    fn of_a_large_answer_it_is_remembered_that_it_was_done() {
        let mut windows = windows();
        let window = granted(&mut windows);
        let (achieved, siblings) = (Achieved { wanted: 2, replicas: 2, hints: 0 }, Vec::new());
        let value =
            |len| ClientReply::Value { siblings: siblings.clone(), context: Bytes::from(vec![0; len]), achieved };
        for (number, len, remembered) in [(1, 10, value(10)), (2, 5000, ClientReply::Done { achieved })] {
            assert_eq!(windows.arrives(slot(window, number), 4), Arrival::New);
            windows.answered(slot(window, number), &value(len));
            assert_eq!(windows.arrives(slot(window, number), 4), Arrival::Copy(Some(remembered)));
        }
    }
}
