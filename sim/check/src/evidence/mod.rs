//! Why a key is not linearizable, as small as it can be made.
//!
//! - **Prefix.** The prefix of a linearizable history is linearizable (what is still open may have happened or not), so
//!   there is a first event at which the history becomes impossible. It is a return: the last one of a few operations that
//!   are impossible alone, if the history is possible up to there; otherwise it is found by bisection.
//! - **Core.** Within that prefix constraints are dropped while it stays impossible: a read or a refused write is left
//!   out, and a write's outcome is forgotten, so that it may have happened at any time after its call or never. Both only
//!   make the history easier to explain, so what is impossible then was impossible before. What remains are the
//!   operations that clash; the others may do what they like and cannot help. The procedure that refuted the history may
//!   name a few suspects; then only these are tried.
//! - **Order.** The longest sequence of operations of the prefix that respects real time and replies.
//!
//! Each smaller history is checked by the exact search again. When [`Options::evidence_steps`] run out the evidence is
//! larger than it need be ([`Evidence::minimal`]), never wrong.

mod explain;
pub mod page;

pub use explain::{diagram, words};

use crate::history::{History, KeyId, OpId};
use crate::linear::{Answer, Item, Judge, Limits, Options};
use std::fmt;

/// How often the first clash that comes to mind is tried as the end of the shortest prefix, before it is found by bisection.
const GUESSES: usize = 8;
/// Steps to look for a long order.
const ORDER_STEPS: u64 = 1_000_000;

/// Why a property does not hold of a part of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The part: a key, or what else the property is about.
    pub part: String,
    /// The anomaly's name, as the literature has it: `stale read`, `G1c`; empty when it has none.
    pub anomaly: String,
    /// The operation by whose return the history has become impossible, where there is one.
    pub breaks: Option<OpId>,
    /// The index of that return: the events up to and with it are impossible, those before it are not.
    pub event: Option<u32>,
    /// The operations that clash, by call: whatever the other operations did, these replies cannot all be true.
    pub core: Vec<OpId>,
    /// What must be before what, where that is the reason: a cycle.
    pub edges: Vec<Edge>,
    /// Whether the prefix is the shortest, and no operation of the core can be spared.
    pub minimal: bool,
    /// The longest order found of operations in the prefix.
    pub order: Vec<OpId>,
    /// The reason in words.
    pub explanation: String,
    /// The core drawn over time, one row for each operation.
    pub diagram: String,
}

/// One operation must be before another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The earlier.
    pub from: OpId,
    /// The later.
    pub to: OpId,
    /// What kind of reason this is.
    pub link: Link,
    /// Why, in a few words: `ww x`, `returned before`.
    pub why: String,
}

/// Why one operation must be before another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// The other wrote a later version of the key.
    Ww(KeyId),
    /// The other read what it wrote to the key.
    Wr(KeyId),
    /// It read a version of the key that the other overwrote.
    Rw(KeyId),
    /// The same client ran it earlier.
    Process,
    /// It had returned before the other was called.
    Realtime,
    /// Something that only the words say.
    Other,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}", self.explanation, self.diagram)
    }
}

/// Finds the evidence against a part that is known not to be linearizable.
pub(crate) fn gather(
    judge: &mut dyn Judge,
    history: &History,
    key: KeyId,
    items: &[Item],
    options: &Options,
) -> Evidence {
    if options.evidence_steps == 0 {
        return bare(history, key, items);
    }
    let mut search = Minimizer { history, judge, memory: options.memory, left: options.evidence_steps, sure: true };
    let (event, few) = search.shortest_prefix(items);
    let prefix = cut(history, items, event);
    let breaks = prefix.iter().find(|item| history.operation(item.op).settled() == Some(event));
    let breaks = breaks.map_or(OpId(0), |item| item.op);
    let core = search.smallest_core(few.unwrap_or_else(|| prefix.clone()));
    let minimal = search.sure;
    let all: Vec<OpId> = prefix.iter().map(|item| item.op).collect();
    let (anomaly, mut explanation) = explain::words(history, breaks, &core, &all, minimal);
    let limits = Limits::new(ORDER_STEPS, options.memory);
    // All but what breaks it can be ordered.
    let witness = judge.witness(history, &cut(history, items, event.saturating_sub(1)), limits);
    let whole = witness.is_some();
    let order = witness.unwrap_or_else(|| judge.longest(history, &prefix, limits));
    if whole
        && anomaly.is_empty()
        && core.len() > 1
        && let Some(stuck) = explain::stuck(history, breaks, &all, &order)
    {
        explanation = format!("{explanation}\n{stuck}");
    }
    Evidence {
        part: history.key(key).into_owned(),
        anomaly,
        breaks: Some(breaks),
        event: Some(event),
        minimal,
        edges: Vec::new(),
        order,
        explanation,
        diagram: explain::diagram(history, breaks, &core),
        core,
    }
}

