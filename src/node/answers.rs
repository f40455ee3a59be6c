//! Who is waiting for what: from a client's request to the answer it gets.
//!
//! A request is *open* from arrival to answer ([`Answers`], one for a node). What it waits for is known to the core that
//! carries it out; for a Raft group that is [`Waiting`]. A write passes from `Accepted` (it stands at an index, in a term) to
//! committed (that index was applied, with this or another term); a read passes from `ReadAt` to applied. Nothing is
//! answered twice: closing a request forgets it.
//!
//! A network that repeats packets may deliver a request again, and a second copy could be refused when the first was
//! accepted: its sender would believe that nothing happened. So copies are ignored: the latest `2 · limit` requests are
//! remembered by sender and id. A copy that arrives later still, or after this process was restarted, is not recognised;
//! TCP makes none, and what was sent to a dead process does not reach its successor.

use crate::kv::SessionId;
use crate::raft::{Index, Term};
use crate::types::{Addr, GroupId, Key};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A write, by what a retry of it bears too: of a Raft group session and number, of an AP bucket lane and number.
pub(super) type WriteName = (GroupId, SessionId, u64);

/// Who asked, under which id, and for which write.
struct Open {
    client: Addr,
    id: u64,
    write: Option<WriteName>,
}

/// The open requests of one node, at most `limit`.
pub(super) struct Answers {
    limit: usize,
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Writes that have been proposed and not answered.
    underway: BTreeMap<WriteName, u64>,
    /// The latest requests, and the order in which they came.
    seen: BTreeSet<(Addr, u64)>,
    order: VecDeque<(Addr, u64)>,
}

impl Answers {
    /// No requests; the first gets the ticket `first`.
    pub(super) fn new(limit: usize, first: u64) -> Answers {
        let (open, underway) = (BTreeMap::new(), BTreeMap::new());
        Answers { limit, next: first, open, underway, seen: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Whether a request is a copy of one that came before.
    pub(super) fn repeated(&mut self, client: Addr, id: u64) -> bool {
        if !self.seen.insert((client, id)) {
            return true;
        }
        self.order.push_back((client, id));
        if self.order.len() > 2 * self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }

    /// Takes in a request; `None` when too many are open.
    pub(super) fn open(&mut self, client: Addr, id: u64) -> Option<u64> {
        if self.open.len() >= self.limit {
            return None;
        }
        let ticket = self.next;
        self.next += 1;
        self.open.insert(ticket, Open { client, id, write: None });
        Some(ticket)
    }

    /// How many are open.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Ends a request: who asked, and under which id.
    pub(super) fn close(&mut self, ticket: u64) -> Option<(Addr, u64)> {
        let open = self.open.remove(&ticket)?;
        if let Some(write) = open.write
            && self.underway.get(&write) == Some(&ticket)
        {
            self.underway.remove(&write);
        }
        Some((open.client, open.id))
    }

    /// The request is a write that is proposed now.
    pub(super) fn underway(&mut self, ticket: u64, write: WriteName) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.write = Some(write);
            self.underway.insert(write, ticket);
        }
    }

    /// If the write is under way already, whoever asks now gets its answer, instead of whoever asked before.
    pub(super) fn join(&mut self, write: WriteName, client: Addr, id: u64) -> bool {
        let Some(open) = self.underway.get(&write).and_then(|ticket| self.open.get_mut(ticket)) else { return false };
        (open.client, open.id) = (client, id);
        true
    }
}

/// What the open requests of one Raft group wait for, by their tickets.
#[derive(Default)]
pub(super) struct Waiting {
    /// Keys of reads that have no index yet.
    reading: BTreeMap<u64, Key>,
    /// Writes by the index they stand at, each with its term. Two at one index: the later term displaced the earlier.
    writes: BTreeMap<(Index, Term), u64>,
    /// Reads by the index they wait for.
    reads: BTreeMap<(Index, u64), Key>,
}

impl Waiting {
    pub(super) fn reading(&mut self, ticket: u64, key: Key) {
        self.reading.insert(ticket, key);
    }

    /// The request was refused.
    pub(super) fn refused(&mut self, ticket: u64) {
        self.reading.remove(&ticket);
    }

    pub(super) fn read_at(&mut self, ticket: u64, index: Index) {
        if let Some(key) = self.reading.remove(&ticket) {
            self.reads.insert((index, ticket), key);
        }
    }

    /// A read that can be answered now that `applied` is applied.
    pub(super) fn next_read(&mut self, applied: Index) -> Option<(u64, Key)> {
        let entry = self.reads.first_entry()?;
        if entry.key().0 > applied {
            return None;
        }
        let ((_, ticket), key) = entry.remove_entry();
        Some((ticket, key))
    }

    pub(super) fn accepted(&mut self, ticket: u64, index: Index, term: Term) {
        self.writes.insert((index, term), ticket);
    }

