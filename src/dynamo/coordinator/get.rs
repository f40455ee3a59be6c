//! Reads: R replicas are asked, a further one if they are slow, and their replies are merged (§4.5).
//!
//! **Read repair.** Of the R replicas that answer, those that are behind are brought up to date before the answer is
//! given. A later read then meets, with R + R > N, a replica that holds it, so two reads in a row do not go back in
//! time. Reads of one replica may go back in time, even where writes reach all replicas: a write in progress is on some
//! replicas and not yet on others. Later replies, and those of all replicas for a sample of reads, are used for repair
//! in the background. A stand-in's hints are read but never repaired: what it lacks, other nodes hold for the same
//! owner.
//!
//! A merged state is as old as its oldest part: a repair carries the lowest epoch of the replies.

use super::{Caller, Coordinator, Op, Turn, Work, reply, small};
use crate::dynamo::context::Seen;
use crate::dynamo::siblings::{Siblings, WriteId};
use crate::dynamo::store::Store;
use crate::dynamo::version_vector::Actor;
use crate::dynamo::{Achieved, Cause, Effect, Epoch, Message, Note, OpId, PutResult, Refusal};
use crate::mutant::{Bug, Mutant};
use crate::types::{Key, Level, NodeId, Policy, Resolve, Time};
use std::time::Duration;

/// A read in progress.
#[derive(Debug)]
pub(super) struct Get {
    wanted: usize,
    /// The nodes to ask, in this order; the first `asked` have been asked.
    replicas: Vec<Replica>,
    asked: usize,
    /// The merged replies of the quorum, once complete, and their epoch.
    found: Option<(Siblings, Epoch)>,
    /// What this node itself holds and its epoch, while that is not durable yet.
    own: Option<(Siblings, Epoch)>,
    achieved: Achieved,
    /// When to ask a further replica, or retry.
    again: Time,
    pause: Duration,
    /// A read of anti-entropy: no client waits for the result, and all replicas must come to hold it.
    anti_entropy: bool,
    mutant: Mutant,
}

#[derive(Debug)]
struct Replica {
    node: NodeId,
    /// It is not one of the key's replicas, and is asked for its hints.
    stands_in: bool,
    /// What it is known to hold, and its epoch.
    says: Option<(Siblings, Epoch)>,
    /// Its reply counts: it is not being refilled.
    counts: bool,
    /// It was part of the quorum and behind: it has been sent what was found.
    behind: bool,
}

impl Replica {
    fn new(node: NodeId, stands_in: bool) -> Replica {
        Replica { node, stands_in, says: None, counts: true, behind: false }
    }

    /// Whether it lacks some of `found`. A replica that has nothing needs to know nothing of a deleted key.
    fn lacks(&self, found: &Siblings) -> bool {
        let needless = |held: &Siblings| held.is_empty() && found.is_deleted();
        !self.stands_in && self.says.as_ref().is_some_and(|(held, _)| !held.includes(found) && !needless(held))
    }
}

impl Get {
    /// Creates a read of all these replicas that no client waits for. It ends when all have answered and hold the
    /// merged state, or at its deadline. Replicas that do not answer are asked again after `pause`, and then less and
    /// less often.
    pub fn of_all(nodes: Vec<NodeId>, (now, pause): (Time, Duration), mutant: Mutant) -> Get {
        let replica = |node| Replica::new(node, false);
        Get {
            wanted: nodes.len(),
            replicas: nodes.into_iter().map(replica).collect(),
            asked: 0,
            found: None,
            own: None,
            achieved: Achieved::default(),
            again: now + pause,
            pause,
            anti_entropy: true,
            mutant,
        }
    }

    pub fn achieved(&self) -> Achieved {
        match self.found {
            Some(_) => self.achieved,
            None => self.replied(),
        }
    }

