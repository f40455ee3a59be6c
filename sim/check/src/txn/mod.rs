//! Transactions: which isolation levels a history rules out.
//!
//! Follows Adya, "Weak Consistency: A Generalized Theory" (1999), Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies
//! from Experimental Observations" (VLDB 2020), and Cerone and Gotsman, "Analysing Snapshot Isolation" (2016).
//!
//! Transactions read and write registers, or read and append to lists. From what they read it follows in which order the
//! versions of each key came (`append`, `register`), from that which transaction depends on which (`graph`). A cycle of
//! dependencies is an anomaly (`cycles`); others show without one, as a read of what was aborted.
//!
//! What a verdict says. *Not valid* is certain: the anomaly named is in the history. *Valid* of lists is exact for every
//! level but the snapshot isolations: the orders that the reads leave open can be chosen so that none of these levels is
//! violated. For the snapshot isolations, and for registers, it says what Elle's verdict says: there is no anomaly in the
//! dependencies that the replies show. [`PartReport::by`] says which. *Unknown*: the history is none of transactions, or
//! values were written more than once to a key, so that reads do not tell by whom.
//!
//! A transaction of unknown outcome counts from the moment that a committed one read what it wrote, else not at all: it may
//! never have happened.

mod append;
mod cycles;
mod explain;
mod found;
mod graph;
mod index;
mod levels;
mod register;
mod serial;

pub use found::{Anomaly, Count};
pub use levels::Isolation;
pub use serial::serial_order;

use crate::evidence::Evidence;
use crate::history::History;
use crate::linear::{PartReport, Report, Verdict};
use append::Lists;
use explain::Why;
use found::Found;
use graph::Builder;
use index::{Index, Use};
use register::Registers;
use std::fmt::Write;

/// What to assume, and what to spend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Assume that every register by itself is linearizable: real time then orders its versions.
    pub linearizable_keys: bool,
    /// Assume that every register by itself is sequentially consistent: each client sees its versions in order.
    pub sequential_keys: bool,
    /// How many examples of each anomaly to keep.
    pub examples: usize,
    /// Edges to look at for shorter cycles.
    pub steps: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { linearizable_keys: false, sequential_keys: false, examples: 4, steps: 50_000_000 }
    }
}

/// All that was found, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// Examples of each anomaly, worst first.
    pub anomalies: Vec<Anomaly>,
    /// How often each was found, worst first; of cycles: in how many separate tangles.
    pub counts: Vec<Count>,
    /// The levels that are ruled out.
    pub not: Vec<Isolation>,
    /// The levels that are not.
    pub may_be: Vec<Isolation>,
    /// What was assumed of the keys.
    pub assumed: Vec<&'static str>,
    /// Why reads do not tell everything, where they do not.
    pub unclear: Option<String>,
    /// Whether all keys are lists.
    lists: bool,
    /// Lists of which the order of several appends that no read saw is not known.
    partial: usize,
    /// Edges looked at.
    steps: u64,
}

/// Worst first: the order in which anomalies are told.
const SEVERITY: [&str; 27] = [
    "phantom value",
    "duplicate elements",
    "misordered appends",
    "incompatible order",
    "cyclic versions",
    "dirty update",
    "G1a",
    "G1b",
    "future read",
    "G0",
    "G1c",
    "internal",
    "lost update",
    "non-repeatable read",
    "G-single",
    "G-nonadjacent",
    "G2-item",
    "G0-process",
    "G1c-process",
    "G-single-process",
    "G-nonadjacent-process",
    "G2-item-process",
    "G0-realtime",
    "G1c-realtime",
    "G-single-realtime",
    "G-nonadjacent-realtime",
    "G2-item-realtime",
];

fn severity(name: &str) -> usize {
    SEVERITY.iter().position(|&other| other == name).unwrap_or(SEVERITY.len())
}

