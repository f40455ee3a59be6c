//! Transactions: which isolation levels a history rules out.
//!
//! Follows Adya, "Weak Consistency: A Generalized Theory" (1999), Kingsbury and Alvaro, "Elle: Inferring Isolation
//! Anomalies from Experimental Observations" (VLDB 2020), and Cerone and Gotsman, "Analysing Snapshot Isolation"
//! (2016).
//!
//! Transactions read and write registers, or read and append to lists. Their reads imply the order of each key's
//! versions (`append`, `register`), and this order implies which transaction depends on which (`graph`). A cycle of
//! dependencies is an anomaly (`cycles`). Other anomalies show without a cycle, such as a read of an aborted write.
//!
//! The meaning of a verdict: *Not valid* is certain: the named anomaly is in the history. *Valid* for lists is exact
//! for read uncommitted, read committed, repeatable read and the serializability levels: the orders that the reads
//! leave open can be chosen so that none of these levels is violated. For the levels of atomic visibility and snapshots
//! it is exact if every append was read. Otherwise it means the same as Elle's verdict: the dependencies that the
//! replies show contain no anomaly. [`PartReport::by`] says which of the two applies.
//!
//! For registers, the replies seldom show the order of writes. *Valid* then means that an order of all transactions was
//! found that explains every reply (`serial`); the search for it comes after the search for anomalies. *Unknown* means
//! that no such order and no anomaly was found, or that the history does not consist of transactions. If values were
//! written more than once to a key, reads of them do not show which write they read from. For registers, the checker
//! then searches for an order within real time (`repeated`). This decides strict serializability, and if there is such
//! an order, all other levels.
//!
//! A transaction of unknown outcome counts if a committed transaction read one of its writes. Otherwise it does not
//! count: it may never have happened.

mod append;
mod atomic;
mod cycles;
mod explain;
mod found;
mod graph;
mod index;
mod levels;
mod register;
mod repeated;
mod serial;

pub use found::Anomaly;
pub use levels::Isolation;
pub use serial::serial_order;

use crate::evidence::Evidence;
use crate::history::History;
use crate::linear::{Count, Limits, PartReport, Report, Verdict};
use append::Lists;
use explain::Why;
use found::Found;
use graph::Builder;
use index::{Index, Use};
use register::Registers;
use std::fmt::Write;

/// Assumptions and limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Assume that each register by itself is linearizable: real time then orders its versions.
    pub linearizable_keys: bool,
    /// Assume that each register by itself is sequentially consistent: each client sees its versions in order.
    pub sequential_keys: bool,
    /// How many examples of each anomaly to keep.
    pub examples: usize,
    /// Limit of edges examined in the search for shorter cycles. The search for an order of all transactions (`serial`)
    /// has the same limit in steps, but at most two million.
    pub steps: u64,
    /// Memory limit of a search for such an order, in bytes.
    pub memory: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { linearizable_keys: false, sequential_keys: false, examples: 4, steps: 50_000_000, memory: 256 << 20 }
    }
}

/// Everything that was found, for human readers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// Examples of each anomaly, worst first.
    pub anomalies: Vec<Anomaly>,
    /// How often each anomaly was found, worst first. For cycles: in how many separate components of the graph.
    pub counts: Vec<Count>,
    /// The levels that are ruled out.
    pub not: Vec<Isolation>,
    /// The levels that are not ruled out.
    pub may_be: Vec<Isolation>,
    /// The assumptions about keys.
    pub assumed: Vec<&'static str>,
    /// Why reads do not always show which write they read from; `None` if they do.
    pub unclear: Option<String>,
    /// Whether all keys are lists.
    lists: bool,
    /// The number of lists with appends by several transactions that no read saw; the order of these is not known.
    partial: usize,
    /// The names of the registers whose order of writes is not known.
    loose: Vec<String>,
    /// The strongest serializability level for which an order of all transactions was found.
    ordered: Option<Isolation>,
    /// Whether a cycle with exactly one anti-dependency may have been missed.
    missed: bool,
    /// Edges examined, and steps of the search in `repeated`.
    steps: u64,
}

/// Anomaly names, worst first: the order in which anomalies are reported.
const SEVERITY: [&str; 32] = [
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
    "fractured read",
    "lost update",
    "G-cursor",
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
    "no serial order",
    "no serial order-process",
    "no serial order-realtime",
];

fn severity(name: &str) -> usize {
    SEVERITY.iter().position(|&other| other == name).unwrap_or(SEVERITY.len())
}

/// Finds the anomalies of a history of transactions.
///
/// # Errors
/// Why the history does not consist of transactions, or cannot be checked.
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
    atomic::find(&index, &lists, &registers, &mut found);
    let (mut steps, missed) = cycles::find(&index, &why, &graph, options.steps, &mut found);
    let loose = registers.loose(&index);
    let ordered = if repeated::fits(&index) && !found.rules_out(Isolation::StrictSerializable) {
        let (ordered, spent) = repeated::order(&index, Limits::new(options.steps, options.memory), &mut found);
        steps += spent;
        ordered
    } else if loose.is_empty() {
        None
    } else {
        order(&index, &graph, options.steps, &mut found)
    };
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
        loose: loose.iter().map(|&key| history.key(key).into_owned()).collect(),
        ordered,
        missed,
        unclear: index.unclear,
        anomalies,
        counts,
        steps,
    })
}

