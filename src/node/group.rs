//! One Raft group within its node: its core, its state machine, and its pending requests.
//!
//! Invariant: **a retry does not create a log entry.** While a write is in progress here, a retry of it takes over its
//! response: clients that retry against a slow group must not make it slower.
//!
//! # The group's time
//! Deadlines are points in [`GroupTime`], which commands carry. A leader counts group time on its monotonic clock,
//! starting from the time in the last entry that it applied before its election, and from the moment when it applied
//! that entry. The wall clock plays no part. Two spans are lost: the time between the last time that its predecessor
//! wrote and the moment when this node applied it, and the time in which no member runs. This makes keys expire later,
//! never earlier. While keys expire, the leader writes its time at least every [`TELL`].
//!
//! Caveat: restoring the state machine from a received snapshot blocks the node until it is done.

use super::Observer;
use super::digests::{Digests, Found};
use super::host::Host;
use super::jobs::{Blocks, Job};
use super::pending::Waiting;
use super::sessions::session_name;
use super::turn::{Now, TurnContext};
use crate::identity::Contradiction;
use crate::kv::{self, Command, GroupTime, Kv, Op, SessionId};
use crate::mutant::{Bug, Mutant};
use crate::protocol::{Input, Protocol, Ticket};
use crate::raft::{
    self, Body, Effect, Index, Loaded, Message, Raft, Record, Request, Role, Saved, SnapshotMeta, Status, Term,
};
use crate::types::{Bytes, GroupId, Key, NodeId, Time};
use crate::wire::{self, ResponseBody, raft_bytes};
use std::collections::VecDeque;
use std::time::Duration;
use tracing::{debug, error};

/// The request id of a leader's own expiry proposals. Client requests have other ids.
const EXPIRE: u64 = 0;
/// The request id of the node's own requests, for which it expects no answer.
const UNASKED: u64 = u64::MAX;
/// Minimum and maximum pause until an idle leader checks again for keys that expire.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// How often a leader writes the group's time while keys expire, if no other entry does.
const TELL: Duration = Duration::from_secs(5);

/// What a group leaves to the driver.
pub(super) enum Halt {
    /// The state must be restored from this snapshot.
    Restore(SnapshotMeta),
    /// The node must stop.
    Contradicted(Contradiction),
}

/// A Raft group of this node.
pub(super) struct Group {
    pub(super) id: GroupId,
    pub(super) host: Host<Raft>,
    /// Effects not carried out yet.
    effects: VecDeque<Effect>,
    pub(super) kv: Kv,
    waiting: Waiting,
    /// Log bytes left by the last compaction. Entries kept for lagging followers must not trigger another.
    kept_bytes: usize,
    /// Whether its snapshot is being written or waits to be written.
    pub(super) snapshotting: bool,
    expiring: bool,
    /// A point in the group's time, and the local time when it was reached. This node counts on from there.
    counted: (GroupTime, Time),
    digests: Digests,
    /// The index at which this node's state was found to differ from most members' state. It no longer takes part.
    stopped: Option<Index>,
    /// The deadline that the driver has noted.
    pub(super) noted: Option<Time>,
    /// When its leadership was last transferred to the leader that the layout prefers.
    pub(super) handed_over: Option<Time>,
    /// When this node was last told to take over, and in which term.
    taken_over: Option<(Time, Term)>,
}

impl Group {
    pub(super) fn new(id: GroupId, raft: Raft, kv: Kv, now: Time) -> Group {
        Group {
            id,
            counted: (kv.time(), now),
            digests: Digests::default(),
            stopped: None,
            host: Host::new(raft),
            effects: VecDeque::new(),
            kv,
            waiting: Waiting::default(),
            kept_bytes: 0,
            snapshotting: false,
            expiring: false,
            noted: None,
            handed_over: None,
            taken_over: None,
        }
    }

    pub(super) fn step(&mut self, input: Input<Raft>, at: Now) {
        if self.stopped.is_some() {
            return;
        }
        if let Input::Message(_, Message { term, body: Body::TimeoutNow }) = &input {
            self.taken_over = Some((at.time, *term));
        }
        self.host.step(input, at.time);
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.host.core
    }

    pub(super) fn status(&self) -> Status {
        self.raft().status()
    }

