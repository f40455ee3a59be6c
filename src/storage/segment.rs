//! Segment files: their names and their first sector.
//!
//! A segment is written completely under a temporary name (zeros to its full length, header, first batch), synced, and
//! only then renamed. A segment with its final name therefore always has its stated length, a valid header and a
//! complete first batch.

use super::sector::SECTOR;
use super::{Disk, StorageError};
use crate::types::NodeId;

const MAGIC: &[u8; 8] = b"SEAWAL\r\n";
const VERSION: u32 = 1;
/// Offset of the header's checksum, which covers everything before it.
const CRC_AT: usize = SECTOR - 4;

/// A segment's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) node: NodeId,
    /// The data directory's random number.
    pub(super) directory: u64,
    pub(super) seq: u64,
    /// Length of the file in bytes, including this sector.
    pub(super) length: u64,
    /// Number of the first batch.
    pub(super) first_batch: u64,
    /// Whether the first batch is a checkpoint, that is, restates everything, so that recovery can start here.
    pub(super) checkpoint: bool,
}

/// The name of segment `seq`.
pub(super) fn name(seq: u64) -> String {
    format!("wal-{seq:016x}.log")
}

/// The sequence number in a segment's name, `None` for other files.
pub(super) fn parse(file: &str) -> Option<u64> {
    let seq = u64::from_str_radix(file.strip_prefix("wal-")?.strip_suffix(".log")?, 16).ok()?;
    (name(seq) == file).then_some(seq)
}

impl Header {
    /// Returns the header as the segment's first sector.
    pub(super) fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.node.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.seq.to_le_bytes());
        out[24..32].copy_from_slice(&self.length.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_batch.to_le_bytes());
        out[40] = u8::from(self.checkpoint);
        out[48..56].copy_from_slice(&self.directory.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the header of segment `seq`, checks it, and checks that the file has the stated length.
    pub(super) fn load(disk: &mut impl Disk, seq: u64) -> Result<Header, StorageError> {
        let file = name(seq);
        let id = disk.open(&file, false)?;
        let loaded = disk.len(id).and_then(|length| {
            let mut sector = [0; SECTOR];
            let read = SECTOR.min(usize::try_from(length).unwrap_or(SECTOR));
            disk.read_at(id, 0, &mut sector[..read])?;
            Ok((length, sector))
        });
        disk.close(id);
        let (length, sector) = loaded?;
        Header::check(&sector, seq, length).map_err(|(offset, what)| StorageError::corrupt(&file, offset, what))
    }

    fn check(sector: &[u8; SECTOR], seq: u64, length: u64) -> Result<Header, (u64, String)> {
        let u32 = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().expect("4 bytes"));
        let u64 = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().expect("8 bytes"));
        if length < SECTOR as u64 {
            return Err((length, "the file ends within the segment header".into()));
        }
        if u32(CRC_AT) != crc32fast::hash(&sector[..CRC_AT]) || &sector[..8] != MAGIC {
            return Err((0, "the segment header fails its checksum".into()));
        }
        if u32(8) != VERSION {
            return Err((8, format!("format version {}, this build reads {VERSION}", u32(8))));
        }
        let header = Header {
            node: NodeId(u32(12)),
            seq: u64(16),
            length: u64(24),
            first_batch: u64(32),
            checkpoint: sector[40] == 1,
            directory: u64(48),
        };
        if header.seq != seq {
            return Err((16, format!("this is segment {:x} under another's name", header.seq)));
        }
        if header.length != length || !length.is_multiple_of(SECTOR as u64) {
            return Err((length.min(header.length), format!("{length} bytes long, but made {} long", header.length)));
        }
        Ok(header)
    }
}
