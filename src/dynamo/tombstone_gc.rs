//! Tombstone GC: forgets tombstones that every replica has acknowledged, and entries of version vectors that are no
//! longer needed.
//!
//! A replica may hold only tombstones of a key, or a version vector with many actors of which no version is left. It
//! then asks the key's other replicas whether they know everything that it knows (`Ask`, `Held`), and sends its own
//! state to those that do not say so. When all do, it waits until nothing older can be in flight (see `epoch`), and
//! tells the others to forget (`Forget`, `Forgotten`). It forgets last itself. Normally the first replica of the
//! preference list does this; the others do it only if it has not done so after a while.
//!
//! Forgetting works the same on every replica and is always correct. A key is dropped if only tombstones are left and
//! nothing newer than the settled version vector is known. Otherwise the settled entries of the version vector are
//! pruned whose actors have no version here.
//!
//! While a node is down no questions are sent, because no round could finish.

use super::store::Store;
use super::version_vector::VersionVector;
use super::{Cause, Dynamo, Effect, Entry, Epoch, Message, Note, Record};
use crate::mutant::Bug;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Key, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Maximum number of keys in one message.
pub(super) const MAX_KEYS: usize = 256;
/// Maximum number of keys being collected at a time.
const MAX_ROUNDS: usize = 1024;
/// Actors without a version that a version vector may have before they are pruned.
pub(super) const IDLE_ACTORS: usize = 16;
/// Number of epochs from when all replicas hold a tombstone until nothing older can be in flight (see `epoch`).
const SETTLED: Epoch = 5;
/// Rounds of housekeeping that each replica waits longer than the one before it in the preference list.
const PRECEDENCE: u64 = 10;

/// The keys with something to forget.
#[derive(Debug, Default)]
pub(super) struct TombstoneGc {
    /// Rounds of housekeeping so far.
    now: u64,
    /// The keys to ask about, with the round in which to start; each key once, however often it is written and deleted
    /// meanwhile.
    waiting: BTreeSet<(u64, Key)>,
    due: BTreeMap<Key, u64>,
    rounds: BTreeMap<Key, Round>,
}

#[derive(Debug)]
struct Round {
    asked: VersionVector,
    /// The version vector to forget.
    settled: VersionVector,
    /// The ticket with which `asked` becomes durable here.
    ticket: Option<Ticket>,
    tries: u32,
    held: BTreeSet<NodeId>,
    /// The epoch in which all others had said that they hold it.
    since: Option<Epoch>,
    forgotten: BTreeSet<NodeId>,
}

type Lists = BTreeMap<NodeId, Vec<(Key, VersionVector)>>;

impl TombstoneGc {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.rounds.is_empty()
    }
}

/// Returns whether the entry has something to forget.
pub(super) fn needs(entry: &Entry) -> bool {
    let siblings = &entry.siblings;
    siblings.is_deleted() || siblings.clock().len() > IDLE_ACTORS && siblings.idle_actors() > IDLE_ACTORS
}

impl Store {
    /// Schedules a key that now has something to forget.
    pub(super) fn schedule_gc(&mut self, key: &Key) {
        let Some(slot) = self.replicas(key).iter().position(|node| *node == self.config.id) else { return };
        let mut rounds = 1 + PRECEDENCE * slot as u64;
        if self.config.mutant.is(Bug::TombstoneByTimer) {
            rounds = (Duration::from_secs(2).as_nanos() / self.config.housekeeping.as_nanos().max(1)) as u64;
        }
        let due = self.tombstone_gc.now + rounds;
        if !self.tombstone_gc.due.contains_key(key) {
            self.tombstone_gc.due.insert(key.clone(), due);
            self.tombstone_gc.waiting.insert((due, key.clone()));
        }
    }

