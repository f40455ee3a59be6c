//! Planted bugs and how they are found: which scenario is made for which bug, and the hunt through its seeds.
//!
//! A bug counts as found when some seed of its scenario fails by one of the properties named for it, and the same plan
//! passes without the bug.

use crate::plan::Plan;
use crate::pool;
use crate::report::{Mode, Verdict};
use crate::run::{Met, Options, met_under_raft, run};
use crate::scenario::Scenario;
use seaworthy::mutant::Bug;
use seaworthy_check::replicas::{LATEST, NONE_INVENTED, NONE_LOST, NONE_RESURRECTED, ONCE};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A planted bug and the scenario that finds it.
#[derive(Clone, Copy, Debug)]
pub struct MadeFor {
    /// The bug.
    pub bug: Bug,
    /// The scenario's name; its file is in the folder of its database.
    pub scenario: &'static str,
    /// The database that the bug is planted in.
    pub mode: Mode,
    /// The properties that the bug breaks.
    pub breaks: &'static [&'static str],
}

/// More seeds than this a bug must not need.
pub const SEEDS: usize = 500;

/// The first failure of a hunt.
#[derive(Clone, Debug)]
pub struct Found {
    /// The least seed that fails.
    pub seed: u64,
    /// The property that the failing run breaks.
    pub property: String,
    /// The evidence.
    pub detail: String,
    /// How long the hunt took.
    pub took: Duration,
}

impl MadeFor {
    /// The scenario's file in the folder of bundled scenarios.
    #[must_use]
    pub fn file(&self, scenarios: &Path) -> PathBuf {
        let folder = if self.mode == Mode::Ap { "ap" } else { "cp" };
        scenarios.join(folder).join(format!("{}.toml", self.scenario))
    }

    /// Whether the property is one that the bug breaks.
    #[must_use]
    pub fn explains(&self, property: &str) -> bool {
        self.breaks.contains(&property)
    }

    /// The verdict on a plan, with the bug planted or without.
    #[must_use]
    pub fn verdict(&self, plan: &Arc<Plan>, planted: bool) -> Verdict {
        verdict(plan, self.mode, planted.then_some(self.bug))
    }

    /// Runs seeds 1 to `seeds` of the scenario with the bug planted, `jobs` at a time, until one fails.
    #[must_use]
    pub fn hunt(&self, scenario: &Scenario, seeds: usize, jobs: usize) -> Option<Found> {
        let start = Instant::now();
        let mut found: Option<Found> = None;
        let work = |n: usize| self.verdict(&Arc::new(Plan::expand(scenario, n as u64 + 1)), true);
        pool::each(seeds, jobs, work, |n, verdict| {
            let seed = n as u64 + 1;
            if let Verdict::Fail { property, detail } = verdict
                && found.as_ref().is_none_or(|found| seed < found.seed)
            {
                found = Some(Found { seed, property, detail, took: start.elapsed() });
            }
            found.is_none()
        });
        found
    }
}

/// The verdict on one run of a plan. Against quorums, faults that aim at leaders meet the servers that they meet under Raft.
#[must_use]
pub fn verdict(plan: &Arc<Plan>, mode: Mode, mutant: Option<Bug>) -> Verdict {
    let met = if mode == Mode::Ap { met_under_raft(plan) } else { Met::new() };
    run(plan, Options { mode, mutant, met, ..Options::default() }).record.outcome.verdict
}

const fn made(bug: Bug, mode: Mode, scenario: &'static str, breaks: &'static [&'static str]) -> MadeFor {
    MadeFor { bug, scenario, mode, breaks }
}

/// The scenario made for each bug.
pub const MADE_FOR: &[MadeFor] = &[
    made(
        Bug::AckBeforeFsync,
        Mode::Cp,
        "acked-is-durable",
        &["promises outlive crashes", "leader completeness", "linearizable"],
    ),
    made(
        Bug::VoteTwice,
        Mode::Cp,
        "vote-after-restart",
        &["promises outlive crashes", "one vote a term", "election safety"],
    ),
    made(Bug::CommitOldTerm, Mode::Cp, "figure-8", &["leader completeness", "state-machine safety", "linearizable"]),
    made(Bug::StaleRead, Mode::Cp, "deposed-leader-reads", &["linearizable"]),
    made(Bug::ForgetSessions, Mode::Cp, "retries-over-snapshots", &["equal states", "linearizable"]),
    made(
        Bug::SkipChecksum,
        Mode::Cp,
        "disk-rot",
        &["state-machine safety", "log matching", "equal states", "assertion"],
    ),
    made(Bug::RetryFsync, Mode::Cp, "clean-pages", &["promises outlive crashes", "recovery"]),
    made(Bug::TailNotRewritten, Mode::Cp, "clean-pages", &["promises outlive crashes", "recovery"]),
    made(Bug::FullDiskIgnored, Mode::Cp, "disk-fills-up", &["promises outlive crashes", "recovery"]),
    made(Bug::HeaderUnchecked, Mode::Cp, "header-rot", &["promises outlive crashes"]),
    made(Bug::SnapshotUnchecked, Mode::Ap, "snapshot-rot", &[NONE_LOST, NONE_INVENTED, NONE_RESURRECTED, LATEST]),
    made(Bug::ExpireEarly, Mode::Cp, "expiry", &["expiry"]),
    made(Bug::ExtendIgnored, Mode::Cp, "expiry", &["expiry"]),
    made(Bug::ExpireNever, Mode::Cp, "expiry", &["expiry"]),
    made(Bug::AckBeforeW, Mode::Ap, "strict-quorum", &[LATEST, NONE_RESURRECTED, NONE_LOST]),
    made(Bug::HintsForgotten, Mode::Ap, "holders-restart", &[NONE_LOST]),
    made(Bug::SiblingDropped, Mode::Ap, "red-blue-purple", &[NONE_LOST]),
    made(Bug::DotNotAdvanced, Mode::Ap, "hot-key", &["one dot, one write"]),
    made(Bug::TombstoneByTimer, Mode::Ap, "tombstone-and-the-absent", &[NONE_RESURRECTED]),
    made(Bug::RepairOlder, Mode::Ap, "slow-replica", &[NONE_LOST]),
    made(Bug::ContextUnchecked, Mode::Ap, "confused-clients", &[NONE_LOST, NONE_RESURRECTED, LATEST]),
    made(Bug::ForwardedTwice, Mode::Ap, "passed-on-twice", &[NONE_RESURRECTED, ONCE]),
    made(Bug::ControlBehindBulk, Mode::Cp, "overload-groups", &["no elections", "goodput"]),
    made(Bug::BusyNever, Mode::Cp, "overload-groups", &["no elections", "goodput", "progress"]),
    made(Bug::BudgetIgnored, Mode::Ap, "stalled-disk", &["memory budget"]),
    made(Bug::SweepOfValues, Mode::Ap, "flaps", &["goodput", "progress"]),
];
