//! The all-seeing eye: Raft's safety properties, checked across nodes while a run goes on.
//!
//! Every node's driver reports what it persists, sends, commits and becomes (`seaworthy::node::Observer`). The oracle keeps
//! one picture of the whole cluster and stops the run at the first step that contradicts figure 3 of the Raft paper:
//!
//! - **Election safety**: at most one leader a term; a node grants at most one vote a term (read off the messages it
//!   sends, so that a vote forgotten in a crash is seen when it is given again).
//! - **Log matching**: entries of equal index and term are equal and follow entries of equal term.
//! - **Leader completeness**: what was committed in an earlier term is in a new leader's log.
//! - **State-machine safety**: no two nodes commit different entries at one index; equal states after equal prefixes.
//! - **Promises outlive crashes**: a node that starts again is in no earlier term than it has spoken in, and its log is
//!   no shorter than it has told the leader of that term, unless its disk was made to lie.
//! - **Only loss is taken for loss**: no node whose disk has kept everything is told that it has lost data.
//! - **Commits in order**: a node's commits follow each other without gap, from its snapshot on.
//! - **Revisions never go back**: no key has a lower revision than after an earlier entry, though its tombstone may be gone.
//! - **Records can be read back**: decoding what is written gives what was to be written, commands of entries included.
//!
//! There is a picture for each Raft group. `replicas` has what the quorums' side adds.
//! It sees only what nodes do, never what they should have done; it shares no code with the core. Its memory is one
//! small record per log entry of the run.

mod contents;
pub mod expiry;
mod leaders;
mod promises;
mod replicas;

pub use replicas::Replica;

use crate::report::ApCounts;
use contents::contents;
use replicas::Replicas;
use seaworthy::dynamo::{self, Dynamo};
use seaworthy::identity::Standing;
use seaworthy::kv::{self, Kv};
use seaworthy::node::Observer;
use seaworthy::raft::{AppendResult, Body, Effect, Entry, Index, Message, Raft, Record, Recovered, Term};
use seaworthy::storage::LogRecord;
use seaworthy::types::{GroupId, Key, NodeId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// What is written can be read back.
pub const READS_BACK: &str = "records can be read back";

/// A server that has lost what it held coordinates no write until it has been refilled.
pub const IDLE: &str = "who rejoins coordinates nothing";

/// A safety property that was seen broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The property's name.
    pub property: &'static str,
    /// What was seen, in words.
    pub detail: String,
}

/// What the oracle knows of an entry that stood at some index in some log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    term: Term,
    digest: u64,
    /// Term of the entry before it.
    before: Term,
}

/// An index known committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    digest: u64,
    /// Term of the node that was first seen to commit it.
    in_term: Term,
    by: NodeId,
}

/// One node's log as its own records tell it.
#[derive(Debug, Default)]
struct Log {
    /// The latest term this node is known to be in.
    term: Term,
    /// The latest term it has recorded; records reach the disk after what they are about has been seen.
    recorded: Term,
    /// Index of the entry before `terms[0]`.
    base: Index,
    base_term: Term,
    terms: Vec<Term>,
    committed: Index,
    checked_state: Index,
    /// The term this node has just come to lead, until its log has been looked at.
    new_leader_of: Option<Term>,
}

impl Log {
    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base {
            return Some(self.base_term);
        }
        self.terms.get(usize::try_from(index.checked_sub(self.base + 1)?).ok()?).copied()
    }

    fn last(&self) -> Index {
        self.base + self.terms.len() as Index
    }
}

#[derive(Debug, Default)]
struct GroupChecker {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// By index.
    seen: Vec<Vec<Seen>>,
    /// By index; index 0 stands for the empty log.
    committed: Vec<Option<Committed>>,
    /// Digest of the state machine after an index, and who had it.
    states: BTreeMap<Index, (u64, NodeId)>,
    /// Our own digest of its keys, likewise.
    contents: BTreeMap<Index, (u64, NodeId)>,
    /// The latest revision of each key, and after which entry.
    revisions: BTreeMap<Key, (Index, Revision)>,
    logs: BTreeMap<NodeId, Log>,
    /// The latest term each node has spoken in, and up to where it has said in that term that its log is durable.
    promises: BTreeMap<NodeId, (Term, Index)>,
    /// The term in which each leader last sent entries to each follower, and the last of those.
    sent: BTreeMap<(NodeId, NodeId), (Term, Index)>,
    /// Entries sent, and those among them that had been sent to that follower before.
    entries: (u64, u64),
    /// Tombstones in each node's state.
    tombstones: BTreeMap<NodeId, u64>,
    violation: Option<Violation>,
    checks: u64,
}

