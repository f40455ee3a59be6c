//! The write-ahead log: segments of sector-framed batches, shared by all groups of a node.
//!
//! Only one batch is ever in flight: batch N+1 is written after the sync of batch N has returned. Therefore at recovery
//! every batch except the last must be complete, and any subset of the last batch's sectors may be present. Recovery
//! reads from the newest checkpoint on and classifies every sector ([`sector::State`]):
//!
//! - A nonzero sector that is not valid is damage, at any position: refused.
//! - An incomplete batch is a torn tail if no part of a later batch exists anywhere. Its remains are erased, and the
//!   erasure is synced, before anything is appended. If a later batch exists, durable data is lost: refused.
//! - A missing, short or foreign segment is damage: refused.
//!
//! Recovery also rewrites the last complete batch and syncs it. That batch may be readable only because it is still in
//! the operating system's page cache: after `kill -9`, or after a failed fsync, whose dropped pages are marked clean
//! and never written (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
//!
//! Assumption about the disk: a 512-byte sector is written completely or not at all. Larger units (4 KiB pages) only
//! make the possible subsets coarser. If a disk tears within a sector, or damages a neighbour in the same physical
//! block, the node refuses to start; it does not return wrong data. **What cannot be detected**: if sectors of the very
//! last batch, or the whole newest segment, are zeroed or removed after they were durable, the result looks like a
//! crash before the sync.

use super::record::{self, LogRecord};
use super::sector::{self, Batch, SECTOR, State};
use super::segment::{self, Header};
use super::{Disk, DiskError, DiskFault, FileId, StorageError, TEMPORARY};
use crate::mutant::{Bug, Mutant};
use crate::types::NodeId;
use std::ops::Range;

/// A checkpoint is due after this many segments' worth of batches, unless the last checkpoint was larger than that.
const CHECKPOINT_AFTER: u64 = 4;

const SECTOR_BYTES: u64 = SECTOR as u64;

/// Result of reading the log, before anything is written.
pub(super) struct Scan {
    /// Segments in use, from the newest checkpoint on.
    live: Range<u64>,
    /// Segments before the checkpoint, left by a crash during their removal.
    obsolete: Vec<u64>,
    /// Header of the newest segment.
    header: Header,
    /// Sectors of the newest segment occupied by its last complete batch, and their contents.
    last_batch: Range<u64>,
    last_bytes: Vec<u8>,
    /// Sectors after it that hold remains of a torn batch.
    torn: Range<u64>,
    next_batch: u64,
    checkpoint_bytes: u64,
    bytes: u64,
}

/// One segment, as read from disk.
struct Segment {
    bytes: Vec<u8>,
    /// The first and the last complete batch.
    first_batch: Range<u64>,
    last_batch: Range<u64>,
    /// Range from the end of the last complete batch to the last sector in use.
    torn: Range<u64>,
    next_batch: u64,
    /// The sector at which the next batch stops being complete; the first free sector if it was never begun.
    breaks_at: u64,
}

