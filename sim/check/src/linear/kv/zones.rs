//! A quick refutation by the times during which values were present (Gibbons and Korach, "Testing shared memories",
//! 1997).
//!
//! A value with one writer is present during one interval, which contains the write and every read of it. Let f be the
//! first return and s the last call among these. If f of A is before s of B, then A's interval is before B's. If that
//! holds both ways, there is no order. A write of another value is an interval of its own, and so is the time before
//! the first write if nothing is ever deleted. Conflicting pairs are found by sorting: intervals with f before s must
//! not overlap each other, and must not contain one with s before f.
//!
//! This only refutes. Finding no conflict proves nothing, since revisions and conditions are ignored.

use super::problem::{OPEN, Problem};
use super::state::{ANY, Act, MISSING};

#[derive(Clone, Copy)]
struct Zone {
    first_return: u64,
    last_call: u64,
}

/// Whether two values must each be before the other.
pub fn clash(problem: &Problem) -> bool {
    // Moments are shifted by one: 0 is before everything.
    let mut zones = vec![Zone { first_return: OPEN, last_call: 0 }; problem.supply.len()];
    let mut points = Vec::new();
    let first = problem.initial.value as usize;
    if problem.supply[first] == 0 {
        zones[first].first_return = 0;
    }
    for op in &problem.ops {
        let ret = op.ret.saturating_add(1);
        let (value, writes) = match op.act {
            Act::See { value: ANY, .. } => continue,
            Act::See { value, .. } => (value as usize, problem.supply[value as usize]),
            Act::Change { to, .. } => (to as usize, problem.supply[to as usize]),
        };
        let alone = if value == first { writes == 0 } else { writes == 1 && value != MISSING as usize };
        if alone {
            let zone = &mut zones[value];
            zone.first_return = zone.first_return.min(ret);
            zone.last_call = zone.last_call.max(op.call + 1);
        } else if matches!(op.act, Act::Change { .. }) && op.ret != OPEN {
            points.push(Zone { first_return: ret, last_call: op.call + 1 });
        }
    }
    let certain = zones.into_iter().chain(points).filter(|zone| zone.first_return != OPEN);
    let (mut forward, backward): (Vec<Zone>, Vec<Zone>) = certain.partition(|zone| zone.first_return < zone.last_call);
    forward.sort_unstable_by_key(|zone| zone.first_return);
    if forward.windows(2).any(|pair| pair[1].first_return < pair[0].last_call) {
        return true;
    }
    backward.iter().any(|inner| {
        let before = forward.partition_point(|outer| outer.first_return < inner.last_call);
        before > 0 && inner.first_return < forward[before - 1].last_call
    })
}
