//! Interprets the completions of operations, except the steps of transactions.

use super::drains;
use super::intake::{Call, fault};
use super::tree::{Fault, What};
use super::words::{Asked, Type, named};
use super::{Fail, Format, Keys, Mismatch, Nil, Refusal};
use crate::history::{End, Function, OpId, Operation, UNTOLD_REVISION, Value};

impl Call<'_> {
    /// Records the completion of an operation.
    pub fn complete(mut self, op: OpId, kind: Type) -> Result<(), Fault> {
        let call = *self.intake.recorder.history().operation(op);
        self.same_function(call.f, call.compare != Value::UNTOLD, call.called)?;
        if let Some(node) = self.event.when {
            return fault(self.at(node), "conditions belong to the call, not to its return");
        }
        let time = self.event.time;
        if call.f == Function::Txn {
            return self.complete_txn(op, kind);
        }
        let silent = self.event.value.is_none_or(|value| self.is_nil(value));
        // A failure marked as a refusal has the value found in a field of its own.
        let marked = kind == Type::Fail && self.yes(self.event.refused)?;
        let kind = if marked { Type::Refused } else { kind };
        let (key, value) = match kind {
            _ if marked => (self.event.key, self.event.found),
            // Without a value there is no key.
            _ if silent && self.intake.settings.keys == Keys::InValue => (self.event.key, None),
            Type::Ok | Type::Refused => self.key_and_value()?,
            // The value of an error can be anything clients put there.
            _ => (self.event.key, None),
        };
        if let Some(node) = key {
            let called_with = self.intake.recorder.history().key_value(call.key);
            if !self.intake.is(self.tree, self.text, node, called_with) {
                let what = format!("another key than its call has, on {}", self.place_of(call.called));
                return fault(self.at(node), what);
            }
        }
        let mut revision = self.revision(kind)?;
        let (end, reply) = match kind {
            Type::Ok => self.answer(op, &call, value)?,
            Type::Refused if call.f == Function::Read => {
                return fault(self.event.at, "a read cannot be refused");
            }
            Type::Refused if self.intake.settings.refusal == Refusal::Ignored => {
                revision = None;
                (End::Refused, Value::UNTOLD)
            }
            Type::Refused => (End::Refused, self.found(&call, value)),
            Type::Fail if call.compare != Value::UNTOLD && self.intake.settings.fail == Fail::Refused => {
                (End::Refused, Value::UNTOLD)
            }
            Type::Fail => (End::Fail, Value::UNTOLD),
            Type::Info | Type::Invoke => (End::Info, Value::UNTOLD),
        };
        if let (Some(_), Value::NIL) = (revision, reply) {
            return fault(self.place(self.event.revision), "a missing key has no revision");
        }
        self.intake.recorder.end(op, time, end, reply, revision);
        Ok(())
    }

    /// Returns the value that a refusal found instead.
    fn found(&mut self, call: &Operation, value: Option<usize>) -> Value {
        match value {
            // Registers compared this way do not hold pairs, so a pair repeats the request.
            Some(node) if call.compare != Value::UNTOLD && self.names(node, call) => {
                self.intake.remark("refusals that repeat what was asked: what was there is not known");
                Value::UNTOLD
            }
            Some(node) => self.value(node),
            None => Value::UNTOLD,
        }
    }

    /// Whether a value repeats the request. For a compare-and-set the request is the pair.
    fn names(&mut self, node: usize, call: &Operation) -> bool {
        let (tree, text) = (self.tree, self.text);
        match tree.pair(node) {
            _ if call.compare == Value::UNTOLD => self.intake.is(tree, text, node, call.arg),
            Some((from, to)) => {
                self.intake.is(tree, text, from, call.compare)
                    && self.intake.is(tree, text, to, call.arg.told().unwrap_or(Value::NIL))
            }
            None => false,
        }
    }

    /// Returns the outcome and the reply of an `ok`.
    fn answer(&mut self, op: OpId, call: &Operation, value: Option<usize>) -> Result<(End, Value), Fault> {
        let nil = value.is_none_or(|node| self.is_nil(node));
        match call.f {
            Function::Read => {
                if value.is_none() && self.intake.format == Format::JsonLines {
                    return fault(self.event.at, "what was read is missing: \"value\", null for nothing");
                }
                match self.intake.settings.nil {
                    Nil::Unknown if nil => {
                        self.intake.remark("reads answered nil: what they saw counts as not known");
                        return Ok((End::Info, Value::UNTOLD));
                    }
                    Nil::Either if nil => {
                        self.intake.remark("reads answered nil: the file does not say what that means");
                    }
                    _ => {}
                }
                Ok((End::Ok, value.map_or(Value::NIL, |node| self.value(node))))
            }
            Function::Dequeue => Ok((End::Ok, value.map_or(Value::NIL, |node| self.value(node)))),
            Function::Contains => match value.map(|node| self.tree.node(node).what) {
                Some(What::Bool(yes)) => Ok((End::Ok, if yes { Value::TRUE } else { Value::FALSE })),
                _ => fault(self.place(value), "expected true or false, whether the set contains it"),
            },
            Function::Other(_) if self.intake.recorder.history().function(call.f) == drains::NAME => {
                drains::answer(self.tree, value)?;
                Ok((End::Ok, value.map_or(Value::NIL, |node| self.value(node))))
            }
            // Jepsen's clients repeat the request.
            _ => match value.filter(|_| !nil) {
                Some(node) if !self.names(node, call) => self.other_answer(op, call, node),
                _ => Ok((End::Ok, Value::UNTOLD)),
            },
        }
    }

    /// Interprets an `ok` whose value differs from the request.
    fn other_answer(&mut self, op: OpId, call: &Operation, node: usize) -> Result<(End, Value), Fault> {
        let cas = call.compare != Value::UNTOLD;
        let pair = self.tree.pair(node).filter(|_| cas);
        let untold = Ok((End::Ok, Value::UNTOLD));
        match (call.f, self.intake.settings.mismatch) {
            (Function::Delete, _) | (Function::Write, _) if call.f == Function::Delete || cas && pair.is_none() => {
                self.intake.remark("answers of writes that are not what was asked: not looked at");
                untold
            }
            (Function::Write | Function::Append | Function::Enqueue, Mismatch::Call) => {
                self.intake.remark("oks that name other values than their calls: the calls count");
                untold
            }
            (Function::Write | Function::Append | Function::Enqueue, Mismatch::Ok) => {
                self.intake.remark("oks that name other values than their calls: the oks count");
                let (compare, arg) = match pair {
                    Some((from, to)) => (self.value(from), self.value(to)),
                    None => (call.compare, self.value(node)),
                };
                self.intake.recorder.amend(op, call.f, compare, arg);
                untold
            }
            (Function::Write | Function::Append | Function::Enqueue, Mismatch::Error) => {
                let place = self.place_of(call.called);
                fault(
                    self.at(node),
                    format!("another value than its call names on {place}; --mismatch says which counts"),
                )
            }
            _ => Ok((End::Ok, self.value(node))),
        }
    }

    fn same_function(&self, f: Function, compares: bool, called: u32) -> Result<(), Fault> {
        let Some(name) = self.name()? else { return Ok(()) };
        let same = match named(name) {
            Some(Asked::Plain(Function::Write)) if self.yes(self.event.delete)? => f == Function::Delete,
            Some(Asked::Plain(Function::Read | Function::Write)) if f == Function::Txn => true,
            Some(Asked::Plain(g)) => g == f,
            Some(Asked::Cas) => matches!(f, Function::Write | Function::Delete) && compares,
            Some(Asked::Subtract) => f == Function::Add,
            None => self.intake.recorder.history().function(f) == name,
        };
        if same {
            return Ok(());
        }
        let function = self.intake.recorder.history().function(f);
        let place = self.place_of(called);
        fault(self.place(self.event.f), format!("returns from {name}, but called {function} on {place}"))
    }

    fn revision(&self, kind: Type) -> Result<Option<u32>, Fault> {
        let Some(node) = self.event.revision else { return Ok(None) };
        match (kind, self.tree.node(node).what) {
            (Type::Fail | Type::Info | Type::Invoke, _) => fault(self.at(node), "no revision belongs here"),
            // No history has this many modifications, so the clamped revision is as wrong as the original.
            (_, What::Int(n)) if n >= 0 => Ok(Some(u32::try_from(n).unwrap_or(u32::MAX).min(UNTOLD_REVISION - 1))),
            (_, What::Nil) => Ok(None),
            _ => fault(self.at(node), "expected a revision, a whole number from 0"),
        }
    }
}
