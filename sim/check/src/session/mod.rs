//! Properties weaker than linearizability, of registers and keys of a store: sequential consistency, the session guarantees,
//! causal consistency, staleness, convergence, lost and phantom writes.
//!
//! [`trace`] tells which write each operation read from; [`graph`] finds cycles among what must be before what. What is
//! asked beyond that is the business of each property's own file:
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
//! They imply each other as follows: linearizable ⇒ sequential ⇒ causal memory and causal convergence ⇒ causal; and causal
//! convergence ⇒ each session guarantee, when no revisions are used.
//!
//! Where equal values make it unsure which write was read, the operations in doubt are left out first: what is impossible
//! without them is impossible with them. Then all assignments are tried, if they are few. Otherwise the verdict is unknown.

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

/// What the checks may assume and spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Steps of one check; a step takes some nanoseconds.
    pub steps: u64,
    /// Bytes for what one check remembers.
    pub memory: usize,
    /// Whether the revisions that replies tell are the order of the versions of a key.
    pub revisions: bool,
    /// Whether a write that had returned when another of its key was called is the older version. True of stores that
    /// order writes by a leader or a true clock; a store with logical clocks need not.
    pub real_time: bool,
    /// Nanoseconds after the last write of a key during which its readers need not agree yet.
    pub quiet: u64,
    /// Only reads called at this event or later are final reads; `None`: see `quiet`.
    pub final_from: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 1_000_000_000, memory: 1 << 30, revisions: true, real_time: false, quiet: 0, final_from: None }
    }
}

/// Assignments of unsure sources that are tried.
const ASSIGNMENTS: usize = 4_096;

/// A report of one part: the whole history.
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

/// Decides a property by the sources that are sure, and by trying all assignments of the others. `decide` must be monotone:
/// what is impossible stays so when accesses are added.
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
