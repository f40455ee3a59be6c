//! Histories on disk: reading them in the formats of others and our own, and writing them.
//!
//! What nil, a failure and the initial value mean differs between real corpora, so they are named [`Settings`] with a default
//! for each [`Format`], and the verdict is printed with those that held. Whatever was read is accounted for in
//! [`Understood`]: nothing is skipped without a reason.
//!
//! [`read`] detects format and compression by content. Then `source` gives the text piece by piece; `json` and `edn` know
//! the syntaxes and make of each form a `tree`; `forms` and `lines` find the fields of an event; `intake` knows what they
//! mean, the same for all formats, and records it.
//!
//! - [`jsonl`]: our own format, one event a line. [`export`]: for Jepsen's tools.
//!
//! # What is read
//!
//! **JSON** ([`jsonl`]): objects, one a line or however else, bare or in one array.
//!
//! **EDN**: Jepsen's operation maps, bare or in one vector or list, also as records (`#jepsen.history.Op{…}`). Looked at are
//! `:process` (a number; operations of `:nemesis` and the like are left out), `:type`, `:f`, `:value`, `:time`, `:key` and
//! `:revision`. The order of the file is the order of events; `:index` is not looked at, since files are cut and filtered.
//! A map without `:f` whose value is a list of steps is a transaction. A set is a list, sorted; a map or a tagged form is a
//! symbol in one spelling, as is everything that is neither text, whole number, true, false, nil nor list.
//!
//! **Log**: lines of any kind, of which those with `<process> :<type> :<f> <value>` are events, also `history.txt`.
//!
//! **Plain**: `<process> <i|o|f|?> <r|w|c> <key> <a> <b>`, whole numbers: invoke, ok, fail, unknown. A read saw `a`, a write
//! writes `a`, a compare-and-set writes `b` where `a` is.
//!
//! A process has one operation open. After `:info` it may go on or never be heard of again. A form or line has at most
//! [`MAX_FORM_BYTES`] and nests at most 64 deep. A history has at most 2^32 - 2 events.

mod edn;
pub mod export;
mod forms;
mod intake;
mod json;
pub mod jsonl;
mod lines;
pub(crate) mod source;
mod steps;
mod tree;
mod words;

pub use source::MAX_FORM_BYTES;

use crate::history::History;
use intake::{Intake, Told};
use source::Source;
use std::fmt;
use std::io::BufRead;
use tree::{Stop, Tree};

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

/// Where the key of an operation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// In a field of its own; without it there is one object.
    Field,
    /// In the value, which is a pair of key and value (of a compare-and-set: of key and pair): Jepsen's independent keys.
    InValue,
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
    /// Where keys are.
    pub keys: Keys,
}

impl Settings {
    /// Those that hold when nobody says otherwise.
    ///
    /// | | JSON | EDN | log | plain |
    /// |---|---|---|---|---|
    /// | a read of nil | nothing there | not known | nothing there | nothing there |
    /// | a failed compare-and-set | did not happen | did not happen | refused | refused |
    /// | at first | nil | nil; `""` where the first call has a `:key` and is get, put or append | nil | 0 |
    /// | keys | field | by the first call | by the first call | field |
    ///
    /// By the first call that is no transaction: if it has no key but a value that is a pair (of a compare-and-set: whose
    /// second is a pair), keys are in values. A later value that is no pair is an error then.
    #[must_use]
    pub fn of(format: Format) -> Settings {
        let nil = if format == Format::Edn { Nil::Unknown } else { Nil::Absent };
        let fail = match format {
            Format::JsonLines | Format::Edn => Fail::DidNotHappen,
            Format::Log | Format::Plain => Fail::Refused,
        };
        let initial = if format == Format::Plain { "0" } else { "nil" };
        Settings { nil, fail, initial: initial.to_owned(), keys: Keys::Field }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nil = match self.nil {
            Nil::Absent => "nothing there",
            Nil::Unknown => "not known",
        };
        let fail = match self.fail {
            Fail::DidNotHappen => "did not happen",
            Fail::Refused => "found another value",
        };
        let keys = match self.keys {
            Keys::Field => "in their own field",
            Keys::InValue => "in values, as [key value]",
        };
        let initial = &self.initial;
        write!(f, "a read of nil: {nil}; a failed cas: {fail}; at first: {initial}; keys: {keys}")
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
    /// Instead of the format's default, as the format writes values.
    pub initial: Option<String>,
    /// Instead of what is found out.
    pub keys: Option<Keys>,
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
    /// What was taken in, but not quite as it stands.
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

/// Something counted because it was not simply taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// What it was and why it does not matter: `lines that are no operation`.
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
    /// A setting is not what the format can take.
    Setting(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
            Error::Io(error) => write!(f, "cannot read: {error}"),
            Error::Setting(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a history in any format, compressed or not.
///
/// # Errors
/// The first thing that cannot come at its place, or an error of `input`.
pub fn read(input: impl BufRead, options: &ReadOptions) -> Result<Reading, Error> {
    let (mut source, compression) = Source::open(input)?;
    let empty = source.rest().is_empty() && source.is_last();
    let detected = options.format.or_else(|| if empty { Some(Format::JsonLines) } else { detect(source.rest()) });
    let Some(format) = detected else {
        let what = "not a history in a format that is known: expected JSON or EDN maps, Jepsen's log, or lines like 0 i w 1 2 3";
        return Err(source.malformed(0, what.to_owned()));
    };
    let mut settings = Settings::of(format);
    settings.nil = options.nil.unwrap_or(settings.nil);
    settings.fail = options.fail.unwrap_or(settings.fail);
    settings.keys = options.keys.unwrap_or(settings.keys);
    let found_out = matches!(format, Format::Edn | Format::Log);
    let told = Told { keys: options.keys.is_some() || !found_out, initial: options.initial.is_some() };
    let mut intake = Intake::new(format, settings, told);
    initially(&mut intake, format, options.initial.as_deref())?;
    if empty {
        intake.remark("the file is empty");
    }
    match format {
        Format::JsonLines | Format::Edn => forms::read(&mut source, format, &mut intake)?,
        Format::Log => lines::log(&mut source, &mut intake)?,
        Format::Plain => lines::plain(&mut source, &mut intake)?,
    }
    intake.understood.lines = source.lines();
    let Intake { recorder, settings, understood, .. } = intake;
    Ok(Reading { history: recorder.finish(), format, settings, compression, understood })
}

/// Sets what objects hold at first.
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

/// The format of a text by its beginning.
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

/// How many different things are counted apart.
const KINDS: usize = 64;

fn count(counted: &mut Vec<Skipped>, what: &str, line: u64) {
    let known = counted.iter().position(|known| known.what == what);
    match known.or_else(|| counted.len().checked_sub(1).filter(|_| counted.len() > KINDS)) {
        Some(place) => counted[place].times += 1,
        None => {
            let what = if counted.len() < KINDS { what } else { "more kinds" };
            counted.push(Skipped { what: what.to_owned(), times: 1, first_line: line });
        }
    }
}
