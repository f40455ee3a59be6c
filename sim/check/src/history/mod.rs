//! Histories: the operations of clients, with the positions of their invocations and completions. Forty bytes per
//! operation.
//!
//! The order of events is their position in the history, which must be the real-time order. An operation precedes
//! another if its completion has a smaller position than the other's invocation. Times and source lines are only for
//! display.
//!
//! An operation ends in one of four ways ([`End`]). It was answered. It was refused, which changed nothing. It
//! certainly did not happen. Or its outcome is unknown: it may take effect at any moment after its call, once, or
//! never. An operation still open at the end of the history also has an unknown outcome.
//!
//! Histories do not depend on a model. [`Function`]s are the vocabulary of all models, and each model decides which of
//! them it understands. `call` is the view of a key-value store. [`recorder`] builds histories.

mod call;
pub mod recorder;
mod replace;
pub mod value;

pub use call::{Call, Condition, KvOperation, Moment, Outcome, Reply, Version};
pub use recorder::{Recorder, Request};
pub use value::{Datum, Value, Values};

use hashbrown::HashMap;
use std::borrow::Cow;

/// A key of a [`History`]. Keys are numbered `0..keys()` in the order of first use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub u32);

impl KeyId {
    /// The key of operations that are not on one key: transactions.
    pub const NONE: KeyId = KeyId(u32::MAX);
}

/// The index of an operation in [`History::operations`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u32);

/// Not a position: [`Operation::returned`] of an operation that never returned.
pub const NEVER: u32 = u32::MAX;
/// A revision that is not known.
pub const UNTOLD_REVISION: u32 = u32::MAX;

/// The function of an operation, in the vocabulary of all models.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Function {
    /// Read the whole object: get.
    Read,
    /// Write the object, possibly under conditions: put, compare-and-set.
    Write,
    /// Remove the object, possibly under conditions.
    Delete,
    /// Append [`Operation::arg`] to a text or list.
    Append,
    /// Add [`Operation::arg`] to a counter or a set.
    Add,
    /// Remove [`Operation::arg`] from a set.
    Remove,
    /// Ask whether a set contains [`Operation::arg`].
    Contains,
    /// Add [`Operation::arg`] to the tail of a queue.
    Enqueue,
    /// Remove the head of a queue. The reply [`Value::NIL`] means that the queue was empty.
    Dequeue,
    /// Acquire a lock. The reply is the fencing token, if there is one.
    Acquire,
    /// Release a lock.
    Release,
    /// Take the next number of a sequence.
    Next,
    /// A transaction. Its steps are in [`History::micro_ops`].
    Txn,
    /// A function of a user's own model: the index of its name in [`History::names`].
    Other(u8),
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It took effect. For a read: it was answered.
    Ok,
    /// Its conditions did not hold and it changed nothing. [`Operation::reply`] is the value found instead, if known.
    Refused,
    /// It certainly did not happen and never will.
    Fail,
    /// Unknown: it may take effect at any moment after its call, once, or never.
    Info,
}

/// An operation of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client; it has at most one operation open, apart from those that ended in [`End::Info`].
    pub process: u32,
    /// The key.
    pub key: KeyId,
    /// Position of the call among all events.
    pub called: u32,
    /// Position of the return; [`NEVER`] if there is none, and then the end is [`End::Info`]. For an unknown outcome
    /// this is when the client gave up, which does not bound when the operation takes effect.
    pub returned: u32,
    /// The function called.
    pub f: Function,
    /// How it ended.
    pub end: End,
    /// The argument: the value to write, append or add. For a transaction see [`History::micro_ops`].
    pub arg: Value,
    /// The value that must be present for a write or delete to take effect; [`Value::UNTOLD`] means any.
    pub compare: Value,
    /// The answer; [`Value::UNTOLD`] if there is none.
    pub reply: Value,
    /// The revision that the operation created, or the revision of the reply; [`UNTOLD_REVISION`] if unknown.
    pub revision: u32,
    /// Further conditions: an index into the history's table, or `u32::MAX` for none.
    when: u32,
}

