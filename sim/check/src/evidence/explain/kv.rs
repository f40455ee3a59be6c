//! Explains violations of registers and keys: stale reads, lost updates, values from nowhere.

use super::Found;
use super::show::{at, quoted};
use crate::history::{Call, End, Function, History, KvOperation, OpId, Outcome, Reply, Value, Version};
use crate::linear::Item;
use crate::linear::kv::gone::{self, Gone};

/// Returns the first rule that matches.
pub(super) fn find(history: &History, prefix: &[OpId], focus: &[OpId]) -> Option<Found> {
    let focus: Vec<KvOperation> = focus.iter().map(|&op| history.kv(op)).collect();
    let case = Case { history, prefix, writers: writers(history, prefix, &focus), focus };
    let first = case.wrong_refusal().or_else(|| case.single()).or_else(|| case.pair());
    first.or_else(|| case.gone()).or_else(|| case.counted())
}

struct Case<'a> {
    history: &'a History,
    prefix: &'a [OpId],
    focus: Vec<KvOperation>,
    /// The values that the focus is about, in order (`None`: the key is missing). For each, the first two operations
    /// that can have written it.
    writers: Vec<(Option<Value>, Vec<KvOperation>)>,
}

/// For each value of the focus, the operations of the prefix that can have written it (`None`: removed the key), at
/// most two per value.
fn writers(history: &History, prefix: &[OpId], focus: &[KvOperation]) -> Vec<(Option<Value>, Vec<KvOperation>)> {
    let mut values: Vec<Option<Value>> = Vec::new();
    for op in focus {
        let compared =
            op.call.condition().and_then(|when| when.value).map(|value| (value != Value::NIL).then_some(value));
        let seen = seen(op).map(|seen| seen.map(|version| version.value));
        values.extend([compared, seen, written(op)].into_iter().flatten());
    }
    values.sort_unstable();
    values.dedup();
    let mut writers: Vec<(Option<Value>, Vec<KvOperation>)> = values.into_iter().map(|v| (v, Vec::new())).collect();
    for &id in prefix {
        let op = history.operation(id);
        let value = match op.f {
            Function::Write => (op.arg != Value::NIL).then_some(op.arg),
            Function::Delete => None,
            _ => continue,
        };
        if matches!(op.end, End::Fail | End::Refused) {
            continue;
        }
        if let Ok(at) = writers.binary_search_by_key(&value, |&(value, _)| value)
            && writers[at].1.len() < 2
        {
            writers[at].1.push(history.kv(id));
        }
    }
    writers
}

