//! The jobs that the driver gives to the storage: writing batches of the log; writing, sending, receiving and loading
//! snapshots.

use crate::dynamo::{self, StoreSnapshot};
use crate::env::StorageHost;
use crate::kv::{Kv, KvRestore, KvSnapshot, MAX_SESSIONS};
use crate::mutant::{Bug, Mutant};
use crate::protocol::Ticket;
use crate::raft::{Loaded, Record, Request, Saved, SnapshotMeta};
use crate::storage::{Disk, Incoming, LogRecord, StorageError, Store, ap_meta, snapshot_name};
use crate::types::{Bytes, CoreId, GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes in one block of a snapshot file.
const SNAPSHOT_BLOCK: usize = 256 << 10;

/// Records of several cores, with each core's ticket for its records.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<LogRecord>,
    pub(super) tickets: Vec<(CoreId, Ticket)>,
    /// Whether the records restate all live state. They go to a fresh segment, and older segments can be deleted.
    pub(super) checkpoint: bool,
    /// Snapshots that are being sent to followers: their files are kept.
    pub(super) pinned: BTreeSet<(CoreId, SnapshotMeta)>,
}

/// A state that is written out block by block.
pub(super) enum Blocks {
    Kv(KvSnapshot),
    Ap(StoreSnapshot),
}

impl Blocks {
    fn next(&mut self) -> Option<Bytes> {
        match self {
            Blocks::Kv(snapshot) => snapshot.next_block(SNAPSHOT_BLOCK).map(Bytes::from),
            Blocks::Ap(snapshot) => snapshot.next_block(SNAPSHOT_BLOCK),
        }
    }
}

/// A job for the storage; one runs at a time.
pub(super) enum Job {
    /// Makes records durable.
    Write(Batch),
    /// Begins a snapshot of this node.
    BeginSnapshot(CoreId, SnapshotMeta, Blocks),
    /// Writes its next block, or completes it.
    WriteSnapshot(CoreId, SnapshotMeta, Blocks),
    /// Reads a chunk of a snapshot for a follower.
    LoadChunk { group: GroupId, to: NodeId, meta: SnapshotMeta, offset: u64, max: usize },
    /// Writes a chunk of a snapshot that a leader sends.
    SaveChunk { group: GroupId, from: NodeId, meta: SnapshotMeta, offset: u64, data: Bytes, last: bool },
}

/// The result of a job.
pub(super) enum Done {
    /// A batch is durable: its tickets, whether the log has grown enough for a checkpoint, and the batch's number.
    Batch(Vec<(CoreId, Ticket)>, bool, u64),
    /// A block of this node's snapshot is written; there are more.
    SnapshotBlock(CoreId, SnapshotMeta, Blocks),
    /// This node's snapshot is complete and durable.
    SnapshotFinished(CoreId, SnapshotMeta),
    /// A request for a group's core.
    Answer(GroupId, Request),
}

impl Job {
    pub(super) fn run<D: Disk>(self, store: &mut Store<D>) -> Result<Done, StorageError> {
        match self {
            Job::Write(batch) => write(store, batch),
            Job::BeginSnapshot(core, meta, blocks) => {
                store.snapshot_begin(core, meta)?;
                Ok(Done::SnapshotBlock(core, meta, blocks))
            }
            Job::WriteSnapshot(core, meta, mut blocks) => match blocks.next() {
                Some(block) => {
                    store.snapshot_write(&block)?;
                    Ok(Done::SnapshotBlock(core, meta, blocks))
                }
                None => {
                    store.snapshot_finish()?;
                    Ok(Done::SnapshotFinished(core, meta))
                }
            },
            Job::LoadChunk { group, to, meta, offset, max } => {
                // A missing or unreadable file is left to the core: it starts over with the newest snapshot.
                let found = match store.snapshot_chunk(CoreId::Group(group), meta, offset, max) {
                    Err(error) if store.mutant().is(Bug::UnreadablePieceStops) => return Err(error),
                    found => found.unwrap_or(None),
                };
                let loaded = found.map_or(Loaded::Gone, |(data, last)| Loaded::Piece(data, last));
                Ok(Done::Answer(group, Request::ChunkLoaded { to, meta, offset, loaded }))
            }
            Job::SaveChunk { group, from, meta, offset, data, last } => {
                let saved = match store.incoming_chunk(CoreId::Group(group), meta, offset, &data, last)? {
                    Incoming::Next(next) => Saved::Next(next),
                    Incoming::Complete => Saved::Complete,
                    Incoming::Refused(_) => Saved::Refused,
                };
                Ok(Done::Answer(group, Request::ChunkSaved { from, meta, saved }))
            }
        }
    }
}

/// Writes a batch with one sync for all cores. Deletes the snapshots that its records supersede.
fn write<D: Disk>(store: &mut Store<D>, batch: Batch) -> Result<Done, StorageError> {
    if batch.checkpoint {
        store.checkpoint(&batch.records)?;
    } else {
        store.append(&batch.records)?;
    }
    let kept: BTreeMap<CoreId, SnapshotMeta> = batch.records.iter().filter_map(names_snapshot).collect();
    if !kept.is_empty() {
        store.snapshot_retain(&kept, &batch.pinned)?;
    }
    Ok(Done::Batch(batch.tickets, store.wants_checkpoint(), store.last_batch()))
}

fn names_snapshot(record: &LogRecord) -> Option<(CoreId, SnapshotMeta)> {
    match record {
        LogRecord::Raft(group, Record::Snapshot(meta)) => Some((CoreId::Group(*group), *meta)),
        LogRecord::Ap(dynamo::Record::Snapshot(number)) => Some((CoreId::Ap, ap_meta(*number))),
        _ => None,
    }
}

/// Loads a group's state machine as of `meta`; for index 0, a new one.
pub(super) async fn load<H: StorageHost>(
    storage: &H,
    group: GroupId,
    meta: SnapshotMeta,
    (max_tombstones, mutant): (u32, Mutant),
) -> Result<Kv, StorageError> {
    if meta.index == 0 {
        return Ok(Kv::with_limits(MAX_SESSIONS, max_tombstones, mutant));
    }
    storage
        .run(move |store| {
            let (mut restore, core) = (KvRestore::new(mutant), CoreId::Group(group));
            for block in store.snapshot_blocks(core, meta)? {
                restore.block(&block?).map_err(|why| not_a_state(core, meta, why.to_string()))?;
            }
            restore.finish(meta.index).map_err(|why| not_a_state(core, meta, why.to_string()))
        })
        .await
}

/// Completes the AP core's recovered state from its snapshot, if it has one.
pub(super) async fn load_ap<H: StorageHost>(
    storage: &H,
    mut recovered: dynamo::Recovered,
) -> Result<dynamo::Recovered, StorageError> {
    if recovered.snapshot == 0 {
        return Ok(recovered);
    }
    let meta = ap_meta(recovered.snapshot);
    storage
        .run(move |store| {
            for block in store.snapshot_blocks(CoreId::Ap, meta)? {
                recovered.block(&block?).map_err(|why| not_a_state(CoreId::Ap, meta, why))?;
            }
            Ok(recovered)
        })
        .await
}

/// Returns the error for a snapshot whose blocks pass their checksums but do not form a state: another version or a bug
/// wrote it.
fn not_a_state(core: CoreId, meta: SnapshotMeta, what: String) -> StorageError {
    StorageError::Corrupt { file: snapshot_name(core, meta), offset: 0, what }
}
