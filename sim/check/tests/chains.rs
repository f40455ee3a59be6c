//! Compares the procedure for distinguishable values with trying every order, by this file's own model of a key.
//!
//! Set `CHECK_HISTORIES` for more: `CHECK_HISTORIES=1000000 cargo test --release --test chains`.

mod common;

use common::Rng;
use common::naive::possible;
use seaworthy_check::linear::general::General;
use seaworthy_check::linear::kv::KvJudge;
use seaworthy_check::linear::{Answer, Item, Judge, Limits};
use seaworthy_check::model::Model;
use seaworthy_check::{
    Condition, End, Function, History, OpId, Operation, Options, Recorder, Request, Value, Verdict, check,
};

/// A key: its value, and how often it was changed.
struct Kv;

impl Model for Kv {
    type State = (Value, i64);
    type Op = (Operation, Condition, bool);

    fn initial(&self, history: &History) -> Self::State {
        (history.initial(), 0)
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Self::Op> {
        let blind = op.f == Function::Read && (!told || op.reply == Value::UNTOLD);
        (!blind).then(|| (*op, history.condition(op), told))
    }

    fn apply(&self, &(value, count): &Self::State, (op, when, told): &Self::Op) -> Option<Self::State> {
        let there = value != Value::NIL;
        let number = if there { count - 1 } else { -1 };
        let saw = op.reply == Value::UNTOLD
            || op.reply == value && (!there || op.told_revision().is_none_or(|r| i64::from(r) == number));
        if op.f == Function::Read {
            return saw.then_some((value, count));
        }
        let accepted = !(when.exists.is_some_and(|e| e != there)
            || when.value.is_some_and(|v| v != value)
            || when.revision.is_some_and(|n| n != number || there && n < 0)
            || op.f == Function::Delete && !there);
        if *told && op.end == End::Refused {
            return (saw && !accepted).then_some((value, count));
        }
        let took = !told || op.told_revision().is_none_or(|r| i64::from(r) == count);
        let next = if op.f == Function::Delete { Value::NIL } else { op.arg };
        (accepted && took).then_some((next, count + 1))
    }

    fn reads(&self, op: &Self::Op) -> bool {
        op.0.f == Function::Read
    }
}

/// The parameters of a history. Except for the first two and the last, they are percentages.
#[derive(Clone, Copy, Debug)]
struct Shape {
    ops: usize,
    processes: usize,
    revisions: u64,
    /// Refusals that report what the key held.
    told: u64,
    deletes: u64,
    cas: u64,
    conditions: u64,
    info: u64,
    fail: u64,
    repeated: u64,
    initial: Value,
}

impl Shape {
    fn random(rng: &mut Rng) -> Shape {
        let mut one = |choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
        Shape {
            ops: 2 + one(&[0, 1, 2, 3, 4, 5, 6]) as usize,
            processes: 2 + one(&[0, 1, 2]) as usize,
            revisions: one(&[0, 0, 100, 100, 60]),
            told: one(&[0, 50, 100]),
            deletes: one(&[0, 0, 15]),
            cas: one(&[0, 30, 60]),
            conditions: one(&[0, 0, 30]),
            info: one(&[0, 0, 25]),
            fail: one(&[0, 10]),
            repeated: one(&[0, 0, 0, 20]),
            initial: if one(&[0, 1]) == 0 { Value::NIL } else { number(1) },
        }
    }

