//! The coordinator: takes clients' requests and sees to it that enough replicas take part (§4.5, §4.6 of the paper).
//!
//! Any node can be asked. A read is coordinated where it arrives; a write by a node that holds the key's state, because only
//! such a node may give it a dot: others pass it on (`forward`). A coordinator waits for as many as were asked for, answers,
//! and goes on in the background until every replica has been dealt with or the deadline is there.
//!
//! Invariants, checked in release builds:
//! - A write is acknowledged only when W nodes hold it durably, stand-ins among them only under a sloppy quorum.
//! - A context given to a client covers nothing that the client is not shown.
//! - Each request is answered once: the [`Caller`] is taken when it is.
//!
//! Bounds: at most `max_open` operations that keep about `open_bytes` together, those in the background included; each ends at its
//! deadline, at most [`MAX_DEADLINE`] away.

mod anti_entropy;
mod dedup;
mod forward;
mod get;
mod limits;
mod pace;
mod put;
mod reply;

use super::store::Store;
use super::{
    Achieved, ClientReply, ClientRequest, Config, Dynamo, Effect, Message, OpId, PutResult, Refusal, RequestId, Slot,
    WindowId,
};
use crate::mutant::Bug;
use crate::placement::Layout;
use crate::protocol::{Outbox, Ticket};
use crate::types::{Key, Level, NodeId, Policy, Rng, Time};
use anti_entropy::AntiEntropy;
pub(super) use anti_entropy::differing;
use dedup::DedupWindows;
use forward::Forwarded;
use get::Get;
pub(super) use get::reads;
use pace::Pace;
use put::Put;
#[cfg(test)]
pub(super) use reply::value as shown;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Longest time a coordinator works on a request, whatever its client asks for.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// A client of this node; its write stands in that place.
    Client { id: RequestId, slot: Option<Slot> },
    /// The node that passed the request on.
    Node { node: NodeId, op: OpId, slot: Option<Slot> },
}

/// What a step works on beside the coordinator itself.
pub(super) struct Turn<'a> {
    pub store: &'a mut Store,
    pub out: &'a mut Outbox<Dynamo>,
}

#[derive(Debug)]
struct Op {
    key: Key,
    policy: Policy,
    /// `None` once answered.
    caller: Option<Caller>,
    begun: Time,
    deadline: Time,
    /// For when its timer is set.
    armed: Option<Time>,
    /// About how many bytes it keeps.
    bytes: usize,
    work: Work,
}

impl Op {
    fn new((key, policy): (Key, Policy), begun: Time, caller: Option<Caller>, deadline: Time, work: Work) -> Box<Op> {
        Box::new(Op { key, policy, caller, begun, deadline, armed: None, bytes: 0, work })
    }
}

#[derive(Debug)]
enum Work {
    Put(Put),
    Get(Get),
    Forward(Forwarded),
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Work::Put(put) => put.bytes(),
            Work::Get(get) => get.bytes(),
            Work::Forward(forwarded) => forwarded.bytes(),
        }
    }
}

/// All requests under way on this node.
#[derive(Debug)]
pub(super) struct Coordinator {
    config: Config,
    layout: Arc<Layout>,
    rng: Rng,
    now: Time,
    /// The nodes of this node's region.
    near: BTreeSet<NodeId>,
    /// The nodes that seem to be down.
    down: BTreeSet<NodeId>,
    /// The nodes that have lost what they held, and until when that is believed unless they say so again.
    refilled: BTreeMap<NodeId, Time>,
    /// What is under way; `None` while something that has happened to it is carried out.
    ops: BTreeMap<OpId, Option<Box<Op>>>,
    /// About how many bytes `ops` keep.
    bytes: usize,
    /// When each of `ops` is due.
    timers: BTreeSet<(Time, OpId)>,
    /// Operations that wait for this node's own disk.
    syncing: BTreeSet<(Ticket, OpId)>,
    next: OpId,
    /// The lanes that this node has given, and those it has been given by others.
    windows: DedupWindows,
    given: BTreeMap<NodeId, WindowId>,
    anti_entropy: AntiEntropy,
    pace: Pace,
}

impl Coordinator {
    pub fn new(config: Config, layout: Arc<Layout>, now: Time, mut rng: Rng) -> Coordinator {
        let region = layout.region(config.id);
        let near = layout.nodes().filter(|node| layout.region(*node) == region).collect();
        Coordinator {
            // Replies to an earlier process of this node may be under way still. Numbers are even, and never wrap.
            next: rng.next() >> 2 << 1,
            windows: DedupWindows::new(Rng::new(rng.next(), "lanes")),
            config,
            rng,
            now,
            near,
            down: BTreeSet::new(),
            refilled: BTreeMap::new(),
            bytes: 0,
            ops: BTreeMap::new(),
            timers: BTreeSet::new(),
            syncing: BTreeSet::new(),
            given: BTreeMap::new(),
            anti_entropy: AntiEntropy::default(),
            pace: Pace::default(),
            layout,
        }
    }

