//! One file: its current contents, and the old contents of its sectors before each sync that is not yet in effect.
//!
//! Contents are stored in chunks that are allocated on the first write, so reserving a segment of zeros costs nothing.
//! Before a sector is first changed after a sync, its old contents go into an undo list. When the sync takes effect the
//! list is dropped; a crash plays back some of it.

use super::super::Nanos;
use seaworthy::types::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The unit that is written whole or not at all, in bytes.
pub const SECTOR: usize = 512;
/// The effective time of a sync that the disk only pretended to do: never, unless a real sync follows.
pub(super) const NEVER: Nanos = Nanos::MAX;
const CHUNK: usize = 32 * SECTOR;

/// The old contents of a sector.
enum Old {
    Zeros,
    Bytes(Box<[u8]>),
}

/// The changes between two syncs: the old contents of each changed sector, in the order of the first changes.
#[derive(Default)]
struct Batch {
    old_len: u64,
    /// Its number in the order of batches and failed syncs, once its sync has begun.
    number: u32,
    /// When the first change of length began.
    grown: Nanos,
    /// For each changed sector: when its first change began, the sector, and its old contents.
    undo: Vec<(Nanos, u32, Old)>,
}

impl Batch {
    fn new(old_len: u64) -> Batch {
        Batch { old_len, grown: Nanos::MAX, ..Batch::default() }
    }
}

struct Chunk {
    data: Box<[u8]>,
    /// The batch in which each sector's old contents were last saved.
    saved: [u32; CHUNK / SECTOR],
}

/// A file's contents, volatile and durable.
#[derive(Default)]
pub(super) struct SimFile {
    chunks: Vec<Option<Box<Chunk>>>,
    len: u64,
    batch: u32,
    dirty: Batch,
    /// Syncs in progress: when they take effect, and what they make durable.
    syncing: VecDeque<(Nanos, Batch)>,
    /// Sectors whose sync failed: they read as written and count as clean, but their durable contents are the old ones.
    /// Each has the number of the failed sync; only a later sync can make it durable.
    stranded: BTreeMap<u32, (u32, Old)>,
}

/// The effect of a crash on a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Wreck {
    pub(super) kept: u64,
    pub(super) lost: u64,
    /// Those lost sectors whose sync had been reported as done.
    pub(super) forgotten: u64,
    /// Sectors that hold random bytes instead of the new or the old contents.
    pub(super) garbled: u64,
}

/// The parameters of a power failure.
#[derive(Clone, Copy)]
pub(super) struct Fall {
    pub(super) now: Nanos,
    /// Sectors per physical block. A block survives whole or not at all.
    pub(super) block: u32,
    /// Blocks that are being written may contain anything afterwards.
    pub(super) garbles: bool,
    /// Only durable data survives.
    pub(super) empties: bool,
}

impl SimFile {
    pub(super) fn new() -> SimFile {
        SimFile { chunks: Vec::new(), len: 0, batch: 1, dirty: Batch::new(0), ..SimFile::default() }
    }

    /// A file whose contents are durable from the start.
    pub(super) fn durable(contents: &[u8]) -> SimFile {
        let mut file = SimFile::new();
        file.grow(0, contents.len() as u64);
        for (at, part) in pieces(0, contents.len(), SECTOR) {
            if !is_zero(&contents[part.clone()]) {
                file.put(at, &contents[part]);
            }
        }
        file.dirty = Batch::new(file.len);
        file
    }

    /// Returns the whole contents.
    pub(super) fn contents(&self) -> Vec<u8> {
        let mut contents = vec![0; self.len as usize];
        self.read(0, &mut contents);
        contents
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn sectors(&self) -> u32 {
        self.len.div_ceil(SECTOR as u64) as u32
    }

    /// Fills `buf`; the range must be within the file.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) {
        for (at, part) in pieces(offset, buf.len(), CHUNK) {
            let (chunk, within) = (at as usize / CHUNK, at as usize % CHUNK);
            let target = &mut buf[part.clone()];
            match self.chunks.get(chunk).and_then(Option::as_ref) {
                Some(chunk) => target.copy_from_slice(&chunk.data[within..within + part.len()]),
                None => target.fill(0),
            }
        }
    }

    /// Writes, with begin time `begun`, and extends the file if necessary.
    pub(super) fn write(&mut self, begun: Nanos, offset: u64, data: &[u8]) {
        for (at, part) in pieces(offset, data.len(), SECTOR) {
            self.save(begun, (at / SECTOR as u64) as u32);
            self.put(at, &data[part]);
        }
        self.grow(begun, offset + data.len() as u64);
    }

    /// Extends the file with zeros to at least `len` bytes.
    pub(super) fn grow(&mut self, begun: Nanos, len: u64) {
        if len > self.len {
            self.dirty.grown = self.dirty.grown.min(begun);
        }
        self.len = self.len.max(len);
        let chunks = self.len.div_ceil(CHUNK as u64) as usize;
        if self.chunks.len() < chunks {
            self.chunks.resize_with(chunks, || None);
        }
    }

