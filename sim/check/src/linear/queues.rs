//! Queues whose values are all different.
//!
//! An element is in the queue between a moment of its `enqueue` and a moment of its `dequeue`. Let f be when it has
//! certainly been enqueued (the first return of the two operations), and s when it can first be taken (the last call of
//! the two).
//! - Element x must be before y if x's f is before y's call of `enqueue`, or if the `dequeue` of x returned before y's
//!   s. Both are interval orders, and a cycle in the union of two implies one of length two; so it suffices to look for
//!   pairs.
//! - An element with f < s is certainly present from f to s. A `dequeue` that found nothing is impossible exactly if
//!   such intervals, overlapping, cover all its time. (The conditions are those of Henzinger, Sezgin and Vafeiadis,
//!   "Aspect-oriented linearizability proofs", 2013.)
//!
//! Conversely an order exists. Take elements one by one: of those that no remaining one must precede, the one with the
//! smallest min(f, s). Before any moment that no interval covers, this order has all elements that must be gone by
//! then. [`Procedure::order`] does that, enqueues as late and dequeues as early as possible, and finds the moments when
//! the queue is empty.
//!
//! Open operations. An open `enqueue` whose element was never dequeued need not have happened: leaving it out only
//! removes constraints. An open `dequeue` can only take an element that no other takes. Such elements may be taken in
//! the order of their f (exchange any two that are not), so the i-th takes the i-th open call. Elements without one
//! stay forever.
//!
//! Repeated values go to `pairs`. A history with a `dequeue` that returned an unknown element goes to the general
//! search. Without the condition on pairs, all of this holds for a queue without an order: [`unordered`].

mod pairs;
pub mod unordered;

use super::direct::{Entry, Finding, Procedure, entries};
use super::{Item, Limits};
use crate::history::{End, Function, History, NEVER, OpId, Value};
use crate::model::queue::{Queue, initial};
use hashbrown::HashMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The procedure for queues in order.
pub struct Queues;

/// A moment after every event.
const FOR_EVER: i64 = i64::MAX / 8;

/// One value's stay. Positions of events; the elements of the initial list are enqueued before position 0.
#[derive(Clone, Copy)]
struct Stay {
    enqueue: Option<OpId>,
    dequeue: Option<OpId>,
    /// Call of the `enqueue`.
    call: i64,
    /// When it has certainly been enqueued, and the operation that returned then.
    f: i64,
    f_by: Option<OpId>,
    /// When it can first be taken.
    s: i64,
    /// When it has certainly been taken.
    gone: i64,
    /// Whether no `dequeue` told that it took it. [`Problem::stays`] has these last, by f.
    left: bool,
}

impl Stay {
    fn new(enqueue: Option<OpId>, call: i64, ret: i64) -> Stay {
        let (s, gone) = (FOR_EVER, FOR_EVER);
        Stay { enqueue, dequeue: None, call, f: ret, f_by: enqueue, s, gone, left: true }
    }
}

/// A part, prepared for the procedure.
struct Problem {
    stays: Vec<Stay>,
    /// Dequeues that found nothing: call, return, operation.
    empty: Vec<(i64, i64, OpId)>,
    /// Every `dequeue` with a reply, by call.
    told: Vec<(i64, OpId)>,
}

fn moment(position: u32) -> i64 {
    if position == NEVER { FOR_EVER } else { i64::from(position) }
}