impl Operation {
    /// The position by which the operation has certainly taken effect or been refused; `None` if its outcome is unknown
    /// or it failed.
    #[must_use]
    pub fn settled(&self) -> Option<u32> {
        match self.end {
            End::Ok | End::Refused => Some(self.returned),
            End::Fail | End::Info => None,
        }
    }

    /// The revision, if known.
    #[must_use]
    pub fn told_revision(&self) -> Option<u32> {
        (self.revision != UNTOLD_REVISION).then_some(self.revision)
    }

    /// Whether this is a write or delete with conditions other than [`Operation::compare`].
    #[must_use]
    pub fn has_further_conditions(&self) -> bool {
        self.when != u32::MAX
    }
}

/// One step of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MicroOp {
    /// [`Function::Read`], [`Function::Write`] or [`Function::Append`].
    pub f: Function,
    /// The key.
    pub key: KeyId,
    /// The value written or appended, or read from a register; [`Value::UNTOLD`] for a read whose result is not known.
    pub value: Value,
    /// The list that a read returned, as a range of the history's elements.
    list: Option<(u32, u32)>,
}

/// A finished history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    operations: Vec<Operation>,
    /// Time of each event in nanoseconds.
    times: Vec<u64>,
    /// Source line of each event; empty if there is no source.
    lines: Vec<u32>,
    values: Values,
    keys: Vec<Value>,
    /// Index in `keys` by [`Value::bits`]. Only for lookups, never iterated.
    key_ids: HashMap<u32, u32>,
    conditions: Vec<(Option<bool>, Option<i64>)>,
    micro_ops: Vec<MicroOp>,
    elements: Vec<Value>,
    names: Vec<String>,
    initial: Value,
}

impl Default for History {
    fn default() -> History {
        History {
            operations: Vec::new(),
            times: Vec::new(),
            lines: Vec::new(),
            values: Values::default(),
            keys: Vec::new(),
            key_ids: HashMap::new(),
            conditions: Vec::new(),
            micro_ops: Vec::new(),
            elements: Vec::new(),
            names: Vec::new(),
            initial: Value::NIL,
        }
    }
}

