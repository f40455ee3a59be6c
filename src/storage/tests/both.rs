//! Records of Raft groups and of the AP core in one log.

use super::*;
use crate::dynamo::context::Seen;
use crate::dynamo::siblings::{Content, Siblings, WriteId};
use crate::dynamo::version_vector::Actor;
use crate::dynamo::{self, Entry as ApEntry};
use crate::mutant::Mutant;
use crate::storage::{Recovery, ap_meta, snapshot};
use crate::types::{CoreId, Hlc, Key, Resolve, Rng};
use std::sync::Arc;

/// A key with one version, written by the `n`th write.
fn version(key: &str, n: u64) -> dynamo::Record {
    let mut siblings = Siblings::default();
    let (actor, write) = (Actor { node: NodeId(1), incarnation: 7 }, WriteId { client: 1, number: n });
    let policy = (Resolve::Siblings, Mutant::default());
    siblings.write(&Seen::default(), actor, (Hlc(n), write), Content::Value(Bytes::from(n.to_string())), policy);
    let entry = ApEntry { siblings, arrivals: Vec::new() };
    dynamo::Record::Key(Key::from(key.to_owned()), Some(entry.into()))
}

fn ap(record: dynamo::Record) -> LogRecord {
    LogRecord::Ap(record)
}

fn found(disk: &MemDisk) -> Recovery {
    Store::open(disk.clone(), &config(), &mut rng()).unwrap().1
}

/// Returns the recovered keys and when each was written.
fn keys(found: &Recovery) -> Vec<(String, u64)> {
    let key = |(key, entry): (&Key, &Arc<ApEntry>)| {
        (String::from_utf8_lossy(key).into_owned(), entry.siblings.versions()[0].stamp.0)
    };
    found.ap.keys.iter().map(key).collect()
}

#[test]
fn one_batch_holds_records_of_all_cores() {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    let syncs = disk.syncs();
    let other = Raft(GroupId(8), hard_state(4));
    store.append(&[Raft(G, hard_state(2)), ap(version("a", 1)), other, ap(version("b", 2))]).unwrap();
    assert_eq!(disk.syncs(), syncs + 1);
    store.append(&[ap(version("a", 3)), ap(dynamo::Record::Epoch(6)), Raft(G, entries(1, 2, 10))]).unwrap();
    disk.crash(&mut Rng::new(1, "crash"), 0.0);
    let found = found(&disk);
    assert_eq!((found.groups[&G].term, found.groups[&G].entries.len(), found.groups[&GroupId(8)].term), (2, 2, 4));
    assert_eq!((keys(&found), found.ap.epoch), (vec![("a".to_owned(), 3), ("b".to_owned(), 2)], 6));
}

/// Returns a disk whose log has AP snapshot 1 with `a` and `b`, and later records of `b` and `c`.
fn checkpointed() -> MemDisk {
    let disk = MemDisk::default();
    let (mut store, _) = must_open(&disk);
    store.append(&[ap(version("a", 1)), ap(version("b", 1)), Raft(G, hard_state(1))]).unwrap();
    let mut block = Vec::new();
    dynamo::encoding::encode(&version("a", 1), &mut block);
    dynamo::encoding::encode(&version("b", 1), &mut block);
    store.append(&[ap(version("b", 2)), Raft(G, entries(1, 3, 10))]).unwrap();
    write_snapshot(&mut store, CoreId::Ap, ap_meta(1), &[&block]);
    let snapshot = ap(dynamo::Record::Snapshot(1));
    store.checkpoint(&[Raft(G, hard_state(1)), Raft(G, entries(1, 3, 10)), snapshot, ap(version("b", 2))]).unwrap();
    store.append(&[ap(version("c", 3))]).unwrap();
    disk.crash(&mut Rng::new(1, "crash"), 0.0);
    disk
}

#[test]
fn a_checkpoint_holds_both_and_the_snapshot_completes_it() {
    let disk = checkpointed();
    let (mut store, mut found) = Store::open(disk.clone(), &config(), &mut rng()).unwrap();
    assert_eq!((found.groups[&G].entries.len(), found.ap.snapshot), (3, 1));
    for block in read_snapshot(&mut store, CoreId::Ap, ap_meta(1)).unwrap() {
        found.ap.block(&block).unwrap();
    }
    let expected = [("a", 1), ("b", 2), ("c", 3)].map(|(key, n)| (key.to_owned(), n));
    assert_eq!(keys(&found), expected);
    assert_eq!(files(&disk), [snapshot::name(CoreId::Ap, ap_meta(1)), "wal-0000000000000002.log".into()]);
}

#[test]
fn the_ap_snapshot_is_checked_when_the_directory_is_opened() {
    let name = snapshot::name(CoreId::Ap, ap_meta(1));
    assert_eq!(name, "snap-00000000-0000000000000001-0000000000000000");
    let lost = checkpointed();
    lost.lose(&name);
    assert_eq!(refusal(open(lost)).0, name);
    let whole = checkpointed().read(&name);
    for byte in 0..whole.len() {
        let disk = checkpointed();
        disk.tamper(&name, |file| file[byte] ^= 1);
        assert_eq!(refusal(open(disk)).0, name, "byte {byte}");
    }
}

#[test]
fn snapshots_that_are_not_in_force_go() {
    let disk = checkpointed();
    let (mut store, _) = must_open(&disk);
    write_snapshot(&mut store, CoreId::Ap, ap_meta(2), &[b"of no use"]);
    drop(store);
    let (mut store, _) = must_open(&disk);
    assert!(!disk.names().contains(&snapshot::name(CoreId::Ap, ap_meta(2))), "never came into force");
    write_snapshot(&mut store, CoreId::Ap, ap_meta(2), &[b"newer"]);
    store.append(&[ap(dynamo::Record::Snapshot(2))]).unwrap();
    store.snapshot_retain(&[(CoreId::Ap, ap_meta(2))].into(), &BTreeSet::new()).unwrap();
    assert!(!disk.names().contains(&snapshot::name(CoreId::Ap, ap_meta(1))), "superseded");
    assert_eq!(found(&disk).ap.snapshot, 2);
}
