//! Bugs that can be planted in the simulated world itself. They prove that a world that is more lenient than it claims
//! is detected, by the conformance suite (sim/tests/conformance), by the fault ledger or by the checkers.

seaworthy::bugs! {
    /// A mistake of the simulated world that can be planted by name.
    pub enum WorldBug;

    /// A cut of one direction only is ignored (world/net).
    OneWayIgnored = "one-way-ignored",
    /// Frames are never lost by chance (world/net).
    FramesNeverLost = "frames-never-lost",
    /// A frame arrives at once, whatever the latency (world/net).
    LatencyIgnored = "latency-ignored",
    /// Frames overtake each other though nothing reorders them (world/net).
    OvertakenUnasked = "overtaken-unasked",
    /// What waits to be sent on a link has no limit (world/net).
    QueuesUnbounded = "queues-unbounded",
    /// What a dead process had not read is given to the next one (world/net).
    MailOutlives = "mail-outlives",
    /// A power failure loses nothing (world/disk).
    UnsyncedKept = "unsynced-kept",
    /// A sync that fails says that it succeeded (world/disk).
    SyncErrorsHidden = "sync-errors-hidden",
    /// A read past the end of a file gives zeros (world/disk).
    PastEndReads = "past-end-reads",
    /// A jump of the wall clock is not applied (world/clock).
    JumpsIgnored = "clock-jumps-ignored",
    /// A sleep ends a millisecond too early (world/clock).
    SleepsEndEarly = "sleeps-end-early",
    /// An operation of unknown outcome is recorded as one that failed (run/workload).
    UnknownAsFailed = "unknown-as-failed",
}