impl Problem {
    /// Returns `None` if this procedure does not apply. The inner error is a set of conflicting operations.
    fn new(history: &History, items: &[Item]) -> Option<Result<Problem, Vec<OpId>>> {
        let mut problem = Problem { stays: Vec::with_capacity(items.len()), empty: Vec::new(), told: Vec::new() };
        let mut places: HashMap<u32, u32> = HashMap::with_capacity(items.len());
        let first = initial(history);
        for (i, value) in (0i64..).zip(first) {
            let call = 2 * (i - first.len() as i64);
            problem.stays.push(Stay::new(None, call, call + 1));
            places.insert(value.bits(), i as u32);
        }
        if places.len() < first.len() || first.contains(&Value::NIL) {
            return None;
        }
        let happened = |e: &Entry<'_>| !(e.told() && e.op.end == End::Refused);
        for e in entries(history, items).filter(|e| e.op.f == Function::Enqueue && happened(e)) {
            let place = problem.stays.len() as u32;
            let again = places.insert(e.op.arg.bits(), place).is_some();
            if again || matches!(e.op.arg, Value::NIL | Value::UNTOLD) {
                return None;
            }
            problem.stays.push(Stay::new(Some(e.id), moment(e.call), moment(e.ret)));
        }
        let mut open = Vec::new();
        let mut clash = None;
        for e in entries(history, items).filter(|e| e.op.f == Function::Dequeue) {
            let (call, ret) = (moment(e.call), moment(e.ret));
            match e.op.reply {
                _ if !e.told() => {
                    open.push((call, e.id));
                    continue;
                }
                Value::NIL => problem.empty.push((call, ret, e.id)),
                _ if e.op.end == End::Refused => problem.empty.push((call, ret, e.id)),
                Value::UNTOLD => return None,
                value => match places.get(&value.bits()) {
                    Some(&place) => clash = clash.or(problem.stays[place as usize].take(e.id, call, ret)),
                    None => clash = clash.or(Some(vec![e.id])),
                },
            }
            problem.told.push((call, e.id));
        }
        if let Some(clash) = clash {
            return Some(Err(clash));
        }
        problem.take_the_rest(&open);
        Some(Ok(problem))
    }

    /// Assigns open dequeues to the elements that no other `dequeue` took.
    fn take_the_rest(&mut self, open: &[(i64, OpId)]) {
        self.stays.retain(|stay| !stay.left || stay.f < FOR_EVER);
        self.stays.sort_by_key(|stay| (stay.left, if stay.left { stay.f } else { 0 }));
        let left = self.stays.partition_point(|stay| !stay.left);
        for (stay, &(call, id)) in self.stays[left..].iter_mut().zip(open) {
            (stay.dequeue, stay.s) = (Some(id), call.max(stay.call));
        }
    }

    fn check(&self) -> Result<(), Vec<OpId>> {
        self.pairs()?;
        self.emptiness()
    }

    /// Looks for two elements that must each be before the other.
    fn pairs(&self) -> Result<(), Vec<OpId>> {
        let (mut by_call, mut by_f) = (self.places(|stay| stay.call), self.places(|stay| stay.f));
        by_call.sort_unstable();
        by_f.sort_unstable();
        // Of the elements enqueued before y's call, the one with the latest s.
        let mut last: Option<&Stay> = None;
        let mut next = by_f.iter().peekable();
        for &(call, y) in &by_call {
            while let Some((_, x)) = next.next_if(|(f, _)| *f < call) {
                let x = &self.stays[*x as usize];
                if last.is_none_or(|last| last.s < x.s) {
                    last = Some(x);
                }
            }
            let y = &self.stays[y as usize];
            if let Some(x) = last.filter(|x| y.gone < x.s) {
                let mut clash = self.presence(x, y.gone);
                clash.extend(y.dequeue);
                return Err(clash);
            }
        }
        Ok(())
    }

    fn places(&self, key: impl Fn(&Stay) -> i64) -> Vec<(i64, u32)> {
        self.stays.iter().map(key).zip(0..).collect()
    }

    /// Looks for a `dequeue` that found nothing although the queue was never empty in its time.
    fn emptiness(&self) -> Result<(), Vec<OpId>> {
        if self.empty.is_empty() {
            return Ok(());
        }
        let mut sure: Vec<&Stay> = self.stays.iter().filter(|stay| stay.f < stay.s).collect();
        sure.sort_unstable_by_key(|stay| stay.f);
        // Stretches that overlap, joined: start, end.
        let mut covered: Vec<(i64, i64)> = Vec::new();
        for stay in &sure {
            match covered.last_mut() {
                Some((_, end)) if stay.f < *end => *end = stay.s.max(*end),
                _ => covered.push((stay.f, stay.s)),
            }
        }
        for &(call, ret, id) in &self.empty {
            let before = covered.partition_point(|&(start, _)| start < call);
            if before > 0 && covered[before - 1].1 > ret {
                let mut clash = self.chain(&sure, call, ret);
                clash.push(id);
                return Err(clash);
            }
        }
        Ok(())
    }

