//! Queues without an order: each enqueued element is dequeued at most once, at any later time.
//!
//! Elements constrain each other only through a `dequeue` that found nothing. Without such a reply an order exists
//! exactly if, at each return of a `dequeue`, no more dequeues of its value have returned than enqueues of it have been
//! called. Then each `enqueue` takes place at its call, and each `dequeue` at its return. Values may repeat.
//!
//! With such replies, and all elements different, each element is certainly present for an interval and need not be
//! present otherwise. The intervals are those of queues in order: see [`super`]. Open dequeues are assigned as there.
//! Histories with repeated values and dequeues that found nothing go to the search.

use super::{Problem, Span, refused_too};
use crate::history::{End, Function, History, OpId, Value};
use crate::linear::direct::{Finding, Procedure, entries};
use crate::linear::{Item, Limits};
use crate::model::Kind;
use crate::model::queue::{Unordered, initial};
use hashbrown::HashMap;

/// The procedure for queues without an order.
pub struct Bags;

/// Checks that every dequeued element had been enqueued. The error is a set of dequeues of one value, too many for its
/// enqueues. `None` if some operation cannot be counted.
pub(super) fn count(history: &History, items: &[Item]) -> Option<Result<(), Vec<OpId>>> {
    // By value: how many may be present, and the operations that took one. Never iterated over.
    let mut there: HashMap<Value, (i64, Vec<OpId>)> = HashMap::new();
    for &value in initial(history) {
        there.entry(value).or_default().0 += 1;
    }
    for (value, id, takes) in by_moment(history, items)? {
        let (left, takers) = there.entry(value).or_default();
        if !takes {
            *left += 1;
            continue;
        }
        *left -= 1;
        takers.push(id);
        if *left < 0 {
            return Some(Err(std::mem::take(takers)));
        }
    }
    Some(Ok(()))
}

/// Enqueues by call and dequeues that took something by return, in one sequence: the element, the operation, and
/// whether it took the element.
fn by_moment(history: &History, items: &[Item]) -> Option<Vec<(Value, OpId, bool)>> {
    let mut row: Vec<(u32, (Value, OpId, bool))> = Vec::with_capacity(items.len());
    for e in entries(history, items) {
        let refused = e.told() && e.op.end == End::Refused;
        match (e.op.f, e.op.reply) {
            _ if refused => {}
            (Function::Enqueue, _) if matches!(e.op.arg, Value::NIL | Value::UNTOLD) => return None,
            (Function::Enqueue, _) => row.push((e.call, (e.op.arg, e.id, false))),
            (Function::Dequeue, Value::UNTOLD) if e.told() => return None,
            (Function::Dequeue, value) if e.told() && value != Value::NIL => row.push((e.ret, (value, e.id, true))),
            _ => {}
        }
    }
    row.sort_unstable_by_key(|&(moment, _)| moment);
    Some(row.into_iter().map(|(_, what)| what).collect())
}

/// Whether some `dequeue` found nothing.
fn finds_nothing(history: &History, items: &[Item]) -> bool {
    entries(history, items).any(|e| {
        let nothing = e.op.reply == Value::NIL || e.op.end == End::Refused;
        e.op.f == Function::Dequeue && e.told() && nothing
    })
}

impl Procedure for Bags {
    type Model = Unordered;
    const KIND: Option<Kind> = Some(Kind::UnorderedQueue);

    fn find(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Finding> {
        let (by, result) = match Problem::new(history, items) {
            Some(problem) => ("stays of distinct elements", problem.and_then(|problem| problem.emptiness())),
            None => match count(history, items)? {
                Ok(()) if finds_nothing(history, items) => return None,
                result => ("counts of each element", result),
            },
        };
        Some(Finding::new(by, items, refused_too(history, items, result)))
    }

    fn order(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Vec<OpId>> {
        let Some(problem) = Problem::new(history, items) else {
            let order = by_moment(history, items).filter(|_| !finds_nothing(history, items))?;
            return Some(order.into_iter().map(|(_, id, _)| id).collect());
        };
        let problem = problem.ok()?;
        let span = |(x, stay): (u32, &super::Stay)| {
            let entered = 4 * stay.f - 1;
            (x, entered, entered.max(4 * stay.s + 1))
        };
        let mut spans: Vec<Span> = (0u32..).zip(&problem.stays).map(span).collect();
        spans.sort_unstable_by_key(|&(x, entered, _)| (entered, x));
        Some(late_takers(history, items, problem.plan(&spans)))
    }
}

/// Returns the order with each open `dequeue` delayed to just before the next `dequeue` that found nothing, or left
/// out: only such a reply shows it.
fn late_takers(history: &History, items: &[Item], order: Vec<OpId>) -> Vec<OpId> {
    let open: Vec<OpId> = entries(history, items).filter(|e| !e.told()).map(|e| e.id).collect();
    let (mut late, mut held) = (Vec::with_capacity(order.len()), Vec::new());
    for id in order {
        let op = history.operation(id);
        if op.f == Function::Dequeue && open.binary_search(&id).is_ok() {
            held.push(id);
            continue;
        }
        if op.f == Function::Dequeue && (op.reply == Value::NIL || op.end == End::Refused) {
            late.append(&mut held);
        }
        late.push(id);
    }
    late
}
