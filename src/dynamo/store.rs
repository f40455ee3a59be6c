//! What a node holds: the replica half of the AP core.
//!
//! Keys of its own, and hints (`hints`): what it keeps for nodes that could not be reached. Whole entries are persisted, each
//! time one changes; nothing is told to anybody before the record is durable. That goes for what was found unchanged too: the
//! change may still be on its way to the disk, so the answer waits for the key's latest ticket that is.
//!
//! A `Put` for a node that is none of the key's replicas by this node's layout is ignored: what such a node held would escape
//! the rounds in which replicas agree to forget (`graves`). Keys of Raft buckets have no replicas here.

use super::clock::{Actor, MAX_COUNT};
use super::context::{MAX_ACTORS, Seen};
use super::epoch::Epochs;
use super::graves::{Graves, needs};
use super::handoff::Handoff;
use super::hints::{Hints, together};
use super::merge::State;
use super::siblings::{Content, MAX_STAMP, Siblings, WriteId};
use super::snapshot::Snapshots;
use super::{Arrival, Cause, Config, Dynamo, Effect, Entry, Epoch, Hint, Holding};
use super::{Message, Note, PutResult, Record, Recovered, Refusal, Update};
use crate::mutant::{Bug, Mutant};
use crate::placement::Layout;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Hlc, Key, Mode, NodeId, Policy, Resolve, Rng, Time, Wall};
use im::OrdMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far stamps seen may push this node's own beyond its date.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// Bytes of all versions of a key together beyond which no write adds to them. Three sides of a partition may each come to
/// that much before they meet.
pub(super) const MAX_WRITTEN_BYTES: usize = 2 << 20;
/// Bytes of all versions of a key together beyond which nothing more is taken in, so that they always fit a frame. Replicas
/// that hold more than that between them stay apart until a client has read and overwritten what each holds.
pub(super) const MAX_HELD_BYTES: usize = 3 * MAX_WRITTEN_BYTES;

/// What a node holds.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) config: Config,
    pub(super) layout: Arc<Layout>,
    rng: Rng,
    pub(super) keys: OrdMap<Key, Arc<Entry>>,
    pub(super) wall: Wall,
    last: Hlc,
    pub(super) hints: Hints,
    pub(super) handoff: Handoff,
    pub(super) epoch: Epochs,
    pub(super) graves: Graves,
    pub(super) snapshots: Snapshots,
    /// Who seems to be down.
    pub(super) down: BTreeSet<NodeId>,
    /// When housekeeping is next, if there is anything to do.
    due: Time,
    /// The latest ticket that is not durable yet, and the latest that is.
    pub(super) unsure: Option<Ticket>,
    pub(super) durable: Ticket,
    /// Keys of which something is held, for itself or for others, that is not durable yet.
    fresh: BTreeMap<Key, Ticket>,
}

/// A write that was carried out here.
#[derive(Debug)]
pub(super) struct Written {
    /// All that is held of the key with it, to be sent to the others.
    pub siblings: Siblings,
    /// The epoch in which that was gathered.
    pub epoch: Epoch,
    /// What must be durable before it counts; `None`: it is.
    pub ticket: Option<Ticket>,
}

