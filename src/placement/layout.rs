//! The layout of a cluster: its members, and which of them keep which key.

use super::{Buckets, Member, Ring};
use crate::types::{GroupId, NodeId};
use xxhash_rust::xxh3::xxh3_64;

/// Hash slots: what keys are spread over and Raft groups own, as in Redis Cluster.
pub const SLOTS: u32 = 16_384;

/// Virtual nodes for each unit of a server's capacity.
const VNODES: u32 = 64;

/// The hash slot of a key.
#[must_use]
pub fn slot_of(key: &[u8]) -> u32 {
    (xxh3_64(key) % u64::from(SLOTS)) as u32
}

/// The Raft group of a key where there are so many, at most [`SLOTS`]: all that a client needs to know of a layout.
#[must_use]
pub fn group_of(key: &[u8], groups: u32) -> GroupId {
    GroupId(slot_of(key) * groups / SLOTS + 1)
}

/// What every server and client of a cluster must agree on.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The servers, in the order of their ids.
    pub members: Vec<Member>,
    /// How keys are kept.
    pub buckets: Buckets,
    /// Raft groups, numbered from 1; each owns a range of the slots.
    pub groups: u32,
    /// Servers in each Raft group; more than there are means all.
    pub voters: u32,
    ring: Ring,
}

impl Layout {
    /// A layout; `groups` and `voters` are at least 1.
    #[must_use]
    pub fn new(mut members: Vec<Member>, buckets: Buckets, groups: u32, voters: u32) -> Layout {
        members.sort_by_key(|m| m.id);
        members.dedup_by_key(|m| m.id);
        let ring = Ring::new(&members, VNODES);
        Layout { members, buckets, groups: groups.clamp(1, SLOTS), voters: voters.max(1), ring }
    }

    /// The layout of servers that are all alike, with one Raft group of all of them and no other bucket than the default.
    #[must_use]
    pub fn simple(nodes: &[NodeId], buckets: Buckets) -> Layout {
        Layout::new(nodes.iter().copied().map(Member::plain).collect(), buckets, 1, u32::MAX)
    }

    /// All servers.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().map(|m| m.id)
    }

    /// The servers that are to hold `key` under quorums, best first: see [`Ring::order`].
    #[must_use]
    pub fn order(&self, key: &[u8]) -> Vec<NodeId> {
        self.ring.order(key)
    }

    /// The Raft group of a key.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> GroupId {
        group_of(key, self.groups)
    }

    /// All Raft groups.
    pub fn all_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (1..=self.groups).map(GroupId)
    }

    /// The members of a Raft group, the one that should lead first.
    #[must_use]
    pub fn voters_of(&self, group: GroupId) -> Vec<NodeId> {
        if self.voters as usize >= self.members.len() {
            return self.nodes().collect();
        }
        let mut order = self.ring.order(&group.0.to_le_bytes());
        order.truncate(self.voters as usize);
        order
    }

    /// The region of a server.
    #[must_use]
    pub fn region(&self, node: NodeId) -> &str {
        self.members.iter().find(|m| m.id == node).map_or("", |m| &m.region)
    }
}
