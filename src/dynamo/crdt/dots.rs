//! Dot stores: things keyed by the dots of the writes that added them.

use super::{DOT, LEN, Size};
use crate::dynamo::version_vector::{Dot, VersionVector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Things keyed by the dots of the writes that added them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Dots<T>(pub(super) BTreeMap<Dot, T>);

impl<T> Default for Dots<T> {
    fn default() -> Dots<T> {
        Dots(BTreeMap::new())
    }
}

impl<T: Clone + Ord> Dots<T> {
    /// Merges the dot store of another side whose version vector is `theirs`, while this side's is `mine`. What both
    /// hold stays. What only one holds stays unless the other's version vector contains its dot. Two different things
    /// with the same dot do not occur in sane states; the greater one is kept.
    pub(super) fn merge(&mut self, mine: &VersionVector, other: &Dots<T>, theirs: &VersionVector) {
        self.0.retain(|dot, _| other.0.contains_key(dot) || !theirs.contains(*dot));
        for (dot, thing) in &other.0 {
            match self.0.get_mut(dot) {
                Some(held) if *held < *thing => held.clone_from(thing),
                None if !mine.contains(*dot) => drop(self.0.insert(*dot, thing.clone())),
                _ => {}
            }
        }
    }

    /// Whether the version vector contains all the dots.
    pub(super) fn known_to(&self, clock: &VersionVector) -> bool {
        self.0.keys().all(|dot| dot.count > 0 && clock.contains(*dot))
    }

    /// The size of the store, given the size of each thing.
    pub(super) fn size(&self, bytes: impl Fn(&T) -> usize) -> Size {
        Size { parts: self.0.len(), bytes: LEN + self.0.values().map(|thing| DOT + bytes(thing)).sum::<usize>() }
    }
}
