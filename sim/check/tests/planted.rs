//! Violations planted by hand: each must be found, described and drawn. The texts are golden.

use seaworthy_check::{Call, Condition, History, Options, Recorder, Reply, Verdict, Version, check, check_final};
use std::collections::BTreeMap;

fn got(value: &str, revision: u64) -> Reply<&str> {
    Reply::Got(Some(Version { value, revision: Some(revision) }))
}

fn got_bare(value: &str) -> Reply<&str> {
    Reply::Got(Some(Version { value, revision: None }))
}

fn done(revision: u64) -> Reply<&'static str> {
    Reply::Done { revision: Some(revision) }
}

const DONE: Reply<&str> = Reply::Done { revision: None };

/// A sequence of operations, each finished before the next begins.
struct Script {
    log: Recorder,
    time: u64,
}

impl Script {
    fn new() -> Script {
        Script { log: Recorder::default(), time: 0 }
    }

    fn tick(&mut self) -> u64 {
        self.time += 1_000;
        self.time
    }

    fn ok(mut self, process: u32, call: Call<&str>, reply: Reply<&str>) -> Script {
        let (called, returned) = (self.tick(), self.tick());
        let op = self.log.invoke(process, called, "k", call);
        self.log.ok(op, returned, reply);
        self
    }

    fn fail(mut self, process: u32, call: Call<&str>) -> Script {
        let (called, returned) = (self.tick(), self.tick());
        let op = self.log.invoke(process, called, "k", call);
        self.log.fail(op, returned);
        self
    }

    fn info(mut self, process: u32, call: Call<&str>) -> Script {
        let (called, returned) = (self.tick(), self.tick());
        let op = self.log.invoke(process, called, "k", call);
        self.log.info(op, returned);
        self
    }

    fn done(self) -> History {
        self.log.finish()
    }
}

/// Returns the evidence against the only key.
fn explain(history: &History) -> String {
    let report = check(history, &Options::default());
    let Verdict::Invalid(evidence) = &report.parts[0].verdict else { panic!("not found: {report}") };
    assert!(evidence.minimal);
    format!("{}: {evidence}", evidence.anomaly)
}

fn is_valid(history: &History) -> bool {
    check(history, &Options::default()).is_valid()
}

