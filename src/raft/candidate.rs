//! Elections (§5.2, §5.4.1) with a round of pre-votes before them (thesis §9.6).
//!
//! A node whose election timer expires first asks whether it could win. This changes no state anywhere, so a node that
//! was partitioned away cannot disturb its group with a higher term when it returns.

use super::{Body, Index, Raft, Role, State, Term};
use crate::protocol::Outbox;
use crate::types::NodeId;

/// The members that granted their vote.
pub(super) type Votes = Vec<NodeId>;

impl Raft {
    /// Asks for pre-votes after the election timer has expired. The node's own pre-vote counts at once because a
    /// pre-vote promises nothing.
    pub(super) fn stand(&mut self, out: &mut Outbox<Raft>) {
        self.become_follower(self.term, None, out);
        self.restart_election_timer();
        self.state = State::PreCandidate(Votes::new());
        self.ask_for_votes(self.term + 1, false, out);
        self.count_vote(self.config.id, out);
    }

    /// Starts an election (§5.2). The node's own vote counts once it is durable; the vote requests wait for that too.
    pub(super) fn campaign(&mut self, transfer: bool, out: &mut Outbox<Raft>) {
        self.become_follower(self.term + 1, None, out);
        self.restart_election_timer();
        self.handed_over = transfer;
        self.vote = Some(self.config.id);
        self.record_hard_state(out);
        let ticket = self.undurable.expect("the vote was just recorded");
        self.state = State::Candidate(Votes::new(), ticket);
        self.ask_for_votes(self.term, transfer, out);
    }

    fn ask_for_votes(&mut self, term: Term, transfer: bool, out: &mut Outbox<Raft>) {
        let pre = self.soft_state().role == Role::PreCandidate;
        let (last_index, last_term) = (self.log.last(), self.log.last_term());
        for to in self.peers().collect::<Vec<_>>() {
            self.say(to, term, Body::Vote { pre, last_index, last_term, transfer }, out);
        }
    }

    /// Votes for a candidate whose log is at least as up to date (§5.4.1), once per term. Grants a pre-vote whenever
    /// the term the candidate would campaign in is later than the current one. A candidate that asks while a leader is
    /// active gets no reply at all (leader stickiness).
    pub(super) fn on_vote(
        &mut self,
        from: NodeId,
        term: Term,
        pre: bool,
        last_index: Index,
        last_term: Term,
        out: &mut Outbox<Raft>,
    ) {
        let up_to_date = (last_term, last_index) >= (self.log.last_term(), self.log.last());
        let free = if pre { term > self.term } else { self.vote.is_none_or(|vote| vote == from) };
        let granted = up_to_date && free;
        if granted && !pre {
            self.hard_state_changed |= self.vote.is_none();
            self.vote = Some(from);
            self.become_follower(self.term, self.leader, out);
            self.restart_election_timer();
        }
        let term = if granted { term } else { self.term };
        self.say(from, term, Body::VoteReply { pre, granted }, out);
    }

    /// Counts a vote for the current election or pre-vote.
    pub(super) fn on_vote_reply(&mut self, from: NodeId, term: Term, pre: bool, granted: bool, out: &mut Outbox<Raft>) {
        let meant = match self.state {
            State::PreCandidate(_) => pre && term == self.term + 1,
            State::Candidate(..) => !pre && term == self.term,
            _ => false,
        };
        if meant && granted {
            self.count_vote(from, out);
        }
    }

    pub(super) fn count_vote(&mut self, from: NodeId, out: &mut Outbox<Raft>) {
        let (State::PreCandidate(votes) | State::Candidate(votes, _)) = &mut self.state else { return };
        if !votes.contains(&from) {
            votes.push(from);
        }
        if self.quorum.is_reached(|voter| votes.contains(&voter)) {
            match self.state {
                State::PreCandidate(_) => self.campaign(false, out),
                _ => self.become_leader(out),
            }
        }
    }
}
