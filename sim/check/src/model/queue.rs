//! Queues: first in, first out, or without an order.
//!
//! `enqueue` adds its value at the end. `dequeue` takes the element at the head, or any element of a queue without an
//! order, and replies with it, or with nil if the queue was empty. Initially the queue holds the history's initial
//! list, head first, or nothing.
//!
//! A refused `dequeue` found the queue empty. A refused `enqueue` did nothing (the reason is not modelled: the queue
//! has no bound). A `dequeue` with an unknown reply took an element if there was one. Nil is not an element: it cannot
//! be distinguished from an empty queue.

use super::{Kind, Model};
use crate::history::{Datum, End, Function, History, Operation, Value};
use crate::linear::Judge;
use crate::linear::direct::Direct;
use crate::linear::queues::Queues;
use crate::linear::queues::unordered::Bags;
use std::sync::Arc;

/// The specification of a queue that keeps its order.
pub struct Queue;

/// The specification of a queue that does not keep an order.
///
/// A `dequeue` with an unknown reply matters only if another one finds the queue empty. So it is placed right before
/// such a `dequeue`, which shows what it took: all that was left. So this specification does not suit
/// [`online`](crate::online), where the element that an open `dequeue` took becomes known later.
pub struct Unordered;

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Puts a value at the end.
    Put(Value),
    /// Took this value.
    Take(Value),
    /// Took an element if there was one.
    TakeAny,
    /// Found nothing.
    Empty,
}

/// What the queue holds at first.
pub(crate) fn initial(history: &History) -> &[Value] {
    match history.datum(history.initial()) {
        Datum::List(list) => list,
        _ => &[],
    }
}

impl Model for Queue {
    type State = Arc<[Value]>;
    type Op = Step;

    fn initial(&self, history: &History) -> Arc<[Value]> {
        initial(history).into()
    }

    fn compile(&self, _: &History, op: &Operation, told: bool) -> Option<Step> {
        compile(op, told)
    }

    fn apply(&self, state: &Arc<[Value]>, op: &Step) -> Option<Arc<[Value]>> {
        let rest = || state.get(1..).unwrap_or_default().into();
        match *op {
            Step::Put(value) => Some(state.iter().copied().chain([value]).collect()),
            Step::Take(value) => (state.first() == Some(&value)).then(rest),
            Step::TakeAny => Some(rest()),
            Step::Empty => state.is_empty().then(|| state.clone()),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        *op == Step::Empty
    }

    fn class(&self, op: &Step) -> Option<u64> {
        class(*op)
    }
}

fn compile(op: &Operation, told: bool) -> Option<Step> {
    let refused = told && op.end == End::Refused;
    match (op.f, op.reply.told().filter(|_| told)) {
        (Function::Enqueue, _) => (!refused).then_some(Step::Put(op.arg)),
        (Function::Dequeue, _) if refused => Some(Step::Empty),
        (Function::Dequeue, None) => Some(Step::TakeAny),
        (Function::Dequeue, Some(Value::NIL)) => Some(Step::Empty),
        (Function::Dequeue, Some(value)) => Some(Step::Take(value)),
        _ => None,
    }
}

fn class(op: Step) -> Option<u64> {
    match op {
        Step::Put(value) => Some(u64::from(value.bits())),
        Step::Take(value) => Some(1 << 32 | u64::from(value.bits())),
        Step::TakeAny => Some(1 << 33),
        Step::Empty => None,
    }
}

/// The elements of a queue without an order, and how many unknown ones of them were taken.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Content {
    held: Arc<[Value]>,
    taken: usize,
}

impl Model for Unordered {
    type State = Content;
    type Op = Step;

    fn initial(&self, history: &History) -> Content {
        let mut held = initial(history).to_vec();
        held.sort_unstable();
        Content { held: held.into(), taken: 0 }
    }

    fn compile(&self, _: &History, op: &Operation, told: bool) -> Option<Step> {
        compile(op, told)
    }

    fn apply(&self, Content { held, taken }: &Content, op: &Step) -> Option<Content> {
        let with = |held: Vec<Value>| Some(Content { held: held.into(), taken: 0 });
        match *op {
            Step::TakeAny => Some(Content { held: held.clone(), taken: held.len().min(taken + 1) }),
            Step::Empty => (held.len() == *taken).then(|| Content { held: [].into(), taken: 0 }),
            _ if *taken > 0 => None,
            Step::Put(value) => {
                let mut held = held.to_vec();
                held.insert(held.partition_point(|&other| other < value), value);
                with(held)
            }
            Step::Take(value) => {
                let at = held.binary_search(&value).ok()?;
                let mut held = held.to_vec();
                held.remove(at);
                with(held)
            }
        }
    }

    /// Even one that found nothing changes what is known.
    fn reads(&self, _: &Step) -> bool {
        false
    }

    fn class(&self, op: &Step) -> Option<u64> {
        class(*op)
    }

    fn weight(&self, state: &Content) -> usize {
        4 * state.held.len() + 16
    }
}

/// An answer that the specification without an order cannot tell anything of: an element that was taken and not told.
pub(super) fn odd(op: &Operation) -> Option<Value> {
    ((op.f, op.end) == (Function::Dequeue, End::Ok)).then_some(op.reply).filter(|&reply| reply == Value::UNTOLD)
}

/// The procedures of one of the two queues.
#[must_use]
pub fn judge(kind: Kind) -> Box<dyn Judge> {
    match kind {
        Kind::UnorderedQueue => Box::new(Direct::new(Bags, Unordered)),
        _ => Box::new(Direct::new(Queues, Queue)),
    }
}
