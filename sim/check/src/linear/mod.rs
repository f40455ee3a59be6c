//! Linearizability (Herlihy and Wing, 1990), decided part by part.
//!
//! A history of independent objects is linearizable exactly if each object's part is (the locality theorem), so every
//! [`Part`] gets its own verdict. The answer is exact: valid, not valid with evidence, or unknown with the reason when
//! a limit was reached. The verdict names the procedure that decided ([`Decision::by`]).
//!
//! A [`Judge`] has one model's procedures. Everything else here and in [`crate::evidence`] is the same for all models:
//! smaller histories are made by leaving operations out or forgetting their outcomes ([`Item::open`]) and judged again.

pub mod direct;
mod events;
pub mod general;
mod hash;
pub mod kv;
pub mod locks;
mod parts;
pub mod queues;
mod rounds;
pub mod sequences;
pub mod sets;

pub use general::check_model;

use crate::evidence::Evidence;
use crate::history::{Call, History, OpId, Recorder, Reply, Version};
use crate::model::Kind;
pub use parts::{Part, Parts, parts};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// An operation to judge. If `open`, its outcome is forgotten: it may have happened at any time after its call, or
/// never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// The operation.
    pub op: OpId,
    /// Whether its outcome is forgotten.
    pub open: bool,
}

/// The limits of one decision.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps of the search; a step takes tens of nanoseconds.
    pub steps: u64,
    /// Bytes for remembered configurations.
    pub memory: usize,
    /// Deadline. If `None`, the answer does not depend on the machine's speed.
    pub until: Option<Instant>,
}

impl Limits {
    /// Limits without a time limit.
    #[must_use]
    pub const fn new(steps: u64, memory: usize) -> Limits {
        Limits { steps, memory, until: None }
    }

    /// Returns the limit that `steps` reached, if any. Reads the clock every few thousand steps; `next_look` must start
    /// at 0.
    pub fn exceeded(&self, steps: u64, next_look: &mut u64) -> Option<&'static str> {
        if steps > self.steps {
            return Some(OUT_OF_STEPS);
        }
        if steps < *next_look {
            return None;
        }
        *next_look = steps + 4_096;
        self.until.is_some_and(|until| Instant::now() >= until).then_some(TIME_IS_UP)
    }
}

/// Reason given when the step limit was reached.
pub const OUT_OF_STEPS: &str = "the step limit was reached";
/// Reason given when the time limit was reached.
pub const TIME_IS_UP: &str = "the time limit was reached";

/// The answer of a procedure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// An order exists.
    Possible,
    /// No order exists.
    Impossible,
    /// A limit was reached.
    GaveUp(&'static str),
}

/// An answer and the procedure that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// Short human-readable name of the procedure that gave it.
    pub by: &'static str,
    /// Steps used, of [`Limits::steps`].
    pub steps: u64,
}

/// One model's procedures for one part at a time. A judge may keep buffers from one part to the next.
pub trait Judge {
    /// Decides whether some order of these operations explains all replies. `items` must be sorted by call.
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision;

    /// Returns an order that explains all replies, for operations that [`Judge::decide`] found possible, or `None` if a
    /// limit is reached.
    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>>;

    /// Returns a few operations that are impossible on their own (with the outcomes of all others forgotten), if the
    /// procedure that refuted them can name some. The search for the smallest evidence checks them and starts from
    /// them.
    fn suspects(&mut self, _history: &History, _items: &[Item]) -> Option<Vec<OpId>> {
        None
    }

    /// Returns the longest order of some of the operations found within the limits, even if it leaves operations
    /// unexplained.
    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId>;

    /// The kind of the objects, if the functions in a history do not determine it.
    fn kind(&self) -> Option<Kind> {
        None
    }
}

impl Judge for Box<dyn Judge> {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        self.as_mut().decide(history, items, limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        self.as_mut().witness(history, items, limits)
    }

    fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        self.as_mut().suspects(history, items)
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        self.as_mut().longest(history, items, limits)
    }

    fn kind(&self) -> Option<Kind> {
        self.as_ref().kind()
    }
}

/// The options of a check. The limits apply to each part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Steps of the search; a step takes tens of nanoseconds.
    pub steps: u64,
    /// Bytes for remembered configurations.
    pub memory: usize,
    /// Total steps of the checks that look for smaller evidence against a part, once all parts have verdicts. If 0, no
    /// smaller evidence is sought: the evidence is all operations of the part.
    pub evidence_steps: u64,
    /// Number of parts judged in parallel, each on its own thread. If 1, no thread is started. The verdicts do not
    /// depend on it unless there is a time limit.
    pub threads: usize,
    /// Time limit of the whole check. Parts not decided by then are unknown. If `None`, verdicts do not depend on the
    /// clock.
    pub time: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 50_000_000, memory: 256 << 20, evidence_steps: 20_000_000, threads: 1, time: None }
    }
}

/// What was decided about a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The property holds.
    Valid,
    /// The property does not hold.
    Invalid(Box<Evidence>),
    /// Not decided, and why.
    Unknown(String),
}

