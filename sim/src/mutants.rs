//! Planted bugs and how they are found: which scenario is made for which bug, and the hunt through its seeds.
//!
//! A bug counts as found if some seed of its scenario breaks one of the properties listed for it, and the same plan
//! passes without the bug.

use crate::oracle::{IDLE, READS_BACK};
use crate::plan::Plan;
use crate::pool;
use crate::report::{Mode, Verdict};
use crate::run::{Options, fault_targets, run};
use crate::scenario::Scenario;
use crate::world::bug::WorldBug;
use seaworthy::mutant::Bug;
use seaworthy_check::replicas::{FORWARD, LATEST, NONE_INVENTED, NONE_LOST, NONE_RESURRECTED, ONCE};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bug that can be planted by name: in the code under test, or in the simulated world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planted {
    /// In every node.
    Code(Bug),
    /// In the simulated world.
    World(WorldBug),
}

impl Planted {
    /// All bugs.
    pub fn all() -> impl Iterator<Item = Planted> {
        let code = Bug::ALL.iter().copied().map(Planted::Code);
        code.chain(WorldBug::ALL.iter().copied().map(Planted::World))
    }

    /// The name used on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Planted::Code(bug) => bug.name(),
            Planted::World(bug) => bug.name(),
        }
    }

    /// What it does, and where.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Planted::Code(bug) => bug.what(),
            Planted::World(bug) => bug.what(),
        }
    }

    /// The bug, if it is one of the world.
    #[must_use]
    pub fn in_world(planted: Option<Planted>) -> Option<WorldBug> {
        match planted {
            Some(Planted::World(bug)) => Some(bug),
            Some(Planted::Code(_)) | None => None,
        }
    }
}

/// A planted bug and the scenario that finds it.
#[derive(Clone, Copy, Debug)]
pub struct MadeFor {
    /// The bug.
    pub bug: Planted,
    /// The scenario's name. Its file is in the folder of its database.
    pub scenario: &'static str,
    /// The database that the bug is planted in.
    pub mode: Mode,
    /// The properties that the bug breaks.
    pub breaks: &'static [&'static str],
}

/// The maximum number of seeds that a bug may need.
pub const SEEDS: usize = 500;

/// The first failure found by a hunt.
#[derive(Clone, Debug)]
pub struct Found {
    /// The lowest seed that fails.
    pub seed: u64,
    /// The property that the failing run breaks.
    pub property: String,
    /// The evidence.
    pub detail: String,
    /// The duration of the hunt.
    pub took: Duration,
}

impl MadeFor {
    /// The scenario's file in the folder of bundled scenarios.
    #[must_use]
    pub fn file(&self, scenarios: &Path) -> PathBuf {
        let folder = if self.mode == Mode::Ap { "ap" } else { "cp" };
        scenarios.join(folder).join(format!("{}.toml", self.scenario))
    }

    /// Whether the bug is expected to break this property.
    #[must_use]
    pub fn explains(&self, property: &str) -> bool {
        self.breaks.contains(&property)
    }

    /// The verdict on a plan, with or without the bug.
    #[must_use]
    pub fn verdict(&self, plan: &Arc<Plan>, planted: bool) -> Verdict {
        verdict(plan, self.mode, planted.then_some(self.bug))
    }

    /// The property broken and the evidence, if this verdict exposes the bug. An inert fault only exposes bugs of the
    /// world.
    fn caught(&self, verdict: Verdict) -> Option<(String, String)> {
        match verdict {
            Verdict::Fail { property, detail } => Some((property, detail)),
            Verdict::Inert { faults } if matches!(self.bug, Planted::World(_)) => {
                Some((INERT.to_owned(), faults.join("; ")))
            }
            _ => None,
        }
    }

    /// Runs seeds 1 to `seeds` of the scenario with the bug planted, `jobs` at a time, until one fails.
    #[must_use]
    pub fn hunt(&self, scenario: &Scenario, seeds: usize, jobs: usize) -> Option<Found> {
        let start = Instant::now();
        let mut found: Option<Found> = None;
        let work = |n: usize| self.verdict(&Arc::new(Plan::expand(scenario, n as u64 + 1)), true);
        pool::each(seeds, jobs, work, |n, verdict| {
            let seed = n as u64 + 1;
            if let Some((property, detail)) = self.caught(verdict)
                && found.as_ref().is_none_or(|found| seed < found.seed)
            {
                found = Some(Found { seed, property, detail, took: start.elapsed() });
            }
            found.is_none()
        });
        found
    }
}

