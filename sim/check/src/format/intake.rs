//! Interprets the fields of operations, for every syntax: turns events in trees into records of a [`Recorder`].
//!
//! Everything that is not recorded literally is counted. What is left out is in [`Understood::skipped`]. What is
//! interpreted is in [`Understood::remarks`].

use super::tree::{Fault, Tree, What};
use super::words::{Asked, Type, named};
use super::{Delete, Format, Keys, Settings, Understood};
use crate::history::{Condition, Datum, End, Function, History, OpId, Operation, Recorder, Request, Value};
use hashbrown::HashMap;

pub fn fault<T>(at: usize, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, what: what.into() })
}

/// An event before interpretation. The fields are nodes of a tree.
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub time: u64,
    pub f: Option<usize>,
    pub key: Option<usize>,
    pub value: Option<usize>,
    pub revision: Option<usize>,
    pub when: Option<usize>,
    /// Fields of our own EDN, which Jepsen's tools ignore: whether a write is a delete, whether a failure is a refusal,
    /// and the value found instead.
    pub delete: Option<usize>,
    pub refused: Option<usize>,
    pub found: Option<usize>,
    /// Positions of the event and of its process in the form.
    pub at: usize,
    pub process_at: usize,
}

/// Which settings are fixed.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub keys: bool,
    pub initial: bool,
}

/// Records events.
pub struct Intake {
    pub recorder: Recorder,
    pub understood: Understood,
    pub settings: Settings,
    pub format: Format,
    told: Told,
    /// Memory limit of the history, in bytes.
    memory: usize,
    /// The line on which [`Settings::keys`] was determined; 0 if the caller gave it.
    keys_line: u64,
    open: HashMap<u32, OpId>,
    /// Whether the history exceeds its memory limit.
    pub too_large: bool,
    /// The line of the current form.
    pub line: u64,
    /// Elements of lists that are being read.
    pub values: Vec<Value>,
}

impl Intake {
    pub fn new(format: Format, settings: Settings, told: Told, memory: Option<usize>) -> Intake {
        Intake {
            recorder: Recorder::default(),
            understood: Understood::default(),
            settings,
            format,
            told,
            memory: memory.unwrap_or(usize::MAX),
            keys_line: 0,
            open: HashMap::new(),
            too_large: false,
            line: 0,
            values: Vec::new(),
        }
    }

    /// Sets the initial value of every object, unless the caller gave one.
    pub fn initial(&mut self, value: Value) {
        if !self.told.initial {
            self.recorder.initial(value);
            self.settings.initial = self.recorder.history().show(value);
        }
    }

    /// Returns the history, the settings in effect, and the account of the input.
    pub fn finish(mut self) -> (History, Settings, Understood) {
        if self.settings.delete == Delete::Any {
            self.deletes_of_any();
        }
        let history = std::mem::take(&mut self.recorder).finish();
        let history = self.drained(history);
        (history, self.settings, self.understood)
    }

    /// Turns ok deletes that need not have found the key into writes of nil: either way the key is missing afterwards.
    /// Keys with known revisions are excepted, because revisions count changes.
    fn deletes_of_any(&mut self) {
        let history = self.recorder.history();
        let asked = |op: &Operation| history.condition(op).revision.is_some();
        let mut revisions = vec![false; history.keys() as usize];
        for op in history.operations() {
            if let Some(told) = revisions.get_mut(op.key.0 as usize) {
                *told |= op.told_revision().is_some() || asked(op);
            }
        }
        let plain = |op: &Operation| {
            (op.f, op.end, op.compare) == (Function::Delete, End::Ok, Value::UNTOLD) && !op.has_further_conditions()
        };
        let deletes = (0u32..).zip(history.operations()).filter(|(_, op)| plain(op) && op.told_revision().is_none());
        let deletes: Vec<(OpId, bool)> =
            deletes.map(|(i, op)| (OpId(i), revisions.get(op.key.0 as usize) == Some(&true))).collect();
        for (op, counted) in deletes {
            if counted {
                self.line =
                    u64::from(self.recorder.history().line(self.recorder.history().operation(op).called).unwrap_or(0));
                self.remark("ok deletes of keys with revisions: taken to have found the key");
            } else {
                self.recorder.amend(op, Function::Write, Value::UNTOLD, Value::NIL);
            }
        }
    }

