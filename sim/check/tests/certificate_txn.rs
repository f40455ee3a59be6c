//! Certificates of transactions and of sequential consistency: those of true verdicts verify, and no others do. The
//! truth comes from trying every order of small histories.

mod common;
mod txn_common;

use common::Rng;
use seaworthy_check::certificate::{Verified, sequential, transactions, verify};
use seaworthy_check::txn::{Isolation, Options, check};
use seaworthy_check::{End, History, Kind, Verdict, session};
use std::collections::BTreeMap;
use txn_common::brute::{Order, Reads, possible};
use txn_common::store::{Shape, simulate};
use txn_common::{Op, Txn, record, sequence, together};

fn histories() -> u64 {
    let asked = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if cfg!(debug_assertions) { 4_000 } else { 20_000 })
}

/// The levels that can be decided by trying every order.
fn truth(level: Isolation) -> Option<(Order, Reads)> {
    match level {
        Isolation::Serializable => Some((Order::Any, Reads::Last)),
        Isolation::StrongSessionSerializable => Some((Order::Session, Reads::Last)),
        Isolation::StrictSerializable => Some((Order::Realtime, Reads::Last)),
        Isolation::SnapshotIsolation => Some((Order::Any, Reads::Snapshot)),
        Isolation::StrongSessionSnapshotIsolation => Some((Order::Session, Reads::Snapshot)),
        Isolation::StrongSnapshotIsolation => Some((Order::Realtime, Reads::Snapshot)),
        Isolation::PrefixConsistency => Some((Order::Any, Reads::Prefix)),
        Isolation::ReadAtomic => Some((Order::Any, Reads::Atomic)),
        _ => None,
    }
}

fn small(rng: &mut Rng, lists: bool) -> Vec<Txn> {
    let mut txns = simulate(Shape::tiny(rng, lists), rng);
    if rng.percent(30) {
        let at = rng.below(txns.len() as u64) as usize;
        let step = rng.below(txns[at].ops.len() as u64) as usize;
        let returned = txns[at].events.1.is_some();
        match &mut txns[at].ops[step] {
            Op::List(_, Some(list)) if rng.percent(50) => drop(list.pop()),
            Op::List(_, Some(list)) => list.push(1 + rng.below(4) as u32),
            Op::Read(_, Some(seen)) => *seen = [None, Some(1), Some(2)][rng.below(3) as usize],
            _ if returned => txns[at].end = End::Fail,
            _ => {}
        }
    }
    txns
}

