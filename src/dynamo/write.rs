//! Writes coordinated by this node: into its own replica, or, as a stand-in, into a hint for another node.
//!
//! **Incarnations.** The incarnation under which a process writes a key (see `version_vector`) is kept in memory only,
//! so it ends with the process at the latest. A data directory that lost its last batch, or an old copy of one,
//! therefore cannot make the node assign a dot twice.
//!
//! An incarnation continues after a delete, also of a mergeable value. No held version contains what the delete
//! removed, so the next write starts from an empty state, and its version vector rightly covers what was removed.

use super::context::{MAX_ACTORS, Seen};
use super::crdt::State;
use super::siblings::{Content, Siblings, WriteId};
use super::store::{MAX_WRITTEN_BYTES, Store, arrived, exceeds, stamps};
use super::version_vector::{Actor, MAX_COUNT};
use super::{Cause, Dynamo, Effect, Entry, Epoch, Hint, Note, Refusal, Update};
use crate::mutant::{Bug, Mutant};
use crate::protocol::{Outbox, Ticket};
use crate::types::{Hlc, Key, NodeId, Policy, Resolve};
use std::sync::Arc;

/// A write executed by this node.
#[derive(Debug)]
pub(super) struct Written {
    /// Everything held of the key including the write, to be sent to the other replicas.
    pub siblings: Siblings,
    /// The epoch in which `siblings` was gathered.
    pub epoch: Epoch,
    /// What must be durable before the write counts; `None`: all is durable.
    pub ticket: Option<Ticket>,
}

impl Store {
    /// Coordinates a write: into the node's own replica, or, as a stand-in, into the hint for `owner`.
    ///
    /// # Errors
    /// The write was refused: nothing has changed and nothing will.
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
        if self.is_behind(out) {
            return Err(Refusal::Busy);
        }
        self.saw(stamps(&entry.siblings).chain([seen.stamp]));
        let stamp = self.stamp();
        let life = (owner, key.clone());
        let incarnation = self.incarnations.get(&life).copied();
        let incarnation = match self.write_into((&mut entry, incarnation), seen, (stamp, write), update, policy) {
            Ok(incarnation) => incarnation,
            Err(refusal) => {
                if !matches!(refusal, Refusal::Invalid(_)) {
                    out.effect(Effect::Note(Note::Full { key: key.clone() }));
                }
                return Err(refusal);
            }
        };
        let siblings = entry.siblings.clone();
        let ticket = match owner {
            None => self.put(key, entry, out),
            Some(owner) => {
                self.put_hint(owner, key, Hint { entry: Arc::new(entry), epoch, since }, out).ok_or(Refusal::Busy)?
            }
        };
        self.incarnations.insert(life, incarnation);
        Ok(Written { siblings, epoch, ticket: Some(ticket) })
    }

    /// Writes into an entry, within the limits, under the given incarnation if that continues. Returns the incarnation
    /// used.
    fn write_into(
        &mut self,
        (entry, incarnation): (&mut Entry, Option<u64>),
        seen: &Seen,
        (stamp, write): (Hlc, WriteId),
        update: &Update,
        policy: &Policy,
    ) -> Result<u64, Refusal> {
        let held = &entry.siblings;
        let merging = matches!(update, Update::Merge(_));
        let mut clock = held.clock().clone();
        let seen = if merging { &Seen::from(clock.clone()) } else { seen };
        let actor = Actor { node: self.config.id, incarnation: incarnation.unwrap_or_default() };
        let known = clock.count(actor);
        // If the context covers more writes of this incarnation than are held here, writes were lost: the incarnation
        // has ended.
        let continues = incarnation.is_some() && seen.clock.count(actor) <= known && known < MAX_COUNT;
        let actor = Actor { incarnation: if continues { actor.incarnation } else { self.rng.next() }, ..actor };
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
        let rules = (policy.resolve, self.config.mutant);
        let before = if held.versions().len() > 1 { held.bytes() } else { 0 };
        entry.siblings.write(seen, actor, (stamp, write), content, rules);
        if exceeds(entry, MAX_WRITTEN_BYTES.max(before)) {
            return Err(Refusal::TooManyBytes(before as u64));
        }
        arrived(entry, Cause::Write(self.config.id), self.wall);
        Ok(actor.incarnation)
    }

    /// Resumes the incarnation under which each key was last written. This is wrong if the directory has lost anything.
    pub(super) fn resume_incarnations(&mut self) {
        let me = self.config.id;
        let last = |entry: &Entry| {
            entry.siblings.clock().entries().iter().rev().map(|(actor, _)| *actor).find(|a| a.node == me)
        };
        let own = self.keys.iter().filter_map(|(key, entry)| Some(((None, key.clone()), last(entry)?.incarnation)));
        self.incarnations = own.collect();
    }
}

/// Returns the content of the version that a write makes.
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
            let known = if mutant.is(Bug::MergeTakesFirst) { 1 } else { usize::MAX };
            for version in held.versions().iter().take(known) {
                if let Content::Merge(other) = &version.content {
                    state.merge(other);
                }
            }
            let stamp = if mutant.is(Bug::RegisterUndated) { Hlc(0) } else { stamp };
            state.apply(op, held.next_dot(actor, mutant), stamp).map_err(Refusal::Invalid)?;
            Ok(Content::Merge(state))
        }
        (Update::Merge(_), _) => wrong("this bucket has plain values, not mergeable ones; set the value"),
    }
}
