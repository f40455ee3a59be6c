//! What a node holds: the replica half of the AP core.
//!
//! Keys of its own, and hints (`hints`): what it keeps for nodes that could not be reached. Whole entries are persisted, each
//! time one changes; nothing is told to anybody before the record is durable. That goes for what was found unchanged too: the
//! change may still be on its way to the disk, so the answer waits for the latest ticket that is.
//!
//! A `Put` without owner is taken in even by a node that is none of the key's replicas by its own layout: what the sender
//! counts on is durable then, and `why` shows it. Keys of Raft buckets are nobody's business here and ignored.

use super::clock::{Actor, Clock};
use super::context::MAX_ACTORS;
use super::merge::State;
use super::siblings::{Content, Siblings, Version, WriteId};
use super::{Arrival, Cause, Config, Dynamo, Entry, Epoch, Message, Note, PutResult, Recovered, Refusal, Update};
use crate::mutant::Mutant;
use crate::placement::Layout;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Hlc, Key, Mode, NodeId, Policy, Resolve, Rng, Time, Wall};
use im::OrdMap;
use std::sync::Arc;
use std::time::Duration;

/// How far stamps seen may push this node's own beyond its date.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// What a node holds.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) config: Config,
    pub(super) layout: Arc<Layout>,
    rng: Rng,
    pub(super) keys: OrdMap<Key, Entry>,
    pub(super) wall: Wall,
    last: Hlc,
    epoch: Epoch,
    /// The latest ticket that is not durable yet.
    unsure: Option<Ticket>,
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
    pub(super) fn new(config: &Config, layout: Arc<Layout>, recovered: Recovered, now: Time, rng: Rng) -> Store {
        let _ = now;
        let Recovered { keys, epoch, .. } = recovered;
        let config = config.clone();
        Store { config, layout, rng, keys, wall: Wall(0), last: Hlc(0), epoch, unsure: None }
    }

    /// What this node holds of a key for itself.
    pub(super) fn holds(&self, key: &[u8]) -> Option<&Entry> {
        self.keys.get(key)
    }

    /// What it keeps of a key for others, all together, and how old the oldest of that is.
    pub(super) fn hinted(&self, key: &[u8]) -> Option<(Siblings, Epoch)> {
        let _ = key;
        None
    }

    /// What must be durable before anything held of the key is told; `None`: it is.
    pub(super) fn unsure(&self, _key: &[u8]) -> Option<Ticket> {
        self.unsure
    }

    /// What the date is.
    pub(super) fn date(&mut self, wall: Wall) {
        self.wall = wall;
    }

    /// The epoch of what is gathered now.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next stamp.
    pub(super) fn stamp(&mut self) -> Hlc {
        self.last = Hlc(self.wall.0.max(self.last.0.saturating_add(1)));
        self.last
    }

    /// Makes later stamps greater than those seen here, unless they are far ahead of the date.
    fn saw(&mut self, versions: &[Version]) {
        let ceiling = self.wall.0.saturating_add(MAX_DRIFT.as_nanos() as u64);
        let seen = versions.iter().map(|v| v.stamp.0).max().unwrap_or(0).min(ceiling);
        self.last = self.last.max(Hlc(seen));
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
        context: &Clock,
        write: WriteId,
        update: &Update,
        policy: &Policy,
        out: &mut Outbox<Dynamo>,
    ) -> Result<Written, Refusal> {
        let _ = owner;
        let mut entry = self.keys.get(key).cloned().unwrap_or_default();
        if entry.siblings.knows(write) {
            return Ok(Written { siblings: entry.siblings, epoch: self.epoch, ticket: self.unsure });
        }
        self.saw(entry.siblings.versions());
        let stamp = self.stamp();
        if let Err(refusal) = self.write_into(&mut entry, context, (stamp, write), update, policy) {
            if matches!(refusal, Refusal::TooManySiblings(_) | Refusal::TooManyActors(_)) {
                out.effect(super::Effect::Note(Note::Full { key: key.clone() }));
            }
            return Err(refusal);
        }
        let siblings = entry.siblings.clone();
        let ticket = self.put(key, entry, out);
        Ok(Written { siblings, epoch: self.epoch, ticket: Some(ticket) })
    }

    /// Writes into an entry, within the limits.
    fn write_into(
        &mut self,
        entry: &mut Entry,
        context: &Clock,
        (stamp, write): (Hlc, WriteId),
        update: &Update,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let held = &entry.siblings;
        let merging = matches!(update, Update::Merge(_));
        let mut clock = held.clock().clone();
        let context = if merging { &clock.clone() } else { context };
        // A mergeable value counts what each actor did; after a delete that begins anew, and so must the actor.
        let again = entry.birth.filter(|_| !merging || held.versions().iter().all(|v| v.content != Content::Tombstone));
        let actor = Actor { node: self.config.id, birth: again.unwrap_or_else(|| self.rng.next()) };
        let content = content(held, actor, stamp, update, policy.resolve, self.config.mutant)?;

        let left = held.versions().iter().filter(|v| !context.contains(v.dot)).count();
        if left >= self.config.max_siblings && left == held.versions().len() && policy.resolve != Resolve::LastWriter {
            return Err(Refusal::TooManySiblings(left as u32));
        }
        clock.join(context);
        let actors = clock.len() + usize::from(clock.count(actor) == 0);
        if actors > MAX_ACTORS {
            return Err(Refusal::TooManyActors(clock.len() as u32));
        }
        entry.birth = Some(actor.birth);
        let rules = (policy.resolve, self.config.mutant);
        entry.siblings.write(context, actor, (stamp, write), content, rules);
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
        let _ = (owner, epoch);
        self.saw(siblings.versions());
        let rules = (self.resolve(key), self.config.mutant);
        let changed = match self.keys.get(key) {
            Some(held) if held.siblings.includes(siblings) => None,
            held => absorb(held.cloned().unwrap_or_default(), siblings, cause, self.wall, rules),
        };
        match changed {
            Some(entry) => (PutResult::Stored, Some(self.put(key, entry, out))),
            None => (PutResult::Stored, self.unsure),
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

    fn put(&mut self, key: &Key, entry: Entry, out: &mut Outbox<Dynamo>) -> Ticket {
        self.keys.insert(key.clone(), entry.clone());
        let ticket = out.persist(super::Record::Key(key.clone(), Some(entry)));
        self.unsure = Some(ticket);
        ticket
    }

    /// What a peer said to the replica: everything but reads, forwards, and replies to a coordinator's own operations.
    pub(super) fn message(&mut self, from: NodeId, message: Message, out: &mut Outbox<Dynamo>) {
        if let Message::Put { op, key, siblings, owner, cause, epoch } = message {
            let here = matches!(self.layout.buckets.mode(&key), Mode::Ap(_));
            if here && siblings.is_sane() {
                let (result, ticket) = self.take_in(&key, &siblings, owner, cause, epoch, out);
                out.send_after(ticket, from, Message::PutReply { op, result });
            }
        }
    }

    /// The failure detector's opinion of a peer.
    pub(super) fn peer(&mut self, node: NodeId, up: bool) {
        let _ = (node, up);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Time, out: &mut Outbox<Dynamo>) {
        let _ = (now, out);
    }

    /// All records up to `ticket` are durable.
    pub(super) fn persisted(&mut self, ticket: Ticket, now: Time, out: &mut Outbox<Dynamo>) {
        let _ = (now, out);
        self.unsure = self.unsure.filter(|unsure| *unsure > ticket);
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        None
    }
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

/// The entry with `siblings` merged in; `None` if that changes nothing.
fn absorb(
    mut entry: Entry,
    siblings: &Siblings,
    cause: Cause,
    at: Wall,
    (resolve, mutant): (Resolve, Mutant),
) -> Option<Entry> {
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