/// The verdict on one run of a plan. Against quorums, faults that target leaders hit the servers that they hit under
/// Raft.
#[must_use]
pub fn verdict(plan: &Arc<Plan>, mode: Mode, mutant: Option<Planted>) -> Verdict {
    let met = fault_targets(plan, mode);
    run(plan, Options { mode, mutant, met, ..Options::default() }).record.outcome.verdict
}

const fn made(bug: Bug, mode: Mode, scenario: &'static str, breaks: &'static [&'static str]) -> MadeFor {
    MadeFor { bug: Planted::Code(bug), scenario, mode, breaks }
}

/// The properties that a node breaks if it has forgotten what it promised.
const FORGOTTEN: &[&str] = &[
    "one vote a term",
    "election safety",
    "leader completeness",
    "state-machine safety",
    "log matching",
    "linearizable",
];

/// The property that is broken if the fault ledger shows that a fault did not have its expected effect.
pub const INERT: &str = "inert";

const fn of_world(bug: WorldBug, scenario: &'static str, breaks: &'static [&'static str]) -> MadeFor {
    MadeFor { bug: Planted::World(bug), scenario, mode: Mode::Cp, breaks }
}

/// Bugs that no scenario exposes any more, because another guard prevents their effect. The core's own storm tests find
/// them.
pub const FOUND_BY_CORE_TESTS: &[Bug] = &[Bug::DotReused];

/// The scenario made for each bug. Bugs of the world that are not listed are found by the conformance suite.
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
    made(
        Bug::CommitBeyondMatch,
        Mode::Cp,
        "figure-8",
        &["state-machine safety", "leader completeness", "linearizable", "assertion", "equal states"],
    ),
    made(Bug::CompactPastPin, Mode::Cp, "slow-follower", &["catch-up"]),
    made(Bug::ChunkRestartsAtZero, Mode::Cp, "slow-follower", &["catch-up"]),
    made(Bug::StaleSnapshotInstalled, Mode::Cp, "late-snapshots", &["assertion"]),
    made(Bug::TombstoneRevisionRestarts, Mode::Cp, "acked-is-durable", &["linearizable", "revisions never go back"]),
    made(Bug::ApplyDiffers, Mode::Cp, "acked-is-durable", &["equal states"]),
    made(Bug::ExpireOnWallClock, Mode::Cp, "expiry-wrong-clocks", &["expiry"]),
    made(Bug::ExpireEarly, Mode::Cp, "expiry", &["expiry"]),
    made(Bug::ExtendIgnored, Mode::Cp, "expiry", &["expiry"]),
    made(Bug::ExpireNever, Mode::Cp, "expiry", &["expiry"]),
    made(
        Bug::DirectoryUnchecked,
        Mode::Cp,
        "first-boot-on-a-foreign-directory",
        &["leader completeness", "state-machine safety", "linearizable"],
    ),
    made(Bug::AmnesiacVotes, Mode::Cp, "amnesia", FORGOTTEN),
    made(Bug::PeersForget, Mode::Cp, "amnesia", FORGOTTEN),
    made(Bug::RollbackUnnoticed, Mode::Cp, "old-copy", FORGOTTEN),
    made(Bug::IncarnationReused, Mode::Cp, "old-copy", FORGOTTEN),
    made(Bug::LeaseOutlivesPromise, Mode::Cp, "lease-reads", &["linearizable"]),
    made(Bug::AntiEntropyDead, Mode::Ap, "sweep-alone", &["convergence"]),
    made(Bug::LocalQuorumAnywhere, Mode::Ap, "local-quorums", &[LATEST, NONE_RESURRECTED, FORWARD]),
    made(Bug::ReadGoesBackwards, Mode::Ap, "reads-go-forward", &[FORWARD]),
    made(Bug::MergeTakesFirst, Mode::Ap, "sets", &[NONE_LOST, LATEST]),
    made(Bug::RegisterUndated, Mode::Ap, "registers", &[NONE_LOST, LATEST]),
    made(Bug::PruneLiveClock, Mode::Ap, "short-lives", &[NONE_RESURRECTED, "convergence", NONE_LOST]),
    made(Bug::LevelIgnored, Mode::Ap, "levels-strict", &[LATEST, NONE_RESURRECTED, FORWARD]),
    made(Bug::AckBeforeW, Mode::Ap, "strict-quorum", &[LATEST, NONE_RESURRECTED, NONE_LOST]),
    made(Bug::HintsForgotten, Mode::Ap, "holders-restart", &[NONE_LOST]),
    made(Bug::SiblingDropped, Mode::Ap, "red-blue-purple", &[NONE_LOST]),
    made(Bug::DotNotAdvanced, Mode::Ap, "hot-key", &["one dot, one write"]),
    made(Bug::TombstoneByTimer, Mode::Ap, "tombstone-and-the-absent", &[NONE_RESURRECTED]),
    made(Bug::RepairOlder, Mode::Ap, "slow-replica", &[NONE_LOST]),
    made(Bug::ContextUnchecked, Mode::Ap, "confused-clients", &[NONE_LOST, NONE_RESURRECTED, LATEST]),
    made(Bug::AmnesiacCoordinates, Mode::Ap, "drive-forgets", &[IDLE]),
    made(Bug::OldCopyKept, Mode::Ap, "drive-forgets", &[NONE_RESURRECTED]),
    made(Bug::VersionsOutOfOrder, Mode::Ap, "red-blue-purple", &[READS_BACK]),
    made(Bug::ForwardedTwice, Mode::Ap, "passed-on-twice", &[NONE_RESURRECTED, ONCE]),
    made(
        Bug::SecretIgnored,
        Mode::Cp,
        "impostor",
        &[
            "state-machine safety",
            "log matching",
            "leader completeness",
            "linearizable",
            "commits in order",
            "recovery",
        ],
    ),
    made(Bug::AbsurdTermAccepted, Mode::Cp, "forged-term", &["progress"]),
    made(Bug::DrainSkipped, Mode::Cp, "rolling-stop", &["no long outage"]),
    of_world(WorldBug::OneWayIgnored, "one-way-partition", &[INERT]),
    of_world(WorldBug::FramesNeverLost, "lossy-links", &[INERT]),
    of_world(WorldBug::UnsyncedKept, "torn-writes", &[INERT]),
    of_world(WorldBug::SyncErrorsHidden, "fsync-fails", &[INERT, "promises outlive crashes", "recovery", "assertion"]),
    of_world(WorldBug::JumpsIgnored, "clock-jumps-and-drift", &[INERT]),
    of_world(WorldBug::UnknownAsFailed, "leader-isolated", &["linearizable"]),
    MadeFor {
        bug: Planted::World(WorldBug::QueuesUnbounded),
        scenario: "narrow-link",
        mode: Mode::Ap,
        // The traffic queued for n3 may also take longer than the run.
        breaks: &["memory budget", NONE_RESURRECTED, "convergence"],
    },
    made(Bug::ControlBehindBulk, Mode::Cp, "overload-groups", &["no elections", "goodput"]),
    made(Bug::NoRetryAfter, Mode::Ap, "overload-crowd", &["goodput", "progress"]),
    made(Bug::QueueOverrun, Mode::Ap, "overload-beside", &["goodput", "progress"]),
    made(Bug::BusyNever, Mode::Cp, "overload-groups", &["no elections", "goodput", "progress"]),
    made(Bug::BudgetIgnored, Mode::Ap, "stalled-disk", &["memory budget"]),
    made(Bug::AntiEntropyOfValues, Mode::Ap, "flaps", &["goodput", "progress"]),
    made(Bug::StaleAnswersCount, Mode::Cp, "late-replies", FORGOTTEN),
    made(Bug::PiecesAsTheyCome, Mode::Cp, "late-chunks", &["recovery", "equal states", "assertion"]),
    made(Bug::HeartbeatBehindDisk, Mode::Cp, "stalled-disks", &["no elections"]),
    made(
        Bug::HeartbeatAcksUndurable,
        Mode::Cp,
        "acked-is-durable",
        &["promises outlive crashes", "leader completeness", "linearizable"],
    ),
    made(Bug::UnreadablePieceStops, Mode::Cp, "latent-errors", &["no elections"]),
    made(Bug::NoiseIsTorn, Mode::Cp, "garbled-blocks", &["promises outlive crashes", "leader completeness"]),
    made(Bug::BusyStartsOver, Mode::Cp, "many-transfers", &["catch-up", "convergence"]),
    made(Bug::LeaseFromAnswer, Mode::Cp, "lease-one-way", &["linearizable"]),
    made(Bug::RollbackUnnoticed, Mode::Cp, "fsync-lies", FORGOTTEN),
    made(Bug::AmnesiacCounts, Mode::Cp, "amnesia", FORGOTTEN),
    made(Bug::ProbeOnReorder, Mode::Cp, "reordered-appends", &["entries sent once"]),
    made(Bug::DigestUnchecked, Mode::Cp, "altered-state", &["linearizable"]),
    made(Bug::RevisionsReused, Mode::Cp, "many-deletes", &["revisions never go back"]),
    made(Bug::KvTombstonesKept, Mode::Cp, "many-deletes", &["tombstones collected"]),
    made(Bug::ForgottenAtOnce, Mode::Ap, "late-writes-and-deletes", &[NONE_RESURRECTED]),
    made(Bug::TombstonesKept, Mode::Ap, "late-writes-and-deletes", &["tombstones collected"]),
];