impl History {
    /// Memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        fn of<T>(table: &Vec<T>) -> usize {
            table.capacity() * size_of::<T>()
        }
        let records = of(&self.operations) + of(&self.times) + of(&self.lines) + of(&self.conditions);
        let names = of(&self.names) + self.names.iter().map(String::capacity).sum::<usize>();
        // An entry of the table and its control byte.
        let keys = of(&self.keys) + self.key_ids.capacity() * 9 * 8 / 7;
        records + names + keys + of(&self.micro_ops) + of(&self.elements) + self.values.bytes()
    }

    /// All operations, in the order of their calls.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// One operation.
    #[must_use]
    pub fn operation(&self, op: OpId) -> &Operation {
        &self.operations[op.0 as usize]
    }

    /// Number of events (calls and returns) recorded.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.times.len() as u32
    }

    /// The time of an event in nanoseconds since the start of the run; 0 if the source has no times.
    #[must_use]
    pub fn time(&self, event: u32) -> u64 {
        self.times.get(event as usize).copied().unwrap_or(0)
    }

    /// The line of an event in its source, from 1.
    #[must_use]
    pub fn line(&self, event: u32) -> Option<u32> {
        self.lines.get(event as usize).copied().filter(|&line| line != 0)
    }

    /// Number of keys. Their ids are `0..keys()` in the order of first use.
    #[must_use]
    pub fn keys(&self) -> u32 {
        self.keys.len() as u32
    }

    /// A key's text. The only key of a history without keys is called `the object`.
    #[must_use]
    pub fn key(&self, key: KeyId) -> Cow<'_, str> {
        match self.values.datum(self.key_value(key)) {
            Datum::Nil => Cow::Borrowed("the object"),
            Datum::Text(text) | Datum::Symbol(text) => Cow::Borrowed(text),
            _ => Cow::Owned(self.values.show(self.key_value(key), true)),
        }
    }

    /// A key as a value; [`Value::NIL`] for [`KeyId::NONE`].
    #[must_use]
    pub fn key_value(&self, key: KeyId) -> Value {
        self.keys.get(key.0 as usize).copied().unwrap_or(Value::NIL)
    }

    /// The id of a key, if it occurs.
    #[must_use]
    pub fn find_key(&self, text: &str) -> Option<KeyId> {
        let value = self.values.find(Datum::Text(text))?;
        self.key_ids.get(&value.bits()).copied().map(KeyId)
    }

    /// All values.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The content of a value.
    #[must_use]
    pub fn datum(&self, value: Value) -> Datum<'_> {
        self.values.datum(value)
    }

    /// A value as text for display.
    #[must_use]
    pub fn show(&self, value: Value) -> String {
        self.values.show(value, true)
    }

    /// The initial value of every object; [`Value::NIL`] means nothing.
    #[must_use]
    pub fn initial(&self) -> Value {
        self.initial
    }

    /// The names of the functions outside the vocabulary.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of a function.
    #[must_use]
    pub fn function(&self, f: Function) -> &str {
        match f {
            Function::Read => "read",
            Function::Write => "write",
            Function::Delete => "delete",
            Function::Append => "append",
            Function::Add => "add",
            Function::Remove => "remove",
            Function::Contains => "contains",
            Function::Enqueue => "enqueue",
            Function::Dequeue => "dequeue",
            Function::Acquire => "acquire",
            Function::Release => "release",
            Function::Next => "next",
            Function::Txn => "txn",
            Function::Other(n) => self.names.get(usize::from(n)).map_or("?", String::as_str),
        }
    }

    /// The conditions of a write or delete.
    #[must_use]
    pub fn condition(&self, op: &Operation) -> Condition {
        let (exists, revision) = self.conditions.get(op.when as usize).copied().unwrap_or((None, None));
        Condition { exists, value: op.compare.told(), revision }
    }

    /// The steps of a transaction, as known to the client at the end; empty for other operations.
    #[must_use]
    pub fn micro_ops(&self, op: &Operation) -> &[MicroOp] {
        match (op.f, op.arg.as_small(), op.reply.as_small()) {
            (Function::Txn, Some(start), Some(length)) => &self.micro_ops[start as usize..(start + length) as usize],
            _ => &[],
        }
    }

    /// The list that a step read; `None` if it is not a read of a list, or its result is not known.
    #[must_use]
    pub fn list(&self, step: &MicroOp) -> Option<&[Value]> {
        step.list.map(|(start, length)| &self.elements[start as usize..(start + length) as usize])
    }

    /// Returns the same history without the outcomes of the operations whose entry in `keep` is false. Those reads then
    /// say nothing. Those writes may have happened at any time after their call, or never. `keep` has an entry for each
    /// operation.
    #[must_use]
    pub fn forgetting(&self, keep: &[bool]) -> History {
        let mut history = self.clone();
        for (op, keep) in history.operations.iter_mut().zip(keep) {
            if !keep && matches!(op.end, End::Ok | End::Refused) {
                (op.end, op.reply, op.revision) = (End::Info, Value::UNTOLD, UNTOLD_REVISION);
            }
        }
        history
    }

    /// Iterates over all events in order: the position, the operation, and whether the event is the operation's return.
    pub fn in_order(&self) -> impl Iterator<Item = (u32, OpId, bool)> {
        let mut owners = vec![(OpId(u32::MAX), false); self.times.len()];
        for (i, op) in (0u32..).zip(&self.operations) {
            owners[op.called as usize] = (OpId(i), false);
            if let Some(owner) = owners.get_mut(op.returned as usize) {
                *owner = (OpId(i), true);
            }
        }
        (0u32..).zip(owners).map(|(event, (op, returned))| (event, op, returned))
    }
}
