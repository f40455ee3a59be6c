//! Facts about a history of transactions, for the verifier: which transaction wrote what and read what, and the
//! dependencies and anomalies that a few transactions show. Written from the definitions, without the checker's tables
//! and graphs.

use super::Why;
use crate::history::{End, Function as F, History, KeyId, MicroOp, OpId, Operation, Value};
use hashbrown::HashMap;

pub(super) struct Facts<'h> {
    pub history: &'h History,
    /// The transaction that wrote a value to a key; `None` if several writes did. Only for lookups, never iterated.
    writers: HashMap<(KeyId, Value), Option<u32>>,
    /// Whether a committed transaction read something that the transaction wrote.
    seen: Vec<bool>,
    lists: Vec<bool>,
}

/// The content of a step: a list that was read, a value that was read, or a value that was written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Said<'h> {
    List(&'h [Value]),
    Value(Value),
    Wrote(Value),
    Nothing,
}

impl<'h> Facts<'h> {
    /// Collects the facts in one pass over the writes and one over the reads.
    pub fn new(history: &'h History) -> Result<Facts<'h>, String> {
        let mut lists = vec![None; history.keys() as usize];
        let mut writers = HashMap::new();
        for (i, op) in (0u32..).zip(history.operations()) {
            if op.f != F::Txn {
                return Err(format!("operation {i} is no transaction"));
            }
            for step in history.micro_ops(op) {
                let list = match step.f {
                    F::Append => true,
                    F::Write => false,
                    F::Read if history.list(step).is_some() => true,
                    F::Read => continue,
                    _ => return Err(format!("operation {i} has a step that is no read, write or append")),
                };
                if *lists[step.key.0 as usize].get_or_insert(list) != list {
                    return Err(format!("{} is used as a list and as a register", history.key(step.key)));
                }
                if step.f != F::Read {
                    writers.entry((step.key, step.value)).and_modify(|one| *one = None).or_insert(Some(i));
                }
            }
        }
        let lists = lists.into_iter().map(|list| list == Some(true)).collect();
        let mut facts = Facts { history, writers, seen: vec![false; history.operations().len()], lists };
        for op in history.operations().iter().filter(|op| op.end == End::Ok) {
            for step in history.micro_ops(op) {
                let one;
                let values = match facts.says(step) {
                    Said::List(list) => list,
                    Said::Value(value) if value != history.initial() => {
                        one = [value];
                        &one
                    }
                    _ => continue,
                };
                for &value in values {
                    if let Some(writer) = facts.writer(step.key, value) {
                        facts.seen[writer as usize] = true;
                    }
                }
            }
        }
        Ok(facts)
    }

    pub fn op(&self, i: u32) -> &'h Operation {
        self.history.operation(OpId(i))
    }

