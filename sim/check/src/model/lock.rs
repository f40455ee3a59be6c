//! Mutual exclusion, with fencing tokens.
//!
//! `acquire` takes the lock when no process holds it, and may reply with a fencing token: an integer larger than every
//! token returned before it. Gaps are allowed, and replies that are not numbers carry no token. An `acquire` that was
//! refused, or answered false, shows that some process (the caller included) held the lock at some moment between call
//! and return: a lock does not refuse while it is free.
//!
//! `release` releases the lock. Only the process that holds it can: a successful release by any other process is
//! impossible. A release that was refused, or answered false, shows that the process did not hold the lock at some
//! moment.
//!
//! An `acquire` with an unknown outcome may have taken the lock at any moment, and then keeps it until that process
//! releases it. At first the lock is free, and the history's initial value, if it is a whole number, is the last token.

use super::Model;
use super::sequence::number;
use crate::history::{End, Function, History, Operation, Value};
use crate::linear::Judge;
use crate::linear::direct::Direct;
use crate::linear::locks::Locks;

/// The specification.
pub struct Lock;

/// The state of the lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    /// The process that holds it.
    pub by: Option<u32>,
    /// The last token returned.
    pub token: Option<i64>,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Took the lock and got this token.
    Acquire(Option<i64>),
    /// Found the lock held.
    Busy,
    /// Released the lock.
    Release,
    /// Did not hold it.
    Stranger,
}

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The process.
    pub process: u32,
    /// What it did.
    pub act: Act,
}

/// What an operation did, if it happened.
pub(crate) fn act(history: &History, op: &Operation, told: bool) -> Option<Act> {
    let refused = told && (op.end == End::Refused || op.reply == Value::FALSE);
    match op.f {
        Function::Acquire if refused => Some(Act::Busy),
        Function::Acquire if told => Some(Act::Acquire(number(history, op.reply).flatten())),
        Function::Acquire => Some(Act::Acquire(None)),
        Function::Release if refused => Some(Act::Stranger),
        Function::Release => Some(Act::Release),
        _ => None,
    }
}

impl Model for Lock {
    type State = Held;
    type Op = Step;

    fn initial(&self, history: &History) -> Held {
        Held { by: None, token: number(history, history.initial()).flatten() }
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        act(history, op, told).map(|act| Step { process: op.process, act })
    }

    fn apply(&self, held: &Held, op: &Step) -> Option<Held> {
        let mine = held.by == Some(op.process);
        match op.act {
            Act::Acquire(_) | Act::Busy if held.by.is_some() != (op.act == Act::Busy) => None,
            Act::Acquire(token) if token.is_some() && token <= held.token => None,
            Act::Acquire(token) => Some(Held { by: Some(op.process), token: token.or(held.token) }),
            Act::Release if mine => Some(Held { by: None, ..*held }),
            Act::Stranger if mine => None,
            Act::Release => None,
            Act::Busy | Act::Stranger => Some(*held),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        matches!(op.act, Act::Busy | Act::Stranger)
    }
}

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(Direct::new(Locks, Lock))
}
