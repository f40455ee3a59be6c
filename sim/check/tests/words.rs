//! Descriptions of anomalies: each has the name that engineers use, and no rule matches a valid history.

mod common;
mod objects;

use common::{Rng, Shape, generate, record};
use objects::{play, possible};
use seaworthy_check::evidence::{diagram, words};
use seaworthy_check::{Condition, Datum, End, Function as F, History, Kind, OpId, Recorder, Request, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

const HISTORIES: u64 = if cfg!(debug_assertions) { 1_500 } else { 15_000 };

/// Number of histories of each kind.
fn histories() -> u64 {
    objects::histories(HISTORIES)
}

/// Returns the name found if all operations with an outcome are taken as the core.
fn name(history: &History, kind: Kind) -> Option<(String, String)> {
    let all: Vec<OpId> = (0..history.operations().len() as u32).map(OpId).collect();
    let core: Vec<OpId> = all.iter().copied().filter(|&op| history.operation(op).settled().is_some()).collect();
    let last = *core.iter().max_by_key(|&&op| history.operation(op).settled())?;
    let known = Some(kind).filter(|&kind| kind == Kind::UnorderedQueue);
    Some(words(history, known, last, (&core, &[]), &all, true))
}

#[test]
fn no_rule_matches_a_valid_history() {
    let mut rng = Rng(1);
    for kind in objects::KINDS {
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        for n in 0..histories() {
            let (mut raws, _) = play(kind, 3 + rng.below(5) as usize, 3, &mut rng);
            let mutations = rng.below(4);
            for _ in 0..mutations {
                objects::mutate(&mut raws, &mut rng);
            }
            let Some((anomaly, text)) = name(&objects::record(&raws), kind) else { continue };
            if anomaly.is_empty() {
                continue;
            }
            let all: Vec<usize> = (0..raws.len()).collect();
            assert!(!possible(kind, &raws, &all), "{} {n}: {text}\n{raws:#?}", kind.name());
            *names.entry(anomaly).or_default() += 1;
        }
        let found: u64 = names.values().sum();
        assert!(found > histories() / 40, "{}: {names:?}", kind.name());
    }
}

#[test]
fn no_rule_matches_a_valid_history_of_keys() {
    let mut rng = Rng(2);
    let mut names: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..4 * histories() {
        let shape = Shape {
            ops: 2 + rng.below(7) as usize,
            processes: 3,
            keys: 1,
            values: [0, 0, 2, 3][rng.below(4) as usize],
            info: [0, 10, 40][rng.below(3) as usize],
            fail: 8,
            conditional: [0, 30, 70][rng.below(3) as usize],
            revisions: [0, 50, 100][rng.below(3) as usize],
        };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            common::mutate(&mut raws, &mut rng);
        }
        let history = record(&raws);
        let Some((anomaly, text)) = name(&history, Kind::Kv) else { continue };
        if !anomaly.is_empty() {
            assert!(!common::brute_force(&history, "k0", u32::MAX, None), "{n}: {text}\n{raws:#?}");
            *names.entry(anomaly).or_default() += 1;
        }
    }
    let expected = [
        "dirty read",
        "future read",
        "lost update",
        "phantom value",
        "reads go backwards",
        "revision goes back",
        "stale read",
        "two values at one revision",
        "write applied twice",
        "wrong refusal",
    ];
    for name in expected {
        assert!(names.get(name).is_some_and(|&n| n > 3), "{name} was not found: {names:?}");
    }
}

/// A sequence of operations, some of them concurrent.
struct Script {
    log: Recorder,
    key: Value,
    time: u64,
    open: Vec<(u32, OpId)>,
}

impl Script {
    fn new() -> Script {
        let mut log = Recorder::default();
        let key = log.value(Datum::Text("o"));
        Script { log, key, time: 0, open: Vec::new() }
    }

    fn tick(&mut self) -> u64 {
        self.time += 1_000;
        self.log.at_line(self.time as u32 / 1_000 + 20);
        self.time
    }

    fn call(mut self, process: u32, f: F, arg: Datum<'_>) -> Script {
        let (time, arg) = (self.tick(), self.log.value(arg));
        let op = self.log.begin(process, time, self.key, Request { f, arg, when: Condition::ALWAYS });
        self.open.push((process, op));
        self
    }

    fn end(mut self, process: u32, end: End, reply: Datum<'_>) -> Script {
        let (time, reply) = (self.tick(), self.log.value(reply));
        let at = self.open.iter().position(|&(owner, _)| owner == process).expect("it has called");
        self.log.end(self.open.remove(at).1, time, end, reply, None);
        self
    }

    fn ok(self, process: u32, f: F, arg: Datum<'_>, reply: Datum<'_>) -> Script {
        self.call(process, f, arg).end(process, End::Ok, reply)
    }

