//! Lost writes, phantom writes, and eventual convergence.
//!
//! - **Phantom**: a read saw a value that no operation can have written: no operation asked to write it, or those that
//!   did failed or were refused.
//! - **Final reads** of a key: its reads that were called after every acknowledged write of the key had returned, and
//!   at least [`Options::quiet`] nanoseconds after the last of these returns. With [`Options::final_from`], they must
//!   also be called at that event or later.
//! - **Lost**: a write was acknowledged, no read ever saw its version, its key has final reads, and none of them saw a
//!   version that can have followed it: each saw the initial state, or a version whose write had returned before the
//!   lost write was called.
//! - **Convergence**: the last final reads of all processes that have final reads agree. They need not agree if one of
//!   them saw a write of unknown outcome, which may have taken effect in between.

use super::trace::{INITIAL, NOBODY, Trace, is_access};
use super::{Options, show};
use crate::history::{End, History, KeyId, OpId, Value};
use crate::linear::{PartReport, Report, Verdict};
use std::collections::BTreeMap;

/// Checks that every value read can have been written by some operation.
#[must_use]
pub fn check_phantom_writes(history: &History) -> Report {
    let trace = Trace::new(history);
    let mut found: Vec<Option<(OpId, u64)>> = vec![None; history.keys() as usize];
    for access in trace.accesses.iter().filter(|access| access.source == NOBODY) {
        let slot = &mut found[access.key as usize];
        *slot = Some(slot.map_or((access.op, 1), |(first, count)| (first, count + 1)));
    }
    per_key("free of phantom writes", "reads against writes", history, &mut |key, name| {
        let Some((op, count)) = found[key as usize] else { return Verdict::Valid };
        let value = seen(history, op);
        let asked = (0u32..).map(OpId).zip(history.operations()).find(|(_, other)| {
            other.key == KeyId(key) && other.arg == value && matches!(other.end, End::Fail | End::Refused)
        });
        let (mut core, mut words) = (vec![op], format!("key {name}: {} saw a value ", show::op(history, op)));
        match asked {
            Some((writer, _)) => {
                core.push(writer);
                words += &format!("that was never written: {} did not happen", show::op(history, writer));
            }
            None => words += "that nobody ever wrote",
        }
        words += &format!(" ({count} such reads)");
        core.sort_unstable();
        Verdict::Invalid(show::plain(history, name, "phantom write", core, words))
    })
}

/// Checks that no acknowledged write was lost, as far as final reads show.
#[must_use]
pub fn check_lost_writes(history: &History, options: &Options) -> Report {
    let trace = Trace::new(history);
    let reads = final_reads(history, &trace, options);
    let mut read = vec![false; trace.accesses.len()];
    for access in &trace.accesses {
        if is_access(access.source) {
            read[access.source as usize] = true;
        }
    }
    per_key("free of lost writes", "final reads", history, &mut |key, name| {
        let reads = &reads[key as usize];
        if trace.writes[key as usize].is_empty() {
            return Verdict::Valid;
        }
        if reads.is_empty() {
            return Verdict::Unknown("no final reads: nobody read the key after its last write".to_owned());
        }
        if let Some(&(unsure, _)) = reads.iter().find(|&&(_, source)| !is_access(source) && source != INITIAL) {
            return Verdict::Unknown(format!("it is not sure which write {} read", show::op(history, unsure)));
        }
        // The latest return among the writes that final reads saw. A write that was called after it and never read was
        // lost.
        let returned = |source: u32| if source == INITIAL { None } else { Some(trace.returned(history, source)) };
        let latest = reads.iter().map(|&(_, source)| returned(source)).max().flatten();
        let lost: Vec<u32> = trace.writes[key as usize]
            .iter()
            .copied()
            .filter(|&w| {
                let op = history.operation(trace.accesses[w as usize].op);
                op.end == End::Ok && !read[w as usize] && latest.is_none_or(|latest| op.called > latest)
            })
            .collect();
        let Some(&first) = lost.first() else {
            return if trace.unsure.iter().any(|&op| history.operation(op).key == KeyId(key)) {
                Verdict::Unknown("equal values: for some reads it is not sure which write they read".to_owned())
            } else {
                Verdict::Valid
            };
        };
        let write = trace.accesses[first as usize].op;
        let words = format!(
            "key {name}: {} was acknowledged and never seen; the {} final reads saw versions whose writes had returned \
             before it was called ({} such writes)",
            show::op(history, write),
            reads.len(),
            lost.len()
        );
        let mut core = vec![write];
        core.extend(reads.iter().map(|read| read.0));
        core.sort_unstable();
        Verdict::Invalid(show::plain(history, name, "lost write", core, words))
    })
}

