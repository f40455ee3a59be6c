//! Random histories of atomic objects of every model, and a checker that tries every order. It is written from the
//! descriptions of the models and shares no code with the package.
#![allow(dead_code)] // Each test uses only a part.

use super::common::Rng;
use seaworthy_check::{Condition, Datum, End, Function as F, History, Kind, OpId, Recorder, Request, Value};
use std::collections::{BTreeSet, VecDeque};

/// A value before it is recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Val {
    Untold,
    Nil,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<i64>),
}

/// An operation before it is recorded; `events` are the positions of its call and return.
#[derive(Clone, Debug)]
pub struct Raw {
    pub process: u32,
    pub events: (usize, Option<usize>),
    pub f: F,
    pub arg: Val,
    pub compare: Val,
    pub end: End,
    pub reply: Val,
}

impl Raw {
    pub fn settled(&self) -> Option<usize> {
        self.events.1.filter(|_| matches!(self.end, End::Ok | End::Refused))
    }
}

/// The state before the first number of a sequence, far below all numbers that occur.
const NONE: i64 = -40;

#[derive(Clone, Debug)]
pub enum Object {
    Cell(Val),
    Text(String),
    Sum(i64),
    Set(BTreeSet<i64>),
    Queue(VecDeque<i64>),
    /// Sorted.
    Bag(Vec<i64>),
    Lock(Option<u32>, i64),
    Sequence(i64),
}

impl Object {
    pub fn new(kind: Kind) -> Object {
        match kind {
            Kind::Register | Kind::CasRegister | Kind::Kv => Object::Cell(Val::Nil),
            Kind::Append => Object::Text(String::new()),
            Kind::Counter => Object::Sum(0),
            Kind::Set => Object::Set(BTreeSet::new()),
            Kind::Queue => Object::Queue(VecDeque::new()),
            Kind::UnorderedQueue => Object::Bag(Vec::new()),
            Kind::Lock => Object::Lock(None, NONE),
            Kind::Sequence => Object::Sequence(NONE),
        }
    }

    /// Returns the last number given out.
    fn last(&self) -> i64 {
        match self {
            Object::Lock(_, last) | Object::Sequence(last) => *last,
            _ => 0,
        }
    }

    /// Applies an operation and returns its outcome and reply. Numbers are given out in steps of `step`.
    pub fn act(&mut self, raw: &Raw, step: i64) -> (End, Val) {
        let int = |val: &Val| if let Val::Int(n) = val { *n } else { 0 };
        match (self, raw.f) {
            (Object::Cell(value), F::Read) => (End::Ok, value.clone()),
            (Object::Cell(value), _) if raw.compare != Val::Untold && raw.compare != *value => {
                (End::Refused, value.clone())
            }
            (Object::Cell(value), _) => {
                *value = raw.arg.clone();
                (End::Ok, Val::Untold)
            }
            (Object::Text(text), F::Read) => (End::Ok, Val::Text(text.clone())),
            (Object::Text(text), _) => {
                if let Val::Text(more) = &raw.arg {
                    text.push_str(more);
                }
                (End::Ok, Val::Untold)
            }
            (Object::Sum(sum), F::Read) => (End::Ok, Val::Int(*sum)),
            (Object::Sum(sum), _) => {
                *sum += int(&raw.arg);
                (End::Ok, Val::Untold)
            }
            (Object::Set(set), F::Read) => (End::Ok, Val::List(set.iter().rev().copied().collect())),
            (Object::Set(set), F::Contains) => (End::Ok, Val::Bool(set.contains(&int(&raw.arg)))),
            (Object::Set(set), F::Add) => (End::Ok, Val::Bool(set.insert(int(&raw.arg)))),
            (Object::Set(set), _) => (End::Ok, Val::Bool(set.remove(&int(&raw.arg)))),
            (Object::Queue(queue), F::Enqueue) => {
                queue.push_back(int(&raw.arg));
                (End::Ok, Val::Untold)
            }
            (Object::Queue(queue), _) => (End::Ok, queue.pop_front().map_or(Val::Nil, Val::Int)),
            (Object::Bag(held), F::Enqueue) => {
                held.push(int(&raw.arg));
                held.sort_unstable();
                (End::Ok, Val::Untold)
            }
            (Object::Bag(held), _) if held.is_empty() => (End::Ok, Val::Nil),
            (Object::Bag(held), _) => (End::Ok, Val::Int(held.remove(step as usize % held.len()))),
            (Object::Lock(holder @ None, token), F::Acquire) => {
                *holder = Some(raw.process);
                *token += step;
                (End::Ok, Val::Int(*token))
            }
            (Object::Lock(holder, _), F::Release) if *holder == Some(raw.process) => {
                *holder = None;
                (End::Ok, Val::Untold)
            }
            (Object::Lock(..), _) => (End::Refused, Val::Untold),
            (Object::Sequence(last), F::Read) => (End::Ok, if *last == NONE { Val::Nil } else { Val::Int(*last) }),
            (Object::Sequence(last), _) => {
                *last += step;
                (End::Ok, Val::Int(*last))
            }
        }
    }

