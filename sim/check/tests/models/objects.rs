//! Atomic objects: how they are used, what they answer, and which operations they allow ([`Object::naive`], which
//! shares no code with the package's models).

use crate::common::Rng;
use seaworthy_check::linear::general::General;
use seaworthy_check::linear::{Judge, check_model};
use seaworthy_check::model::Model;
use seaworthy_check::{
    Datum, End, Function, History, Kind, Operation, Options, Recorder, Report, Request, Value, check_as,
};

/// A value before it is interned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plain {
    Nil,
    Untold,
    Int(i64),
    Text(String),
    List(Vec<i64>),
}

impl Plain {
    pub fn record(&self, log: &mut Recorder) -> Value {
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
pub trait Object: Clone {
    /// The model of the object.
    type Naive: Model;
    fn naive(&self) -> Self::Naive;
    fn judge(&self) -> Box<dyn Judge>;
    fn check(&self, history: &History) -> Report;
    /// Returns the next function and its argument; `n` is the number of operations before.
    fn ask(&self, n: usize, rng: &mut Rng) -> (Function, Plain);
    fn answer(&mut self, f: Function, arg: &Plain) -> Plain;
    /// Returns another reply.
    fn lie(&self, replies: &[Plain], reply: &Plain, rng: &mut Rng) -> Plain;
}

#[derive(Clone, Debug)]
pub struct Raw {
    pub process: u32,
    pub f: Function,
    pub arg: Plain,
    pub reply: Plain,
    pub events: (usize, Option<usize>),
    pub end: End,
}

/// Generates a linearizable history: each operation takes effect at a random moment between its call and its return.
pub fn generate<O: Object>(
    object: &O,
    ops: usize,
    processes: usize,
    (info, fail): (u64, u64),
    rng: &mut Rng,
) -> Vec<Raw> {
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

pub fn mutate<O: Object>(object: &O, raws: &mut [Raw], rng: &mut Rng) {
    let replies: Vec<Plain> = raws.iter().map(|raw| raw.reply.clone()).filter(|r| *r != Plain::Untold).collect();
    let mut told: Vec<&mut Raw> = raws.iter_mut().filter(|raw| raw.reply != Plain::Untold).collect();
    if !told.is_empty() {
        let i = rng.below(told.len() as u64) as usize;
        told[i].reply = object.lie(&replies, &told[i].reply, rng);
    }
}

pub fn record(raws: &[Raw]) -> History {
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

/// A register for [`General`], also used to try every order.
pub struct Register;

pub enum Access {
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
pub struct Cell {
    pub value: Plain,
    pub values: u64,
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

/// A counter, used to try every order.
pub struct NaiveCounter;

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
pub struct Tally {
    pub sum: i64,
    pub amounts: &'static [i64],
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

/// Growing content, used to try every order. Elements are characters, or the numbers of a list.
pub struct NaiveAppend;

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
pub struct Growing {
    pub content: Plain,
    pub puts: u64,
    pub texts: Texts,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Texts {
    /// Every text is different; none is a prefix of another.
    Distinct,
    /// A dozen texts; none is a prefix of another.
    Some,
    /// Three texts; none is a prefix of another.
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
            Texts::Some => Plain::Text(format!("x{:x}y", rng.below(12))),
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
