//! `jepsen.checker/total-queue`: what goes in must come out. Only meaningful for histories that drain the queue at the
//! end.
//!
//! - *lost*: acknowledged, and dequeued fewer times than acknowledged;
//! - *unexpected*: dequeued, and never enqueued;
//! - *duplicated*: dequeued more often than its enqueue was attempted, which at-least-once delivery allows;
//! - *recovered*: dequeued, though the outcome of its enqueue was unknown.
//!
//! There are two differences from Jepsen. An `enqueue` that failed certainly did not happen, so it explains no element:
//! Jepsen calls such an element recovered, here it is unexpected. And a `dequeue` of unknown outcome may have taken
//! what is missing: if there are enough of them, nothing is certainly lost, and the verdict is unknown.

use super::{Judged, counts, elements, evidence, figure};
use crate::evidence::capital;
use crate::evidence::show::{during, quoted, subject};
use crate::history::{End, Function, History, OpId, Value};
use crate::linear::{Part, Verdict};
use crate::model::{Misfit, queue::initial};
use std::collections::BTreeMap;

/// A function that counts occurrences of an element.
type Count = fn(&Element) -> u64;

/// What happened to one element.
#[derive(Default)]
struct Element {
    /// Number of enqueues called, whatever their outcome.
    attempts: u64,
    /// How many of them may have happened.
    possible: u64,
    acknowledged: u64,
    dequeued: u64,
    ops: Vec<OpId>,
}

impl Element {
    fn lost(&self) -> u64 {
        self.acknowledged.saturating_sub(self.dequeued)
    }

    fn unexpected(&self) -> u64 {
        if self.possible == 0 { self.dequeued } else { 0 }
    }

    fn duplicated(&self) -> u64 {
        if self.possible == 0 { 0 } else { self.dequeued.saturating_sub(self.possible) }
    }

    fn fine(&self) -> u64 {
        self.dequeued.min(self.possible)
    }

    fn recovered(&self) -> u64 {
        self.fine().saturating_sub(self.acknowledged)
    }
}

pub fn judge(history: &History, part: Part<'_>) -> Result<Judged, Misfit> {
    let mut all: BTreeMap<Value, Element> = BTreeMap::new();
    for &value in initial(history) {
        let element = all.entry(value).or_default();
        (element.possible, element.acknowledged) = (element.possible + 1, element.acknowledged + 1);
    }
    // Dequeues that may have taken an element without reporting which.
    let mut silent = 0;
    for &id in part.ops {
        let op = history.operation(id);
        match (op.f, op.end) {
            (Function::Enqueue, end) => {
                let element = all.entry(op.arg).or_default();
                element.attempts += 1;
                element.possible += u64::from(matches!(end, End::Ok | End::Info));
                element.acknowledged += u64::from(end == End::Ok);
                element.ops.push(id);
            }
            (Function::Dequeue, End::Info) => silent += 1,
            (Function::Dequeue, End::Ok) if op.reply == Value::UNTOLD => silent += 1,
            (Function::Dequeue, End::Ok) if op.reply != Value::NIL => {
                let element = all.entry(op.reply).or_default();
                element.dequeued += 1;
                element.ops.push(id);
            }
            (Function::Dequeue, _) => {}
            (f, _) => {
                let what = format!("total-queue is of enqueue, dequeue and drain, and this is {}", history.function(f));
                return Err(Misfit { op: id, what });
            }
        }
    }
    let sum = |of: Count| all.values().map(of).sum::<u64>();
    let named = |of: Count| {
        let times = |(&value, element): (&Value, &Element)| std::iter::repeat_n(value, of(element) as usize);
        all.iter().flat_map(times).collect::<Vec<Value>>()
    };
    let found: [(&'static str, Count); 4] = [
        ("unexpected", Element::unexpected),
        ("lost", Element::lost),
        ("duplicated", Element::duplicated),
        ("recovered", Element::recovered),
    ];
    let mut figures = vec![
        figure("attempt-count", sum(|element| element.attempts)),
        figure("acknowledged-count", sum(|element| element.acknowledged)),
        figure("ok-count", sum(Element::fine)),
        figure("unexpected-count", sum(Element::unexpected)),
        figure("duplicated-count", sum(Element::duplicated)),
        figure("lost-count", sum(Element::lost)),
        figure("recovered-count", sum(Element::recovered)),
    ];
    figures.extend(found.map(|(name, of)| elements(history, name, named(of))));
    Ok(Judged {
        verdict: verdict(history, part, &all, silent),
        by: "an account of all elements",
        counts: counts(&found[..3].iter().map(|&(name, of)| (name, sum(of))).collect::<Vec<_>>()),
        figures,
    })
}

fn verdict(history: &History, part: Part<'_>, all: &BTreeMap<Value, Element>, silent: u64) -> Verdict {
    let key = history.key(part.key);
    let first = |of: Count| all.iter().find(|(_, element)| of(element) > 0);
    if let Some((&value, element)) = first(Element::unexpected) {
        let what = quoted(history, value);
        let takes = |op: &&OpId| history.operation(**op).f == Function::Dequeue;
        let breaks = element.ops.iter().find(takes).copied();
        let who = breaks.map_or(String::new(), |op| {
            let op = history.operation(op);
            format!("{} took {what} out {}, but ", subject(op), during(history, op))
        });
        let why = if element.attempts > 0 { "every enqueue of it had failed" } else { "nobody ever enqueued it" };
        return evidence(history, &key, "unexpected", (element.ops.clone(), breaks), capital(&format!("{who}{why}.")));
    }
    let lost: u64 = all.values().map(Element::lost).sum();
    let Some((&value, element)) = first(Element::lost).filter(|_| lost > 0) else { return Verdict::Valid };
    if lost <= silent {
        return Verdict::Unknown(format!(
            "{lost} acknowledged elements never came out, {} among them, but {silent} dequeues of unknown outcome may have \
             taken them",
            quoted(history, value)
        ));
    }
    let what = quoted(history, value);
    let times = |n: u64| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let mut text = format!(
        "{what} was enqueued and acknowledged {}, and {}.",
        times(element.acknowledged),
        match element.dequeued {
            0 => "never came out".to_owned(),
            n => format!("came out {}", times(n)),
        }
    );
    if silent > 0 {
        text += &format!(" Of {lost} elements that are missing, {silent} dequeues of unknown outcome explain fewer.");
    }
    evidence(history, &key, "lost", (element.ops.clone(), None), text)
}