fn certified(history: &History, level: Isolation) -> (Verdict, String, Verified) {
    let report = check(history, level, &Options::default());
    let text = transactions(history, &report).expect("offered");
    let verified = verify(history, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let verdict = report.parts.into_iter().next().expect("one part").verdict;
    (verdict, text, verified.into_iter().next().expect("one part"))
}

/// Every verdict on lists except "valid and not serializable" has a certificate that verifies. A changed certificate is
/// refused, unless its claim is true.
#[test]
fn certificates_of_transactions_are_true() {
    let mut rng = Rng(31);
    let mut counts: BTreeMap<(bool, &str), u64> = BTreeMap::new();
    let mut anomalies: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..histories() {
        let lists = n % 3 != 0;
        let txns = small(&mut rng, lists);
        let history = record(&txns);
        let level = Isolation::ALL[rng.below(Isolation::ALL.len() as u64) as usize];
        let (verdict, text, verified) = certified(&history, level);
        let possible_at = |level| truth(level).map(|(order, reads)| possible(&txns, order, reads));
        let told = match (&verdict, &verified) {
            (Verdict::Valid, Verified::Valid) => "valid",
            (Verdict::Invalid(evidence), Verified::Invalid) => {
                *anomalies.entry(evidence.anomaly.clone()).or_insert(0) += 1;
                "invalid"
            }
            (Verdict::Invalid(evidence), Verified::Unknown(_)) if evidence.anomaly.starts_with("no serial order") => {
                assert!(!lists, "{n} {level}: {evidence}");
                "invalid, not shown"
            }
            (Verdict::Unknown(_), Verified::Unknown(_)) => {
                assert!(!lists && !level.implies(Isolation::Serializable), "{n} {level}: {txns:#?}");
                "unknown"
            }
            (Verdict::Invalid(evidence), Verified::Unknown(why)) => {
                panic!("{n} {level}: {why}: {evidence}\n{txns:#?}")
            }
            (Verdict::Valid, Verified::Unknown(_)) => {
                let serial = level.implies(Isolation::Serializable);
                assert!(!serial || !lists, "{n} {level}: no order of lists was found: {txns:#?}");
                let order = match level {
                    Isolation::StrongSnapshotIsolation => Order::Realtime,
                    Isolation::StrongSessionSnapshotIsolation => Order::Session,
                    _ => Order::Any,
                };
                assert!(!lists || !possible(&txns, order, Reads::Last), "{n} {level}: {txns:#?}");
                "valid, not shown"
            }
            other => panic!("{n} {level}: {other:?} {text}"),
        };
        *counts.entry((lists, told)).or_insert(0) += 1;
        if let Some(possible) = possible_at(level) {
            assert!(verified != Verified::Valid || possible, "{n} {level}: {text} {txns:#?}");
            assert!(verified != Verified::Invalid || !possible, "{n} {level}: {text} {txns:#?}");
        }
        // Forge the certificate: change a digit, or the level.
        for _ in 0..6 {
            let (mut forged, mut level) = (text.clone().into_bytes(), level);
            let start = text.find('\n').unwrap_or(0);
            if rng.percent(20) {
                level = Isolation::ALL[rng.below(Isolation::ALL.len() as u64) as usize];
                let header = text.lines().next().expect("a header");
                let named =
                    header.split("\"property\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("one");
                forged = text.replacen(named, level.property(), 1).into_bytes();
            }
            let digits: Vec<usize> = (start..forged.len()).filter(|&i| forged[i].is_ascii_digit()).collect();
            if rng.percent(80) && !digits.is_empty() {
                forged[digits[rng.below(digits.len() as u64) as usize]] = b'0' + rng.below(6) as u8;
            }
            let mut forged = String::from_utf8(forged).expect("ascii");
            if rng.percent(20) {
                let whys = ["ww", "wr", "rw", "process", "realtime"].map(|why| format!("\"why\":\"{why}\""));
                let (from, to) = (rng.below(5) as usize, rng.below(5) as usize);
                forged = forged.replacen(&whys[from], &whys[to], 1);
            }
            let Ok(verified) = verify(&history, &forged) else { continue };
            let Some((order, reads)) = truth(level) else { continue };
            let possible = possible(&txns, order, reads);
            match verified[0] {
                Verified::Valid => assert!(possible, "{n} {level}: {forged} {txns:#?}"),
                Verified::Invalid => assert!(!possible, "{n} {level}: {forged} {txns:#?}"),
                Verified::Unknown(_) => {}
            }
        }
    }
    let least = histories() / 50;
    for kind in [(true, "valid"), (true, "invalid"), (false, "valid"), (false, "invalid")] {
        assert!(counts.get(&kind).is_some_and(|&n| n > least), "{counts:?}");
    }
    for name in
        ["G0", "G1a", "G1b", "G1c", "G-single", "internal", "lost update", "phantom value", "incompatible order"]
    {
        assert!(anomalies.contains_key(name), "{name}: {anomalies:?}");
    }
}

#[test]
fn every_named_anomaly_has_a_certificate() {
    let cases: [(&str, Isolation, Vec<Txn>); 11] = [
        ("G2-item", Isolation::Serializable, together(&["rx[] ay1", "ry[] ax1"])),
        ("G-single-realtime", Isolation::StrictSerializable, sequence(&["ax1", "rx[]", "rx1"])),
        ("dirty update", Isolation::ReadCommitted, sequence(&["ax1!", "ax2", "rx12"])),
        ("misordered appends", Isolation::ReadUncommitted, sequence(&["ax1 ax2", "rx21"])),
        ("duplicate elements", Isolation::ReadUncommitted, sequence(&["ax1", "rx11"])),
        ("future read", Isolation::ReadCommitted, sequence(&["rx1 ax1"])),
        ("non-repeatable read", Isolation::ReadAtomic, together(&["rx[] rx1", "ax1"])),
        ("cyclic versions", Isolation::ReadCommitted, together(&["rx=1 wx2", "rx=2 wx1"])),
        ("G1b", Isolation::ReadCommitted, together(&["wx1 wx2", "rx=1"])),
        ("fractured read", Isolation::ReadAtomic, together(&["ax1 ay1", "rx[] ry1", "rx1"])),
        ("G-cursor", Isolation::CursorStability, together(&["rx[] ax1", "ax2", "rx21"])),
    ];
    for (name, level, txns) in cases {
        let (verdict, text, verified) = certified(&record(&txns), level);
        let Verdict::Invalid(evidence) = verdict else { panic!("{name}: {verdict:?}") };
        assert_eq!((evidence.anomaly.as_str(), verified), (name, Verified::Invalid), "{text}");
    }
}

#[test]
fn another_property_is_not_offered() {
    let history = record(&sequence(&["ax1", "rx1"]));
    let mut report = check(&history, Isolation::Serializable, &Options::default());
    report.property = "linearizable";
    assert!(transactions(&history, &report).is_err());
    assert!(sequential(&history, Kind::Kv, &report, &session::Options::default()).is_err());
}

/// Certificates of sequential consistency, for histories that are linearizable and for histories that are not.
#[test]
fn orders_of_sequential_consistency_verify() {
    let mut rng = Rng(32);
    let (mut valid, mut open, mut refused) = (0, 0, 0);
    for n in 0..histories() / 4 {
        let shape = common::Shape {
            ops: 2 + rng.below(7) as usize,
            processes: 3,
            keys: 2,
            values: [0, 2][rng.below(2) as usize],
            info: [0, 20][rng.below(2) as usize],
            fail: 5,
            conditional: [0, 30][rng.below(2) as usize],
            revisions: 0,
        };
        let mut raws = common::generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            common::mutate(&mut raws, &mut rng);
        }
        let history = common::record(&raws);
        let options = session::Options::default();
        let report = session::check_sequential(&history, &options);
        let text = sequential(&history, Kind::Kv, &report, &options).expect("offered");
        let verified = verify(&history, &text).unwrap_or_else(|error| panic!("{n}: {error} {text} {raws:#?}"));
        match (&report.parts[0].verdict, &verified[0]) {
            (Verdict::Valid, Verified::Valid) => valid += 1,
            (Verdict::Valid, other) => panic!("{n}: {other:?} {raws:#?}"),
            (_, Verified::Unknown(_)) => open += 1,
            (_, other) => panic!("{n}: {other:?} {raws:#?}"),
        }
        // Without its first operation the order is refused, unless that operation need not have happened.
        if let Some((head, rest)) = text.split_once("\"order\":[")
            && let Some((first, rest)) = rest.split_once(',')
        {
            let must = history.operations()[first.parse::<usize>().expect("a number")].settled().is_some();
            let shorter = format!("{head}\"order\":[{rest}");
            if must {
                let told = verify(&history, &shorter);
                refused += u32::from(told.is_err());
            }
        }
    }
    assert!(valid > 100 && open > 20 && refused > 100, "{valid} {open} {refused}");
}
