//! Guesses which model a history is meant for, from its functions and the shapes of its replies. The reason is reported
//! with the guess.

use super::Kind;
use crate::history::{Datum, End, Function, History, Operation, Value};
use crate::jepsen::TRANSFER;
use std::fmt;

/// What a history can be checked as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meant {
    /// Operations on objects of this kind.
    Objects(Kind),
    /// Transactions that append to lists and read them.
    ListAppend,
    /// Transactions that write registers and read them.
    RwRegister,
    /// Accounts: transfers, and reads of all balances.
    Bank,
}

impl Meant {
    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Meant::Objects(kind) => kind.name(),
            Meant::ListAppend => "list-append",
            Meant::RwRegister => "rw-register",
            Meant::Bank => "bank",
        }
    }

    /// The kind of check with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Meant> {
        let others = [Meant::ListAppend, Meant::RwRegister, Meant::Bank];
        others.into_iter().chain(Kind::ALL.map(Meant::Objects)).find(|meant| meant.name() == name)
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The result of the detection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detected {
    /// The model, or `None` if no built-in one fits.
    pub model: Option<Meant>,
    /// The reason.
    pub why: String,
}

/// What occurs in a history.
#[derive(Default)]
struct Seen {
    functions: [bool; 14],
    other: Option<u8>,
    compares: bool,
    refused: bool,
    revisions: bool,
    conditions: bool,
    list_read: bool,
    nonnumber_added: bool,
    steps_append: bool,
    steps_write: bool,
    steps_list: bool,
}

fn place(f: Function) -> usize {
    match f {
        Function::Read => 0,
        Function::Write => 1,
        Function::Delete => 2,
        Function::Append => 3,
        Function::Add => 4,
        Function::Remove => 5,
        Function::Contains => 6,
        Function::Enqueue => 7,
        Function::Dequeue => 8,
        Function::Acquire => 9,
        Function::Release => 10,
        Function::Next => 11,
        Function::Txn => 12,
        Function::Other(_) => 13,
    }
}

impl Seen {
    fn of(history: &History) -> Seen {
        let mut seen = Seen::default();
        for op in history.operations() {
            seen.functions[place(op.f)] = true;
            if let Function::Other(name) = op.f {
                seen.other.get_or_insert(name);
            }
            seen.compares |= op.compare != Value::UNTOLD;
            seen.conditions |= op.has_further_conditions();
            seen.revisions |= op.told_revision().is_some();
            seen.refused |= op.end == End::Refused && op.compare == Value::UNTOLD;
            let list = |value| matches!(history.datum(value), Datum::List(_));
            seen.list_read |= op.f == Function::Read && list(op.reply);
            seen.nonnumber_added |= op.f == Function::Add && !matches!(history.datum(op.arg), Datum::Int(_));
            for step in history.micro_ops(op) {
                seen.steps_append |= step.f == Function::Append;
                seen.steps_write |= step.f == Function::Write;
                seen.steps_list |= history.list(step).is_some();
            }
        }
        seen
    }

    fn any(&self, f: Function) -> bool {
        self.functions[place(f)]
    }
}

/// Detects what a history can be checked as. Functions of different models together fit none.
#[must_use]
pub fn detect(history: &History) -> Detected {
    let seen = &Seen::of(history);
    let (model, why) = guess(history, seen);
    let misfit = match model {
        Some(Meant::Objects(kind)) => kind.accepts(history).err().map(|misfit| misfit.what),
        Some(Meant::Bank) | None => None,
        Some(Meant::ListAppend | Meant::RwRegister) => {
            let other = history.operations().iter().find(|op| op.f != Function::Txn);
            other.map(|op| format!("a transaction cannot be checked with {}", history.function(op.f)))
        }
    };
    match misfit {
        None => Detected { model, why },
        Some(misfit) => Detected { model: None, why: format!("{why}, but {misfit}") },
    }
}

fn guess(history: &History, seen: &Seen) -> (Option<Meant>, String) {
    use Function::{Acquire, Add, Append, Contains, Delete, Dequeue, Enqueue, Next, Read, Release, Remove, Txn, Write};
    let objects = |kind, why: &str| (Some(Meant::Objects(kind)), why.to_owned());
    let bank = |op: &Operation| op.f == Read || history.function(op.f) == TRANSFER;
    if seen.other.is_some() && history.operations().iter().all(bank) {
        return (Some(Meant::Bank), "there is transfer".to_owned());
    }
    if let Some(name) = seen.other {
        return (None, format!("no model has a function {}", history.function(Function::Other(name))));
    }
    if seen.any(Txn) {
        return match (seen.steps_append, seen.steps_write) {
            (true, true) => (None, "some transactions append and some write: Elle's models have either".to_owned()),
            (true, false) => (Some(Meant::ListAppend), "transactions append".to_owned()),
            (false, _) if seen.steps_list => (Some(Meant::ListAppend), "transactions read lists".to_owned()),
            (false, _) => (Some(Meant::RwRegister), "transactions read and write".to_owned()),
        };
    }
    if seen.any(Enqueue) || seen.any(Dequeue) {
        return objects(Kind::Queue, "there is enqueue or dequeue");
    }
    if seen.any(Acquire) || seen.any(Release) {
        return objects(Kind::Lock, "there is acquire or release");
    }
    if seen.any(Next) {
        return objects(Kind::Sequence, "there is next");
    }
    if seen.any(Append) {
        return objects(Kind::Append, "there is append");
    }
    if seen.any(Remove) || seen.any(Contains) {
        return objects(Kind::Set, "there is remove or contains");
    }
    if seen.any(Add) {
        return match (seen.list_read, seen.nonnumber_added) {
            (true, _) => objects(Kind::Set, "there is add, and reads see lists"),
            (false, true) => objects(Kind::Set, "there is add of what is no number"),
            (false, false) => objects(Kind::Counter, "there is add, and no read sees a list"),
        };
    }
    if seen.any(Delete) || seen.conditions || seen.revisions || seen.refused {
        return objects(Kind::Kv, "there are deletes, conditions or revisions");
    }
    if seen.compares {
        return objects(Kind::CasRegister, "there is compare-and-set");
    }
    if seen.any(Read) || seen.any(Write) {
        return objects(Kind::Register, "there is nothing but reads and writes");
    }
    objects(Kind::Kv, "there is no operation")
}
