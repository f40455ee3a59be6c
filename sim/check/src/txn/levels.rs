//! Isolation levels, how they imply each other, and which anomaly each of them forbids.
//!
//! Definitions: Adya, "Weak Consistency" (1999) for PL-1, PL-2, PL-CS, PL-2.99 and PL-3; Cerone, Bernardi and Gotsman, "A
//! Framework for Transactional Consistency Models with Atomic Visibility" (2015) for read atomic, parallel snapshot isolation
//! and prefix consistency; Cerone and Gotsman, "Analysing Snapshot Isolation" (2016) and Cerone, Gotsman and Yang, "Algebraic
//! Laws for Weak Consistency" (2017) for what these are as cycles: parallel snapshot isolation forbids those with one
//! anti-dependency, prefix consistency those in which each anti-dependency follows a read dependency, snapshot isolation
//! those in which no two anti-dependencies are adjacent. The strong and session variants add real time and the order within
//! each client to the dependencies. Cerone's levels include the order within each client; here the `strong-session` ones do.
//!
//! Caveats: there are no predicates here, only items, so repeatable read (PL-2.99) forbids the cycles that serializability
//! (PL-3) forbids. Reads that contradict each other within one transaction (`internal`, `non-repeatable read`) rule out what
//! Elle says they do: read atomic and what implies it, so not repeatable read.

use std::fmt;

/// What a database promises of its transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isolation {
    /// PL-1: writes are not interleaved.
    ReadUncommitted,
    /// PL-2: and nothing is read that was aborted, half done, or depends on itself.
    ReadCommitted,
    /// PL-CS: and no update of an item is lost to another.
    CursorStability,
    /// A transaction's writes are seen all or none, and its reads agree with each other.
    ReadAtomic,
    /// PL-2.99: serializable as far as items, not predicates, are concerned.
    RepeatableRead,
    /// Each site has snapshots of its own: who reads twice may see two commits in different orders than another.
    ParallelSnapshotIsolation,
    /// Reads come from a prefix of the commits; concurrent writers may overwrite each other.
    PrefixConsistency,
    /// Reads come from a snapshot, and of two concurrent writers of an object only one commits.
    SnapshotIsolation,
    /// And a client's snapshots contain what it did and saw before.
    StrongSessionSnapshotIsolation,
    /// And every snapshot contains all that had committed before it was taken.
    StrongSnapshotIsolation,
    /// PL-3: as if one transaction ran after the other.
    Serializable,
    /// And each client's in the order in which it ran them.
    StrongSessionSerializable,
    /// And all of them in an order that fits real time.
    StrictSerializable,
}

use Isolation::{
    CursorStability, ParallelSnapshotIsolation, PrefixConsistency, ReadAtomic, ReadCommitted, ReadUncommitted,
    RepeatableRead, Serializable, SnapshotIsolation, StrictSerializable, StrongSessionSerializable,
    StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
};

