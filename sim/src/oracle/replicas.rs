//! The checks for quorums: what each node holds, and the invariants of it.
//!
//! - **One dot, one write**: no two writes have the same dot. A node may assign a dot, die before it is durable, and
//!   correctly assign it again. So this is checked where it is final: a version that *another* node holds has left its
//!   coordinator after the coordinator's fsync.
//! - **One write, one dot**: each write has exactly one dot. Two coordinators never execute the same write, however
//!   often and through whichever nodes it is sent.
//! - **Who rejoins coordinates nothing**: a server that has reported the loss of its data assigns no dot to a new write
//!   of its replica until it is a full member again.
//! - **Records can be read back**: decoding a written record gives the original record.
//!
//! A node holds what it found on its disk, changed by its records. What it holds *durably* is changed only by synced
//! records; convergence and the end of a run are judged by that.

use super::{IDLE, READS_BACK, Violation};
use crate::report::ApCounts;
use hashbrown::HashMap;
use im::OrdMap;
use seaworthy::dynamo::siblings::WriteId;
use seaworthy::dynamo::version_vector::Dot;
use seaworthy::dynamo::{Entry, Hint, Holding, Note, Record};
use seaworthy::placement::Layout;
use seaworthy::storage::LogRecord;
use seaworthy::types::{Key, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The data that one node holds.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Its own keys.
    pub keys: OrdMap<Key, Arc<Entry>>,
    /// Hints for other nodes.
    pub hints: OrdMap<(NodeId, Key), Hint>,
}

impl Replica {
    /// Applies a record. Returns the entry that it replaces, if any.
    pub fn changes(&mut self, record: &Record) -> Option<Arc<Entry>> {
        match record {
            Record::Key(key, Some(entry)) => self.keys.insert(key.clone(), entry.clone()),
            Record::Key(key, None) => self.keys.remove(key),
            Record::Hint(owner, key, Some(hint)) => {
                self.hints.insert((*owner, key.clone()), hint.clone()).map(|old| old.entry)
            }
            Record::Hint(owner, key, None) => self.hints.remove(&(*owner, key.clone())).map(|old| old.entry),
            Record::Epoch(_) | Record::Snapshot(_) | Record::Rejoin(_) => None,
        }
    }

    /// Returns what it holds of `key`, as its own and as hints, and how each version arrived.
    #[must_use]
    pub fn holdings(&self, node: NodeId, key: &Key, n: usize, layout: &Layout) -> Vec<Holding> {
        let place =
            layout.order(key).iter().take(n).position(|id| *id == node).and_then(|place| u32::try_from(place).ok());
        let of = |entry: &Entry, owner| Holding {
            node,
            place,
            owner,
            clock: entry.siblings.clock().clone(),
            versions: entry.siblings.versions().to_vec(),
            arrivals: entry.arrivals.clone(),
        };
        let own = self.keys.get(key).map(|entry| of(entry, None));
        let hints = self.hints.iter().filter(|((_, hinted), _)| hinted == key);
        own.into_iter().chain(hints.map(|((owner, _), hint)| of(&hint.entry, Some(*owner)))).collect()
    }
}

/// Counts what a node reported.
pub(super) fn count(counts: &mut ApCounts, note: &Note) {
    match note {
        Note::HintStored { .. } => counts.hints_stored += 1,
        Note::HintHandedOver { .. } => counts.handed_over += 1,
        Note::HintRefused { .. } => counts.hints_refused += 1,
        Note::HintExpired { .. } => counts.hints_expired += 1,
        Note::Repaired { .. } => counts.repairs += 1,
        Note::Collected { .. } => counts.collected += 1,
        Note::Pruned { entries, .. } => counts.pruned += u64::from(*entries),
        Note::Full { .. } | Note::Behind { .. } | Note::Nonsense { .. } | Note::Rejoins | Note::Rejoined => {}
    }
}

/// The data of all nodes.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    pub(super) held: BTreeMap<NodeId, Replica>,
    pub(super) durable: BTreeMap<NodeId, Replica>,
    /// The records of each node that are not durable yet.
    unsynced: BTreeMap<NodeId, VecDeque<Record>>,
    /// Nodes that have lost their data and have reported it.
    rejoining: BTreeSet<NodeId>,
    pub(super) counts: ApCounts,
    pub(super) violation: Option<Violation>,
    pub(super) checks: u64,
    /// The write of each dot that has left its coordinator, and the first node seen with it. Used for look-ups only,
    /// never iterated.
    dots: HashMap<(Key, Dot), (WriteId, NodeId)>,
    /// The dot of each such write. Used for look-ups only, never iterated.
    names: HashMap<WriteId, Dot>,
}

