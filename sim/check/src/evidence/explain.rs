//! Explains evidence in words and as a text diagram.
//!
//! The words name the kind of anomaly if a fact about a few operations of the core is enough to see it: a value from
//! nowhere, a lost update, a stale read, an element dequeued twice, two holders of a lock. Each rule states what it
//! found, with events and source lines. The statement is true of every history that the rule matches: no valid history
//! has such operations. It is not a second opinion on the verdict. If no rule matches, the words say only that the
//! operations listed cannot be ordered.

mod collections;
mod draw;
mod kv;
mod objects;
pub(crate) mod show;

use super::page::svg::describe;
use crate::certificate::step::replay;
use crate::history::{Datum, Function, History, OpId, Value};
use crate::model::Kind;
pub use draw::diagram;
use std::fmt::Write;

/// Maximum number of operations that are compared with each other or drawn.
const SHOWN: usize = 40;

/// The name of an anomaly, and the fact that shows it.
type Found = (&'static str, String);

/// Returns the anomaly's short name (empty if there is none) and the reason in words. `prefix`: the operations of the
/// part that were called before the history became impossible. `known`: the model, if the functions do not determine
/// it. `minimal`: whether the core is known to be the smallest. `given`: operations whose replies are needed besides
/// the core.
pub fn words(
    history: &History,
    known: Option<Kind>,
    breaks: OpId,
    (core, given): (&[OpId], &[OpId]),
    prefix: &[OpId],
    minimal: bool,
) -> (String, String) {
    let last = history.operation(breaks);
    let focus = focus(Some(breaks), core);
    let key = history.key(last.key);
    let found = match last.f {
        Function::Read | Function::Write | Function::Delete if is_register(history, prefix) => {
            kv::find(history, prefix, &focus)
        }
        Function::Enqueue | Function::Dequeue | Function::Remove | Function::Contains => {
            collections::find(history, known, prefix, &focus)
        }
        Function::Add | Function::Read => {
            collections::find(history, known, prefix, &focus).or_else(|| objects::find(history, prefix, &focus))
        }
        _ => objects::find(history, prefix, &focus),
    };
    let (anomaly, found) = found.unwrap_or_else(|| match core.len() {
        1 => ("", "nothing explains the reply below".to_owned()),
        n => ("", format!("no order of the {n} operations below explains all their replies")),
    });
    let mut text = match history.key_value(last.key) {
        Value::NIL => capital(&found) + ".",
        _ => format!("key {key}: {found}."),
    };
    let ret = show::at(history, last.settled().unwrap_or_default());
    let _ = write!(text, "\nThe history is impossible from event {ret} on, the return of process {}'s ", last.process);
    let _ = write!(text, "{}. ", history.function(last.f));
    match prefix.len().saturating_sub(core.len() + given.iter().filter(|op| !core.contains(op)).count()) {
        0 => {}
        1 => text.push_str("It stays so whatever the other operation did. "),
        n => {
            let _ = write!(text, "It stays so whatever the {n} other operations did. ");
        }
    }
    if !minimal && core.len() > 3 {
        text.push_str("There may be smaller evidence: the budget ended the search for it. ");
    }
    text.truncate(text.trim_end().len());
    (anomaly.to_owned(), text)
}

/// The text with its first letter capitalized.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Describes the state after an order of all operations except `breaks`, and says that `breaks` cannot follow. Returns
/// `None` if the state is not known.
pub fn stuck(history: &History, known: Option<Kind>, breaks: OpId, prefix: &[OpId], order: &[OpId]) -> Option<String> {
    let has = |wanted: Function| prefix.iter().any(|&op| history.operation(op).f == wanted);
    let list = |&op: &OpId| matches!(history.datum(history.operation(op).reply), Datum::List(_));
    let kind = match known {
        Some(kind) => kind,
        None if is_register(history, prefix) => Kind::Kv,
        None if has(Function::Append) => Kind::Append,
        None if has(Function::Enqueue) => Kind::Queue,
        None if has(Function::Acquire) => Kind::Lock,
        None if has(Function::Next) => Kind::Sequence,
        None if has(Function::Add) && (has(Function::Contains) || prefix.iter().any(list)) => Kind::Set,
        None if has(Function::Add) => Kind::Counter,
        None => return None,
    };
    let mut state = None;
    let last = order.len().checked_sub(1).filter(|_| !order.contains(&breaks))?;
    replay(history, kind, order, |place, now| {
        if place == last {
            state = Some(describe(history, now));
        }
    })?;
    let op = history.operation(breaks);
    let what = format!("{} → {}", show::request(history, op), show::reply(history, op));
    let place = match history.key_value(op.key) {
        Value::NIL => String::new(),
        _ => format!(" on key {}", history.key(op.key)),
    };
    let them = match order.len() {
        1 => "One other operation can come before".to_owned(),
        n => format!("The others can be ordered{place}; the order found has {n} operations"),
    };
    Some(format!(
        "{them} and ends so: {}. Process {}'s {what} cannot come then, nor at any earlier place.",
        state?, op.process
    ))
}

/// Whether the object is a register or key, which the rules of [`kv`] can explain. This is decided by the functions
/// called on it or, if it was only read, by the functions called anywhere.
pub(super) fn is_register(history: &History, prefix: &[OpId]) -> bool {
    let writes = |f| matches!(f, Function::Write | Function::Delete);
    let of_part = || prefix.iter().map(|&op| history.operation(op).f).filter(|&f| f != Function::Read);
    if of_part().next().is_some() {
        return of_part().all(writes);
    }
    let mut others = history.operations().iter().map(|op| op.f).filter(|&f| f != Function::Read).peekable();
    others.peek().is_some() && others.all(writes)
}

/// The operations to examine, in the order of calls: the whole core, or the end of a large one.
fn focus(breaks: Option<OpId>, core: &[OpId]) -> Vec<OpId> {
    let shown = &core[core.len().saturating_sub(SHOWN)..];
    let missing = breaks.filter(|breaks| !shown.contains(breaks));
    missing.into_iter().chain(shown.iter().copied()).collect()
}
