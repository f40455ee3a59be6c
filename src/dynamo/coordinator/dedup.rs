//! Dedup windows: each write is executed by one coordinator only, and once.
//!
//! Two coordinators that executed the same write would assign it two dots. Once one of these is superseded, only a
//! memory of all writes ever made could tell the other one from a new write, and a superseded value would come back. So
//! no write is ever executed twice. A server grants each sender of writes a *dedup window*. The sender numbers its
//! requests in the window, and a retry repeats the number. The server executes each number once and repeats its answer
//! to copies; a refusal is an answer too, and final. A sender without an answer asks no other server to execute the
//! write: other servers can only forward the same request ([`Slot::server`]). If no answer comes in the end, the
//! outcome is unknown, and the client is told so. RIFL (Lee and others, 2015) makes remote calls execute exactly once
//! in much the same way.
//!
//! Windows are kept in memory. A server does not know a window if it has restarted, or if it has dropped the least
//! recently used windows. It does not execute a request in an unknown window, and grants the sender a new one. If the
//! request was sent only once, it certainly was not executed: what was in transit to a dead process does not reach the
//! next one.

use crate::dynamo::{ClientReply, Slot, WindowId};
use crate::types::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Most windows that are remembered.
const WINDOWS: usize = 10_000;
/// Requests remembered per window of a client, which sends one write at a time.
pub(super) const OF_CLIENT: usize = 64;
/// Requests remembered per window of another node, which forwards its clients' requests.
pub(super) const OF_NODE: usize = 1024;
/// Most bytes of remembered answers in all windows together. Beyond it the least recently used windows are dropped.
const BYTES: usize = 32 << 20;
/// Answers to writes that are larger than this are remembered without the state they returned.
const LARGE_REPLY: usize = 1 << 10;

/// The windows that this node has granted.
#[derive(Debug)]
pub(super) struct DedupWindows {
    rng: Rng,
    windows: BTreeMap<WindowId, Window>,
    /// The windows ordered by last use.
    order: BTreeSet<(u64, WindowId)>,
    uses: u64,
    bytes: usize,
}

/// The requests received in a window.
#[derive(Debug)]
struct Window {
    used: u64,
    room: usize,
    /// The answer to each request, if it has been given.
    seen: BTreeMap<u64, Option<ClientReply>>,
    /// All numbers up to this one are forgotten.
    floor: u64,
    bytes: usize,
}

/// How a request relates to those already received in its window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// A copy, with the answer; `None` if the request is in progress, or older than what is remembered.
    Copy(Option<ClientReply>),
    /// The window is unknown. Use this one.
    UnknownWindow(WindowId),
}

impl DedupWindows {
    pub fn new(rng: Rng) -> DedupWindows {
        DedupWindows { rng, windows: BTreeMap::new(), order: BTreeSet::new(), uses: 0, bytes: 0 }
    }

    /// Records a request. If it needs a new window, that window remembers `room` requests.
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

/// The payload bytes of a reply.
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
        assert_eq!(windows.arrives(slot(two, 1), 4), Arrival::New, "of another window");
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
            let Arrival::UnknownWindow(window) = windows.arrives(slot(0, 1), OF_NODE) else { panic!("a known window") };
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
