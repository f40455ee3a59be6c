//! Leaderless replication, as a pure state machine ([`Protocol`]) for all keys of all AP buckets of a node.
//!
//! Follows "Dynamo: Amazon's Highly Available Key-value Store" (DeCandia and others, 2007; cited as §n), with dotted version
//! vectors in place of its vector clocks. Read in this order: `clock` and `siblings` (what versions are), `message` (the
//! vocabulary), this file (dispatch).

pub mod clock;
pub mod context;
pub mod merge;
mod message;
pub mod siblings;
mod stand_in;

pub use message::*;
pub use stand_in::*;

use crate::placement::Layout;
use crate::protocol::{Input, Outbox, Protocol};
use crate::types::{Key, NodeId, Rng, Time};
use im::OrdMap;
use std::sync::Arc;

/// What the disk held when the node started; the default is a new node.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Keys.
    pub keys: OrdMap<Key, Entry>,
    /// What is kept for others.
    pub hints: OrdMap<(NodeId, Key), Hint>,
    /// The epoch.
    pub epoch: Epoch,
    /// The number of the newest durable snapshot, 0 for none.
    pub snapshot: u64,
}

/// The AP side of one node.
#[derive(Debug)]
pub struct Dynamo {
    #[expect(dead_code, reason = "wip")]
    config: Config,
    #[expect(dead_code, reason = "wip")]
    layout: Arc<Layout>,
    #[expect(dead_code, reason = "wip")]
    rng: Rng,
}

impl Dynamo {
    /// A node that finds `recovered` on its disk at time `now`.
    #[must_use]
    pub fn new(config: Config, layout: Arc<Layout>, recovered: Recovered, now: Time, rng: Rng) -> Dynamo {
        let _ = (recovered, now);
        Dynamo { config, layout, rng }
    }

    /// What this node holds of `key`, for itself and for others.
    #[must_use]
    pub fn why(&self, key: &[u8]) -> Vec<Holding> {
        let _ = key;
        Vec::new()
    }
}

impl Protocol for Dynamo {
    type Message = Message;
    type Record = Record;
    type Request = Request;
    type Effect = Effect;

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>) {
        let _ = (now, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
