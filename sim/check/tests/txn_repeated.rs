//! Transactions on registers with repeated values: compared with trying everything, larger histories, and initial
//! values.

mod common;
mod txn_common;

use common::Rng;
use seaworthy_check::format::{ReadOptions, read};
use seaworthy_check::txn::{Isolation, Options, check, find, serial_order};
use seaworthy_check::{History, Verdict};
use std::collections::BTreeMap;
use txn_common::brute::{Order, Reads, possible};
use txn_common::store::{Mode, Shape, simulate};
use txn_common::{Op, Txn, record};

/// Replaces all values by values from 1 to `values`.
fn repeat(txns: &mut [Txn], values: u32) {
    for op in txns.iter_mut().flat_map(|txn| &mut txn.ops) {
        if let Op::Write(_, value) | Op::Read(_, Some(Some(value))) = op {
            *value = *value % values + 1;
        }
    }
}

/// Changes the result of some read, if there is one.
fn lie(txns: &mut [Txn], values: u32, rng: &mut Rng) -> bool {
    let at = rng.below(txns.len() as u64) as usize;
    let read = txns[at..].iter_mut().flat_map(|txn| &mut txn.ops).find_map(|op| match op {
        Op::Read(_, Some(Some(value))) => Some(value),
        _ => None,
    });
    read.map(|value| *value = *value % values + 1).is_some()
}

fn verdict(history: &History, level: Isolation) -> Option<bool> {
    match &check(history, level, &Options::default()).parts[0].verdict {
        Verdict::Valid => Some(true),
        Verdict::Invalid(_) => Some(false),
        Verdict::Unknown(_) => None,
    }
}

#[test]
fn agrees_with_trying_everything() {
    let mut rng = Rng(41);
    let mut tally: BTreeMap<bool, u64> = BTreeMap::new();
    for n in 0..if cfg!(debug_assertions) { 8_000 } else { 40_000 } {
        let mut txns = simulate(Shape::tiny(&mut rng, false), &mut rng);
        repeat(&mut txns, 2);
        for _ in 0..rng.below(3) {
            lie(&mut txns, 2, &mut rng);
        }
        let history = record(&txns);
        if find(&history, &Options::default()).expect("transactions").unclear.is_none() {
            continue;
        }
        let expected = possible(&txns, Order::Realtime, Reads::Last);
        assert_eq!(verdict(&history, Isolation::StrictSerializable), Some(expected), "history {n}: {txns:#?}");
        *tally.entry(expected).or_default() += 1;
        for (level, order, reads) in [
            (Isolation::Serializable, Order::Any, Reads::Last),
            (Isolation::StrongSessionSerializable, Order::Session, Reads::Last),
            (Isolation::SnapshotIsolation, Order::Any, Reads::Snapshot),
        ] {
            if let Some(valid) = verdict(&history, level) {
                assert_eq!(valid, possible(&txns, order, reads), "history {n}, {level}: {txns:#?}");
            }
        }
    }
    assert!(tally.len() == 2 && tally.values().all(|&n| n > 300), "{tally:?}");
}

#[test]
fn many_transactions_of_few_values_are_decided() {
    let mut rng = Rng(42);
    let shape = Shape {
        txns: 300,
        processes: 4,
        keys: 2,
        steps: 3,
        lists: false,
        mode: Mode::Serial,
        skip: 0,
        stale: 0,
        abort: 3,
        info: 1,
        last_read: true,
    };
    let mut refuted = 0;
    for n in 0..10 {
        let mut txns = simulate(shape, &mut rng);
        repeat(&mut txns, 3);
        let history = record(&txns);
        assert_eq!(verdict(&history, Isolation::StrictSerializable), Some(true), "history {n}");
        assert_eq!(verdict(&history, Isolation::SnapshotIsolation), Some(true), "history {n}");
        assert!(serial_order(&history, 2).is_some(), "history {n}");
        assert!(lie(&mut txns, 3, &mut rng));
        let valid = verdict(&record(&txns), Isolation::StrictSerializable);
        assert!(valid.is_some(), "changed history {n}");
        refuted += u32::from(valid == Some(false));
    }
    assert!(refuted >= 5, "{refuted} of 10");
}

fn read_as(initial: &str, text: &str) -> History {
    let options = ReadOptions { initial: Some(initial.to_owned()), ..ReadOptions::default() };
    read(text.as_bytes(), &options).unwrap_or_else(|error| panic!("{error}")).history
}

const WRITTEN_AGAIN: &str = "{:process 0, :type :invoke, :f :txn, :value [[:r :x nil]]}
{:process 0, :type :ok, :f :txn, :value [[:r :x 0]]}
{:process 1, :type :invoke, :f :txn, :value [[:w :x 1] [:w :y 1]]}
{:process 1, :type :ok, :f :txn, :value [[:w :x 1] [:w :y 1]]}
{:process 1, :type :invoke, :f :txn, :value [[:w :x 0]]}
{:process 1, :type :ok, :f :txn, :value [[:w :x 0]]}
{:process 0, :type :invoke, :f :txn, :value [[:r :x nil] [:r :y nil]]}
{:process 0, :type :ok, :f :txn, :value [[:r :x 0] [:r :y SEEN]]}
";

/// The initial value of a register is a value like any other. If it is written again, a read of it does not show where
/// it comes from.
#[test]
fn what_registers_hold_at_first_may_be_written_again() {
    let (good, stale) = (WRITTEN_AGAIN.replace("SEEN", "1"), WRITTEN_AGAIN.replace("SEEN", "0"));
    for (initial, text, expected) in [("0", &good, true), ("0", &stale, false), ("nil", &good, false)] {
        let history = read_as(initial, text);
        assert_eq!(verdict(&history, Isolation::StrictSerializable), Some(expected), "at first {initial}: {text}");
    }
    // The initial value is read after it was overwritten, and it was never written again.
    let early = "{:process 1, :type :invoke, :f :txn, :value [[:w :x 1]]}
{:process 1, :type :ok, :f :txn, :value [[:w :x 1]]}
{:process 0, :type :invoke, :f :txn, :value [[:r :x nil]]}
{:process 0, :type :ok, :f :txn, :value [[:r :x 0]]}
";
    assert_eq!(verdict(&read_as("0", early), Isolation::StrictSerializable), Some(false));
    assert_eq!(verdict(&read_as("0", early), Isolation::Serializable), Some(true));
}

#[test]
fn lists_with_repeated_values_stay_unknown() {
    let history = record(&txn_common::together(&["ax1", "ax1", "rx1"]));
    assert_eq!(verdict(&history, Isolation::StrictSerializable), None);
}
