//! Isolation levels, how they imply each other, and which anomaly each of them forbids.
//!
//! Definitions: Adya, "Weak Consistency" (1999) for PL-1, PL-2, PL-2.99 and PL-3; Cerone and Gotsman, "Analysing Snapshot
//! Isolation" (2016): snapshot isolation forbids exactly the cycles in which no two anti-dependencies are adjacent; the
//! strong and session variants add real time and the order within each client to the dependencies.
//!
//! Caveat: there are no predicates here, only items, so repeatable read (PL-2.99) forbids what serializability (PL-3) does.

use std::fmt;

/// What a database promises of its transactions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isolation {
    /// PL-1: writes are not interleaved.
    ReadUncommitted,
    /// PL-2: and nothing is read that was aborted, half done, or depends on itself.
    ReadCommitted,
    /// PL-2.99: serializable as far as items, not predicates, are concerned.
    RepeatableRead,
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
    ReadCommitted, ReadUncommitted, RepeatableRead, Serializable, SnapshotIsolation, StrictSerializable,
    StrongSessionSerializable, StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
};

impl Isolation {
    /// All levels; none comes before one that it implies.
    pub const ALL: [Isolation; 9] = [
        ReadUncommitted,
        ReadCommitted,
        RepeatableRead,
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
            RepeatableRead => "repeatable-read",
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
            RepeatableRead => "isolated as repeatable read",
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
            RepeatableRead | SnapshotIsolation => &[ReadCommitted],
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
        "internal" | "non-repeatable read" | "lost update" | "G-single" | "G-nonadjacent" => {
            &[RepeatableRead, SnapshotIsolation]
        }
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
