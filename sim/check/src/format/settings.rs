//! What words mean that mean different things in different files: named settings, with a default for each format.
//!
//! A file can state its settings itself. In EDN the first line does, a comment, which every other reader passes over:
//!
//! ```text
//! ; seaworthy-check {:nil :absent, :fail :did-not-happen, :delete :found, :initial nil, :keys :in-value}
//! ```
//!
//! What the caller says goes before what the file states, and that before the defaults.

use super::edn;
use super::source::Source;
use super::tree::{Tree, What};
use super::{Error, Format};
use std::fmt;

/// What an answered read of `nil` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nil {
    /// The object is missing, or holds nothing.
    Absent,
    /// Nothing: the read is left out.
    Unknown,
    /// One of these two, and the file does not say which: taken in as absent, and [`Reading::without_nil`](super::Reading::without_nil)
    /// is the other meaning.
    Either,
}

/// What `:fail` says of a compare-and-set. Of everything else it says that it did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// Only that it did not happen.
    DidNotHappen,
    /// That the object did not hold the value compared with, at some moment between call and return.
    Refused,
}

/// What the `ok` of a delete without conditions says, if it comes without a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delete {
    /// The key was there, and is missing now.
    Found,
    /// The key is missing now, whether it was there or not.
    Any,
}

/// What the value of a refused operation says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// What was there instead; `nil`: nothing was.
    Found,
    /// Nothing: it is not looked at.
    Ignored,
}

/// What holds where the `ok` of a write, compare-and-set, append or enqueue names other values than its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// What the call says.
    Call,
    /// What the `ok` says.
    Ok,
    /// Neither: the history is refused.
    Error,
}

/// Where the key of an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// In a field of its own; without it there is one object.
    Field,
    /// In the value, which is a pair of key and value (of a compare-and-set: of key and pair): Jepsen's independent keys.
    InValue,
}

impl Nil {
    /// All of them, by name.
    pub const ALL: [(&str, Nil); 3] = [("absent", Nil::Absent), ("unknown", Nil::Unknown), ("either", Nil::Either)];
}

impl Fail {
    /// All of them, by name.
    pub const ALL: [(&str, Fail); 2] = [("did-not-happen", Fail::DidNotHappen), ("refused", Fail::Refused)];
}

impl Delete {
    /// All of them, by name.
    pub const ALL: [(&str, Delete); 2] = [("found", Delete::Found), ("any", Delete::Any)];
}

impl Refusal {
    /// All of them, by name.
    pub const ALL: [(&str, Refusal); 2] = [("found", Refusal::Found), ("ignored", Refusal::Ignored)];
}

impl Mismatch {
    /// All of them, by name.
    pub const ALL: [(&str, Mismatch); 3] = [("call", Mismatch::Call), ("ok", Mismatch::Ok), ("error", Mismatch::Error)];
}

impl Keys {
    /// All of them, by name.
    pub const ALL: [(&str, Keys); 2] = [("field", Keys::Field), ("in-value", Keys::InValue)];
}

/// What has this name.
#[must_use]
pub fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
}

/// What words mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// An answered read of nil.
    pub nil: Nil,
    /// A failed compare-and-set.
    pub fail: Fail,
    /// An ok delete.
    pub delete: Delete,
    /// The value of a refused operation.
    pub refusal: Refusal,
    /// An ok with other values than its call's.
    pub mismatch: Mismatch,
    /// What every object holds at first, as the format writes values; `nil`: nothing.
    pub initial: String,
    /// Where keys are.
    pub keys: Keys,
}

impl Settings {
    /// Those that hold unless the caller or the file says otherwise.
    ///
    /// | | JSON | EDN | log | plain |
    /// |---|---|---|---|---|
    /// | a read of nil | nothing there | either | nothing there | nothing there |
    /// | a failed compare-and-set | did not happen | did not happen | refused | refused |
    /// | an ok delete | found the key | any | any | any |
    /// | at first | nil | nil; `""` where the first call has a `:key` and is get, put or append; 0 where it is read-init | nil | 0 |
    /// | keys | field | by the first call | by the first call | field |
    ///
    /// The value of a refused operation is what was there, and where an ok names other values than its call the call counts,
    /// in all formats.
    ///
    /// By the first call that is no transaction: if it has no key but a value that is a pair (of a compare-and-set: whose
    /// second is a pair), keys are in values. A later value that is no pair is an error then.
    #[must_use]
    pub fn of(format: Format) -> Settings {
        let nil = if format == Format::Edn { Nil::Either } else { Nil::Absent };
        let fail = match format {
            Format::JsonLines | Format::Edn => Fail::DidNotHappen,
            Format::Log | Format::Plain => Fail::Refused,
        };
        // Only our own format has a word for a delete that found nothing.
        let delete = if format == Format::JsonLines { Delete::Found } else { Delete::Any };
        let initial = if format == Format::Plain { "0" } else { "nil" }.to_owned();
        let (refusal, mismatch) = (Refusal::Found, Mismatch::Call);
        Settings { nil, fail, delete, refusal, mismatch, initial, keys: Keys::Field }
    }

