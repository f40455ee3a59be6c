//! First in, first out.
//!
//! `enqueue` puts its value at the end; `dequeue` takes what is at the head and replies with it, or with nil where the queue
//! was empty. At first the queue holds the history's initial list, head first, or nothing.
//!
//! A refused `dequeue` found the queue empty; a refused `enqueue` did nothing (why is not modelled: the queue has no bound).
//! A `dequeue` whose reply is not known took what was there, if anything. Nil is no element: it cannot be told from nothing.

use super::Model;
use crate::history::{Datum, End, Function, History, Operation, Value};
use crate::linear::Judge;
use crate::linear::direct::Direct;
use crate::linear::queues::Queues;
use std::sync::Arc;

/// The specification.
pub struct Queue;

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Puts a value at the end.
    Put(Value),
    /// Took this value.
    Take(Value),
    /// Took what was there, if anything.
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
}

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(Direct::new(Queues, Queue))
}
