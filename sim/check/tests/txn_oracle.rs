//! Transactions compared with trying everything, on tiny random histories: of databases at several levels, with and
//! without bugs, and with changed replies. Lists are decided exactly, both ways. Registers are, too, at the levels of
//! serializability. At the snapshot levels, a refused history of registers is impossible, a valid one is possible, and
//! the rest is unknown.

mod common;
mod txn_common;

use common::Rng;
use seaworthy_check::txn::{Isolation, Options, find};
use seaworthy_check::{End, History, Verdict};
use std::collections::BTreeMap;
use txn_common::brute::{Order, Reads, possible};
use txn_common::store::{Shape, simulate};
use txn_common::{Op, Txn, record};

/// Number of histories; by default a sample.
fn histories() -> u64 {
    let asked = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 20_000 } else { 100_000 })
}

const LEVELS: [(Isolation, Order, Reads); 8] = [
    (Isolation::Serializable, Order::Any, Reads::Last),
    (Isolation::StrongSessionSerializable, Order::Session, Reads::Last),
    (Isolation::StrictSerializable, Order::Realtime, Reads::Last),
    (Isolation::SnapshotIsolation, Order::Any, Reads::Snapshot),
    (Isolation::StrongSessionSnapshotIsolation, Order::Session, Reads::Snapshot),
    (Isolation::StrongSnapshotIsolation, Order::Realtime, Reads::Snapshot),
    (Isolation::PrefixConsistency, Order::Any, Reads::Prefix),
    (Isolation::ReadAtomic, Order::Any, Reads::Atomic),
];

/// Changes a reply.
fn mutate(txns: &mut [Txn], rng: &mut Rng) {
    let at = rng.below(txns.len() as u64) as usize;
    let txn = &mut txns[at];
    let step = rng.below(txn.ops.len() as u64) as usize;
    match &mut txn.ops[step] {
        Op::List(_, Some(list)) => match rng.below(4) {
            0 => drop(list.pop()),
            1 => list.push(1 + rng.below(4) as u32),
            2 if list.len() > 1 => list.swap(0, 1),
            _ => list.clear(),
        },
        Op::Read(_, Some(seen)) => *seen = [None, Some(1), Some(2), Some(3)][rng.below(4) as usize],
        _ if rng.percent(10) && txn.events.1.is_some() => txn.end = End::Fail,
        _ => {}
    }
}

/// Returns the verdict at each level (`None`: unknown), and whether every verdict is exact.
fn verdicts(history: &History, options: &Options) -> (Vec<Option<bool>>, bool) {
    let found = find(history, options).expect("transactions");
    let valid = LEVELS.iter().map(|&(level, ..)| match found.verdict(level) {
        Verdict::Valid => Some(true),
        Verdict::Invalid(_) => Some(false),
        Verdict::Unknown(why) => {
            assert!(why.contains("leave the order of writes to"), "{why}");
            None
        }
    });
    (valid.collect(), found.is_total())
}

#[test]
fn lists_are_decided_as_by_trying_everything() {
    let mut rng = Rng(11);
    let mut counts: BTreeMap<(Isolation, bool), u64> = BTreeMap::new();
    let (mut open, total) = (0, histories());
    for n in 0..total {
        let mut txns = simulate(Shape::tiny(&mut rng, true), &mut rng);
        for _ in 0..rng.below(6).saturating_sub(2) {
            mutate(&mut txns, &mut rng);
        }
        let (valid, known) = verdicts(&record(&txns), &Options::default());
        for (&(level, order, reads), valid) in LEVELS.iter().zip(valid) {
            let valid = valid.expect("lists are decided");
            let expected = possible(&txns, order, reads);
            if reads != Reads::Last && !known {
                // The orders of appends that no read saw are not tried.
                assert!(valid || !expected, "history {n}, {level}: wrongly refused: {txns:#?}");
                open += u64::from(valid != expected);
                continue;
            }
            assert_eq!(valid, expected, "history {n}, {level}: {txns:#?}");
            *counts.entry((level, valid)).or_default() += 1;
        }
    }
    for (level, ..) in LEVELS {
        for verdict in [true, false] {
            let count = counts.get(&(level, verdict)).copied().unwrap_or(0);
            assert!(count > total / 12, "{level} {verdict}: only {count} of {total}");
        }
    }
    println!("{total} histories, {open} missed for want of an order: {counts:?}");
}

