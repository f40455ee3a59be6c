//! Leadership transfer (thesis §3.10): the leader stops accepting proposals, brings the target up to date, and tells it
//! to campaign at once. If it is still the leader after an election timeout, it accepts proposals again.

use super::{Body, Effect, Index, Message, Raft, Refusal, RequestId, State};
use crate::protocol::Outbox;
use crate::types::{NodeId, Time};

/// A transfer in progress.
#[derive(Debug)]
pub(super) struct Transfer {
    to: NodeId,
    /// When to give up.
    until: Time,
    /// The target was told to campaign. Reset at every heartbeat so that the message is repeated.
    told: bool,
}

impl Transfer {
    /// Whether `from` is the target, has caught up with `matched`, and must be told to campaign now.
    pub fn is_due(&self, from: NodeId, matched: Index, last: Index) -> bool {
        !self.told && self.to == from && matched == last
    }

    /// Continues the transfer at a heartbeat, so that the target is told again, or ends it after the deadline.
    pub fn still_on(self, now: Time) -> Option<Transfer> {
        (now < self.until).then_some(Transfer { told: false, ..self })
    }
}

impl Raft {
    /// Whether this node leads and `follower` holds everything that is committed.
    #[must_use]
    pub fn keeps_up(&self, follower: NodeId) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.followers.iter().any(|f| f.id == follower && f.matched >= self.log.commit())
    }

    /// Returns the best member to transfer leadership to: among those that have answered within an election timeout,
    /// the one that holds most of the log. `None` if there is no such member or this node does not lead.
    #[must_use]
    pub fn best_successor(&self) -> Option<NodeId> {
        let State::Leader(leader) = &self.state else { return None };
        let answers = leader.followers.iter().filter(|f| self.now < f.heard + self.config.election_timeout);
        answers.max_by_key(|f| (f.matched, std::cmp::Reverse(f.id))).map(|f| f.id)
    }

    /// Whether this node leads and is transferring leadership.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        matches!(&self.state, State::Leader(leader) if leader.transfer.is_some())
    }

    pub(super) fn transfer(&mut self, id: RequestId, to: NodeId, out: &mut Outbox<Raft>) {
        let why = match &mut self.state {
            State::Leader(_) if !self.quorum.contains(to) => Refusal::NoSuchNode,
            State::Leader(leader) if leader.transfer.as_ref().is_some_and(|t| t.to != to) => Refusal::Busy,
            State::Leader(leader) => {
                if to != self.config.id {
                    let until = self.now + self.config.election_timeout;
                    leader.transfer.get_or_insert(Transfer { to, until, told: false });
                    leader.busy = true;
                }
                return out.effect(Effect::TransferStarted { id });
            }
            _ => Refusal::NotLeader(self.leader),
        };
        out.effect(Effect::Refused { id, why });
    }

    /// Tells the target to campaign if it has caught up and was not told yet.
    pub(super) fn hand_over(&mut self, out: &mut Outbox<Raft>) {
        let State::Leader(leader) = &mut self.state else { return };
        let Some(Transfer { to, .. }) = leader.transfer else { return };
        let matched = leader.follower(to).map_or(0, |f| f.matched);
        if let Some(transfer) = leader.transfer.as_mut().filter(|t| t.is_due(to, matched, self.log.last())) {
            transfer.told = true;
            leader.rounds.overrides_stickiness = true;
            out.send(to, Message { term: self.term, body: Body::TimeoutNow });
        }
    }

    /// Handles the leader's request to take over: campaigns without a pre-vote, and with the leader's permission to
    /// override the other members' stickiness.
    pub(super) fn on_timeout_now(&mut self, from: NodeId, out: &mut Outbox<Raft>) {
        if matches!(self.state, State::Follower) && self.leader == Some(from) {
            self.campaign(true, out);
        }
    }
}
