//! The log in memory (§5.3, §7): its entries, and which of them are committed, recorded and durable.
//!
//! ```text
//! base ≤ snapshot ≤ commit ≤ recorded ≤ last        durable ≤ recorded
//! ```
//! `base` is the position just before the first entry held. It is before the snapshot when entries are kept for
//! followers that lag a little. `recorded` is the last index handed to the disk; `durable` is the last index the disk
//! confirmed. Terms never decrease along the log, so every search by term is a binary search.

use super::{ENTRY_OVERHEAD, Entry, Index, Recovered, SnapshotMeta, Term, pop_front_if};
use crate::protocol::Ticket;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Log {
    base: SnapshotMeta,
    snapshot: SnapshotMeta,
    entries: VecDeque<Entry>,
    bytes: usize,
    commit: Index,
    uncommitted: usize,
    recorded: Index,
    durable: Index,
    /// The index up to which the log is durable once the ticket is. Tickets increase; there is one item per ticket.
    awaited: VecDeque<(Ticket, Index)>,
}

/// The size of an entry for limits on bytes.
pub(super) fn cost(entry: &Entry) -> usize {
    entry.command.len() + ENTRY_OVERHEAD
}

impl Log {
    /// Creates the log from what the disk held. No entry after the snapshot is known to be committed.
    pub fn new(recovered: Recovered) -> Log {
        let entries = VecDeque::from(recovered.entries);
        assert!(entries.iter().map(|e| e.term).is_sorted(), "terms decrease in the recovered log");
        let last = recovered.snapshot.index + entries.len() as u64;
        let bytes = entries.iter().map(cost).sum();
        Log {
            base: recovered.snapshot,
            snapshot: recovered.snapshot,
            entries,
            bytes,
            commit: recovered.snapshot.index,
            uncommitted: bytes,
            recorded: last,
            durable: last,
            awaited: VecDeque::new(),
        }
    }

    /// Index of the first entry held.
    pub fn first(&self) -> Index {
        self.base.index + 1
    }

    pub fn last(&self) -> Index {
        self.base.index + self.entries.len() as u64
    }

