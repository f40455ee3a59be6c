//! The causal context a client gets with a value and gives back with its next write: opaque, checked, bounded.
//!
//! ```text
//!  0  version (1)
//!  1  hash of the key (8)             the context is good for this key only
//!  9  number of actors (2)
//! 11  actors: node (4) birth (8) count (8), in order
//!     writes: stamp (8) client (8) number (8), in order
//!     CRC-32 of all before (4)
//! ```
//!
//! Numbers are little-endian. No bytes at all are the context of one who has seen nothing: such a write is concurrent with
//! all there is. The checksum is against damage and mix-ups, not against forgery: who can write the key can also delete it.
//!
//! The actors are the clock of what was read. The writes are those that made it, and those lately superseded by them: a write
//! sent through two servers has two dots, and who was shown the one copy has seen the other too. Their stamps make the next
//! write a later one even where a coordinator with a slow clock lacks them.

use super::clock::{Clock, Dot};
use super::layout::{NAMED, Reader, put_dot, put_named};
use super::siblings::{Content, MAX_STAMP, MEMORY, Siblings, Version, WriteId};
use crate::mutant::{Bug, Mutant};
use crate::types::{Bytes, Hlc};
use xxhash_rust::xxh3::xxh3_64;

/// Most actors in a key's clock. A write that would need one more is refused until old ones can be pruned.
pub const MAX_ACTORS: usize = 256;
/// Most bytes of a context.
pub const MAX_CONTEXT_BYTES: usize = HEAD + MAX_ACTORS * ACTOR + MAX_WRITES * WRITE + CHECK;

const VERSION: u8 = 2;
const HEAD: usize = 11;
const ACTOR: usize = 20;
const WRITE: usize = NAMED;
const CHECK: usize = 4;
/// Most writes that a context names.
const MAX_WRITES: usize = 256;
/// Beyond this many it names no superseded ones.
const SUPERSEDED: usize = 64;

/// What a client has seen of a key. The default is nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The dots.
    pub clock: Clock,
    /// The writes, as far as they are named, in the order of their stamps.
    writes: Vec<(Hlc, WriteId)>,
}

impl Seen {
    /// All that this knows.
    #[must_use]
    pub fn of(siblings: &Siblings) -> Seen {
        let (clock, versions, replaced) = siblings.parts();
        let mut writes: Vec<_> = versions.iter().map(|v| (v.stamp, v.write)).collect();
        writes.sort_unstable();
        writes.drain(..writes.len().saturating_sub(MAX_WRITES));
        let since = writes.last().map_or(0, |(stamp, _)| stamp.0.saturating_sub(MEMORY.as_nanos() as u64));
        let lately = replaced.iter().rev().take_while(|(stamp, _)| stamp.0 >= since);
        writes.extend(lately.take(SUPERSEDED.saturating_sub(writes.len())));
        writes.sort_unstable();
        writes.dedup();
        Seen { clock: clock.clone(), writes }
    }

    /// Whether this version is one of those seen, or a copy of one. Mergeable states are no copies of each other.
    #[must_use]
    pub fn covers(&self, version: &Version) -> bool {
        let copy = || self.writes.iter().any(|(_, write)| *write == version.write);
        self.clock.contains(version.dot) || !matches!(version.content, Content::Merge(_)) && copy()
    }

    /// The writes with their stamps, latest last.
    #[must_use]
    pub fn writes(&self) -> &[(Hlc, WriteId)] {
        &self.writes
    }

    /// The latest stamp among them.
    #[must_use]
    pub fn stamp(&self) -> Hlc {
        self.writes.last().map_or(Hlc(0), |(stamp, _)| *stamp)
    }
}

impl From<Clock> for Seen {
    fn from(clock: Clock) -> Seen {
        Seen { clock, writes: Vec::new() }
    }
}

/// Why a context cannot be used; the write did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadContext {
    /// Too long, too short, or no whole number of entries.
    #[error("the context has {0} bytes, which no context has; give back what a read of this key gave, unchanged")]
    Length(usize),
    /// Made by another release.
    #[error("the context is of version {0}, this server reads version {VERSION}; read the key again")]
    Version(u8),
    /// Damaged.
    #[error("the context's checksum does not match; give back what a read of this key gave, unchanged")]
    Checksum,
    /// Of another key.
    #[error("the context is of another key; a context is good for the key it was read with only")]
    OtherKey,
    /// Out of order or out of bounds.
    #[error("the context says what no context says; give back what a read of this key gave, unchanged")]
    Nonsense,
}

