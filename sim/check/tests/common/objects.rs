//! Random histories of any atomic object, and the comparison of a judge with trying every order.

use super::Rng;
use super::naive::possible;
use seaworthy_check::linear::general::General;
use seaworthy_check::linear::{Answer, Item, Judge, Limits};
use seaworthy_check::model::Model;
use seaworthy_check::{Datum, End, Function, History, Kind, OpId, Recorder, Request, Value};

/// A value before it is recorded.
#[derive(Clone, PartialEq, Debug)]
pub enum Val {
    Nil,
    Untold,
    Bool(bool),
    Int(i64),
    List(Vec<i64>),
}

/// An operation before it is recorded; `events` are the positions of its call and return.
#[derive(Clone, Debug)]
pub struct Raw {
    pub process: u32,
    pub events: (usize, Option<usize>),
    pub f: Function,
    pub arg: Val,
    pub end: End,
    pub reply: Val,
}

/// An object that clients use one at a time.
pub trait Object {
    /// Returns what a process asks next; `n` is the number of operations before.
    fn ask(&mut self, process: u32, n: usize, rng: &mut Rng) -> (Function, Val);
    /// Applies an operation and returns its outcome and reply.
    fn apply(&mut self, process: u32, f: Function, arg: &Val) -> (End, Val);
    /// Replaces the reply by another one, which may or may not still be possible.
    fn lie(&self, raw: &mut Raw, rng: &mut Rng);
    /// Returns what the object holds at first.
    fn initial(&self) -> Val {
        Val::Nil
    }
}

/// Number of operations and processes; percentages of unknown outcomes and of failures.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub ops: usize,
    pub processes: usize,
    pub info: u64,
    pub fail: u64,
}

/// Generates a linearizable history: each operation takes effect at a random moment between its call and its return.
pub fn generate(size: Size, object: &mut impl Object, rng: &mut Rng) -> Vec<Raw> {
    #[derive(Clone, Copy)]
    enum At {
        Idle,
        Called(usize),
        Applied(usize),
    }
    let mut raws: Vec<Raw> = Vec::new();
    let mut at = vec![At::Idle; size.processes];
    let mut adrift: Vec<usize> = Vec::new();
    let (mut event, mut over) = (0, 0);
    while over < size.ops {
        if !adrift.is_empty() && rng.percent(10) {
            let i = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            object.apply(raws[i].process, raws[i].f, &raws[i].arg);
            continue;
        }
        let p = rng.below(size.processes as u64) as usize;
        at[p] = match at[p] {
            At::Idle if raws.len() == size.ops => At::Idle,
            At::Idle => {
                let (f, arg) = object.ask(p as u32, raws.len(), rng);
                let events = (event, None);
                raws.push(Raw { process: p as u32, events, f, arg, end: End::Info, reply: Val::Untold });
                event += 1;
                At::Called(raws.len() - 1)
            }
            At::Called(i) => {
                let fate = rng.below(100);
                if fate >= size.info + size.fail {
                    let raw = &mut raws[i];
                    (raw.end, raw.reply) = object.apply(raw.process, raw.f, &raw.arg);
                    At::Applied(i)
                } else {
                    if fate >= size.info {
                        raws[i].end = End::Fail;
                    } else if rng.percent(60) {
                        adrift.push(i);
                    }
                    raws[i].events.1 = Some(event);
                    event += 1;
                    over += 1;
                    At::Idle
                }
            }
            At::Applied(i) => {
                raws[i].events.1 = Some(event);
                event += 1;
                over += 1;
                At::Idle
            }
        };
    }
    raws
}

fn intern(recorder: &mut Recorder, value: &Val) -> Value {
    match value {
        Val::Nil => Value::NIL,
        Val::Untold => Value::UNTOLD,
        Val::Bool(yes) => recorder.value(Datum::Bool(*yes)),
        Val::Int(n) => recorder.value(Datum::Int(*n)),
        Val::List(list) => {
            let list: Vec<Value> = list.iter().map(|&n| recorder.value(Datum::Int(n))).collect();
            recorder.value(Datum::List(&list))
        }
    }
}

/// Records operations on one object.
pub fn record(initial: &Val, raws: &[Raw]) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, raw) in raws.iter().enumerate() {
        events.push((raw.events.0, i, false));
        events.extend(raw.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut recorder = Recorder::default();
    let initial = intern(&mut recorder, initial);
    recorder.initial(initial);
    let mut ids = vec![None; raws.len()];
    for (n, (_, i, returned)) in events.into_iter().enumerate() {
        let (raw, time) = (&raws[i], 1_000 * n as u64);
        if returned {
            let reply = intern(&mut recorder, &raw.reply);
            recorder.end(ids[i].expect("the call comes before the return"), time, raw.end, reply, None);
        } else {
            let arg = intern(&mut recorder, &raw.arg);
            ids[i] = Some(recorder.begin(raw.process, time, Value::NIL, Request::new(raw.f, arg)));
        }
    }
    recorder.finish()
}

/// Returns all operations, with their outcomes.
pub fn all(history: &History) -> Vec<Item> {
    (0u32..).take(history.operations().len()).map(|i| Item { op: OpId(i), open: false }).collect()
}

/// Returns the number of histories to compare.
pub fn histories() -> u64 {
    let wanted = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 25_000 } else { 100_000 })
}

