//! What a node holds: the replica half of the AP core.
//!
//! A store holds the node's own keys, and hints (`hints`), which it keeps for nodes that could not be reached. Each
//! change persists the whole entry. The node sends nothing about a change before its record is durable. This also
//! applies when a merge changes nothing: the earlier change may still be on its way to the disk, so the answer waits
//! for the latest ticket of the key that is not durable.
//!
//! The bytes waiting for the disk are limited. Beyond the limit clients' writes are refused and peers' versions are not
//! accepted.
//!
//! A `Put` for a node that is not a replica of the key by this node's layout is ignored: versions on such a node would
//! be missed by tombstone GC (`tombstone_gc`). Keys of Raft buckets have no replicas here.

use super::context::MAX_HELD_ACTORS;
use super::epoch::Epochs;
use super::handoff::Handoff;
use super::hints::{Hints, together};
use super::rejoin::{Refill, Rejoin};
use super::siblings::{MAX_STAMP, Siblings};
use super::snapshot::Snapshots;
use super::tombstone_gc::{TombstoneGc, needs};
use super::{Arrival, Cause, Config, Dynamo, Effect, Entry, Epoch, Hint, Holding};
use super::{Message, Note, PutResult, Record, Recovered};
use crate::mutant::{Bug, Mutant};
use crate::placement::Layout;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Hlc, Key, MAX_KEY_BYTES, Mode, NodeId, Resolve, Rng, Time, Wall};
use im::OrdMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How far timestamps received may push this node's own timestamps ahead of its wall clock.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// Total bytes of a key's versions beyond which no write may add to them. Each of three sides of a partition may reach
/// this limit before they meet.
pub(super) const MAX_WRITTEN_BYTES: usize = 2 << 20;
/// Total bytes of a key's versions beyond which no merge is accepted, so that they always fit a frame. Replicas that
/// together hold more do not converge until a client has read and overwritten what each of them holds.
pub(super) const MAX_HELD_BYTES: usize = 3 * MAX_WRITTEN_BYTES;

/// What a node holds.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) config: Config,
    pub(super) layout: Arc<Layout>,
    pub(super) rng: Rng,
    pub(super) keys: OrdMap<Key, Arc<Entry>>,
    pub(super) wall: Wall,
    last: Hlc,
    pub(super) hints: Hints,
    pub(super) handoff: Handoff,
    pub(super) epoch: Epochs,
    pub(super) tombstone_gc: TombstoneGc,
    pub(super) snapshots: Snapshots,
    /// The nodes that seem to be down.
    pub(super) down: BTreeSet<NodeId>,
    /// When the next housekeeping is due, if there is anything to do.
    due: Time,
    /// The latest ticket that is not durable yet, and the latest that is.
    pub(super) unsure: Option<Ticket>,
    pub(super) durable: Ticket,
    /// The keys with an entry or hint that is not durable yet.
    fresh: BTreeMap<Key, Ticket>,
    /// Bytes of records that are not durable yet: per ticket, and in total.
    unsynced: VecDeque<(Ticket, usize)>,
    unsynced_bytes: usize,
    /// The incarnation under which this process writes each key, for itself or for another node.
    pub(super) incarnations: BTreeMap<(Option<NodeId>, Key), u64>,
    /// Whether this node has not yet announced to the others that it has started.
    greets: bool,
    pub(super) rejoin: Option<Rejoin>,
    pub(super) refills: BTreeMap<NodeId, Refill>,
    pub(super) rejoin_due: Option<Time>,
}

