//! Pending requests: from a client's request to its response.
//!
//! A request is *open* from arrival to response ([`PendingRequests`], one per node). The core that executes it knows
//! what it waits for; for a Raft group that is [`Waiting`]. A write goes from `Accepted` (it has an index and a term)
//! to committed (that index was applied, with this or another term). A read goes from `ReadAt` to applied. No request
//! is answered twice: closing a request removes it.
//!
//! A network that duplicates packets may deliver a request again. The second copy could be refused although the first
//! was accepted, and the client would conclude that nothing happened. So copies are ignored: the latest `2 · limit`
//! requests are remembered by sender and id. A copy that arrives later, or after a restart of this process, is not
//! recognised. TCP makes no copies, and what was sent to a dead process does not reach the next one.

use super::admission::Admission;
use crate::kv::SessionId;
use crate::raft::{Index, Term};
use crate::types::{Addr, CoreId, Key, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Identifies a write across retries: for a Raft group by session and number, for an AP bucket by dedup window and
/// number.
pub(super) type WriteName = (CoreId, SessionId, u64);

/// What a request asks of the node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Its mode: AP or CP.
    pub ap: bool,
    /// Bytes that it writes. `None`: it is a read, which is charged the mean size of the answers to reads.
    pub payload: Option<usize>,
    /// The request was refused before and told to retry now.
    pub again: bool,
    /// How long its client still waits.
    pub patience: Duration,
}

/// An open request: its client and id, its write, and the bytes it is charged.
struct Open {
    client: Addr,
    id: u64,
    write: Option<WriteName>,
    ap: bool,
    bytes: usize,
    /// When it arrived. `None`: it does not count for response times.
    since: Option<Time>,
}

/// The open requests of one node: at most `limit`, and for each mode at most the admitted number of bytes.
pub(super) struct PendingRequests {
    limit: usize,
    next: u64,
    now: Time,
    cp: Admission,
    ap: Admission,
    /// Mean size of the answers to reads, for each mode: the expected cost of a read.
    found: [usize; 2],
    open: BTreeMap<u64, Open>,
    /// Writes that were proposed and not answered.
    underway: BTreeMap<WriteName, u64>,
    /// The latest requests, and their order of arrival.
    seen: BTreeSet<(Addr, u64)>,
    order: VecDeque<(Addr, u64)>,
}

impl PendingRequests {
    /// Creates an empty set. The first request gets the ticket `first`.
    pub(super) fn new(limit: usize, first: u64, (cp, ap): (Admission, Admission)) -> PendingRequests {
        let (open, underway, seen, order) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        PendingRequests { limit, next: first, now: Time(0), cp, ap, found: [0; 2], open, underway, seen, order }
    }

    /// Sets the present time.
    pub(super) fn pass(&mut self, now: Time) {
        self.now = now;
    }

    /// Returns the bytes of all open requests.
    pub(super) fn bytes(&self) -> usize {
        self.cp.open() + self.ap.open()
    }

    /// Returns whether a request is a copy of an earlier one.
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

    /// Records that a read of a mode was answered with `bytes`.
    pub(super) fn found(&mut self, ap: bool, bytes: usize) {
        let mean = &mut self.found[usize::from(ap)];
        *mean = *mean - *mean / 8 + bytes / 8;
    }

    /// Admits a request.
    ///
    /// # Errors
    /// Too much is open: the time after which the client should retry.
    pub(super) fn open(&mut self, client: Addr, id: u64, load: Load) -> Result<u64, Duration> {
        let (payload, now, room) = (self.payload(load), self.now, self.has_place());
        let admitted = room.then(|| self.mode(load.ap).admit((client, payload), load.again, now)).flatten();
        let Some(bytes) = admitted else { return Err(self.comes_again(load)) };
        let ticket = self.next;
        self.next += 1;
        self.open.insert(ticket, Open { client, id, write: None, ap: load.ap, bytes, since: Some(now) });
        Ok(ticket)
    }

    /// Promises room for a request.
    ///
    /// # Errors
    /// The time after which the client should retry.
    pub(super) fn promise(&mut self, client: Addr, load: Load) -> Result<(), Duration> {
        let (payload, now, room) = (self.payload(load), self.now, self.has_place());
        let promised = room && self.mode(load.ap).promises((client, payload), load.again, now);
        if promised { Ok(()) } else { Err(self.comes_again(load)) }
    }

