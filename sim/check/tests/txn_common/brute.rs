//! Tries everything: every order of the transactions and, for the snapshot levels, every snapshot. It knows the levels
//! from their definitions by executions, and does not use dependencies. Definitions: Cerone, Bernardi and Gotsman
//! (2015), whose arbitration order is the order tried.

use super::{Op, Txn};
use seaworthy_check::End;

/// The order that the transactions must respect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Any,
    Session,
    Realtime,
}

/// The state that a transaction reads from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// What all transactions before it left.
    Last,
    /// What a prefix of those before it left. None since has written what it writes.
    Snapshot,
    /// What a prefix of those before it left, whatever was written since.
    Prefix,
    /// What any of those before it left; each of them counts as a whole.
    Atomic,
}

/// Returns whether some order of the transactions explains all replies.
pub fn possible(txns: &[Txn], order: Order, reads: Reads) -> bool {
    let committed: Vec<usize> = (0..txns.len()).filter(|&i| txns[i].end == End::Ok).collect();
    let unknown: Vec<usize> = (0..txns.len()).filter(|&i| txns[i].end == End::Info).collect();
    (0..1u32 << unknown.len()).any(|chosen| {
        let happened = unknown.iter().enumerate().filter(|&(i, _)| chosen & (1 << i) != 0).map(|(_, &txn)| txn);
        let chosen: Vec<usize> = committed.iter().copied().chain(happened).collect();
        extend(txns, &chosen, &mut Vec::new(), order, reads)
    })
}

fn before(a: &Txn, b: &Txn, order: Order) -> bool {
    let real = a.end == End::Ok && a.events.1.is_some_and(|returned| returned < b.events.0);
    match order {
        Order::Any => false,
        Order::Session => a.process == b.process && real,
        Order::Realtime => real,
    }
}

fn extend(txns: &[Txn], chosen: &[usize], done: &mut Vec<usize>, order: Order, reads: Reads) -> bool {
    if done.len() == chosen.len() {
        return true;
    }
    for &next in chosen {
        if done.contains(&next)
            || chosen.iter().any(|&o| !done.contains(&o) && o != next && before(&txns[o], &txns[next], order))
        {
            continue;
        }
        let needed = done.iter().rposition(|&o| before(&txns[o], &txns[next], order)).map_or(0, |at| at + 1);
        let fits = match reads {
            Reads::Last => fits(txns, done, done.len(), next),
            Reads::Snapshot | Reads::Prefix => (needed..=done.len()).any(|snapshot| {
                let free = reads == Reads::Prefix && !shows_own(&txns[next]);
                (free || !overtaken(txns, &done[snapshot..], next)) && fits(txns, done, snapshot, next)
            }),
            Reads::Atomic => fits_atomic(txns, done, next),
        };
        if !fits {
            continue;
        }
        done.push(next);
        if extend(txns, chosen, done, order, reads) {
            return true;
        }
        done.pop();
    }
    false
}

fn writes(txn: &Txn) -> impl Iterator<Item = (u32, u32)> {
    txn.ops.iter().filter_map(|op| match *op {
        Op::Append(key, value) | Op::Write(key, value) => Some((key, value)),
        _ => None,
    })
}

/// Returns whether a transaction read a list that it had appended to. What it read must then be the beginning of every
/// later list, so no append of others can come in between, whatever the level.
fn shows_own(txn: &Txn) -> bool {
    (0..txn.ops.len()).any(|at| shows_own_at(txn, at))
}

fn shows_own_at(txn: &Txn, at: usize) -> bool {
    matches!(&txn.ops[at], Op::List(key, Some(_)) if !writes_of(&txn.ops[..at], *key).is_empty())
}

/// Returns whether others wrote what a transaction writes.
fn overtaken(txns: &[Txn], others: &[usize], next: usize) -> bool {
    let clash = |&other: &usize| writes(&txns[other]).any(|(key, _)| writes(&txns[next]).any(|(k, _)| k == key));
    others.iter().any(clash)
}

/// Returns whether each read of a transaction saw a version of one before it, and saw everything that each such
/// transaction wrote.
fn fits_atomic(txns: &[Txn], done: &[usize], next: usize) -> bool {
    let txn = &txns[next];
    if txn.end != End::Ok {
        return true;
    }
    // By key, the version it read of others: the number of transactions before it that had taken effect by then.
    let mut seen: Vec<(u32, usize)> = Vec::new();
    for (at, op) in txn.ops.iter().enumerate() {
        let own: Vec<u32> = writes_of(&txn.ops[..at], op_key(op));
        let versions =
            (0..=done.len()).filter(|&gone| gone == 0 || writes(&txns[done[gone - 1]]).any(|w| w.0 == op_key(op)));
        let list = |gone: usize| -> Vec<u32> {
            done[..gone].iter().flat_map(|&i| writes(&txns[i])).filter(|w| w.0 == op_key(op)).map(|w| w.1).collect()
        };
        let version = match op {
            Op::List(_, Some(shown)) => versions.clone().find(|&gone| [list(gone), own.clone()].concat() == *shown),
            Op::Read(_, Some(shown)) if !own.is_empty() => {
                if own.last().copied() != *shown {
                    return false;
                }
                continue;
            }
            Op::Read(_, Some(shown)) => versions.clone().find(|&gone| list(gone).last().copied() == *shown),
            _ => continue,
        };
        let Some(version) = version else { return false };
        if shows_own_at(txn, at) && versions.clone().next_back() != Some(version) {
            return false;
        }
        match seen.iter().find(|(key, _)| *key == op_key(op)) {
            Some((_, other)) if *other != version => return false,
            _ => seen.push((op_key(op), version)),
        }
    }
    seen.iter().filter(|(_, gone)| *gone > 0).all(|&(_, gone)| {
        let writer = &txns[done[gone - 1]];
        seen.iter().all(|&(key, version)| version >= gone || writes(writer).all(|write| write.0 != key))
    })
}

fn op_key(op: &Op) -> u32 {
    match *op {
        Op::Append(key, _) | Op::Write(key, _) | Op::List(key, _) | Op::Read(key, _) => key,
    }
}

fn writes_of(ops: &[Op], wanted: u32) -> Vec<u32> {
    let written = |op: &Op| match *op {
        Op::Append(key, value) | Op::Write(key, value) if key == wanted => Some(value),
        _ => None,
    };
    ops.iter().filter_map(written).collect()
}

/// Returns whether a transaction can read what it read from the state after the first `snapshot` transactions.
fn fits(txns: &[Txn], done: &[usize], snapshot: usize, next: usize) -> bool {
    let txn = &txns[next];
    let mut state: Vec<(u32, u32)> = done[..snapshot].iter().flat_map(|&i| writes(&txns[i])).collect();
    txn.ops.iter().all(|op| {
        let list = |state: &[(u32, u32)], key| state.iter().filter(|w| w.0 == key).map(|w| w.1).collect::<Vec<_>>();
        match op {
            Op::Append(key, value) | Op::Write(key, value) => {
                state.push((*key, *value));
                true
            }
            Op::List(key, Some(seen)) if txn.end == End::Ok => *seen == list(&state, *key),
            Op::Read(key, Some(seen)) if txn.end == End::Ok => *seen == list(&state, *key).last().copied(),
            _ => true,
        }
    })
}