    fn replied(&self) -> Achieved {
        let says = |r: &&Replica| r.says.is_some() && (r.counts || self.anti_entropy);
        let count = |stands_in: bool| self.replicas.iter().filter(says).filter(|r| r.stands_in == stands_in).count();
        Achieved { wanted: small(self.wanted), replicas: small(count(false)), hints: small(count(true)) }
    }

    /// Approximate number of bytes it keeps.
    pub fn bytes(&self) -> usize {
        let said = self.replicas.iter().filter_map(|r| r.says.as_ref());
        said.chain(&self.found).map(|(siblings, _)| siblings.bytes()).sum()
    }

    /// The merged replies. What a client is shown comes from full members only.
    fn merged(&self, resolve: Resolve) -> (Siblings, Epoch) {
        let mut all = Siblings::default();
        let mut since = Epoch::MAX;
        for (held, epoch) in
            self.replicas.iter().filter(|r| r.counts || self.anti_entropy).filter_map(|r| r.says.as_ref())
        {
            all.merge(held, resolve, self.mutant);
            since = since.min(*epoch);
        }
        (all, since)
    }

    /// The number of replicas that replied and hold what was found.
    fn holders(&self) -> usize {
        self.replicas.iter().filter(|r| r.says.is_some() && (r.counts || self.anti_entropy) && !r.behind).count()
    }

    /// This node's own disk has made durable what it read, or what it repaired.
    pub fn is_durable(&mut self, me: NodeId, resolve: Resolve) {
        match self.own.take() {
            Some((siblings, epoch)) => self.says(me, siblings, epoch, true),
            None => self.repaired(me, PutResult::Stored, resolve),
        }
    }

    fn says(&mut self, node: NodeId, siblings: Siblings, epoch: Epoch, counts: bool) {
        let found = self.found.as_ref().map(|(found, _)| found);
        if let Some(replica) = self.replicas[..self.asked].iter_mut().find(|r| r.node == node && r.says.is_none()) {
            (replica.says, replica.counts) = (Some((siblings, epoch)), counts);
            replica.behind = found.is_some_and(|found| replica.lacks(found));
        }
    }

    /// A repair was acknowledged.
    pub fn repaired(&mut self, node: NodeId, result: PutResult, resolve: Resolve) {
        let Some((found, _)) = &self.found else { return };
        if let Some(replica) = self.replicas.iter_mut().find(|r| r.node == node && r.behind)
            && matches!(result, PutResult::Stored | PutResult::Refilling)
        {
            replica.behind = false;
            if let Some((held, _)) = &mut replica.says {
                held.merge(found, resolve, self.mutant);
            }
        }
    }

