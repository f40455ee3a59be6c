//! The hash ring: consistent hashing with virtual nodes, spread over regions and zones.
//!
//! Follows "Consistent Hashing and Random Trees" (Karger and others, 1997) and Dynamo §4.2–4.3. A server has so many
//! *tokens*, points on a circle of 2⁶⁴, as its capacity says; a key belongs to the first token at or after its own point,
//! and its servers are found by walking on from there.
//!
//! **Order.** Plain Dynamo takes servers as the walk meets them, each once. Here the next server is, of those not yet
//! taken, the one whose region was taken from least often; among those the one whose zone was; among those the one the walk
//! meets first. Being greedy, this is right for every prefix: whatever N is, the first N use each region and each zone
//! before any is used twice, as far as there are servers left in it. With one zone it is plain Dynamo.
//!
//! **Cost.** A token's order is a function of the token alone, so it is worked out once for each when the ring is made; a
//! look-up hashes the key, finds the token through an index over the top bits of its point, and returns a slice. The orders
//! are made in one walk backwards, twice around, that keeps for each zone the servers in the order a walk forwards from here
//! would meet them (moved to the front when met): see `Walk`.
//!
//! Invariants: tokens are in order of (point, server), so that two of the same point, if they ever occur, have the same order
//! everywhere; all orders have the same length; none names a server twice.
//!
//! Caveat: zones weaken the weights. Where zones have fewer servers than others, every key still goes to each of them, so
//! their servers hold more than their capacity says.

use crate::types::NodeId;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many servers of a key's order are kept: enough for all its replicas and as many to stand in for them.
pub const DEPTH: usize = 16;

/// The most capacity that counts: a server with more is taken to have this much.
pub const MAX_CAPACITY: u32 = 256;

/// A server's place in the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// The server.
    pub id: NodeId,
    /// Its share of the keys in proportion to others; 1 is usual, 0 holds none, at most [`MAX_CAPACITY`].
    pub capacity: u32,
    /// What fails together: a rack, a data centre. Zones of different regions are different whatever their names.
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
    /// Where each virtual node stands, in order.
    points: Vec<u64>,
    /// Of each value of a point's top bits, the first token that has it or a greater one; and one entry more.
    index: Vec<u32>,
    /// How many bits of a point are not looked up in the index.
    shift: u32,
    /// The orders of all tokens, one after the other, `width` servers each.
    orders: Vec<NodeId>,
    width: usize,
}

impl Ring {
    /// A ring of `members` with `vnodes` virtual nodes for each unit of capacity. Of two members with the same id the first
    /// counts.
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

    /// The ring of these tokens, each of a member by its index.
    fn of(members: &[&Member], mut tokens: Vec<(u64, u32)>) -> Ring {
        tokens.sort_unstable();
        let points: Vec<u64> = tokens.iter().map(|(point, _)| *point).collect();
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let shift = u64::BITS - bits;
        let first = |top: u64| points.partition_point(|point| point >> shift < top) as u32;
        let index = (0..=1u64 << bits).map(first).collect();
        let mut walk = Walk::new(members);
        // Once around to know what lies ahead of the last token, then once more to write it down.
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

    /// The servers that are to hold `key`, best first, at most [`DEPTH`] and each once: its replicas are the first N,
    /// whoever follows may stand in for them. Empty if no member has any capacity.
    #[must_use]
    pub fn order(&self, key: &[u8]) -> &[NodeId] {
        self.at(xxh3_64_with_seed(key, 0))
    }

    /// The order of the first token at or after `point`.
    fn at(&self, point: u64) -> &[NodeId] {
        let top = (point >> self.shift) as usize;
        let (low, high) = (self.index[top] as usize, self.index[top + 1] as usize);
        let found = low + self.points[low..high].partition_point(|token| *token < point);
        let token = if found == self.points.len() { 0 } else { found };
        self.orders.get(token * self.width..(token + 1) * self.width).unwrap_or_default()
    }

    /// How many virtual nodes there are.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.points.len()
    }

    /// The memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.points) + size_of_val(&*self.index) + size_of_val(&*self.orders)
    }
}

/// What a walk forwards from the present token would meet, while we walk backwards.
struct Walk {
    /// Of each member, its region and its zone.
    place: Vec<(usize, usize)>,
    regions: Vec<Region>,
    /// Regions, the nearest first; no more than [`DEPTH`], as no order needs more.
    near: Vec<usize>,
}

#[derive(Default)]
struct Region {
    /// Its zones with what is near in them.
    zones: Vec<Zone>,
    /// The nearest zones first, no more than [`DEPTH`].
    near: Vec<usize>,
}

#[derive(Default)]
struct Zone {
    /// Members and when each was last met, the nearest first, no more than [`DEPTH`]: the later, the nearer.
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

    /// How many servers have been met, counted up to [`DEPTH`] in each zone.
    fn servers(&self) -> usize {
        self.regions.iter().flat_map(|region| &region.zones).map(|zone| zone.near.len()).sum()
    }

    /// Appends the first `width` members of the order from here.
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

/// Puts `item` first, in place of the one it matches or, if the list is full, of the last.
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
