//! Recovery of a node that has lost its data: its directory is empty, or an old copy.
//!
//! All promises of such a node are void: the writes it acknowledged, the tombstones it said it held, its epoch. It is
//! told of the loss by its node ([`Request::Rejoin`](super::Request), `Recovered::rejoining`), or detects it here.
//! Healthy nodes are never more than one epoch apart (`epoch`), so a node that finds all others that are up two or more
//! epochs ahead has fallen back. Each node announces its epoch when it starts. From the moment it learns of the loss,
//! durably, the node *rejoins*:
//!
//! 1. It coordinates nothing, and its replies do not count toward R or W. It says so in each reply, and also tells all
//!    other nodes in every round of housekeeping, so that they ask other replicas and find stand-ins. It accepts new
//!    writes.
//! 2. It asks all others for their epochs. Let M be the latest of them and e its own epoch. If M ≥ e+2, something that
//!    it said it held may have been forgotten by the others meanwhile, and what that superseded may still be here. So
//!    the node drops all it has. Otherwise it keeps it. Then it moves to epoch M.
//! 3. Each of the others sends it what it holds of the node's keys, and says so once all of that is durable at the
//!    node.
//! 4. When all others have done so, the node is a full member again, and compares its keys with theirs as after every
//!    start.
//!
//! **Why M ≥ e+2.** Suppose the node said it held C and has lost it, and the asking node was at epoch a when all had
//! said so. The node was at a+1 at most when it said so, so e ≤ a+1. C is not forgotten before the asking node is at
//! a+5. From the moment the others are asked, they take the epoch that the rejoining node announces as its epoch, so
//! while it stays at M no other node goes beyond M+1. If M ≤ e+1, then M+1 ≤ e+2 ≤ a+3: C is forgotten only after the
//! node is a member again, and by then it has been sent C. If M ≥ e+2, the node starts from nothing, and when C is
//! forgotten the node is at a+4 at least. In both cases the claim of `epoch` holds for this node as for all others. ∎
//!
//! If two nodes rejoin at once, each still waits for the other to send what little it holds. Caveats: a node that is
//! down for good keeps others from rejoining. What no other node holds is lost with the disk: writes with W = 1, and
//! hints. A loss that is not reported to the node and does not span two epochs is not detected.

use super::store::Store;
use super::{Cause, Dynamo, Effect, Epoch, Message, Note, OpId, PutResult, Record};
use crate::mutant::Bug;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Key, NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Rounds of housekeeping after which an unacknowledged key is sent again.
const PATIENCE: u32 = 4;
/// Bytes in flight to a node that is being refilled from which on no further key is sent.
const WINDOW: usize = 1 << 20;
/// Maximum number of keys examined, or dropped, in one step.
const KEYS: usize = 1000;
/// Pause before the next step.
const PAUSE: Duration = Duration::from_millis(5);

/// The progress of this node's rejoining.
#[derive(Debug)]
pub(super) struct Rejoin {
    round: u64,
    stage: Stage,
    /// The epochs of the others, and whether they are rejoining too.
    heard: BTreeMap<NodeId, (Epoch, bool)>,
    /// The nodes that have sent everything they hold.
    refilled: BTreeSet<NodeId>,
}

#[derive(Debug)]
enum Stage {
    Asking,
    /// These keys are still on the disk; after they are dropped the node moves to that epoch.
    Dropping(Vec<Key>, Epoch),
    /// The epoch is on its way to the disk.
    Moving(Ticket),
    Refilling,
}

/// What this node sends to a node that rejoins.
#[derive(Debug)]
pub(super) struct Refill {
    round: u64,
    /// The last key examined; `None`: all have been.
    after: Option<Bound<Key>>,
    flights: BTreeMap<OpId, Flight>,
    /// Keys that must be sent again because they were not acknowledged.
    again: BTreeSet<Key>,
}

#[derive(Debug)]
struct Flight {
    key: Key,
    bytes: usize,
    rounds: u32,
}

