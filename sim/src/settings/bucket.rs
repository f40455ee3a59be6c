//! `[bucket]`: how quorums store keys, and which databases a scenario suits. Plans made before this section existed
//! have the defaults.

use super::fields::{Fields, Problem};
use super::sections::{section, within};
use super::setting::{Setting, words};
use seaworthy::types::{Level, MAX_REPLICAS, MergeKind, Policy, Resolve};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The database of a run. The order is the order of columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Raft groups.
    Cp,
    /// Dynamo-style quorums.
    Ap,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Cp => "CP",
            Mode::Ap => "AP",
        })
    }
}

impl Setting for Level {
    fn what() -> String {
        "one, quorum, all, local-quorum, or a number from 1 to 7".into()
    }
    fn parse(text: &str) -> Option<Self> {
        Level::parse(text)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Resolve {
    fn what() -> String {
        "siblings, last-writer, counter, pn-counter, register, set or map".into()
    }
    fn parse(text: &str) -> Option<Self> {
        Resolve::parse(text)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

words! {
    /// The databases that a scenario suits.
    Suits {
        /// Both: the same plan runs against each.
        Both = "both",
        /// Raft only: it is about elections, leases, logs.
        Cp = "cp",
        /// Quorums only: it is about stand-ins, siblings, tombstones.
        Ap = "ap",
    }
}

impl Suits {
    /// The databases in this set, CP first.
    #[must_use]
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Suits::Both => &[Mode::Cp, Mode::Ap],
            Suits::Cp => &[Mode::Cp],
            Suits::Ap => &[Mode::Ap],
        }
    }
}

words! {
    /// Which contexts clients of quorums pass with their writes.
    Contexts {
        /// A write first reads its key and passes the context of that read: it overwrites what is there.
        Read = "read",
        /// A write passes the context of what its client last saw of the key, however long ago.
        Seen = "seen",
        /// Writes never pass a context: each is concurrent with all others.
        Blind = "blind",
        /// As `read`, but one write in five passes a damaged context or another key's. It must be refused.
        Confused = "confused",
    }
}

words! {
    /// The consistency levels of operations.
    Levels {
        /// Every operation uses the bucket's levels.
        Bucket = "bucket",
        /// Each operation uses a random level: one, quorum or all.
        Mixed = "mixed",
    }
}

section! {
    /// `[bucket]`: the AP side of a scenario.
    Bucket {
        /// Under which databases the scenario means something: `both`, `cp` or `ap`.
        mode: Suits = Suits::Both,
        /// Replicas of each key.
        n: u32 = 3,
        /// How many a read asks: `one`, `quorum`, `all`, `local-quorum` or a number.
        r: Level = Level::Quorum,
        /// How many must hold a write.
        w: Level = Level::Quorum,
        /// Whether a server further along the ring may stand in for a replica that cannot be reached.
        sloppy: bool = true,
        /// What becomes of concurrent writes: `siblings` or `last-writer`; or the keys are of a mergeable type,
        /// `counter`, `pn-counter`, `register`, `set` or `map` (`mode = "ap"` only).
        resolve: Resolve = Resolve::Siblings,
        /// Which context a write gives: that of a read just before it (`read`), of what its client saw last of the key
        /// (`seen`), none (`blind`), or as `read` but for one in five that are damaged or another key's (`confused`).
        context: Contexts = Contexts::Read,
        /// Whether operations are done at the bucket's levels (`bucket`) or each at one, quorum or all, drawn
        /// (`mixed`).
        levels: Levels = Levels::Bucket,
        /// Whether as many other clients do the same operations in a CP bucket of the same servers meanwhile (`mode =
        /// "ap"` only).
        beside: bool = false,
    }
}

impl Bucket {
    /// The policy of the default bucket in an AP run.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let n = u8::try_from(self.n).unwrap_or(MAX_REPLICAS);
        Policy { n, r: self.r, w: self.w, sloppy: self.sloppy, resolve: self.resolve }
    }

    pub(crate) fn check(&self, fields: &Fields<'_>) -> Result<(), Problem> {
        within(fields, "n", u64::from(self.n), 1, u64::from(MAX_REPLICAS))?;
        for (name, level) in [("r", self.r), ("w", self.w)] {
            if let Level::Count(count) = level {
                within(fields, name, u64::from(count), 1, u64::from(self.n))?;
            }
        }
        if self.beside && self.mode != Suits::Ap {
            return Err(
                fields.problem("beside", "a run against Raft has a CP bucket already; expected `mode` to be ap")
            );
        }
        match self.resolve {
            Resolve::Siblings | Resolve::LastWriter => Ok(()),
            Resolve::Merge(kind) => self.check_merges(fields, kind),
        }
    }

    fn check_merges(&self, fields: &Fields<'_>, kind: MergeKind) -> Result<(), Problem> {
        if self.mode != Suits::Ap {
            let place = if fields.has("mode") { "mode" } else { "resolve" };
            let what = format!("Raft has no values of type {}; expected `mode` to be ap", Resolve::Merge(kind));
            return Err(fields.problem(place, what));
        }
        if self.context != Contexts::Read {
            let what = "changes of mergeable values give no context; expected `context` to be left out";
            return Err(fields.problem("context", what));
        }
        Ok(())
    }
}
