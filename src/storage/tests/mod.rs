//! Tests of storage, on a disk that loses what was not synced, and on the real one.

mod both;
mod checkpoint;
mod damage;
mod model;
mod real;
mod snapshot;

use super::LogRecord::{self, Raft};
use super::mem_disk::MemDisk;
use super::{Disk, StorageError, Store, StoreConfig};
use crate::raft::{Entry, Record, Recovered, SnapshotMeta};
use crate::types::{Bytes, CoreId, GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

type Groups = BTreeMap<GroupId, Recovered>;

const G: GroupId = GroupId(7);
/// That group among the cores of a node.
const CORE: CoreId = CoreId::Group(G);

fn rng() -> crate::types::Rng {
    crate::types::Rng::new(1, "store")
}

/// Node 1 with segments of eight sectors.
fn config() -> StoreConfig {
    StoreConfig { segment_bytes: 8 * 512, ..StoreConfig::new(NodeId(1)) }
}

fn open<D: Disk>(disk: D) -> Result<(Store<D>, Groups), StorageError> {
    Store::open(disk, &config(), &mut rng()).map(|(store, found)| (store, found.groups))
}

/// The files of a directory except its identity file.
fn files(disk: &MemDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name != "identity").collect()
}

/// Opens a disk that must be intact.
fn must_open(disk: &MemDisk) -> (Store<MemDisk>, Groups) {
    open(disk.clone()).expect("a directory in order")
}

/// Returns the state that a copy of the disk recovers after a power loss in which nothing unsynced survives.
fn durable_state(disk: &MemDisk) -> Groups {
    let copy = disk.copy();
    copy.crash(&mut crate::types::Rng::new(0, "unused"), 0.0);
    must_open(&copy).1
}

/// Entries of term 1 starting at `first`, each containing its index and `size` more bytes.
fn entries(first: u64, count: u64, size: usize) -> Record {
    let entry = |index: u64| {
        let mut command = index.to_le_bytes().to_vec();
        command.resize(8 + size, index as u8);
        Entry { term: 1, command: command.into() }
    };
    Record::Append { first, entries: (0..count).map(|i| entry(first.wrapping_add(i))).collect() }
}

fn hard_state(term: u64) -> Record {
    Record::HardState { term, vote: Some(NodeId(3)) }
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { index, term: 1 }
}

/// Returns the file, offset and reason of a refusal because of damage.
fn refusal(result: Result<(Store<MemDisk>, Groups), StorageError>) -> (String, u64, String) {
    match result {
        Err(StorageError::Corrupt { file, offset, what }) => (file, offset, what),
        Err(other) => panic!("refused, but not for damage: {other}"),
        Ok((_, groups)) => panic!("damage was not noticed: {groups:?}"),
    }
}

/// Writes a snapshot file of `blocks` without appending its record.
fn write_snapshot<D: Disk>(store: &mut Store<D>, core: CoreId, meta: SnapshotMeta, blocks: &[&[u8]]) {
    store.snapshot_begin(core, meta).unwrap();
    for block in blocks {
        store.snapshot_write(block).unwrap();
    }
    assert_eq!(store.snapshot_finish().unwrap(), meta);
}

fn read_snapshot<D: Disk>(store: &mut Store<D>, core: CoreId, meta: SnapshotMeta) -> Result<Vec<Bytes>, StorageError> {
    store.snapshot_blocks(core, meta)?.collect()
}
