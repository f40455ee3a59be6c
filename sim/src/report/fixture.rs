//! Invented runs for the tests of this module. They contain no measured figures.

use super::record::{
    ApCounts, Availability, FaultTally, Ops, Outcome, RunRecord, Share, Staleness, TraceHash, Verdict,
};
use super::{Commit, Histogram, Report, RunInfo, ScenarioInfo};
use crate::settings::Mode;
use std::collections::BTreeMap;

/// A run that passed, with figures derived from the seed.
pub fn run(scenario: &str, seed: u64) -> RunRecord {
    let fault =
        |kind: &str, fired| FaultTally { kind: kind.into(), requested: fired, fired, affected: fired * 7, inert: 0 };
    RunRecord {
        outcome: Outcome {
            scenario: scenario.into(),
            mode: Mode::Cp,
            seed,
            mutant: None,
            nodes: 3,
            ops: Ops { ok: 1_400 + seed, fail: 20, info: 40 },
            faults: vec![fault("partition", 4 + seed), fault("kill", 2)],
            verdict: Verdict::Pass,
            availability: Availability {
                storm: Share { ok: 900, of: 960 },
                calm: Share { ok: 500 + seed, of: 500 + seed },
            },
            latency: (1..=1_000).map(|i| i * i * (300 + seed)).chain([2_100_000_000]).collect::<Histogram>(),
            recovery_ms: Some(400 + seed * 10),
            sim_ns: 30_000_000_000,
            trace_hash: TraceHash(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1)),
            events: 120_000,
            messages: 40_000,
            bytes: 9_000_000,
            linearizable: Some(true),
            stale: Share { ok: 0, of: 780 },
            staleness: Staleness::default(),
            conflicts: Share::default(),
            acknowledged: 610 + seed,
            lost: 0,
            lost_to_policy: 0,
            heal_ms: Some(60 + seed),
            sessions: BTreeMap::new(),
            ap: None,
        },
        wall_ns: 19_000_000 + seed * 100_000,
    }
}

/// The same storm against quorums: nearly all operations are answered, some reads are stale, and the replicas converge.
fn quorums(scenario: &str, seed: u64) -> RunRecord {
    let mut run = run(scenario, seed);
    let o = &mut run.outcome;
    o.mode = Mode::Ap;
    o.ops = Ops { ok: 1_452 + seed, fail: 0, info: 8 };
    o.availability.storm = Share { ok: 955, of: 960 };
    o.latency = (1..=1_000).map(|i| i * i * 9).chain([40_000_000]).collect();
    o.linearizable = Some(seed == 2);
    o.stale = Share { ok: if seed == 2 { 0 } else { 12 + seed }, of: 780 };
    let stale = 0..o.stale.ok;
    o.staleness = Staleness {
        versions: stale.clone().map(|i| 1 + i / 9).collect(),
        time: stale.map(|i| 40_000_000 + i * 9_000_000).collect(),
    };
    o.conflicts = Share { ok: 3 * seed, of: 700 };
    o.heal_ms = Some(800 + 90 * seed);
    o.sessions = BTreeMap::from([
        ("get one, put one".to_owned(), [390, 4, 7, 0, 1]),
        ("get quorum, put quorum".to_owned(), [1_020 + seed, 0, 2, 0, 0]),
    ]);
    o.ap = Some(ApCounts {
        hints_stored: 60 + seed,
        handed_over: 58 + seed,
        hints_refused: 0,
        hints_expired: 2,
        repairs: 31,
        collected: 12,
        pruned: 0,
    });
    o.trace_hash.0 = o.trace_hash.0.rotate_left(7);
    o.messages = 31_000;
    o.bytes = 6_400_000;
    run
}

/// Five scenarios over four seeds. `leader-isolated` ran in both modes. So did `majority-partition`, in which Raft
/// cannot answer, and `skewed-clocks`, in which last-writer-wins discards writes. The swarm fails in every way, with a
/// name and evidence that need escaping.
pub fn runs() -> Vec<RunRecord> {
    let over = |name: &'static str, run: fn(&str, u64) -> RunRecord| (1..=4).map(move |seed| run(name, seed));
    let names = ["leader-isolated", "torn-writes", SWARM, "majority-partition", "skewed-clocks"];
    let mut runs: Vec<RunRecord> = names.iter().flat_map(|name| over(name, run)).collect();
    for run in &mut runs[4..8] {
        run.outcome.availability.storm.ok = 420;
        run.outcome.latency = (1..=1_000).map(|i| i * i * 9).chain([40_000_000]).collect();
    }
    let detail = "key \"k<7>\": get → 3 & 4 at 12.041 s,\nbut put(5) was acknowledged at 11.993 s";
    runs[10].outcome.verdict = Verdict::Fail { property: "linearizable".into(), detail: detail.into() };
    runs[10].outcome.linearizable = Some(false);
    runs[10].outcome.recovery_ms = None;
    runs[10].outcome.heal_ms = None;
    runs[9].outcome.verdict = Verdict::Inert { faults: vec!["clock-jump".into(), "<b>".into()] };
    runs[9].outcome.faults[1].inert = 2;
    runs[11].outcome.verdict = Verdict::Unknown { why: "search stopped at 10,000,000 states".into() };
    runs[11].outcome.linearizable = None;
    for run in &mut runs[12..16] {
        run.outcome.ops = Ops { ok: 560, fail: 610, info: 290 };
        run.outcome.availability.storm.ok = 0;
        run.outcome.latency = (1..=500).map(|i| i * i * 300).chain([9_800_000_000; 60]).collect();
    }
    for name in ["leader-isolated", "majority-partition", "skewed-clocks", "sloppy-quorum"] {
        runs.extend(over(name, quorums));
    }
    for run in runs.iter_mut().filter(|r| r.outcome.scenario == "skewed-clocks" && r.outcome.mode == Mode::Ap) {
        run.outcome.lost_to_policy = 17 + run.outcome.seed;
        run.outcome.conflicts.ok = 0;
    }
    runs
}

/// A name that breaks a page or shell command without proper escaping.
pub const SWARM: &str = "swarm <script>alert('x')</script>";

/// The descriptions of the runs' scenarios.
pub fn scenarios() -> Vec<ScenarioInfo> {
    let scenario = |name: &str, file: &str, about: &str| ScenarioInfo {
        name: name.into(),
        file: file.into(),
        about: about.into(),
    };
    vec![
        scenario(
            "leader-isolated",
            "scenarios/leader-isolated.toml",
            "The leader loses both peers, keeps its clients, and must stop answering reads before its successor writes.",
        ),
        scenario(
            "majority-partition",
            "scenarios/majority-partition.toml",
            "Most clients are left with a minority of the servers for the whole storm.",
        ),
        scenario(
            "skewed-clocks",
            "scenarios/skewed-clocks.toml",
            "One server's clock is a minute fast, and the last writer wins.",
        ),
        scenario("torn-writes", "scenarios/torn-writes.toml", "Crashes keep any subset of the sectors not yet synced."),
        scenario(SWARM, "scenarios/it's a swarm.toml", "Everything at once & in any order."),
    ]
}

/// The report over [`runs`].
pub fn report() -> Report {
    Report {
        info: RunInfo {
            command: "cargo sim compare --seeds 4 # \"<fixture>\"".into(),
            commit: Commit { hash: Some("0123456789abcdef0123456789abcdef01234567".into()), dirty: true },
            toolchain: "rustc 1.95.0 (fixture)".into(),
            date: "2026-01-02 03:04:05 UTC".into(),
            elapsed_ns: 230_000_000,
        },
        scenarios: scenarios(),
        runs: runs(),
    }
}
