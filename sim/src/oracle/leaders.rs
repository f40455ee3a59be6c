//! Checks of leaders: one leader per term, complete logs, and how often entries are sent.

use super::GroupChecker;
use seaworthy::raft::{Index, Role, Term};
use seaworthy::types::NodeId;

impl GroupChecker {
    pub(super) fn became(&mut self, node: NodeId, role: Role, term: Term) {
        let log = self.logs.entry(node).or_default();
        log.term = log.term.max(term);
        if role != Role::Leader {
            return;
        }
        let before = *self.leaders.entry(term).or_insert(node);
        if before != node {
            self.violated("election safety", format!("{before} and {node} both lead term {term}"));
        }
        self.logs.entry(node).or_default().new_leader_of = Some(term);
    }

    /// Checks a new leader's log. This is done at the end of its turn, because records on their way to the disk count
    /// too.
    pub(super) fn complete(&mut self, node: NodeId, snapshot: Index, term_at: impl Fn(Index) -> Option<Term>) {
        let Some(term) = self.logs.entry(node).or_default().new_leader_of.take() else { return };
        self.checks += 1;
        // Because of log matching, checking the last entry committed in an earlier term is enough.
        let earlier = |index: &Index| self.known(*index).is_some_and(|known| known.in_term < term);
        let last = (0..self.committed.len() as Index).rev().find(earlier);
        let Some((index, known)) = last.and_then(|index| Some((index, self.known(index)?))) else { return };
        if index > snapshot && term_at(index) != Some(known.term) {
            let has = term_at(index).map_or("nothing".to_owned(), |term| format!("{index}@{term}"));
            let detail = format!(
                "{node} leads term {term} with {has} where {} committed {index}@{} in term {}",
                known.by, known.term, known.in_term
            );
            self.violated("leader completeness", detail);
        }
    }

    /// Counts the entries that a leader sends to a follower. Within a term each entry needs to be sent only once.
    pub(super) fn sends(&mut self, ends: (NodeId, NodeId), term: Term, before: Index, entries: usize) {
        let last = before + entries as Index;
        let sent = self.sent.entry(ends).or_default();
        let known = if sent.0 == term { sent.1 } else { before };
        *sent = (term, known.max(last));
        self.entries.0 += entries as u64;
        self.entries.1 += known.min(last).saturating_sub(before);
    }
}
