//! A set.
//!
//! `add` and `remove` reply whether they changed the set (true or false), or nothing. Refused is the same as false.
//! `contains` returns whether its argument is present. `read` lists all elements in any order. Nil is an empty list,
//! and a list with a duplicate element is never right. Initially the set holds the elements of the history's initial
//! list, or nothing.

use super::Model;
use crate::history::{Datum, End, Function, History, Operation, Value};
use crate::linear::Judge;
use crate::linear::direct::Direct;
use crate::linear::sets::Sets;

/// The specification.
pub struct Set;

/// An operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Put an element in; whether it was new, if that was told.
    Add(Value, Option<bool>),
    /// Took an element out; whether it was there, if that was told.
    Remove(Value, Option<bool>),
    /// Saw whether an element is there.
    Contains(Value, bool),
    /// Saw these elements, sorted.
    Read(Vec<Value>),
    /// Gave an impossible reply.
    Absurd,
}

/// The elements of a list in their order, or `None` if the value is not a list.
pub(crate) fn elements(history: &History, list: Value) -> Option<&[Value]> {
    match history.datum(list) {
        Datum::List(list) => Some(list),
        Datum::Nil => Some(&[]),
        _ => None,
    }
}

impl Model for Set {
    type State = Vec<Value>;
    type Op = Step;

    fn initial(&self, history: &History) -> Vec<Value> {
        let mut state = elements(history, history.initial()).unwrap_or_default().to_vec();
        state.sort_unstable();
        state.dedup();
        state
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        let reply = match (told, op.end, op.reply) {
            (false, ..) => Value::UNTOLD,
            (true, End::Refused, _) => Value::FALSE,
            (true, _, reply) => reply,
        };
        let yes = match reply {
            Value::TRUE => Some(true),
            Value::FALSE => Some(false),
            _ => None,
        };
        match (op.f, reply) {
            (Function::Contains | Function::Read, Value::UNTOLD) => None,
            (Function::Contains, _) => Some(yes.map_or(Step::Absurd, |yes| Step::Contains(op.arg, yes))),
            (Function::Read, list) => Some(elements(history, list).map_or(Step::Absurd, |list| {
                let mut list = list.to_vec();
                list.sort_unstable();
                if list.windows(2).any(|pair| pair[0] == pair[1]) { Step::Absurd } else { Step::Read(list) }
            })),
            (Function::Add, _) => Some(Step::Add(op.arg, yes)),
            (Function::Remove, _) => Some(Step::Remove(op.arg, yes)),
            _ => None,
        }
    }

    fn apply(&self, state: &Vec<Value>, op: &Step) -> Option<Vec<Value>> {
        let place = |x: &Value| state.binary_search(x);
        let mut next = state.clone();
        match op {
            Step::Add(x, new) => match place(x) {
                Ok(_) if *new == Some(true) => return None,
                Err(_) if *new == Some(false) => return None,
                Ok(_) => {}
                Err(at) => next.insert(at, *x),
            },
            Step::Remove(x, there) => match place(x) {
                Ok(_) if *there == Some(false) => return None,
                Err(_) if *there == Some(true) => return None,
                Err(_) => {}
                Ok(at) => {
                    next.remove(at);
                }
            },
            Step::Contains(x, yes) if place(x).is_ok() != *yes => return None,
            Step::Read(list) if state != list => return None,
            Step::Absurd => return None,
            Step::Contains(..) | Step::Read(_) => {}
        }
        Some(next)
    }

    fn reads(&self, op: &Step) -> bool {
        match op {
            Step::Contains(..) | Step::Read(_) | Step::Absurd => true,
            Step::Add(_, changed) | Step::Remove(_, changed) => *changed == Some(false),
        }
    }
}

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(Direct::new(Sets, Set))
}