    /// The node has started with keys on its disk.
    pub fn starts_again(&mut self) {
        let layout = self.layout.clone();
        let me = self.config.id;
        layout.nodes().filter(|node| *node != me).for_each(|node| self.compare_with(node));
    }

    pub fn deadline(&self) -> Option<Time> {
        let first = self.timers.first().map(|(due, _)| *due);
        first.into_iter().chain(self.anti_entropy.deadline()).min()
    }

    /// The coordinator's time goes on; it never goes back.
    pub fn pass(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub fn peer(&mut self, node: NodeId, up: bool) {
        if up {
            if self.down.remove(&node) {
                self.compare_with(node);
            }
        } else if node != self.config.id {
            self.down.insert(node);
        }
    }

    /// A node says that it has lost what it held: its word does not count for a while.
    pub fn is_refilled(&mut self, node: NodeId) {
        self.refilled.insert(node, self.now + self.config.housekeeping * 4);
    }

    /// This node has lost what it held: it goes on with nothing that clients wait for.
    pub fn steps_back(&mut self, turn: &mut Turn<'_>) {
        self.ops.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.give_up(id, turn));
    }

    /// Begins on a request, or refuses it.
    pub fn request(&mut self, caller: Caller, request: ClientRequest, turn: &mut Turn<'_>) {
        let Some((caller, request)) = self.arrives(caller, request, turn) else { return };
        if let Err(why) = self.begin(caller, request, turn) {
            self.answer(caller, ClientReply::Refused(why), turn);
        }
    }

    fn begin(&mut self, caller: Caller, request: ClientRequest, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        // What another server is to see to is passed on all the same: to refuse it would mean that no server has carried it out.
        let passes = matches!(request, ClientRequest::Put { slot, .. } if slot.server != self.config.id);
        if turn.store.rejoins() && !passes && !self.config.mutant.is(Bug::AmnesiacCoordinates) {
            return Err(Refusal::Rejoining);
        }
        if self.ops.len() >= self.config.max_open || self.bytes >= self.config.open_bytes {
            if passes {
                // Its server may have taken an earlier copy.
                self.answer(caller, ClientReply::Unfinished { achieved: Achieved::default() }, turn);
                return Ok(());
            }
            return Err(Refusal::Busy);
        }
        let policy = limits::check(&request, &self.layout.buckets)?;
        match request {
            ClientRequest::Get { key, r, deadline_ms } => {
                self.begin_get(caller, (key, policy), r.unwrap_or(policy.r), deadline_ms, turn)
            }
            ClientRequest::Put { .. } => self.begin_put(caller, request, policy, turn),
        }
    }

    /// Numbers a new operation.
    fn number(&mut self) -> OpId {
        self.next += 2;
        self.next
    }

    /// When an operation that may take so long is to end.
    fn end(&self, deadline_ms: u32) -> Time {
        self.now + Duration::from_millis(u64::from(deadline_ms)).min(MAX_DEADLINE)
    }

