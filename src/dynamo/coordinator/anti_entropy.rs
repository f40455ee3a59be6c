//! Sweeps: what hints and reads do not bring home.
//!
//! A coordinator that dies in the middle of a write leaves no hint behind, and one whose stand-ins had no room has none to leave;
//! a key that nobody reads is not repaired by reading. So when a node starts, when another one comes back, and when a hint was
//! refused or has expired, a node goes once through the keys it shares with those concerned. It sends the other replicas digests
//! of what it holds, a few keys at a time, and they name the keys of which they hold something else. Only these are read, of all
//! their replicas, and whoever is behind is brought up to date, this node included. Merkle trees would find the same
//! differences with fewer messages.
//!
//! **A sweep leaves room for clients.** One comparison is under way at a time, and what is read is paced: so many bytes a second.
//! Who is taken for dead and comes back, again and again, costs digests.

use super::get::Get;
use super::{Coordinator, Op, Turn, Work};
use crate::dynamo::siblings::Siblings;
use crate::dynamo::{Message, OpId};
use crate::mutant::Bug;
use crate::types::{Key, NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Keys looked at in one go.
const KEYS: usize = 64;
/// Keys read in one go.
const READS: usize = 16;
/// Bytes that sweeps have replicas send and take in a second, about.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Pause before the next.
const PAUSE: Duration = Duration::from_millis(50);
/// How long replicas may take to answer, and to take a repair in.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who has not after this long is asked again.
const AGAIN: Duration = Duration::from_millis(300);
/// How often a comparison is asked for; who does not answer is compared with when it comes back.
const TRIES: u32 = 5;

/// Digests of keys.
type Digests = Vec<(Key, u64)>;

/// A walk through the keys.
#[derive(Debug, Default)]
pub(super) struct AntiEntropy {
    /// The nodes whose keys are looked at.
    peers: BTreeSet<NodeId>,
    /// Those for whom another walk is to follow, because this one had begun already.
    then: BTreeSet<NodeId>,
    /// The last key looked at.
    after: Option<Key>,
    next: Option<Time>,
    /// The comparison that is under way.
    comparison: Option<Comparison>,
    /// Keys that replicas hold differently: to be read.
    differing: BTreeSet<Key>,
}

#[derive(Debug)]
struct Comparison {
    op: OpId,
    /// Who has not answered, and what was asked.
    asked: BTreeMap<NodeId, Digests>,
    tries: u32,
}

impl AntiEntropy {
    pub fn deadline(&self) -> Option<Time> {
        self.next
    }
}

impl Coordinator {
    /// The keys shared with `node` are to be looked at.
    pub fn compare_with(&mut self, node: NodeId) {
        if self.config.mutant.is(Bug::SweepDead) {
            return;
        }
        if self.anti_entropy.after.is_some() {
            self.anti_entropy.then.insert(node);
        } else {
            self.anti_entropy.peers.insert(node);
            self.anti_entropy.next.get_or_insert(self.now + PAUSE);
        }
    }

    /// Reads what differs, asks again for a comparison, or compares some more keys, if it is time to.
    pub(super) fn anti_entropy(&mut self, turn: &mut Turn<'_>) {
        if self.anti_entropy.next.is_none_or(|next| next > self.now) {
            return;
        }
        self.anti_entropy.next = Some(self.now + PAUSE);
        if self.ops.len() >= self.config.max_open / 2 || self.bytes >= self.config.open_bytes / 2 {
            return;
        }
        if !self.anti_entropy.differing.is_empty() {
            self.read_differing(turn);
        } else if self.anti_entropy.comparison.is_some() {
            self.compare_again(turn);
        } else {
            self.compare_more(turn);
        }
    }

    /// Reads some of the keys that differ, and then pauses as long as their bytes may take.
    fn read_differing(&mut self, turn: &mut Turn<'_>) {
        let mut bytes = 0;
        for _ in 0..READS {
            let Some(key) = self.anti_entropy.differing.pop_first() else { break };
            bytes += self.read_all(&key, turn) as u64;
        }
        if !self.config.mutant.is(Bug::SweepOfValues) {
            let pause = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / BYTES_PER_SECOND);
            self.anti_entropy.next = Some(self.now + pause.max(PAUSE));
        }
    }

    /// Asks those again that have not answered, but not for ever.
    fn compare_again(&mut self, turn: &mut Turn<'_>) {
        let down = &self.down;
        let Some(comparison) = &mut self.anti_entropy.comparison else { return };
        comparison.asked.retain(|node, _| !down.contains(node));
        comparison.tries += 1;
        if comparison.asked.is_empty() || comparison.tries >= TRIES {
            self.anti_entropy.comparison = None;
            return;
        }
        for (node, keys) in &comparison.asked {
            turn.out.send(*node, Message::Compare { op: comparison.op, keys: keys.clone() });
        }
        self.anti_entropy.next = Some(self.now + AGAIN);
    }

    /// Sends digests of the next keys to the others that hold them.
    fn compare_more(&mut self, turn: &mut Turn<'_>) {
        let mut asked: BTreeMap<NodeId, Digests> = BTreeMap::new();
        for _ in 0..KEYS {
            let from = self.anti_entropy.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = (from, Bound::<&Key>::Unbounded);
            let next = turn.store.keys.range::<_, Key>(rest).next();
            let Some((key, digest)) = next.map(|(key, entry)| (key.clone(), digest(&entry.siblings))) else {
                if asked.is_empty() {
                    let then = std::mem::take(&mut self.anti_entropy.then);
                    self.anti_entropy = AntiEntropy {
                        next: (!then.is_empty()).then_some(self.now + PAUSE),
                        peers: then,
                        ..AntiEntropy::default()
                    };
                    return;
                }
                break;
            };
            let others = self.others(&key);
            if others.iter().any(|node| self.anti_entropy.peers.contains(node)) {
                if self.config.mutant.is(Bug::SweepOfValues) {
                    self.anti_entropy.differing.insert(key.clone());
                }
                for node in others.into_iter().filter(|node| !self.down.contains(node)) {
                    asked.entry(node).or_default().push((key.clone(), digest));
                }
            }
            self.anti_entropy.after = Some(key);
        }
        if asked.is_empty() {
            return;
        }
        let op = self.number();
        for (node, keys) in &asked {
            turn.out.send(*node, Message::Compare { op, keys: keys.clone() });
        }
        self.anti_entropy.comparison = Some(Comparison { op, asked, tries: 1 });
        self.anti_entropy.next = Some(self.now + AGAIN);
    }

    /// Takes a replica's answer: of these keys it holds something else.
    pub fn differs(&mut self, from: NodeId, op: OpId, keys: &[Key]) {
        let Some(comparison) = self.anti_entropy.comparison.as_mut().filter(|comparison| comparison.op == op) else {
            return;
        };
        let Some(asked) = comparison.asked.remove(&from) else { return };
        let differing = asked.into_iter().map(|(key, _)| key).filter(|key| keys.contains(key));
        self.anti_entropy.differing.extend(differing);
        if comparison.asked.is_empty() {
            self.anti_entropy.comparison = None;
            self.anti_entropy.next = Some(self.now + PAUSE);
        }
    }

    /// The other replicas of a key, if this node is one.
    fn others(&self, key: &Key) -> Vec<NodeId> {
        let crate::types::Mode::Ap(policy) = *self.layout.buckets.mode(key) else { return Vec::new() };
        let order = self.layout.order(key);
        let replicas = &order[..order.len().min(usize::from(policy.n))];
        match replicas.contains(&self.config.id) {
            true => replicas.iter().copied().filter(|node| *node != self.config.id).collect(),
            false => Vec::new(),
        }
    }

    /// Reads a key of all its replicas, so as to repair them; about how many bytes that moves.
    fn read_all(&mut self, key: &Key, turn: &mut Turn<'_>) -> usize {
        let crate::types::Mode::Ap(policy) = *self.layout.buckets.mode(key) else { return 0 };
        let mut up = self.others(key);
        up.push(self.config.id);
        up.retain(|node| self.is_up(*node));
        let count = up.len();
        let get = Get::of_all(up, (self.now, AGAIN), self.config.mutant);
        let (id, deadline) = (self.number(), self.now + PATIENCE);
        let bytes = turn.store.holds(key).map_or(0, |entry| entry.siblings.bytes());
        let key = key.clone();
        let mut op = Op::new((key, policy), self.now, None, deadline, Work::Get(get));
        for _ in 0..count {
            self.ask_next(id, &mut op, turn);
        }
        self.keep(id, op, turn);
        bytes * count
    }
}

/// Of which of these keys `holds` says something else than the digests do.
pub(in crate::dynamo) fn differing<'a>(keys: Digests, holds: impl Fn(&Key) -> Option<&'a Siblings>) -> Vec<Key> {
    let differs = |(key, other): (Key, u64)| (holds(&key).map_or(0, digest) != other).then_some(key);
    keys.into_iter().filter_map(differs).collect()
}

/// What replicas compare; equal for equal states, and 0 for none.
fn digest(siblings: &Siblings) -> u64 {
    if siblings.is_empty() { 0 } else { siblings.digest() }
}
