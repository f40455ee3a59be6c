//! One node's observer: reports what the node does to the checkers, and stops the run at a violation.

use super::contents::contents;
use super::{Oracle, Replica, Violation, replicas};
use seaworthy::dynamo::{self, Dynamo};
use seaworthy::identity::Standing;
use seaworthy::kv::Kv;
use seaworthy::node::Observer;
use seaworthy::raft::{AppendResult, Body, Effect, Message, Raft, Record};
use seaworthy::types::{GroupId, NodeId};

/// One node's observer, which reports to the oracle.
#[derive(Debug)]
pub struct CheckerHandle {
    pub(super) node: NodeId,
    /// The node's memory budget for its queues.
    pub(super) memory: usize,
    /// Counts those of its queues that are in the network.
    pub(super) network: Option<Queues>,
    pub(super) oracle: Oracle,
}

/// Counts the bytes that wait in the network: exactly, or as an upper bound that is not over the argument.
pub(super) struct Queues(Box<dyn Fn(usize) -> usize + Send>);

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", (self.0)(0))
    }
}

impl CheckerHandle {
    /// Adds the bytes that wait in the network to the node's queues.
    #[must_use]
    pub fn minds(self, queues: impl Fn(usize) -> usize + Send + 'static) -> CheckerHandle {
        CheckerHandle { network: Some(Queues(Box::new(queues))), ..self }
    }

    /// Panics, which ends the node's run, if a property is violated.
    fn stop_if(&self, broken: Option<Violation>) {
        if let Some(Violation { property, detail }) = broken {
            panic!("{property} is broken: {detail}");
        }
    }
}

impl Observer for CheckerHandle {
    fn persisting(&mut self, group: GroupId, records: &[Record]) {
        let mut cluster = self.oracle.lock();
        let checker = cluster.group(group);
        for record in records {
            checker.persisting(self.node, record);
            checker.reads_back(self.node, group, record);
        }
        let first = |record: &Record| if let Record::Append { first, .. } = record { Some(*first) } else { None };
        if let Some(first) = records.iter().filter_map(first).min() {
            checker.keeps_committed(self.node, first);
        }
    }

    fn effect(&mut self, group: GroupId, effect: &Effect) {
        let mut cluster = self.oracle.lock();
        let checker = cluster.group(group);
        match effect {
            Effect::Became(soft) => checker.became(self.node, soft.role, soft.term),
            Effect::Commit { first, entries } => {
                for (index, entry) in (*first..).zip(entries) {
                    checker.commit(self.node, index, entry);
                }
            }
            Effect::Restore { meta } => {
                let log = checker.logs.entry(self.node).or_default();
                log.committed = log.committed.max(meta.index);
            }
            _ => {}
        }
    }

    fn sending(&mut self, to: NodeId, group: GroupId, message: &Message) {
        let mut cluster = self.oracle.lock();
        if cluster.distrusted.contains(&self.node) {
            return;
        }
        let checker = cluster.group(group);
        if let Body::Append { prev_index, entries, .. } = &message.body
            && !entries.is_empty()
        {
            checker.sends((self.node, to), message.term, *prev_index, entries.len());
        }
        let index = match message.body {
            // Pre-votes and digests do not promise to keep their term.
            Body::Vote { pre: true, .. } | Body::VoteReply { pre: true, .. } | Body::Digest { .. } => return,
            Body::VoteReply { granted: true, .. } => {
                checker.vote(self.node, message.term, to);
                0
            }
            // A candidate has voted for itself.
            Body::Vote { .. } => {
                checker.vote(self.node, message.term, self.node);
                0
            }
            Body::AppendReply { result: AppendResult::Matched(index), .. } => index,
            Body::SnapshotReply { installed: true, meta, .. } => meta.index,
            _ => 0,
        };
        checker.promise(self.node, message.term, index);
    }

    fn turn(&mut self, group: GroupId, raft: &Raft, kv: &Kv) {
        let mut cluster = self.oracle.lock();
        let altered = cluster.altered.contains(&self.node);
        let checker = cluster.group(group);
        checker.complete(self.node, raft.status().snapshot.index, |index| raft.term_at(index));
        if !altered && checker.has_applied(self.node, kv.applied()) {
            checker.state(self.node, kv.applied(), || kv.digest());
            // If other nodes hold the same contents, their revisions need not be checked again.
            if checker.contents(self.node, kv.applied(), || contents(kv)) {
                checker.revisions(kv);
            }
            checker.tombstones.insert(self.node, kv.tombstones());
        }
        let broken = checker.violation.is_some().then(|| cluster.violation()).flatten();
        drop(cluster);
        self.stop_if(broken);
    }

    fn stands(&mut self, standing: Standing) {
        let mut cluster = self.oracle.lock();
        if standing != Standing::Lost {
            cluster.lost.remove(&self.node);
            return;
        }
        cluster.lost.insert(self.node);
        let trusted = !cluster.distrusted.contains(&self.node);
        drop(cluster);
        let detail = format!("{} is taken for one that has lost data, though its disk has kept all of it", self.node);
        self.stop_if(trusted.then_some(Violation { property: "only loss is taken for loss", detail }));
    }

    fn ap_effect(&mut self, effect: &dynamo::Effect) {
        if let dynamo::Effect::Note(note) = effect {
            replicas::count(&mut self.oracle.lock().replicas.counts, note);
        }
    }

    fn ap_durable(&mut self, records: usize) {
        self.oracle.lock().replicas.durable(self.node, records);
    }

    fn queued(&mut self, bytes: usize) {
        let bytes = bytes + self.network.as_ref().map_or(0, |queues| (queues.0)(self.memory.saturating_sub(bytes)));
        if bytes > self.memory {
            let detail = format!("the queues of {} hold {bytes} bytes, its budget is {}", self.node, self.memory);
            let violation = Violation { property: "memory budget", detail };
            self.oracle.lock().over_budget = Some(violation.clone());
            self.stop_if(Some(violation));
        }
    }

    fn ap_starts(&mut self, dynamo: &Dynamo) {
        let replica = Replica { keys: dynamo.keys(), hints: dynamo.hints() };
        self.oracle.lock().replicas.starts(self.node, replica);
    }

    fn ap_changes(&mut self, records: &[dynamo::Record]) {
        let mut cluster = self.oracle.lock();
        let trusted = !cluster.distrusted.contains(&self.node);
        records.iter().for_each(|record| cluster.replicas.changes(self.node, record, trusted));
        let broken = cluster.replicas.violation.clone();
        drop(cluster);
        self.stop_if(broken);
    }
}
