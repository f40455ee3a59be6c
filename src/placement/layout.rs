//! The layout of a cluster: its members, and which of them hold which key.
//!
//! Keys under Raft are mapped by hash to one of 16,384 slots, slots to groups by equal ranges, and groups to servers by
//! the ring: a group is placed like a key equal to its number. Adding or removing a server therefore moves few groups,
//! and never moves a key between groups. Preferred leaders are assigned independently of that, because moving
//! leadership moves no data: group by group, the voter that leads the fewest groups for its capacity becomes the
//! preferred leader.

use super::{Buckets, DEPTH, MAX_CAPACITY, Member, Ring};
use crate::types::{GroupId, Mode, NodeId};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use xxhash_rust::xxh3::xxh3_64;

/// Number of hash slots. Keys are hashed to slots, and Raft groups own slots, as in Redis Cluster.
pub const SLOTS: u32 = 16_384;

/// Virtual nodes per unit of a server's capacity.
const VNODES: u32 = 64;

/// Returns the hash slot of a key.
#[must_use]
pub fn slot_of(key: &[u8]) -> u32 {
    (xxh3_64(key) % u64::from(SLOTS)) as u32
}

/// Returns the Raft group of a key if there are `groups` groups, at most [`SLOTS`]. A client needs to know nothing else
/// of a layout.
#[must_use]
pub fn group_of(key: &[u8], groups: u32) -> GroupId {
    GroupId(slot_of(key) * groups / SLOTS + 1)
}

/// The configuration that every server and client of a cluster must agree on.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The servers, in order of their ids.
    pub members: Vec<Member>,
    /// The mode of each bucket.
    pub buckets: Buckets,
    /// Number of Raft groups; they are numbered from 1, and each owns a range of the slots.
    pub groups: u32,
    /// Servers in each Raft group, at most [`DEPTH`]. If it is at least the number of servers, every group has all of
    /// them.
    pub voters: u32,
    ring: Ring,
    /// The voters of all groups, concatenated, `seats` each.
    voting: Vec<NodeId>,
    seats: usize,
}

impl Layout {
    /// Builds a layout; `groups` and `voters` are at least 1. If two members have the same id, the first counts.
    #[must_use]
    pub fn new(mut members: Vec<Member>, buckets: Buckets, groups: u32, voters: u32) -> Layout {
        members.sort_by_key(|m| m.id);
        members.dedup_by_key(|m| m.id);
        let ring = Ring::new(&members, VNODES);
        let (groups, voters) = (groups.clamp(1, SLOTS), voters.max(1));
        let (voting, seats) = seat(&members, &ring, groups, voters as usize);
        Layout { members, buckets, groups, voters, ring, voting, seats }
    }

    /// Builds a layout of identical servers with one Raft group of all of them and no declared buckets.
    #[must_use]
    pub fn simple(nodes: &[NodeId], buckets: Buckets) -> Layout {
        Layout::new(nodes.iter().copied().map(Member::plain).collect(), buckets, 1, u32::MAX)
    }