    /// Runs a round of housekeeping.
    pub(super) fn collect(&mut self, out: &mut Outbox<Dynamo>) {
        self.tombstone_gc.now += 1;
        if self.config.mutant.is(Bug::TombstonesKept) {
            return;
        }
        if !self.down.is_empty() && !self.config.mutant.is(Bug::TombstoneByTimer) {
            return;
        }
        self.begin_rounds(out);
        let mut asks = Lists::new();
        let mut forgets = Lists::new();
        for key in self.tombstone_gc.rounds.keys().cloned().collect::<Vec<_>>() {
            self.go_on(&key, &mut asks, &mut forgets, out);
        }
        send_lists(asks, Message::Ask, None, out);
        send_lists(forgets, Message::Forget, None, out);
    }

    fn begin_rounds(&mut self, out: &mut Outbox<Dynamo>) {
        let now = self.tombstone_gc.now;
        while self.tombstone_gc.rounds.len() < MAX_ROUNDS
            && self.tombstone_gc.waiting.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.tombstone_gc.waiting.pop_first()
        {
            self.tombstone_gc.due.remove(&key);
            let Some(entry) = self.keys.get(&key).filter(|entry| needs(entry)) else { continue };
            let asked = entry.siblings.clock().clone();
            if self.config.mutant.is(Bug::TombstoneByTimer) {
                self.forget(&key, &asked, out);
                continue;
            }
            let settled = if entry.siblings.is_deleted() { asked.clone() } else { entry.siblings.idle() };
            let ticket = self.unsure;
            let (held, forgotten) = (BTreeSet::new(), BTreeSet::new());
            let round = Round { asked, settled, ticket, tries: 0, held, since: None, forgotten };
            self.tombstone_gc.rounds.entry(key).or_insert(round);
        }
    }

    /// Takes the next step for a key, or adds what must be sent to the lists.
    fn go_on(&mut self, key: &Key, asks: &mut Lists, forgets: &mut Lists, out: &mut Outbox<Dynamo>) {
        self.count(key);
        let others = self.others(key);
        let Some(round) = self.tombstone_gc.rounds.get_mut(key) else { return };
        let wait = if self.config.mutant.is(Bug::ForgottenAtOnce) { 0 } else { SETTLED };
        let settled = round.since.is_some_and(|since| self.epoch.at() >= since + wait);
        if round.since.is_none() {
            round.tries += 1;
            let (asked, again) = (round.asked.clone(), round.tries > 1);
            let lacking: Vec<NodeId> = others.into_iter().filter(|node| !round.held.contains(node)).collect();
            for node in lacking {
                if again {
                    self.send_whole(node, key, out);
                }
                asks.entry(node).or_default().push((key.clone(), asked.clone()));
            }
        } else if settled && others.iter().all(|node| round.forgotten.contains(node)) {
            let dead = round.settled.clone();
            self.tombstone_gc.rounds.remove(key);
            self.forget(key, &dead, out);
            if self.holds(key).is_some_and(needs) {
                self.schedule_gc(key);
            }
        } else if settled {
            for node in others.into_iter().filter(|node| !round.forgotten.contains(node)) {
                forgets.entry(node).or_default().push((key.clone(), round.settled.clone()));
            }
        }
    }

    /// Records the epoch in which all replicas held what was asked about, and requests the epochs that must pass.
    fn count(&mut self, key: &Key) {
        let (others, durable, at) = (self.others(key), self.durable, self.epoch.at());
        let Some(round) = self.tombstone_gc.rounds.get_mut(key) else { return };
        let here = round.ticket.is_none_or(|ticket| ticket <= durable);
        if round.since.is_none() && here && others.iter().all(|node| round.held.contains(node)) {
            round.since = Some(at);
            if !self.config.mutant.is(Bug::ForgottenAtOnce) {
                self.epoch.want(at + SETTLED);
            }
        }
    }

    /// Sends a replica the whole entry held here.
    fn send_whole(&mut self, to: NodeId, key: &Key, out: &mut Outbox<Dynamo>) {
        let Some(entry) = self.keys.get(key) else { return };
        let (siblings, cause) = (entry.siblings.clone(), Cause::Repair(self.config.id));
        let op = self.handoff.op();
        let put = Message::Put { op, key: key.clone(), siblings, owner: None, cause, epoch: self.epoch.at() };
        out.send_after(self.unsure, to, put);
    }