    /// Makes everything written so far durable at `effective`.
    pub(super) fn begin_sync(&mut self, effective: Nanos) {
        self.flush(effective);
        let mut batch = std::mem::replace(&mut self.dirty, Batch::new(self.len));
        batch.number = self.batch;
        self.batch += 1;
        self.syncing.push_back((effective, batch));
    }

    /// Makes the pretended syncs take effect at `effective`.
    pub(super) fn flush(&mut self, effective: Nanos) {
        for (lied, _) in self.syncing.iter_mut().rev().take_while(|(lied, _)| *lied == NEVER) {
            *lied = effective;
        }
    }

    /// Drops the undo lists of syncs that are in effect by `now`.
    pub(super) fn settle(&mut self, now: Nanos) {
        while let Some((_, batch)) = self.syncing.pop_front_if(|(effective, _)| *effective <= now) {
            if !self.stranded.is_empty() {
                let mended = |sector: &u32| self.stranded.get(sector).is_some_and(|(since, _)| *since <= batch.number);
                let mended: Vec<u32> = batch.undo.iter().map(|(_, sector, _)| *sector).filter(mended).collect();
                mended.iter().for_each(|sector| drop(self.stranded.remove(sector)));
            }
        }
    }

    /// Whether a power failure could lose something that was written by `now`.
    pub(super) fn at_stake(&self, now: Nanos) -> bool {
        let batches = self.syncing.iter().map(|(_, batch)| batch).chain([&self.dirty]);
        batches.flat_map(|batch| &batch.undo).any(|(begun, ..)| *begun <= now)
    }

