//! Recovery of a node's persistent state from its records (figure 2, "persistent state"; §7).

use super::{LIMIT, Raft, Record, Recovered};

impl Recovered {
    /// Applies the next record, in the order of persisting. Replaying all records gives what [`Raft::new`] expects.
    /// Entries that the snapshot includes are dropped, also those kept for lagging followers.
    ///
    /// # Errors
    /// The record does not fit the records before it: the log would have a gap, its terms would decrease, or the term
    /// or the snapshot would go back. This never happens with a node's own records in the order it persisted them.
    pub fn replay(&mut self, record: Record) -> Result<(), BadRecord> {
        let last = self.snapshot.index + self.entries.len() as u64;
        match record {
            Record::HardState { term, vote } => {
                if term < self.term {
                    return Err(BadRecord::TermGoesBack);
                }
                (self.term, self.vote) = (term, vote);
            }
            Record::Append { first, entries } => {
                if first <= self.snapshot.index || first > last + 1 {
                    return Err(BadRecord::Gap);
                }
                let keep = (first - self.snapshot.index - 1) as usize;
                let before = keep.checked_sub(1).map_or(self.snapshot.term, |i| self.entries[i].term);
                if !std::iter::once(before).chain(entries.iter().map(|e| e.term)).is_sorted() {
                    return Err(BadRecord::TermsDecrease);
                }
                self.entries.truncate(keep);
                self.entries.extend(entries);
            }
            Record::Snapshot(meta) => {
                if meta == self.snapshot {
                    return Ok(());
                }
                let forward = meta.index.checked_sub(self.snapshot.index).filter(|_| meta.index <= LIMIT);
                let Some(last_included) = forward.and_then(|included| included.checked_sub(1)) else {
                    return Err(BadRecord::SnapshotGoesBack);
                };
                let last_included = usize::try_from(last_included).unwrap_or(usize::MAX);
                if self.entries.get(last_included).is_some_and(|entry| entry.term == meta.term) {
                    self.entries.drain(..=last_included);
                } else {
                    self.entries.clear();
                }
                self.snapshot = meta;
            }
        }
        Ok(())
    }
}

/// The reason why a record cannot follow the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRecord {
    /// Entries that do not connect to the log.
    #[error("the entries do not connect to the log before them")]
    Gap,
    /// Terms that decrease along the log.
    #[error("the entries' terms decrease")]
    TermsDecrease,
    /// A term lower than one recorded before.
    #[error("the term is lower than one recorded before")]
    TermGoesBack,
    /// A snapshot that is older than one recorded before, is a different one at the same index, or has an impossible
    /// index.
    #[error("the snapshot cannot follow the one recorded before")]
    SnapshotGoesBack,
}

impl Raft {
    /// Returns the shortest list of records that restates the whole state: replayed onto an empty [`Recovered`], it
    /// gives the same as all records persisted so far. It is meant for the start of a new log segment, after which the
    /// older segments may be deleted. Call it only when every record so far has been taken from the outbox: earlier
    /// records must not follow it.
    #[must_use]
    pub fn state_records(&self) -> Vec<Record> {
        let mut records = vec![Record::HardState { term: self.term, vote: self.vote }];
        let snapshot = self.log.snapshot();
        if snapshot.index > 0 {
            records.push(Record::Snapshot(snapshot));
        }
        let first = snapshot.index + 1;
        let count = self.log.recorded() - snapshot.index;
        if count > 0 {
            let entries = self.log.iter_from(first).take(count as usize).cloned().collect();
            records.push(Record::Append { first, entries });
        }
        records
    }
}