    pub(super) fn leads(&self) -> bool {
        self.stopped.is_none() && self.status().soft.role == Role::Leader
    }

    /// Returns whether this node serves the group.
    pub(super) fn serves(&self) -> bool {
        self.stopped.is_none()
    }

    /// Returns what a comparison of the members' states has found.
    pub(super) fn divergence(&self) -> Option<wire::Divergence> {
        let Found { index, minority } = self.digests.found.as_ref()?;
        Some(wire::Divergence { group: self.id, index: *index, minority: minority.clone() })
    }

    /// Returns the group's time as this node counts it.
    fn time(&self, at: Now, mutant: Mutant) -> GroupTime {
        if mutant.is(Bug::ExpireOnWallClock) {
            let ahead = at.wall.0.saturating_sub(self.kv.last_stamp().0);
            return GroupTime(self.kv.time().0.saturating_add(ahead));
        }
        let (time, since) = self.counted;
        GroupTime(time.0.saturating_add(at.time.since(since).as_nanos() as u64))
    }

    /// Handles the time in an applied entry. A follower counts on from it. A leader does so only if that time is ahead
    /// of its own count.
    fn hear_time(&mut self, before: GroupTime, at: Now, mutant: Mutant) {
        let time = self.kv.time();
        if time > before && (!self.leads() || time > self.time(at, mutant)) {
            self.counted = (time, at.time);
        }
    }

    /// If this node leads because it was told to take over, returns when it was told.
    pub(super) fn given_at(&self) -> Option<Time> {
        let term = self.status().soft.term;
        self.taken_over.filter(|(_, of)| self.leads() && *of + 1 == term).map(|(time, _)| time)
    }

    /// Returns when the group needs a turn. In a quiescent group keys still expire.
    pub(super) fn deadline(&self, at: Now, mutant: Mutant) -> Option<Time> {
        if self.stopped.is_some() {
            return None;
        }
        self.raft().deadline().or_else(|| {
            let due = self.kv.next_expiry().filter(|_| self.leads())?;
            let left = Duration::from_nanos(due.0.saturating_sub(self.time(at, mutant).0));
            Some(at.time + left.clamp(LOOK.0, LOOK.1))
        })
    }

    pub(super) fn read(&mut self, ticket: u64, key: Key, at: Now) {
        self.waiting.reading(ticket, key);
        self.step(Input::Request(Request::Read { id: ticket }), at);
    }

    pub(super) fn propose(
        &mut self,
        id: u64,
        session: Option<(SessionId, u64)>,
        op: Op,
        at: Now,
        turn: &mut TurnContext,
    ) {
        let time = self.time(at, turn.config.mutant);
        let command = kv::encode(&Command { stamp: at.wall, time, session, op });
        turn.records.add(command.len());
        self.step(Input::Request(Request::Propose { id, command }), at);
    }

    /// Transfers leadership, for a client or on the node's own initiative.
    pub(super) fn transfer(&mut self, ticket: Option<u64>, to: NodeId, at: Now) {
        self.step(Input::Request(Request::Transfer { id: ticket.unwrap_or(UNASKED), to }), at);
    }

    /// Handles the completion of a batch that contains records of this group.
    pub(super) fn persisted(&mut self, ticket: Ticket, at: Now, turn: &mut TurnContext) {
        self.step(Input::Persisted(ticket), at);
        let (outbound, held, id) = (&mut turn.outbound, &mut turn.held, self.id);
        self.host.durable(ticket, held, |(to, lane, message)| outbound.raft((to, lane), id, message));
    }

    /// Does what is due by now: proposes expiries and ticks the core.
    pub(super) fn tick(&mut self, at: Now, turn: &mut TurnContext) {
        self.expire(at, turn);
        // What proposals, reads and replies of this turn make the core say, it says once, at this tick.
        if self.host.is_due(at.time) {
            self.step(Input::Tick, at);
        }
    }

