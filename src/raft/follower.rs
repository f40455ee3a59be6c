//! Followers (§5.2, §5.3): they answer, and they wait.

use super::{AppendResult, Effect, Entry, Index, Raft, Record, State, Term};
use crate::protocol::Outbox;
use crate::types::NodeId;

impl Raft {
    /// Becomes, or stays, a follower in `term`; all servers do on seeing a later term (§5.1).
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>, out: &mut Outbox<Raft>) {
        assert!(term >= self.term, "the term would go back");
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.hard_state_changed = true;
            self.forget_round();
        }
        self.leader = leader;
        match std::mem::replace(&mut self.state, State::Follower) {
            State::Follower => {}
            State::Leader(mut led) => {
                self.record_tail(out);
                led.refuse_reads(leader, out);
                self.restart_election_timer();
            }
            State::PreCandidate(_) | State::Candidate(..) => self.restart_election_timer(),
        }
    }

    /// A leader of this term is heard: candidates give way to it (§5.2), the election timer starts again. False if
    /// `from` cannot be the leader because another one is.
    pub(super) fn follow(&mut self, from: NodeId, out: &mut Outbox<Raft>) -> bool {
        match self.state {
            State::Leader(_) => return false,
            State::Follower if self.leader.is_some_and(|leader| leader != from) => return false,
            State::Follower => self.leader = Some(from),
            _ => self.become_follower(self.term, Some(from), out),
        }
        self.loyal_until = self.now + self.config.election_timeout;
        self.restart_election_timer();
        true
    }

    /// The log matching check and what follows from it (§5.3; figure 2, "AppendEntries receiver implementation").
    pub(super) fn on_append(
        &mut self,
        mut prev_index: Index,
        prev_term: Term,
        mut entries: Vec<Entry>,
        commit: Index,
        out: &mut Outbox<Raft>,
    ) -> AppendResult {
        let known = self.log.commit();
        if prev_index < known {
            // The leader has all that is committed here (leader completeness, §5.4.3): up to there the logs agree, and
            // there the comparison may start, even where this log no longer holds the entries.
            let skip = ((known - prev_index) as usize).min(entries.len());
            entries.drain(..skip);
            prev_index = known;
        } else if self.log.term_at(prev_index) != Some(prev_term) {
            let hint = self.log.last_at_most(prev_index, prev_term).max(known);
            let hint_term = self.log.term_at(hint).unwrap_or(0);
            return AppendResult::Conflict { rejected: prev_index, hint, hint_term };
        }
        let matched = prev_index + entries.len() as u64;
        let held = self.log.held(prev_index, &entries);
        entries.drain(..held);
        let first = prev_index + held as u64 + 1;
        if let Some(entry) = entries.first() {
            if self.log.term_at(first - 1).is_none_or(|before| entry.term < before) {
                // Only a liar sends this: the sender does not have what is committed here.
                return AppendResult::Conflict { rejected: prev_index, hint: known, hint_term: 0 };
            }
            self.log.replace(first, &entries);
            self.persist(Record::Append { first, entries }, out);
        }
        self.commit_to(commit.min(matched), out);
        AppendResult::Matched(matched)
    }

    /// Commits up to `index` and hands over what is to be applied.
    pub(super) fn commit_to(&mut self, index: Index, out: &mut Outbox<Raft>) {
        if let Some((first, entries)) = self.log.commit_to(index) {
            out.effect(Effect::Commit { first, entries });
        }
    }
}
