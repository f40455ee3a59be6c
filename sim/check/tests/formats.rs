//! What is written can be read back, in JSON and EDN. EDN for a register is golden.

mod common;
mod format_common;

use common::{Rng, Shape, generate, mutate, record};
use format_common::show;
use proptest::prelude::*;
use seaworthy_check::format::{Nil, ReadOptions, export as edn, jsonl, read};
use seaworthy_check::history::recorder::Step;
use seaworthy_check::{
    Call, Condition, Datum, End, Function, History, Options, Recorder, Reply, Request, Value, Verdict, Version, check,
};

fn written(history: &History) -> String {
    let mut text = Vec::new();
    jsonl::write(history, &mut text).expect("memory takes everything");
    String::from_utf8(text).expect("JSON is text")
}

/// A random history with some replies changed.
fn recorded(shape: Shape, seed: u64) -> History {
    let mut rng = Rng(seed);
    let mut raws = generate(shape, &mut rng);
    // In these formats, a process whose operation never returns can make its next call only under another name.
    for (i, raw) in raws.iter_mut().enumerate() {
        if raw.events.1.is_none() {
            raw.process = 1_000 + i as u32;
        }
    }
    mutate(&mut raws, &mut rng);
    record(&raws)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_lines_round_trip(seed: u64, ops in 1..40usize, info in 0..30u64, conditional in 0..100u64, revisions in 0..100u64) {
        let history = recorded(Shape { ops, processes: 4, keys: 3, values: 4, info, fail: 5, conditional, revisions }, seed);
        let text = written(&history);
        let again = jsonl::read(text.as_bytes()).expect("what was written can be read");
        prop_assert_eq!(again.operations().len(), history.operations().len());
        prop_assert_eq!(written(&again), text);
        // The reports themselves differ: only the history that was read has lines.
        let verdicts = |h: &History| {
            let report = check(h, &Options::default());
            let cores: Vec<_> = report.violations().map(|evidence| (evidence.event, evidence.core.clone())).collect();
            (report.parts.len(), report.unknowns().count(), cores)
        };
        prop_assert_eq!(verdicts(&again), verdicts(&history));
    }

    #[test]
    fn texts_survive(key in ".{1,8}", value in "\\PC*|[\\x00-\\x7f]*") {
        let mut log = Recorder::default();
        let op = log.invoke(1, 2, &key, Call::put(&value));
        log.ok(op, 3, Reply::Done { revision: None });
        let history = log.finish();
        let again = jsonl::read(written(&history).as_bytes()).expect("readable");
        prop_assert_eq!(&*again.key(again.operations()[0].key), &key);
        prop_assert_eq!(again.datum(again.operations()[0].arg), Datum::Text(&value));
        // EDN has its own syntax for texts.
        let mut edn_text = Vec::new();
        edn::write(&history, &mut edn_text).expect("memory takes everything");
        let reading = read(&edn_text[..], &ReadOptions::default()).expect("readable");
        prop_assert_eq!(&*reading.history.key(again.operations()[0].key), &key);
        prop_assert_eq!(reading.history.datum(reading.history.operations()[0].arg), Datum::Text(&value));
    }
}

#[test]
fn edn_projects_onto_a_register() {
    let mut log = Recorder::default();
    let version = Some(Version { value: "x\"1", revision: Some(0) });
    let absent = Condition { exists: Some(false), ..Condition::ALWAYS };
    let rows: [(Call<&str>, Reply<&str>); 7] = [
        (Call::delete(), Reply::Refused(None)),
        (Call::Put { value: "x\"1", when: absent }, Reply::Done { revision: Some(0) }),
        (Call::Get, Reply::Got(version)),
        (Call::Put { value: "y", when: absent }, Reply::Refused(version)),
        (Call::cas("x\"1", "z"), Reply::Done { revision: Some(1) }),
        (Call::delete(), Reply::Done { revision: Some(2) }),
        (Call::Get, Reply::Got(None)),
    ];
    for (call, reply) in rows {
        let op = log.invoke(1, 10, "k", call);
        log.ok(op, 20, reply);
    }
    let op = log.invoke(2, 10, "k", Call::put("w"));
    log.info(op, 20);
    let mut text = Vec::new();
    edn::write(&log.finish(), &mut text).expect("memory takes everything");
    insta::assert_snapshot!(String::from_utf8(text).expect("EDN is text"));
}

