//! What clients did and saw: operations on keys, with the moments of their calls and returns.
//!
//! The order of events is their position in the record ([`Moment::index`]), which must be the order of real time: an
//! operation that returned at a smaller index than another was called at is before it. Times are for people.
//!
//! An operation ends in one of four ways. It was answered ([`Outcome::Ok`]); it certainly did not happen
//! ([`Outcome::Fail`]); its fate is unknown ([`Outcome::Info`]: it may take effect at any moment after its call, once,
//! or never); or the record ended first, which means the same as unknown.
//!
//! Keys and values are text, interned to small numbers when recorded so that checking compares integers. Bytes that are
//! not text must be escaped by the recorder's user.

use std::collections::HashMap;

/// A key of the store, as a number of its [`History`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub u32);

/// A value, as a number of its [`History`]; equal numbers are equal texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(pub u32);

/// An operation's place in [`History::operations`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u32);

/// When an event happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Position among all events; the order that counts.
    pub index: u64,
    /// Nanoseconds since the start of the run; shown to people, never compared.
    pub time: u64,
}

/// Conditions on the state of the key; all that are set must hold for a write to take effect.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Condition<V = ValueId> {
    /// `Some(false)`: the key must be missing (`nx`); `Some(true)`: it must be present (`xx`).
    pub exists: Option<bool>,
    /// The key must be present with this value (`cmp`).
    pub value: Option<V>,
    /// The key must be present at this revision (`cmprev`); -1: it must be missing.
    pub revision: Option<i64>,
}

impl<V> Condition<V> {
    /// No condition.
    pub const ALWAYS: Condition<V> = Condition { exists: None, value: None, revision: None };

    /// Whether nothing is asked.
    pub fn is_always(&self) -> bool {
        self.exists.is_none() && self.value.is_none() && self.revision.is_none()
    }
}

/// What a client asked of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Call<V = ValueId> {
    /// Read the key.
    Get,
    /// Write a value if the conditions hold. A compare-and-set is a put whose condition names a value.
    Put {
        /// What to write.
        value: V,
        /// When to refuse.
        when: Condition<V>,
    },
    /// Remove the key if it is present and the conditions hold.
    Delete {
        /// When to refuse.
        when: Condition<V>,
    },
}

impl<V> Call<V> {
    /// An unconditional put.
    pub fn put(value: V) -> Call<V> {
        Call::Put { value, when: Condition::ALWAYS }
    }

    /// A compare-and-set: writes `to` where the value is `from`.
    pub fn cas(from: V, to: V) -> Call<V> {
        Call::Put { value: to, when: Condition { value: Some(from), ..Condition::ALWAYS } }
    }

    /// An unconditional delete.
    pub fn delete() -> Call<V> {
        Call::Delete { when: Condition::ALWAYS }
    }

    /// The condition; a read has none.
    pub fn condition(&self) -> Option<&Condition<V>> {
        match self {
            Call::Get => None,
            Call::Put { when, .. } | Call::Delete { when } => Some(when),
        }
    }

    /// Whether an answer of this kind fits the call.
    pub fn fits(&self, reply: &Reply<V>) -> bool {
        matches!((self, reply), (Call::Get, Reply::Got(_)))
            || !matches!(self, Call::Get) && !matches!(reply, Reply::Got(_))
    }
}

/// A value with the revision it was seen at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version<V = ValueId> {
    /// The value.
    pub value: V,
    /// How often the key had been modified before this value was written, if the reply told.
    pub revision: Option<u64>,
}

/// What the store answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<V = ValueId> {
    /// A read found this; `None`: the key is missing.
    Got(Option<Version<V>>),
    /// A put or delete took effect, and took this revision if the reply told.
    Done {
        /// Revision of the key after the change: 0 for the first modification.
        revision: Option<u64>,
    },
    /// A put or delete was refused and changed nothing; what the key held at that moment.
    Refused(Option<Version<V>>),
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

/// One operation of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client; it has at most one operation open, apart from those that ended in [`Outcome::Info`].
    pub process: u32,
    /// When it was called.
    pub called: Moment,
    /// When the client learned the outcome. `None`: never, and the outcome is [`Outcome::Info`]. For an unknown outcome
    /// this is when the client gave up, which bounds nothing.
    pub returned: Option<Moment>,
    /// The key.
    pub key: KeyId,
    /// What was asked.
    pub call: Call,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// The event index by which it had certainly taken place; `None` when its outcome is unknown or it failed.
    pub fn settled(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok(_) => self.returned.map(|moment| moment.index),
            Outcome::Fail | Outcome::Info => None,
        }
    }
}

/// A finished record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    keys: Names,
    values: Names,
    events: u64,
}

