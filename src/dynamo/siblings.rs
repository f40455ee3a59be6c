//! The versions of a key that are not superseded, and what is known to be: a dotted version vector set.
//!
//! Follows "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (Almeida, Baquero, Gonçalves, Preguiça,
//! Fonte 2014). Each version has its own [`Dot`]; one [`Clock`] over all of them says which writes are known. A version that one
//! side knows and does not hold has been superseded, so a merge drops it; one that it does not know is news, and is kept. Two
//! clients that write at the same time through one server give two dots of one actor, and neither covers the other: a version
//! vector without dots would either lose one or invent conflicts.
//!
//! **Retries.** A client may send a write again through another server, which gives it another dot. Versions bear the
//! [`WriteId`] of their write: of two with the same the lesser dot is kept, and ids of superseded writes are remembered for a
//! while ([`MAX_REPLACED`]), so that a late copy of an overwritten write does not come back. Beyond that memory it does: as a
//! sibling, never in place of a newer write.
//!
//! Invariants, checked in release builds where a state is made: versions are in the order of their dots, each known to the
//! clock, no two of the same write.

use super::clock::{Actor, Clock, Dot};
use super::merge;
use crate::mutant::{Bug, Mutant};
use crate::types::{Hlc, Resolve, Value};
use serde::{Deserialize, Serialize};

/// Ids of superseded writes that a key remembers.
pub const MAX_REPLACED: usize = 64;

/// A client's name for one of its writes: a retry bears the same.
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
    Merge(merge::State),
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

/// A key's versions and what is known of it. The default knows nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Siblings {
    clock: Clock,
    versions: Vec<Version>,
    /// Superseded writes with their stamps, latest last.
    replaced: Vec<(Hlc, WriteId)>,
}

impl Siblings {
    /// What is known.
    #[must_use]
    pub fn clock(&self) -> &Clock {
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

    /// Whether all there is is that the key was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        !self.versions.is_empty() && self.versions.iter().all(|v| v.content == Content::Tombstone)
    }

    /// Whether nothing in `other` is news: merging it in would change no version and teach nothing.
    #[must_use]
    pub fn includes(&self, other: &Siblings) -> bool {
        self.clock.covers(&other.clock)
            && self
                .versions
                .iter()
                .all(|v| !other.clock.contains(v.dot) || other.versions.binary_search_by_key(&v.dot, |w| w.dot).is_ok())
    }

    /// Whether the write was taken before: it is here, or it was and has been superseded.
    #[must_use]
    pub fn knows(&self, write: WriteId) -> bool {
        self.versions.iter().any(|v| v.write == write) || self.replaced.iter().any(|(_, id)| *id == write)
    }

    /// Adds a write that supersedes exactly what `context` knows, as the next one of `actor`, and gives its dot.
    pub fn write(
        &mut self,
        context: &Clock,
        actor: Actor,
        (stamp, write): (Hlc, WriteId),
        content: Content,
        (resolve, mutant): (Resolve, Mutant),
    ) -> Dot {
        let count = self.clock.count(actor);
        let dot = Dot { actor, count: if mutant.is(Bug::DotNotAdvanced) { count.max(1) } else { count + 1 } };
        let superseded = |v: &Version| context.contains(v.dot) || v.dot == dot;
        let gone: Vec<_> = self.versions.iter().filter(|v| superseded(v)).map(|v| (v.stamp, v.write)).collect();
        self.versions.retain(|v| !superseded(v));
        self.remember(gone);
        self.clock.join(context);
        self.clock.raise(actor, dot.count);
        self.versions.push(Version { dot, stamp, write, content });
        self.settle(resolve);
        dot
    }

    /// Takes in what another replica holds; says whether that changed anything.
    pub fn merge(&mut self, other: &Siblings, resolve: Resolve, mutant: Mutant) -> bool {
        if other.is_empty() || self == other {
            return false;
        }
        if self.is_empty() {
            self.clone_from(other);
            return true;
        }
        let holds = |side: &Siblings, v: &Version| side.versions.binary_search_by_key(&v.dot, |w| w.dot).is_ok();
        let mut gone: Vec<(Hlc, WriteId)> = Vec::new();
        let mut versions: Vec<Version> = Vec::with_capacity(self.versions.len() + other.versions.len());
        for (side, facing) in [(&*self, other), (other, &*self)] {
            for v in &side.versions {
                match holds(facing, v) {
                    true if std::ptr::eq(side, other) => {}
                    true => versions.push(v.clone()),
                    false if !facing.clock.contains(v.dot) => versions.push(v.clone()),
                    false if facing.versions.iter().any(|w| w.write == v.write) => {}
                    false => gone.push((v.stamp, v.write)),
                }
            }
        }
        if mutant.is(Bug::SiblingDropped) {
            versions.truncate(1);
        }
        let before = (self.clock.clone(), std::mem::replace(&mut self.versions, versions));
        self.clock.join(&other.clock);
        gone.extend(&other.replaced);
        let remembered = self.replaced.len();
        self.remember(gone);
        self.settle(resolve);
        before.0 != self.clock || before.1 != self.versions || remembered != self.replaced.len()
    }

    /// Forgets all actors but those of versions still here; how many that were. Only right when nothing that any of them
    /// wrote is left anywhere (see `epoch`).
    pub fn prune(&mut self, keep: impl Fn(Actor) -> bool) -> usize {
        let versions = &self.versions;
        self.clock.retain(|actor| keep(actor) || versions.iter().any(|v| v.dot.actor == actor))
    }

    fn remember(&mut self, gone: Vec<(Hlc, WriteId)>) {
        self.replaced.extend(gone);
        self.replaced.sort_unstable();
        self.replaced.dedup();
        let excess = self.replaced.len().saturating_sub(MAX_REPLACED);
        self.replaced.drain(..excess);
    }

    /// Puts the versions in order, drops copies and late copies of one write, and lets the last writer win where it is to.
    fn settle(&mut self, resolve: Resolve) {
        self.versions.sort_unstable_by_key(|v| v.dot);
        let replaced = &self.replaced;
        let mut seen: Vec<WriteId> = Vec::new();
        self.versions.retain(|v| {
            let first = !seen.contains(&v.write) && !replaced.iter().any(|(_, id)| *id == v.write);
            seen.push(v.write);
            first
        });
        if resolve == Resolve::LastWriter
            && let Some(last) = self.versions.iter().max_by_key(|v| (v.stamp, v.dot)).map(|v| v.dot)
        {
            let gone = self.versions.iter().filter(|v| v.dot != last).map(|v| (v.stamp, v.write)).collect();
            self.versions.retain(|v| v.dot == last);
            self.remember(gone);
        }
        assert!(self.versions.iter().all(|v| self.clock.contains(v.dot)), "a version its own clock does not know");
    }

    /// Whether this could be a replica's state: versions in order, each known to the clock. What a peer sent is asked.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.versions.iter().all(|v| v.dot.count > 0 && self.clock.contains(v.dot))
            && self.versions.windows(2).all(|pair| pair[0].dot < pair[1].dot)
            && self.clock.entries().windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.replaced.len() <= MAX_REPLACED
            && self.versions.iter().all(|v| !matches!(&v.content, Content::Merge(state) if !state.is_sane()))
    }
}

#[cfg(test)]
#[path = "siblings_tests.rs"]
mod tests;
