//! The promises that nodes must keep: votes, terms, and how far their logs are durable.

use super::GroupChecker;
use seaworthy::raft::{Index, Term};
use seaworthy::types::NodeId;

impl GroupChecker {
    pub(super) fn vote(&mut self, node: NodeId, term: Term, candidate: NodeId) {
        self.checks += 1;
        let before = *self.votes.entry((node, term)).or_insert(candidate);
        if before != candidate {
            let detail = format!("{node} voted for {before} and for {candidate} in term {term}");
            self.violated("one vote a term", detail);
        }
    }

    pub(super) fn promise(&mut self, node: NodeId, term: Term, index: Index) {
        let promise = self.promises.entry(node).or_default();
        // Within a term a log only grows, because it follows one leader.
        *promise = (*promise).max((term, index));
    }

    pub(super) fn keeps_promises(&mut self, node: NodeId, term: Term, last: Index) {
        self.checks += 1;
        let Some(&(said, index)) = self.promises.get(&node) else { return };
        if term < said || (term == said && last < index) {
            let detail = format!(
                "{node} starts again in term {term} with entries up to {last}; it had spoken in term {said} and said it \
                 holds entries up to {index}"
            );
            self.violated("promises outlive crashes", detail);
        }
    }
}
