//! Evidence: why a part of a history is not linearizable, reduced as far as possible.
//!
//! - **Prefix.** Every prefix of a linearizable history is linearizable, because operations still open may have
//!   happened or not. So there is a first event at which the history becomes impossible. It is always a return. If a
//!   few operations are impossible by themselves and the history is possible before the last of their returns, that
//!   return is the event. Otherwise the event is found by bisection.
//! - **Core.** Within that prefix, constraints are dropped as long as it stays impossible. A read or a refused write is
//!   left out. The outcome of a write is dropped, so that it may have happened at any time after its call or never.
//!   Dropping a constraint only makes the history easier to explain, so if the rest is impossible, the prefix was
//!   impossible before. The operations that remain are in conflict, whatever the others did. If the procedure that
//!   refuted the history names a few suspects, only these are tried. Most conflicts are between two operations, one of
//!   which is the last to return. So if there are few operations, each is first tried together with that one.
//! - **Order.** The longest sequence of operations of the prefix that respects real time and replies.
//!
//! The exact search checks each reduced history again. If [`Options::evidence_steps`] or the time runs out, the
//! evidence is larger than necessary ([`Evidence::minimal`]) but never wrong.

mod explain;
mod headline;
pub mod page;

pub(crate) use explain::{capital, show};
pub use explain::{diagram, words};
pub use headline::headline;

use crate::history::{History, KeyId, OpId, Value};
use crate::linear::kv::gone::{self, Gone};
use crate::linear::{Answer, Item, Judge, Limits, Options};
use std::fmt;
use std::time::Instant;

/// Maximum number of guesses of the shortest prefix, each from a small conflict, before bisection.
const GUESSES: usize = 8;
/// Up to this number of operations, the operation that breaks the history is tried in pairs with each of the others.
/// Below: the steps for each pair, and the steps for each pair that was not decided within these.
const PAIRS: usize = 256;
const PAIR_STEPS: [u64; 2] = [10_000, 80_000];
/// Limit of steps of the search for a long order.
const ORDER_STEPS: u64 = 1_000_000;

/// Why a property does not hold for a part of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The part: a key, or whatever else the property is about.
    pub part: String,
    /// The anomaly's name in the literature, such as `stale read` or `G1c`; empty if it has none.
    pub anomaly: String,
    /// The operation whose return makes the history impossible, if there is one.
    pub breaks: Option<OpId>,
    /// The index of that return. The events up to and including it are impossible. The events before it are possible.
    pub event: Option<u32>,
    /// The operations in conflict, in the order of calls. Whatever the other operations did, these replies cannot all
    /// be true.
    pub core: Vec<OpId>,
    /// Operations whose replies are needed only to show that they are not between the operations of the core: the
    /// deletes of a key that is found missing.
    pub given: Vec<OpId>,
    /// The ordering constraints that form a cycle, if that is the reason.
    pub edges: Vec<Edge>,
    /// Whether the prefix is the shortest and every operation of the core is needed.
    pub minimal: bool,
    /// The longest order found among operations of the prefix.
    pub order: Vec<OpId>,
    /// The reason in words.
    pub explanation: String,
    /// The core drawn over time, one row per operation.
    pub diagram: String,
}

impl Evidence {
    /// Evidence from operations in conflict, all of which are needed. Has no order and no edges.
    pub(crate) fn of_clash(
        (part, anomaly): (&str, &str),
        (core, breaks): (Vec<OpId>, Option<OpId>),
        diagram: String,
        explanation: String,
    ) -> Evidence {
        let (part, anomaly) = (part.to_owned(), anomaly.to_owned());
        let (given, edges, order) = (Vec::new(), Vec::new(), Vec::new());
        Evidence { part, anomaly, breaks, event: None, core, given, edges, minimal: true, order, explanation, diagram }
    }
}

/// A constraint: one operation must precede another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The earlier operation.
    pub from: OpId,
    /// The later operation.
    pub to: OpId,
    /// The kind of reason.
    pub link: Link,
    /// The reason in a few words, such as `ww x` or `returned before`.
    pub why: String,
}

/// Why one operation must precede another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// The later one wrote a later version of the key.
    Ww(KeyId),
    /// The later one read what the earlier one wrote to the key.
    Wr(KeyId),
    /// The earlier one read a version of the key that the later one overwrote.
    Rw(KeyId),
    /// The same client ran the earlier one first.
    Process,
    /// The earlier one had returned before the later one was called.
    Realtime,
    /// Another reason, given only in words.
    Other,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.diagram[..] {
            "" => writeln!(f, "{}", self.explanation),
            diagram => writeln!(f, "{}\n\n{diagram}", self.explanation),
        }
    }
}

