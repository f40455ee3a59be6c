//! Dot stores: things under the names of the writes that put them there.

use super::{DOT, LEN, Size};
use crate::dynamo::version_vector::{Dot, VersionVector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Things by the writes that put them there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Dots<T>(pub(super) BTreeMap<Dot, T>);

impl<T> Default for Dots<T> {
    fn default() -> Dots<T> {
        Dots(BTreeMap::new())
    }
}

impl<T: Clone + Ord> Dots<T> {
    /// Takes in what another side that knows `theirs` holds, while this one knows `mine`: what both hold stays, what only one
    /// holds stays unless the other knows of it. Two things of one name, which no two sane writes have, are settled by order.
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

    /// Whether the clock knows all of them.
    pub(super) fn known_to(&self, clock: &VersionVector) -> bool {
        self.0.keys().all(|dot| dot.count > 0 && clock.contains(*dot))
    }

    /// Their size, given that of each thing.
    pub(super) fn size(&self, bytes: impl Fn(&T) -> usize) -> Size {
        Size { parts: self.0.len(), bytes: LEN + self.0.values().map(|thing| DOT + bytes(thing)).sum::<usize>() }
    }
}