    /// Returns the objects that an operation can leave behind, given its outcome; none if that outcome is impossible.
    fn after(&self, raw: &Raw, told: bool, top: i64) -> Vec<Object> {
        if let (Object::Bag(held), F::Dequeue) = (self, raw.f) {
            let told = |reply: Val| !told || raw.reply == reply;
            let rest = |at: usize| Object::Bag([&held[..at], &held[at + 1..]].concat());
            let mut found: Vec<Object> = (0..held.len()).filter(|&at| told(Val::Int(held[at]))).map(rest).collect();
            found.extend((held.is_empty() && told(Val::Nil)).then(|| self.clone()));
            return found;
        }
        let numbered = matches!((self, raw.f), (Object::Sequence(_), F::Next) | (Object::Lock(None, _), F::Acquire));
        let untold_token = matches!(self, Object::Lock(..)) && (!told || raw.reply == Val::Untold);
        // Leave room for eight numbers that no client was told, before and after those that were told.
        let last = self.last();
        let steps = if numbered && !untold_token { (last + 1).max(-8) - last..top + 9 - last } else { 1..2 };
        let mut found = Vec::new();
        for step in steps {
            let mut next = self.clone();
            let (end, reply) = next.act(raw, step);
            if let (Object::Lock(_, now), Object::Lock(_, before), true) = (&mut next, self, untold_token) {
                *now = *before;
            }
            let same = match (&reply, &raw.reply) {
                (Val::List(a), Val::List(b)) => {
                    let mut b = b.clone();
                    b.sort_unstable();
                    b.iter().rev().eq(a)
                }
                (a, b) => *b == Val::Untold || a == b,
            };
            if !told || end == raw.end && same {
                found.push(next);
            }
        }
        found
    }
}

fn top(raws: &[Raw]) -> i64 {
    raws.iter().map(|raw| if let Val::Int(n) = raw.reply { n } else { 0 }).max().unwrap_or(0)
}

/// Returns whether an order has the right operations, respects real time, and explains all replies.
pub fn explains(kind: Kind, raws: &[Raw], order: &[usize]) -> bool {
    let top = top(raws);
    let mut objects = vec![Object::new(kind)];
    for (place, &i) in order.iter().enumerate() {
        let late = order[..place].iter().any(|&j| raws[i].settled().is_some_and(|ret| ret < raws[j].events.0));
        if late || order[..place].contains(&i) || raws[i].end == End::Fail {
            return false;
        }
        let told = raws[i].settled().is_some();
        objects = objects.iter().flat_map(|object| object.after(&raws[i], told, top)).collect();
    }
    !objects.is_empty() && raws.iter().enumerate().all(|(i, raw)| raw.settled().is_none() || order.contains(&i))
}

/// Returns whether the operations can be ordered when only the outcomes of those in `core` are known.
pub fn possible(kind: Kind, raws: &[Raw], core: &[usize]) -> bool {
    extend(raws, core, &mut vec![false; raws.len()], &Object::new(kind), top(raws))
}