/// Reads the log among the files `names` and passes every record, in order, to `replay`. Returns `None` if there is no
/// segment.
pub(super) fn scan(
    disk: &mut impl Disk,
    (node, directory): (NodeId, u64),
    mutant: Mutant,
    names: &[String],
    mut replay: impl FnMut(LogRecord) -> Result<(), String>,
) -> Result<Option<Scan>, StorageError> {
    let mut all: Vec<u64> = names.iter().filter_map(|n| segment::parse(n)).collect();
    all.sort_unstable();
    let Some((&oldest, &newest)) = all.first().zip(all.last()) else { return Ok(None) };
    let mut headers = Vec::new();
    for &seq in all.iter().rev() {
        let header = Header::load(disk, seq)?;
        if (header.node, header.directory) != (node, directory) {
            let what = format!(
                "the segment is of {} and of data directory {:016x}, the file `identity` is of {node} and {directory:016x}",
                header.node, header.directory
            );
            return Err(StorageError::corrupt(&segment::name(seq), 12, what));
        }
        headers.push(header);
        if header.checkpoint {
            break;
        }
    }
    headers.reverse();
    if !headers[0].checkpoint {
        let what = "no segment holds a checkpoint: the log's beginning is missing";
        return Err(StorageError::corrupt(&segment::name(oldest), 0, what));
    }
    let start = headers[0].seq;
    if let Some(missing) = (start..newest).zip(&headers).find_map(|(seq, h)| (h.seq != seq).then_some(seq)) {
        let what = format!("the file is missing, yet segment {newest:x} exists");
        return Err(StorageError::corrupt(&segment::name(missing), 0, what));
    }

    let mut scan = Scan {
        live: start..newest + 1,
        obsolete: all.into_iter().filter(|&seq| seq < start).collect(),
        header: headers[headers.len() - 1],
        last_batch: 0..0,
        last_bytes: Vec::new(),
        torn: 0..0,
        next_batch: headers[0].first_batch,
        checkpoint_bytes: 0,
        bytes: 0,
    };
    for (i, header) in headers.iter().enumerate() {
        let read = read_segment(disk, header, mutant, &mut replay)?;
        if let Some(next) = headers.get(i + 1)
            && (next.first_batch != read.next_batch || !read.torn.is_empty())
        {
            let what = format!(
                "batch {} is not whole from here on, yet segment {:x} begins with batch {}: durable data is lost",
                read.next_batch, next.seq, next.first_batch
            );
            return Err(StorageError::corrupt(&segment::name(header.seq), read.breaks_at * SECTOR_BYTES, what));
        }
        scan.bytes += (read.last_batch.end - 1) * SECTOR_BYTES;
        if i == 0 {
            scan.checkpoint_bytes = (read.first_batch.end - 1) * SECTOR_BYTES;
        }
        scan.next_batch = read.next_batch;
        if i + 1 == headers.len() {
            scan.last_bytes = read.bytes[bytes_of(&read.last_batch)].to_vec();
            (scan.last_batch, scan.torn) = (read.last_batch, read.torn);
        }
    }
    Ok(Some(scan))
}

/// Reads a segment, replays its complete batches, and checks all other sectors.
fn read_segment(
    disk: &mut impl Disk,
    header: &Header,
    mutant: Mutant,
    replay: &mut impl FnMut(LogRecord) -> Result<(), String>,
) -> Result<Segment, StorageError> {
    let file = segment::name(header.seq);
    let mut bytes = vec![0; usize::try_from(header.length).expect("a file that fits in memory")];
    let id = disk.open(&file, false)?;
    let read = disk.read_at(id, 0, &mut bytes);
    disk.close(id);
    read?;

    let sectors = Sectors { bytes: &bytes, file: &file, seq: header.seq, mutant };
    let (mut first_batch, mut last_batch) = (1..1, 1..1);
    let mut next_batch = header.first_batch;
    let mut payload = Vec::new();
    let breaks_at = loop {
        let start = last_batch.end;
        payload.clear();
        let end = match sectors.batch(start, next_batch, &mut payload)? {
            Ok(end) => end,
            Err(breaks_at) => break breaks_at,
        };
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            record::decode(&mut rest)
                .ok_or_else(|| "what stands there is not a record".to_owned())
                .and_then(&mut *replay)
                .map_err(|what| sectors.corrupt(start, format!("in batch {next_batch}: {what}")))?;
        }
        last_batch = start..end;
        if first_batch.is_empty() {
            first_batch = last_batch.clone();
        }
        next_batch += 1;
    };
    if last_batch.is_empty() {
        let what = "the segment's first batch is not whole, though it was before the segment got its name";
        return Err(sectors.corrupt(breaks_at, what));
    }

    let mut torn = last_batch.end..last_batch.end;
    for number in torn.start..sectors.count() {
        if let State::Valid(head) = sectors.judge(number)? {
            if head.batch != next_batch && !mutant.is(Bug::HeaderUnchecked) {
                let what = format!(
                    "batch {next_batch} is not whole from here on, yet batch {} stands at byte {}: durable data is lost",
                    head.batch,
                    number * SECTOR_BYTES
                );
                return Err(sectors.corrupt(breaks_at, what));
            }
            torn.end = number + 1;
        }
    }
    Ok(Segment { bytes, first_batch, last_batch, torn, next_batch, breaks_at })
}

/// The sectors of one segment in memory.
struct Sectors<'a> {
    bytes: &'a [u8],
    file: &'a str,
    seq: u64,
    mutant: Mutant,
}