impl Isolation {
    /// All levels; none comes before one that it implies.
    pub const ALL: [Isolation; 13] = [
        ReadUncommitted,
        ReadCommitted,
        CursorStability,
        ReadAtomic,
        RepeatableRead,
        ParallelSnapshotIsolation,
        PrefixConsistency,
        SnapshotIsolation,
        StrongSessionSnapshotIsolation,
        StrongSnapshotIsolation,
        Serializable,
        StrongSessionSerializable,
        StrictSerializable,
    ];

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReadUncommitted => "read-uncommitted",
            ReadCommitted => "read-committed",
            CursorStability => "cursor-stability",
            ReadAtomic => "read-atomic",
            RepeatableRead => "repeatable-read",
            ParallelSnapshotIsolation => "parallel-snapshot-isolation",
            PrefixConsistency => "prefix",
            SnapshotIsolation => "snapshot-isolation",
            StrongSessionSnapshotIsolation => "strong-session-snapshot-isolation",
            StrongSnapshotIsolation => "strong-snapshot-isolation",
            Serializable => "serializable",
            StrongSessionSerializable => "strong-session-serializable",
            StrictSerializable => "strict-serializable",
        }
    }

    /// As it reads after "is" or "is not".
    #[must_use]
    pub fn property(self) -> &'static str {
        match self {
            ReadUncommitted => "isolated as read uncommitted",
            ReadCommitted => "isolated as read committed",
            CursorStability => "isolated as cursor stability",
            ReadAtomic => "read atomic",
            RepeatableRead => "isolated as repeatable read",
            ParallelSnapshotIsolation => "parallel snapshot isolated",
            PrefixConsistency => "prefix consistent",
            SnapshotIsolation => "snapshot isolated",
            StrongSessionSnapshotIsolation => "strong session snapshot isolated",
            StrongSnapshotIsolation => "strong snapshot isolated",
            Serializable => "serializable",
            StrongSessionSerializable => "strong session serializable",
            StrictSerializable => "strict serializable",
        }
    }

    /// The level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Isolation> {
        Isolation::ALL.into_iter().find(|level| level.name() == name)
    }

    /// The next weaker levels.
    fn weaker(self) -> &'static [Isolation] {
        match self {
            ReadUncommitted => &[],
            ReadCommitted => &[ReadUncommitted],
            CursorStability | ReadAtomic => &[ReadCommitted],
            RepeatableRead => &[CursorStability],
            ParallelSnapshotIsolation => &[CursorStability, ReadAtomic],
            PrefixConsistency => &[ReadAtomic],
            SnapshotIsolation => &[ParallelSnapshotIsolation, PrefixConsistency],
            StrongSessionSnapshotIsolation => &[SnapshotIsolation],
            StrongSnapshotIsolation => &[StrongSessionSnapshotIsolation],
            Serializable => &[RepeatableRead, SnapshotIsolation],
            StrongSessionSerializable => &[Serializable, StrongSessionSnapshotIsolation],
            StrictSerializable => &[StrongSessionSerializable, StrongSnapshotIsolation],
        }
    }

    /// Whether whatever has this level has the other too.
    #[must_use]
    pub fn implies(self, other: Isolation) -> bool {
        // A chain of weaker levels is at most as long as there are levels.
        self == other || self.weaker().iter().any(|level| level.implies(other))
    }

    /// Whether it asks for an order of the transactions, or for nothing but the order of each object's versions: then the
    /// dependencies that reads of lists show decide it, whatever the order of appends that no read saw.
    pub(super) fn is_ordinary(self) -> bool {
        self.implies(RepeatableRead) || matches!(self, ReadUncommitted | ReadCommitted)
    }

    /// Whether a history without anomalies has it, whatever order the writes to registers came in: their order can then be
    /// chosen along the dependencies that there are.
    pub(super) fn needs_no_order(self) -> bool {
        matches!(self, ReadUncommitted | ReadCommitted)
    }

    /// Whether an anomaly of this name is forbidden.
    #[must_use]
    pub fn forbids(self, anomaly: &str) -> bool {
        weakest(anomaly).iter().any(|&level| self.implies(level))
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('-', " "))
    }
}

/// The weakest levels that forbid an anomaly.
pub(super) fn weakest(anomaly: &str) -> &'static [Isolation] {
    match anomaly {
        "G0" | "duplicate elements" | "misordered appends" | "phantom value" => &[ReadUncommitted],
        "G1a" | "G1b" | "G1c" | "dirty update" | "incompatible order" | "future read" | "cyclic versions" => {
            &[ReadCommitted]
        }
        "lost update" | "G-cursor" => &[CursorStability],
        "internal" | "non-repeatable read" => &[ReadAtomic],
        "fractured read" => &[ReadAtomic, RepeatableRead],
        "G-single" => &[RepeatableRead, ParallelSnapshotIsolation],
        "G-nonadjacent" => &[RepeatableRead, SnapshotIsolation],
        "no serial order" => &[RepeatableRead],
        "no serial order-process" => &[StrongSessionSerializable],
        "no serial order-realtime" => &[StrictSerializable],
        "G2-item" => &[RepeatableRead],
        "G0-process" | "G1c-process" | "G-single-process" | "G-nonadjacent-process" => {
            &[StrongSessionSnapshotIsolation]
        }
        "G2-item-process" => &[StrongSessionSerializable],
        "G0-realtime" | "G1c-realtime" | "G-single-realtime" | "G-nonadjacent-realtime" => &[StrongSnapshotIsolation],
        "G2-item-realtime" => &[StrictSerializable],
        _ => &[],
    }
}