/// Checks that the processes agree in the end.
#[must_use]
pub fn check_convergence(history: &History, options: &Options) -> Report {
    let trace = Trace::new(history);
    let reads = final_reads(history, &trace, options);
    per_key("convergent", "final reads", history, &mut |key, name| {
        let mut last: BTreeMap<u32, (OpId, u32)> = BTreeMap::new();
        for &(op, source) in &reads[key as usize] {
            last.insert(history.operation(op).process, (op, source));
        }
        let Some(&(first, _)) = last.values().next() else {
            return Verdict::Unknown("no final reads".to_owned());
        };
        let Some(&(other, _)) = last.values().find(|read| seen(history, read.0) != seen(history, first)) else {
            return Verdict::Valid;
        };
        let late = |source: u32| {
            let sure = source == INITIAL || is_access(source) && trace.returned(history, source) != u32::MAX;
            !sure && source != NOBODY
        };
        if last.values().any(|&(_, source)| late(source)) {
            let why = "the last reads differ, but a write of unknown outcome may have taken effect in between";
            return Verdict::Unknown(why.to_owned());
        }
        let words = format!(
            "key {name}: the last reads of {} processes do not agree: {}, {}",
            last.len(),
            show::op(history, first),
            show::op(history, other)
        );
        let mut core = vec![first, other];
        core.sort_unstable();
        Verdict::Invalid(show::plain(history, name, "divergence", core, words))
    })
}

/// Returns the value that a read or a refused write saw, or that a conditional write replaced.
fn seen(history: &History, op: OpId) -> Value {
    let op = history.operation(op);
    op.reply.told().or(op.compare.told()).unwrap_or(Value::NIL)
}

/// Returns the final reads of each key with their sources, in the order of their calls.
fn final_reads(history: &History, trace: &Trace, options: &Options) -> Vec<Vec<(OpId, u32)>> {
    let mut last: Vec<Option<u32>> = vec![None; trace.writes.len()];
    for (last, writes) in last.iter_mut().zip(&trace.writes) {
        let returns = writes.iter().map(|&w| trace.returned(history, w)).filter(|&ret| ret != u32::MAX);
        *last = returns.max();
    }
    let mut reads = vec![Vec::new(); trace.writes.len()];
    for access in trace.accesses.iter().filter(|access| !access.writes) {
        let called = history.operation(access.op).called;
        let after = last[access.key as usize].is_none_or(|last| {
            called > last && history.time(called) >= history.time(last).saturating_add(options.quiet)
        });
        if after && options.final_from.is_none_or(|from| called >= from) {
            reads[access.key as usize].push((access.op, access.source));
        }
    }
    reads
}

fn per_key(
    property: &'static str,
    by: &'static str,
    history: &History,
    decide: &mut dyn FnMut(u32, &str) -> Verdict,
) -> Report {
    let mut operations = vec![0; history.keys() as usize];
    for op in history.operations() {
        if let Some(count) = operations.get_mut(op.key.0 as usize) {
            *count += 1;
        }
    }
    let parts = (0u32..).zip(operations).map(|(key, operations)| {
        let name = history.key(KeyId(key)).into_owned();
        PartReport {
            verdict: decide(key, &name),
            name,
            operations,
            by,
            steps: operations as u64,
            counts: Vec::new(),
            figures: Vec::new(),
        }
    });
    Report { property, parts: parts.collect() }
}
