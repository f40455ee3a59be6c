//! How a node is run.

use crate::dynamo;
use crate::kv::MAX_TOMBSTONES;
use crate::mutant::Mutant;
use crate::placement::Layout;
use crate::raft;
use crate::types::{GroupId, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// How a node is run.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Raft groups; whose voters are `layout`'s affair.
    pub raft: raft::Config,
    /// The members of the cluster, and who keeps what.
    pub layout: Arc<Layout>,
    /// The AP core; `life` is drawn at every start.
    pub ap: dynamo::Config,
    /// Log bytes of the whole node since the last compaction after which snapshots are taken and the log compacted: each
    /// group has an equal share.
    pub snapshot_log_bytes: usize,
    /// Entries a group has applied since its last snapshot after which another is taken.
    pub snapshot_entries: u64,
    /// Tombstones that a group keeps, at most; all members must be given the same.
    pub max_tombstones: u32,
    /// Entries after which the members of a group compare their states; at least 1.
    pub digest_entries: u64,
    /// Client requests that may be open at a time; beyond it they are refused as busy.
    pub max_open_requests: usize,
    /// Bytes that the node's queues may hold together; beyond it requests are refused as busy.
    pub memory_bytes: usize,
    /// Pause after which a peer to whom nothing was sent gets a sign of life.
    pub beat: Duration,
    /// Silence after which a peer is taken to be down, or longer if its signs of life come irregularly.
    pub down_after: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl NodeConfig {
    /// The defaults around a Raft configuration and a layout: a snapshot every 64 MiB or 100,000 entries, 10,000 open
    /// requests, 256 MiB for queues; signs of life at the pace of heartbeats, a peer is down after an election timeout.
    #[must_use]
    pub fn new(raft: raft::Config, layout: Arc<Layout>) -> NodeConfig {
        NodeConfig {
            ap: dynamo::Config { mutant: raft.mutant, ..dynamo::Config::new(raft.id) },
            beat: raft.heartbeat,
            down_after: raft.election_timeout,
            mutant: raft.mutant,
            raft,
            layout,
            snapshot_log_bytes: 64 << 20,
            snapshot_entries: 100_000,
            max_tombstones: MAX_TOMBSTONES,
            digest_entries: 1000,
            max_open_requests: 10_000,
            memory_bytes: 256 << 20,
        }
    }

    /// The groups this node is in, with their voters.
    pub(super) fn hosted(&self) -> Vec<(GroupId, Vec<NodeId>)> {
        let all = self.layout.all_groups().map(|group| (group, self.layout.voters_of(group)));
        all.filter(|(_, voters)| voters.contains(&self.raft.id)).collect()
    }

    /// Whether it matters who seems to be up: not for a single Raft group, which has heartbeats and elections.
    pub(super) fn watches(&self) -> bool {
        self.layout.groups > 1 || self.layout.buckets.any_ap()
    }
}