impl Case<'_> {
    /// The first two operations of the prefix that can have written a value of the focus.
    fn writers(&self, value: Option<Value>) -> impl Iterator<Item = &KvOperation> {
        let at = self.writers.binary_search_by_key(&value, |&(value, _)| value);
        at.ok().into_iter().flat_map(|at| &self.writers[at].1)
    }

    /// The initial value of the key.
    fn initial(&self) -> Option<Value> {
        Some(self.history.initial()).filter(|&value| value != Value::NIL)
    }

    /// The only operation that can have written a value, if there is exactly one and the key did not hold the value
    /// initially.
    fn only_writer(&self, value: Option<Value>) -> Option<&KvOperation> {
        let mut writers = self.writers(value);
        writers.next().filter(|_| writers.next().is_none() && value != self.initial())
    }

    /// A write was refused because of a state that meets its condition.
    fn wrong_refusal(&self) -> Option<Found> {
        self.focus.iter().find_map(|op| {
            let Outcome::Ok(Reply::Refused(instead)) = op.outcome else { return None };
            let when = op.call.condition()?;
            let deletes_nothing = instead.is_none() && matches!(op.call, Call::Delete { .. });
            let revision_meets = |n: i64| match instead {
                None => n == -1,
                Some(seen) => seen.revision.is_some_and(|r| u64::try_from(n) == Ok(r)),
            };
            let value_meets = |value| if value == Value::NIL { None } else { Some(value) } == instead.map(|v| v.value);
            let meets = when.exists.is_none_or(|wanted| wanted == instead.is_some())
                && when.value.is_none_or(value_meets)
                && when.revision.is_none_or(revision_meets);
            (meets && !deletes_nothing)
                .then(|| ("wrong refusal", format!("{}, but with that its condition holds", self.fact(op))))
        })
    }

    /// A value that no operation can have written.
    fn single(&self) -> Option<Found> {
        let history = self.history;
        for op in &self.focus {
            let Some(Some(version)) = seen(op) else { continue };
            if self.writers(Some(version.value)).next().is_some() || Some(version.value) == self.initial() {
                continue;
            }
            let ops = (0..history.operations().len() as u32).map(|i| history.kv(OpId(i)));
            let same = ops.filter(|other| other.key == op.key && written(other) == Some(Some(version.value)));
            let same: Vec<KvOperation> = same.collect();
            let void = same.iter().find(|w| w.outcome == Outcome::Fail || is_refused(w));
            let what = self.fact(op);
            return Some(match (void, same.first()) {
                (Some(w), _) if w.called.index < op.settled()? => {
                    let how = if is_refused(w) { "was refused" } else { "had failed, which means it never happened" };
                    let text = format!("{what}, but the only write of that value, {}, {how}", self.whose(w));
                    ("dirty read", text)
                }
                (_, Some(w)) => {
                    let called = self.at(w.called.index);
                    let whose = self.whose(w);
                    let text =
                        format!("{what}, but nobody had written that value yet: {whose} was called only at {called}");
                    ("future read", text)
                }
                (_, None) => ("phantom value", format!("{what}, but nobody ever wrote that value")),
            });
        }
        None
    }

    /// The key was there, and no operation can have removed it before it was found missing.
    fn gone(&self) -> Option<Found> {
        let items: Vec<Item> = self.prefix.iter().map(|&op| Item { op, open: false }).collect();
        let Gone { shows, misses, deletes } = gone::find(self.history, &items)?;
        let (shows, misses) = (self.history.kv(shows), self.history.kv(misses));
        if self.focus.iter().all(|op| op.called != misses.called) {
            return None;
        }
        let ret = self.at(shows.settled()?);
        let there = match seen(&shows) {
            Some(seen) => format!("{} had already seen {} by {ret}", subject(&shows), version(self.history, seen)),
            None => format!(
                "{}{} had returned at {ret}",
                self.whose(&shows),
                told(&shows).map_or(String::new(), |r| format!(" ({})", revision(Some(r))))
            ),
        };
        let refused = |op: &&OpId| self.history.operation(**op).end == End::Refused;
        let deletes = match deletes.iter().filter(|op| !refused(op)).count() {
            0 => "no delete of the key was called".to_owned(),
            1 => "the only delete of the key was before that".to_owned(),
            n => format!("all {n} deletes of the key were before that"),
        };
        Some((
            stale(&misses),
            format!("{}, but {there}, and {deletes}: {} is stale", self.fact(&misses), noun(&misses)),
        ))
    }

    /// Two operations whose replies contradict each other.
    fn pair(&self) -> Option<Found> {
        let ops = &self.focus;
        let pairs = || ops.iter().enumerate().flat_map(|(i, a)| ops[i + 1..].iter().map(move |b| (a, b)));
        let ordered = || ops.iter().flat_map(|a| ops.iter().map(move |b| (a, b)));
        pairs()
            .find_map(|(a, b)| self.same_revision(a, b))
            .or_else(|| ordered().find_map(|(a, b)| self.older_revision(a, b)))
            .or_else(|| pairs().find_map(|(a, b)| self.replaced_twice(a, b)))
            .or_else(|| ops.iter().find_map(|op| self.overwritten(op)))
            .or_else(|| ops.iter().find_map(|op| self.outnumbered(op)))
            .or_else(|| ordered().find_map(|(a, b)| self.backwards(a, b)))
            .or_else(|| ordered().find_map(|(a, b)| self.first_again(a, b)))
    }

    /// `b` was called after `a` had seen another value, and saw the initial value, which no client wrote.
    fn first_again(&self, a: &KvOperation, b: &KvOperation) -> Option<Found> {
        let (new, first) = (seen(a)?.map(|v| v.value), seen(b)?.map(|v| v.value));
        let gone = first == self.initial() && first != new && self.writers(first).next().is_none();
        let ret = a.settled().filter(|&ret| gone && ret < b.called.index)?;
        let text = format!(
            "{}, which was there at first and was never written, but {} had seen {} by {}: reads go backwards",
            self.fact(b),
            subject(a),
            version(self.history, seen(a)?),
            self.at(ret)
        );
        Some(("reads go backwards", text))
    }

    /// Two writes, or two values, at the same revision.
    fn same_revision(&self, a: &KvOperation, b: &KvOperation) -> Option<Found> {
        let r = told(a).filter(|&r| told(b) == Some(r))?;
        let (value_a, value_b) = (value_after(a)?, value_after(b)?);
        if seen(a).is_none() && seen(b).is_none() {
            let text = format!(
                "lost update: {} (returned at {}) and {} (returned at {}) were both told revision r{r}, so one has \
                 overwritten the other unseen",
                self.whose(a),
                self.at(a.settled()?),
                self.whose(b),
                self.at(b.settled()?)
            );
            return Some(("lost update", text));
        }
        (value_a != value_b).then(|| {
            let text = format!("two values at one revision: at r{r}, {}, and {}", self.fact(a), self.fact(b));
            ("two values at one revision", text)
        })
    }

    /// `b` was called after `a` had returned, and its reply has an older revision.
    fn older_revision(&self, a: &KvOperation, b: &KvOperation) -> Option<Found> {
        let history = self.history;
        let (new, old) = (told(a)?, told(b)?);
        let ret = a.settled().filter(|&ret| ret < b.called.index)?;
        let before = match seen(a) {
            Some(_) => format!("{} had already seen {} by {}", subject(a), version(history, seen(a)?), self.at(ret)),
            None => format!("{} ({}) had returned at {}", self.whose(a), revision(told(a)), self.at(ret)),
        };
        let what = self.fact(b);
        if seen(b).is_none() {
            let text = format!("the revision goes back: {what}, but {before}");
            return (old <= new).then_some(("revision goes back", text));
        }
        let by = match new.checked_sub(old).filter(|&by| by > 0)? {
            1 => "1 revision".to_owned(),
            n => format!("{n} revisions"),
        };
        Some(match seen(a) {
            Some(_) => ("reads go backwards", format!("{what}, but {before}: reads go backwards by {by}")),
            None => (stale(b), format!("{what}, but {before}: {} is stale by {by}", noun(b))),
        })
    }

    /// Two compare-and-sets replaced a value that was written only once.
    fn replaced_twice(&self, a: &KvOperation, b: &KvOperation) -> Option<Found> {
        let from = |op: &KvOperation| match op.outcome {
            Outcome::Ok(Reply::Done { .. }) if value_after(op) != Some(op.call.condition()?.value) => {
                op.call.condition()?.value
            }
            _ => None,
        };
        let value = from(a).filter(|&value| from(b) == Some(value) && value != Value::NIL)?;
        let origin = if Some(value) == self.initial() && self.writers(Some(value)).next().is_none() {
            "which was there at first and was never written again".to_owned()
        } else {
            format!("which was written only once, by process {}", self.only_writer(Some(value))?.process)
        };
        let text = format!(
            "lost update: {} (returned at {}) and {} (returned at {}) both replaced {}, {origin}",
            self.whose(a),
            self.at(a.settled()?),
            self.whose(b),
            self.at(b.settled()?),
            quoted(self.history, value),
        );
        Some(("lost update", text))
    }

    /// `op` saw a value that a write had certainly replaced before `op` was called.
    fn overwritten(&self, op: &KvOperation) -> Option<Found> {
        let value = seen(op)?.map(|v| v.value);
        let writer = self.only_writer(value);
        // The key held the value initially, and no operation wrote it since.
        let initial = value == self.initial() && self.writers(value).next().is_none();
        if writer.is_none() && !initial {
            return None;
        }
        let since = writer.and_then(KvOperation::settled);
        let later = |w: &KvOperation| initial || since.is_some_and(|since| w.called.index > since);
        let replaces = |w: &KvOperation| value.is_some() && w.call.condition().is_some_and(|when| when.value == value);
        let newer = self.focus.iter().filter(|w| matches!(w.outcome, Outcome::Ok(Reply::Done { .. })));
        let mut newer = newer.filter(|w| value_after(w) != Some(value) && (later(w) || replaces(w)));
        let w = newer.find(|w| w.settled().is_some_and(|ret| ret < op.called.index))?;
        let gap = match (since, value) {
            (_, Some(_)) if replaces(w) && !initial => {
                ", which took the place of that value, written only once, ".to_owned()
            }
            (Some(since), _) => {
                format!(", which was called after that value's only write had returned at {}, ", self.at(since))
            }
            (None, Some(_)) => ", of another value than the one there at first, which nobody wrote, ".to_owned(),
            (None, None) => " ".to_owned(),
        };
        let (what, whose, ret) = (self.fact(op), self.whose(w), self.at(w.settled()?));
        Some((stale(op), format!("{what}, but {whose}{gap}had returned at {ret}: {} is stale", noun(op))))
    }

    /// `op` saw a value that another write had replaced before `op` was called, by the revisions in the replies of both
    /// writes.
    fn outnumbered(&self, op: &KvOperation) -> Option<Found> {
        let writer = self.only_writer(seen(op)?.map(|v| v.value))?;
        let old = told(writer).filter(|_| seen(writer).is_none())?;
        let newer = self.focus.iter().find(|w| {
            let done = seen(w).is_none() && told(w).is_some_and(|new| new > old);
            done && w.settled().is_some_and(|ret| ret < op.called.index)
        })?;
        let (what, noun) = (self.fact(op), noun(op));
        let text = format!(
            "{what}, which {} wrote as r{old}; but {} took {} and had returned at {}: {noun} is stale",
            subject(writer),
            self.whose(newer),
            revision(told(newer)),
            self.at(newer.settled()?)
        );
        Some((stale(op), text))
    }

    /// `a` saw a newer value than `b`, which was called later. Without revisions, the order follows from the only
    /// writers of the values.
    fn backwards(&self, a: &KvOperation, b: &KvOperation) -> Option<Found> {
        let history = self.history;
        let (new, old) = (seen(a)??, seen(b)??);
        let ret = a.settled().filter(|&ret| ret < b.called.index)?;
        let (later, earlier) = (self.only_writer(Some(new.value))?, self.only_writer(Some(old.value))?);
        let gone = earlier.settled().filter(|&gone| gone < later.called.index)?;
        let text = format!(
            "{}, but {} had already seen {} by {}, whose only write was called at {}, after the only write of {} had \
             returned at {}: reads go backwards",
            self.fact(b),
            subject(a),
            version(history, seen(a)?),
            self.at(ret),
            self.at(later.called.index),
            quoted(history, old.value),
            self.at(gone),
        );
        Some(("reads go backwards", text))
    }

    /// A revision is higher than the number of writes called so far allows.
    fn counted(&self) -> Option<Found> {
        self.focus.iter().find_map(|op| {
            let (r, ret) = (told(op)?, op.settled()?);
            let writes = self.prefix.iter().map(|&w| self.history.operation(w)).filter(|w| w.called < ret);
            let writes = writes.filter(|w| w.f != Function::Read && !matches!(w.end, End::Fail | End::Refused));
            let writes = writes.count() as u64;
            let most = writes.checked_sub(1).map_or("no revision".to_owned(), |n| format!("r{n} at most"));
            (r >= writes).then(|| {
                let text = format!(
                    "{}, but by then only {writes} writes had been called, which reach {most}: a write was applied more \
                     than once",
                    self.fact(op)
                );
                ("write applied twice", text)
            })
        })
    }

    fn at(&self, event: u32) -> String {
        at(self.history, event)
    }

    /// Which process saw what, and when.
    fn fact(&self, op: &KvOperation) -> String {
        let (called, ret) = (self.at(op.called.index), self.at(op.settled().unwrap_or_default()));
        format!("{} {} between {called} and {ret}", subject(op), saw(self.history, op))
    }

    fn whose(&self, op: &KvOperation) -> String {
        match op.call {
            Call::Put { value, .. } => format!("process {}'s write of {}", op.process, quoted(self.history, value)),
            Call::Get | Call::Delete { .. } => format!("process {}'s {}", op.process, name(&op.call)),
        }
    }
}

