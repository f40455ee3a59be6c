//! Measurements of runs, which can be added up over runs.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// Lower bounds, in nanoseconds, of the bands in which [`Level::visible`] counts: 0, 10 ms, 100 ms, 1 s, 10 s.
pub const AGES: [u64; 5] = [0, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// How many cases were judged, and how many of them were violations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Number of cases that could have gone wrong.
    pub judged: u64,
    /// Number of cases that went wrong.
    pub violated: u64,
}

impl Tally {
    /// Counts one more case.
    pub fn count(&mut self, violated: bool) {
        self.judged += 1;
        self.violated += u64::from(violated);
    }

    /// Returns the share of cases that went wrong; 0 if there were none.
    #[must_use]
    pub fn share(self) -> f64 {
        if self.judged == 0 { 0.0 } else { self.violated as f64 / self.judged as f64 }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.judged += other.judged;
        self.violated += other.violated;
    }
}

/// A histogram: exact below 16, to within an eighth above.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram(BTreeMap<u32, u64>);

impl Histogram {
    /// Adds a number.
    pub fn count(&mut self, number: u64) {
        *self.0.entry(bucket(number)).or_default() += 1;
    }

    /// Returns how many numbers it holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the non-empty buckets: the largest number of each, and how many numbers it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&bucket, &count)| (largest(bucket), count))
    }

    /// Returns the largest number of the bucket in which this percentile falls; 0 if the histogram is empty.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (u128::from(self.len()) * u128::from(percent)).div_ceil(100).max(1);
        let mut before = 0;
        for (&bucket, &count) in &self.0 {
            before += u128::from(count);
            if before >= rank {
                return largest(bucket);
            }
        }
        self.0.keys().next_back().map_or(0, |&bucket| largest(bucket))
    }
}

/// Returns the bucket of a number. Below 16 each number has its own bucket; above, each power of two has eight.
fn bucket(number: u64) -> u32 {
    if number < 16 {
        return number as u32;
    }
    let power = number.ilog2();
    16 + (power - 4) * 8 + ((number >> (power - 3)) & 7) as u32
}

fn largest(bucket: u32) -> u64 {
    if bucket < 16 {
        return u64::from(bucket);
    }
    let (power, eighth) = (4 + (bucket - 16) / 8, u128::from((bucket - 16) % 8));
    // A bucket read from a file may be any number.
    if power > 63 { u64::MAX } else { u64::try_from(((9 + eighth) << (power - 3)) - 1).unwrap_or(u64::MAX) }
}

impl AddAssign<&Histogram> for Histogram {
    fn add_assign(&mut self, other: &Histogram) {
        for (&bucket, &count) in &other.0 {
            *self.0.entry(bucket).or_default() += count;
        }
    }
}

/// Measurements of the reads at one consistency level. For a `Tally`, the comment names the reads judged, then those
/// that count as violated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Level {
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that returned several values.
    pub conflicts: u64,
    /// The most values that one read returned.
    pub values_max: u64,
    /// Reads by a client that had written or deleted the key; those that missed one of its writes.
    pub read_your_writes: Tally,
    /// Reads by a client that had been shown values of the key; those that missed one of them.
    pub monotonic_reads: Tally,
    /// Reads of a value whose writer had written the key before; those that missed that write.
    pub monotonic_writes: Tally,
    /// Reads of a value whose writer had been shown values of the key; those that missed one of them.
    pub writes_follow_reads: Tally,
    /// Reads called after some write of the key was acknowledged; those that missed an acknowledged one.
    pub stale: Tally,
    /// For stale reads: the number of acknowledged writes they missed (k).
    pub versions: Histogram,
    /// For stale reads: microseconds from the acknowledgement of the first write they missed to the call of the read
    /// (t).
    pub micros: Histogram,
    /// Reads by the time from the acknowledgement of the latest write of the key to the call of the read, in the bands
    /// of [`AGES`]; those that missed that write.
    pub visible: [Tally; AGES.len()],
}

impl Level {
    /// Returns the share of reads that returned several values.
    #[must_use]
    pub fn conflict_rate(&self) -> f64 {
        Tally { judged: self.reads, violated: self.conflicts }.share()
    }
}

impl AddAssign<&Level> for Level {
    fn add_assign(&mut self, other: &Level) {
        self.reads += other.reads;
        self.conflicts += other.conflicts;
        self.values_max = self.values_max.max(other.values_max);
        self.read_your_writes += other.read_your_writes;
        self.monotonic_reads += other.monotonic_reads;
        self.monotonic_writes += other.monotonic_writes;
        self.writes_follow_reads += other.writes_follow_reads;
        self.stale += other.stale;
        self.versions += &other.versions;
        self.micros += &other.micros;
        for (tally, other) in self.visible.iter_mut().zip(other.visible) {
            *tally += other;
        }
    }
}

