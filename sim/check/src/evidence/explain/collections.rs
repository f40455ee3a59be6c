//! Explains violations of queues and sets: elements from nowhere, lost, duplicated, out of order.
//!
//! The rules consider only elements that were put in once. They assume that every operation of unknown outcome may have
//! happened. So what they say is true in every order.

use super::Found;
use super::show::{at, during, quoted, reply, request, subject, whose};
use crate::history::{Datum, End, Function, History, NEVER, OpId, Operation, Value};
use crate::model::Kind;

/// Returns the first rule that matches.
pub(super) fn find(history: &History, known: Option<Kind>, prefix: &[OpId], focus: &[OpId]) -> Option<Found> {
    let get = |ops: &[OpId]| ops.iter().map(|&op| *history.operation(op)).collect::<Vec<_>>();
    let case = Case { history, prefix: get(prefix), focus: get(focus) };
    if case.prefix.iter().any(|op| matches!(op.f, Function::Enqueue | Function::Dequeue)) {
        let ordered = known != Some(Kind::UnorderedQueue);
        return case
            .each(Case::phantom_dequeue)
            .or_else(|| case.each(Case::dequeued_twice))
            .or_else(|| case.each(Case::out_of_order).filter(|_| ordered))
            .or_else(|| case.each(Case::lost_in_queue).filter(|_| ordered))
            .or_else(|| case.each(Case::wrong_empty));
    }
    let is_set = |op: &Operation| {
        matches!(op.f, Function::Contains | Function::Remove) || matches!(history.datum(op.reply), Datum::List(_))
    };
    if case.prefix.iter().any(|op| op.f == Function::Append) || !case.prefix.iter().any(is_set) {
        return None;
    }
    case.each(Case::element_twice)
        .or_else(|| case.each(Case::phantom_element))
        .or_else(|| case.each(Case::element_back))
        .or_else(|| case.each(Case::lost_element))
}

/// Whether an operation may have changed something.
fn possible(op: &Operation) -> bool {
    matches!(op.end, End::Ok | End::Info)
}

struct Case<'a> {
    history: &'a History,
    prefix: Vec<Operation>,
    focus: Vec<Operation>,
}

impl<'a> Case<'a> {
    fn each(&self, rule: fn(&Case<'a>, &Operation) -> Option<Found>) -> Option<Found> {
        self.focus.iter().find_map(|op| rule(self, op))
    }

    fn at(&self, event: u32) -> String {
        at(self.history, event)
    }

    /// `process 3's dequeue → 7 between #5 and #6`.
    fn fact(&self, op: &Operation) -> String {
        let (asked, told) = (request(self.history, op), reply(self.history, op));
        format!("{}'s {asked} → {told} {}", subject(op), during(self.history, op))
    }

    /// The operations called before an event that may have put an element in.
    fn sources(&self, f: Function, value: Value, before: u32) -> impl Iterator<Item = &Operation> {
        self.prefix.iter().filter(move |op| op.f == f && op.arg == value && possible(op) && op.called < before)
    }

    /// The operation that put an element in, if it is the only possible one and was answered.
    fn only_source(&self, f: Function, value: Value) -> Option<&Operation> {
        let mut sources = self.sources(f, value, NEVER);
        sources.next().filter(|op| op.end == End::Ok && sources.next().is_none())
    }

    /// Whether an operation called before an event may have taken an element out.
    fn may_take(&self, value: Value, before: u32) -> bool {
        self.prefix.iter().any(|op| {
            let takes = match op.f {
                Function::Dequeue => op.end == End::Info || op.reply == value || op.reply == Value::UNTOLD,
                Function::Remove => op.arg == value,
                _ => false,
            };
            takes && possible(op) && op.called < before
        })
    }

    fn dequeued(op: &Operation) -> Option<(Value, u32)> {
        let value = op.reply.told().filter(|&value| value != Value::NIL && op.f == Function::Dequeue)?;
        (op.end == End::Ok).then_some((value, op.returned))
    }

    fn is_initial(&self) -> bool {
        self.history.initial() == Value::NIL
    }

    fn phantom_dequeue(&self, op: &Operation) -> Option<Found> {
        let (value, ret) = Case::dequeued(op).filter(|_| self.is_initial())?;
        if self.sources(Function::Enqueue, value, ret).next().is_some() {
            return None;
        }
        let what = quoted(self.history, value);
        let failed = self.prefix.iter().find(|e| e.f == Function::Enqueue && e.arg == value && !possible(e));
        let why = match failed {
            Some(e) => format!("the only one to enqueue it, {}, had not taken effect", whose(self.history, e)),
            None => format!("nobody had enqueued {what} by then"),
        };
        Some(("phantom element", format!("{}, but {why}", self.fact(op))))
    }

    fn dequeued_twice(&self, op: &Operation) -> Option<Found> {
        let (value, _) = Case::dequeued(op).filter(|_| self.is_initial())?;
        let all = self.focus.iter().filter(|other| Case::dequeued(other).is_some_and(|(v, _)| v == value));
        let all: Vec<&Operation> = all.collect();
        let sources = self.sources(Function::Enqueue, value, NEVER).count();
        if all.len() <= sources {
            return None;
        }
        let takers: Vec<String> =
            all.iter().map(|op| format!("{} (returned at {})", subject(op), self.at(op.returned))).collect();
        let times = if sources == 1 { "once".to_owned() } else { format!("{sources} times") };
        let what = quoted(self.history, value);
        let all = if all.len() == 2 { "both" } else { "all" };
        Some((
            "duplicate dequeue",
            format!("{} {all} dequeued {what}, which was enqueued {times}", takers.join(" and ")),
        ))
    }

    /// `op` took an element, but an older element was taken only later.
    fn out_of_order(&self, op: &Operation) -> Option<Found> {
        let (young, ret) = Case::dequeued(op)?;
        let source = self.only_source(Function::Enqueue, young)?;
        self.focus.iter().find_map(|late| {
            let (old, _) = Case::dequeued(late).filter(|&(old, _)| old != young && late.called > ret)?;
            let first = self.only_source(Function::Enqueue, old)?;
            let settled = first.settled().filter(|&settled| settled < source.called)?;
            let [young, old] = [young, old].map(|value| quoted(self.history, value));
            let text = format!(
                "{}, and {}, which was called only after that, but {old} had been enqueued by {}, before the enqueue of \
                 {young} was called at {}",
                self.fact(op),
                self.fact(late),
                self.at(settled),
                self.at(source.called)
            );
            Some(("reordered", text))
        })
    }

    /// `op` took an element, but an older element was there that no operation took.
    fn lost_in_queue(&self, op: &Operation) -> Option<Found> {
        let (young, ret) = Case::dequeued(op)?;
        let source = self.only_source(Function::Enqueue, young)?;
        self.focus.iter().filter(|e| e.f == Function::Enqueue && e.arg != young).find_map(|first| {
            let settled = first.settled().filter(|&settled| first.end == End::Ok && settled < source.called)?;
            let old = quoted(self.history, first.arg);
            (!self.may_take(first.arg, ret)).then(|| {
                let text = format!(
                    "{}, but {old}, enqueued before it by {} (the enqueue of {} was called at {}), had not been dequeued",
                    self.fact(op),
                    self.at(settled),
                    quoted(self.history, young),
                    self.at(source.called)
                );
                ("lost element", text)
            })
        })
    }

    /// `op` found the queue empty, but an element was in it that no operation can have taken.
    fn wrong_empty(&self, op: &Operation) -> Option<Found> {
        let ret = op.settled().filter(|_| op.f == Function::Dequeue && op.reply == Value::NIL && op.end == End::Ok)?;
        self.focus.iter().filter(|e| e.f == Function::Enqueue && e.end == End::Ok).find_map(|source| {
            let settled = source.settled().filter(|&settled| settled < op.called)?;
            (!self.may_take(source.arg, ret)).then(|| {
                let text = format!(
                    "{}, but {} had returned at {}, and nothing dequeued that element before the reply",
                    self.fact(op),
                    whose(self.history, source),
                    self.at(settled)
                );
                ("wrong empty", text)
            })
        })
    }

    /// The elements that a read or a true `contains` saw, and the event of its return.
    fn seen<'b>(&'b self, op: &'b Operation) -> Option<(&'b [Value], u32)> {
        match (op.f, self.history.datum(op.reply), op.end) {
            (Function::Read, Datum::List(list), End::Ok) => Some((list, op.returned)),
            (Function::Contains, Datum::Bool(true), End::Ok) => Some((std::slice::from_ref(&op.arg), op.returned)),
            _ => None,
        }
    }