fn extend(raws: &[Raw], core: &[usize], done: &mut [bool], object: &Object, top: i64) -> bool {
    let ret = |i: usize| if core.contains(&i) { raws[i].settled().unwrap_or(usize::MAX) } else { usize::MAX };
    let deadline = (0..raws.len()).filter(|&i| !done[i]).map(ret).min().unwrap_or(usize::MAX);
    if deadline == usize::MAX {
        return true;
    }
    for i in 0..raws.len() {
        if done[i] || raws[i].events.0 > deadline || raws[i].end == End::Fail {
            continue;
        }
        done[i] = true;
        for next in object.after(&raws[i], ret(i) != usize::MAX, top) {
            if extend(raws, core, done, &next, top) {
                return true;
            }
        }
        done[i] = false;
    }
    false
}

/// The models that have a generator.
pub const KINDS: [Kind; 9] = [
    Kind::Register,
    Kind::CasRegister,
    Kind::Append,
    Kind::Counter,
    Kind::Set,
    Kind::Queue,
    Kind::UnorderedQueue,
    Kind::Lock,
    Kind::Sequence,
];

/// Number of histories of each kind: `sample`, or an eighth of `CHECK_HISTORIES`.
pub fn histories(sample: u64) -> u64 {
    std::env::var("CHECK_HISTORIES").ok().and_then(|n| n.parse::<u64>().ok()).map_or(sample, |n| n / 8)
}

/// Generates a linearizable history. Also returns the order in which its operations took effect.
pub fn play(kind: Kind, ops: usize, processes: usize, rng: &mut Rng) -> (Vec<Raw>, Vec<usize>) {
    #[derive(Clone, Copy)]
    enum At {
        Idle,
        Called(usize),
        Applied(usize),
    }
    let (mut raws, mut order, mut adrift): (Vec<Raw>, Vec<usize>, Vec<usize>) = Default::default();
    let mut object = Object::new(kind);
    let mut at = vec![At::Idle; processes];
    let (mut event, mut over) = (0, 0);
    while over < ops {
        if !adrift.is_empty() && rng.percent(15) {
            let i: usize = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            object.act(&raws[i], 1 + (object.last() == NONE) as i64 * -NONE);
            order.push(i);
            continue;
        }
        let p = rng.below(processes as u64) as usize;
        at[p] = match at[p] {
            At::Idle if raws.len() == ops => At::Idle,
            At::Idle => {
                raws.push(ask(kind, p as u32, event, raws.len() as i64, rng));
                event += 1;
                At::Called(raws.len() - 1)
            }
            At::Called(i) if rng.percent(12) => {
                raws[i].end = if rng.percent(30) { End::Fail } else { End::Info };
                if raws[i].end == End::Info && rng.percent(60) {
                    adrift.push(i);
                }
                if raws[i].end == End::Fail || rng.percent(70) {
                    raws[i].events.1 = Some(event);
                    event += 1;
                }
                over += 1;
                At::Idle
            }
            At::Called(i) => {
                let (end, reply) =
                    object.act(&raws[i], 1 + rng.below(2) as i64 + (object.last() == NONE) as i64 * -NONE);
                let observes = matches!(raws[i].f, F::Read | F::Contains | F::Dequeue | F::Next);
                raws[i].end = end;
                if observes || rng.percent(60) {
                    raws[i].reply = reply;
                }
                order.push(i);
                At::Applied(i)
            }
            At::Applied(i) => {
                raws[i].events.1 = Some(event);
                event += 1;
                over += 1;
                At::Idle
            }
        };
    }
    (raws, order)
}

