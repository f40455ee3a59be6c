//! `jepsen.tests.long-fork`: transactions that write one key each, once, and others that only read a group of keys.
//! Under snapshot isolation the reads of a group can be ordered so that each sees what those before it saw. Two reads
//! that cannot be ordered have seen two writes in opposite orders.
//!
//! The reads of a group are sorted by how many keys they saw written. They can be ordered if each saw everything that
//! the one before it saw, so it suffices to compare neighbours. Jepsen's test compares all pairs and lists those that
//! conflict. Here one pair is shown, and the count is that of conflicting neighbours.
//!
//! *Multiple writes*: a key was written more than once, which makes the verdict unknown, as in Jepsen's test. What that
//! test calls an illegal history is an error here: transactions of several writes or of reads and writes, groups of
//! different sizes, a key read with two values.

use super::{NOTHING, counts, evidence, figure, place};
use crate::evidence::show::{during, quoted, subject};
use crate::history::{End, Function, History, KeyId, OpId, Value};
use crate::linear::{PartReport, Verdict};
use crate::model::Misfit;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What a read saw, sorted by key.
type Seen = Vec<(KeyId, Value)>;

/// The reads of each group of keys.
type Groups = BTreeMap<Vec<KeyId>, Vec<(OpId, Seen)>>;

pub fn judge(history: &History) -> Result<PartReport, Misfit> {
    let (reads, twice) = (reads(history)?, written_twice(history));
    let mut groups: Groups = BTreeMap::new();
    for (op, seen) in reads {
        groups.entry(seen.iter().map(|&(key, _)| key).collect()).or_default().push((op, seen));
    }
    let all = || groups.values().flatten();
    let written = |seen: &Seen| seen.iter().filter(|(_, value)| *value != history.initial()).count();
    let figures = vec![
        figure("reads-count", all().count() as u64),
        figure("early-read-count", all().filter(|(_, seen)| written(seen) == 0).count() as u64),
        figure("late-read-count", all().filter(|(_, seen)| written(seen) == seen.len()).count() as u64),
    ];
    let mut forks = Vec::new();
    let verdict = match twice {
        Some((key, first, second)) => Verdict::Unknown(format!(
            "multiple writes: {} was written at {} and at {}, and long-fork is of keys that are written once",
            history.key(key),
            place(history, first),
            place(history, second)
        )),
        None => {
            legal(history, &groups)?;
            forks = groups.into_values().flat_map(|group| forks_in(history, group)).collect();
            match forks.first() {
                Some((a, b)) => told(history, a, b),
                None if figures[0].amount == crate::linear::Amount::Count(0) => {
                    Verdict::Unknown(format!("{NOTHING}: no read was answered"))
                }
                None => Verdict::Valid,
            }
        }
    };
    let operations = history.operations().len();
    Ok(PartReport {
        name: "transactions".to_owned(),
        operations,
        verdict,
        by: "reads of each group in a row",
        steps: operations as u64,
        counts: counts(&[("long fork", forks.len() as u64)]),
        figures,
    })
}

/// Returns the answered reads.
fn reads(history: &History) -> Result<Vec<(OpId, Seen)>, Misfit> {
    let mut reads = Vec::new();
    for (id, op) in (0u32..).map(OpId).zip(history.operations()) {
        let steps = history.micro_ops(op);
        let misfit = |what: &str| Misfit { op: id, what: format!("long-fork is of transactions that {what}") };
        match steps {
            _ if op.f != Function::Txn => return Err(misfit("read, or write one key")),
            [one] if one.f == Function::Write => continue,
            _ if steps.iter().any(|step| step.f != Function::Read) => {
                return Err(misfit("only read, or only write one key, and this does more"));
            }
            _ if steps.iter().any(|step| history.list(step).is_some()) => {
                return Err(misfit("read registers, and this read a list"));
            }
            _ => {}
        }
        if op.end != End::Ok || steps.is_empty() || steps.iter().any(|step| step.value == Value::UNTOLD) {
            continue;
        }
        let mut seen: Seen = steps.iter().map(|step| (step.key, step.value)).collect();
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(misfit("read each key once, and this read one twice"));
        }
        reads.push((id, seen));
    }
    Ok(reads)
}