    /// The state that a repair writes: `found`.
    fn cure(&self, found: &Siblings, me: NodeId, resolve: Resolve) -> Siblings {
        let older = |held: &&Siblings| !held.versions().is_empty() && !held.includes(found);
        let stale = self.replicas.iter().filter_map(|r| r.says.as_ref().map(|(held, _)| held)).find(older);
        match stale {
            Some(stale) if self.mutant.is(Bug::RepairOlder) => {
                let mut stale = stale.clone();
                let version = stale.versions()[0].clone();
                // As if a client had written it again.
                let WriteId { client, number } = version.write;
                let again = WriteId { client: (client ^ u64::from(me.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15), number };
                stale.write(
                    &Seen::of(found),
                    Actor { node: me, incarnation: client ^ number.rotate_left(32) },
                    (version.stamp, again),
                    version.content,
                    (resolve, self.mutant),
                );
                stale
            }
            _ => found.clone(),
        }
    }
}

/// This node's reply to a read: what it holds of the key, or else the hint it keeps of it, and the epoch.
pub(in crate::dynamo) fn reads(store: &Store, key: &Key) -> (Siblings, Epoch) {
    match (store.holds(key), store.hinted(key)) {
        (None, Some(hinted)) => hinted,
        (held, _) => (held.map(|entry| entry.siblings.clone()).unwrap_or_default(), store.epoch()),
    }
}

impl Coordinator {
    pub(super) fn begin_get(
        &mut self,
        caller: Caller,
        (key, policy): (Key, Policy),
        level: Level,
        deadline_ms: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let (order, n) = self.order(&key, &policy);
        let (replicas, others) = order.split_at(n);
        let (wanted, local) = self.wanted(level, replicas);
        let eligible = |node: &&NodeId| !local || self.near.contains(node);
        let up = replicas.iter().filter(eligible).filter(|node| self.serves(**node));
        let mut asked: Vec<Replica> = up.map(|node| Replica::new(*node, false)).collect();
        asked.sort_by_key(|r| (r.node != self.config.id, !self.near.contains(&r.node)));
        let all = asked.len();
        if policy.sloppy {
            let absent = replicas.iter().filter(eligible).count() - all;
            let up = others.iter().filter(|node| self.serves(**node));
            asked.extend(up.take(absent).map(|node| Replica::new(*node, true)));
        }
        if asked.len() < wanted {
            return Err(Refusal::Unavailable { wanted: small(wanted), reachable: small(asked.len()) });
        }
        let pause = self.pace.patience(self.config.hedge_after, self.end(deadline_ms).since(self.now));
        let sampled = self.rng.below(1000) < u64::from(self.config.repair_permille);
        let get = Get {
            wanted,
            replicas: asked,
            asked: 0,
            found: None,
            own: None,
            achieved: Achieved::default(),
            again: self.now + pause,
            pause,
            anti_entropy: false,
            mutant: self.config.mutant,
        };
        let (id, deadline) = (self.number(), self.end(deadline_ms));
        let mut op = Op::new((key, policy), self.now, Some(caller), deadline, Work::Get(get));
        for _ in 0..if sampled { wanted.max(all) } else { wanted } {
            self.ask_next(id, &mut op, turn);
        }
        self.keep(id, op, turn);
        Ok(())
    }

    /// Asks one more replica; returns whether there was one.
    pub(super) fn ask_next(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) -> bool {
        let Work::Get(get) = &mut op.work else { return false };
        let Some(replica) = get.replicas.get(get.asked) else { return false };
        get.asked += 1;
        if replica.node == self.config.id {
            self.read_own(id, op, turn);
        } else {
            turn.out.send(replica.node, Message::Get { op: id, key: op.key.clone() });
        }
        true
    }

    /// Reads this node's own copy: what it holds now, once that is durable.
    fn read_own(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) {
        let Work::Get(get) = &mut op.work else { return };
        let (siblings, epoch) = reads(turn.store, &op.key);
        match turn.store.unsure(&op.key) {
            Some(ticket) => {
                get.own = Some((siblings, epoch));
                self.syncing.insert((ticket, id));
            }
            None => get.says(self.config.id, siblings, epoch, true),
        }
    }

    /// Handles a replica's answer.
    pub fn get_reply(
        &mut self,
        from: NodeId,
        id: OpId,
        (siblings, epoch, member): (Siblings, Epoch, bool),
        turn: &mut Turn<'_>,
    ) {
        self.resume(id, turn, |this, op, _| {
            if let Work::Get(get) = &mut op.work {
                if !get.anti_entropy {
                    this.pace.answered(this.now.since(op.begun));
                }
                get.says(from, siblings, epoch, member);
            }
        });
    }

    /// Handles a timeout: asks a further replica, or, if there is none, the same ones again.
    pub(super) fn get_is_slow(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) {
        let spends = self.pace.spends(self.now);
        let more = spends && op.caller.is_some() && self.ask_next(id, op, turn);
        let (me, key) = (self.config.id, op.key.clone());
        let Work::Get(get) = &mut op.work else { return };
        if !get.anti_entropy {
            self.pace.silent(self.now.since(op.begun), get.pause);
        }
        get.pause *= 2;
        get.again = self.now + get.pause;
        if spends && !more {
            for silent in get.replicas[..get.asked].iter().filter(|r| r.says.is_none() && r.node != me) {
                turn.out.send(silent.node, Message::Get { op: id, key: key.clone() });
            }
        }
        if spends && (op.caller.is_some() || get.anti_entropy) {
            self.repair(id, (&key, op.policy.resolve), get, turn);
        }
    }

