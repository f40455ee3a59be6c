//! The verifier of certificates of transactions: cycles of dependencies, anomalies without one, and orders that are replayed.
//!
//! It knows the levels by what they forbid: a cycle in which no level but read uncommitted has only write dependencies, read
//! committed no anti-dependency, the snapshot isolations no two of them side by side; the order within clients and real time
//! count where a level has them. A serial order is one of every level.

use super::facts::{Facts, Said};
use super::{Dependency, Verified, Why};
use crate::history::{End, Function, History, KeyId, Value};
use hashbrown::HashMap;

/// What a level forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Level {
    /// 0: interleaved writes; 1: and dirty reads; 2: and what no snapshot shows.
    depth: u8,
    /// And every other cycle.
    serial: bool,
    /// Cycles may need nothing but dependencies (0), or the order within clients (1), or real time (2).
    pub order: u8,
}

impl Level {
    /// By the name of the property.
    pub fn named(property: &str) -> Option<Level> {
        let (depth, serial, order) = match property {
            "isolated as read uncommitted" => (0, false, 0),
            "isolated as read committed" => (1, false, 0),
            "isolated as repeatable read" | "serializable" => (2, true, 0),
            "snapshot isolated" => (2, false, 0),
            "strong session snapshot isolated" => (2, false, 1),
            "strong snapshot isolated" => (2, false, 2),
            "strong session serializable" => (2, true, 1),
            "strict serializable" => (2, true, 2),
            _ => return None,
        };
        Some(Level { depth, serial, order })
    }
}

/// Verifies an anomaly without a cycle.
pub(super) fn anomaly(
    history: &History,
    level: Level,
    name: &str,
    ops: &[u32],
    by: Option<u32>,
) -> Result<Verified, String> {
    let facts = Facts::new(history)?;
    if let Some(&i) = ops.iter().find(|&&i| !facts.exists(i)) {
        return Err(format!("there is no operation {i}"));
    }
    match facts.anomaly(name, ops, by) {
        None => Err(format!("the operations {ops:?} show no {name:?}")),
        Some(depth) if depth > level.depth => Err(format!("this level does not forbid {name:?}")),
        Some(_) => Ok(Verified::Invalid),
    }
}

/// Verifies a cycle: each dependency, and that the level forbids them together.
pub(super) fn cycle(history: &History, level: Level, cycle: &[Dependency]) -> Result<Verified, String> {
    let facts = Facts::new(history)?;
    for (i, edge) in cycle.iter().enumerate() {
        let Dependency { from, to, why, key, by } = *edge;
        if !facts.exists(from) || !facts.exists(to) {
            return Err(format!("there is no operation {from}, or no {to}"));
        }
        let on = KeyId(key.unwrap_or(u32::MAX));
        if !matches!(why, Why::Process | Why::Realtime) && on.0 >= history.keys() {
            return Err(format!("the dependency {from} → {to} is on no key"));
        }
        if !facts.depends((from, to), why, on, by) {
            return Err(format!("nothing shows that {from} is before {to}: {why:?}"));
        }
        if cycle[(i + 1) % cycle.len()].from != to {
            return Err(format!("{to} is not where the cycle goes on"));
        }
    }
    let anti = |i: usize| cycle[i % cycle.len()].why == Why::Rw;
    let needs = cycle.iter().map(|edge| match edge.why {
        Why::Process => 1,
        Why::Realtime => 2,
        Why::Ww | Why::Wr | Why::Rw => 0,
    });
    let certain = |i: u32| {
        let register = facts.steps(i).iter().any(|step| step.f == Function::Write);
        facts.op(i).end == End::Ok && !register
    };
    let depth = match () {
        () if cycle.iter().any(|edge| edge.why == Why::Rw) => 2,
        () if cycle.iter().all(|edge| edge.why == Why::Ww && certain(edge.from)) => 0,
        () => 1,
    };
    match () {
        () if cycle.len() < 2 => Err("a cycle has two operations at least".to_owned()),
        () if needs.max() > Some(level.order) => {
            Err("this level does not have the order that the cycle needs".to_owned())
        }
        () if depth > level.depth => Err("this level does not forbid such a cycle".to_owned()),
        () if !level.serial && (0..cycle.len()).any(|i| anti(i) && anti(i + 1)) => {
            Err("this level does not forbid anti-dependencies side by side".to_owned())
        }
        () => Ok(Verified::Invalid),
    }
}

/// Verifies a serial order, by taking one transaction after the other in one pass.
pub(super) fn replayed(history: &History, level: Level, order: &[u32]) -> Result<Verified, String> {
    let facts = Facts::new(history)?;
    let keys = history.keys() as usize;
    let (mut lists, mut cells) = (vec![Vec::<Value>::new(); keys], vec![history.initial(); keys]);
    let mut done = vec![false; history.operations().len()];
    let (mut latest, mut of_process) = (0, HashMap::new()); // Only looked into.
    for &i in order {
        if !facts.exists(i) || std::mem::replace(&mut done[i as usize], true) {
            return Err(format!("there is no operation {i}, or it comes twice"));
        }
        let op = facts.op(i);
        if matches!(op.end, End::Fail | End::Refused) {
            return Err(format!("operation {i} aborted"));
        }
        let own = of_process.entry(op.process).or_insert(0);
        let returned = op.settled().unwrap_or(u32::MAX);
        if level.order == 2 && returned < latest || level.order == 1 && returned < *own {
            return Err(format!("operation {i} had returned before one that comes earlier was called"));
        }
        (latest, *own) = (op.called.max(latest), op.called.max(*own));
        for step in facts.steps(i) {
            let (list, cell) = (&mut lists[step.key.0 as usize], &mut cells[step.key.0 as usize]);
            let fits = match (facts.says(step), op.end) {
                (Said::Wrote(value), _) => {
                    if step.f == Function::Append {
                        list.push(value);
                    }
                    *cell = value;
                    true
                }
                (Said::List(seen), End::Ok) => seen == list.as_slice(),
                (Said::Value(seen), End::Ok) => seen == *cell,
                _ => true,
            };
            if !fits {
                return Err(format!("operation {i} cannot read {} so here", history.key(step.key)));
            }
        }
    }
    match (0..).zip(history.operations()).find(|&(i, op): &(usize, _)| op.end == End::Ok && !done[i]) {
        Some((i, _)) => Err(format!("operation {i} is missing")),
        None => Ok(Verified::Valid),
    }
}
