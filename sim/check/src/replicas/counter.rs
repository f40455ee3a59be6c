//! Counters: the value that is read, or held at the end, must be a sum of what was added.
//!
//! An addition of unknown outcome may or may not count, so a sum has bounds. The lower bound is what certainly counts
//! plus the negative additions in doubt; the upper bound is what certainly counts plus the positive additions in doubt.
//! For a read, everything called before it returned is in doubt, except what certainly counts: additions acknowledged
//! before the read was called, by a quorum that it meets. An absent key counts as 0. A key that was put or deleted is
//! not checked, because the value of the counter is then unknown.

use super::history::Part;
use super::words;
use super::{COUNTED, Call, End, Findings, LATEST, NONE_INVENTED, ONCE, Observed, Operation, Options, Quorum};
use std::collections::BTreeMap;

/// The least and greatest possible value of a counter.
#[derive(Clone, Copy, Default)]
struct Bounds {
    least: i128,
    most: i128,
}

/// Additions sorted by a time, each with the sums up to and including it.
struct Sums(Vec<(u64, Bounds)>);

impl Sums {
    fn new(mut additions: Vec<(u64, i64)>) -> Sums {
        additions.sort_unstable();
        let mut sum = Bounds::default();
        let add = |(time, n): (u64, i64)| {
            sum.least += i128::from(n.min(0));
            sum.most += i128::from(n.max(0));
            (time, sum)
        };
        Sums(additions.into_iter().map(add).collect())
    }

    /// Returns the sum of the negative and that of the positive additions up to a time, inclusive.
    fn until(&self, time: u64) -> Bounds {
        let before = self.0.partition_point(|&(at, _)| at <= time);
        if before == 0 { Bounds::default() } else { self.0[before - 1].1 }
    }
}

/// Checks one counter.
pub fn check(observed: &Observed, part: &Part, options: &Options, findings: &mut Findings) {
    let ops = || part.operations.iter().map(|&at| (at, &observed.operations[at as usize]));
    let written = |op: &Operation| matches!(op.call, Call::Put { .. } | Call::Delete { .. }) && op.end != End::Fail;
    if ops().any(|(_, op)| written(op)) {
        return;
    }
    let additions = || {
        ops().filter_map(|(_, op)| match op.call {
            Call::Add(n) if op.end != End::Fail => Some((op, n)),
            _ => None,
        })
    };
    let called = Sums::new(additions().map(|(op, n)| (op.called, n)).collect());
    let acked = |(op, n): (&Operation, i64)| Some((op.returned.filter(|_| matches!(op.end, End::Ok(_)))?, n));
    // For each quorum of reads: the acknowledged additions that such a read meets.
    let mut met: BTreeMap<Option<Quorum>, Option<Sums>> = BTreeMap::new();
    for (_, read) in ops().filter(|(_, op)| op.call == Call::Get) {
        met.entry(read.quorum).or_insert_with(|| {
            let met: Vec<(u64, i64)> = additions().filter(|(op, _)| options.meet(read, op)).filter_map(acked).collect();
            (!met.is_empty()).then(|| Sums::new(met))
        });
    }
    let acked = Sums::new(additions().filter_map(acked).collect());
    let held = |values: &[String]| match values {
        [] => Some(0),
        [one] => one.parse::<i128>().ok(),
        _ => None,
    };

    for (at, op) in ops() {
        let (End::Ok(Some(values)), Some(returned)) = (&op.end, op.returned) else { continue };
        if op.call == Call::Get {
            let level = findings.figures.level(&op.level);
            level.reads += 1;
            level.conflicts += u64::from(values.len() > 1);
            level.values_max = level.values_max.max(values.len() as u64);
        }
        let before = op.called.checked_sub(1);
        let all = called.until(returned);
        let Some(value) = held(values) else {
            unreadable(&op.key, &words::op(op), values, &[at], findings);
            continue;
        };
        if value < all.least || value > all.most {
            findings.violated(NONE_INVENTED, &op.key, &[at], || {
                let Bounds { least, most } = all;
                format!("{} is no sum of what had been added by then: from {least} to {most}", words::op(op))
            });
        } else if let Some(met) = met.get(&op.quorum).and_then(Option::as_ref).filter(|_| op.call == Call::Get) {
            let certain = before.map_or(Bounds::default(), |time| met.until(time));
            let (least, most) = (all.least + certain.most, all.most + certain.least);
            let stale = value < least || value > most;
            let level = findings.figures.level(&op.level);
            level.stale.count(stale);
            if stale {
                findings.violated(LATEST, &op.key, &[at], || {
                    format!("{} misses additions acknowledged before: expected {least} to {most}", words::op(op))
                });
            }
        }
    }

    let (all, certain) = (called.until(u64::MAX), acked.until(u64::MAX));
    let (least, most) = (all.least + certain.most, all.most + certain.least);
    for &at in &part.dumps {
        let dump = &observed.dumps[at as usize];
        let who = || format!("at the end, replica {}", dump.replica);
        match held(&dump.values) {
            None => unreadable(&dump.key, &who(), &dump.values, &[], findings),
            Some(value) if value < least || value > most => {
                findings.violated(COUNTED, &dump.key, &[], || {
                    let sum = certain.least + certain.most;
                    let doubt = if least == most {
                        String::new()
                    } else {
                        format!(", and additions of unknown outcome make that {least} to {most}")
                    };
                    format!("{} holds {value}; what was acknowledged adds up to {sum}{doubt}", who())
                });
            }
            Some(_) => {}
        }
    }
}

fn unreadable(key: &str, who: &str, values: &[String], at: &[u32], findings: &mut Findings) {
    let property = if values.len() > 1 { ONCE } else { NONE_INVENTED };
    findings.violated(property, key, at, || format!("{who} found {}, not one whole number", words::values(values)));
}
