//! Numbers for the values of one key: a small table with open addressing, kept from one key to the next.
//!
//! Consecutive values are adjacent, so a long history of one key accesses the table sequentially. If too many values
//! map to the same place, an ordinary map holds the rest.

use super::NONE;
use crate::history::Value;
use hashbrown::HashMap;

/// Maximum distance of a value from its place.
const REACH: usize = 32;

/// The version of each value.
#[derive(Default)]
pub struct Table {
    /// Values and versions. A version of [`NONE`] marks a free entry. The length is a power of two.
    entries: Vec<(u32, u32)>,
    bits: u32,
    /// Values that did not fit in the table. Never iterated over.
    others: HashMap<u32, u32>,
}

impl Table {
    /// Clears the table and makes room for about that many values.
    pub fn clear(&mut self, values: usize) {
        let size = values.max(REACH).next_power_of_two();
        self.entries.clear();
        self.entries.resize(size, (0, NONE));
        self.bits = size.trailing_zeros();
        self.others.clear();
    }

    fn place(&self, value: u32) -> usize {
        let block = value.checked_shr(self.bits).unwrap_or(0);
        value.wrapping_add(block.wrapping_mul(0x9e37_79b1)) as usize
    }

    /// Returns a value's version, inserting `new` if it has none.
    pub fn find_or(&mut self, value: Value, new: u32) -> u32 {
        let (value, mask) = (value.bits(), self.entries.len() - 1);
        let place = self.place(value);
        for at in place..place + REACH {
            let entry = &mut self.entries[at & mask];
            if entry.1 == NONE {
                *entry = (value, new);
                return new;
            }
            if entry.0 == value {
                return entry.1;
            }
        }
        *self.others.entry(value).or_insert(new)
    }

    /// A value's version, if it has one.
    pub fn get(&self, value: Value) -> Option<u32> {
        let value = value.bits();
        let (mask, place) = (self.entries.len().checked_sub(1)?, self.place(value));
        for at in place..place + REACH {
            match self.entries[at & mask] {
                (_, NONE) => return None,
                (known, version) if known == value => return Some(version),
                _ => {}
            }
        }
        self.others.get(&value).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_keeps_its_version() {
        for stride in [1, 7, 64, 1 << 12, 1 << 20] {
            let mut table = Table::default();
            table.clear(100);
            let value = |i: u32| Value::small(i.wrapping_mul(stride) & !(1 << 31)).expect("small");
            for i in 0..400 {
                assert_eq!(table.get(value(i)), None);
                assert_eq!(table.find_or(value(i), i), i, "stride {stride}");
            }
            for i in 0..400 {
                assert_eq!(table.find_or(value(i), 999), i);
                assert_eq!(table.get(value(i)), Some(i));
            }
            assert!(!table.others.is_empty(), "400 values have no room in 128 places");
            table.clear(1_000);
            assert_eq!(table.get(value(1)), None);
        }
    }
}