    pub fn steps(&self, i: u32) -> &'h [MicroOp] {
        self.history.micro_ops(self.op(i))
    }

    pub fn says(&self, step: &'h MicroOp) -> Said<'h> {
        match (step.f, self.history.list(step)) {
            (F::Read, Some(list)) => Said::List(list),
            (F::Read, None) if step.value == Value::UNTOLD => Said::Nothing,
            (F::Read, None) if !self.lists[step.key.0 as usize] => Said::Value(step.value),
            (F::Read, None) if step.value == Value::NIL => Said::List(&[]),
            (F::Read, None) => Said::Nothing,
            _ => Said::Wrote(step.value),
        }
    }

    pub fn exists(&self, i: u32) -> bool {
        (i as usize) < self.seen.len()
    }

    /// Whether a transaction took place: it was answered, or something it wrote was read.
    pub fn counts(&self, i: u32) -> bool {
        let end = self.op(i).end;
        end == End::Ok || end == End::Info && self.seen[i as usize]
    }

    fn aborted(&self, i: u32) -> bool {
        matches!(self.op(i).end, End::Fail | End::Refused)
    }

    fn writer(&self, key: KeyId, value: Value) -> Option<u32> {
        self.writers.get(&(key, value)).copied().flatten()
    }

    /// Whether a value is the initial value of the key and no transaction wrote it.
    fn is_initial(&self, key: KeyId, value: Value) -> bool {
        value == self.history.initial() && !self.writers.contains_key(&(key, value))
    }

    /// The reads of a committed transaction, with the indexes of the steps.
    fn reads(&self, i: u32) -> impl Iterator<Item = (usize, &'h MicroOp, Said<'h>)> + '_ {
        let told = self.op(i).end == End::Ok;
        let said = self.steps(i).iter().enumerate().filter(move |_| told).map(|(at, step)| (at, step, self.says(step)));
        said.filter(|(.., said)| matches!(said, Said::List(_) | Said::Value(_)))
    }

    /// The values that a transaction wrote to a key, in order, with the indexes of the steps.
    fn writes(&self, i: u32, key: KeyId) -> impl Iterator<Item = (usize, Value)> + '_ {
        let steps = self.steps(i).iter().enumerate();
        steps.filter(move |(_, step)| step.key == key && step.f != F::Read).map(|(at, step)| (at, step.value))
    }

    /// The values that a transaction wrote to a key and that no other write wrote.
    fn own(&self, i: u32, key: KeyId) -> impl Iterator<Item = (usize, Value)> + '_ {
        self.writes(i, key).filter(move |&(_, value)| self.writer(key, value) == Some(i))
    }

    /// The first value that a transaction read of a key, if it wrote to the key after that read.
    fn updated(&self, i: u32, key: KeyId) -> Option<Said<'h>> {
        let (_, _, first) = self.reads(i).find(|(_, step, _)| step.key == key)?;
        let (at, ..) = self.reads(i).find(|(_, step, _)| step.key == key)?;
        (self.writes(i, key).next()?.0 > at).then_some(first)
    }

    /// Whether the replies show a dependency. For lists the dependency need not be on the very next version. Then other
    /// transactions are between the two, and write dependencies lead from one to the other.
    pub fn depends(&self, (a, b): (u32, u32), why: Why, key: KeyId, by: Option<u32>) -> bool {
        if a == b || !self.counts(a) || !self.counts(b) {
            return false;
        }
        let before = self.op(a).settled().is_some_and(|returned| returned < self.op(b).called);
        match why {
            Why::Process => before && self.op(a).process == self.op(b).process,
            Why::Realtime => before,
            Why::Wr => self.reads(b).any(|(_, step, said)| {
                step.key == key
                    && match said {
                        Said::List(list) => list.iter().any(|&value| self.writer(key, value) == Some(a)),
                        Said::Value(value) => value != self.history.initial() && self.writer(key, value) == Some(a),
                        _ => false,
                    }
            }),
            // The list was read without the value, so the value comes later in the list.
            Why::Rw => self.reads(a).any(|(_, step, said)| {
                step.key == key
                    && match said {
                        Said::List(list) => self.own(b, key).any(|(_, value)| !list.contains(&value)),
                        Said::Value(value) if self.is_initial(key, value) => {
                            self.updated(a, key).is_none_or(|first| first == said) && self.own(b, key).next().is_some()
                        }
                        Said::Value(value) => self.writer(key, value).is_some() && self.replaces(b, key, value),
                        _ => false,
                    }
            }),
            Why::Ww => match by.filter(|&by| self.exists(by)) {
                Some(by) => self.shown(by, key, |list| {
                    let after = |value: Value| list.iter().position(|&other| other == value).unwrap_or(usize::MAX);
                    let first = self.own(a, key).map(|(_, value)| after(value)).min().unwrap_or(usize::MAX);
                    self.own(b, key).any(|(_, value)| first < after(value))
                }),
                None => {
                    self.own(a, key).any(|(_, value)| value != self.history.initial() && self.replaces(b, key, value))
                }
            },
        }
    }

    /// The transaction, other than `i`, that wrote the last value in what `i` saw at its first read of a key.
    pub fn last_writer(&self, i: u32, key: KeyId) -> Option<u32> {
        let (_, _, said) = self.reads(i).find(|(_, step, _)| step.key == key)?;
        let writer = |&value: &Value| self.writer(key, value).filter(|&by| by != i && self.counts(by));
        match said {
            Said::List(list) => list.iter().rev().find_map(writer),
            Said::Value(value) => writer(&value),
            Said::Wrote(_) | Said::Nothing => None,
        }
    }

    /// Whether a transaction read this value of a register and then wrote another value.
    fn replaces(&self, i: u32, key: KeyId, value: Value) -> bool {
        self.updated(i, key) == Some(Said::Value(value)) && self.own(i, key).any(|(_, new)| new != value)
    }

    /// Whether a transaction read a list of the key for which `so` holds.
    fn shown(&self, i: u32, key: KeyId, so: impl Fn(&[Value]) -> bool) -> bool {
        self.reads(i).any(|(_, step, said)| step.key == key && matches!(said, Said::List(list) if so(list)))
    }

    /// Whether these transactions show the anomaly `name`, which needs no cycle. Returns the weakest level that forbids
    /// it: 0 is read uncommitted, 1 is read committed, 2 is repeatable read and snapshot isolation.
    pub fn anomaly(&self, name: &str, ops: &[u32], by: Option<u32>) -> Option<u8> {
        let (&first, &last) = (ops.first()?, ops.last()?);
        let reads = || self.reads(last);
        let listed = |value| move |list: &[Value]| list.contains(&value);
        let place = |list: &[Value], value| list.iter().position(|&other| other == value);
        let (found, level) = match name {
            "phantom value" => (
                reads().any(|(_, step, said)| match said {
                    Said::List(list) => list.iter().any(|&value| !self.writers.contains_key(&(step.key, value))),
                    Said::Value(value) => {
                        value != self.history.initial() && !self.writers.contains_key(&(step.key, value))
                    }
                    _ => false,
                }),
                0,
            ),
            "duplicate elements" => (
                reads().any(|(_, step, said)| match said {
                    Said::List(list) => {
                        let mut sorted = list.to_vec();
                        sorted.sort_unstable();
                        sorted.windows(2).any(|two| two[0] == two[1] && self.writer(step.key, two[0]).is_some())
                    }
                    _ => false,
                }),
                0,
            ),
            "misordered appends" => (
                self.counts(first)
                    && self.steps(first).iter().any(|x| {
                        let mut own = self.own(first, x.key).skip_while(|&(_, value)| value != x.value);
                        let first = own.next();
                        first.is_some()
                            && own.any(|(_, y)| {
                                self.shown(last, x.key, |list| {
                                    place(list, y).is_some_and(|at| !list[..at].contains(&x.value))
                                })
                            })
                    }),
                0,
            ),
            "incompatible order" => (
                self.reads(first).any(|(_, a, said)| {
                    let Said::List(one) = said else { return false };
                    self.shown(last, a.key, |other| !one.starts_with(other) && !other.starts_with(one))
                }),
                1,
            ),
            "dirty update" => {
                let by = by.filter(|&by| self.exists(by))?;
                let both = |key, list: &[Value]| {
                    let mut lost = list.iter().skip_while(|&&value| self.writer(key, value) != Some(first));
                    lost.any(|&value| self.writer(key, value) == Some(last))
                };
                let keys = || self.steps(last).iter().map(|step| step.key);
                let shown = keys().any(|key| self.shown(by, key, |list| both(key, list)));
                (self.aborted(first) && self.counts(last) && shown, 1)
            }
            "G1a" => (self.aborted(first) && self.saw(first, last, |_, _, _| true), 1),
            "G1b" => {
                let half = |key, value, said| {
                    let mut own = self.own(first, key).skip_while(|&(_, own)| own != value);
                    own.next();
                    own.any(|(_, next)| !matches!(said, Said::List(list) if list.contains(&next)))
                };
                (first != last && self.counts(first) && self.saw(first, last, half), 1)
            }
            "future read" => (
                reads().any(|(at, step, said)| {
                    let mut later = self.own(last, step.key).filter(|&(when, _)| when > at);
                    later.any(|(_, value)| match said {
                        Said::List(list) => listed(value)(list),
                        seen => seen == Said::Value(value) && value != self.history.initial(),
                    })
                }),
                1,
            ),
            "internal" => (
                reads().any(|(at, step, said)| {
                    let own = self.writes(last, step.key).filter(|&(when, _)| when < at);
                    let own: Vec<Value> = own.map(|(_, value)| value).collect();
                    match said {
                        Said::List(list) => !list.ends_with(&own),
                        Said::Value(value) => own.last().is_some_and(|&own| own != value),
                        _ => false,
                    }
                }),
                2,
            ),
            "non-repeatable read" => (
                reads().any(|(at, step, said)| {
                    let others = |at: usize, said| {
                        let own = self.writes(last, step.key).filter(|&(when, _)| when < at).count();
                        match said {
                            Said::List(list) => (Some(list.len().wrapping_sub(own)), Value::NIL),
                            Said::Value(value) if own == 0 => (Some(0), value),
                            _ => (None, Value::NIL),
                        }
                    };
                    let mut earlier =
                        self.reads(last).filter(|&(before, other, _)| before < at && other.key == step.key);
                    earlier.any(|(before, _, was)| {
                        let (was, is) = (others(before, was), others(at, said));
                        was.0.is_some() && is.0.is_some() && was != is
                    })
                }),
                2,
            ),
            "lost update" => {
                let same = |key| {
                    let seen = self.updated(last, key);
                    let known = match seen {
                        Some(Said::Value(value)) => self.is_initial(key, value) || self.writer(key, value).is_some(),
                        seen => seen.is_some(),
                    };
                    known && self.updated(first, key) == seen
                };
                (first != last && self.steps(last).iter().any(|step| same(step.key)), 2)
            }
            _ => return None,
        };
        found.then_some(level)
    }

    /// Whether `reader` read a value that `writer` wrote and for which `so` holds.
    fn saw(&self, writer: u32, reader: u32, so: impl Fn(KeyId, Value, Said<'h>) -> bool) -> bool {
        self.reads(reader).any(|(_, step, said)| {
            self.own(writer, step.key).any(|(_, value)| {
                let shown = match said {
                    Said::List(list) => list.contains(&value),
                    seen => seen == Said::Value(value) && value != self.history.initial(),
                };
                shown && so(step.key, value, said)
            })
        })
    }
}
