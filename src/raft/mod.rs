//! Raft: the replicated log, as a pure state machine ([`Protocol`]) for one group with fixed members.
//!
//! Follows the extended version of "In Search of an Understandable Consensus Algorithm" (cited as §n) and Ongaro's
//! dissertation "Consensus: Bridging Theory and Practice" (cited as "thesis §n"). Read in this order: `message` (the
//! types), this file (dispatch and the rules on terms), `log`, `follower`, `candidate`, `leader` with `progress`, then
//! `read_index`, `transfer`, `quiesce`, `snapshot`, and `recovery`.
//!
//! # Durability
//! Every message depends on what the node has recorded so far, so it waits until the latest record is durable
//! ([`Outbox::send_after`]). There are two exceptions. A follower whose disk is busy answers a heartbeat at once with
//! what is durable so far. And a leader's own messages do not wait: its term was durable before the node asked for the
//! votes that elected it. The leader's new entries may be sent while its own disk still writes them
//! (thesis §10.2.1): the leader counts itself as a holder of an entry only up to what [`Input::Persisted`] has
//! confirmed. Likewise, a candidate counts its own vote only once the vote is durable. So a group of one is no special
//! case.
//!
//! A node applies committed entries whether or not they are durable locally: a majority elsewhere holds them, and after
//! a crash this node restarts from its snapshot.
//!
//! # Effect of a turn
//! Proposals, reads and replies change only the leader's state. The resulting messages and records are produced once,
//! at the next [`Input::Tick`]; [`Protocol::deadline`] asks for that tick immediately. A driver that steps all inputs
//! that have arrived and then ticks gets one `Append` per follower and one record per turn, however many proposals
//! there were.
//!
//! # Invariants
//! Checked after every step, in release builds too: the term never decreases, the vote changes only with the term, the
//! commit index never decreases and never exceeds the log, committed entries are never replaced, a leader never
//! replaces its own entries, terms never decrease along the log. A peer cannot break these invariants: every message is
//! validated first, and an invalid one is ignored.
//!
//! # What it does not do
//! - Membership changes.
//! - Forwarding of proposals: only a leader accepts them.
//! - Telling followers of a new commit index at once: they learn it with the next entries or heartbeat. Only leaders
//!   answer clients, so this is enough.

mod candidate;
mod follower;
mod leader;
mod log;
mod message;
mod progress;
mod quiesce;
mod quorum;
mod read_index;
mod recovery;
mod snapshot;
#[cfg(test)]
mod tests;
mod transfer;

pub use message::*;
pub use quorum::Quorum;
pub use recovery::BadRecord;

use crate::mutant::Bug;
use crate::protocol::{Input, Outbox, Protocol, Ticket};
use crate::types::{NodeId, Rng, Time};
use candidate::Votes;
use follower::{Append, Early};
use leader::Leader;
use log::Log;
use snapshot::Receiving;
use std::collections::VecDeque;

/// One member of a group.
#[derive(Debug)]
pub struct Raft {
    config: Config,
    quorum: Quorum,
    rng: Rng,
    now: Time,
    term: Term,
    vote: Option<NodeId>,
    /// The term or vote changed since the last record of them.
    hard_state_changed: bool,
    leader: Option<NodeId>,
    state: State,
    /// This node campaigns, or was elected, because the leader transferred leadership to it.
    handed_over: bool,
    log: Log,
    /// The latest ticket that is not durable yet.
    undurable: Option<Ticket>,
    /// The latest ticket of a term or vote that is not durable yet.
    hard_state: Option<Ticket>,
    /// When to start an election unless the timer is reset before. `None` on a quiesced follower (see `quiesce`).
    election_at: Option<Time>,
    /// Candidates are ignored until this time: leader stickiness (thesis §4.2.3, §6.4.1).
    sticky_until: Time,
    receiving: Option<Receiving>,
    early: Early,
    /// The state in the last `Effect::Became`.
    told: SoftState,
}

/// The role of a node, with the state that only this role needs.
#[derive(Debug)]
enum State {
    Follower,
    PreCandidate(Votes),
    /// With the ticket of its own vote.
    Candidate(Votes, Ticket),
    Leader(Box<Leader>),
}

