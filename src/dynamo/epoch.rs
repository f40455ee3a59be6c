//! Epochs: they determine when no old version is in flight any more (similar to epoch-based reclamation).
//!
//! A tombstone, or an entry of a version vector, may be forgotten once nothing that it supersedes is left anywhere: on
//! no replica, in no hint, in no message however late, in no coordinator's memory. Each node counts epochs. The rules:
//!
//! 1. A node advances from e to e+1 only when every other node has announced that it is at e or beyond, and when the
//!    node itself keeps no hint older than e. The new epoch takes effect, and is announced, once it is durable.
//!    Therefore no two nodes are ever more than one epoch apart.
//! 2. Versions are always sent with the epoch in which they were gathered. For versions from a node's own replica this
//!    is its present epoch; for a hint it is the hint's epoch, which is the least of its parts' epochs. A copy never
//!    gets a later epoch than the original.
//! 3. A node at x accepts nothing older than x-2, and keeps as a hint nothing older than x-1. (If x-2 were allowed for
//!    hints, a hint could become stuck: its holder at x, and its owner at x+1 and refusing it.) While the next epoch is
//!    on its way to the disk, hints are checked against that next epoch, because rule 1 has been checked already.
//!
//! **Claim.** Let all replicas of a key durably hold everything that the version vector C covers, and let the asking
//! node be at epoch e when the last of them has said so. Once all nodes are at e+4, nothing that C supersedes exists
//! anywhere or can come back.
//!
//! *Proof.* A replica that has merged C holds nothing that C supersedes and, until it forgets C, accepts none of it. So
//! a superseded version still in flight was gathered from some replica p before p held C. At that time the asking node
//! was at e or before, so p was at e+1 or before (rule 1). A version that was written elsewhere (into a stand-in's
//! hint) and is covered by C was also written while the asking node was at e or before, so its writer was at e+1 or
//! before. By rule 2 all these versions carry an epoch of at most e+1. A node at e+4 refuses them (rule 3) and keeps
//! none of them as a hint: its hints are not older than e+3. Restarts change nothing: epochs, hints, and everything a
//! node has said to hold are durable. ∎
//!
//! The asking node waits until it is itself at e+5: by rule 1 all others are then at least at e+4. From then on "C is
//! settled" stays true forever, so late or duplicate `Held` and `Forget` messages do no harm. A replica that has
//! nothing of the key does not hold C: it could still accept an old version, and would be the only one to hold it after
//! the others have forgotten C. Therefore it is sent the tombstone first.
//!
//! A node that has lost what it said it held must rejoin before its answers count again (`rejoin` extends the proof).
//! Incarnations that ended with a process need no special treatment. No more writes are made under them, so their entry
//! in a version vector is settled like any other once all replicas hold it, and is removed once no version of theirs is
//! left.
//!
//! Caveats. While any node is down or rejoining, or a hint cannot be delivered, epochs do not advance.

use super::store::Store;
use super::{Dynamo, Epoch, Message, Record};
use crate::protocol::{Outbox, Ticket};
use crate::types::NodeId;
use std::collections::BTreeMap;

/// How many epochs ahead of this node another node may ask to go.
const MAX_WANT: Epoch = 16;

/// This node's epoch, and the last epoch that each other node announced.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    at: Epoch,
    /// The next epoch, on its way to the disk.
    coming: Option<(Epoch, Ticket)>,
    others: BTreeMap<NodeId, Epoch>,
    /// The epoch that some node wants all nodes to reach.
    target: Epoch,
}

impl Epochs {
    pub fn new(at: Epoch, others: impl Iterator<Item = NodeId>) -> Epochs {
        Epochs { at, coming: None, others: others.map(|node| (node, 0)).collect(), target: at }
    }

    pub fn at(&self) -> Epoch {
        self.at
    }

    /// Returns the epoch that the node will find on its disk if it restarts.
    pub fn lasting(&self) -> Epoch {
        self.coming.map_or(self.at, |(epoch, _)| epoch)
    }

    /// Returns whether versions gathered in this epoch may still be accepted.
    pub fn takes(&self, epoch: Epoch) -> bool {
        epoch.saturating_add(2) >= self.at
    }

    /// Returns whether versions gathered in this epoch may still be kept as a hint.
    pub fn keeps(&self, epoch: Epoch) -> bool {
        epoch.saturating_add(1) >= self.lasting()
    }

    /// Returns whether a later epoch is wanted.
    pub fn wanted(&self) -> bool {
        self.target > self.at
    }

    /// Returns the other nodes and their epochs, as far as known.
    pub fn others(&self) -> impl Iterator<Item = (NodeId, Epoch)> {
        self.others.iter().map(|(node, at)| (*node, *at))
    }

    /// Records the epoch of a node that has lost its data and may announce a lower epoch than before.
    pub fn tells_anew(&mut self, node: NodeId, at: Epoch) {
        if let Some(known) = self.others.get_mut(&node) {
            *known = at;
        }
    }

    /// Moves this node, which has lost its epoch, to the others' epoch once that is durable.
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
    /// Advances to the next epoch if that is wanted and allowed.
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

    /// Announces the epoch to all other nodes.
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
