//! A small in-memory database whose transactions interleave step by step, at several isolation levels, with or without
//! bugs. It does not use anomalies or graphs.

use super::{Op, Txn};
use crate::common::Rng;
use seaworthy_check::End;

/// How the database isolates transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Each transaction takes effect in one instant.
    Serial,
    /// Locks on keys, taken at first use and kept until the end. A transaction that finds a key locked aborts.
    Locks,
    /// Reads come from a snapshot. Of two concurrent transactions that wrote a key, the second aborts.
    Snapshot,
    /// Reads see what is committed at that moment. Writes lock their keys and take effect at the commit.
    Committed,
    /// Everything takes effect at once. A transaction that aborts undoes its writes.
    Uncommitted,
}

/// The parameters of a history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub txns: usize,
    pub processes: usize,
    pub keys: u64,
    pub steps: u64,
    /// Whether the keys are lists; otherwise they are registers.
    pub lists: bool,
    pub mode: Mode,
    /// Percentage of the database's checks that are skipped: locks not taken, conflicts not noticed.
    pub skip: u64,
    /// Percentage of snapshots and serial transactions that see an old state.
    pub stale: u64,
    /// Percentage of transactions that abort.
    pub abort: u64,
    /// Percentage of transactions whose outcome stays unknown.
    pub info: u64,
    /// Whether all keys are read at the end.
    pub last_read: bool,
}

struct Running {
    txn: usize,
    next: usize,
    /// Length of the log that the transaction sees.
    snapshot: usize,
    /// Its own writes so far: key, value.
    own: Vec<(u32, u32)>,
    locked: Vec<u32>,
    doomed: bool,
    done: bool,
}

/// All writes in order: key, value, and whether they were undone; and the length of the log before each commit.
#[derive(Default)]
struct Log(Vec<(u32, u32, bool)>, Vec<usize>);

impl Log {
    fn list(&self, key: u32, length: usize) -> Vec<u32> {
        self.0[..length].iter().filter(|&&(k, _, undone)| k == key && !undone).map(|&(_, value, _)| value).collect()
    }
}

impl Shape {
    /// A few transactions of any kind, few enough to try all their orders.
    pub fn tiny(rng: &mut Rng, lists: bool) -> Shape {
        let modes = [Mode::Serial, Mode::Locks, Mode::Snapshot, Mode::Committed, Mode::Uncommitted];
        Shape {
            txns: 2 + rng.below(4) as usize,
            processes: 1 + rng.below(4) as usize,
            keys: 1 + rng.below(2),
            steps: 1 + rng.below(3),
            lists,
            mode: modes[rng.below(5) as usize],
            skip: [0, 0, 50][rng.below(3) as usize],
            stale: [0, 0, 50][rng.below(3) as usize],
            abort: [0, 20][rng.below(2) as usize],
            info: [0, 0, 30][rng.below(3) as usize],
            last_read: rng.percent(50),
        }
    }
}

/// Runs transactions and returns them.
pub fn simulate(shape: Shape, rng: &mut Rng) -> Vec<Txn> {
    let mut txns: Vec<Txn> = Vec::new();
    let mut log = Log::default();
    let mut running: Vec<Option<Running>> = (0..shape.processes).map(|_| None).collect();
    let mut names: Vec<u32> = (0..shape.processes as u32).collect();
    let (mut event, mut written) = (0, vec![0u32; shape.keys as usize]);
    while txns.len() < shape.txns || running.iter().any(Option::is_some) {
        let p = rng.below(shape.processes as u64) as usize;
        let Some(mut run) = running[p].take() else {
            if txns.len() < shape.txns {
                let ops = (0..1 + rng.below(shape.steps)).map(|_| op(shape, &mut written, rng)).collect();
                txns.push(Txn { process: names[p], events: (event, None), end: End::Ok, ops });
                event += 1;
                let back = if rng.percent(shape.stale) { rng.below(3) as usize } else { usize::MAX };
                running[p] = Some(Running {
                    txn: txns.len() - 1,
                    next: 0,
                    snapshot: log.1.iter().rev().nth(back).copied().unwrap_or(log.0.len()),
                    own: Vec::new(),
                    locked: Vec::new(),
                    doomed: rng.percent(shape.abort),
                    done: false,
                });
            }
            continue;
        };
        if !run.done {
            let others: Vec<u32> = running.iter().flatten().flat_map(|other| other.locked.iter().copied()).collect();
            if shape.mode == Mode::Serial {
                run.snapshot = if rng.percent(shape.stale) { run.snapshot } else { log.0.len() };
                while run.next < txns[run.txn].ops.len() {
                    step(shape, &mut log, &mut txns, &mut run, &others, rng);
                }
            }
            if run.next < txns[run.txn].ops.len() {
                step(shape, &mut log, &mut txns, &mut run, &others, rng);
            } else {
                finish(shape, &mut log, &mut txns[run.txn], &mut run, rng);
            }
            running[p] = Some(run);
            continue;
        }
        let txn = &mut txns[run.txn];
        if txn.end == End::Info {
            names[p] += shape.processes as u32;
        }
        if txn.end != End::Info || rng.percent(50) {
            txn.events.1 = Some(event);
            event += 1;
        }
    }
    if shape.last_read {
        let ops = (0..shape.keys as u32).map(|key| seen(shape, key, log.list(key, log.0.len()))).collect();
        txns.push(Txn { process: u32::MAX, events: (event, Some(event + 1)), end: End::Ok, ops });
    }
    txns
}

