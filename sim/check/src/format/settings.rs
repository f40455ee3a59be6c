//! Named settings for words that mean different things in different files, with a default for each format.
//!
//! A file can state its own settings. In EDN this is a comment on the first line, which all other readers skip:
//!
//! ```text
//! ; seaworthy-check {:nil :absent, :fail :did-not-happen, :delete :found, :initial nil, :keys :in-value}
//! ```
//!
//! The caller's options take precedence over the settings in the file, which take precedence over the defaults.

use super::edn;
use super::source::Source;
use super::tree::{Tree, What};
use super::{Error, Format};
use std::fmt;

/// Meaning of a read that returns `nil`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nil {
    /// The object is missing, or holds nothing.
    Absent,
    /// Nothing is known: the read is left out.
    Unknown,
    /// One of the two, and the file does not say which. The history is recorded as for `Absent`. The other meaning is
    /// in [`Reading::without_nil`](super::Reading::without_nil).
    Either,
}

/// Meaning of `:fail` for a compare-and-set. For everything else it means that the operation did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// The compare-and-set did not happen, and nothing else is known.
    DidNotHappen,
    /// The object did not hold the compared value at some moment between invocation and completion.
    Refused,
}

/// Meaning of the `ok` of a delete without conditions and without a revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delete {
    /// The key was there and is missing now.
    Found,
    /// The key is missing now, whether it was there or not.
    Any,
}

/// Meaning of the value of a refused operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The value found instead; `nil` means that nothing was there.
    Found,
    /// Nothing. The value is ignored.
    Ignored,
}

/// Which values count if the `ok` of a write, compare-and-set, append or enqueue has other values than its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// Those of the call.
    Call,
    /// Those of the `ok`.
    Ok,
    /// Neither: such a history is rejected.
    Error,
}

/// Where the key of an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// In its own field. Without that field there is only one object.
    Field,
    /// In the value, which is a pair of key and value (for a compare-and-set, of key and pair): Jepsen's independent
    /// keys.
    InValue,
}

impl Nil {
    /// All variants by name.
    pub const ALL: [(&str, Nil); 3] = [("absent", Nil::Absent), ("unknown", Nil::Unknown), ("either", Nil::Either)];
}

impl Fail {
    /// All variants by name.
    pub const ALL: [(&str, Fail); 2] = [("did-not-happen", Fail::DidNotHappen), ("refused", Fail::Refused)];
}

impl Delete {
    /// All variants by name.
    pub const ALL: [(&str, Delete); 2] = [("found", Delete::Found), ("any", Delete::Any)];
}

impl Refusal {
    /// All variants by name.
    pub const ALL: [(&str, Refusal); 2] = [("found", Refusal::Found), ("ignored", Refusal::Ignored)];
}

impl Mismatch {
    /// All variants by name.
    pub const ALL: [(&str, Mismatch); 3] = [("call", Mismatch::Call), ("ok", Mismatch::Ok), ("error", Mismatch::Error)];
}

impl Keys {
    /// All variants by name.
    pub const ALL: [(&str, Keys); 2] = [("field", Keys::Field), ("in-value", Keys::InValue)];
}

/// Returns the value with this name.
#[must_use]
pub fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
}

/// What the words of a file mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A read that returns nil.
    pub nil: Nil,
    /// A failed compare-and-set.
    pub fail: Fail,
    /// An ok delete.
    pub delete: Delete,
    /// The value of a refused operation.
    pub refusal: Refusal,
    /// An ok whose values differ from those of its call.
    pub mismatch: Mismatch,
    /// The initial value of every object, in the syntax of the format; `nil` means nothing.
    pub initial: String,
    /// Where the keys are.
    pub keys: Keys,
}

impl Settings {
    /// The default settings of a format.
    ///
    /// | | JSON | EDN | log | plain |
    /// |---|---|---|---|---|
    /// | a read of nil | nothing there | either | nothing there | nothing there |
    /// | a failed compare-and-set | did not happen | did not happen | refused | refused |
    /// | an ok delete | found the key | any | any | any |
    /// | initial value | nil | nil, or by the first call | nil | 0 |
    /// | keys | field | by the first call | by the first call | field |
    ///
    /// In all formats the value of a refused operation is the value found, and if an ok has other values than its call,
    /// the call counts.
    ///
    /// In EDN the initial value is `""` if the first call has a `:key` and is get, put or append. It is 0 if the first
    /// call is read-init.
    ///
    /// For keys, the first call that is not a transaction decides. If it has no key field and its value is a pair (for
    /// a compare-and-set: a pair whose second part is a pair), keys are in values. A later value that is not a pair is
    /// then an error.
    #[must_use]
    pub fn of(format: Format) -> Settings {
        let nil = if format == Format::Edn { Nil::Either } else { Nil::Absent };
        let fail = match format {
            Format::JsonLines | Format::Edn => Fail::DidNotHappen,
            Format::Log | Format::Plain => Fail::Refused,
        };
        // Only our own format can express a delete that found nothing.
        let delete = if format == Format::JsonLines { Delete::Found } else { Delete::Any };
        let initial = if format == Format::Plain { "0" } else { "nil" }.to_owned();
        let (refusal, mismatch) = (Refusal::Found, Mismatch::Call);
        Settings { nil, fail, delete, refusal, mismatch, initial, keys: Keys::Field }
    }

    /// The default settings of a format, changed by the caller's options. The initial value is not applied here,
    /// because it must be parsed as a value.
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

/// The caller's options, which override detection and defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadOptions {
    /// The format; detected if not given.
    pub format: Option<Format>,
    /// Overrides the format's default.
    pub nil: Option<Nil>,
    /// Overrides the format's default.
    pub fail: Option<Fail>,
    /// Overrides the format's default.
    pub delete: Option<Delete>,
    /// Overrides the format's default.
    pub refusal: Option<Refusal>,
    /// Overrides the format's default.
    pub mismatch: Option<Mismatch>,
    /// Overrides the format's default. In the format's syntax for values.
    pub initial: Option<String>,
    /// Overrides what the first call determines.
    pub keys: Option<Keys>,
    /// Memory limit of the history, in bytes; `None` means no limit.
    pub memory: Option<usize>,
}

impl ReadOptions {
    /// Returns these options. Options not set here are taken from `other`.
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

/// The start of the line in which a file states its settings.
pub const STATES: &str = "; seaworthy-check {";

/// Returns the settings that the first line states, if it states any.
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

/// Sets the setting to the value with this name. Returns `false` if there is none.
fn set<T: Copy>(setting: &mut Option<T>, all: &[(&str, T)], name: &str) -> bool {
    *setting = named(all, name);
    setting.is_some()
}
