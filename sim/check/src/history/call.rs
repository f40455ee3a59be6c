//! Operations as a client of a key-value store sees them: a view of a [`History`] of registers or keys.

use super::{End, Function, History, KeyId, NEVER, OpId, Operation, Value};

/// When an event happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Position among all events. This determines the order.
    pub index: u32,
    /// Nanoseconds since the start of the run. Only for display, never compared.
    pub time: u64,
}

/// Conditions on the state of a key. A write takes effect only if all conditions that are set hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Condition<V = Value> {
    /// `Some(false)`: the key must be missing (`nx`); `Some(true)`: it must be present (`xx`).
    pub exists: Option<bool>,
    /// The key must be present with this value (`cmp`); [`Value::NIL`]: it must be missing.
    pub value: Option<V>,
    /// The key must be present at this revision (`cmprev`); -1: it must be missing.
    pub revision: Option<i64>,
}

impl<V> Condition<V> {
    /// No condition.
    pub const ALWAYS: Condition<V> = Condition { exists: None, value: None, revision: None };

    /// Whether there are no conditions.
    pub fn is_always(&self) -> bool {
        self.exists.is_none() && self.value.is_none() && self.revision.is_none()
    }
}

/// A client's request on a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Call<V = Value> {
    /// Read the key.
    Get,
    /// Write a value if the conditions hold. A compare-and-set is a put with a condition on the value.
    Put {
        /// The value to write.
        value: V,
        /// The conditions; the put is refused if they do not hold.
        when: Condition<V>,
    },
    /// Remove the key if it is present and the conditions hold.
    Delete {
        /// The conditions; the delete is refused if they do not hold.
        when: Condition<V>,
    },
}

impl<V> Call<V> {
    /// An unconditional put.
    pub fn put(value: V) -> Call<V> {
        Call::Put { value, when: Condition::ALWAYS }
    }

    /// A compare-and-set: writes `to` if the value is `from`.
    pub fn cas(from: V, to: V) -> Call<V> {
        Call::Put { value: to, when: Condition { value: Some(from), ..Condition::ALWAYS } }
    }

    /// An unconditional delete.
    pub fn delete() -> Call<V> {
        Call::Delete { when: Condition::ALWAYS }
    }

    /// The conditions; `None` for a read.
    pub fn condition(&self) -> Option<&Condition<V>> {
        match self {
            Call::Get => None,
            Call::Put { when, .. } | Call::Delete { when } => Some(when),
        }
    }

    /// Whether a reply of this kind can answer the call.
    pub fn fits(&self, reply: &Reply<V>) -> bool {
        matches!((self, reply), (Call::Get, Reply::Got(_)))
            || !matches!(self, Call::Get) && !matches!(reply, Reply::Got(_))
    }
}

/// A value with its revision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version<V = Value> {
    /// The value.
    pub value: V,
    /// Number of modifications of the key before this value was written, if the reply has it.
    pub revision: Option<u64>,
}

/// The store's reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<V = Value> {
    /// The result of a read; `None` if the key is missing.
    Got(Option<Version<V>>),
    /// A put or delete took effect.
    Done {
        /// Revision of the key after the change, if the reply has it; 0 for the first modification.
        revision: Option<u64>,
    },
    /// A put or delete was refused and changed nothing. Has what the key held at that moment.
    Refused(Option<Version<V>>),
    /// A put or delete was refused and changed nothing. What the key held is not known.
    Declined,
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Ok(Reply),
    /// It certainly did not happen and never will.
    Fail,
    /// Unknown: it may take effect at any moment after its call, once, or never.
    Info,
}

impl History {
    /// The request in terms of a key-value store; `None` for functions of other models.
    #[must_use]
    pub fn call(&self, op: &Operation) -> Option<Call> {
        match op.f {
            Function::Read => Some(Call::Get),
            Function::Write => Some(Call::Put { value: op.arg, when: self.condition(op) }),
            Function::Delete => Some(Call::Delete { when: self.condition(op) }),
            _ => None,
        }
    }

    /// The outcome in terms of a key-value store. A read without a recorded value is [`Outcome::Info`].
    #[must_use]
    pub fn outcome(&self, op: &Operation) -> Outcome {
        let revision = op.told_revision().map(u64::from);
        let seen = |value| (value != Value::NIL).then_some(Version { value, revision });
        match (op.end, op.reply.told()) {
            (End::Fail, _) => Outcome::Fail,
            (End::Info, _) => Outcome::Info,
            (End::Ok, Some(value)) if op.f == Function::Read => Outcome::Ok(Reply::Got(seen(value))),
            (End::Ok, None) if op.f == Function::Read => Outcome::Info,
            (End::Ok, _) => Outcome::Ok(Reply::Done { revision }),
            (End::Refused, Some(value)) => Outcome::Ok(Reply::Refused(seen(value))),
            (End::Refused, None) => Outcome::Ok(Reply::Declined),
        }
    }

    /// The moment of an event.
    #[must_use]
    pub fn moment(&self, event: u32) -> Moment {
        Moment { index: event, time: self.time(event) }
    }
}

/// An operation as a client of a key-value store sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KvOperation {
    /// The client.
    pub process: u32,
    /// When it was called.
    pub called: Moment,
    /// When the client learned the outcome, or gave up.
    pub returned: Option<Moment>,
    /// The key.
    pub key: KeyId,
    /// The request.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}

impl KvOperation {
    /// The position by which the operation has certainly taken effect or been refused; `None` if its outcome is unknown
    /// or it failed.
    #[must_use]
    pub fn settled(&self) -> Option<u32> {
        match self.outcome {
            Outcome::Ok(_) => self.returned.map(|moment| moment.index),
            Outcome::Fail | Outcome::Info => None,
        }
    }
}

impl History {
    /// An operation as a client of a key-value store sees it. Functions of other models look like reads.
    #[must_use]
    pub fn kv(&self, op: OpId) -> KvOperation {
        let op = self.operation(op);
        KvOperation {
            process: op.process,
            called: self.moment(op.called),
            returned: (op.returned != NEVER).then(|| self.moment(op.returned)),
            key: op.key,
            call: self.call(op).unwrap_or(Call::Get),
            outcome: self.outcome(op),
        }
    }
}
