//! Plans: a scenario and a seed, written out.
//!
//! A [`Plan`] holds everything a run needs: the settings of cluster, network, disks and clients, and every fault and
//! operation with its time. [`Plan::expand`] makes one and is a pure function; [`Plan::write`] and [`Plan::read`] are
//! exact inverses. A plan is what a failure is kept as: it can be read, edited and made smaller line by line, and it
//! means the same when scenarios or the expansion change. Chance that the models of the world need besides (which frame
//! is lost, which sector survives) is drawn by them from the plan's seed.
//!
//! What is left to the run: who leads ([`Target`]) and what a client saw last ([`When`]).

mod cuts;
mod effect;
mod expand;
mod fault;
mod ops;
mod swarm;
mod target;
mod text;

pub use effect::{unmet, waits_for};
pub use fault::{Clients, Directory, Fault, KINDS, Kind, Lie, Links, Pages, Part, Shape, Unsynced, Way};
pub(crate) use swarm::catalogue;
pub use target::{FaultId, Selector, Sight, Target};
pub(crate) use text::parse_call;

use crate::scenario::{Bucket, Cluster, Cpu, Disk, Expect, Network, Setting, Times, Workload};
use seaworthy::types::{Level, NodeId};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A complete run, but for what only the run can tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The scenario it was made from.
    pub scenario: String,
    /// The seed it was made with, and of the models' own chance.
    pub seed: u64,
    /// The servers.
    pub cluster: Cluster,
    /// Fair weather on every link.
    pub network: Network,
    /// Fair weather on every disk.
    pub disk: Disk,
    /// Every server's processor.
    pub cpu: Cpu,
    /// How quorums keep the keys, in an AP run.
    pub bucket: Bucket,
    /// The clients; its rate, keys and weights are for the record, the operations are in `events`.
    pub workload: Workload,
    /// The phases.
    pub time: Times,
    /// What the run must show.
    pub expect: Expect,
    /// What happens, in the order of time.
    pub events: Vec<Event>,
}

/// Something at an instant.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Simulated time since the start of the run.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can be in a plan.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// A fault ends.
    End(FaultId),
    /// A fault begins, or happens if it is of an instantaneous kind.
    Begin {
        /// Its name.
        id: FaultId,
        /// What it is.
        fault: Fault<Target>,
        /// It has no end: not even the end of the storm heals it.
        forever: bool,
    },
    /// A client does something: now, or as soon as it is done with what it did before. In a closed loop also not before
    /// the pause `workload.think` after that.
    Op {
        /// Which client, from 1.
        client: u32,
        /// What it does.
        call: Call,
        /// How.
        how: How,
    },
}

/// How a client goes about an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct How {
    /// At which level, if not the bucket's; R of a read, W of a write. Raft has no levels.
    pub level: Option<Level>,
    /// Which server to ask first.
    pub via: Option<NodeId>,
}

/// What a client does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A linearizable read.
    Get {
        /// Which key.
        key: String,
    },
    /// A write.
    Put {
        /// Which key.
        key: String,
        /// What: unique within the plan.
        value: Tag,
        /// When to refuse.
        when: When,
        /// How long the key lives; `None`: until it is deleted.
        ttl: Option<Duration>,
    },
    /// A delete.
    Delete {
        /// Which key.
        key: String,
        /// When to refuse.
        when: When,
    },
    /// A new expiry; the value stays.
    Extend {
        /// Which key.
        key: String,
        /// How long it lives from now on.
        ttl: Duration,
    },
}

impl Call {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        let (Call::Get { key } | Call::Put { key, .. } | Call::Delete { key, .. } | Call::Extend { key, .. }) = self;
        key
    }

    /// How long it lets the key live.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Call::Put { ttl, .. } => *ttl,
            Call::Extend { ttl, .. } => Some(*ttl),
            Call::Get { .. } | Call::Delete { .. } => None,
        }
    }
}

/// A written value: a word that no other write of the plan uses, filled up to a length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The word.
    pub word: String,
    /// The length of the value in bytes, at least that of the word.
    pub size: u64,
}

impl Tag {
    /// How many bytes there are to write.
    #[expect(clippy::len_without_is_empty, reason = "a word is never empty")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.size.max(self.word.len() as u64)
    }

    /// The bytes to write.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.word.clone().into_bytes();
        bytes.resize(self.len() as usize, b'.');
        bytes
    }
}

/// When a write shall be refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Never.
    Always,
    /// `nx`: unless the key is missing.
    Missing,
    /// `xx`: unless the key exists.
    Present,
    /// `cmp:last`: unless the value is the one this client saw last on this key; before it saw one, `cmprev:-1`.
    SawValue,
    /// `cmprev:last`: unless the revision is the one this client saw last on this key; before it saw one, -1.
    SawRevision,
    /// `cmp:c1-4`: unless the value is the one that a put of this plan writes, whose word this is.
    Value(String),
    /// `cmprev:3`: unless the revision is this.
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
    /// How many faults of each kind there are.
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

    /// How many operations there are.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.events.iter().filter(|e| matches!(e.what, What::Op { .. })).count() as u64
    }

    /// Whether keys of it expire.
    #[must_use]
    pub fn expires(&self) -> bool {
        self.events.iter().any(|event| matches!(&event.what, What::Op { call, .. } if call.ttl().is_some()))
    }

    /// Whether whom its faults meet is left to the run.
    #[must_use]
    pub fn aims_at_leaders(&self) -> bool {
        let open = |target: &Target| matches!(target, Target::Leader(_) | Target::Follower(_));
        self.events.iter().any(|event| matches!(&event.what, What::Begin { fault, .. } if open(&fault.target)))
    }

    /// What the plan is, without its events, as JSON.
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
