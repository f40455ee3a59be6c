//! Objects that generate random histories: a sequence, a queue, a lock and a set. Clients use them one at a time.

use super::Rng;
use super::objects::{Object, Raw, Val};
use seaworthy_check::{End, Function};
use std::collections::{BTreeSet, VecDeque};

/// A sequence.
pub struct Counter {
    first: Val,
    last: Option<i64>,
    step: i64,
    /// Percentage of replies without a result.
    untold: u64,
    silent: bool,
}

impl Counter {
    pub fn new(last: Option<i64>, untold: u64) -> Counter {
        Counter { first: last.map_or(Val::Nil, Val::Int), last, step: 1, untold, silent: false }
    }
}

impl Object for Counter {
    fn ask(&mut self, _: u32, _: usize, rng: &mut Rng) -> (Function, Val) {
        self.step = 1 + rng.below(2) as i64;
        self.silent = rng.percent(self.untold);
        (if rng.percent(45) { Function::Read } else { Function::Next }, Val::Untold)
    }

    fn apply(&mut self, _: u32, f: Function, _: &Val) -> (End, Val) {
        if f == Function::Next {
            self.last = Some(self.last.unwrap_or(0) + self.step);
        }
        let reply = if self.silent { Val::Untold } else { self.last.map_or(Val::Nil, Val::Int) };
        (End::Ok, reply)
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        raw.reply = match (rng.below(20), &raw.reply) {
            (0, _) => Val::Nil,
            (1, _) => Val::Bool(true),
            (n, Val::Int(last)) if n < 12 => Val::Int(last + [-2, -1, 1, 2][rng.below(4) as usize]),
            _ => Val::Int(rng.below(8) as i64),
        };
    }

    fn initial(&self) -> Val {
        self.first.clone()
    }
}

/// A queue.
pub struct Fifo {
    first: Vec<i64>,
    line: VecDeque<i64>,
    /// Number of different values; 0: each element has its own.
    values: u64,
    enqueues: u64,
    /// Percentage of dequeues whose replies have no result.
    untold: u64,
    dice: u64,
}

impl Fifo {
    pub fn new(first: Vec<i64>, values: u64, enqueues: u64, untold: u64) -> Fifo {
        let line = first.iter().copied().collect();
        Fifo { first, line, values, enqueues, untold, dice: 0 }
    }
}

impl Object for Fifo {
    fn ask(&mut self, _: u32, n: usize, rng: &mut Rng) -> (Function, Val) {
        self.dice = rng.below(100);
        if rng.percent(self.enqueues) {
            let value = if self.values > 0 { rng.below(self.values) } else { n as u64 };
            return (Function::Enqueue, Val::Int(value as i64));
        }
        (Function::Dequeue, Val::Untold)
    }

    fn apply(&mut self, _: u32, f: Function, arg: &Val) -> (End, Val) {
        match (f, arg) {
            (Function::Enqueue, Val::Int(n)) => self.line.push_back(*n),
            _ => {
                let reply = self.line.pop_front().map_or(Val::Nil, Val::Int);
                return match self.dice {
                    n if n < self.untold => (End::Ok, Val::Untold),
                    n if n % 8 == 7 && reply == Val::Nil => (End::Refused, Val::Untold),
                    _ => (End::Ok, reply),
                };
            }
        }
        (End::Ok, Val::Untold)
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        match raw.f {
            Function::Enqueue if rng.percent(20) => raw.end = End::Refused,
            Function::Enqueue => {}
            _ if rng.percent(50) => (raw.end, raw.reply) = (End::Ok, Val::Nil),
            _ => (raw.end, raw.reply) = (End::Ok, Val::Int(rng.below(9) as i64)),
        }
    }

    fn initial(&self) -> Val {
        Val::List(self.first.clone())
    }
}

/// A lock.
pub struct Mutex {
    holder: Option<u32>,
    token: i64,
    /// Percentage of acquires that are told a token.
    tokens: u64,
    /// Percentage of calls that make sense: a release by the holder, an acquire by others.
    fitting: u64,
    dice: u64,
}

impl Mutex {
    pub fn new(tokens: u64, fitting: u64) -> Mutex {
        Mutex { holder: None, token: 0, tokens, fitting, dice: 0 }
    }
}