    /// Goes on with an operation after something has happened to it: it is kept until it is done.
    fn resume(
        &mut self,
        id: OpId,
        turn: &mut Turn<'_>,
        happened: impl FnOnce(&mut Coordinator, &mut Op, &mut Turn<'_>),
    ) {
        let Some(mut op) = self.ops.get_mut(&id).and_then(Option::take) else { return };
        happened(self, &mut op, turn);
        self.keep(id, op, turn);
    }

    fn keep(&mut self, id: OpId, mut op: Box<Op>, turn: &mut Turn<'_>) {
        self.bytes -= op.bytes;
        let due = match op.work {
            Work::Put(_) => self.put_goes_on(&mut op, turn),
            Work::Get(_) => self.get_goes_on(id, &mut op, turn),
            Work::Forward(ref forwarded) => op.caller.map(|_| forwarded.again),
        };
        let due = due.map(|due| due.min(op.deadline));
        if due != op.armed {
            op.armed.map(|at| self.timers.remove(&(at, id)));
            due.map(|at| self.timers.insert((at, id)));
            op.armed = due;
        }
        op.bytes = if due.is_some() { op.key.len() + op.work.bytes() } else { 0 };
        self.bytes += op.bytes;
        match due {
            Some(_) => self.ops.insert(id, Some(op)),
            None => self.ops.remove(&id),
        };
    }

    /// Takes a reply to a write or a repair.
    pub fn put_reply(&mut self, from: NodeId, id: OpId, result: PutResult, turn: &mut Turn<'_>) {
        self.resume(id, turn, |this, op, turn| match op.work {
            Work::Put(_) => {
                this.pace.answered(this.now.since(op.begun));
                this.put_answered(id, op, (from, result), turn);
            }
            Work::Get(ref mut get) => get.repaired(from, result, op.policy.resolve),
            Work::Forward(_) => {}
        });
    }

    /// What waited for the disk, and may be told now.
    pub fn persisted(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        while let Some(&(first, id)) = self.syncing.first()
            && first <= ticket
        {
            self.syncing.pop_first();
            self.resume(id, turn, |this, op, _| match op.work {
                Work::Put(ref mut put) => put.is_durable(this.config.id),
                Work::Get(ref mut get) => get.is_durable(this.config.id, op.policy.resolve),
                Work::Forward(_) => {}
            });
        }
    }

    /// Does what is due: asks others, asks again, gives up.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        self.anti_entropy(turn);
        while let Some(&(due, id)) = self.timers.first()
            && due <= self.now
        {
            self.timers.pop_first();
            let over = self.ops.get(&id).and_then(Option::as_ref).is_none_or(|op| op.deadline <= self.now);
            if over {
                self.give_up(id, turn);
            } else {
                self.resume(id, turn, |this, op, turn| {
                    op.armed = None;
                    match op.work {
                        Work::Put(_) => this.put_is_slow(id, op, turn),
                        Work::Get(_) => this.get_is_slow(id, op, turn),
                        Work::Forward(_) => this.forward_is_slow(id, op, turn),
                    }
                });
            }
        }
    }

    /// The deadline of an operation is there.
    fn give_up(&mut self, id: OpId, turn: &mut Turn<'_>) {
        let Some(mut op) = self.ops.remove(&id).flatten() else { return };
        op.armed.map(|at| self.timers.remove(&(at, id)));
        self.bytes -= op.bytes;
        let achieved = match &mut op.work {
            Work::Put(put) => put.achieved(),
            Work::Get(get) => get.achieved(),
            Work::Forward(forwarded) => Achieved { wanted: forwarded.wanted, ..Achieved::default() },
        };
        if let Some(caller) = op.caller.take() {
            self.answer(caller, ClientReply::Unfinished { achieved }, turn);
        }
        match &mut op.work {
            Work::Put(put) => put.keep_hints(&op.key, turn).into_iter().for_each(|owner| self.compare_with(owner)),
            Work::Get(get) => self.repair_rest(id, (&op.key, op.policy.resolve), get, turn),
            Work::Forward(_) => {}
        }
    }

    /// Tells the answer to who waits for it, and remembers it for copies of the request.
    fn answer(&mut self, caller: Caller, reply: ClientReply, turn: &mut Turn<'_>) {
        if let Caller::Client { slot: Some(slot), .. } | Caller::Node { slot: Some(slot), .. } = caller {
            self.windows.answered(slot, &reply);
        }
        self.tell(caller, reply, turn);
    }

    fn tell(&self, caller: Caller, reply: ClientReply, turn: &mut Turn<'_>) {
        match caller {
            Caller::Client { id, .. } => turn.out.effect(Effect::Reply { id, reply }),
            Caller::Node { node, op, .. } => turn.out.send(node, Message::ForwardReply { op, reply }),
        }
    }

    /// Whether the node is one of the cluster's others.
    pub fn knows(&self, node: NodeId) -> bool {
        node != self.config.id && self.layout.members.binary_search_by_key(&node, |m| m.id).is_ok()
    }

    fn is_up(&self, node: NodeId) -> bool {
        !self.down.contains(&node)
    }

    /// Whether the node's word counts, as far as is known.
    fn serves(&self, node: NodeId) -> bool {
        self.is_up(node) && self.refilled.get(&node).is_none_or(|until| *until <= self.now)
    }

    /// How many of these replicas `level` asks for, and whether only those of this region count.
    fn wanted(&self, level: Level, replicas: &[NodeId]) -> (usize, bool) {
        let near = replicas.iter().filter(|node| self.near.contains(node)).count();
        let anywhere = self.config.mutant.is(Bug::LocalQuorumAnywhere);
        (level.of(replicas.len(), near), level == Level::LocalQuorum && near > 0 && !anywhere)
    }

    /// The nodes of a key: its replicas, then those that may stand in for them.
    fn order(&self, key: &[u8], policy: &Policy) -> (Vec<NodeId>, usize) {
        let order = self.layout.order(key).to_vec();
        let n = usize::from(policy.n).min(order.len());
        (order, n)
    }
}

/// A number of replicas as it is told.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
