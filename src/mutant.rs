//! Planted bugs: the proof that the oracles bite.
//!
//! A checker counts as working only once it has caught a bug. Each [`Bug`] is a mistake real systems have shipped; the
//! code that commits it asks [`Mutant::is`] at the one place where it goes wrong. Without the cargo feature `mutants`,
//! which only the simulator's build switches on, a `Mutant` cannot be made to hold a bug and every question is the
//! constant `false`.

/// A mistake that can be planted by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A node sends what promises durability before its fsync has returned (node/driver.rs).
    AckBeforeFsync,
    /// A vote is not persisted, so a restarted node votes twice in one term (raft/).
    VoteTwice,
    /// A leader commits an entry of an older term by counting replicas: figure 8 of the Raft paper (raft/).
    CommitOldTerm,
    /// A leader answers reads without asking a majority whether it still leads (raft/).
    StaleRead,
    /// A snapshot leaves out the session table, so a retried write is applied twice (kv/).
    ForgetSessions,
    /// Recovery believes the log's sectors without looking at their checksums (storage/).
    SkipChecksum,
}

impl Bug {
    /// Every bug there is.
    pub const ALL: [Bug; 6] = [
        Bug::AckBeforeFsync,
        Bug::VoteTwice,
        Bug::CommitOldTerm,
        Bug::StaleRead,
        Bug::ForgetSessions,
        Bug::SkipChecksum,
    ];

    /// The name used on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bug::AckBeforeFsync => "ack-before-fsync",
            Bug::VoteTwice => "vote-twice",
            Bug::CommitOldTerm => "commit-old-term",
            Bug::StaleRead => "stale-read",
            Bug::ForgetSessions => "forget-sessions",
            Bug::SkipChecksum => "skip-checksum",
        }
    }
}

/// At most one planted bug; none by default, and none possible without the feature `mutants`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mutant(Option<Bug>);

impl Mutant {
    /// A mutant with `bug` planted.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn planted(bug: Bug) -> Mutant {
        Mutant(Some(bug))
    }

    /// Whether `bug` is the one planted.
    #[must_use]
    #[inline]
    pub fn is(self, bug: Bug) -> bool {
        cfg!(feature = "mutants") && self.0 == Some(bug)
    }
}
