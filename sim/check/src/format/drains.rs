//! Drains: a drain removes all elements of a queue in one operation. Jepsen's queue tests end with one. Its `ok` lists
//! the elements removed.
//!
//! Each element becomes a separate `dequeue` at some time between the drain's invocation and completion. The drain is
//! not assumed to have found the queue empty at the end. A drain of unknown outcome may have removed every element that
//! no other operation is known to have removed. It is replaced by that number of dequeues of unknown outcome. If a key
//! has several such drains, the one invoked first gets all of these dequeues.

use super::intake::{Intake, fault};
use super::tree::{Fault, Tree, What};
use crate::history::{Datum, End, Function, History, KeyId, OpId, Operation, UNTOLD_REVISION, Value};
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// The name of the function.
pub const NAME: &str = "drain";

/// Checks that the answer of an ok drain is a list.
pub fn answer(tree: &Tree, value: Option<usize>) -> Result<(), Fault> {
    match value.map(|node| (node, tree.node(node))) {
        Some((_, node)) if !matches!(node.what, What::List(_) | What::Set(_) | What::Nil) => {
            fault(node.at as usize, "expected the list of the elements that the drain took")
        }
        _ => Ok(()),
    }
}

impl Intake {
    /// Replaces drains by dequeues, if the history is one of queues.
    pub fn drained(&mut self, history: History) -> History {
        let is_drain = |op: &Operation| history.function(op.f) == NAME;
        let queue = |op: &Operation| matches!(op.f, Function::Enqueue | Function::Dequeue);
        let operations = history.operations();
        if !operations.iter().any(is_drain) || !operations.iter().any(queue) {
            return history;
        }
        let mut missing = missing(&history);
        let mut by: BTreeMap<OpId, Vec<Operation>> = BTreeMap::new();
        for (i, op) in (0u32..).zip(operations).filter(|(_, op)| is_drain(op)) {
            let one = |reply| {
                let mut one = *op;
                (one.f, one.arg, one.reply, one.revision) = (Function::Dequeue, Value::UNTOLD, reply, UNTOLD_REVISION);
                one
            };
            let dequeues: Vec<Operation> = match op.end {
                End::Ok => taken(&history, op).iter().map(|&element| one(element)).collect(),
                End::Info => vec![one(Value::UNTOLD); missing.remove(&op.key).unwrap_or(0)],
                End::Fail | End::Refused => Vec::new(),
            };
            let what = match op.end {
                End::Info => "drains of unknown outcome: they may have taken all that is missing",
                _ => "drains: each element is a dequeue at some time between call and return",
            };
            self.line = history.line(op.called).map_or(0, u64::from);
            self.remark(what);
            by.insert(OpId(i), dequeues);
        }
        history.replacing(&by)
    }
}

/// The elements that a drain removed.
fn taken<'a>(history: &'a History, op: &Operation) -> &'a [Value] {
    match history.datum(op.reply) {
        Datum::List(list) => list,
        _ => &[],
    }
}

/// For each key, the number of elements that may have been enqueued and that no operation is known to have removed.
fn missing(history: &History) -> HashMap<KeyId, usize> {
    let initial = match history.datum(history.initial()) {
        Datum::List(list) => list.len() as i64,
        _ => 0,
    };
    let mut left: HashMap<KeyId, i64> = HashMap::new(); // Only for lookups.
    for op in history.operations() {
        let change = match op.f {
            Function::Enqueue if matches!(op.end, End::Ok | End::Info) => 1,
            Function::Dequeue if op.end == End::Ok && op.reply != Value::NIL => -1,
            f if history.function(f) == NAME && op.end == End::Ok => -(taken(history, op).len() as i64),
            _ => 0,
        };
        *left.entry(op.key).or_insert(initial) += change;
    }
    left.into_iter().map(|(key, left)| (key, usize::try_from(left).unwrap_or(0))).collect()
}
