//! A sequence of increasing numbers.
//!
//! `next` returns a number larger than all returned before; gaps are allowed. `read` returns the last number that
//! `next` returned, or nil before the first. The history's initial value, if it is an integer, was returned before
//! everything.
//!
//! A `next` with an unknown number returned some integer. Which one stays open until a later reply shows it: the state
//! counts such numbers. A refused operation did nothing. A reply that is not an integer is never right.

use super::Model;
use crate::history::{Datum, End, Function, History, Operation, Value};
use crate::linear::Judge;
use crate::linear::direct::Direct;
use crate::linear::sequences::Sequences;

/// The specification.
pub struct Sequence;

/// The numbers returned so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Given {
    /// The last number that is known.
    pub last: Option<i64>,
    /// How many unknown numbers were returned after it.
    pub unknown: u32,
}

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Gave this number; `None`: one that is not known.
    Next(Option<i64>),
    /// Saw this number.
    Read(Option<i64>),
    /// Replied something that is not a number.
    Absurd,
}

/// A number, or `None` for nil; the outer `None`: neither.
pub(crate) fn number(history: &History, value: Value) -> Option<Option<i64>> {
    match history.datum(value) {
        Datum::Int(n) => Some(Some(n)),
        Datum::Nil => Some(None),
        _ => None,
    }
}

impl Model for Sequence {
    type State = Given;
    type Op = Step;

    fn initial(&self, history: &History) -> Given {
        Given { last: number(history, history.initial()).flatten(), unknown: 0 }
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        let reply = op.reply.told().filter(|_| told).map(|reply| number(history, reply));
        match (op.f, reply) {
            _ if told && op.end == End::Refused => None,
            (Function::Next, None) => Some(Step::Next(None)),
            (Function::Next, Some(Some(Some(n)))) => Some(Step::Next(Some(n))),
            (Function::Read, None) => None,
            (Function::Read, Some(Some(seen))) => Some(Step::Read(seen)),
            (Function::Next | Function::Read, Some(_)) => Some(Step::Absurd),
            _ => None,
        }
    }

    fn apply(&self, &Given { last, unknown }: &Given, op: &Step) -> Option<Given> {
        // Whether that many numbers fit between the last one and `n`, with `n` being one of them if `reached`.
        let room = |n: i64, reached: u32| {
            let between = last.map_or(i128::MAX / 2, |last| i128::from(n) - i128::from(last) - 1);
            between + i128::from(reached) >= i128::from(unknown)
        };
        match *op {
            Step::Next(None) => Some(Given { last, unknown: unknown + 1 }),
            Step::Next(Some(n)) => (last < Some(n) && room(n, 0)).then_some(Given { last: Some(n), unknown: 0 }),
            Step::Read(seen) if unknown == 0 => (seen == last).then_some(Given { last, unknown }),
            Step::Read(Some(n)) => (last < Some(n) && room(n, 1)).then_some(Given { last: Some(n), unknown: 0 }),
            Step::Read(None) | Step::Absurd => None,
        }
    }

    /// A read may tell the number of an earlier `next`, which matters: it is not placed as soon as it fits.
    fn reads(&self, _: &Step) -> bool {
        false
    }
}

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(Direct::new(Sequences, Sequence))
}
