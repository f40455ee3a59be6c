//! Queues whose values repeat: a search for pairs of an `enqueue` and the `dequeue` that took its element.
//!
//! First in, first out means that the i-th `enqueue` of an order and its i-th `dequeue` are of one element. So pairs
//! are looked for, one after the other, and what the queue holds in between need not be known: how concurrent enqueues
//! were ordered is decided when their elements come out. A search over single operations decides that too early.
//!
//! With the pairs in a row, an order of all operations exists exactly if
//! - no `enqueue` of a later pair, or without a pair, returned before one of an earlier pair was called; the same for
//!   dequeues;
//! - no `dequeue` returned before the `enqueue` of its own or an earlier pair was called;
//! - each `dequeue` that found nothing has a place between two pairs such that some moment of it is after the calls of
//!   all operations before it, and before the returns of all operations after it.
//!
//! (If so, a cycle of these and of real time would have to go back from a `dequeue` to an `enqueue` that is not later
//! in the row, which is the second case.) So a pair may be next if both operations are called before all remaining
//! returns, where those of enqueues do not count for its `dequeue`. Of equal operations that may be next, it is enough
//! to try the one that returns first: in an order that begins with another one, the two can be exchanged. So there are
//! at most as many choices as values. A set of operations that was a dead end is not entered again. Sets are compared
//! exactly.
//!
//! Open operations need not happen. An open `enqueue` is used if no other `enqueue` of its value is available. An open
//! `dequeue` takes any element.

use super::{FOR_EVER, Problem, Stay, moment};
use crate::history::{End, Function, History, OpId, Value};
use crate::linear::direct::entries;
use crate::linear::hash::Mix;
use crate::linear::{Answer, Item, Limits};
use crate::model::queue::initial;
use hashbrown::HashMap;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// An operation that must take place.
#[derive(Clone, Copy)]
struct Must {
    /// `None`: an element of the initial list.
    id: Option<OpId>,
    /// A number for the value.
    value: usize,
    call: i64,
    ret: i64,
    done: bool,
}

/// Operations of one kind, by call.
#[derive(Default)]
struct Row {
    all: Vec<Must>,
    /// The first operation that is not done.
    low: usize,
    /// One more than the last operation that is done.
    high: usize,
}

impl Row {
    fn push(&mut self, id: Option<OpId>, value: usize, call: i64, ret: i64) {
        self.all.push(Must { id, value, call, ret, done: false });
    }

    /// Those not done that were called before a moment; `steps` counts all that are looked at.
    fn before<'a>(&'a self, bound: i64, steps: &'a mut u64) -> impl Iterator<Item = (usize, &'a Must)> {
        let near = self.all.iter().enumerate().skip(self.low).take_while(move |(_, must)| must.call < bound);
        near.inspect(|_| *steps += 1).filter(|(_, must)| !must.done)
    }

    /// The first return of those not done.
    fn first_return(&self, steps: &mut u64) -> i64 {
        let mut first = FOR_EVER;
        for must in &self.all[self.low..] {
            if must.call >= first {
                break;
            }
            *steps += 1;
            if !must.done {
                first = first.min(must.ret);
            }
        }
        first
    }

    /// Marks one as done, and returns what to pass to [`Row::restore`].
    fn take(&mut self, at: usize) -> (usize, usize) {
        let before = (self.low, self.high);
        self.all[at].done = true;
        self.high = self.high.max(at + 1);
        while self.all.get(self.low).is_some_and(|must| must.done) {
            self.low += 1;
        }
        before
    }

    fn restore(&mut self, at: usize, (low, high): (usize, usize)) {
        (self.all[at].done, self.low, self.high) = (false, low, high);
    }

    /// A compact form of what is done: how far, and what is left out up to there.
    fn write(&self, set: &mut Vec<u32>) {
        set.push(self.high as u32);
        set.extend((self.low..self.high).filter(|&at| !self.all[at].done).map(|at| at as u32));
        set.push(u32::MAX);
    }
}

