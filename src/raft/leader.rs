//! Leaders (§5.3, §5.4.2, §8): they append, replicate and commit, and step down without a majority (thesis §6.2).

use super::progress::{Phase, Progress};
use super::read_index::Rounds;
use super::transfer::Transfer;
use super::{AppendResult, Body, Effect, Entry, Index, Message, Quorum, Raft, Record, Refusal, RequestId, State};
use crate::mutant::Bug;
use crate::protocol::Outbox;
use crate::types::{Bytes, Lane, NodeId, Time};

/// State that only a leader has.
#[derive(Debug)]
pub(super) struct Leader {
    pub followers: Vec<Progress>,
    pub rounds: Rounds,
    pub transfer: Option<Transfer>,
    /// When to send the next heartbeat.
    pub heartbeat_at: Time,
    /// Something must be recorded or sent at the next tick.
    pub busy: bool,
    /// Leadership was transferred to this node. The previous leader still owes its clients answers for uncommitted
    /// entries, so all members must learn of the first commit at once.
    pub announce: bool,
    /// The round of the first `Quiesce`, if nothing else was sent since (see `quiesce`).
    pub quiescing_since: Option<u64>,
    /// All members have answered that round: no more heartbeats until `busy`.
    pub asleep: bool,
    /// Reused by [`Leader::reached`].
    scratch: Vec<u64>,
}

impl Leader {
    /// When the leader needs its next tick: at once if there is something to send.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        if self.busy { Some(now) } else { (!self.asleep).then_some(self.heartbeat_at) }
    }

    /// Ends quiescence. All followers count as heard from now, so that their silence while quiesced does not count
    /// against them.
    fn wake(&mut self, now: Time) {
        self.asleep = false;
        self.heartbeat_at = now;
        for follower in &mut self.followers {
            follower.heard = now;
        }
    }

    pub fn follower(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|f| f.id == id)
    }

    /// Returns the greatest value that a majority of the group has reached; `own` is the leader's value.
    pub fn reached(&mut self, quorum: &Quorum, own: u64, value: impl Fn(&Progress) -> u64) -> u64 {
        let Leader { followers, scratch, .. } = self;
        quorum.reached(scratch, |voter| followers.iter().find(|f| f.id == voter).map_or(own, &value))
    }

    /// Refuses all waiting reads because this node is no longer the leader.
    pub fn refuse_reads(&mut self, leader: Option<NodeId>, out: &mut Outbox<Raft>) {
        for id in self.rounds.take_reads() {
            out.effect(Effect::Refused { id, why: Refusal::NotLeader(leader) });
        }
    }
}

impl Raft {
    /// Becomes the leader: appends the no-op whose commit shows which earlier entries are committed (§8). Sends at the
    /// next tick.
    pub(super) fn become_leader(&mut self, out: &mut Outbox<Raft>) {
        let last = self.log.last();
        let leader = Leader {
            followers: self.peers().map(|id| Progress::new(id, last, self.now)).collect(),
            rounds: Rounds::default(),
            transfer: None,
            heartbeat_at: self.now,
            busy: true,
            announce: self.handed_over,
            quiescing_since: None,
            asleep: false,
            scratch: Vec::with_capacity(self.config.voters.len()),
        };
        self.leader = Some(self.config.id);
        self.state = State::Leader(Box::new(leader));
        self.log.push(Entry { term: self.term, command: Bytes::new() });
        self.record_tail(out);
    }

    /// Appends a command to the log. It is recorded and sent at the next tick.
    pub(super) fn propose(&mut self, id: RequestId, command: Bytes, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else {
            return out.effect(Effect::Refused { id, why: Refusal::NotLeader(self.leader) });
        };
        let uncommitted = self.log.uncommitted();
        let full = uncommitted > 0
            && uncommitted.saturating_add(command.len() + super::ENTRY_OVERHEAD) > self.config.max_uncommitted_bytes;
        if full || leader.transfer.is_some() {
            return out.effect(Effect::Refused { id, why: Refusal::Busy });
        }
        leader.busy = true;
        let index = self.log.push(Entry { term: self.term, command });
        out.effect(Effect::Accepted { id, index, term: self.term });
    }

    /// Records the entries this node has appended as the leader.
    pub(super) fn record_tail(&mut self, out: &mut Outbox<Raft>) {
        if let Some((first, entries)) = self.log.take_unrecorded() {
            self.persist(Record::Append { first, entries }, out);
        }
    }

