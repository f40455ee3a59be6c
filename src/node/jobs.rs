//! What the driver asks of the storage besides the log: writing, sending, receiving and loading snapshots.

use super::{GROUP, StorageHost};
use crate::kv::{Kv, KvRestore, KvSnapshot, RestoreError};
use crate::mutant::Mutant;
use crate::protocol::Ticket;
use crate::raft::{Request, SnapshotMeta};
use crate::storage::{Disk, Incoming, StorageError, Store, snapshot_name};
use crate::types::{Bytes, NodeId};

/// Bytes in one block of a snapshot file.
const SNAPSHOT_BLOCK: usize = 256 << 10;

/// What a storage job gives back to the driver.
pub(super) enum Done {
    /// A batch is durable; and whether the log has grown enough for a checkpoint.
    Batch(Ticket, bool),
    /// A block of our own snapshot is written; more to come.
    SnapshotBlock(SnapshotMeta, KvSnapshot),
    /// Our own snapshot is complete and durable.
    SnapshotFinished(SnapshotMeta),
    /// An answer for the core.
    Answer(Request),
}

/// Something to do with the storage; one at a time.
pub(super) type Job<D> = Box<dyn FnOnce(&mut Store<D>) -> Result<Done, StorageError> + Send>;
/// Begins our own snapshot as of `meta`.
pub(super) fn begin_snapshot<D: Disk>(meta: SnapshotMeta, snapshot: KvSnapshot) -> Job<D> {
    Box::new(move |store| {
        store.snapshot_begin(GROUP, meta)?;
        Ok(Done::SnapshotBlock(meta, snapshot))
    })
}

/// Writes the next block of our own snapshot, or completes it.
pub(super) fn snapshot_block<D: Disk>(meta: SnapshotMeta, mut snapshot: KvSnapshot) -> Job<D> {
    Box::new(move |store| match snapshot.next_block(SNAPSHOT_BLOCK) {
        Some(block) => {
            store.snapshot_write(&block)?;
            Ok(Done::SnapshotBlock(meta, snapshot))
        }
        None => {
            store.snapshot_finish()?;
            Ok(Done::SnapshotFinished(meta))
        }
    })
}

/// Reads a piece of a snapshot for a follower.
pub(super) fn load_chunk<D: Disk>(to: NodeId, meta: SnapshotMeta, offset: u64, max: usize) -> Job<D> {
    Box::new(move |store| {
        // A file that is gone or unreadable is the core's to handle: it starts over with a newer one.
        let data = store.snapshot_chunk(GROUP, meta, offset, max).unwrap_or(None);
        Ok(Done::Answer(Request::ChunkLoaded { to, meta, offset, data }))
    })
}

/// Writes a piece of a snapshot that arrives.
pub(super) fn save_chunk<D: Disk>(from: NodeId, meta: SnapshotMeta, offset: u64, data: Bytes, last: bool) -> Job<D> {
    Box::new(move |store| {
        let (next, complete, ok) = match store.incoming_chunk(GROUP, meta, offset, &data, last)? {
            Incoming::Next(next) => (next, false, true),
            Incoming::Complete => (offset + data.len() as u64, true, true),
            Incoming::Refused(_) => (0, false, false),
        };
        Ok(Done::Answer(Request::ChunkSaved { from, meta, next, complete, ok }))
    })
}

/// The state machine as of `snapshot`; a new one for index 0.
pub(super) async fn load<H: StorageHost>(storage: &H, meta: SnapshotMeta, mutant: Mutant) -> Result<Kv, StorageError> {
    if meta.index == 0 {
        return Ok(Kv::new(mutant));
    }
    storage
        .run(move |store| {
            let mut restore = KvRestore::new(mutant);
            for block in store.snapshot_blocks(GROUP, meta)? {
                restore.block(&block?).map_err(|why| not_a_state(meta, &why))?;
            }
            restore.finish(meta.index).map_err(|why| not_a_state(meta, &why))
        })
        .await
}

/// Every block passed its checksum and still they make no state machine: written by another version, or by a bug.
fn not_a_state(meta: SnapshotMeta, why: &RestoreError) -> StorageError {
    StorageError::Corrupt { file: snapshot_name(GROUP, meta), offset: 0, what: why.to_string() }
}