    /// Carries out the core's effects until there are none left, or until one is left to the driver. If the state must
    /// be restored from a snapshot, the driver must call [`Group::restored`] and then this again.
    pub(super) fn settle(&mut self, at: Now, turn: &mut TurnContext, observer: &mut impl Observer) -> Option<Halt> {
        let early = turn.config.mutant.is(Bug::AckBeforeFsync);
        loop {
            if let Some(effect) = self.effects.pop_front() {
                observer.effect(self.id, &effect);
                match effect {
                    Effect::Restore { meta } => return Some(Halt::Restore(meta)),
                    Effect::Contradicted { from, index, committed, sent } => {
                        let group = self.id;
                        return Some(Halt::Contradicted(Contradiction { group, from, index, committed, sent }));
                    }
                    _ => {}
                }
                self.carry_out(effect, at, turn);
                continue;
            }
            let (outbound, held, id) = (&mut turn.outbound, &mut turn.held, self.id);
            self.host.send(early, raft_bytes, held, |(to, lane, message)| outbound.raft((to, lane), id, message));
            if self.host.outbox.effects.is_empty() {
                return None;
            }
            self.effects.extend(self.host.outbox.effects.drain(..));
        }
    }

    fn carry_out(&mut self, effect: Effect, at: Now, turn: &mut TurnContext) {
        match effect {
            Effect::Accepted { id, index, term } => self.waiting.accepted(id, index, term),
            Effect::Refused { id, why } => {
                self.expiring &= id != EXPIRE;
                self.waiting.refused(id);
                let why = match why {
                    raft::Refusal::NotLeader(leader) => wire::Refused::NotLeader(leader),
                    raft::Refusal::Busy => wire::Refused::Busy { retry_ms: 0 },
                    raft::Refusal::NoSuchNode => wire::Refused::Invalid("no such node in this cluster".to_owned()),
                };
                turn.refuse(id, why);
            }
            Effect::TransferStarted { id } => turn.respond(id, ResponseBody::TransferStarted),
            Effect::ReadAt { id, index } => {
                self.waiting.read_at(id, index);
                self.answer_reads(turn);
            }
            Effect::Commit { first, entries } => {
                for (index, entry) in (first..).zip(entries) {
                    self.apply(index, &entry, at, turn);
                }
                self.answer_reads(turn);
            }
            Effect::LoadChunk { to, meta, offset } if turn.takes_job(0) => {
                let max = turn.config.raft.snapshot_chunk;
                turn.jobs.push_back(Job::LoadChunk { group: self.id, to, meta, offset, max });
            }
            Effect::LoadChunk { to, meta, offset } => {
                self.step(Input::Request(Request::ChunkLoaded { to, meta, offset, loaded: Loaded::Busy }), at);
            }
            Effect::SaveChunk { from, meta, offset, data, last }
                if turn.takes_arrival(self.id, data.len(), at.time) =>
            {
                turn.jobs.push_back(Job::SaveChunk { group: self.id, from, meta, offset, data, last });
            }
            Effect::SaveChunk { from, meta, .. } => {
                self.step(Input::Request(Request::ChunkSaved { from, meta, saved: Saved::Busy }), at);
            }
            Effect::NotCompacted { meta } => {
                debug!(group = self.id.0, index = meta.index, "the log has passed this snapshot: it is of no use");
            }
            // `settle` gives these to the driver.
            Effect::Restore { .. } | Effect::Contradicted { .. } => {}
            Effect::Became(soft) => self.expiring &= soft.role == Role::Leader,
        }
    }

    /// Replaces the state machine by the contents of the snapshot at `meta`.
    pub(super) fn restored(&mut self, meta: SnapshotMeta, kv: Kv, now: Time, turn: &mut TurnContext) {
        self.kv = kv;
        self.counted = (self.kv.time(), now);
        for ticket in self.waiting.forget_through(meta.index) {
            turn.pending.close(ticket);
        }
        self.kept_bytes = self.status().log_bytes;
        self.answer_reads(turn);
    }

    fn apply(&mut self, index: u64, entry: &raft::Entry, at: Now, turn: &mut TurnContext) {
        let mutant = turn.config.mutant;
        let before = self.kv.time();
        let last = self.raft().config().voters.last() == Some(&self.raft().config().id);
        let differs = mutant.is(Bug::ApplyDiffers) && last && index.is_multiple_of(50);
        let command = if differs { Bytes::new() } else { entry.command.clone() };
        let reply = self.kv.apply(index, &command);
        self.hear_time(before, at, mutant);
        if index.is_multiple_of(turn.config.digest_entries) {
            self.tell_digest(index, turn);
        }
        while let Some((ticket, displaced)) = self.waiting.committed(index, entry.term) {
            self.expiring &= ticket != EXPIRE;
            let groups = turn.config.layout.groups;
            let body = match reply {
                _ if displaced => ResponseBody::Refused(wire::Refused::Displaced),
                kv::Reply::Session(id) => {
                    ResponseBody::Session { id: session_name(id, self.id, groups), group: self.id, groups }
                }
                _ => ResponseBody::Reply(reply.clone()),
            };
            turn.respond(ticket, body);
        }
    }

