//! The models append and counter, and the engine for any model, against a checker that tries every order by models of its
//! own, on random small histories: valid ones and mutated ones, with unknown outcomes, failures and repeated values.
//! `CHECK_HISTORIES` says how many of each.

mod common;

use common::Rng;
use common::naive::possible;

use seaworthy_check::linear::general::General;
use seaworthy_check::linear::{Item, Judge, Limits, check_model};
use seaworthy_check::model::Model;
use seaworthy_check::{
    Datum, End, Evidence, Function, History, Kind, OpId, Operation, Options, Recorder, Report, Request, Value, Verdict,
    check_as,
};

/// A value before it is interned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Plain {
    Nil,
    Untold,
    Int(i64),
    Text(String),
    List(Vec<i64>),
}

impl Plain {
    fn record(&self, log: &mut Recorder) -> Value {
        match self {
            Plain::Nil => Value::NIL,
            Plain::Untold => Value::UNTOLD,
            Plain::Int(n) => log.value(Datum::Int(*n)),
            Plain::Text(text) => log.value(Datum::Text(text)),
            Plain::List(list) => {
                let list: Vec<Value> = list.iter().map(|&n| log.value(Datum::Int(n))).collect();
                log.value(Datum::List(&list))
            }
        }
    }
}

/// An atomic object, and how it is used.
trait Object: Clone {
    /// What it says of an operation.
    type Naive: Model;
    fn naive(&self) -> Self::Naive;
    fn judge(&self) -> Box<dyn Judge>;
    fn check(&self, history: &History) -> Report;
    /// A function and what it is asked with.
    fn ask(&self, n: usize, rng: &mut Rng) -> (Function, Plain);
    fn answer(&mut self, f: Function, arg: &Plain) -> Plain;
    /// Another reply.
    fn lie(&self, replies: &[Plain], reply: &Plain, rng: &mut Rng) -> Plain;
}

#[derive(Clone, Debug)]
struct Raw {
    process: u32,
    f: Function,
    arg: Plain,
    reply: Plain,
    events: (usize, Option<usize>),
    end: End,
}

/// A linearizable history: each operation takes effect at a random moment between its call and its return.
fn generate<O: Object>(object: &O, ops: usize, processes: usize, (info, fail): (u64, u64), rng: &mut Rng) -> Vec<Raw> {
    #[derive(Clone, Copy)]
    enum At {
        Idle,
        Called(usize),
        Applied(usize),
    }
    let mut object = object.clone();
    let mut raws: Vec<Raw> = Vec::new();
    let mut at = vec![At::Idle; processes];
    let mut adrift: Vec<usize> = Vec::new();
    let (mut event, mut returned) = (0, 0);
    while returned < ops {
        if !adrift.is_empty() && rng.percent(10) {
            let i = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            object.answer(raws[i].f, &raws[i].arg);
            continue;
        }
        let p = rng.below(processes as u64) as usize;
        at[p] = match at[p] {
            At::Idle if raws.len() == ops => At::Idle,
            At::Idle => {
                let (f, arg) = object.ask(raws.len(), rng);
                let events = (event, None);
                raws.push(Raw { process: p as u32, f, arg, reply: Plain::Untold, events, end: End::Info });
                event += 1;
                At::Called(raws.len() - 1)
            }
            At::Called(i) => {
                let fate = rng.below(100);
                if fate < info + fail {
                    if fate >= info {
                        raws[i].end = End::Fail;
                    } else if rng.percent(60) {
                        adrift.push(i);
                    }
                    if fate >= info || rng.percent(80) {
                        raws[i].events.1 = Some(event);
                        event += 1;
                    }
                    returned += 1;
                    At::Idle
                } else {
                    raws[i].end = End::Ok;
                    raws[i].reply = object.answer(raws[i].f, &raws[i].arg);
                    At::Applied(i)
                }
            }
            At::Applied(i) => {
                raws[i].events.1 = Some(event);
                event += 1;
                returned += 1;
                At::Idle
            }
        };
    }
    raws
}