/// A member of a pair: a place in its row, or the next open operation.
#[derive(Clone, Copy)]
enum One {
    Must(usize),
    Open,
}

/// A possible next step.
#[derive(Clone, Copy)]
struct Pair {
    value: usize,
    enqueue: One,
    dequeue: One,
}

/// A record of what was done, for undoing it.
enum Done {
    Pair(Pair, [(usize, usize); 2], i64),
    Empty(usize, (usize, usize)),
}

/// A choice point.
struct Choice {
    /// Number of steps done before.
    done: usize,
    /// Sorted with the best last.
    left: Vec<Pair>,
}

/// Approximate size in bytes.
const CHOICE: usize = size_of::<Choice>() + 3 * size_of::<Pair>() + size_of::<Done>();

struct Search {
    enqueues: Row,
    dequeues: Row,
    empty: Row,
    /// By value: calls of open enqueues.
    open: Vec<Vec<(i64, OpId)>>,
    used: Vec<usize>,
    takers: Vec<(i64, OpId)>,
    takers_used: usize,
    /// The latest call of what is in a pair.
    latest: i64,
    done: Vec<Done>,
    hopeless: HashSet<Box<[u32]>, BuildHasherDefault<Mix>>,
    steps: u64,
    bytes: usize,
}

/// The result: the answer, its cost, and if there is an order, a problem of distinct elements in that order.
pub(super) struct Found {
    pub answer: Answer,
    pub steps: u64,
    pub problem: Option<Problem>,
}

/// Decides the part. `None` if this search does not know some operation.
pub(super) fn find(history: &History, items: &[Item], limits: Limits) -> Option<Found> {
    let mut search = Search::new(history, items)?;
    let answer = search.run(limits);
    let problem = (answer == Answer::Possible).then(|| search.problem());
    Some(Found { answer, steps: search.steps.max(items.len() as u64), problem })
}

impl Search {
    fn new(history: &History, items: &[Item]) -> Option<Search> {
        let mut values: HashMap<u32, usize> = HashMap::new(); // Only looked into.
        let mut number = |value: Value| {
            let next = values.len();
            *values.entry(value.bits()).or_insert(next)
        };
        let (mut enqueues, mut dequeues, mut empty) = (Row::default(), Row::default(), Row::default());
        let (mut open, mut takers) = (Vec::new(), Vec::new());
        let first = initial(history);
        for (i, &value) in (0i64..).zip(first) {
            let call = 2 * (i - first.len() as i64);
            enqueues.push(None, number(value), call, call + 1);
        }
        for e in entries(history, items) {
            let (call, ret) = (moment(e.call), moment(e.ret));
            let refused = e.told() && e.op.end == End::Refused;
            match (e.op.f, e.op.reply) {
                (Function::Enqueue, _) if refused => {}
                (Function::Enqueue, _) if matches!(e.op.arg, Value::NIL | Value::UNTOLD) => return None,
                (Function::Enqueue, _) if e.told() => enqueues.push(Some(e.id), number(e.op.arg), call, ret),
                (Function::Enqueue, _) => open.push((number(e.op.arg), call, e.id)),
                (Function::Dequeue, _) if !e.told() => takers.push((call, e.id)),
                (Function::Dequeue, Value::NIL) => empty.push(Some(e.id), 0, call, ret),
                (Function::Dequeue, _) if refused => empty.push(Some(e.id), 0, call, ret),
                (Function::Dequeue, Value::UNTOLD) => return None,
                (Function::Dequeue, value) => dequeues.push(Some(e.id), number(value), call, ret),
                _ => {}
            }
        }
        if first.contains(&Value::NIL) {
            return None;
        }
        let mut by_value = vec![Vec::new(); values.len()];
        for (value, call, id) in open {
            by_value[value].push((call, id));
        }
        Some(Search {
            enqueues,
            dequeues,
            empty,
            used: vec![0; by_value.len()],
            open: by_value,
            takers,
            takers_used: 0,
            latest: i64::MIN,
            done: Vec::new(),
            hopeless: HashSet::default(),
            steps: 0,
            bytes: 0,
        })
    }