/// Upper bound of valid terms, indexes, offsets and rounds. Below it no sum can overflow.
const LIMIT: u64 = 1 << 62;
/// Upper bound of a message's own term. It is above [`LIMIT`] because an earlier release let a forged message raise a
/// group's term to [`LIMIT`]; such a group must be able to continue.
const TERM_LIMIT: Term = 1 << 63;

impl Raft {
    /// Creates a node that finds `recovered` on its disk at time `now`. It starts as a follower with the snapshot's
    /// index committed: the node restores its state machine from that snapshot, and `Effect::Commit` delivers the
    /// entries after the snapshot again.
    ///
    /// With leases enabled, the node ignores candidates for one election timeout. It cannot know whether it confirmed a
    /// leader just before it stopped, and that leader may rely on its stickiness (thesis §6.4.1).
    ///
    /// # Panics
    /// If [`Config::validate`] refuses `config`, or `recovered` was not produced by a node's own records.
    #[must_use]
    pub fn new(mut config: Config, recovered: Recovered, now: Time, rng: Rng) -> Raft {
        config.voters.sort_unstable();
        config.voters.dedup();
        let quorum = Quorum::simple(config.voters.clone());
        let bad = config.validate().err();
        assert!(bad.is_none(), "a group cannot be run so: {bad:?}");
        let (term, vote) = (recovered.term, recovered.vote);
        let log = Log::new(recovered);
        assert!(log.last_term() <= term, "the log is of a later term than the recovered one");
        let sticky_until = if config.lease_ppm.is_some() { now + config.election_timeout } else { now };
        let mut raft = Raft {
            config,
            quorum,
            rng,
            now,
            term,
            vote,
            hard_state_changed: false,
            leader: None,
            state: State::Follower,
            handed_over: false,
            log,
            undurable: None,
            hard_state: None,
            election_at: None,
            sticky_until,
            receiving: None,
            early: Early::default(),
            told: SoftState { role: Role::Follower, term, leader: None },
        };
        raft.restart_election_timer();
        raft
    }

