//! Invariants across nodes (figure 3), checked from outside.

use super::*;
use std::collections::BTreeMap;

/// Records what every node has claimed so far.
#[derive(Default)]
pub struct Oracle {
    leaders: BTreeMap<Term, NodeId>,
    /// Every committed entry, and the term in which it was first seen committed.
    committed: BTreeMap<Index, (Entry, Term)>,
    /// The commit index known when the read was asked for.
    reads: BTreeMap<RequestId, Index>,
    pub reads_answered: usize,
    pub snapshots_restored: usize,
}

impl Oracle {
    /// Greatest index committed anywhere.
    pub fn commit(&self) -> Index {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    pub fn asked(&mut self, read: RequestId) {
        self.reads.insert(read, self.commit());
    }

    /// Checks and records an effect emitted by a node.
    pub fn see(&mut self, raft: &Raft, effect: &Effect) {
        let me = raft.config().id;
        match effect {
            Effect::Became(SoftState { role: Role::Leader, term, .. }) => {
                let first = *self.leaders.entry(*term).or_insert(me);
                assert_eq!(first, me, "election safety: two leaders in term {term}");
                self.check_complete(raft, *term);
            }
            Effect::Commit { first, entries } => {
                for (index, entry) in (*first..).zip(entries) {
                    let term = raft.status().soft.term;
                    let (known, _) = self.committed.entry(index).or_insert((entry.clone(), term));
                    assert_eq!(known, entry, "state machine safety: {me} differs at index {index}");
                }
            }
            Effect::ReadAt { id, index } => {
                self.reads_answered += 1;
                let asked = self.reads[id];
                assert!(*index >= asked, "stale read: {me} answers at {index}, {asked} was committed before");
            }
            Effect::Restore { .. } => self.snapshots_restored += 1,
            _ => {}
        }
    }

    /// Leader completeness: the log of every later leader has the entries committed in earlier terms.
    fn check_complete(&self, raft: &Raft, term: Term) {
        let behind = raft.status().snapshot.index + 1;
        for (index, (entry, _)) in self.committed.range(behind..).filter(|(_, (_, t))| *t < term) {
            assert_eq!(raft.term_at(*index), Some(entry.term), "leader completeness: entry {index} is missing");
        }
    }

    /// Log matching: logs that agree on an entry's term agree on all entries before it.
    pub fn check_matching<'a>(&self, rafts: &(impl Iterator<Item = &'a Raft> + Clone)) {
        for (i, a) in rafts.clone().enumerate() {
            for b in rafts.clone().skip(i + 1) {
                let first = a.status().first.max(b.status().first);
                let both: Vec<_> = a.entries(first).zip(b.entries(first)).collect();
                let agree = both.iter().rposition(|(x, y)| x.term == y.term).map_or(0, |p| p + 1);
                assert!(both[..agree].iter().all(|(x, y)| x == y), "log matching");
            }
        }
    }
}
