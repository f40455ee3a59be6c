//! Evidence in words and as a drawing in text.
//!
//! The words name the kind of anomaly where a fact about one or two operations of the core is enough to see it: a value from
//! nowhere, a lost update, a stale read, reads that go backwards, a write applied twice. Each rule states what it found,
//! with events, and holds for every history that it matches; it is not a second opinion on the verdict. Otherwise
//! the words say only that the operations listed cannot be ordered.

use crate::history::{Call, Condition, History, KvOperation, OpId, Outcome, Reply, Value, Version};
use crate::linear::Item;
use std::fmt::Write;

/// More operations than this are neither compared with each other nor drawn.
const SHOWN: usize = 40;

/// The reason in words.
pub fn words(history: &History, breaks: OpId, core: &[OpId], prefix: &[Item], minimal: bool) -> String {
    let kv = |ops: &[OpId]| ops.iter().map(|&op| history.kv(op)).collect::<Vec<_>>();
    let all: Vec<OpId> = prefix.iter().map(|item| item.op).collect();
    let case = Case { history, prefix: kv(&all), focus: kv(&focus(breaks, core)) };
    let last = history.kv(breaks);
    let key = history.key(last.key);
    let found = case.wrong_refusal().or_else(|| case.single()).or_else(|| case.pair()).or_else(|| case.counted());
    let found = found.unwrap_or_else(|| match core.len() {
        1 => "nothing explains the reply below".to_owned(),
        n => format!("no order of the {n} operations below explains all their replies"),
    });
    let mut text = format!("key {key}: {found}.");
    let ret = last.settled().unwrap_or_default();
    let _ = write!(text, "\nThe history is impossible from event #{ret} on, the return of process {}'s ", last.process);
    let _ = write!(text, "{}. ", name(&last.call));
    let others = prefix.len() - core.len();
    match others {
        0 => {}
        1 => text.push_str("It stays so whatever the other operation on the key did. "),
        n => {
            let _ = write!(text, "It stays so whatever the {n} other operations on the key did. ");
        }
    }
    if !minimal && core.len() > 3 {
        text.push_str("The search for smaller evidence ran out of steps. ");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The core over time: a row for each operation, events spread evenly.
pub fn diagram(history: &History, breaks: OpId, core: &[OpId]) -> String {
    let shown = focus(breaks, core);
    let ops: Vec<KvOperation> = shown.iter().map(|&op| history.kv(op)).collect();
    let mut moments: Vec<u32> = ops.iter().flat_map(|op| [Some(op.called.index), op.settled()]).flatten().collect();
    moments.sort_unstable();
    let step = (60 / moments.len().max(1)).clamp(2, 8);
    let column = |moment: u32| moments.partition_point(|&m| m < moment) * step;
    let labels: Vec<[String; 3]> = ops
        .iter()
        .map(|op| {
            let when =
                op.settled().map_or(format!("#{}…", op.called.index), |ret| format!("#{}–#{ret}", op.called.index));
            [format!("p{}", op.process), format!("{} → {}", title(history, op), reply(history, op)), when]
        })
        .collect();
    let width = |i: usize| labels.iter().map(|label| label[i].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for ((op, &id), [process, what, when]) in ops.iter().zip(&shown).zip(&labels) {
        let start = column(op.called.index);
        let bar = match op.settled() {
            Some(ret) => format!("├{}┤", "─".repeat(column(ret).saturating_sub(start + 1))),
            None => format!("├{}╌", "╌".repeat((moments.len() * step).saturating_sub(start + 1))),
        };
        let mark = if id == breaks { " ✗" } else { "" };
        let [a, b, c] = widths;
        let _ = writeln!(text, "  {process:<a$}  {what:<b$}  {when:<c$}  {:start$}{bar}{mark}", "");
    }
    if core.len() > shown.len() {
        let _ = writeln!(text, "  … and {} more", core.len() - shown.len());
    }
    text
}

/// The operations to look at: the whole core, or the end of a large one; in the order of calls.
fn focus(breaks: OpId, core: &[OpId]) -> Vec<OpId> {
    let mut shown = core[core.len().saturating_sub(SHOWN)..].to_vec();
    if !shown.contains(&breaks) {
        shown.insert(0, breaks);
    }
    shown
}

struct Case<'a> {
    history: &'a History,
    prefix: Vec<KvOperation>,
    focus: Vec<KvOperation>,
}

impl Case<'_> {
    fn focused(&self) -> impl Iterator<Item = &KvOperation> {
        self.focus.iter()
    }

    /// Those in the prefix that can have written a value (`None`: removed the key).
    fn writers(&self, value: Option<Value>) -> impl Iterator<Item = &KvOperation> {
        self.prefix
            .iter()
            .filter(move |op| op.outcome != Outcome::Fail && !is_refused(op) && written(op) == Some(value))
    }

    fn only_writer(&self, value: Option<Value>) -> Option<&KvOperation> {
        let mut writers = self.writers(value);
        writers.next().filter(|_| writers.next().is_none())
    }

    /// A write that was refused because of a state which it asked for.
    fn wrong_refusal(&self) -> Option<String> {
        self.focused().find_map(|op| {
            let Outcome::Ok(Reply::Refused(instead)) = op.outcome else { return None };
            let when = op.call.condition()?;
            let deletes_nothing = instead.is_none() && matches!(op.call, Call::Delete { .. });
            let revision_meets = |n: i64| match instead {
                None => n == -1,
                Some(seen) => seen.revision.is_some_and(|r| u64::try_from(n) == Ok(r)),
            };
            let meets = when.exists.is_none_or(|wanted| wanted == instead.is_some())
                && when.value.is_none_or(|value| instead.is_some_and(|seen| seen.value == value))
                && when.revision.is_none_or(revision_meets);
            (meets && !deletes_nothing).then(|| {
                let (who, what) = (subject(op), saw(self.history, op));
                format!("{who} {what} {}, but with that its condition holds", during(op))
            })
        })
    }

    /// A value that nobody can have written.
    fn single(&self) -> Option<String> {
        let history = self.history;
        for op in self.focused() {
            let Some(Some(version)) = seen(op) else { continue };
            if self.writers(Some(version.value)).next().is_some() {
                continue;
            }
            let ops: Vec<KvOperation> = (0..history.operations().len() as u32).map(|i| history.kv(OpId(i))).collect();
            let same = |other: &&KvOperation| other.key == op.key && written(other) == Some(Some(version.value));
            let what = format!("{} {}", subject(op), saw(history, op));
            return Some(match ops.iter().filter(same).find(|w| w.outcome == Outcome::Fail || is_refused(w)) {
                Some(w) if w.called.index < op.settled()? => {
                    let how = if is_refused(w) { "was refused" } else { "had failed, which means it never happened" };
                    format!("{what} {}, but the only write of that value, {}, {how}", during(op), whose(history, w))
                }
                _ => match ops.iter().find(same) {
                    Some(w) => format!(
                        "{what} {}, but nobody had written that value yet: {} was called only at #{}",
                        during(op),
                        whose(history, w),
                        w.called.index
                    ),
                    None => format!("{what} {}, but nobody ever wrote that value", during(op)),
                },
            });
        }
        None
    }

    /// Two operations whose replies exclude each other.
    fn pair(&self) -> Option<String> {
        let ops: Vec<&KvOperation> = self.focused().collect();
        let pairs = || ops.iter().enumerate().flat_map(|(i, &a)| ops[i + 1..].iter().map(move |&b| (a, b)));
        pairs()
            .find_map(|(a, b)| self.same_revision(a, b))
            .or_else(|| {
                ops.iter().flat_map(|&a| ops.iter().map(move |&b| (a, b))).find_map(|(a, b)| self.older_revision(a, b))
            })
            .or_else(|| pairs().find_map(|(a, b)| self.replaced_twice(a, b)))
            .or_else(|| ops.iter().find_map(|&op| self.overwritten(op)))
            .or_else(|| {
                ops.iter().flat_map(|&a| ops.iter().map(move |&b| (a, b))).find_map(|(a, b)| self.backwards(a, b))
            })
    }

    /// Two writes, or two values, at one revision.
    fn same_revision(&self, a: &KvOperation, b: &KvOperation) -> Option<String> {
        let history = self.history;
        let r = told(a).filter(|&r| told(b) == Some(r))?;
        let (value_a, value_b) = (value_after(a)?, value_after(b)?);
        if seen(a).is_none() && seen(b).is_none() {
            return Some(format!(
                "lost update: {} (returned at #{}) and {} (returned at #{}) were both told revision r{r}, so one has \
                 overwritten the other unseen",
                whose(history, a),
                a.settled()?,
                whose(history, b),
                b.settled()?
            ));
        }
        (value_a != value_b).then(|| {
            format!(
                "two values at one revision: at r{r}, {} {} {}, and {} {} {}",
                subject(a),
                saw(history, a),
                during(a),
                subject(b),
                saw(history, b),
                during(b)
            )
        })
    }

    /// `b` was called after `a` had returned, and was told an older revision.
    fn older_revision(&self, a: &KvOperation, b: &KvOperation) -> Option<String> {
        let history = self.history;
        let (new, old) = (told(a)?, told(b)?);
        let ret = a.settled().filter(|&ret| ret < b.called.index)?;
        let before = match seen(a) {
            Some(_) => format!("{} had already seen {} by #{ret}", subject(a), version(history, seen(a)?)),
            None => format!("{} ({}) had returned at #{ret}", whose(history, a), revision(told(a))),
        };
        let what = format!("{} {} {}", subject(b), saw(history, b), during(b));
        if seen(b).is_none() {
            return (old <= new).then(|| format!("the revision goes back: {what}, but {before}"));
        }
        let by = match new.checked_sub(old).filter(|&by| by > 0)? {
            1 => "1 revision".to_owned(),
            n => format!("{n} revisions"),
        };
        Some(match seen(a) {
            Some(_) => format!("{what}, but {before}: reads go backwards by {by}"),
            None => format!("{what}, but {before}: {} is stale by {by}", noun(b)),
        })
    }

    /// Two compare-and-sets took the place of a value that was written once.
    fn replaced_twice(&self, a: &KvOperation, b: &KvOperation) -> Option<String> {
        let from = |op: &KvOperation| match op.outcome {
            Outcome::Ok(Reply::Done { .. }) if value_after(op) != Some(op.call.condition()?.value) => {
                op.call.condition()?.value
            }
            _ => None,
        };
        let value = from(a).filter(|&value| from(b) == Some(value))?;
        let writer = self.only_writer(Some(value))?;
        Some(format!(
            "lost update: {} (returned at #{}) and {} (returned at #{}) both replaced {}, which was written only once, by \
             process {}",
            whose(self.history, a),
            a.settled()?,
            whose(self.history, b),
            b.settled()?,
            quoted(self.history, value),
            writer.process
        ))
    }

    /// `op` saw what another write, settled before `op` was called, had certainly replaced.
    fn overwritten(&self, op: &KvOperation) -> Option<String> {
        let history = self.history;
        let value = seen(op)?.map(|v| v.value);
        let since = match (self.only_writer(value), value) {
            (Some(writer), _) => writer.settled()?,
            // The key was missing at the beginning, and nobody removed it since.
            (None, None) if self.writers(None).next().is_none() => 0,
            _ => return None,
        };
        let newer = self.focused().filter(|w| matches!(w.outcome, Outcome::Ok(Reply::Done { .. })));
        let mut newer = newer.filter(|w| value_after(w) != Some(value) && w.called.index >= since);
        let w = newer.find(|w| w.settled().is_some_and(|ret| ret < op.called.index))?;
        let gap = match value {
            Some(_) => format!(", which was called after that value's only write had returned at #{since}, "),
            None => " ".to_owned(),
        };
        Some(format!(
            "{} {} {}, but {}{gap}had returned at #{}: {} is stale",
            subject(op),
            saw(history, op),
            during(op),
            whose(history, w),
            w.settled()?,
            noun(op)
        ))
    }

    /// `a` saw a newer value than `b`, which was called later. Without revisions: by the order of the values' only writers.
    fn backwards(&self, a: &KvOperation, b: &KvOperation) -> Option<String> {
        let history = self.history;
        let (new, old) = (seen(a)??, seen(b)??);
        let ret = a.settled().filter(|&ret| ret < b.called.index)?;
        let (later, earlier) = (self.only_writer(Some(new.value))?, self.only_writer(Some(old.value))?);
        let gone = earlier.settled().filter(|&gone| gone < later.called.index)?;
        Some(format!(
            "{} {} {}, but {} had already seen {} by #{ret}, whose only write was called at #{}, after the only write of {} \
             had returned at #{gone}: reads go backwards",
            subject(b),
            saw(history, b),
            during(b),
            subject(a),
            version(history, seen(a)?),
            later.called.index,
            quoted(history, old.value),
        ))
    }

    /// A revision that the writes called so far cannot have reached.
    fn counted(&self) -> Option<String> {
        let history = self.history;
        self.focused().find_map(|op| {
            let (r, ret) = (told(op)?, op.settled()?);
            let writes =
                self.prefix.iter().filter(|w| w.outcome != Outcome::Fail && !is_refused(w) && w.call != Call::Get);
            let writes = writes.filter(|w| w.called.index < ret).count() as u64;
            (r >= writes).then(|| {
                format!(
                    "{} {} {}, but by then only {writes} writes had been called, which reach r{} at most: a write was \
                     applied more than once",
                    subject(op),
                    saw(history, op),
                    during(op),
                    writes.saturating_sub(1)
                )
            })
        })
    }
}

/// What an answered operation saw; the inner `None`: that the key is missing.
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

/// What a call would leave behind.
fn written(op: &KvOperation) -> Option<Option<Value>> {
    match op.call {
        Call::Get => None,
        Call::Put { value, .. } => Some(Some(value)),
        Call::Delete { .. } => Some(None),
    }
}

/// What the key certainly held right after the operation took place.
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

fn whose(history: &History, op: &KvOperation) -> String {
    match op.call {
        Call::Put { value, .. } => format!("process {}'s write of {}", op.process, quoted(history, value)),
        Call::Get | Call::Delete { .. } => format!("process {}'s {}", op.process, name(&op.call)),
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

fn during(op: &KvOperation) -> String {
    format!("between #{} and #{}", op.called.index, op.settled().unwrap_or_default())
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

/// A value for people: escaped, and shortened when it is long.
fn quoted(history: &History, value: Value) -> String {
    let text = history.values().show(value, false);
    match text.char_indices().nth(24) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn title(history: &History, op: &KvOperation) -> String {
    let mut text = match op.call {
        Call::Get => "get".to_owned(),
        Call::Put { value, .. } => format!("put {}", quoted(history, value)),
        Call::Delete { .. } => "delete".to_owned(),
    };
    if let Some(Condition { exists, value, revision }) = op.call.condition() {
        text.push_str(match exists {
            None => "",
            Some(false) => " nx",
            Some(true) => " xx",
        });
        if let Some(value) = value {
            let _ = write!(text, " cmp {}", quoted(history, *value));
        }
        if let Some(n) = revision {
            let _ = write!(text, " cmprev {n}");
        }
    }
    text
}

fn reply(history: &History, op: &KvOperation) -> String {
    let short = |seen: Option<Version>| match seen {
        None => "missing".to_owned(),
        Some(v) => quoted(history, v.value) + &v.revision.map_or(String::new(), |r| format!(" r{r}")),
    };
    match op.outcome {
        Outcome::Ok(Reply::Got(seen)) => short(seen),
        Outcome::Ok(Reply::Done { revision }) => revision.map_or("done".to_owned(), |r| format!("r{r}")),
        Outcome::Ok(Reply::Refused(seen)) => format!("refused, {}", short(seen)),
        Outcome::Ok(Reply::Declined) => "refused".to_owned(),
        Outcome::Fail => "failed".to_owned(),
        Outcome::Info => "unknown".to_owned(),
    }
}
