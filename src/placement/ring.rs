//! The hash ring: consistent hashing with virtual nodes, spread over regions and zones.
//!
//! Follows "Consistent Hashing and Random Trees" (Karger and others, 1997) and Dynamo §4.2–4.3. A server has *tokens*,
//! points on a circle of 2⁶⁴, in proportion to its capacity. A key belongs to the first token at or after its own
//! point; its further servers are found by walking on from there.
//!
//! **Order.** Plain Dynamo takes servers in the order the walk meets them, each once. Here the next server is chosen
//! among those not yet taken: first by the region taken from least often, then by the zone taken from least often, then
//! by the first one on the walk. The choice is greedy, so every prefix is spread: for every N, the first N servers use
//! each region and each zone once before any is used twice, as long as it has servers left. With one zone this is plain
//! Dynamo.
//!
//! **Cost.** A token's order depends on the token alone, so it is computed once per token when the ring is built. A
//! lookup hashes the key, finds the token through an index over the top bits of its point, and returns a slice. All
//! orders are computed in one backward walk, twice around. The walk keeps for each zone the servers in the order in
//! which a forward walk from the current token would meet them (a server is moved to the front when met): see `Walk`.
//!
//! Invariants: tokens are sorted by (point, server), so two tokens with the same point, should they occur, have the
//! same order everywhere; all orders have the same length; no order contains a server twice.
//!
//! Caveat: zones distort the weights. If some zones have fewer servers than others, every key still goes to each zone,
//! so their servers hold more than their share by capacity.

use crate::types::NodeId;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Number of servers kept in a key's order: enough for all its replicas and as many stand-ins.
pub const DEPTH: usize = 16;

/// Maximum capacity; a larger value counts as this one.
pub const MAX_CAPACITY: u32 = 256;

/// A server's capacity and location.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The server.
    pub id: NodeId,
    /// Its share of the keys relative to others; 1 is usual, 0 holds none, at most [`MAX_CAPACITY`].
    pub capacity: u32,
    /// Failure domain: a rack, a data centre. Zones of different regions are different even if their names are equal.
    pub zone: String,
    /// A set of zones near each other.
    pub region: String,
}

impl Member {
    /// A server of capacity 1 in one zone with all others.
    #[must_use]
    pub fn plain(id: NodeId) -> Member {
        Member { id, capacity: 1, zone: String::new(), region: String::new() }
    }
}

/// The ring.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Points of the virtual nodes, sorted.
    points: Vec<u64>,
    /// For each value of a point's top bits, the first token with that value or a greater one; and one more entry.
    index: Vec<u32>,
    /// Number of low bits of a point that the index ignores.
    shift: u32,
    /// The orders of all tokens, concatenated, `width` servers each.
    orders: Vec<NodeId>,
    width: usize,
}

impl Ring {
    /// Builds a ring of `members` with `vnodes` virtual nodes per unit of capacity. If two members have the same id,
    /// the first counts.
    #[must_use]
    pub fn new(members: &[Member], vnodes: u32) -> Ring {
        let mut members: Vec<&Member> = members.iter().collect();
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        let mut tokens = Vec::new();
        for (who, member) in members.iter().enumerate() {
            for n in 0..member.capacity.min(MAX_CAPACITY).saturating_mul(vnodes) {
                tokens.push((xxh3_64_with_seed(&n.to_le_bytes(), u64::from(member.id.0)), who as u32));
            }
        }
        Ring::of(&members, tokens)
    }

    /// Builds the ring of these tokens; each refers to a member by its index.
    fn of(members: &[&Member], mut tokens: Vec<(u64, u32)>) -> Ring {
        tokens.sort_unstable();
        let points: Vec<u64> = tokens.iter().map(|(point, _)| *point).collect();
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let shift = u64::BITS - bits;
        let first = |top: u64| points.partition_point(|point| point >> shift < top) as u32;
        let index = (0..=1u64 << bits).map(first).collect();
        let mut walk = Walk::new(members);
        // The first time around collects what is ahead of the last token; the second time writes the orders.
        for (at, (_, who)) in tokens.iter().enumerate().rev() {
            walk.meet(*who, (2 * tokens.len() - at) as u64);
        }
        let width = walk.servers().min(DEPTH);
        let mut backwards = Vec::with_capacity(width * tokens.len());
        for (at, (_, who)) in tokens.iter().enumerate().rev() {
            walk.meet(*who, (3 * tokens.len() - at) as u64);
            walk.order(width, &mut backwards);
        }
        let orders = backwards.chunks(width.max(1)).rev().flatten().map(|who| members[*who as usize].id).collect();
        Ring { points, index, shift, orders, width }
    }

