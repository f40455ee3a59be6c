//! A node that has lost what it held: an empty directory, or an old copy of its own.
//!
//! What such a node has promised is void: writes that it acknowledged, tombstones that it said to hold, its epoch. It learns of
//! that from its node ([`Request::Rejoin`](super::Request), `Recovered::rejoining`), or here: healthy nodes are never more than one epoch
//! apart (`epoch`), so who finds all others that are up two or more ahead has fallen back. Each node tells its epoch when it
//! starts. From then on, durably, it *rejoins*:
//!
//! 1. It coordinates nothing, and its replies do not count toward R or W: it says so in each, and tells all others every round of
//!    housekeeping, so that they ask others and find stand-ins. It takes new writes in.
//! 2. It asks all others for their epochs. If the latest is M and its own e: with M ≥ e+2 something that it said to hold may have been
//!    forgotten meanwhile, and what that superseded may be here. So it drops all it has. Otherwise it keeps it. Then it is at M.
//! 3. All others send it what they hold of its keys; each says so once all of that is durable here.
//! 4. When all have, it is a full member again, and compares its keys with theirs as after every start.
//!
//! **Why M ≥ e+2.** Let it have said to hold C, which it has lost, and let the asker have been at a when all had said so. The node
//! was at a+1 at most when it said so, so e ≤ a+1. C is forgotten when the asker is at a+5. Whoever is asked believes from then on
//! the epoch that the node tells, so while it stays at M no other goes beyond M+1. If M ≤ e+1, that is at most e+2 ≤ a+3: C is
//! forgotten after the node is a member again, when it has been sent C. If M ≥ e+2, the node starts from nothing, and when C is
//! forgotten it is at a+4 at least. In both cases the claim of `epoch` holds for it as for all others. ∎
//!
//! With two nodes that rejoin at once each still waits for the other to send what little it holds. Caveats: a node that is down
//! for good keeps others from rejoining. What no other holds is lost with the disk: writes of W = 1, hints. A loss that nobody tells of
//! and that spans no two epochs is not noticed.

use super::store::Store;
use super::{Cause, Dynamo, Effect, Epoch, Message, Note, OpId, PutResult, Record};
use crate::mutant::Bug;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Key, NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Rounds of housekeeping after which what was not acknowledged is sent again.
const PATIENCE: u32 = 4;
/// Bytes under way to a node that is being refilled, unless a single key has more.
const WINDOW: usize = 1 << 20;
/// Keys looked at, or dropped, in one go.
const KEYS: usize = 1000;
/// Pause before the next.
const PAUSE: Duration = Duration::from_millis(5);

/// How far this node has come.
#[derive(Debug)]
pub(super) struct Rejoin {
    round: u64,
    stage: Stage,
    /// Where the others are, and whether they rejoin themselves.
    heard: BTreeMap<NodeId, (Epoch, bool)>,
    /// Who has sent all it holds.
    refilled: BTreeSet<NodeId>,
}

#[derive(Debug)]
enum Stage {
    Asking,
    /// These keys are still on the disk. Then it goes to that epoch.
    Dropping(Vec<Key>, Epoch),
    /// The epoch is on its way to the disk.
    Moving(Ticket),
    Refilling,
}

/// What this node sends to one that rejoins.
#[derive(Debug)]
pub(super) struct Refill {
    round: u64,
    /// The last key looked at; `None`: all have been.
    after: Option<Bound<Key>>,
    flights: BTreeMap<OpId, Flight>,
    /// Keys that were not acknowledged.
    again: BTreeSet<Key>,
}

#[derive(Debug)]
struct Flight {
    key: Key,
    bytes: usize,
    rounds: u32,
}

impl Rejoin {
    /// An attempt of this name.
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
    /// Whether this node has lost what it held and is not a full member yet.
    pub(super) fn rejoins(&self) -> bool {
        self.rejoin.is_some()
    }

    /// The node has lost what it held.
    pub(super) fn begin_rejoin(&mut self, out: &mut Outbox<Dynamo>) {
        if self.rejoins() {
            return;
        }
        self.rejoin = Some(Rejoin::new(self.rng.next()));
        self.rejoin_starts(out);
        self.ask_others(out);
    }

    /// It is durable that the node has lost what it held, before anything is taken in.
    pub(super) fn rejoin_starts(&mut self, out: &mut Outbox<Dynamo>) {
        self.unsure = Some(self.persist(Record::Rejoin(true), out));
        out.effect(Effect::Note(Note::Rejoins));
        self.rejoin_goes_on(out);
    }

    /// Whether all others that are up are two epochs ahead or more.
    pub(super) fn has_fallen_back(&self) -> bool {
        let mut up = self.epoch.others().filter(|(node, _)| !self.down.contains(node)).peekable();
        up.peek().is_some() && up.all(|(_, at)| at >= self.epoch.lasting().saturating_add(2))
    }

    /// A round of housekeeping: asks whoever has not answered, and goes on with those that are being refilled.
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

    /// Whether neither this node nor one of the others is being refilled.
    pub(super) fn is_refilled(&self) -> bool {
        self.rejoin.is_none() && self.refills.values().all(Refill::is_done)
    }

    /// Drops more keys, and looks at more.
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

    /// Goes on to the next stage if it may.
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

    /// Forgets all there is, in memory at once, on the disk bit by bit.
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

    /// All up to `ticket` is durable.
    pub(super) fn rejoin_durable(&mut self, ticket: Ticket, out: &mut Outbox<Dynamo>) {
        if let Some(rejoin) = &mut self.rejoin
            && matches!(rejoin.stage, Stage::Moving(of) if of <= ticket)
        {
            rejoin.stage = Stage::Refilling;
            self.ask_others(out);
            self.rejoin_goes_on(out);
        }
    }

    /// "I have lost what I held."
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

    /// The answer to that.
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

    /// Sends as much as may be under way: first what was sent in vain, then further keys.
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

    /// What was sent was taken in, or not.
    pub(super) fn refill_answered(&mut self, from: NodeId, op: OpId, result: PutResult, out: &mut Outbox<Dynamo>) {
        let Some(refill) = self.refills.get_mut(&from) else { return };
        let Some(flight) = refill.flights.remove(&op) else { return };
        if !matches!(result, PutResult::Stored | PutResult::Refilling) {
            // The next round of housekeeping is soon enough.
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

/// The latest epoch of those that have not lost anything themselves, of all if there are none; `None`: two are further apart than
/// they can be, so somebody is wrong.
fn latest<'a>(heard: impl Iterator<Item = &'a (Epoch, bool)>) -> Option<Epoch> {
    let (whole, all): (Vec<_>, Vec<_>) = heard.map(|(at, rejoins)| (!rejoins, *at)).partition(|(whole, _)| *whole);
    let of = |list: &[(bool, Epoch)]| (list.iter().map(|e| e.1).min(), list.iter().map(|e| e.1).max());
    match (of(&whole), of(&all)) {
        ((Some(least), Some(most)), _) => (most <= least.saturating_add(1)).then_some(most),
        (_, (_, most)) => Some(most.unwrap_or(0)),
    }
}
