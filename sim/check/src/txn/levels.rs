//! Isolation levels, their implications, and the anomalies that each level forbids.
//!
//! Definitions: Adya, "Weak Consistency" (1999) for PL-1, PL-2, PL-CS, PL-2.99 and PL-3; Cerone, Bernardi and Gotsman,
//! "A Framework for Transactional Consistency Models with Atomic Visibility" (2015) for read atomic, parallel snapshot
//! isolation and prefix consistency. Cerone and Gotsman, "Analysing Snapshot Isolation" (2016) and Cerone, Gotsman and
//! Yang, "Algebraic Laws for Weak Consistency" (2017) characterize these levels by cycles: parallel snapshot isolation
//! forbids cycles with one anti-dependency, prefix consistency those in which each anti-dependency follows a read
//! dependency, snapshot isolation those in which no two anti-dependencies are adjacent. The strong and session variants
//! add real time and the order within each client to the dependencies. Cerone's levels include the order within each
//! client; here the `strong-session` levels do.
//!
//! Caveats: there are no predicates here, only items, so repeatable read (PL-2.99) forbids the same cycles as
//! serializability (PL-3). Reads that contradict each other within one transaction (`internal`, `non-repeatable read`)
//! rule out the levels that Elle says: read atomic and every level that implies it, but not repeatable read.

use std::fmt;

/// An isolation level: what a database guarantees about its transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isolation {
    /// PL-1: writes are not interleaved.
    ReadUncommitted,
    /// PL-2: read uncommitted, and no transaction reads an aborted or intermediate write, or depends on itself.
    ReadCommitted,
    /// PL-CS: read committed, and no update of an item is lost to another update.
    CursorStability,
    /// All or none of a transaction's writes are visible, and its reads agree with each other.
    ReadAtomic,
    /// PL-2.99: serializable as far as items, not predicates, are concerned.
    RepeatableRead,
    /// Each site has its own snapshots: a client that reads twice may see two commits in another order than another
    /// client.
    ParallelSnapshotIsolation,
    /// Reads come from a prefix of the commits; concurrent writers may overwrite each other.
    PrefixConsistency,
    /// Reads come from a snapshot, and only one of two concurrent writers of an object commits.
    SnapshotIsolation,
    /// Snapshot isolation, and a client's snapshots contain what it did and saw before.
    StrongSessionSnapshotIsolation,
    /// The same, and every snapshot contains everything that had committed before it was taken.
    StrongSnapshotIsolation,
    /// PL-3: equivalent to an execution of one transaction after the other.
    Serializable,
    /// Serializable, and each client's transactions are in the order in which it ran them.
    StrongSessionSerializable,
    /// Serializable, and all transactions are in an order that fits real time.
    StrictSerializable,
}

use Isolation::{
    CursorStability, ParallelSnapshotIsolation, PrefixConsistency, ReadAtomic, ReadCommitted, ReadUncommitted,
    RepeatableRead, Serializable, SnapshotIsolation, StrictSerializable, StrongSessionSerializable,
    StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
};

impl Isolation {
    /// All levels. No level comes before a level that it implies.
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

    /// Its description, as it reads after "is" or "is not".
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

    /// Returns the level of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Isolation> {
        Isolation::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Returns the next weaker levels.
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

    /// Whether everything that has this level also has the other.
    #[must_use]
    pub fn implies(self, other: Isolation) -> bool {
        // This ends: a chain of weaker levels is at most as long as there are levels.
        self == other || self.weaker().iter().any(|level| level.implies(other))
    }

    /// Whether it asks for an order of the transactions, or only for an order of each object's versions. Then the
    /// dependencies that reads of lists show decide it, whatever the order of appends that no read saw.
    pub(super) fn is_ordinary(self) -> bool {
        self.implies(RepeatableRead) || matches!(self, ReadUncommitted | ReadCommitted)
    }

    /// Whether a history without anomalies has it, whatever the order of the writes to registers: their order can then
    /// be chosen to fit the dependencies that exist.
    pub(super) fn needs_no_order(self) -> bool {
        matches!(self, ReadUncommitted | ReadCommitted)
    }

    /// Whether the level forbids an anomaly of this name.
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

/// Returns the weakest levels that forbid an anomaly.
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