#[test]
fn stale_read() {
    let history = Script::new()
        .ok(1, Call::put("c1-1"), done(0))
        .ok(2, Call::put("c2-1"), done(1))
        .ok(3, Call::Get, got("c2-1", 1))
        .ok(2, Call::put("c2-2"), done(2))
        .ok(4, Call::Get, got("c2-1", 1))
        .done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn stale_read_without_revisions() {
    let history = Script::new()
        .ok(1, Call::put("a"), DONE)
        .ok(2, Call::put("b"), DONE)
        .ok(3, Call::put("c"), DONE)
        .ok(4, Call::Get, got_bare("b"))
        .done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn read_that_misses_a_write() {
    let history = Script::new().ok(1, Call::put("a"), DONE).ok(2, Call::Get, Reply::Got(None)).done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn lost_update() {
    let mut log = Recorder::default();
    let first = log.invoke(1, 10, "k", Call::put("base"));
    log.ok(first, 20, done(0));
    let a = log.invoke(1, 30, "k", Call::cas("base", "a"));
    let b = log.invoke(2, 40, "k", Call::cas("base", "b"));
    log.ok(a, 50, done(1));
    log.ok(b, 60, done(1));
    insta::assert_snapshot!(explain(&log.finish()));
}

#[test]
fn lost_update_without_revisions() {
    let mut log = Recorder::default();
    let first = log.invoke(1, 10, "k", Call::put("base"));
    log.ok(first, 20, DONE);
    let a = log.invoke(1, 30, "k", Call::cas("base", "a"));
    let b = log.invoke(2, 40, "k", Call::cas("base", "b"));
    log.ok(a, 50, DONE);
    log.ok(b, 60, DONE);
    insta::assert_snapshot!(explain(&log.finish()));
}

#[test]
fn read_of_a_failed_write() {
    let history =
        Script::new().ok(1, Call::put("a"), done(0)).fail(2, Call::put("b")).ok(3, Call::Get, got("b", 1)).done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn phantom_value() {
    let history = Script::new().ok(1, Call::put("a"), DONE).ok(2, Call::Get, got_bare("z")).done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn value_from_the_future() {
    let history = Script::new().ok(1, Call::Get, got_bare("a")).ok(2, Call::put("a"), DONE).done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn write_applied_twice() {
    let history =
        Script::new().ok(1, Call::put("a"), done(0)).info(2, Call::put("b")).ok(3, Call::put("c"), done(3)).done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn reads_that_go_backwards() {
    let mut log = Recorder::default();
    let a = log.invoke(1, 10, "k", Call::put("a"));
    log.ok(a, 20, done(0));
    let b = log.invoke(1, 30, "k", Call::put("b"));
    let first = log.invoke(2, 40, "k", Call::Get);
    log.ok(first, 50, got("b", 1));
    let second = log.invoke(3, 60, "k", Call::Get);
    log.ok(second, 70, got("a", 0));
    log.ok(b, 80, done(1));
    insta::assert_snapshot!(explain(&log.finish()));
}

#[test]
fn refusal_of_what_held() {
    let history = Script::new()
        .ok(1, Call::put("a"), done(0))
        .ok(2, Call::cas("a", "b"), Reply::Refused(Some(Version { value: "a", revision: Some(0) })))
        .done();
    insta::assert_snapshot!(explain(&history));
}

#[test]
fn evidence_leaves_out_what_does_not_matter() {
    let mut script = Script::new();
    for r in 0..200 {
        let value = format!("v{r}");
        script = script.ok(1, Call::put(&value), done(r)).ok(2, Call::Get, got(&value, r));
    }
    let history = script.ok(3, Call::Get, got("v150", 150)).ok(4, Call::Get, got("v199", 199)).done();
    let report = check(&history, &Options::default());
    let evidence = report.violations().next().expect("stale");
    assert_eq!(evidence.core.len(), 2, "{evidence}");
    assert_eq!(evidence.event, Some(801), "the stale read's return");
    assert!(evidence.order.len() >= 400, "all but the stale read can be ordered: {}", evidence.order.len());
}

#[test]
fn unknown_outcomes_are_open_for_ever() {
    let unknown = || Script::new().ok(1, Call::put("a"), done(0)).info(2, Call::put("b")).ok(3, Call::Get, got("a", 0));
    assert!(is_valid(&unknown().done()));
    assert!(is_valid(&unknown().ok(3, Call::Get, got("b", 1)).done()), "it may take effect late");
    assert!(!is_valid(&unknown().ok(3, Call::Get, got("b", 1)).ok(3, Call::Get, got("a", 0)).done()), "but once");
}

#[test]
fn an_unknown_write_of_the_same_value_explains_a_refusal() {
    let when = Condition { revision: Some(0), ..Condition::ALWAYS };
    let refused = Reply::Refused(Some(Version { value: "a", revision: None }));
    let first = || Script::new().ok(1, Call::put("a"), done(0));
    let history = first().info(2, Call::put("a")).ok(3, Call::Put { value: "b", when }, refused);
    assert!(is_valid(&history.done()), "the second write took revision 1");
    assert!(!is_valid(&first().ok(3, Call::Put { value: "b", when }, refused).done()));
}

#[test]
fn deletes_take_a_revision_and_conditions_count() {
    let when = Condition { revision: Some(-1), ..Condition::ALWAYS };
    let history = Script::new()
        .ok(1, Call::delete(), Reply::Refused(None))
        .ok(1, Call::put("a"), done(0))
        .ok(1, Call::delete(), done(1))
        .ok(1, Call::Get, Reply::Got(None))
        .ok(1, Call::Put { value: "b", when }, done(2))
        .ok(1, Call::Put { value: "c", when }, Reply::Refused(Some(Version { value: "b", revision: Some(2) })));
    assert!(is_valid(&history.done()));
    let history = Script::new().ok(1, Call::put("a"), done(0)).ok(1, Call::delete(), done(0));
    assert!(!is_valid(&history.done()));
}

#[test]
fn final_state_is_a_read_after_everything() {
    let history = Script::new().ok(1, Call::put("a"), done(0)).done();
    let state = |value: &str| Some(Version { value: value.to_owned(), revision: Some(0) });
    let with = |seen| check_final(&history, &BTreeMap::from([("k".to_owned(), seen)]), &Options::default());
    assert!(with(state("a")).is_valid());
    assert!(!with(None).is_valid(), "the write is lost");
    let other = BTreeMap::from([("other".to_owned(), state("a"))]);
    assert!(!check_final(&history, &other, &Options::default()).is_valid(), "nobody wrote that key");
}

#[test]
fn limits_give_unknown_with_the_reason() {
    // Twelve concurrent writes of few values, and reads that need a search.
    let mut log = Recorder::default();
    let texts: Vec<String> = (0..12).map(|i| format!("v{}", i % 6)).collect();
    let writes: Vec<_> = (0u32..).zip(&texts).map(|(p, text)| log.invoke(p, 0, "k", Call::put(text))).collect();
    for text in texts.iter().chain(&texts).chain(&texts) {
        let read = log.invoke(99, 1, "k", Call::Get);
        log.ok(read, 2, got_bare(text));
    }
    for write in writes {
        log.ok(write, 3, DONE);
    }
    let history = log.finish();
    let steps = check(&history, &Options { steps: 50, ..Options::default() });
    assert_eq!(steps.unknowns().collect::<Vec<_>>(), [("k", "the step limit was reached")]);
    let memory = check(&history, &Options { memory: 100, ..Options::default() });
    assert_eq!(memory.unknowns().collect::<Vec<_>>(), [("k", "the memory limit was reached")]);
    assert!(!is_valid(&history));
}

/// A key that exists is read as missing: two operations prove it, however many deletes come before.
#[test]
fn a_stale_read_of_nothing_is_shown_with_two_operations() {
    let mut log = Recorder::default();
    let mut revision = 0;
    let mut done = |log: &mut Recorder, op| {
        log.ok(op, 0, Reply::Done { revision: Some(revision) });
        revision += 1;
    };
    for round in 0..20 {
        let value = format!("a{round}");
        let a = log.invoke(1, 0, "k", Call::put(&value));
        let b = log.invoke(2, 0, "k", Call::delete());
        done(&mut log, a);
        done(&mut log, b);
        let refused = Condition { value: Some("never"), ..Condition::ALWAYS };
        let c = log.invoke(3, 0, "k", Call::Put { value: "c", when: refused });
        log.ok(c, 0, Reply::Refused(None));
    }
    // Neither of these is known to have happened.
    for process in 10..14 {
        let op = log.invoke(process, 0, "k", Call::put("open"));
        log.info(op, 0);
    }
    let delete = log.invoke(4, 0, "k", Call::delete());
    let last = log.invoke(5, 0, "k", Call::put("b"));
    let before = log.invoke(6, 0, "k", Call::put("a"));
    done(&mut log, before);
    done(&mut log, delete);
    done(&mut log, last);
    let read = log.invoke(7, 0, "k", Call::Get);
    log.ok(read, 0, Reply::Got(None));
    let report = check(&log.finish(), &Options::default());
    let Verdict::Invalid(evidence) = &report.parts[0].verdict else { panic!("{report}") };
    assert_eq!(
        (evidence.core.clone(), evidence.given.len(), evidence.minimal),
        (vec![last, read], 21, true),
        "{report}"
    );
    assert_eq!(evidence.anomaly, "stale read");
    assert!(evidence.explanation.contains("all 21 deletes of the key were before that"), "{report}");
    assert!(!report.to_string().contains("budget"), "{report}");
}