/// Returns a key that was written twice, and the two transactions.
fn written_twice(history: &History) -> Option<(KeyId, OpId, OpId)> {
    let mut writers: HashMap<KeyId, OpId> = HashMap::new(); // Never iterated.
    for (id, op) in (0u32..).map(OpId).zip(history.operations()) {
        for step in history.micro_ops(op).iter().filter(|step| step.f == Function::Write) {
            if let Some(first) = writers.insert(step.key, id) {
                return Some((step.key, first, id));
            }
        }
    }
    None
}

/// Checks that all groups have the same size, and that no key was seen with two values.
fn legal(history: &History, groups: &Groups) -> Result<(), Misfit> {
    let size = groups.keys().map(Vec::len).max().unwrap_or(0);
    let mut values: HashMap<KeyId, Value> = HashMap::new(); // Never iterated.
    for (keys, reads) in groups {
        for (op, seen) in reads {
            if keys.len() != size {
                let what =
                    format!("reads of long-fork are of as many keys each: this is of {}, others of {size}", keys.len());
                return Err(Misfit { op: *op, what });
            }
            for &(key, value) in seen.iter().filter(|(_, value)| *value != history.initial()) {
                let other = *values.entry(key).or_insert(value);
                if other != value {
                    let [value, other] = [value, other].map(|value| quoted(history, value));
                    let what = format!("{} is written once, and was read as {value} and as {other}", history.key(key));
                    return Err(Misfit { op: *op, what });
                }
            }
        }
    }
    Ok(())
}

type Fork = ((OpId, Seen), (OpId, Seen));

/// Returns the neighbours, sorted by how much they saw, where the later misses something that the earlier saw.
fn forks_in(history: &History, mut group: Vec<(OpId, Seen)>) -> Vec<Fork> {
    let saw = |seen: &Seen, at: usize| seen[at].1 != history.initial();
    group.sort_by_key(|(op, seen)| ((0..seen.len()).filter(|&at| saw(seen, at)).count(), *op));
    let fork = |pair: &[(OpId, Seen)]| {
        let misses = (0..pair[0].1.len()).any(|at| saw(&pair[0].1, at) && !saw(&pair[1].1, at));
        misses.then(|| (pair[0].clone(), pair[1].clone()))
    };
    group.windows(2).filter_map(fork).collect()
}

fn told(history: &History, a: &(OpId, Seen), b: &(OpId, Seen)) -> Verdict {
    let only = |seen: &Seen, other: &Seen| {
        let both = seen.iter().zip(other);
        both.filter(|(seen, other)| seen.1 != history.initial() && other.1 == history.initial())
            .map(|(seen, _)| seen.0)
            .next()
    };
    let (one, other) = (only(&a.1, &b.1), only(&b.1, &a.1));
    let name = |key: Option<KeyId>| key.map_or_else(String::new, |key| history.key(key).into_owned());
    let who = |op: OpId| {
        let op = history.operation(op);
        format!("{}'s read {}", subject(op), during(history, op))
    };
    let text = format!(
        "{} saw the write of {} and not that of {}; {} saw the write of {} and not that of {}: they saw the two in opposite orders.",
        crate::evidence::capital(&who(a.0)),
        name(one),
        name(other),
        who(b.0),
        name(other),
        name(one)
    );
    let writer = |key: Option<KeyId>| {
        let writes = |op: &OpId| {
            history
                .micro_ops(history.operation(*op))
                .iter()
                .any(|step| step.f == Function::Write && Some(step.key) == key)
        };
        (0..history.operations().len() as u32).map(OpId).find(writes)
    };
    let core: Vec<OpId> = [Some(a.0), Some(b.0), writer(one), writer(other)].into_iter().flatten().collect();
    evidence(history, "transactions", "long fork", (core, None), text)
}