    /// Returns whether the procedure promises to decide every history of this shape.
    fn promised(&self) -> bool {
        let plain = self.deletes + self.conditions + self.repeated == 0 && (self.told == 100 || self.cas == 0);
        plain && (self.revisions == 0 || self.revisions == 100 && self.info == 0)
    }
}

fn number(n: u32) -> Value {
    Value::small(n).expect("small")
}

#[derive(Clone, Debug)]
struct Raw {
    process: u32,
    request: Request,
    end: End,
    reply: Value,
    revision: Option<u32>,
}

/// Operations, and the order of their calls and returns.
#[derive(Clone, Debug)]
struct Raws(Vec<Raw>, Vec<(usize, bool)>);

/// Generates what an atomic key answers to clients. Each operation takes effect between its call and its return.
fn generate(shape: Shape, rng: &mut Rng) -> Raws {
    let (mut ops, mut events): (Vec<Raw>, Vec<(usize, bool)>) = (Vec::new(), Vec::new());
    let mut state = (shape.initial, 0u32);
    // For each process: its current operation, and whether it has taken effect.
    let mut at: Vec<Option<(usize, bool)>> = vec![None; shape.processes];
    let mut adrift: Vec<usize> = Vec::new();
    while ops.len() < shape.ops || at.iter().any(Option::is_some) {
        if !adrift.is_empty() && rng.percent(20) {
            let late = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            apply(&ops[late].request, &mut state);
        }
        let p = rng.below(shape.processes as u64) as usize;
        match at[p] {
            None if ops.len() == shape.ops => {}
            None => {
                let (end, reply) = (End::Info, Value::UNTOLD);
                let request = request(shape, state, ops.len() as u32, rng);
                ops.push(Raw { process: p as u32, request, end, reply, revision: None });
                events.push((ops.len() - 1, false));
                at[p] = Some((ops.len() - 1, false));
            }
            Some((i, false)) => {
                let raw = &mut ops[i];
                if rng.percent(shape.info) {
                    adrift.push(i);
                } else if rng.percent(shape.fail) {
                    raw.end = End::Fail;
                } else {
                    (raw.end, raw.reply, raw.revision) = apply(&raw.request, &mut state);
                    if raw.end == End::Refused && !rng.percent(shape.told) {
                        (raw.reply, raw.revision) = (Value::UNTOLD, None);
                    }
                    raw.revision = raw.revision.filter(|_| rng.percent(shape.revisions));
                }
                at[p] = Some((i, true));
            }
            Some((i, true)) => {
                if ops[i].end != End::Info || rng.percent(70) {
                    events.push((i, true));
                }
                at[p] = None;
            }
        }
    }
    Raws(ops, events)
}

fn apply(request: &Request, state: &mut (Value, u32)) -> (End, Value, Option<u32>) {
    let (value, count) = *state;
    let there = value != Value::NIL;
    let number = if there { i64::from(count) - 1 } else { -1 };
    let revision = if there { count.checked_sub(1) } else { None };
    let when = &request.when;
    let next = match request.f {
        Function::Read => return (End::Ok, value, revision),
        Function::Delete => Value::NIL,
        _ => request.arg,
    };
    if when.exists.is_some_and(|e| e != there)
        || when.value.is_some_and(|v| v != value)
        || when.revision.is_some_and(|n| n != number || there && n < 0)
        || request.f == Function::Delete && !there
    {
        return (End::Refused, value, revision);
    }
    *state = (next, count + 1);
    (End::Ok, Value::UNTOLD, Some(count))
}

fn request(shape: Shape, (value, count): (Value, u32), n: u32, rng: &mut Rng) -> Request {
    let some = |rng: &mut Rng| match rng.below(8) {
        0 => Value::NIL,
        1 => number(1),
        _ => number(10 + rng.below(u64::from(n) + 1) as u32),
    };
    let mut when = Condition::ALWAYS;
    if rng.percent(shape.cas) {
        when.value = Some(if rng.percent(70) { value } else { some(rng) });
    } else if rng.percent(shape.conditions) {
        match rng.below(2) {
            0 => when.exists = Some(rng.percent(50)),
            _ => when.revision = Some(i64::from(count) - 1 - rng.below(2) as i64),
        }
    }
    if rng.percent(40) {
        return Request::new(Function::Read, Value::UNTOLD);
    }
    if rng.percent(shape.deletes) {
        return Request { f: Function::Delete, arg: Value::UNTOLD, when };
    }
    let arg = if rng.percent(shape.repeated) { some(rng) } else { number(10 + n) };
    Request { f: Function::Write, arg, when }
}

/// Changes a reply, a request or the order of two events.
fn mutate(Raws(ops, events): &mut Raws, rng: &mut Rng) {
    let at = rng.below(ops.len() as u64) as usize;
    let other = match rng.below(8) {
        0 => Value::NIL,
        1 => number(1),
        2 => number(99),
        _ => ops[rng.below(ops.len() as u64) as usize].request.arg,
    };
    let raw = &mut ops[at];
    let saw = raw.end == End::Ok && raw.request.f == Function::Read || raw.end == End::Refused;
    match rng.below(6) {
        5 if rng.percent(30) && !raw.request.when.is_always() => {
            let when = &mut raw.request.when;
            match rng.below(3) {
                0 => when.exists = Some(rng.percent(50)),
                1 => when.revision = Some([-2, -1, 0, 1, i64::MIN, i64::MAX][rng.below(6) as usize]),
                _ => when.value = Some(Value::NIL),
            }
        }
        0 if saw && other != Value::UNTOLD => raw.reply = other,
        1 if raw.revision.is_some() => {
            raw.revision = Some([0, 1, 2, 3, u32::MAX - 1, u32::MAX - 2][rng.below(6) as usize]);
        }
        2 if raw.request.f != Function::Read && raw.end == End::Ok => raw.end = End::Refused,
        3 if raw.request.when.value.is_some() && other != Value::UNTOLD => raw.request.when.value = Some(other),
        _ => {
            let i = rng.below(events.len() as u64 - 1) as usize;
            if events[i].0 != events[i + 1].0 {
                events.swap(i, i + 1);
            }
        }
    }
}

fn record(Raws(ops, events): &Raws, initial: Value) -> History {
    let mut log = Recorder::default();
    log.initial(initial);
    let mut ids = vec![OpId(0); ops.len()];
    for &(i, returned) in events {
        let raw = &ops[i];
        if returned {
            log.end(ids[i], 0, raw.end, raw.reply, raw.revision);
        } else {
            ids[i] = log.begin(raw.process, 0, Value::NIL, raw.request);
        }
    }
    log.finish()
}

/// Returns whether an order obeys the model and real time, and contains every operation that it must contain.
fn replays(history: &History, items: &[Item], order: &[OpId]) -> bool {
    let settled = |op: OpId| {
        let open = items.iter().any(|item| item.op == op && item.open);
        history.operation(op).settled().filter(|_| !open)
    };
    let mut state = Kv.initial(history);
    let mut called = 0;
    for &op in order {
        let operation = history.operation(op);
        called = called.max(operation.called);
        let compiled = Kv.compile(history, operation, settled(op).is_some());
        let Some(next) = compiled.and_then(|op| Kv.apply(&state, &op)) else { return false };
        if settled(op).is_some_and(|ret| ret < called) {
            return false;
        }
        state = next;
    }
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let blind = |op: OpId| {
        let op = history.operation(op);
        op.f == Function::Read && op.reply == Value::UNTOLD
    };
    sorted.len() == order.len()
        && items
            .iter()
            .all(|item| sorted.binary_search(&item.op).is_ok() || settled(item.op).is_none() || blind(item.op))
}

/// Returns whether the verdict came from the procedure under test.
fn decided(by: &str) -> bool {
    by.starts_with("zones") || by.starts_with("revisions")
}

#[test]
fn agrees_with_trying_every_order() {
    let default = if cfg!(debug_assertions) { 40_000 } else { 200_000 };
    let histories = std::env::var("CHECK_HISTORIES").map_or(default, |n| n.parse().expect("a number"));
    let mut rng = Rng(1997);
    let limits = Limits::new(1_000_000, 1 << 24);
    let mut judge = KvJudge::default();
    let (mut valid, mut invalid, mut promised, mut told, mut suspected) = (0u64, 0u64, 0u64, 0u64, 0u64);
    for n in 0..histories {
        let shape = Shape::random(&mut rng);
        let mut raws = generate(shape, &mut rng);
        let mutations = rng.below(4);
        for _ in 0..mutations {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws, shape.initial);
        let opened = [0, 0, 40][rng.below(3) as usize];
        let ids = (0..history.operations().len() as u32).map(OpId);
        let items: Vec<Item> = ids.map(|op| Item { op, open: rng.percent(opened) }).collect();
        let context = || {
            let ops: Vec<String> = raws.0.iter().map(|raw| format!("{raw:?}")).collect();
            format!("history {n}: {shape:?}\n{}\n{:?}\n{items:?}", ops.join("\n"), raws.1)
        };
        let decision = judge.decide(&history, &items, limits);
        let expected = possible(&Kv, &history, &items);
        assert!(mutations > 0 || expected, "made an impossible history: {}", context());
        if mutations == 0 && opened == 0 && shape.promised() {
            assert!(decided(decision.by), "by {}: {}", decision.by, context());
            promised += 1;
        }
        if !decided(decision.by) {
            continue;
        }
        assert_eq!(decision.answer == Answer::Possible, expected, "by {}: {}", decision.by, context());
        told += u64::from(decision.by.starts_with("revisions"));
        if expected {
            let order = judge.witness(&history, &items, limits).expect("an order");
            assert!(replays(&history, &items, &order), "{order:?}: {}", context());
            valid += 1;
        } else {
            invalid += 1;
            if let Some(suspects) = judge.suspects(&history, &items) {
                let few: Vec<Item> = items.iter().map(|i| Item { open: !suspects.contains(&i.op), ..*i }).collect();
                suspected += u64::from(!possible(&Kv, &history, &few));
            }
        }
    }
    println!(
        "{histories}: {valid} valid, {invalid} invalid, {told} by revisions, {promised} promised, {suspected} explained"
    );
    assert!(
        valid > histories * 35 / 100 && invalid > histories * 15 / 100,
        "{valid} valid, {invalid} invalid: too one-sided"
    );
    assert!(promised > histories / 50 && told > histories / 10, "{promised} promised, {told} by revisions: too few");
    assert!(valid + invalid > histories * 95 / 100, "{} of {histories} decided: too few", valid + invalid);
    assert!(suspected > invalid * 6 / 10, "{suspected} of {invalid} explained: too few");
}

/// Longer histories, compared with the general engine running this file's model.
#[test]
fn agrees_with_the_engine_for_all_models() {
    let histories = if cfg!(debug_assertions) { 400 } else { 4_000 };
    let mut rng = Rng(2025);
    let limits = Limits::new(20_000, 1 << 26);
    let (mut judge, mut engine) = (KvJudge::default(), General(Kv));
    let (mut valid, mut invalid, mut handed_over) = (0u64, 0u64, 0u64);
    for n in 0..histories {
        let shape = Shape { ops: 50 + rng.below(150) as usize, processes: 3, fail: 2, ..Shape::random(&mut rng) };
        let shape = Shape { info: shape.info.min(5), repeated: 0, ..shape };
        let mut raws = generate(shape, &mut rng);
        for _ in 0..rng.below(3) {
            mutate(&mut raws, &mut rng);
        }
        let history = record(&raws, shape.initial);
        let ids = (0..history.operations().len() as u32).map(OpId);
        let items: Vec<Item> = ids.map(|op| Item { op, open: false }).collect();
        let decision = judge.decide(&history, &items, limits);
        if !decided(decision.by) {
            handed_over += 1;
            continue;
        }
        let expected = engine.decide(&history, &items, limits).answer;
        if matches!(expected, Answer::GaveUp(_)) {
            continue;
        }
        assert_eq!(decision.answer, expected, "history {n}, by {}: {shape:?} {raws:?}", decision.by);
        if expected == Answer::Possible {
            let order = judge.witness(&history, &items, limits).expect("an order");
            assert!(replays(&history, &items, &order), "history {n}: {order:?}: {shape:?} {raws:?}");
            valid += 1;
        } else {
            invalid += 1;
        }
    }
    println!("{valid} valid, {invalid} invalid, {handed_over} handed over");
    assert!(valid > histories / 4 && invalid > histories / 20, "{valid} valid, {invalid} invalid: too one-sided");
    assert!(handed_over < histories / 4, "{handed_over} handed over");
}

/// A long history of one key with one stale read: the cause that is found is small and minimal.
#[test]
fn one_stale_read_among_many_is_named() {
    let mut log = Recorder::default();
    let key = Value::NIL;
    let put = |n| Request::new(Function::Write, number(n));
    let get = Request::new(Function::Read, Value::UNTOLD);
    let length = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    for n in 0..length {
        let (write, read) = (log.begin(0, 0, key, put(n)), log.begin(1, 0, key, get));
        if n % 100 == 7 {
            log.begin(2 + n, 0, key, put(length + n));
        }
        log.end(read, 0, End::Ok, if n == 0 { Value::NIL } else { number(n - 1) }, None);
        log.end(write, 0, End::Ok, Value::UNTOLD, None);
        if n == length / 10 * 9 {
            let read = log.begin(1, 0, key, get);
            log.end(read, 0, End::Ok, number(length / 2), None);
        }
    }
    let history = log.finish();
    let report = check(&history, &Options::default());
    let Verdict::Invalid(evidence) = &report.parts[0].verdict else { panic!("not found: {report}") };
    assert!(report.parts[0].by.starts_with("zones"), "by {}", report.parts[0].by);
    assert!(evidence.minimal && evidence.core.len() <= 3, "{evidence}");
    let breaks = history.operation(evidence.breaks.expect("an operation"));
    assert_eq!((breaks.f, breaks.reply), (Function::Read, number(length / 2)), "{evidence}");
    assert!(evidence.order.len() > length as usize / 10 * 17, "all but the stale read: {}", evidence.order.len());
}