impl Store {
    /// The store of a node that finds `recovered` on its disk.
    pub(super) fn new(config: &Config, layout: Arc<Layout>, recovered: Recovered, now: Time, mut rng: Rng) -> Store {
        let Recovered { keys, hints, epoch, snapshot, since } = recovered;
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
            graves: Graves::default(),
            snapshots: Snapshots::new(snapshot, since),
            down: BTreeSet::new(),
            due: now,
            unsure: None,
            durable: Ticket(0),
            fresh: BTreeMap::new(),
            rng,
        };
        let graves: Vec<Key> = store.keys.iter().filter(|(_, held)| needs(held)).map(|(key, _)| key.clone()).collect();
        graves.iter().for_each(|key| store.bury(key));
        store
    }

    /// What this node holds of a key for itself.
    pub(super) fn holds(&self, key: &Key) -> Option<&Entry> {
        self.keys.get(key).map(Arc::as_ref)
    }

    /// What it keeps of a key for others, all together, and how old the oldest of that is.
    pub(super) fn hinted(&self, key: &Key) -> Option<(Siblings, Epoch)> {
        if self.hints.is_empty() {
            return None;
        }
        let rules = (self.resolve(key), self.config.mutant);
        together(&self.hints, key, |all, more| all.merge(more, rules.0, rules.1))
    }

    /// What must be durable before anything held of the key is told; `None`: it is.
    pub(super) fn unsure(&self, key: &Key) -> Option<Ticket> {
        self.fresh.get(key).copied()
    }

    /// What the date is.
    pub(super) fn date(&mut self, wall: Wall) {
        self.wall = wall;
    }

    /// The epoch of what is gathered now.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.at()
    }

    /// The next stamp.
    pub(super) fn stamp(&mut self) -> Hlc {
        self.last = Hlc(self.wall.0.max(self.last.0.saturating_add(1)).min(MAX_STAMP.0));
        self.last
    }

    /// Makes later stamps greater than those seen here, unless they are far ahead of the date.
    fn saw(&mut self, stamps: impl Iterator<Item = Hlc>) {
        let ceiling = self.wall.0.saturating_add(MAX_DRIFT.as_nanos() as u64);
        let seen = stamps.max().unwrap_or_default().0.min(ceiling);
        self.last = self.last.max(Hlc(seen));
    }

    /// The replicas of a key, best first.
    pub(super) fn replicas(&self, key: &[u8]) -> Vec<NodeId> {
        let Mode::Ap(policy) = self.layout.buckets.mode(key) else { return Vec::new() };
        let mut order = self.layout.order(key).to_vec();
        order.truncate(usize::from(policy.n));
        order
    }

    /// How concurrent versions of a key are resolved.
    fn resolve(&self, key: &[u8]) -> Resolve {
        match self.layout.buckets.mode(key) {
            Mode::Ap(policy) => policy.resolve,
            Mode::Cp => Resolve::Siblings,
        }
    }

    /// Coordinates a write: into the node's own replica, or, as a stand-in, into what it keeps for `owner`.
    ///
    /// # Errors
    /// Nothing has changed and nothing will.
    #[expect(clippy::too_many_arguments, reason = "a write is that much")]
    pub(super) fn write(
        &mut self,
        key: &Key,
        owner: Option<NodeId>,
        seen: &Seen,
        write: WriteId,
        update: &Update,
        policy: &Policy,
        out: &mut Outbox<Dynamo>,
    ) -> Result<Written, Refusal> {
        let owner = owner.filter(|owner| *owner != self.config.id);
        let mut epoch = self.epoch.at();
        let mut since = self.wall;
        let held = match owner {
            None => self.keys.get(key),
            Some(owner) => self.hints.get(owner, key).map(|hint| {
                (epoch, since) = (epoch.min(hint.epoch), hint.since);
                &hint.entry
            }),
        };
        let mut entry = held.map(|entry| Entry::clone(entry)).unwrap_or_default();
        self.saw(stamps(&entry.siblings).chain([seen.stamp]));
        let stamp = self.stamp();
        if let Err(refusal) = self.write_into(&mut entry, seen, (stamp, write), update, policy) {
            if !matches!(refusal, Refusal::Invalid(_)) {
                out.effect(Effect::Note(Note::Full { key: key.clone() }));
            }
            return Err(refusal);
        }
        let siblings = entry.siblings.clone();
        let ticket = match owner {
            None => self.put(key, entry, out),
            Some(owner) => {
                self.put_hint(owner, key, Hint { entry: Arc::new(entry), epoch, since }, out).ok_or(Refusal::Busy)?
            }
        };
        Ok(Written { siblings, epoch, ticket: Some(ticket) })
    }

    /// Writes into an entry, within the limits.
    fn write_into(
        &mut self,
        entry: &mut Entry,
        seen: &Seen,
        (stamp, write): (Hlc, WriteId),
        update: &Update,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let held = &entry.siblings;
        let merging = matches!(update, Update::Merge(_));
        let mut clock = held.clock().clone();
        let seen = if merging { &Seen::from(clock.clone()) } else { seen };
        let actor = Actor { node: self.config.id, birth: entry.birth.unwrap_or_default() };
        let known = clock.count(actor);
        // Who has seen more of this life than is held here has seen what was lost: that life is over.
        let lives = entry.birth.is_some() && seen.clock.count(actor) <= known && known < MAX_COUNT;
        // A mergeable value counts what each actor did; after a delete that begins anew, and so must the actor.
        let anew = merging && held.versions().iter().any(|v| v.content == Content::Tombstone);
        let birth = if lives && !anew { actor.birth } else { self.rng.next() };
        let actor = Actor { birth, ..actor };
        let content = content(held, actor, stamp, update, policy.resolve, self.config.mutant)?;

        let left = held.versions().iter().filter(|v| !seen.clock.contains(v.dot)).count();
        if left >= self.config.max_siblings && left == held.versions().len() && policy.resolve != Resolve::LastWriter {
            return Err(Refusal::TooManySiblings(left as u32));
        }
        clock.join(&seen.clock);
        let actors = clock.len() + usize::from(clock.count(actor) == 0);
        if actors > MAX_ACTORS {
            return Err(Refusal::TooManyActors(clock.len() as u32));
        }
        entry.birth = Some(actor.birth);
        let rules = (policy.resolve, self.config.mutant);
        let before = if held.versions().len() > 1 { held.bytes() } else { 0 };
        entry.siblings.write(seen, actor, (stamp, write), content, rules);
        if exceeds(entry, MAX_WRITTEN_BYTES.max(before)) {
            return Err(Refusal::TooManyBytes(before as u64));
        }
        arrived(entry, Cause::Write(self.config.id), self.wall);
        Ok(())
    }

    /// Takes versions in: into the node's own replica, or into what it keeps for `owner`.
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
        let Some(entry) = absorb(self.holds(key), siblings, cause, self.wall, rules) else {
            return (PutResult::Stored, self.unsure(key));
        };
        if exceeds(&entry, MAX_HELD_BYTES) {
            out.effect(Effect::Note(Note::Full { key: key.clone() }));
            return (PutResult::NoRoom, None);
        }
        (PutResult::Stored, Some(self.put(key, entry, out)))
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
        if exceeds(&entry, MAX_HELD_BYTES) {
            out.effect(Effect::Note(Note::Full { key: key.clone() }));
            return (PutResult::NoRoom, None);
        }
        let epoch = held.map_or(epoch, |hint| hint.epoch.min(epoch));
        let since = held.map_or(self.wall, |hint| hint.since);
        match self.put_hint(owner, key, Hint { entry: Arc::new(entry), epoch, since }, out) {
            Some(ticket) => (PutResult::Stored, Some(ticket)),
            None => (PutResult::NoRoom, None),
        }
    }

    /// Keeps versions for `owner` beside what this node holds itself; `None`: there is no room.
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
            self.bury(key);
        }
        let ticket = out.persist(Record::Key(key.clone(), Some(entry)));
        self.unsure = Some(ticket);
        self.fresh.insert(key.clone(), ticket);
        ticket
    }

    /// Keeps a hint, if there is room.
    fn put_hint(&mut self, owner: NodeId, key: &Key, hint: Hint, out: &mut Outbox<Dynamo>) -> Option<Ticket> {
        if self.hints.bytes_with(owner, key, &hint) > self.config.hint_bytes {
            out.effect(Effect::Note(Note::HintRefused { owner }));
            return None;
        }
        self.hints.set(owner, key, Some(hint.clone()));
        self.snapshots.since.hints.insert((owner, key.clone()));
        let ticket = out.persist(Record::Hint(owner, key.clone(), Some(hint)));
        self.unsure = Some(ticket);
        self.fresh.insert(key.clone(), ticket);
        out.effect(Effect::Note(Note::HintStored { owner, key: key.clone() }));
        Some(ticket)
    }

    /// What a peer said to the replica: everything but reads, forwards, and replies to a coordinator's own operations.
    pub(super) fn message(&mut self, from: NodeId, message: Message, out: &mut Outbox<Dynamo>) {
        match message {
            Message::Put { op, key, siblings, owner, cause, epoch } => {
                let target = owner.unwrap_or(self.config.id);
                if self.replicas(&key).contains(&target) && siblings.is_sane() {
                    let (result, ticket) = self.take_in(&key, &siblings, owner, cause, epoch, out);
                    out.send_after(ticket, from, Message::PutReply { op, result });
                }
            }
            Message::PutReply { op, result } => {
                self.handed_over(from, op, result, out);
                self.advance(out);
            }
            Message::Epoch { at, want } => self.heard_epoch(from, at, want, out),
            Message::Ask(list) => self.asked(from, list, out),
            Message::Held(list) => self.held(from, list, out),
            Message::Forget(list) => self.told_to_forget(from, list, out),
            Message::Forgotten(list) => self.forgotten(from, list),
            Message::Get { .. }
            | Message::GetReply { .. }
            | Message::Forward { .. }
            | Message::ForwardReply { .. }
            | Message::Compare { .. }
            | Message::Differ { .. } => {}
        }
    }

    /// The failure detector's opinion of a peer.
    pub(super) fn peer(&mut self, node: NodeId, up: bool) {
        match up {
            true => self.down.remove(&node),
            false => self.down.insert(node),
        };
        self.due = if up { Time(0) } else { self.due };
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Time, out: &mut Outbox<Dynamo>) {
        if self.deadline().is_none_or(|due| now < due) {
            return;
        }
        self.due = now + self.config.housekeeping;
        self.hand_over(out);
        self.collect(out);
        if self.epoch.wanted() && self.down.is_empty() {
            self.tell_epoch(out);
        }
        self.advance(out);
    }

    /// All records up to `ticket` are durable.
    pub(super) fn persisted(&mut self, ticket: Ticket, now: Time, out: &mut Outbox<Dynamo>) {
        let _ = now;
        self.durable = self.durable.max(ticket);
        self.unsure = self.unsure.filter(|unsure| *unsure > ticket);
        self.fresh.retain(|_, of| *of > ticket);
        self.epoch_durable(ticket, out);
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let idle = self.hints.is_empty() && self.graves.is_empty() && !self.epoch.wanted();
        (!idle).then_some(self.due)
    }

    /// All that is held of a key, for `why`.
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

