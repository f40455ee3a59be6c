//! Causal memory (CM): Bouajjani et al. (2017) after Ahamad et al. (1995). Each session by itself can order what is
//! causally before its operations so that this order explains all its reads.
//!
//! For the last access o of each session, happened-before is the smallest transitive relation on what is causally
//! before o that contains causal order and satisfies: if a write w' of a key happened before a read of the session that
//! saw another version w of that key, then w' happened before w. It must have no cycle (CyclicHB), and no write of a
//! key may have happened before a read of the session that saw the key's initial state (WriteHBInitRead). The last
//! access suffices: its relation contains the relations of all earlier accesses.
//!
//! The relation is a bit matrix over the past of o. It is exact up to some ten thousand accesses; beyond the budget the
//! verdict is unknown. Causal memory implies causal consistency.

use super::causal::{Causal, Stop};
use super::closure::Closure;
use super::graph::Why;
use super::trace::{INITIAL, NOBODY, NONE, Trace, is_access};
use super::{Options, settle, show, whole};
use crate::evidence::Evidence;
use crate::history::History;
use crate::linear::{Report, Verdict};

/// Decides causal memory (CM).
#[must_use]
pub fn check_causal_memory(history: &History, options: &Options) -> Report {
    let (verdict, steps) = settle(history, &mut |trace| decide(history, trace, options));
    whole("a causal memory", history, verdict, "happened-before of each session", steps)
}

fn decide(history: &History, trace: &Trace, options: &Options) -> (Verdict, u64) {
    let mut steps = 0;
    if let Err(Stop::Bad(evidence)) = Causal::new(history, trace, options).ordered() {
        return (Verdict::Invalid(evidence), steps);
    }
    for chain in &trace.chains {
        let Some(&last) = chain.last() else { continue };
        match session(history, trace, last, options, &mut steps) {
            Ok(()) => {}
            Err(Stop::Bad(evidence)) => return (Verdict::Invalid(evidence), steps),
            Err(Stop::Limit(why)) => return (Verdict::Unknown(why.to_owned()), steps),
        }
    }
    (Verdict::Valid, steps)
}

fn session(history: &History, trace: &Trace, last: u32, options: &Options, steps: &mut u64) -> Result<(), Stop> {
    let past = past(trace, last);
    if Closure::bytes(past.len()) > options.memory {
        return Err(Stop::Limit("the limit of memory was reached"));
    }
    let local = |access: u32| past.binary_search(&access).map_or(NONE, |i| i as u32);
    let mut relation = Closure::new(past.len());
    // Add causal order first. `past` is sorted by call, and causal order mostly follows the calls.
    for (i, &access) in (0u32..).zip(&past) {
        let access = &trace.accesses[access as usize];
        for (pred, why) in [(access.before, Why::Session), (access.source, Why::ReadsFrom)] {
            if is_access(pred) {
                relation.add(local(pred), i, why);
            }
        }
    }
    // The session's reads, and for each key the writes of the past.
    let mut reads = Vec::new();
    let mut at = last;
    while at != NONE {
        let access = &trace.accesses[at as usize];
        if access.source != NONE {
            reads.push(at);
        }
        at = access.before;
    }
    let mut writes: Vec<Vec<u32>> = vec![Vec::new(); trace.writes.len()];
    for (i, &access) in (0u32..).zip(&past) {
        if trace.accesses[access as usize].writes {
            writes[trace.accesses[access as usize].key as usize].push(i);
        }
    }
    loop {
        let mut news = false;
        for &read in &reads {
            let access = &trace.accesses[read as usize];
            let (me, source) =
                (local(read), if is_access(access.source) { local(access.source) } else { access.source });
            for &w in &writes[access.key as usize] {
                *steps += 1;
                if w == source || w == me || !relation.has(w, me) {
                    continue;
                }
                if source == INITIAL {
                    return Err(Stop::Bad(missed(history, trace, past[w as usize], read)));
                }
                if is_access(source) {
                    news |= relation.add(w, source, Why::Seen(read));
                }
            }
        }
        if let Some(mut cycle) = relation.cycle() {
            for edge in &mut cycle {
                (edge.from, edge.to) = (past[edge.from as usize], past[edge.to as usize]);
            }
            let intro = format!(
                "not a causal memory: process {} cannot order what is causally before its operations",
                history.operation(trace.accesses[last as usize].op).process
            );
            return Err(Stop::Bad(show::cycle(history, trace, "history", "CyclicHB", &intro, &cycle)));
        }
        if *steps + relation.steps > options.steps {
            return Err(Stop::Limit("the limit of steps was reached"));
        }
        if !news {
            *steps += relation.steps;
            return Ok(());
        }
    }
}

/// Returns what is causally before an access, and the access itself, in the order of calls.
fn past(trace: &Trace, last: u32) -> Vec<u32> {
    let mut seen = vec![false; trace.accesses.len()];
    seen[last as usize] = true;
    let mut stack = vec![last];
    while let Some(node) = stack.pop() {
        let access = &trace.accesses[node as usize];
        for pred in [access.before, access.source] {
            if pred < NOBODY && !std::mem::replace(&mut seen[pred as usize], true) {
                stack.push(pred);
            }
        }
    }
    (0u32..).zip(seen).filter_map(|(i, seen)| seen.then_some(i)).collect()
}

/// Returns the evidence of a WriteHBInitRead.
fn missed(history: &History, trace: &Trace, write: u32, read: u32) -> Box<Evidence> {
    let [w, r] = [write, read].map(|a| show::op(history, trace.accesses[a as usize].op));
    let words = format!("{r} saw the initial state, but for its session {w} happened before it");
    show::plain(history, "history", "WriteHBInitRead", trace.ops(&[write, read]), words)
}