impl Store {
    /// Creates the store of a node that finds `recovered` on its disk.
    pub(super) fn new(config: &Config, layout: Arc<Layout>, recovered: Recovered, now: Time, mut rng: Rng) -> Store {
        let Recovered { keys, hints, epoch, rejoining, snapshot, since } = recovered;
        let hints = if config.mutant.is(Bug::HintsForgotten) { OrdMap::new() } else { hints };
        let me = config.id;
        let mut store = Store {
            epoch: Epochs::new(epoch, layout.nodes().filter(|node| *node != me)),
            config: config.clone(),
            layout,
            keys,
            wall: Wall(0),
            last: Hlc(0),
            hints: Hints::new(hints),
            handoff: Handoff::new(rng.next()),
            tombstone_gc: TombstoneGc::default(),
            snapshots: Snapshots::new(snapshot, since),
            down: BTreeSet::new(),
            due: now,
            unsure: None,
            durable: Ticket(0),
            fresh: BTreeMap::new(),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            incarnations: BTreeMap::new(),
            greets: true,
            rejoin: None,
            refills: BTreeMap::new(),
            rejoin_due: None,
            rng,
        };
        store.rejoin = rejoining.then(|| Rejoin::new(store.rng.next()));
        if store.config.mutant.is(Bug::DotReused) {
            store.resume_incarnations();
        }
        let tombstone_gc: Vec<Key> =
            store.keys.iter().filter(|(_, held)| needs(held)).map(|(key, _)| key.clone()).collect();
        tombstone_gc.iter().for_each(|key| store.schedule_gc(key));
        store
    }

    /// Returns what this node holds of a key for itself.
    pub(super) fn holds(&self, key: &Key) -> Option<&Entry> {
        self.keys.get(key).map(Arc::as_ref)
    }

    /// Returns what it keeps of a key for other nodes, merged, and the epoch of the oldest hint.
    pub(super) fn hinted(&self, key: &Key) -> Option<(Siblings, Epoch)> {
        if self.hints.is_empty() {
            return None;
        }
        let rules = (self.resolve(key), self.config.mutant);
        together(&self.hints, key, |all, more| all.merge(more, rules.0, rules.1))
    }

    /// Returns the ticket that must be durable before anything held of the key is sent; `None`: all is durable.
    pub(super) fn unsure(&self, key: &Key) -> Option<Ticket> {
        self.fresh.get(key).copied()
    }

    /// Sets the wall-clock time.
    pub(super) fn date(&mut self, wall: Wall) {
        self.wall = wall;
    }

