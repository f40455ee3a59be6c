//! Whose turn it is at the disk.

use super::*;
use crate::raft::{Record, SnapshotMeta};

fn alone() -> Node {
    let layout = Arc::new(Layout::simple(&[NodeId(1)], Buckets::default()));
    let world = World { me: NodeId(1), post: Post::default(), time: Arc::default() };
    Node::start(world, &layout, MemDisk::default())
}

/// The group has something to write.
fn write(node: &mut Node) {
    node.driver.groups.get_mut(&GROUP).unwrap().outbox.persist(Record::HardState { term: 1, vote: None });
    node.driver.writing.insert(GROUP);
}

#[test]
fn under_a_load_that_never_lets_up_snapshots_get_their_turn() {
    let mut node = alone();
    for offset in 0..3 {
        let (group, to, meta) = (GROUP, NodeId(2), SnapshotMeta::default());
        node.driver.shared.jobs.push_back(Job::LoadChunk { group, to, meta, offset, max: 1 });
    }
    let mut left = Vec::new();
    for _ in 0..6 {
        // The log has something to write whenever the disk is free.
        write(&mut node);
        assert!(node.driver.next_job().is_some());
        left.push((node.driver.shared.jobs.len(), node.driver.groups[&GROUP].has_records()));
    }
    assert_eq!(left, [(3, false), (2, true), (2, false), (1, true), (1, false), (0, true)]);
}

#[test]
fn without_jobs_the_log_has_every_turn() {
    let mut node = alone();
    for _ in 0..2 {
        write(&mut node);
        assert!(node.driver.next_job().is_some());
        assert!(!node.driver.groups[&GROUP].has_records());
    }
    assert!(node.driver.next_job().is_none());
}
