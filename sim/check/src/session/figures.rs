//! Measures of staleness after Bailis et al., "Probabilistically bounded staleness" (2012), computed from a history
//! alone.
//!
//! A read is *certainly stale* if some acknowledged write of its key was called after the write that it read from had
//! returned, and itself returned before the read was called. Whatever the order of overlapping operations, the read
//! missed that write. The number of such writes is the read's staleness in versions. Its staleness in time is the time
//! from the first return among them to the call of the read. Both are lower bounds of what an observer with a global
//! view would measure. The initial state counts as written before everything. Reads with an unsure source are not
//! measured.

use super::trace::{INITIAL, Trace, is_access};
use crate::history::History;
use serde::Serialize;
use std::fmt;

/// One measure.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// What is measured, with its unit.
    pub name: &'static str,
    /// The measure.
    pub value: f64,
}

/// Measures of a history; prints as a table.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// The measures, in the order in which they are shown.
    pub rows: Vec<Figure>,
}

impl Figures {
    /// Returns the value of a measure by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.value)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            if row.value.fract() == 0.0 {
                writeln!(f, "{:<44} {:>14}", row.name, row.value)?;
            } else {
                writeln!(f, "{:<44} {:>14.3}", row.name, row.value)?;
            }
        }
        Ok(())
    }
}

/// How stale one read certainly was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Staleness {
    /// The access that read.
    pub read: u32,
    /// Versions that it missed.
    pub versions: u64,
    /// The event of the first return among these versions' writes; `None` if it missed none.
    pub since: Option<u32>,
}

/// Measures the staleness of a history's reads.
#[must_use]
pub fn measure(history: &History) -> Figures {
    let trace = Trace::new(history);
    let all = staleness(history, &trace);
    let late = |s: &Staleness| {
        let called = history.operation(trace.accesses[s.read as usize].op).called;
        s.since.map_or(0, |since| history.time(called).saturating_sub(history.time(since)))
    };
    let mut versions: Vec<u64> = all.iter().map(|s| s.versions).collect();
    let mut times: Vec<u64> = all.iter().map(late).collect();
    versions.sort_unstable();
    times.sort_unstable();
    let stale = versions.iter().filter(|&&n| n > 0).count();
    let share = if all.is_empty() { 0.0 } else { 100.0 * stale as f64 / all.len() as f64 };
    let (overlapping, writes) = overlapping(history, &trace);
    let ms = |ns: u64| ns as f64 / 1e6;
    let rows = [
        ("reads measured", all.len() as f64),
        ("reads without a sure source", trace.unsure.len() as f64),
        ("stale reads", stale as f64),
        ("stale reads, percent", share),
        ("staleness in versions, p50", quantile(&versions, 50) as f64),
        ("staleness in versions, p99", quantile(&versions, 99) as f64),
        ("staleness in versions, max", quantile(&versions, 100) as f64),
        ("staleness in ms, p50", ms(quantile(&times, 50))),
        ("staleness in ms, p99", ms(quantile(&times, 99))),
        ("staleness in ms, max", ms(quantile(&times, 100))),
        ("writes", writes as f64),
        ("writes that overlap one before on their key", overlapping as f64),
    ];
    Figures { rows: rows.into_iter().map(|(name, value)| Figure { name, value }).collect() }
}

/// Returns the smallest element that at least `percent` percent of the elements do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Returns how many writes were called before an earlier write of their key had returned, and the number of writes.
fn overlapping(history: &History, trace: &Trace) -> (usize, usize) {
    let (mut overlapping, mut count) = (0, 0);
    for writes in &trace.writes {
        let mut latest = None;
        for &w in writes {
            let called = history.operation(trace.accesses[w as usize].op).called;
            overlapping += usize::from(latest.is_some_and(|latest| latest > called));
            latest = latest.max(Some(trace.returned(history, w)));
        }
        count += writes.len();
    }
    (overlapping, count)
}

/// Returns the staleness of each read whose source is sure, ordered by key, then by source.
#[must_use]
pub fn staleness(history: &History, trace: &Trace) -> Vec<Staleness> {
    let mut reads: Vec<Vec<u32>> = vec![Vec::new(); trace.writes.len()];
    for (i, access) in (0u32..).zip(&trace.accesses) {
        if is_access(access.source) || access.source == INITIAL {
            reads[access.key as usize].push(i);
        }
    }
    let mut all = Vec::new();
    for (writes, reads) in trace.writes.iter().zip(&reads) {
        of_key(history, trace, writes, reads, &mut all);
    }
    all
}

/// Measures the reads of one key. Scans the writes from the latest call back; a Fenwick tree over the returns counts
/// the writes already passed.
fn of_key(history: &History, trace: &Trace, writes: &[u32], reads: &[u32], all: &mut Vec<Staleness>) {
    let called = |a: u32| history.operation(trace.accesses[a as usize].op).called;
    let mut returns: Vec<u32> = writes.iter().map(|&w| trace.returned(history, w)).filter(|&r| r != u32::MAX).collect();
    returns.sort_unstable();
    // When the read's source had returned; `None`: the initial state, before everything.
    let since = |read: u32| match trace.accesses[read as usize].source {
        INITIAL => None,
        source => Some(trace.returned(history, source)),
    };
    let mut queries: Vec<(Option<u32>, u32)> = reads.iter().map(|&read| (since(read), read)).collect();
    queries.sort_unstable();
    let mut tree = vec![0u64; returns.len() + 1];
    let mut earliest = u32::MAX;
    let mut left = writes.len();
    for &(since, read) in queries.iter().rev() {
        while left > 0 && since.is_none_or(|since| called(writes[left - 1]) > since) {
            left -= 1;
            let returned = trace.returned(history, writes[left]);
            // A write of unknown outcome is not acknowledged, so no read certainly missed it. A conditional write does
            // not miss itself: it returns after its own call.
            if returned != u32::MAX {
                earliest = earliest.min(returned);
                let mut at = returns.partition_point(|&r| r < returned) + 1;
                while at < tree.len() {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
            }
        }
        let call = called(read);
        let mut at = if earliest < call { returns.partition_point(|&r| r < call) } else { 0 };
        let mut versions = 0;
        while at > 0 {
            versions += tree[at];
            at &= at - 1;
        }
        all.push(Staleness { read, versions, since: (versions > 0).then_some(earliest) });
    }
}
