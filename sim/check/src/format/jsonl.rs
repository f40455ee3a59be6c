//! Histories as JSON: one event per line, in real-time order. A program in any language can write the file while it
//! runs.
//!
//! ```text
//! {"process":3,"type":"invoke","f":"write","key":"x","value":1}
//! {"process":4,"type":"invoke","f":"read","key":"x"}
//! {"process":3,"type":"ok","f":"write","key":"x"}
//! {"process":4,"type":"ok","f":"read","key":"x","value":1}
//! ```
//!
//! Fields, with their short or alternative names:
//!
//! - `process`, `p`: a client, a number. It has at most one open operation, apart from those that ended in `info`.
//!   Operations of `"nemesis"` are left out.
//! - `type`: `invoke`, then one of `ok` (took effect, or the answer of a read), `refused` (a condition did not hold and
//!   nothing changed), `fail` (certainly did not and will not take effect) or `info` (unknown).
//! - `f`: the function. A completion may repeat it.
//! - `key`, `k`: the object. May be left out if there is only one. A completion may repeat it.
//! - `value`, `v`: on `invoke` the argument. On `ok` the answer; for a read the value read, `null` for nothing. On
//!   `refused` the value found instead, if known.
//! - `time`, `t`: nanoseconds since the start of the run. Only for display.
//! - `i`: position of the event, from 0, without gaps. Jepsen's `index` is ignored.
//! - `rev`, `revision`: on `ok` of a write or delete, its new revision. With a value that was seen, the revision of
//!   that value.
//! - `if`: on `invoke` of a write or delete, the conditions `exists` (bool), `value` and `rev` (-1: missing). All that
//!   are given must hold.
//! - `error`: anything; ignored.
//!
//! Only `process` and `type` are required, and `f` on an invocation. Other fields are counted and left out.
//!
//! | functions | argument | answer |
//! |---|---|---|
//! | `read`, `get`, `read-init` | | the value read |
//! | `write`, `put` | the value to write | |
//! | `cas` | `[from, to]`; the same as a write with `if` | |
//! | `delete` | | |
//! | `append` | the element to append | |
//! | `add`, `increment`, `inc`; `decrement`, `dec` | a number, default 1; for a set the element | |
//! | `remove`, `contains` | the element | for `contains` true or false |
//! | `enqueue`, `push` | the element | |
//! | `dequeue`, `pop` | | the element, `null` for an empty queue |
//! | `drain` | | the list of elements removed from a queue |
//! | `acquire`, `lock`; `release`, `unlock` | | for `acquire` the fencing token, if there is one |
//! | `next`, `generate` | | the number |
//! | `txn` | steps: `[["append","x",1],["r","x",null]]` | the steps with the values read: `["r","x",[1,2]]` |
//! | `transfer` | anything | anything; for a bank, whose reads return balances |
//! | any other | anything | anything; for a custom model |
//!
//! The steps of a transaction are `append` and `w` with a key and a value, such as `["w","y",2]`, and `r` with a key.
//!
//! A value is any JSON. `{"symbol":"…"}` is for values that other formats have and JSON does not. A first line
//! `{"initial":0}` sets the initial value of every object; the default is nothing. The same events in one array, with
//! any spacing, are accepted too. An operation without a completion is still open at the end. This means the same as
//! `info`.

use super::{Error, Format, ReadOptions};
use crate::history::{Datum, End, Function, History, MicroOp, Operation, Value};
use std::io::{self, BufRead, Write};

/// Reads a history in this format. Use [`super::read`] if the format is unknown or the account of the input matters.
///
/// # Errors
/// Returns the first invalid event or an error of `input`.
pub fn read(input: impl BufRead) -> Result<History, Error> {
    let options = ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() };
    super::read(input, &options).map(|reading| reading.history)
}