impl Rejoin {
    /// Starts an attempt with this number.
    pub fn new(round: u64) -> Rejoin {
        Rejoin { round, stage: Stage::Asking, heard: BTreeMap::new(), refilled: BTreeSet::new() }
    }
}

impl Refill {
    fn new(round: u64) -> Refill {
        Refill { round, after: Some(Bound::Unbounded), flights: BTreeMap::new(), again: BTreeSet::new() }
    }

    fn is_done(&self) -> bool {
        self.after.is_none() && self.flights.is_empty() && self.again.is_empty()
    }
}

impl Store {
    /// Returns whether this node has lost its data and is not a full member yet.
    pub(super) fn rejoins(&self) -> bool {
        self.rejoin.is_some()
    }

    /// Starts to rejoin, because the node has lost its data.
    pub(super) fn begin_rejoin(&mut self, out: &mut Outbox<Dynamo>) {
        if self.rejoins() {
            return;
        }
        self.rejoin = Some(Rejoin::new(self.rng.next()));
        self.rejoin_starts(out);
        self.ask_others(out);
    }

    /// Persists that the node has lost its data, before it accepts anything.
    pub(super) fn rejoin_starts(&mut self, out: &mut Outbox<Dynamo>) {
        self.unsure = Some(self.persist(Record::Rejoin(true), out));
        out.effect(Effect::Note(Note::Rejoins));
        self.rejoin_goes_on(out);
    }

    /// Returns whether all others that are up are two or more epochs ahead.
    pub(super) fn has_fallen_back(&self) -> bool {
        let mut up = self.epoch.others().filter(|(node, _)| !self.down.contains(node)).peekable();
        up.peek().is_some() && up.all(|(_, at)| at >= self.epoch.lasting().saturating_add(2))
    }

    /// Runs a round of housekeeping: asks the nodes that have not answered, and continues to refill others.
    pub(super) fn rejoin_round(&mut self, out: &mut Outbox<Dynamo>) {
        self.ask_others(out);
        for node in self.refills.keys().copied().collect::<Vec<_>>() {
            let Some(refill) = self.refills.get_mut(&node) else { continue };
            refill.flights.values_mut().for_each(|flight| flight.rounds += 1);
            let late: Vec<OpId> =
                refill.flights.iter().filter(|(_, f)| f.rounds > PATIENCE).map(|(op, _)| *op).collect();
            for op in late {
                let flight = refill.flights.remove(&op);
                refill.again.extend(flight.map(|flight| flight.key));
            }
            self.refill(node, out);
        }
    }

    /// Returns whether this node is a full member and has finished refilling all others.
    pub(super) fn is_refilled(&self) -> bool {
        self.rejoin.is_none() && self.refills.values().all(Refill::is_done)
    }

    /// Drops more keys, and examines more keys for nodes that are being refilled.
    pub(super) fn rejoin_tick(&mut self, now: Time, out: &mut Outbox<Dynamo>) {
        if self.rejoin_due.is_some_and(|due| due <= now) {
            self.rejoin_due = None;
            self.rejoin_goes_on(out);
            self.refills.keys().copied().collect::<Vec<_>>().into_iter().for_each(|node| self.refill(node, out));
        }
        if self.rejoin_due.is_none() && self.rejoin_pending() {
            self.rejoin_due = Some(now + PAUSE);
        }
    }

    fn rejoin_pending(&self) -> bool {
        let dropping = matches!(self.rejoin, Some(Rejoin { stage: Stage::Dropping(..), .. }));
        dropping || self.refills.values().any(|refill| refill.after.is_some() && refill.flights.is_empty())
    }

    fn ask_others(&self, out: &mut Outbox<Dynamo>) {
        let Some(Rejoin { round, stage, refilled, .. }) = &self.rejoin else { return };
        let refill = matches!(stage, Stage::Refilling);
        for (node, _) in self.epoch.others().filter(|(node, _)| !refilled.contains(node)) {
            out.send_after(self.unsure, node, Message::Rejoin { round: *round, at: self.epoch.at(), refill });
        }
    }