    fn run(&mut self, limits: Limits) -> Answer {
        let mut choices: Vec<Choice> = Vec::new();
        let mut next_look = 0;
        loop {
            self.place_empty();
            if self.dequeues.low == self.dequeues.all.len() && self.empty.low == self.empty.all.len() {
                return Answer::Possible;
            }
            let left = if self.hopeless.contains(&self.set()[..]) { Vec::new() } else { self.pairs() };
            choices.push(Choice { done: self.done.len(), left });
            // Backtrack to the last choice point with another choice.
            let pair = loop {
                let Some(choice) = choices.last_mut() else { return Answer::Impossible };
                if let Some(pair) = choice.left.pop() {
                    break pair;
                }
                let set = self.set();
                self.bytes += 4 * set.len() + 48;
                self.hopeless.insert(set);
                choices.pop();
                self.undo(choices.last().map_or(0, |choice| choice.done));
            };
            self.place(pair);
            if let Some(why) = limits.exceeded(self.steps, &mut next_look) {
                return Answer::GaveUp(why);
            }
            if self.bytes + choices.len() * CHOICE > limits.memory {
                return Answer::GaveUp("the memory limit was reached");
            }
        }
    }

    /// The first return of all that is to come: of everything, and of what a `dequeue` must not come after.
    fn bounds(&mut self) -> (i64, i64) {
        let mut steps = 0;
        let takes = self.dequeues.first_return(&mut steps).min(self.empty.first_return(&mut steps));
        let all = takes.min(self.enqueues.first_return(&mut steps));
        self.steps += steps;
        (all, takes)
    }

    /// Places every `dequeue` that found nothing and fits here: waiting cannot help.
    fn place_empty(&mut self) {
        while self.empty.low < self.empty.all.len() {
            let (all, _) = self.bounds();
            let latest = self.latest;
            let fits = self.empty.before(all, &mut self.steps).map(|(at, _)| at).next().filter(|_| latest < all);
            let Some(at) = fits else { return };
            let before = self.empty.take(at);
            self.done.push(Done::Empty(at, before));
        }
    }

    /// The pairs that may come next, the one that must come first last.
    fn pairs(&mut self) -> Vec<Pair> {
        let (all, takes) = self.bounds();
        let mut steps = 0;
        // By value: the return and the place.
        let mut enqueues: Vec<(usize, i64, usize)> = Vec::new();
        let first_of = |found: &mut Vec<(usize, i64, usize)>, value: usize, ret: i64, at: usize| match found
            .iter_mut()
            .find(|(known, ..)| *known == value)
        {
            Some(best) if ret < best.1 => *best = (value, ret, at),
            Some(_) => {}
            None => found.push((value, ret, at)),
        };
        for (at, must) in self.enqueues.before(all, &mut steps) {
            first_of(&mut enqueues, must.value, must.ret, at);
        }
        let mut dequeues: Vec<(usize, i64, usize)> = Vec::new();
        for (at, must) in self.dequeues.before(takes, &mut steps) {
            first_of(&mut dequeues, must.value, must.ret, at);
        }
        let mut pairs: Vec<(i64, Pair)> = Vec::new();
        for &(value, ret, at) in &dequeues {
            let open = || self.open[value].get(self.used[value]).is_some_and(|&(call, _)| call < all);
            let enqueue = match enqueues.iter().find(|(known, ..)| *known == value) {
                Some(&(_, first, place)) => Some((first.min(ret), One::Must(place))),
                None => open().then_some((ret, One::Open)),
            };
            pairs.extend(enqueue.map(|(first, enqueue)| (first, Pair { value, enqueue, dequeue: One::Must(at) })));
        }
        if self.takers.get(self.takers_used).is_some_and(|&(call, _)| call < takes) {
            let taken = enqueues
                .iter()
                .map(|&(value, _, at)| (FOR_EVER, Pair { value, enqueue: One::Must(at), dequeue: One::Open }));
            pairs.extend(taken);
        }
        self.steps += steps + pairs.len() as u64;
        pairs.sort_by_key(|&(first, pair)| std::cmp::Reverse((first, pair.value)));
        pairs.into_iter().map(|(_, pair)| pair).collect()
    }

