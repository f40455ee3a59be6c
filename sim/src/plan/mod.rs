//! Plans: a scenario and a seed, written out.
//!
//! A [`Plan`] contains everything a run needs: the settings of cluster, network, disks and clients, and every fault and
//! operation with its time. [`Plan::expand`] creates one and is a pure function. [`Plan::write`] and [`Plan::read`] are
//! exact inverses. A failure is saved as its plan: it can be read, edited and reduced line by line, and it keeps its
//! meaning when scenarios or the expansion change. Further random choices of the world's models (which frame is lost,
//! which sector survives) are drawn by them from the plan's seed.
//!
//! Two things are left to the run: which server leads ([`Target`]) and what a client saw last ([`When`]).

mod cuts;
mod effect;
mod fault;
mod target;
mod text;

pub use effect::{unmet, waits_for};
pub use fault::{Clients, Directory, Fault, Kind, Lie, Links, Pages, Part, Shape, Unsynced, Way};
pub use target::{FaultId, Selector, Sight, Target};
pub(crate) use text::parse_call;

use crate::settings::{Bucket, Cluster, Cpu, Disk, Expect, Network, Setting, Times, Workload};
use seaworthy::types::{Level, NodeId};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A complete run, except for what is only known during the run.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The scenario it was made from.
    pub scenario: String,
    /// The seed it was made with. The models of the world draw from it as well.
    pub seed: u64,
    /// The servers.
    pub cluster: Cluster,
    /// The network without faults.
    pub network: Network,
    /// The disks without faults.
    pub disk: Disk,
    /// The servers' processors.
    pub cpu: Cpu,
    /// How quorums store the keys, in an AP run.
    pub bucket: Bucket,
    /// The clients. Rate, keys and weights are for the record only; the operations are in `events`.
    pub workload: Workload,
    /// The phases of the run.
    pub time: Times,
    /// What the run must show.
    pub expect: Expect,
    /// Faults and operations, in order of time.
    pub events: Vec<Event>,
}

/// An event and its time.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Simulated time since the start of the run.
    pub at: Duration,
    /// The event.
    pub what: What,
}

impl Event {
    /// Sort key of events. They are sorted by time; at one instant ends come first, then beginnings, then operations.
    /// Within each of these the order is kept.
    pub(crate) fn order(&self) -> (Duration, u8) {
        let rank = match self.what {
            What::End(_) => 0,
            What::Begin { .. } => 1,
            What::Op { .. } => 2,
        };
        (self.at, rank)
    }
}

/// The kinds of event in a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A fault ends.
    End(FaultId),
    /// A fault begins, or happens if its kind is instantaneous.
    Begin {
        /// The id of the fault.
        id: FaultId,
        /// The fault itself.
        fault: Fault<Target>,
        /// It has no end. Even the end of the storm does not remove it.
        forever: bool,
    },
    /// A client performs an operation: now, or as soon as its previous one is done. In a closed loop it also waits for
    /// the pause `workload.think` after that.
    Op {
        /// The number of the client, from 1.
        client: u32,
        /// The operation.
        call: Call,
        /// Options of the operation.
        how: How,
    },
}

/// Options of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct How {
    /// The level, if it is not the bucket's: R of a read, W of a write. Raft has no levels.
    pub level: Option<Level>,
    /// The server to ask first.
    pub via: Option<NodeId>,
}

/// An operation of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A linearizable read.
    Get {
        /// The key.
        key: String,
    },
    /// A write.
    Put {
        /// The key.
        key: String,
        /// The value, unique within the plan.
        value: Tag,
        /// The condition.
        when: When,
        /// The TTL of the key. `None`: it does not expire.
        ttl: Option<Duration>,
    },
    /// A delete.
    Delete {
        /// The key.
        key: String,
        /// The condition.
        when: When,
    },
    /// Sets a new expiry; the value stays.
    Extend {
        /// The key.
        key: String,
        /// The TTL from now on.
        ttl: Duration,
    },
}

