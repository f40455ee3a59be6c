//! Sequences: the numbers give the order.
//!
//! Sort what was seen by number, a `next` before the reads of its number. There is no other order, so the history is
//! possible exactly if this one respects real time: no operation returned before one that comes earlier was called. A
//! number that was read, but that no `next` is known to have given, needs an open `next`, which can give any number:
//! the i-th such number takes the i-th call, which must be before every return of this and all later numbers. That is
//! sufficient since these deadlines do not decrease. Other open operations need not have happened.
//!
//! A `next` that certainly happened but did not tell its number goes to the search.

use super::direct::{Entry, Finding, Procedure, entries};
use super::{Item, Limits};
use crate::history::{End, Function, History, NEVER, OpId};
use crate::model::sequence::{Sequence, number};

/// The procedure.
pub struct Sequences;

/// An operation that told a number.
#[derive(Clone, Copy)]
struct Told {
    number: Option<i64>,
    read: bool,
    id: OpId,
    call: u32,
    ret: u32,
}

/// A part, prepared for the procedure.
struct Problem {
    initial: Option<i64>,
    /// By number, a `next` first.
    told: Vec<Told>,
    /// Calls of open operations.
    open: Vec<(u32, OpId)>,
    /// An operation whose reply is not a number.
    absurd: Option<OpId>,
}

/// A number that an open `next` must have given: the place of its first read, and when it must have been called.
struct Missing {
    at: usize,
    deadline: u32,
    /// The operation that returned at the deadline.
    by: OpId,
}

impl Problem {
    fn new(history: &History, items: &[Item]) -> Option<Problem> {
        let initial = number(history, history.initial()).flatten();
        let mut problem = Problem { initial, told: Vec::with_capacity(items.len()), open: Vec::new(), absurd: None };
        for Entry { id, op, call, ret } in entries(history, items) {
            let told = ret != NEVER;
            let read = op.f == Function::Read;
            match op.reply.told().filter(|_| told) {
                _ if !read && op.f != Function::Next || told && op.end == End::Refused => {}
                None if read => {}
                None if told => return None,
                None => problem.open.push((call, id)),
                Some(reply) => match number(history, reply) {
                    Some(number) if read || number.is_some() => {
                        problem.told.push(Told { number, read, id, call, ret });
                    }
                    _ => problem.absurd = Some(id),
                },
            }
        }
        // Stable: the reads of a number stay in the order of their calls.
        problem.told.sort_by_key(|told| (told.number, told.read));
        Some(problem)
    }

    fn check(&self) -> Result<(), Vec<OpId>> {
        if let Some(id) = self.absurd {
            return Err(vec![id]);
        }
        // The latest call of what must come before: of smaller numbers, and of the reads of this one.
        let mut before: Option<&Told> = None;
        let mut reads: Option<&Told> = None;
        let later = |a: Option<&Told>, b: Option<&Told>| a.map(|a| a.call) < b.map(|b| b.call);
        for (i, op) in self.told.iter().enumerate() {
            let previous = i.checked_sub(1).map(|i| &self.told[i]);
            if op.number < self.initial || !op.read && op.number == self.initial {
                return Err(vec![op.id]);
            }
            if previous.is_some_and(|previous| previous.number != op.number) {
                if later(before, reads) {
                    before = reads;
                }
                reads = None;
            } else if let Some(twin) = previous.filter(|_| !op.read) {
                return Err(vec![twin.id, op.id]);
            }
            if let Some(early) = before.filter(|early| op.ret < early.call) {
                return Err(vec![early.id, op.id]);
            }
            let latest = if op.read { &mut reads } else { &mut before };
            if later(*latest, Some(op)) {
                *latest = Some(op);
            }
        }
        self.supply()
    }

    /// The numbers that open operations must have returned, smallest first.
    fn missing(&self) -> Vec<Missing> {
        let (mut missing, mut first) = (Vec::new(), None::<&Told>);
        for (at, op) in self.told.iter().enumerate().rev() {
            if first.is_none_or(|first| op.ret < first.ret) {
                first = Some(op);
            }
            let starts = at == 0 || self.told[at - 1].number != op.number;
            if let (true, true, Some(first)) = (starts && op.read, op.number != self.initial, first) {
                missing.push(Missing { at, deadline: first.ret, by: first.id });
            }
        }
        missing.reverse();
        missing
    }

    fn supply(&self) -> Result<(), Vec<OpId>> {
        let missing = self.missing();
        for (i, Missing { deadline, by, .. }) in missing.iter().enumerate() {
            if self.open.get(i).is_some_and(|(call, _)| call < deadline) {
                continue;
            }
            // The reads of all these numbers, and every `next` that is known to have given another.
            let mut clash: Vec<OpId> = missing[..=i].iter().map(|missing| self.told[missing.at].id).collect();
            clash.push(*by);
            clash.extend(self.told.iter().filter(|op| !op.read && op.call < *deadline).map(|op| op.id));
            return Err(clash);
        }
        Ok(())
    }
}

impl Procedure for Sequences {
    type Model = Sequence;

    fn find(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Finding> {
        let problem = Problem::new(history, items)?;
        Some(Finding::new("order of the numbers", items, problem.check()))
    }

    fn order(&mut self, history: &History, items: &[Item], _: Limits) -> Option<Vec<OpId>> {
        let problem = Problem::new(history, items)?;
        let missing = problem.missing();
        let mut supply = missing.iter().map(|missing| missing.at).zip(&problem.open).peekable();
        let mut order = Vec::with_capacity(problem.told.len() + missing.len());
        for (i, op) in problem.told.iter().enumerate() {
            order.extend(supply.next_if(|&(at, _)| at == i).map(|(_, &(_, id))| id));
            order.push(op.id);
        }
        Some(order)
    }
}
