//! Tests of the simulator's command line: the real binary, in a temporary directory.
//!
//! Bad input gives exit status 2, one located message on standard error, and no output files. A violated property gives
//! 1, everything else 0.

#![cfg(madsim)]

use seaworthy::mutant::Bug;
use seaworthy_sim::plan::Plan;
use seaworthy_sim::world::bug::WorldBug;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The result of a command.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

/// Runs `sim` in `dir`.
fn sim(dir: &TempDir, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(args).current_dir(dir).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { status: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs `sim` and expects this exit status. Standard error must be empty unless the status is 2.
fn run(dir: &TempDir, status: i32, args: &[&str]) -> String {
    let ran = sim(dir, args);
    assert_eq!(ran.status, status, "{args:?}\n{}{}", ran.out, ran.err);
    assert_eq!(ran.err, "", "{args:?}");
    ran.out
}

/// Runs `sim --json`, expects this exit status, and parses the output.
fn json(dir: &TempDir, status: i32, args: &[&str]) -> Json {
    let out = run(dir, status, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}"))
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Returns the files below `dir`, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        match path.is_dir() {
            true => found.extend(files(&path).iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

fn bundled(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/cp/{name}.toml"));
    path.display().to_string()
}

/// A scenario that runs quickly: one partition.
const QUICK: &str = r#"
name = "quick"
description = "One short cut."

[time]
storm = "3s"
calm = "8s"

[[fault]]
kind = "partition"
target = "leader"
at = "2500ms"
lasts = "1s"
"#;

fn with_quick() -> TempDir {
    let dir = temp();
    fs::write(dir.path().join("quick.toml"), QUICK).expect("written");
    dir
}

#[test]
fn bad_input_is_one_located_message_and_nothing_is_written() {
    let dir = with_quick();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
    write("broken.toml", "name = \"x\"\ndescription = \"y\"\n[network]\nlatncy = \"1ms\"\n");
    write("broken.plan", "seaworthy-plan 1\nscenario x\nseed 7\n  1.0s c1 gut k1\n");
    write("not-text.toml", "name = \u{7f}\n");
    write("notes.txt", "hello");
    fs::create_dir(dir.path().join("empty")).expect("made");
    let before = files(dir.path());
    for (args, says) in [
        (&["run", "broken.toml"][..], "broken.toml:4:1: [network] has no field `latncy`; did you mean `latency`?"),
        (&["sweep", "broken.toml"], "broken.toml:4:1:"),
        (&["sweep", "."], "broken.plan:4:"),
        (&["compare", "quick.toml", "broken.toml"], "broken.toml:4:1:"),
        (&["audit", "broken.toml"], "broken.toml:4:1:"),
        (&["plan", "broken.toml"], "broken.toml:4:1:"),
        (&["list", "broken.toml"], "broken.toml:4:1:"),
        (&["run", "not-text.toml"], "not-text.toml:1:"),
        (&["replay", "broken.plan"], "broken.plan:4:"),
        (&["run", "broken.plan"], "broken.plan:4:"),
        (&["run", "missing.toml"], "missing.toml: cannot be read"),
        (&["replay", "missing.plan"], "missing.plan: cannot be read"),
        (&["sweep", "missing"], "missing: no such file or folder"),
        (&["sweep", "empty"], "empty: no scenario (.toml) or plan (.plan) in there"),
        (&["run", "empty"], "empty: expected a scenario"),
        (&["run", "notes.txt"], "notes.txt: expected a scenario"),
        (&["replay", "quick.toml"], "quick.toml: a scenario; use `cargo sim run quick.toml --seed N`"),
        (
            &["run", "quick.toml", "--mutant", "nonesuch"],
            "no bug is called `nonesuch`; expected one of ack-before-fsync, vote-twice",
        ),
        (&["run", "quick.toml", "--mutant", "stale-reed"], "did you mean `stale-read`?"),
        (&["run", "quick.toml", "--seed", "minus"], "'minus' for '--seed"),
        (&["run", "quick.toml", "--hash", "--trace"], "'--hash' cannot be used with '--trace'"),
        (&["sweep", "quick.toml", "--seeds", "0"], "'--seeds <N>': expected 1 or more"),
        (&["sweep", "quick.toml", "--jobs", "0"], "'--jobs <N>': expected 1 or more"),
        (&["compare", "quick.toml", "--seeds", "0"], "'--seeds <N>': expected 1 or more"),
        (&["audit", "quick.toml", "--reruns", "0"], "'--reruns <N>': expected 1 or more"),
        (&["bench", "--repeat", "0"], "'--repeat <N>': expected 1 or more"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&[], "Usage: cargo sim <COMMAND>"),
    ] {
        let Ran { status, out, err } = sim(&dir, args);
        assert_eq!((status, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?} says {err}");
        assert!(err.matches("error:").count() <= 1, "{args:?} says more than one thing: {err}");
        assert_eq!(files(dir.path()), before, "{args:?} wrote something");
    }
}

#[test]
fn a_run_leaves_a_plan_that_replays_to_the_same_hash() {
    let dir = with_quick();
    let told = run(&dir, 0, &["run", "quick.toml", "--seed", "7", "--trace"]);
    assert!(told.contains("quick with seed 7") && told.trim_end().ends_with("PASS"), "{told}");
    let written = ["faults.jsonl", "history.edn", "history.jsonl", "outcome.json", "plan.plan", "trace.txt"];
    let below: Vec<String> = written.iter().map(|name| format!("reports/runs/quick-7/{name}")).collect();
    assert_eq!(files(dir.path()), [&["quick.toml".to_owned()], below.as_slice()].concat());

    let outcome = fs::read_to_string(dir.path().join("reports/runs/quick-7/outcome.json")).expect("readable");
    let record: Json = serde_json::from_str(&outcome).expect("JSON");
    let hash = record["outcome"]["trace_hash"].as_str().expect("a text").to_owned();
    assert!(told.contains(&format!("trace hash  {hash}")), "{told}");
    let kept = "reports/runs/quick-7/plan.plan";
    assert_eq!(run(&dir, 0, &["replay", kept, "--hash"]).trim(), hash);
    assert_eq!(run(&dir, 0, &["run", "quick.toml", "--seed", "7", "--hash"]).trim(), hash);
    assert_ne!(run(&dir, 0, &["run", "quick.toml", "--seed", "8", "--hash"]).trim(), hash);
    assert_eq!(json(&dir, 0, &["replay", kept, "--out", "again"])["outcome"], record["outcome"]);
    for name in ["history.jsonl", "history.edn", "faults.jsonl"] {
        let read = |folder: &str| fs::read(dir.path().join(folder).join(name)).expect("readable");
        assert_eq!(read("again"), read("reports/runs/quick-7"), "{name}");
    }
}

#[test]
fn a_failure_exits_1_and_its_plan_is_kept() {
    let dir = temp();
    let scenario = bundled("deposed-leader-reads");
    let args = ["sweep", &scenario, "--seeds", "20", "--until-failure", "--jobs", "1", "--mutant", "stale-read"];
    let told = run(&dir, 1, &args);
    let again =
        told.lines().find_map(|line| line.trim().strip_prefix("again: cargo sim ")).expect("how to see it again");
    let words: Vec<&str> = again.split(' ').collect();
    let [_, plan, ..] = words[..] else { panic!("{again}") };
    assert!(plan.starts_with("reports/failures/deposed-leader-reads-") && plan.ends_with("-stale-read.plan"), "{plan}");
    for name in ["faults.jsonl", "history.edn", "history.jsonl", "outcome.json"] {
        assert!(dir.path().join(plan.trim_end_matches(".plan")).join(name).is_file(), "{name}");
    }
    // The printed command reproduces the failure; without the bug the plan passes.
    let told = run(&dir, 1, &words);
    assert!(told.contains("FAIL: linearizable"), "{told}");
    run(&dir, 0, &["replay", plan]);
    let record = json(&dir, 1, &["run", plan, "--mutant", "stale-read", "--out", "again"]);
    assert_eq!(record["outcome"]["verdict"]["property"], "linearizable");
}

/// A node that violates its own assertion panics. That is a verdict, and the panic must not be printed as well.
#[test]
fn a_broken_invariant_is_a_verdict_and_no_noise() {
    let dir = temp();
    let args = ["run", &bundled("acked-is-durable"), "--mutant", "ack-before-fsync"];
    let told = run(&dir, 1, &args);
    assert!(told.contains("FAIL: "), "{told}");
}

#[test]
fn every_command_speaks_json() {
    let dir = with_quick();
    let list = json(&dir, 0, &["list", "quick.toml"]);
    assert_eq!(list["scenarios"][0]["name"], "quick");
    assert_eq!(list["mutants"].as_array().map(Vec::len), Some(Bug::ALL.len() + WorldBug::ALL.len()));
    let facts = json(&dir, 0, &["plan", "quick.toml", "--seed", "3"]);
    assert_eq!((&facts["seed"], &facts["faults"]["partition"]), (&3.into(), &1.into()));
    assert_eq!(json(&dir, 0, &["run", "quick.toml"])["outcome"]["verdict"]["kind"], "pass");
    let summary = json(&dir, 0, &["sweep", "quick.toml", "--seeds", "3"]);
    assert_eq!(summary["groups"][0]["modes"]["cp"]["verdicts"]["pass"], 3);
    let summary = json(&dir, 0, &["compare", "quick.toml", "--seeds", "2", "--out", "report"]);
    assert_eq!(summary["groups"][0]["modes"]["cp"]["verdicts"]["pass"], 2);
    assert!(files(&dir.path().join("report")).contains(&"index.html".to_owned()));
    let audit = json(&dir, 0, &["audit", "quick.toml", "--seeds", "2", "--reruns", "2"]);
    assert_eq!((&audit["equal"], &audit["runs"]), (&true.into(), &8.into()));
}

#[test]
fn a_plan_is_printed_swept_once_and_audited() {
    let dir = with_quick();
    let text = run(&dir, 0, &["plan", "quick.toml", "--seed", "9"]);
    let plan = Plan::read("stdout", &text).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((plan.scenario.as_str(), plan.seed), ("quick", 9));
    fs::write(dir.path().join("kept.plan"), &text).expect("written");
    let summary = json(&dir, 0, &["sweep", "kept.plan", "--seeds", "5"]);
    let runs = &summary["groups"][0]["modes"]["cp"]["runs"];
    assert_eq!((runs.as_array().map(Vec::len), &runs[0]["seed"]), (Some(1), &9.into()), "a plan has one seed");
    let told = run(&dir, 0, &["audit", "kept.plan", "--reruns", "2"]);
    assert!(told.contains("all traces equal"), "{told}");
    assert_eq!(files(dir.path()), ["kept.plan", "quick.toml"], "what passes leaves nothing behind");
}

#[test]
fn the_list_names_every_scenario_and_bug() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").display().to_string();
    let told = run(&temp(), 0, &["list", &root]);
    for name in ["leader-isolated", "swarm-five", "disk-rot", "vote-twice", "skip-checksum"] {
        assert!(told.contains(name), "{name}: {told}");
    }
}

#[test]
fn help_shows_examples() {
    let dir = temp();
    let help = run(&dir, 0, &["--help"]);
    assert!(help.contains("Exit status: 0 all passed, 1 a property failed, 2 bad input."), "{help}");
    for command in ["compare", "run", "replay", "sweep", "plan", "list", "audit", "bench"] {
        assert!(help.contains(&format!("  {command} ")), "{help}");
        let help = run(&dir, 0, &[command, "--help"]);
        assert!(help.contains(&format!("  cargo sim {command}")), "{command}: {help}");
    }
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn it_tells_its_version() {
    let out = run(&temp(), 0, &["--version"]);
    assert_eq!(out.trim(), format!("sim {}", env!("CARGO_PKG_VERSION")));
}

/// The example of `run --help`: the scenario suits both databases, and `--why` works for quorums only.
#[test]
fn a_story_is_told_of_a_run_against_quorums() {
    let file = bundled("../ap/red-blue-purple");
    let told = run(&temp(), 0, &["run", &file, "--why", "colour"]);
    assert!(told.contains("colour is to be on n"), "{told}");
}

#[test]
fn a_sweep_until_a_failure_tells_the_first_alone() {
    let dir = temp();
    fs::write(dir.path().join("hopeless.toml"), format!("{QUICK}\n[expect]\nmin_ok = 1000000\n")).expect("written");
    for jobs in ["1", "2"] {
        let out = run(
            &dir,
            1,
            &["sweep", "hopeless.toml", "--mode", "cp", "--seeds", "9", "--until-failure", "--jobs", jobs],
        );
        assert!(out.contains("with seed 1: enough operations is broken"), "{out}");
        assert_eq!(out.matches("enough operations is broken").count(), 1, "{out}");
    }
}

#[test]
fn kept_plans_tell_what_they_are_for() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regress");
    let list = json(&temp(), 0, &["list", &plans.display().to_string()]);
    let about: Vec<&str> =
        list["scenarios"].as_array().expect("a list").iter().filter_map(|s| s["about"].as_str()).collect();
    let different: std::collections::BTreeSet<&&str> = about.iter().collect();
    assert!(about.len() > 5 && different.len() == about.len(), "{about:#?}");
}