impl Call {
    /// The key of the operation.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Call::Get { key } | Call::Put { key, .. } | Call::Delete { key, .. } | Call::Extend { key, .. }) = self;
        key
    }

    /// The TTL that it gives to the key.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Call::Put { ttl, .. } => *ttl,
            Call::Extend { ttl, .. } => Some(*ttl),
            Call::Get { .. } | Call::Delete { .. } => None,
        }
    }
}

/// A written value: a word that no other write of the plan uses, padded to a length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The word.
    pub word: String,
    /// The length of the value in bytes, at least that of the word.
    pub size: u64,
}

impl Tag {
    /// The length of the value in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a word is never empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.size.max(self.word.len() as u64)
    }

    /// The bytes of the value.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.word.clone().into_bytes();
        bytes.resize(self.len() as usize, b'.');
        bytes
    }
}

/// The condition of a write: when it is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Never.
    Always,
    /// `nx`: refused unless the key is missing.
    Missing,
    /// `xx`: refused unless the key exists.
    Present,
    /// `cmp:last`: refused unless the value is the one this client saw last on this key; before it saw one,
    /// `cmprev:-1`.
    SawValue,
    /// `cmprev:last`: refused unless the revision is the one this client saw last on this key; before it saw one, -1.
    SawRevision,
    /// `cmp:c1-4`: refused unless the value is the one written by the put of this plan with this word.
    Value(String),
    /// `cmprev:3`: refused unless the revision is this one.
    Revision(i64),
}

impl Setting for When {
    fn what() -> String {
        "always, nx, xx, cmp:last, cmp:WORD of a put, cmprev:last or cmprev:NUMBER".into()
    }
    fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None => match text {
                "always" => When::Always,
                "nx" => When::Missing,
                "xx" => When::Present,
                _ => return None,
            },
            Some(("cmp", "last")) => When::SawValue,
            Some(("cmprev", "last")) => When::SawRevision,
            Some(("cmp", word)) if !word.is_empty() => When::Value(word.into()),
            Some(("cmprev", number)) => When::Revision(number.parse().ok()?),
            Some(_) => return None,
        })
    }
    fn show(&self) -> String {
        match self {
            When::Always => "always".into(),
            When::Missing => "nx".into(),
            When::Present => "xx".into(),
            When::SawValue => "cmp:last".into(),
            When::SawRevision => "cmprev:last".into(),
            When::Value(word) => format!("cmp:{word}"),
            When::Revision(number) => format!("cmprev:{number}"),
        }
    }
}

impl Plan {
    /// The number of faults of each kind.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut count = BTreeMap::new();
        for event in &self.events {
            if let What::Begin { fault, .. } = &event.what {
                *count.entry(fault.kind.name()).or_default() += 1;
            }
        }
        count
    }

    /// The number of operations.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.events.iter().filter(|e| matches!(e.what, What::Op { .. })).count() as u64
    }

    /// Whether any keys expire.
    #[must_use]
    pub fn expires(&self) -> bool {
        self.events.iter().any(|event| matches!(&event.what, What::Op { call, .. } if call.ttl().is_some()))
    }

    /// Whether the targets of its faults depend on the run.
    #[must_use]
    pub fn aims_at_leaders(&self) -> bool {
        let open = |target: &Target| matches!(target, Target::Leader(_) | Target::Follower(_));
        self.events.iter().any(|event| matches!(&event.what, What::Begin { fault, .. } if open(&fault.target)))
    }

    /// The plan without its events, as JSON.
    #[must_use]
    pub fn facts(&self) -> Json {
        json!({
            "scenario": self.scenario,
            "seed": self.seed,
            "cluster": self.cluster.json(),
            "network": self.network.json(),
            "disk": self.disk.json(),
            "bucket": self.bucket.json(),
            "workload": self.workload.json(),
            "time": self.time.json(),
            "expect": self.expect.json(),
            "faults": self.faults(),
            "operations": self.operations(),
        })
    }
}

#[cfg(test)]
mod tests;