/// Measurements of one run, or of many added up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Number of keys.
    pub keys: u64,
    /// Keys that no replica dumped, so that nothing is known of their final state.
    pub keys_not_dumped: u64,
    /// Keys with so many writes that what each overwrote does not fit into memory. Only their convergence is checked.
    #[serde(default)]
    pub keys_too_large: u64,
    /// Operations of all kinds.
    pub operations: u64,
    /// Acknowledged writes, deletes and additions.
    pub acknowledged: u64,
    /// Writes, deletes and additions of unknown outcome.
    pub unknown: u64,
    /// Writes, deletes and additions that certainly did not happen.
    pub failed: u64,
    /// Acknowledged writes lost to the last-writer policy: an older value was shown after them, and they were never
    /// shown.
    pub lost_to_policy: u64,
    /// Reads, by consistency level.
    pub levels: BTreeMap<String, Level>,
}

impl Figures {
    /// Returns the sum of all levels.
    #[must_use]
    pub fn overall(&self) -> Level {
        let mut all = Level::default();
        for level in self.levels.values() {
            all += level;
        }
        all
    }

    /// Returns a level, and creates it on first use.
    pub(super) fn level(&mut self, name: &str) -> &mut Level {
        if !self.levels.contains_key(name) {
            self.levels.insert(name.to_owned(), Level::default());
        }
        // invariant: the level exists, or was just inserted.
        self.levels.get_mut(name).expect("a level that is there")
    }
}

impl AddAssign<&Figures> for Figures {
    fn add_assign(&mut self, other: &Figures) {
        self.keys += other.keys;
        self.keys_not_dumped += other.keys_not_dumped;
        self.keys_too_large += other.keys_too_large;
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.failed += other.failed;
        self.lost_to_policy += other.lost_to_policy;
        for (name, level) in &other.levels {
            *self.levels.entry(name.clone()).or_default() += level;
        }
    }
}

/// A table with one column per level, and one for their sum if there are several.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            keys,
            operations,
            acknowledged,
            unknown,
            failed,
            lost_to_policy,
            keys_not_dumped,
            keys_too_large,
            ..
        } = self;
        write!(f, "{operations} operations on {keys} keys; of those that change something {acknowledged} ")?;
        writeln!(f, "were acknowledged, {failed} failed, {unknown} are unknown")?;
        if *keys_not_dumped > 0 {
            writeln!(
                f,
                "{keys_not_dumped} keys were not dumped at the end, so that nothing is known of what was lost"
            )?;
        }
        if *keys_too_large > 0 {
            writeln!(
                f,
                "{keys_too_large} keys have too many writes: what each write overwrote does not fit into memory"
            )?;
        }
        if *lost_to_policy > 0 {
            writeln!(f, "{lost_to_policy} acknowledged writes were lost to the policy of the last writer")?;
        }
        let all = self.overall();
        if all.reads == 0 {
            return Ok(());
        }
        let name = |name: &String| if name.is_empty() { "(no level)".to_owned() } else { name.clone() };
        let mut columns: Vec<(String, &Level)> = self.levels.iter().map(|(level, of)| (name(level), of)).collect();
        if columns.len() > 1 {
            columns.push(("all".to_owned(), &all));
        }
        let row = |f: &mut fmt::Formatter<'_>, title: &str, cell: &dyn Fn(&Level) -> String| {
            write!(f, "{title:<38}")?;
            for (name, level) in &columns {
                write!(f, " {:>1$}", cell(level), name.chars().count().max(18))?;
            }
            writeln!(f)
        };
        write!(f, "{:<38}", "")?;
        for (name, _) in &columns {
            write!(f, " {name:>18}")?;
        }
        writeln!(f)?;
        row(f, "reads", &|level| level.reads.to_string())?;
        row(f, "  of several values", &|level| level.conflicts.to_string())?;
        row(f, "  of values at most", &|level| level.values_max.to_string())?;
        for (title, tally) in GUARANTEES {
            row(f, title, &|level| of(tally(level)))?;
        }
        row(f, "stale", &|level| of(level.stale))?;
        for percent in [50, 99, 100] {
            row(f, &format!("  versions missed, p{percent}"), &|level| level.versions.percentile(percent).to_string())?;
        }
        for percent in [50, 99, 100] {
            row(f, &format!("  for ms, p{percent}"), &|level| {
                format!("{:.1}", level.micros.percentile(percent) as f64 / 1e3)
            })?;
        }
        for (band, from) in AGES.iter().enumerate() {
            let title = format!("missed the latest write after {} ms", from / 1_000_000);
            row(f, &title, &|level| of(level.visible[band]))?;
        }
        Ok(())
    }
}

/// Selects a tally of a level.
type Of = fn(&Level) -> Tally;

/// The session guarantees, by the names under which they are printed.
const GUARANTEES: [(&str, Of); 4] = [
    ("not: read your writes", |level| level.read_your_writes),
    ("not: monotonic reads", |level| level.monotonic_reads),
    ("not: monotonic writes", |level| level.monotonic_writes),
    ("not: writes follow reads", |level| level.writes_follow_reads),
];

fn of(tally: Tally) -> String {
    format!("{} of {}", tally.violated, tally.judged)
}
