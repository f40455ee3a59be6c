//! Histories of leaderless stores, as JSON: one operation or dump per line.
//!
//! ```text
//! {"policy":"siblings","strict":false,"final_from":9000}
//! {"client":1,"key":"cart","f":"put","value":"a","saw":[],"called":10,"returned":20,"end":"ok","level":"quorum"}
//! {"client":2,"key":"cart","f":"get","called":30,"returned":40,"end":"ok","found":["a"],"level":"one"}
//! {"client":1,"key":"cart","f":"delete","saw":["a"],"called":50,"end":"info"}
//! {"replica":"n1","key":"cart","found":["a"],"state":"n1:1"}
//! ```
//!
//! | field | of | meaning |
//! |---|---|---|
//! | `policy` | first line, which may be left out | `siblings`, `last-writer`, `counter`, `register`, `set` or `map` |
//! | `strict`, `forward`, `skew`, `final_from` | first line | see [`Options`]; may be left out |
//! | `client` | operation | a number; a client runs one operation at a time |
//! | `key` | operation, dump | a string |
//! | `f` | operation | `get`, `put`, `delete`, `add`, `insert` or `remove` |
//! | `value` | put | the value written: a string that no other put of the key writes |
//! | `value` | insert, remove | the element |
//! | `saw` | put, delete | the values that the client had been shown with its context; none if left out |
//! | `add` | add | an integer |
//! | `called`, `returned` | operation | nanoseconds; without `returned` there was no response |
//! | `end` | operation | `ok`, `fail` (certainly did not happen) or `info` (unknown) |
//! | `found` | get, a put asked to return values, dump | the values; in operations only with `ok` |
//! | `level` | operation | the consistency level; may be left out |
//! | `quorum` | operation | `[replicas, of, region]`: `replicas` of `of` took part, in `region` (0: any); optional |
//! | `replica`, `state` | dump | the replica, and a text that is equal for equal versions |
//!
//! A file may be compressed by gzip or zstd. Empty lines are skipped.

use super::{Call, Dump, End, Observed, Operation, Options, Policy, Quorum};
use crate::format::Error;
use crate::format::source::Source;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Read, Write};

/// A line of any kind. The functions below check which fields it must have.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skew: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    final_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    f: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saw: Option<Cow<'a, [String]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Cow<'a, [String]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<[u32; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Cow<'a, str>>,
}

impl Policy {
    /// All policies with their names.
    pub const ALL: [(&str, Policy); 6] = [
        ("siblings", Policy::Siblings),
        ("last-writer", Policy::LastWriter),
        ("counter", Policy::Counter),
        ("register", Policy::Register),
        ("set", Policy::Set),
        ("map", Policy::Map),
    ];

    /// Returns the policy's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Policy::ALL.iter().find(|(_, policy)| *policy == self).map_or("", |(name, _)| name)
    }
}

/// Reads a history and its options.
///
/// # Errors
/// Describes the first malformed line, or the error of `input`.
pub fn read(input: impl Read) -> Result<(Observed, Options), Error> {
    let (mut source, _) = Source::open(input)?;
    let (mut observed, mut options) = (Observed::default(), Options::default());
    let mut searched = 0;
    let mut first = true;
    loop {
        let rest = source.rest();
        let (length, text) = match memchr::memchr(b'\n', &rest.as_bytes()[searched..]) {
            Some(at) => (searched + at + 1, &rest[..searched + at]),
            None if !source.is_last() => {
                searched = rest.len();
                source.more()?;
                continue;
            }
            None if rest.is_empty() => return Ok((observed, options)),
            None => (rest.len(), rest),
        };
        if !text.trim().is_empty() {
            let line: Line = serde_json::from_str(text).map_err(|error| {
                let said = error.to_string();
                let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
                source.malformed(error.column().saturating_sub(1).min(text.len()), what.to_owned())
            })?;
            take(line, first, &mut observed, &mut options).map_err(|what| source.malformed(0, what))?;
            first = false;
        }
        source.consume(length);
        searched = 0;
    }
}

fn take(line: Line, first: bool, observed: &mut Observed, options: &mut Options) -> Result<(), String> {
    let promises = [line.strict.is_some(), line.forward.is_some(), line.skew.is_some(), line.final_from.is_some()];
    if line.policy.is_some() || promises.contains(&true) {
        if !first {
            return Err("what is promised is said by the first line, and by no other".to_owned());
        }
        *options = promised(line)?;
    } else if line.replica.is_some() {
        observed.dumps.push(dump(line)?);
    } else if line.f.is_some() {
        observed.operations.push(operation(line)?);
    } else {
        return Err("neither an operation, which has \"f\", nor a dump, which has \"replica\"".to_owned());
    }
    Ok(())
}

fn promised(mut line: Line) -> Result<Options, String> {
    let policy = match line.policy.take() {
        None => Policy::default(),
        Some(name) => {
            let found = Policy::ALL.iter().find(|(known, _)| *known == name);
            found
                .ok_or_else(|| {
                    format!(
                        "no policy is called {name:?}; there are siblings, last-writer, counter, register, set, map"
                    )
                })?
                .1
        }
    };
    let options = Options {
        policy,
        strict: line.strict.take().unwrap_or(false),
        forward: line.forward.take().unwrap_or(false),
        skew: line.skew.take(),
        final_from: line.final_from.take(),
    };
    line.nothing_more("the first line")?;
    Ok(options)
}

fn dump(mut line: Line) -> Result<Dump, String> {
    let dump = Dump {
        replica: needed(line.replica.take(), "replica")?,
        key: needed(line.key.take(), "key")?,
        values: line.found.take().ok_or("a dump needs \"found\"")?.into_owned(),
        state: needed(line.state.take(), "state")?,
    };
    line.nothing_more("a dump")?;
    Ok(dump)
}