/// All there is, where nobody wants to know why.
fn bare(history: &History, key: KeyId, items: &[Item]) -> Evidence {
    Evidence {
        part: history.key(key).into_owned(),
        anomaly: String::new(),
        breaks: None,
        event: None,
        minimal: false,
        edges: Vec::new(),
        order: Vec::new(),
        explanation: String::new(),
        diagram: String::new(),
        core: items.iter().map(|item| item.op).collect(),
    }
}

/// The history up to and with an event: what has not returned by then is open.
fn cut(history: &History, items: &[Item], event: u32) -> Vec<Item> {
    let called = items.iter().take_while(|item| history.operation(item.op).called <= event);
    called
        .map(|item| Item {
            open: item.open || history.operation(item.op).settled().is_none_or(|ret| ret > event),
            ..*item
        })
        .collect()
}

struct Minimizer<'a> {
    history: &'a History,
    judge: &'a mut dyn Judge,
    memory: usize,
    left: u64,
    /// No check had to be given up so far.
    sure: bool,
}

impl Minimizer<'_> {
    /// Whether these operations certainly cannot be ordered.
    fn impossible(&mut self, items: &[Item], share: u64) -> bool {
        let steps = share.min(self.left);
        if self.left == 0 {
            self.sure = false;
            return false;
        }
        let decision = self.judge.decide(self.history, items, Limits::new(steps, self.memory));
        // To look at the operations takes about as long as a step for every other.
        self.left = self.left.saturating_sub(decision.steps.max(items.len() as u64 / 2));
        self.sure &= !matches!(decision.answer, Answer::GaveUp(_));
        decision.answer == Answer::Impossible
    }

    /// The operations with the outcomes of all but a few forgotten, where the procedure that refuted them can name a few that
    /// are impossible alone.
    fn narrowed(&mut self, items: &[Item]) -> Option<Vec<Item>> {
        let suspects = self.judge.suspects(self.history, items)?;
        let open = |item: &Item| item.open || !suspects.contains(&item.op);
        let few: Vec<Item> = items.iter().map(|item| Item { open: open(item), ..*item }).collect();
        let sure = self.sure;
        let impossible = self.impossible(&few, self.left / 64);
        self.sure = sure;
        impossible.then_some(few)
    }

    /// The first return at which the history is impossible; and the operations called by then, if few of them are enough.
    fn shortest_prefix(&mut self, items: &[Item]) -> (u32, Option<Vec<Item>>) {
        let settled = |item: &Item| self.history.operation(item.op).settled().filter(|_| !item.open);
        let mut returns: Vec<u32> = items.iter().filter_map(settled).collect();
        returns.sort_unstable();
        // Invariant: the prefix that ends at `returns[high]` is impossible, no shorter one below `low` is.
        let (mut low, mut high) = (0, returns.len().saturating_sub(1));
        let mut prefix = items.to_vec();
        for _ in 0..GUESSES {
            let Some(few) = self.narrowed(&prefix) else { break };
            // What is impossible alone is so as soon as all of it has returned.
            let settled = |item: &Item| self.history.operation(item.op).settled().filter(|_| !item.open);
            let Some(event) = few.iter().filter_map(settled).max() else { break };
            prefix = cut(self.history, items, event.saturating_sub(1));
            high = high.min(returns.partition_point(|&ret| ret < event));
            if !self.impossible(&prefix, u64::MAX) {
                return (event, Some(cut(self.history, &few, event)));
            }
            high = high.saturating_sub(1);
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            let prefix = cut(self.history, items, returns[middle]);
            if self.impossible(&prefix, u64::MAX) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let event = returns.get(high).copied().unwrap_or(0);
        (event, self.narrowed(&cut(self.history, items, event)))
    }

    /// Drops constraints, many at once and then fewer, while the rest stays impossible.
    fn smallest_core(&mut self, mut items: Vec<Item>) -> Vec<OpId> {
        let firm = |items: &[Item]| (0..items.len()).filter(|&i| !items[i].open).collect::<Vec<_>>();
        let mut size = firm(&items).len().div_ceil(2);
        while size > 0 && self.left > 0 {
            let mut dropped = false;
            // From the oldest on, so that the clash stays close to where it shows.
            let constraints = firm(&items);
            for chunk in constraints.chunks(size) {
                if self.left == 0 {
                    self.sure = false;
                    break;
                }
                let mut easier = items.clone();
                for &i in chunk {
                    easier[i].open = true;
                }
                if self.impossible(&easier, self.left / 64) {
                    items = easier;
                    dropped = true;
                }
            }
            if !(dropped && size == 1) {
                size /= 2;
            }
        }
        self.sure &= size == 0;
        firm(&items).iter().map(|&i| items[i].op).collect()
    }
}
