//! Numbers for the values of one key: tables indexed by the value itself, kept from one key to the next.

use super::NONE;
use crate::history::Value;
use hashbrown::HashMap;

/// Where [`Value::bits`] of values that are not small numbers begin.
const INTERNED: u32 = 1 << 31;

/// The version of each value, [`NONE`] where there is none yet.
#[derive(Default)]
pub struct Table {
    numbers: Vec<u32>,
    interned: Vec<u32>,
    /// Values that are too large to be an index. Only looked into.
    rare: HashMap<u32, u32>,
    /// How large an index may be.
    limit: u32,
}

impl Table {
    /// Indices up to this many cost memory, but no hashing. No shrinking: entries may be in use.
    pub fn reserve(&mut self, limit: u32) {
        self.limit = self.limit.max(limit);
    }

    fn index(value: Value) -> (bool, u32) {
        let bits = value.bits();
        (bits < INTERNED, bits & !INTERNED)
    }

    /// A value's entry.
    pub fn entry(&mut self, value: Value) -> &mut u32 {
        let (number, at) = Table::index(value);
        if at >= self.limit {
            return self.rare.entry(value.bits()).or_insert(NONE);
        }
        let table = if number { &mut self.numbers } else { &mut self.interned };
        let at = at as usize;
        if at >= table.len() {
            table.resize((at + 1).next_power_of_two(), NONE);
        }
        &mut table[at]
    }

    /// A value's entry as it is.
    pub fn get(&self, value: Value) -> u32 {
        let (number, at) = Table::index(value);
        if at >= self.limit {
            return self.rare.get(&value.bits()).copied().unwrap_or(NONE);
        }
        let table = if number { &self.numbers } else { &self.interned };
        table.get(at as usize).copied().unwrap_or(NONE)
    }

    /// Forgets these values.
    pub fn clear(&mut self, values: impl Iterator<Item = Value>) {
        self.rare.clear();
        for value in values {
            let (number, at) = Table::index(value);
            let table = if number { &mut self.numbers } else { &mut self.interned };
            if let Some(entry) = table.get_mut(at as usize) {
                *entry = NONE;
            }
        }
    }
}
