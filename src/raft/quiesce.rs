//! Quiescence: an idle group stops its heartbeats and timers and costs nothing, as in CockroachDB. Off by default.
//!
//! ```text
//! leader, at a heartbeat                          follower
//!   all is committed, durable and matched by all,
//!   no read waits, no transfer is in progress
//!   │ Quiesce last=7 round=9   ─────────────────▶ │ same term, and its last index is 7 too: commits up to 7,
//!   │                                             │ stops its election timer
//!   │ ◀──────────── AppendReply matched=7 round=9 │
//!   all have answered round 9: no more heartbeats
//! ```
//! Otherwise `Quiesce` is a heartbeat: it takes part in a round and is answered like one. The next `Quiesce` makes up
//! for a lost one. A late copy can do little harm. It may quiesce a follower whose leader is active; the leader's next
//! heartbeat wakes the follower. Or it may wake a follower whose leader is quiesced; the follower's timer then wakes
//! all members.
//!
//! **Only timers stop.** Terms, votes, logs and the counting of rounds do not change, so no promise depends on which
//! members are quiesced. In particular, leader stickiness and leases (see `read_index`) expire while a group is
//! quiesced, as they do with a silent leader. A quiesced follower is bound to its leader for at most one election
//! timeout from the last round. A leader that wakes later than that confirms a new round before it answers a read.
//! Check-quorum starts afresh when a leader wakes.
//!
//! # What wakes a member
//! A proposal, a read, a transfer and [`Request::Wake`] do, and so does any message of the group except a reply to a
//! round (an `AppendReply` that reports a conflict does wake). Of the replies, only one to a round before quiescence wakes the leader: a late message in another lane has
//! then woken a follower that the leader considers quiesced. A follower that is woken by anything other than its leader
//! reports this to the leader, with an `AppendReply` of round 0, which claims nothing new. The leader then wakes the
//! other members or quiesces the group again. A quiesced member does not answer a *pre*-vote, but wakes. So a member
//! that restarts does not depose a quiesced leader that is healthy; if the leader is not healthy, the next pre-vote
//! finds all members awake.
//!
//! # Requirements
//! No member of a quiesced group notices that the leader has failed. **The driver must send [`Request::Wake`] to each
//! group whose leader's node is down according to a failure detector, and again if a message from that node still
//! arrives.** Otherwise the group wakes with the next request. A group with a member that does not answer does not
//! quiesce.

use super::follower::Append;
use super::progress::Phase;
use super::{AppendResult, Body, Index, Message, Raft, Request, State};
use crate::protocol::Outbox;
use crate::types::NodeId;

impl Raft {
    /// Whether this node is quiesced: it only waits for requests and messages.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        match &self.state {
            State::Leader(leader) => leader.asleep && !leader.busy,
            _ => self.election_at.is_none(),
        }
    }

    /// Whether this node leads and no member has anything left to do.
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

    /// Sends `Quiesce` to all followers if a heartbeat is due and the group is idle. Returns whether it did.
    pub(super) fn ask_to_sleep(&mut self, beat: bool, out: &mut Outbox<Raft>) -> bool {
        let idle = beat && self.is_idle();
        let State::Leader(leader) = &mut self.state else { return false };
        if !idle {
            leader.quiescing_since = None;
            return false;
        }
        let round = leader.rounds.current();
        // The first round counts, because a reply may take longer than one heartbeat interval.
        leader.quiescing_since.get_or_insert(round);
        let last = self.log.last();
        for follower in &leader.followers {
            out.send(follower.id, Message { term: self.term, body: Body::Quiesce { last, round } });
        }
        true
    }

    /// Quiesces the leader once all followers have answered the round of the first `Quiesce`, or a later one.
    pub(super) fn fall_asleep(&mut self) {
        let idle = self.is_idle();
        let State::Leader(leader) = &mut self.state else { return };
        if idle && leader.quiescing_since.is_some_and(|round| leader.followers.iter().all(|f| f.round >= round)) {
            leader.asleep = true;
        }
    }

    /// Handles `Quiesce`: the leader's log ends with `last`, which is committed and of its own term.
    pub(super) fn on_quiesce(&mut self, last: Index, out: &mut Outbox<Raft>) -> AppendResult {
        let result =
            self.on_append(Append { prev_index: last, prev_term: self.term, entries: Vec::new(), commit: last }, out);
        let done = self.log.last() == last && self.log.commit() == last;
        if self.config.quiesce && done && result == AppendResult::Matched(last) {
            self.election_at = None;
        }
        result
    }

    /// Wakes this node if the message requires it. Returns whether the message woke a quiesced follower.
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
            // From the leader itself, or from the former leader that now asks for votes.
            self.restart_election_timer();
            return false;
        }
        if follows || !answer {
            self.wake(out);
        }
        follows && asleep
    }

    /// Whether a reply to `round` shows that late bulk data woke a follower: all followers had confirmed that they are
    /// quiesced, but this reply answers an earlier message.
    fn woke_late(&self, round: u64) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.asleep && leader.quiescing_since.is_some_and(|quiescing_since| round < quiescing_since)
    }

    /// Wakes this node if the request requires it.
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
