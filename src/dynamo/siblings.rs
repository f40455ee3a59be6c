//! The versions of a key that are not superseded, and which writes are known: a dotted version vector set.
//!
//! Follows "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (Almeida, Baquero, Gonçalves,
//! Preguiça, Fonte 2014). Each version has its own [`Dot`]; one [`VersionVector`] over all of them says which writes
//! are known. A version that one side knows but does not hold has been superseded, so a merge drops it. A version that
//! one side does not know is new to it, so a merge keeps it. Two concurrent writes by clients through one server get
//! two dots of one actor, and neither covers the other. A version vector without dots would either lose one of them or
//! report false conflicts.
//!
//! **One write, one dot.** No two versions are copies of one write, because two coordinators never execute the same
//! write (see `coordinator/dedup.rs`). Only because of this does "known and not held" always mean superseded, however
//! late a message arrives.
//!
//! **Last writer wins** is a separate lattice: of all versions it keeps the one with the greatest timestamp and dot,
//! whatever the version vectors say. Combining a rule by causality with a rule by timestamps would make the outcome
//! depend on the order of merges. Causality still counts, because a write gets a later timestamp than the versions it
//! supersedes.
//!
//! Invariants, checked in release builds where a state is made: versions are in the order of their dots, and the
//! version vector covers each of them. A state that knows a write also knows everything that the writer had seen.

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

/// The greatest timestamp (in the year 2262).
pub const MAX_STAMP: Hlc = Hlc(1 << 63);

/// Approximate bytes of a version apart from its content.
const VERSION_BYTES: usize = 64;

/// A client's identifier for one of its writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WriteId {
    /// The client: a number that it drew at random.
    pub client: u64,
    /// Sequence number of the write among the client's writes.
    pub number: u64,
}

/// The content of a version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Content {
    /// A value.
    Value(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// No value: the key was deleted.
    Tombstone,
    /// A mergeable value.
    Merge(crdt::State),
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// Its dot.
    pub dot: Dot,
    /// The coordinator's timestamp of the write.
    pub stamp: Hlc,
    /// The client's write that made it.
    pub write: WriteId,
    /// The content.
    pub content: Content,
}

/// A key's versions and its version vector. The default is empty. Clones share the state until one of them changes,
/// because the same state is held, logged, and sent to several replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Siblings(Arc<Known>);

/// What clones of [`Siblings`] share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    clock: VersionVector,
    versions: Vec<Version>,
}

impl Known {
    /// Sorts the versions and, under `LastWriter`, keeps only the last one.
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
    /// Returns the writes that are known.
    #[must_use]
    pub fn clock(&self) -> &VersionVector {
        &self.clock
    }

    /// Returns the versions that are not superseded, in the order of their dots.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Returns whether no write is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clock.is_empty()
    }

    /// Approximate size of the versions in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let content = |v: &Version| match &v.content {
            Content::Value(value) => value.len(),
            Content::Merge(state) => state.bytes(),
            Content::Tombstone => 0,
        };
        self.versions.iter().map(|v| VERSION_BYTES + content(v)).sum()
    }

    /// Returns a hash of the state: equal for equal states. A value is identified by its dot, which no other value has.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut bytes = Vec::new();
        // All of these types can be encoded.
        let _ = codec::append(&self.clock, &mut bytes);
        for version in &self.versions {
            let _ = codec::append(&(version.dot, version.stamp, version.write), &mut bytes);
            if let Content::Merge(state) = &version.content {
                let _ = codec::append(state, &mut bytes);
            }
        }
        xxh3_64(&bytes)
    }

    /// Returns whether there are versions and all of them are deletes.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        !self.versions.is_empty() && self.versions.iter().all(|v| v.content == Content::Tombstone)
    }

    /// Returns whether merging `other` would change nothing.
    #[must_use]
    pub fn includes(&self, other: &Siblings) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.clock.covers(&other.clock)
                && self.versions.iter().all(|v| !other.clock.contains(v.dot) || other.holds(v.dot))
    }

    /// Returns the dot that the next write of `actor` gets.
    #[must_use]
    pub fn next_dot(&self, actor: Actor, mutant: Mutant) -> Dot {
        let count = self.clock.count(actor);
        Dot { actor, count: if mutant.is(Bug::DotNotAdvanced) { count.max(1) } else { count.saturating_add(1) } }
    }

    /// Adds a write as the next one of `actor`, which supersedes exactly what `seen` covers. Returns its dot.
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

    /// Merges another replica's state. Returns whether that changed anything.
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

    /// Returns how many actors have no version left.
    #[must_use]
    pub fn idle_actors(&self) -> usize {
        self.clock.entries().iter().filter(|(actor, _)| !self.wrote(*actor)).count()
    }

    /// Returns the part of the version vector whose actors have no version left.
    #[must_use]
    pub fn idle(&self) -> VersionVector {
        VersionVector::of(self.clock.entries().iter().copied().filter(|(actor, _)| !self.wrote(*actor)))
    }

    /// Removes actors that have no version left and no known write beyond `settled`. Returns how many were removed.
    /// Correct only if nothing that any of those actors wrote is left anywhere (see `epoch`).
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

    /// Returns the state made of these parts, if it is valid.
    pub(super) fn from_parts(clock: VersionVector, versions: Vec<Version>) -> Option<Siblings> {
        Some(Siblings(Arc::new(Known { clock, versions }))).filter(Siblings::is_sane)
    }

    /// Returns whether this could be a replica's state: versions in order, each covered by the version vector, within
    /// the limits of values. An invalid state could not be read back from the log. Used to check what a peer sent.
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