    fn place(&mut self, pair: Pair) {
        let mut before = [(0, 0); 2];
        let latest = self.latest;
        let call = match pair.enqueue {
            One::Must(at) => {
                before[0] = self.enqueues.take(at);
                self.enqueues.all[at].call
            }
            One::Open => {
                self.used[pair.value] += 1;
                self.open[pair.value][self.used[pair.value] - 1].0
            }
        };
        self.latest = latest.max(call);
        let call = match pair.dequeue {
            One::Must(at) => {
                before[1] = self.dequeues.take(at);
                self.dequeues.all[at].call
            }
            One::Open => {
                self.takers_used += 1;
                self.takers[self.takers_used - 1].0
            }
        };
        self.latest = self.latest.max(call);
        self.done.push(Done::Pair(pair, before, latest));
        self.steps += 1;
    }

    /// Undoes all steps after the first `length`.
    fn undo(&mut self, length: usize) {
        while self.done.len() > length {
            match self.done.pop() {
                Some(Done::Empty(at, before)) => self.empty.restore(at, before),
                Some(Done::Pair(pair, before, latest)) => {
                    match pair.enqueue {
                        One::Must(at) => self.enqueues.restore(at, before[0]),
                        One::Open => self.used[pair.value] -= 1,
                    }
                    match pair.dequeue {
                        One::Must(at) => self.dequeues.restore(at, before[1]),
                        One::Open => self.takers_used -= 1,
                    }
                    self.latest = latest;
                }
                None => return,
            }
        }
    }

    /// All that is done.
    fn set(&self) -> Box<[u32]> {
        let mut set = Vec::with_capacity(16);
        for row in [&self.enqueues, &self.dequeues, &self.empty] {
            row.write(&mut set);
        }
        for (value, &used) in (0u32..).zip(&self.used).filter(|(_, used)| **used > 0) {
            set.extend([value, used as u32]);
        }
        set.push(u32::MAX);
        set.push(self.takers_used as u32);
        set.into_boxed_slice()
    }

    /// Returns the elements, now all distinct, in the order found.
    fn problem(&self) -> Problem {
        let mut problem = Problem { stays: Vec::new(), empty: Vec::new(), told: Vec::new() };
        let mut used = vec![0; self.open.len()];
        let mut takers = self.takers.iter();
        for done in &self.done {
            let Done::Pair(pair, ..) = done else { continue };
            let (id, call, ret) = match pair.enqueue {
                One::Must(at) => (self.enqueues.all[at].id, self.enqueues.all[at].call, self.enqueues.all[at].ret),
                One::Open => {
                    let (call, id) = self.open[pair.value][used[pair.value]];
                    used[pair.value] += 1;
                    (Some(id), call, FOR_EVER)
                }
            };
            let mut stay = Stay::new(id, call, ret);
            match pair.dequeue {
                One::Must(at) => {
                    let Must { id, call, ret, .. } = self.dequeues.all[at];
                    (stay.f, stay.s, stay.gone) = (stay.f.min(ret), call.max(stay.call), ret);
                    (stay.dequeue, stay.left) = (id, false);
                }
                One::Open => {
                    if let Some(&(call, id)) = takers.next() {
                        (stay.dequeue, stay.s) = (Some(id), call.max(stay.call));
                    }
                }
            }
            problem.stays.push(stay);
        }
        let rest = self.enqueues.all.iter().filter(|must| !must.done);
        problem.stays.extend(rest.map(|must| Stay::new(must.id, must.call, must.ret)));
        let empty = self.empty.all.iter().filter_map(|must| Some((must.call, must.ret, must.id?)));
        problem.empty.extend(empty);
        problem
    }
}
