//! Explains violations of counters, append-only texts, locks and sequences.
//!
//! Every operation of unknown outcome is assumed to have possibly happened. So what the rules say is true in every
//! order.

use super::Found;
use super::show::{self, at, during, reply, request, subject};
use crate::history::{Datum, End, Function, History, OpId, Operation, Value};

/// Returns the first rule that matches.
pub(super) fn find(history: &History, prefix: &[OpId], focus: &[OpId]) -> Option<Found> {
    let get = |ops: &[OpId]| ops.iter().map(|&op| *history.operation(op)).collect::<Vec<_>>();
    let case = Case { history, prefix: get(prefix), focus: get(focus) };
    let has = |f: Function| case.prefix.iter().any(|op| op.f == f);
    if has(Function::Add) {
        return case.each(Case::sum);
    }
    if has(Function::Append) && !has(Function::Write) {
        return case
            .each(Case::lost_append)
            .or_else(|| case.each(Case::phantom_append))
            .or_else(|| case.pairs(Case::shorter))
            .or_else(|| case.pairs(Case::forked));
    }
    if has(Function::Next) {
        return case.pairs(Case::same_number).or_else(|| case.pairs(Case::number_back));
    }
    let two = case.pairs(Case::two_holders);
    two.or_else(|| case.pairs(Case::token_back)).or_else(|| case.each(Case::released_unheld))
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
        self.focus.iter().filter(|op| op.end == End::Ok).find_map(|op| rule(self, op))
    }

    /// Applies a rule to pairs of answered operations, in both orders.
    fn pairs(&self, rule: fn(&Case<'a>, &Operation, &Operation) -> Option<Found>) -> Option<Found> {
        let answered = || self.focus.iter().filter(|op| op.end == End::Ok);
        answered().find_map(|a| answered().filter(|b| b.called != a.called).find_map(|b| rule(self, a, b)))
    }

    fn at(&self, event: u32) -> String {
        at(self.history, event)
    }

    /// `process 3's next → 7 between #5 and #6`.
    fn fact(&self, op: &Operation) -> String {
        let (asked, told) = (request(self.history, op), reply(self.history, op));
        format!("{}'s {asked} → {told} {}", subject(op), during(self.history, op))
    }

    fn number(&self, value: Value) -> Option<i128> {
        match self.history.datum(value) {
            Datum::Int(n) => Some(i128::from(n)),
            _ => None,
        }
    }

    /// Compares a counter's read with the lowest and highest sum that the adds allow.
    fn sum(&self, op: &Operation) -> Option<Found> {
        let seen = self.number(op.reply).filter(|_| op.f == Function::Read)?;
        let first = match self.history.initial() {
            Value::NIL => 0,
            initial => self.number(initial)?,
        };
        let (mut least, mut most) = (first, first);
        for add in self.prefix.iter().filter(|add| add.f == Function::Add && possible(add) && add.called < op.returned)
        {
            let by = self.number(add.arg)?;
            let certain = add.settled().is_some_and(|ret| ret < op.called);
            least += if certain || by < 0 { by } else { 0 };
            most += if certain || by > 0 { by } else { 0 };
        }
        if seen < least {
            let text = format!("{}, but the adds that had returned before make it {least} at least", self.fact(op));
            return Some(("lost update", text));
        }
        (seen > most).then(|| {
            let text = format!("{}, but all adds called by then make it {most} at most", self.fact(op));
            ("add applied twice", text)
        })
    }

    /// The elements of a text or list. The elements of a text are its bytes.
    fn elements(&self, value: Value) -> Option<Vec<u64>> {
        match self.history.datum(value) {
            Datum::Text(text) => Some(text.bytes().map(u64::from).collect()),
            Datum::List(list) => Some(list.iter().map(|item| u64::from(item.bits())).collect()),
            Datum::Nil => Some(Vec::new()),
            _ => None,
        }
    }

    /// The elements that an append adds, for a read of this kind.
    fn piece(&self, append: &Operation, read: &Operation) -> Option<Vec<u64>> {
        match self.history.datum(read.reply) {
            Datum::List(_) => Some(vec![u64::from(append.arg.bits())]),
            Datum::Text(_) => self.elements(append.arg),
            _ => None,
        }
    }

    fn lost_append(&self, op: &Operation) -> Option<Found> {
        let seen = self.elements(op.reply).filter(|_| op.f == Function::Read)?;
        self.focus.iter().filter(|a| a.f == Function::Append && a.end == End::Ok).find_map(|append| {
            let ret = append.settled().filter(|&ret| ret < op.called)?;
            let piece = if seen.is_empty() { vec![0] } else { self.piece(append, op)? };
            let anything = append.arg.told().is_some() && self.elements(append.arg) != Some(Vec::new());
            let found = piece.is_empty() || seen.windows(piece.len()).any(|window| window == piece);
            (anything && !found).then(|| {
                let (lost, ret) = (show::quoted(self.history, append.arg), self.at(ret));
                let text = format!(
                    "{} lacks {lost}: process {}'s append of {lost} had returned at {ret}, before the read was called",
                    self.fact(op),
                    append.process
                );
                ("lost append", text)
            })
        })
    }

    fn phantom_append(&self, op: &Operation) -> Option<Found> {
        let seen = self.elements(op.reply).filter(|_| op.f == Function::Read)?;
        let mut length = self.elements(self.history.initial())?.len();
        for append in self.prefix.iter().filter(|a| a.f == Function::Append && possible(a) && a.called < op.returned) {
            length += self.piece(append, op)?.len();
        }
        (seen.len() > length).then(|| {
            let text = format!("{}, which is longer than all that had been appended by then", self.fact(op));
            ("phantom append", text)
        })
    }

    /// A later read saw less.
    fn shorter(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let both = a.f == Function::Read && b.f == Function::Read && a.returned < b.called;
        let (first, second) = (self.elements(a.reply).filter(|_| both)?, self.elements(b.reply)?);
        (second.len() < first.len()).then(|| {
            let (less, more) = (second.len(), first.len());
            let text = format!(
                "{}, but {} had seen more (a length of {more}, now {less}): reads go backwards",
                self.fact(b),
                self.fact(a)
            );
            ("reads go backwards", text)
        })
    }

    /// Two reads, neither of which continues the other.
    fn forked(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let (one, other) = (self.elements(a.reply)?, self.elements(b.reply)?);
        let both = a.f == Function::Read && b.f == Function::Read && a.called < b.called;
        (both && !one.starts_with(&other) && !other.starts_with(&one)).then(|| {
            let (a, b) = (self.fact(a), self.fact(b));
            ("incompatible order", format!("{a}, and {b}: neither continues the other"))
        })
    }

    fn same_number(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let both = a.f == Function::Next && b.f == Function::Next && a.called < b.called;
        let number = self.number(a.reply).filter(|_| both && a.reply == b.reply)?;
        Some(("duplicate number", format!("{} and {} were both given {number}", self.fact(a), self.fact(b))))
    }

    /// A smaller number was requested after a larger one had been returned.
    fn number_back(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let (before, after) = (self.number(a.reply)?, self.number(b.reply)?);
        (a.returned < b.called && after < before)
            .then(|| ("number goes back", format!("{}, but {} had already told {before}", self.fact(b), self.fact(a))))
    }

    /// `b` acquired the lock while `a` held it and had not called a release.
    fn two_holders(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let took = |op: &Operation| op.f == Function::Acquire && op.reply != Value::FALSE;
        let both = took(a) && took(b) && a.process != b.process && a.returned < b.returned;
        // A release of unknown outcome that either process called before may still take effect.
        let given_back = self.prefix.iter().any(|op| {
            let adrift = op.settled().is_none() && [a.process, b.process].contains(&op.process);
            let counts = op.f == Function::Release && possible(op) && op.called < b.returned;
            counts && (adrift || op.process == a.process && op.called > a.called)
        });
        (both && !given_back).then(|| {
            let (holder, until) = (subject(a), self.at(b.returned));
            let text = format!(
                "{} and {} both hold the lock: {holder} had not called a release by {until}",
                self.fact(a),
                self.fact(b)
            );
            ("two holders", text)
        })
    }

    fn token_back(&self, a: &Operation, b: &Operation) -> Option<Found> {
        let both = a.f == Function::Acquire && b.f == Function::Acquire;
        let (before, after) = (self.number(a.reply).filter(|_| both)?, self.number(b.reply)?);
        if before == after && a.called < b.called {
            return Some(("same token twice", format!("{} and {} were given one token", self.fact(a), self.fact(b))));
        }
        (a.returned < b.called && after < before).then(|| {
            ("token goes back", format!("{}, but {} had already given token {before}", self.fact(b), self.fact(a)))
        })
    }

    /// A release took effect, but no operation can have acquired the lock.
    fn released_unheld(&self, op: &Operation) -> Option<Found> {
        let acquired = |a: &Operation| a.f == Function::Acquire && possible(a) && a.called < op.returned;
        (op.f == Function::Release && op.reply != Value::FALSE && !self.prefix.iter().any(acquired)).then(|| {
            ("release without holding", format!("{}, but nobody had called an acquire by then", self.fact(op)))
        })
    }
}
