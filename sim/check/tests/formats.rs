//! JSON lines: what is written is read back; what is malformed is located. EDN: golden.

mod common;

use common::{Rng, Shape, generate, mutate, record};
use proptest::prelude::*;
use seaworthy_check::format::{export as edn, jsonl};
use seaworthy_check::{Call, Condition, History, Options, Recorder, Reply, Version, check};

fn written(history: &History) -> String {
    let mut text = Vec::new();
    jsonl::write(history, &mut text).expect("memory takes everything");
    String::from_utf8(text).expect("JSON is text")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_lines_round_trip(seed: u64, ops in 1..40usize, info in 0..30u64, conditional in 0..100u64, revisions in 0..100u64) {
        let shape = Shape { ops, processes: 4, keys: 3, values: 4, info, fail: 5, conditional, revisions };
        let mut rng = Rng(seed);
        let mut raws = generate(shape, &mut rng);
        // A process that never hears of an operation may call the next only under another name in this format.
        for (i, raw) in raws.iter_mut().enumerate() {
            if raw.events.1.is_none() {
                raw.process = 1_000 + i as u32;
            }
        }
        mutate(&mut raws, &mut rng);
        let history = record(&raws);
        let text = written(&history);
        let again = jsonl::read(text.as_bytes()).expect("what was written can be read");
        prop_assert_eq!(again.operations().len(), history.operations().len());
        prop_assert_eq!(written(&again), text);
        let verdicts = |h: &History| format!("{}", check(h, &Options::default()));
        prop_assert_eq!(verdicts(&again), verdicts(&history));
    }

    #[test]
    fn texts_survive(key in ".{1,8}", value in "\\PC*|[\\x00-\\x7f]*") {
        let mut log = Recorder::default();
        let op = log.invoke(1, 2, &key, Call::put(&value));
        log.ok(op, 3, Reply::Done { revision: None });
        let history = log.finish();
        prop_assert_eq!(jsonl::read(written(&history).as_bytes()).expect("readable"), history);
    }

    #[test]
    fn nothing_read_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..200usize) {
        let _ = jsonl::read(&bytes[..]);
        let mut text = written(&record(&generate(
            Shape { ops: 3, processes: 2, keys: 1, values: 0, info: 0, fail: 0, conditional: 50, revisions: 50 },
            &mut Rng(at as u64),
        ))).into_bytes();
        let at = at % text.len();
        text.splice(at..at + 1, bytes.iter().take(3).copied());
        let _ = jsonl::read(&text[..]);
    }
}

#[test]
fn malformed_lines_are_located() {
    let call = r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"put","k":"a","v":"x"}"#;
    let cases = [
        "{\"i\":0,",
        "[]",
        r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"put","k":"a"}"#,
        r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"get","k":"a","x":1}"#,
        r#"{"i":0,"t":1,"p":3,"type":"began","f":"get","k":"a"}"#,
        r#"{"i":1,"t":1,"p":3,"type":"invoke","f":"get","k":"a"}"#,
        r#"{"i":0,"t":1,"p":3,"type":"ok","f":"get","k":"a","v":null}"#,
        r#"{"i":0,"t":1,"p":3,"type":"invoke","f":"get","k":"a","if":{"exists":true}}"#,
        &format!("{call}\n{call}"),
        &format!("{call}\n{}", r#"{"i":1,"t":1,"p":3,"type":"invoke","f":"get","k":"a"}"#),
        &format!("{call}\n{}", r#"{"i":1,"t":1,"p":3,"type":"ok","f":"get","k":"a","v":null}"#),
        &format!("{call}\n{}", r#"{"i":1,"t":1,"p":3,"type":"ok","f":"put","k":"b"}"#),
        &format!("{call}\n\n{}", r#"{"i":1,"t":1,"p":3,"type":"fail","f":"put","k":"a","rev":1}"#),
        &format!("{call}\n{}", r#"{"i":1,"t":1,"p":3,"type":"refused","f":"put","k":"a","v":null,"rev":3}"#),
    ];
    let mut told = String::new();
    for case in cases {
        let error = jsonl::read(case.as_bytes()).expect_err(case);
        told += &format!("{case}\n    {error}\n");
    }
    told += &format!("not text\n    {}\n", jsonl::read(&b"{\"i\xff"[..]).expect_err("not text"));
    insta::assert_snapshot!(told);
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