/// One part's verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartReport {
    /// The part's name: its key.
    pub name: String,
    /// Number of operations.
    pub operations: usize,
    /// What was decided.
    pub verdict: Verdict,
    /// The procedure that decided.
    pub by: &'static str,
    /// Steps used.
    pub steps: u64,
    /// How often each anomaly was found, worst first, including anomalies that the property allows. Empty for
    /// procedures that do not distinguish anomalies.
    pub counts: Vec<Count>,
    /// Figures reported with the verdict, from analyses that produce them.
    pub figures: Vec<Figure>,
}

/// A figure reported with a verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Figure {
    /// The figure's name, such as `lost-count`.
    pub name: &'static str,
    /// The value.
    pub amount: Amount,
}

/// The value of a figure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Amount {
    /// A count or an amount.
    Count(u64),
    /// A signed sum.
    Sum(i128),
    /// Elements, as displayed.
    Elements(Vec<String>),
    /// Quantiles (0 to 1) and their values.
    Quantiles(Vec<(&'static str, u64)>),
}

/// How often an anomaly was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Count {
    /// The anomaly's name.
    pub name: &'static str,
    /// How often.
    pub times: u64,
}

/// The verdicts on a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The property, as it reads after "is" or "is not": `linearizable`.
    pub property: &'static str,
    /// One report per part.
    pub parts: Vec<PartReport>,
}

impl Report {
    /// Returns whether the property certainly holds for every part.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.parts.iter().all(|part| part.verdict == Verdict::Valid)
    }

    /// Evidence against the parts for which the property certainly does not hold.
    pub fn violations(&self) -> impl Iterator<Item = &Evidence> {
        self.parts.iter().filter_map(|part| match &part.verdict {
            Verdict::Invalid(evidence) => Some(&**evidence),
            Verdict::Valid | Verdict::Unknown(_) => None,
        })
    }

    /// Names of the parts that were not decided, and why.
    pub fn unknowns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().filter_map(|part| match &part.verdict {
            Verdict::Unknown(why) => Some((part.name.as_str(), why.as_str())),
            Verdict::Valid | Verdict::Invalid(_) => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violations, unknowns) = (self.violations().count(), self.unknowns().count());
        let operations: usize = self.parts.iter().map(|part| part.operations).sum();
        let property = self.property;
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        // Some properties apply to the whole history, and some histories have one object.
        let whole =
            matches!(&self.parts[..], [part] if ["transactions", "history", "the object"].contains(&&*part.name));
        let transactions = self.parts.first().is_some_and(|part| whole && part.name == "transactions");
        let all = plural(operations, if transactions { "transaction" } else { "operation" });
        match (whole, violations, unknowns) {
            (true, 0, 0) => return writeln!(f, "{all}: {property}"),
            (true, 0, _) => writeln!(f, "{all}: unknown")?,
            (true, ..) => writeln!(f, "{all}: NOT {property}")?,
            (false, 0, 0) => return writeln!(f, "{all} on {}: {property}", plural(self.parts.len(), "key")),
            (false, ..) => {
                let not = format!("NOT {property} on {}", plural(violations, "key"));
                let open = format!("unknown for {}", plural(unknowns, "key"));
                let told = [(violations, not), (unknowns, open)].into_iter().filter(|&(n, _)| n > 0);
                let told: Vec<String> = told.map(|(_, text)| text).collect();
                writeln!(f, "{all} on {}: {}", plural(self.parts.len(), "key"), told.join(", "))?;
            }
        }
        for (key, why) in self.unknowns() {
            writeln!(f, "\n{}: unknown, {why}", if whole { key.to_owned() } else { format!("key {key}") })?;
        }
        for evidence in self.violations() {
            write!(f, "\n{evidence}")?;
        }
        Ok(())
    }
}

/// Decides every key of a key-value store's history.
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    check_as(Kind::Kv, history, options)
}

/// Decides every part of a history by one of the models. Operations that the model does not know are ignored, so reject
/// such a history first ([`Kind::accepts`]).
///
/// Every part first gets a small step budget, and undecided parts then get a larger one, so that one hard part does not
/// delay a simple violation in another.
#[must_use]
pub fn check_as(kind: Kind, history: &History, options: &Options) -> Report {
    Report { property: "linearizable", parts: rounds::decide(|| kind.judge(), history, options) }
}

/// Looks for evidence against the parts that [`check_as`] refuted with [`Options::evidence_steps`] 0, in the same
/// history by the same model.
pub fn explain_as(kind: Kind, history: &History, report: &mut Report, options: &Options) {
    rounds::explain(|| kind.judge(), history, &mut report.parts, options);
}

/// Decides a key-value history followed by a read of the final state, `last`: what each key holds at the end. Keys not
/// in `last` are not read. A key that is not in the history gets a verdict too.
#[must_use]
pub fn check_final(history: &History, last: &BTreeMap<String, Option<Version<String>>>, options: &Options) -> Report {
    let mut recorder = Recorder::continuing(history.clone());
    let time = (0..history.events()).map(|event| history.time(event)).max().unwrap_or(0);
    let process = history.operations().iter().map(|op| op.process).max().map_or(0, |last| last.saturating_add(1));
    for (key, seen) in last {
        let read = recorder.invoke(process, time, key, Call::Get);
        let seen = seen.as_ref().map(|v| Version { value: v.value.as_str(), revision: v.revision });
        recorder.ok(read, time, Reply::Got(seen));
    }
    check(&recorder.finish(), options)
}