/// Finds the anomalies of a history of transactions.
///
/// # Errors
/// Why it is not one, or cannot be checked.
pub fn find(history: &History, options: &Options) -> Result<Findings, String> {
    let mut index = Index::new(history)?;
    let mut found = Found::new(options.examples);
    let operations = history.operations().len();
    let mut graph = Builder::new(operations, 6 * operations);
    let mut lists = Lists::new(&mut index, &mut found);
    let registers = Registers::new(&mut index, options, &mut graph, &mut found);
    lists.depend(&index, &mut graph, &mut found);
    graph.orders(history, |op| index.counts(op));
    let graph = graph.finish().ok_or("the history is too large: it has more than 2^29 dependencies")?;
    let why = Why { index: &index, lists: &lists, registers: &registers };
    let steps = cycles::find(&index, &why, &graph, options.steps, &mut found);
    let Found { mut anomalies, mut counts, .. } = found;
    anomalies.sort_by_key(|anomaly| (severity(anomaly.name), anomaly.ops.len()));
    counts.sort_by_key(|count| severity(count.name));
    let ruled_out = |level: Isolation| {
        anomalies.iter().any(|anomaly| anomaly.forbidden_by.iter().any(|&weakest| level.implies(weakest)))
    };
    let (not, may_be) = Isolation::ALL.into_iter().partition(|&level| ruled_out(level));
    let named = [(options.linearizable_keys, "linearizable keys"), (options.sequential_keys, "sequential keys")];
    Ok(Findings {
        not,
        may_be,
        assumed: named.into_iter().filter_map(|(on, name)| on.then_some(name)).collect(),
        lists: !index.uses.contains(&Use::Register),
        partial: lists.partial,
        unclear: index.unclear,
        anomalies,
        counts,
        steps,
    })
}

/// Decides whether a history has an isolation level.
#[must_use]
pub fn check(history: &History, isolation: Isolation, options: &Options) -> Report {
    let operations = history.operations().len();
    let part = |verdict, by, steps| {
        let part = PartReport { name: "transactions".to_owned(), operations, verdict, by, steps };
        Report { property: isolation.property(), parts: vec![part] }
    };
    match find(history, options) {
        Err(why) => part(Verdict::Unknown(why), "nothing: this is no history of transactions", 0),
        Ok(findings) => part(findings.verdict(isolation), findings.by(isolation), findings.steps),
    }
}

impl Findings {
    /// Whether the history has a level.
    #[must_use]
    pub fn verdict(&self, isolation: Isolation) -> Verdict {
        let forbidden = |anomaly: &&Anomaly| anomaly.forbidden_by.iter().any(|&weakest| isolation.implies(weakest));
        match (self.anomalies.iter().find(forbidden), &self.unclear) {
            (Some(anomaly), _) => Verdict::Invalid(Box::new(self.evidence(anomaly))),
            (None, Some(why)) => Verdict::Unknown(format!("{why}, so reads of it do not tell whom they read from")),
            (None, None) => Verdict::Valid,
        }
    }

    /// What a verdict on a level rests on.
    fn by(&self, isolation: Isolation) -> &'static str {
        let snapshots = isolation.implies(Isolation::SnapshotIsolation) && !isolation.implies(Isolation::Serializable);
        match (self.lists, snapshots && self.partial > 0, &self.assumed[..]) {
            (true, false, _) => "dependencies between transactions, from the order of appends that reads show: exact",
            (true, true, _) => {
                "dependencies between transactions that reads show; the order of some appends that no read saw is not known"
            }
            (false, _, []) => {
                "dependencies between transactions that replies show; the order of some writes is not known"
            }
            (false, _, [_, _]) => "dependencies that replies show, assuming linearizable and sequential keys",
            (false, _, ["linearizable keys"]) => "dependencies that replies show, assuming linearizable keys",
            (false, ..) => "dependencies that replies show, assuming sequential keys",
        }
    }

    fn evidence(&self, anomaly: &Anomaly) -> Evidence {
        let mut explanation = anomaly.explanation.clone();
        let list = |levels: &[Isolation]| levels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let counts: Vec<String> = self.counts.iter().map(|count| format!("{} × {}", count.times, count.name)).collect();
        let _ = write!(explanation, "\nFound in all: {}. ", counts.join(", "));
        if !self.assumed.is_empty() {
            let _ = write!(explanation, "Assumed: {}. ", self.assumed.join(", "));
        }
        let _ = match &self.strongest()[..] {
            [] => write!(explanation, "No isolation level remains."),
            levels => write!(explanation, "Still possible: {}.", list(levels)),
        };
        let mut core = anomaly.ops.clone();
        core.sort_unstable();
        core.dedup();
        Evidence {
            part: "transactions".to_owned(),
            anomaly: anomaly.name.to_owned(),
            breaks: None,
            event: None,
            core,
            given: Vec::new(),
            edges: anomaly.edges.clone(),
            minimal: anomaly.smallest,
            order: Vec::new(),
            explanation,
            diagram: anomaly.diagram.clone(),
        }
    }

    /// Whether all keys are lists and no order that matters is left open: then every verdict is exact.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.lists && self.partial == 0
    }

    /// The levels that are still possible and not implied by another that is.
    #[must_use]
    pub fn strongest(&self) -> Vec<Isolation> {
        let implied = |level: Isolation| self.may_be.iter().any(|&other| other != level && other.implies(level));
        self.may_be.iter().copied().filter(|&level| !implied(level)).collect()
    }
}