/// Finds evidence against a part that is known not to be linearizable, until `until`.
pub(crate) fn gather(
    judge: &mut dyn Judge,
    history: &History,
    key: KeyId,
    items: &[Item],
    options: &Options,
    until: Option<Instant>,
) -> Evidence {
    if until.is_some_and(|until| Instant::now() >= until) {
        return bare(history, key, items);
    }
    let (memory, left) = (options.memory, options.evidence_steps);
    let ops: Vec<OpId> = items.iter().map(|item| item.op).collect();
    let register = explain::is_register(history, &ops);
    let mut search = Minimizer { history, judge, register, memory, left, until, sure: true };
    let (event, few) = search.shortest_prefix(items);
    let prefix = cut(history, items, event);
    let breaks = prefix.iter().find(|item| history.operation(item.op).settled() == Some(event));
    let breaks = breaks.map_or(OpId(0), |item| item.op);
    let all: Vec<OpId> = prefix.iter().map(|item| item.op).collect();
    let gone = search.gone(&prefix).filter(|gone| gone.misses == breaks);
    let (core, given) = match gone.filter(|gone| search.needs_both(gone, &prefix)) {
        Some(Gone { shows, misses, deletes }) => (vec![shows, misses], deletes),
        None => {
            let items = few.unwrap_or_else(|| prefix.clone());
            (search.pair(&items, breaks).unwrap_or_else(|| search.smallest_core(items)), Vec::new())
        }
    };
    let minimal = search.sure;
    let (anomaly, mut explanation) = explain::words(history, judge.kind(), breaks, (&core, &given), &all, minimal);
    let limits = Limits { steps: ORDER_STEPS, memory, until };
    // All operations except the one that breaks the history can be ordered.
    let witness = judge.witness(history, &cut(history, items, event.saturating_sub(1)), limits);
    let whole = witness.is_some();
    let order = witness.unwrap_or_else(|| judge.longest(history, &prefix, limits));
    if whole
        && anomaly.is_empty()
        && core.len() > 1
        && let Some(stuck) = explain::stuck(history, judge.kind(), breaks, &all, &order)
    {
        explanation = format!("{explanation}\n{stuck}");
    }
    Evidence {
        part: history.key(key).into_owned(),
        anomaly,
        breaks: Some(breaks),
        event: Some(event),
        minimal,
        given,
        edges: Vec::new(),
        order,
        explanation,
        diagram: explain::diagram(history, breaks, &core),
        core,
    }
}

/// Evidence without a search for a reason: all operations of the part.
pub(crate) fn bare(history: &History, key: KeyId, items: &[Item]) -> Evidence {
    let of = match history.key_value(key) {
        Value::NIL => "No".to_owned(),
        _ => format!("key {}: no", history.key(key)),
    };
    let n = items.len();
    Evidence {
        part: history.key(key).into_owned(),
        anomaly: String::new(),
        breaks: None,
        event: None,
        minimal: false,
        given: Vec::new(),
        edges: Vec::new(),
        order: Vec::new(),
        explanation: format!(
            "{of} order of its {n} operations explains all their replies; which of them clash is not known."
        ),
        diagram: String::new(),
        core: items.iter().map(|item| item.op).collect(),
    }
}

/// Cuts the history after an event. Operations that have not returned by then are open.
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
    /// Whether the part is a register or key.
    register: bool,
    memory: usize,
    left: u64,
    until: Option<Instant>,
    /// Whether every check so far reached an answer.
    sure: bool,
}