    /// Returns all servers.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().map(|m| m.id)
    }

    /// Returns the servers for a quorum-mode `key`, best first: see [`Ring::order`].
    #[must_use]
    pub fn order(&self, key: &[u8]) -> &[NodeId] {
        self.ring.order(key)
    }

    /// Returns the Raft group of a key.
    #[must_use]
    pub fn group_of(&self, key: &[u8]) -> GroupId {
        group_of(key, self.groups)
    }

    /// Returns all Raft groups.
    pub fn all_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (1..=self.groups).map(GroupId)
    }

    /// Returns the members of a Raft group, preferred leader first; empty if the group does not exist.
    #[must_use]
    pub fn voters_of(&self, group: GroupId) -> Vec<NodeId> {
        let start = (group.0 as usize).wrapping_sub(1).saturating_mul(self.seats);
        self.voting.get(start..start.saturating_add(self.seats)).map_or_else(Vec::new, <[NodeId]>::to_vec)
    }

    /// Returns a digest of the layout. Servers with different digests do not agree on who holds what.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut text = format!("{} groups of {}\n", self.groups, self.seats);
        // Writing to a string cannot fail.
        for Member { id, capacity, zone, region } in &self.members {
            let _ = writeln!(text, "{id} {capacity} {zone:?} {region:?}");
        }
        let default = std::iter::once(("", &self.buckets.default));
        for (name, mode) in default.chain(self.buckets.named.iter().map(|(name, mode)| (name.as_str(), mode))) {
            let _ = match mode {
                Mode::Cp => writeln!(text, "{name:?} cp"),
                Mode::Ap(p) => writeln!(text, "{name:?} ap {} {} {} {} {}", p.n, p.r, p.w, p.sloppy, p.resolve),
            };
        }
        xxh3_64(text.as_bytes())
    }

    /// Returns the layout as facts, each a name without spaces and a value: the data directory is bound to them.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts =
            vec![("groups".to_owned(), self.groups.to_string()), ("voters".to_owned(), self.seats.to_string())];
        for Member { id, capacity, zone, region } in &self.members {
            facts.push((id.to_string(), format!("capacity {capacity}, zone {zone:?}, region {region:?}")));
        }
        let default = std::iter::once(("default", &self.buckets.default));
        for (name, mode) in default.chain(self.buckets.named.iter().map(|(name, mode)| (name.as_str(), mode))) {
            let mode = match mode {
                Mode::Cp => "cp".to_owned(),
                Mode::Ap(p) => {
                    let sloppy = if p.sloppy { "sloppy" } else { "strict" };
                    format!("ap, n {}, r {}, w {}, {sloppy}, resolve {}", p.n, p.r, p.w, p.resolve)
                }
            };
            facts.push((format!("bucket:{name}"), mode));
        }
        facts
    }

    /// Returns the region of a server.
    #[must_use]
    pub fn region(&self, node: NodeId) -> &str {
        self.members.binary_search_by_key(&node, |m| m.id).map_or("", |at| &self.members[at].region)
    }
}

/// Returns the voters of all groups, and how many each group has. They are the first of the ring's order; if that
/// covers all servers of nonzero capacity, they are taken in order of their ids. Then the preferred leader is moved to
/// the front.
fn seat(members: &[Member], ring: &Ring, groups: u32, voters: usize) -> (Vec<NodeId>, usize) {
    // For each server: its capacity and the number of groups it is the preferred leader of.
    let mut leads: BTreeMap<NodeId, (u64, u64)> = members
        .iter()
        .filter(|m| m.capacity > 0)
        .map(|m| (m.id, (u64::from(m.capacity.min(MAX_CAPACITY)), 0)))
        .collect();
    let all: Vec<NodeId> = leads.keys().copied().collect();
    let seats = if voters >= all.len() { all.len() } else { voters.min(DEPTH) };
    let mut voting = Vec::with_capacity(groups as usize * seats);
    for group in 1..=groups {
        let start = voting.len();
        match voters >= all.len() {
            true => voting.extend(&all),
            false => voting.extend(&ring.order(&group.to_le_bytes())[..seats]),
        }
        let mut best: Option<(usize, (u64, u64))> = None;
        for (at, node) in voting[start..].iter().enumerate() {
            let (capacity, led) = leads.get(node).copied().unwrap_or((1, 0));
            if best.is_none_or(|(_, (c, l))| (led + 1) * c < (l + 1) * capacity) {
                best = Some((at, (capacity, led)));
            }
        }
        if let Some((at, (capacity, led))) = best {
            voting[start..=start + at].rotate_right(1);
            leads.insert(voting[start], (capacity, led + 1));
        }
    }
    (voting, seats)
}

#[cfg(test)]
#[path = "tests/layout.rs"]
mod tests;
