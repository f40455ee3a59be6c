//! A number that amounts are added to, positive or negative, and that is read. What an add is answered is not looked at.
//!
//! The state is the sum. Adds of the same amount are one class, so where all add the same, as increments do, the search
//! never has a choice: reads are placed as soon as they fit, and of the increments that may come the one whose return is
//! the first (an exchange argument; an ambiguous one only when no other may come). Such a history of n operations, w at a
//! time, is decided in O(n·w). Where nothing is ever subtracted a read of less than the sum refutes at once.
//!
//! With different amounts the question holds subset sum, even with a single read: a counter that was read as v while ambiguous
//! adds were open asks whether some of them add up to v. It is NP-complete, so there the limits may end first.

use super::Model;
use crate::history::{Datum, End, Function, History, OpId, Operation, Value};
use crate::linear::general::General;
use crate::linear::{Decision, Item, Judge, Limits};

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(CounterJudge)
}

/// What is no number where one must be.
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
    /// For the given operations.
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
    /// Reads; `None`: something that is no number.
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

/// A number; nothing counts as zero.
fn number(history: &History, value: Value) -> Option<i64> {
    match history.datum(value) {
        Datum::Int(n) => Some(n),
        Datum::Nil => Some(0),
        _ => None,
    }
}

struct CounterJudge;

impl Judge for CounterJudge {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        General(Counter::new(history, items)).decide(history, items, limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        General(Counter::new(history, items)).witness(history, items, limits)
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        General(Counter::new(history, items)).longest(history, items, limits)
    }
}