fn ask(kind: Kind, process: u32, event: usize, n: i64, rng: &mut Rng) -> Raw {
    let few = Val::Int(rng.below(3) as i64);
    let own = Val::Int(n);
    let value = if rng.percent(50) { few.clone() } else { own };
    let cas = rng.percent(40);
    let (f, arg) = match (kind, rng.below(5)) {
        (Kind::Lock, 0..3) => (F::Acquire, Val::Untold),
        (Kind::Lock, _) => (F::Release, Val::Untold),
        (Kind::Queue | Kind::UnorderedQueue, 0..3) => (F::Enqueue, value),
        (Kind::Queue | Kind::UnorderedQueue, _) => (F::Dequeue, Val::Untold),
        (Kind::Sequence, 0..3) => (F::Next, Val::Untold),
        (Kind::Set, 0..2) => (F::Add, few),
        (Kind::Set, 2) => (F::Remove, few),
        (Kind::Set, 3) => (F::Contains, few),
        (Kind::Counter, 0..3) => (F::Add, Val::Int(rng.below(5) as i64 - 1)),
        (Kind::Append, 0..3) => (F::Append, Val::Text(format!("{};", rng.below(3)))),
        (Kind::Register | Kind::CasRegister, 0..3) => (F::Write, value),
        _ => (F::Read, Val::Untold),
    };
    let compare =
        if kind == Kind::CasRegister && f == F::Write && cas { Val::Int(rng.below(3) as i64) } else { Val::Untold };
    Raw { process, events: (event, None), f, arg, compare, end: End::Info, reply: Val::Untold }
}

/// Changes a reply.
pub fn mutate(raws: &mut [Raw], rng: &mut Rng) {
    let n = raws.len() as u64;
    let donor = raws[rng.below(n) as usize].reply.clone();
    let raw = &mut raws[rng.below(n) as usize];
    if matches!(raw.f, F::Acquire | F::Release) && raw.settled().is_some() && rng.percent(50) {
        (raw.end, raw.reply) = (if raw.end == End::Ok { End::Refused } else { End::Ok }, Val::Untold);
    }
    if raw.end != End::Ok {
        return;
    }
    raw.reply = match (raw.reply.clone(), donor) {
        (Val::Int(_), Val::Int(n)) => Val::Int(n),
        (Val::Int(n), _) => Val::Int(n + rng.below(3) as i64 - 1),
        (Val::Nil, donor @ Val::Int(_)) => donor,
        (Val::Bool(yes), _) => Val::Bool(!yes),
        (Val::Text(text), _) if rng.percent(50) => Val::Text(text.chars().take(text.len() / 4 * 2).collect()),
        (Val::Text(_), Val::Text(text)) => Val::Text(text),
        (Val::List(mut list), _) if rng.percent(50) => {
            list.pop();
            Val::List(list)
        }
        (Val::List(_), Val::List(list)) => Val::List(list),
        (reply, _) => reply,
    };
}

/// Records operations. Their numbers stay the same, and every event has a line.
pub fn record(raws: &[Raw]) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, raw) in raws.iter().enumerate() {
        events.push((raw.events.0, i, false));
        events.extend(raw.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut log = Recorder::default();
    let mut ids = vec![OpId(0); raws.len()];
    let key = log.value(Datum::Text("o"));
    for (n, (_, i, returned)) in (0..).zip(events) {
        let raw = &raws[i];
        log.at_line(10 + n);
        let time = 1_000 * u64::from(n);
        if returned {
            let reply = value(&mut log, &raw.reply);
            log.end(ids[i], time, raw.end, reply, None);
        } else {
            let arg = value(&mut log, &raw.arg);
            let compare = (raw.compare != Val::Untold).then(|| value(&mut log, &raw.compare));
            let when = Condition { value: compare, ..Condition::ALWAYS };
            ids[i] = log.begin(raw.process, time, key, Request { f: raw.f, arg, when });
        }
    }
    log.finish()
}

fn value(log: &mut Recorder, val: &Val) -> Value {
    match val {
        Val::Untold => Value::UNTOLD,
        Val::Nil => Value::NIL,
        Val::Bool(yes) => log.value(Datum::Bool(*yes)),
        Val::Int(n) => log.value(Datum::Int(*n)),
        Val::Text(text) => log.value(Datum::Text(text)),
        Val::List(list) => {
            let items: Vec<Value> = list.iter().map(|&n| log.value(Datum::Int(n))).collect();
            log.value(Datum::List(&items))
        }
    }
}