/// All there is to be seen.
#[derive(Debug, Default)]
struct ClusterChecker {
    groups: BTreeMap<GroupId, GroupChecker>,
    replicas: Replicas,
    /// Nodes whose disks write elsewhere than told, so that their promises are worth nothing.
    distrusted: BTreeSet<NodeId>,
    /// Nodes that know that they have lost data.
    lost: BTreeSet<NodeId>,
    /// Nodes that were given another state than their log makes.
    altered: BTreeSet<NodeId>,
    /// A node held more than it may.
    over_budget: Option<Violation>,
}

impl ClusterChecker {
    fn group(&mut self, group: GroupId) -> &mut GroupChecker {
        self.groups.entry(group).or_default()
    }

    fn violation(&self) -> Option<Violation> {
        let several = self.groups.len() > 1;
        let of_group = self.groups.iter().find_map(|(group, checker)| {
            let Violation { property, detail } = checker.violation.clone()?;
            Some(Violation {
                property,
                detail: if several { format!("in group {}: {detail}", group.0) } else { detail },
            })
        });
        of_group.or_else(|| self.replicas.violation.clone()).or_else(|| self.over_budget.clone())
    }
}

/// The picture of one run, shared by all its nodes.
#[derive(Clone, Debug, Default)]
pub struct Oracle(Arc<Mutex<ClusterChecker>>);

/// One node's report line to the oracle.
#[derive(Debug)]
pub struct CheckerHandle {
    node: NodeId,
    /// The node's budget for its queues.
    memory: usize,
    /// Those of its queues that are in the network.
    network: Option<Queues>,
    oracle: Oracle,
}

/// How many bytes wait in the network, if more than so many.
struct Queues(Box<dyn Fn(usize) -> usize + Send>);

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", (self.0)(0))
    }
}

impl Oracle {
    /// An observer for `node`, which starts (again) from what its disk held for its groups.
    #[must_use]
    pub fn handle<'a>(
        &self,
        (node, memory): (NodeId, usize),
        groups: impl IntoIterator<Item = (GroupId, &'a Recovered)>,
    ) -> CheckerHandle {
        let mut cluster = self.lock();
        let trusted = !cluster.distrusted.contains(&node);
        for (group, recovered) in groups {
            cluster.group(group).starts(node, recovered, trusted);
        }
        drop(cluster);
        CheckerHandle { node, memory, network: None, oracle: self.clone() }
    }

    /// The node's disk loses what it has confirmed; what the node forgets is not its own fault: it may go back on promises
    /// and vote twice. Whatever follows from that for the group is no less forbidden.
    pub fn distrust(&self, node: NodeId) {
        self.lock().distrusted.insert(node);
    }

    /// The node's state is made another than its log makes. It is to find that out, and not to serve.
    pub fn alter(&self, node: NodeId) {
        self.lock().altered.insert(node);
    }

    /// Whether the node is to take no part: it knows that it has lost data, or its state was altered.
    #[must_use]
    pub fn is_lost(&self, node: NodeId) -> bool {
        let cluster = self.lock();
        cluster.lost.contains(&node) || cluster.altered.contains(&node)
    }

    /// How many log entries leaders have sent, and how many of them to whom they had been sent before.
    #[must_use]
    pub fn entries_sent(&self) -> (u64, u64) {
        self.lock().groups.values().fold((0, 0), |(all, again), p| (all + p.entries.0, again + p.entries.1))
    }

