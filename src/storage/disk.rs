//! The disk interface: the operations that storage needs on a directory of files, and nothing more.
//!
//! File names are flat. All operations are synchronous; the caller chooses the thread. Written data is durable only
//! after [`Disk::sync`] of that file. Creations, removals and renames are durable only after [`Disk::sync_dir`]. In
//! deployment the implementation is `std::fs` ([`super::RealDisk`]); in simulation it is a model with torn writes, bit
//! rot, stalls and lost unsynced writes.

use std::fmt;

/// An open file. Numbers are not reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileId(pub u64);

/// A directory of files.
pub trait Disk: Send {
    /// Opens a file for reading and writing. With `create`, creates it first: the new file is empty, and the name must
    /// be free.
    ///
    /// # Errors
    /// The file is missing, exists already, or the disk fails.
    fn open(&mut self, name: &str, create: bool) -> Result<FileId, DiskError>;
    /// Closes a file; unsynced data stays unsynced.
    fn close(&mut self, file: FileId);
    /// Length in bytes.
    ///
    /// # Errors
    /// The disk fails.
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// The range reaches past the end, or the disk fails.
    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;
    /// Writes all of `data` at `offset`, extending the file if necessary.
    ///
    /// # Errors
    /// The disk is full or fails; how much was written is then unknown.
    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> Result<(), DiskError>;
    /// Extends the file to `len` bytes of zeros and reserves the space.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn allocate(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;
    /// Makes the file's contents and length durable. After an error nothing can be assumed about what was written since
    /// the last success, and a later success does not repair it: the node must stop.
    ///
    /// # Errors
    /// The disk fails.
    fn sync(&mut self, file: FileId) -> Result<(), DiskError>;
    /// Renames a file, replacing any file of the new name.
    ///
    /// # Errors
    /// The file is missing or the disk fails.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file.
    ///
    /// # Errors
    /// The file is missing or the disk fails.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;
    /// Returns all file names, in order.
    ///
    /// # Errors
    /// The disk fails.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;
    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// The disk fails.
    fn sync_dir(&mut self) -> Result<(), DiskError>;
}

/// Why a disk operation failed, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{op} {file}: {what}")]
pub struct DiskError {
    /// The operation.
    pub op: &'static str,
    /// The file it was applied to.
    pub file: String,
    /// What went wrong.
    pub what: DiskFault,
}

/// The kinds of disk failures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// No such file.
    Missing,
    /// The file exists already.
    Exists,
    /// The range reaches past the end of the file.
    PastEnd,
    /// No space left.
    Full,
    /// The device failed; the text is the operating system's.
    Io(String),
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskFault::Missing => f.write_str("no such file"),
            DiskFault::Exists => f.write_str("exists already"),
            DiskFault::PastEnd => f.write_str("read past the end"),
            DiskFault::Full => f.write_str("no space left on the disk"),
            DiskFault::Io(text) => f.write_str(text),
        }
    }
}
