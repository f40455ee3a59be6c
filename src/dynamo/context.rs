//! The causal context that a client gets with a value and gives back with its next write: opaque, checked, bounded.
//!
//! ```text
//!  0  version (1)
//!  1  hash of the key (8)             the context is valid for this key only
//!  9  latest timestamp of the versions read (8)
//! 17  number of actors (2)
//! 19  actors: node (4) incarnation (8) count (8), in order
//!     CRC-32 of everything before (4)
//! ```
//!
//! Numbers are little-endian. The empty context means that the client has seen nothing: such a write is concurrent with
//! all existing versions. The checksum protects against damage and mix-ups, not against forgery: a client that can
//! write the key can also delete it.
//!
//! The actors are the version vector of what was read. The timestamp makes the next write a later one, even if a
//! coordinator with a slow clock does not hold what was read.

use super::encoding::{Reader, put_dot};
use super::siblings::{MAX_STAMP, Siblings};
use super::version_vector::{Dot, VersionVector};
use crate::mutant::{Bug, Mutant};
use crate::types::{Bytes, Hlc};
use xxhash_rust::xxh3::xxh3_64;

/// Maximum number of actors in a key's version vector after a write. A write that would exceed it is refused until old
/// actors can be pruned.
pub const MAX_ACTORS: usize = 256;
/// Maximum number of actors accepted in a merge: each of three sides of a partition may reach the other limit before
/// they meet.
pub const MAX_HELD_ACTORS: usize = 3 * MAX_ACTORS;
/// Maximum size of a context in bytes.
pub const MAX_CONTEXT_BYTES: usize = HEAD + MAX_HELD_ACTORS * ACTOR + CHECK;

const VERSION: u8 = 3;
const HEAD: usize = 19;
const ACTOR: usize = 20;
const CHECK: usize = 4;

/// What a client has seen of a key. The default is nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// The writes seen.
    pub clock: VersionVector,
    /// The latest timestamp of the versions seen.
    pub stamp: Hlc,
}

impl Seen {
    /// Returns everything that `siblings` knows.
    #[must_use]
    pub fn of(siblings: &Siblings) -> Seen {
        let stamp = siblings.versions().iter().map(|v| v.stamp).max().unwrap_or_default();
        Seen { clock: siblings.clock().clone(), stamp }
    }
}

impl From<VersionVector> for Seen {
    fn from(clock: VersionVector) -> Seen {
        Seen { clock, stamp: Hlc(0) }
    }
}

/// Why a context cannot be used; the write did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadContext {
    /// Too long, too short, or not a whole number of entries.
    #[error("the context has {0} bytes, which no context has; give back what a read of this key gave, unchanged")]
    Length(usize),
    /// Made by another release.
    #[error("the context is of version {0}, this server reads version {VERSION}; read the key again")]
    Version(u8),
    /// Damaged.
    #[error("the context's checksum does not match; give back what a read of this key gave, unchanged")]
    Checksum,
    /// Made for another key.
    #[error("the context is of another key; a context is good for the key it was read with only")]
    OtherKey,
    /// Out of order or out of bounds.
    #[error("the context says what no context says; give back what a read of this key gave, unchanged")]
    Nonsense,
}

/// Encodes what a client has seen of `key` as a context.
#[must_use]
pub fn encode(key: &[u8], seen: &Seen) -> Bytes {
    let Seen { clock, stamp } = seen;
    if clock.is_empty() {
        return Bytes::new();
    }
    let mut out = Vec::with_capacity(HEAD + clock.len() * ACTOR + CHECK);
    out.push(VERSION);
    out.extend_from_slice(&xxh3_64(key).to_le_bytes());
    out.extend_from_slice(&stamp.0.to_le_bytes());
    out.extend_from_slice(&u16::try_from(clock.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (actor, count) in clock.entries() {
        put_dot(&mut out, Dot { actor: *actor, count: *count });
    }
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out.into()
}

/// Decodes a context: what its client has seen of `key`.
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
    let (head, clock) = body.split_at(HEAD);
    let stamp = Hlc(head[9..17].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
    let actors = usize::from(u16::from_le_bytes([head[17], head[18]]));
    if clock.len() != actors * ACTOR {
        return Err(length);
    }
    let dot = |entry| Reader::new(entry).dot().map(|dot| (dot.actor, dot.count));
    let bounded = (1..=MAX_HELD_ACTORS).contains(&actors) && stamp <= MAX_STAMP;
    let clock = VersionVector::in_order(clock.chunks_exact(ACTOR).filter_map(dot).collect()).filter(|_| bounded);
    Ok(Seen { clock: clock.ok_or(BadContext::Nonsense)?, stamp })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::version_vector::Actor;
    use crate::types::NodeId;
    use proptest::prelude::*;

    fn clock() -> VersionVector {
        VersionVector::of(
            (1..4).map(|n| (Actor { node: NodeId(n), incarnation: u64::from(n) << 40 }, 7 + u64::from(n))),
        )
    }

    fn seen() -> Seen {
        Seen { clock: clock(), stamp: Hlc(77) }
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
        let actor = |incarnation| Actor { node: NodeId(1), incarnation };
        let large = VersionVector::of((0..=MAX_HELD_ACTORS as u64).map(|incarnation| (actor(incarnation), 1)));
        assert_eq!(refused(&large.into()), BadContext::Length(MAX_CONTEXT_BYTES + ACTOR));
        assert_eq!(refused(&VersionVector::of([(actor(1), u64::MAX)]).into()), BadContext::Nonsense);
        assert_eq!(refused(&Seen { stamp: Hlc(u64::MAX), ..seen() }), BadContext::Nonsense);
        let most = VersionVector::of((0..MAX_HELD_ACTORS as u64).map(|incarnation| (actor(incarnation), 1)));
        let context = encode(b"k", &most.clone().into());
        assert_eq!((context.len(), decode(b"k", &context, Mutant::default())), (MAX_CONTEXT_BYTES, Ok(most.into())));
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
