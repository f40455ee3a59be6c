//! The causal context a client gets with a value and gives back with its next write: opaque, checked, bounded.
//!
//! ```text
//! 0  version (1)
//! 1  hash of the key (8)            the context is good for this key only
//! 9  entries: node (4) birth (8) count (8), in the order of actors
//!    CRC-32 of all before (4)
//! ```
//!
//! Numbers are little-endian. No bytes at all are the context of one who has seen nothing: such a write is concurrent with
//! all there is. The checksum is against damage and mix-ups, not against forgery: who can write the key can also delete it.

use super::clock::{Actor, Clock};
use crate::mutant::{Bug, Mutant};
use crate::types::{Bytes, NodeId};
use xxhash_rust::xxh3::xxh3_64;

/// Most actors in a key's clock. A write that would need one more is refused until old ones can be pruned.
pub const MAX_ACTORS: usize = 256;
/// Most bytes of a context.
pub const MAX_CONTEXT_BYTES: usize = HEAD + MAX_ACTORS * ENTRY + CHECK;

const VERSION: u8 = 1;
const HEAD: usize = 9;
const ENTRY: usize = 20;
const CHECK: usize = 4;

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
}

/// The context that says: seen is all that `clock` knows of `key`.
#[must_use]
pub fn encode(key: &[u8], clock: &Clock) -> Bytes {
    if clock.is_empty() {
        return Bytes::new();
    }
    let mut out = Vec::with_capacity(HEAD + clock.len() * ENTRY + CHECK);
    out.push(VERSION);
    out.extend_from_slice(&xxh3_64(key).to_le_bytes());
    for (actor, count) in clock.entries() {
        out.extend_from_slice(&actor.node.0.to_le_bytes());
        out.extend_from_slice(&actor.birth.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out.into()
}

/// What a client has seen of `key`, by the context it gives.
///
/// # Errors
/// The context is not one that [`encode`] made for this key.
pub fn decode(key: &[u8], context: &[u8], mutant: Mutant) -> Result<Clock, BadContext> {
    if context.is_empty() {
        return Ok(Clock::default());
    }
    let entries = context.len().checked_sub(HEAD + CHECK).filter(|n| n % ENTRY == 0).map(|n| n / ENTRY);
    if entries.is_none_or(|n| n == 0 || n > MAX_ACTORS) {
        return Err(BadContext::Length(context.len()));
    }
    let (body, check) = context.split_at(context.len() - CHECK);
    if body[0] != VERSION {
        return Err(BadContext::Version(body[0]));
    }
    if !mutant.is(Bug::ContextUnchecked) {
        if crc32fast::hash(body).to_le_bytes() != check {
            return Err(BadContext::Checksum);
        }
        if xxh3_64(key).to_le_bytes() != body[1..HEAD] {
            return Err(BadContext::OtherKey);
        }
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    Ok(Clock::of(body[HEAD..].chunks_exact(ENTRY).map(|entry| {
        let node = NodeId(number(&entry[..4]) as u32);
        (Actor { node, birth: number(&entry[4..12]) }, number(&entry[12..]))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::of((1..4).map(|n| (Actor { node: NodeId(n), birth: u64::from(n) << 40 }, 7 + u64::from(n))))
    }

    #[test]
    fn a_context_comes_back_for_its_key_only() {
        let context = encode(b"k", &clock());
        assert_eq!(decode(b"k", &context, Mutant::default()), Ok(clock()));
        assert_eq!(decode(b"j", &context, Mutant::default()), Err(BadContext::OtherKey));
        assert_eq!(decode(b"k", b"", Mutant::default()), Ok(Clock::default()));
        assert!(encode(b"k", &Clock::default()).is_empty());
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_passes() {
        let context = encode(b"k", &clock());
        for bit in 0..context.len() * 8 {
            let mut bad = context.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(b"k", &bad, Mutant::default()).is_err(), "bit {bit}");
        }
        for len in 1..context.len() {
            assert!(decode(b"k", &context[..len], Mutant::default()).is_err(), "{len} bytes");
        }
        let large = Clock::of((0..=MAX_ACTORS as u64).map(|birth| (Actor { node: NodeId(1), birth }, 1)));
        let large = encode(b"k", &large);
        assert_eq!(decode(b"k", &large, Mutant::default()), Err(BadContext::Length(MAX_CONTEXT_BYTES + ENTRY)));
    }
}
