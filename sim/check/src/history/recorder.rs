//! Builds a [`History`] event by event, in the order of the events.

use super::value::{Datum, Value};
use super::{
    Call, Condition, End, Function, History, KeyId, MicroOp, NEVER, OpId, Operation, Reply, UNTOLD_REVISION, Version,
};

/// A client's request, in the vocabulary of all models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The function.
    pub f: Function,
    /// The argument, or [`Value::UNTOLD`].
    pub arg: Value,
    /// The conditions of a write or delete.
    pub when: Condition,
}

impl Request {
    /// A request without conditions.
    #[must_use]
    pub fn new(f: Function, arg: Value) -> Request {
        Request { f, arg, when: Condition::ALWAYS }
    }
}

/// A step of a transaction, before it is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step<'a> {
    /// [`Function::Read`], [`Function::Write`] or [`Function::Append`].
    pub f: Function,
    /// The key.
    pub key: Value,
    /// The value written or appended, or read from a register; [`Value::UNTOLD`] otherwise.
    pub value: Value,
    /// The list that was read.
    pub list: Option<&'a [Value]>,
}

/// Builds a [`History`].
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: History,
    line: u32,
}

impl Recorder {
    /// Continues after the end of a history.
    #[must_use]
    pub fn continuing(history: History) -> Recorder {
        Recorder { history, line: 0 }
    }

    /// The history recorded so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the history. Operations still open have unknown outcomes.
    #[must_use]
    pub fn finish(self) -> History {
        self.history
    }

