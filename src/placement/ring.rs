//! The hash ring: consistent hashing with virtual nodes, spread over zones and regions.

use crate::types::NodeId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many servers of a key's order are kept: enough for all its replicas and as many to stand in for them.
pub const DEPTH: usize = 16;

/// A server's place in the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The server.
    pub id: NodeId,
    /// Its share of the keys in proportion to others; 1 is usual, 0 holds none.
    pub capacity: u32,
    /// What fails together: a rack, a data centre.
    pub zone: String,
    /// Zones that are near each other.
    pub region: String,
}

impl Member {
    /// A server of usual capacity in one zone with all others.
    #[must_use]
    pub fn plain(id: NodeId) -> Member {
        Member { id, capacity: 1, zone: String::new(), region: String::new() }
    }
}

/// The ring.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Where each virtual node stands, in order, and whose it is (an index into `members`).
    tokens: Vec<(u64, u32)>,
    members: Vec<Member>,
}

impl Ring {
    /// A ring of `members` with `vnodes` virtual nodes for each unit of capacity.
    #[must_use]
    pub fn new(members: &[Member], vnodes: u32) -> Ring {
        let mut tokens = Vec::new();
        for (index, member) in members.iter().enumerate() {
            for n in 0..member.capacity * vnodes {
                let token = xxh3_64_with_seed(&n.to_le_bytes(), u64::from(member.id.0));
                tokens.push((token, index as u32));
            }
        }
        tokens.sort_unstable();
        Ring { tokens, members: members.to_vec() }
    }

    /// The servers that are to hold `key`, best first, at most [`DEPTH`] and each once: its replicas are the first N,
    /// whoever follows may stand in for them.
    #[must_use]
    pub fn order(&self, key: &[u8]) -> Vec<NodeId> {
        let point = xxh3_64_with_seed(key, 0);
        let start = self.tokens.partition_point(|(token, _)| *token < point);
        let mut order = Vec::new();
        for (_, index) in self.tokens[start..].iter().chain(&self.tokens[..start]) {
            let id = self.members[*index as usize].id;
            if !order.contains(&id) {
                order.push(id);
            }
        }
        order.truncate(DEPTH);
        order
    }
}
