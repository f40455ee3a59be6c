//! The conditions on the final state: nothing lost, nothing resurrected, all replicas equal.
//!
//! **Lost.** Each acknowledged write must be accounted for. This is computed backwards from the final state. A write is
//! accounted for if its value is in a dump, if it is a delete (which leaves nothing to find), or if some write that is
//! accounted for saw it. A write of unknown outcome accounts for what it saw on the same terms: if its value is absent
//! and not overwritten in turn, it has left no trace, and a replica can drop a value only because of what it then
//! holds. A delete of unknown outcome can always have happened.
//!
//! **Last writer.** A write that is not accounted for may have lost against a write that did not see it. It certainly
//! has not lost against one that it has itself overwritten. If nothing is left, a delete may have won, if there is any.
//! Clocks may be wrong, so the order of calls proves nothing.
//!
//! **Resurrected.** A value that some acknowledged write or delete had overwritten, directly or not, must not appear:
//! - in a dump;
//! - in a read after the replicas converged, if it was overwritten before they converged;
//! - in a read called after the acknowledgement, if its quorum met that of the overwriting write;
//! - at any time and whatever the quorums, beside a value that overwrote it: replicas that merge versions have merged
//!   these.

use super::closure::Closure;
use super::history::{Keyed, NEVER, Part};
use super::{CONVERGED, Call, Findings, NONE_LOST, NONE_RESURRECTED, Observed, Options, Policy};
use super::{policy, words};

/// Checks that all replicas of the key hold the same.
pub fn converged(observed: &Observed, part: &Part, findings: &mut Findings) {
    let dump = |&at: &u32| &observed.dumps[at as usize];
    let mut dumps = part.dumps.iter().map(dump);
    let Some(first) = dumps.next() else { return };
    if let Some(other) = dumps.find(|other| other.state != first.state) {
        findings.violated(CONVERGED, &first.key, &[], || {
            let (a, b) = (words::values(&first.values), words::values(&other.values));
            let differ = if a == b { " in other versions" } else { "" };
            format!("at the end, replica {} holds {a}, and replica {} holds {b}{differ}", first.replica, other.replica)
        });
    }
}

/// Checks one key.
pub fn check(keyed: &Keyed, closure: &Closure, options: &Options, findings: &mut Findings) {
    if !keyed.dumped.is_empty() {
        lost(keyed, closure, options, findings);
    }
    resurrected(keyed, closure, options, findings);
}

fn lost(keyed: &Keyed, closure: &Closure, options: &Options, findings: &mut Findings) {
    let mut accounted: Vec<bool> = keyed.writes.iter().map(|write| !write.put).collect();
    let mut present: Vec<u32> = keyed.dumped.concat();
    present.sort_unstable();
    present.dedup();
    for &write in &present {
        accounted[write as usize] = true;
    }
    let by_policy = options.policy == Policy::LastWriter;
    let lost_updates = if by_policy { policy::lost_updates(keyed) } else { Vec::new() };
    let mut saw_it: Vec<Option<u32>> = vec![None; keyed.writes.len()];
    // A write is called before the writes that saw it.
    for number in (0..keyed.writes.len()).rev() {
        let write = &keyed.writes[number];
        if !accounted[number] && by_policy && outdone(keyed, closure, number as u32, &present, NEVER) {
            accounted[number] = true;
            findings.figures.lost_to_policy += u64::from(lost_updates[number]);
        }
        for &before in keyed.saw(write) {
            accounted[before as usize] |= accounted[number];
            saw_it[before as usize] = Some(write.op);
        }
    }
    for number in 0..keyed.writes.len() {
        let write = &keyed.writes[number];
        if accounted[number] || write.acked == NEVER {
            continue;
        }
        let saw_it = saw_it[number];
        let involved: Vec<u32> = [Some(write.op), saw_it].into_iter().flatten().collect();
        findings.violated(NONE_LOST, keyed.name, &involved, || {
            let replicas: Vec<&str> = (0..keyed.dumped.len()).map(|at| keyed.dump(at).replica.as_str()).collect();
            let replicas = replicas.join(", ");
            let holds: Vec<String> = present.iter().map(|&write| keyed.value(write).to_owned()).collect();
            let why = match saw_it {
                None => "nobody wrote over it or deleted it".to_owned(),
                Some(later) => {
                    format!("it was seen by {}, of which there is no trace either", words::op(keyed.op(later)))
                }
            };
            format!(
                "{} was acknowledged, and at the end none of {replicas} holds it, and {why}; they hold {}",
                words::op(keyed.op(write.op)),
                words::values(&holds)
            )
        });
    }
}

/// Returns whether the policy may have made a write lose against what was found by a certain time.
pub fn outdone(keyed: &Keyed, closure: &Closure, write: u32, found: &[u32], by: u64) -> bool {
    if found.is_empty() {
        return keyed.first_delete != NEVER && keyed.first_delete <= by;
    }
    found.iter().any(|&winner| !closure.overwrote(write, winner))
}

fn resurrected(keyed: &Keyed, closure: &Closure, options: &Options, findings: &mut Findings) {
    let dead = |write: u32, by: u64| {
        let (acked, overwriter) = keyed.writes[write as usize].overwritten;
        (acked < by).then_some(overwriter)
    };
    let tell = |who: &str, write: u32, overwriter: u32| {
        format!(
            "{who} found {:?}, which had been overwritten: {}, then {}",
            keyed.value(write),
            words::op(keyed.write(write)),
            words::op(keyed.write(overwriter))
        )
    };
    let ops = |write: u32, by: u32| [keyed.writes[write as usize].op, keyed.writes[by as usize].op];
    for (at, dumped) in keyed.dumped.iter().enumerate() {
        let back = dumped.iter().find_map(|&write| Some((write, dead(write, NEVER)?)));
        if let Some((write, overwriter)) = back.or_else(|| beside(dumped, closure)) {
            findings.violated(NONE_RESURRECTED, keyed.name, &ops(write, overwriter), || {
                tell(&format!("at the end, replica {}", keyed.dump(at).replica), write, overwriter)
            });
        }
    }
    for shown in &keyed.shown {
        let op = keyed.op(shown.op);
        let settled = options.final_from.filter(|&from| op.called >= from).unwrap_or(0);
        let found = keyed.found(shown);
        let met = |&overwriter: &u32| op.call == Call::Get && options.meet(op, keyed.write(overwriter));
        let back = found.iter().find_map(|&write| {
            let by = dead(write, settled).or_else(|| dead(write, op.called).filter(met))?;
            Some((write, by))
        });
        if let Some((write, overwriter)) = back.or_else(|| beside(found, closure)) {
            let involved = [&[shown.op][..], &ops(write, overwriter)].concat();
            findings.violated(NONE_RESURRECTED, keyed.name, &involved, || tell(&words::op(op), write, overwriter));
        }
    }
}

/// Returns a value among siblings that another of them overwrote, and that other one. `writes` is ascending.
fn beside(writes: &[u32], closure: &Closure) -> Option<(u32, u32)> {
    writes.iter().enumerate().rev().find_map(|(at, &later)| {
        writes[..at].iter().find(|&&write| closure.overwrote(later, write)).map(|&write| (write, later))
    })
}
