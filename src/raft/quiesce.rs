//! Quiescence: a group in which nothing is left to do falls asleep and costs nothing, as in CockroachDB. Off by default.
//!
//! ```text
//! leader, at a heartbeat                          follower
//!   all is committed, durable and matched by all,
//!   no read waits, no transfer is on
//!   │ Quiesce last=7 round=9   ─────────────────▶ │ this very term, and 7 is its last too: commits up to it,
//!   │                                             │ stops its election timer
//!   │ ◀──────────── AppendReply matched=7 round=9 │
//!   all have answered round 9: no more heartbeats
//! ```
//! `Quiesce` is a heartbeat in all else: it takes part in a round and is answered like one. Lost ones are made up for by
//! the next; a copy that comes late may at worst put a follower to sleep while its leader is awake (whose next heartbeat
//! wakes it) or wake one whose leader sleeps (its timer then wakes all).
//!
//! **Only timers stop.** Terms, votes, logs and the counting of rounds are untouched, so no promise depends on who sleeps. In
//! particular loyalty and leases (see `read_index`) run out while a group sleeps, as they would with a silent leader: a
//! sleeper owes its leader no more than one election timeout from the last round, and a leader awakened later than that
//! confirms a new round before it answers a read. Check-quorum begins afresh when a leader wakes.
//!
//! # What wakes
//! Any request and any message of the group, except answers to rounds; of these only one to a round before the sleep, for what
//! comes late, in another lane, has woken a follower that the leader believes asleep. A follower awakened by something else than its leader
//! says so to the leader (an `AppendReply` of round 0, which says nothing that is not so), and the leader wakes the others or
//! puts all to sleep again. A *pre*-vote asked of a sleeper is not answered, but wakes it: so a member that restarts does not
//! depose a sleeping leader that is well, and if the leader is not well, the next pre-vote finds all awake.
//!
//! # What it relies on
//! Nobody in a sleeping group notices that the leader has died. **The driver must say [`Request::Wake`] to each group
//! whose leader's node a failure detector believes to be down, and again if a message from that node still arrives.**
//! Otherwise the group wakes with the next request. A group with a member that does not answer stays awake.

use super::follower::Append;
use super::progress::Phase;
use super::{AppendResult, Body, Index, Message, Raft, Request, State};
use crate::protocol::Outbox;
use crate::types::NodeId;

impl Raft {
    /// Whether this node waits for requests and messages only.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        match &self.state {
            State::Leader(leader) => leader.asleep && !leader.busy,
            _ => self.election_at.is_none(),
        }
    }

    /// Whether nothing is left to do for anyone.
    fn is_idle(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        if !self.config.quiesce {
            return false;
        }
        let last = self.log.last();
        let matched = |f: &super::progress::Progress| matches!(f.phase, Phase::Replicate) && f.matched == last;
        let settled = self.log.commit() == last && self.log.durable() == last && leader.followers.iter().all(matched);
        settled && !leader.busy && leader.transfer.is_none() && !leader.rounds.any_reads()
    }

    /// If a heartbeat is due and the group is idle, asks all to sleep instead. Says whether it did.
    pub(super) fn ask_to_sleep(&mut self, beat: bool, out: &mut Outbox<Raft>) -> bool {
        let idle = beat && self.is_idle();
        let State::Leader(leader) = &mut self.state else { return false };
        if !idle {
            leader.quiescing_since = None;
            return false;
        }
        let round = leader.rounds.current();
        // The first round counts, for an answer may take longer than a heartbeat.
        leader.quiescing_since.get_or_insert(round);
        let last = self.log.last();
        for follower in &leader.followers {
            out.send(follower.id, Message { term: self.term, body: Body::Quiesce { last, round } });
        }
        true
    }

    /// The leader falls asleep once all have answered the first round that asked them to, or a later one.
    pub(super) fn fall_asleep(&mut self) {
        let idle = self.is_idle();
        let State::Leader(leader) = &mut self.state else { return };
        if idle && leader.quiescing_since.is_some_and(|round| leader.followers.iter().all(|f| f.round >= round)) {
            leader.asleep = true;
        }
    }

    /// The leader believes that all is done: its log ends with `last`, which is committed and of its term.
    pub(super) fn on_quiesce(&mut self, last: Index, out: &mut Outbox<Raft>) -> AppendResult {
        let result =
            self.on_append(Append { prev_index: last, prev_term: self.term, entries: Vec::new(), commit: last }, out);
        let done = self.log.last() == last && self.log.commit() == last;
        if self.config.quiesce && done && result == AppendResult::Matched(last) {
            self.election_at = None;
        }
        result
    }

    /// A message wakes whom it concerns. Says whether a sleeping follower was awakened by it.
    pub(super) fn wake_for_message(&mut self, from: NodeId, body: &Body, out: &mut Outbox<Raft>) -> bool {
        let asleep = self.is_asleep();
        let answer = match body {
            Body::AppendReply { result: AppendResult::Matched(_), round } | Body::SnapshotReply { round, .. } => {
                *round > 0 && !self.woke_late(*round)
            }
            _ => false,
        };
        let follows = matches!(self.state, State::Follower);
        if follows && asleep && self.leader == Some(from) {
            // The leader itself, or whoever was the leader and now asks for votes.
            self.restart_election_timer();
            return false;
        }
        if follows || !answer {
            self.wake(out);
        }
        follows && asleep
    }

    /// All had answered that they sleep, and then one answers what was said before: bulk data that came late has woken it.
    fn woke_late(&self, round: u64) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.asleep && leader.quiescing_since.is_some_and(|quiescing_since| round < quiescing_since)
    }

    /// A request wakes whoever is asked.
    pub(super) fn wake_for_request(&mut self, request: &Request, out: &mut Outbox<Raft>) {
        match request {
            Request::Compact { .. } | Request::ChunkLoaded { .. } | Request::ChunkSaved { .. } => {}
            Request::Propose { .. } | Request::Read { .. } | Request::Transfer { .. } | Request::Wake => self.wake(out),
        }
    }

    fn wake(&mut self, out: &mut Outbox<Raft>) {
        if !self.is_asleep() {
            return;
        }
        match &mut self.state {
            State::Leader(leader) => leader.busy = true,
            _ => {
                self.restart_election_timer();
                if let Some(leader) = self.leader {
                    let result = AppendResult::Matched(self.log.commit());
                    self.say(leader, self.term, Body::AppendReply { result, round: 0 }, out);
                }
            }
        }
    }
}
