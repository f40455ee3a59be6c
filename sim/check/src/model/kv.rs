//! A key of a store: missing, or present with a value. Registers and compare-and-set registers are keys that are never
//! deleted.
//!
//! Every modification takes the next revision, from 0: a write, and a delete of a present key. A delete of a missing
//! key and a write whose condition does not hold are refused and change nothing. Expiry is not part of the model: a
//! history with operations that set one must not be judged by it.
//!
//! `linear::kv` decides the same model faster, over prepared operations; this is the plain form, which the online
//! checker uses and tests compare with.

use super::Model;
use crate::history::{Call, Condition, History, Operation, Outcome, Reply, Value};

/// The model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kv;

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Its value, or [`Value::NIL`] if it is missing.
    pub value: Value,
    /// How often it was modified; a present value has revision `count - 1`.
    pub count: u64,
}

/// An operation and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Saw a value, and its revision if known. A refused write also has its conditions, which did not all hold.
    See {
        /// [`Value::UNTOLD`]: not told.
        value: Value,
        /// Its revision, if told.
        revision: Option<u64>,
        /// Of a refused write.
        refused: Option<Condition>,
    },
    /// Changed it.
    Change {
        /// What it holds afterwards.
        to: Value,
        /// Held at that moment.
        when: Condition,
        /// The revision that it took, if told.
        revision: Option<u64>,
    },
    /// Never takes effect: a delete that asks for absence.
    Impossible,
}

impl State {
    fn holds(self, when: &Condition) -> bool {
        let present = self.value != Value::NIL;
        let number = if present { self.count as i64 - 1 } else { -1 };
        when.exists.is_none_or(|wanted| wanted == present)
            && when.value.is_none_or(|value| value == self.value)
            && when.revision.is_none_or(|n| n == number)
    }
}

impl Model for Kv {
    type State = State;
    type Op = Op;

    fn initial(&self, history: &History) -> State {
        State { value: history.initial(), count: 0 }
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Op> {
        let call = history.call(op)?;
        let reply = match history.outcome(op) {
            Outcome::Fail => return None,
            Outcome::Ok(reply) if told => reply,
            Outcome::Ok(_) | Outcome::Info => Reply::Done { revision: None },
        };
        let (to, when) = match call {
            Call::Get => (Value::UNTOLD, Condition::ALWAYS),
            Call::Put { value, when } => (value, when),
            Call::Delete { when } if when.exists == Some(false) => match reply {
                Reply::Done { .. } => return Some(Op::Impossible),
                _ => (Value::NIL, Condition { revision: Some(-2), ..when }),
            },
            Call::Delete { when } => (Value::NIL, Condition { exists: Some(true), ..when }),
        };
        let refused = (call != Call::Get).then_some(when);
        Some(match reply {
            Reply::Done { .. } if call == Call::Get => return None,
            Reply::Done { revision } => Op::Change { to, when, revision },
            Reply::Declined => Op::See { value: Value::UNTOLD, revision: None, refused },
            Reply::Got(seen) | Reply::Refused(seen) => Op::See {
                value: seen.map_or(Value::NIL, |version| version.value),
                revision: seen.and_then(|version| version.revision),
                refused,
            },
        })
    }

    fn apply(&self, state: &State, op: &Op) -> Option<State> {
        match op {
            Op::See { value, revision, refused } => {
                let shows = value.told().is_none_or(|value| value == state.value)
                    && revision.is_none_or(|r| r.checked_add(1) == Some(state.count));
                (shows && !refused.is_some_and(|when| state.holds(&when))).then_some(*state)
            }
            Op::Change { to, when, revision } => (state.holds(when) && revision.is_none_or(|r| r == state.count))
                .then_some(State { value: *to, count: state.count + 1 }),
            Op::Impossible => None,
        }
    }

    fn reads(&self, op: &Op) -> bool {
        matches!(op, Op::See { .. })
    }

    fn hopeless(&self, state: &State, op: &Op) -> bool {
        match op {
            Op::See { revision, .. } => revision.is_some_and(|r| state.count > r.saturating_add(1)),
            Op::Change { revision, .. } => revision.is_some_and(|r| state.count > r),
            Op::Impossible => true,
        }
    }
}
