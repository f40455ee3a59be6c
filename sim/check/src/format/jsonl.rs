//! Histories as JSON: one event a line, in the order of real time, so that a file can be written while it happens, in any
//! language.
//!
//! ```text
//! {"process":3,"type":"invoke","f":"write","key":"x","value":1}
//! {"process":4,"type":"invoke","f":"read","key":"x"}
//! {"process":3,"type":"ok","f":"write","key":"x"}
//! {"process":4,"type":"ok","f":"read","key":"x","value":1}
//! ```
//!
//! | field | or | meaning |
//! |---|---|---|
//! | `process` | `p` | a client, a number: it has at most one operation open, apart from those that ended in `info`. Operations of `"nemesis"` are left out |
//! | `type` | | `invoke`; then `ok` (took effect, or a read's answer), `refused` (a condition did not hold, nothing changed), `fail` (certainly did not and will not happen) or `info` (unknown) |
//! | `f` | | the function. A return may repeat it |
//! | `key` | `k` | what it is done to; may be left out where there is one object. A return may repeat it |
//! | `value` | `v` | on `invoke`: what the function is called with. On `ok`: its answer; what was read, `null` for nothing. On `refused`: what was there instead, if told |
//! | `time` | `t` | nanoseconds since the start of the run; for people |
//! | `i` | | position of the event, from 0, without gaps. `index`, as Jepsen gives it, is not looked at |
//! | `rev` | `revision` | on `ok` of a write or delete: the revision it took. With a value that was seen: its revision |
//! | `if` | | on `invoke` of a write or delete: conditions `exists` (bool), `value`, `rev` (-1: missing); all that are given must hold |
//! | `error` | | anything; not looked at |
//!
//! Only `process` and `type` must be there, and on a call `f`. Other fields are counted and left out.
//!
//! | functions | called with | answer |
//! |---|---|---|
//! | `read`, `get`, `read-init` | | what was read |
//! | `write`, `put` | what to write | |
//! | `cas` | `[from, to]`; the same as a write with `if` | |
//! | `delete` | | |
//! | `append` | what to append | |
//! | `add`, `increment`, `inc`; `decrement`, `dec` | a number, else 1; of a set: the element | |
//! | `remove`, `contains` | the element | of `contains`: true or false |
//! | `enqueue`, `push` | the element | |
//! | `dequeue`, `pop` | | the element, `null` for an empty queue |
//! | `drain` | | the list of the elements that were taken out of a queue |
//! | `acquire`, `lock`; `release`, `unlock` | | of `acquire`: the fencing token, if there is one |
//! | `next`, `generate` | | the number |
//! | `txn` | steps: `[["append","x",1],["r","x",null],["w","y",2]]` | the steps with what was read: `["r","x",[1,2]]` |
//! | `transfer` | anything | anything; of a bank, whose reads answer balances |
//! | any other | anything | anything; for a model of your own |
//!
//! Values are any JSON. `{"symbol":"…"}` is for what other formats know beside it. A first line `{"initial":0}` says what every
//! object holds at first, unless that is nothing. The same events in one array, with any spacing, are read too. An operation without a
//! return is still open at the end, which means the same as `info`.

use super::{Error, Format, ReadOptions};
use crate::history::{Datum, End, Function, History, MicroOp, Operation, Value};
use std::io::{self, BufRead, Write};

/// Reads a history: [`super::read`], when the format is known and the account of it does not matter.
///
/// # Errors
/// The first thing that is not an event or cannot come at its place, or an error of `input`.
pub fn read(input: impl BufRead) -> Result<History, Error> {
    let options = ReadOptions { format: Some(Format::JsonLines), ..ReadOptions::default() };
    super::read(input, &options).map(|reading| reading.history)
}

/// Writes a history.
///
/// # Errors
/// Those of `out`.
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
            // A read that was not told what it saw is as good as unknown.
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

/// A transaction: as it was called, or as it returned.
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
