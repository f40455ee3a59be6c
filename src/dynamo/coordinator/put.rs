//! Writes: executed here, then sent to the key's other replicas or to their stand-ins (§4.5, §4.6).
//!
//! A replica that seems down, or has not acknowledged after a while, gets a stand-in: the next node of the key's
//! preference list, which keeps a hint for it. If no node is left, the coordinator keeps the hint itself, in addition
//! to its own copy, which adds no holder. A write in progress ends when each replica has it or a hint is kept for that
//! replica, and at the latest at its deadline.
//!
//! Nothing is sent before the coordinator itself has the write on disk. Otherwise a crash could make it forget that it
//! had assigned a dot, and assign that dot to another write: one of the two would be lost without a trace.

use super::{Caller, Coordinator, Op, Turn, Work, reply, small};
use crate::dynamo::siblings::Siblings;
use crate::dynamo::{Achieved, Cause, ClientReply, ClientRequest, Epoch, Message, OpId, PutResult, Refusal, context};
use crate::mutant::Bug;
use crate::protocol::Ticket;
use crate::types::{Key, NodeId, Policy, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// A write in progress.
#[derive(Debug)]
pub(super) struct Put {
    siblings: Siblings,
    epoch: Epoch,
    /// What must be durable here before others are told; `None` if it is durable.
    ticket: Option<Ticket>,
    sloppy: bool,
    wanted: usize,
    read_back: bool,
    replicas: Vec<Replica>,
    /// Possible stand-ins that have not been asked yet, the next one last.
    spare: Vec<NodeId>,
    /// When to retry the nodes that have not acknowledged.
    again: Time,
    /// How long to wait after that. It doubles, so that slow links are not made slower.
    pause: Duration,
    /// A replica has refused it as too old, because epochs passed while it was in transit. It is read from the store
    /// again before it is sent again.
    too_old: bool,
}

/// One replica of the key.
#[derive(Debug)]
struct Replica {
    owner: NodeId,
    /// Whether it counts: under a local quorum only those of the coordinator's region do.
    counts: bool,
    /// The owner holds the write.
    stored: bool,
    /// The nodes that were asked to keep it for the owner.
    asked: Vec<NodeId>,
    /// The node that keeps it for the owner.
    stand_in: Option<NodeId>,
    /// The coordinator keeps it for the owner in addition to its own copy, or the owner has it but is being refilled.
    /// Neither counts.
    kept: bool,
}

impl Replica {
    fn is_settled(&self) -> bool {
        self.stored || self.stand_in.is_some() || self.kept
    }
}

impl Put {
    /// What has been achieved so far.
    pub fn achieved(&self) -> Achieved {
        let count =
            |held: &dyn Fn(&Replica) -> bool| small(self.replicas.iter().filter(|s| s.counts && held(s)).count());
        let hints = if self.sloppy { count(&|s| !s.stored && s.stand_in.is_some()) } else { 0 };
        Achieved { wanted: small(self.wanted), replicas: count(&|s| s.stored), hints }
    }

    fn is_enough(&self, ack_early: bool) -> bool {
        let Achieved { replicas, hints, .. } = self.achieved();
        usize::from(replicas + hints) >= if ack_early { 1 } else { self.wanted }
    }

    /// The coordinator `me` has the write on disk.
    pub fn is_durable(&mut self, me: NodeId) {
        self.ticket = None;
        self.holds(me);
    }

    /// The node holds the write durably, for itself or as a stand-in.
    fn holds(&mut self, node: NodeId) {
        for replica in &mut self.replicas {
            replica.stored |= replica.owner == node;
            if replica.asked.contains(&node) {
                replica.stand_in.get_or_insert(node);
            }
        }
    }

    /// The node holds the write durably, but does not count.
    fn has_in_vain(&mut self, node: NodeId) {
        self.replicas.iter_mut().filter(|replica| replica.owner == node).for_each(|replica| replica.kept = true);
    }

    /// Approximate number of bytes it keeps.
    pub fn bytes(&self) -> usize {
        self.siblings.bytes()
    }

    /// All nodes known to hold it durably.
    fn holders(&self) -> BTreeSet<NodeId> {
        let holder = |s: &Replica| if s.stored { Some(s.owner) } else { s.stand_in.filter(|_| self.sloppy) };
        self.replicas.iter().filter(|s| s.counts).filter_map(holder).collect()
    }

    /// Keeps a hint for each replica that does not have the write and for which no hint is kept elsewhere. Returns the
    /// owners for which there was no room.
    pub fn keep_hints(&mut self, key: &Key, turn: &mut Turn<'_>) -> Vec<NodeId> {
        let mut refused = Vec::new();
        for replica in self.replicas.iter_mut().filter(|s| !s.is_settled()) {
            replica.kept = true;
            let (result, _) = turn.store.keep_hint(replica.owner, key, &self.siblings, self.epoch, turn.out);
            refused.extend((result != PutResult::Stored).then_some(replica.owner));
        }
        refused
    }

    fn message(&self, op: OpId, key: &Key, owner: Option<NodeId>, me: NodeId) -> Message {
        let (siblings, epoch) = (self.siblings.clone(), self.epoch);
        Message::Put { op, key: key.clone(), siblings, owner, cause: Cause::Write(me), epoch }
    }
}

impl Coordinator {
    pub(super) fn begin_put(
        &mut self,
        caller: Caller,
        request: ClientRequest,
        policy: Policy,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let ClientRequest::Put { slot, write, key, update, context, w, sloppy, deadline_ms, read_back } = &request
        else {
            return Ok(());
        };
        let me = self.config.id;
        if slot.server != me {
            return self.pass_on(caller, (request, policy), turn);
        }
        let sloppy = sloppy.unwrap_or(policy.sloppy);
        let seen = context::decode(key, context, self.config.mutant).map_err(|e| Refusal::Invalid(e.to_string()))?;
        let (order, n) = self.order(key, &policy);
        let (replicas, others) = order.split_at(n);
        let asked = w.filter(|_| !self.config.mutant.is(Bug::LevelIgnored));
        let (wanted, local) = self.wanted(asked.unwrap_or(policy.w), replicas);
        let counts = |node: &NodeId| !local || self.near.contains(node);
        let able = if sloppy { &order[..] } else { replicas };
        let reachable = able.iter().filter(|node| self.serves(**node) && (sloppy || counts(node))).count();
        let unavailable = Refusal::Unavailable { wanted: small(wanted), reachable: small(reachable) };
        if reachable < wanted {
            return Err(unavailable);
        }
        let is_replica = replicas.contains(&me);
        if !is_replica {
            match (caller, self.who_coordinates(replicas, if sloppy { others } else { &[] })) {
                (Caller::Client { .. }, Some(to)) if to != me => {
                    self.give_to(caller, (to, wanted), (request, policy), turn);
                    return Ok(());
                }
                _ if sloppy && others.contains(&me) => {}
                _ => return Err(unavailable),
            }
        }
        // A stand-in adds the write to the hint it keeps for the first replica that seems down.
        let absent = replicas.iter().find(|node| !self.is_up(**node)).or(replicas.first()).copied();
        let owner = absent.filter(|_| !is_replica);
        let written = turn.store.write(key, owner, &seen, *write, update, &policy, turn.out)?;

        let asked = |node: NodeId| if owner == Some(node) { vec![me] } else { Vec::new() };
        let replica = |owner: &NodeId| Replica {
            owner: *owner,
            counts: counts(owner),
            stored: false,
            asked: asked(*owner),
            stand_in: None,
            kept: false,
        };
        let pause = self.pace.patience(self.config.hint_after, self.end(*deadline_ms).since(self.now));
        let mut put = Put {
            siblings: written.siblings,
            epoch: written.epoch,
            ticket: written.ticket,
            sloppy,
            wanted,
            read_back: *read_back,
            replicas: replicas.iter().map(replica).collect(),
            spare: others.iter().rev().copied().filter(|node| *node != me).collect(),
            again: self.now + pause,
            pause,
            too_old: false,
        };
        let id = self.number();
        match written.ticket {
            Some(ticket) => {
                self.syncing.insert((ticket, id));
            }
            None => put.holds(me),
        }
        self.send_put(id, key, &put, turn);
        self.find_stand_ins(id, key, &mut put, false, turn);
        let (deadline, key) = (self.end(*deadline_ms), key.clone());
        let op = Op::new((key, policy), self.now, Some(caller), deadline, Work::Put(put));
        self.keep(id, op, turn);
        Ok(())
    }

    /// Picks the coordinator for a write if this node is not a replica: the first replica that seems up, preferably one
    /// of this region; otherwise the first possible stand-in.
    fn who_coordinates(&self, replicas: &[NodeId], others: &[NodeId]) -> Option<NodeId> {
        let mut up = replicas.iter().filter(|node| self.serves(**node));
        let first = up.clone().find(|node| self.near.contains(node)).or_else(|| up.next());
        first.or_else(|| others.iter().find(|node| self.serves(**node))).copied()
    }

    /// Sends a write to the replicas that seem up and have not acknowledged it.
    fn send_put(&self, id: OpId, key: &Key, put: &Put, turn: &mut Turn<'_>) {
        let me = self.config.id;
        let lacks = |replica: &&Replica| !replica.stored && replica.owner != me && self.is_up(replica.owner);
        for replica in put.replicas.iter().filter(lacks) {
            turn.out.send_after(put.ticket, replica.owner, put.message(id, key, None, me));
        }
    }

    /// Finds a (further) stand-in for each replica that lacks the write and for which no node keeps a hint yet.
    fn find_stand_ins(&mut self, id: OpId, key: &Key, put: &mut Put, all: bool, turn: &mut Turn<'_>) {
        let me = self.config.id;
        for at in 0..put.replicas.len() {
            let replica = &put.replicas[at];
            let mine = replica.owner == me || replica.asked.contains(&me);
            if !mine && !replica.is_settled() && (all || !self.serves(replica.owner)) {
                self.next_stand_in(id, key, (put, at), turn);
            }
        }
    }

    fn next_stand_in(&mut self, id: OpId, key: &Key, (put, at): (&mut Put, usize), turn: &mut Turn<'_>) {
        let owner = put.replicas[at].owner;
        while let Some(node) = put.spare.pop() {
            if self.serves(node) {
                put.replicas[at].asked.push(node);
                turn.out.send_after(put.ticket, node, put.message(id, key, Some(owner), self.config.id));
                return;
            }
        }
        // An owner that is up but slow is likely to have it soon; if not, a hint is kept at the deadline.
        if !put.replicas[at].kept && !self.serves(owner) {
            put.replicas[at].kept = true;
            let (result, _) = turn.store.keep_hint(owner, key, &put.siblings, put.epoch, turn.out);
            if result != PutResult::Stored {
                self.compare_with(owner);
            }
        }
    }

    pub(super) fn put_answered(
        &mut self,
        id: OpId,
        op: &mut Op,
        (from, result): (NodeId, PutResult),
        turn: &mut Turn<'_>,
    ) {
        let Work::Put(put) = &mut op.work else { return };
        match result {
            PutResult::Stored => put.holds(from),
            PutResult::Refilling => put.has_in_vain(from),
            PutResult::NoRoom | PutResult::TooOld => {
                put.too_old |= result == PutResult::TooOld && put.replicas.iter().any(|replica| replica.owner == from);
                let refused = |replica: &Replica| replica.asked.last() == Some(&from) && !replica.is_settled();
                if let Some(at) = put.replicas.iter().position(refused) {
                    self.next_stand_in(id, &op.key, (put, at), turn);
                }
            }
        }
    }

    /// Handles a timeout: some nodes have not acknowledged for a while.
    pub(super) fn put_is_slow(&mut self, id: OpId, op: &mut Op, turn: &mut Turn<'_>) {
        let Work::Put(put) = &mut op.work else { return };
        if put.ticket.is_some() {
            put.again = self.now + put.pause;
            return; // This node's own disk is slow: no other node has been asked yet.
        }
        // What the coordinator's own replica holds by now contains the write, or what superseded it.
        if std::mem::take(&mut put.too_old)
            && let Some(entry) = turn.store.holds(&op.key)
        {
            (put.siblings, put.epoch) = (entry.siblings.clone(), turn.store.epoch());
        }
        self.pace.silent(self.now.since(op.begun), put.pause);
        put.pause *= 2;
        put.again = self.now + put.pause;
        if self.pace.spends(self.now) {
            self.send_put(id, &op.key, put, turn);
            self.find_stand_ins(id, &op.key, put, true, turn);
        }
    }

    /// Answers once enough nodes hold the write. Returns when to look again, `None` if all is done.
    pub(super) fn put_goes_on(&mut self, op: &mut Op, turn: &mut Turn<'_>) -> Option<Time> {
        let Work::Put(put) = &op.work else { return None };
        let early = self.config.mutant.is(Bug::AckBeforeW);
        if op.caller.is_some() && put.is_enough(early) {
            let held = put.holders().len();
            assert!(
                early || held >= put.wanted,
                "a write would be acknowledged that {held} of {} nodes hold",
                put.wanted
            );
            let achieved = put.achieved();
            let reply = match put.read_back.then(|| reply::value(&op.key, &put.siblings, achieved)) {
                Some(value @ ClientReply::Value { .. }) => value,
                // If the key's state is too large to show, the write is done all the same.
                _ => ClientReply::Done { achieved },
            };
            if let Some(caller) = op.caller.take() {
                self.answer(caller, reply, turn);
            }
        }
        let done = op.caller.is_none() && put.replicas.iter().all(Replica::is_settled);
        (!done).then_some(put.again)
    }
}