    /// The group's configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the node's current status, for callers outside the group.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            soft: self.soft_state(),
            vote: self.vote,
            commit: self.log.commit(),
            last: self.log.last(),
            durable: self.log.durable(),
            snapshot: self.log.snapshot(),
            first: self.log.first(),
            log_bytes: self.log.bytes(),
        }
    }

    /// Returns the term of the entry at `index`, if known.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Returns the entries from `from` on, or from `Status::first` if that is later.
    pub fn entries(&self, from: Index) -> impl Iterator<Item = &Entry> {
        self.log.iter_from(from)
    }

    fn soft_state(&self) -> SoftState {
        let role = match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(..) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        };
        SoftState { role, term: self.term, leader: self.leader }
    }

    /// The voters, and how they decide.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    fn peers(&self) -> impl Iterator<Item = NodeId> {
        let me = self.config.id;
        self.quorum.voters().filter(move |&id| id != me)
    }

    /// Whether to ignore candidates (leader stickiness, thesis §4.2.3). A leader is always sticky: if it had lost the
    /// majority of its followers, it would have stepped down.
    fn is_sticky(&self) -> bool {
        matches!(self.state, State::Leader(_)) || self.now < self.sticky_until
    }

    /// Restarts the election timer with a random timeout of one to two election timeouts, so that candidates seldom
    /// collide (§5.2).
    fn restart_election_timer(&mut self) {
        let timeout = self.config.election_timeout;
        let more = self.rng.below(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        self.election_at = Some(self.now + timeout + std::time::Duration::from_nanos(more));
    }

    /// Persists `record`, after any pending change of term or vote, so that no crash leaves a log ahead of its node's
    /// term.
    fn persist(&mut self, record: Record, out: &mut Outbox<Raft>) {
        self.record_hard_state(out);
        let ticket = out.persist(record);
        self.undurable = Some(ticket);
        self.log.await_ticket(ticket);
    }

    /// Records the term and vote if they changed (§5.1, figure 2: before any reply).
    fn record_hard_state(&mut self, out: &mut Outbox<Raft>) {
        if std::mem::take(&mut self.hard_state_changed) {
            let vote = self.vote.filter(|_| !self.config.mutant.is(Bug::VoteTwice));
            self.persist(Record::HardState { term: self.term, vote }, out);
            self.hard_state = self.undurable;
        }
    }

    /// Sends `body` once everything recorded so far is durable.
    fn say(&mut self, to: NodeId, term: Term, body: Body, out: &mut Outbox<Raft>) {
        self.record_hard_state(out);
        out.send_after(self.undurable, to, Message { term, body });
    }

    /// Handles a message from a peer: first the rules on terms (§5.1), then the body.
    fn receive(&mut self, from: NodeId, message: Message, out: &mut Outbox<Raft>) {
        let member = from != self.config.id && self.quorum.contains(from);
        let absurd = message.term > self.term.saturating_add(self.config.max_term_jump);
        let absurd = absurd && !self.config.mutant.is(Bug::AbsurdTermAccepted);
        if !member || !message.is_sane() || absurd || matches!(message.body, Body::Digest { .. }) {
            return;
        }
        let Message { term, body } = message;
        let awakened = self.wake_for_message(from, &body, out);
        if matches!(body, Body::Vote { transfer: false, .. }) && self.is_sticky() {
            return;
        }
        if awakened && matches!(body, Body::Vote { pre: true, .. }) {
            return;
        }
        let counts = body.is_answer() && self.config.mutant.is(Bug::StaleAnswersCount);
        if term < self.term && !counts {
            return self.refuse_old_term(from, &body, out);
        }
        let term = if counts { term.max(self.term) } else { term };
        if term > self.term {
            match &body {
                // A pre-vote refers to a term that no node is in yet (thesis §9.6).
                Body::Vote { pre: true, .. } | Body::VoteReply { pre: true, granted: true } => {}
                Body::Append { .. } | Body::Quiesce { .. } | Body::Snapshot { .. } => {
                    self.become_follower(term, Some(from), out);
                }
                _ => self.become_follower(term, None, out),
            }
        }
        match body {
            Body::Vote { pre, last_index, last_term, .. } => self.on_vote(from, term, pre, last_index, last_term, out),
            Body::VoteReply { pre, granted } => self.on_vote_reply(from, term, pre, granted, out),
            Body::Append { prev_index, prev_term, entries, commit, round } => {
                let append = Append { prev_index, prev_term, entries, commit };
                if self.follow(from, out) && !self.is_contradicted(from, &append, out) {
                    let beats = append.entries.is_empty();
                    let result = self.on_append(append, out);
                    if !beats || !self.answer_at_once(from, result, round, out) {
                        self.say(from, self.term, Body::AppendReply { result, round }, out);
                    }
                }
            }
            Body::AppendReply { result, round } => self.on_append_reply(from, result, round, out),
            Body::Snapshot { meta, offset, data, last, round } => {
                if self.follow(from, out) {
                    self.on_snapshot(from, (meta, offset, round), data, last, out);
                }
            }
            Body::SnapshotReply { meta, next, installed, round } => {
                self.on_snapshot_reply(from, meta, next, installed, round, out);
            }
            Body::TimeoutNow => self.on_timeout_now(from, out),
            Body::Quiesce { last, round } => {
                if self.follow(from, out) {
                    let result = self.on_quiesce(last, out);
                    self.say(from, self.term, Body::AppendReply { result, round }, out);
                }
            }
            Body::Digest { .. } => {}
        }
    }

    /// Tells a leader or candidate of an older term the current term, so that it steps down (§5.1). The reply to a
    /// leader matters although that leader is outdated. A node can get ahead of its group's term while pre-vote and
    /// stickiness prevent its own election; it rejoins only once the leader learns of that term.
    fn refuse_old_term(&mut self, from: NodeId, body: &Body, out: &mut Outbox<Raft>) {
        let body = match *body {
            Body::Vote { pre, .. } => Body::VoteReply { pre, granted: false },
            Body::Append { prev_index: rejected, round, .. } | Body::Quiesce { last: rejected, round, .. } => {
                let result = AppendResult::Conflict { rejected, hint: 0, hint_term: 0 };
                Body::AppendReply { result, round }
            }
            Body::Snapshot { meta, round, .. } => Body::SnapshotReply { meta, next: 0, installed: false, round },
            _ => return,
        };
        self.say(from, self.term, body, out);
    }

    fn request(&mut self, request: Request, out: &mut Outbox<Raft>) {
        self.wake_for_request(&request, out);
        match request {
            Request::Propose { id, command } => self.propose(id, command, out),
            Request::Read { id } => self.read(id, out),
            Request::Transfer { id, to } => self.transfer(id, to, out),
            Request::Compact { meta } => self.compact(meta, out),
            Request::ChunkLoaded { to, meta, offset, loaded } => self.on_chunk_loaded(to, meta, offset, loaded, out),
            Request::ChunkSaved { from, meta, saved } => self.on_chunk_saved(from, meta, saved, out),
            Request::Wake => {}
        }
    }

    fn persisted(&mut self, ticket: Ticket, out: &mut Outbox<Raft>) {
        self.undurable = self.undurable.filter(|&t| t > ticket);
        self.hard_state = self.hard_state.filter(|&t| t > ticket);
        self.log.persisted(ticket);
        match &self.state {
            State::Candidate(_, own) if *own <= ticket => self.count_vote(self.config.id, out),
            State::Leader(_) => self.advance_commit(out),
            _ => {}
        }
    }

    fn tick(&mut self, out: &mut Outbox<Raft>) {
        match self.state {
            State::Leader(_) => self.lead(out),
            _ if self.election_at.is_some_and(|at| self.now >= at) => self.stand(out),
            _ => {}
        }
    }
}