    /// Sends the digest of the state at `index`, which was just applied, to the other members.
    fn tell_digest(&mut self, index: Index, turn: &mut TurnContext) {
        let digest = self.kv.digest();
        let (me, term) = (self.raft().config().id, self.status().soft.term);
        for to in self.raft().quorum().voters().filter(|voter| *voter != me) {
            turn.outbound.raft((to, None), self.id, Message { term, body: Body::Digest { index, digest } });
        }
        self.hear_digest(me, (index, digest), turn);
    }

    /// Handles a member's digest of its state at an index.
    pub(super) fn hear_digest(&mut self, from: NodeId, told: (Index, u64), turn: &mut TurnContext) {
        let members = self.host.core.quorum();
        let unchecked = turn.config.mutant.is(Bug::DigestUnchecked);
        if self.stopped.is_some() || !members.contains(from) || unchecked {
            return;
        }
        let (me, group) = (self.raft().config().id, self.id.0);
        let Some(Found { index, minority }) = self.digests.tell(from, told, members) else { return };
        if !minority.contains(&me) {
            error!(group, index, ?minority, "ALARM: replicas differ; without a minority, no state is that of most");
            return;
        }
        error!(group, index, "ALARM: this node's state differs from that of most members: it stops serving the group");
        self.stopped = Some(*index);
        for ticket in self.waiting.forget_all() {
            turn.pending.close(ticket);
        }
    }

    fn answer_reads(&mut self, turn: &mut TurnContext) {
        while let Some((ticket, key)) = self.waiting.next_read(self.kv.applied()) {
            turn.respond(ticket, ResponseBody::Reply(kv::Reply::Value(self.kv.get(&key))));
        }
    }

    /// Proposes an expiry entry if this node leads and a key is due at the group's time. A leader checks at each of its
    /// turns: at least once per heartbeat or, while it is quiescent, when a key expires. The same entry writes the
    /// group's time when no other entry has done so for `TELL`.
    fn expire(&mut self, at: Now, turn: &mut TurnContext) {
        if !self.leads() || self.expiring || turn.writes_pile_up() {
            return;
        }
        let time = self.time(at, turn.config.mutant);
        let untold = time.0.saturating_sub(self.kv.time().0);
        if self.kv.next_expiry().is_some_and(|due| due <= time || untold >= TELL.as_nanos() as u64) {
            self.expiring = true;
            self.propose(EXPIRE, None, Op::Expire, at, turn);
        }
    }

    pub(super) fn has_records(&self) -> bool {
        self.host.outbox.has_records()
    }

    pub(super) fn take_records(&mut self) -> Option<(Ticket, Vec<Record>)> {
        self.host.take_records()
    }

    /// Returns whether a new snapshot is due: after `entries` entries, or `log_bytes` bytes of log.
    pub(super) fn wants_snapshot(&self, entries: u64, log_bytes: usize) -> bool {
        let status = self.status();
        let behind = self.kv.applied().saturating_sub(status.snapshot.index);
        let due = behind >= entries || (behind > 0 && status.log_bytes >= self.kept_bytes.saturating_add(log_bytes));
        due && self.serves() && !self.snapshotting && self.raft().term_at(self.kv.applied()).is_some()
    }

    /// Returns the present state, to be written out.
    pub(super) fn snapshot(&self) -> Option<(SnapshotMeta, Blocks)> {
        let index = self.kv.applied();
        let term = self.raft().term_at(index)?;
        Some((SnapshotMeta { index, term }, Blocks::Kv(self.kv.snapshot())))
    }

    /// Handles the completion of a snapshot: the one at `meta` is durable under its name.
    pub(super) fn snapshot_finished(&mut self, meta: SnapshotMeta, at: Now) {
        self.step(Input::Request(Request::Compact { meta }), at);
        self.kept_bytes = self.status().log_bytes;
        self.snapshotting = false;
    }
}
