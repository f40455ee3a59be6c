//! What the disk holds of a node, and how it becomes a node again (figure 2, "persistent state"; §7).

use super::{LIMIT, Raft, Record, Recovered};

impl Recovered {
    /// Takes the next record as it was persisted. Replaying all records in order gives what [`Raft::new`] expects;
    /// entries the snapshot includes are dropped, those kept for lagging followers too.
    ///
    /// # Errors
    /// The record does not fit what came before it: the log would have a gap, its terms would decrease, or the term or
    /// the snapshot would go back. Records in the order a node persisted them never do.
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

/// Why a record cannot follow the ones before it.
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
    /// A snapshot older than one recorded before, another one at the same index, or one at an impossible index.
    #[error("the snapshot cannot follow the one recorded before")]
    SnapshotGoesBack,
}

impl Raft {
    /// The shortest list of records that restates everything: replayed onto an empty [`Recovered`] it gives what the
    /// records persisted so far give. For the head of a fresh log segment, after which the older ones may go. Call it
    /// only when every record so far has been taken from the outbox: records from before must not follow it.
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
