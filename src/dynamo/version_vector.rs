//! Dots and version vectors: which writes of a key are known.
//!
//! A write is named by its [`Dot`]: the n-th of one [`Actor`]. An actor is not just a server but one *life* of a key's state in
//! one process: when a server that has started again, or has forgotten a key (its hint was handed over, its tombstone collected),
//! coordinates a write of it, it does so as a new actor, with a birth drawn anew. So an actor's writes are counted without gap by
//! somebody who remembers them all, whatever the disk has lost, and `actor → n` in a [`VersionVector`] rightly claims all n of them. A name
//! used twice would make new writes look like old ones; Riak's epochs of keys answer the same danger.
//!
//! Each restart of a server thus adds an actor to the clocks of the keys that it writes. Those of which no version is left are
//! pruned (`tombstone_gc`), so a clock has about `IDLE_ACTORS` more than versions while all servers are up.

use crate::types::NodeId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::fmt;

/// One life of a key's state on a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Actor {
    /// The server.
    pub node: NodeId,
    /// Drawn when this life began; no two lives share it.
    pub incarnation: u64,
}

/// The name of one write of a key: the `count`-th of `actor`, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Dot {
    /// Who coordinated it.
    pub actor: Actor,
    /// The how-manieth write of this actor.
    pub count: u64,
}

impl fmt::Display for Dot {
    /// `n2:7`; births are told by [`VersionVector`]'s alternate form only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor.node, self.count)
    }
}

/// Most writes that an actor counts; then its life is over.
pub const MAX_COUNT: u64 = 1 << 62;

/// A version vector: of each actor, how many of its writes are known; they are the first so many.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct VersionVector(Vec<(Actor, u64)>);

impl VersionVector {
    /// The clock of these entries, in any order; of an actor named twice the higher count holds, zero counts are dropped.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = (Actor, u64)>) -> VersionVector {
        let mut clock = VersionVector::default();
        entries.into_iter().for_each(|(actor, count)| clock.raise(actor, count));
        clock
    }

    /// The clock of these entries, if they are one: in the order of their actors, each with a count that may be.
    #[must_use]
    pub fn in_order(entries: Vec<(Actor, u64)>) -> Option<VersionVector> {
        Some(VersionVector(entries)).filter(VersionVector::is_sane)
    }

    /// Whether actors are in order and counts within bounds. What a peer sent is asked.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && self.0.iter().all(|(_, count)| (1..=MAX_COUNT).contains(count))
    }

    /// How many writes of `actor` are known.
    #[must_use]
    pub fn count(&self, actor: Actor) -> u64 {
        self.0.binary_search_by_key(&actor, |entry| entry.0).map_or(0, |at| self.0[at].1)
    }

    /// Whether the write is known.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.count <= self.count(dot.actor)
    }

    /// Whether all that `other` knows is known.
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

    /// Makes known what `other` knows.
    pub fn join(&mut self, other: &VersionVector) {
        let new = other.0.iter().filter(|(actor, _)| self.count(*actor) == 0).count();
        if new <= 1 {
            return other.0.iter().for_each(|(actor, count)| self.raise(*actor, *count));
        }
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable_by_key(|(actor, count)| (*actor, Reverse(*count)));
        self.0.dedup_by_key(|(actor, _)| *actor);
    }

    /// Forgets the actors for which `keep` is false, and says how many.
    pub fn retain(&mut self, mut keep: impl FnMut(Actor) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|(actor, _)| keep(*actor));
        before - self.0.len()
    }

    /// The entries in the order of their actors.
    #[must_use]
    pub fn entries(&self) -> &[(Actor, u64)] {
        &self.0
    }

    /// How many actors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for VersionVector {
    /// `{n1:2, n3:1}`; a server with several lives is named once for each, and with `#` their births are told.
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
