//! Configurations of a just-in-time search, and sets of the best of them.

use crate::linear::kv::state::Local;

/// Kinds of open writes that can be counted exactly.
pub const COUNTED: usize = 16;
/// Counters; the other kinds share those beyond the first [`COUNTED`].
pub const COUNTERS: usize = 48;

/// What the key holds, and what has become of the operations that are pending.
#[derive(Clone, Copy)]
pub struct Config {
    pub value: Local,
    /// The last entry of its trace, or [`NONE`].
    pub trace: u32,
    /// Pending operations that no moment has explained yet.
    pub need: u128,
    /// Pending changes that have not been used.
    pub have: u128,
    /// How many open writes of each counted kind were used, and about how many of others.
    pub used: [u8; COUNTERS],
    /// It appears to have used more open writes than there are.
    pub overdrawn: bool,
}

impl Config {
    /// Whether it dominates the other, which has the same value. That many kinds are counted exactly.
    pub fn covers(&self, other: &Config, counted: usize) -> bool {
        self.need & !other.need == 0
            && other.have & !self.have == 0
            && self.overdrawn <= other.overdrawn
            && self.used.iter().zip(&other.used).take(counted).all(|(a, b)| a <= b)
    }
}

/// Configurations, none of which dominates another.
#[derive(Default)]
pub struct Best {
    pub by_value: Vec<Vec<Config>>,
    /// Values with configurations.
    pub values: Vec<Local>,
    pub size: usize,
    pub counted: usize,
}

impl Best {
    pub fn insert(&mut self, config: Config, steps: &mut u64) -> bool {
        let bucket = &mut self.by_value[config.value as usize];
        *steps += bucket.len() as u64 / 8;
        if bucket.iter().any(|known| known.covers(&config, self.counted)) {
            return false;
        }
        if bucket.is_empty() {
            self.values.push(config.value);
        }
        let before = bucket.len();
        bucket.retain(|known| !config.covers(known, self.counted));
        bucket.push(config);
        self.size = self.size + bucket.len() - before;
        true
    }

    pub fn clear(&mut self) {
        for value in self.values.drain(..) {
            self.by_value[value as usize].clear();
        }
        self.size = 0;
    }
}
