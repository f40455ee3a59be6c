//! The driver: the only place that awaits.
//!
//! One task per node runs the pure cores: any number of Raft groups ([`group`](super::group)) and the AP core
//! ([`ap`](super::ap)). In each turn it takes what has arrived, steps the cores with it, gives one batch of records to
//! the disk, sends what may be sent, applies what is committed, and answers clients. Then it waits for the next packet,
//! disk completion or deadline.
//!
//! Invariants:
//! - **Nothing leaves before its fsync** ([`gate`](super::gate)).
//! - **One batch in flight, for all cores.** While the disk works, further records gather into the next batch. This
//!   gives group commit without a timer. Recovery also relies on it to tell a torn tail from damage (storage/).
//! - **A turn touches only groups that have something to do.** Deadlines are kept in order, and a turn looks only at
//!   the groups that were stepped.
//! - **Every queue is bounded** in bytes, by its share of one budget ([`memory`](super::memory)). A turn takes a
//!   bounded number of packets and bytes, so that heartbeats are sent and elections are noticed under any load.
//! - **Control packets are taken first** (the transport ensures this): they never wait behind bulk data.
//! - **A failed disk stops the node.** [`Driver::run`] returns the error. The node owes nothing that it has not
//!   acknowledged.
//! - **A node that is told to stop first hands over its groups** ([`drain`](super::drain)).

use super::admission::Admission;
use super::ap::ApHost;
use super::detector::{Adaptive, Detector};
use super::drain::Drain;
use super::group::{Group, Halt};
use super::jobs::{Done, Job, load, load_ap};
use super::memory::Memory;
use super::outbound::Outbound;
use super::pending::PendingRequests;
use super::requests::Relays;
use super::standing::{Shelf, StandingHost};
use super::turn::{Now, TurnContext};
use super::{NodeConfig, Observer};
use crate::dynamo::{self, Dynamo};
use crate::env::Timer;
use crate::env::{Clock, StorageHost, Transport};
use crate::identity::{self, Accepted, Contradiction, Standing};
use crate::mutant::Bug;
use crate::protocol::{Input, Ticket};
use crate::raft::{self, Body, Message, Raft, Request, Saved, SnapshotMeta};
use crate::storage::{LogRecord, Recovery, StorageError};
use crate::types::{Addr, CoreId, GroupId, NodeId, Rng, Time};
use crate::wire::Packet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::mem;
use std::pin::{Pin, pin};
use std::time::Duration;

/// Maximum number of packets, and of their bytes, taken in one turn before the disk and the network are served.
const MAX_PACKETS_PER_TURN: usize = 1024;
const MAX_BYTES_PER_TURN: usize = 1 << 20;
/// Time between two checks of whether each group has its preferred leader, and maximum number of groups handed over in
/// one check.
const BALANCE: (Duration, usize) = (Duration::from_secs(1), 16);
/// Minimum uptime of the preferred leader, and minimum time between two transfers of a group.
const STEADY: Duration = Duration::from_secs(5);
/// The first Raft group. A cluster with one group has only this one.
pub const GROUP: GroupId = GroupId(1);

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;

type Running<'a> = Pin<Box<dyn Future<Output = Result<Done, StorageError>> + Send + 'a>>;

