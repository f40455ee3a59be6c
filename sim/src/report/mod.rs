//! Reports: what recorded runs add up to, and how it is shown.
//!
//! A report reads [`RunRecord`]s only. It never looks into a cluster, a history or a server's code, so whatever it says
//! can be said again later from `report.json` alone. The path is a straight line of pure functions:
//!
//! ```text
//! RunRecord… ─► Summary::of ─► table (terminal), markdown, to_json (--json)
//!           └─► Report ─► page (HTML) ─► write_folder (report.json, index.html, table.md)
//! ```
//!
//! - [`record`]: what one run leaves behind; the part that must repeat is kept apart from the wall clock.
//! - [`histogram`]: latencies with a bounded relative error, mergeable.
//! - [`summary`]: runs added up by scenario, planted bug and mode. `cells`: what one line of it says, and the legend.
//! - [`mod@table`]: the lines as aligned text and as markdown. `matrix`: the lines with bars, for the page.
//! - [`page`]: one self-contained HTML file. [`folder`]: that, the runs and the markdown, written
//!   atomically.
//! - [`progress`]: the bar shown while runs are made. [`origin`]: commit and toolchain.
//!
//! Invariant: a sum is only ever made of counts, never of fractions or percentiles, so adding runs up in another order
//! or in parts gives the same summary.
//!
//! What it does not do: judge. Verdicts come from the checkers; a summary counts them.

mod cells;
pub mod folder;
pub mod histogram;
mod matrix;
pub mod origin;
pub mod page;
pub mod progress;
pub mod record;
pub mod summary;
pub mod table;

#[cfg(test)]
mod fixture;

pub use folder::{Report, RunInfo, ScenarioInfo, write_folder};
pub use histogram::Histogram;
pub use origin::{Commit, commit, toolchain};
pub use progress::Progress;
pub use record::{
    ApCounts, Availability, FaultTally, GUARANTEES, Mode, Ops, Outcome, RunRecord, Share, Staleness, TraceHash, Verdict,
};
pub use summary::{Decided, Group, ModeSummary, Summary, Verdicts};
pub use table::{Style, legend, markdown, table};
