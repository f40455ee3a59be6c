//! The versions of a key that are not superseded, and what is known to be: a dotted version vector set.
//!
//! Follows "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (Almeida, Baquero, Gonçalves, Preguiça,
//! Fonte 2014). Each version has its own [`Dot`]; one [`VersionVector`] over all of them says which writes are known. A version that one
//! side knows and does not hold has been superseded, so a merge drops it; one that it does not know is news, and is kept. Two
//! clients that write at the same time through one server give two dots of one actor, and neither covers the other: a version
//! vector without dots would either lose one or invent conflicts.
//!
//! **One write, one dot.** No two versions are copies of one write, for no two coordinators ever carry the same write out (see
//! `coordinator/windows.rs`): only so does "known and not held" always mean superseded, however late a message comes.
//!
//! **Last writer wins** is a lattice of its own: of all versions the one with the greatest stamp and dot is kept, whatever the
//! clocks say, for a rule by causes and a rule by stamps together would make the outcome depend on the order of merges. Causes
//! count because a write gets a stamp later than those of the versions it supersedes.
//!
//! Invariants, checked in release builds where a state is made: versions are in the order of their dots, each known to the
//! clock. A state that knows a write also knows what that write had seen.

use super::context::Seen;
use super::crdt;
use super::version_vector::{Actor, Dot, VersionVector};
use crate::codec;
use crate::mutant::{Bug, Mutant};
use crate::types::{Hlc, MAX_VALUE_BYTES, Resolve, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// No stamp is later (it is in the year 2262).
pub const MAX_STAMP: Hlc = Hlc(1 << 63);

/// Bytes of a version beside its content, about.
const VERSION_BYTES: usize = 64;

/// A client's name for one of its writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WriteId {
    /// The client, by a number it drew.
    pub client: u64,
    /// Its how-manieth write.
    pub number: u64,
}

/// What a version holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Content {
    /// A value.
    Value(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Nothing: the key was deleted.
    Tombstone,
    /// A mergeable value.
    Merge(crdt::State),
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its name.
    pub dot: Dot,
    /// When its coordinator believed to write it.
    pub stamp: Hlc,
    /// The client's write that made it.
    pub write: WriteId,
    /// What it holds.
    pub content: Content,
}

/// A key's versions and what is known of it. The default knows nothing. Clones share it until one of them changes: the same
/// state is held, logged, and sent to several replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Siblings(Arc<Known>);

/// What clones of [`Siblings`] share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    clock: VersionVector,
    versions: Vec<Version>,
}

impl Known {
    /// Puts the versions in order, and lets the last writer win where it is to.
    fn settle(&mut self, resolve: Resolve) {
        if resolve == Resolve::LastWriter
            && let Some(last) = self.versions.iter().max_by_key(|v| (v.stamp, v.dot)).map(|v| v.dot)
        {
            self.versions.retain(|v| v.dot == last);
        }
        self.versions.sort_unstable_by_key(|v| v.dot);
        assert!(self.versions.iter().all(|v| self.clock.contains(v.dot)), "a version its own clock does not know");
    }
}

impl Deref for Siblings {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.0
    }
}

impl DerefMut for Siblings {
    fn deref_mut(&mut self) -> &mut Known {
        Arc::make_mut(&mut self.0)
    }
}

impl Serialize for Siblings {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Siblings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Siblings, D::Error> {
        Known::deserialize(from).map(|known| Siblings(Arc::new(known)))
    }
}

impl Siblings {
    /// What is known.
    #[must_use]
    pub fn clock(&self) -> &VersionVector {
        &self.clock
    }

