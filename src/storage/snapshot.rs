//! Snapshot files: a state machine's contents at one log index, in blocks chosen by the state machine (docs/formats.md
//! has the format byte by byte).
//!
//! Checksums are chained: each covers everything in the file before it except earlier checksums. A block that is
//! dropped, duplicated, swapped or taken from another snapshot is therefore detected, and a reader knows at every block
//! that everything so far is correct. A file gets its name only when it is complete and synced.

use super::{Disk, FileId, StorageError, TEMPORARY};
use crate::mutant::{Bug, Mutant};
use crate::raft::SnapshotMeta;
use crate::types::{Bytes, CoreId};
use crc32fast::Hasher;

const MAGIC: &[u8; 8] = b"SEASNP\r\n";
const VERSION: u32 = 1;
const HEADER: usize = 36;
const FOOTER: usize = 24;
const BLOCK_HEAD: usize = 8;

/// Maximum bytes in one block of a snapshot.
pub const MAX_BLOCK_BYTES: usize = 8 << 20;

/// Returns the file name of the snapshot of `group` at `meta`.
#[must_use]
pub fn name(core: CoreId, meta: SnapshotMeta) -> String {
    format!("snap-{:08x}-{:016x}-{:016x}", core.number(), meta.index, meta.term)
}

/// Returns the group and metadata in a snapshot file's name, `None` for other files.
pub(super) fn parse(file: &str) -> Option<(CoreId, SnapshotMeta)> {
    let mut parts = file.strip_prefix("snap-")?.split('-');
    let core = CoreId::of_number(u32::from_str_radix(parts.next()?, 16).ok()?);
    let index = u64::from_str_radix(parts.next()?, 16).ok()?;
    let term = u64::from_str_radix(parts.next()?, 16).ok()?;
    let meta = SnapshotMeta { index, term };
    (name(core, meta) == file).then_some((core, meta))
}

/// Syncs a complete file, renames it to its final name and makes the name durable.
pub(super) fn publish(disk: &mut impl Disk, file: FileId, temporary: &str, name: &str) -> Result<(), StorageError> {
    disk.sync(file)?;
    disk.close(file);
    disk.rename(temporary, name)?;
    disk.sync_dir()?;
    Ok(())
}

fn header(core: CoreId, meta: SnapshotMeta) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&core.number().to_le_bytes());
    out[16..24].copy_from_slice(&meta.index.to_le_bytes());
    out[24..32].copy_from_slice(&meta.term.to_le_bytes());
    let crc = crc32fast::hash(&out[..32]);
    out[32..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// A snapshot being written under a temporary name.
pub(super) struct Writer {
    pub(super) core: CoreId,
    pub(super) meta: SnapshotMeta,
    pub(super) temporary: String,
    file: FileId,
    at: u64,
    blocks: u64,
    crc: Hasher,
}

impl Writer {
    /// Creates the file; its temporary name must be free.
    pub(super) fn begin(disk: &mut impl Disk, core: CoreId, meta: SnapshotMeta) -> Result<Writer, StorageError> {
        let temporary = format!("{}.local{TEMPORARY}", name(core, meta));
        let file = disk.open(&temporary, true)?;
        let header = header(core, meta);
        disk.write_at(file, 0, &header)?;
        let mut crc = Hasher::new();
        crc.update(&header[..32]);
        Ok(Writer { core, meta, temporary, file, at: HEADER as u64, blocks: 0, crc })
    }

    pub(super) fn write(&mut self, disk: &mut impl Disk, block: &[u8]) -> Result<(), StorageError> {
        assert!((1..=MAX_BLOCK_BYTES).contains(&block.len()), "a block of {} bytes", block.len());
        let len = (block.len() as u32).to_le_bytes();
        self.crc.update(&len);
        self.crc.update(block);
        let mut head = [0; BLOCK_HEAD];
        head[..4].copy_from_slice(&len);
        head[4..].copy_from_slice(&self.crc.clone().finalize().to_le_bytes());
        disk.write_at(self.file, self.at, &head)?;
        disk.write_at(self.file, self.at + BLOCK_HEAD as u64, block)?;
        self.at += (BLOCK_HEAD + block.len()) as u64;
        self.blocks += 1;
        Ok(())
    }

    pub(super) fn finish(mut self, disk: &mut impl Disk) -> Result<SnapshotMeta, StorageError> {
        let mut footer = [0; FOOTER];
        footer[8..16].copy_from_slice(&self.blocks.to_le_bytes());
        footer[16..].copy_from_slice(&(self.at + FOOTER as u64).to_le_bytes());
        self.crc.update(&footer[..4]);
        self.crc.update(&footer[8..]);
        footer[4..8].copy_from_slice(&self.crc.finalize().to_le_bytes());
        disk.write_at(self.file, self.at, &footer)?;
        publish(disk, self.file, &self.temporary, &name(self.core, self.meta))?;
        Ok(self.meta)
    }

    pub(super) fn abandon(self, disk: &mut impl Disk) -> Result<(), StorageError> {
        disk.close(self.file);
        Ok(disk.remove(&self.temporary)?)
    }
}

/// Iterator over the blocks of a snapshot file, in order, each checked before it is returned. Ends after an error.
///
/// Only when the iterator has ended without an error is it known that *all* blocks were there.
pub struct SnapshotBlocks<'a, D: Disk> {
    disk: &'a mut D,
    file: FileId,
    name: String,
    len: u64,
    at: u64,
    blocks: u64,
    crc: Hasher,
    done: bool,
    mutant: Mutant,
}

