//! Tests how jobs alternate at the disk.

use super::*;
use crate::raft::{Record, SnapshotMeta};
use crate::types::Lane;

fn alone() -> Node {
    let layout = Arc::new(Layout::simple(&[NodeId(1)], Buckets::default()));
    let world = World { me: NodeId(1), post: Post::default(), time: Arc::default() };
    let mut node = Node::start(world, &layout, MemDisk::default());
    node.turn();
    node.disk_works();
    assert!(node.driver.next_job().is_none());
    node
}

/// Gives the group something to write.
fn write(node: &mut Node) {
    node.driver.groups.get_mut(&GROUP).unwrap().host.outbox.persist(Record::HardState { term: 1, vote: None });
    node.driver.writing.insert(GROUP);
}

#[test]
fn under_a_load_that_never_lets_up_snapshots_get_their_turn() {
    let mut node = alone();
    for offset in 0..3 {
        let (group, to, meta) = (GROUP, NodeId(2), SnapshotMeta::default());
        node.driver.turn.jobs.push_back(Job::LoadChunk { group, to, meta, offset, max: 1 });
    }
    let mut left = Vec::new();
    for _ in 0..6 {
        // The log has something to write whenever the disk is free.
        write(&mut node);
        assert!(node.driver.next_job().is_some());
        left.push((node.driver.turn.jobs.len(), node.driver.groups[&GROUP].has_records()));
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

/// Entries of term 5 from node 2, which leads, committed with it.
fn append(town: &mut Town, term: u64, terms: &[u64]) -> Result<(), StorageError> {
    let entries = terms.iter().map(|term| raft::Entry { term: *term, command: crate::kv::encode(&expire()) }).collect();
    let commit = terms.len() as u64;
    let body = raft::Body::Append { prev_index: 0, prev_term: 0, entries, commit, round: 1 };
    let origin = town.nodes[1].driver.standing.origin();
    let packet =
        Packet::Peer { origin, lane: Lane::Control, raft: vec![(GROUP, raft::Message { term, body })], ap: Vec::new() };
    town.nodes[0].hears(Addr::Node(NodeId(2)), packet);
    town.nodes[0].try_turn()?;
    town.nodes[0].try_disk_works()
}

fn expire() -> crate::kv::Command {
    crate::kv::Command {
        stamp: Wall(1),
        time: crate::kv::GroupTime::default(),
        session: None,
        op: crate::kv::Op::Expire,
    }
}

#[test]
fn whoever_is_contradicted_by_a_leader_stops_and_does_not_start_again() {
    let mut town = Town::new(layout(3, Buckets::default(), 1, 3));
    append(&mut town, 5, &[5, 5]).expect("an honest leader");
    let error = append(&mut town, 6, &[5, 6]).expect_err("another entry where one is committed");
    let (group, from) = (GROUP, NodeId(2));
    let found = Contradiction { group, from, index: 2, committed: 5, sent: 6 };
    assert_eq!(error, StorageError::Contradicted(found));
    assert!(error.to_string().contains("n2, which leads group 1, sends entry 2 of term 6"), "{error}");

    let disk = town.nodes[0].disk.copy();
    disk.crash(&mut Rng::new(1, "crash"), 0.0);
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let world = World { me: NodeId(1), post: town.post.clone(), time: town.time.clone() };
    let again = Node::try_start(world, &layout, disk, |_, _| {}).err();
    assert_eq!(again, Some(StorageError::Contradicted(found)));
}
