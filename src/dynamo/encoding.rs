//! The byte encoding of the AP store's records, in the log and in snapshots. It is explicit because the bytes outlive a
//! release.
//!
//! ```text
//! record    1 key entry | 2 key | 3 node key hint | 4 node key | 5 epoch (8) | 6 snapshot (8)
//!           | 7 rejoining (1: 0 or 1)
//! key       length (2), bytes
//! entry     siblings, arrivals: count (4), each dot, cause (1), node (4), date (8)
//! hint      epoch (8), since (8), entry
//! siblings  version vector: count (4), each actor, count (8)
//!           versions: count (4), each dot, stamp (8), client (8), number (8), content
//! actor     node (4), incarnation (8);  a dot is an actor and its count (8)
//! content   0 tombstone | 1 length (4), value | 2 mergeable state (`crdt/encoding.rs`)
//! ```
//!
//! Integers are little-endian. Record types 2 and 4 mean that the key or hint is gone. Encoding and decoding have the
//! same length limits: what could not be read back is never written. Decoding arbitrary bytes never panics and never
//! allocates out of proportion. Damage is detected by the checksums of log and snapshot.

use super::crdt::State;
use super::siblings::{Content, Siblings, Version, WriteId};
use super::version_vector::{Actor, Dot, VersionVector};
use super::{Arrival, Cause, Entry, Hint, Record};
use crate::types::{Bytes, Hlc, Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, NodeId, Wall};
use std::sync::Arc;

const KEY: u8 = 1;
const KEY_GONE: u8 = 2;
const HINT: u8 = 3;
const HINT_GONE: u8 = 4;
const EPOCH: u8 = 5;
const SNAPSHOT: u8 = 6;
const REJOIN: u8 = 7;

const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;
const MERGE: u8 = 2;

/// Appends a record.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Key(key, Some(entry)) => {
            out.push(KEY);
            put_bytes16(out, key);
            put_entry(out, entry);
        }
        Record::Key(key, None) => {
            out.push(KEY_GONE);
            put_bytes16(out, key);
        }
        Record::Hint(owner, key, hint) => {
            out.push(if hint.is_some() { HINT } else { HINT_GONE });
            put_u32(out, owner.0);
            put_bytes16(out, key);
            if let Some(hint) = hint {
                put_u64(out, hint.epoch);
                put_u64(out, hint.since.0);
                put_entry(out, &hint.entry);
            }
        }
        Record::Epoch(epoch) => {
            out.push(EPOCH);
            put_u64(out, *epoch);
        }
        Record::Snapshot(number) => {
            out.push(SNAPSHOT);
            put_u64(out, *number);
        }
        Record::Rejoin(rejoins) => out.extend([REJOIN, u8::from(*rejoins)]),
    }
}

/// Decodes a record from the front of `bytes` and removes it; `None` if there is none.
#[must_use]
pub fn decode(bytes: &mut &[u8]) -> Option<Record> {
    let mut from = Reader(bytes);
    let record = match from.u8()? {
        KEY => Record::Key(from.key()?, Some(Arc::new(from.entry()?))),
        KEY_GONE => Record::Key(from.key()?, None),
        HINT => {
            let (owner, key) = (NodeId(from.u32()?), from.key()?);
            let (epoch, since) = (from.u64()?, Wall(from.u64()?));
            Record::Hint(owner, key, Some(Hint { entry: Arc::new(from.entry()?), epoch, since }))
        }
        HINT_GONE => Record::Hint(NodeId(from.u32()?), from.key()?, None),
        EPOCH => Record::Epoch(from.u64()?),
        SNAPSHOT => Record::Snapshot(from.u64()?),
        REJOIN => Record::Rejoin(from.bool()?),
        _ => return None,
    };
    *bytes = from.0;
    Some(record)
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let versions = entry.siblings.versions();
    put_version_vector(out, entry.siblings.clock());
    put_u32(out, versions.len() as u32);
    for version in versions {
        put_dot(out, version.dot);
        put_u64(out, version.stamp.0);
        put_u64(out, version.write.client);
        put_u64(out, version.write.number);
        put_content(out, &version.content);
    }
    put_u32(out, entry.arrivals.len() as u32);
    for arrival in &entry.arrivals {
        put_dot(out, arrival.dot);
        let (cause, node) = match arrival.cause {
            Cause::Write(node) => (0, node),
            Cause::Handoff(node) => (1, node),
            Cause::Repair(node) => (2, node),
        };
        out.push(cause);
        put_u32(out, node.0);
        put_u64(out, arrival.at.0);
    }
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    match content {
        Content::Tombstone => out.push(TOMBSTONE),
        Content::Value(value) => {
            out.push(VALUE);
            put_bytes32(out, value);
        }
        Content::Merge(state) => {
            out.push(MERGE);
            state.encode(out);
        }
    }
}

