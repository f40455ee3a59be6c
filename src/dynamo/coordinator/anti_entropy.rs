//! Anti-entropy: repairs what hinted handoff and read repair miss.
//!
//! A coordinator that crashes in the middle of a write leaves no hint, and neither does one whose stand-ins had no
//! room. A key that no client reads is not repaired by reads. So when a node starts, when another node comes back, and
//! when a hint was refused or has expired, a node walks once through the keys it shares with the nodes concerned. It
//! sends the other replicas digests of what it holds, a few keys at a time, and they reply with the keys of which they
//! hold something else. Only these are read, from all their replicas, and each replica that is behind is brought up to
//! date, this node included. Merkle trees would find the same differences with fewer messages.
//!
//! **Anti-entropy leaves room for clients.** One comparison is in progress at a time, and reads are paced to a number
//! of bytes per second. A node that is repeatedly suspected and comes back costs only digests.

use super::get::Get;
use super::{Coordinator, Op, Turn, Work};
use crate::dynamo::siblings::Siblings;
use crate::dynamo::{Message, OpId};
use crate::mutant::Bug;
use crate::types::{Key, NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Keys compared in one step.
const KEYS: usize = 64;
/// Keys read in one step.
const READS: usize = 16;
/// Approximate number of bytes per second that anti-entropy makes replicas send and receive.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// Pause between two steps.
const PAUSE: Duration = Duration::from_millis(50);
/// How long replicas may take to answer, and to apply a repair.
const PATIENCE: Duration = Duration::from_secs(2);
/// Replicas that have not answered after this long are asked again.
const AGAIN: Duration = Duration::from_millis(300);
/// How often a comparison is sent. A node that does not answer is compared with when it comes back.
const TRIES: u32 = 5;

/// Digests of keys.
type Digests = Vec<(Key, u64)>;

/// The state of the walk through the keys.
#[derive(Debug, Default)]
pub(super) struct AntiEntropy {
    /// The nodes whose shared keys are compared.
    peers: BTreeSet<NodeId>,
    /// Nodes that need another walk, because this one had already begun.
    then: BTreeSet<NodeId>,
    /// The last key compared.
    after: Option<Key>,
    next: Option<Time>,
    /// The comparison in progress.
    comparison: Option<Comparison>,
    /// Keys that replicas hold differently, yet to be read.
    differing: BTreeSet<Key>,
}

#[derive(Debug)]
struct Comparison {
    op: OpId,
    /// The nodes that have not answered, and the digests they were sent.
    asked: BTreeMap<NodeId, Digests>,
    tries: u32,
}

impl AntiEntropy {
    pub fn deadline(&self) -> Option<Time> {
        self.next
    }
}

impl Coordinator {
    /// Schedules a walk through the keys shared with `node`.
    pub fn compare_with(&mut self, node: NodeId) {
        if self.config.mutant.is(Bug::AntiEntropyDead) {
            return;
        }
        if self.anti_entropy.after.is_some() {
            self.anti_entropy.then.insert(node);
        } else {
            self.anti_entropy.peers.insert(node);
            self.anti_entropy.next.get_or_insert(self.now + PAUSE);
        }
    }

    /// Executes the next step if it is due: reads differing keys, retries a comparison, or compares more keys.
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

    /// Reads some of the keys that differ, then pauses for as long as their bytes take at the byte rate.
    fn read_differing(&mut self, turn: &mut Turn<'_>) {
        let mut bytes = 0;
        for _ in 0..READS {
            let Some(key) = self.anti_entropy.differing.pop_first() else { break };
            bytes += self.read_all(&key, turn) as u64;
        }
        if !self.config.mutant.is(Bug::AntiEntropyOfValues) {
            let pause = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / BYTES_PER_SECOND);
            self.anti_entropy.next = Some(self.now + pause.max(PAUSE));
        }
    }

    /// Retries a comparison with the nodes that have not answered, a limited number of times.
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

    /// Sends digests of the next keys to their other replicas.
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
                if self.config.mutant.is(Bug::AntiEntropyOfValues) {
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

    /// Handles a replica's answer: the keys of which it holds something else.
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

    /// Reads a key from all its replicas in order to repair them. Returns the approximate number of bytes that this
    /// moves.
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

/// Returns the keys whose state in `holds` does not match the digest.
pub(in crate::dynamo) fn differing<'a>(keys: Digests, holds: impl Fn(&Key) -> Option<&'a Siblings>) -> Vec<Key> {
    let differs = |(key, other): (Key, u64)| (holds(&key).map_or(0, digest) != other).then_some(key);
    keys.into_iter().filter_map(differs).collect()
}

/// The digest that replicas compare: equal for equal states, and 0 for none.
fn digest(siblings: &Siblings) -> u64 {
    if siblings.is_empty() { 0 } else { siblings.digest() }
}