    /// Opens a request that is free of charge.
    pub(super) fn asks(&mut self, client: Addr, id: u64, ap: bool) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.open.insert(ticket, Open { client, id, write: None, ap, bytes: 0, since: None });
        ticket
    }

    /// Returns when to retry a request for which there is no room elsewhere in the node.
    pub(super) fn comes_again(&mut self, load: Load) -> Duration {
        let (payload, now) = (self.payload(load), self.now);
        self.mode(load.ap).comes_again(payload, load.patience, now)
    }

    fn mode(&mut self, ap: bool) -> &mut Admission {
        if ap { &mut self.ap } else { &mut self.cp }
    }

    fn payload(&self, load: Load) -> usize {
        load.payload.unwrap_or(self.found[usize::from(load.ap)])
    }

    /// Excludes a request from response times: another node executes it, or it is refused, so its duration says nothing
    /// about this node.
    pub(super) fn untimed(&mut self, ticket: u64) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.since = None;
        }
    }

    /// Returns whether one more request may be open.
    pub(super) fn has_place(&self) -> bool {
        self.open.len() < self.limit
    }

    /// Returns the number of open requests.
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Closes a request. Returns its client and id.
    pub(super) fn close(&mut self, ticket: u64) -> Option<(Addr, u64)> {
        let open = self.open.remove(&ticket)?;
        if let Some(write) = open.write
            && self.underway.get(&write) == Some(&ticket)
        {
            self.underway.remove(&write);
        }
        let (took, now) = (open.since.map(|since| self.now.since(since)), self.now);
        self.mode(open.ap).end(open.bytes, took, now);
        Some((open.client, open.id))
    }

    /// Records that a request is a write that is being proposed.
    pub(super) fn underway(&mut self, ticket: u64, write: WriteName) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.write = Some(write);
            self.underway.insert(write, ticket);
        }
    }

    /// If the write is already in progress, redirects its response to this request and returns true. The earlier
    /// request gets none.
    pub(super) fn join(&mut self, write: WriteName, client: Addr, id: u64) -> bool {
        let Some(open) = self.underway.get(&write).and_then(|ticket| self.open.get_mut(ticket)) else { return false };
        (open.client, open.id) = (client, id);
        true
    }
}

/// What the open requests of one Raft group wait for, by ticket.
#[derive(Default)]
pub(super) struct Waiting {
    /// Keys of reads that have no index yet.
    reading: BTreeMap<u64, Key>,
    /// Writes by index and term. If two have the same index, the later term displaced the earlier.
    writes: BTreeMap<(Index, Term), u64>,
    /// Reads by the index they wait for.
    reads: BTreeMap<(Index, u64), Key>,
}

impl Waiting {
    pub(super) fn reading(&mut self, ticket: u64, key: Key) {
        self.reading.insert(ticket, key);
    }

    /// Removes a read that was refused.
    pub(super) fn refused(&mut self, ticket: u64) {
        self.reading.remove(&ticket);
    }

    pub(super) fn read_at(&mut self, ticket: u64, index: Index) {
        if let Some(key) = self.reading.remove(&ticket) {
            self.reads.insert((index, ticket), key);
        }
    }

    /// Returns a read that can be answered now that `applied` is applied.
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

    /// Handles the commit of the entry at `index` with `term`. Returns a request that waited at this index, and whether
    /// another entry displaced it. Call it until it returns `None`: requests of several terms may wait at one index.
    pub(super) fn committed(&mut self, index: Index, term: Term) -> Option<(u64, bool)> {
        let entry = self.writes.first_entry()?;
        let (at, of) = *entry.key();
        (at <= index).then(|| (entry.remove(), (at, of) != (index, term)))
    }

    /// Handles a jump of the state to `index`. The outcome of the writes up to it is unknown here. Returns them, to be
    /// dropped without a response; the client learns the outcome by a retry with the same session and number.
    pub(super) fn forget_through(&mut self, index: Index) -> impl Iterator<Item = u64> + use<> {
        let later = self.writes.split_off(&(index + 1, 0));
        std::mem::replace(&mut self.writes, later).into_values()
    }

