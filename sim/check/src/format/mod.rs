//! Histories on disk: reading them in the formats of others and our own, and writing them.
//!
//! What nil, a failure and the initial value mean differs between real corpora, so they are named [`Settings`] with a default
//! for each [`Format`], and the verdict is printed with those that held. Whatever was read is accounted for in
//! [`Understood`]: nothing is skipped without a reason.
//!
//! - [`jsonl`]: our own format, one event a line. [`export`]: for Jepsen's tools.

pub mod export;
pub mod jsonl;

use crate::history::History;
use std::fmt;
use std::io::BufRead;

/// How a history is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object a line: [`jsonl`].
    JsonLines,
    /// Jepsen's operation maps: a vector or list of them, or one after the other; Porcupine's key-value log among them.
    Edn,
    /// Jepsen's text log: `INFO  jepsen.util - 0 :invoke :read nil`, among other lines.
    Log,
    /// `process i|o|f|? r|w|c key a b`, one event a line.
    Plain,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 4] = [Format::JsonLines, Format::Edn, Format::Log, Format::Plain];

    /// Its name on command lines and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::JsonLines => "jsonl",
            Format::Edn => "edn",
            Format::Log => "log",
            Format::Plain => "plain",
        }
    }
}

/// What an answered read of `nil` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nil {
    /// The object is missing, or holds nothing.
    Absent,
    /// Nothing: the read is left out.
    Unknown,
}

/// What `:fail` says of a compare-and-set. Of everything else it says that it did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// Only that it did not happen.
    DidNotHappen,
    /// That the object did not hold the value compared with, at some moment between call and return.
    Refused,
}

/// What words mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// An answered read of nil.
    pub nil: Nil,
    /// A failed compare-and-set.
    pub fail: Fail,
    /// What every object holds at first, as the format writes values; `nil`: nothing.
    pub initial: String,
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
    pub initial: Option<String>,
}

/// What was read, and how it was understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The history.
    pub history: History,
    /// The format that was detected or given.
    pub format: Format,
    /// The settings that held.
    pub settings: Settings,
    /// Whether the input was compressed, and how.
    pub compression: Option<&'static str>,
    /// Account of everything.
    pub understood: Understood,
}

/// What became of all that was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Understood {
    /// Lines read.
    pub lines: u64,
    /// Events taken into the history.
    pub events: u64,
    /// What was left out and why, in the order of first occurrence.
    pub skipped: Vec<Skipped>,
}

/// Something left out of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// What it was and why it does not matter: `nemesis operations`, `lines that are no operation`.
    pub what: String,
    /// How often.
    pub times: u64,
    /// The line of the first.
    pub first_line: u64,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum Error {
    /// Something is not what can come here.
    Malformed {
        /// From 1.
        line: usize,
        /// From 1, in bytes.
        column: usize,
        /// What is wrong and what was expected.
        what: String,
    },
    /// Reading failed.
    Io(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
            Error::Io(error) => write!(f, "cannot read: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a history in any format, compressed or not.
///
/// # Errors
/// The first thing that cannot come at its place, or an error of `input`.
pub fn read(input: impl BufRead, options: &ReadOptions) -> Result<Reading, Error> {
    let history = jsonl::read(input)?;
    let settings = Settings {
        nil: options.nil.unwrap_or(Nil::Absent),
        fail: options.fail.unwrap_or(Fail::DidNotHappen),
        initial: options.initial.clone().unwrap_or_else(|| "nil".to_owned()),
    };
    let events = u64::from(history.events());
    let understood = Understood { lines: events, events, skipped: Vec::new() };
    Ok(Reading { history, format: Format::JsonLines, settings, compression: None, understood })
}
