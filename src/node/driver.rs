//! The driver: the only place that awaits.
//!
//! One task per node turns the pure core: take what has arrived, step the core with it, hand one batch of records to
//! the disk, send what may be sent, apply what is committed, answer clients. Then wait for the next of: a packet, the
//! disk, a deadline.
//!
//! Invariants:
//! - **Nothing leaves before its fsync.** A message sent `after` a ticket waits in `held` until that ticket is durable.
//! - **One batch in flight.** While the disk works, further records gather into the next batch: group commit without a
//!   timer, and the property by which recovery tells a torn tail from damage (storage/).
//! - **Every queue is bounded.** Open requests by `max_open_requests`; entries and reads by the core's own limits, and what
//!   a leader has yet to write by its limit on uncommitted bytes; messages that wait for the disk by [`MAX_HELD`], storage
//!   jobs by [`MAX_JOBS`]; one turn takes at most [`MAX_PACKETS_PER_TURN`] packets.
//! - **A retry does not make an entry.** While a write is under way here, a retry of it takes over its place in the line for
//!   the answer: clients that retry against a slow group must not make it slower.
//! - **A failed disk stops the node.** [`Driver::run`] returns the error; whatever was not acknowledged is not owed.
//!
//! Caveat: restoring the state machine from a received snapshot blocks the node until it is done.

use super::alarm::Alarm;
use super::answers::Answers;
use super::jobs::{self, Done, Job, load};
use super::{Clock, Observer, StorageHost, Transport};
use crate::kv::{self, Command, Kv, Op};
use crate::mutant::{Bug, Mutant};
use crate::protocol::{Input, Outbox, Outgoing, Protocol, Ticket};
use crate::raft::{self, Body, Effect, Message, Raft, Record, Recovered, Request, Role, SnapshotMeta};
use crate::storage::StorageError;
use crate::types::{Addr, GroupId, NodeId, Rng};
use crate::wire::{self, Packet, RequestBody, ResponseBody};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::mem;
use std::pin::Pin;

/// Packets taken in one turn before the disk and the network get theirs.
const MAX_PACKETS_PER_TURN: usize = 1024;
/// Command bytes after which a packet to a peer is closed and another begun; well below the frame limit.
const PACKET_BYTES: usize = 1 << 20;
/// Messages that wait for the disk; what comes beyond is dropped, as if the network had lost it.
const MAX_HELD: usize = 10_000;
/// Jobs that wait for the disk; beyond it a piece of a snapshot is refused, and the transfer begins again later.
const MAX_JOBS: usize = 64;
/// The one group of this version.
pub const GROUP: GroupId = GroupId(1);

