//! `compare` and `sweep`: many runs, added up.
//!
//! A scenario that suits both databases runs in both under the same plan: first CP, then AP. In the AP run every fault
//! hits the servers that it hit in the CP run, because quorums have no leader. The two runs are one task, so that a
//! sweep that stops early never contains only one of them.

use super::run::{json, save, write};
use super::source::Source;
use super::{Common, Failure, at_least_one, jobs, reports};
use crate::mutants::Planted;
use crate::plan::{Plan, Target, What};
use crate::pool;
use crate::report::{self, Mode, Outcome, Progress, Report, RunInfo, RunRecord, Style, Verdict, write_folder};
use crate::run::{self, FaultTargets, Finished};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const COMPARE: &str = "\
Examples:
  cargo sim compare
  cargo sim compare scenarios/cp/swarm.toml --seeds 200 --out reports/swarm
  cargo sim compare --mode ap";

const SWEEP: &str = "\
Plans are replayed once each, whatever --seeds says. What did not pass is kept under reports/failures/.

Examples:
  cargo sim sweep scenarios --seeds 500 --jobs 2
  cargo sim sweep scenarios/cp/figure-8.toml --seeds 500 --until-failure --mutant commit-old-term
  cargo sim sweep scenarios/regress
  cargo sim sweep scenarios/cp/swarm.toml --from 501 --seeds 500 --json";

#[derive(Args)]
#[command(after_help = COMPARE)]
pub(super) struct Compare {
    /// Files or folders
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Seeds for each scenario
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    seeds: u64,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value = "reports/latest")]
    out: PathBuf,
    #[command(flatten)]
    sweep: Sweeping,
}

#[derive(Args)]
#[command(after_help = SWEEP)]
pub(super) struct Sweep {
    /// Files or folders
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Seeds for each scenario
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    seeds: u64,
    /// Stop at the first run in which a property fails
    #[arg(long)]
    until_failure: bool,
    #[command(flatten)]
    sweep: Sweeping,
}

#[derive(Args)]
struct Sweeping {
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Runs at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<u64>,
    /// In which databases, of those that a scenario suits
    #[arg(long, value_enum, default_value_t = Which::Both)]
    mode: Which,
    #[command(flatten)]
    common: Common,
}

/// What `--mode` takes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Cp,
    Ap,
    Both,
}

impl Which {
    fn takes(self, mode: Mode) -> bool {
        match self {
            Which::Cp => mode == Mode::Cp,
            Which::Ap => mode == Mode::Ap,
            Which::Both => true,
        }
    }
}

impl Compare {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = sweep(&self.paths, self.seeds, false, &self.sweep)?;
        write_folder(&self.out, &report).map_err(|e| e.to_string())?;
        finish(&report, self.sweep.common.json, Some(&self.out))
    }
}

impl Sweep {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = sweep(&self.paths, self.seeds, self.until_failure, &self.sweep)?;
        finish(&report, self.sweep.common.json, None)
    }
}

/// A run, and the plan that reproduces it.
type Made = (Arc<Plan>, Finished);

/// Runs one plan in every requested mode. With a planted bug, the CP run may have ended before all its faults. So the
/// AP run uses the fault targets of a CP run without the bug.
fn in_every_mode(plan: &Arc<Plan>, modes: &[Mode], mutant: Option<Planted>) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for &mode in modes {
        let met = match (mode, made.last()) {
            (Mode::Ap, Some((_, raft))) if mutant.is_none() => raft.met.clone(),
            _ => run::fault_targets(plan, mode),
        };
        let shown = if plan.aims_at_leaders() && !met.is_empty() { Arc::new(pinned(plan, &met)) } else { plan.clone() };
        made.push((shown, run::run(plan, run::Options { mutant, mode, met, ..run::Options::default() })));
    }
    made
}

/// Returns the plan with the actual targets of its faults, so that a saved failure can be reproduced without another
/// run.
fn pinned(plan: &Plan, met: &FaultTargets) -> Plan {
    let mut plan = plan.clone();
    for event in &mut plan.events {
        if let What::Begin { id, fault, .. } = &mut event.what
            && let Some(nodes) = met.get(id).filter(|nodes| !nodes.is_empty())
        {
            fault.target = Target::Nodes(nodes.clone());
        }
    }
    plan
}

/// The name under which a run that did not pass is saved: scenario, seed, `ap` if it was against quorums, and planted
/// bug.
fn kept_as(outcome: &Outcome) -> String {
    let mode = if outcome.mode == Mode::Ap { "-ap" } else { "" };
    let mutant = outcome.mutant.as_ref().map_or(String::new(), |name| format!("-{name}"));
    format!("{}-{}{mode}{mutant}", outcome.scenario, outcome.seed)
}

/// Saves what is needed to examine a run that did not pass.
fn keep((plan, finished): &Made) -> Result<(), String> {
    let (dir, name) = (reports().join("failures"), kept_as(&finished.record.outcome));
    write(&dir, &format!("{name}.plan"), plan.write().as_bytes())?;
    save(&dir.join(&name), finished)
}