impl Replicas {
    /// Returns the largest number of tombstones that a node holds durably.
    pub(super) fn tombstones(&self) -> u64 {
        let deleted = |replica: &Replica| replica.keys.values().filter(|entry| entry.siblings.is_deleted()).count();
        self.durable.values().map(deleted).max().unwrap_or(0) as u64
    }

    /// A node starts or restarts with what it found on its disk.
    pub(super) fn starts(&mut self, node: NodeId, replica: Replica) {
        self.unsynced.remove(&node);
        self.durable.insert(node, replica.clone());
        self.held.insert(node, replica);
    }

    /// The next `records` records of a node are durable.
    pub(super) fn durable(&mut self, node: NodeId, records: usize) {
        let unsynced = self.unsynced.entry(node).or_default();
        let durable = self.durable.entry(node).or_default();
        for record in unsynced.drain(..records.min(unsynced.len())) {
            durable.changes(&record);
        }
    }

    /// Applies a change of a node's state and checks it.
    pub(super) fn changes(&mut self, node: NodeId, record: &Record, trusted: bool) {
        if !LogRecord::Ap(record.clone()).reads_back() {
            let detail = format!("{node} writes what its log cannot give back: {record:?}");
            self.violation.get_or_insert(Violation { property: READS_BACK, detail });
        }
        self.unsynced.entry(node).or_default().push_back(record.clone());
        let old = self.held.entry(node).or_default().changes(record);
        let (key, entry) = match record {
            Record::Key(key, Some(entry)) => (key, entry),
            Record::Hint(_, key, Some(hint)) => (key, &hint.entry),
            Record::Rejoin(rejoins) => {
                if *rejoins {
                    self.rejoining.insert(node)
                } else {
                    self.rejoining.remove(&node)
                };
                return;
            }
            _ => return,
        };
        if matches!(record, Record::Key(..)) && self.rejoining.contains(&node) {
            self.is_idle(node, key, entry, old.as_ref());
        }
        if trusted {
            self.looks_at(node, key, entry, old.as_ref());
        }
    }

    /// Checks that a rejoining node gets no new version with a dot of its own, except versions seen on other nodes.
    fn is_idle(&mut self, node: NodeId, key: &Key, entry: &Entry, old: Option<&Arc<Entry>>) {
        let old = old.map_or(&[][..], |old| old.siblings.versions());
        let made = entry.siblings.versions().iter().find(|version| {
            version.dot.actor.node == node
                && !self.dots.contains_key(&(key.clone(), version.dot))
                && old.iter().all(|seen| seen.dot != version.dot)
        });
        if let Some(made) = made {
            let detail = format!("{node} has made {} of {}", made.dot, String::from_utf8_lossy(key));
            self.violation.get_or_insert(Violation { property: IDLE, detail });
        }
    }