/// Whether versions are more than `bytes` together. One alone is never too large.
fn exceeds(entry: &Entry, bytes: usize) -> bool {
    entry.siblings.versions().len() > 1 && entry.siblings.bytes() > bytes
}

fn stamps(siblings: &Siblings) -> impl Iterator<Item = Hlc> {
    siblings.versions().iter().map(|v| v.stamp)
}

/// What a write holds.
fn content(
    held: &Siblings,
    actor: Actor,
    stamp: Hlc,
    update: &Update,
    resolve: Resolve,
    mutant: Mutant,
) -> Result<Content, Refusal> {
    let wrong = |text: &str| Err(Refusal::Invalid(text.to_owned()));
    match (update, resolve) {
        (Update::Delete, _) => Ok(Content::Tombstone),
        (Update::Set(_), Resolve::Merge(kind)) => {
            let name = Resolve::Merge(kind);
            wrong(&format!("values of this bucket are of the mergeable type {name}; change them by its own operations"))
        }
        (Update::Set(value), _) => Ok(Content::Value(value.clone())),
        (Update::Merge(op), Resolve::Merge(kind)) => {
            let mut state = State::new(kind);
            for version in held.versions() {
                if let Content::Merge(other) = &version.content {
                    state.merge(other);
                }
            }
            state.apply(op, held.next_dot(actor, mutant), stamp).map_err(Refusal::Invalid)?;
            Ok(Content::Merge(state))
        }
        (Update::Merge(_), _) => wrong("this bucket has plain values, not mergeable ones; set the value"),
    }
}

/// What is held with `siblings` merged in; `None` if that changes nothing.
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

/// Notes how the versions came that are new, and forgets about those that are gone.
fn arrived(entry: &mut Entry, cause: Cause, at: Wall) {
    let versions = entry.siblings.versions();
    entry.arrivals.retain(|arrival| versions.binary_search_by_key(&arrival.dot, |v| v.dot).is_ok());
    for version in versions {
        if let Err(place) = entry.arrivals.binary_search_by_key(&version.dot, |arrival| arrival.dot) {
            entry.arrivals.insert(place, Arrival { dot: version.dot, cause, at });
        }
    }
}

#[cfg(test)]
mod tests;
