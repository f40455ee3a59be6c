//! Data directories that faults give to servers: one from another cluster, or the server's own with a different state.

use super::cluster::{CLUSTER, Cluster, store_config};
use crate::plan::Plan;
use crate::world::disk::{DirectoryCopy, DiskHandle, DiskSettings};
use crate::world::ledger::Ledger;
use crate::world::trace::Trace;
use seaworthy::kv::{self, Command, Condition, GroupTime, Kv, Op, Write};
use seaworthy::mutant::Mutant;
use seaworthy::raft::{Entry, Record};
use seaworthy::storage::{LogRecord, Store};
use seaworthy::types::{Bytes, CoreId, Key, NodeId, Rng, Wall};

/// The term of the other cluster: later than any term in a run.
const TERM: u64 = 1000;
/// Entries of each Raft group in the other cluster: more than any run creates.
const ENTRIES: u64 = 20_000;

/// Returns the directory of `node` in another cluster, written by the node's own code, with a later term and a longer
/// log.
pub(super) fn of_another_cluster(plan: &Plan, node: NodeId, cluster: &Cluster) -> DirectoryCopy {
    let disk = aside(plan, node, cluster);
    let config = store_config(plan, node, ("another", &cluster.layout), None);
    let mut rng = Rng::new(plan.seed, &format!("another cluster {node}"));
    let (mut store, _) = Store::open(disk.attach(), &config, &mut rng).expect("a new directory");
    for group in cluster.layout.all_groups().filter(|group| cluster.layout.voters_of(*group).contains(&node)) {
        let entries = (1..=ENTRIES).map(|n| Entry { term: TERM, command: put(n % plan.workload.keys.max(1) + 1) });
        let records = [
            Record::HardState { term: TERM, vote: Some(node) },
            Record::Append { first: 1, entries: entries.collect() },
        ];
        let records = records.map(|record| LogRecord::Raft(group, record));
        store.append(&records).expect("a disk in order");
    }
    disk.copy()
}

/// Returns the directory of `node` as it is, except that its snapshots of Raft groups are replaced by valid snapshots
/// of an empty state.
pub(super) fn with_another_state(plan: &Plan, node: NodeId, cluster: &Cluster) -> DirectoryCopy {
    let disk = aside(plan, node, cluster);
    disk.restore(&cluster.world.disk(node).copy());
    let config = store_config(plan, node, (CLUSTER, &cluster.layout), None);
    let mut rng = Rng::new(plan.seed, &format!("another state {node}"));
    let (mut store, found) = Store::open(disk.attach(), &config, &mut rng).expect("a directory in order");
    for (group, recovered) in found.groups.iter().filter(|(_, recovered)| recovered.snapshot.index > 0) {
        let mut kv = Kv::new(Mutant::default());
        (1..=recovered.snapshot.index).for_each(|index| drop(kv.apply(index, &Bytes::new())));
        let mut blocks = kv.snapshot();
        store.snapshot_begin(CoreId::Group(*group), recovered.snapshot).expect("a disk in order");
        while let Some(block) = blocks.next_block(64 << 10) {
            store.snapshot_write(&block).expect("a disk in order");
        }
        store.snapshot_finish().expect("a disk in order");
    }
    disk.copy()
}

/// A disk outside the run, on which a directory is prepared.
fn aside(plan: &Plan, node: NodeId, cluster: &Cluster) -> DiskHandle {
    let settings = DiskSettings { capacity: u64::MAX, ..cluster.disk_settings };
    DiskHandle::new(plan.seed, node, settings, cluster.world.time_source(), Trace::new(), Ledger::default())
}

/// A write in the other cluster to one of the keys that this cluster's clients use.
fn put(key: u64) -> Bytes {
    let (key, value) = (Key::from(format!("k{key}")), Bytes::from_static(b"of another cluster"));
    let op = Op::Write(Write::Put { key, value, when: Condition::ALWAYS, ttl_ms: None });
    kv::encode(&Command { stamp: Wall(1), time: GroupTime::default(), session: None, op })
}