/// Runs every source with every seed. Seeds are the outer loop, so that even a sweep that stops early covers all
/// scenarios.
fn sweep(paths: &[PathBuf], seeds: u64, until_failure: bool, how: &Sweeping) -> Result<Report, Failure> {
    let sources = Source::load_all(paths)?;
    let mut tasks: Vec<(&Source, Vec<Mode>, u64)> = Vec::new();
    for seed in how.from..how.from.saturating_add(seeds) {
        for source in sources.iter().filter(|s| !s.is_plan() || seed == how.from) {
            let modes: Vec<Mode> = source.modes().iter().copied().filter(|mode| how.mode.takes(*mode)).collect();
            if !modes.is_empty() {
                tasks.push((source, modes, seed));
            }
        }
    }
    if tasks.is_empty() {
        return Err(Failure::Input("nothing in there means anything in that --mode".to_owned()));
    }
    let total = tasks.iter().map(|(_, modes, _)| modes.len() as u64).sum();
    let mut progress = Progress::new(total, how.common.json);
    let mut records: Vec<(usize, RunRecord)> = Vec::new();
    let mut trouble = None;
    let start = Instant::now();
    let work = |n: usize| {
        let (source, modes, seed) = &tasks[n];
        in_every_mode(&source.plan(*seed), modes, how.common.mutant)
    };
    pool::each(tasks.len(), jobs(how.jobs), work, |n, made| {
        let mut failed = false;
        for run in made {
            let verdict = &run.1.record.outcome.verdict;
            progress.done(*verdict == Verdict::Pass);
            failed |= matches!(verdict, Verdict::Fail { .. });
            if *verdict != Verdict::Pass {
                trouble = trouble.take().or(keep(&run).err());
            }
            records.push((n, run.1.record));
        }
        !(failed && until_failure)
    });
    progress.finish();
    if let Some(message) = trouble {
        return Err(Failure::Input(message));
    }
    records.sort_by_key(|(n, _)| *n);
    if until_failure {
        // Runs after the first failure, made in parallel with it, are dropped. So the result does not depend on the
        // number of jobs.
        let failed = |(_, record): &(usize, RunRecord)| matches!(record.outcome.verdict, Verdict::Fail { .. });
        let last = records.iter().find(|run| failed(run)).map_or(usize::MAX, |(n, _)| *n);
        records.retain(|(n, _)| *n <= last);
    }
    let here = Path::new(".");
    let command: Vec<String> = std::env::args().skip(1).collect();
    Ok(Report {
        info: RunInfo {
            command: format!("cargo sim {}", command.join(" ")),
            commit: report::commit(here),
            toolchain: report::toolchain(here),
            date: today(),
            elapsed_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        },
        scenarios: sources.iter().map(Source::info).collect(),
        runs: records.into_iter().map(|(_, record)| record).collect(),
    })
}

/// Prints the table (or JSON) and, for the first failures, the evidence and the command to reproduce them.
fn finish(report: &Report, as_json: bool, written: Option<&Path>) -> Result<(), Failure> {
    let summary = report.summary();
    if as_json {
        say!("{}", json(&summary)?);
    } else {
        say!("{}", report::table(&summary, Style::of_stdout()).trim_end());
        if written.is_some() {
            say!("\n{}", report::legend().trim_end());
        }
        let failed = report.runs.iter().filter(|run| run.outcome.verdict != Verdict::Pass);
        for run in failed.take(3) {
            let o = &run.outcome;
            say!("\n{} in {} with seed {}: {:#}", o.scenario, o.mode, o.seed, Told(&o.verdict));
            let mode = if o.mode == Mode::Ap { " --mode ap" } else { "" };
            let mutant = o.mutant.as_ref().map_or(String::new(), |name| format!(" --mutant {name}"));
            say!("  again: cargo sim replay reports/failures/{}.plan{mode}{mutant}", kept_as(o));
        }
        if let Some(dir) = written {
            say!("\nreport: {}", dir.join("index.html").display());
        }
    }
    if report.runs.iter().all(|run| run.outcome.verdict == Verdict::Pass) { Ok(()) } else { Err(Failure::Property) }
}

struct Told<'a>(&'a Verdict);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Verdict::Pass => f.write_str("passed"),
            Verdict::Fail { property, detail } => write!(f, "{property} is broken\n{detail}"),
            Verdict::Inert { faults } => write!(f, "no effect of {}", faults.join(", ")),
            Verdict::Unknown { why } => write!(f, "undecided: {why}"),
        }
    }
}

/// The date in UTC, year-month-day (Howard Hinnant's civil-from-days).
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use seaworthy::types::NodeId;

    /// A plan with pinned faults can be read back and does not depend on another run.
    #[test]
    fn a_pinned_plan_needs_no_other_run() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/cp/leader-isolated.toml");
        let plan = Plan::expand(&Scenario::load(&file).unwrap(), 7);
        assert!(plan.aims_at_leaders());
        let begun = plan.events.iter().filter_map(|event| match &event.what {
            What::Begin { id, .. } => Some((*id, vec![NodeId(2), NodeId(1)])),
            _ => None,
        });
        let pinned = pinned(&plan, &begun.collect());
        assert!(!pinned.aims_at_leaders());
        assert_eq!(Plan::read("pinned", &pinned.write()).unwrap(), pinned);
        assert_eq!(pinned.events.len(), plan.events.len());
    }

    #[test]
    fn a_mode_is_taken_or_left() {
        let taken = |which: Which| [Mode::Cp, Mode::Ap].map(|mode| which.takes(mode));
        assert_eq!([Which::Cp, Which::Ap, Which::Both].map(taken), [[true, false], [false, true], [true, true]]);
    }
}
