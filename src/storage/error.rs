//! Why storage refuses.

use super::DiskError;
use crate::types::NodeId;

/// What went wrong in a node's data directory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StorageError {
    /// What is on the disk cannot be what this node made durable. It refuses rather than serve wrong data.
    #[error(
        "{file}, byte {offset}: {what}; this node's data cannot be trusted: keep the directory as it is for inspection \
         and replace the node by a new member with an empty directory (an old member on an empty directory may vote twice)"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The disk refused an operation.
    #[error("{0}; mend the disk or free space on it, then restart the node")]
    Disk(#[from] DiskError),
    /// An earlier write or sync failed, so what is durable is not known (see [`super::Disk::sync`]).
    #[error("an earlier write to the data directory failed; restart the node, which then finds out what is durable")]
    Poisoned,
    /// The directory is another node's.
    #[error("the data directory belongs to node {found}, not to {expected}: check the node id and the directory given")]
    WrongNode {
        /// Whose it is.
        found: NodeId,
        /// Who opened it.
        expected: NodeId,
    },
}

impl StorageError {
    /// Damage at `offset` of `file`.
    pub(super) fn corrupt(file: &str, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::Corrupt { file: file.to_owned(), offset, what: what.into() }
    }
}