    /// The entry at `index` is committed with `term`: a request that stood there, and whether another took its place.
    /// Call again until `None`: several terms may have put a request there.
    pub(super) fn committed(&mut self, index: Index, term: Term) -> Option<(u64, bool)> {
        let entry = self.writes.first_entry()?;
        let (at, of) = *entry.key();
        (at <= index).then(|| (entry.remove(), (at, of) != (index, term)))
    }

    /// The state jumped to `index`: what became of the writes before it is not known here. They are given back, to be dropped
    /// without an answer; the client asks again under the same session and number and learns.
    pub(super) fn forget_through(&mut self, index: Index) -> impl Iterator<Item = u64> + use<> {
        let later = self.writes.split_off(&(index + 1, 0));
        std::mem::replace(&mut self.writes, later).into_values()
    }

    /// Nothing will be answered any more: all that wait.
    pub(super) fn forget_all(&mut self) -> Vec<u64> {
        let Waiting { reading, writes, reads } = std::mem::take(self);
        reading.into_keys().chain(writes.into_values()).chain(reads.into_keys().map(|(_, ticket)| ticket)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Addr = Addr::Client(1);
    const BOB: Addr = Addr::Client(2);
    const G: GroupId = GroupId(1);

    #[test]
    fn a_write_is_answered_when_its_index_is_committed_with_its_term() {
        let mut answers = Answers::new(10, 1);
        let ticket = answers.open(ANN, 77).unwrap();
        let mut waiting = Waiting::default();
        waiting.accepted(ticket, 5, 2);
        assert_eq!(waiting.committed(4, 2), None);
        assert_eq!(waiting.committed(5, 2), Some((ticket, false)));
        assert_eq!(answers.close(ticket), Some((ANN, 77)));
        assert_eq!(answers.close(ticket), None, "nothing is answered twice");
    }

    #[test]
    fn a_retry_takes_over_the_answer_of_a_write_under_way() {
        let mut answers = Answers::new(10, 1);
        let ticket = answers.open(ANN, 1).unwrap();
        assert!(!answers.join((G, 7, 1), ANN, 2), "nothing is under way");
        answers.underway(ticket, (G, 7, 1));
        assert!(answers.join((G, 7, 1), ANN, 2));
        assert!(!answers.join((G, 7, 2), ANN, 3), "another number is another write");
        assert!(!answers.join((GroupId(2), 7, 1), ANN, 3), "so is another group's session of that name");
        assert_eq!(answers.close(ticket), Some((ANN, 2)));
        assert!(!answers.join((G, 7, 1), ANN, 4), "it was answered");
    }

    #[test]
    fn two_terms_at_one_index_displace_each_other() {
        let mut waiting = Waiting::default();
        let (old, new) = (1, 2);
        waiting.accepted(old, 5, 2);
        waiting.accepted(new, 5, 4);
        assert_eq!(waiting.committed(5, 4), Some((old, true)));
        assert_eq!(waiting.committed(5, 4), Some((new, false)));
        assert_eq!(waiting.committed(5, 4), None);
    }

    #[test]
    fn a_read_waits_for_its_index() {
        let mut waiting = Waiting::default();
        let (late, early, never) = (1, 2, 3);
        waiting.reading(never, Key::from_static(b"k"));
        waiting.refused(never);
        for (ticket, index) in [(late, 9), (early, 3), (never, 1)] {
            if ticket != never {
                waiting.reading(ticket, Key::from_static(b"k"));
            }
            waiting.read_at(ticket, index);
        }
        assert_eq!(waiting.next_read(2), None);
        assert_eq!(waiting.next_read(8), Some((early, Key::from_static(b"k"))));
        assert_eq!(waiting.next_read(8), None);
        assert_eq!(waiting.next_read(9), Some((late, Key::from_static(b"k"))));
    }

    #[test]
    fn a_copy_is_recognised_among_the_latest_requests() {
        let mut answers = Answers::new(1, 1);
        assert!(!answers.repeated(ANN, 7) && !answers.repeated(BOB, 7));
        assert!(answers.repeated(ANN, 7) && answers.repeated(BOB, 7));
        assert!(!answers.repeated(ANN, 8));
        assert!(answers.repeated(BOB, 7) && answers.repeated(ANN, 8), "two are remembered");
        assert!(!answers.repeated(ANN, 7), "and no more");
    }

    #[test]
    fn a_jump_of_the_state_drops_the_writes_before_it() {
        let mut answers = Answers::new(2, 1);
        let (before, after) = (answers.open(ANN, 1).unwrap(), answers.open(BOB, 2).unwrap());
        let mut waiting = Waiting::default();
        waiting.accepted(before, 5, 1);
        waiting.accepted(after, 6, 1);
        assert_eq!(answers.open(ANN, 3), None, "the limit holds");
        assert_eq!(waiting.forget_through(5).collect::<Vec<_>>(), [before]);
        assert_eq!(answers.close(before), Some((ANN, 1)));
        assert!(answers.open(ANN, 3).is_some());
        assert_eq!(waiting.committed(6, 1), Some((after, false)));
    }
}