/// One node: its cores, their state, and its environment.
pub struct Driver<T, C, H, O> {
    pub(super) turn: TurnContext,
    pub(super) transport: T,
    clock: C,
    pub(super) observer: O,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) ap: Option<ApHost>,
    /// Whether the node takes part. If not, the groups and the AP core are on the shelf.
    pub(super) standing: StandingHost,
    pub(super) shelf: Shelf,
    pub(super) detector: Option<Box<dyn Detector>>,
    pub(super) relays: Relays,
    /// Groups that have something to do in this turn. Sorted and deduplicated before they are settled.
    pub(super) dirty: Vec<GroupId>,
    /// When each group needs its next turn.
    deadlines: BTreeSet<(Time, GroupId)>,
    /// Groups with records for the next batch.
    pub(super) writing: BTreeSet<GroupId>,
    /// Cores whose snapshot waits to be written, and whether one is being written.
    pub(super) snapshots: VecDeque<CoreId>,
    pub(super) snapshotting: bool,
    /// The last job of the disk was a batch of the log: another kind of job is next.
    pub(super) jobs_next: bool,
    /// The next batch is a checkpoint: it restates all live state.
    pub(super) checkpoint_due: bool,
    /// When to check leaders next, and the first group to check.
    balance: (Time, GroupId),
    /// The stop in progress.
    pub(super) drain: Option<Drain>,
    storage: std::marker::PhantomData<fn() -> H>,
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Runs a node until its disk fails, or until `stop` resolves and the node has handed over its groups. Then returns
    /// the transport, in which responses may still wait to be sent.
    ///
    /// # Errors
    /// The storage error that stopped the node.
    pub async fn run(
        config: NodeConfig,
        recovery: Recovery,
        (transport, clock, storage): (T, C, H),
        observer: O,
        rng: Rng,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<T, StorageError> {
        let mut driver = Self::boot(config, recovery, (transport, clock), &storage, observer, rng).await?;
        if let Some(ap) = driver.ap.as_ref().or(driver.shelf.ap.as_ref()) {
            driver.observer.ap_starts(ap.dynamo());
        }
        driver.observer.stands(driver.standing.standing());
        driver.turns(&storage, stop).await?;
        Ok(driver.transport)
    }

    /// Creates the cores from what the disk holds.
    async fn boot(
        config: NodeConfig,
        recovery: Recovery,
        (transport, clock): (T, C),
        storage: &H,
        observer: O,
        mut rng: Rng,
    ) -> Result<Self, StorageError> {
        let Recovery { groups: mut held, ap, identity } = recovery;
        if let Some(found) = identity.contradiction {
            return Err(StorageError::Contradicted(found));
        }
        let hosted = config.hosted();
        let lone = hosted.len() == 1 && !config.watches();
        let hosted_groups = hosted.len().max(1);
        let mut dynamo = None;
        if config.layout.buckets.any_ap() {
            let rng = Rng::new(rng.next(), "ap");
            let recovered = load_ap(storage, ap).await?;
            dynamo = Some(Dynamo::new(config.ap.clone(), config.layout.clone(), recovered, clock.now(), rng));
        }
        // Forwarded requests carry tickets. An earlier process of this node must not have used the same ones.
        let first_ticket = if lone { 1 } else { (rng.next() >> 1).max(1) };
        let mut groups = Vec::new();
        for (id, voters) in hosted {
            let recovered = held.remove(&id).unwrap_or_default();
            let kv = load(storage, id, recovered.snapshot, (config.max_tombstones, config.mutant)).await?;
            let rng = if lone { rng.clone() } else { Rng::new(rng.next(), "raft") };
            let max_pinned_bytes = config.raft.max_pinned_bytes / hosted_groups;
            let quiesce = config.layout.groups > 1;
            let max_append_bytes = config.raft.max_append_bytes.min(Memory(config.memory_bytes).packet());
            let raft = raft::Config { voters, quiesce, max_pinned_bytes, max_append_bytes, ..config.raft.clone() };
            groups.push(Group::new(id, Raft::new(raft, recovered, clock.now(), rng), kv, clock.now()));
        }
        Ok(Driver::new(config, (groups, dynamo), identity, (transport, clock), observer, first_ticket))
    }

    fn new(
        config: NodeConfig,
        (groups, ap): (Vec<Group>, Option<Dynamo>),
        identity: identity::Recovered,
        (transport, clock): (T, C),
        observer: O,
        first_ticket: u64,
    ) -> Self {
        let now = clock.now();
        let peers: Vec<NodeId> = config.layout.nodes().filter(|node| *node != config.raft.id).collect();
        let packet = Memory(config.memory_bytes).packet();
        let outbound = match config.watches() {
            true => Outbound::with_beats(peers.iter().copied(), config.beat, (packet, config.mutant)),
            false => Outbound::silent(packet, config.mutant),
        };
        let detector = config.watches().then(|| {
            let detector: Box<dyn Detector> = Box::new(Adaptive::new(peers.iter().copied(), config.down_after, now));
            detector
        });
        let memory = Memory(config.memory_bytes);
        let most = match config.mutant.is(Bug::QueueOverrun) {
            true => memory.requests() / 2,
            false => memory.admitted(peers.len() + 1),
        };
        let admission = || Admission::new(most, config.raft.election_timeout / 2, now, config.mutant);
        let pending = PendingRequests::new(config.max_open_requests, first_ticket, (admission(), admission()));
        let groups = groups.into_iter().map(|group| (group.id, group)).collect();
        let standing = StandingHost::new(&config, identity, now);
        let mut shelf = Shelf { groups, ap: ap.map(ApHost::new) };
        let ap = if standing.standing() == Standing::Lost { shelf.ap.take() } else { None };
        Driver {
            standing,
            shelf,
            groups: BTreeMap::new(),
            ap,
            turn: TurnContext::new(config, pending, outbound),
            transport,
            clock,
            observer,
            dirty: Vec::new(),
            detector,
            relays: Relays::default(),
            deadlines: BTreeSet::new(),
            writing: BTreeSet::new(),
            snapshots: VecDeque::new(),
            snapshotting: false,
            jobs_next: false,
            checkpoint_due: false,
            balance: (now + STEADY, GROUP),
            drain: None,
            storage: std::marker::PhantomData,
        }
    }

    async fn turns(&mut self, storage: &H, stop: impl Future<Output = ()> + Send) -> Result<(), StorageError> {
        let mut stop = pin!(stop);
        let mut running: Option<Running<'_>> = None;
        let mut timer = Timer::new(self.clock.clone());
        let mut at = self.now();
        loop {
            if self.drain.is_some() {
                self.hand_over(at);
            }
            self.settle(at, storage).await?;
            if running.is_none()
                && let Some(job) = self.next_job()
            {
                running = Some(Box::pin(storage.run(move |store| job.run(store))));
            }
            self.flush(at);
            self.end_turn();
            if self.drain.is_some() && self.drained(at) {
                return Ok(());
            }

            let due = self.deadline(at.time);
            timer.set(due);
            let mut left = MAX_BYTES_PER_TURN;
            // `biased`: without it `select!` chooses at random, and no run could be repeated.
            tokio::select! {
                biased;
                done = maybe(&mut running) => {
                    running = None;
                    at = self.now();
                    self.on_done(done?, at);
                }
                () = &mut stop, if self.drain.is_none() => {
                    at = self.now();
                    self.begin_drain(at);
                }
                (from, packet) = self.transport.recv() => {
                    at = self.now();
                    left = left.saturating_sub(packet.bytes());
                    self.was_late(due, at);
                    self.on_packet(from, packet, at);
                }
                () = timer.fires() => {
                    at = self.now(); // The tick comes with the turn.
                    self.was_late(due, at);
                }
            }
            let endless = self.turn.config.mutant.is(Bug::BusyNever);
            for _ in 1..MAX_PACKETS_PER_TURN {
                if left == 0 && !endless {
                    break;
                }
                let Some((from, packet)) = self.transport.try_recv() else { break };
                left = left.saturating_sub(packet.bytes());
                self.on_packet(from, packet, at);
            }
        }
    }

    /// Tells the detector if a turn started long after it was due: this node itself was busy or stalled.
    fn was_late(&mut self, due: Option<Time>, at: Now) {
        let late = due.map_or(Duration::ZERO, |due| at.time.since(due));
        if late > self.turn.config.beat / 2
            && let Some(detector) = &mut self.detector
        {
            detector.was_late(late);
        }
    }

    /// Reads the clocks, once a turn.
    fn now(&self) -> Now {
        now(&self.clock)
    }

    /// Returns when the next turn is due even if nothing arrives.
    fn deadline(&self, now: Time) -> Option<Time> {
        let groups = self.deadlines.first().map(|(time, _)| *time);
        let ap = self.ap.as_ref().and_then(ApHost::deadline);
        let standing = self.standing.deadline();
        let opinion = self.detector.as_ref().and_then(|detector| detector.next_change());
        let balance = (self.turn.config.layout.groups > 1).then_some(self.balance.0);
        let sooner = |one: Option<Time>, other: Option<Time>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let drain = self.drain.as_ref().map(|drain| drain.deadline(now));
        let cores = sooner(sooner(groups, drain), sooner(ap, standing));
        sooner(cores, sooner(opinion, sooner(balance, self.turn.outbound.next_beat())))
    }

    fn on_packet(&mut self, from: Addr, packet: Packet, at: Now) {
        self.turn.pending.pass(at.time);
        if let (Addr::Node(peer), Some(detector)) = (from, &mut self.detector) {
            detector.heard(peer, at.time);
        }
        match (from, packet) {
            (Addr::Node(peer), Packet::Greeting(greeting)) => self.standing.step(Input::Message(peer, greeting), at),
            (Addr::Node(peer), Packet::Peer { origin, raft, ap, .. }) => {
                let accepted = self.standing.accepts(peer, origin);
                if accepted == Accepted::Nothing {
                    return;
                }
                let raft = if accepted == Accepted::All { raft } else { Vec::new() };
                for (id, message) in raft {
                    self.on_raft(peer, id, message, at);
                }
                for message in ap {
                    self.on_ap_message(peer, message, at);
                }
            }
            (client, Packet::Request(request)) => self.on_request(client, *request, at),
            (Addr::Node(peer), Packet::Response(response)) => self.on_response(peer, response, at),
            // Peer traffic from a sender that is not a peer: ignored.
            _ => {}
        }
    }

    /// Steps a group with a message. Digests of the state machine go to the group itself, not to its Raft core.
    fn on_raft(&mut self, peer: NodeId, id: GroupId, message: Message, at: Now) {
        if !self.takes_append(&message) {
            return;
        }
        match (message.body, self.groups.get_mut(&id)) {
            (Body::Digest { index, digest }, Some(group)) => group.hear_digest(peer, (index, digest), &mut self.turn),
            (body, _) => self.step(id, Input::Message(peer, Message { term: message.term, body }), at),
        }
    }

    fn step(&mut self, id: GroupId, input: Input<Raft>, at: Now) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.step(input, at);
            self.dirty.push(id);
        }
    }

    fn on_done(&mut self, done: Done, at: Now) {
        match done {
            Done::Batch(tickets, log_is_long, batch) => {
                self.standing.durable(batch, at);
                self.turn.records.durable();
                tickets.into_iter().for_each(|(core, ticket)| self.persisted(core, ticket, at));
                match &mut self.ap {
                    // Write a snapshot first: the checkpoint then need not restate what it holds.
                    Some(ap) if log_is_long && !ap.snapshotting => {
                        ap.snapshotting = true;
                        self.snapshots.push_back(CoreId::Ap);
                    }
                    Some(_) => {}
                    None => self.checkpoint_due |= log_is_long,
                }
            }
            Done::SnapshotBlock(core, meta, blocks) => {
                self.turn.jobs.push_back(Job::WriteSnapshot(core, meta, blocks));
            }
            Done::SnapshotFinished(core, meta) => self.snapshot_finished(core, meta, at),
            Done::Answer(id, request) => {
                if matches!(request, Request::ChunkSaved { saved: Saved::Complete | Saved::Refused, .. }) {
                    self.turn.arrived(id);
                }
                self.step(id, Input::Request(request), at);
            }
        }
    }

    /// The records of a core up to this ticket are durable.
    fn persisted(&mut self, core: CoreId, ticket: Ticket, at: Now) {
        match core {
            CoreId::Node => self.standing.persisted(ticket, at, &mut self.turn),
            CoreId::Ap => {
                if let Some(ap) = &mut self.ap {
                    ap.persisted(ticket, at, &mut self.turn, &mut self.observer);
                }
            }
            CoreId::Group(id) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.persisted(ticket, at, &mut self.turn);
                    self.dirty.push(id);
                }
            }
        }
    }

    fn snapshot_finished(&mut self, core: CoreId, meta: SnapshotMeta, at: Now) {
        self.snapshotting = false;
        match core {
            CoreId::Group(id) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.snapshot_finished(meta, at);
                    self.dirty.push(id);
                    self.checkpoint_due |= self.is_lone();
                }
            }
            CoreId::Ap => {
                if let Some(ap) = &mut self.ap {
                    ap.snapshot_finished();
                    self.checkpoint_due = true;
                }
            }
            CoreId::Node => {}
        }
    }

    /// Returns whether this node has only one core. Then each of its snapshots allows the log to be discarded. With
    /// several cores a checkpoint must restate the state of the others, so it waits until the log is long.
    fn is_lone(&self) -> bool {
        self.groups.len() == 1 && self.ap.is_none()
    }

    /// Carries out the work of every core that has something to do.
    async fn settle(&mut self, at: Now, storage: &H) -> Result<(), StorageError> {
        self.settle_standing(at);
        self.notice(at);
        while let Some(&(_, id)) = self.deadlines.first().filter(|(time, _)| *time <= at.time) {
            self.deadlines.pop_first();
            if let Some(group) = self.groups.get_mut(&id) {
                group.noted = None;
            }
            self.dirty.push(id);
        }
        if self.is_lone() {
            self.dirty.extend(self.groups.keys());
        }
        let mut dirty = mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        for id in &dirty {
            self.settle_group(*id, at, storage).await?;
        }
        self.dirty = dirty;
        if let Some(ap) = &mut self.ap {
            ap.settle(at, &mut self.turn, &mut self.observer);
        }
        if !self.snapshots.is_empty() {
            self.begin_snapshot();
        }
        self.send_responses();
        Ok(())
    }

    async fn settle_group(&mut self, id: GroupId, mut at: Now, storage: &H) -> Result<(), StorageError> {
        let lone = self.is_lone();
        let share = self.turn.config.snapshot_log_bytes / self.groups.len().max(1);
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        group.tick(at, &mut self.turn);
        while let Some(halt) = group.settle(at, &mut self.turn, &mut self.observer) {
            let meta = match halt {
                Halt::Restore(meta) => meta,
                Halt::Contradicted(found) => return stop_for_good(storage, found).await,
            };
            let NodeConfig { max_tombstones, mutant, .. } = self.turn.config;
            let kv = load(storage, id, meta, (max_tombstones, mutant)).await?;
            at = now(&self.clock);
            group.restored(meta, kv, at.time, &mut self.turn);
            self.checkpoint_due |= lone;
        }
        if group.has_records() {
            self.writing.insert(id);
        }
        if group.wants_snapshot(self.turn.config.snapshot_entries, share) {
            group.snapshotting = true;
            self.snapshots.push_back(CoreId::Group(id));
        }
        let deadline = group.deadline(at, self.turn.config.mutant);
        if deadline != group.noted {
            let before = mem::replace(&mut group.noted, deadline);
            before.map(|time| self.deadlines.remove(&(time, id)));
            deadline.map(|time| self.deadlines.insert((time, id)));
        }
        Ok(())
    }

    /// Reports peers that went up or down to the AP core, gives up forwarded requests that expired, and balances
    /// leaders.
    fn notice(&mut self, at: Now) {
        self.turn.pending.pass(at.time);
        self.relays.expire(at.time, &mut self.turn);
        let changes = self.detector.as_mut().map_or(Vec::new(), |detector| detector.changes(at.time));
        for (node, up) in changes {
            if let Some(ap) = &mut self.ap {
                ap.step(Input::Request(dynamo::Request::Peer { node, up }), at);
            }
            if !up {
                self.wake(node, at);
            }
        }
        if self.turn.config.layout.groups > 1 && self.balance.0 <= at.time {
            self.spread_leaders(at);
        }
    }

    /// Wakes the groups led by `leader`, which is down. A quiescent group relies on its leader's node being up.
    #[inline(never)]
    fn wake(&mut self, leader: NodeId, at: Now) {
        for (id, group) in &mut self.groups {
            if group.status().soft.leader == Some(leader) {
                group.step(Input::Request(Request::Wake), at);
                self.dirty.push(*id);
            }
        }
    }

    /// Hands groups over to the leaders that the layout prefers, a few at a time. The preferred node must have been up
    /// for a while and hold all committed entries: one that lags would make the group wait. If this node was told to
    /// take over a group, which means that an operator asked for it, the group stays until its preferred leader has
    /// been down and up again.
    #[inline(never)]
    fn spread_leaders(&mut self, at: Now) {
        let (every, most) = BALANCE;
        let Some(detector) = &self.detector else { return };
        let me = self.turn.config.raft.id;
        let long_ago = |time: Option<Time>| time.is_none_or(|time| time + STEADY <= at.time);
        let from = self.balance.1;
        let (before, after): (Vec<_>, Vec<_>) = self.groups.iter_mut().partition(|(id, _)| **id < from);
        let mut left = most;
        let mut next = GROUP;
        for (id, group) in after.into_iter().chain(before) {
            let Some(&first) = self.turn.config.layout.voters_of(*id).first() else { continue };
            let since = detector.since(first);
            let steady = first != me && detector.is_up(first) && long_ago(since);
            let stays = group.given_at().is_some_and(|given| since.is_none_or(|since| since < given));
            if !steady || stays || !long_ago(group.handed_over) || !group.raft().keeps_up(first) {
                continue;
            }
            if left == 0 {
                next = *id;
                break;
            }
            left -= 1;
            group.handed_over = Some(at.time);
            group.transfer(None, first, at);
            self.dirty.push(*id);
        }
        self.balance = (at.time + every, next);
    }

    fn flush(&mut self, at: Now) {
        let from = (at.time, self.standing.origin());
        self.turn.outbound.flush(from, &mut self.transport, &mut self.observer);
    }

    fn end_turn(&mut self) {
        self.observer.queued(self.turn.queued());
        for id in self.dirty.drain(..) {
            if let Some(group) = self.groups.get(&id) {
                self.observer.turn(id, group.raft(), &group.kv);
            }
        }
        if let Some(ap) = &mut self.ap {
            ap.end_turn();
        }
    }
}

/// Records that this node's log contradicts committed entries, and returns the error that stops it. The node must not
/// restart as usual: it would overwrite what it had committed.
async fn stop_for_good<H: StorageHost>(storage: &H, found: Contradiction) -> Result<(), StorageError> {
    let record = LogRecord::Node(identity::Record::Contradiction(found));
    storage.run(move |store| store.append(&[record])).await?;
    Err(StorageError::Contradicted(found))
}

fn now(clock: &impl Clock) -> Now {
    let (time, wall) = clock.read();
    Now { time, wall }
}

/// Waits for the running job, or forever if there is none.
async fn maybe(running: &mut Option<Running<'_>>) -> Result<Done, StorageError> {
    match running {
        Some(job) => job.await,
        None => pending().await,
    }
}