    /// Returns operations that show that the queue is not empty from `call` to `ret`: those of a few overlapping
    /// elements.
    fn chain(&self, sure: &[&Stay], call: i64, ret: i64) -> Vec<OpId> {
        let (mut clash, mut reached, mut next) = (Vec::new(), call, 0);
        while reached < ret {
            let start = next;
            while next < sure.len() && sure[next].f < reached {
                next += 1;
            }
            let Some(stay) = sure[start..next].iter().max_by_key(|stay| stay.s) else { break };
            reached = stay.s;
            clash.extend(self.presence(stay, reached.min(ret)));
        }
        clash
    }

    /// The operations that show that an element cannot have been taken before a moment.
    fn presence(&self, stay: &Stay, moment: i64) -> Vec<OpId> {
        if !stay.left {
            return [stay.f_by, stay.dequeue].into_iter().flatten().collect();
        }
        // Elements that were present before it, and dequeues that could have taken it but took something else.
        let rivals =
            self.stays.iter().filter(|other| other.left && other.f <= stay.f).filter_map(|other| other.enqueue);
        let takers = self.told.iter().take_while(|(call, _)| *call < moment).map(|&(_, id)| id);
        rivals.chain(takers).collect()
    }
}

impl Stay {
    /// Records that a `dequeue` replied that it took this element. Returns the conflicting operations, if any.
    fn take(&mut self, id: OpId, call: i64, ret: i64) -> Option<Vec<OpId>> {
        if let Some(other) = self.dequeue {
            return Some(vec![other, id]);
        }
        if ret < self.call {
            return Some(vec![id]);
        }
        if ret < self.f {
            (self.f, self.f_by) = (ret, Some(id));
        }
        (self.dequeue, self.s, self.gone, self.left) = (Some(id), call.max(self.call), ret, false);
        None
    }
}

impl Procedure for Queues {
    type Model = Queue;

