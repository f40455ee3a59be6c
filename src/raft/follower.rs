//! Followers (§5.2, §5.3): they answer, and they wait.

use super::{AppendResult, Body, Effect, Entry, Index, Message, Raft, Record, State, Term};
use crate::mutant::Bug;
use crate::protocol::Outbox;
use crate::types::NodeId;
use std::collections::BTreeMap;

/// An `Append` of the present leader: where it stands and what it says.
pub(super) struct Append {
    pub prev_index: Index,
    pub prev_term: Term,
    pub entries: Vec<Entry>,
    pub commit: Index,
}

/// `Append`s of the present term that overtook the ones before them, by the index they follow: the network may change the
/// order of messages. They are refused like any that does not connect, and taken in when the gap before them closes, so
/// that nothing needs to be sent twice.
#[derive(Debug, Default)]
pub(super) struct Early {
    appends: BTreeMap<Index, (Term, Vec<Entry>, Index)>,
    bytes: usize,
}

impl Early {
    /// Keeps an `Append` while all that are kept have at most `max_bytes`.
    fn keep(&mut self, append: Append, max_bytes: usize) {
        let bytes = cost(&append.entries);
        if bytes > 0 && self.bytes + bytes <= max_bytes && !self.appends.contains_key(&append.prev_index) {
            self.bytes += bytes;
            self.appends.insert(append.prev_index, (append.prev_term, append.entries, append.commit));
        }
    }

    /// The next one that connects to a log that ends with `last`.
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
    /// Becomes, or stays, a follower in `term`; all servers do on seeing a later term (§5.1).
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

    /// A leader of this term is heard: candidates give way to it (§5.2), the election timer starts again. False if
    /// `from` cannot be the leader because another one is.
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

    /// Whether the leader has another entry where one is committed here: then it does not have what it must have (leader
    /// completeness, §5.4.3), or this node does not. Nothing of what it sends is taken; the node is to stop.
    pub(super) fn is_contradicted(&self, from: NodeId, append: &Append, out: &mut Outbox<Raft>) -> bool {
        let sent = std::iter::once(append.prev_term).chain(append.entries.iter().map(|entry| entry.term));
        let mut committed = (append.prev_index..=self.log.commit()).zip(sent);
        let found = committed.find_map(|(index, sent)| {
            let committed = self.log.term_at(index).filter(|committed| *committed != sent)?;
            Some(Effect::Contradicted { from, index, committed, sent })
        });
        found.map(|effect| out.effect(effect)).is_some()
    }

    /// Answers a heartbeat while the disk is busy, with what is durable so far: a slow disk is no reason for the leader to
    /// step down, or for reads to wait. False if there is more to say once the disk is done.
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

    /// Takes in an `Append`, and those that had overtaken it.
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

    /// The entry before was not there: where the logs may agree.
    fn conflict(&self, prev_index: Index, prev_term: Term) -> AppendResult {
        let hint = self.log.last_at_most(prev_index, prev_term).max(self.log.commit());
        let hint_term = self.log.term_at(hint).unwrap_or(0);
        AppendResult::Conflict { rejected: prev_index, hint, hint_term }
    }

    /// The log matching check and what follows from it (§5.3; figure 2, "AppendEntries receiver implementation").
    fn append(&mut self, append: Append, out: &mut Outbox<Raft>) -> AppendResult {
        let Append { mut prev_index, prev_term, mut entries, commit } = append;
        let known = self.log.commit();
        if prev_index < known {
            // The leader has all that is committed here (leader completeness, §5.4.3): up to there the logs agree, and
            // there the comparison may start, even where this log no longer holds the entries.
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
                // Only a liar sends this: the sender does not have what is committed here.
                return AppendResult::Conflict { rejected: prev_index, hint: known, hint_term: 0 };
            }
            self.log.replace(first, &entries);
            self.persist(Record::Append { first, entries }, out);
        }
        let most = if self.config.mutant.is(Bug::CommitBeyondMatch) { self.log.last() } else { matched };
        self.commit_to(commit.min(most), out);
        AppendResult::Matched(matched)
    }

    /// Commits up to `index` and hands over what is to be applied.
    pub(super) fn commit_to(&mut self, index: Index, out: &mut Outbox<Raft>) {
        if let Some((first, entries)) = self.log.commit_to(index) {
            out.effect(Effect::Commit { first, entries });
        }
    }
}