    /// Repairs the replicas that were behind when the quorum was complete.
    fn repair(&mut self, id: OpId, (key, resolve): (&Key, Resolve), get: &mut Get, turn: &mut Turn<'_>) {
        let (me, Some((found, epoch))) = (self.config.id, &get.found) else { return };
        let (cure, epoch) = (get.cure(found, me, resolve), *epoch);
        let behind: Vec<NodeId> = get.replicas.iter().filter(|r| r.behind).map(|r| r.node).collect();
        for node in behind {
            if self.send_repair(id, key, node, (&cure, epoch), turn) {
                get.repaired(node, PutResult::Stored, resolve);
            }
        }
    }

    /// Sends a replica what it lacks; returns whether that is done already.
    fn send_repair(
        &mut self,
        id: OpId,
        key: &Key,
        node: NodeId,
        (siblings, epoch): (&Siblings, Epoch),
        turn: &mut Turn<'_>,
    ) -> bool {
        let cause = Cause::Repair(self.config.id);
        turn.out.effect(Effect::Note(Note::Repaired { node, key: key.clone() }));
        if node != self.config.id {
            let siblings = siblings.clone();
            turn.out.send(node, Message::Put { op: id, key: key.clone(), siblings, owner: None, cause, epoch });
            return false;
        }
        let (result, ticket) = turn.store.take_in(key, siblings, None, cause, epoch, turn.out);
        let stored = result == PutResult::Stored;
        self.syncing.extend(ticket.filter(|_| stored).map(|ticket| (ticket, id)));
        stored && ticket.is_none()
    }

    /// Answers once enough replicas have replied and hold the merged state. Returns when to look again, `None` if all
    /// is done.
    pub(super) fn get_goes_on(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) -> Option<Time> {
        let resolve = op.policy.resolve;
        let Work::Get(get) = &mut op.work else { return None };
        let replied = get.replied();
        if get.found.is_none() && usize::from(replied.replicas + replied.hints) >= get.wanted {
            let found = get.merged(resolve);
            get.replicas.iter_mut().for_each(|r| r.behind = r.lacks(&found.0));
            (get.found, get.achieved) = (Some(found), replied);
            self.repair(id, (&op.key, resolve), get, turn);
        }
        if let Some((found, _)) = &get.found
            && (get.holders() >= get.wanted || get.mutant.is(Bug::ReadGoesBackwards))
            && let Some(caller) = op.caller.take()
        {
            let reply = reply::value(&op.key, found, get.achieved);
            self.answer(caller, reply, turn);
        }
        if op.caller.is_some() {
            return Some(get.again);
        }
        if get.replicas[..get.asked].iter().any(|r| r.says.is_none() || get.anti_entropy && r.behind) {
            return Some(if get.anti_entropy { get.again } else { op.deadline });
        }
        let same = get.replied() == get.achieved && get.replicas.iter().all(|r| !r.behind);
        if get.found.is_none() || !same {
            self.repair_rest(id, (&op.key, resolve), get, turn);
        }
        None
    }

    /// Ends a read: repairs the replicas that are still behind the merged state of all replies.
    pub(super) fn repair_rest(&mut self, id: OpId, (key, resolve): (&Key, Resolve), get: &Get, turn: &mut Turn<'_>) {
        let (all, epoch) = get.merged(resolve);
        if !get.replicas.iter().any(|r| r.lacks(&all)) {
            return;
        }
        let cure = get.cure(&all, self.config.id, resolve);
        for replica in get.replicas.iter().filter(|r| r.lacks(&all)) {
            self.send_repair(id, key, replica.node, (&cure, epoch), turn);
        }
    }
}