    fn element_twice(&self, op: &Operation) -> Option<Found> {
        let (list, _) = self.seen(op)?;
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        let twice = sorted.windows(2).find(|pair| pair[0] == pair[1])?[0];
        let text = format!("{} has {} more than once", self.fact(op), quoted(self.history, twice));
        Some(("duplicate element", text))
    }

    fn phantom_element(&self, op: &Operation) -> Option<Found> {
        let (list, ret) = self.seen(op).filter(|_| self.is_initial())?;
        let nowhere = |value: &&Value| self.sources(Function::Add, **value, ret).next().is_none();
        let value = *list.iter().find(nowhere)?;
        let failed = self.prefix.iter().any(|add| add.f == Function::Add && add.arg == value && add.end == End::Fail);
        let why =
            if failed { "the add of it had failed, which means it never happened" } else { "nobody had added it" };
        let value = quoted(self.history, value);
        Some(("phantom element", format!("{} shows {value}, but {why}", self.fact(op))))
    }

    /// An element is seen after its removal, and it was not added again.
    fn element_back(&self, op: &Operation) -> Option<Found> {
        let (list, ret) = self.seen(op)?;
        self.focus.iter().filter(|r| r.f == Function::Remove && r.end == End::Ok).find_map(|remove| {
            let gone = remove.settled().filter(|&gone| gone < op.called && list.contains(&remove.arg))?;
            let before = |add: &Operation| add.settled().is_some_and(|ret| ret < remove.called);
            self.sources(Function::Add, remove.arg, ret).all(before).then(|| {
                let (whose, gone) = (whose(self.history, remove), self.at(gone));
                let text = format!(
                    "{} shows {}, but {whose} had returned at {gone}, and nobody added it again",
                    self.fact(op),
                    quoted(self.history, remove.arg)
                );
                ("removed element is back", text)
            })
        })
    }

    /// An element is not seen that was added and that no operation can have removed.
    fn lost_element(&self, op: &Operation) -> Option<Found> {
        let ret = op.settled().filter(|_| op.end == End::Ok)?;
        self.focus.iter().filter(|add| add.f == Function::Add && add.end == End::Ok).find_map(|add| {
            let settled = add.settled().filter(|&settled| settled < op.called)?;
            let missing = match (op.f, self.history.datum(op.reply)) {
                (Function::Read, Datum::List(list)) => !list.contains(&add.arg),
                (Function::Contains, Datum::Bool(false)) => op.arg == add.arg,
                _ => false,
            };
            (missing && !self.may_take(add.arg, ret)).then(|| {
                let (whose, settled) = (whose(self.history, add), self.at(settled));
                let text = format!(
                    "{} does not have {}, but {whose} had returned at {settled}, and nobody removed it",
                    self.fact(op),
                    quoted(self.history, add.arg)
                );
                ("lost element", text)
            })
        })
    }
}
