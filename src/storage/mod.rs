//! What a node must find again after a crash, and how it knows that it found it.
//!
//! In the order it is read: `store` is what the node uses; `identity` says whose directory it is; `wal` the write-ahead log, made of segments (`segment`) of
//! batches of checked sectors (`sector`) of records (`record`), whose meaning each core gives (`replay` of [`raft`](crate::raft::Recovered) and of [`dynamo`](crate::dynamo::Recovered)); `snapshot` the files that
//! let the log be cut. Below is the [`Disk`] seam, in deployment [`RealDisk`].
//!
//! Invariants:
//! - What was acknowledged is found again, in order, or the node refuses with file and offset (`wal` and `snapshot`
//!   say what cannot be told).
//! - Whatever has its final name is complete and durable. Temporary names end in `.tmp` and are removed on opening.
//! - A snapshot that the log refers to exists: it is named before its record is appended, and an older one is removed
//!   only after that.
//! - After a failed write or sync nothing more is written.
//!
//! Not here: preparing segments ahead (a new one costs an append the time to write its zeros), syncing large snapshots
//! piecemeal (the last sync stalls appends behind it), mending damage from peers.

mod disk;
mod error;
mod identity;
mod real_disk;
mod record;
mod sector;
mod segment;
mod snapshot;
mod store;
mod wal;

#[cfg(test)]
pub(crate) mod mem_disk;
#[cfg(test)]
mod tests;

use crate::raft::SnapshotMeta;

pub use disk::*;
pub use error::StorageError;
pub use identity::Fact;
pub use real_disk::RealDisk;
pub use record::LogRecord;
pub use snapshot::{MAX_BLOCK_BYTES, SnapshotBlocks, name as snapshot_name};
pub use store::{Incoming, Recovery, Store, StoreConfig};

/// The point of the AP core's snapshot with this number, in the terms of [`Store`].
#[must_use]
pub fn ap_meta(number: u64) -> SnapshotMeta {
    SnapshotMeta { index: number, term: 0 }
}

/// What the names of files not yet complete end in.
const TEMPORARY: &str = ".tmp";
