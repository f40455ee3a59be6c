//! Hints, which a node keeps for nodes that could not be reached (§4.6): by owner and key, durable before they are
//! acknowledged.
//!
//! Their total size, measured as encoded in the log, is limited: a hint that does not fit is refused and does not count
//! toward a quorum.

use super::siblings::Siblings;
use super::{Epoch, Hint, Record, encoding};
use crate::types::{Key, NodeId, Wall};
use im::OrdMap;
use std::collections::{BTreeMap, BTreeSet};

/// All hints, with indexes and totals.
#[derive(Debug, Default)]
pub(super) struct Hints {
    all: OrdMap<(NodeId, Key), Hint>,
    bytes: usize,
    by_age: BTreeSet<(Wall, NodeId, Key)>,
    /// The number of hints per epoch, and per owner.
    epochs: BTreeMap<Epoch, usize>,
    owners: BTreeMap<NodeId, usize>,
}

impl Hints {
    pub fn new(found: OrdMap<(NodeId, Key), Hint>) -> Hints {
        let mut hints = Hints::default();
        for ((owner, key), hint) in found {
            hints.set(owner, &key, Some(hint));
        }
        hints
    }

    pub fn all(&self) -> &OrdMap<(NodeId, Key), Hint> {
        &self.all
    }

    pub fn get(&self, owner: NodeId, key: &Key) -> Option<&Hint> {
        self.all.get(&(owner, key.clone()))
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the epoch of the oldest hint.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epochs.keys().next().copied()
    }

    /// Returns the nodes for which there are hints.
    pub fn owners(&self) -> impl Iterator<Item = NodeId> {
        self.owners.keys().copied()
    }

    /// Returns the hints of a key, with their owners.
    pub fn of(&self, key: &Key) -> impl Iterator<Item = (NodeId, &Hint)> {
        self.owners().filter_map(|owner| Some((owner, self.get(owner, key)?)))
    }

    /// Returns the hints in order of age, the oldest first.
    pub fn by_age(&self) -> impl Iterator<Item = &(Wall, NodeId, Key)> {
        self.by_age.iter()
    }

    /// Returns the total bytes if this hint replaced the one kept now.
    pub fn bytes_with(&self, owner: NodeId, key: &Key, hint: &Hint) -> usize {
        self.bytes - self.get(owner, key).map_or(0, |old| size(owner, key, old)) + size(owner, key, hint)
    }

    /// Keeps a hint; `None` removes it.
    pub fn set(&mut self, owner: NodeId, key: &Key, hint: Option<Hint>) {
        if let Some(old) = self.all.remove(&(owner, key.clone())) {
            self.bytes -= size(owner, key, &old);
            self.by_age.remove(&(old.since, owner, key.clone()));
            less(&mut self.epochs, &old.epoch);
            less(&mut self.owners, &owner);
        }
        if let Some(hint) = hint {
            self.bytes += size(owner, key, &hint);
            self.by_age.insert((hint.since, owner, key.clone()));
            *self.epochs.entry(hint.epoch).or_default() += 1;
            *self.owners.entry(owner).or_default() += 1;
            self.all.insert((owner, key.clone()), hint);
        }
    }
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            counts.remove(of);
        }
    }
}

fn size(owner: NodeId, key: &Key, hint: &Hint) -> usize {
    let mut bytes = Vec::new();
    encoding::encode(&Record::Hint(owner, key.clone(), Some(hint.clone())), &mut bytes);
    bytes.len()
}

/// Returns what is kept of a key for all owners, merged, and the epoch of the oldest hint.
pub(super) fn together(
    hints: &Hints,
    key: &Key,
    mut merge: impl FnMut(&mut Siblings, &Siblings) -> bool,
) -> Option<(Siblings, Epoch)> {
    hints.of(key).fold(None, |found, (_, hint)| match found {
        None => Some((hint.entry.siblings.clone(), hint.epoch)),
        Some((mut all, epoch)) => {
            merge(&mut all, &hint.entry.siblings);
            Some((all, epoch.min(hint.epoch)))
        }
    })
}
