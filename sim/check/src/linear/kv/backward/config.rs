//! Configurations of a backward search, and sets of the best of them.

/// Kinds of open writes that a configuration has room for.
pub const COUNTERS: usize = 64;

/// What the key may have held, and what has become of the operations that are pending.
#[derive(Clone, Copy)]
pub struct Config {
    /// The values that explain everything placed so far.
    pub wanted: u64,
    /// Pending operations that no moment has explained yet.
    pub need: u128,
    /// Pending changes that have not been used.
    pub have: u128,
    /// By kind: open writes that were used and are not past their calls, less those that had to be left.
    pub used: [u8; COUNTERS],
    /// The kind of which it was first to use more than there were, one more than its number; or 0.
    pub overdrawn: u8,
}

impl Config {
    /// Whether it dominates the other. These kinds are counted exactly.
    fn covers(&self, other: &Config, counted: u64) -> bool {
        if other.wanted & !self.wanted != 0
            || self.need & !other.need != 0
            || other.have & !self.have != 0
            || (self.overdrawn != 0 && other.overdrawn == 0)
        {
            return false;
        }
        let mut rest = counted;
        while rest != 0 {
            let kind = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if self.used[kind] > other.used[kind] {
                return false;
            }
        }
        true
    }
}

/// Configurations, none of which dominates another.
#[derive(Default)]
pub struct Best {
    pub buckets: Vec<(u64, Vec<Config>)>,
    pub size: usize,
    /// The kinds of open writes that are counted exactly.
    pub counted: u64,
}

impl Best {
    pub fn insert(&mut self, config: Config, steps: &mut u64) -> bool {
        let counted = self.counted;
        let mut own = None;
        for (at, (wanted, bucket)) in self.buckets.iter().enumerate() {
            if config.wanted & !wanted == 0 {
                *steps += bucket.len() as u64 / 8;
                if bucket.iter().any(|known| known.covers(&config, counted)) {
                    return false;
                }
            }
            if *wanted == config.wanted {
                own = Some(at);
            }
        }
        for (wanted, bucket) in &mut self.buckets {
            if *wanted & !config.wanted == 0 {
                let before = bucket.len();
                bucket.retain(|known| !config.covers(known, counted));
                self.size -= before - bucket.len();
            }
        }
        match own {
            Some(at) => self.buckets[at].1.push(config),
            None => self.buckets.push((config.wanted, vec![config])),
        }
        self.size += 1;
        true
    }

    pub fn clear(&mut self) {
        self.buckets.clear();
        self.size = 0;
    }

    pub fn all(&self) -> impl Iterator<Item = &Config> {
        self.buckets.iter().flat_map(|(_, bucket)| bucket)
    }
}
