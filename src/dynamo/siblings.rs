//! The versions of a key that are not superseded, and what is known to be: a dotted version vector set.
//!
//! Follows "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (Almeida, Baquero, Gonçalves, Preguiça,
//! Fonte 2014). Each version has its own [`Dot`]; one [`Clock`] over all of them says which writes are known. A version that one
//! side knows and does not hold has been superseded, so a merge drops it; one that it does not know is news, and is kept. Two
//! clients that write at the same time through one server give two dots of one actor, and neither covers the other: a version
//! vector without dots would either lose one or invent conflicts.
//!
//! **Retries.** A client may send a write again through another server, which gives it another dot. Versions bear the
//! [`WriteId`] of their write. Copies of one write live side by side, and a reader is shown one ([`Siblings::shown`]): only so
//! does "known and not held" always mean superseded. Once any copy is superseded, somebody has seen the write, so all copies go:
//! ids of superseded writes are remembered for a while ([`MEMORY`]), for the sake of copies that are still on their way, and a
//! context names the writes its client has seen ([`Seen`]), for the sake of copies that its client's server did not hold.
//! Beyond that memory a late copy comes back: as a sibling, never in place of a newer write. Mergeable states are no copies of
//! each other even when one operation made both, for each holds what its own coordinator had: they are never dropped so.
//!
//! **Last writer wins** is a lattice of its own: of all versions the one with the greatest stamp and dot is kept, whatever the
//! clocks say, for a rule by causes and a rule by stamps together would make the outcome depend on the order of merges. Causes
//! count because a write gets a stamp later than those of the versions it supersedes.
//!
//! Invariants, checked in release builds where a state is made: versions are in the order of their dots, each known to the
//! clock. A state that knows a write also knows what that write had seen.