/// Searches for an order of all transactions, for the strongest serializability level that nothing rules out. Reports
/// each level for which there is no order.
fn order(index: &Index<'_>, graph: &graph::Graph, steps: u64, found: &mut Found) -> Option<Isolation> {
    if index.unclear.is_some() {
        return None;
    }
    let levels = [
        (Isolation::StrictSerializable, "no serial order-realtime", " within real time"),
        (Isolation::StrongSessionSerializable, "no serial order-process", " that keeps each client's own"),
        (Isolation::Serializable, "no serial order", ""),
    ];
    for ((level, name, of), order) in levels.into_iter().zip([2, 1, 0]) {
        if found.rules_out(level) {
            continue;
        }
        match serial::search(index, graph, order, steps.min(serial::LOOKS)) {
            serial::Search::Order(_) => return Some(level),
            serial::Search::Ended => {}
            serial::Search::Impossible => {
                let ops: Vec<u32> = (0..index.fates.len() as u32).filter(|&op| index.counts(op)).collect();
                found.add_told(index, name, (&ops, false), levels::weakest(name), |_| {
                    format!("no order of the {} transactions{of} explains what they read; all were tried", ops.len())
                });
            }
        }
    }
    None
}

/// Decides whether a history has an isolation level.
#[must_use]
pub fn check(history: &History, isolation: Isolation, options: &Options) -> Report {
    let part = match find(history, options) {
        Err(why) => (Verdict::Unknown(why), "nothing: this is no history of transactions", 0, Vec::new()),
        Ok(found) => (found.verdict(isolation), found.by(isolation), found.steps, found.counts),
    };
    let (verdict, by, steps, counts) = part;
    let (name, operations) = ("transactions".to_owned(), history.operations().len());
    Report {
        property: isolation.property(),
        parts: vec![PartReport { name, operations, verdict, by, steps, counts, figures: Vec::new() }],
    }
}

impl Findings {
    /// Returns the verdict on whether the history has a level.
    #[must_use]
    pub fn verdict(&self, isolation: Isolation) -> Verdict {
        let forbidden = |anomaly: &&Anomaly| anomaly.forbidden_by.iter().any(|&weakest| isolation.implies(weakest));
        if let Some(anomaly) = self.anomalies.iter().find(forbidden) {
            return Verdict::Invalid(Box::new(self.evidence(anomaly)));
        }
        if self.ordered.is_some_and(|level| level.implies(isolation)) {
            return Verdict::Valid;
        }
        if let Some(why) = &self.unclear {
            return Verdict::Unknown(format!("{why}, so reads of it do not tell whom they read from"));
        }
        if !self.loose.is_empty() && !isolation.needs_no_order() {
            let (keys, more) =
                (self.loose.iter().take(3).cloned().collect::<Vec<_>>().join(", "), self.loose.len() > 3);
            let more = if more { ", …" } else { "" };
            return Verdict::Unknown(format!(
                "what the replies show is consistent, but they leave the order of writes to {keys}{more} open, and within \
                 the limit of steps no order of all transactions was found that explains every reply, nor that there is none"
            ));
        }
        if self.missed && isolation.implies(Isolation::ParallelSnapshotIsolation) && !isolation.is_ordinary() {
            return Verdict::Unknown("the limit of steps ended the search for a G-single".to_owned());
        }
        Verdict::Valid
    }

    /// Returns what a verdict on a level is based on.
    fn by(&self, isolation: Isolation) -> &'static str {
        let open = !isolation.is_ordinary() && self.partial > 0;
        if self.ordered.is_some_and(|level| level.implies(isolation)) {
            return match self.assumed[..] {
                [] => "an order of all transactions that explains every reply: exact",
                _ => "an order of all transactions that explains every reply and fits what is assumed of keys",
            };
        }
        if self.unclear.is_some() && isolation == Isolation::StrictSerializable {
            return "a search for an order of all transactions within real time: exact where it ends";
        }
        match (self.lists, open, &self.assumed[..]) {
            (true, false, _) => "dependencies between transactions, from the order of appends that reads show: exact",
            (true, true, _) => {
                "dependencies between transactions that reads show; the order of some appends that no read saw is not known"
            }
            (false, _, []) if self.loose.is_empty() || isolation.needs_no_order() => {
                "dependencies between transactions that reads show: exact"
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

    /// Whether all keys are lists and no order that matters is left open. Then every verdict is exact.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.lists && self.partial == 0
    }

    /// Returns the levels that are still possible and not implied by another possible level.
    #[must_use]
    pub fn strongest(&self) -> Vec<Isolation> {
        let implied = |level: Isolation| self.may_be.iter().any(|&other| other != level && other.implies(level));
        self.may_be.iter().copied().filter(|&level| !implied(level)).collect()
    }
}
