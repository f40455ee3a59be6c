//! ReadIndex: linearizable reads without log entries (thesis §6.4).
//!
//! A read must not be answered from a state that is older than the commits of another leader. Therefore the leader
//! numbers *rounds*: every `Append` carries the number of the latest round begun, and every reply echoes it. Suppose a
//! majority has answered a round that began after the read arrived. Then no later leader had been elected before the
//! read arrived, and any state that includes the leader's commit index is recent enough. All reads that arrive during a
//! round share the next one.
//!
//! A new leader's commit index may be behind what its predecessors committed. It answers no read before an entry of its
//! own term is committed (§8).
//!
//! # Leases (thesis §6.4.1), off by default
//! A follower that answered a round ignores candidates for one election timeout from the time it was asked, by its own
//! clock, even across a restart. The leader therefore answers reads at once for a little less than one election timeout
//! from the start of the latest confirmed round, by its own clock. "A little less" is set by `Config::lease_ppm`, the
//! bound on how much the clocks' rates differ: **if the clocks exceed the bound, reads may be stale**. A leadership
//! transfer overrides the followers' stickiness on purpose, and its message may arrive late. So there are no leases
//! during a transfer, and none for the rest of the term once the target was told to campaign.

use super::{Effect, Index, Raft, Refusal, RequestId, State, pop_front_if};
use crate::mutant::Bug;
use crate::protocol::Outbox;
use crate::types::Time;
use std::collections::VecDeque;

/// A leader's rounds and the reads that wait for them.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Rounds that have begun but are not confirmed, with their start times. Every heartbeat begins one; check-quorum
    /// keeps this queue short.
    open: VecDeque<(u64, Time)>,
    current: u64,
    /// The latest confirmed round and its start time. Round 0 means none.
    confirmed: (u64, Time),
    /// The round each read waits for, in order.
    reads: VecDeque<(u64, RequestId)>,
    /// The target of a transfer was told to campaign: no leases for the rest of this term.
    pub overrides_stickiness: bool,
}

impl Rounds {
    /// The latest round begun.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Whether reads wait for a round that may begin now. If reads also wait for the current round, that one must be
    /// confirmed first.
    fn wanted(&self) -> bool {
        self.reads.front().is_some_and(|(round, _)| *round > self.current)
    }

    fn begin(&mut self, now: Time) {
        self.current += 1;
        self.open.push_back((self.current, now));
    }

    fn confirm(&mut self, round: u64, answered: Option<Time>) {
        while let Some((round, began)) = pop_front_if(&mut self.open, |(r, _)| *r <= round) {
            self.confirmed = (round, answered.unwrap_or(began));
        }
    }

    /// Removes and returns the next read whose round is confirmed.
    fn pop_ready(&mut self) -> Option<RequestId> {
        let confirmed = self.confirmed.0;
        pop_front_if(&mut self.reads, |(round, _)| *round <= confirmed).map(|(_, id)| id)
    }

    /// Whether reads wait.
    pub fn any_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Removes and returns all waiting reads.
    pub fn take_reads(&mut self) -> impl Iterator<Item = RequestId> {
        self.reads.drain(..).map(|(_, id)| id)
    }
}

impl Raft {
    /// Handles a read: answers it under a lease, or with the next round.
    pub(super) fn read(&mut self, id: RequestId, out: &mut Outbox<Raft>) {
        let lease = self.lease_holds();
        let State::Leader(leader) = &mut self.state else {
            return out.effect(Effect::Refused { id, why: Refusal::NotLeader(self.leader) });
        };
        if lease || self.config.mutant.is(Bug::StaleRead) {
            return out.effect(Effect::ReadAt { id, index: self.log.commit() });
        }
        let rounds = &mut leader.rounds;
        if rounds.reads.len() >= self.config.max_pending_reads {
            return out.effect(Effect::Refused { id, why: Refusal::Busy });
        }
        rounds.reads.push_back((rounds.current + 1, id));
        leader.busy |= rounds.wanted();
    }

    /// Begins a round at a heartbeat or when reads need one. Returns whether it did.
    pub(super) fn start_round(&mut self, beat: bool) -> bool {
        let State::Leader(leader) = &mut self.state else { return false };
        let start = beat || leader.rounds.wanted();
        if start {
            leader.rounds.begin(self.now);
        }
        start
    }

    /// Answers the reads of the rounds that a majority has answered.
    pub(super) fn confirm_round(&mut self, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        if leader.rounds.open.is_empty() {
            return;
        }
        let round = leader.reached(&self.quorum, leader.rounds.current, |f| f.round);
        leader.rounds.confirm(round, self.config.mutant.is(Bug::LeaseFromAnswer).then_some(self.now));
        self.answer_reads(out);
    }

    /// Answers the reads whose round is confirmed. The index is the current commit index, which includes everything
    /// committed when the read arrived; a later state is equally valid for a read that is still open.
    pub(super) fn answer_reads(&mut self, out: &mut Outbox<Raft>) {
        let Some(index) = self.own_commit() else { return };
        let State::Leader(leader) = &mut self.state else { return };
        while let Some(id) = leader.rounds.pop_ready() {
            out.effect(Effect::ReadAt { id, index });
        }
        leader.busy |= leader.rounds.wanted();
    }

    /// The commit index, if the entry there is of this term.
    fn own_commit(&self) -> Option<Index> {
        let commit = self.log.commit();
        (self.log.term_at(commit) == Some(self.term)).then_some(commit)
    }

    fn lease_holds(&self) -> bool {
        let (Some(ppm), State::Leader(leader)) = (self.config.lease_ppm, &self.state) else { return false };
        let (round, began) = leader.rounds.confirmed;
        let timeout = self.config.election_timeout;
        let lease = match self.config.mutant.is(Bug::LeaseOutlivesPromise) {
            true => timeout * 2,
            false => timeout.saturating_sub(timeout / 1_000_000 * ppm),
        };
        let trusted = round > 0 && !leader.rounds.overrides_stickiness && leader.transfer.is_none();
        trusted && self.own_commit().is_some() && self.now.since(began) < lease
    }
}