fn stale(op: &KvOperation) -> &'static str {
    if op.call == Call::Get { "stale read" } else { "stale refusal" }
}

/// What an answered operation saw. The inner `None` means that the key is missing.
fn seen(op: &KvOperation) -> Option<Option<Version>> {
    match op.outcome {
        Outcome::Ok(Reply::Got(seen) | Reply::Refused(seen)) => Some(seen),
        _ => None,
    }
}

fn is_refused(op: &KvOperation) -> bool {
    matches!(op.outcome, Outcome::Ok(Reply::Refused(_) | Reply::Declined))
}

fn told(op: &KvOperation) -> Option<u64> {
    match op.outcome {
        Outcome::Ok(Reply::Got(seen) | Reply::Refused(seen)) => seen?.revision,
        Outcome::Ok(Reply::Done { revision }) => revision,
        Outcome::Ok(Reply::Declined) | Outcome::Fail | Outcome::Info => None,
    }
}

/// The value that a call leaves behind if it takes effect.
fn written(op: &KvOperation) -> Option<Option<Value>> {
    match op.call {
        Call::Get => None,
        Call::Put { value, .. } => Some((value != Value::NIL).then_some(value)),
        Call::Delete { .. } => Some(None),
    }
}

/// The value that the key certainly held right after the operation took place.
fn value_after(op: &KvOperation) -> Option<Option<Value>> {
    seen(op).map(|seen| seen.map(|v| v.value)).or_else(|| written(op))
}

