//! The search compared with a checker that tries every order, on small random histories: valid ones and mutated ones,
//! with and without unknown outcomes, revisions, conditions and repeated values.

mod common;

use common::{Raw, Rng, Shape, brute_force, generate, mutate, record};
use seaworthy_check::history::{Function, Request};
use seaworthy_check::{
    Call, Condition, Datum, End, History, Kind, Options, Recorder, Reply, Value, Verdict, check, check_as,
};

/// Number of random histories: the default, or `CHECK_HISTORIES`.
fn histories() -> u64 {
    let sample = if cfg!(debug_assertions) { 20_000 } else { 50_000 };
    std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(sample)
}

#[test]
fn agrees_with_trying_every_order() {
    let mut rng = Rng(7);
    let (mut valid, mut invalid) = (0u64, 0u64);
    let count = histories();
    for n in 0..count {
        let shape = Shape {
            ops: 2 + rng.below(6) as usize,
            processes: 2 + rng.below(3) as usize,
            keys: 1 + u64::from(rng.percent(10)),
            values: [0, 0, 1, 2, 3][rng.below(5) as usize],
            info: [0, 10, 40][rng.below(3) as usize],
            fail: [0, 10][rng.below(2) as usize],
            conditional: [0, 30, 70][rng.below(3) as usize],
            revisions: [0, 50, 100][rng.below(3) as usize],
        };
        let mut raws = generate(shape, &mut rng);
        let mutations = rng.below(4);
        for _ in 0..mutations {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let report = check(&history, &Options::default());
        for key in &report.parts {
            let expected = brute_force(&history, &key.name, u32::MAX, None);
            assert!(mutations > 0 || expected, "history {n}: the generator made an impossible history: {raws:#?}");
            match &key.verdict {
                Verdict::Valid => {
                    assert!(expected, "history {n}: called valid: {raws:#?}");
                    valid += 1;
                }
                Verdict::Invalid(evidence) => {
                    assert!(!expected, "history {n}: called invalid: {raws:#?}\n{evidence}");
                    assert!(evidence.minimal);
                    let (breaks, event) = (evidence.breaks.expect("an operation"), evidence.event.expect("an event"));
                    assert!(evidence.core.contains(&breaks), "history {n}: {raws:#?}\n{evidence}");
                    // The prefix is impossible; without its last event it is possible.
                    assert!(!brute_force(&history, &key.name, event + 1, None), "history {n}: {raws:#?}");
                    assert!(brute_force(&history, &key.name, event, None), "history {n}: {raws:#?}");
                    // The core alone is impossible; without any one of its operations it is possible.
                    let impossible = |core: &[_]| {
                        let firm = [core, &evidence.given].concat();
                        !brute_force(&history, &key.name, event + 1, Some(&firm))
                    };
                    assert!(impossible(&evidence.core), "history {n}: {raws:#?}\n{evidence}");
                    for spared in &evidence.core {
                        let rest: Vec<_> = evidence.core.iter().copied().filter(|op| op != spared).collect();
                        assert!(!impossible(&rest), "history {n}: {spared:?} can be spared: {raws:#?}\n{evidence}");
                    }
                    invalid += 1;
                }
                Verdict::Unknown(why) => panic!("history {n}: {why}: {raws:#?}"),
            }
        }
    }
    assert!(valid > count / 4 && invalid > count / 6, "{valid} valid, {invalid} invalid: too one-sided");
}

/// Records a register as in the logs of other tools: texts equal to `nil` become nil, refusals may report nothing, and
/// there may be an initial value.
fn record_register(raws: &[Raw], initial: &str, nil: &str, rng: &mut Rng) -> History {
    let mut log = Recorder::default();
    let value = |log: &mut Recorder, text: &str| match text {
        "" => Value::NIL,
        text if text == nil => Value::NIL,
        text => log.value(Datum::Text(text)),
    };
    let first = value(&mut log, initial);
    log.initial(first);
    let key = log.value(Datum::Text("k0"));
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, raw) in raws.iter().enumerate() {
        events.push((raw.events.0, i, false));
        events.extend(raw.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut ids = vec![None; raws.len()];
    for (_, i, returned) in events {
        let raw = &raws[i];
        let Some(op) = ids[i].filter(|_| returned) else {
            let (f, arg, when) = match &raw.call {
                Call::Get => (Function::Read, Value::UNTOLD, None),
                Call::Put { value: text, when } => (Function::Write, value(&mut log, text), Some(when)),
                Call::Delete { when } => (Function::Delete, Value::UNTOLD, Some(when)),
            };
            let when = when.map_or(Condition::ALWAYS, |when| Condition {
                exists: when.exists,
                value: when.value.as_ref().map(|text| value(&mut log, text)),
                revision: None,
            });
            ids[i] = Some(log.begin(raw.process, 0, key, Request { f, arg, when }));
            continue;
        };
        let (end, reply) = match &raw.end {
            common::End::Fail => (End::Fail, Value::UNTOLD),
            common::End::Info => (End::Info, Value::UNTOLD),
            common::End::Ok(Reply::Done { .. }) => (End::Ok, Value::UNTOLD),
            common::End::Ok(Reply::Got(seen)) => {
                (End::Ok, value(&mut log, seen.as_ref().map_or(initial, |seen| &seen.value)))
            }
            common::End::Ok(Reply::Refused(Some(seen))) if rng.percent(50) => {
                (End::Refused, value(&mut log, &seen.value))
            }
            common::End::Ok(Reply::Refused(_) | Reply::Declined) => (End::Refused, Value::UNTOLD),
        };
        log.end(op, 0, end, reply, None);
    }
    log.finish()
}

#[test]
fn agrees_on_registers_with_nil_and_something_at_first() {
    let mut rng = Rng(8);
    let (mut valid, mut invalid) = (0, 0);
    let count = histories();
    for n in 0..count {
        let shape = Shape {
            ops: 2 + rng.below(7) as usize,
            processes: 2 + rng.below(4) as usize,
            keys: 1,
            values: 1 + rng.below(4),
            info: [0, 10, 40][rng.below(3) as usize],
            fail: [0, 10][rng.below(2) as usize],
            conditional: [0, 40, 80][rng.below(3) as usize],
            revisions: 0,
        };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&mut raws, &mut rng);
        }
        let (initial, nil) = (["", "", "v0", "v9"][rng.below(4) as usize], ["", "v1"][rng.below(2) as usize]);
        let history = record_register(&raws, initial, nil, &mut rng);
        let expected = brute_force(&history, "k0", u32::MAX, None);
        let options = Options { evidence_steps: 0, ..Options::default() };
        let report = check_as(Kind::CasRegister, &history, &options);
        match &report.parts[0].verdict {
            Verdict::Valid => assert!(expected, "history {n}: called valid: {initial} {nil} {raws:#?}"),
            Verdict::Invalid(_) => assert!(!expected, "history {n}: called invalid: {initial} {nil} {raws:#?}"),
            Verdict::Unknown(why) => panic!("history {n}: {why}: {raws:#?}"),
        }
        valid += u64::from(expected);
        invalid += u64::from(!expected);
    }
    assert!(valid > count / 4 && invalid > count / 6, "{valid} valid, {invalid} invalid: too one-sided");
}