    fn list(mut self, process: u32, items: &[i64]) -> Script {
        let items: Vec<Value> = items.iter().map(|&n| self.log.value(Datum::Int(n))).collect();
        self.log.value(Datum::List(&items));
        self.ok(process, F::Read, U, Datum::List(&items))
    }

    /// Returns the anomaly, its description and the diagram.
    fn told(self) -> String {
        let history = self.log.finish();
        let (anomaly, text) = name(&history, Kind::Kv).expect("something was answered");
        let all: Vec<OpId> = (0..history.operations().len() as u32).map(OpId).collect();
        let last = all.iter().copied().max_by_key(|&op| history.operation(op).settled()).expect("an operation");
        format!("== {anomaly}\n{text}\n\n{}\n", diagram(&history, last, &all))
    }
}

const U: Datum<'_> = Datum::Untold;
const NIL: Datum<'_> = Datum::Nil;

fn int(n: i64) -> Datum<'static> {
    Datum::Int(n)
}

fn together(scripts: Vec<Script>) -> String {
    let mut text = String::new();
    for script in scripts {
        let _ = writeln!(text, "{}", script.told());
    }
    text
}

#[test]
fn queues() {
    let put = |script: Script, n| script.ok(1, F::Enqueue, int(n), U);
    let take = |script: Script, process, n| script.ok(process, F::Dequeue, U, int(n));
    let two = || put(put(Script::new(), 7), 8);
    insta::assert_snapshot!(together(vec![
        take(put(Script::new(), 7), 2, 9),
        take(take(put(Script::new(), 7), 2, 7), 3, 7),
        take(take(two(), 2, 8), 3, 7),
        take(two(), 2, 8),
        put(Script::new(), 7).ok(2, F::Dequeue, U, NIL),
        Script::new().call(1, F::Enqueue, int(5)).end(1, End::Fail, U).ok(2, F::Dequeue, U, int(5)),
    ]));
}

#[test]
fn sets() {
    let add = |script: Script, n| script.ok(1, F::Add, int(n), U);
    insta::assert_snapshot!(together(vec![
        add(add(Script::new(), 1), 2).list(2, &[1]),
        add(Script::new(), 1).list(2, &[1, 3]),
        add(Script::new(), 1).list(2, &[1, 1]),
        add(Script::new(), 1).ok(1, F::Remove, int(1), Datum::Bool(true)).ok(2, F::Contains, int(1), Datum::Bool(true)),
        add(Script::new(), 1).ok(2, F::Contains, int(1), Datum::Bool(false)),
    ]));
}

#[test]
fn counters() {
    let add = |script: Script, n| script.ok(1, F::Add, int(n), U);
    insta::assert_snapshot!(together(vec![
        add(add(Script::new(), 1), 1).ok(2, F::Read, U, int(1)),
        add(Script::new(), 1).call(3, F::Add, int(1)).ok(2, F::Read, U, int(3)),
    ]));
}

#[test]
fn texts() {
    let append = |script: Script, text| script.ok(1, F::Append, Datum::Text(text), U);
    let read = |script: Script, process, text| script.ok(process, F::Read, U, Datum::Text(text));
    let open = || Script::new().call(3, F::Append, Datum::Text("x")).call(4, F::Append, Datum::Text("y"));
    insta::assert_snapshot!(together(vec![
        read(append(append(Script::new(), "x"), "y"), 2, "x"),
        read(append(Script::new(), "x"), 2, "xx"),
        read(read(open(), 1, "x"), 2, ""),
        open().call(5, F::Read, U).ok(6, F::Read, U, Datum::Text("xy")).end(5, End::Ok, Datum::Text("y")),
    ]));
}

#[test]
fn locks() {
    let take = |script: Script, process, token| script.ok(process, F::Acquire, U, int(token));
    insta::assert_snapshot!(together(vec![
        take(take(Script::new(), 1, 33), 2, 34),
        take(take(Script::new(), 1, 33).ok(1, F::Release, U, U), 2, 32),
        take(take(Script::new(), 1, 33).ok(1, F::Release, U, U), 2, 33),
        Script::new().ok(1, F::Release, U, U),
    ]));
}

#[test]
fn sequences() {
    let next = |script: Script, process, n| script.ok(process, F::Next, U, int(n));
    insta::assert_snapshot!(together(vec![
        next(next(Script::new(), 1, 4), 2, 4),
        next(next(Script::new(), 1, 4), 2, 3),
        next(Script::new(), 1, 4).ok(2, F::Read, U, int(2)),
    ]));
}

#[test]
fn registers_of_numbers() {
    let write = |script: Script, n| script.ok(1, F::Write, int(n), U);
    insta::assert_snapshot!(together(vec![
        write(write(Script::new(), 3), 4).ok(2, F::Read, U, int(3)),
        write(Script::new(), 3).ok(2, F::Read, U, Datum::Symbol(":weird")),
    ]));
}
