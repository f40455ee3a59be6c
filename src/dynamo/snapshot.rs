//! Snapshots of the whole store: taken in O(1), written out in blocks while the store continues to run.
//!
//! A block is a sequence of whole records (see `encoding`): first keys, then hints, each in order. The snapshot file
//! checksums the blocks and records whether all are present. Until a snapshot is durable, the store remembers what the
//! previous snapshot lacks, so that the log can repeat it. After that, the store only remembers what has changed since
//! the new snapshot was begun.

use super::encoding;
use super::recovery::Changed;
use super::store::Store;
use super::{Dynamo, Entry, Hint, Record};
use crate::types::{Bytes, Key, NodeId};
use im::OrdMap;
use std::ops::Bound;
use std::sync::Arc;

/// A state of the store, to be written to a snapshot file.
#[derive(Debug)]
pub struct StoreSnapshot {
    number: u64,
    keys: OrdMap<Key, Arc<Entry>>,
    hints: OrdMap<(NodeId, Key), Hint>,
    after_key: Bound<Key>,
    after_hint: Bound<(NodeId, Key)>,
}

/// The existing snapshots, and what has changed since them.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The number of the newest durable snapshot; 0 for none.
    durable: u64,
    /// The number of the newest snapshot begun.
    begun: u64,
    /// What changed from the durable snapshot to the newest one begun.
    before: Changed,
    /// What has changed since the newest snapshot was begun.
    pub since: Changed,
}

impl Snapshots {
    pub fn new(durable: u64, since: Changed) -> Snapshots {
        Snapshots { durable, begun: durable, before: Changed::default(), since }
    }
}

impl StoreSnapshot {
    /// Returns the number of the snapshot; later ones have greater numbers.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the next block, of at most `max` bytes unless a single record is larger; `None` at the end.
    pub fn next_block(&mut self, max: usize) -> Option<Bytes> {
        let mut block = Vec::new();
        for (key, entry) in self.keys.range((self.after_key.clone(), Bound::Unbounded)) {
            if !push(&mut block, max, &Record::Key(key.clone(), Some(entry.clone()))) {
                return Some(block.into());
            }
            self.after_key = Bound::Excluded(key.clone());
        }
        for ((owner, key), hint) in self.hints.range((self.after_hint.clone(), Bound::Unbounded)) {
            if !push(&mut block, max, &Record::Hint(*owner, key.clone(), Some(hint.clone()))) {
                return Some(block.into());
            }
            self.after_hint = Bound::Excluded((*owner, key.clone()));
        }
        (!block.is_empty()).then(|| block.into())
    }
}

/// Appends a record if it fits. Returns whether it did.
fn push(block: &mut Vec<u8>, max: usize, record: &Record) -> bool {
    let before = block.len();
    encoding::encode(record, block);
    let fits = before == 0 || block.len() <= max;
    if !fits {
        block.truncate(before);
    }
    fits
}

impl Store {
    pub(super) fn begin_snapshot(&mut self) -> StoreSnapshot {
        let snapshots = &mut self.snapshots;
        snapshots.begun += 1;
        let since = std::mem::take(&mut snapshots.since);
        snapshots.before.add(since);
        StoreSnapshot {
            number: snapshots.begun,
            keys: self.keys.clone(),
            hints: self.hints.all().clone(),
            after_key: Bound::Unbounded,
            after_hint: Bound::Unbounded,
        }
    }

    pub(super) fn snapshot_finished(&mut self) {
        self.snapshots.durable = self.snapshots.begun;
        self.snapshots.before = Changed::default();
    }

    pub(super) fn state_records(&self) -> Vec<Record> {
        let Snapshots { durable, before, since, .. } = &self.snapshots;
        let mut changed = since.clone();
        changed.add(before.clone());
        let snapshot = (*durable > 0).then_some(Record::Snapshot(*durable));
        let keys = changed.keys.into_iter().map(|key| (self.keys.get(&key).cloned(), key));
        let hints = changed.hints.into_iter().map(|id| (self.hints.all().get(&id).cloned(), id));
        (snapshot.into_iter())
            .chain([Record::Epoch(self.epoch.lasting())])
            .chain(self.rejoins().then_some(Record::Rejoin(true)))
            .chain(keys.map(|(entry, key)| Record::Key(key, entry)))
            .chain(hints.map(|(hint, (owner, key))| Record::Hint(owner, key, hint)))
            .collect()
    }
}

impl Changed {
    fn add(&mut self, other: Changed) {
        self.keys = std::mem::take(&mut self.keys).union(other.keys);
        self.hints = std::mem::take(&mut self.hints).union(other.hints);
    }
}

impl Dynamo {
    /// Returns the present state, in O(1), to be written to a file.
    pub fn begin_snapshot(&mut self) -> StoreSnapshot {
        self.store.begin_snapshot()
    }

    /// Records that the snapshot begun last is durable.
    pub fn snapshot_finished(&mut self) {
        self.store.snapshot_finished();
    }
}