    /// The most tombstones that a node holds, of one group or for quorums.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        let cluster = self.lock();
        let of_groups = cluster.groups.values().flat_map(|checker| checker.tombstones.values().copied()).max();
        of_groups.unwrap_or(0).max(cluster.replicas.tombstones())
    }

    /// The first violation, if any.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation()
    }

    /// How many comparisons were made; a run with none has checked nothing.
    #[must_use]
    pub fn checks(&self) -> u64 {
        let cluster = self.lock();
        cluster.groups.values().map(|checker| checker.checks).sum::<u64>() + cluster.replicas.checks
    }

    /// The last index of each group known committed.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<GroupId, Index> {
        let last = |checker: &GroupChecker| (checker.committed.len() as Index).saturating_sub(1);
        self.lock().groups.iter().map(|(group, checker)| (*group, last(checker))).collect()
    }

    /// The last index of a group whose effect the node's state machine was seen to have.
    #[must_use]
    pub fn applied(&self, group: GroupId, node: NodeId) -> Index {
        let cluster = self.lock();
        cluster.groups.get(&group).and_then(|checker| checker.logs.get(&node)).map_or(0, |log| log.checked_state)
    }

    /// Who leads most groups: was elected in the latest term of each that had a leader. Of equals the first.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let mut groups: BTreeMap<NodeId, usize> = BTreeMap::new();
        for checker in self.lock().groups.values() {
            if let Some((_, node)) = checker.leaders.last_key_value() {
                *groups.entry(*node).or_default() += 1;
            }
        }
        groups.into_iter().max_by_key(|(node, count)| (*count, std::cmp::Reverse(*node))).map(|(node, _)| node)
    }

    /// How many elections were won, in all groups.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.lock().groups.values().map(|checker| checker.leaders.len() as u64).sum()
    }

    /// What each node holds for quorums: what it would find if it lost power now and its disk does not lie.
    #[must_use]
    pub fn replicas(&self) -> BTreeMap<NodeId, Replica> {
        self.lock().replicas.durable.clone()
    }

    /// What the quorums' side told of itself.
    #[must_use]
    pub fn counts(&self) -> ApCounts {
        self.lock().replicas.counts
    }

    fn lock(&self) -> MutexGuard<'_, ClusterChecker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckerHandle {
    /// Counts what waits in the network too.
    #[must_use]
    pub fn minds(self, queues: impl Fn(usize) -> usize + Send + 'static) -> CheckerHandle {
        CheckerHandle { network: Some(Queues(Box::new(queues))), ..self }
    }

    /// Unwinds out of the node, whose run ends with it, if a property was seen broken.
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
            // Pre-votes and digests say nothing of the term that must be kept.
            Body::Vote { pre: true, .. } | Body::VoteReply { pre: true, .. } | Body::Digest { .. } => return,
            Body::VoteReply { granted: true, .. } => {
                checker.vote(self.node, message.term, to);
                0
            }
            // Who asks for votes has voted for itself.
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
            // Others that hold the same need not be looked into again.
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

/// Whether a log entry is a command as its proposer wrote it, or that of a new leader, which says nothing.
fn is_command(entry: &Entry) -> bool {
    entry.command.is_empty() || kv::decode(&entry.command).is_ok_and(|command| kv::encode(&command) == entry.command)
}

impl GroupChecker {
    /// What is written can be read back; of the commands of entries [`GroupChecker::append`] sees to that.
    fn reads_back(&mut self, node: NodeId, group: GroupId, record: &Record) {
        if !LogRecord::Raft(group, record.clone()).reads_back() {
            self.violated(READS_BACK, format!("{node} writes what its log cannot give back: {record:?}"));
        }
    }

    fn violated(&mut self, property: &'static str, detail: String) {
        self.violation.get_or_insert(Violation { property, detail });
    }

    /// A node starts (again) from what its disk held.
    fn starts(&mut self, node: NodeId, recovered: &Recovered, trusted: bool) {
        let log = Log {
            term: recovered.term,
            recorded: recovered.term,
            base: recovered.snapshot.index,
            base_term: recovered.snapshot.term,
            terms: recovered.entries.iter().map(|entry| entry.term).collect(),
            committed: recovered.snapshot.index,
            ..Log::default()
        };
        let (term, last) = (log.term, log.last());
        self.logs.insert(node, log);
        if trusted {
            self.keeps_promises(node, term, last);
        }
    }

    fn persisting(&mut self, node: NodeId, record: &Record) {
        match record {
            Record::HardState { term, .. } => {
                let log = self.logs.entry(node).or_default();
                let before = std::mem::replace(&mut log.recorded, *term);
                log.term = log.term.max(*term);
                if *term < before {
                    self.violated("terms never go back", format!("{node} went from term {before} back to {term}"));
                }
            }
            Record::Append { first, entries } => self.append(node, *first, entries),
            Record::Snapshot(meta) => {
                let log = self.logs.entry(node).or_default();
                if log.term_at(meta.index) == Some(meta.term) {
                    let gone = usize::try_from(meta.index - log.base).unwrap_or(usize::MAX).min(log.terms.len());
                    log.terms.drain(..gone);
                } else {
                    log.terms.clear();
                }
                (log.base, log.base_term) = (meta.index, meta.term);
            }
        }
    }

