//! `jepsen.checker/set-full`: the fate of each element that was added to a set, determined by reads of the whole set.
//!
//! An element is *known* from the return of its `add`, or of the first read that shows it, whichever is earlier.
//! Consider the last called of the reads that show or miss it. The element is *stable* if that read shows it. It is
//! *lost* if that read misses it and was called after the element was known. Otherwise it was *never read*. A stable
//! element is *stale* if a read called after it was known misses it; Jepsen counts it only if that read came a
//! millisecond later. A latency is the time from when an element was known to just after the last such call, in
//! milliseconds.
//!
//! Not valid: an element is lost; it is in one read twice; a read shows it before any client called its `add` (Jepsen's
//! analysis does not look for that); or it is stale and the set must be linearizable. Unknown: no element was ever
//! stable.

use super::{Judged, NOTHING, counts, elements, evidence, figure};
use crate::evidence::capital;
use crate::evidence::show::{at, during, quoted, subject, whose};
use crate::history::{End, Function, History, OpId, Operation, Value};
use crate::linear::{Amount, Figure, Part, Verdict};
use crate::model::{Misfit, set};
use hashbrown::HashMap;

/// The quantiles at which latencies are reported.
const QUANTILES: [(&str, f64); 5] = [("0", 0.0), ("0.5", 0.5), ("0.95", 0.95), ("0.99", 0.99), ("1", 1.0)];

/// An element that was added.
struct Element {
    value: Value,
    /// The event of the first call of an `add`.
    called: u32,
    /// The event from which it is known, and the operation that shows this.
    known: Option<(u32, OpId)>,
    /// The first `add` of this element.
    add: OpId,
    /// Positions of the reads that show it, the last called first.
    present: Vec<u32>,
}

/// The fate of an element: `present` is the last called of the reads that show it, `absent` of those that miss it.
struct Fate {
    outcome: Outcome,
    present: Option<OpId>,
    absent: Option<OpId>,
    stale: bool,
    /// In milliseconds.
    latency: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stable,
    Lost,
    NeverRead,
}

/// The reads of a part, the last called first.
struct Reads {
    ops: Vec<OpId>,
    /// For each read: the latest return of it and all reads called before it.
    returned: Vec<u32>,
}

pub fn judge(history: &History, part: Part<'_>, linearizable: bool) -> Result<Judged, Misfit> {
    let (mut all, reads) = (elements_of(history, part)?, reads_of(history, part)?);
    let mut places: HashMap<Value, usize> = all.iter().enumerate().map(|(i, element)| (element.value, i)).collect();
    let mut twice: Vec<(Value, OpId)> = Vec::new();
    let mut phantom: Vec<(Value, OpId)> = Vec::new();
    let first = set::elements(history, history.initial()).unwrap_or_default();
    for (place, &id) in (0u32..).zip(&reads.ops) {
        let op = history.operation(id);
        let mut seen = set::elements(history, op.reply).unwrap_or_default().to_vec();
        seen.sort_unstable();
        twice.extend(seen.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| (pair[0], id)));
        seen.dedup();
        for value in seen {
            let Some(element) = places.get(&value).map(|&at| &mut all[at]).filter(|e| e.called < op.returned) else {
                if !first.contains(&value) {
                    phantom.push((value, id));
                }
                continue;
            };
            element.present.push(place);
            if element.known.is_none_or(|(event, _)| op.returned < event) {
                element.known = Some((op.returned, id));
            }
        }
    }
    places.clear();
    twice.sort_unstable();
    twice.dedup_by_key(|(value, _)| *value);
    phantom.sort_unstable();
    phantom.dedup_by_key(|(value, _)| *value);
    let fates: Vec<Fate> = all.iter().map(|element| reads.fate(history, element)).collect();
    let found = Found { all: &all, fates: &fates, twice: &twice, phantom: &phantom };
    Ok(Judged {
        verdict: found.verdict(history, part, linearizable),
        by: "what reads show of each element",
        counts: counts(&[
            ("phantom element", phantom.len() as u64),
            ("duplicated element", twice.len() as u64),
            ("lost element", found.of(|fate| fate.outcome == Outcome::Lost).len() as u64),
            ("stale element", found.of(|fate| fate.stale).len() as u64),
        ]),
        figures: found.figures(history),
    })
}