impl Minimizer<'_> {
    /// Whether these operations certainly cannot be ordered.
    fn impossible(&mut self, items: &[Item], share: u64) -> bool {
        let steps = share.min(self.left);
        if self.left == 0 || self.until.is_some_and(|until| Instant::now() >= until) {
            (self.left, self.sure) = (0, false);
            return false;
        }
        let limits = Limits { steps, memory: self.memory, until: self.until };
        let decision = self.judge.decide(self.history, items, limits);
        // Examining the operations costs about one step per two operations.
        self.left = self.left.saturating_sub(decision.steps.max(items.len() as u64 / 2));
        self.sure &= !matches!(decision.answer, Answer::GaveUp(_));
        decision.answer == Answer::Impossible
    }

    /// The operations without the outcomes of those that `keep` rejects.
    fn forgetting(items: &[Item], keep: impl Fn(OpId) -> bool) -> Vec<Item> {
        items.iter().map(|item| Item { open: item.open || !keep(item.op), ..*item }).collect()
    }

    /// A conflict of two operations on a register that can be found without a search.
    fn gone(&self, items: &[Item]) -> Option<Gone> {
        if self.register { gone::find(self.history, items) } else { None }
    }

    /// Whether neither of the two operations is found to be impossible without the other.
    fn needs_both(&mut self, gone: &Gone, prefix: &[Item]) -> bool {
        let sure = self.sure;
        let mut alone = |one: OpId| {
            let items = Minimizer::forgetting(prefix, |op| op == one || gone.deletes.contains(&op));
            self.impossible(&items, 100_000)
        };
        let needed = !alone(gone.shows) && !alone(gone.misses);
        self.sure = sure;
        needed
    }

    /// The operations with only the outcomes of a few suspects, if the procedure that refuted them can name suspects
    /// that are impossible by themselves.
    fn narrowed(&mut self, items: &[Item]) -> Option<Vec<Item>> {
        if let Some(Gone { shows, misses, deletes }) = self.gone(items) {
            return Some(Minimizer::forgetting(items, |op| op == shows || op == misses || deletes.contains(&op)));
        }
        let suspects = self.judge.suspects(self.history, items)?;
        let few = Minimizer::forgetting(items, |op| suspects.contains(&op));
        let sure = self.sure;
        let impossible = self.impossible(&few, self.left / 64);
        self.sure = sure;
        impossible.then_some(few)
    }

    /// Returns the first return at which the history is impossible. Also returns the operations called by then with
    /// only the outcomes of a few suspects, if these are enough.
    fn shortest_prefix(&mut self, items: &[Item]) -> (u32, Option<Vec<Item>>) {
        let settled = |item: &Item| self.history.operation(item.op).settled().filter(|_| !item.open);
        let mut returns: Vec<u32> = items.iter().filter_map(settled).collect();
        returns.sort_unstable();
        // Invariant: the prefix that ends at `returns[high]` is impossible. No shorter one below `low` is.
        let (mut low, mut high) = (0, returns.len().saturating_sub(1));
        let mut prefix = items.to_vec();
        for _ in 0..GUESSES {
            let Some(few) = self.narrowed(&prefix) else { break };
            // Operations that are impossible by themselves are so as soon as all of them have returned.
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

    /// Returns the operation that breaks the history, alone or with one other operation, if these are impossible and
    /// this is found quickly. Without the breaking operation nothing is impossible, so such a core is the smallest.
    fn pair(&mut self, items: &[Item], breaks: OpId) -> Option<Vec<OpId>> {
        let others = items.iter().rev().filter(|item| !item.open && item.op != breaks).map(|item| item.op);
        let others: Vec<OpId> = others.collect();
        if others.len() > PAIRS {
            return None;
        }
        let before = self.sure;
        // Whether the pair is impossible; `None` if that is not decided.
        let mut clash = |other: OpId, steps: u64| {
            self.sure = true;
            let items = Minimizer::forgetting(items, |op| op == breaks || op == other);
            let impossible = self.impossible(&items, steps);
            self.sure.then_some(impossible)
        };
        let mut core = None;
        match clash(breaks, PAIR_STEPS[1]) {
            Some(true) => core = Some(vec![breaks]),
            Some(false) => {
                let mut left = others;
                for steps in PAIR_STEPS {
                    let mut unseen = Vec::new();
                    // The latest operation first, because the conflict is usually close to where it shows.
                    for other in left {
                        match clash(other, steps) {
                            Some(true) if core.is_none() => core = Some(vec![other.min(breaks), other.max(breaks)]),
                            Some(_) => {}
                            None => unseen.push(other),
                        }
                        if core.is_some() {
                            break;
                        }
                    }
                    left = if core.is_some() { Vec::new() } else { unseen };
                }
            }
            None => {}
        }
        self.sure = before;
        core
    }

    /// Drops constraints while the rest stays impossible. The first pass has few steps per check, the second pass has
    /// more.
    fn smallest_core(&mut self, items: Vec<Item>) -> Vec<OpId> {
        let sure = self.sure;
        let share = (self.left / 4_096).max(10_000);
        let few = self.smaller(items, share);
        self.sure = sure;
        let share = (self.left / 512).max(100_000);
        let core = self.smaller(few, share);
        core.iter().filter(|item| !item.open).map(|item| item.op).collect()
    }

    /// Drops constraints, many at once and then fewer, as long as `share` steps are enough to see that the rest stays
    /// impossible.
    fn smaller(&mut self, mut items: Vec<Item>, share: u64) -> Vec<Item> {
        let firm = |items: &[Item]| (0..items.len()).filter(|&i| !items[i].open).collect::<Vec<_>>();
        let mut size = firm(&items).len().div_ceil(2);
        while size > 0 && self.left > 0 {
            let mut dropped = false;
            // The oldest first, so that the conflict stays close to where it shows.
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
                if self.impossible(&easier, share) {
                    items = easier;
                    dropped = true;
                }
            }
            if !(dropped && size == 1) {
                size /= 2;
            }
        }
        self.sure &= size == 0;
        items
    }
}
