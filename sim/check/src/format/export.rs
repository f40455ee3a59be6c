//! Writes histories in Jepsen's format, for Knossos, Elle and similar tools: one operation map per line.
//!
//! ```text
//! ; seaworthy-check {:nil :absent, :fail :did-not-happen, :delete :found, :initial nil, :keys :in-value}
//! {:index 0, :time 1500000, :process 3, :type :invoke, :f :write, :value ["k1" "c3-7"]}
//! {:index 2, :time 2500000, :process 3, :type :ok, :f :write, :value ["k1" "c3-7"], :revision 0}
//! ```
//!
//! A key is written in the value, as an independent `[key value]` tuple. Operations of a history without keys, which
//! has one object, have only values. The tools know less than we do, so the history is projected. Everything the tools
//! read is implied by the history, so if the projection is not linearizable, neither is the history. What the tools
//! ignore is written beside it, in the comment on the first line and in fields of other names, so [`read`](super::read)
//! restores the whole history.
//!
//! | here | in Jepsen | extra fields |
//! |---|---|---|
//! | read | `:read`; a missing key is `nil` | |
//! | write; delete | `:write` of the value; of `nil` | for a delete `:delete true` |
//! | write or delete that compares a value | `:cas [from to]` | |
//! | write if missing (`nx`, `cmprev -1`) | `:cas [nil to]` | `:if` |
//! | write if present, or at a revision | `:write` | `:if` |
//! | refused, also a delete that found nothing | `:fail` | `:refused true`, and `:found`, the value found instead |
//! | transaction | `:txn`, steps `[:append k v]`, `[:r k v]`, `[:w k v]` | |
//! | next | `:generate`, as Jepsen's unique ids | |
//! | others, such as append, add, remove, contains, enqueue, dequeue, acquire, release | the same names | |
//! | revision of a reply | | `:revision` |
//!
//! For the functions of the row "others", the value of `:ok` is the answer, if there is one. Otherwise the value
//! repeats the request.
//!
//! The tools see an unknown delete without a compared value as a `:write nil` of unknown outcome, and a failed one as a
//! `:fail`. Processes keep their numbers, although Jepsen retires a process after `:info`.

use super::settings::STATES;
use crate::history::{Call, Datum, End, Function, History, KeyId, KvOperation, MicroOp, Operation, Outcome, Value};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes a history.
///
/// # Errors
/// Returns errors of `out`.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let keyed = (0..history.keys()).any(|key| history.key_value(KeyId(key)) != Value::NIL);
    let (keys, initial) = (if keyed { "in-value" } else { "field" }, datum(history, history.initial()));
    write!(out, "{STATES}:nil :absent, :fail :did-not-happen, :delete :found, ")?;
    writeln!(out, ":initial {initial}, :keys :{keys}}}")?;
    for (event, id, returned) in history.in_order() {
        let op = history.operation(id);
        let kind = if returned { kind(history, op) } else { "invoke" };
        let (f, value) = match op.f {
            Function::Read | Function::Write | Function::Delete => {
                let seen = (returned && op.end == End::Ok).then(|| op.reply.told()).flatten();
                let (f, value) = function(history, &history.kv(id), seen);
                (f.to_owned(), value)
            }
            _ => (name(history, op.f), told(history, op, kind == "ok")),
        };
        write!(out, "{{:index {event}, :time {}, :process {}, ", history.time(event), op.process)?;
        write!(out, ":type :{kind}, :f :{f}, :value ")?;
        if keyed && op.f != Function::Txn {
            write!(out, "[{} {value}]", datum(history, history.key_value(op.key)))?;
        } else {
            write!(out, "{value}")?;
        }
        if op.f == Function::Delete {
            write!(out, ", :delete true")?;
        }
        if returned {
            answered(history, op, out)?;
        } else {
            conditions(history, op, out)?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

/// Writes the conditions of an invocation that its function does not imply.
fn conditions(history: &History, op: &Operation, out: &mut impl Write) -> io::Result<()> {
    let when = history.condition(op);
    let exists = when.exists.map(|exists| format!(":exists {exists}"));
    let revision = when.revision.map(|revision| format!(":rev {revision}"));
    let parts: Vec<String> = exists.into_iter().chain(revision).collect();
    if parts.is_empty() { Ok(()) } else { write!(out, ", :if {{{}}}", parts.join(", ")) }
}

/// Writes what a reply has besides its type and value.
fn answered(history: &History, op: &Operation, out: &mut impl Write) -> io::Result<()> {
    if op.end == End::Refused {
        write!(out, ", :refused true")?;
        if let Some(found) = op.reply.told() {
            write!(out, ", :found {}", datum(history, found))?;
        }
    }
    match op.told_revision().filter(|_| op.f != Function::Txn && matches!(op.end, End::Ok | End::Refused)) {
        Some(revision) => write!(out, ", :revision {revision}"),
        None => Ok(()),
    }
}

fn kind(history: &History, op: &Operation) -> &'static str {
    match op.end {
        // A read without a recorded value counts as unknown.
        End::Ok if history.outcome(op) == Outcome::Info => "info",
        End::Ok => "ok",
        End::Refused | End::Fail => "fail",
        End::Info => "info",
    }
}

/// The name of a function, with characters that a keyword can have.
fn name(history: &History, f: Function) -> String {
    let name = if f == Function::Next { "generate" } else { history.function(f) };
    name.replace(|c: char| !c.is_alphanumeric() && !"+-*/!?_.<>=&%$".contains(c), "_")
}

/// The value of an operation that is not on a register.
fn told(history: &History, op: &Operation, ok: bool) -> String {
    if op.f == Function::Txn {
        let steps: Vec<String> = history.micro_ops(op).iter().map(|step| micro(history, step, ok)).collect();
        return format!("[{}]", steps.join(" "));
    }
    let asked = if op.arg == Value::UNTOLD { Value::NIL } else { op.arg };
    datum(history, if ok { op.reply.told().unwrap_or(asked) } else { asked })
}

fn micro(history: &History, step: &MicroOp, ok: bool) -> String {
    let key = datum(history, history.key_value(step.key));
    let value = match history.list(step) {
        _ if step.f == Function::Read && !ok => "nil".to_owned(),
        Some(list) => elements(history, list),
        None if step.value == Value::UNTOLD => "nil".to_owned(),
        None => datum(history, step.value),
    };
    let name = match step.f {
        Function::Append => "append",
        Function::Write => "w",
        _ => "r",
    };
    format!("[:{name} {key} {value}]")
}

fn elements(history: &History, list: &[Value]) -> String {
    let elements: Vec<String> = list.iter().map(|&element| datum(history, element)).collect();
    format!("[{}]", elements.join(" "))
}

fn function(history: &History, op: &KvOperation, seen: Option<Value>) -> (&'static str, String) {
    let text = |value: Option<Value>| value.map_or("nil".to_owned(), |value| datum(history, value));
    let (to, when) = match op.call {
        Call::Get => return ("read", text(seen)),
        Call::Put { value, when } => (Some(value), when),
        Call::Delete { when } => (None, when),
    };
    let missing = when.exists == Some(false) || when.revision == Some(-1);
    match when.value {
        Some(from) => ("cas", format!("[{} {}]", text(Some(from)), text(to))),
        None if missing && to.is_some() => ("cas", format!("[nil {}]", text(to))),
        None => ("write", text(to)),
    }
}

fn datum(history: &History, value: Value) -> String {
    match history.datum(value) {
        Datum::Text(text) => string(text),
        Datum::List(list) => elements(history, list),
        _ => history.show(value),
    }
}

/// An EDN string. The escapes are those of Java.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
