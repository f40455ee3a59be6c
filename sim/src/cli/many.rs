//! `compare` and `sweep`: many runs, added up.

use super::one::{json, save, write};
use super::source::Source;
use super::{Common, Failure, at_least_one, jobs, reports};
use crate::pool;
use crate::report::{self, Progress, Report, RunInfo, RunRecord, Style, Verdict, write_folder};
use crate::run;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const COMPARE: &str = "\
Examples:
  cargo sim compare
  cargo sim compare scenarios/cp/swarm.toml --seeds 200 --out reports/swarm";

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
    #[command(flatten)]
    common: Common,
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

/// Runs every source with every seed. Seeds are the outer loop, so that a sweep cut short has seen every scenario.
fn sweep(paths: &[PathBuf], seeds: u64, until_failure: bool, how: &Sweeping) -> Result<Report, Failure> {
    let sources = Source::load_all(paths)?;
    let mut tasks: Vec<(&Source, u64)> = Vec::new();
    for seed in how.from..how.from.saturating_add(seeds) {
        tasks.extend(sources.iter().filter(|s| !s.is_plan() || seed == how.from).map(|source| (source, seed)));
    }
    let mut progress = Progress::new(tasks.len() as u64, how.common.json);
    let mut records: Vec<(usize, RunRecord)> = Vec::new();
    let mut trouble = None;
    let start = Instant::now();
    let work = |n: usize| {
        let (source, seed) = tasks[n];
        let plan = source.plan(seed);
        let finished = run::run(&plan, run::Options { mutant: how.common.mutant, ..run::Options::default() });
        (plan, finished)
    };
    pool::each(tasks.len(), jobs(how.jobs), work, |n, (plan, finished)| {
        let verdict = &finished.record.outcome.verdict;
        progress.done(*verdict == Verdict::Pass);
        let failed = matches!(verdict, Verdict::Fail { .. });
        if *verdict != Verdict::Pass {
            let mutant = how.common.mutant.map_or(String::new(), |bug| format!("-{}", bug.name()));
            let name = format!("{}-{}{mutant}", plan.scenario, plan.seed);
            let dir = reports().join("failures");
            let saved = write(&dir, &format!("{name}.plan"), plan.write().as_bytes())
                .and_then(|()| save(&dir.join(&name), &finished));
            trouble = trouble.take().or(saved.err());
        }
        records.push((n, finished.record));
        !(failed && until_failure)
    });
    progress.finish();
    if let Some(message) = trouble {
        return Err(Failure::Input(message));
    }
    records.sort_by_key(|(n, _)| *n);
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

/// Prints the table (or JSON) and, for the first failures, the evidence and how to see it again.
fn finish(report: &Report, as_json: bool, written: Option<&Path>) -> Result<(), Failure> {
    let summary = report.summary();
    if as_json {
        say!("{}", json(&summary)?);
    } else {
        say!("{}", report::table(&summary, Style::of_stdout()).trim_end());
        let failed = report.runs.iter().filter(|run| run.outcome.verdict != Verdict::Pass);
        for run in failed.take(3) {
            let outcome = &run.outcome;
            let mutant = outcome.mutant.as_ref().map_or(String::new(), |name| format!("-{name}"));
            say!("\n{} with seed {}: {:#}", outcome.scenario, outcome.seed, Told(&outcome.verdict));
            say!(
                "  again: cargo sim replay reports/failures/{}-{}{mutant}.plan{}",
                outcome.scenario,
                outcome.seed,
                outcome.mutant.as_ref().map_or(String::new(), |name| format!(" --mutant {name}"))
            );
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
