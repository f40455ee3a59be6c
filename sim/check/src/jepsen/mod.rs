//! The analyses of Jepsen's own tests other than linearizability: they account for what went in and what came out.
//!
//! They follow `jepsen.checker` (total-queue, set-full), `jepsen.tests.bank` and `jepsen.tests.long-fork`, and use the
//! same names for their figures. Each key is judged separately, as `jepsen.independent` does. Each analysis documents
//! where its verdict differs from Jepsen's. Here *not valid* is certain, so anything that an operation of unknown
//! outcome can explain is not a violation.

mod bank;
mod long_fork;
mod set_full;
mod total_queue;

pub use bank::TRANSFER;

use crate::evidence::{self, Evidence};
use crate::history::{History, OpId, Value};
use crate::linear::{Amount, Count, Figure, Part, PartReport, Report, Verdict, parts};
use crate::model::Misfit;

/// An analysis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Analysis {
    /// Every element that was put into a queue and acknowledged comes out; nothing else does.
    TotalQueue,
    /// No element of a set is lost.
    SetFull,
    /// No element of a set is lost, and none is missing from a read that began after it was known to be present.
    SetFullLinearizable,
    /// The balances of every read of all accounts have the same sum.
    Bank,
    /// No two reads see two writes in opposite orders.
    LongFork,
}

/// The parameters of an analysis.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// The sum of all balances; `None`: that of the initial balances, else that of the first read.
    pub total: Option<i128>,
    /// The accounts; empty: those of the initial balances, else of the first read.
    pub accounts: Vec<String>,
    /// Whether balances may be negative.
    pub negative_balances: bool,
}

impl Analysis {
    /// All analyses.
    pub const ALL: [Analysis; 5] =
        [Analysis::TotalQueue, Analysis::SetFull, Analysis::SetFullLinearizable, Analysis::Bank, Analysis::LongFork];

    /// Returns the analysis's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Analysis::TotalQueue => "total-queue",
            Analysis::SetFull => "set-full",
            Analysis::SetFullLinearizable => "set-full-linearizable",
            Analysis::Bank => "bank",
            Analysis::LongFork => "long-fork",
        }
    }

    /// Returns the analysis with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Analysis> {
        Analysis::ALL.into_iter().find(|analysis| analysis.name() == name)
    }

    /// Returns the property in the form that follows "is" or "is not".
    fn property(self) -> &'static str {
        match self {
            Analysis::TotalQueue => "a total queue",
            Analysis::SetFull => "a full set",
            Analysis::SetFullLinearizable => "a full set without stale reads",
            Analysis::Bank => "a bank of one total",
            Analysis::LongFork => "free of long forks",
        }
    }

    /// Judges a history.
    ///
    /// # Errors
    /// Returns the first operation that the analysis cannot interpret.
    pub fn check(self, history: &History, terms: &Terms) -> Result<Report, Misfit> {
        let each = |judge: &dyn Fn(Part<'_>) -> Result<Judged, Misfit>| -> Result<Vec<PartReport>, Misfit> {
            parts(history).iter().map(|part| Ok(judge(part)?.report(history, part))).collect()
        };
        let parts = match self {
            Analysis::TotalQueue => each(&|part| total_queue::judge(history, part)),
            Analysis::SetFull => each(&|part| set_full::judge(history, part, false)),
            Analysis::SetFullLinearizable => each(&|part| set_full::judge(history, part, true)),
            Analysis::Bank => each(&|part| bank::judge(history, part, terms)),
            Analysis::LongFork => long_fork::judge(history).map(|part| vec![part]),
        };
        Ok(Report { property: self.property(), parts: parts? })
    }
}

/// The reason of an unknown verdict that says nothing against the history: there was too little to judge.
pub const NOTHING: &str = "nothing to judge";

/// The result for one part.
struct Judged {
    verdict: Verdict,
    by: &'static str,
    counts: Vec<Count>,
    figures: Vec<Figure>,
}

impl Judged {
    fn report(self, history: &History, part: Part<'_>) -> PartReport {
        let Judged { verdict, by, counts, figures } = self;
        let (name, operations) = (history.key(part.key).into_owned(), part.ops.len());
        PartReport { name, operations, verdict, by, steps: operations as u64, counts, figures }
    }
}

/// Returns the counts that are not zero.
fn counts(all: &[(&'static str, u64)]) -> Vec<Count> {
    all.iter().filter(|(_, times)| *times > 0).map(|&(name, times)| Count { name, times }).collect()
}

fn figure(name: &'static str, count: u64) -> Figure {
    Figure { name, amount: Amount::Count(count) }
}

/// A figure of elements as displayed, in order; numbers are sorted by size.
fn elements(history: &History, name: &'static str, mut values: Vec<Value>) -> Figure {
    values.sort_unstable_by_key(|&value| (value.as_small().is_none(), value));
    Figure { name, amount: Amount::Elements(values.into_iter().map(|value| history.show(value)).collect()) }
}

/// Returns a verdict with evidence from a few operations. `breaks` is the one whose answer is wrong, if there is one.
fn evidence(
    history: &History,
    part: &str,
    anomaly: &str,
    (mut core, breaks): (Vec<OpId>, Option<OpId>),
    explanation: String,
) -> Verdict {
    core.sort_unstable();
    core.dedup();
    let diagram = evidence::diagram(history, breaks, &core);
    Verdict::Invalid(Box::new(Evidence::of_clash((part, anomaly), (core, breaks), diagram, explanation)))
}

/// Returns where an operation was called, for errors and unknown verdicts.
fn place(history: &History, op: OpId) -> String {
    let called = history.operation(op).called;
    history.line(called).map_or(format!("event {called}"), |line| format!("line {line}"))
}
