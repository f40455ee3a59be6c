//! Tests of what a whole node does not show: whose turn it is at the disk.

use super::*;
use crate::kv::Kv;
use crate::node::LogRoles;
use crate::placement::Buckets;
use crate::raft::{Record, SnapshotMeta};
use crate::storage::{RealDisk, ThreadHost};
use crate::types::{Time, Wall};

/// A network where nothing arrives and a clock that stands still.
#[derive(Clone)]
struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _to: Addr, _packet: Packet) {}
    fn recv(&mut self) -> impl Future<Output = (Addr, Packet)> + Send {
        pending()
    }
    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        None
    }
    fn bad_frames(&self) -> u64 {
        0
    }
}

impl Clock for Nowhere {
    fn now(&self) -> Time {
        Time(0)
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn sleep_until(&self, _deadline: Time) -> impl Future<Output = ()> + Send {
        pending()
    }
}

type Alone = Driver<Nowhere, Nowhere, ThreadHost<RealDisk>, LogRoles>;

fn alone() -> Alone {
    let layout = Arc::new(Layout::simple(&[NodeId(1)], Buckets::default()));
    let config = NodeConfig::new(raft::Config::new(NodeId(1), vec![NodeId(1)]), layout);
    let raft = Raft::new(config.raft.clone(), raft::Recovered::default(), Time(0), Rng::new(1, "driver"));
    let group = Group::new(GROUP, raft, Kv::new(Mutant::default()));
    Driver::new(config, (vec![group], None), (Nowhere, Nowhere), LogRoles, 1)
}

/// The group has something to write.
fn write(driver: &mut Alone) {
    let group = driver.groups.get_mut(&GROUP).unwrap();
    group.outbox.persist(Record::HardState { term: 1, vote: None });
    driver.writing.insert(GROUP);
}

#[test]
fn under_a_load_that_never_lets_up_snapshots_get_their_turn() {
    let mut driver = alone();
    for offset in 0..3 {
        let (group, to, meta) = (GROUP, NodeId(2), SnapshotMeta::default());
        driver.shared.jobs.push_back(Job::LoadChunk { group, to, meta, offset, max: 1 });
    }
    let mut left = Vec::new();
    for _ in 0..6 {
        // The log has something to write whenever the disk is free.
        write(&mut driver);
        assert!(driver.next_job().is_some());
        left.push((driver.shared.jobs.len(), driver.groups[&GROUP].has_records()));
    }
    assert_eq!(left, [(3, false), (2, true), (2, false), (1, true), (1, false), (0, true)]);
}

#[test]
fn without_jobs_the_log_has_every_turn() {
    let mut driver = alone();
    for _ in 0..2 {
        write(&mut driver);
        assert!(driver.next_job().is_some());
        assert!(!driver.groups[&GROUP].has_records());
    }
    assert!(driver.next_job().is_none());
}
