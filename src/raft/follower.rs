//! Followers (§5.2, §5.3): they replicate the leader's log and run the election timer.

use super::{AppendResult, Body, Effect, Entry, Index, Message, Raft, Record, State, Term};
use crate::mutant::Bug;
use crate::protocol::Outbox;
use crate::types::NodeId;
use std::collections::BTreeMap;

/// An `Append` of the current leader, as its previous entry and its content.
pub(super) struct Append {
    pub prev_index: Index,
    pub prev_term: Term,
    pub entries: Vec<Entry>,
    pub commit: Index,
}

/// `Append`s of the current term that overtook earlier ones, keyed by `prev_index`: the network may reorder messages.
/// They are rejected like any `Append` that does not connect to the log, but appended once the gap before them closes,
/// so that nothing needs to be sent twice.
#[derive(Debug, Default)]
pub(super) struct Early {
    appends: BTreeMap<Index, (Term, Vec<Entry>, Index)>,
    bytes: usize,
}

impl Early {
    /// Keeps `append` if all kept ones then have at most `max_bytes`.
    fn keep(&mut self, append: Append, max_bytes: usize) {
        let bytes = cost(&append.entries);
        if bytes > 0 && self.bytes + bytes <= max_bytes && !self.appends.contains_key(&append.prev_index) {
            self.bytes += bytes;
            self.appends.insert(append.prev_index, (append.prev_term, append.entries, append.commit));
        }
    }

    /// Removes and returns the first one that connects to a log whose last index is `last`.
    fn take(&mut self, last: Index) -> Option<Append> {
        let first = self.appends.first_entry().filter(|first| *first.key() <= last)?;
        let (prev_index, (prev_term, entries, commit)) = first.remove_entry();
        self.bytes -= cost(&entries);
        Some(Append { prev_index, prev_term, entries, commit })
    }
}

fn cost(entries: &[Entry]) -> usize {
    entries.iter().map(super::log::cost).sum()
}

impl Raft {
    /// Becomes, or stays, a follower in `term`. Every server does this when it sees a later term (§5.1).
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>, out: &mut Outbox<Raft>) {
        assert!(term >= self.term, "the term would go back");
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.hard_state_changed = true;
            self.early = Early::default();
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

    /// Notes a message from a leader of this term: a candidate steps down (§5.2) and the election timer restarts.
    /// Returns false if `from` cannot be the leader because another node is.
    pub(super) fn follow(&mut self, from: NodeId, out: &mut Outbox<Raft>) -> bool {
        match self.state {
            State::Leader(_) => return false,
            State::Follower if self.leader.is_some_and(|leader| leader != from) => return false,
            State::Follower => self.leader = Some(from),
            _ => self.become_follower(self.term, Some(from), out),
        }
        self.sticky_until = self.now + self.config.election_timeout;
        self.restart_election_timer();
        true
    }

    /// Whether the leader has a different entry at an index that is committed here. Then the leader lacks an entry it
    /// must have (leader completeness, §5.4.3), or this node has wrong data. The node ignores the message and must
    /// stop.
    pub(super) fn is_contradicted(&self, from: NodeId, append: &Append, out: &mut Outbox<Raft>) -> bool {
        let sent = std::iter::once(append.prev_term).chain(append.entries.iter().map(|entry| entry.term));
        let mut committed = (append.prev_index..=self.log.commit()).zip(sent);
        let found = committed.find_map(|(index, sent)| {
            let committed = self.log.term_at(index).filter(|committed| *committed != sent)?;
            Some(Effect::Contradicted { from, index, committed, sent })
        });
        found.map(|effect| out.effect(effect)).is_some()
    }

    /// Answers a heartbeat while the disk is busy, with what is durable so far: a slow disk must not make the leader
    /// step down or reads wait. Returns false if a second reply is needed once the disk is done.
    pub(super) fn answer_at_once(
        &self,
        from: NodeId,
        result: AppendResult,
        round: u64,
        out: &mut Outbox<Raft>,
    ) -> bool {
        let AppendResult::Matched(matched) = result else { return false };
        let mutant = self.config.mutant;
        let unspoken = self.hard_state_changed || self.hard_state.is_some() || mutant.is(Bug::HeartbeatBehindDisk);
        if self.undurable.is_none() || unspoken {
            return false;
        }
        let durable = if mutant.is(Bug::HeartbeatAcksUndurable) { matched } else { self.log.durable() };
        let durable = AppendResult::Matched(matched.min(durable));
        out.send(from, Message { term: self.term, body: Body::AppendReply { result: durable, round } });
        durable == result
    }

    /// Handles an `Append`, then any kept `Append`s that connect to it.
    pub(super) fn on_append(&mut self, append: Append, out: &mut Outbox<Raft>) -> AppendResult {
        if append.prev_index > self.log.last() {
            let result = self.conflict(append.prev_index, append.prev_term);
            self.early.keep(append, self.config.max_append_bytes);
            return result;
        }
        let mut result = self.append(append, out);
        while let AppendResult::Matched(matched) = result {
            let Some(next) = self.early.take(self.log.last()) else { break };
            match self.append(next, out) {
                AppendResult::Matched(further) => result = AppendResult::Matched(matched.max(further)),
                AppendResult::Conflict { .. } => break,
            }
        }
        result
    }

    /// Returns the rejection of an `Append`, with a hint where the logs may match.
    fn conflict(&self, prev_index: Index, prev_term: Term) -> AppendResult {
        let hint = self.log.last_at_most(prev_index, prev_term).max(self.log.commit());
        let hint_term = self.log.term_at(hint).unwrap_or(0);
        AppendResult::Conflict { rejected: prev_index, hint, hint_term }
    }

    /// Checks that the logs match and appends (§5.3; figure 2, "AppendEntries receiver implementation").
    fn append(&mut self, append: Append, out: &mut Outbox<Raft>) -> AppendResult {
        let Append { mut prev_index, prev_term, mut entries, commit } = append;
        let known = self.log.commit();
        if prev_index < known {
            // The leader has every entry that is committed here (leader completeness, §5.4.3), so the logs match up to
            // the commit index. The comparison may start there, even if this log no longer holds the entries.
            let skip = ((known - prev_index) as usize).min(entries.len());
            entries.drain(..skip);
            prev_index = known;
        } else if self.log.term_at(prev_index) != Some(prev_term) {
            return self.conflict(prev_index, prev_term);
        }
        let matched = prev_index + entries.len() as u64;
        let held = self.log.held(prev_index, &entries);
        entries.drain(..held);
        let first = prev_index + held as u64 + 1;
        if let Some(entry) = entries.first() {
            if self.log.term_at(first - 1).is_none_or(|before| entry.term < before) {
                // A correct leader never sends this: this one does not have the entries committed here.
                return AppendResult::Conflict { rejected: prev_index, hint: known, hint_term: 0 };
            }
            self.log.replace(first, &entries);
            self.persist(Record::Append { first, entries }, out);
        }
        let most = if self.config.mutant.is(Bug::CommitBeyondMatch) { self.log.last() } else { matched };
        self.commit_to(commit.min(most), out);
        AppendResult::Matched(matched)
    }

    /// Commits up to `index` and emits the entries to apply.
    pub(super) fn commit_to(&mut self, index: Index, out: &mut Outbox<Raft>) {
        if let Some((first, entries)) = self.log.commit_to(index) {
            out.effect(Effect::Commit { first, entries });
        }
    }
}