    fn find(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Finding> {
        let result = match Problem::new(history, items) {
            Some(problem) => problem.and_then(|problem| problem.check()),
            None => match unordered::count(history, items)? {
                Ok(()) => {
                    let pairs::Found { answer, steps, .. } = pairs::find(history, items, limits)?;
                    return Some(Finding { answer, by: "search for pairs", steps, clash: Vec::new() });
                }
                clash => {
                    let clash = refused_too(history, items, clash);
                    return Some(Finding::new("counts of each element", items, clash));
                }
            },
        };
        Some(Finding::new("order of distinct elements", items, refused_too(history, items, result)))
    }

    fn order(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let (problem, line) = match Problem::new(history, items) {
            Some(problem) => {
                let problem = problem.ok()?;
                let line = problem.line()?;
                (problem, line)
            }
            None => {
                let problem = pairs::find(history, items, limits)?.problem?;
                let line = (0..problem.stays.len() as u32).collect();
                (problem, line)
            }
        };
        Some(problem.plan(&problem.schedule(&line)))
    }
}

/// Adds the refused enqueues of the conflicting values to the conflict: had they succeeded, more of these values would
/// exist.
fn refused_too(history: &History, items: &[Item], result: Result<(), Vec<OpId>>) -> Result<(), Vec<OpId>> {
    result.map_err(|mut clash| {
        let ops = clash.iter().map(|&op| history.operation(op));
        let mut values: Vec<Value> = ops.flat_map(|op| [op.arg, op.reply]).collect();
        values.sort_unstable();
        let refused = |e: &Entry<'_>| e.op.f == Function::Enqueue && e.told() && e.op.end == End::Refused;
        let same = entries(history, items).filter(refused).filter(|e| values.binary_search(&e.op.arg).is_ok());
        clash.extend(same.map(|e| e.id));
        clash
    })
}

/// When an element enters and leaves: its place among the stays, and two moments.
type Span = (u32, i64, i64);

impl Problem {
    /// The elements in an order that respects what must be before what, and leaves the queue empty whenever it can be.
    fn line(&self) -> Option<Vec<u32>> {
        let sorted = |key: fn(&Stay) -> i64| {
            let mut places = self.places(key);
            places.sort_unstable();
            places
        };
        let mut by = [sorted(|s| s.f), sorted(|s| s.gone)].map(|order| order.into_iter().peekable());
        let mut ready = [sorted(|s| s.call), sorted(|s| s.s)].map(|order| order.into_iter().peekable());
        let mut unmet = vec![2u8; self.stays.len()];
        let mut taken = vec![false; self.stays.len()];
        let mut heap = BinaryHeap::new();
        let mut line = Vec::with_capacity(self.stays.len());
        while line.len() < self.stays.len() {
            for (by, ready) in by.iter_mut().zip(&mut ready) {
                while by.next_if(|&(_, x)| taken[x as usize]).is_some() {}
                let first = by.peek().map_or(FOR_EVER, |&(moment, _)| moment);
                while let Some((_, x)) = ready.next_if(|&(moment, _)| moment <= first) {
                    unmet[x as usize] -= 1;
                    if unmet[x as usize] == 0 {
                        let stay = &self.stays[x as usize];
                        heap.push(Reverse((stay.f.min(stay.s), x)));
                    }
                }
            }
            let Reverse((_, x)) = heap.pop()?;
            taken[x as usize] = true;
            line.push(x);
        }
        Some(line)
    }

    /// When each element of a line enters and leaves. Event p is the moment 4p, and nothing takes place on it: an
    /// `enqueue` does just before an event (4p - 1), anything else just after one (4p + 1), or with its `enqueue`.
    fn schedule(&self, line: &[u32]) -> Vec<Span> {
        // As late as possible: what comes later must not be held up.
        let mut entered = vec![0; line.len()];
        let mut late = 4 * FOR_EVER;
        for (i, &x) in line.iter().enumerate().rev() {
            late = late.min(4 * self.stays[x as usize].f - 1);
            entered[i] = late;
        }
        let mut free = i64::MIN;
        let leave = |(&x, entered): (&u32, i64)| {
            free = free.max(4 * self.stays[x as usize].s + 1);
            (x, entered, free.max(entered))
        };
        line.iter().zip(entered).map(leave).collect()
    }

    /// All operations in the order of their moments; the spans are in the order of their beginnings.
    fn plan(&self, spans: &[Span]) -> Vec<OpId> {
        let mut plan: Vec<(i64, u32, OpId)> = Vec::new();
        // When the queue is not empty, joined.
        let mut busy: Vec<(i64, i64)> = Vec::new();
        for (i, &(x, entered, left)) in (0u32..).zip(spans) {
            let stay = &self.stays[x as usize];
            plan.extend(stay.enqueue.map(|id| (entered, i, id)));
            plan.extend(stay.dequeue.map(|id| (left, i, id)));
            match busy.last_mut() {
                Some((_, end)) if entered <= *end => *end = left.max(*end),
                _ if entered < left => busy.push((entered, left)),
                _ => {}
            }
        }
        for &(call, _, id) in &self.empty {
            let moment = 4 * call + 1;
            let before = busy.partition_point(|&(start, _)| start <= moment);
            let moment = before.checked_sub(1).map_or(moment, |last| moment.max(busy[last].1));
            plan.push((moment, u32::MAX, id));
        }
        // Stable: an element's `enqueue` stays before its `dequeue`.
        plan.sort_by_key(|&(moment, i, _)| (moment, i));
        plan.into_iter().map(|(.., id)| id).collect()
    }
}
