//! The oracle: checks Raft's safety properties across all nodes during a run.
//!
//! Every node's driver reports what it persists, sends, commits and becomes (`seaworthy::node::Observer`). The oracle
//! keeps one state for the whole cluster and stops the run at the first step that violates figure 3 of the Raft paper:
//!
//! - **Election safety**: at most one leader per term. A node grants at most one vote per term (taken from the messages
//!   it sends, so that a vote forgotten in a crash is detected when it is granted again).
//! - **Log matching**: entries of equal index and term are equal and follow entries of equal term.
//! - **Leader completeness**: entries committed in an earlier term are in a new leader's log.
//! - **State-machine safety**: no two nodes commit different entries at one index; equal prefixes give equal states.
//! - **Promises outlive crashes**: a restarted node is not in an earlier term than it has sent messages in, and its log
//!   is not shorter than it has told the leader of that term, unless its disk was made to lie.
//! - **Only loss is taken for loss**: no node whose disk has kept everything is told that it has lost data.
//! - **Commits in order**: a node's commits follow each other without gaps, from its snapshot on.
//! - **Revisions never go back**: no key has a lower revision than after an earlier entry, even if its tombstone is
//!   gone.
//! - **Records can be read back**: decoding a written record gives the original record, including the commands of
//!   entries.
//!
//! There is one checker per Raft group. `replicas` adds the checks for quorums. The oracle sees only what nodes do,
//! never what they should have done, and shares no code with the core. It needs memory for one small record per log
//! entry of the run.

mod contents;
pub mod expiry;
mod handle;
mod leaders;
mod promises;
mod replicas;

pub use handle::CheckerHandle;
pub use replicas::Replica;

use crate::report::ApCounts;
use replicas::Replicas;
use seaworthy::kv;
use seaworthy::raft::{Entry, Index, Record, Recovered, Term};
use seaworthy::storage::LogRecord;
use seaworthy::types::{GroupId, Key, NodeId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// The property that written records decode to the original records.
pub const READS_BACK: &str = "records can be read back";

/// The property that a server that has lost its data coordinates no write until it has been refilled.
pub const IDLE: &str = "who rejoins coordinates nothing";

/// A violation of a safety property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The name of the property.
    pub property: &'static str,
    /// A description of the violation.
    pub detail: String,
}

/// What the oracle knows of an entry that was at some index of some log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    term: Term,
    digest: u64,
    /// Term of the entry before it.
    before: Term,
}

/// What the oracle knows of a committed index.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    digest: u64,
    /// Term of the first node that was seen to commit it.
    in_term: Term,
    by: NodeId,
}

/// One node's log, as derived from its own records.
#[derive(Debug, Default)]
struct Log {
    /// The latest term this node is known to be in.
    term: Term,
    /// The latest term it has recorded. Records reach the disk after their effects have been observed.
    recorded: Term,
    /// Index of the entry before `terms[0]`.
    base: Index,
    base_term: Term,
    terms: Vec<Term>,
    committed: Index,
    checked_state: Index,
    /// The term for which this node has just become leader, until its log has been checked.
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
    /// The distinct entries at each index.
    seen: Vec<Vec<Seen>>,
    /// The committed entry at each index; index 0 represents the empty log.
    committed: Vec<Option<Committed>>,
    /// Digest of the state machine after an index, and the first node that had it.
    states: BTreeMap<Index, (u64, NodeId)>,
    /// The oracle's own digest of the state machine's keys after an index, and the first node that had it.
    contents: BTreeMap<Index, (u64, NodeId)>,
    /// The latest revision of each key, and the index of the entry after which it was seen.
    revisions: BTreeMap<Key, (Index, Revision)>,
    logs: BTreeMap<NodeId, Log>,
    /// The latest term in which each node has sent messages, and the index up to which it has reported in that term
    /// that its log is durable.
    promises: BTreeMap<NodeId, (Term, Index)>,
    /// The term in which each leader last sent entries to each follower, and the index of the last of those entries.
    sent: BTreeMap<(NodeId, NodeId), (Term, Index)>,
    /// Number of entries sent, and how many of them had been sent to that follower before.
    entries: (u64, u64),
    /// Number of tombstones in each node's state.
    tombstones: BTreeMap<NodeId, u64>,
    violation: Option<Violation>,
    checks: u64,
}

/// The checkers of the whole cluster.
#[derive(Debug, Default)]
struct ClusterChecker {
    groups: BTreeMap<GroupId, GroupChecker>,
    replicas: Replicas,
    /// Nodes whose disks lose or misplace writes that they have confirmed. The promises of these nodes are not checked.
    distrusted: BTreeSet<NodeId>,
    /// Nodes that know that they have lost data.
    lost: BTreeSet<NodeId>,
    /// Nodes whose state was altered so that it no longer follows from their log.
    altered: BTreeSet<NodeId>,
    /// Set when a node's queues held more than its memory budget.
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

/// The oracle of one run, shared by all its nodes.
#[derive(Clone, Debug, Default)]
pub struct Oracle(Arc<Mutex<ClusterChecker>>);

impl Oracle {
    /// Returns an observer for `node`, which starts or restarts from what its disk held for its groups.
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