/// Counts of a comparison.
#[derive(Default, Debug)]
pub struct Tally {
    pub valid: u64,
    pub invalid: u64,
    /// How many of the valid and of the invalid ones needed no search.
    pub direct: (u64, u64),
}

const LIMITS: Limits = Limits::new(10_000_000, 1 << 28);

/// Compares the verdict, the witness, the suspects and the longest order of one history's judge with the model.
pub fn compare<M: Model>(kind: Kind, model: &M, history: &History, items: &[Item], tally: &mut Tally) -> bool {
    let expected = possible(model, history, items);
    let mut judge = kind.judge();
    let decision = judge.decide(history, items, LIMITS);
    let what = if expected { Answer::Possible } else { Answer::Impossible };
    assert_eq!(decision.answer, what, "by {}: \n{}", decision.by, show(history, items));
    let direct = u64::from(!decision.by.contains("search"));
    if expected {
        (tally.valid, tally.direct.0) = (tally.valid + 1, tally.direct.0 + direct);
        let order = judge.witness(history, items, LIMITS).expect("it is possible");
        assert!(replays(model, history, items, &order, true), "{order:?} of \n{}", show(history, items));
    } else {
        (tally.invalid, tally.direct.1) = (tally.invalid + 1, tally.direct.1 + direct);
        let suspects = judge.suspects(history, items);
        assert!(direct == 0 || suspects.is_some(), "no suspects of \n{}", show(history, items));
        if let Some(suspects) = suspects {
            let open = |item: &Item| Item { open: item.open || !suspects.contains(&item.op), ..*item };
            let rest: Vec<Item> = items.iter().map(open).collect();
            let innocent = possible(model, history, &rest);
            assert!(!innocent, "{suspects:?} of \n{}", show(history, items));
        }
    }
    let order = judge.longest(history, items, LIMITS);
    assert!(replays(model, history, items, &order, false), "{order:?} of \n{}", show(history, items));
    expected
}

/// Shows the operations, one per line.
fn show(history: &History, items: &[Item]) -> String {
    let mut text = format!("initially {}\n", history.show(history.initial()));
    for item in items {
        let op = history.operation(item.op);
        let [arg, reply] = [op.arg, op.reply].map(|value| history.show(value));
        let open = if item.open { " (open)" } else { "" };
        let (id, f) = (item.op.0, history.function(op.f));
        text +=
            &format!("{id}: p{} {}..{} {f} {arg} → {:?} {reply}{open}\n", op.process, op.called, op.returned, op.end);
    }
    text
}

/// Returns whether an order respects real time and the model. If `whole`, it must also contain every operation that
/// certainly happened.
fn replays<M: Model>(model: &M, history: &History, items: &[Item], order: &[OpId], whole: bool) -> bool {
    let open = |op: OpId| items.iter().find(|item| item.op == op).map(|item| item.open);
    let told = |op: OpId| open(op) == Some(false) && history.operation(op).settled().is_some();
    let mut states = vec![model.initial(history)];
    for (i, &op) in order.iter().enumerate() {
        let operation = history.operation(op);
        let late = |&other: &OpId| operation.settled().is_some_and(|ret| ret < history.operation(other).called);
        let repeated = order[..i].contains(&op) || open(op).is_none() || operation.end == End::Fail;
        if repeated || told(op) && order[..i].iter().any(late) {
            return false;
        }
        // In a partial order, an operation that returned may count as open.
        let ways = [told(op), false].into_iter().take(if whole { 1 } else { 2 });
        let steps: Vec<M::Op> = ways.filter_map(|told| model.compile(history, operation, told)).collect();
        let next = |step| states.iter().filter_map(|state| model.apply(state, step)).collect::<Vec<_>>();
        states = steps.iter().flat_map(next).collect();
        if states.is_empty() {
            return false;
        }
    }
    let must = |item: &&Item| told(item.op) && model.compile(history, history.operation(item.op), true).is_some();
    !whole || items.iter().filter(must).all(|item| order.contains(&item.op))
}