fn op(shape: Shape, written: &mut [u32], rng: &mut Rng) -> Op {
    let key = rng.below(shape.keys) as u32;
    match (rng.percent(50), shape.lists) {
        (true, true) => Op::List(key, None),
        (true, false) => Op::Read(key, None),
        (false, lists) => {
            written[key as usize] += 1;
            let value = written[key as usize];
            if lists { Op::Append(key, value) } else { Op::Write(key, value) }
        }
    }
}

fn seen(shape: Shape, key: u32, list: Vec<u32>) -> Op {
    if shape.lists { Op::List(key, Some(list)) } else { Op::Read(key, Some(list.last().copied())) }
}

fn step(shape: Shape, log: &mut Log, txns: &mut [Txn], run: &mut Running, others: &[u32], rng: &mut Rng) {
    let op = &mut txns[run.txn].ops[run.next];
    run.next += 1;
    let (Op::Append(key, _) | Op::Write(key, _) | Op::List(key, _) | Op::Read(key, _)) = *op;
    let write = matches!(op, Op::Append(..) | Op::Write(..));
    if (shape.mode == Mode::Locks || shape.mode == Mode::Committed && write) && !rng.percent(shape.skip) {
        run.doomed |= others.contains(&key);
        run.locked.push(key);
    }
    match *op {
        Op::Append(_, value) | Op::Write(_, value) => {
            run.own.push((key, value));
            if shape.mode == Mode::Uncommitted {
                log.0.push((key, value, false));
            }
        }
        Op::List(..) | Op::Read(..) => {
            let length = match shape.mode {
                Mode::Serial | Mode::Snapshot => run.snapshot,
                Mode::Locks | Mode::Committed | Mode::Uncommitted => log.0.len(),
            };
            let mut list = log.list(key, length);
            if shape.mode != Mode::Uncommitted {
                list.extend(run.own.iter().filter(|&&(k, _)| k == key).map(|&(_, value)| value));
            }
            *op = seen(shape, key, list);
        }
    }
}

fn finish(shape: Shape, log: &mut Log, txn: &mut Txn, run: &mut Running, rng: &mut Rng) {
    run.done = true;
    run.locked.clear();
    let written = |key: u32| run.own.iter().any(|&(k, _)| k == key);
    let conflict = shape.mode == Mode::Snapshot && log.0[run.snapshot..].iter().any(|&(key, ..)| written(key));
    if run.doomed || conflict && !rng.percent(shape.skip) {
        txn.end = if rng.percent(shape.info) { End::Info } else { End::Fail };
        for entry in &mut log.0 {
            entry.2 |= shape.mode == Mode::Uncommitted && run.own.contains(&(entry.0, entry.1));
        }
        return;
    }
    txn.end = if rng.percent(shape.info) { End::Info } else { End::Ok };
    if shape.mode != Mode::Uncommitted {
        log.1.push(log.0.len());
        log.0.extend(run.own.iter().map(|&(key, value)| (key, value, false)));
    }
}
