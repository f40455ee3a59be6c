//! Made-up runs for the tests of this module. Nothing here was measured.

use super::record::{Availability, FaultTally, Mode, Ops, Outcome, RunRecord, Share, Staleness, TraceHash, Verdict};
use super::{Commit, Histogram, Report, RunInfo, ScenarioInfo};
use std::collections::BTreeMap;

/// A run that passed, its figures derived from the seed.
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
            linearizable: None,
            stale: Share::default(),
            staleness: Staleness::default(),
            conflicts: Share::default(),
            acknowledged: 0,
            lost: 0,
            lost_to_policy: 0,
            heal_ms: None,
            sessions: BTreeMap::new(),
            ap: None,
        },
        wall_ns: 19_000_000 + seed * 100_000,
    }
}

/// Three scenarios over four seeds; the last one fails in every way, with a name and evidence that need escaping.
pub fn runs() -> Vec<RunRecord> {
    let names = ["leader-isolated", "torn-writes", SWARM];
    let mut runs: Vec<RunRecord> = names.iter().flat_map(|name| (1..=4).map(|seed| run(name, seed))).collect();
    for run in &mut runs[4..8] {
        run.outcome.availability.storm.ok = 420;
        run.outcome.latency = (1..=1_000).map(|i| i * i * 9).chain([40_000_000]).collect();
    }
    let detail = "key \"k<7>\": get → 3 & 4 at 12.041 s,\nbut put(5) was acknowledged at 11.993 s";
    runs[10].outcome.verdict = Verdict::Fail { property: "linearizable".into(), detail: detail.into() };
    runs[10].outcome.recovery_ms = None;
    runs[9].outcome.verdict = Verdict::Inert { faults: vec!["clock-jump".into(), "<b>".into()] };
    runs[9].outcome.faults[1].inert = 2;
    runs[11].outcome.verdict = Verdict::Unknown { why: "search stopped at 10,000,000 states".into() };
    runs
}

/// A name that a careless page or shell command would stumble over.
pub const SWARM: &str = "swarm <script>alert('x')</script>";

/// What the runs' scenarios say of themselves.
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
