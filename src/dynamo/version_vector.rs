//! Dots and version vectors: which writes of a key are known.
//!
//! A write is identified by its [`Dot`]: the n-th write of one [`Actor`]. An actor is not a server but one
//! *incarnation* of a key's state in one process. A server that has restarted, or has forgotten a key (its hint was
//! handed over, its tombstone collected), coordinates the next write of the key as a new actor, with a newly drawn
//! incarnation. So an actor's writes are numbered without gaps by a process that remembers them all, whatever the disk
//! has lost, and `actor → n` in a [`VersionVector`] rightly covers all n of them. If a dot were used twice, new writes
//! would look like old ones; Riak's key epochs address the same danger.
//!
//! Each restart of a server therefore adds an actor to the version vectors of the keys that it writes. Actors with no
//! version left are pruned (`tombstone_gc`), so while all servers are up a version vector has at most about
//! `IDLE_ACTORS` more entries than there are versions.

use crate::types::NodeId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;

/// One incarnation of a key's state on a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// The server.
    pub node: NodeId,
    /// Drawn at random when the incarnation began; no two are equal.
    pub incarnation: u64,
}

/// The identifier of one write of a key: the `count`-th of `actor`, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// The actor that coordinated the write.
    pub actor: Actor,
    /// Sequence number of this write among the actor's writes, from 1.
    pub count: u64,
}

impl fmt::Display for Dot {
    /// Writes `n2:7`. Incarnations are shown by [`VersionVector`]'s alternate form only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor.node, self.count)
    }
}

/// Maximum number of writes of an actor; then its incarnation ends.
pub const MAX_COUNT: u64 = 1 << 62;

/// A version vector: for each actor, how many of its writes are known. These are always its first writes, without gaps.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct VersionVector(Vec<(Actor, u64)>);

impl VersionVector {
    /// Returns the version vector of these entries, in any order. If an actor occurs twice, the higher count is used;
    /// zero counts are dropped.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = (Actor, u64)>) -> VersionVector {
        let mut clock = VersionVector::default();
        entries.into_iter().for_each(|(actor, count)| clock.raise(actor, count));
        clock
    }

    /// Returns the version vector of these entries, if they are valid: in the order of their actors, each count within
    /// bounds.
    #[must_use]
    pub fn in_order(entries: Vec<(Actor, u64)>) -> Option<VersionVector> {
        Some(VersionVector(entries)).filter(VersionVector::is_sane)
    }

    /// Returns whether actors are in order and counts within bounds. Used to check what a peer sent.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.0.iter().all(|(_, count)| (1..=MAX_COUNT).contains(count))
    }

    /// Returns how many writes of `actor` are known.
    #[must_use]
    pub fn count(&self, actor: Actor) -> u64 {
        self.0.binary_search_by_key(&actor, |entry| entry.0).map_or(0, |at| self.0[at].1)
    }

    /// Returns whether the write is known.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.count <= self.count(dot.actor)
    }

    /// Returns whether everything that `other` knows is known here.
    #[must_use]
    pub fn covers(&self, other: &VersionVector) -> bool {
        self == other || other.0.iter().all(|(actor, count)| *count <= self.count(*actor))
    }

    /// Makes the first `count` writes of `actor` known.
    pub fn raise(&mut self, actor: Actor, count: u64) {
        match self.0.binary_search_by_key(&actor, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(count),
            Err(at) if count > 0 => self.0.insert(at, (actor, count)),
            Err(_) => {}
        }
    }

    /// Adds everything that `other` knows.
    pub fn join(&mut self, other: &VersionVector) {
        let new = other.0.iter().filter(|(actor, _)| self.count(*actor) == 0).count();
        if new <= 1 {
            return other.0.iter().for_each(|(actor, count)| self.raise(*actor, *count));
        }
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable_by_key(|(actor, count)| (*actor, Reverse(*count)));
        self.0.dedup_by_key(|(actor, _)| *actor);
    }

    /// Removes the actors for which `keep` is false. Returns how many were removed.
    pub fn retain(&mut self, mut keep: impl FnMut(Actor) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|(actor, _)| keep(*actor));
        before - self.0.len()
    }

    /// Returns the entries in the order of their actors.
    #[must_use]
    pub fn entries(&self) -> &[(Actor, u64)] {
        &self.0
    }

    /// Returns the number of actors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether no write is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for VersionVector {
    /// Writes `{n1:2, n3:1}`. A server with several incarnations appears once for each; `#` shows the incarnations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (actor, count)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            match f.alternate() {
                true => write!(f, "{comma}{}#{:x}:{count}", actor.node, actor.incarnation)?,
                false => write!(f, "{comma}{}:{count}", actor.node)?,
            }
        }
        f.write_str("}")
    }
}
