//! Which scenario finds which planted bug, and by which property: the table that tests and the report of planted bugs go by.

use crate::report::Mode;
use seaworthy::mutant::Bug;
use seaworthy_check::replicas::{LATEST, NONE_LOST, NONE_RESURRECTED, ONCE};

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
    made(Bug::AckBeforeW, Mode::Ap, "strict-quorum", &[LATEST, NONE_RESURRECTED, NONE_LOST]),
    made(Bug::HintsForgotten, Mode::Ap, "holders-restart", &[NONE_LOST]),
    made(Bug::SiblingDropped, Mode::Ap, "red-blue-purple", &[NONE_LOST]),
    made(Bug::DotNotAdvanced, Mode::Ap, "hot-key", &["one dot, one write"]),
    made(Bug::TombstoneByTimer, Mode::Ap, "tombstone-and-the-absent", &[NONE_RESURRECTED]),
    made(Bug::RepairOlder, Mode::Ap, "slow-replica", &[NONE_LOST]),
    made(Bug::ContextUnchecked, Mode::Ap, "confused-clients", &[NONE_LOST, NONE_RESURRECTED, LATEST]),
    made(Bug::ForwardedTwice, Mode::Ap, "passed-on-twice", &[NONE_RESURRECTED, ONCE]),
];
