//! Proves that the oracles detect bugs: every planted bug is found by the scenario made for it within 500 seeds, and
//! the same run passes without the bug.
//!
//! `scenarios/regress/*.plan` are saved runs. Those named after a bug must still catch it.

#![cfg(all(madsim, feature = "mutants"))]

use seaworthy::mutant::Bug;
use seaworthy_check::replicas::{COUNTED, LATEST, NONE_INVENTED};
use seaworthy_sim::mutants::{FOUND_BY_CORE_TESTS, Found, MADE_FOR, MadeFor, Planted, SEEDS, verdict};
use seaworthy_sim::plan::Plan;
use seaworthy_sim::report::{Mode, Verdict};
use seaworthy_sim::run::{Options, quiet_panics, run};
use seaworthy_sim::scenario::Scenario;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

#[test]
fn every_planted_bug_is_found_by_the_scenario_made_for_it() {
    quiet_panics();
    let bugs: Vec<Planted> = MADE_FOR.iter().map(|made| made.bug).collect();
    let covered = |bug: &&Bug| bugs.contains(&Planted::Code(**bug)) || FOUND_BY_CORE_TESTS.contains(bug);
    assert_eq!(Bug::ALL.iter().find(|bug| !covered(bug)), None, "a scenario for every bug");
    for made in MADE_FOR {
        is_found(made);
    }
}

/// An addition that is executed twice leaves no second copy to detect, only a wrong sum.
#[test]
fn an_addition_carried_out_twice_is_found_by_the_sum() {
    quiet_panics();
    let sum = MadeFor {
        bug: Planted::Code(Bug::ForwardedTwice),
        scenario: "counters",
        mode: Mode::Ap,
        breaks: &[COUNTED, NONE_INVENTED, LATEST],
    };
    is_found(&sum);
}

/// Some seed of the scenario finds the bug by one of these properties, and passes without the bug.
fn is_found(made: &MadeFor) {
    let (name, bug) = (made.scenario, made.bug.name());
    let scenario = Scenario::load(&made.file(&scenarios())).expect("a bundled scenario");
    let jobs = available_parallelism().map_or(1, Into::into);
    let Some(found) = made.hunt(&scenario, SEEDS, jobs) else {
        panic!("{name} does not find {bug} within {SEEDS} seeds")
    };
    let Found { seed, property, detail, .. } = &found;
    println!("{bug:<17} found by {name} with seed {seed}: {property}: {}", detail.lines().next().unwrap());
    assert!(made.explains(property), "{bug} breaks {property}, of all things: {detail}");
    let plan = Arc::new(Plan::expand(&scenario, *seed));
    assert_eq!(made.verdict(&plan, false), Verdict::Pass, "{name} with seed {seed} and no bug planted");
}

#[test]
fn kept_plans_pass_and_those_named_after_a_bug_catch_it() {
    quiet_panics();
    let mut files: Vec<PathBuf> = std::fs::read_dir(scenarios().join("regress"))
        .expect("the folder of kept plans")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "plan"))
        .collect();
    files.sort();
    let mut caught = 0;
    for file in &files {
        let name = file.file_stem().and_then(|stem| stem.to_str()).expect("a name in UTF-8");
        let plan = Arc::new(Plan::load(file).unwrap_or_else(|problem| panic!("{problem}")));
        assert_eq!(plan.scenario, name, "a kept plan has its file's name, so that reports can tell it apart");
        let modes = plan.bucket.mode.modes();
        for &mode in modes {
            assert_eq!(verdict(&plan, mode, None), Verdict::Pass, "{name} in {mode}");
        }
        if let Some(bug) = Bug::ALL.iter().copied().find(|bug| bug.name() == name) {
            let with: Vec<Verdict> = modes.iter().map(|&mode| verdict(&plan, mode, Some(Planted::Code(bug)))).collect();
            let fails = |verdict: &Verdict| matches!(verdict, Verdict::Fail { .. });
            assert!(with.iter().any(fails), "{name} no longer catches its bug: {with:?}");
            caught += 1;
        }
    }
    assert!(caught >= 2 && files.len() > caught, "{} kept plans, {caught} of bugs", files.len());
}

/// A run ends as soon as its history is impossible, long before the end of the plan.
#[test]
fn a_run_ends_at_the_reply_that_makes_its_history_impossible() {
    quiet_panics();
    let scenario = Scenario::load(&scenarios().join("cp/deposed-leader-reads.toml")).expect("a bundled scenario");
    let plan = Arc::new(Plan::expand(&scenario, 1));
    let finished = run(&plan, Options { mutant: Some(Planted::Code(Bug::StaleRead)), ..Options::default() });
    let Verdict::Fail { property, detail } = &finished.record.outcome.verdict else { panic!("seed 1 finds the bug") };
    assert_eq!(property, "linearizable");
    assert!(detail.contains(" s into the run, after "), "{detail}");
    let last = finished.history.events() - 1;
    assert!(detail.contains(&format!("impossible from event #{last} on")), "event {last} is the last: {detail}");
    let ended = std::time::Duration::from_nanos(finished.record.outcome.sim_ns);
    assert!(ended < plan.time.storm_ends(), "ended after {ended:?}");
}

/// The exported history of a run gets the same verdict in both formats, whatever violated linearizability.
#[test]
fn exported_histories_keep_their_verdict() {
    use seaworthy_check::format::{ReadOptions, export, jsonl, read};
    quiet_panics();
    let mut broken = 0;
    for made in MADE_FOR.iter().filter(|made| made.breaks.contains(&"linearizable")) {
        let file = scenarios().join(format!("cp/{}.toml", made.scenario));
        let scenario = Scenario::load(&file).expect("a bundled scenario");
        for seed in 1..=8 {
            let options = Options { mode: made.mode, mutant: Some(made.bug), ..Options::default() };
            let history = run(&Arc::new(Plan::expand(&scenario, seed)), options).history;
            let (mut lines, mut edn) = (Vec::new(), Vec::new());
            jsonl::write(&history, &mut lines).expect("memory takes everything");
            export::write(&history, &mut edn).expect("memory takes everything");
            let verdicts = |text: &[u8]| {
                let reading = read(text, &ReadOptions::default()).expect("what was written can be read");
                assert!(reading.without_nil().is_none(), "it says what its nil means");
                let options = seaworthy_check::Options { evidence_steps: 0, ..seaworthy_check::Options::default() };
                let parts = seaworthy_check::check(&reading.history, &options).parts;
                parts.into_iter().map(|part| (part.name, part.verdict)).collect::<Vec<_>>()
            };
            let by_lines = verdicts(&lines);
            broken +=
                u32::from(by_lines.iter().any(|(_, verdict)| matches!(verdict, seaworthy_check::Verdict::Invalid(_))));
            assert_eq!(verdicts(&edn), by_lines, "{} with seed {seed} and {}", made.scenario, made.bug.name());
        }
    }
    assert!(broken > 4, "{broken} histories are not linearizable");
}
