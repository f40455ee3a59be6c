//! Formats operations for people: the request, the reply, the process and the time.

use crate::history::{Datum, End, Function, History, MicroOp, Operation, UNTOLD_REVISION, Value};
use std::fmt::Write;

/// Maximum length in characters of a value that is shown in full.
const LONG: usize = 24;

/// Formats a value: texts quoted and escaped, numbers plain. Long values are shortened.
pub(crate) fn quoted(history: &History, value: Value) -> String {
    let text = match history.datum(value) {
        Datum::Text(text) => {
            return match text.char_indices().nth(LONG) {
                Some(_) => {
                    // The end says more than the beginning: texts that grow all have the same beginning.
                    let skipped = text.chars().count() - LONG / 2;
                    let end = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
                    let (head, tail) =
                        (format!("{:?}", &text[..end(LONG / 2)]), format!("{:?}", &text[end(skipped)..]));
                    format!("{}…{}", head.strip_suffix('"').unwrap_or(&head), tail.strip_prefix('"').unwrap_or(&tail))
                }
                None => format!("{text:?}"),
            };
        }
        Datum::List(list) if list.len() > LONG => {
            let ends: Vec<String> = list[list.len() - 3..].iter().map(|&item| quoted(history, item)).collect();
            return format!("[{} elements … {}]", list.len(), ends.join(" "));
        }
        Datum::List(list) => {
            let items: Vec<String> = list.iter().map(|&item| quoted(history, item)).collect();
            format!("[{}]", items.join(" "))
        }
        Datum::Symbol(text) => text.escape_debug().to_string(),
        Datum::Nil | Datum::Untold | Datum::Bool(_) | Datum::Int(_) => return history.show(value),
    };
    match text.char_indices().nth(3 * LONG) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An event: its position, and its source line.
pub(crate) fn at(history: &History, event: u32) -> String {
    history.line(event).map_or(format!("#{event}"), |line| format!("#{event} (line {line})"))
}

/// The time between an operation's call and its return.
pub(crate) fn during(history: &History, op: &Operation) -> String {
    match op.settled() {
        Some(ret) => format!("between {} and {}", at(history, op.called), at(history, ret)),
        None => format!("from {} on", at(history, op.called)),
    }
}

/// The process of an operation.
pub(crate) fn subject(op: &Operation) -> String {
    format!("process {}", op.process)
}

/// The usual name of the function: a write with a condition on the value is a `cas`.
pub(crate) fn name<'a>(history: &'a History, op: &Operation) -> &'a str {
    match op.f {
        Function::Write if op.compare != Value::UNTOLD => "cas",
        f => history.function(f),
    }
}

/// An operation as a noun phrase: `process 3's write of "a"`.
pub(crate) fn whose(history: &History, op: &Operation) -> String {
    match op.arg {
        _ if op.f == Function::Txn => format!("process {}'s transaction", op.process),
        Value::UNTOLD => format!("process {}'s {}", op.process, history.function(op.f)),
        arg => format!("process {}'s {} of {}", op.process, history.function(op.f), quoted(history, arg)),
    }
}

/// The request: `cas 3→4`, `enqueue "a"`.
pub(crate) fn request(history: &History, op: &Operation) -> String {
    if op.f == Function::Txn {
        return steps(history, history.micro_ops(op));
    }
    let mut text = name(history, op).to_owned();
    let compares = op.f == Function::Write && op.compare != Value::UNTOLD;
    if compares {
        let _ = write!(text, " {}→{}", quoted(history, op.compare), quoted(history, op.arg));
    } else if op.arg != Value::UNTOLD {
        let _ = write!(text, " {}", quoted(history, op.arg));
    }
    let when = history.condition(op);
    text.push_str(match when.exists {
        None => "",
        Some(false) => " if missing",
        Some(true) => " if present",
    });
    if let (false, Some(value)) = (compares, when.value) {
        let _ = write!(text, " if {}", quoted(history, value));
    }
    if let Some(n) = when.revision {
        let _ = write!(text, " if r{n}");
    }
    text
}

/// The reply.
pub(crate) fn reply(history: &History, op: &Operation) -> String {
    let revision = match op.revision {
        UNTOLD_REVISION => String::new(),
        r => format!("r{r}"),
    };
    let told = match (op.f, op.reply) {
        (Function::Txn, _) | (_, Value::UNTOLD) => None,
        (Function::Dequeue, Value::NIL) => Some("empty".to_owned()),
        (Function::Read | Function::Write | Function::Delete, Value::NIL) if history.initial() == Value::NIL => {
            Some("missing".to_owned())
        }
        (_, value) => Some(quoted(history, value)),
    };
    let spaced = |a: &str, b: &str| format!("{a}{}{b}", if a.is_empty() || b.is_empty() { "" } else { " " });
    match (op.end, told) {
        (End::Ok, Some(value)) => spaced(&value, &revision),
        (End::Ok, None) if op.f == Function::Txn => "committed".to_owned(),
        (End::Ok, None) if op.f == Function::Read => "not told".to_owned(),
        (End::Ok, None) if revision.is_empty() => "done".to_owned(),
        (End::Ok, None) => revision,
        (End::Refused, Some(value)) => format!("refused, {}", spaced(&value, &revision)),
        (End::Refused, None) => "refused".to_owned(),
        (End::Fail, _) if op.f == Function::Txn => "aborted".to_owned(),
        (End::Fail, _) => "failed".to_owned(),
        (End::Info, _) => "unknown".to_owned(),
    }
}

/// The steps of a transaction: `r x [1 2], append y 3`.
fn steps(history: &History, steps: &[MicroOp]) -> String {
    let mut text = String::new();
    for step in steps.iter().take(LONG) {
        let key = quoted(history, history.key_value(step.key)).replace('"', "");
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = match (step.f, history.list(step)) {
            (Function::Read, Some(list)) => {
                let tail = &list[list.len().saturating_sub(6)..];
                let items: Vec<String> = tail.iter().map(|&item| quoted(history, item)).collect();
                let dots = if tail.len() < list.len() { "… " } else { "" };
                write!(text, "{separator}r {key} [{dots}{}]", items.join(" "))
            }
            (Function::Read, None) => write!(text, "{separator}r {key} {}", quoted(history, step.value)),
            (Function::Write, _) => write!(text, "{separator}w {key} {}", quoted(history, step.value)),
            (f, _) => write!(text, "{separator}{} {key} {}", history.function(f), quoted(history, step.value)),
        };
    }
    if steps.len() > LONG {
        let _ = write!(text, ", … {} more steps", steps.len() - LONG);
    }
    if text.is_empty() { "txn".to_owned() } else { text }
}