    /// Counts something that is left out.
    pub fn skip(&mut self, what: &str) {
        super::count(&mut self.understood.skipped, what, self.line);
    }

    /// Counts something that is recorded with an interpretation.
    pub fn remark(&mut self, what: &str) {
        super::count(&mut self.understood.remarks, what, self.line);
    }

    /// Records an event of a client.
    pub fn take(&mut self, tree: &Tree, text: &str, process: u32, kind: Type, event: &Event) -> Result<(), Fault> {
        self.recorder.at_line(u32::try_from(self.line).unwrap_or(u32::MAX));
        if self.recorder.is_full() {
            return fault(event.at, "the history is longer than 2^32 - 2 events, or has too many values");
        }
        self.fits(event.at)?;
        self.understood.events += 1;
        if kind == Type::Invoke {
            let call = Call { intake: self, tree, text, event };
            return call.invoke(process);
        }
        let Some(op) = self.open.remove(&process) else {
            return fault(event.process_at, format!("process {process} returns, but has no operation open"));
        };
        Call { intake: self, tree, text, event }.complete(op, kind)
    }

    /// Checks that the history fits its memory limit, including the quarter by which a table may grow at once.
    fn fits(&mut self, at: usize) -> Result<(), Fault> {
        let open = self.open.capacity() * (size_of::<(u32, OpId)>() + 1) * 8 / 7;
        let taken = self.recorder.history().bytes() + open;
        if taken <= self.memory - self.memory / 5 {
            return Ok(());
        }
        self.too_large = true;
        fault(at, "the history is too large")
    }

    /// Returns the value of a node.
    pub fn value(&mut self, tree: &Tree, text: &str, node: usize) -> Value {
        match tree.node(node).what {
            What::Nil => Value::NIL,
            What::Bool(yes) => self.recorder.value(Datum::Bool(yes)),
            What::Int(n) => self.recorder.value(Datum::Int(n)),
            What::Text(span) => self.recorder.value(Datum::Text(tree.text(span, text))),
            What::Symbol(span) => self.recorder.value(Datum::Symbol(tree.text(span, text))),
            What::List(_) | What::Set(_) => {
                let (start, end) = self.elements(tree, text, node);
                let list: Vec<Value> = self.values.drain(start..end).collect();
                self.recorder.value(Datum::List(&list))
            }
            What::Map(_) | What::Tagged(_) => self.recorder.value(Datum::Symbol(&tree.canonical(node, text))),
        }
    }

    /// Appends the elements of a list or a set to `values` and returns their range. The elements of a set are sorted.
    pub fn elements(&mut self, tree: &Tree, text: &str, list: usize) -> (usize, usize) {
        let elements: Vec<Value> = tree.content(list).map(|node| self.value(tree, text, node)).collect();
        let start = self.values.len();
        self.values.extend(elements);
        if matches!(tree.node(list).what, What::Set(_)) {
            self.values[start..].sort_unstable();
            // A set has no duplicates.
            let mut unique = self.values.split_off(start);
            unique.dedup();
            self.values.extend(unique);
        }
        (start, self.values.len())
    }

    /// Whether a node has this value. Does not intern the common kinds of value.
    pub fn is(&mut self, tree: &Tree, text: &str, node: usize, value: Value) -> bool {
        match (tree.node(node).what, self.recorder.history().datum(value)) {
            (What::Text(span), datum) => datum == Datum::Text(tree.text(span, text)),
            (What::Symbol(span), datum) => datum == Datum::Symbol(tree.text(span, text)),
            (What::Int(n), datum) => datum == Datum::Int(n),
            _ => self.value(tree, text, node) == value,
        }
    }
}

/// An event that is being recorded.
pub struct Call<'a> {
    pub intake: &'a mut Intake,
    pub tree: &'a Tree,
    pub text: &'a str,
    pub event: &'a Event,
}

