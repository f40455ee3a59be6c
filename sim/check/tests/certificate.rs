//! Certificates: those of true verdicts verify, and no others do. The truth comes from trying every order of small
//! histories.

mod common;
mod objects;

use common::{Rng, Shape, brute_force, generate};
use objects::{explains, play, possible};
use seaworthy_check::certificate::{Verified, certify, fingerprint, verify, write};
use seaworthy_check::{
    Call, End, Evidence, History, Kind, OpId, Options, PartReport, Recorder, Reply, Report, Verdict, Version, check,
};

const HISTORIES: u64 = if cfg!(debug_assertions) { 400 } else { 4_000 };

/// Number of histories of each kind.
fn histories() -> u64 {
    objects::histories(HISTORIES)
}

fn ids(ops: &[usize]) -> Vec<OpId> {
    ops.iter().map(|&op| OpId(op as u32)).collect()
}

fn refusal(core: &[usize]) -> Verdict {
    Verdict::Invalid(Box::new(Evidence {
        part: "o".to_owned(),
        anomaly: String::new(),
        breaks: None,
        event: None,
        core: ids(core),
        given: Vec::new(),
        edges: Vec::new(),
        minimal: true,
        order: Vec::new(),
        explanation: String::new(),
        diagram: String::new(),
    }))
}

/// Returns the certificate of a verdict on the only part.
fn certificate(history: &History, kind: Kind, verdict: Verdict, order: &[usize]) -> String {
    let part = PartReport {
        name: "o".to_owned(),
        operations: 0,
        verdict,
        by: "test",
        steps: 0,
        counts: Vec::new(),
        figures: Vec::new(),
    };
    let report = Report { property: "linearizable", parts: vec![part] };
    write(history, kind, &report, |_| Some(ids(order))).expect("the parts are those of the history")
}

#[test]
fn orders_verify_exactly_if_they_explain_everything() {
    let mut rng = Rng(1);
    for kind in objects::KINDS {
        let (mut accepted, mut refused) = (0, 0);
        for n in 0..histories() {
            let (raws, order) = play(kind, 3 + rng.below(8) as usize, 3, &mut rng);
            // In a certificate of an unordered queue, an open dequeue must come right before a reply that the queue was
            // empty.
            let open = |order: &[usize]| {
                order.iter().any(|&i| raws[i].f == seaworthy_check::Function::Dequeue && raws[i].settled().is_none())
            };
            let untidy = |order: &[usize]| kind == Kind::UnorderedQueue && open(order);
            if untidy(&order) {
                continue;
            }
            let history = objects::record(&raws);
            let verified = verify(&history, &certificate(&history, kind, Verdict::Valid, &order));
            assert_eq!(verified, Ok(vec![Verified::Valid]), "{} {n}: {raws:#?} {order:?}", kind.name());
            assert!(explains(kind, &raws, &order), "{} {n}: {raws:#?} {order:?}", kind.name());
            for _ in 0..6 {
                let mut other = order.clone();
                let at = |rng: &mut Rng, other: &[usize]| rng.below(other.len() as u64) as usize;
                match rng.below(4) {
                    _ if other.is_empty() => {}
                    0 => {
                        let (a, b) = (at(&mut rng, &other), at(&mut rng, &other));
                        other.swap(a, b);
                    }
                    1 => {
                        other.remove(at(&mut rng, &other));
                    }
                    2 => other.insert(at(&mut rng, &other), rng.below(raws.len() as u64) as usize),
                    _ => {
                        let (a, op) = (at(&mut rng, &other), other.pop().unwrap_or(0));
                        other.insert(a, op);
                    }
                }
                if untidy(&other) {
                    continue;
                }
                let expected = explains(kind, &raws, &other);
                let text = certificate(&history, kind, Verdict::Valid, &other);
                let verified = verify(&history, &text);
                assert_eq!(verified.is_ok(), expected, "{} {n}: {verified:?} {raws:#?} {other:?}", kind.name());
                *if expected { &mut accepted } else { &mut refused } += 1;
            }
        }
        assert!(accepted > histories() / 2 && refused > histories(), "{}: {accepted}, {refused}", kind.name());
    }
}

