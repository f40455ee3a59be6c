//! Epochs: when nothing old is under way any more (in the manner of epoch-based reclamation).
//!
//! A tombstone, or a clock's entry, may be forgotten once nothing that it supersedes is left anywhere: on no replica, in no
//! hint, in no message however late, in no coordinator's memory. Each node counts epochs. The rules:
//!
//! 1. A node goes from e to e+1 only when every other has said that it is at e or beyond, and when it keeps no hint older than
//!    e. The new epoch holds, and is told, once it is durable. So no two nodes are ever more than one apart.
//! 2. Whatever is sent bears the epoch in which it was gathered: from a node's own replica, the present one; from a hint, the
//!    hint's, which is the least of its parts. A copy never gets younger.
//! 3. A node at x takes in nothing older than x-2, and keeps as a hint nothing older than x-1. (With x-2 a hint could become
//!    stuck: its holder at x, its owner at x+1 and refusing it.) While the next epoch is on its way to the disk, hints are
//!    measured by that one, for rule 1 has been checked already.
//!
//! **Claim.** Let all replicas of a key hold, durably, all that clock C knows, and let the one that asked be at e when the last
//! of them has said so. Once all nodes are at e+4, nothing that C knows to be superseded is anywhere or can come back.
//!
//! *Proof.* A replica that has merged C holds nothing C supersedes and, until it forgets C, takes none of it in. So old things
//! were gathered from replica p before p held C; the asker was at e or before, so p at e+1 or before (rule 1). What was written
//! elsewhere (into a stand-in's hint) and is known to C was written before the asker's e too, so at e+1 or before. By rule 2 all
//! of that bears an epoch of at most e+1. A node at e+4 refuses it (rule 3), and keeps none of it as a hint: what it keeps
//! is not older than e+3. Restarts change nothing: epochs, hints and what was said to be held are durable. ∎
//!
//! The asker waits until it is itself at e+5: by rule 1 all others are then at e+4. From then on "C is settled" stays true for
//! ever, so late or doubled `Held` and `Forget` messages do no harm. A replica that has nothing of the key does not hold C: it
//! could yet take an old version in, and would be left with it alone once the others have forgotten C. It is sent the tombstone.
//!
//! A node that has lost what it said to be held rejoins before its word counts again (`rejoin` extends the proof). Lives of actors
//! that ended with a process need no more than that: nothing is written under them any more, so a clock's entry of theirs is
//! settled like any other once all replicas hold it, and goes once no version is left of it.
//!
//! Caveats. With any node down or rejoining, or a hint that cannot be delivered, epochs stand still.

use super::store::Store;
use super::{Dynamo, Epoch, Message, Record};
use crate::protocol::{Outbox, Ticket};
use crate::types::NodeId;
use std::collections::BTreeMap;

/// How far ahead another node may ask to go.
const MAX_WANT: Epoch = 16;

/// Where this node is, and where the others were when they last said so.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    at: Epoch,
    /// The next one, on its way to the disk.
    coming: Option<(Epoch, Ticket)>,
    others: BTreeMap<NodeId, Epoch>,
    /// Where somebody wants all to be.
    target: Epoch,
}

impl Epochs {
    pub fn new(at: Epoch, others: impl Iterator<Item = NodeId>) -> Epochs {
        Epochs { at, coming: None, others: others.map(|node| (node, 0)).collect(), target: at }
    }

    pub fn at(&self) -> Epoch {
        self.at
    }

    /// The one it will find if it starts again.
    pub fn lasting(&self) -> Epoch {
        self.coming.map_or(self.at, |(epoch, _)| epoch)
    }

    /// Whether this may still be taken in.
    pub fn takes(&self, epoch: Epoch) -> bool {
        epoch.saturating_add(2) >= self.at
    }

    /// Whether this may still be kept for another.
    pub fn keeps(&self, epoch: Epoch) -> bool {
        epoch.saturating_add(1) >= self.lasting()
    }

    /// Whether all are to go on.
    pub fn wanted(&self) -> bool {
        self.target > self.at
    }

    /// The other nodes and where they are, as far as is known.
    pub fn others(&self) -> impl Iterator<Item = (NodeId, Epoch)> {
        self.others.iter().map(|(node, at)| (*node, *at))
    }

    /// A node that has lost what it said before says where it is.
    pub fn tells_anew(&mut self, node: NodeId, at: Epoch) {
        if let Some(known) = self.others.get_mut(&node) {
            *known = at;
        }
    }

    /// This node, which has lost where it was, goes to where the others are once that is durable.
    pub fn moves_to(&mut self, epoch: Epoch, ticket: Ticket) {
        if epoch > self.at {
            self.coming = Some((epoch, ticket));
        }
    }

    pub fn want(&mut self, epoch: Epoch) {
        self.target = self.target.max(epoch);
    }
}

impl Store {
    /// Goes on to the next epoch if that is wanted and may be.
    pub(super) fn advance(&mut self, out: &mut Outbox<Dynamo>) {
        let Epochs { at, coming, others, .. } = &self.epoch;
        let at = *at;
        let old_hint = self.hints.epoch().is_some_and(|hint| hint < at);
        if self.rejoins()
            || !self.epoch.wanted()
            || coming.is_some()
            || others.values().any(|other| *other < at)
            || old_hint
        {
            return;
        }
        let ticket = self.persist(Record::Epoch(at + 1), out);
        self.unsure = Some(ticket);
        self.epoch.coming = Some((at + 1, ticket));
    }

    pub(super) fn epoch_durable(&mut self, ticket: Ticket, out: &mut Outbox<Dynamo>) {
        if let Some((epoch, _)) = self.epoch.coming.filter(|(_, with)| *with <= ticket) {
            assert!(epoch > self.epoch.at, "an epoch never goes back");
            self.epoch.coming = None;
            self.epoch.at = epoch;
            self.tell_epoch(out);
            self.advance(out);
        }
    }

    /// Tells all the others.
    pub(super) fn tell_epoch(&self, out: &mut Outbox<Dynamo>) {
        let Epochs { at, target, others, .. } = &self.epoch;
        others.keys().for_each(|node| out.send(*node, Message::Epoch { at: *at, want: *target }));
    }

    pub(super) fn heard_epoch(&mut self, from: NodeId, at: Epoch, want: Epoch, out: &mut Outbox<Dynamo>) {
        let epochs = &mut self.epoch;
        let Some(known) = epochs.others.get_mut(&from) else { return };
        *known = at.max(*known);
        epochs.target = epochs.target.max(want.min(epochs.at.saturating_add(MAX_WANT)));
        if at < epochs.at {
            out.send(from, Message::Epoch { at: epochs.at, want: epochs.target });
        }
        if self.has_fallen_back() {
            self.begin_rejoin(out);
        }
        self.advance(out);
    }
}