/// Compares longer histories with the search for any model, and replays every witness. Returns the numbers of valid and
/// of invalid histories.
pub fn sweep_longer<M: Model, O: Object>(kind: Kind, model: M, seed: u64, new: impl Fn(&mut Rng) -> O) -> (u64, u64) {
    let mut rng = Rng(seed);
    let mut general = General(model);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..histories() / 20 {
        let size = Size {
            ops: 10 + rng.below(20) as usize,
            processes: 2 + rng.below(4) as usize,
            info: [0, 0, 5, 20][rng.below(4) as usize],
            fail: 0,
        };
        let mut object = new(&mut rng);
        let initial = object.initial();
        let mut raws = generate(size, &mut object, &mut rng);
        if rng.percent(60) {
            let i = rng.below(raws.len() as u64) as usize;
            if raws[i].end != End::Info {
                object.lie(&mut raws[i], &mut rng);
            }
        }
        let history = record(&initial, &raws);
        let items = all(&history);
        let limits = Limits::new(6_000, 1 << 26);
        let expected = general.decide(&history, &items, limits).answer;
        let mut judge = kind.judge();
        let decision = judge.decide(&history, &items, limits);
        if [expected, decision.answer].iter().any(|answer| matches!(answer, Answer::GaveUp(_))) {
            continue;
        }
        assert_eq!(decision.answer, expected, "by {}: {}", decision.by, show(&history, &items));
        if expected == Answer::Possible {
            let order = judge.witness(&history, &items, LIMITS).expect("it is possible");
            assert!(replays(&general.0, &history, &items, &order, true), "{order:?} of {}", show(&history, &items));
            valid += 1;
        } else {
            invalid += 1;
        }
    }
    (valid, invalid)
}

/// Compares many random histories: valid and mutated ones, some with forgotten outcomes.
pub fn sweep<M: Model, O: Object>(kind: Kind, model: &M, seed: u64, new: impl Fn(&mut Rng) -> O) -> Tally {
    let mut rng = Rng(seed);
    let mut tally = Tally::default();
    for _ in 0..histories() {
        let size = Size {
            ops: 2 + rng.below(7) as usize,
            processes: 2 + rng.below(3) as usize,
            info: [0, 0, 10, 40][rng.below(4) as usize],
            fail: [0, 0, 10][rng.below(3) as usize],
        };
        let mut object = new(&mut rng);
        let initial = object.initial();
        let mut raws = generate(size, &mut object, &mut rng);
        let mutations = rng.below(4).saturating_sub(1);
        for _ in 0..mutations {
            let i = rng.below(raws.len() as u64) as usize;
            if matches!(raws[i].end, End::Ok | End::Refused) && raws[i].events.1.is_some() {
                object.lie(&mut raws[i], &mut rng);
            }
        }
        let history = record(&initial, &raws);
        let mut items = all(&history);
        let fits = compare(kind, model, &history, &items, &mut tally);
        assert!(mutations > 0 || fits, "the generator made an impossible history: {raws:#?}");
        if rng.percent(30) {
            for item in &mut items {
                item.open = rng.percent(35);
            }
            compare(kind, model, &history, &items, &mut tally);
        }
    }
    tally
}

/// A sequence of operations, some of them concurrent, in which planted bugs are written down.
#[derive(Default)]
pub struct Script {
    pub log: Recorder,
    time: u64,
}

#[allow(clippy::needless_pass_by_value)] // So that scripts read well.
impl Script {
    fn tick(&mut self) -> u64 {
        self.time += 1_000;
        self.time
    }

    pub fn call(&mut self, process: u32, f: Function, arg: Val) -> OpId {
        let (time, arg) = (self.tick(), intern(&mut self.log, &arg));
        self.log.begin(process, time, Value::NIL, Request::new(f, arg))
    }

    pub fn end(&mut self, op: OpId, end: End, reply: Val) {
        let (time, reply) = (self.tick(), intern(&mut self.log, &reply));
        self.log.end(op, time, end, reply, None);
    }

    /// Records a call that is answered at once.
    pub fn ok(&mut self, process: u32, f: Function, arg: Val, reply: Val) -> OpId {
        let op = self.call(process, f, arg);
        self.end(op, End::Ok, reply);
        op
    }

    pub fn finish(self) -> History {
        self.log.finish()
    }
}

/// Records enqueues of some values, one after another, and then dequeues.
pub fn enqueued_and_dequeued(values: &[i64], replies: &[Val]) -> History {
    let mut script = Script::default();
    for &value in values {
        script.ok(1, Function::Enqueue, Val::Int(value), Val::Untold);
    }
    for reply in replies {
        script.ok(2, Function::Dequeue, Val::Untold, reply.clone());
    }
    script.finish()
}

/// Asserts that a history is impossible, from the return of `breaks` on, and because of `core`.
pub fn assert_caught(kind: Kind, history: &History, breaks: OpId, core: &[OpId]) {
    let report = seaworthy_check::check_as(kind, history, &seaworthy_check::Options::default());
    let evidence = report.violations().next().unwrap_or_else(|| panic!("not caught: {report}"));
    assert_eq!(evidence.breaks, Some(breaks), "{evidence}");
    assert_eq!(evidence.core, core, "{evidence}");
    assert!(evidence.minimal, "{evidence}");
}

/// Asserts that a history is possible.
pub fn assert_valid(kind: Kind, history: &History) {
    let report = seaworthy_check::check_as(kind, history, &seaworthy_check::Options::default());
    assert!(report.is_valid(), "{report}");
}