impl Protocol for Raft {
    type Message = Message;
    type Record = Record;
    type Request = Request;
    type Effect = Effect;

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>) {
        self.now = self.now.max(now);
        let (term, vote, commit) = (self.term, self.vote, self.log.commit());
        match input {
            Input::Tick => self.tick(out),
            Input::Message(from, message) => self.receive(from, message, out),
            Input::Request(request) => self.request(request, out),
            Input::Persisted(ticket) => self.persisted(ticket, out),
        }
        self.record_hard_state(out);
        let soft = self.soft_state();
        if soft != self.told {
            self.told = soft;
            out.effect(Effect::Became(soft));
        }
        assert!(self.term >= term, "the term went back");
        assert!(self.term > term || vote.is_none() || self.vote == vote, "the vote changed within a term");
        assert!(self.log.commit() >= commit, "the commit index went back");
        assert!(self.log.last_term() <= self.term, "the log is of a later term than the node");
        self.log.check();
    }

    fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Leader(leader) => leader.deadline(self.now),
            _ => self.election_at,
        }
    }
}

/// Removes and returns the first item if `goes` holds for it.
fn pop_front_if<T>(queue: &mut VecDeque<T>, goes: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(goes) { queue.pop_front() } else { None }
}

impl Message {
    /// Whether a correct member could have sent this: numbers are in range, and terms do not decrease along the log and
    /// do not exceed the sender's.
    fn is_sane(&self) -> bool {
        let small = |numbers: &[u64]| numbers.iter().all(|&n| n <= LIMIT);
        let possible = match &self.body {
            Body::Vote { last_index, last_term, .. } => small(&[*last_index]) && *last_term < self.term,
            Body::VoteReply { .. } | Body::TimeoutNow | Body::Digest { .. } => true,
            Body::Append { prev_index, prev_term, entries, .. } => {
                let mut term = *prev_term;
                small(&[*prev_index])
                    && (*prev_index == 0) == (*prev_term == 0)
                    && entries.iter().all(|e| e.term > 0 && e.term >= std::mem::replace(&mut term, e.term))
                    && term <= self.term
            }
            Body::AppendReply { result: AppendResult::Matched(index), .. } => small(&[*index]),
            Body::AppendReply { result: AppendResult::Conflict { rejected, hint, .. }, .. } => {
                small(&[*rejected, *hint])
            }
            Body::Snapshot { meta, offset, data, last, .. } => {
                small(&[meta.index, *offset])
                    && meta.index > 0
                    && meta.term > 0
                    && meta.term <= self.term
                    && (*last || !data.is_empty())
            }
            Body::SnapshotReply { meta, next, .. } => small(&[meta.index, *next]),
            Body::Quiesce { last, .. } => small(&[*last]) && *last > 0,
        };
        possible && self.term > 0 && self.term <= TERM_LIMIT
    }
}