#[test]
fn cores_verify_exactly_if_no_order_explains_them() {
    let mut rng = Rng(2);
    for kind in objects::KINDS {
        let (mut accepted, mut refused) = (0, 0);
        for n in 0..histories() {
            let (mut raws, _) = play(kind, 3 + rng.below(5) as usize, 3, &mut rng);
            for _ in 0..rng.below(4) {
                objects::mutate(&mut raws, &mut rng);
            }
            let history = objects::record(&raws);
            let keep = [40, 80, 100][rng.below(3) as usize];
            let core: Vec<usize> =
                (0..raws.len()).filter(|&i| raws[i].settled().is_some() && rng.percent(keep)).collect();
            let expected = !possible(kind, &raws, &core);
            let verified = verify(&history, &certificate(&history, kind, refusal(&core), &[]));
            let told = verified == Ok(vec![Verified::Invalid]);
            assert_eq!(told, expected, "{} {n}: {verified:?} {raws:#?} {core:?}", kind.name());
            assert!(told || verified.is_err(), "{} {n}: {verified:?}", kind.name());
            *if expected { &mut accepted } else { &mut refused } += 1;
        }
        assert!(accepted > histories() / 50 && refused > histories() / 4, "{}: {accepted}, {refused}", kind.name());
    }
}

/// The keys of a store, with conditions, deletes and revisions, as the package itself certifies them.
#[test]
fn reports_on_keys_verify_and_changed_cores_do_not() {
    let mut rng = Rng(3);
    let (mut valid, mut invalid, mut changed) = (0, 0, 0);
    for n in 0..2 * histories() {
        let shape = Shape {
            ops: 2 + rng.below(7) as usize,
            processes: 3,
            keys: 1 + u64::from(rng.percent(30)),
            values: [0, 1, 2, 3][rng.below(4) as usize],
            info: [0, 10, 40][rng.below(3) as usize],
            fail: 5,
            conditional: [0, 30, 70][rng.below(3) as usize],
            revisions: [0, 50, 100][rng.below(3) as usize],
        };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            common::mutate(&mut raws, &mut rng);
        }
        let history = common::record(&raws);
        let mut report = check(&history, &Options::default());
        let text = certify(&history, Kind::Kv, &report, &Options::default()).expect("offered");
        let verified = verify(&history, &text).unwrap_or_else(|error| panic!("{n}: {error}\n{text}\n{raws:#?}"));
        for (part, verified) in report.parts.iter_mut().zip(&verified) {
            match &mut part.verdict {
                Verdict::Valid => {
                    assert_eq!(*verified, Verified::Valid, "{n}: {raws:#?}");
                    valid += 1;
                }
                Verdict::Invalid(evidence) => {
                    assert_eq!(*verified, Verified::Invalid, "{n}: {raws:#?} {evidence}");
                    invalid += 1;
                    // The core is minimal: without any one of its operations it can be ordered.
                    evidence.core.remove(rng.below(evidence.core.len() as u64) as usize);
                }
                Verdict::Unknown(why) => panic!("{why}"),
            }
        }
        if report.violations().next().is_some() {
            let text = certify(&history, Kind::Kv, &report, &Options::default()).expect("offered");
            let error = verify(&history, &text).expect_err("the core was changed");
            let part = &report.parts[error.line - 2];
            let Verdict::Invalid(evidence) = &part.verdict else { panic!("{error} is about another part") };
            let firm = [&evidence.core[..], &evidence.given].concat();
            assert!(brute_force(&history, &part.name, u32::MAX, Some(&firm)), "{n}: {error} {raws:#?}");
            changed += 1;
        }
    }
    assert!(
        valid > histories() / 2 && invalid > histories() / 4 && changed > histories() / 4,
        "{valid} {invalid} {changed}"
    );
}

