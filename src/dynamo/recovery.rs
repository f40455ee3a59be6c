//! The contents of the disk at start, rebuilt from the log and, if there is one, the newest snapshot.
//!
//! The log is replayed first, in order; then the blocks of the snapshot named by its last [`Record::Snapshot`]. Such a
//! record replaces everything before it, and changes made while the snapshot was being written are repeated after it.
//! So what the log says of a key or a hint after that record is newer than what the snapshot says.

use super::{Dynamo, Entry, Epoch, Hint, Holding, Record, encoding};
use crate::types::{Key, NodeId};
use im::{OrdMap, OrdSet};
use std::sync::Arc;

/// What the disk held when the node started. The default is a new node.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Keys.
    pub keys: OrdMap<Key, Arc<Entry>>,
    /// The hints kept for other nodes.
    pub hints: OrdMap<(NodeId, Key), Hint>,
    /// The epoch.
    pub epoch: Epoch,
    /// Whether the directory held less than this node had reported as durable, and has not been refilled since (see
    /// `rejoin`). A caller that knows that the directory is empty or an old copy sets this.
    pub rejoining: bool,
    /// The number of the newest durable snapshot; 0 for none.
    pub snapshot: u64,
    /// The keys and hints that the log mentions after that snapshot.
    pub(super) since: Changed,
}

/// Keys and hints that have changed since a snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    pub keys: OrdSet<Key>,
    pub hints: OrdSet<(NodeId, Key)>,
}

impl Recovered {
    /// Applies a record of the log. Records must be given in order.
    ///
    /// # Errors
    /// A sentence saying why the record cannot follow those before it.
    pub fn replay(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Key(key, entry) => {
                set(&mut self.keys, key.clone(), entry);
                self.since.keys.insert(key);
            }
            Record::Hint(owner, key, hint) => {
                set(&mut self.hints, (owner, key.clone()), hint);
                self.since.hints.insert((owner, key));
            }
            Record::Epoch(epoch) => self.epoch = self.epoch.max(epoch),
            Record::Rejoin(rejoins) => self.rejoining = rejoins,
            Record::Snapshot(number) if number < self.snapshot => {
                return Err(format!("snapshot {number} follows snapshot {}", self.snapshot));
            }
            Record::Snapshot(number) => {
                let Recovered { epoch, rejoining, .. } = *self;
                *self = Recovered { epoch, rejoining, snapshot: number, ..Recovered::default() };
            }
        }
        Ok(())
    }

    /// Applies a block of the snapshot, after the log.
    ///
    /// # Errors
    /// A sentence saying where the block is invalid.
    pub fn block(&mut self, block: &[u8]) -> Result<(), String> {
        let mut rest = block;
        while !rest.is_empty() {
            let at = block.len() - rest.len();
            match encoding::decode(&mut rest) {
                Some(Record::Key(key, Some(entry))) if !self.since.keys.contains(&key) => {
                    self.keys.insert(key, entry);
                }
                Some(Record::Hint(owner, key, Some(hint))) if !self.since.hints.contains(&(owner, key.clone())) => {
                    self.hints.insert((owner, key), hint);
                }
                Some(Record::Key(_, Some(_)) | Record::Hint(_, _, Some(_))) => {}
                _ => return Err(format!("no key and no hint at byte {at} of a block of {}", block.len())),
            }
        }
        Ok(())
    }
}

fn set<K: Ord + Clone, V: Clone>(map: &mut OrdMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Dynamo {
    /// Returns the records that a new log segment must repeat: everything that the newest durable snapshot does not
    /// contain.
    #[must_use]
    pub fn state_records(&self) -> Vec<Record> {
        self.store.state_records()
    }

    /// Returns what this node holds of `key`, for itself and for others.
    #[must_use]
    pub fn why(&self, key: &[u8]) -> Vec<Holding> {
        self.store.why(key)
    }

    /// Returns all keys that the node holds for itself, in O(1).
    #[must_use]
    pub fn keys(&self) -> OrdMap<Key, Arc<Entry>> {
        self.store.keys.clone()
    }

    /// Returns all hints that the node keeps for others, in O(1).
    #[must_use]
    pub fn hints(&self) -> OrdMap<(NodeId, Key), Hint> {
        self.store.hints.all().clone()
    }
}