    /// Whether anything was written since the last sync, successful or not.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.undo.is_empty()
    }

    /// Whether the file has grown since the last sync.
    pub(super) fn has_grown(&self) -> bool {
        self.dirty.old_len < self.len
    }

    /// A sync failed: the unsynced data stays readable and counts as clean, but is lost in a power failure unless it is
    /// written again.
    pub(super) fn strand_dirty(&mut self) {
        self.batch += 1;
        for (_, sector, old) in std::mem::take(&mut self.dirty.undo) {
            self.stranded.entry(sector).or_insert((self.batch, old));
        }
    }

    /// A sync failed: the unsynced data is lost at once, though the length stays. Returns the number of lost sectors.
    pub(super) fn drop_dirty(&mut self) -> u64 {
        self.batch += 1;
        let undo = std::mem::take(&mut self.dirty.undo);
        for (_, sector, old) in &undo {
            self.restore(*sector, old);
        }
        undo.len() as u64
    }

    /// The power fails: of the writes that had begun and are not durable, some survive. Each block survives whole or
    /// not at all. A draw per file decides which blocks survive: all, none, those written first, or each independently.
    pub(super) fn crash(&mut self, fall: Fall, rng: &mut Rng) -> Wreck {
        self.batch += 1;
        let dirty = std::mem::replace(&mut self.dirty, Batch::new(0));
        let batches: Vec<(Nanos, Batch)> = self.syncing.drain(..).chain([(Nanos::MAX - 1, dirty)]).collect();
        let total: usize = batches.iter().map(|(_, batch)| batch.undo.len()).sum();
        let luck = Luck::draw(rng, total as u64);
        let luck = if fall.empties { Luck::None } else { luck };
        self.crash_len(fall.now, &batches, rng, &luck);
        let (mut kept, mut lost, mut forgotten) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // A surviving block has the newest version of all its sectors, and a batch writes a block as a whole.
        let (mut blocks, mut written) = (BTreeSet::new(), BTreeSet::new());
        let mut position = total as u64;
        for (effective, batch) in batches.iter().rev() {
            let mut fates = BTreeMap::new();
            for (begun, sector, old) in batch.undo.iter().rev() {
                position -= 1;
                let (begun, block) = (*begun <= fall.now, sector / fall.block);
                if begun {
                    written.insert(block);
                }
                let survives = begun
                    && (blocks.contains(&block) || *fates.entry(block).or_insert_with(|| luck.holds(rng, position)));
                if survives {
                    kept.insert(*sector);
                } else if !kept.contains(sector) {
                    lost.insert(*sector);
                    if *effective == NEVER {
                        forgotten.insert(*sector);
                    }
                    self.restore(*sector, old);
                }
            }
            blocks.extend(fates.into_iter().filter_map(|(block, survives)| survives.then_some(block)));
        }
        for (sector, (_, old)) in std::mem::take(&mut self.stranded) {
            if !kept.contains(&sector) {
                lost.insert(sector);
                self.restore(sector, &old);
            }
        }
        self.truncate();
        self.dirty.old_len = self.len;
        let garbled = if fall.garbles { self.garble(&written, fall.block, rng) } else { 0 };
        Wreck { kept: kept.len() as u64, lost: lost.len() as u64, forgotten: forgotten.len() as u64, garbled }
    }

    /// Fills some of the blocks with random bytes. Returns the number of sectors filled.
    fn garble(&mut self, blocks: &BTreeSet<u32>, size: u32, rng: &mut Rng) -> u64 {
        let mut garbled = 0;
        for block in blocks {
            if !rng.chance(0.5) {
                continue;
            }
            for sector in block * size..((block + 1) * size).min(self.sectors()) {
                let mut noise = [0; SECTOR];
                noise.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&rng.next().to_le_bytes()));
                self.restore(sector, &Old::Bytes(noise.into()));
                garbled += 1;
            }
        }
        self.truncate();
        garbled
    }

    /// Sets the length that survives: the newest, or that of some sync not in effect.
    fn crash_len(&mut self, now: Nanos, batches: &[(Nanos, Batch)], rng: &mut Rng, luck: &Luck) {
        for (_, batch) in batches.iter().rev() {
            if batch.old_len >= self.len {
                continue;
            }
            let survives = match luck {
                _ if batch.grown > now => false,
                Luck::All => true,
                Luck::None => false,
                _ => rng.chance(0.5),
            };
            if survives {
                return;
            }
            self.len = batch.old_len;
        }
    }

    /// Zeroes the bytes past the end.
    fn truncate(&mut self) {
        self.chunks.truncate(self.len.div_ceil(CHUNK as u64) as usize);
        if let Some(Some(last)) = self.chunks.last_mut()
            && !(self.len as usize).is_multiple_of(CHUNK)
        {
            last.data[self.len as usize % CHUNK..].fill(0);
        }
    }

    /// Returns the sectors that are durable and not all zeros, in order.
    pub(super) fn durable_sectors(&self) -> Vec<u32> {
        let batches = self.syncing.iter().map(|(_, batch)| batch).chain([&self.dirty]);
        let mut pending: BTreeSet<u32> =
            batches.flat_map(|batch| batch.undo.iter().map(|(_, sector, _)| *sector)).collect();
        pending.extend(self.stranded.keys());
        (0..self.sectors()).filter(|s| !pending.contains(s) && self.sector(*s).is_some_and(|d| !is_zero(d))).collect()
    }

    /// Flips one bit durably, without any error.
    pub(super) fn flip(&mut self, sector: u32, bit: usize) {
        let at = sector as usize * SECTOR + bit / 8;
        if let Some(Some(chunk)) = self.chunks.get_mut(at / CHUNK) {
            chunk.data[at % CHUNK] ^= 1 << (bit % 8);
        }
    }

    fn sector(&self, sector: u32) -> Option<&[u8]> {
        let at = sector as usize * SECTOR;
        let chunk = self.chunks.get(at / CHUNK)?.as_ref()?;
        Some(&chunk.data[at % CHUNK..at % CHUNK + SECTOR])
    }

    /// Saves the sector's contents for undoing, once per batch.
    fn save(&mut self, begun: Nanos, sector: u32) {
        let at = sector as usize * SECTOR;
        let within = at % CHUNK / SECTOR;
        if let Some(Some(chunk)) = self.chunks.get(at / CHUNK)
            && chunk.saved[within] == self.batch
        {
            return;
        }
        let old = match self.sector(sector) {
            Some(data) if !is_zero(data) => Old::Bytes(data.into()),
            _ => Old::Zeros,
        };
        self.dirty.undo.push((begun, sector, old));
        self.chunk(at / CHUNK).saved[within] = self.batch;
    }

    fn restore(&mut self, sector: u32, old: &Old) {
        let at = sector as usize * SECTOR;
        let target = &mut self.chunk(at / CHUNK).data[at % CHUNK..at % CHUNK + SECTOR];
        match old {
            Old::Zeros => target.fill(0),
            Old::Bytes(bytes) => target.copy_from_slice(bytes),
        }
    }

    fn put(&mut self, at: u64, data: &[u8]) {
        let within = at as usize % CHUNK;
        self.chunk(at as usize / CHUNK).data[within..within + data.len()].copy_from_slice(data);
    }

    fn chunk(&mut self, index: usize) -> &mut Chunk {
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        self.chunks[index].get_or_insert_with(|| {
            Box::new(Chunk { data: vec![0; CHUNK].into_boxed_slice(), saved: [0; CHUNK / SECTOR] })
        })
    }
}

/// Which unsynced changes survive a crash.
enum Luck {
    All,
    None,
    /// The changes made before this one.
    First(u64),
    /// Each change with this probability.
    Each(f64),
}

impl Luck {
    fn draw(rng: &mut Rng, changes: u64) -> Luck {
        match rng.below(6) {
            0 => Luck::All,
            1 => Luck::None,
            2 => Luck::First(rng.below(changes + 1)),
            _ => Luck::Each(rng.unit()),
        }
    }

    fn holds(&self, rng: &mut Rng, position: u64) -> bool {
        match self {
            Luck::All => true,
            Luck::None => false,
            Luck::First(count) => position < *count,
            Luck::Each(p) => rng.chance(*p),
        }
    }
}

fn is_zero(data: &[u8]) -> bool {
    data.chunks(SECTOR).all(|part| *part == [0; SECTOR][..part.len()])
}

/// Splits a range of a file at multiples of `unit`. Yields offsets and the matching ranges of the buffer.
fn pieces(offset: u64, len: usize, unit: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let part = (unit - at as usize % unit).min(len - done);
        let range = done..done + part;
        done += part;
        Some((at, range))
    })
}
