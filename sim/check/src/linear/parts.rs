//! A history's parts: the operations that are judged together, those on one key.
//!
//! A counting sort lays the parts out one after the other: four bytes per operation, and no allocation per part.

use crate::history::{History, KeyId, OpId};

/// The operations on one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The key.
    pub key: KeyId,
    /// Its operations, in the order of their calls.
    pub ops: &'a [OpId],
}

/// A history's parts, in the order of their keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    /// Where each part ends.
    ends: Vec<u32>,
    ops: Vec<OpId>,
}

impl Parts {
    /// Returns a part.
    #[must_use]
    pub fn get(&self, part: usize) -> Option<Part<'_>> {
        let end = *self.ends.get(part)? as usize;
        let start = if part == 0 { 0 } else { self.ends[part - 1] as usize };
        Some(Part { key: KeyId(part as u32), ops: &self.ops[start..end] })
    }

    /// The number of parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether there are no parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Iterates over all parts.
    pub fn iter(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.len()).filter_map(|part| self.get(part))
    }
}

/// Returns a history's parts, in key order. Operations that are not on a single key are in no part.
#[must_use]
pub fn parts(history: &History) -> Parts {
    let keys: Vec<KeyId> = history.operations().iter().map(|op| op.key).collect();
    let mut ends = vec![0u32; history.keys() as usize];
    for key in &keys {
        if let Some(count) = ends.get_mut(key.0 as usize) {
            *count += 1;
        }
    }
    // From counts to starts; filling moves each start to its end.
    let mut total = 0;
    for end in &mut ends {
        total += std::mem::replace(end, total);
    }
    let mut ops = vec![OpId(0); total as usize];
    for (i, key) in (0u32..).zip(&keys) {
        if let Some(end) = ends.get_mut(key.0 as usize) {
            ops[*end as usize] = OpId(i);
            *end += 1;
        }
    }
    Parts { ends, ops }
}
