//! Reports: summaries of recorded runs, and their presentation.
//!
//! A report reads only [`RunRecord`]s, never a cluster, a history or a server's code. So it can be generated again
//! later from `report.json` alone. It is a straight pipeline of pure functions:
//!
//! ```text
//! RunRecord… ─► Summary::of ─► table (terminal), markdown, to_json (--json)
//!           └─► Report ─► page (HTML) ─► write_folder (report.json, index.html, table.md)
//! ```
//!
//! - [`record`]: the record of one run. The reproducible part is separate from the wall-clock time.
//! - [`histogram`]: latencies with a bounded relative error, mergeable.
//! - [`summary`]: runs added up by scenario, planted bug and mode. `cells`: the cells of one line of it, and the
//!   legend.
//! - [`mod@table`]: the lines as aligned text and as markdown. `matrix`: the lines with bars, for the page.
//! - [`page`]: one self-contained HTML file. [`folder`]: writes it, the runs and the markdown, atomically.
//! - [`progress`]: the progress bar during runs. [`origin`]: commit and toolchain.
//!
//! Invariant: only counts are added up, never fractions or percentiles. So adding up runs in a different order or in
//! parts gives the same summary.
//!
//! A report does not judge. Verdicts come from the checkers; a summary counts them.

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

pub use crate::settings::Mode;
pub use folder::{Report, RunInfo, ScenarioInfo, write_folder};
pub use histogram::Histogram;
pub use origin::{Commit, commit, toolchain};
pub use progress::Progress;
pub use record::{
    ApCounts, Availability, FaultTally, GUARANTEES, Ops, Outcome, RunRecord, Share, Staleness, TraceHash, Verdict,
};
pub use summary::{Decided, Group, ModeSummary, Summary, Verdicts};
pub use table::{Style, legend, markdown, table};