    /// Moves to the next stage if possible.
    fn rejoin_goes_on(&mut self, out: &mut Outbox<Dynamo>) {
        let others = self.epoch.others().count();
        let at = self.epoch.lasting();
        let Some(rejoin) = &mut self.rejoin else { return };
        match &mut rejoin.stage {
            Stage::Asking if rejoin.heard.len() == others => {
                let Some(latest) = latest(rejoin.heard.values()) else { return };
                let to = latest.max(at);
                let keeps = to <= at.saturating_add(1) || self.config.mutant.is(Bug::OldCopyKept);
                rejoin.stage = Stage::Dropping(Vec::new(), to);
                if !keeps {
                    self.drop_all(out);
                }
                self.rejoin_goes_on(out);
            }
            Stage::Dropping(keys, to) if keys.is_empty() => {
                let to = *to;
                let ticket = self.persist(Record::Epoch(to), out);
                self.unsure = Some(ticket);
                if let Some(rejoin) = &mut self.rejoin {
                    rejoin.stage = Stage::Moving(ticket);
                }
                self.epoch.moves_to(to, ticket);
            }
            Stage::Dropping(keys, _) => {
                let some = keys.split_off(keys.len().saturating_sub(KEYS));
                for key in some {
                    if !self.keys.contains_key(&key) {
                        self.unsure = Some(self.persist(Record::Key(key, None), out));
                    }
                }
                self.rejoin_goes_on_if_dropped(out);
            }
            Stage::Refilling if rejoin.refilled.len() == others => {
                self.rejoin = None;
                self.unsure = Some(self.persist(Record::Rejoin(false), out));
                out.effect(Effect::Note(Note::Rejoined));
            }
            Stage::Asking | Stage::Moving(_) | Stage::Refilling => {}
        }
    }

    fn rejoin_goes_on_if_dropped(&mut self, out: &mut Outbox<Dynamo>) {
        if matches!(&self.rejoin, Some(Rejoin { stage: Stage::Dropping(keys, _), .. }) if keys.is_empty()) {
            self.rejoin_goes_on(out);
        }
    }

    /// Drops everything: in memory at once, on the disk step by step.
    fn drop_all(&mut self, out: &mut Outbox<Dynamo>) {
        let keys: Vec<Key> = std::mem::take(&mut self.keys).into_iter().map(|(key, _)| key).collect();
        self.snapshots.since.keys.extend(keys.iter().cloned());
        self.incarnations.clear();
        let hints: Vec<(NodeId, Key)> = self.hints.all().keys().cloned().collect();
        for (owner, key) in hints {
            self.drop_hint(owner, &key, Note::HintExpired { owner, key: key.clone() }, out);
        }
        if let Some(Rejoin { stage: Stage::Dropping(left, _), .. }) = &mut self.rejoin {
            *left = keys;
        }
    }

    /// All records up to `ticket` are durable.
    pub(super) fn rejoin_durable(&mut self, ticket: Ticket, out: &mut Outbox<Dynamo>) {
        if let Some(rejoin) = &mut self.rejoin
            && matches!(rejoin.stage, Stage::Moving(of) if of <= ticket)
        {
            rejoin.stage = Stage::Refilling;
            self.ask_others(out);
            self.rejoin_goes_on(out);
        }
    }

    /// Handles a `Rejoin` message.
    pub(super) fn asked_to_refill(
        &mut self,
        from: NodeId,
        (round, at, refill): (u64, Epoch, bool),
        out: &mut Outbox<Dynamo>,
    ) {
        self.epoch.tells_anew(from, at);
        if refill && self.refills.get(&from).is_none_or(|old| old.round != round) {
            self.refills.insert(from, Refill::new(round));
            self.refill(from, out);
        }
        self.welcome(from, round, out);
    }

    fn welcome(&mut self, to: NodeId, round: u64, out: &mut Outbox<Dynamo>) {
        let refilled = self.refills.get(&to).is_some_and(|refill| refill.round == round && refill.is_done());
        let (at, rejoins) = (self.epoch.lasting(), self.rejoins());
        out.send_after(self.unsure, to, Message::Welcome { round, at, rejoins, refilled });
    }

