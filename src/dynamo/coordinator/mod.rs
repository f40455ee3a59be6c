//! The coordinator: executes clients' requests and makes sure that enough replicas take part (§4.5, §4.6 of the paper).
//!
//! A client can ask any node. A read is coordinated by the node it arrives at. A write is coordinated by a node that
//! holds the key's state, because only such a node may assign a dot; other nodes forward it (`forward`). A coordinator
//! waits for as many replicas as the request asks for, answers, and continues in the background until every replica has
//! been dealt with or the deadline has passed.
//!
//! Invariants, checked in release builds:
//! - A write is acknowledged only when W nodes hold it durably. Stand-ins count among them only under a sloppy quorum.
//! - A context given to a client covers nothing that the client has not been shown.
//! - Each request is answered once: answering takes the [`Caller`].
//!
//! Bounds: at most `max_open` operations, which together keep about `open_bytes`, background operations included. Each
//! ends at its deadline, at most [`MAX_DEADLINE`] away.

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

/// Longest time a coordinator works on a request, whatever deadline the client asks for.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// The sender of a request, waiting for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Caller {
    /// A client of this node, and the slot of its write.
    Client { id: RequestId, slot: Option<Slot> },
    /// The node that forwarded the request.
    Node { node: NodeId, op: OpId, slot: Option<Slot> },
}

/// What a step works on besides the coordinator itself.
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
    /// When its timer fires, if it is set.
    armed: Option<Time>,
    /// Approximate number of bytes it keeps.
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

/// All requests in progress on this node.
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
    /// Nodes that have lost their data, each with the time until which its replies do not count. A further announcement
    /// extends it.
    refilled: BTreeMap<NodeId, Time>,
    /// The operations in progress; `None` while a step of the operation is executed.
    ops: BTreeMap<OpId, Option<Box<Op>>>,
    /// Approximate number of bytes that `ops` keep.
    bytes: usize,
    /// When each of `ops` is due.
    timers: BTreeSet<(Time, OpId)>,
    /// Operations that wait for this node's own disk.
    syncing: BTreeSet<(Ticket, OpId)>,
    next: OpId,
    /// The dedup windows that this node has granted, and below those that other nodes have granted to it.
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
            // Replies to an earlier process of this node may still arrive, so numbering starts at random. Numbers are
            // even, and never wrap.
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

    /// Called when the node has started with keys on its disk: compares them with all other nodes.
    pub fn starts_again(&mut self) {
        let layout = self.layout.clone();
        let me = self.config.id;
        layout.nodes().filter(|node| *node != me).for_each(|node| self.compare_with(node));
    }

    pub fn deadline(&self) -> Option<Time> {
        let first = self.timers.first().map(|(due, _)| *due);
        first.into_iter().chain(self.anti_entropy.deadline()).min()
    }

    /// Advances the coordinator's time; it never goes back.
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

    /// A node announces that it has lost its data: its replies do not count for a while.
    pub fn is_refilled(&mut self, node: NodeId) {
        self.refilled.insert(node, self.now + self.config.housekeeping * 4);
    }

    /// This node has lost its data: ends all operations that clients wait for.
    pub fn steps_back(&mut self, turn: &mut Turn<'_>) {
        self.ops.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.give_up(id, turn));
    }

    /// Starts a request, or refuses it.
    pub fn request(&mut self, caller: Caller, request: ClientRequest, turn: &mut Turn<'_>) {
        let Some((caller, request)) = self.arrives(caller, request, turn) else { return };
        if let Err(why) = self.begin(caller, request, turn) {
            self.answer(caller, ClientReply::Refused(why), turn);
        }
    }

    fn begin(&mut self, caller: Caller, request: ClientRequest, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        // A write for another server is forwarded all the same: a refusal would mean that no server has executed it.
        let passes = matches!(request, ClientRequest::Put { slot, .. } if slot.server != self.config.id);
        if turn.store.rejoins() && !passes && !self.config.mutant.is(Bug::AmnesiacCoordinates) {
            return Err(Refusal::Rejoining);
        }
        if self.ops.len() >= self.config.max_open || self.bytes >= self.config.open_bytes {
            if passes {
                // Its server may have accepted an earlier copy.
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

    /// Returns the number of a new operation.
    fn number(&mut self) -> OpId {
        self.next += 2;
        self.next
    }

    /// The time at which an operation with this deadline ends.
    fn end(&self, deadline_ms: u32) -> Time {
        self.now + Duration::from_millis(u64::from(deadline_ms)).min(MAX_DEADLINE)
    }

    /// Continues an operation after an event, and keeps it until it is done.
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

    /// Handles a reply to a write or a repair.
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

    /// Continues the operations that waited for the disk up to `ticket`.
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

    /// Does what is due: asks further replicas, retries, gives up.
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

    /// Ends an operation whose deadline has passed.
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

    /// Sends the answer to the caller, and remembers it for copies of the request.
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

    /// Whether the node is another member of the cluster.
    pub fn knows(&self, node: NodeId) -> bool {
        node != self.config.id && self.layout.members.binary_search_by_key(&node, |m| m.id).is_ok()
    }

    fn is_up(&self, node: NodeId) -> bool {
        !self.down.contains(&node)
    }

    /// Whether the node is up and its replies count, as far as is known.
    fn serves(&self, node: NodeId) -> bool {
        self.is_up(node) && self.refilled.get(&node).is_none_or(|until| *until <= self.now)
    }

    /// How many of these replicas `level` asks for, and whether only those of this region count.
    fn wanted(&self, level: Level, replicas: &[NodeId]) -> (usize, bool) {
        let near = replicas.iter().filter(|node| self.near.contains(node)).count();
        let anywhere = self.config.mutant.is(Bug::LocalQuorumAnywhere);
        (level.of(replicas.len(), near), level == Level::LocalQuorum && near > 0 && !anywhere)
    }

    /// The key's preference list: its replicas, then the possible stand-ins. Also returns the number of replicas.
    fn order(&self, key: &[u8], policy: &Policy) -> (Vec<NodeId>, usize) {
        let order = self.layout.order(key).to_vec();
        let n = usize::from(policy.n).min(order.len());
        (order, n)
    }
}

/// Converts a number of replicas to the type used in replies.
fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