pub(super) fn put_version_vector(out: &mut Vec<u8>, clock: &VersionVector) {
    put_u32(out, clock.len() as u32);
    for (actor, count) in clock.entries() {
        put_dot(out, Dot { actor: *actor, count: *count });
    }
}

pub(super) fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    put_u32(out, dot.actor.node.0);
    put_u64(out, dot.actor.incarnation);
    put_u64(out, dot.count);
}

pub(super) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() <= MAX_VALUE_BYTES, "a value of {} bytes could not be read back", bytes.len());
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

fn put_bytes16(out: &mut Vec<u8>, bytes: &[u8]) {
    assert!(bytes.len() <= MAX_KEY_BYTES, "a key of {} bytes could not be read back", bytes.len());
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Reads fields from the front of a byte slice.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    #[cfg(test)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn take(&mut self, n: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        self.u8().filter(|byte| *byte < 2).map(|byte| byte == 1)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn key(&mut self) -> Option<Key> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len > MAX_KEY_BYTES {
            return None;
        }
        self.take(len).map(Key::from)
    }

    pub(super) fn bytes32(&mut self, max: usize) -> Option<Bytes> {
        let len = self.u32()? as usize;
        if len > max {
            return None;
        }
        self.take(len).map(Bytes::copy_from_slice)
    }

    /// Reads a count and that many items, each with `one`.
    pub(super) fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        (0..count).map(|_| one(self)).collect()
    }

    pub(super) fn dot(&mut self) -> Option<Dot> {
        let actor = Actor { node: NodeId(self.u32()?), incarnation: self.u64()? };
        Some(Dot { actor, count: self.u64()? })
    }

    pub(super) fn clock(&mut self) -> Option<VersionVector> {
        VersionVector::in_order(self.many(|from| from.dot().map(|dot| (dot.actor, dot.count)))?)
    }

    fn version(&mut self) -> Option<Version> {
        let (dot, stamp) = (self.dot()?, Hlc(self.u64()?));
        let write = WriteId { client: self.u64()?, number: self.u64()? };
        let content = match self.u8()? {
            TOMBSTONE => Content::Tombstone,
            VALUE => Content::Value(self.bytes32(MAX_VALUE_BYTES)?),
            MERGE => Content::Merge(State::decode(self)?),
            _ => return None,
        };
        Some(Version { dot, stamp, write, content })
    }

    fn arrival(&mut self) -> Option<Arrival> {
        let dot = self.dot()?;
        let (cause, node) = (self.u8()?, NodeId(self.u32()?));
        let cause = match cause {
            0 => Cause::Write(node),
            1 => Cause::Handoff(node),
            2 => Cause::Repair(node),
            _ => return None,
        };
        Some(Arrival { dot, cause, at: Wall(self.u64()?) })
    }

    fn entry(&mut self) -> Option<Entry> {
        let clock = self.clock()?;
        let versions = self.many(Self::version)?;
        let siblings = Siblings::from_parts(clock, versions)?;
        Some(Entry { siblings, arrivals: self.many(Self::arrival)? })
    }
}
