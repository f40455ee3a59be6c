//! `run`, `replay`, `plan`, `list`: one run in detail, or none.

use super::source::{Source, What};
use super::{Common, Failure, mode, reports, why};
use crate::mutants::Planted;
use crate::plan::Plan;
use crate::report::{ApCounts, Mode, Outcome, Verdict};
use crate::run::{self, Finished};
use clap::Args;
use seaworthy_check::format::{export as edn, jsonl};
use seaworthy_check::replicas;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const RUN: &str = "\
Writes plan.plan, history.jsonl, history.edn, faults.jsonl and outcome.json, observed.jsonl of a run against quorums, and
trace.txt with --trace; history-cp.jsonl of a CP bucket beside the AP one. Against quorums, faults that aim at leaders meet the servers that they meet against Raft.

Examples:
  cargo sim run scenarios/cp/leader-isolated.toml --seed 7
  cargo sim run scenarios/cp/figure-8.toml --seed 1 --mutant commit-old-term
  cargo sim run scenarios/cp/swarm.toml --seed 7 --mode ap
  cargo sim run scenarios/ap/red-blue-purple.toml --why colour
  cargo sim run scenarios/cp/swarm.toml --seed 7 --trace --out /tmp/swarm-7";

const REPLAY: &str = "\
Examples:
  cargo sim replay reports/runs/leader-isolated-7/plan.plan
  cargo sim replay reports/failures/figure-8-1-commit-old-term.plan --mutant commit-old-term";

const PLAN: &str = "\
Examples:
  cargo sim plan scenarios/cp/leader-isolated.toml --seed 7
  cargo sim plan scenarios/cp/swarm.toml --seed 7 > mine.plan    then edit it and: cargo sim replay mine.plan";

const LIST: &str = "\
Examples:
  cargo sim list
  cargo sim list scenarios/regress --json";

#[derive(Args)]
#[command(after_help = RUN)]
pub(super) struct Run {
    /// Scenario (.toml) or plan (.plan)
    file: PathBuf,
    /// The seed everything random is drawn from (a plan has its own)
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
#[command(after_help = REPLAY)]
pub(super) struct Replay {
    /// Plan (.plan), as written with every run
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Output {
    /// Folder for plan, history and outcome [default: reports/runs/SCENARIO-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Against Raft (cp) or quorums (ap) [default: the scenario's own, cp if it suits both and nothing is to be told by
    /// --why]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    mode: Option<Mode>,
    /// Of a run against quorums: print how this key fared, what each server holds of it in the end, and
    /// what brought it there
    #[arg(long, value_name = "KEY", conflicts_with = "hash")]
    why: Option<String>,
    /// Write the full event trace too
    #[arg(long)]
    trace: bool,
    /// Print the trace hash only and write nothing
    #[arg(long, conflicts_with_all = ["out", "trace"])]
    hash: bool,
    #[command(flatten)]
    common: Common,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = Source::load(&self.file)?;
        one(&source.plan(self.seed), &self.output)
    }
}

impl Replay {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = Source::load(&self.file)?;
        let What::Plan(plan) = source.what else {
            let file = self.file.display();
            return Err(Failure::Input(format!("{file}: a scenario; use `cargo sim run {file} --seed N`")));
        };
        one(&plan, &self.output)
    }
}

fn one(plan: &Arc<Plan>, output: &Output) -> Result<(), Failure> {
    let modes = plan.bucket.mode.modes();
    // Only a run against quorums has a key timeline.
    let told = modes.iter().copied().find(|mode| output.why.is_some() && *mode == Mode::Ap);
    let mode = output.mode.or(told).unwrap_or(modes[0]);
    if !modes.contains(&mode) {
        return Err(Failure::Input(format!("{} means nothing under {mode}: it is {} only", plan.scenario, modes[0])));
    }
    if output.why.is_some() && mode != Mode::Ap {
        return Err(Failure::Input(
            "--why is for runs against quorums; use --mode ap, with a scenario that suits it".to_owned(),
        ));
    }
    let suffix = if mode == Mode::Ap { "-ap" } else { "" };
    let name = format!("{}-{}{suffix}", plan.scenario, plan.seed);
    let dir = output.out.clone().unwrap_or_else(|| reports().join("runs").join(name));
    let met = run::fault_targets(plan, mode);
    let mut options =
        run::Options { mutant: output.common.mutant, mode, met, watch: output.why.clone(), ..run::Options::default() };
    if !output.hash {
        write(&dir, "plan.plan", plan.write().as_bytes())?;
    }
    if output.trace {
        let file = File::create(dir.join("trace.txt")).map_err(|e| format!("{}: {e}", dir.display()))?;
        options.trace = Some(Box::new(BufWriter::new(file)));
    }
    let finished = run::run(plan, options);
    let outcome = &finished.record.outcome;
    if output.hash {
        say!("{}", outcome.trace_hash);
    } else {
        save(&dir, &finished)?;
        if output.common.json {
            say!("{}", json(&finished.record)?);
        } else {
            describe(plan, &finished, &dir);
        }
        if let Some(key) = &output.why {
            why::say(plan, &finished, key, output.common.json)?;
        }
    }
    if outcome.verdict == Verdict::Pass { Ok(()) } else { Err(Failure::Property) }
}

