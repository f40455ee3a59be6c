//! Planted bugs, which prove that the checkers detect bugs.
//!
//! A checker counts as working only once it has caught a bug. Each [`Bug`] is a mistake that real systems have shipped.
//! The code that commits it asks [`Mutant::is`] at the one place where it goes wrong. Without the cargo feature
//! `mutants`, which only the simulator's build enables, a `Mutant` cannot hold a bug and every query is the constant
//! `false`.

/// Defines an enum of bugs that can be planted by name. Each entry gives a bug's description, its name in code and its
/// name on the command line.
#[macro_export]
macro_rules! bugs {
    ($(#[$meta:meta])* pub enum $bugs:ident; $($(#[doc = $what:literal])+ $bug:ident = $name:literal,)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $bugs {
            $($(#[doc = $what])+ $bug,)*
        }

        impl $bugs {
            /// Every bug there is.
            pub const ALL: &[$bugs] = &[$($bugs::$bug),*];

            /// The name used on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($bugs::$bug => $name,)*
                }
            }

            /// What it does, and where.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $($bugs::$bug => concat!($($what),+).trim_ascii(),)*
                }
            }
        }
    };
}

bugs! {
    /// A mistake that can be planted by name.
    pub enum Bug;

    /// A node sends what promises durability before its fsync has returned (node/gate.rs).
    AckBeforeFsync = "ack-before-fsync",
    /// A vote is not persisted, so a restarted node votes twice in one term (raft/).
    VoteTwice = "vote-twice",
    /// A leader commits an entry of an older term by counting replicas: figure 8 of the Raft paper (raft/).
    CommitOldTerm = "commit-old-term",
    /// A leader answers reads without asking a majority whether it still leads (raft/).
    StaleRead = "stale-read",
    /// A deleted key's next write begins with revision 0 again (kv/).
    TombstoneRevisionRestarts = "tombstone-revision-restarts",
    /// One replica applies an entry now and then as if it were empty (node/group.rs).
    ApplyDiffers = "apply-differs",
    /// The leader counts the group's time by its date (node/group.rs).
    ExpireOnWallClock = "expire-on-wall-clock",
    /// A snapshot leaves out the session table, so a retried write is applied twice (kv/).
    ForgetSessions = "forget-sessions",
    /// A follower commits up to the leader's commit index entries of its own log that the leader has not confirmed
    /// (raft/).
    CommitBeyondMatch = "commit-beyond-match",
    /// A follower answers no heartbeat before its disk has written what it was sent (raft/).
    HeartbeatBehindDisk = "heartbeat-behind-disk",
    /// A follower whose disk is busy answers a heartbeat with what it will have written (raft/).
    HeartbeatAcksUndurable = "heartbeat-acks-undurable",
    /// A leader compacts the log that a follower still needs after the snapshot it is sent (raft/).
    CompactPastPin = "compact-past-pin",
    /// A piece of a snapshot that is lost or put off sends the transfer back to its first byte (raft/).
    ChunkRestartsAtZero = "chunk-restarts-at-zero",
    /// A follower installs a snapshot that its log has passed (raft/).
    StaleSnapshotInstalled = "stale-snapshot-installed",
    /// Recovery believes the log's sectors without looking at their checksums (storage/).
    SkipChecksum = "skip-checksum",
    /// A failed fsync is tried again, and its success believed (storage/).
    RetryFsync = "retry-fsync",
    /// Recovery trusts the last batch that it reads, without writing and syncing it again (storage/).
    TailNotRewritten = "tail-not-rewritten",
    /// A write that finds the disk full is taken for done (storage/).
    FullDiskIgnored = "full-disk-ignored",
    /// A sector's checksum leaves out its head, and one that does not fit is taken for a torn batch's (storage/).
    HeaderUnchecked = "header-unchecked",
    /// A snapshot is believed without looking at its checksums (storage/).
    SnapshotUnchecked = "snapshot-unchecked",
    /// A node opens whatever data directory it is given, without looking whose it is (storage/).
    DirectoryUnchecked = "directory-unchecked",
    /// A node that returns with an empty directory is taken by its peers for what it was (identity/).
    AmnesiacVotes = "amnesiac-votes",
    /// A node that starts again has forgotten whose data directories it knew (identity/).
    PeersForget = "peers-forget",
    /// A node that returns with a shorter log than it had claimed is taken for what it was (identity/).
    RollbackUnnoticed = "rollback-unnoticed",
    /// A process starts under the number of the one before (storage/).
    IncarnationReused = "incarnation-reused",
    /// A coordinator acknowledges a write that fewer replicas hold than it should wait for (dynamo/).
    AckBeforeW = "ack-before-w",
    /// The holder of hints forgets them when it starts again (dynamo/).
    HintsForgotten = "hints-forgotten",
    /// Merging two replicas' versions keeps only one of several (dynamo/).
    SiblingDropped = "sibling-dropped",
    /// A coordinator gives two writes the same dot (dynamo/).
    DotNotAdvanced = "dot-not-advanced",
    /// A tombstone is dropped after a fixed time, also when a replica has not heard of it (dynamo/).
    TombstoneByTimer = "tombstone-by-timer",
    /// Read repair writes what a replica said, not what all of them together say (dynamo/).
    RepairOlder = "repair-older",
    /// A causal context is believed without looking at its checksum and key (dynamo/).
    ContextUnchecked = "context-unchecked",
    /// Half of its time to live is enough for a key to be gone (kv/).
    ExpireEarly = "expire-early",
    /// An extension is acknowledged and leaves the deadline where it was (kv/).
    ExtendIgnored = "extend-ignored",
    /// A write with a time to live keeps its key for ever (kv/).
    ExpireNever = "expire-never",
    /// A node never goes through the keys that it shares with one that comes back (dynamo/).
    AntiEntropyDead = "anti-entropy-dead",
    /// A local quorum counts replicas of any region (dynamo/).
    LocalQuorumAnywhere = "local-quorum-anywhere",
    /// A read returns before those that it found behind are brought up to date (dynamo/).
    ReadGoesBackwards = "read-goes-backwards",
    /// A write to a mergeable value takes one of several concurrent versions for the whole (dynamo/).
    MergeTakesFirst = "merge-takes-first",
    /// Assignments to a register have no date, so their names decide which one wins (dynamo/).
    RegisterUndated = "register-undated",
    /// Idle clock entries are pruned whether or not all know that they are settled (dynamo/).
    PruneLiveClock = "prune-live-clock",
    /// A write is held to the bucket's level, whatever level it asks for (dynamo/).
    LevelIgnored = "level-ignored",
    /// A leader trusts its lease for longer than its followers have promised (raft/).
    LeaseOutlivesPromise = "lease-outlives-promise",
    /// A forwarded write that arrives twice is carried out twice (dynamo/).
    ForwardedTwice = "forwarded-twice",
    /// Servers make their proofs with a key that everybody knows instead of the cluster's secret (node/tcp/).
    SecretIgnored = "secret-ignored",
    /// A member follows a peer to whatever term it names (raft/).
    AbsurdTermAccepted = "absurd-term-accepted",
    /// A server that is told to stop ends without handing over what it leads (node/drain.rs).
    DrainSkipped = "drain-skipped",
    /// A coordinator that starts again goes on counting where its disk says it was, whatever that has lost
    /// (dynamo/store.rs).
    DotReused = "dot-reused",
    /// A node that has lost what it held coordinates all the same (dynamo/coordinator/).
    AmnesiacCoordinates = "amnesiac-coordinates",
    /// A node keeps an old copy of its data though deletes that it had heard of have been forgotten since
    /// (dynamo/rejoin.rs).
    OldCopyKept = "old-copy-kept",
    /// Merging leaves versions in an order in which they cannot be read back from the log (dynamo/siblings.rs).
    VersionsOutOfOrder = "versions-out-of-order",
    /// Heartbeats, votes and acknowledgements stand behind bulk data (node/outbound.rs).
    ControlBehindBulk = "control-behind-bulk",
    /// A node takes in all that it is asked for, and takes all of it in one turn (node/admission.rs, node/driver.rs).
    BusyNever = "busy-never",
    /// Who is refused as busy is told to come again at once, and comes at its own pace (node/admission.rs).
    NoRetryAfter = "no-retry-after",
    /// A node takes on more than the queue to a peer holds: what is sent is dropped and sent again (node/memory.rs).
    QueueOverrun = "queue-overrun",
    /// What piles up before a disk is not held against the memory budget (node/memory.rs).
    BudgetIgnored = "budget-ignored",
    /// Anti-entropy reads whole values of all keys instead of comparing digests (dynamo/).
    AntiEntropyOfValues = "anti-entropy-of-values",
    /// Answers of an older term count as if they were of the present one (raft/).
    StaleAnswersCount = "stale-answers-count",
    /// A leader counts its lease from when a round is answered, not from when it began (raft/).
    LeaseFromAnswer = "lease-from-answer",
    /// A reordered append sends its follower back to probing, and what is under way is sent again (raft/).
    ProbeOnReorder = "probe-on-reorder",
    /// A follower puts the pieces of a snapshot together in the order in which they come, and believes the file (raft/,
    /// storage/).
    PiecesAsTheyCome = "pieces-as-they-come",
    /// A node takes pieces of all groups' snapshots at once, and a piece for which it has no room sends its transfer
    /// back to the first (node/turn.rs, raft/).
    BusyStartsOver = "busy-starts-over",
    /// A server stops over a piece of a snapshot that it cannot read for a follower (node/jobs.rs).
    UnreadablePieceStops = "unreadable-piece-stops",
    /// Recovery takes noise for the torn end of the log (storage/).
    NoiseIsTorn = "noise-is-torn",
    /// A node that knows that it has lost data counts in Raft groups all the same (node/standing.rs, identity/).
    AmnesiacCounts = "amnesiac-counts",
    /// Members do not compare the digests of their states (node/group.rs).
    DigestUnchecked = "digest-unchecked",
    /// A key whose tombstone is gone begins with revision 0 again (kv/).
    RevisionsReused = "revisions-reused",
    /// A state machine keeps every tombstone (kv/).
    KvTombstonesKept = "kv-tombstones-kept",
    /// A tombstone goes as soon as all replicas hold it, whatever is still under way (dynamo/tombstone_gc.rs).
    ForgottenAtOnce = "forgotten-at-once",
    /// Replicas keep every tombstone (dynamo/tombstone_gc.rs).
    TombstonesKept = "tombstones-kept",
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