impl Object for Mutex {
    fn ask(&mut self, process: u32, _: usize, rng: &mut Rng) -> (Function, Val) {
        self.dice = rng.below(100);
        let fits = rng.percent(self.fitting);
        let release = (self.holder == Some(process)) == fits;
        (if release { Function::Release } else { Function::Acquire }, Val::Untold)
    }

    fn apply(&mut self, process: u32, f: Function, _: &Val) -> (End, Val) {
        let refused =
            if self.dice.is_multiple_of(2) { (End::Refused, Val::Untold) } else { (End::Ok, Val::Bool(false)) };
        match (f, self.holder) {
            (Function::Acquire, Some(_)) => refused,
            (Function::Acquire, None) => {
                self.holder = Some(process);
                self.token += 1 + (self.dice % 2) as i64;
                (End::Ok, if self.dice < self.tokens { Val::Int(self.token) } else { Val::Bool(true) })
            }
            (_, Some(holder)) if holder == process => {
                self.holder = None;
                (End::Ok, Val::Untold)
            }
            _ => refused,
        }
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        let other = rng.below(6) as i64;
        (raw.end, raw.reply) = match (raw.f, raw.end, &raw.reply, rng.below(2)) {
            (Function::Acquire, End::Ok, Val::Int(_), 0) => (End::Ok, Val::Int(other)),
            (_, End::Refused, ..) | (_, _, Val::Bool(false), _) => (End::Ok, Val::Untold),
            _ => (End::Refused, Val::Untold),
        };
    }
}

/// A set.
pub struct Bag {
    first: Vec<i64>,
    set: BTreeSet<i64>,
    /// Per thousand: removes, containment tests and reads; the rest are adds.
    mix: [u64; 3],
    /// Number of different elements; 0: each add has its own.
    elements: u64,
    /// Percentage of adds and removes that are told whether they changed the set.
    told: u64,
    dice: u64,
}

impl Bag {
    pub fn new(first: Vec<i64>, mix: [u64; 3], elements: u64, told: u64) -> Bag {
        let set = first.iter().copied().collect();
        Bag { first, set, mix, elements, told, dice: 0 }
    }
}

impl Object for Bag {
    fn ask(&mut self, _: u32, n: usize, rng: &mut Rng) -> (Function, Val) {
        self.dice = rng.below(100);
        let x = if self.elements == 0 { rng.below(1 + n as u64) } else { rng.below(self.elements) } as i64;
        let dice = rng.below(1_000);
        let [removes, contains, reads] = self.mix;
        if dice < removes {
            (Function::Remove, Val::Int(x))
        } else if dice < removes + contains {
            (Function::Contains, Val::Int(x))
        } else if dice < removes + contains + reads {
            (Function::Read, Val::Untold)
        } else {
            (Function::Add, Val::Int(if self.elements == 0 { n as i64 } else { x }))
        }
    }

    fn apply(&mut self, _: u32, f: Function, arg: &Val) -> (End, Val) {
        let x = if let Val::Int(x) = arg { *x } else { 0 };
        let there = self.set.contains(&x);
        let changed = match f {
            Function::Read => return (End::Ok, Val::List(self.set.iter().rev().copied().collect())),
            Function::Contains => return (End::Ok, Val::Bool(there)),
            Function::Add => !there,
            _ => there,
        };
        match f {
            Function::Add => self.set.insert(x),
            _ => self.set.remove(&x),
        };
        match self.dice {
            n if n >= self.told => (End::Ok, Val::Untold),
            n if n % 4 == 0 && !changed => (End::Refused, Val::Untold),
            _ => (End::Ok, Val::Bool(changed)),
        }
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        raw.end = End::Ok;
        raw.reply = match &raw.reply {
            Val::Bool(yes) => Val::Bool(!yes),
            Val::List(list) => {
                let mut list = list.clone();
                match rng.below(6) {
                    0 => list.push(rng.below(9) as i64),
                    1 if !list.is_empty() => list.push(list[0]),
                    _ => {
                        let at = rng.below(1 + list.len() as u64) as usize;
                        list.truncate(at);
                    }
                }
                Val::List(list)
            }
            _ => Val::Bool(rng.percent(50)),
        };
    }

    fn initial(&self) -> Val {
        Val::List(self.first.clone())
    }
}