    fn append(&mut self, node: NodeId, first: Index, entries: &[Entry]) {
        let log = self.logs.entry(node).or_default();
        let Some(mut before) = first.checked_sub(1).and_then(|index| log.term_at(index)) else {
            let (base, last) = (log.base, log.last());
            let detail = format!("{node} appends at {first} to a log that holds {} to {last}", base + 1);
            return self.violated("logs have no gaps", detail);
        };
        log.terms.truncate(usize::try_from(first - 1 - log.base).unwrap_or(usize::MAX));
        log.terms.extend(entries.iter().map(|entry| entry.term));
        for (index, entry) in (first..).zip(entries) {
            let seen = Seen { term: entry.term, digest: xxh3_64(&entry.command), before };
            before = entry.term;
            let is_new = self.matches(node, index, seen);
            // One that equals an earlier one reads back as that did.
            if is_new && !is_command(entry) {
                self.violated(READS_BACK, format!("{node} writes a command that its log cannot give back: {entry:?}"));
            }
        }
    }

    /// Compares an entry with what is known of others; true if none of its index and term was seen before.
    fn matches(&mut self, node: NodeId, index: Index, seen: Seen) -> bool {
        self.checks += 1;
        let slot = usize::try_from(index).unwrap_or(usize::MAX);
        if self.seen.len() <= slot {
            self.seen.resize_with(slot + 1, Vec::new);
        }
        match self.seen[slot].iter().find(|other| other.term == seen.term) {
            None => {
                self.seen[slot].push(seen);
                true
            }
            Some(other) if *other == seen => false,
            Some(other) => {
                let detail = format!(
                    "{node} holds an entry {index}@{} that differs from another node's (digest {:016x} after term {}, there \
                     {:016x} after term {})",
                    seen.term, seen.digest, seen.before, other.digest, other.before
                );
                self.violated("log matching", detail);
                false
            }
        }
    }

    /// A batch that appended from `first` on is complete: what the node had committed there must still be in its log.
    ///
    /// Not record by record: a batch is told when it is written, which is after everything its steps asked for has been
    /// seen. An entry may be appended, displaced and its successor committed while the batch before is with the disk.
    fn keeps_committed(&mut self, node: NodeId, first: Index) {
        let Some(log) = self.logs.get(&node) else { return };
        let lost = (first.max(log.base + 1)..=log.committed).find_map(|index| {
            let known = self.known(index)?;
            let seen = self.seen.get(usize::try_from(index).ok()?)?;
            let held = log.term_at(index).and_then(|term| seen.iter().find(|seen| seen.term == term));
            let kept = held.is_some_and(|held| (held.term, held.digest) == (known.term, known.digest));
            (!kept).then(|| (index, known.term, held.map(|held| held.term)))
        });
        if let Some((index, term, held)) = lost {
            let now = held.map_or("nothing".to_owned(), |term| format!("{index}@{term}"));
            let detail = format!("{node} had committed entry {index}@{term} and now has {now} in its place");
            self.violated("committed entries stay", detail);
        }
    }

    fn known(&self, index: Index) -> Option<Committed> {
        self.committed.get(usize::try_from(index).ok()?).copied().flatten()
    }

    fn commit(&mut self, node: NodeId, index: Index, entry: &Entry) {
        self.checks += 1;
        let log = self.logs.entry(node).or_default();
        let (expected, in_term) = (log.committed + 1, log.term);
        log.committed = index;
        if index != expected {
            self.violated("commits in order", format!("{node} commits entry {index} where {expected} was due"));
        }
        let slot = usize::try_from(index).unwrap_or(usize::MAX);
        if self.committed.len() <= slot {
            self.committed.resize(slot + 1, None);
        }
        let new = Committed { term: entry.term, digest: xxh3_64(&entry.command), in_term, by: node };
        let known = *self.committed[slot].get_or_insert(new);
        if (known.term, known.digest) != (new.term, new.digest) {
            let other = if known.term == new.term { " with other contents" } else { "" };
            let detail = format!(
                "{node} commits entry {index}@{} where {} had committed {index}@{}{other}",
                new.term, known.by, known.term
            );
            self.violated("state-machine safety", detail);
        }
    }
}

#[cfg(test)]
mod tests;