impl History {
    /// All operations, in the order of their calls.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// One operation.
    pub fn operation(&self, op: OpId) -> &Operation {
        &self.operations[op.0 as usize]
    }

    /// How many events (calls and returns) were recorded.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many keys occur; their ids are `0..keys()` in the order of their first use.
    pub fn keys(&self) -> u32 {
        self.keys.texts.len() as u32
    }

    /// How many different values occur; their ids are `0..values()`.
    pub fn values(&self) -> u32 {
        self.values.texts.len() as u32
    }

    /// A key's text.
    pub fn key(&self, key: KeyId) -> &str {
        &self.keys.texts[key.0 as usize]
    }

    /// A value's text.
    pub fn value(&self, value: ValueId) -> &str {
        &self.values.texts[value.0 as usize]
    }

    /// The number of a key, if it occurs.
    pub fn find_key(&self, text: &str) -> Option<KeyId> {
        self.keys.ids.get(text).copied().map(KeyId)
    }

    /// Every event in order: the operation, and whether this is its return.
    pub(crate) fn in_order(&self) -> Vec<(Moment, OpId, bool)> {
        let mut events: Vec<_> = (0u32..)
            .zip(&self.operations)
            .flat_map(|(i, op)| {
                [Some((op.called, OpId(i), false)), op.returned.map(|m| (m, OpId(i), true))].into_iter().flatten()
            })
            .collect();
        events.sort_unstable_by_key(|(moment, ..)| moment.index);
        events
    }
}

/// Builds a [`History`] event by event, in the order in which the events happen.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: History,
}

impl Recorder {
    /// A client calls an operation.
    pub fn invoke(&mut self, process: u32, time: u64, key: &str, call: Call<&str>) -> OpId {
        let history = &mut self.history;
        let id = OpId(u32::try_from(history.operations.len()).expect("a history has fewer than 2^32 operations"));
        let key = KeyId(history.keys.intern(key));
        let values = &mut history.values;
        let mut condition = |when: Condition<&str>| Condition {
            exists: when.exists,
            value: when.value.map(|text| ValueId(values.intern(text))),
            revision: when.revision,
        };
        let call = match call {
            Call::Get => Call::Get,
            Call::Put { value, when } => {
                let when = condition(when);
                Call::Put { value: ValueId(values.intern(value)), when }
            }
            Call::Delete { when } => Call::Delete { when: condition(when) },
        };
        let called = self.moment(time);
        self.history.operations.push(Operation { process, called, returned: None, key, call, outcome: Outcome::Info });
        id
    }

    /// The store answered.
    ///
    /// # Panics
    /// When the operation has already ended, or the answer is of the wrong kind for the call: errors of the program
    /// that records.
    pub fn ok(&mut self, op: OpId, time: u64, reply: Reply<&str>) {
        let values = &mut self.history.values;
        let mut version = |seen: Option<Version<&str>>| {
            seen.map(|v| Version { value: ValueId(values.intern(v.value)), revision: v.revision })
        };
        let reply = match reply {
            Reply::Got(seen) => Reply::Got(version(seen)),
            Reply::Done { revision } => Reply::Done { revision },
            Reply::Refused(instead) => Reply::Refused(version(instead)),
        };
        assert!(self.history.operation(op).call.fits(&reply), "{reply:?} does not answer this call");
        self.end(op, time, Outcome::Ok(reply));
    }

    /// The operation certainly did not happen and never will.
    ///
    /// # Panics
    /// When the operation has already ended.
    pub fn fail(&mut self, op: OpId, time: u64) {
        self.end(op, time, Outcome::Fail);
    }

    /// The client gave up without knowing whether the operation happened or will.
    ///
    /// # Panics
    /// When the operation has already ended.
    pub fn info(&mut self, op: OpId, time: u64) {
        self.end(op, time, Outcome::Info);
    }

    /// Goes on after the end of a record.
    pub fn continuing(history: History) -> Recorder {
        Recorder { history }
    }

    /// What was recorded so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The record; operations still open have unknown outcomes.
    pub fn finish(self) -> History {
        self.history
    }

    fn end(&mut self, op: OpId, time: u64, outcome: Outcome) {
        let moment = self.moment(time);
        let operation = &mut self.history.operations[op.0 as usize];
        assert!(operation.returned.is_none(), "operation {} ended twice", op.0);
        operation.returned = Some(moment);
        operation.outcome = outcome;
    }

    fn moment(&mut self, time: u64) -> Moment {
        self.history.events += 1;
        Moment { index: self.history.events - 1, time }
    }
}

/// Texts numbered in the order of their first use. The map is only looked into, never iterated.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Names {
    texts: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Names {
    fn intern(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = u32::try_from(self.texts.len()).expect("a history has fewer than 2^32 texts");
        self.texts.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }
}
