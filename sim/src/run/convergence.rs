//! What replicas hold, and when they have converged.

use super::cluster::Cluster;
use super::merges;
use super::workload::word_of;
use crate::oracle::Replica;
use crate::report::Mode;
use seaworthy::dynamo::Entry;
use seaworthy::dynamo::crdt::State;
use seaworthy::dynamo::siblings::{Content, Version};
use seaworthy::raft::Index;
use seaworthy::types::{GroupId, Key, NodeId};
use seaworthy_check::replicas::Dump;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Interval, in nanoseconds, at which replicas are compared.
pub(super) const LOOK: u64 = 20_000_000;

impl Cluster {
    /// The live servers among those that must hold `key` under quorums.
    pub(super) fn living_replicas(&self, key: &[u8]) -> Vec<NodeId> {
        let order = self.layout.order(key).iter().copied();
        order.take(self.replicas_of_a_key).filter(|id| self.world.is_alive(*id)).collect()
    }

    /// All keys that any server holds.
    fn keys(held: &BTreeMap<NodeId, Replica>) -> BTreeSet<Key> {
        held.values().flat_map(|replica| replica.keys.keys().cloned()).collect()
    }

    /// Compares the live replicas of `key`. If they differ, describes what each holds.
    fn differs(&self, held: &BTreeMap<NodeId, Replica>, key: &Key) -> Option<String> {
        let holders: Vec<(NodeId, Option<&Arc<Entry>>)> =
            self.living_replicas(key).into_iter().map(|id| (id, held.get(&id).and_then(|r| r.keys.get(key)))).collect();
        let same = holders.windows(2).all(|pair| state(pair[0].1) == state(pair[1].1));
        let told = |(id, entry): &(NodeId, Option<&Arc<Entry>>)| format!("{id} holds [{}]", values(*entry).join(", "));
        let all = || holders.iter().map(told).collect::<Vec<_>>().join(", ");
        (!same).then(|| format!("{}: {}", String::from_utf8_lossy(key), all()))
    }

    /// Describes a key whose replicas differ, or returns `None` if no replicas differ.
    pub(super) fn replicas_differ(&self) -> Option<String> {
        let held = self.oracle.replicas();
        Self::keys(&held).iter().find_map(|key| self.differs(&held, key))
    }

    /// What each live replica holds of each key.
    pub(super) fn dumps(&self) -> Vec<Dump> {
        let held = self.oracle.replicas();
        let mut dumps = Vec::new();
        for key in Self::keys(&held) {
            for id in self.living_replicas(&key) {
                let entry = held.get(&id).and_then(|replica| replica.keys.get(&key));
                dumps.push(Dump {
                    replica: id.to_string(),
                    key: String::from_utf8_lossy(&key).into_owned(),
                    values: values(entry),
                    state: state(entry),
                });
            }
        }
        dumps
    }

    /// Waits until the state present at the end of the storm has reached all replicas. Under quorums: each key has been
    /// equal on all its live replicas. Under Raft: all live members of each group have applied what was committed.
    /// Returns the time that took, in nanoseconds.
    ///
    /// A key counts from the first moment at which its replicas are equal. Other keys are written meanwhile, so there
    /// may be no moment at which all keys are equal.
    pub(super) async fn heals(&self, mode: Mode) -> u64 {
        let start = self.world.now();
        let mut wounded = match mode {
            Mode::Ap => Wounded::Keys(Self::keys(&self.oracle.replicas())),
            Mode::Cp => Wounded::Groups(self.oracle.committed()),
        };
        loop {
            let healed = match &mut wounded {
                Wounded::Keys(keys) => {
                    let held = self.oracle.replicas();
                    keys.retain(|key| self.differs(&held, key).is_some());
                    keys.is_empty()
                }
                Wounded::Groups(groups) => {
                    groups
                        .retain(|group, index| self.members(*group).any(|id| self.oracle.applied(*group, id) < *index));
                    groups.is_empty()
                }
            };
            if healed {
                return self.world.now() - start;
            }
            self.world.sleep_until(self.world.now() + LOOK).await;
        }
    }
}

enum Wounded {
    Keys(BTreeSet<Key>),
    Groups(BTreeMap<GroupId, Index>),
}

/// The versions with a value. Tombstones are left out: replicas drop a tombstone that all have acknowledged one after
/// the other, even next to values written meanwhile. This hides no difference: a replica that missed a delete still
/// holds the deleted value.
fn live(entry: Option<&Arc<Entry>>) -> Vec<&Version> {
    let versions = entry.into_iter().flat_map(|entry| entry.siblings.versions());
    let mut live: Vec<&Version> = versions.filter(|version| version.content != Content::Tombstone).collect();
    live.sort_by_key(|version| version.write);
    live
}

/// The content of a version as text.
fn content(version: &Version) -> String {
    match &version.content {
        Content::Value(value) => word_of(value),
        Content::Tombstone => String::new(),
        Content::Merge(state) => format!("{state:?}"),
    }
}

/// The values as a reader sees them. Concurrent versions of a mergeable value are merged into one.
fn values(entry: Option<&Arc<Entry>>) -> Vec<String> {
    let mut values = Vec::new();
    let mut merged: Option<State> = None;
    for version in live(entry) {
        match (&version.content, &mut merged) {
            (Content::Merge(state), None) => merged = Some(state.clone()),
            (Content::Merge(state), Some(all)) => all.merge(state),
            _ => values.push(content(version)),
        }
    }
    values.extend(merged.into_iter().flat_map(|state| merges::told(state.kind(), &state.render().to_string())));
    values
}

/// A text that is equal for replicas that hold the same versions.
fn state(entry: Option<&Arc<Entry>>) -> String {
    let one = |v: &Version| format!("{:x}/{}={}", v.write.client, v.write.number, content(v));
    live(entry).into_iter().map(one).collect::<Vec<_>>().join(", ")
}
