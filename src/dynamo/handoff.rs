//! Hinted handoff (§4.6): an owner that is reachable again gets its hints.
//!
//! At most `handoff_window` hints are in flight to a node, in the order of their keys. A hint is dropped when it is
//! acknowledged as durable, unless it has grown meanwhile. An unacknowledged hint is sent again some rounds later. A
//! hint older than `hint_age` is given to another replica instead. It is dropped when that replica holds it (or this
//! node itself does, if it is a replica). An acknowledged write may exist in hints only, so no hint is ever dropped for
//! its age alone.
//!
//! Operation numbers start at a random value in each process, so that an answer to an operation of an earlier process
//! is not mistaken for an answer to a new one.

use super::siblings::Siblings;
use super::store::Store;
use super::{Cause, Dynamo, Effect, Message, Note, OpId, PutResult, Record};
use crate::protocol::Outbox;
use crate::types::{Key, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Rounds of housekeeping after which an unacknowledged hint is sent again.
const PATIENCE: u32 = 6;

/// The hints in flight.
#[derive(Debug, Default)]
pub(super) struct Handoff {
    flights: BTreeMap<OpId, Flight>,
    /// Per owner: the key after which to continue. No entry: all hints have been sent since the last round.
    cursors: BTreeMap<NodeId, Bound<Key>>,
    /// The owners and keys of the hints in flight.
    flying: BTreeSet<(NodeId, Key)>,
    next_op: OpId,
}

#[derive(Debug)]
struct Flight {
    to: NodeId,
    owner: NodeId,
    key: Key,
    sent: Siblings,
    rounds: u32,
}

impl Handoff {
    pub fn new(first_op: OpId) -> Handoff {
        Handoff { next_op: first_op | 1, ..Handoff::default() }
    }

    pub fn op(&mut self) -> OpId {
        self.next_op = self.next_op.wrapping_add(2);
        self.next_op
    }

    fn to(&self, node: NodeId) -> usize {
        self.flights.values().filter(|flight| flight.to == node).count()
    }

    fn land(&mut self, op: OpId) -> Option<Flight> {
        let flight = self.flights.remove(&op)?;
        self.flying.remove(&(flight.owner, flight.key.clone()));
        Some(flight)
    }
}

impl Store {
    /// Runs a round: gives up on unanswered hints, starts again with the first key of each owner, and hands over
    /// expired hints.
    pub(super) fn hand_over(&mut self, out: &mut Outbox<Dynamo>) {
        let late: Vec<OpId> = (self.handoff.flights.iter_mut())
            .filter_map(|(op, flight)| {
                flight.rounds += 1;
                (flight.rounds > PATIENCE).then_some(*op)
            })
            .collect();
        late.into_iter().for_each(|op| drop(self.handoff.land(op)));
        for owner in self.hints.owners().collect::<Vec<_>>() {
            self.handoff.cursors.entry(owner).or_insert(Bound::Unbounded);
            self.fill(owner, out);
        }
        self.expire(out);
    }

    /// Sends hints to `owner`, if it is up, as far as the window allows.
    fn fill(&mut self, owner: NodeId, out: &mut Outbox<Dynamo>) {
        if self.down.contains(&owner) {
            return;
        }
        let mut room = self.config.handoff_window.saturating_sub(self.handoff.to(owner));
        while room > 0
            && let Some(after) = self.handoff.cursors.get(&owner).cloned()
        {
            let from = match after {
                Bound::Excluded(key) => Bound::Excluded((owner, key)),
                _ => Bound::Included((owner, Key::default())),
            };
            let next = self.hints.all().range((from, Bound::Unbounded)).next();
            match next.filter(|((of, _), _)| *of == owner).map(|((_, key), _)| key.clone()) {
                None => drop(self.handoff.cursors.remove(&owner)),
                Some(key) => {
                    self.handoff.cursors.insert(owner, Bound::Excluded(key.clone()));
                    room -= usize::from(self.send_hint(owner, owner, &key, out));
                }
            }
        }
    }

    /// Sends a hint to `to`, unless the hint is in flight already. Returns whether it was sent.
    fn send_hint(&mut self, to: NodeId, owner: NodeId, key: &Key, out: &mut Outbox<Dynamo>) -> bool {
        let Some(hint) = self.hints.get(owner, key).cloned() else { return false };
        if !self.handoff.flying.insert((owner, key.clone())) {
            return false;
        }
        let op = self.handoff.op();
        let (siblings, cause) = (hint.entry.siblings.clone(), Cause::Handoff(self.config.id));
        let flight = Flight { to, owner, key: key.clone(), sent: siblings.clone(), rounds: 0 };
        self.handoff.flights.insert(op, flight);
        let put = Message::Put { op, key: key.clone(), siblings, owner: None, cause, epoch: hint.epoch };
        out.send_after(self.unsure, to, put);
        true
    }

    /// Gives expired hints to other replicas.
    fn expire(&mut self, out: &mut Outbox<Dynamo>) {
        let too_old = self.wall.0.saturating_sub(self.config.hint_age.as_nanos() as u64);
        let old: Vec<(NodeId, Key)> = (self.hints.by_age())
            .take_while(|(since, ..)| since.0 < too_old)
            .filter(|(_, owner, key)| !self.handoff.flying.contains(&(*owner, key.clone())))
            .take(self.config.handoff_window)
            .map(|(_, owner, key)| (*owner, key.clone()))
            .collect();
        for (owner, key) in old {
            let me = self.config.id;
            let others: Vec<NodeId> = self.replicas(&key).into_iter().filter(|node| *node != owner).collect();
            if others.contains(&me)
                && let Some(hint) = self.hints.get(owner, &key)
            {
                let (siblings, epoch) = (hint.entry.siblings.clone(), hint.epoch);
                if self.take_in(&key, &siblings, None, Cause::Handoff(me), epoch, out).0 == PutResult::Stored {
                    self.drop_hint(owner, &key, Note::HintExpired { owner, key: key.clone() }, out);
                }
            } else if let Some(other) = others.into_iter().find(|node| !self.down.contains(node)) {
                self.send_hint(other, owner, &key, out);
            }
        }
    }

    /// Handles the answer to a hint that was sent.
    pub(super) fn handed_over(&mut self, from: NodeId, op: OpId, result: PutResult, out: &mut Outbox<Dynamo>) {
        if self.handoff.flights.get(&op).is_none_or(|flight| flight.to != from) {
            return;
        }
        let Some(Flight { to, owner, key, sent, .. }) = self.handoff.land(op) else { return };
        let same = self.hints.get(owner, &key).is_some_and(|hint| sent.includes(&hint.entry.siblings));
        if matches!(result, PutResult::Stored | PutResult::Refilling) && same {
            let note = match to == owner {
                true => Note::HintHandedOver { owner, key: key.clone() },
                false => Note::HintExpired { owner, key: key.clone() },
            };
            self.drop_hint(owner, &key, note, out);
        }
        self.fill(owner, out);
    }

    pub(super) fn drop_hint(&mut self, owner: NodeId, key: &Key, note: Note, out: &mut Outbox<Dynamo>) {
        self.hints.set(owner, key, None);
        self.snapshots.since.hints.insert((owner, key.clone()));
        self.incarnations.remove(&(Some(owner), key.clone()));
        self.unsure = Some(self.persist(Record::Hint(owner, key.clone(), None), out));
        out.effect(Effect::Note(note));
    }
}