    /// The versions that are not superseded, in the order of their dots.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clock.is_empty()
    }

    /// About how many bytes the versions have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let content = |v: &Version| match &v.content {
            Content::Value(value) => value.len(),
            Content::Merge(state) => state.bytes(),
            Content::Tombstone => 0,
        };
        self.versions.iter().map(|v| VERSION_BYTES + content(v)).sum()
    }

    /// A number for all of it: equal for equal states. A value is told by its dot, which no other has.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        // None of these is of a kind that cannot be written.
        let _ = codec::append(&self.clock, &mut bytes);
        for version in &self.versions {
            let _ = codec::append(&(version.dot, version.stamp, version.write), &mut bytes);
            if let Content::Merge(state) = &version.content {
                let _ = codec::append(state, &mut bytes);
            }
        }
        xxh3_64(&bytes)
    }

    /// Whether all there is is that the key was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        !self.versions.is_empty() && self.versions.iter().all(|v| v.content == Content::Tombstone)
    }

    /// Whether nothing in `other` is news: merging it in would change nothing.
    #[must_use]
    pub fn includes(&self, other: &Siblings) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.clock.covers(&other.clock)
                && self.versions.iter().all(|v| !other.clock.contains(v.dot) || other.holds(v.dot))
    }

    /// The dot that the next write of `actor` gets.
    #[must_use]
    pub fn next_dot(&self, actor: Actor, mutant: Mutant) -> Dot {
        let count = self.clock.count(actor);
        Dot { actor, count: if mutant.is(Bug::DotNotAdvanced) { count.max(1) } else { count.saturating_add(1) } }
    }

    /// Adds a write that supersedes exactly what `seen` covers, as the next one of `actor`, and gives its dot.
    pub fn write(
        &mut self,
        seen: &Seen,
        actor: Actor,
        (stamp, write): (Hlc, WriteId),
        content: Content,
        (resolve, mutant): (Resolve, Mutant),
    ) -> Dot {
        let dot = self.next_dot(actor, mutant);
        let known = &mut **self;
        let mut latest = seen.stamp;
        known.versions.retain(|v| {
            let gone = seen.clock.contains(v.dot) || v.dot == dot;
            if gone {
                latest = latest.max(v.stamp);
            }
            !gone
        });
        let stamp = Hlc(stamp.0.max(latest.0.saturating_add(1)).min(MAX_STAMP.0));
        known.clock.join(&seen.clock);
        known.clock.raise(actor, dot.count);
        known.versions.push(Version { dot, stamp, write, content });
        known.settle(resolve);
        dot
    }

    /// Takes in what another replica holds; says whether that changed anything.
    pub fn merge(&mut self, other: &Siblings, resolve: Resolve, mutant: Mutant) -> bool {
        if self.includes(other) {
            return false;
        }
        if other.includes(self) && !mutant.is(Bug::SiblingDropped) {
            self.clone_from(other);
            return true;
        }
        let known = &mut **self;
        let Known { clock, versions } = &mut *known;
        versions.retain(|v| !other.clock.contains(v.dot) || other.holds(v.dot));
        versions.extend(other.versions.iter().filter(|v| !clock.contains(v.dot)).cloned());
        if mutant.is(Bug::SiblingDropped) {
            versions.truncate(1);
        }
        clock.join(&other.clock);
        known.settle(resolve);
        if mutant.is(Bug::VersionsOutOfOrder) {
            known.versions.reverse();
        }
        true
    }

    /// How many actors there are of which no version is left.
    #[must_use]
    pub fn idle_actors(&self) -> usize {
        self.clock.entries().iter().filter(|(actor, _)| !self.wrote(*actor)).count()
    }

    /// The part of the clock that is of actors of which no version is left.
    #[must_use]
    pub fn idle(&self) -> VersionVector {
        VersionVector::of(self.clock.entries().iter().copied().filter(|(actor, _)| !self.wrote(*actor)))
    }

    /// Forgets actors of which no version is left and nothing is known beyond `settled`; how many that were. Only right when
    /// nothing that any of those wrote is left anywhere (see `epoch`).
    pub fn prune(&mut self, settled: &VersionVector) -> usize {
        let Known { clock, versions, .. } = &mut **self;
        let known = clock.clone();
        clock.retain(|actor| known.count(actor) > settled.count(actor) || versions.iter().any(|v| v.dot.actor == actor))
    }

    fn wrote(&self, actor: Actor) -> bool {
        self.versions.iter().any(|v| v.dot.actor == actor)
    }

    fn holds(&self, dot: Dot) -> bool {
        self.versions.binary_search_by_key(&dot, |v| v.dot).is_ok()
    }

    /// The state made of these parts, if they are one.
    pub(super) fn from_parts(clock: VersionVector, versions: Vec<Version>) -> Option<Siblings> {
        Some(Siblings(Arc::new(Known { clock, versions }))).filter(Siblings::is_sane)
    }

    /// Whether this could be a replica's state: versions in order, each known to the clock, within the limits of values. What is not
    /// could not be read back from the log. What a peer sent is asked.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.clock.is_sane()
            && self.versions.iter().all(|v| v.dot.count > 0 && self.clock.contains(v.dot) && v.stamp <= MAX_STAMP)
            && self.versions.windows(2).all(|pair| pair[0].dot < pair[1].dot)
            && self.versions.iter().all(|v| match &v.content {
                Content::Value(value) => value.len() <= MAX_VALUE_BYTES,
                Content::Tombstone => true,
                Content::Merge(state) => state.is_sane(),
            })
    }
}

#[cfg(test)]
#[path = "siblings_tests.rs"]
mod tests;