impl<'a, D: Disk> SnapshotBlocks<'a, D> {
    /// Opens the file `name` and checks that it is the snapshot of `group` at `meta`.
    pub(super) fn open(
        disk: &'a mut D,
        name: &str,
        core: CoreId,
        meta: SnapshotMeta,
        mutant: Mutant,
    ) -> Result<SnapshotBlocks<'a, D>, StorageError> {
        let file = disk.open(name, false)?;
        let mut blocks = SnapshotBlocks {
            disk,
            file,
            name: name.to_owned(),
            len: 0,
            at: 0,
            blocks: 0,
            crc: Hasher::new(),
            done: false,
            mutant,
        };
        blocks.len = blocks.disk.len(file)?;
        let found: [u8; HEADER] = blocks.read_array()?;
        if found != header(core, meta) {
            return Err(blocks.corrupt(0, "the header is not that of this snapshot in this format"));
        }
        blocks.crc.update(&found[..32]);
        Ok(blocks)
    }

    /// Reads and checks the whole file.
    pub(super) fn verify(mut self) -> Result<(), StorageError> {
        self.try_for_each(|block| block.map(drop))
    }

    fn corrupt(&self, offset: u64, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(&self.name, offset, what)
    }

    /// Whether `stored` is the checksum of everything read so far.
    fn matches(&self, stored: &[u8]) -> bool {
        let believed = self.mutant.is(Bug::SnapshotUnchecked) || self.mutant.is(Bug::PiecesAsTheyCome);
        self.crc.clone().finalize().to_le_bytes() == stored || believed
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), StorageError> {
        if self.len - self.at < buf.len() as u64 {
            return Err(self.corrupt(self.len, "the snapshot file ends too early"));
        }
        self.disk.read_at(self.file, self.at, buf)?;
        self.at += buf.len() as u64;
        Ok(())
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn step(&mut self) -> Result<Option<Bytes>, StorageError> {
        let start = self.at;
        let head: [u8; BLOCK_HEAD] = self.read_array()?;
        let (len, stored) = head.split_at(4);
        self.crc.update(len);
        let len = u32::from_le_bytes(len.try_into().expect("4 bytes")) as usize;
        if len == 0 {
            return self.footer(start, stored).map(|()| None);
        }
        if len > MAX_BLOCK_BYTES {
            return Err(self.corrupt(start, format!("a block of {len} bytes, more than {MAX_BLOCK_BYTES}")));
        }
        if len as u64 > self.len - self.at {
            return Err(self.corrupt(start, "the block reaches past the end of the file"));
        }
        let mut block = vec![0; len];
        self.fill(&mut block)?;
        self.crc.update(&block);
        if !self.matches(stored) {
            return Err(self.corrupt(start, format!("block {} fails its checksum", self.blocks)));
        }
        self.blocks += 1;
        Ok(Some(block.into()))
    }

    fn footer(&mut self, start: u64, stored: &[u8]) -> Result<(), StorageError> {
        let rest: [u8; FOOTER - BLOCK_HEAD] = self.read_array()?;
        self.crc.update(&rest);
        let expected = [self.blocks.to_le_bytes(), self.at.to_le_bytes()].concat();
        if !self.matches(stored) || rest[..] != expected {
            return Err(self.corrupt(start, "the footer fails its checksum or does not match the blocks before it"));
        }
        if self.at != self.len {
            return Err(self.corrupt(self.at, "bytes follow the footer"));
        }
        Ok(())
    }
}

impl<D: Disk> Iterator for SnapshotBlocks<'_, D> {
    type Item = Result<Bytes, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let block = self.step();
        self.done = !matches!(block, Ok(Some(_)));
        block.transpose()
    }
}

impl<D: Disk> Drop for SnapshotBlocks<'_, D> {
    fn drop(&mut self) {
        self.disk.close(self.file);
    }
}