#[test]
fn registers_are_decided_where_it_is_said() {
    let mut rng = Rng(12);
    let (mut refused, mut granted, mut open, total) = ([0u64; 8], [0u64; 8], [0u64; 8], histories());
    for n in 0..total {
        let mut txns = simulate(Shape::tiny(&mut rng, false), &mut rng);
        for _ in 0..rng.below(6).saturating_sub(2) {
            mutate(&mut txns, &mut rng);
        }
        let history = record(&txns);
        let linearizable = Options { linearizable_keys: true, ..Options::default() };
        let sequential = Options { sequential_keys: true, ..Options::default() };
        let plain = verdicts(&history, &Options::default()).0;
        let (linearizable, sequential) = (verdicts(&history, &linearizable).0, verdicts(&history, &sequential).0);
        for (i, &(level, order, reads)) in LEVELS.iter().enumerate() {
            let expected = possible(&txns, order, reads);
            // A history refused under an assumption is impossible at the levels that imply the assumption.
            let mut told = vec![plain[i]];
            told.extend((level == Isolation::StrictSerializable).then_some(linearizable[i]));
            told.extend(level.implies(Isolation::StrongSessionSerializable).then_some(sequential[i]));
            for verdict in told {
                assert!(reads != Reads::Last || verdict.is_some(), "history {n}, {level} is undecided: {txns:#?}");
                assert!(verdict.is_none_or(|valid| valid == expected), "history {n}, {level}: {verdict:?}, {txns:#?}");
            }
            refused[i] += u64::from(plain[i] == Some(false));
            granted[i] += u64::from(plain[i] == Some(true));
            open[i] += u64::from(plain[i].is_none());
        }
    }
    println!("{total} histories: refused {refused:?}, valid {granted:?}, unknown {open:?}");
    assert!(refused.iter().chain(&granted).all(|&count| count > total / 12), "{refused:?}, {granted:?} of {total}");
    assert!(open.iter().all(|&open| open < total / 8), "{open:?} of {total}");
}

#[test]
fn nonsense_is_answered_too() {
    let mut rng = Rng(13);
    let (mut told, mut refused) = (0, 0);
    for _ in 0..histories() / 4 {
        let txns: Vec<Txn> = (0..1 + rng.below(6) as usize)
            .map(|i| {
                let key = rng.below(3) as u32;
                let value = |rng: &mut Rng| rng.below(5) as u32;
                let mixed = rng.percent(5);
                let ops = (0..rng.below(5)).map(|_| match (rng.below(2), key == 2 || mixed) {
                    (0, true) => Op::Write(key, value(&mut rng)),
                    (_, true) => Op::Read(key, Some(rng.percent(80).then_some(0).map(|_| value(&mut rng)))),
                    (0, false) => Op::Append(key, value(&mut rng)),
                    _ => Op::List(key, Some((0..rng.below(4)).map(|_| value(&mut rng)).collect())),
                });
                let ops = ops.collect();
                let end = [End::Ok, End::Ok, End::Ok, End::Fail, End::Info, End::Refused][rng.below(6) as usize];
                let returned = (10 + rng.below(90)) as usize * 10 + i;
                Txn { process: rng.below(3) as u32, events: (i, Some(returned)), end, ops }
            })
            .collect();
        let options =
            Options { linearizable_keys: rng.percent(50), sequential_keys: rng.percent(50), ..Options::default() };
        match find(&record(&txns), &options) {
            Err(why) => {
                assert!(why.contains("as a list and as a register"), "{why}: {txns:#?}");
                refused += 1;
            }
            Ok(found) => {
                for anomaly in &found.anomalies {
                    assert!(!anomaly.ops.is_empty() && !anomaly.forbidden_by.is_empty(), "{anomaly:#?}");
                    assert!(!anomaly.explanation.contains("its replies depend on it"), "{anomaly:#?}: {txns:#?}");
                    told += 1;
                }
            }
        }
    }
    assert!(told > histories() / 4 && refused > histories() / 1000, "{told}, {refused}");
}