#[test]
fn a_certificate_is_of_one_history_only() {
    let mut rng = Rng(4);
    let (raws, order) = play(Kind::Queue, 8, 3, &mut rng);
    let history = objects::record(&raws);
    let text = certificate(&history, Kind::Queue, Verdict::Valid, &order);
    let mut prints = std::collections::BTreeSet::from([fingerprint(&history)]);
    for i in 0..raws.len() {
        let mut other = raws.clone();
        other[i].process += 7;
        let other = objects::record(&other);
        assert!(prints.insert(fingerprint(&other)), "the process of {i} does not count");
        assert_eq!(verify(&other, &text).expect_err("another history").line, 1);
    }
    let print = format!("{:032x}", fingerprint(&history));
    let forged = text.replace(&print, &print.chars().rev().collect::<String>());
    assert!(verify(&history, &forged).is_err());
    assert!(verify(&history, &text.replace("queue", "lock")).is_err(), "another model");
    assert!(verify(&history, &text.replace("linearizable", "serializable")).is_err(), "another property");
}

#[test]
fn garbage_is_located_and_never_panics() {
    let mut rng = Rng(5);
    let history = common::record(&generate(
        Shape { ops: 12, processes: 3, keys: 3, values: 2, info: 10, fail: 5, conditional: 30, revisions: 50 },
        &mut rng,
    ));
    let report = check(&history, &Options::default());
    let text = certify(&history, Kind::Kv, &report, &Options::default()).expect("offered");
    for end in 0..text.trim_end().len() {
        let error = verify(&history, &text[..end]).expect_err("cut short");
        assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}");
    }
    let alphabet = b"0123456789[]{},:\"\\\n -eE.\xc3\xa9abcinvorduk";
    for _ in 0..20 * histories() {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            let byte = alphabet[rng.below(alphabet.len() as u64) as usize];
            match rng.below(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        let changed = String::from_utf8_lossy(&bytes);
        if let Err(error) = verify(&history, &changed) {
            assert!((1..=changed.lines().count() + 1).contains(&error.line), "{error}: {changed}");
        }
    }
    for text in ["", "\n", "{}", "[]", "{\"certificate\":2}", "nil"] {
        assert_eq!(verify(&history, text).expect_err("no certificate").line, 1);
    }
    let error = verify(&history, &text.replacen("\"part\":1", "\"part\":2", 1)).expect_err("out of turn");
    assert_eq!((error.line, error.what.starts_with("part 2 comes where 1 should")), (3, true), "{error}");
}

#[test]
fn a_stale_read_among_many_writes_verifies() {
    for revisions in [false, true] {
        let mut log = Recorder::default();
        let told = |r: u64| revisions.then_some(r);
        let (writes, lag) = (20_000u64, 300);
        for n in 0..writes {
            let text = format!("v{n}");
            let write = log.invoke((n % 7) as u32, n, "k", Call::put(&text));
            log.ok(write, n, Reply::Done { revision: told(n) });
        }
        let old = format!("v{}", writes - lag);
        let read = log.invoke(8, writes, "k", Call::Get);
        log.ok(read, writes, Reply::Got(Some(Version { value: &old, revision: told(writes - lag) })));
        let history = log.finish();
        let report = check(&history, &Options::default());
        assert_eq!(report.violations().count(), 1);
        let text = certify(&history, Kind::Kv, &report, &Options::default()).expect("offered");
        assert_eq!(verify(&history, &text), Ok(vec![Verified::Invalid]), "revisions: {revisions}");
    }
}

#[test]
fn what_is_not_offered_is_said() {
    let history = Recorder::default().finish();
    let report = Report { property: "serializable", parts: Vec::new() };
    let error = write(&history, Kind::Kv, &report, |_| None).expect_err("not offered");
    assert!(error.to_string().contains("linearizability only"));
    let mut log = Recorder::default();
    let op = log.invoke(0, 0, "k", Call::Get);
    log.ok(op, 1, Reply::Got(None));
    let history = log.finish();
    assert_eq!(history.operation(op).end, End::Ok);
    let report = check(&history, &Options::default());
    let text = write(&history, Kind::Kv, &report, |_| None).expect("offered");
    let verified = verify(&history, &text).expect("true");
    assert_eq!(verified, [Verified::Unknown("valid, but no order was found within the limits".to_owned())]);
}
