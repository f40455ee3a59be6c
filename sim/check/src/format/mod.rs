//! Reads and writes history files, in our own format and in the formats of other tools.
//!
//! The meaning of nil, of a failure and of the initial value differs between real files. These meanings are named
//! [`Settings`], with a default for each [`Format`]. The verdict is printed with the settings in effect. [`Understood`]
//! accounts for all input: nothing is skipped without a reason.
//!
//! [`read`] detects the format and the compression from the content. `source` then supplies the text in pieces. `json`
//! and `edn` parse each form into a `tree`. `forms` and `lines` find the fields of an event. `intake` and `answers`
//! interpret the fields, in the same way for all formats, and record the event.
//!
//! - [`jsonl`]: our own format, one event per line.
//! - [`export`]: writes histories for Jepsen's tools.
//!
//! # What is read
//!
//! **JSON** ([`jsonl`]): objects, one per line or in any other spacing, bare or in one array.
//!
//! **EDN**: Jepsen's operation maps, bare or in one vector or list, also as records (`#jepsen.history.Op{…}`). The
//! fields read are `:process` (a number; operations of `:nemesis` and other names are left out), `:type`, `:f`,
//! `:value`, `:time`, `:key` and `:revision`. The order of events is the order in the file. `:index` is ignored,
//! because files are cut and filtered. A map without `:f` whose value is a list of steps is a transaction. A set is
//! read as a sorted list. A map or a tagged form is read as a symbol in its canonical spelling. Everything that is not
//! text, a whole number, true, false, nil or a list is also a symbol.
//!
//! **Log**: lines of any kind. Lines with `<process> :<type> :<f> <value>` are events. `history.txt` has this format
//! too.
//!
//! **Plain**: `<process> <i|o|f|?> <r|w|c> <key> <a> <b>`, whole numbers. The letters mean invoke, ok, fail, unknown. A
//! read returns `a`. A write writes `a`. A compare-and-set replaces `a` by `b`.
//!
//! A process has at most one open operation. After `:info` it may continue or stop. A form or line has at most
//! [`MAX_FORM_BYTES`] and nests at most 64 deep. A history has at most 2^32 - 2 events.

mod answers;
mod drains;
mod edn;
pub mod export;
mod forms;
mod intake;
mod json;
pub mod jsonl;
mod lines;
pub(crate) mod maps;
mod settings;
pub(crate) mod source;
mod steps;
mod tree;
mod words;

pub use settings::{Delete, Fail, Keys, Mismatch, Nil, ReadOptions, Refusal, Settings, named};
pub use source::MAX_FORM_BYTES;

use crate::history::{End, Function, History, Operation, Value};
use intake::{Intake, Told};
use source::Source;
use std::fmt;
use std::io::BufRead;
use tree::{Stop, Tree};

/// A file format for histories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object per line: [`jsonl`].
    JsonLines,
    /// Jepsen's operation maps: one vector or list of them, or a sequence. Includes Porcupine's key-value log.
    Edn,
    /// Jepsen's text log: `INFO  jepsen.util - 0 :invoke :read nil`, between other lines.
    Log,
    /// `process i|o|f|? r|w|c key a b`, one event per line.
    Plain,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 4] = [Format::JsonLines, Format::Edn, Format::Log, Format::Plain];

    /// The format's name on command lines and in reports.
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

/// A history that was read, and how it was interpreted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The history.
    pub history: History,
    /// The format that was detected or given.
    pub format: Format,
    /// The settings in effect.
    pub settings: Settings,
    /// How the input was compressed; `None` if it was not.
    pub compression: Option<&'static str>,
    /// Account of all input.
    pub understood: Understood,
}

impl Reading {
    /// Returns the history in which a nil read says nothing, if [`Nil::Either`] is in effect and some read returned
    /// nil. In [`Reading::history`], nil means that nothing was there.
    #[must_use]
    pub fn without_nil(&self) -> Option<History> {
        let nil = |op: &Operation| (op.f, op.end, op.reply) == (Function::Read, End::Ok, Value::NIL);
        let operations = self.history.operations();
        let hangs = self.settings.nil == Nil::Either && operations.iter().any(nil);
        hangs.then(|| self.history.forgetting(&operations.iter().map(|op| !nil(op)).collect::<Vec<_>>()))
    }
}

/// What was done with all the input.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Understood {
    /// Lines read.
    pub lines: u64,
    /// Events recorded in the history.
    pub events: u64,
    /// What was left out and why, in the order of first occurrence.
    pub skipped: Vec<Skipped>,
    /// What was recorded with an interpretation, in the order of first occurrence.
    pub remarks: Vec<Skipped>,
}

impl fmt::Display for Understood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events on {} lines", self.events, self.lines)?;
        for (how, counted) in [("left out", &self.skipped), ("note", &self.remarks)] {
            for Skipped { what, times, first_line } in counted {
                write!(f, "\n{how}: {what} ({times}, first on line {first_line})")?;
            }
        }
        Ok(())
    }
}

