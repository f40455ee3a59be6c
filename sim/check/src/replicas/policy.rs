//! Lost updates: the cost of the last-writer policy.
//!
//! Under that policy a later write replaces an acknowledged one, as in any register; that is no loss. It is a loss if
//! skewed clocks made the older value win. This is derived from what was shown. A write is counted if, after its
//! acknowledgement, no operation and no final dump showed it, although one of them showed only values acknowledged
//! before the write was called.
//!
//! Caveat: under weak quorums a read may show an older value because its replica lags. A write that a later one then
//! replaces unseen is counted too.

use super::history::{Keyed, NEVER};

/// Returns, for each write, whether the policy lost it.
pub fn lost_updates(keyed: &Keyed) -> Vec<bool> {
    let acked = |write: u32| keyed.writes[write as usize].acked;
    // The time of each observation, and the writes it found. Below, `age` is the latest of their acknowledgements.
    let mut shown: Vec<(u64, &[u32])> = keyed.shown.iter().map(|s| (keyed.op(s.op).called, keyed.found(s))).collect();
    shown.extend(keyed.dumped.iter().map(|dumped| (NEVER, dumped.as_slice())));
    shown.sort_by_key(|(at, _)| *at);
    let mut seen = vec![false; keyed.writes.len()];
    for (at, found) in &shown {
        found.iter().filter(|&&write| acked(write) <= *at).for_each(|&write| seen[write as usize] = true);
    }
    let mut oldest_after: Vec<u64> = vec![NEVER; shown.len() + 1];
    for (place, (_, found)) in shown.iter().enumerate().rev() {
        let age = found.iter().map(|&write| acked(write)).max().unwrap_or(NEVER);
        oldest_after[place] = age.min(oldest_after[place + 1]);
    }
    let lost = |(number, write): (usize, &super::history::Write)| {
        let after = shown.partition_point(|(at, _)| *at < write.acked);
        write.put && write.acked != NEVER && !seen[number] && oldest_after[after] < write.called
    };
    keyed.writes.iter().enumerate().map(lost).collect()
}