/// Writes the history and outcome of a run into `dir`.
pub(super) fn save(dir: &Path, finished: &Finished) -> Result<(), String> {
    let mut history = Vec::new();
    jsonl::write(&finished.history, &mut history).map_err(|e| e.to_string())?;
    write(dir, "history.jsonl", &history)?;
    let mut export = Vec::new();
    edn::write(&finished.history, &mut export).map_err(|e| e.to_string())?;
    write(dir, "history.edn", &export)?;
    if let Some(beside) = &finished.beside {
        let mut lines = Vec::new();
        jsonl::write(beside, &mut lines).map_err(|e| e.to_string())?;
        write(dir, "history-cp.jsonl", &lines)?;
    }
    if let Some((observed, promised)) = &finished.observed {
        let mut lines = Vec::new();
        replicas::jsonl::write(observed, promised, &mut lines).map_err(|e| e.to_string())?;
        write(dir, "observed.jsonl", &lines)?;
    }
    let ledger: String = finished.ledger.iter().map(|e| serde_json::to_string(e).unwrap_or_default() + "\n").collect();
    write(dir, "faults.jsonl", ledger.as_bytes())?;
    write(dir, "outcome.json", json(&finished.record)?.as_bytes())
}

pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = dir.join(name);
    fs::create_dir_all(dir).and_then(|()| fs::write(&path, bytes)).map_err(|e| format!("{}: {e}", path.display()))
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|e| e.to_string())
}

fn describe(plan: &Plan, finished: &Finished, dir: &Path) {
    let (outcome, ops) = (&finished.record.outcome, finished.record.outcome.ops);
    let ms = |ns: u64| ns as f64 / 1e6;
    let quorums = if outcome.mode == Mode::Ap { ", against quorums" } else { "" };
    say!("{} with seed {}, {} nodes{quorums}", plan.scenario, plan.seed, outcome.nodes);
    say!("  operations  {} ok, {} failed, {} unknown", ops.ok, ops.fail, ops.info);
    let percent =
        |share: crate::report::Share| share.fraction().map_or("–".to_owned(), |f| format!("{:.1} %", f * 100.0));
    let (storm, calm) = (percent(outcome.availability.storm), percent(outcome.availability.calm));
    say!("  available   {storm} in the storm, {calm} in the calm");
    if let (Some(p50), Some(p99)) = (outcome.latency.permille(500), outcome.latency.permille(990)) {
        say!("  latency     p50 {:.1} ms, p99 {:.1} ms", ms(p50), ms(p99));
    }
    if let Some(ap) = &outcome.ap {
        describe_quorums(outcome, ap);
    }
    for fault in &outcome.faults {
        say!(
            "  fault       {}: {} asked for, {} applied, {} effects",
            fault.kind,
            fault.requested,
            fault.fired,
            fault.affected
        );
    }
    for (node, why) in &finished.refusals {
        say!("  {node} stopped  {why}");
    }
    say!(
        "  simulated   {:.1} s in {:.0} ms, {} events",
        outcome.sim_ns as f64 / 1e9,
        ms(finished.record.wall_ns),
        outcome.events
    );
    say!("  trace hash  {}", outcome.trace_hash);
    say!("  written to  {}", dir.display());
    match &outcome.verdict {
        Verdict::Pass => say!("PASS"),
        Verdict::Fail { property, detail } => say!("FAIL: {property}\n{detail}"),
        Verdict::Inert { faults } => say!("INERT: asked for, but without any effect: {}", faults.join(", ")),
        Verdict::Unknown { why } => say!("UNKNOWN: {why}"),
    }
}

/// Prints the figures that only quorums have.
fn describe_quorums(outcome: &Outcome, ap: &ApCounts) {
    let linearizable = outcome.linearizable.map_or("not decided", |yes| if yes { "yes" } else { "no" });
    say!("  consistent  linearizable: {linearizable}; stale {} of {} reads", outcome.stale.ok, outcome.stale.of);
    say!("  conflicts   {} of {} reads", outcome.conflicts.ok, outcome.conflicts.of);
    let by_policy = match outcome.lost_to_policy {
        0 => String::new(),
        lost => format!(", {lost} more by the policy"),
    };
    say!("  lost        {} of {} acknowledged writes{by_policy}", outcome.lost, outcome.acknowledged);
    let healed = outcome.heal_ms.map_or("never".to_owned(), |ms| format!("{ms} ms after the storm"));
    say!("  equal       {healed}");
    let ApCounts { hints_stored, handed_over, hints_refused, hints_expired, repairs, collected, pruned } = ap;
    say!(
        "  hints       {hints_stored} stored, {handed_over} handed over, {hints_refused} refused, {hints_expired} expired"
    );
    say!("  repairs     {repairs}; {collected} tombstones collected, {pruned} clock entries pruned");
}

#[derive(Args)]
#[command(after_help = PLAN)]
pub(super) struct ShowPlan {
    /// Scenario (.toml)
    file: PathBuf,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the plan's facts as JSON instead
    #[arg(long)]
    json: bool,
}

impl ShowPlan {
    pub(super) fn run(self) -> Result<(), Failure> {
        let plan = Source::load(&self.file)?.plan(self.seed);
        if self.json {
            say!("{}", json(&plan.facts())?);
        } else {
            say!("{}", plan.write().trim_end());
        }
        Ok(())
    }
}

#[derive(Args)]
#[command(after_help = LIST)]
pub(super) struct List {
    /// Files or folders
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<(), Failure> {
        let sources: Vec<_> = Source::load_all(&self.paths)?.iter().map(Source::info).collect();
        if self.json {
            let bugs: Vec<_> =
                Planted::all().map(|bug| serde_json::json!({ "name": bug.name(), "what": bug.what() })).collect();
            say!("{}", json(&serde_json::json!({ "scenarios": sources, "mutants": bugs }))?);
            return Ok(());
        }
        for source in &sources {
            say!("{}  ({})\n    {}", source.name, source.file, source.about.trim().replace('\n', "\n    "));
        }
        say!("\nplanted bugs (--mutant NAME):");
        for bug in Planted::all() {
            say!("  {:<19} {}", bug.name(), bug.what());
        }
        Ok(())
    }
}