    /// Handles a leader's tick: sends everything that has come up since the last one. At the heartbeat it sends
    /// something to every follower.
    pub(super) fn lead(&mut self, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        if leader.deadline(self.now).is_none_or(|at| self.now < at) {
            return;
        }
        if leader.asleep {
            leader.wake(self.now);
        }
        let beat = self.now >= leader.heartbeat_at;
        leader.busy = false;
        if beat {
            leader.heartbeat_at = self.now + self.config.heartbeat;
            if !self.check_quorum(out) {
                return;
            }
        }
        self.record_tail(out);
        let round = self.start_round(beat);
        if !self.ask_to_sleep(beat, out) {
            self.feed_followers(round, out);
        }
        self.hand_over(out);
        self.confirm_round(out);
        self.fall_asleep();
    }

    /// Makes the checks that are due once per heartbeat. Returns false if this node stepped down: no majority has
    /// answered for an election timeout, so there may be another leader (thesis §6.2).
    fn check_quorum(&mut self, out: &mut Outbox<Raft>) -> bool {
        let State::Leader(leader) = &mut self.state else { return false };
        let heard = Time(leader.reached(&self.quorum, self.now.0, |f| f.heard.0));
        if self.now >= heard + self.config.election_timeout {
            self.become_follower(self.term, None, out);
            return false;
        }
        for follower in &mut leader.followers {
            if let Phase::Snapshot(sending) = &mut follower.phase {
                sending.retry_after(self.config.election_timeout, self.now, self.config.mutant);
            }
        }
        leader.transfer = leader.transfer.take().and_then(|t| t.still_on(self.now));
        true
    }

    /// Sends each follower the entries it lacks, within the limits; with a new `round`, at least a heartbeat.
    fn feed_followers(&mut self, round: bool, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        let number = leader.rounds.current();
        for follower in &mut leader.followers {
            let (to, commit) = (follower.id, self.log.commit());
            let mut append = |lane, (prev_index, prev_term), entries| {
                let body = Body::Append { prev_index, prev_term, entries, commit, round: number };
                out.send_in(lane, to, Message { term: self.term, body });
            };
            let mut told = false;
            while let Some((prev, prev_term, entries)) = follower.next_append(&self.log, &self.config, self.now) {
                append(follower.lane(prev, &entries), (prev, prev_term), entries);
                told = true;
            }
            if round && follower.is_behind_bulk() {
                append(Lane::Control, follower.agreed(&self.log), Vec::new());
            }
            if round && !told {
                append(follower.lane(0, &[]), follower.heartbeat(&self.log), Vec::new());
            }
            if let Phase::Snapshot(sending) = &mut follower.phase
                && let Some((meta, offset)) = sending.load(&self.log)
            {
                out.effect(Effect::LoadChunk { to: follower.id, meta, offset });
            }
        }
    }

    /// Handles a follower's reply to an `Append` in this term.
    pub(super) fn on_append_reply(&mut self, from: NodeId, result: AppendResult, round: u64, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        let current = leader.rounds.current();
        let Some(follower) = leader.follower(from) else { return };
        follower.heard = self.now;
        follower.round = follower.round.max(round.min(current));
        match result {
            AppendResult::Matched(index) if index <= self.log.recorded() => {
                follower.on_matched(index, &self.log, self.now);
            }
            AppendResult::Matched(_) => {}
            AppendResult::Conflict { rejected, hint, hint_term } => {
                follower.on_conflict(rejected, (hint, hint_term), &self.log, self.config.mutant);
            }
        }
        let matched = follower.matched;
        leader.busy |= follower.wants(self.log.last(), &self.config);
        if matches!(result, AppendResult::Conflict { .. }) {
            leader.quiescing_since = None;
        }
        leader.busy |= leader.transfer.as_ref().is_some_and(|t| t.is_due(from, matched, self.log.last()));
        if matched > self.log.commit() {
            self.advance_commit(out);
        }
        self.confirm_round(out);
        self.fall_asleep();
    }

    /// Commits what is durable on a majority, if it is of this term. Entries of older terms are committed with it,
    /// never by counting replicas (§5.4.2, figure 8).
    pub(super) fn advance_commit(&mut self, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        let index: Index = leader.reached(&self.quorum, self.log.durable(), |f| f.matched);
        let own_term = self.log.term_at(index) == Some(self.term);
        if index > self.log.commit() && (own_term || self.config.mutant.is(Bug::CommitOldTerm)) {
            if std::mem::take(&mut leader.announce) {
                (leader.heartbeat_at, leader.busy) = (self.now, true);
            }
            self.commit_to(index, out);
            self.answer_reads(out);
        }
    }
}
