//! Histories as JSON lines: one event a line, in the order of real time, so that a file can be written while it happens.
//!
//! ```text
//! {"i":0,"t":1500000,"p":3,"type":"invoke","f":"put","k":"k1","v":"c3-7","if":{"exists":false}}
//! {"i":1,"t":1600000,"p":4,"type":"invoke","f":"get","k":"k1"}
//! {"i":2,"t":2500000,"p":3,"type":"ok","f":"put","k":"k1","rev":0}
//! {"i":3,"t":2600000,"p":4,"type":"ok","f":"get","k":"k1","v":"c3-7","rev":0}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `i` | position of the event, from 0, without gaps |
//! | `t` | nanoseconds since the start of the run; for people |
//! | `p` | process: a client; it has at most one operation open, apart from those that ended in `info` |
//! | `type` | `invoke`; then `ok` (took effect, or a read's answer), `refused` (a condition did not hold, nothing changed), `fail` (certainly did not and will not happen) or `info` (unknown) |
//! | `f`, `k` | `get`, `put` or `delete`, and the key. On a return they repeat the call's |
//! | `v` | on `invoke` of a put: what to write. On `ok` of a get and on `refused`: what was there, `null` for a missing key |
//! | `rev` | on `ok` of a put or delete: the revision it took. With a `v`: that value's revision. May be left out when not told |
//! | `if` | on `invoke` of a put or delete: conditions `exists` (bool), `value` (text), `rev` (-1: missing); all that are given must hold |
//!
//! Empty lines are skipped. An operation without a return is still open at the end, which means the same as `info`.

use super::Error;
use crate::history::{Call, Condition, Datum, History, OpId, Outcome, Recorder, Reply, Version};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

/// Longest line accepted, in bytes.
pub const MAX_LINE_BYTES: usize = 4 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Invoke,
    Ok,
    Refused,
    Fail,
    Info,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Get,
    Put,
    Delete,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    i: u64,
    t: u64,
    p: u32,
    r#type: Type,
    f: Function,
    #[serde(borrow)]
    k: Cow<'a, str>,
    /// Outer `None`: not there; inner: `null`.
    #[serde(borrow, default, with = "present", skip_serializing_if = "Option::is_none")]
    v: Option<Option<Cow<'a, str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rev: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none", rename = "if")]
    when: Option<When<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct When<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exists: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rev: Option<i64>,
}

/// A field that is there, even as `null`.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(v: &Option<Option<Cow<'_, str>>>, s: S) -> Result<S::Ok, S::Error> {
        v.as_ref().and_then(Option::as_ref).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<Cow<'de, str>>>, D::Error> {
        Option::<Cow<'de, str>>::deserialize(d).map(Some)
    }
}

/// Writes a history.
///
/// # Errors
/// Those of `out`.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    for (event, id, returned) in history.in_order() {
        let op = history.kv(id);
        let text = |value| match history.datum(value) {
            Datum::Text(text) | Datum::Symbol(text) => Cow::Borrowed(text),
            _ => Cow::Owned(history.values().show(value, false)),
        };
        let mut line = Event {
            i: u64::from(event),
            t: history.time(event),
            p: op.process,
            r#type: Type::Invoke,
            f: match op.call {
                Call::Get => Function::Get,
                Call::Put { .. } => Function::Put,
                Call::Delete { .. } => Function::Delete,
            },
            k: history.key(op.key),
            v: None,
            rev: None,
            when: None,
        };
        if returned {
            let mut show = |seen: Option<Version>| {
                line.v = Some(seen.map(|v| text(v.value)));
                line.rev = seen.and_then(|v| v.revision);
            };
            line.r#type = match op.outcome {
                Outcome::Ok(Reply::Got(seen)) => {
                    show(seen);
                    Type::Ok
                }
                Outcome::Ok(Reply::Refused(seen)) => {
                    show(seen);
                    Type::Refused
                }
                Outcome::Ok(Reply::Declined) => Type::Refused,
                Outcome::Ok(Reply::Done { revision }) => {
                    line.rev = revision;
                    Type::Ok
                }
                Outcome::Fail => Type::Fail,
                Outcome::Info => Type::Info,
            };
        } else {
            if let Call::Put { value, .. } = op.call {
                line.v = Some(Some(text(value)));
            }
            line.when = op.call.condition().filter(|when| !when.is_always()).map(|when| When {
                exists: when.exists,
                value: when.value.map(text),
                rev: when.revision,
            });
        }
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads a history.
///
/// # Errors
/// The first line that is not an event or cannot come at its place, or an error of `input`.
pub fn read(mut input: impl BufRead) -> Result<History, Error> {
    let mut recorder = Recorder::default();
    let mut open = BTreeMap::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let limited = &mut io::Read::take(&mut input, MAX_LINE_BYTES as u64 + 1);
        let length = limited.read_until(b'\n', &mut text).map_err(Error::Io)?;
        if length == 0 {
            break;
        }
        let malformed = |column: usize, what: String| Error::Malformed { line, column, what };
        if length > MAX_LINE_BYTES {
            return Err(malformed(MAX_LINE_BYTES, format!("a line has at most {MAX_LINE_BYTES} bytes")));
        }
        let text =
            std::str::from_utf8(&text).map_err(|e| malformed(e.valid_up_to() + 1, "not UTF-8 text".to_owned()))?;
        if text.trim().is_empty() {
            continue;
        }
        if !text.trim_start().starts_with('{') {
            let column = text.len() - text.trim_start().len() + 1;
            return Err(malformed(column, "not an event: expected {\"i\":…,\"t\":…,\"p\":…,\"type\":…".to_owned()));
        }
        let event: Event = serde_json::from_str(text).map_err(|e| {
            let what = e.to_string();
            let cut = what.rfind(" at line ").unwrap_or(what.len());
            malformed(e.column().max(1), format!("not an event: {}", &what[..cut]))
        })?;
        take(&mut recorder, &mut open, &event).map_err(|(field, what)| {
            let column = text.find(&format!("\"{field}\"")).map_or(1, |at| at + 1);
            malformed(column, what)
        })?;
    }
    Ok(recorder.finish())
}

