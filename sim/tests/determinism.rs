//! Runs are reproducible: on another thread, in another process, with or without recording the trace, from the scenario
//! and seed or from the plan.

#![cfg(madsim)]

use seaworthy_sim::plan::Plan;
use seaworthy_sim::report::Outcome;
use seaworthy_sim::run::{Options, run};
use seaworthy_sim::scenario::Scenario;
use seaworthy_sim::world::trace::first_difference;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Together these use every part of the world: links, disks, clocks, kills, pauses, snapshots.
const SCENARIOS: [&str; 5] = ["swarm", "swarm-five", "clock-jumps-and-drift", "torn-writes", "snapshot-catch-up"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/cp/{name}.toml"))
}

fn plan(name: &str, seed: u64) -> Arc<Plan> {
    let scenario = Scenario::load(&path(name)).unwrap_or_else(|problem| panic!("{problem}"));
    Arc::new(Plan::expand(&scenario, seed))
}

fn outcome(plan: &Arc<Plan>) -> Outcome {
    run(plan, Options::default()).record.outcome
}

/// A trace written to memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn recorded(plan: &Arc<Plan>) -> (Outcome, Vec<u8>) {
    let kept = Kept::default();
    let finished = run(plan, Options { trace: Some(Box::new(kept.clone())), ..Options::default() });
    let trace = kept.0.lock().expect("no writer panics").clone();
    (finished.record.outcome, trace)
}

#[test]
fn a_plan_runs_the_same_on_every_thread_recorded_or_not() {
    for name in SCENARIOS {
        let plan = plan(name, 3);
        let (once, trace) = recorded(&plan);
        let (again, same) = recorded(&plan);
        let parting = first_difference(&trace[..], &same[..]).expect("memory can be read");
        assert_eq!(parting, None, "{name}");
        assert_eq!(trace.iter().filter(|byte| **byte == b'\n').count() as u64, once.events, "a line for each event");
        assert_eq!(once, again, "{name}: hash, history's figures and verdict");
        assert_eq!(once, outcome(&plan), "{name}: with recording and without");
    }
}

#[test]
fn a_plan_reads_back_as_the_same_run() {
    for name in SCENARIOS {
        let plan = plan(name, 4);
        let read = Plan::read("plan", &plan.write()).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(outcome(&Arc::new(read)), outcome(&plan), "{name}");
    }
}

#[test]
fn every_seed_is_another_run() {
    for name in SCENARIOS {
        let mut hashes: Vec<_> = (1..=4).map(|seed| outcome(&plan(name, seed)).trace_hash).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 4, "{name}");
    }
}

/// Random choices during a run are drawn from the plan's seed and nothing else: with the same events and another seed,
/// the models of the world behave differently.
#[test]
fn a_planted_difference_is_seen_and_placed() {
    let plan = plan("torn-writes", 5);
    let other = Arc::new(Plan { seed: plan.seed + 1, ..(*plan).clone() });
    let ((a, trace_a), (b, trace_b)) = (recorded(&plan), recorded(&other));
    assert_ne!(a.trace_hash, b.trace_hash);
    let (line, a, b) = first_difference(&trace_a[..], &trace_b[..]).expect("memory can be read").expect("they part");
    assert!(line >= 1 && a != b, "line {line}: {a} and {b}");
}

#[test]
fn every_process_runs_the_same_run() {
    for name in SCENARIOS {
        let here = outcome(&plan(name, 6)).trace_hash.to_string();
        for _ in 0..2 {
            let run = Command::new(env!("CARGO_BIN_EXE_sim"))
                .args(["run", "--seed", "6", "--hash"])
                .arg(path(name))
                .output()
                .expect("the simulator starts");
            assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), here, "{name}");
        }
    }
}