fn mutate<O: Object>(object: &O, raws: &mut [Raw], rng: &mut Rng) {
    let replies: Vec<Plain> = raws.iter().map(|raw| raw.reply.clone()).filter(|r| *r != Plain::Untold).collect();
    let mut told: Vec<&mut Raw> = raws.iter_mut().filter(|raw| raw.reply != Plain::Untold).collect();
    if !told.is_empty() {
        let i = rng.below(told.len() as u64) as usize;
        told[i].reply = object.lie(&replies, &told[i].reply, rng);
    }
}

fn record(raws: &[Raw]) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, raw) in raws.iter().enumerate() {
        events.push((raw.events.0, i, false));
        events.extend(raw.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut log = Recorder::default();
    let mut ids = vec![None; raws.len()];
    for (_, i, returned) in events {
        let raw = &raws[i];
        if returned {
            let reply = raw.reply.record(&mut log);
            log.end(ids[i].expect("the call comes before the return"), 0, raw.end, reply, None);
        } else {
            let arg = raw.arg.record(&mut log);
            ids[i] = Some(log.begin(raw.process, 0, Value::NIL, Request::new(raw.f, arg)));
        }
    }
    log.finish()
}

const LIMITS: Limits = Limits { steps: 1_000_000, memory: 64 << 20 };

/// How many of each to check.
fn histories() -> u64 {
    let wanted = std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 20_000 } else { 100_000 })
}

