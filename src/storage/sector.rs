//! Sectors and batches: how the bytes of one fsync are arranged in a segment (docs/formats.md has the format byte by
//! byte).
//!
//! A batch is a run of 512-byte sectors. The checksum of each sector covers its contents *and its position*, so a
//! sector written to the wrong position, or left over from another segment, is not mistaken for a valid one. All zeros
//! means "never written"; a written sector is never all zeros because batch numbers start at 1.

use crate::mutant::{Bug, Mutant};

/// Bytes in a sector, the unit that a disk is assumed to write completely or not at all.
pub(super) const SECTOR: usize = 512;
/// Bytes of a sector before its payload.
const HEAD: usize = 16;
/// Maximum payload bytes in a sector.
pub(super) const PAYLOAD: usize = SECTOR - HEAD;

const FIRST: u8 = 1;
const LAST: u8 = 2;

/// The checksum of the sector at position `number` of segment `seq`.
fn checksum(sector: &[u8], seq: u64, number: u64, mutant: Mutant) -> u32 {
    let place = u128::from(number) << 64 | u128::from(seq);
    let mut crc = crc32fast::Hasher::new();
    let covered = if mutant.is(Bug::HeaderUnchecked) { HEAD } else { 4 };
    crc.update(&sector[covered..]);
    crc.update(&place.to_le_bytes());
    crc.finalize()
}

/// A sector's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) batch: u64,
    pub(super) first: bool,
    pub(super) last: bool,
    /// Payload bytes; the maximum unless the batch ends here.
    pub(super) len: usize,
}

/// How recovery classifies a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Never written, or erased.
    Zero,
    /// As written, at the position it was written for.
    Valid(Head),
    /// Nonzero and not valid.
    Rotten,
}

/// Classifies the sector at position `number` of segment `seq`.
pub(super) fn judge(sector: &[u8], seq: u64, number: u64, mutant: Mutant) -> State {
    if *sector == [0; SECTOR] {
        return State::Zero;
    }
    let stored = u32::from_le_bytes(sector[..4].try_into().expect("4 bytes"));
    if stored != checksum(sector, seq, number, mutant) && !mutant.is(Bug::SkipChecksum) {
        return State::Rotten;
    }
    let len = usize::from(u16::from_le_bytes([sector[4], sector[5]]));
    let (flags, reserved) = (sector[6], sector[7]);
    let batch = u64::from_le_bytes(sector[8..HEAD].try_into().expect("8 bytes"));
    let (first, last) = (flags & FIRST != 0, flags & LAST != 0);
    if flags & !(FIRST | LAST) != 0 || reserved != 0 || len > PAYLOAD || (!last && len < PAYLOAD) {
        return State::Rotten;
    }
    State::Valid(Head { batch, first, last, len })
}

/// The payload of a valid sector.
pub(super) fn payload(sector: &[u8], head: Head) -> &[u8] {
    &sector[HEAD..HEAD + head.len]
}

/// A batch being built. Payload is copied directly to its position in its sector. The buffer is reused for later
/// batches.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    mutant: Mutant,
}

impl Batch {
    pub(super) fn new(mutant: Mutant) -> Batch {
        Batch { bytes: Vec::new(), mutant }
    }

    /// Empties the batch, keeping a moderate amount of memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
    }

    /// Appends payload.
    pub(super) fn put(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.bytes.len().is_multiple_of(SECTOR) {
                self.bytes.extend_from_slice(&[0; HEAD]);
            }
            let room = SECTOR - self.bytes.len() % SECTOR;
            let (now, later) = data.split_at(room.min(data.len()));
            self.bytes.extend_from_slice(now);
            data = later;
        }
    }

    /// Number of sectors the batch takes; at least one.
    pub(super) fn sectors(&self) -> u64 {
        self.bytes.len().div_ceil(SECTOR).max(1) as u64
    }

    /// Fills in the sector headers for batch number `batch` starting at sector `start` of segment `seq`, and returns
    /// the bytes to write.
    pub(super) fn seal(&mut self, seq: u64, start: u64, batch: u64) -> &[u8] {
        let sectors = self.sectors() as usize;
        let tail = self.bytes.len().saturating_sub((sectors - 1) * SECTOR + HEAD);
        self.bytes.resize(sectors * SECTOR, 0);
        for (i, sector) in self.bytes.chunks_exact_mut(SECTOR).enumerate() {
            let last = i + 1 == sectors;
            let len = if last { tail } else { PAYLOAD };
            sector[4..6].copy_from_slice(&(len as u16).to_le_bytes());
            sector[6] = if i == 0 { FIRST } else { 0 } | if last { LAST } else { 0 };
            sector[8..HEAD].copy_from_slice(&batch.to_le_bytes());
            let crc = checksum(sector, seq, start + i as u64, self.mutant);
            sector[..4].copy_from_slice(&crc.to_le_bytes());
        }
        &self.bytes
    }
}