/// The field at fault, and what is wrong with it.
type Fault = (&'static str, String);

fn take(recorder: &mut Recorder, open: &mut BTreeMap<u32, OpId>, event: &Event) -> Result<(), Fault> {
    let expected = u64::from(recorder.history().events());
    if event.i != expected {
        return Err(("i", format!("event {} where {expected} was expected: positions have no gaps", event.i)));
    }
    if event.r#type == Type::Invoke {
        return invoke(recorder, open, event);
    }
    let Some(id) = open.remove(&event.p) else {
        return Err(("p", format!("process {} returns, but has no operation open", event.p)));
    };
    let op = recorder.history().kv(id);
    let called = match op.call {
        Call::Get => Function::Get,
        Call::Put { .. } => Function::Put,
        Call::Delete { .. } => Function::Delete,
    };
    if event.f != called {
        return Err(("f", format!("process {} called another function at event {}", event.p, op.called.index)));
    }
    if recorder.history().key(op.key) != event.k {
        return Err(("k", format!("process {} called with another key at event {}", event.p, op.called.index)));
    }
    if event.when.is_some() {
        return Err(("if", "conditions belong to the call, not to its return".to_owned()));
    }
    let reply = match (event.r#type, called) {
        (Type::Ok, Function::Get) => Reply::Got(seen(event)?),
        (Type::Refused, Function::Get) => return Err(("type", "a get cannot be refused".to_owned())),
        (Type::Refused, _) if event.v.is_none() => Reply::Declined,
        (Type::Refused, _) => Reply::Refused(seen(event)?),
        _ if event.v.is_some() => return Err(("v", "no value belongs here".to_owned())),
        (Type::Ok, _) => Reply::Done { revision: event.rev },
        _ if event.rev.is_some() => return Err(("rev", "no revision belongs here".to_owned())),
        (Type::Fail, _) => {
            recorder.fail(id, event.t);
            return Ok(());
        }
        (Type::Info | Type::Invoke, _) => {
            recorder.info(id, event.t);
            return Ok(());
        }
    };
    recorder.ok(id, event.t, reply);
    Ok(())
}

fn invoke(recorder: &mut Recorder, open: &mut BTreeMap<u32, OpId>, event: &Event) -> Result<(), Fault> {
    if let Some(id) = open.get(&event.p) {
        let since = recorder.history().operation(*id).called;
        return Err(("p", format!("process {} calls, but its operation of event {since} is still open", event.p)));
    }
    if event.rev.is_some() {
        return Err(("rev", "a call has no revision; a condition on it is \"if\":{\"rev\":…}".to_owned()));
    }
    let when = event.when.as_ref().map_or(Condition::ALWAYS, |when| Condition {
        exists: when.exists,
        value: when.value.as_deref(),
        revision: when.rev,
    });
    let call = match (event.f, &event.v) {
        (Function::Put, Some(Some(value))) => Call::Put { value: value.as_ref(), when },
        (Function::Put, _) => return Err(("f", "a put needs \"v\", the text to write".to_owned())),
        (_, Some(_)) => return Err(("v", "only the call of a put has a value".to_owned())),
        (Function::Delete, None) => Call::Delete { when },
        (Function::Get, None) if event.when.is_some() => return Err(("if", "a get has no conditions".to_owned())),
        (Function::Get, None) => Call::Get,
    };
    open.insert(event.p, recorder.invoke(event.p, event.t, &event.k, call));
    Ok(())
}

fn seen<'a>(event: &'a Event) -> Result<Option<Version<&'a str>>, Fault> {
    match (&event.v, event.rev) {
        (None, _) => Err(("type", "what was seen is missing: \"v\", null for a missing key".to_owned())),
        (Some(None), Some(_)) => Err(("rev", "a missing key has no revision".to_owned())),
        (Some(None), None) => Ok(None),
        (Some(Some(value)), revision) => Ok(Some(Version { value, revision })),
    }
}