    /// Returns the servers for `key`, best first, at most [`DEPTH`], each once: the first N are its replicas, the
    /// following ones its possible stand-ins. Empty if no member has any capacity.
    #[must_use]
    pub fn order(&self, key: &[u8]) -> &[NodeId] {
        self.at(xxh3_64_with_seed(key, 0))
    }

    /// Returns the order of the first token at or after `point`.
    fn at(&self, point: u64) -> &[NodeId] {
        let top = (point >> self.shift) as usize;
        let (low, high) = (self.index[top] as usize, self.index[top + 1] as usize);
        let found = low + self.points[low..high].partition_point(|token| *token < point);
        let token = if found == self.points.len() { 0 } else { found };
        self.orders.get(token * self.width..(token + 1) * self.width).unwrap_or_default()
    }

    /// Returns the number of virtual nodes.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.points.len()
    }

    /// Returns the memory used, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.points) + size_of_val(&*self.index) + size_of_val(&*self.orders)
    }
}

/// What a forward walk from the current token would meet, maintained during the backward walk.
struct Walk {
    /// For each member, its region and its zone.
    place: Vec<(usize, usize)>,
    regions: Vec<Region>,
    /// Regions, nearest first; at most [`DEPTH`], since no order needs more.
    near: Vec<usize>,
}

#[derive(Default)]
struct Region {
    /// Its zones, each with its nearest members.
    zones: Vec<Zone>,
    /// Zones, nearest first, at most [`DEPTH`].
    near: Vec<usize>,
}

#[derive(Default)]
struct Zone {
    /// Members and when each was last met, nearest first, at most [`DEPTH`]. A later time is nearer.
    near: Vec<(u32, u64)>,
}

impl Walk {
    fn new(members: &[&Member]) -> Walk {
        let mut names: BTreeMap<&str, (usize, BTreeMap<&str, usize>)> = BTreeMap::new();
        let mut regions: Vec<Region> = Vec::new();
        let mut place = Vec::with_capacity(members.len());
        for member in members {
            let (region, zones) = names.entry(&member.region).or_insert_with(|| {
                regions.push(Region::default());
                (regions.len() - 1, BTreeMap::new())
            });
            let known = &mut regions[*region].zones;
            let zone = *zones.entry(&member.zone).or_insert_with(|| {
                known.push(Zone::default());
                known.len() - 1
            });
            place.push((*region, zone));
        }
        Walk { place, regions, near: Vec::new() }
    }

    /// Steps back onto a token of `who`.
    fn meet(&mut self, who: u32, when: u64) {
        let (region, zone) = self.place[who as usize];
        to_front(&mut self.near, region, |r| *r == region);
        let region = &mut self.regions[region];
        to_front(&mut region.near, zone, |z| *z == zone);
        to_front(&mut region.zones[zone].near, (who, when), |(m, _)| *m == who);
    }

    /// Number of servers met so far, counting at most [`DEPTH`] in each zone.
    fn servers(&self) -> usize {
        self.regions.iter().flat_map(|region| &region.zones).map(|zone| zone.near.len()).sum()
    }

    /// Appends the first `width` members of the order starting here.
    fn order(&self, width: usize, out: &mut Vec<u32>) {
        struct Open<'a> {
            left: std::slice::Iter<'a, (u32, u64)>,
            next: (u32, u64),
            region: usize,
            used: usize,
        }
        let mut used = [0; DEPTH];
        let mut open: Vec<Open<'_>> = Vec::new();
        for (place, region) in self.near.iter().enumerate() {
            for zone in &self.regions[*region].near {
                let mut left = self.regions[*region].zones[*zone].near.iter();
                open.extend(left.next().map(|next| Open { left, next: *next, region: place, used: 0 }));
            }
        }
        for _ in 0..width {
            let best = (0..open.len())
                .min_by_key(|zone| (used[open[*zone].region], open[*zone].used, std::cmp::Reverse(open[*zone].next.1)));
            let Some(best) = best else { return };
            let zone = &mut open[best];
            out.push(zone.next.0);
            used[zone.region] += 1;
            zone.used += 1;
            match zone.left.next() {
                Some(next) => zone.next = *next,
                None => drop(open.swap_remove(best)),
            }
        }
    }
}

/// Moves `item` to the front: it replaces the item it matches or, if the list is full, the last one.
fn to_front<T>(list: &mut Vec<T>, item: T, is: impl FnMut(&T) -> bool) {
    match list.iter().position(is) {
        Some(at) => {
            list[..=at].rotate_right(1);
            list[0] = item;
        }
        None => {
            list.truncate(DEPTH - 1);
            list.insert(0, item);
        }
    }
}

#[cfg(test)]
#[path = "tests/ring.rs"]
mod tests;