    /// Those of a format, but for what the caller wants to be otherwise; not what is there at first, which is a value.
    #[must_use]
    pub fn with(format: Format, options: &ReadOptions) -> Settings {
        let of = Settings::of(format);
        Settings {
            nil: options.nil.unwrap_or(of.nil),
            fail: options.fail.unwrap_or(of.fail),
            delete: options.delete.unwrap_or(of.delete),
            refusal: options.refusal.unwrap_or(of.refusal),
            mismatch: options.mismatch.unwrap_or(of.mismatch),
            initial: of.initial,
            keys: options.keys.unwrap_or(of.keys),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nil = match self.nil {
            Nil::Absent => "nothing there",
            Nil::Unknown => "not known",
            Nil::Either => "nothing there or not known (what is decided holds for both)",
        };
        let fail = match self.fail {
            Fail::DidNotHappen => "did not happen",
            Fail::Refused => "found another value",
        };
        let delete = match self.delete {
            Delete::Found => "found the key",
            Delete::Any => "found the key or found nothing",
        };
        let refusal = match self.refusal {
            Refusal::Found => "what was there",
            Refusal::Ignored => "not looked at",
        };
        let mismatch = match self.mismatch {
            Mismatch::Call => "the call counts",
            Mismatch::Ok => "the ok counts",
            Mismatch::Error => "an error",
        };
        let keys = match self.keys {
            Keys::Field => "in their own field",
            Keys::InValue => "in values, as [key value]",
        };
        let initial = &self.initial;
        write!(f, "a read of nil: {nil}; a failed cas: {fail}; an ok delete: {delete}; ")?;
        write!(f, "the value of a refusal: {refusal}; an ok unlike its call: {mismatch}; ")?;
        write!(f, "at first: {initial}; keys: {keys}")
    }
}

/// What the caller wants to be otherwise than detected and by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadOptions {
    /// The format; else it is detected.
    pub format: Option<Format>,
    /// Instead of the format's default.
    pub nil: Option<Nil>,
    /// Instead of the format's default.
    pub fail: Option<Fail>,
    /// Instead of the format's default.
    pub delete: Option<Delete>,
    /// Instead of the format's default.
    pub refusal: Option<Refusal>,
    /// Instead of the format's default.
    pub mismatch: Option<Mismatch>,
    /// Instead of the format's default, as the format writes values.
    pub initial: Option<String>,
    /// Instead of what is found out.
    pub keys: Option<Keys>,
    /// Bytes that the history may take in memory; `None`: as many as there are.
    pub memory: Option<usize>,
}

impl ReadOptions {
    /// These, and the others where these say nothing.
    pub(super) fn or(self, other: ReadOptions) -> ReadOptions {
        ReadOptions {
            format: self.format.or(other.format),
            nil: self.nil.or(other.nil),
            fail: self.fail.or(other.fail),
            delete: self.delete.or(other.delete),
            refusal: self.refusal.or(other.refusal),
            mismatch: self.mismatch.or(other.mismatch),
            initial: self.initial.or(other.initial),
            keys: self.keys.or(other.keys),
            memory: self.memory.or(other.memory),
        }
    }
}

/// How the line begins in which a file states its settings.
pub const STATES: &str = "; seaworthy-check {";

/// What the first line states, if it does.
pub fn stated(source: &mut Source) -> Result<Option<ReadOptions>, Error> {
    if !source.rest().starts_with(STATES) {
        return Ok(None);
    }
    while !source.rest().contains('\n') && source.more()? {}
    let line = source.rest().lines().next().unwrap_or_default();
    match parse(line) {
        Ok(stated) => Ok(Some(stated)),
        Err((at, what)) => Err(source.malformed(at, what)),
    }
}

fn parse(line: &str) -> Result<ReadOptions, (usize, String)> {
    let mut tree = Tree::default();
    let map = edn::form(line, STATES.len() - 1, &mut tree);
    if !matches!(map, Ok(Some(_))) || !matches!(tree.node(0).what, What::Map(_)) {
        return Err((STATES.len() - 1, "expected a map of settings, as {:nil :absent, :keys :in-value}".to_owned()));
    }
    let mut options = ReadOptions::default();
    let parts: Vec<usize> = tree.content(0).collect();
    for part in parts.chunks_exact(2) {
        let at = tree.node(part[1]).at as usize;
        let told = tree.name(part[1], line).unwrap_or_default();
        let known = match tree.name(part[0], line).unwrap_or_default() {
            "nil" => set(&mut options.nil, &Nil::ALL, told),
            "fail" => set(&mut options.fail, &Fail::ALL, told),
            "delete" => set(&mut options.delete, &Delete::ALL, told),
            "refused" => set(&mut options.refusal, &Refusal::ALL, told),
            "mismatch" => set(&mut options.mismatch, &Mismatch::ALL, told),
            "keys" => set(&mut options.keys, &Keys::ALL, told),
            "initial" => {
                options.initial = Some(tree.canonical(part[1], line));
                true
            }
            other => return Err((tree.node(part[0]).at as usize, format!("there is no setting called {other}"))),
        };
        if !known {
            return Err((at, format!("the setting cannot be {told}")));
        }
    }
    Ok(options)
}

/// Sets what has this name; `false`: nothing has.
fn set<T: Copy>(setting: &mut Option<T>, all: &[(&str, T)], name: &str) -> bool {
    *setting = named(all, name);
    setting.is_some()
}
