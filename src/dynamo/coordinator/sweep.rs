//! Sweeps: what hints and reads do not bring home.
//!
//! A coordinator that dies in the middle of a write leaves no hint behind, and one whose stand-ins had no room has none to leave;
//! a key that nobody reads is not repaired by reading. So when a node starts, when another one comes back, and when a hint was
//! refused or has expired, a node goes once through the keys it shares with those concerned, a few at a time, asks all of a
//! key's replicas, and brings up to date whoever is behind, itself included. Merkle trees would find the same differences
//! with fewer messages.

use super::get::Get;
use super::{Coordinator, Op, Turn, Work};
use crate::mutant::Bug;
use crate::types::{Key, NodeId, Time};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

/// Keys looked at in one go.
const KEYS: usize = 64;
/// Of which at most so many are read.
const READS: usize = 16;
/// Pause before the next.
const PAUSE: Duration = Duration::from_millis(50);
/// How long replicas may take to answer, and to take a repair in.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who has not after this long is asked again.
const AGAIN: Duration = Duration::from_millis(300);

/// A walk through the keys.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The nodes whose keys are looked at.
    whom: BTreeSet<NodeId>,
    /// Those for whom another walk is to follow, because this one had begun already.
    then: BTreeSet<NodeId>,
    /// The last key looked at.
    after: Option<Key>,
    next: Option<Time>,
}

impl Sweep {
    pub fn deadline(&self) -> Option<Time> {
        self.next
    }
}

impl Coordinator {
    /// The keys shared with `node` are to be looked at.
    pub fn sweep_for(&mut self, node: NodeId) {
        if self.config.mutant.is(Bug::SweepDead) {
            return;
        }
        if self.sweep.after.is_some() {
            self.sweep.then.insert(node);
        } else {
            self.sweep.whom.insert(node);
            self.sweep.next.get_or_insert(self.now + PAUSE);
        }
    }

    /// Looks at some keys, if it is time to.
    pub(super) fn sweep(&mut self, turn: &mut Turn<'_>) {
        if self.sweep.next.is_none_or(|next| next > self.now) {
            return;
        }
        self.sweep.next = Some(self.now + PAUSE);
        if self.ops.len() >= self.config.max_open / 2 || self.bytes >= self.config.open_bytes / 2 {
            return;
        }
        let mut reads = 0;
        for _ in 0..KEYS {
            let from = self.sweep.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = (from, Bound::<&Key>::Unbounded);
            let Some(key) = turn.store.keys.range::<_, Key>(rest).next().map(|(key, _)| key.clone()) else {
                let then = std::mem::take(&mut self.sweep.then);
                self.sweep =
                    Sweep { next: (!then.is_empty()).then_some(self.now + PAUSE), whom: then, ..Sweep::default() };
                return;
            };
            reads += usize::from(self.compare(&key, turn));
            self.sweep.after = Some(key);
            if reads >= READS {
                return;
            }
        }
    }

    /// Reads a key of all its replicas, if it is to be looked at, so as to repair them.
    fn compare(&mut self, key: &Key, turn: &mut Turn<'_>) -> bool {
        let crate::types::Mode::Ap(policy) = *self.layout.buckets.mode(key) else { return false };
        let order = self.layout.order(key);
        let replicas = &order[..order.len().min(usize::from(policy.n))];
        let shared = replicas.iter().any(|node| self.sweep.whom.contains(node));
        if !shared || !replicas.contains(&self.config.id) {
            return false;
        }
        let up: Vec<NodeId> = replicas.iter().copied().filter(|node| self.is_up(*node)).collect();
        let count = up.len();
        let get = Get::of_all(up, (self.now, AGAIN), self.config.mutant);
        let (id, deadline) = (self.number(), self.now + PATIENCE);
        let key = key.clone();
        let mut op = Op::new(key, policy, None, deadline, Work::Get(get));
        for _ in 0..count {
            self.ask_next(id, &mut op, turn);
        }
        self.keep(id, op, turn);
        true
    }
}