/// The context that says: `seen` is what is known of `key`.
#[must_use]
pub fn encode(key: &[u8], seen: &Seen) -> Bytes {
    let Seen { clock, writes } = seen;
    if clock.is_empty() {
        return Bytes::new();
    }
    let mut out = Vec::with_capacity(HEAD + clock.len() * ACTOR + writes.len() * WRITE + CHECK);
    out.push(VERSION);
    out.extend_from_slice(&xxh3_64(key).to_le_bytes());
    out.extend_from_slice(&u16::try_from(clock.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (actor, count) in clock.entries() {
        put_dot(&mut out, Dot { actor: *actor, count: *count });
    }
    writes.iter().for_each(|named| put_named(&mut out, *named));
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out.into()
}

/// What a client has seen of `key`, by the context it gives.
///
/// # Errors
/// The context is not one that [`encode`] made for this key.
pub fn decode(key: &[u8], context: &[u8], mutant: Mutant) -> Result<Seen, BadContext> {
    if context.is_empty() {
        return Ok(Seen::default());
    }
    let length = BadContext::Length(context.len());
    if !(HEAD + ACTOR + CHECK..=MAX_CONTEXT_BYTES).contains(&context.len()) {
        return Err(length);
    }
    let (body, check) = context.split_at(context.len() - CHECK);
    if body[0] != VERSION {
        return Err(BadContext::Version(body[0]));
    }
    if !mutant.is(Bug::ContextUnchecked) {
        if crc32fast::hash(body).to_le_bytes() != check {
            return Err(BadContext::Checksum);
        }
        if xxh3_64(key).to_le_bytes() != body[1..9] {
            return Err(BadContext::OtherKey);
        }
    }
    let actors = usize::from(u16::from_le_bytes([body[9], body[10]]));
    let (clock, writes) = body[HEAD..].split_at_checked(actors * ACTOR).ok_or(length)?;
    if writes.len() % WRITE != 0 {
        return Err(length);
    }
    let dot = |entry| Reader::new(entry).dot().map(|dot| (dot.actor, dot.count));
    let writes: Vec<_> = writes.chunks_exact(WRITE).filter_map(|entry| Reader::new(entry).named()).collect();
    let in_order = writes.windows(2).all(|pair| pair[0] < pair[1]) && writes.iter().all(|(at, _)| *at <= MAX_STAMP);
    let bounded = (1..=MAX_ACTORS).contains(&actors) && writes.len() <= MAX_WRITES;
    let clock = Clock::in_order(clock.chunks_exact(ACTOR).filter_map(dot).collect()).filter(|_| in_order && bounded);
    Ok(Seen { clock: clock.ok_or(BadContext::Nonsense)?, writes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::clock::Actor;
    use crate::types::{NodeId, Resolve};
    use proptest::prelude::*;

    fn clock() -> Clock {
        Clock::of((1..4).map(|n| (Actor { node: NodeId(n), birth: u64::from(n) << 40 }, 7 + u64::from(n))))
    }

    fn seen() -> Seen {
        let write = |n| (Hlc(n), WriteId { client: 3, number: 10 - n });
        Seen { clock: clock(), writes: (1..3).map(write).collect() }
    }

    #[test]
    fn a_context_comes_back_for_its_key_only() {
        let context = encode(b"k", &seen());
        assert_eq!(decode(b"k", &context, Mutant::default()), Ok(seen()));
        assert_eq!(decode(b"j", &context, Mutant::default()), Err(BadContext::OtherKey));
        assert_eq!(decode(b"k", b"", Mutant::default()), Ok(Seen::default()));
        assert!(encode(b"k", &Seen::default()).is_empty());
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_passes() {
        let context = encode(b"k", &seen());
        for bit in 0..context.len() * 8 {
            let mut bad = context.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(b"k", &bad, Mutant::default()).is_err(), "bit {bit}");
        }
        for len in 1..context.len() {
            assert!(decode(b"k", &context[..len], Mutant::default()).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let refused = |seen: &Seen| decode(b"k", &encode(b"k", seen), Mutant::default()).unwrap_err();
        let actor = |birth| Actor { node: NodeId(1), birth };
        let large = Clock::of((0..=MAX_ACTORS as u64).map(|birth| (actor(birth), 1)));
        assert_eq!(refused(&large.into()), BadContext::Nonsense);
        assert_eq!(refused(&Clock::of([(actor(1), u64::MAX)]).into()), BadContext::Nonsense);
        let mut many = seen();
        many.writes = (0..=MAX_WRITES as u64).map(|n| (Hlc(n), WriteId { client: 1, number: n })).collect();
        assert_eq!(refused(&many), BadContext::Nonsense);
        many.writes.truncate(MAX_WRITES);
        assert_eq!(decode(b"k", &encode(b"k", &many), Mutant::default()), Ok(many.clone()));
        many.writes.reverse();
        assert_eq!(refused(&many), BadContext::Nonsense);
        many.writes = vec![(Hlc(u64::MAX), WriteId { client: 1, number: 1 })];
        assert_eq!(refused(&many), BadContext::Nonsense);
    }

    /// However much there is, a context has room for it, and is for a while after one that names what it superseded.
    #[test]
    fn a_context_names_what_was_lately_superseded_and_stays_small() {
        let rules = (Resolve::Siblings, Mutant::default());
        let mut key = Siblings::default();
        let actor = Actor { node: NodeId(1), birth: 1 };
        let second = 1_000_000_000;
        for n in 1..2000 {
            let seen = Seen::of(&key);
            let name = (Hlc(n * second), WriteId { client: 1, number: n });
            key.write(&seen, actor, name, Content::Tombstone, rules);
        }
        let seen = Seen::of(&key);
        assert_eq!(seen.stamp(), Hlc(1999 * second));
        assert_eq!(seen.writes().len(), 1 + MEMORY.as_secs() as usize);
        for n in 2000..2400 {
            key.write(&Seen::default(), actor, (Hlc(n), WriteId { client: 1, number: n }), Content::Tombstone, rules);
        }
        let context = encode(b"k", &Seen::of(&key));
        assert!(context.len() <= MAX_CONTEXT_BYTES);
        assert_eq!(decode(b"k", &context, Mutant::default()), Ok(Seen::of(&key)));
    }

    proptest! {
        #[test]
        fn noise_is_no_context_and_no_panic(mut noise in proptest::collection::vec(any::<u8>(), 1..400)) {
            prop_assert!(decode(b"k", &noise, Mutant::default()).is_err());
            noise[0] = VERSION;
            prop_assert!(decode(b"k", &noise, Mutant::default()).is_err());
            #[cfg(feature = "mutants")]
            let _ = decode(b"k", &noise, Mutant::planted(Bug::ContextUnchecked));
        }
    }
}