    /// Handles an `Ask` message.
    pub(super) fn asked(&self, from: NodeId, mut list: Vec<(Key, VersionVector)>, out: &mut Outbox<Dynamo>) {
        list.truncate(MAX_KEYS);
        list.retain(|(key, clock)| self.keys.get(key).is_some_and(|held| held.siblings.clock().covers(clock)));
        send_lists(Lists::from([(from, list)]), Message::Held, self.unsure, out);
    }

    /// Handles a `Held` message.
    pub(super) fn held(&mut self, from: NodeId, list: Vec<(Key, VersionVector)>, out: &mut Outbox<Dynamo>) {
        for (key, clock) in list {
            if let Some(round) = self.tombstone_gc.rounds.get_mut(&key).filter(|round| round.asked == clock) {
                round.held.insert(from);
                self.count(&key);
            }
        }
        self.advance(out);
    }

    /// Handles a `Forget` message.
    pub(super) fn told_to_forget(
        &mut self,
        from: NodeId,
        mut list: Vec<(Key, VersionVector)>,
        out: &mut Outbox<Dynamo>,
    ) {
        list.truncate(MAX_KEYS);
        list.iter().for_each(|(key, clock)| self.forget(key, clock, out));
        send_lists(Lists::from([(from, list)]), Message::Forgotten, self.unsure, out);
    }

    /// Handles a `Forgotten` message.
    pub(super) fn forgotten(&mut self, from: NodeId, list: Vec<(Key, VersionVector)>) {
        for (key, clock) in list {
            if let Some(round) = self.tombstone_gc.rounds.get_mut(&key).filter(|round| round.settled == clock) {
                round.forgotten.insert(from);
            }
        }
    }

    fn forget(&mut self, key: &Key, settled: &VersionVector, out: &mut Outbox<Dynamo>) {
        let Some(mut entry) = self.holds(key).cloned() else { return };
        if entry.siblings.is_deleted() && settled.covers(entry.siblings.clock()) {
            self.keys.remove(key);
            self.incarnations.remove(&(None, key.clone()));
            self.snapshots.since.keys.insert(key.clone());
            self.unsure = Some(self.persist(Record::Key(key.clone(), None), out));
            out.effect(Effect::Note(Note::Collected { key: key.clone() }));
            return;
        }
        // If a key was written again after its tombstone was collected, the few entries left in its version vector
        // stay, so that replicas keep equal states.
        let hasty = self.config.mutant.is(Bug::PruneLiveClock).then(|| entry.siblings.clock().clone());
        let spent = hasty.as_ref().unwrap_or(settled);
        let entries = if settled.len() > IDLE_ACTORS { entry.siblings.prune(spent) as u32 } else { 0 };
        if entries > 0 {
            let me = self.config.id;
            let life = (None, key.clone());
            let known =
                |incarnation| entry.siblings.clock().count(super::version_vector::Actor { node: me, incarnation }) > 0;
            if self.incarnations.get(&life).is_some_and(|incarnation| !known(*incarnation)) {
                self.incarnations.remove(&life);
            }
            self.put(key, entry, out);
            out.effect(Effect::Note(Note::Pruned { key: key.clone(), entries }));
        }
    }

    #[cfg(test)]
    pub(super) fn keys_waiting(&self) -> usize {
        self.tombstone_gc.waiting.len()
    }

    fn others(&self, key: &Key) -> Vec<NodeId> {
        self.replicas(key).into_iter().filter(|node| *node != self.config.id).collect()
    }
}

fn send_lists(
    lists: Lists,
    message: impl Fn(Vec<(Key, VersionVector)>) -> Message,
    after: Option<Ticket>,
    out: &mut Outbox<Dynamo>,
) {
    for (node, list) in lists {
        list.chunks(MAX_KEYS).for_each(|chunk| out.send_after(after, node, message(chunk.to_vec())));
    }
}
