//! The verifier of certificates of transactions: cycles of dependencies, anomalies without a cycle, and orders to be
//! replayed.
//!
//! A level is defined by the cycles and the anomalies that it forbids, and by whether the order within clients and real
//! time count. A serial order shows every level.

use super::facts::{Facts, Said};
use super::{Dependency, Verified, Why};
use crate::history::{End, Function, History, KeyId, Value};
use hashbrown::HashMap;

/// The cycles with anti-dependencies that a level forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cycles {
    /// None.
    No,
    /// Cycles of one anti-dependency and write dependencies, all on one key.
    Cursor,
    /// Cycles of two transactions, with a read dependency and an anti-dependency.
    Fractured,
    /// Cycles with exactly one anti-dependency.
    Single,
    /// Cycles in which every anti-dependency follows a read dependency.
    AfterReads,
    /// Cycles in which no two anti-dependencies are adjacent.
    Apart,
    /// All cycles.
    All,
}

/// What a level forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Level {
    /// Dirty reads, and cycles of dependencies that are not only of writes.
    committed: bool,
    /// Cycles with anti-dependencies.
    cycles: Cycles,
    /// Reads within one transaction that contradict each other.
    internal: bool,
    /// What a cycle may use: only dependencies (0), also the order within clients (1), also real time (2).
    pub order: u8,
}

impl Level {
    /// Returns the level with this property name.
    pub fn named(property: &str) -> Option<Level> {
        let (committed, cycles, internal, order) = match property {
            "isolated as read uncommitted" => (false, Cycles::No, false, 0),
            "isolated as read committed" => (true, Cycles::No, false, 0),
            "isolated as cursor stability" => (true, Cycles::Cursor, false, 0),
            "read atomic" => (true, Cycles::Fractured, true, 0),
            "isolated as repeatable read" => (true, Cycles::All, false, 0),
            "parallel snapshot isolated" => (true, Cycles::Single, true, 0),
            "prefix consistent" => (true, Cycles::AfterReads, true, 0),
            "snapshot isolated" => (true, Cycles::Apart, true, 0),
            "strong session snapshot isolated" => (true, Cycles::Apart, true, 1),
            "strong snapshot isolated" => (true, Cycles::Apart, true, 2),
            "serializable" => (true, Cycles::All, true, 0),
            "strong session serializable" => (true, Cycles::All, true, 1),
            "strict serializable" => (true, Cycles::All, true, 2),
            _ => return None,
        };
        Some(Level { committed, cycles, internal, order })
    }

    /// Whether the level forbids an anomaly without a cycle. `depth` is 0 for broken writes, 1 for dirty reads, and 2
    /// beyond.
    fn forbids(self, name: &str, depth: u8) -> bool {
        match (depth, name) {
            (0, _) => true,
            (1, _) => self.committed,
            (_, "lost update") => !matches!(self.cycles, Cycles::No | Cycles::Fractured | Cycles::AfterReads),
            _ => self.internal,
        }
    }

    /// Whether the level forbids a cycle with anti-dependencies.
    fn forbids_cycle(self, facts: &Facts<'_>, cycle: &[Dependency]) -> bool {
        let at = |i: usize| &cycle[i % cycle.len()];
        let anti = cycle.iter().filter(|edge| edge.why == Why::Rw).count();
        match self.cycles {
            Cycles::No => false,
            Cycles::Cursor => {
                anti == 1 && cycle.iter().all(|edge| matches!(edge.why, Why::Rw | Why::Ww) && edge.key == cycle[0].key)
            }
            Cycles::Fractured => {
                let read = cycle.iter().find(|edge| edge.why == Why::Wr);
                let last = |edge: &Dependency| edge.key.and_then(|key| facts.last_writer(edge.to, KeyId(key)));
                cycle.len() == 2 && anti == 1 && read.is_some_and(|edge| last(edge) == Some(edge.from))
            }
            Cycles::Single => anti == 1,
            Cycles::AfterReads => (0..cycle.len()).all(|i| at(i + 1).why != Why::Rw || at(i).why == Why::Wr),
            Cycles::Apart => !(0..cycle.len()).any(|i| at(i).why == Why::Rw && at(i + 1).why == Why::Rw),
            Cycles::All => true,
        }
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
        Some(depth) if !level.forbids(name, depth) => Err(format!("this level does not forbid {name:?}")),
        Some(_) => Ok(Verified::Invalid),
    }
}

/// Verifies a cycle: each dependency, and that the level forbids the cycle.
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
    let needs = cycle.iter().map(|edge| match edge.why {
        Why::Process => 1,
        Why::Realtime => 2,
        Why::Ww | Why::Wr | Why::Rw => 0,
    });
    let certain = |i: u32| {
        let register = facts.steps(i).iter().any(|step| step.f == Function::Write);
        facts.op(i).end == End::Ok && !register
    };
    let writes = cycle.iter().all(|edge| edge.why == Why::Ww && certain(edge.from));
    let anti = cycle.iter().any(|edge| edge.why == Why::Rw);
    match () {
        () if cycle.len() < 2 => Err("a cycle has two operations at least".to_owned()),
        () if needs.max() > Some(level.order) => {
            Err("this level does not have the order that the cycle needs".to_owned())
        }
        () if anti && !level.forbids_cycle(&facts, cycle) || !anti && !writes && !level.committed => {
            Err("this level does not forbid such a cycle".to_owned())
        }
        () => Ok(Verified::Invalid),
    }
}

/// Verifies a serial order by replaying the transactions one after the other, in one pass.
pub(super) fn replayed(history: &History, level: Level, order: &[u32]) -> Result<Verified, String> {
    let facts = Facts::new(history)?;
    let keys = history.keys() as usize;
    let (mut lists, mut cells) = (vec![Vec::<Value>::new(); keys], vec![history.initial(); keys]);
    let mut done = vec![false; history.operations().len()];
    let (mut latest, mut of_process) = (0, HashMap::new()); // Only for lookups.
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