impl Call<'_> {
    pub fn at(&self, node: usize) -> usize {
        self.tree.node(node).at as usize
    }

    pub fn place(&self, field: Option<usize>) -> usize {
        field.map_or(self.event.at, |node| self.at(node))
    }

    /// Describes where an earlier event is.
    pub fn place_of(&self, event: u32) -> String {
        self.intake.recorder.history().line(event).map_or(format!("event {event}"), |line| format!("line {line}"))
    }

    pub fn is_nil(&self, node: usize) -> bool {
        self.tree.node(node).what == What::Nil
    }

    pub fn value(&mut self, node: usize) -> Value {
        self.intake.value(self.tree, self.text, node)
    }

    /// The name of the function; `None` if the field is missing or `nil`.
    pub fn name(&self) -> Result<Option<&str>, Fault> {
        let Some(node) = self.event.f else { return Ok(None) };
        match self.tree.name(node, self.text) {
            _ if self.is_nil(node) => Ok(None),
            None => fault(self.at(node), "expected the name of a function"),
            name => Ok(name),
        }
    }

    fn invoke(mut self, process: u32) -> Result<(), Fault> {
        if let Some(&op) = self.intake.open.get(&process) {
            let place = self.place_of(self.intake.recorder.history().operation(op).called);
            let what = format!("process {process} calls, but its operation of {place} is still open");
            return fault(self.event.process_at, what);
        }
        if let Some(node) = self.event.revision {
            return fault(self.at(node), "a call has no revision; a condition on it is \"if\":{\"rev\":…}");
        }
        let asked = match self.name()? {
            None if self.looks_like_txn() => Asked::Plain(Function::Txn),
            None => return fault(self.place(self.event.f), "expected \"f\", what is called: read, write, cas, …"),
            Some(name) => match named(name) {
                Some(Asked::Plain(Function::Read | Function::Write)) if self.is_steps() => {
                    self.intake.remark("reads and writes of steps: taken for transactions");
                    Asked::Plain(Function::Txn)
                }
                Some(asked) => asked,
                None => {
                    let name = name.to_owned();
                    match self.intake.recorder.other(&name) {
                        Some(f) => Asked::Plain(f),
                        None => return fault(self.place(self.event.f), "more than 256 functions of no known name"),
                    }
                }
            },
        };
        let op = if asked == Asked::Plain(Function::Txn) {
            let steps = self.steps(false)?;
            self.with_steps(&steps, |recorder, time, steps| recorder.begin_txn(process, time, steps))
        } else {
            self.find_out_keys(asked);
            let (key, value) = self.key_and_value()?;
            let key = key.map_or(Value::NIL, |key| self.value(key));
            let request = self.request(asked, value)?;
            self.intake.recorder.begin(process, self.event.time, key, request)
        };
        self.intake.open.insert(process, op);
        Ok(())
    }

    /// At the first call, determines the settings that the caller did not give. Keys are in values if the call has no
    /// key field and its value is a pair (for a cas: a pair whose second part is a pair).
    fn find_out_keys(&mut self, asked: Asked) {
        if !self.intake.told.initial && self.intake.format == Format::Edn {
            let first = match (self.name(), self.event.key) {
                // Porcupine's key-value log.
                (Ok(Some("get" | "put" | "append")), Some(_)) => Some(Datum::Text("")),
                // Jepsen's causal register.
                (Ok(Some("read-init")), _) => Some(Datum::Int(0)),
                _ => None,
            };
            if let Some(first) = first {
                let first = self.intake.recorder.value(first);
                self.intake.initial(first);
            }
            self.intake.told.initial = true;
        }
        if self.intake.told.keys {
            return;
        }
        self.intake.told.keys = true;
        self.intake.keys_line = self.intake.line;
        let pair = self.event.value.and_then(|value| self.tree.pair(value));
        let keyed = pair.is_some_and(|(_, value)| asked != Asked::Cas || self.tree.pair(value).is_some());
        if keyed && self.event.key.is_none() {
            self.intake.settings.keys = Keys::InValue;
        }
    }

    pub fn key_and_value(&self) -> Result<(Option<usize>, Option<usize>), Fault> {
        if self.intake.settings.keys == Keys::Field {
            return Ok((self.event.key, self.event.value));
        }
        match self.event.value.and_then(|value| self.tree.pair(value)) {
            Some((key, value)) => Ok((Some(key), Some(value))),
            None => {
                let line = self.intake.keys_line;
                let why = if line == 0 { "as was asked for".to_owned() } else { format!("as on line {line}") };
                let what = format!(
                    "expected a value that is a pair of key and value, {why}, unless keys have their own field"
                );
                fault(self.place(self.event.value), what)
            }
        }
    }

    fn request(&mut self, asked: Asked, value: Option<usize>) -> Result<Request, Fault> {
        let when = self.condition()?;
        let told = value.filter(|&node| !self.is_nil(node));
        let deletes = self.yes(self.event.delete)?;
        let f = match asked {
            Asked::Cas => return self.cas(value, when, deletes),
            Asked::Plain(Function::Write) if deletes => Function::Delete,
            Asked::Subtract => Function::Add,
            Asked::Plain(f) => f,
        };
        let conditional = matches!(f, Function::Write | Function::Delete);
        if let Some(node) = self.event.when.filter(|_| !conditional) {
            return fault(self.at(node), "only writes and deletes have conditions");
        }
        let arg = match f {
            Function::Read | Function::Next | Function::Dequeue => {
                if told.is_some() {
                    self.intake.remark("values on calls that take none: not looked at");
                }
                Value::UNTOLD
            }
            Function::Write => match value {
                Some(node) => self.value(node),
                None => return fault(self.place(self.event.f), "a write needs a value, what to write"),
            },
            Function::Append | Function::Enqueue | Function::Add | Function::Remove | Function::Contains => {
                match told {
                    Some(node) if asked == Asked::Subtract => self.negative(node)?,
                    Some(node) => self.value(node),
                    None if f == Function::Add => {
                        let one = if asked == Asked::Subtract { -1 } else { 1 };
                        self.intake.recorder.value(Datum::Int(one))
                    }
                    None => return fault(self.place(self.event.f), "this function needs a value"),
                }
            }
            _ => told.map_or(Value::UNTOLD, |node| self.value(node)),
        };
        Ok(Request { f, arg, when })
    }

    /// Whether a field is present and true.
    pub fn yes(&self, field: Option<usize>) -> Result<bool, Fault> {
        match field.map(|node| self.tree.node(node).what) {
            None | Some(What::Nil) => Ok(false),
            Some(What::Bool(yes)) => Ok(yes),
            Some(_) => fault(self.place(field), "expected true or false"),
        }
    }

    fn negative(&mut self, node: usize) -> Result<Value, Fault> {
        match self.tree.node(node).what {
            What::Int(n) if n != i64::MIN => Ok(self.intake.recorder.value(Datum::Int(-n))),
            _ => fault(self.at(node), "expected a whole number to subtract"),
        }
    }

    fn cas(&mut self, value: Option<usize>, when: Condition, deletes: bool) -> Result<Request, Fault> {
        let Some((from, to)) = value.and_then(|value| self.tree.pair(value)) else {
            return fault(self.place(value.or(self.event.f)), "a cas needs a value that is a pair, [from to]");
        };
        if when.value.is_some() {
            return fault(self.place(self.event.when), "a cas compares with one value, that in its pair");
        }
        let (from, to) = (self.value(from), self.value(to));
        let (f, arg) = if deletes { (Function::Delete, Value::UNTOLD) } else { (Function::Write, to) };
        Ok(Request { f, arg, when: Condition { value: Some(from), ..when } })
    }

    fn condition(&mut self) -> Result<Condition, Fault> {
        let mut when = Condition::ALWAYS;
        let Some(map) = self.event.when else { return Ok(when) };
        if !matches!(self.tree.node(map).what, What::Map(_)) {
            return fault(self.at(map), "expected conditions as {\"exists\":…,\"value\":…,\"rev\":…}");
        }
        let parts: Vec<usize> = self.tree.content(map).collect();
        for part in parts.chunks_exact(2) {
            let name = self.tree.name(part[0], self.text).unwrap_or_default();
            match (name, self.tree.node(part[1]).what) {
                ("exists", What::Bool(yes)) => when.exists = Some(yes),
                ("exists", _) => return fault(self.at(part[1]), "expected true or false"),
                ("value", _) => when.value = Some(self.value(part[1])),
                ("rev", What::Int(n)) => when.revision = Some(n),
                ("rev", _) => return fault(self.at(part[1]), "expected a revision, or -1 for a missing key"),
                _ => return fault(self.at(part[0]), "expected one of the conditions exists, value, rev"),
            }
        }
        Ok(when)
    }
}