    /// Returns the epoch of versions gathered now.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.at()
    }

    /// Returns the next timestamp.
    pub(super) fn stamp(&mut self) -> Hlc {
        self.last = Hlc(self.wall.0.max(self.last.0.saturating_add(1)).min(MAX_STAMP.0));
        self.last
    }

    /// Makes later timestamps greater than these, unless these are far ahead of the wall clock.
    pub(super) fn saw(&mut self, stamps: impl Iterator<Item = Hlc>) {
        let ceiling = self.wall.0.saturating_add(MAX_DRIFT.as_nanos() as u64);
        let seen = stamps.max().unwrap_or_default().0.min(ceiling);
        self.last = self.last.max(Hlc(seen));
    }

    /// Returns the replicas of a key in the order of its preference list.
    pub(super) fn replicas(&self, key: &[u8]) -> Vec<NodeId> {
        let Mode::Ap(policy) = self.layout.buckets.mode(key) else { return Vec::new() };
        let mut order = self.layout.order(key).to_vec();
        order.truncate(usize::from(policy.n));
        order
    }

    /// Returns how concurrent versions of a key are resolved.
    fn resolve(&self, key: &[u8]) -> Resolve {
        match self.layout.buckets.mode(key) {
            Mode::Ap(policy) => policy.resolve,
            Mode::Cp => Resolve::Siblings,
        }
    }

    /// Asks for a record to be made durable.
    pub(super) fn persist(&mut self, record: Record, out: &mut Outbox<Dynamo>) -> Ticket {
        let bytes = record.bytes();
        let ticket = out.persist(record);
        self.unsynced_bytes += bytes;
        match self.unsynced.back_mut().filter(|(last, _)| *last == ticket) {
            Some((_, of)) => *of += bytes,
            None => self.unsynced.push_back((ticket, bytes)),
        }
        ticket
    }

    /// Returns whether the bytes waiting for the disk have reached the limit.
    pub(super) fn is_behind(&self, out: &mut Outbox<Dynamo>) -> bool {
        let behind = self.unsynced_bytes >= self.config.unsynced_bytes;
        if behind {
            out.effect(Effect::Note(Note::Behind { bytes: self.unsynced_bytes }));
        }
        behind
    }

    /// Merges versions into the node's own replica, or into the hint for `owner`.
    pub(super) fn take_in(
        &mut self,
        key: &Key,
        siblings: &Siblings,
        owner: Option<NodeId>,
        cause: Cause,
        epoch: Epoch,
        out: &mut Outbox<Dynamo>,
    ) -> (PutResult, Option<Ticket>) {
        if let Some(owner) = owner.filter(|owner| *owner != self.config.id) {
            return self.take_hint(owner, key, siblings, cause, epoch, out);
        }
        if !self.epoch.takes(epoch) {
            return (PutResult::TooOld, None);
        }
        self.saw(stamps(siblings));
        let rules = (self.resolve(key), self.config.mutant);
        let stored = if self.rejoins() { PutResult::Refilling } else { PutResult::Stored };
        let Some(entry) = absorb(self.holds(key), siblings, cause, self.wall, rules) else {
            return (stored, self.unsure(key));
        };
        if !self.has_room(key, &entry, out) {
            return (PutResult::NoRoom, None);
        }
        (stored, Some(self.put(key, entry, out)))
    }

    fn take_hint(
        &mut self,
        owner: NodeId,
        key: &Key,
        siblings: &Siblings,
        cause: Cause,
        epoch: Epoch,
        out: &mut Outbox<Dynamo>,
    ) -> (PutResult, Option<Ticket>) {
        if !self.epoch.keeps(epoch) {
            return (PutResult::TooOld, None);
        }
        let rules = (self.resolve(key), self.config.mutant);
        let held = self.hints.get(owner, key);
        let Some(entry) = absorb(held.map(|hint| &*hint.entry), siblings, cause, self.wall, rules) else {
            return (PutResult::Stored, self.unsure(key));
        };
        if !self.has_room(key, &entry, out) {
            return (PutResult::NoRoom, None);
        }
        let held = self.hints.get(owner, key);
        let epoch = held.map_or(epoch, |hint| hint.epoch.min(epoch));
        let since = held.map_or(self.wall, |hint| hint.since);
        match self.put_hint(owner, key, Hint { entry: Arc::new(entry), epoch, since }, out) {
            Some(ticket) => (PutResult::Stored, Some(ticket)),
            None => (PutResult::NoRoom, None),
        }
    }

    /// Returns whether a merged entry is within the limits and the disk is not too far behind.
    fn has_room(&self, key: &Key, entry: &Entry, out: &mut Outbox<Dynamo>) -> bool {
        let full = exceeds(entry, MAX_HELD_BYTES) || entry.siblings.clock().len() > MAX_HELD_ACTORS;
        if full {
            out.effect(Effect::Note(Note::Full { key: key.clone() }));
        }
        !full && !self.is_behind(out)
    }

    /// Keeps versions for `owner` in addition to what this node holds itself; `NoRoom` if there is no room.
    pub(super) fn keep_hint(
        &mut self,
        owner: NodeId,
        key: &Key,
        siblings: &Siblings,
        epoch: Epoch,
        out: &mut Outbox<Dynamo>,
    ) -> (PutResult, Option<Ticket>) {
        self.take_in(key, siblings, Some(owner), Cause::Write(self.config.id), epoch, out)
    }

    pub(super) fn put(&mut self, key: &Key, entry: Entry, out: &mut Outbox<Dynamo>) -> Ticket {
        let fresh = needs(&entry) && !self.holds(key).is_some_and(needs);
        let entry = Arc::new(entry);
        self.keys.insert(key.clone(), entry.clone());
        self.snapshots.since.keys.insert(key.clone());
        if fresh {
            self.schedule_gc(key);
        }
        let ticket = self.persist(Record::Key(key.clone(), Some(entry)), out);
        self.unsure = Some(ticket);
        self.fresh.insert(key.clone(), ticket);
        ticket
    }

    /// Keeps a hint; returns `None` if there is no room.
    pub(super) fn put_hint(
        &mut self,
        owner: NodeId,
        key: &Key,
        hint: Hint,
        out: &mut Outbox<Dynamo>,
    ) -> Option<Ticket> {
        if self.hints.bytes_with(owner, key, &hint) > self.config.hint_bytes {
            out.effect(Effect::Note(Note::HintRefused { owner }));
            return None;
        }
        self.hints.set(owner, key, Some(hint.clone()));
        self.snapshots.since.hints.insert((owner, key.clone()));
        let ticket = self.persist(Record::Hint(owner, key.clone(), Some(hint)), out);
        self.unsure = Some(ticket);
        self.fresh.insert(key.clone(), ticket);
        out.effect(Effect::Note(Note::HintStored { owner, key: key.clone() }));
        Some(ticket)
    }

    /// Handles a peer's message to the replica: all messages except reads, forwards, and replies to a coordinator's own
    /// operations.
    pub(super) fn message(&mut self, from: NodeId, message: Message, out: &mut Outbox<Dynamo>) {
        match message {
            Message::Put { op, key, siblings, owner, cause, epoch } => {
                let target = owner.unwrap_or(self.config.id);
                if key.len() > MAX_KEY_BYTES || !siblings.is_sane() {
                    out.effect(Effect::Note(Note::Nonsense { from }));
                } else if self.replicas(&key).contains(&target) {
                    let (result, ticket) = self.take_in(&key, &siblings, owner, cause, epoch, out);
                    out.send_after(ticket, from, Message::PutReply { op, result });
                }
            }
            Message::PutReply { op, result } => {
                self.handed_over(from, op, result, out);
                self.refill_answered(from, op, result, out);
                self.advance(out);
            }
            Message::Epoch { at, want } => self.heard_epoch(from, at, want, out),
            Message::Welcome { round, at, rejoins, refilled } => {
                self.welcomed(from, (round, at), (rejoins, refilled), out);
            }
            Message::Ask(list) => self.asked(from, list, out),
            Message::Held(list) => self.held(from, list, out),
            Message::Forget(list) => self.told_to_forget(from, list, out),
            Message::Forgotten(list) => self.forgotten(from, list),
            Message::Get { .. }
            | Message::GetReply { .. }
            | Message::Forward { .. }
            | Message::ForwardReply { .. }
            | Message::Rejoin { .. }
            | Message::Compare { .. }
            | Message::Differ { .. } => {}
        }
    }

    /// Records the failure detector's opinion of a peer.
    pub(super) fn peer(&mut self, node: NodeId, up: bool) {
        match up {
            true => self.down.remove(&node),
            false => self.down.insert(node),
        };
        self.due = if up { Time(0) } else { self.due };
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Time, out: &mut Outbox<Dynamo>) {
        if std::mem::take(&mut self.greets) {
            self.tell_epoch(out);
            if self.rejoins() {
                self.rejoin_starts(out);
            }
        }
        self.rejoin_tick(now, out);
        if self.housekeeping().is_none_or(|due| now < due) {
            return;
        }
        self.due = now + self.config.housekeeping;
        self.rejoin_round(out);
        self.hand_over(out);
        self.collect(out);
        if self.epoch.wanted() && self.down.is_empty() {
            self.tell_epoch(out);
        }
        self.advance(out);
    }

    /// All records up to `ticket` are durable.
    pub(super) fn persisted(&mut self, ticket: Ticket, now: Time, out: &mut Outbox<Dynamo>) {
        self.durable = self.durable.max(ticket);
        while let Some((_, bytes)) = self.unsynced.pop_front_if(|(of, _)| *of <= ticket) {
            self.unsynced_bytes -= bytes;
        }
        self.unsure = self.unsure.filter(|unsure| *unsure > ticket);
        self.fresh.retain(|_, of| *of > ticket);
        self.epoch_durable(ticket, out);
        self.rejoin_durable(ticket, out);
        self.rejoin_tick(now, out);
    }

    /// Returns when the next tick is due, if there is anything to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let greets = self.greets.then_some(self.due);
        self.housekeeping().into_iter().chain(self.rejoin_due).chain(greets).min()
    }

    /// Returns when the next housekeeping is due, if there is anything to do.
    fn housekeeping(&self) -> Option<Time> {
        let quiet = self.hints.is_empty() && self.tombstone_gc.is_empty() && !self.epoch.wanted() && self.is_refilled();
        (!quiet).then_some(self.due)
    }

    /// Returns everything held of a key, for `why`.
    pub(super) fn why(&self, key: &[u8]) -> Vec<Holding> {
        let key = Key::from(key);
        let place = self.replicas(&key).iter().position(|node| *node == self.config.id).map(|place| place as u32);
        let own = self.keys.get(&key).map(|entry| (None, entry));
        let kept = self.hints.of(&key).map(|(owner, hint)| (Some(owner), &hint.entry));
        own.into_iter().chain(kept).map(|(owner, entry)| holding(self.config.id, place, owner, entry)).collect()
    }
}

