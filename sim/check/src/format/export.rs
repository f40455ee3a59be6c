//! Histories as Jepsen writes them, for Knossos and its like: one operation map a line, with independent `[key value]` tuples.
//!
//! ```text
//! {:index 0, :time 1500000, :process 3, :type :invoke, :f :write, :value ["k1" "c3-7"]}
//! {:index 2, :time 2500000, :process 3, :type :ok, :f :write, :value ["k1" "c3-7"], :revision 0}
//! ```
//!
//! What the tools know is a register with compare-and-set, at first `nil`. The key-value model is projected onto it so that
//! whatever is written is implied by the history: if the projection is not linearizable, neither is the history. The
//! reverse does not hold, as revisions and some conditions are lost.
//!
//! | here | there |
//! |---|---|
//! | get | `:read`; a missing key is `nil` |
//! | put; delete | `:write` of the value; of `nil`. A delete that found nothing is `:ok` too: the register was and is `nil` |
//! | put or delete that compares a value | `:cas [from to]` |
//! | put if missing (`nx`, `cmprev -1`) | `:cas [nil to]` |
//! | put if present, or at a revision | `:write`: the condition is lost |
//! | refused, apart from the delete above | `:fail`: what was there instead is lost |
//! | revision of a reply | `:revision`, which the tools ignore |
//!
//! An unknown delete that names no value is a `:write nil` of unknown fate, a failed one a `:fail`. Processes keep their
//! numbers, though Jepsen retires a process after `:info`.

use crate::history::{Call, Condition, Datum, History, KvOperation, Outcome, Reply, Value, Version};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Writes a history.
///
/// # Errors
/// Those of `out`.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    for (event, id, returned) in history.in_order() {
        let op = &history.kv(id);
        let (kind, seen, revision) = if returned { outcome(op) } else { ("invoke", None, None) };
        let (f, value) = function(history, op, seen);
        write!(out, "{{:index {event}, :time {}, :process {}, ", history.time(event), op.process)?;
        write!(out, ":type :{kind}, :f :{f}, :value [{} {value}]", datum(history, history.key_value(op.key)))?;
        if let Some(revision) = revision {
            write!(out, ", :revision {revision}")?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

/// The type of a return, what a read saw, and the revision told.
fn outcome(op: &KvOperation) -> (&'static str, Option<Value>, Option<u64>) {
    let removes_any = matches!(op.call, Call::Delete { when: Condition::ALWAYS });
    match op.outcome {
        Outcome::Ok(Reply::Got(seen)) => ("ok", seen.map(|v| v.value), seen.and_then(|v: Version| v.revision)),
        Outcome::Ok(Reply::Done { revision }) => ("ok", None, revision),
        Outcome::Ok(Reply::Refused(None)) if removes_any => ("ok", None, None),
        Outcome::Ok(Reply::Refused(_) | Reply::Declined) | Outcome::Fail => ("fail", None, None),
        Outcome::Info => ("info", None, None),
    }
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
        _ => history.show(value),
    }
}

/// A string of EDN, whose escapes are those of Java.
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
