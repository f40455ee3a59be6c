//! Tries everything: every order of the transactions, and for snapshot isolation every snapshot. It knows the levels from
//! their definitions by executions, and nothing of dependencies.

use super::{Op, Txn};
use seaworthy_check::End;

/// Which orders are to be respected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Any,
    Session,
    Realtime,
}

/// Whether some order of the transactions explains all replies; `snapshots`: each may read from an earlier state than the one
/// it commits to, if nobody else wrote in between what it writes.
pub fn possible(txns: &[Txn], order: Order, snapshots: bool) -> bool {
    let committed: Vec<usize> = (0..txns.len()).filter(|&i| txns[i].end == End::Ok).collect();
    let unknown: Vec<usize> = (0..txns.len()).filter(|&i| txns[i].end == End::Info).collect();
    (0..1u32 << unknown.len()).any(|chosen| {
        let happened = unknown.iter().enumerate().filter(|&(i, _)| chosen & (1 << i) != 0).map(|(_, &txn)| txn);
        let chosen: Vec<usize> = committed.iter().copied().chain(happened).collect();
        extend(txns, &chosen, &mut Vec::new(), order, snapshots)
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

fn extend(txns: &[Txn], chosen: &[usize], done: &mut Vec<usize>, order: Order, snapshots: bool) -> bool {
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
        let first = if snapshots { needed } else { done.len() };
        if !(first..=done.len()).any(|snapshot| fits(txns, done, snapshot, next)) {
            continue;
        }
        done.push(next);
        if extend(txns, chosen, done, order, snapshots) {
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

/// Whether a transaction can read what it read from the state after the first ones, and commit after all that are done.
fn fits(txns: &[Txn], done: &[usize], snapshot: usize, next: usize) -> bool {
    let txn = &txns[next];
    let clash = |&other: &usize| writes(&txns[other]).any(|(key, _)| writes(txn).any(|(k, _)| k == key));
    if done[snapshot..].iter().any(clash) {
        return false;
    }
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