/// Something counted because it was left out or interpreted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// What it was and why it does not matter, such as `lines that are no operation`.
    pub what: String,
    /// Number of occurrences.
    pub times: u64,
    /// The line of the first occurrence.
    pub first_line: u64,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub enum Error {
    /// The text at this place is not valid there.
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
    /// A setting is not valid for the format.
    Setting(String),
    /// The history exceeds its memory limit.
    TooLarge {
        /// The line at which the limit was exceeded.
        line: u64,
        /// Number of events up to that line.
        events: u64,
        /// The limit, in bytes.
        memory: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
            Error::Io(error) => write!(f, "cannot read: {error}"),
            Error::Setting(what) => f.write_str(what),
            Error::TooLarge { line, events, memory } => {
                let mega = memory / 1_000_000;
                write!(
                    f,
                    "line {line}: the first {events} events take more memory than the {mega} MB that a history may"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// Reads a history in any format, compressed or not.
///
/// # Errors
/// Returns the first invalid form or event, or an error of `input`.
pub fn read(input: impl BufRead, options: &ReadOptions) -> Result<Reading, Error> {
    let (mut source, compression) = Source::open(input)?;
    let empty = source.rest().is_empty() && source.is_last();
    let detected = options.format.or_else(|| if empty { Some(Format::JsonLines) } else { detect(source.rest()) });
    let Some(format) = detected else {
        let what = "not a history in a format that is known: expected JSON or EDN maps, Jepsen's log, or lines like 0 i w 1 2 3";
        return Err(source.malformed(0, what.to_owned()));
    };
    let stated = if format == Format::Edn { settings::stated(&mut source)? } else { None };
    let options = &options.clone().or(stated.clone().unwrap_or_default());
    let found_out = matches!(format, Format::Edn | Format::Log);
    let told = Told { keys: options.keys.is_some() || !found_out, initial: options.initial.is_some() };
    let mut intake = Intake::new(format, Settings::with(format, options), told, options.memory);
    initially(&mut intake, format, options.initial.as_deref())?;
    if stated.is_some() {
        intake.line = 1;
        intake.remark("the file states what its words mean");
    }
    if empty {
        intake.remark("the file is empty");
    }
    let read = match format {
        Format::JsonLines | Format::Edn => forms::read(&mut source, format, &mut intake),
        Format::Log => lines::log(&mut source, &mut intake),
        Format::Plain => lines::plain(&mut source, &mut intake),
    };
    if let (true, Some(memory)) = (intake.too_large, options.memory) {
        return Err(Error::TooLarge { line: intake.line, events: intake.understood.events, memory });
    }
    read?;
    intake.understood.lines = source.lines();
    let (history, settings, understood) = intake.finish();
    Ok(Reading { history, format, settings, compression, understood })
}

/// Sets the initial value of every object.
fn initially(intake: &mut Intake, format: Format, told: Option<&str>) -> Result<(), Error> {
    let text = match told.unwrap_or(&intake.settings.initial) {
        "nil" if format == Format::JsonLines => "null ".to_owned(),
        text => format!("{text} "),
    };
    let mut tree = Tree::default();
    let end = match format {
        Format::JsonLines => json::value(&text, 0, 0, &mut tree),
        _ => edn::form(&text, 0, &mut tree).and_then(|end| end.ok_or(Stop::More)),
    };
    if !end.is_ok_and(|end| text[end..].trim().is_empty()) {
        let syntax = if format == Format::JsonLines { "JSON" } else { "EDN" };
        return Err(Error::Setting(format!("the initial value is not a value of {syntax}: {}", text.trim_end())));
    }
    let value = intake.value(&tree, &text, 0);
    intake.recorder.initial(value);
    intake.settings.initial = intake.recorder.history().show(value);
    Ok(())
}

/// Detects the format of a text from its beginning.
fn detect(text: &str) -> Option<Format> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',', '[', '(']);
        let comment = rest.starts_with(';') || rest.starts_with("# ") || rest.starts_with("##");
        match rest.find('\n').filter(|_| comment) {
            Some(end) => rest = &rest[end..],
            None => break,
        }
    }
    match rest.as_bytes() {
        [b'{', within @ ..] => match within.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'"' | b'}') | None => return Some(Format::JsonLines),
            Some(_) => return Some(Format::Edn),
        },
        [b'#', ..] => return Some(Format::Edn),
        [b']', ..] => return Some(Format::JsonLines),
        [b')', ..] => return Some(Format::Edn),
        [] if text.trim_start().starts_with(['[', '(', ';']) => return Some(Format::Edn),
        _ => {}
    }
    if rest.lines().next().is_some_and(lines::is_plain) {
        return Some(Format::Plain);
    }
    text.lines().any(lines::is_logged).then_some(Format::Log)
}

/// Maximum number of distinct descriptions that are counted separately.
const KINDS: usize = 64;

/// Maximum number of characters of a description. Names in files have any length.
const SHOWN: usize = 120;

fn count(counted: &mut Vec<Skipped>, what: &str, line: u64) {
    let what = &what[..what.char_indices().nth(SHOWN).map_or(what.len(), |(end, _)| end)];
    let known = counted.iter().position(|known| known.what == what);
    match known.or_else(|| counted.len().checked_sub(1).filter(|_| counted.len() > KINDS)) {
        Some(place) => counted[place].times += 1,
        None => {
            let what = if counted.len() < KINDS { what } else { "more kinds" };
            counted.push(Skipped { what: what.to_owned(), times: 1, first_line: line });
        }
    }
}
