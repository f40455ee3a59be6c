//! Configuration of a node.

use crate::dynamo;
use crate::kv::MAX_TOMBSTONES;
use crate::mutant::Mutant;
use crate::placement::Layout;
use crate::raft;
use crate::types::{GroupId, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// Configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Configuration of the Raft groups, except for their voters: `layout` sets those.
    pub raft: raft::Config,
    /// The members of the cluster, and which nodes store which keys.
    pub layout: Arc<Layout>,
    /// Configuration of the AP core.
    pub ap: dynamo::Config,
    /// Log bytes since the last compaction after which a snapshot is taken and the log compacted. This is for the whole
    /// node; each group has an equal share.
    pub snapshot_log_bytes: usize,
    /// Entries that a group applies after a snapshot before the next is taken.
    pub snapshot_entries: u64,
    /// Maximum number of tombstones that a group keeps. All members must have the same value.
    pub max_tombstones: u32,
    /// Number of entries between two comparisons of the members' states; at least 1.
    pub digest_entries: u64,
    /// Maximum number of open client requests. Further requests are refused as busy.
    pub max_open_requests: usize,
    /// Maximum bytes in all queues of the node together. Beyond it requests are refused as busy.
    pub memory_bytes: usize,
    /// Time without a packet to a peer after which the peer is sent a heartbeat.
    pub beat: Duration,
    /// Minimum silence after which a peer counts as down. The detector waits longer for a peer whose heartbeats come
    /// irregularly.
    pub down_after: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl NodeConfig {
    /// Returns the defaults for a Raft configuration and a layout: a snapshot every 64 MiB or 100,000 entries, 10,000
    /// open requests, 256 MiB for queues. Heartbeats between nodes are as frequent as Raft's. A peer counts as down
    /// after an election timeout.
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

    /// Returns the groups that this node is a member of, with their voters.
    pub(super) fn hosted(&self) -> Vec<(GroupId, Vec<NodeId>)> {
        let all = self.layout.all_groups().map(|group| (group, self.layout.voters_of(group)));
        all.filter(|(_, voters)| voters.contains(&self.raft.id)).collect()
    }

    /// Returns whether the node needs a failure detector. A single Raft group does not: it has heartbeats and
    /// elections.
    pub(super) fn watches(&self) -> bool {
        self.layout.groups > 1 || self.layout.buckets.any_ap()
    }
}
