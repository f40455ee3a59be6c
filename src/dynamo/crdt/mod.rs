//! Mergeable types (CRDTs): values whose concurrent versions have exactly one correct merge (Shapiro and others, 2011).
//!
//! A write to a key of a mergeable bucket is an [`Op`], which its coordinator applies to the state it holds. The
//! [`State`] is what is sent and stored. Concurrent states stay siblings until the next write or read of the key merges
//! them.
//!
//! **One mechanism for all types**: a causal dot store (Almeida, Shoker, Baquero, "Delta State Replicated Data Types",
//! 2018, §7; for the set alone: "An Optimized Conflict-free Replicated Set", Bieniusa and others, 2012). Each thing in
//! a state carries the [`Dot`] of the write that added it. One [`VersionVector`] for the whole state tells which writes
//! the state knows. If a side knows a dot and does not hold it, it was removed there, so a merge drops it. A dot that a
//! side does not know is new to it. So a removal leaves no tombstone, and an add wins over a concurrent remove, because
//! the remover does not know its dot.
//!
//! What the types mean:
//! - *counter*, *pn-counter*: the sum of all additions.
//! - *register*: of concurrent assignments, the one with the latest stamp, then the one with the greatest dot. An
//!   assignment that knew of another always replaces it, whatever the stamps: a node with a slow clock cannot lose its
//!   write to one that it has seen.
//! - *set*: an element is in the set if it has an insert that no remove of it has known.
//! - *map*: named fields, each of one of the types above. Maps do not nest, so no peer can send a value that nests
//!   without end. A field exists as long as it is not empty. Removing a field removes what the coordinator holds of it.
//!   Changes concurrent with the removal survive: an insert or an assignment by itself, an addition **together with all
//!   that the same server had added to the counter before**, since a server's additions are kept as one sum. If two
//!   replicas create the same field with different types, both are kept, and the field is shown as an object by type.
//!
//! Removes act on what the coordinator holds; removing something that it does not hold changes nothing.
//!
//! As JSON: counters are numbers (at most 2⁶⁴ − 1, at least −2⁶³), a register is its bytes or null, a set is an array
//! in byte order, a map is an object. Bytes that are valid UTF-8 are a string, others `{"hex": "…"}`.
//!
//! Invariants: the version vector contains every dot held; a counter holds one dot per actor; no element and no field
//! is empty, so equal values have equal states. [`State::is_sane`] checks this of states that peers sent.
//!
//! Caveats: adding to a counter is not idempotent. Its sum is right only because no write is executed twice, however
//! often it is retried (`coordinator/dedup.rs`). The limits apply to what a write produces. A merge of states that are
//! each within the limits may exceed them, and then only writes that shrink the value are accepted.

mod counter;
mod dots;
mod encoding;
mod leaf;
mod map;
mod register;
mod set;

use super::version_vector::{Dot, VersionVector};
use crate::types::{Hlc, MAX_KEY_BYTES, MAX_VALUE_BYTES, MergeKind, Value};
use leaf::Leaf;
use map::Map;
use serde::{Deserialize, Serialize};

/// Most dots and version vector entries that a write may leave: elements, fields, and servers that took part.
pub const MAX_PARTS: usize = 16_384;