    /// Returns all waiting requests and forgets them: none will be answered.
    pub(super) fn forget_all(&mut self) -> Vec<u64> {
        let Waiting { reading, writes, reads } = std::mem::take(self);
        reading.into_keys().chain(writes.into_values()).chain(reads.into_keys().map(|(_, ticket)| ticket)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::types::GroupId;

    const ANN: Addr = Addr::Client(1);
    const BOB: Addr = Addr::Client(2);
    const G: CoreId = CoreId::Group(GroupId(1));
    const SMALL: Load = Load { ap: false, payload: Some(10), again: false, patience: Duration::ZERO };

    fn pending(limit: usize) -> PendingRequests {
        let admission =
            || Admission::new(1 << 20, std::time::Duration::from_secs(1), Time(0), crate::mutant::Mutant::default());
        PendingRequests::new(limit, 1, (admission(), admission()))
    }

    #[test]
    fn a_write_is_answered_when_its_index_is_committed_with_its_term() {
        let mut pending = self::pending(10);
        let ticket = pending.open(ANN, 77, SMALL).unwrap();
        let mut waiting = Waiting::default();
        waiting.accepted(ticket, 5, 2);
        assert_eq!(waiting.committed(4, 2), None);
        assert_eq!(waiting.committed(5, 2), Some((ticket, false)));
        assert_eq!(pending.close(ticket), Some((ANN, 77)));
        assert_eq!(pending.close(ticket), None, "nothing is answered twice");
    }

    #[test]
    fn a_mode_that_is_overloaded_leaves_the_other_its_share() {
        let mut pending = self::pending(10_000);
        let large = 1380;
        (0..100).for_each(|_| pending.found(true, large));
        let read = Load { ap: true, payload: None, ..SMALL };
        let taken = (1..).take_while(|id| pending.open(ANN, *id, read).is_ok()).count();
        assert_eq!(taken, 10, "16 KiB of what they find");
        let other = pending.open(BOB, 1, Load { payload: Some(large), ..SMALL }).unwrap();
        assert!(pending.bytes() > 10 * large);
        pending.close(other);
        pending.close(1);
        assert!(pending.open(ANN, 100, Load { again: true, ..read }).is_ok());
    }

    #[test]
    fn a_retry_takes_over_the_answer_of_a_write_under_way() {
        let mut pending = self::pending(10);
        let ticket = pending.open(ANN, 1, SMALL).unwrap();
        assert!(!pending.join((G, 7, 1), ANN, 2), "nothing is under way");
        pending.underway(ticket, (G, 7, 1));
        assert!(pending.join((G, 7, 1), ANN, 2));
        assert!(!pending.join((G, 7, 2), ANN, 3), "another number is another write");
        assert!(!pending.join((CoreId::Group(GroupId(2)), 7, 1), ANN, 3), "so is another group's session of that name");
        assert_eq!(pending.close(ticket), Some((ANN, 2)));
        assert!(!pending.join((G, 7, 1), ANN, 4), "it was answered");
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
        let mut pending = self::pending(1);
        assert!(!pending.repeated(ANN, 7) && !pending.repeated(BOB, 7));
        assert!(pending.repeated(ANN, 7) && pending.repeated(BOB, 7));
        assert!(!pending.repeated(ANN, 8));
        assert!(pending.repeated(BOB, 7) && pending.repeated(ANN, 8), "two are remembered");
        assert!(!pending.repeated(ANN, 7), "and no more");
    }

    #[test]
    fn a_jump_of_the_state_drops_the_writes_before_it() {
        let mut pending = self::pending(2);
        let (before, after) = (pending.open(ANN, 1, SMALL).unwrap(), pending.open(BOB, 2, SMALL).unwrap());
        let mut waiting = Waiting::default();
        waiting.accepted(before, 5, 1);
        waiting.accepted(after, 6, 1);
        assert!(pending.open(ANN, 3, SMALL).is_err(), "the limit holds");
        assert_eq!(waiting.forget_through(5).collect::<Vec<_>>(), [before]);
        assert_eq!(pending.close(before), Some((ANN, 1)));
        assert!(pending.open(ANN, 3, SMALL).is_ok());
        assert_eq!(waiting.committed(6, 1), Some((after, false)));
    }
}