fn elements_of(history: &History, part: Part<'_>) -> Result<Vec<Element>, Misfit> {
    let mut all: Vec<Element> = Vec::new();
    let mut places: HashMap<Value, usize> = HashMap::new(); // Never iterated.
    for &id in part.ops {
        let op = history.operation(id);
        if !matches!(op.f, Function::Add | Function::Read) {
            let what = format!("set-full is of add and read, and this is {}", history.function(op.f));
            return Err(Misfit { op: id, what });
        }
        if op.f == Function::Read || !matches!(op.end, End::Ok | End::Info) {
            continue;
        }
        let known = (op.end == End::Ok).then_some((op.returned, id));
        let at = *places.entry(op.arg).or_insert(all.len());
        match all.get_mut(at) {
            None => all.push(Element { value: op.arg, called: op.called, known, add: id, present: Vec::new() }),
            Some(element) => element.known = element.known.into_iter().chain(known).min(),
        }
    }
    Ok(all)
}

fn reads_of(history: &History, part: Part<'_>) -> Result<Reads, Misfit> {
    let read = |op: &Operation| (op.f, op.end) == (Function::Read, End::Ok) && op.reply != Value::UNTOLD;
    let mut ops: Vec<OpId> = part.ops.iter().copied().filter(|&id| read(history.operation(id))).collect();
    if let Some(&op) = ops.iter().find(|&&id| set::elements(history, history.operation(id).reply).is_none()) {
        let seen = history.show(history.operation(op).reply);
        return Err(Misfit { op, what: format!("a read of a set sees a list of elements, and this saw {seen}") });
    }
    let mut latest = 0;
    let mut returned: Vec<u32> = Vec::with_capacity(ops.len());
    for &id in &ops {
        latest = history.operation(id).returned.max(latest);
        returned.push(latest);
    }
    ops.reverse();
    returned.reverse();
    Ok(Reads { ops, returned })
}

impl Reads {
    /// Returns the last called of the reads that miss an element and could have shown it.
    fn absent(&self, history: &History, element: &Element) -> Option<OpId> {
        let mut present = element.present.iter().peekable();
        for (place, &id) in (0u32..).zip(&self.ops) {
            if self.returned[place as usize] < element.called {
                return None; // This read and all called before it returned too early.
            }
            if present.next_if(|&&shows| shows == place).is_none() && history.operation(id).returned > element.called {
                return Some(id);
            }
        }
        None
    }

    fn fate(&self, history: &History, element: &Element) -> Fate {
        let present = element.present.first().map(|&place| self.ops[place as usize]);
        let absent = self.absent(history, element);
        let called = |op: Option<OpId>| op.map(|op| history.operation(op).called);
        let late =
            |event: Option<u32>| element.known.is_some_and(|(known, _)| event.is_some_and(|event| known < event));
        let outcome = match (called(present), called(absent)) {
            (Some(present), absent) if absent < Some(present) => Outcome::Stable,
            (present, absent) if present < absent && late(absent) => Outcome::Lost,
            _ => Outcome::NeverRead,
        };
        // Just after the last call that contradicts the outcome.
        let since = match outcome {
            Outcome::Stable => called(absent),
            Outcome::Lost => called(present),
            Outcome::NeverRead => None,
        };
        let known = element.known.map_or(0, |(event, _)| history.time(event));
        let latency = since.map_or(0, |event| (history.time(event) + 1).saturating_sub(known) / 1_000_000);
        Fate { outcome, present, absent, stale: outcome == Outcome::Stable && late(called(absent)), latency }
    }
}

struct Found<'a> {
    all: &'a [Element],
    fates: &'a [Fate],
    twice: &'a [(Value, OpId)],
    phantom: &'a [(Value, OpId)],
}