    /// Handles a `Welcome` message.
    pub(super) fn welcomed(
        &mut self,
        from: NodeId,
        (round, at): (u64, Epoch),
        (rejoins, refilled): (bool, bool),
        out: &mut Outbox<Dynamo>,
    ) {
        let Some(rejoin) = self.rejoin.as_mut().filter(|rejoin| rejoin.round == round) else { return };
        match rejoin.stage {
            Stage::Asking => drop(rejoin.heard.insert(from, (at, rejoins))),
            Stage::Refilling if refilled => drop(rejoin.refilled.insert(from)),
            _ => return,
        }
        self.rejoin_goes_on(out);
    }

    /// Sends keys as far as the limits on data in flight allow: first the unacknowledged ones, then further ones.
    fn refill(&mut self, to: NodeId, out: &mut Outbox<Dynamo>) {
        for _ in 0..KEYS {
            let Some(refill) = self.refills.get_mut(&to) else { return };
            let under_way: usize = refill.flights.values().map(|flight| flight.bytes).sum();
            if refill.flights.len() >= self.config.handoff_window || under_way >= WINDOW {
                return;
            }
            let key = match (refill.again.pop_first(), &mut refill.after) {
                (Some(key), _) => key,
                (None, None) => return,
                (None, Some(after)) => {
                    let range = (after.clone(), Bound::Unbounded);
                    let Some(key) = self.keys.range(range).next().map(|(key, _)| key.clone()) else {
                        refill.after = None;
                        return;
                    };
                    *after = Bound::Excluded(key.clone());
                    key
                }
            };
            if self.replicas(&key).contains(&to) {
                self.send_refill(to, key, out);
            }
        }
    }

    fn send_refill(&mut self, to: NodeId, key: Key, out: &mut Outbox<Dynamo>) {
        let Some(entry) = self.keys.get(&key) else { return };
        let (siblings, cause, op) = (entry.siblings.clone(), Cause::Repair(self.config.id), self.handoff.op());
        let bytes = key.len() + siblings.bytes();
        let put = Message::Put { op, key: key.clone(), siblings, owner: None, cause, epoch: self.epoch.at() };
        out.send_after(self.unsure, to, put);
        if let Some(refill) = self.refills.get_mut(&to) {
            refill.flights.insert(op, Flight { key, bytes, rounds: 0 });
        }
    }

    /// Handles the answer to a key that was sent.
    pub(super) fn refill_answered(&mut self, from: NodeId, op: OpId, result: PutResult, out: &mut Outbox<Dynamo>) {
        let Some(refill) = self.refills.get_mut(&from) else { return };
        let Some(flight) = refill.flights.remove(&op) else { return };
        if !matches!(result, PutResult::Stored | PutResult::Refilling) {
            // The key is sent again in the next round of housekeeping.
            refill.flights.insert(op, Flight { rounds: PATIENCE, ..flight });
            return;
        }
        self.refill(from, out);
        if let Some(Refill { round, .. }) = self.refills.get(&from).filter(|refill| refill.is_done()) {
            let round = *round;
            self.welcome(from, round, out);
        }
    }
}

/// Returns the latest epoch of the nodes that have not lost their data, or of all nodes if there are none. `None`: two
/// epochs are further apart than is possible, so some node's epoch is wrong.
fn latest<'a>(heard: impl Iterator<Item = &'a (Epoch, bool)>) -> Option<Epoch> {
    let (whole, all): (Vec<_>, Vec<_>) = heard.map(|(at, rejoins)| (!rejoins, *at)).partition(|(whole, _)| *whole);
    let of = |list: &[(bool, Epoch)]| (list.iter().map(|e| e.1).min(), list.iter().map(|e| e.1).max());
    match (of(&whole), of(&all)) {
        ((Some(least), Some(most)), _) => (most <= least.saturating_add(1)).then_some(most),
        (_, (_, most)) => Some(most.unwrap_or(0)),
    }
}
