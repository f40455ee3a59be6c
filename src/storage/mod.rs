//! A node's data directory: what must survive a crash, and how recovery verifies it.
//!
//! Reading order: `store` is the interface the node uses. `identity` records which cluster and node the directory
//! belongs to. `wal` is the write-ahead log, made of segments (`segment`) of batches of checksummed sectors (`sector`)
//! of records (`record`). Each core interprets its own records (`replay` of [`raft`](crate::raft::Recovered) and of
//! [`dynamo`](crate::dynamo::Recovered)). `snapshot` writes the files that allow the log to be truncated. Below them is
//! the [`Disk`] trait; in deployment it is [`RealDisk`].
//!
//! Invariants:
//! - Everything acknowledged is recovered, in order, or the node refuses to start and names file and offset (`wal`
//!   says which losses cannot be detected).
//! - A file with its final name is complete and durable. Temporary names end in `.tmp`; such files are removed on
//!   opening.
//! - A snapshot that the log refers to exists: the file gets its name before its record is appended, and an older
//!   snapshot is removed only after that.
//! - After a failed write or sync nothing more is written.
//!
//! Not implemented: preallocating segments (a new segment costs an append the time to write its zeros), syncing large
//! snapshots incrementally (the final sync stalls the appends behind it), repairing damage from peers.

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

/// The AP core's snapshot with this number, as the metadata [`Store`] uses.
#[must_use]
pub fn ap_meta(number: u64) -> SnapshotMeta {
    SnapshotMeta { index: number, term: 0 }
}

/// Suffix of the names of incomplete files.
const TEMPORARY: &str = ".tmp";