    fn looks_at(&mut self, node: NodeId, key: &Key, entry: &Entry, old: Option<&Arc<Entry>>) {
        let old = old.map_or(&[][..], |old| old.siblings.versions());
        for version in entry.siblings.versions() {
            if old.iter().any(|seen| (seen.dot, seen.write) == (version.dot, version.write)) {
                continue;
            }
            self.checks += 1;
            let spread = version.dot.actor.node != node;
            if spread && *self.names.entry(version.write).or_insert(version.dot) != version.dot {
                let (WriteId { client, number }, other) = (version.write, self.names[&version.write]);
                let key = String::from_utf8_lossy(key);
                let detail = format!("write {number} of client {client:x}, of {key}, is {} and {other}", version.dot);
                self.violation.get_or_insert(Violation { property: "one write, one dot", detail });
            }
            let name = (key.clone(), version.dot);
            let known = match spread {
                true => Some(*self.dots.entry(name).or_insert((version.write, node))),
                false => self.dots.get(&name).copied(),
            };
            let Some(known) = known else { continue };
            if known.0 != version.write {
                let (key, dot) = (String::from_utf8_lossy(key), version.dot);
                let detail = format!(
                    "{dot} of {key} is write {} of client {:x} on {node}, and write {} of client {:x} on {}",
                    version.write.number, version.write.client, known.0.number, known.0.client, known.1
                );
                self.violation.get_or_insert(Violation { property: "one dot, one write", detail });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy::dynamo::context::Seen;
    use seaworthy::dynamo::siblings::{Content, Siblings};
    use seaworthy::dynamo::version_vector::Actor;
    use seaworthy::mutant::Mutant;
    use seaworthy::types::{Hlc, Resolve};

    const KEY: Key = Key::from_static(b"k");

    fn held(maker: u32, write: u64) -> Record {
        let actor = Actor { node: NodeId(maker), incarnation: 1 };
        let mut siblings = Siblings::default();
        let id = WriteId { client: 9, number: write };
        let how = (Resolve::Siblings, Mutant::default());
        siblings.write(&Seen::default(), actor, (Hlc(1), id), Content::Tombstone, how);
        Record::Key(KEY, Some(Arc::new(Entry { siblings, ..Entry::default() })))
    }

    #[test]
    fn a_dot_of_two_writes_is_seen_once_it_has_spread() {
        let mut all = Replicas::default();
        all.changes(NodeId(1), &held(1, 1), true);
        all.changes(NodeId(1), &held(1, 2), true);
        assert_eq!(all.violation, None, "the first was never durable");
        all.changes(NodeId(2), &held(1, 2), true);
        all.changes(NodeId(3), &held(1, 3), false);
        assert_eq!(all.violation, None, "a disk that lies");
        all.changes(NodeId(1), &held(1, 3), true);
        assert_eq!(all.violation.map(|v| v.property), Some("one dot, one write"));
    }

    #[test]
    fn a_write_of_two_dots_is_seen_once_both_have_spread() {
        let mut all = Replicas::default();
        all.changes(NodeId(1), &held(1, 1), true);
        all.changes(NodeId(2), &held(2, 1), true);
        assert_eq!(all.violation, None, "each on its maker only");
        all.changes(NodeId(3), &held(1, 1), true);
        assert_eq!(all.violation, None);
        all.changes(NodeId(3), &held(2, 1), true);
        assert_eq!(all.violation.map(|v| v.property), Some("one write, one dot"));
    }

    #[test]
    fn a_write_through_one_that_rejoins_is_seen() {
        let mut all = Replicas::default();
        all.changes(NodeId(2), &held(1, 1), true);
        all.changes(NodeId(1), &Record::Rejoin(true), true);
        all.changes(NodeId(1), &held(1, 1), true);
        all.changes(NodeId(1), &held(2, 2), true);
        assert_eq!(all.violation, None, "what others hold, its own of old and theirs");
        let Record::Key(key, Some(entry)) = held(1, 3) else { panic!("an entry") };
        all.changes(NodeId(1), &Record::Key(Key::from("other"), Some(entry)), true);
        assert_eq!(all.violation.take().map(|v| v.property), Some(IDLE));
        all.changes(NodeId(1), &Record::Rejoin(false), true);
        all.changes(NodeId(1), &held(1, 1), true);
        assert_eq!((key, all.violation), (KEY, None));
    }

    #[test]
    fn what_is_not_durable_is_not_held() {
        let mut all = Replicas::default();
        let keys = |all: &Replicas| all.durable.get(&NodeId(1)).map_or(0, |replica| replica.keys.len());
        all.starts(NodeId(1), Replica::default());
        all.changes(NodeId(1), &held(1, 1), true);
        assert_eq!((all.held[&NodeId(1)].keys.len(), keys(&all)), (1, 0));
        all.durable(NodeId(1), 1);
        assert_eq!(keys(&all), 1);
        all.changes(NodeId(1), &Record::Key(KEY, None), true);
        all.starts(NodeId(1), Replica::default());
        all.durable(NodeId(1), 1);
        assert_eq!(keys(&all), 0, "what a process did not make durable is nothing to the next");
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn a_record_that_cannot_be_read_back_is_seen() {
        use seaworthy::mutant::Bug;
        let siblings = |write| match held(1, write) {
            Record::Key(_, Some(entry)) => entry.siblings.clone(),
            other => panic!("{other:?}"),
        };
        let mut all = Replicas::default();
        let mut merged = siblings(1);
        let mut other = Siblings::default();
        let (actor, id) = (Actor { node: NodeId(2), incarnation: 1 }, WriteId { client: 9, number: 2 });
        other.write(&Seen::default(), actor, (Hlc(1), id), Content::Tombstone, (Resolve::Siblings, Mutant::default()));
        merged.merge(&other, Resolve::Siblings, Mutant::planted(Bug::VersionsOutOfOrder));
        all.changes(NodeId(1), &held(1, 1), true);
        assert_eq!(all.violation, None);
        let entry = Entry { siblings: merged, ..Entry::default() };
        all.changes(NodeId(1), &Record::Key(KEY, Some(Arc::new(entry))), true);
        assert_eq!(all.violation.map(|v| v.property), Some(READS_BACK));
    }

    #[test]
    fn nothing_is_looked_at_twice() {
        let mut all = Replicas::default();
        all.changes(NodeId(2), &held(1, 1), true);
        all.changes(NodeId(2), &held(1, 1), true);
        assert_eq!(all.checks, 1);
    }
}