use super::clock::{Actor, Clock, Dot};
use super::context::Seen;
use super::merge;
use crate::mutant::{Bug, Mutant};
use crate::types::{Hlc, Resolve, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

/// For how long the ids of superseded writes are remembered, by their stamps; the last few for longer. Clients give a write
/// up after half as long ([`crate::client::Patience`]).
pub const MEMORY: Duration = Duration::from_secs(10);
/// Ids of superseded writes that a key remembers at most.
pub const MAX_REPLACED: usize = 256;
/// Of which so many are remembered however old they are.
const LAST_FEW: usize = 32;
/// No stamp is later (it is in the year 2262).
pub const MAX_STAMP: Hlc = Hlc(1 << 63);

/// Bytes of a version beside its content, about.
const VERSION_BYTES: usize = 64;

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

/// A key's versions and what is known of it. The default knows nothing. Clones share it until one of them changes: the same
/// state is held, logged, and sent to several replicas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Siblings(Arc<Known>);

/// What clones of [`Siblings`] share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Known {
    clock: Clock,
    versions: Vec<Version>,
    /// Superseded writes with their stamps, latest last.
    #[serde(with = "blob")]
    replaced: Vec<(Hlc, WriteId)>,
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

/// Superseded writes as one string of bytes: they are most of what is sent of a key, and far cheaper so than one by one.
mod blob {
    use super::{Hlc, WriteId};
    use crate::dynamo::layout::{NAMED, Reader, put_named};
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(writes: &[(Hlc, WriteId)], to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(writes.len() * NAMED);
        writes.iter().for_each(|named| put_named(&mut bytes, *named));
        to.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(Hlc, WriteId)>, D::Error> {
        let bytes = crate::codec::bytes(from)?;
        let writes = bytes.chunks(NAMED).map(|named| Reader::new(named).named()).collect::<Option<_>>();
        writes.ok_or_else(|| D::Error::custom("part of a superseded write"))
    }
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

    /// Whether all there is is that the key was deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        !self.versions.is_empty() && self.versions.iter().all(|v| v.content == Content::Tombstone)
    }

    /// Whether nothing in `other` is news: merging it in would change no version and no clock.
    #[must_use]
    pub fn includes(&self, other: &Siblings) -> bool {
        let lives = |v: &Version| self.versions.iter().any(|w| w.write == v.write);
        self.clock.covers(&other.clock)
            && self.versions.iter().all(|v| !other.clock.contains(v.dot) || other.holds(v.dot))
            && other.versions.iter().all(|v| self.holds(v.dot) || !lives(v))
    }

    /// Whether nothing in `other` is news, not even which writes were superseded.
    pub(super) fn knows_all(&self, other: &Siblings) -> bool {
        let remembers = |v: &Version| self.replaced.binary_search(&(v.stamp, v.write)).is_ok();
        // Both are in order: one walk through each.
        let mut mine = self.replaced.iter();
        let mut remembered = other.replaced.iter().skip_while(|one| self.is_past(one));
        self.includes(other)
            && other.versions.iter().all(|v| self.holds(v.dot) || remembers(v))
            && remembered.all(|one| mine.any(|known| known == one))
    }

    /// Whether a superseded write, not remembered here, is older than all that is and would be forgotten at once.
    fn is_past(&self, one: &(Hlc, WriteId)) -> bool {
        let (Some(first), Some((last, _))) = (self.replaced.first(), self.replaced.last()) else { return false };
        let old = one.0.0 < last.0.saturating_sub(MEMORY.as_nanos() as u64);
        one < first && (self.replaced.len() >= MAX_REPLACED || old && self.replaced.len() >= LAST_FEW)
    }

    /// Whether the write was taken before: it is here, or it was and has been superseded.
    #[must_use]
    pub fn knows(&self, write: WriteId) -> bool {
        self.versions.iter().any(|v| v.write == write) || self.replaced.iter().any(|(_, id)| *id == write)
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
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.versions).into_iter().partition(|v| seen.covers(v) || v.dot == dot);
        let latest = gone.iter().map(|v| v.stamp).chain([seen.stamp()]).max();
        let stamp = Hlc(stamp.0.max(latest.map_or(0, |seen| seen.0 + 1)).min(MAX_STAMP.0));
        self.versions = kept;
        let named = seen.writes().iter().copied().filter(|(_, id)| *id != write);
        self.remember(gone.iter().map(|v| (v.stamp, v.write)).chain(named));
        self.clock.join(&seen.clock);
        self.clock.raise(actor, dot.count);
        self.versions.push(Version { dot, stamp, write, content });
        self.settle(resolve);
        dot
    }

    /// Takes in what another replica holds; says whether that changed anything.
    pub fn merge(&mut self, other: &Siblings, resolve: Resolve, mutant: Mutant) -> bool {
        if other.is_empty() {
            return false;
        }
        if self.is_empty() {
            self.clone_from(other);
            return true;
        }
        let by_stamp = resolve == Resolve::LastWriter;
        if !by_stamp && self.knows_all(other) {
            return false;
        }
        if !by_stamp && other.knows_all(self) && !mutant.is(Bug::SiblingDropped) {
            self.clone_from(other);
            return true;
        }
        let dots: Vec<Dot> = self.versions.iter().map(|v| v.dot).collect();
        let knew = self.clock.len();
        let mut taught = !self.clock.covers(&other.clock);
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.versions)
            .into_iter()
            .partition(|v| by_stamp || !other.clock.contains(v.dot) || other.holds(v.dot));
        let held = |dot: &Dot| dots.binary_search(dot).is_ok();
        let (news, old): (Vec<_>, Vec<_>) =
            (other.versions.iter().filter(|v| !held(&v.dot))).partition(|v| by_stamp || !self.clock.contains(v.dot));
        self.versions = kept;
        self.versions.extend(news.into_iter().cloned());
        if mutant.is(Bug::SiblingDropped) {
            self.versions.truncate(1);
        }
        self.clock.join(&other.clock);
        taught |= self.clock.len() != knew;
        let gone = gone.iter().chain(old).map(|v| (v.stamp, v.write));
        taught |= self.remember(gone.chain(other.replaced.iter().copied()));
        taught |= self.settle(resolve);
        taught || !self.versions.iter().map(|v| v.dot).eq(dots)
    }

    /// How many actors there are of which no version is left.
    #[must_use]
    pub fn idle_actors(&self) -> usize {
        self.clock.entries().iter().filter(|(actor, _)| !self.wrote(*actor)).count()
    }

    /// The part of the clock that is of actors of which no version is left.
    #[must_use]
    pub fn idle(&self) -> Clock {
        Clock::of(self.clock.entries().iter().copied().filter(|(actor, _)| !self.wrote(*actor)))
    }

    /// Forgets actors of which no version is left and nothing is known beyond `settled`; how many that were. Only right when
    /// nothing that any of those wrote is left anywhere (see `epoch`).
    pub fn prune(&mut self, settled: &Clock) -> usize {
        let Known { clock, versions, .. } = &mut **self;
        let known = clock.clone();
        clock.retain(|actor| known.count(actor) > settled.count(actor) || versions.iter().any(|v| v.dot.actor == actor))
    }

    fn wrote(&self, actor: Actor) -> bool {
        self.versions.iter().any(|v| v.dot.actor == actor)
    }

    /// Remembers superseded writes, the latest of them; says whether any was news.
    fn remember(&mut self, gone: impl Iterator<Item = (Hlc, WriteId)>) -> bool {
        let mut news: Vec<_> = gone.filter(|one| self.replaced.binary_search(one).is_err()).collect();
        if news.is_empty() {
            return false;
        }
        news.sort_unstable();
        news.dedup();
        self.replaced.extend_from_slice(&news);
        self.replaced.sort(); // Two sorted runs.
        let len = self.replaced.len();
        let since = self.replaced[len - 1].0.0.saturating_sub(MEMORY.as_nanos() as u64);
        let old = self.replaced.partition_point(|(stamp, _)| stamp.0 < since);
        let excess = old.min(len.saturating_sub(LAST_FEW)).max(len.saturating_sub(MAX_REPLACED));
        self.replaced.drain(..excess);
        news.iter().any(|one| self.replaced.binary_search(one).is_ok())
    }

    /// Puts the versions in order, drops copies of superseded writes, and lets the last writer win where it is to. Says whether
    /// more came to be remembered.
    fn settle(&mut self, resolve: Resolve) -> bool {
        self.versions.sort_unstable_by_key(|v| v.dot);
        let mut news = false;
        if resolve == Resolve::LastWriter {
            let last = self.versions.iter().max_by_key(|v| (v.stamp, v.dot)).map(|v| v.dot);
            let (kept, gone): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.versions).into_iter().partition(|v| Some(v.dot) == last);
            self.versions = kept;
            news = self.remember(gone.iter().map(|v| (v.stamp, v.write)));
        } else if !self.replaced.is_empty() {
            let Known { versions, replaced, .. } = &mut **self;
            let replaced = |v: &Version| replaced.iter().any(|(_, id)| *id == v.write);
            let lives = |v: &Version| matches!(v.content, Content::Merge(_)) || !replaced(v);
            if !versions.iter().all(lives) {
                let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(versions).into_iter().partition(lives);
                self.versions = kept;
                news = self.remember(gone.iter().map(|v| (v.stamp, v.write)));
            }
        }
        assert!(self.versions.iter().all(|v| self.clock.contains(v.dot)), "a version its own clock does not know");
        news
    }

    fn holds(&self, dot: Dot) -> bool {
        self.versions.binary_search_by_key(&dot, |v| v.dot).is_ok()
    }

    /// The versions a reader is to be shown: of copies of one write the first.
    pub fn shown(&self) -> impl Iterator<Item = &Version> {
        let mut seen = BTreeSet::new();
        self.versions.iter().filter(move |v| matches!(v.content, Content::Merge(_)) || seen.insert(v.write))
    }

    /// Clock, versions, and superseded writes with their stamps.
    pub(super) fn parts(&self) -> (&Clock, &[Version], &[(Hlc, WriteId)]) {
        (&self.clock, &self.versions, &self.replaced)
    }

    /// The state made of these parts, if they are one.
    pub(super) fn from_parts(clock: Clock, versions: Vec<Version>, replaced: Vec<(Hlc, WriteId)>) -> Option<Siblings> {
        Some(Siblings(Arc::new(Known { clock, versions, replaced }))).filter(Siblings::is_sane)
    }

    /// Whether this could be a replica's state: versions in order, each known to the clock. What a peer sent is asked.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.clock.is_sane()
            && self.versions.iter().all(|v| v.dot.count > 0 && self.clock.contains(v.dot) && v.stamp <= MAX_STAMP)
            && self.versions.windows(2).all(|pair| pair[0].dot < pair[1].dot)
            && self.replaced.len() <= MAX_REPLACED
            && self.replaced.windows(2).all(|pair| pair[0] < pair[1])
            && self.replaced.last().is_none_or(|(stamp, _)| *stamp <= MAX_STAMP)
            && self.versions.iter().all(|v| !matches!(&v.content, Content::Merge(state) if !state.is_sane()))
    }
}

#[cfg(test)]
#[path = "siblings_tests.rs"]
mod tests;