/// What a write does to a mergeable value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Adds to a counter; a negative number only to one that goes both ways.
    Add(i64),
    /// Sets a register.
    Assign(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Inserts an element into a set.
    Insert(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Removes an element from a set.
    Remove(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Changes a field of a map; creates the field if it does not exist.
    Field {
        /// Its name.
        name: String,
        /// Its type; any but a map.
        kind: MergeKind,
        /// The change.
        op: FieldOp,
    },
    /// Removes a field from a map.
    RemoveField {
        /// Its name.
        name: String,
    },
}

/// What a write does to a field of a map: the same as the [`Op`] of the same name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FieldOp {
    /// Adds to a counter.
    Add(i64),
    /// Sets a register.
    Assign(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Inserts an element into a set.
    Insert(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Removes an element from a set.
    Remove(#[serde(deserialize_with = "crate::codec::bytes")] Value),
}

impl Op {
    /// The number of bytes that it adds or names.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Op::Add(_) => 0,
            Op::Assign(value) | Op::Insert(value) | Op::Remove(value) => value.len(),
            Op::RemoveField { name } => name.len(),
            Op::Field { name, op, .. } => name.len() + Op::from(op.clone()).bytes(),
        }
    }
}

impl From<FieldOp> for Op {
    fn from(op: FieldOp) -> Op {
        match op {
            FieldOp::Add(n) => Op::Add(n),
            FieldOp::Assign(value) => Op::Assign(value),
            FieldOp::Insert(element) => Op::Insert(element),
            FieldOp::Remove(element) => Op::Remove(element),
        }
    }
}

/// A mergeable value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    clock: VersionVector,
    body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Body {
    Leaf(Leaf),
    Map(Map),
}

/// The size of a state: the number of dots and version vector entries, and the bytes when encoded.
#[derive(Clone, Copy, Default)]
struct Size {
    parts: usize,
    bytes: usize,
}

impl std::ops::Add for Size {
    type Output = Size;
    fn add(self, other: Size) -> Size {
        Size { parts: self.parts + other.parts, bytes: self.bytes + other.bytes }
    }
}

/// Encoded sizes of a dot or version vector entry, of a length or number, and of an enum's or a kind's tag.
const DOT: usize = 20;
const LEN: usize = 8;
const MARK: usize = 4;

impl State {
    /// The value before any write.
    #[must_use]
    pub fn new(kind: MergeKind) -> State {
        let body = Leaf::new(kind).map_or_else(|| Body::Map(Map::default()), Body::Leaf);
        State { clock: VersionVector::default(), body }
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> MergeKind {
        match &self.body {
            Body::Leaf(leaf) => leaf.kind(),
            Body::Map(_) => MergeKind::Map,
        }
    }

    /// Applies a write with the dot `dot`, made at `stamp`.
    ///
    /// # Errors
    /// The write does not fit the type or its limits; the error is a sentence for the user. The state is unchanged.
    pub fn apply(&mut self, op: &Op, dot: Dot, stamp: Hlc) -> Result<(), String> {
        let mut next = self.clone();
        match &mut next.body {
            Body::Leaf(leaf) => leaf.change(op, dot, stamp)?,
            Body::Map(map) => map.change(op, dot, stamp)?,
        }
        next.clock.raise(dot.actor, dot.count);
        let (before, after) = (self.size(), next.size());
        if after.bytes > before.bytes && after.bytes > MAX_VALUE_BYTES {
            return Err(format!("the value would have {} bytes, at most {MAX_VALUE_BYTES} are allowed", after.bytes));
        }
        if after.parts > before.parts && after.parts > MAX_PARTS {
            return Err(format!(
                "the value would have {} parts (elements, fields and servers that wrote it), at most {MAX_PARTS} are allowed",
                after.parts
            ));
        }
        *self = next;
        Ok(())
    }

    /// Merges a concurrent state of the same type; a state of another type is ignored.
    pub fn merge(&mut self, other: &State) {
        match (&mut self.body, &other.body) {
            (Body::Leaf(mine), Body::Leaf(theirs)) if mine.kind() == theirs.kind() => {
                mine.merge(&self.clock, theirs, &other.clock);
            }
            (Body::Map(mine), Body::Map(theirs)) => mine.merge(&self.clock, theirs, &other.clock),
            _ => return,
        }
        self.clock.join(&other.clock);
    }

    /// The value as JSON, for people and clients.
    #[must_use]
    pub fn render(&self) -> serde_json::Value {
        match &self.body {
            Body::Leaf(leaf) => leaf.render(),
            Body::Map(map) => map.render(),
        }
    }

    /// Whether this could be a replica's state. Checked for states that peers sent.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        self.clock.is_sane()
            && match &self.body {
                Body::Leaf(leaf) => leaf.is_sane(&self.clock),
                Body::Map(map) => map.is_sane(&self.clock),
            }
    }

    /// Approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.size().bytes
    }

    fn size(&self) -> Size {
        let clock = Size { parts: self.clock.len(), bytes: LEN + DOT * self.clock.len() + MARK };
        clock
            + match &self.body {
                Body::Leaf(leaf) => leaf.size(),
                Body::Map(map) => map.size(),
            }
    }
}

/// Refuses an element or field name that is longer than a key may be.
fn short(what: &str, bytes: usize) -> Result<(), String> {
    if bytes <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(format!("{what} has at most {MAX_KEY_BYTES} bytes, this one {bytes}"))
}

/// Bytes as JSON.
fn text(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => serde_json::json!({ "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests;
