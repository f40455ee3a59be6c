//! What clients did and saw: operations with the moments of their calls and returns, in forty bytes each.
//!
//! The order of events is their position in the record, which must be the order of real time: an operation that returned at
//! a smaller position than another was called at is before it. Times and source lines are for people.
//!
//! An operation ends in one of four ways ([`End`]). It was answered; it was refused, which changed nothing; it certainly did
//! not happen; or its fate is unknown: it may take effect at any moment after its call, once, or never. Where the record
//! ended first its fate is unknown too.
//!
//! The record is neutral: [`Function`]s are the vocabulary of all models, and which of them mean something is the model's
//! business. `call` has the view of a key-value store, [`recorder`] builds records.

mod call;
pub mod recorder;
mod replace;
pub mod value;

pub use call::{Call, Condition, KvOperation, Moment, Outcome, Reply, Version};
pub use recorder::{Recorder, Request};
pub use value::{Datum, Value, Values};

use hashbrown::HashMap;
use std::borrow::Cow;

/// A key, as a number of its [`History`]: `0..keys()` in the order of first use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub u32);

impl KeyId {
    /// Of operations that are not on one key: transactions.
    pub const NONE: KeyId = KeyId(u32::MAX);
}

/// An operation's place in [`History::operations`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u32);

/// A position that is none: [`Operation::returned`] of what never returned.
pub const NEVER: u32 = u32::MAX;
/// A revision that was not told.
pub const UNTOLD_REVISION: u32 = u32::MAX;

/// What was asked, in the vocabulary of all models.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Function {
    /// Read the whole object: get.
    Read,
    /// Write it, perhaps under conditions: put, compare-and-set.
    Write,
    /// Remove it, perhaps under conditions.
    Delete,
    /// Append [`Operation::arg`] to a text or list.
    Append,
    /// Add it to a counter or a set.
    Add,
    /// Remove it from a set.
    Remove,
    /// Ask whether a set contains it.
    Contains,
    /// Put it at the end of a queue.
    Enqueue,
    /// Take what is at the head of a queue; the reply [`Value::NIL`] says that it was empty.
    Dequeue,
    /// Take a lock; the reply is the fencing token, if one is given.
    Acquire,
    /// Give a lock back.
    Release,
    /// Take the next number of a sequence.
    Next,
    /// A transaction: [`History::micro_ops`].
    Txn,
    /// A function of a user's own model: the place of its name in [`History::names`].
    Other(u8),
}

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It took effect, or a read's answer.
    Ok,
    /// Its conditions did not hold; it changed nothing. [`Operation::reply`]: what was there instead, if told.
    Refused,
    /// It certainly did not happen and never will.
    Fail,
    /// Unknown: it may take effect at any moment after its call, once, or never.
    Info,
}

/// One operation of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client; it has at most one operation open, apart from those that ended in [`End::Info`].
    pub process: u32,
    /// The key.
    pub key: KeyId,
    /// Position of the call among all events.
    pub called: u32,
    /// Position of the return; [`NEVER`]: none, and the end is [`End::Info`]. For an unknown outcome this is when the client
    /// gave up, which bounds nothing.
    pub returned: u32,
    /// What was asked.
    pub f: Function,
    /// How it ended.
    pub end: End,
    /// What was asked with: the value to write, to append, to add. Of a transaction: see [`History::micro_ops`].
    pub arg: Value,
    /// The value that must be there for a write or delete to take effect; [`Value::UNTOLD`]: any.
    pub compare: Value,
    /// What was answered or seen; [`Value::UNTOLD`]: nothing.
    pub reply: Value,
    /// The revision that it took, or of the reply; [`UNTOLD_REVISION`].
    pub revision: u32,
    /// Further conditions: a place in the history's table, or `u32::MAX`.
    when: u32,
}

impl Operation {
    /// The position by which it had certainly taken place or been refused; `None` when its outcome is unknown or it failed.
    #[must_use]
    pub fn settled(&self) -> Option<u32> {
        match self.end {
            End::Ok | End::Refused => Some(self.returned),
            End::Fail | End::Info => None,
        }
    }

    /// The revision, if told.
    #[must_use]
    pub fn told_revision(&self) -> Option<u32> {
        (self.revision != UNTOLD_REVISION).then_some(self.revision)
    }

    /// Whether it is a write or delete with conditions other than [`Operation::compare`].
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
    /// What was written or appended, or read of a register; [`Value::UNTOLD`]: a read whose result is not known.
    pub value: Value,
    /// The list that a read saw, as a range of the history's elements.
    list: Option<(u32, u32)>,
}

/// A finished record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    operations: Vec<Operation>,
    /// Nanoseconds by event.
    times: Vec<u64>,
    /// Lines of the source by event; empty when there is none.
    lines: Vec<u32>,
    values: Values,
    keys: Vec<Value>,
    /// Place in `keys` by [`Value::bits`]; only looked into.
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
    /// Bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        fn of<T>(table: &Vec<T>) -> usize {
            table.capacity() * size_of::<T>()
        }
        let records = of(&self.operations) + of(&self.times) + of(&self.lines) + of(&self.conditions);
        let names = of(&self.names) + self.names.iter().map(String::capacity).sum::<usize>();
        // A place of the table and its byte of control.
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

    /// How many events (calls and returns) were recorded.
    #[must_use]
    pub fn events(&self) -> u32 {
        self.times.len() as u32
    }

    /// When an event happened, in nanoseconds since the start of the run; 0 when the source does not tell.
    #[must_use]
    pub fn time(&self, event: u32) -> u64 {
        self.times.get(event as usize).copied().unwrap_or(0)
    }

    /// Where an event stands in its source: a line, from 1.
    #[must_use]
    pub fn line(&self, event: u32) -> Option<u32> {
        self.lines.get(event as usize).copied().filter(|&line| line != 0)
    }

    /// How many keys occur; their ids are `0..keys()` in the order of their first use.
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

    /// The number of a key, if it occurs.
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

    /// What a value stands for.
    #[must_use]
    pub fn datum(&self, value: Value) -> Datum<'_> {
        self.values.datum(value)
    }

    /// A value for people.
    #[must_use]
    pub fn show(&self, value: Value) -> String {
        self.values.show(value, true)
    }

    /// What every object holds before the first operation; [`Value::NIL`]: nothing.
    #[must_use]
    pub fn initial(&self) -> Value {
        self.initial
    }

    /// The names of the functions that are not in the vocabulary.
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

    /// The steps of a transaction, as the client saw them in the end; none for other operations.
    #[must_use]
    pub fn micro_ops(&self, op: &Operation) -> &[MicroOp] {
        match (op.f, op.arg.as_small(), op.reply.as_small()) {
            (Function::Txn, Some(start), Some(length)) => &self.micro_ops[start as usize..(start + length) as usize],
            _ => &[],
        }
    }

    /// The list that a step read; `None` when it is no read of a list, or its result is not known.
    #[must_use]
    pub fn list(&self, step: &MicroOp) -> Option<&[Value]> {
        step.list.map(|(start, length)| &self.elements[start as usize..(start + length) as usize])
    }

    /// The same history with the outcomes of all operations forgotten but those kept: reads tell nothing then, and writes
    /// may have happened at any time after their call, or never. `keep` has a place for each operation.
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

    /// Every event in order: its position, the operation, and whether this is its return.
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