/// Random histories until there are enough; `shapes` draws the object.
fn differential<O: Object>(seed: u64, shapes: impl Fn(&mut Rng) -> O) {
    let mut rng = Rng(seed);
    let (mut valid, mut invalid, mut named, mut guilty) = (0u64, 0u64, 0u64, 0u64);
    let histories = histories();
    for n in 0..histories {
        let object = shapes(&mut rng);
        let fates = ([0, 0, 10, 40][rng.below(4) as usize], [0, 10][rng.below(2) as usize]);
        let (ops, processes) = (2 + rng.below(6) as usize, 2 + rng.below(3) as usize);
        let mut raws = generate(&object, ops, processes, fates, &mut rng);
        let mutations = rng.below(4);
        for _ in 0..mutations {
            mutate(&object, &mut raws, &mut rng);
        }
        let history = record(&raws);
        let expected = possible(&object.naive(), &history, &items(&history, u32::MAX, None));
        assert!(mutations > 0 || expected, "history {n}: the generator made an impossible history: {raws:#?}");
        let report = object.check(&history);
        let items = items(&history, u32::MAX, None);
        let mut judge = object.judge();
        let longest = judge.longest(&history, &items, LIMITS);
        assert!(replay(&object.naive(), &history, &longest), "history {n}: {longest:?}: {raws:#?}");
        match &report.parts[0].verdict {
            Verdict::Valid => {
                assert!(expected, "history {n}: called valid by {}: {raws:#?}", report.parts[0].by);
                let order = judge.witness(&history, &items, LIMITS);
                let order = order.unwrap_or_else(|| panic!("history {n}: no witness: {raws:#?}"));
                assert!(replay(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
                assert!(is_complete(&object.naive(), &history, &order), "history {n}: {order:?}: {raws:#?}");
                valid += 1;
            }
            Verdict::Invalid(evidence) => {
                assert!(!expected, "history {n}: called invalid by {}: {raws:#?}\n{evidence}", report.parts[0].by);
                is_minimal(&object, &history, evidence, &format!("history {n}: {raws:#?}"));
                if let Some(suspects) = judge.suspects(&history, &items) {
                    let alone = self::items(&history, u32::MAX, Some(&suspects));
                    named += 1;
                    guilty += u64::from(!possible(&object.naive(), &history, &alone));
                }
                invalid += 1;
            }
            Verdict::Unknown(why) => panic!("history {n}: {why}: {raws:#?}"),
        }
    }
    assert!(valid > histories / 4 && invalid > histories / 6, "{valid} valid, {invalid} invalid: too one-sided");
    assert!(guilty >= named / 10 * 9, "{named} times suspects, {guilty} times guilty");
    println!("{valid} valid, {invalid} invalid, {named} with suspects, {guilty} times guilty");
}

/// The operations called in the first `events` events; those not in `core`, and what returned later, are open.
fn items(history: &History, events: u32, core: Option<&[OpId]>) -> Vec<Item> {
    let ops = (0u32..).map(OpId).zip(history.operations()).filter(|(_, op)| op.called < events);
    let open = |id: OpId, op: &Operation| {
        core.is_some_and(|core| !core.contains(&id)) || op.settled().is_none_or(|ret| ret >= events)
    };
    ops.map(|(id, op)| Item { op: id, open: open(id, op) }).collect()
}

fn is_minimal<O: Object>(object: &O, history: &History, evidence: &Evidence, case: &str) {
    let (breaks, event) = (evidence.breaks.expect("an operation"), evidence.event.expect("an event"));
    let possible = |events, core: Option<&[OpId]>| possible(&object.naive(), history, &items(history, events, core));
    assert!(evidence.minimal && evidence.core.contains(&breaks), "{case}\n{evidence}");
    assert!(!possible(event + 1, None) && possible(event, None), "{case}\n{evidence}");
    assert!(!possible(event + 1, Some(&evidence.core)), "{case}\n{evidence}");
    for spared in &evidence.core {
        let rest: Vec<OpId> = evidence.core.iter().copied().filter(|op| op != spared).collect();
        assert!(possible(event + 1, Some(&rest)), "{case}: {spared:?} can be spared\n{evidence}");
    }
}

/// Whether an order respects real time and gives the replies.
fn replay<M: Model>(model: &M, history: &History, order: &[OpId]) -> bool {
    let mut state = model.initial(history);
    let mut latest = 0;
    let mut seen = vec![false; history.operations().len()];
    for &id in order {
        let op = history.operation(id);
        let settled = op.settled();
        let Some(step) = model.compile(history, op, settled.is_some()) else { return false };
        let Some(next) = model.apply(&state, &step) else { return false };
        if op.end == End::Fail || settled.is_some_and(|ret| ret < latest) || seen[id.0 as usize] {
            return false;
        }
        seen[id.0 as usize] = true;
        latest = latest.max(op.called);
        state = next;
    }
    true
}

/// Whether an order has all that certainly happened.
fn is_complete<M: Model>(model: &M, history: &History, order: &[OpId]) -> bool {
    (0u32..)
        .map(OpId)
        .zip(history.operations())
        .all(|(id, op)| op.settled().is_none() || order.contains(&id) || model.compile(history, op, true).is_none())
}

/// A register for [`General`], and to try every order by.
struct Register;

enum Access {
    Write(Value),
    Read(Value),
}

impl Model for Register {
    type State = Value;
    type Op = Access;

    fn initial(&self, _: &History) -> Value {
        Value::NIL
    }

    fn compile(&self, _: &History, op: &Operation, told: bool) -> Option<Access> {
        match op.f {
            Function::Write => Some(Access::Write(op.arg)),
            _ => told.then_some(Access::Read(op.reply)),
        }
    }

    fn apply(&self, state: &Value, op: &Access) -> Option<Value> {
        match *op {
            Access::Write(value) => Some(value),
            Access::Read(value) => (value == *state).then_some(value),
        }
    }

    fn reads(&self, op: &Access) -> bool {
        matches!(op, Access::Read(_))
    }

    fn class(&self, op: &Access) -> Option<u64> {
        match *op {
            Access::Write(value) => Some(u64::from(value.bits())),
            Access::Read(_) => None,
        }
    }
}

#[derive(Clone)]
struct Cell {
    value: Plain,
    values: u64,
}

impl Object for Cell {
    type Naive = Register;

    fn naive(&self) -> Register {
        Register
    }

    fn judge(&self) -> Box<dyn Judge> {
        Box::new(General(Register))
    }

    fn check(&self, history: &History) -> Report {
        check_model(|| Register, history, &Options::default())
    }

    fn ask(&self, n: usize, rng: &mut Rng) -> (Function, Plain) {
        let value = if self.values == 0 { n as i64 } else { rng.below(self.values) as i64 };
        if rng.percent(50) { (Function::Read, Plain::Untold) } else { (Function::Write, Plain::Int(value)) }
    }

    fn answer(&mut self, f: Function, arg: &Plain) -> Plain {
        if f == Function::Read {
            return self.value.clone();
        }
        self.value = arg.clone();
        Plain::Untold
    }

    fn lie(&self, replies: &[Plain], _: &Plain, rng: &mut Rng) -> Plain {
        match rng.below(6) {
            0 => Plain::Int(rng.below(8) as i64),
            1 => Plain::Nil,
            _ => replies[rng.below(replies.len() as u64) as usize].clone(),
        }
    }
}

#[test]
fn any_model_agrees_with_trying_every_order() {
    differential(11, |rng| Cell { value: Plain::Nil, values: rng.below(4) });
}

/// A counter, to try every order by.
struct NaiveCounter;

impl Model for NaiveCounter {
    type State = i64;
    type Op = (Function, i64);

    fn initial(&self, _: &History) -> i64 {
        0
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<(Function, i64)> {
        let value = if op.f == Function::Add { op.arg } else { told.then_some(op.reply)? };
        match history.datum(value) {
            Datum::Int(n) => Some((op.f, n)),
            datum => panic!("{datum:?}"),
        }
    }

    fn apply(&self, state: &i64, op: &(Function, i64)) -> Option<i64> {
        match *op {
            (Function::Add, n) => Some(state + n),
            (_, n) => (n == *state).then_some(n),
        }
    }

    fn reads(&self, _: &(Function, i64)) -> bool {
        false
    }
}

#[derive(Clone)]
struct Tally {
    sum: i64,
    amounts: &'static [i64],
}

impl Object for Tally {
    type Naive = NaiveCounter;

    fn naive(&self) -> NaiveCounter {
        NaiveCounter
    }

    fn judge(&self) -> Box<dyn Judge> {
        Kind::Counter.judge()
    }

    fn check(&self, history: &History) -> Report {
        check_as(Kind::Counter, history, &Options::default())
    }

    fn ask(&self, _: usize, rng: &mut Rng) -> (Function, Plain) {
        let amount = self.amounts[rng.below(self.amounts.len() as u64) as usize];
        if rng.percent(45) { (Function::Read, Plain::Untold) } else { (Function::Add, Plain::Int(amount)) }
    }

    fn answer(&mut self, f: Function, arg: &Plain) -> Plain {
        match (f, arg) {
            (Function::Add, Plain::Int(n)) => {
                self.sum += n;
                Plain::Untold
            }
            _ => Plain::Int(self.sum),
        }
    }

    fn lie(&self, replies: &[Plain], reply: &Plain, rng: &mut Rng) -> Plain {
        match (reply, rng.below(4)) {
            (Plain::Int(n), 0) => Plain::Int(n - 1),
            (Plain::Int(n), 1) => Plain::Int(n + 1),
            (Plain::Int(n), 2) => Plain::Int(n + self.amounts[0]),
            _ => replies[rng.below(replies.len() as u64) as usize].clone(),
        }
    }
}

#[test]
fn counter_agrees_with_trying_every_order() {
    let amounts: [&[i64]; 5] = [&[1], &[1, 2], &[0, 1, 5], &[1, -1], &[3, -2, 7, -7]];
    differential(12, |rng| Tally { sum: 0, amounts: amounts[rng.below(5) as usize] });
}

/// Growing content, to try every order by; elements are characters, or the numbers of a list.
struct NaiveAppend;

impl NaiveAppend {
    fn elements(history: &History, value: Value) -> Vec<Value> {
        match history.datum(value) {
            Datum::Text(text) => text.chars().map(|c| Value::small(u32::from(c)).expect("a small number")).collect(),
            Datum::List(list) => list.to_vec(),
            Datum::Nil => Vec::new(),
            _ => vec![value],
        }
    }
}

impl Model for NaiveAppend {
    type State = Vec<Value>;
    type Op = (Function, Vec<Value>);

    fn initial(&self, _: &History) -> Vec<Value> {
        Vec::new()
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<(Function, Vec<Value>)> {
        let value = if op.f == Function::Read { told.then_some(op.reply)? } else { op.arg };
        Some((op.f, NaiveAppend::elements(history, value)))
    }

    fn apply(&self, state: &Vec<Value>, (f, value): &(Function, Vec<Value>)) -> Option<Vec<Value>> {
        match f {
            Function::Append => Some([&state[..], value].concat()),
            Function::Write => Some(value.clone()),
            _ => (value == state).then(|| state.clone()),
        }
    }

    fn reads(&self, _: &(Function, Vec<Value>)) -> bool {
        false
    }
}

#[derive(Clone)]
struct Growing {
    content: Plain,
    puts: u64,
    texts: Texts,
}

#[derive(Clone, Copy, PartialEq)]
enum Texts {
    /// Every text its own, none a prefix of another.
    Distinct,
    /// A few, none a prefix of another.
    Few,
    /// Texts that can be read in several ways.
    Unclear,
    List,
    RepeatedList,
}

impl Object for Growing {
    type Naive = NaiveAppend;

    fn naive(&self) -> NaiveAppend {
        NaiveAppend
    }

    fn judge(&self) -> Box<dyn Judge> {
        Kind::Append.judge()
    }

    fn check(&self, history: &History) -> Report {
        check_as(Kind::Append, history, &Options::default())
    }

    fn ask(&self, n: usize, rng: &mut Rng) -> (Function, Plain) {
        if rng.percent(45) {
            return (Function::Read, Plain::Untold);
        }
        let arg = match self.texts {
            Texts::Distinct => Plain::Text(format!("x {n} y")),
            Texts::Few => Plain::Text(["x0y", "x1y", "x2y"][rng.below(3) as usize].to_owned()),
            Texts::Unclear => Plain::Text(["a", "b", "ab", "aa", ""][rng.below(5) as usize].to_owned()),
            Texts::List => Plain::Int(n as i64),
            Texts::RepeatedList => Plain::Int(rng.below(3) as i64),
        };
        match (rng.percent(self.puts), arg) {
            (true, Plain::Int(n)) => (Function::Write, Plain::List(if n == 0 { vec![] } else { vec![n] })),
            (true, arg) => (Function::Write, arg),
            (false, arg) => (Function::Append, arg),
        }
    }

    fn answer(&mut self, f: Function, arg: &Plain) -> Plain {
        match (f, &mut self.content, arg) {
            (Function::Read, content, _) => return content.clone(),
            (Function::Write, content, _) => *content = arg.clone(),
            (_, Plain::Text(content), Plain::Text(text)) => content.push_str(text),
            (_, Plain::List(content), Plain::Int(n)) => content.push(*n),
            (_, content, arg) => panic!("{arg:?} cannot be appended to {content:?}"),
        }
        Plain::Untold
    }

    fn lie(&self, replies: &[Plain], reply: &Plain, rng: &mut Rng) -> Plain {
        match (reply, rng.below(5)) {
            (Plain::Text(text), 0) => Plain::Text(text.chars().rev().collect()),
            (Plain::Text(text), 1) => Plain::Text(text.chars().take(text.len() / 2).collect()),
            (Plain::Text(text), 2) => Plain::Text(format!("{text}x1y")),
            (Plain::List(list), 0) => Plain::List(list.iter().rev().copied().collect()),
            (Plain::List(list), 1) => Plain::List(list.iter().skip(1).copied().collect()),
            _ => replies[rng.below(replies.len() as u64) as usize].clone(),
        }
    }
}

#[test]
fn append_agrees_with_trying_every_order() {
    let kinds = [Texts::Distinct, Texts::Few, Texts::Unclear, Texts::List, Texts::RepeatedList];
    differential(13, |rng| {
        let texts = kinds[rng.below(5) as usize];
        let list = matches!(texts, Texts::List | Texts::RepeatedList);
        let content = if list { Plain::List(Vec::new()) } else { Plain::Text(String::new()) };
        Growing { content, puts: [0, 0, 20, 50][rng.below(4) as usize], texts }
    });
}
