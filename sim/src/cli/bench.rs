//! `bench`: how fast simulated time passes, on one core, with everything enabled that a sweep enables.
//!
//! Each row is a whole run: real frames, disk model, oracle, history and verdict included. The fastest of `--repeat`
//! runs counts. The load is shown in the row. Clients of quorums read a key before they write it, so one operation of
//! theirs is two of the database's: 62 and 625 operations a second are about 100 and 1,000 requests.

use super::run::json;
use super::{Failure, at_least_one};
use crate::plan::Plan;
use crate::report::{Mode, Verdict};
use crate::run;
use crate::scenario::Scenario;
use clap::Args;
use serde::Serialize;
use std::sync::Arc;

#[derive(Args)]
#[command(after_help = "Example:\n  cargo sim bench --repeat 20 --json")]
pub(super) struct Bench {
    /// Runs of each row; the fastest counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    repeat: u64,
    /// Only the rows whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// One load and its goal, in simulated seconds per second or runs per second.
struct Load {
    name: &'static str,
    mode: Mode,
    nodes: u32,
    groups: u32,
    seconds: u64,
    rate: u64,
    clients: u32,
    goal: f64,
    per_run: bool,
}

// No goal: for comparison only.
const NO_GOAL: f64 = 0.0;

const CP: Load = Load {
    name: "",
    mode: Mode::Cp,
    nodes: 5,
    groups: 1,
    seconds: 600,
    rate: 1,
    clients: 1,
    goal: NO_GOAL,
    per_run: false,
};
const AP: Load = Load { mode: Mode::Ap, ..CP };

const LOADS: [Load; 9] = [
    Load { name: "idle (1 op/s)", goal: 2000.0, ..CP },
    Load { name: "100 op/s", seconds: 120, rate: 100, clients: 20, goal: 300.0, ..CP },
    Load { name: "1,000 op/s", seconds: 60, rate: 1000, clients: 100, goal: 60.0, ..CP },
    Load { name: "seeds: 30 s, 50 op/s", nodes: 3, seconds: 30, rate: 50, clients: 5, goal: 50.0, per_run: true, ..CP },
    Load { name: "1,000 idle Raft groups", groups: 1000, seconds: 600, goal: 100.0, ..CP },
    Load { name: "quorums, 100 requests/s", seconds: 120, rate: 62, clients: 20, goal: 300.0, ..AP },
    Load { name: "quorums, 1,000 requests/s", seconds: 60, rate: 625, clients: 100, goal: 60.0, ..AP },
    Load { name: "quorums, 100 op/s", seconds: 120, rate: 100, clients: 20, goal: NO_GOAL, ..AP },
    Load { name: "quorums, 1,000 op/s", seconds: 60, rate: 1000, clients: 100, goal: NO_GOAL, ..AP },
];

#[derive(Serialize)]
struct Row {
    load: &'static str,
    nodes: u32,
    simulated_s: f64,
    operations: u64,
    requests: u64,
    events: u64,
    wall_ms: f64,
    speed: f64,
    unit: &'static str,
    goal: f64,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for load in LOADS.iter().filter(|load| load.name.contains(&self.only)) {
            rows.push(measure(load, self.repeat)?);
        }
        if rows.is_empty() {
            return Err(Failure::Input(format!("no row's name contains `{}`", self.only)));
        }
        if self.json {
            say!("{}", json(&rows)?);
            return Ok(());
        }
        say!("one core, everything on; fastest of {} runs", self.repeat);
        say!(
            "{:<25} {:>5} {:>11} {:>10} {:>8} {:>10} {:>9} {:>10}  {:<13} {:>6}",
            "load",
            "nodes",
            "simulated",
            "operations",
            "requests",
            "events",
            "wall",
            "speed",
            "",
            "goal"
        );
        for row in rows {
            say!(
                "{:<25} {:>5} {:>9.0} s {:>10} {:>8} {:>10} {:>6.0} ms {:>10.0}  {:<13} {:>6}",
                row.load,
                row.nodes,
                row.simulated_s,
                row.operations,
                row.requests,
                row.events,
                row.wall_ms,
                row.speed,
                row.unit,
                if row.goal > NO_GOAL { format!("{:.0}", row.goal) } else { "–".to_owned() }
            );
        }
        say!(
            "quorums: a write reads its key first, so that it is two requests; groups: elected within the time measured"
        );
        Ok(())
    }
}

fn measure(load: &Load, repeat: u64) -> Result<Row, Failure> {
    let text = format!(
        "name = \"bench\"\ndescription = \"fair weather\"\n[cluster]\nnodes = {}\ngroups = {}\nsnapshot_entries = 10000\n[workload]\nclients = {}\nrate = {}\nkeys = {}\n\
         [time]\nwarmup = \"1s\"\nstorm = \"{}s\"\ncalm = \"8s\"\n[expect]\nmin_ok = 1\n",
        load.nodes,
        load.groups,
        load.clients,
        load.rate,
        load.rate.clamp(10, 100),
        load.seconds.saturating_sub(9)
    );
    let scenario = Scenario::parse("bench", &text).map_err(|e| e.to_string())?;
    let reads = |op: &&seaworthy_check::Operation| op.f == seaworthy_check::Function::Read;
    let mut best: Option<Row> = None;
    for seed in 1..=repeat {
        let plan = Arc::new(Plan::expand(&scenario, seed));
        let finished = run::run(&plan, run::Options { mode: load.mode, ..run::Options::default() });
        let outcome = &finished.record.outcome;
        if outcome.verdict != Verdict::Pass {
            return Err(Failure::Input(format!("the run with seed {seed} did not pass: {:?}", outcome.verdict)));
        }
        let wall = finished.record.wall_ns as f64 / 1e9;
        let simulated = outcome.sim_ns as f64 / 1e9;
        let (speed, unit) = if load.per_run { (1.0 / wall, "runs a second") } else { (simulated / wall, "s a second") };
        if best.as_ref().is_none_or(|b| speed > b.speed) {
            best = Some(Row {
                load: load.name,
                nodes: load.nodes,
                simulated_s: simulated,
                operations: outcome.ops.total(),
                requests: match load.mode {
                    Mode::Cp => outcome.ops.total(),
                    Mode::Ap => {
                        2 * outcome.ops.total() - finished.history.operations().iter().filter(reads).count() as u64
                    }
                },
                events: outcome.events,
                wall_ms: wall * 1e3,
                speed,
                unit,
                goal: load.goal,
            });
        }
    }
    best.ok_or_else(|| Failure::Input("--repeat must be at least 1".to_owned()))
}