    /// Whether the history may have no room for another event with fewer than 2^25 values and steps.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let History { times, values, micro_ops, elements, .. } = &self.history;
        full(times.len(), values.len().max(micro_ops.len()).max(elements.len() / 2))
    }

    /// Sets the source line of the following events, from 1.
    pub fn at_line(&mut self, line: u32) {
        self.line = line;
    }

    /// Returns the value of a datum.
    pub fn value(&mut self, datum: Datum<'_>) -> Value {
        self.history.values.intern(datum)
    }

    /// Sets the initial value of every object.
    pub fn initial(&mut self, value: Value) {
        self.history.initial = value;
    }

    /// Returns the function with this name outside the vocabulary; `None` if there are 256 others already.
    pub fn other(&mut self, name: &str) -> Option<Function> {
        let names = &mut self.history.names;
        let place = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        u8::try_from(place).ok().map(Function::Other)
    }

    /// Records that a client calls an operation on a key ([`Value::NIL`] if there are no keys).
    ///
    /// # Panics
    /// Beyond 2^32 - 1 events. If the history may be that long, check [`History::events`] first.
    pub fn begin(&mut self, process: u32, time: u64, key: Value, request: Request) -> OpId {
        let key = self.key(key);
        let when = self.further_conditions(&request.when);
        let compare = request.when.value.unwrap_or(Value::UNTOLD);
        self.push(process, time, key, request.f, (request.arg, compare, Value::UNTOLD), when)
    }

    /// Records that a client calls a transaction.
    ///
    /// # Panics
    /// As [`Recorder::begin`].
    pub fn begin_txn(&mut self, process: u32, time: u64, steps: &[Step<'_>]) -> OpId {
        let (start, length) = self.steps(steps);
        self.push(process, time, KeyId::NONE, Function::Txn, (start, Value::UNTOLD, length), u32::MAX)
    }

    /// Records that an operation ends.
    ///
    /// # Panics
    /// If it has already ended.
    pub fn end(&mut self, op: OpId, time: u64, end: End, reply: Value, revision: Option<u32>) {
        let event = self.event(time);
        let operation = &mut self.history.operations[op.0 as usize];
        assert!(operation.returned == NEVER, "operation {} ended twice", op.0);
        operation.returned = event;
        operation.end = end;
        if operation.f != Function::Txn {
            operation.reply = reply;
            operation.revision = revision.unwrap_or(UNTOLD_REVISION);
        }
    }

    /// Replaces the function, the compared value and the argument of an operation. Its other conditions stay.
    pub fn amend(&mut self, op: OpId, f: Function, compare: Value, arg: Value) {
        let operation = &mut self.history.operations[op.0 as usize];
        (operation.f, operation.compare, operation.arg) = (f, compare, arg);
    }

    /// Records that a transaction ends. `steps`: its steps as the client knows them now, if it was told.
    ///
    /// # Panics
    /// If it has already ended.
    pub fn end_txn(&mut self, op: OpId, time: u64, end: End, steps: Option<&[Step<'_>]>) {
        self.end(op, time, end, Value::UNTOLD, None);
        if let Some(steps) = steps {
            let (start, length) = self.steps(steps);
            let History { operations, micro_ops, .. } = &mut self.history;
            let operation = &mut operations[op.0 as usize];
            if let (true, Some(old), Some(new)) =
                (operation.reply == length, operation.arg.as_small(), start.as_small())
            {
                // The same number of steps, now with the values read. They replace the old ones.
                micro_ops.copy_within(new as usize.., old as usize);
                micro_ops.truncate(new as usize);
            } else {
                (operation.arg, operation.reply) = (start, length);
            }
        }
    }

    /// Records that a client calls an operation of a key-value store.
    pub fn invoke(&mut self, process: u32, time: u64, key: &str, call: Call<&str>) -> OpId {
        let key = self.value(Datum::Text(key));
        let (f, arg, when) = match call {
            Call::Get => (Function::Read, Value::UNTOLD, Condition::ALWAYS),
            Call::Put { value, when } => (Function::Write, self.value(Datum::Text(value)), when),
            Call::Delete { when } => (Function::Delete, Value::UNTOLD, when),
        };
        let value = when.value.map(|text| self.value(Datum::Text(text)));
        let when = Condition { exists: when.exists, value, revision: when.revision };
        self.begin(process, time, key, Request { f, arg, when })
    }

    /// Records the reply of a key-value store.
    ///
    /// # Panics
    /// If the operation has already ended, or the reply is of the wrong kind for the call. Both are bugs of the
    /// recording program.
    pub fn ok(&mut self, op: OpId, time: u64, reply: Reply<&str>) {
        let reads = self.history.operation(op).f == Function::Read;
        assert!(reads == matches!(reply, Reply::Got(_)), "{reply:?} does not answer this call");
        let mut seen = |seen: Option<Version<&str>>| {
            let value = seen.map_or(Value::NIL, |v| self.value(Datum::Text(v.value)));
            (value, seen.and_then(|v| v.revision))
        };
        let (end, (value, revision)) = match reply {
            Reply::Got(version) => (End::Ok, seen(version)),
            Reply::Done { revision } => (End::Ok, (Value::UNTOLD, revision)),
            Reply::Refused(version) => (End::Refused, seen(version)),
            Reply::Declined => (End::Refused, (Value::UNTOLD, None)),
        };
        // No history has this many modifications, so the clamped revision is as wrong as the original.
        let revision = revision.map(|r| u32::try_from(r).unwrap_or(u32::MAX).min(UNTOLD_REVISION - 1));
        self.end(op, time, end, value, revision);
    }

    /// Records that the operation certainly did not happen and never will.
    ///
    /// # Panics
    /// If the operation has already ended.
    pub fn fail(&mut self, op: OpId, time: u64) {
        self.end(op, time, End::Fail, Value::UNTOLD, None);
    }

    /// Records that the client gave up without knowing whether the operation happened or will happen.
    ///
    /// # Panics
    /// If the operation has already ended.
    pub fn info(&mut self, op: OpId, time: u64) {
        self.end(op, time, End::Info, Value::UNTOLD, None);
    }

    fn push(
        &mut self,
        process: u32,
        time: u64,
        key: KeyId,
        f: Function,
        (arg, compare, reply): (Value, Value, Value),
        when: u32,
    ) -> OpId {
        let called = self.event(time);
        let id = OpId(self.history.operations.len() as u32);
        make_room(&mut self.history.operations);
        self.history.operations.push(Operation {
            process,
            key,
            called,
            returned: NEVER,
            f,
            end: End::Info,
            arg,
            compare,
            reply,
            revision: UNTOLD_REVISION,
            when,
        });
        id
    }

    fn key(&mut self, value: Value) -> KeyId {
        let History { keys, key_ids, .. } = &mut self.history;
        KeyId(*key_ids.entry(value.bits()).or_insert_with(|| {
            keys.push(value);
            keys.len() as u32 - 1
        }))
    }

    fn further_conditions(&mut self, when: &Condition) -> u32 {
        let conditions = &mut self.history.conditions;
        let further = (when.exists, when.revision);
        if further == (None, None) {
            return u32::MAX;
        }
        if conditions.last() != Some(&further) {
            conditions.push(further);
        }
        conditions.len() as u32 - 1
    }

    /// Records steps. Returns the index of the first and their number.
    fn steps(&mut self, steps: &[Step<'_>]) -> (Value, Value) {
        let start = self.history.micro_ops.len() as u32;
        for step in steps {
            let key = self.key(step.key);
            let elements = &mut self.history.elements;
            let list = step.list.map(|list| {
                elements.extend_from_slice(list);
                ((elements.len() - list.len()) as u32, list.len() as u32)
            });
            self.history.micro_ops.push(MicroOp { f: step.f, key, value: step.value, list });
        }
        let small = |n| Value::small(n).expect("invariant: a history has fewer than 2^31 steps of transactions");
        (small(start), small(steps.len() as u32))
    }

    fn event(&mut self, time: u64) -> u32 {
        let history = &mut self.history;
        let event = history.times.len();
        assert!(event < NEVER as usize, "a history has fewer than 2^32 - 1 events");
        make_room(&mut history.times);
        history.times.push(time);
        if self.line != 0 {
            history.lines.resize(event, 0);
            make_room(&mut history.lines);
            history.lines.push(self.line);
        }
        event as u32
    }
}

/// Grows a large table by a quarter instead of doubling it.
fn make_room<T>(table: &mut Vec<T>) {
    if table.len() == table.capacity() && table.len() >= 1 << 16 {
        table.reserve_exact(table.len() / 4);
    }
}

/// Whether there may be no room after `events` events and `most` values or steps.
fn full(events: usize, most: usize) -> bool {
    events >= NEVER as usize - 1 || most >= (1 << 31) - (1 << 26)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_record_ends_before_its_numbers_do() {
        // 2^32 - 2 events have the numbers 0 to 2^32 - 3, so the last one is below `NEVER`.
        assert!(!super::full((1 << 32) - 3, 0) && super::full((1 << 32) - 2, 0));
        assert!(!super::full(0, (1 << 31) - (1 << 26) - 1) && super::full(0, (1 << 31) - (1 << 26)));
    }
}
