//! Reads transactions: the steps in the value of an event.

use super::intake::{Call, Intake, fault};
use super::tree::{Fault, What};
use super::words::{Asked, Type, named};
use crate::history::recorder::Step;
use crate::history::{End, Function, OpId, Recorder, Value};

/// A step of a transaction. Its list is a range of `Intake::values`.
pub struct Micro {
    f: Function,
    key: Value,
    value: Value,
    list: Option<(usize, usize)>,
}

impl Call<'_> {
    /// Whether the value looks like a transaction: a list of lists that begin with a name.
    pub fn looks_like_txn(&self) -> bool {
        self.event.value.is_some_and(|value| {
            matches!(self.tree.node(value).what, What::List(_))
                && self.tree.content(value).all(|step| {
                    matches!(self.tree.node(step).what, What::List(_))
                        && matches!(
                            self.tree.content(step).next().map(|first| self.tree.node(first).what),
                            Some(What::Symbol(_) | What::Text(_))
                        )
                })
        })
    }

    /// Whether the value is a list of steps that read or write. The reads and writes in Jepsen's long-fork test have
    /// such values.
    pub fn is_steps(&self) -> bool {
        let Some(value) = self.event.value.filter(|&value| matches!(self.tree.node(value).what, What::List(_))) else {
            return false;
        };
        let step = |node: usize| {
            let parts: Vec<usize> = self.tree.content(node).take(4).collect();
            let name = parts.first().and_then(|&first| self.tree.name(first, self.text)).and_then(named);
            let known = matches!(name, Some(Asked::Plain(Function::Read | Function::Write)));
            matches!(self.tree.node(node).what, What::List(_)) && parts.len() == 3 && known
        };
        let mut steps = self.tree.content(value).peekable();
        steps.peek().is_some() && steps.all(step)
    }

    /// Completes a transaction.
    pub fn complete_txn(mut self, op: OpId, kind: Type) -> Result<(), Fault> {
        let end = match kind {
            Type::Ok => End::Ok,
            Type::Fail => End::Fail,
            Type::Refused => return fault(self.event.at, "a transaction cannot be refused: it fails"),
            Type::Info | Type::Invoke => End::Info,
        };
        if end == End::Ok && self.event.value.is_some_and(|value| !self.is_nil(value)) {
            let steps = self.steps(true)?;
            self.with_steps(&steps, |recorder, time, steps| recorder.end_txn(op, time, end, Some(steps)));
        } else {
            self.intake.recorder.end_txn(op, self.event.time, end, None);
        }
        Ok(())
    }

    /// Reads the steps in the value. `told`: the values of reads are known, even if they are nothing.
    pub fn steps(&mut self, told: bool) -> Result<Vec<Micro>, Fault> {
        let example = "expected a transaction as [[\"append\" k v] [\"r\" k nil] [\"w\" k v]]";
        let list = self.event.value.filter(|&node| matches!(self.tree.node(node).what, What::List(_)));
        let Some(list) = list else { return fault(self.place(self.event.value), example) };
        let mut steps = Vec::new();
        for step in self.tree.content(list).collect::<Vec<usize>>() {
            if !matches!(self.tree.node(step).what, What::List(_)) {
                return fault(self.at(step), example);
            }
            let parts: Vec<usize> = self.tree.content(step).take(4).collect();
            let name = parts.first().and_then(|&first| self.tree.name(first, self.text)).unwrap_or_default();
            let f = match (named(name), parts.len()) {
                (Some(Asked::Plain(f @ Function::Read)), 2 | 3) => f,
                (Some(Asked::Plain(f @ (Function::Write | Function::Append))), 3) => f,
                _ => return fault(self.at(step), "expected a step: append, r or w, with a key and a value"),
            };
            let key = self.value(parts[1]);
            let (value, list) = match parts.get(2) {
                Some(&node) if f != Function::Read => (self.value(node), None),
                Some(&node) if told => match self.tree.node(node).what {
                    What::List(_) | What::Set(_) => {
                        (Value::UNTOLD, Some(self.intake.elements(self.tree, self.text, node)))
                    }
                    _ => (self.value(node), None),
                },
                _ => (Value::UNTOLD, None),
            };
            steps.push(Micro { f, key, value, list });
        }
        Ok(steps)
    }

    /// Passes steps to `record`.
    pub fn with_steps<T>(&mut self, steps: &[Micro], record: impl FnOnce(&mut Recorder, u64, &[Step<'_>]) -> T) -> T {
        let Intake { recorder, values, .. } = &mut *self.intake;
        let list = |micro: &Micro| micro.list.map(|(start, end)| &values[start..end]);
        let steps =
            steps.iter().map(|micro| Step { f: micro.f, key: micro.key, value: micro.value, list: list(micro) });
        let result = record(recorder, self.event.time, &steps.collect::<Vec<_>>());
        values.clear();
        result
    }
}