    pub fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base.term, |e| e.term)
    }

    pub fn commit(&self) -> Index {
        self.commit
    }

    pub fn recorded(&self) -> Index {
        self.recorded
    }

    pub fn durable(&self) -> Index {
        self.durable
    }

    pub fn snapshot(&self) -> SnapshotMeta {
        self.snapshot
    }

    /// Total cost of all entries held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Total cost of the entries after the commit index.
    pub fn uncommitted(&self) -> usize {
        self.uncommitted
    }

    /// Returns the term of the entry at `index`, or `None` if the entry is compacted away or not in the log yet.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        Some(self.entries.get(self.offset(index)?)?.term)
    }

    /// Returns the entries from `from` on; all of them if `from` is before the first.
    pub fn iter_from(&self, from: Index) -> impl Iterator<Item = &Entry> {
        let skip = from.saturating_sub(self.first()).min(self.entries.len() as u64);
        self.entries.range(skip as usize..)
    }

    /// Copies entries from `from` on: as many as fit into `max_bytes`, but at least one if there is one.
    pub fn batch(&self, from: Index, max_bytes: usize) -> Vec<Entry> {
        let mut left = max_bytes;
        let fits = |(i, entry): &(usize, &Entry)| {
            let fit = cost(entry) <= left || *i == 0;
            left = left.saturating_sub(cost(entry));
            fit
        };
        let count = self.iter_from(from).enumerate().take_while(fits).count();
        let mut entries = Vec::with_capacity(count);
        entries.extend(self.iter_from(from).take(count).cloned());
        entries
    }

    /// Returns the last index up to `index` whose term is at most `term`, or the base.
    pub fn last_at_most(&self, index: Index, term: Term) -> Index {
        let older = self.entries.partition_point(|e| e.term <= term) as u64;
        index.min(self.base.index + older).max(self.base.index)
    }

    /// Returns how many of `entries`, which follow index `prev`, the log already holds (§5.3: if two entries have the
    /// same index and term, they and all entries before them are identical).
    pub fn held(&self, prev: Index, entries: &[Entry]) -> usize {
        self.iter_from(prev + 1).zip(entries).take_while(|(mine, new)| mine.term == new.term).count()
    }

    /// Appends a leader's own entry. The entry is not recorded yet.
    pub fn push(&mut self, entry: Entry) -> Index {
        assert!(entry.term >= self.last_term(), "terms decrease in the log");
        self.bytes += cost(&entry);
        self.uncommitted += cost(&entry);
        self.entries.push_back(entry);
        self.last()
    }

    /// Replaces the log from `first` on with the leader's `entries`, on a follower. The caller records them.
    pub fn replace(&mut self, first: Index, entries: &[Entry]) {
        assert!(first > self.commit, "a committed entry would be replaced");
        assert!(first <= self.last() + 1, "a gap would open in the log");
        while self.last() >= first {
            let gone = self.entries.pop_back().expect("the log reaches `first`");
            self.bytes -= cost(&gone);
            self.uncommitted -= cost(&gone);
        }
        self.durable = self.durable.min(first - 1);
        for (_, index) in &mut self.awaited {
            *index = (*index).min(first - 1);
        }
        for entry in entries {
            self.push(entry.clone());
        }
        self.recorded = self.last();
    }

    /// Returns the entries a leader has added since the last call. The caller records them.
    pub fn take_unrecorded(&mut self) -> Option<(Index, Vec<Entry>)> {
        if self.recorded == self.last() {
            return None;
        }
        let first = self.recorded + 1;
        self.recorded = self.last();
        Some((first, self.iter_from(first).cloned().collect()))
    }

    /// Notes that a record was made under `ticket`: once it is durable, so is everything recorded so far.
    pub fn await_ticket(&mut self, ticket: Ticket) {
        match self.awaited.back_mut() {
            Some((t, index)) if *t == ticket => *index = self.recorded,
            _ => self.awaited.push_back((ticket, self.recorded)),
        }
    }

    /// Marks `ticket` and all earlier tickets as durable.
    pub fn persisted(&mut self, ticket: Ticket) {
        while let Some((_, index)) = pop_front_if(&mut self.awaited, |(t, _)| *t <= ticket) {
            self.durable = self.durable.max(index);
        }
    }

    /// Commits up to `index`. Returns the first newly committed index and the entries to apply.
    pub fn commit_to(&mut self, index: Index) -> Option<(Index, Vec<Entry>)> {
        if index <= self.commit {
            return None;
        }
        assert!(index <= self.recorded, "the commit index would pass what is recorded");
        let first = self.commit + 1;
        let count = (index - self.commit) as usize;
        let mut entries = Vec::with_capacity(count);
        entries.extend(self.iter_from(first).take(count).cloned());
        self.uncommitted -= entries.iter().map(cost).sum::<usize>();
        self.commit = index;
        Some((first, entries))
    }

    /// Drops the entries included in a snapshot up to `meta` (§7). Keeps the last `keep` of them, and those after
    /// `pinned` as far as they fit into `max_bytes`. Returns false, and does nothing, unless `meta` is a committed
    /// position of this log after the current snapshot.
    pub fn compact(&mut self, meta: SnapshotMeta, keep: u64, (pinned, max_bytes): (Index, usize)) -> bool {
        let news = meta.index > self.snapshot.index && meta.index <= self.commit;
        if !news || self.term_at(meta.index) != Some(meta.term) {
            return false;
        }
        self.snapshot = meta;
        let kept = meta.index.saturating_sub(keep);
        self.forget_to(kept.min(pinned));
        let beyond = self.entries.iter().take(kept.saturating_sub(self.base.index) as usize);
        let mut excess = beyond.map(cost).sum::<usize>().saturating_sub(max_bytes);
        while excess > 0 {
            excess = excess.saturating_sub(cost(&self.entries[0]));
            self.forget_to(self.base.index + 1);
        }
        true
    }

    /// Replaces the log with a snapshot received from the leader (§7). If the log contains the snapshot's position, the
    /// entries after it stay.
    pub fn restore(&mut self, meta: SnapshotMeta) {
        assert!(meta.index > self.commit, "the commit index would go back");
        if self.term_at(meta.index) == Some(meta.term) {
            self.forget_to(meta.index);
        } else {
            self.entries.clear();
            self.bytes = 0;
            // What the disk confirmed of the replaced log no longer counts, except for the common part.
            self.durable = self.durable.min(self.commit);
            for (_, index) in &mut self.awaited {
                *index = (*index).min(self.commit);
            }
        }
        self.base = meta;
        self.snapshot = meta;
        self.commit = meta.index;
        self.uncommitted = self.bytes;
        self.recorded = self.last();
    }

    fn forget_to(&mut self, index: Index) {
        while self.base.index < index {
            let gone = self.entries.pop_front().expect("the log reaches `index`");
            self.bytes -= cost(&gone);
            self.base = SnapshotMeta { index: self.base.index + 1, term: gone.term };
        }
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.checked_sub(self.first())?).ok()
    }

    /// Panics unless the order given at the top of this file holds.
    pub fn check(&self) {
        assert!(self.base.index <= self.snapshot.index, "entries are missing behind the snapshot");
        assert!(self.snapshot.index <= self.commit, "an uncommitted entry is in the snapshot");
        assert!(self.commit <= self.recorded && self.recorded <= self.last(), "a committed entry is not recorded");
        assert!(self.durable <= self.recorded, "an entry is durable that was not recorded");
    }
}
