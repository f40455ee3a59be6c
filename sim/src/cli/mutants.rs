//! `mutants`: hunts every planted bug with the scenario made for it. Reports the broken property, the time until it was
//! found, and whether the same run passes without the bug.

use super::run::{json, write};
use super::{Failure, at_least_one, bug, jobs, reports};
use crate::mutants::{Found, MADE_FOR, MadeFor, Planted, SEEDS};
use crate::plan::Plan;
use crate::report::{self, Progress, Verdict};
use crate::scenario::Scenario;
use clap::Args;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MUTANTS: &str = "\
Writes table.md and mutants.json. A bug counts as found when a seed of its scenario breaks a property that the bug should
break, and the same plan passes without the bug.

Examples:
  cargo sim mutants
  cargo sim mutants stale-read vote-twice --json
  cargo sim mutants --seeds 50 --out target/mutants";

#[derive(Args)]
#[command(after_help = MUTANTS)]
pub(super) struct Mutants {
    /// Bugs to hunt [default: all]
    #[arg(value_parser = bug)]
    bugs: Vec<Planted>,
    /// Seeds of its scenario that a bug may need
    #[arg(long, value_name = "N", default_value_t = SEEDS as u64, value_parser = at_least_one)]
    seeds: u64,
    /// Runs at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<u64>,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value_os_t = reports().join("mutants"))]
    out: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// The result of one hunt.
#[derive(Serialize)]
struct Row {
    bug: &'static str,
    what: &'static str,
    scenario: &'static str,
    mode: String,
    /// The property broken, the lowest failing seed, and the seconds until it was found; `None` if no seed failed.
    property: Option<String>,
    seed: Option<u64>,
    seconds: Option<f64>,
    /// Why the bug does not count as found.
    problem: Option<String>,
}

#[derive(Serialize)]
struct Table {
    commit: String,
    command: String,
    seeds: u64,
    jobs: usize,
    rows: Vec<Row>,
}

impl Mutants {
    pub(super) fn run(self) -> Result<(), Failure> {
        let chosen: Vec<&MadeFor> =
            MADE_FOR.iter().filter(|made| self.bugs.is_empty() || self.bugs.contains(&made.bug)).collect();
        let jobs = jobs(self.jobs);
        let mut progress = Progress::new(chosen.len() as u64, self.json);
        let mut rows = Vec::new();
        for made in chosen {
            let row = hunt(made, self.seeds, jobs)?;
            progress.done(row.problem.is_none());
            rows.push(row);
        }
        progress.finish();
        let command: Vec<String> = std::env::args().skip(1).collect();
        let table = Table {
            commit: report::commit(Path::new(".")).to_string(),
            command: format!("cargo sim {}", command.join(" ")),
            seeds: self.seeds,
            jobs,
            rows,
        };
        let (text, as_json) = (markdown(&table), json(&table)?);
        write(&self.out, "table.md", text.as_bytes())?;
        write(&self.out, "mutants.json", as_json.as_bytes())?;
        say!("{}", if self.json { &as_json } else { &text }.trim_end());
        if table.rows.iter().all(|row| row.problem.is_none()) { Ok(()) } else { Err(Failure::Property) }
    }
}

fn hunt(made: &MadeFor, seeds: u64, jobs: usize) -> Result<Row, Failure> {
    let scenario = Scenario::load(&made.file(Path::new("scenarios"))).map_err(|problem| problem.to_string())?;
    let found = made.hunt(&scenario, usize::try_from(seeds).unwrap_or(usize::MAX), jobs);
    let problem = match &found {
        None => Some(format!("not found within {seeds} seeds")),
        Some(found) if !made.explains(&found.property) => Some("breaks what it should not".to_owned()),
        Some(Found { seed, .. }) => {
            let plan = Arc::new(Plan::expand(&scenario, *seed));
            let verdict = made.verdict(&plan, false);
            (verdict != Verdict::Pass).then(|| format!("seed {seed} does not pass without the bug"))
        }
    };
    Ok(Row {
        bug: made.bug.name(),
        what: made.bug.what(),
        scenario: made.scenario,
        mode: made.mode.to_string(),
        property: found.as_ref().map(|found| found.property.clone()),
        seed: found.as_ref().map(|found| found.seed),
        seconds: found.as_ref().map(|found| found.took.as_secs_f64()),
        problem,
    })
}

fn markdown(table: &Table) -> String {
    let found = table.rows.iter().filter(|row| row.problem.is_none()).count();
    let mut text = format!(
        "# Planted bugs\n\n{found} of {} found, each by the scenario made for it; the same plan passes without the bug. \
         `{}` at commit {}, at most {} seeds, {} runs at a time.\n\n",
        table.rows.len(),
        table.command,
        table.commit,
        table.seeds,
        table.jobs,
    );
    text += "| bug | what it does | scenario | broken property | first failing seed | seconds |\n|---|---|---|---|---:|---:|\n";
    for row in &table.rows {
        let property = match (&row.property, &row.problem) {
            (Some(property), None) => property.clone(),
            (Some(property), Some(problem)) => format!("{property} (**{problem}**)"),
            (None, problem) => format!("**{}**", problem.as_deref().unwrap_or_default()),
        };
        let seed = row.seed.map_or(String::new(), |seed| seed.to_string());
        let seconds = row.seconds.map_or(String::new(), |seconds| format!("{seconds:.1}"));
        let (bug, what, scenario, mode) = (row.bug, row.what, row.scenario, &row.mode);
        let _ = writeln!(text, "| `{bug}` | {what} | {scenario} ({mode}) | {property} | {seed} | {seconds} |");
    }
    text
}