/// How a node is run.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Raft group.
    pub raft: raft::Config,
    /// Log bytes since the last compaction after which a snapshot is taken and the log compacted.
    pub snapshot_log_bytes: usize,
    /// Entries applied since the last snapshot after which another is taken.
    pub snapshot_entries: u64,
    /// Client requests that may be open at a time; beyond it they are refused as busy.
    pub max_open_requests: usize,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl NodeConfig {
    /// The defaults around a Raft configuration: a snapshot every 64 MiB or 100,000 entries, 10,000 open requests.
    #[must_use]
    pub fn new(raft: raft::Config) -> NodeConfig {
        NodeConfig {
            mutant: raft.mutant,
            raft,
            snapshot_log_bytes: 64 << 20,
            snapshot_entries: 100_000,
            max_open_requests: 10_000,
        }
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;

type Running<'a> = Pin<Box<dyn Future<Output = Result<Done, StorageError>> + Send + 'a>>;

/// One node: its core, its state machine, and the world it lives in.
pub struct Driver<T, C, H: StorageHost, O> {
    config: NodeConfig,
    transport: T,
    clock: C,
    observer: O,
    raft: Raft,
    outbox: Outbox<Raft>,
    kv: Kv,
    answers: Answers,
    /// Messages that wait for a ticket, in order.
    held: VecDeque<Outgoing<Message>>,
    durable: Ticket,
    /// Messages that may leave at the end of this turn.
    ready: BTreeMap<NodeId, Vec<(GroupId, Message)>>,
    jobs: VecDeque<Job<H::Disk>>,
    /// The disk was given a batch of the log last: it is the jobs' turn.
    jobs_next: bool,
    snapshotting: bool,
    /// Log bytes left by the last compaction: what is kept for followers that lag does not call for another.
    kept_bytes: usize,
    /// Bytes of commands proposed here that the disk has not been given yet.
    unwritten: usize,
    /// The next batch restates all live state in a fresh segment, so that older ones can go.
    checkpoint_due: bool,
    expiring: bool,
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Runs a node until its disk fails.
    ///
    /// # Errors
    /// The storage error that stopped it.
    pub async fn run(
        config: NodeConfig,
        recovered: Recovered,
        (transport, clock, storage): (T, C, H),
        observer: O,
        rng: Rng,
    ) -> Result<Infallible, StorageError> {
        let kv = load(&storage, recovered.snapshot, config.mutant).await?;
        let raft = Raft::new(config.raft.clone(), recovered, clock.now(), rng);
        let mut driver: Driver<T, C, H, O> = Driver::new(config, (raft, kv), (transport, clock), observer);
        driver.turns(&storage).await
    }

    fn new(config: NodeConfig, (raft, kv): (Raft, Kv), (transport, clock): (T, C), observer: O) -> Self {
        Driver {
            answers: Answers::new(config.max_open_requests),
            config,
            transport,
            clock,
            observer,
            raft,
            outbox: Outbox::default(),
            kv,
            held: VecDeque::new(),
            durable: Ticket::default(),
            ready: BTreeMap::new(),
            jobs: VecDeque::new(),
            jobs_next: false,
            kept_bytes: 0,
            unwritten: 0,
            snapshotting: false,
            checkpoint_due: false,
            expiring: false,
        }
    }

    async fn turns(&mut self, storage: &H) -> Result<Infallible, StorageError> {
        let mut running: Option<Running<'_>> = None;
        let clock = self.clock.clone();
        let mut alarm = Alarm::new(&clock);
        loop {
            self.settle(storage).await?;
            if running.is_none()
                && let Some(job) = self.next_job()
            {
                running = Some(Box::pin(storage.run(job)));
            }
            self.flush();
            self.observer.turn(GROUP, &self.raft, &self.kv);

            alarm.set(self.raft.deadline());
            // `biased`: without it `select!` picks by chance, and no run could be repeated.
            tokio::select! {
                biased;
                done = maybe(&mut running) => {
                    running = None;
                    self.on_done(done?);
                }
                (from, packet) = self.transport.recv() => self.on_packet(from, packet),
                () = alarm.rings() => {} // The tick comes with the turn.
            }
            for _ in 1..MAX_PACKETS_PER_TURN {
                let Some((from, packet)) = self.transport.try_recv() else { break };
                self.on_packet(from, packet);
            }
        }
    }

    fn step(&mut self, input: Input<Raft>) {
        self.raft.step(self.clock.now(), input, &mut self.outbox);
    }

    fn on_packet(&mut self, from: Addr, packet: Packet) {
        match (from, packet) {
            (Addr::Node(peer), Packet::Peer { raft, .. }) => {
                for (_, message) in raft.into_iter().filter(|(group, _)| *group == GROUP) {
                    self.step(Input::Message(peer, message));
                }
            }
            (client, Packet::Request(request)) => self.on_request(client, request),
            // A response, or peer traffic from something that is no peer: not for a server.
            _ => {}
        }
    }

    fn on_request(&mut self, client: Addr, request: wire::Request) {
        let wire::Request { id, body, .. } = request;
        if self.answers.repeated(client, id) {
            return;
        }
        if let RequestBody::Write { session, number, .. } = body
            && self.leads()
            && self.answers.join((session, number), client, id)
        {
            return;
        }
        let Some(ticket) = self.answers.open(client, id) else {
            return self.transport.send(client, refusal(id, wire::Refused::Busy));
        };
        match body {
            // With a stalled disk the group may go on committing without it; what this node has to write must not pile up.
            RequestBody::OpenSession { .. } | RequestBody::Write { .. } if self.writes_pile_up() => {
                self.respond(ticket, ResponseBody::Refused(wire::Refused::Busy));
            }
            RequestBody::Status => {
                let status = self.status();
                self.respond(ticket, ResponseBody::Status(status));
            }
            RequestBody::Get { key } => {
                self.answers.reading(ticket, key);
                self.step(Input::Request(Request::Read { id: ticket }));
            }
            RequestBody::Transfer { to } => self.step(Input::Request(Request::Transfer { id: ticket, to })),
            RequestBody::OpenSession { .. } => self.propose(ticket, None, Op::OpenSession),
            RequestBody::Ap(_) | RequestBody::Why { .. } => {
                self.respond(ticket, ResponseBody::Refused(wire::Refused::OtherMode(false)));
            }
            RequestBody::Write { session, number, write } => {
                let op = Op::from(write);
                if let Err(why) = op.check_limits() {
                    return self.respond(ticket, ResponseBody::Refused(wire::Refused::Invalid(why)));
                }
                self.answers.underway(ticket, (session, number));
                self.propose(ticket, Some((session, number)), op);
            }
        }
    }

    fn propose(&mut self, id: u64, session: Option<(kv::SessionId, u64)>, op: Op) {
        let command = kv::encode(&Command { stamp: self.clock.wall(), session, op });
        self.unwritten += command.len();
        self.step(Input::Request(Request::Propose { id, command }));
    }

    fn respond(&mut self, ticket: u64, body: ResponseBody) {
        if let Some((client, id)) = self.answers.close(ticket) {
            self.transport.send(client, Packet::Response(wire::Response { id, body }));
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Batch(ticket, log_is_long) => {
                self.checkpoint_due |= log_is_long;
                self.durable = ticket;
                self.step(Input::Persisted(ticket));
                while self.held.front().is_some_and(|m| m.after <= Some(ticket)) {
                    let Some(Outgoing { to, message, .. }) = self.held.pop_front() else { break };
                    self.ready.entry(to).or_default().push((GROUP, message));
                }
            }
            Done::SnapshotBlock(meta, snapshot) => self.jobs.push_back(jobs::snapshot_block(meta, snapshot)),
            Done::SnapshotFinished(meta) => {
                self.step(Input::Request(Request::Compact { meta }));
                self.kept_bytes = self.raft.status().log_bytes;
                self.checkpoint_due = true;
                self.snapshotting = false;
            }
            Done::Answer(request) => self.step(Input::Request(request)),
        }
    }

    /// Carries out what the core asked for until it asks for nothing more.
    async fn settle(&mut self, storage: &H) -> Result<(), StorageError> {
        self.expire();
        // What proposals, reads and replies of this turn make the core say, it says once, at this tick.
        if self.raft.deadline().is_some_and(|deadline| deadline <= self.clock.now()) {
            self.step(Input::Tick);
        }
        loop {
            // Both queues are taken and given back, to keep their memory.
            let mut sends = mem::take(&mut self.outbox.sends);
            for outgoing in sends.drain(..) {
                let waits = outgoing.after.is_some_and(|ticket| ticket > self.durable);
                if waits && !self.config.mutant.is(Bug::AckBeforeFsync) {
                    if self.held.len() < MAX_HELD {
                        self.held.push_back(outgoing);
                    }
                } else {
                    self.ready.entry(outgoing.to).or_default().push((GROUP, outgoing.message));
                }
            }
            self.outbox.sends = sends;
            if self.outbox.effects.is_empty() {
                break;
            }
            let mut effects = mem::take(&mut self.outbox.effects);
            for effect in effects.drain(..) {
                self.observer.effect(GROUP, &effect);
                self.carry_out(effect, storage).await?;
            }
            if self.outbox.effects.is_empty() {
                self.outbox.effects = effects;
            }
        }
        self.consider_snapshot();
        Ok(())
    }

    async fn carry_out(&mut self, effect: Effect, storage: &H) -> Result<(), StorageError> {
        match effect {
            Effect::Accepted { id, index, term } => self.answers.accepted(id, index, term),
            Effect::Refused { id, why } => {
                self.expiring &= id != EXPIRE;
                let why = match why {
                    raft::Refusal::NotLeader(leader) => wire::Refused::NotLeader(leader),
                    raft::Refusal::Busy => wire::Refused::Busy,
                    raft::Refusal::NoSuchNode => wire::Refused::Invalid("no such node in this cluster".to_owned()),
                };
                self.respond(id, ResponseBody::Refused(why));
            }
            Effect::TransferStarted { id } => self.respond(id, ResponseBody::TransferStarted),
            Effect::ReadAt { id, index } => {
                self.answers.read_at(id, index);
                self.answer_reads();
            }
            Effect::Commit { first, entries } => {
                for (index, entry) in (first..).zip(entries) {
                    self.apply(index, &entry);
                }
                self.answer_reads();
            }
            Effect::LoadChunk { to, meta, offset } if self.jobs.len() < MAX_JOBS => {
                self.jobs.push_back(jobs::load_chunk(to, meta, offset, self.config.raft.snapshot_chunk));
            }
            Effect::LoadChunk { to, meta, offset } => {
                self.step(Input::Request(Request::ChunkLoaded { to, meta, offset, data: None }));
            }
            Effect::SaveChunk { from, meta, offset, data, last } if self.jobs.len() < MAX_JOBS => {
                self.jobs.push_back(jobs::save_chunk(from, meta, offset, data, last));
            }
            Effect::SaveChunk { from, meta, .. } => {
                self.step(Input::Request(Request::ChunkSaved { from, meta, next: 0, complete: false, ok: false }));
            }
            Effect::Restore { meta } => {
                self.kv = load(storage, meta, self.config.mutant).await?;
                self.answers.forget_through(meta.index);
                self.kept_bytes = self.raft.status().log_bytes;
                self.checkpoint_due = true;
                self.answer_reads();
            }
            Effect::Became(soft) => self.expiring &= soft.role == Role::Leader,
        }
        Ok(())
    }

    fn apply(&mut self, index: u64, entry: &raft::Entry) {
        let reply = self.kv.apply(index, &entry.command);
        while let Some((ticket, displaced)) = self.answers.committed(index, entry.term) {
            self.expiring &= ticket != EXPIRE;
            let body = if displaced {
                ResponseBody::Refused(wire::Refused::Displaced)
            } else {
                match reply {
                    kv::Reply::Session(id) => ResponseBody::Session { id, group: GROUP, groups: 1 },
                    _ => ResponseBody::Reply(reply.clone()),
                }
            };
            self.respond(ticket, body);
        }
    }

    fn answer_reads(&mut self) {
        while let Some((ticket, key)) = self.answers.next_read(self.kv.applied()) {
            let found = self.kv.get(&key);
            self.respond(ticket, ResponseBody::Reply(kv::Reply::Value(found)));
        }
    }

    /// A leader whose date has passed the next deadline proposes the expiry as an entry of the log. It looks once a
    /// turn, and a leader has a turn at least every heartbeat.
    fn expire(&mut self) {
        if self.leads()
            && !self.expiring
            && !self.writes_pile_up()
            && self.kv.next_expiry().is_some_and(|due| due <= self.clock.wall())
        {
            self.expiring = true;
            self.propose(EXPIRE, None, Op::Expire);
        }
    }

    fn writes_pile_up(&self) -> bool {
        self.unwritten > self.config.raft.max_uncommitted_bytes
    }

    fn leads(&self) -> bool {
        self.raft.status().soft.role == Role::Leader
    }

    fn consider_snapshot(&mut self) {
        let status = self.raft.status();
        let behind = self.kv.applied().saturating_sub(status.snapshot.index);
        let due = behind >= self.config.snapshot_entries
            || (behind > 0 && status.log_bytes >= self.kept_bytes.saturating_add(self.config.snapshot_log_bytes));
        if !due || self.snapshotting {
            return;
        }
        let index = self.kv.applied();
        let Some(term) = self.raft.term_at(index) else { return };
        self.snapshotting = true;
        self.jobs.push_back(jobs::begin_snapshot(SnapshotMeta { index, term }, self.kv.snapshot()));
    }

    /// What the disk should do next: in turn a batch of the log and one of the other jobs, so that under a load that
    /// never lets up neither waits for ever.
    fn next_job(&mut self) -> Option<Job<H::Disk>> {
        if mem::take(&mut self.jobs_next)
            && let Some(job) = self.jobs.pop_front()
        {
            return Some(job);
        }
        let Some((ticket, records)) = self.outbox.take_records() else { return self.jobs.pop_front() };
        self.jobs_next = true;
        self.unwritten = 0;
        self.observer.persisting(GROUP, &records);
        let checkpoint = mem::take(&mut self.checkpoint_due);
        let records = if checkpoint { self.raft.state_records() } else { records };
        let snapshot = self.raft.status().snapshot;
        Some(Box::new(move |store| {
            let records: Vec<(GroupId, Record)> = records.into_iter().map(|record| (GROUP, record)).collect();
            if checkpoint {
                store.checkpoint(&records)?;
                store.snapshot_retain(GROUP, snapshot)?;
            } else {
                store.append(&records)?;
            }
            Ok(Done::Batch(ticket, store.wants_checkpoint()))
        }))
    }

    fn flush(&mut self) {
        for (&peer, messages) in &mut self.ready {
            while !messages.is_empty() {
                let rest = messages.split_off(packet_end(messages));
                let packet = mem::replace(messages, rest);
                packet.iter().for_each(|(group, message)| self.observer.sending(peer, *group, message));
                self.transport.send(Addr::Node(peer), Packet::Peer { raft: packet, ap: Vec::new() });
            }
        }
    }

    fn status(&self) -> wire::NodeStatus {
        wire::NodeStatus {
            node: self.config.raft.id,
            voters: self.config.raft.voters.clone(),
            raft: self.raft.status(),
            applied: self.kv.applied(),
            keys: self.kv.len(),
            sessions: self.kv.sessions(),
            bad_frames: self.transport.bad_frames(),
        }
    }
}

/// The request id of the leader's own expiry proposals; clients' requests get others.
const EXPIRE: u64 = 0;

fn refusal(id: u64, why: wire::Refused) -> Packet {
    Packet::Response(wire::Response { id, body: ResponseBody::Refused(why) })
}

/// How many of `messages` go into one packet.
fn packet_end(messages: &[(GroupId, Message)]) -> usize {
    let mut bytes = 0;
    let closes = |(_, message): &(GroupId, Message)| {
        bytes += payload_bytes(message);
        bytes > PACKET_BYTES
    };
    messages.iter().position(closes).map_or(messages.len(), |last| last + 1)
}

fn payload_bytes(message: &Message) -> usize {
    match &message.body {
        Body::Append { entries, .. } => entries.iter().map(|entry| entry.command.len() + 32).sum(),
        Body::Snapshot { data, .. } => data.len(),
        _ => 64,
    }
}

/// The running job, or for ever if there is none.
async fn maybe(running: &mut Option<Running<'_>>) -> Result<Done, StorageError> {
    match running {
        Some(job) => job.await,
        None => pending().await,
    }
}