impl Sectors<'_> {
    fn count(&self) -> u64 {
        self.bytes.len() as u64 / SECTOR_BYTES
    }

    fn at(&self, number: u64) -> &[u8] {
        &self.bytes[bytes_of(&(number..number + 1))]
    }

    fn corrupt(&self, number: u64, what: impl Into<String>) -> StorageError {
        StorageError::corrupt(self.file, number * SECTOR_BYTES, what)
    }

    /// Returns the state of the sector; damage is an error.
    fn judge(&self, number: u64) -> Result<State, StorageError> {
        match sector::judge(self.at(number), self.seq, number, self.mutant) {
            State::Rotten if self.mutant.is(Bug::NoiseIsTorn) => Ok(State::Zero),
            State::Rotten => Err(self.corrupt(number, "the sector fails its checksum")),
            state => Ok(state),
        }
    }

    /// Reads batch `batch`, which starts at sector `start`, and appends its payload to `payload`. Returns the sector
    /// after its end, or, if it is incomplete, the sector at which it breaks off.
    fn batch(&self, start: u64, batch: u64, payload: &mut Vec<u8>) -> Result<Result<u64, u64>, StorageError> {
        for number in start..self.count() {
            match self.judge(number)? {
                State::Valid(head) if head.batch == batch && head.first == (number == start) => {
                    payload.extend_from_slice(sector::payload(self.at(number), head));
                    if head.last {
                        return Ok(Ok(number + 1));
                    }
                }
                _ => return Ok(Err(number)),
            }
        }
        Ok(Err(self.count()))
    }
}

fn bytes_of(sectors: &Range<u64>) -> Range<usize> {
    sectors.start as usize * SECTOR..sectors.end as usize * SECTOR
}

/// The log, open for appending.
pub(super) struct Wal {
    node: NodeId,
    directory: u64,
    segment_bytes: u64,
    /// Segments in use; the last one is being appended to.
    live: Range<u64>,
    file: FileId,
    /// Number of sectors in that segment, and its first free sector.
    sectors: u64,
    next_sector: u64,
    next_batch: u64,
    /// Bytes of the checkpoint the log starts with, and of all batches including it.
    checkpoint_bytes: u64,
    bytes: u64,
    batch: Batch,
    mutant: Mutant,
}

impl Wal {
    /// Creates the log of a new directory.
    pub(super) fn create(
        disk: &mut impl Disk,
        (node, directory): (NodeId, u64),
        segment_bytes: u64,
        mutant: Mutant,
    ) -> Result<Wal, StorageError> {
        let mut batch = Batch::new(mutant);
        let header = Header { node, directory, seq: 1, length: segment_bytes, first_batch: 1, checkpoint: true };
        let header = make_segment(disk, &mut batch, header)?;
        Ok(Wal {
            node,
            directory,
            segment_bytes,
            live: 1..2,
            file: disk.open(&segment::name(1), false)?,
            sectors: header.length / SECTOR_BYTES,
            next_sector: 2,
            next_batch: 2,
            checkpoint_bytes: SECTOR_BYTES,
            bytes: SECTOR_BYTES,
            batch,
            mutant,
        })
    }

    /// Reopens a log after a scan: erases the torn tail, makes durable what was read, removes obsolete segments.
    pub(super) fn resume(
        disk: &mut impl Disk,
        scan: Scan,
        segment_bytes: u64,
        mutant: Mutant,
    ) -> Result<Wal, StorageError> {
        let file = disk.open(&segment::name(scan.header.seq), false)?;
        if !mutant.is(Bug::TailNotRewritten) {
            disk.write_at(file, scan.last_batch.start * SECTOR_BYTES, &scan.last_bytes)?;
        }
        if !scan.torn.is_empty() {
            let zeros = vec![0; bytes_of(&scan.torn).len()];
            disk.write_at(file, scan.torn.start * SECTOR_BYTES, &zeros)?;
        }
        disk.sync(file)?;
        // The newest checkpoint's name must be durable before older segments are removed.
        disk.sync_dir()?;
        for seq in scan.obsolete {
            disk.remove(&segment::name(seq))?;
        }
        Ok(Wal {
            node: scan.header.node,
            directory: scan.header.directory,
            segment_bytes,
            live: scan.live,
            file,
            sectors: scan.header.length / SECTOR_BYTES,
            next_sector: scan.last_batch.end,
            next_batch: scan.next_batch,
            checkpoint_bytes: scan.checkpoint_bytes,
            bytes: scan.bytes,
            batch: Batch::new(mutant),
            mutant,
        })
    }

