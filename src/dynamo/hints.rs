//! What a node keeps for nodes that could not be reached (§4.6): by owner and key, durable before it is acknowledged.
//!
//! Their bytes, counted as they are in the log, have a limit: what does not fit is refused and does not count toward a quorum.

use super::siblings::Siblings;
use super::{Epoch, Hint, Record, encoding};
use crate::types::{Key, NodeId, Wall};
use im::OrdMap;
use std::collections::{BTreeMap, BTreeSet};

/// Hints, and what there is to know of all of them.
#[derive(Debug, Default)]
pub(super) struct Hints {
    all: OrdMap<(NodeId, Key), Hint>,
    bytes: usize,
    by_age: BTreeSet<(Wall, NodeId, Key)>,
    /// How many there are of each epoch, and for each owner.
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

    /// The epoch of the oldest.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epochs.keys().next().copied()
    }

    /// For whom there are any.
    pub fn owners(&self) -> impl Iterator<Item = NodeId> {
        self.owners.keys().copied()
    }

    /// Those of a key.
    pub fn of(&self, key: &Key) -> impl Iterator<Item = (NodeId, &Hint)> {
        self.owners().filter_map(|owner| Some((owner, self.get(owner, key)?)))
    }

    /// The longest kept first.
    pub fn by_age(&self) -> impl Iterator<Item = &(Wall, NodeId, Key)> {
        self.by_age.iter()
    }

    /// Bytes that there would be with this one in place of what is kept.
    pub fn bytes_with(&self, owner: NodeId, key: &Key, hint: &Hint) -> usize {
        self.bytes - self.get(owner, key).map_or(0, |old| size(owner, key, old)) + size(owner, key, hint)
    }

    /// Keeps a hint, or no longer.
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

/// What is kept for all of a key's owners together, and the epoch of the oldest.
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