/// A history with every function, every outcome and every kind of value.
fn everything() -> History {
    use Function::{Acquire, Add, Append, Contains, Delete, Dequeue, Enqueue, Next, Read, Release, Remove, Write};
    let mut log = Recorder::default();
    let zero = log.value(Datum::Int(0));
    log.initial(zero);
    let other = log.other("swap it").expect("one name");
    let pair = [Value::TRUE, Value::NIL];
    let values = [
        log.value(Datum::Int(-7)),
        log.value(Datum::Int(i64::MAX)),
        log.value(Datum::Text("a \"b\" \u{1}\n\u{e9}")),
        log.value(Datum::Symbol(":keyword")),
        log.value(Datum::Symbol("1.5")),
        log.value(Datum::List(&pair)),
        Value::FALSE,
    ];
    let functions =
        [Read, Write, Delete, Append, Add, Remove, Contains, Enqueue, Dequeue, Acquire, Release, Next, other];
    let mut n = 0;
    for f in functions {
        for end in [End::Ok, End::Refused, End::Fail, End::Info] {
            if (f, end) == (Read, End::Refused) {
                continue;
            }
            n += 1;
            let (key, arg, reply) = (values[n % 7], values[(n + 1) % 7], values[(n + 2) % 7]);
            let arg = if matches!(f, Read | Delete | Dequeue | Acquire | Release | Next) { Value::UNTOLD } else { arg };
            let answers = matches!(f, Read | Contains | Dequeue | Acquire | Next | Function::Other(_));
            let reply = match (f, end) {
                (Contains, End::Ok) => Value::TRUE,
                (_, End::Ok) if answers => reply,
                (_, End::Refused) => reply,
                _ => Value::UNTOLD,
            };
            let mut request = Request::new(f, arg);
            if matches!(f, Write | Delete) {
                request.when = Condition {
                    exists: Some(n % 2 == 0),
                    value: Some(reply).filter(|_| n % 3 == 0),
                    revision: Some(3),
                };
            }
            let op = log.begin(n as u32, 5 * n as u64, key, request);
            let revision = (matches!(f, Read | Write | Delete) && matches!(end, End::Ok | End::Refused)).then_some(9);
            log.end(op, 5 * n as u64 + 1, end, reply, revision);
        }
    }
    let step = |f, key, value, list| Step { f, key, value, list };
    let list = &values[..3];
    for end in [End::Ok, End::Fail, End::Info] {
        let called = [
            step(Append, values[0], values[1], None),
            step(Read, values[2], Value::UNTOLD, None),
            step(Write, values[3], values[4], None),
            step(Read, values[5], Value::UNTOLD, None),
            step(Read, values[6], Value::UNTOLD, None),
        ];
        let op = log.begin_txn(500, 1, &called);
        let mut seen = called;
        seen[1].list = Some(list);
        seen[3].value = Value::NIL;
        log.end_txn(op, 2, end, (end == End::Ok).then_some(&seen[..]));
    }
    log.begin(7, 3, values[6], Request::new(Read, Value::UNTOLD));
    log.finish()
}

/// Shows a history without lines, which only a history that was read has.
fn shown(history: &History) -> String {
    let mut kept = String::new();
    for line in show(history).lines() {
        let mut words = line.split(' ');
        let unplaced =
            words.by_ref().take(4).map(|word| word.split("..").map(|place| place.split('@').next().unwrap_or("")));
        kept += &unplaced.map(|places| places.collect::<Vec<_>>().join("..")).collect::<Vec<_>>().join(" ");
        kept += &format!(" {}\n", words.collect::<Vec<_>>().join(" "));
    }
    kept
}

#[test]
fn everything_survives_json() {
    let history = everything();
    let again = jsonl::read(written(&history).as_bytes()).expect("what was written can be read");
    assert_eq!(shown(&again), shown(&history));
    assert_eq!(written(&again), written(&history));
}

#[test]
fn everything_is_exported_as_edn() {
    let history = everything();
    let mut text = Vec::new();
    edn::write(&history, &mut text).expect("memory takes everything");
    let reading = read(&text[..], &ReadOptions { nil: Some(Nil::Absent), ..ReadOptions::default() }).expect("readable");
    assert_eq!(reading.history.events(), history.events());
    insta::assert_snapshot!(String::from_utf8(text).expect("EDN is text"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// An export implies less to other tools than it tells this one, which gets everything.
    #[test]
    fn edn_keeps_every_verdict(seed: u64, ops in 1..40usize, info in 0..30u64, conditional in 0..100u64, revisions in 0..100u64) {
        let history = recorded(Shape { ops, processes: 4, keys: 3, values: 4, info, fail: 5, conditional, revisions }, seed);
        let mut text = Vec::new();
        edn::write(&history, &mut text).expect("memory takes everything");
        let reading = read(&text[..], &ReadOptions::default()).expect("what was written can be read");
        prop_assert_eq!(reading.settings.nil, Nil::Absent);
        let verdicts = |h: &History| {
            let report = check(h, &Options::default());
            report.parts.iter().map(|part| (part.name.clone(), part.operations, part.verdict == Verdict::Valid)).collect::<Vec<_>>()
        };
        prop_assert_eq!(verdicts(&reading.history), verdicts(&history));
        // The histories are equal, except that one may require a missing key in two ways at once.
        let lines = |h: &History| shown(h).replace(" if nil", "");
        prop_assert_eq!(lines(&reading.history), lines(&history));
    }
}
