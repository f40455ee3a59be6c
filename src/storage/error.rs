//! Storage errors.

use super::{DiskError, DiskFault};
use crate::identity::Contradiction;

/// An error in a node's data directory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StorageError {
    /// The contents of the disk cannot be what this node made durable. The node refuses to start rather than serve
    /// wrong data.
    #[error(
        "{file}, byte {offset}: {what}; this node's data cannot be trusted: keep the directory as it is for inspection \
         and replace the node by a new member with an empty directory (an old member on an empty directory may vote twice)"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What is wrong at that offset.
        what: String,
    },
    /// The disk refused an operation.
    #[error("{0}; {remedy}, then restart the node", remedy = remedy(.0))]
    Disk(#[from] DiskError),
    /// An earlier write or sync failed, so it is unknown what is durable (see [`super::Disk::sync`]).
    #[error("an earlier write to the data directory failed; restart the node, which then finds out what is durable")]
    Poisoned,
    /// The directory belongs to another node or cluster, or was created under another configuration.
    #[error(
        "identity: the data directory is of {found}, the configuration says {configured}: give each node its own \
         directory, and the settings its data was written with (the cluster's name, nodes, places, buckets, groups and \
         voters cannot be changed where there is data)"
    )]
    Foreign {
        /// What the directory states: a fact and its value.
        found: String,
        /// What the configuration states for the same fact.
        configured: String,
    },
    /// A leader's log contradicts what is committed here.
    #[error(
        "{0}; one of the two does not have its own data (another cluster's or an old directory): the node stops and stays \
         stopped; find out which of them was started on a wrong directory, and keep both as they are for inspection"
    )]
    Contradicted(Contradiction),
}

/// Returns the advice for a disk failure.
fn remedy(error: &DiskError) -> &'static str {
    match error.what {
        DiskFault::Full => "free space on the disk",
        DiskFault::Missing => {
            "if the data directory was moved or removed, put it back (with an empty one in its place the node has lost its data)"
        }
        _ => "mend the disk or its permissions",
    }
}

impl StorageError {
    /// Returns the error for damage at `offset` of `file`.
    pub(super) fn corrupt(file: &str, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::Corrupt { file: file.to_owned(), offset, what: what.into() }
    }
}
