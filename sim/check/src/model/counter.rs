//! A counter: a number that positive or negative amounts are added to, and that is read. The replies of adds are
//! ignored.
//!
//! The state is the sum. Adds of the same amount are one class, so where all add the same, as increments do, the search
//! never has a choice: reads are placed as soon as they fit, and of the increments that may come the one whose return
//! is the first (an exchange argument; an ambiguous one only when no other may come). Such a history of n operations, w
//! at a time, is decided in O(n·w). Where nothing is ever subtracted a read of less than the sum refutes at once, and
//! so do bounds that need no order: what was certainly added between two reads, and what can have been added by then.
//!
//! With different amounts the problem contains subset sum, even with a single read: if a counter was read as v while
//! ambiguous adds were open, the question is whether some of them add up to v. It is NP-complete, so a limit may be
//! reached first.

use super::Model;
use crate::history::{Datum, End, Function, History, OpId, Operation, Value};
use crate::linear::general::General;
use crate::linear::{Answer, Decision, Item, Judge, Limits};

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(CounterJudge)
}

/// Returns the operation's value if it must be a number but is not.
pub(super) fn odd(history: &History, op: &Operation) -> Option<Value> {
    let value = if op.f == Function::Add { op.arg } else { op.reply };
    let may_be_missing = op.f == Function::Read && value == Value::UNTOLD;
    (!may_be_missing && number(history, value).is_none()).then_some(value)
}

/// A counter.
pub struct Counter {
    /// Whether no amount is negative.
    grows: bool,
}

impl Counter {
    /// Creates a counter for the given operations.
    #[must_use]
    pub fn new(history: &History, items: &[Item]) -> Counter {
        let mut ops = items.iter().map(|item| history.operation(item.op));
        Counter { grows: ops.all(|op| op.f != Function::Add || number(history, op.arg).is_none_or(|n| n >= 0)) }
    }
}

/// An operation on a counter.
pub enum Step {
    /// Adds.
    Add(i64),
    /// Reads this number, or `None` if the reply is not a number.
    Read(Option<i128>),
}

impl Model for Counter {
    type State = i128;
    type Op = Step;

    fn initial(&self, history: &History) -> i128 {
        number(history, history.initial()).map_or(0, i128::from)
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        match op.f {
            Function::Add if told && op.end == End::Refused => None,
            Function::Add => number(history, op.arg).map(Step::Add),
            Function::Read if told => {
                let seen = op.reply.told()?;
                Some(Step::Read(number(history, seen).map(i128::from)))
            }
            _ => None,
        }
    }

    fn apply(&self, sum: &i128, op: &Step) -> Option<i128> {
        match *op {
            Step::Add(n) => Some(sum + i128::from(n)),
            Step::Read(seen) => (seen == Some(*sum)).then_some(*sum),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        matches!(op, Step::Read(_) | Step::Add(0))
    }

    fn class(&self, op: &Step) -> Option<u64> {
        match *op {
            Step::Add(n) => Some(n.cast_unsigned()),
            Step::Read(_) => None,
        }
    }

    fn hopeless(&self, sum: &i128, op: &Step) -> bool {
        match *op {
            Step::Read(Some(seen)) => self.grows && seen < *sum,
            Step::Read(None) => true,
            Step::Add(_) => false,
        }
    }
}

/// A number. A missing value counts as zero.
fn number(history: &History, value: Value) -> Option<i64> {
    match history.datum(value) {
        Datum::Int(n) => Some(n),
        Datum::Nil => Some(0),
        _ => None,
    }
}

/// Steps an operation before bounds are compared.
const QUICK_STEPS: u64 = 16;

struct CounterJudge;

impl Judge for CounterJudge {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        // Most histories are decided within a few steps per operation. For the others, compare bounds before searching
        // on.
        let quick = Limits { steps: limits.steps.min(QUICK_STEPS * items.len() as u64), ..limits };
        let decision = General(Counter::new(history, items)).decide(history, items, quick);
        if !matches!(decision.answer, Answer::GaveUp(_)) {
            return decision;
        }
        if self.suspects(history, items).is_some() {
            return Decision { answer: Answer::Impossible, by: "bounds", steps: decision.steps };
        }
        General(Counter::new(history, items)).decide(history, items, limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        General(Counter::new(history, items)).witness(history, items, limits)
    }

    fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        let counter = Counter::new(history, items);
        if counter.grows { too_little_or_much(history, items, counter.initial(history)) } else { None }
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        General(Counter::new(history, items)).longest(history, items, limits)
    }
}

/// Where nothing is subtracted, what bounds refute, with the operations that do it: a read of more than all adds called
/// by then make up, or of less than an earlier read saw, or than that and what was added between the two.
fn too_little_or_much(history: &History, items: &[Item], initial: i128) -> Option<Vec<OpId>> {
    let (mut reads, mut adds) = (Vec::new(), Vec::new());
    for item in items {
        let op = history.operation(item.op);
        let ret = op.settled().filter(|_| !item.open);
        match (op.f, ret) {
            (Function::Read, Some(ret)) => {
                let Some(seen) = op.reply.told().and_then(|seen| number(history, seen)) else { continue };
                reads.push((op.called, ret, i128::from(seen), item.op));
            }
            (Function::Add, _) if op.end != End::Fail && (op.end != End::Refused || ret.is_none()) => {
                adds.push((op.called, ret, i128::from(number(history, op.arg)?), item.op));
            }
            _ => {}
        }
    }
    let sums = adds.iter().scan(initial, |sum, add| {
        *sum += add.2;
        Some(*sum)
    });
    let sums: Vec<i128> = sums.collect();
    let called_before = |moment: u32| adds.partition_point(|add| add.0 < moment);
    let mut returned = reads.clone();
    returned.sort_unstable_by_key(|read| read.1);
    let mut returned = returned.into_iter().peekable();
    let (mut highest, mut last) = ((initial, None), (0, initial, None));
    for (call, ret, seen, read) in reads {
        while let Some((_, ret, seen, read)) = returned.next_if(|earlier| earlier.1 < call) {
            highest = highest.max((seen, Some(read)));
            last = (ret, seen, Some(read));
        }
        if called_before(ret).checked_sub(1).map_or(initial, |at| sums[at]) < seen {
            return Some(vec![read]);
        }
        if seen < highest.0 {
            return Some(highest.1.into_iter().chain([read]).collect());
        }
        let between = adds[called_before(last.0)..called_before(call)].iter();
        let between = between.filter(|add| add.1.is_some_and(|ret| ret < call));
        if last.1 + between.clone().map(|add| add.2).sum::<i128>() > seen {
            return Some(last.2.into_iter().chain(between.map(|add| add.3)).chain([read]).collect());
        }
    }
    None
}