    /// Makes the records durable as one batch with one sync. A batch that does not fit starts a new segment, made as
    /// long as the batch needs.
    pub(super) fn append(&mut self, disk: &mut impl Disk, records: &[LogRecord]) -> Result<(), StorageError> {
        self.encode(records);
        let sectors = self.batch.sectors();
        if self.next_sector + sectors > self.sectors {
            return self.begin_segment(disk, false);
        }
        let bytes = self.batch.seal(self.live.end - 1, self.next_sector, self.next_batch);
        let written = disk.write_at(self.file, self.next_sector * SECTOR_BYTES, bytes);
        self.check_write(written)?;
        let synced = disk.sync(self.file);
        self.check_sync(disk, synced)?;
        self.next_sector += sectors;
        self.next_batch += 1;
        self.bytes += sectors * SECTOR_BYTES;
        Ok(())
    }

    /// Starts a segment with `records`, which restate everything, then removes all older segments.
    pub(super) fn checkpoint(&mut self, disk: &mut impl Disk, records: &[LogRecord]) -> Result<(), StorageError> {
        self.encode(records);
        self.begin_segment(disk, true)?;
        self.bytes = self.batch.sectors() * SECTOR_BYTES;
        self.checkpoint_bytes = self.bytes;
        let newest = self.live.end - 1;
        for seq in self.live.start..newest {
            disk.remove(&segment::name(seq))?;
        }
        self.live.start = newest;
        Ok(())
    }

    /// Number of the last batch; it is durable.
    pub(super) fn last_batch(&self) -> u64 {
        self.next_batch - 1
    }

    /// Whether a checkpoint is worthwhile: it rewrites at most as much as was appended since the last one.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let appended = self.bytes - self.checkpoint_bytes;
        appended >= self.checkpoint_bytes.max(CHECKPOINT_AFTER * self.segment_bytes)
    }

    fn check_write(&self, written: Result<(), DiskError>) -> Result<(), DiskError> {
        written.or_else(|e| match e.what {
            DiskFault::Full if self.mutant.is(Bug::FullDiskIgnored) => Ok(()),
            _ => Err(e),
        })
    }

    fn check_sync(&self, disk: &mut impl Disk, synced: Result<(), DiskError>) -> Result<(), DiskError> {
        synced.or_else(|e| if self.mutant.is(Bug::RetryFsync) { disk.sync(self.file) } else { Err(e) })
    }

    fn encode(&mut self, records: &[LogRecord]) {
        self.batch.clear();
        for record in records {
            record::encode(&mut self.batch, record);
        }
    }

    fn begin_segment(&mut self, disk: &mut impl Disk, checkpoint: bool) -> Result<(), StorageError> {
        let seq = self.live.end;
        let (node, directory, length, first_batch) = (self.node, self.directory, self.segment_bytes, self.next_batch);
        let header = Header { node, directory, seq, length, first_batch, checkpoint };
        let header = make_segment(disk, &mut self.batch, header)?;
        disk.close(self.file);
        self.file = disk.open(&segment::name(seq), false)?;
        self.live.end = seq + 1;
        self.sectors = header.length / SECTOR_BYTES;
        self.next_sector = 1 + self.batch.sectors();
        self.next_batch += 1;
        self.bytes += self.batch.sectors() * SECTOR_BYTES;
        Ok(())
    }
}

/// Creates a segment with its first batch, durable under its name. Its length is the header's, or more if that batch
/// needs it.
fn make_segment(disk: &mut impl Disk, batch: &mut Batch, header: Header) -> Result<Header, StorageError> {
    let needed = (1 + batch.sectors()) * SECTOR_BYTES;
    let length = header.length.next_multiple_of(SECTOR_BYTES).max(needed);
    let header = Header { length, ..header };
    let Header { seq, first_batch, .. } = header;
    let name = segment::name(seq);
    let temporary = format!("{name}{TEMPORARY}");
    let file = disk.open(&temporary, true)?;
    disk.allocate(file, length)?;
    disk.write_at(file, 0, &header.encode())?;
    disk.write_at(file, SECTOR_BYTES, batch.seal(seq, 1, first_batch))?;
    disk.sync(file)?;
    disk.close(file);
    disk.rename(&temporary, &name)?;
    disk.sync_dir()?;
    Ok(header)
}
