//! How a bucket is kept: by Raft or by quorums; for quorums, by which ones and with what rule for concurrent writes.
//!
//! N, R and W are Dynamo's (§4.5 of the paper): N replicas, of which a read asks R, and W of which must hold a write
//! before it is acknowledged. R + W > N makes a read meet every acknowledged write, but only while quorums are strict,
//! [`Resolve::LastWriter`] does not discard concurrent writes, and no disk is lost (design §5).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Most replicas of a key in a bucket of quorums.
pub const MAX_REPLICAS: u8 = 7;

/// How many replicas an operation waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Level {
    /// Any one.
    One,
    /// A majority of N.
    Quorum,
    /// All N.
    All,
    /// A majority of those of N that are in the coordinator's region.
    LocalQuorum,
    /// This many; at most N.
    Count(u8),
}

impl Level {
    /// The number of replicas this level requires, given `replicas` in total and `local` in the coordinator's region: 1
    /// to `replicas`.
    #[must_use]
    pub fn of(self, replicas: usize, local: usize) -> usize {
        let wanted = match self {
            Level::One => 1,
            Level::Quorum => replicas / 2 + 1,
            Level::All => replicas,
            Level::LocalQuorum => local / 2 + 1,
            Level::Count(count) => usize::from(count),
        };
        wanted.clamp(1, replicas.max(1))
    }

    /// Reads what [`Display`](fmt::Display) writes: `one`, `quorum`, `all`, `local-quorum` or a number from 1.
    #[must_use]
    pub fn parse(text: &str) -> Option<Level> {
        Some(match text {
            "one" => Level::One,
            "quorum" => Level::Quorum,
            "all" => Level::All,
            "local-quorum" => Level::LocalQuorum,
            number => Level::Count(number.parse().ok().filter(|n| (1..=MAX_REPLICAS).contains(n))?),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::One => f.write_str("one"),
            Level::Quorum => f.write_str("quorum"),
            Level::All => f.write_str("all"),
            Level::LocalQuorum => f.write_str("local-quorum"),
            Level::Count(count) => write!(f, "{count}"),
        }
    }
}

/// The mergeable types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum MergeKind {
    /// A counter that only grows.
    Counter,
    /// A counter that goes up and down.
    PnCounter,
    /// A register: the write with the latest stamp wins.
    Register,
    /// A set in which an add wins over a concurrent remove.
    Set,
    /// Named fields, each of a mergeable type of its own.
    Map,
}

impl MergeKind {
    /// Every kind with its name in configurations and scenarios.
    pub const ALL: [(&str, MergeKind); 5] = [
        ("counter", MergeKind::Counter),
        ("pn-counter", MergeKind::PnCounter),
        ("register", MergeKind::Register),
        ("set", MergeKind::Set),
        ("map", MergeKind::Map),
    ];
}

/// How concurrent writes are resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Resolve {
    /// All are kept; the reader decides.
    Siblings,
    /// The one with the latest stamp is kept. The others are lost although they were acknowledged; that is the policy.
    LastWriter,
    /// They are merged by the rules of a mergeable type.
    Merge(MergeKind),
}

impl Resolve {
    /// Reads what [`Display`](fmt::Display) writes: `siblings`, `last-writer`, or a mergeable type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Resolve> {
        match text {
            "siblings" => Some(Resolve::Siblings),
            "last-writer" => Some(Resolve::LastWriter),
            _ => MergeKind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| Resolve::Merge(*kind)),
        }
    }
}

impl fmt::Display for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resolve::Siblings => "siblings",
            Resolve::LastWriter => "last-writer",
            Resolve::Merge(kind) => MergeKind::ALL.iter().find(|(_, k)| k == kind).map_or("", |(name, _)| name),
        })
    }
}

/// The policy of a bucket of quorums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Replicas of each key, 1 to [`MAX_REPLICAS`]; in a smaller cluster every server is a replica.
    pub n: u8,
    /// How many replicas a read asks, unless the read says otherwise.
    pub r: Level,
    /// How many nodes must hold a write, unless the write says otherwise.
    pub w: Level,
    /// Whether a server further along the ring may stand in for a replica that cannot be reached.
    pub sloppy: bool,
    /// How concurrent writes are resolved.
    pub resolve: Resolve,
}

impl Default for Policy {
    /// Three replicas, quorums of two, sloppy, siblings.
    fn default() -> Policy {
        Policy { n: 3, r: Level::Quorum, w: Level::Quorum, sloppy: true, resolve: Resolve::Siblings }
    }
}

/// Which of the two databases keeps a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Raft groups.
    #[default]
    Cp,
    /// Quorums.
    Ap(Policy),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_replicas() {
        let of = |level: Level| [(1, 1), (3, 1), (3, 3), (5, 3)].map(|(n, local)| level.of(n, local));
        assert_eq!(of(Level::One), [1, 1, 1, 1]);
        assert_eq!(of(Level::Quorum), [1, 2, 2, 3]);
        assert_eq!(of(Level::All), [1, 3, 3, 5]);
        assert_eq!(of(Level::LocalQuorum), [1, 1, 2, 2]);
        assert_eq!(of(Level::Count(2)), [1, 2, 2, 2]);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for level in [Level::One, Level::Quorum, Level::All, Level::LocalQuorum, Level::Count(7)] {
            assert_eq!(Level::parse(&level.to_string()), Some(level));
        }
        assert_eq!(Level::parse("0"), None);
        assert_eq!(Level::parse("8"), None);
        for resolve in ["siblings", "last-writer", "counter", "pn-counter", "register", "set", "map"] {
            assert_eq!(Resolve::parse(resolve).map(|r| r.to_string()).as_deref(), Some(resolve));
        }
        assert_eq!(Resolve::parse("first-writer"), None);
    }
}