fn holding(node: NodeId, place: Option<u32>, owner: Option<NodeId>, entry: &Entry) -> Holding {
    let (clock, versions) = (entry.siblings.clock().clone(), entry.siblings.versions().to_vec());
    Holding { node, place, owner, clock, versions, arrivals: entry.arrivals.clone() }
}

impl Record {
    /// Approximate size in bytes.
    fn bytes(&self) -> usize {
        const FIXED: usize = 64;
        let of = |entry: &Entry| entry.siblings.bytes() + entry.siblings.clock().len() * ACTOR_BYTES;
        FIXED
            + match self {
                Record::Key(key, entry) => key.len() + entry.as_deref().map_or(0, of),
                Record::Hint(_, key, hint) => key.len() + hint.as_ref().map_or(0, |hint| of(&hint.entry)),
                Record::Epoch(_) | Record::Snapshot(_) | Record::Rejoin(_) => 0,
            }
    }
}

/// Bytes of an entry of a version vector.
const ACTOR_BYTES: usize = 20;

/// Returns whether the versions exceed `bytes` together. A single version is never too large.
pub(super) fn exceeds(entry: &Entry, bytes: usize) -> bool {
    entry.siblings.versions().len() > 1 && entry.siblings.bytes() > bytes
}

pub(super) fn stamps(siblings: &Siblings) -> impl Iterator<Item = Hlc> {
    siblings.versions().iter().map(|v| v.stamp)
}

/// Returns the entry with `siblings` merged in; `None` if the merge changes nothing.
fn absorb(
    held: Option<&Entry>,
    siblings: &Siblings,
    cause: Cause,
    at: Wall,
    (resolve, mutant): (Resolve, Mutant),
) -> Option<Entry> {
    if held.is_some_and(|held| held.siblings.includes(siblings)) {
        return None;
    }
    let mut entry = held.cloned().unwrap_or_default();
    if !entry.siblings.merge(siblings, resolve, mutant) {
        return None;
    }
    arrived(&mut entry, cause, at);
    Some(entry)
}

/// Records how new versions arrived, and removes the records of versions that are gone.
pub(super) fn arrived(entry: &mut Entry, cause: Cause, at: Wall) {
    let versions = entry.siblings.versions();
    entry.arrivals.retain(|arrival| versions.binary_search_by_key(&arrival.dot, |v| v.dot).is_ok());
    for version in versions {
        if let Err(position) = entry.arrivals.binary_search_by_key(&version.dot, |arrival| arrival.dot) {
            entry.arrivals.insert(position, Arrival { dot: version.dot, cause, at });
        }
    }
}

#[cfg(test)]
mod tests;