impl Found<'_> {
    /// Returns the elements whose fate satisfies a predicate.
    fn of(&self, fits: impl Fn(&Fate) -> bool) -> Vec<(&Element, &Fate)> {
        self.all.iter().zip(self.fates).filter(|(_, fate)| fits(fate)).collect()
    }

    fn verdict(&self, history: &History, part: Part<'_>, linearizable: bool) -> Verdict {
        let key = history.key(part.key);
        if let Some(&(value, id)) = self.phantom.first() {
            let (op, what) = (history.operation(id), quoted(history, value));
            let text = format!(
                "{}'s read {} shows {what}, but nobody can have added it by then.",
                capital(&subject(op)),
                during(history, op)
            );
            return evidence(history, &key, "phantom element", (vec![id], Some(id)), text);
        }
        if let Some(&(value, id)) = self.twice.first() {
            let (op, what) = (history.operation(id), quoted(history, value));
            let text = format!("{}'s read {} shows {what} more than once.", capital(&subject(op)), during(history, op));
            return evidence(history, &key, "duplicated element", (vec![id], Some(id)), text);
        }
        let lost = self.of(|fate| fate.outcome == Outcome::Lost);
        if let Some(&(element, fate)) = lost.first() {
            return miss(history, &key, "lost element", element, fate);
        }
        if let Some(&(element, fate)) = self.of(|fate| fate.stale).first().filter(|_| linearizable) {
            return miss(history, &key, "stale element", element, fate);
        }
        if self.of(|fate| fate.outcome == Outcome::Stable).is_empty() {
            return Verdict::Unknown(format!("{NOTHING}: no read shows an element for good"));
        }
        Verdict::Valid
    }

    fn figures(&self, history: &History) -> Vec<Figure> {
        let [stable, lost, never] =
            [Outcome::Stable, Outcome::Lost, Outcome::NeverRead].map(|outcome| self.of(|fate| fate.outcome == outcome));
        let stale = self.of(|fate| fate.stale);
        let values = |of: &[(&Element, &Fate)]| of.iter().map(|(element, _)| element.value).collect::<Vec<Value>>();
        let mut worst = stale.clone();
        worst.sort_by_key(|(element, fate)| (std::cmp::Reverse(fate.latency), element.called));
        worst.truncate(8);
        let only = |of: &[(Value, OpId)]| of.iter().map(|&(value, _)| value).collect::<Vec<Value>>();
        let mut figures = vec![
            figure("attempt-count", self.all.len() as u64),
            figure("stable-count", stable.len() as u64),
            figure("lost-count", lost.len() as u64),
            figure("never-read-count", never.len() as u64),
            figure("stale-count", stale.len() as u64),
            figure("duplicated-count", self.twice.len() as u64),
            figure("unexpected-count", self.phantom.len() as u64),
            elements(history, "lost", values(&lost)),
            elements(history, "never-read", values(&never)),
            elements(history, "stale", values(&stale)),
            elements(history, "duplicated", only(self.twice)),
            elements(history, "unexpected", only(self.phantom)),
            Figure {
                name: "worst-stale",
                amount: Amount::Elements(
                    worst.iter().map(|(e, fate)| format!("{}: {} ms", history.show(e.value), fate.latency)).collect(),
                ),
            },
        ];
        for (name, of) in [("stable-latencies", &stable), ("lost-latencies", &lost)] {
            let mut latencies: Vec<u64> = of.iter().map(|(_, fate)| fate.latency).collect();
            latencies.sort_unstable();
            let place = |part: f64| ((latencies.len() as f64 * part) as usize).min(latencies.len().saturating_sub(1));
            let quantiles: Vec<(&str, u64)> =
                QUANTILES.iter().filter_map(|&(name, part)| Some((name, *latencies.get(place(part))?))).collect();
            if !quantiles.is_empty() {
                figures.push(Figure { name, amount: Amount::Quantiles(quantiles) });
            }
        }
        figures
    }
}

/// Returns the verdict for an element that is missing from a read.
fn miss(history: &History, key: &str, anomaly: &str, element: &Element, fate: &Fate) -> Verdict {
    let what = quoted(history, element.value);
    let (known, by) = element.known.unwrap_or((element.called, element.add));
    let source = history.operation(by);
    let how = match source.f {
        Function::Add => format!("{} had returned at {}", whose(history, source), at(history, known)),
        _ => format!("{} had been seen by {} {}", what, subject(source), during(history, source)),
    };
    let missed = fate.absent.map_or(String::new(), |op| {
        let op = history.operation(op);
        format!("{}'s read {}, called after that, does not show {what}", subject(op), during(history, op))
    });
    let after = match (anomaly, fate.present) {
        ("lost element", _) => ", nor does any read called later".to_owned(),
        (_, Some(op)) => {
            let op = history.operation(op);
            format!("; {}'s read {} does", subject(op), during(history, op))
        }
        (_, None) => String::new(),
    };
    let core = [Some(element.add), Some(by), fate.absent, fate.present].into_iter().flatten().collect();
    evidence(history, key, anomaly, (core, fate.absent), capital(&format!("{how}, but {missed}{after}.")))
}
