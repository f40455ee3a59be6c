//! Checks of properties weaker than linearizability, on the registers and keys of a store: sequential consistency, the
//! session guarantees, causal consistency, staleness, convergence, lost and phantom writes.
//!
//! [`trace`] determines which write each operation read from. [`graph`] finds cycles among the ordering constraints.
//! Each property has its own file for the rest:
//!
//! | property | file | procedure |
//! |---|---|---|
//! | read your writes, monotonic reads, monotonic writes, writes follow reads | [`guarantees`] | near-linear, exact |
//! | causal consistency, causal convergence | [`causal`] | O(n·k) for k sessions, exact |
//! | causal memory | [`memory`] | polynomial, with a budget |
//! | sequential consistency | [`sequential`] | saturation, then a search with a budget |
//! | Δ-atomicity, k-atomicity | [`staleness`] | zones; bounds; a search with a budget |
//! | measures of staleness | [`figures`] | n·log n |
//! | lost writes, phantom writes, convergence | [`convergence`] | linear |
//!
//! The implications are: linearizable ⇒ sequential ⇒ causal memory and causal convergence ⇒ causal; and causal
//! convergence ⇒ each session guarantee, when no revisions are used.
//!
//! Equal values can make it uncertain which write an operation read. The checks first ignore what these operations
//! read: what is impossible without that information is impossible with it. Then they try all assignments, if there are
//! few. Otherwise the verdict is unknown.

pub mod causal;
mod closure;
pub mod convergence;
pub mod figures;
pub mod graph;
pub mod guarantees;
pub mod memory;
pub mod sequential;
mod show;
pub mod staleness;
pub mod trace;

use crate::history::{History, OpId};
use crate::linear::{PartReport, Report, Verdict};
use trace::{Choices, Trace};

pub use causal::{check_causal, check_causal_convergence};
pub use convergence::{check_convergence, check_lost_writes, check_phantom_writes};
pub use figures::{Figures, measure};
pub use guarantees::{Guarantee, check_guarantee, check_guarantees};
pub use memory::check_causal_memory;
pub use sequential::{check_sequential, sequential_witness};
pub use staleness::{Bound, Unit, bounds_of_k, smallest_delta, smallest_k};

/// Assumptions and limits of the checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Limit of steps of one check; a step takes some nanoseconds.
    pub steps: u64,
    /// Memory limit of one check, in bytes.
    pub memory: usize,
    /// Whether the revisions in replies give the order of a key's versions.
    pub revisions: bool,
    /// Whether a write that returned before another write of its key was called has the older version. True of stores
    /// that order writes by a leader or a true clock; not necessarily true of stores with logical clocks.
    pub real_time: bool,
    /// Nanoseconds after the last write of a key during which its readers need not agree yet.
    pub quiet: u64,
    /// Only reads called at this event or later are final reads; `None`: only `quiet` applies.
    pub final_from: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 1_000_000_000, memory: 1 << 30, revisions: true, real_time: false, quiet: 0, final_from: None }
    }
}

/// Maximum number of assignments of unsure sources to try.
const ASSIGNMENTS: usize = 4_096;

/// Returns a report with one part: the whole history.
fn whole(property: &'static str, history: &History, verdict: Verdict, by: &'static str, steps: u64) -> Report {
    let operations = history.operations().len();
    Report {
        property,
        parts: vec![PartReport {
            name: "history".to_owned(),
            operations,
            verdict,
            by,
            steps,
            counts: Vec::new(),
            figures: Vec::new(),
        }],
    }
}

/// Decides a property from the sure sources, then by trying all assignments of the unsure ones. `decide` must be
/// monotone: what is impossible stays impossible when accesses are added.
fn settle(history: &History, decide: &mut dyn FnMut(&Trace) -> (Verdict, u64)) -> (Verdict, u64) {
    let trace = Trace::new(history);
    let (verdict, mut steps) = decide(&trace);
    if trace.unsure.is_empty() || verdict != Verdict::Valid {
        return (verdict, steps);
    }
    let unknown = |steps| {
        let why = format!("equal values: for {} operations it is not sure which write they read", trace.unsure.len());
        (Verdict::Unknown(why), steps)
    };
    if trace.unsure.len() > 12 || history.operations().len() > 1_000 {
        return unknown(steps);
    }
    let options: Vec<(OpId, Vec<Option<OpId>>)> =
        trace.unsure.iter().map(|&op| (op, trace::candidates(history, op))).collect();
    let product = options.iter().try_fold(1usize, |n, (_, choices)| n.checked_mul(choices.len()));
    let Some(product) = product.filter(|&n| n <= ASSIGNMENTS) else { return unknown(steps) };
    let (mut refuted, mut undecided) = (None, false);
    for mut n in 0..product {
        let mut choices = Choices::new();
        for (op, of) in &options {
            choices.insert(*op, of[n % of.len()]);
            n /= of.len();
        }
        let (verdict, spent) = decide(&Trace::assuming(history, &choices));
        steps += spent;
        match verdict {
            Verdict::Valid => return (Verdict::Valid, steps),
            Verdict::Invalid(_) => refuted = Some(verdict),
            Verdict::Unknown(_) => undecided = true,
        }
    }
    match refuted {
        Some(Verdict::Invalid(mut evidence)) if !undecided => {
            evidence.explanation = format!(
                "No assignment of the operations that read values written more than once is possible ({product} were \
                 tried). With one of them: {}",
                evidence.explanation
            );
            (Verdict::Invalid(evidence), steps)
        }
        _ => unknown(steps),
    }
}