    /// Marks a node whose disk loses data that it has confirmed. Losing it is not the node's fault: the node may break
    /// its promises and vote twice. The consequences for the group are violations all the same.
    pub fn distrust(&self, node: NodeId) {
        self.lock().distrusted.insert(node);
    }

    /// Marks a node whose state was altered so that it no longer follows from its log. The node must detect that and
    /// must not serve.
    pub fn alter(&self, node: NodeId) {
        self.lock().altered.insert(node);
    }

    /// Whether the node must not take part: it knows that it has lost data, or its state was altered.
    #[must_use]
    pub fn is_lost(&self, node: NodeId) -> bool {
        let cluster = self.lock();
        cluster.lost.contains(&node) || cluster.altered.contains(&node)
    }

    /// Returns how many log entries leaders have sent, and how many of them had been sent to the same follower before.
    #[must_use]
    pub fn entries_sent(&self) -> (u64, u64) {
        self.lock().groups.values().fold((0, 0), |(all, again), p| (all + p.entries.0, again + p.entries.1))
    }

    /// Returns the largest number of tombstones on any node, in one group or for quorums.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        let cluster = self.lock();
        let of_groups = cluster.groups.values().flat_map(|checker| checker.tombstones.values().copied()).max();
        of_groups.unwrap_or(0).max(cluster.replicas.tombstones())
    }

    /// Returns the first violation, if any.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation()
    }

    /// Returns the number of comparisons made; a run with none has checked nothing.
    #[must_use]
    pub fn checks(&self) -> u64 {
        let cluster = self.lock();
        cluster.groups.values().map(|checker| checker.checks).sum::<u64>() + cluster.replicas.checks
    }

    /// Returns the last index of each group that is known to be committed.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<GroupId, Index> {
        let last = |checker: &GroupChecker| (checker.committed.len() as Index).saturating_sub(1);
        self.lock().groups.iter().map(|(group, checker)| (*group, last(checker))).collect()
    }

    /// Returns the last index of a group that the node's state machine is known to have applied.
    #[must_use]
    pub fn applied(&self, group: GroupId, node: NodeId) -> Index {
        let cluster = self.lock();
        cluster.groups.get(&group).and_then(|checker| checker.logs.get(&node)).map_or(0, |log| log.checked_state)
    }

    /// Returns the node that leads the most groups: elected in the latest term of each group that had a leader. Of
    /// equals, the first.
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

    /// Returns the number of elections won, in all groups.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.lock().groups.values().map(|checker| checker.leaders.len() as u64).sum()
    }

    /// Returns what each node holds for quorums: what it would recover if it lost power now and its disk does not lie.
    #[must_use]
    pub fn replicas(&self) -> BTreeMap<NodeId, Replica> {
        self.lock().replicas.durable.clone()
    }

    /// Returns the counts reported by the quorum side.
    #[must_use]
    pub fn counts(&self) -> ApCounts {
        self.lock().replicas.counts
    }

    fn lock(&self) -> MutexGuard<'_, ClusterChecker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a log entry is a command as its proposer encoded it, or the empty command of a new leader.
fn is_command(entry: &Entry) -> bool {
    entry.command.is_empty() || kv::decode(&entry.command).is_ok_and(|command| kv::encode(&command) == entry.command)
}

impl GroupChecker {
    /// Checks that the record can be read back. [`GroupChecker::append`] checks the commands of entries.
    fn reads_back(&mut self, node: NodeId, group: GroupId, record: &Record) {
        if !LogRecord::Raft(group, record.clone()).reads_back() {
            self.violated(READS_BACK, format!("{node} writes what its log cannot give back: {record:?}"));
        }
    }

    fn violated(&mut self, property: &'static str, detail: String) {
        self.violation.get_or_insert(Violation { property, detail });
    }

    /// A node starts or restarts from what its disk held.
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
            // An entry that equals an earlier one can be read back like that one.
            if is_new && !is_command(entry) {
                self.violated(READS_BACK, format!("{node} writes a command that its log cannot give back: {entry:?}"));
            }
        }
    }

    /// Compares an entry with the known ones. Returns whether none with its index and term was seen before.
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

    /// A batch that appended from `first` on is complete: the entries that the node had committed there must still be
    /// in its log.
    ///
    /// This is not checked record by record, because a batch is reported when it is written, after all effects of its
    /// steps have been observed. An entry may be appended and displaced, and its successor committed, while the
    /// previous batch is still being written.
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