/// Writes a history.
///
/// # Errors
/// Returns errors of `out`.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    if history.initial() != Value::NIL {
        write!(out, "{{\"initial\":")?;
        datum(history, history.initial(), out)?;
        writeln!(out, "}}")?;
    }
    for (event, id, returned) in history.in_order() {
        let op = history.operation(id);
        write!(out, "{{\"i\":{event},\"t\":{},\"p\":{},\"type\":\"", history.time(event), op.process)?;
        let kind = match op.end {
            _ if !returned => "invoke",
            // A read without a recorded value counts as unknown.
            End::Ok if op.f == Function::Read && op.reply == Value::UNTOLD => "info",
            End::Ok => "ok",
            End::Refused => "refused",
            End::Fail => "fail",
            End::Info => "info",
        };
        let f = match op.f {
            Function::Read => "get",
            Function::Write => "put",
            f => history.function(f),
        };
        write!(out, "{kind}\",\"f\":")?;
        serde_json::to_writer(&mut *out, f)?;
        if history.key_value(op.key) != Value::NIL {
            write!(out, ",\"k\":")?;
            datum(history, history.key_value(op.key), out)?;
        }
        if op.f == Function::Txn {
            if matches!(kind, "invoke" | "ok") {
                steps(history, history.micro_ops(op), returned, out)?;
            }
        } else if returned {
            answer(history, op, kind, out)?;
        } else {
            called_with(history, op, out)?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

fn called_with(history: &History, op: &Operation, out: &mut impl Write) -> io::Result<()> {
    if op.arg != Value::UNTOLD {
        write!(out, ",\"v\":")?;
        datum(history, op.arg, out)?;
    }
    let when = history.condition(op);
    if when.is_always() {
        return Ok(());
    }
    let mut before = ",\"if\":{";
    if let Some(exists) = when.exists {
        write!(out, "{before}\"exists\":{exists}")?;
        before = ",";
    }
    if let Some(value) = when.value {
        write!(out, "{before}\"value\":")?;
        datum(history, value, out)?;
        before = ",";
    }
    if let Some(revision) = when.revision {
        write!(out, "{before}\"rev\":{revision}")?;
    }
    write!(out, "}}")
}

fn answer(history: &History, op: &Operation, kind: &str, out: &mut impl Write) -> io::Result<()> {
    if !matches!(kind, "ok" | "refused") {
        return Ok(());
    }
    if op.reply != Value::UNTOLD {
        write!(out, ",\"v\":")?;
        datum(history, op.reply, out)?;
    }
    match op.told_revision() {
        Some(revision) => write!(out, ",\"rev\":{revision}"),
        None => Ok(()),
    }
}

/// Writes the steps of a transaction, as invoked or as completed.
fn steps(history: &History, steps: &[MicroOp], returned: bool, out: &mut impl Write) -> io::Result<()> {
    write!(out, ",\"v\":[")?;
    for (i, step) in steps.iter().enumerate() {
        let name = match step.f {
            Function::Append => "append",
            Function::Write => "w",
            _ => "r",
        };
        write!(out, "{}[\"{name}\",", if i == 0 { "" } else { "," })?;
        datum(history, history.key_value(step.key), out)?;
        match history.list(step) {
            _ if name == "r" && !returned => write!(out, ",null")?,
            Some(list) => {
                write!(out, ",")?;
                elements(history, list, out)?;
            }
            None if step.value == Value::UNTOLD => {}
            None => {
                write!(out, ",")?;
                datum(history, step.value, out)?;
            }
        }
        write!(out, "]")?;
    }
    write!(out, "]")
}

fn elements(history: &History, list: &[Value], out: &mut impl Write) -> io::Result<()> {
    write!(out, "[")?;
    for (i, &element) in list.iter().enumerate() {
        if i != 0 {
            write!(out, ",")?;
        }
        datum(history, element, out)?;
    }
    write!(out, "]")
}

fn datum(history: &History, value: Value, out: &mut impl Write) -> io::Result<()> {
    match history.datum(value) {
        Datum::Nil | Datum::Untold => write!(out, "null"),
        Datum::Bool(yes) => write!(out, "{yes}"),
        Datum::Int(n) => write!(out, "{n}"),
        Datum::Text(text) => Ok(serde_json::to_writer(out, text)?),
        Datum::Symbol(text) => {
            write!(out, "{{\"symbol\":")?;
            serde_json::to_writer(&mut *out, text)?;
            write!(out, "}}")
        }
        Datum::List(list) => elements(history, list, out),
    }
}