fn operation(mut line: Line) -> Result<Operation, String> {
    let f = needed(line.f.take(), "f")?;
    let mut saw = || line.saw.take().unwrap_or_default().into_owned();
    let call = match f.as_str() {
        "get" => Call::Get,
        "put" => Call::Put { saw: saw(), value: needed(line.value.take(), "value")? },
        "delete" => Call::Delete { saw: saw() },
        "add" => Call::Add(line.add.take().ok_or("an addition needs \"add\"")?),
        "insert" => Call::Insert(needed(line.value.take(), "value")?),
        "remove" => Call::Remove(needed(line.value.take(), "value")?),
        other => {
            return Err(format!("no function is called {other:?}; there are get, put, delete, add, insert, remove"));
        }
    };
    let end = match needed(line.end.take(), "end")?.as_str() {
        "ok" => End::Ok(line.found.take().map(Cow::into_owned)),
        "fail" => End::Fail,
        "info" => End::Info,
        other => return Err(format!("nothing ends in {other:?}; there are ok, fail, info")),
    };
    let operation = Operation {
        client: line.client.take().ok_or("an operation needs \"client\"")?,
        key: needed(line.key.take(), "key")?,
        called: line.called.take().ok_or("an operation needs \"called\"")?,
        returned: line.returned.take(),
        call,
        end,
        level: line.level.take().unwrap_or_default().into_owned(),
        quorum: line.quorum.take().map(|[replicas, of, region]| Quorum { replicas, of, region }),
    };
    if operation.quorum.is_some_and(|quorum| quorum.replicas > quorum.of) {
        return Err("a \"quorum\" is so many replicas of at least as many".to_owned());
    }
    line.nothing_more(&format!("this {f}"))?;
    match operation.returned {
        None if matches!(operation.end, End::Ok(_)) => Err("what ended in ok needs \"returned\"".to_owned()),
        Some(returned) if returned < operation.called => Err("it returned before it was called".to_owned()),
        _ => Ok(operation),
    }
}

fn needed(field: Option<Cow<str>>, name: &str) -> Result<String, String> {
    field.map(Cow::into_owned).ok_or_else(|| format!("{name:?} is missing"))
}

impl Line<'_> {
    /// Fails if a field is left that this kind of line must not have.
    fn nothing_more(&self, of: &str) -> Result<(), String> {
        let left = [
            ("policy", self.policy.is_some()),
            ("strict", self.strict.is_some()),
            ("forward", self.forward.is_some()),
            ("skew", self.skew.is_some()),
            ("final_from", self.final_from.is_some()),
            ("client", self.client.is_some()),
            ("replica", self.replica.is_some()),
            ("key", self.key.is_some()),
            ("f", self.f.is_some()),
            ("value", self.value.is_some()),
            ("add", self.add.is_some()),
            ("saw", self.saw.is_some()),
            ("called", self.called.is_some()),
            ("returned", self.returned.is_some()),
            ("end", self.end.is_some()),
            ("found", self.found.is_some()),
            ("level", self.level.is_some()),
            ("quorum", self.quorum.is_some()),
            ("state", self.state.is_some()),
        ];
        match left.iter().find(|(_, there)| *there) {
            Some((name, _)) => Err(format!("{name:?} has no meaning in {of}")),
            None => Ok(()),
        }
    }
}

/// Writes a history and its options.
///
/// # Errors
/// Returns the errors of `out`.
pub fn write(observed: &Observed, options: &Options, out: &mut impl Write) -> io::Result<()> {
    let promised = Line {
        policy: Some(options.policy.name().into()),
        strict: Some(options.strict),
        forward: Some(options.forward).filter(|forward| *forward),
        skew: options.skew,
        final_from: options.final_from,
        ..Line::default()
    };
    line(&promised, out)?;
    for op in &observed.operations {
        line(&told(op), out)?;
    }
    for dump in &observed.dumps {
        let dump = Line {
            replica: Some((&dump.replica).into()),
            key: Some((&dump.key).into()),
            found: Some((&dump.values).into()),
            state: Some((&dump.state).into()),
            ..Line::default()
        };
        line(&dump, out)?;
    }
    Ok(())
}

fn told(op: &Operation) -> Line<'_> {
    let (f, value, saw, add) = match &op.call {
        Call::Get => ("get", None, None, None),
        Call::Put { value, saw } => ("put", Some(value), Some(saw), None),
        Call::Delete { saw } => ("delete", None, Some(saw), None),
        Call::Add(n) => ("add", None, None, Some(*n)),
        Call::Insert(element) => ("insert", Some(element), None, None),
        Call::Remove(element) => ("remove", Some(element), None, None),
    };
    let (end, found) = match (&op.end, op.returned) {
        (End::Ok(found), Some(_)) => ("ok", found.as_ref()),
        (End::Fail, _) => ("fail", None),
        // An acknowledged operation without a response counts as unknown in the checks, too.
        _ => ("info", None),
    };
    Line {
        client: Some(op.client),
        key: Some((&op.key).into()),
        f: Some(f.into()),
        value: value.map(Into::into),
        saw: saw.map(Into::into),
        add,
        called: Some(op.called),
        returned: op.returned,
        end: Some(end.into()),
        found: found.map(Into::into),
        level: Some((&op.level).into()).filter(|level: &Cow<str>| !level.is_empty()),
        quorum: op.quorum.map(|quorum| [quorum.replicas, quorum.of, quorum.region]),
        ..Line::default()
    }
}

fn line(line: &Line, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