fn subject(op: &KvOperation) -> String {
    format!("process {}", op.process)
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Get => "read",
        Call::Put { .. } => "write",
        Call::Delete { .. } => "delete",
    }
}

fn noun(op: &KvOperation) -> &'static str {
    match op.call {
        Call::Get => "the read",
        _ => "the refusal",
    }
}

fn saw(history: &History, op: &KvOperation) -> String {
    match op.outcome {
        Outcome::Ok(Reply::Got(seen)) => format!("read {}", version(history, seen)),
        Outcome::Ok(Reply::Refused(seen)) => {
            format!("was refused a {} because of {}", name(&op.call), version(history, seen))
        }
        _ => match op.call {
            Call::Put { value, .. } => format!("wrote {} ({})", quoted(history, value), revision(told(op))),
            Call::Get | Call::Delete { .. } => format!("deleted the key ({})", revision(told(op))),
        },
    }
}

fn revision(revision: Option<u64>) -> String {
    revision.map_or("no revision told".to_owned(), |r| format!("r{r}"))
}

fn version(history: &History, seen: Option<Version>) -> String {
    match seen {
        None => "nothing (the key missing)".to_owned(),
        Some(Version { value, revision: Some(r) }) => format!("{} (r{r})", quoted(history, value)),
        Some(Version { value, revision: None }) => quoted(history, value),
    }
}
