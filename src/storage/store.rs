//! A node's data directory: combines the log, the snapshot files and the identity file.

use super::identity::{self as file, Fact, Identity};
use super::segment;
use super::snapshot::{self, SnapshotBlocks, Writer};
use super::wal::{self, Wal};
use super::{Disk, DiskFault, FileId, LogRecord, StorageError, TEMPORARY, ap_meta};
use crate::mutant::{Bug, Mutant};
use crate::placement::Layout;
use crate::raft::{self, SnapshotMeta};
use crate::types::{Bytes, CoreId, GroupId, NodeId, Rng};
use crate::{dynamo, identity};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Configuration of a node's storage.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The node that owns the directory.
    pub node: NodeId,
    /// Bytes per segment of the log, rounded up to whole sectors. Applies only to segments created from now on.
    pub segment_bytes: u64,
    /// Further facts the directory is bound to, in order: the cluster and the layout of keys.
    pub facts: Arc<[Fact]>,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl StoreConfig {
    /// The defaults: segments of 16 MiB; the directory is bound to the node only.
    #[must_use]
    pub fn new(node: NodeId) -> StoreConfig {
        StoreConfig { node, segment_bytes: 16 << 20, facts: Arc::default(), mutant: Mutant::default() }
    }

    /// Also binds the directory to a cluster of this name and layout.
    #[must_use]
    pub fn bound_to(self, cluster: &str, layout: &Layout) -> StoreConfig {
        let cluster = ("cluster".to_owned(), cluster.to_owned());
        StoreConfig { facts: [cluster].into_iter().chain(layout.facts()).collect(), ..self }
    }

    fn facts(&self) -> Vec<Fact> {
        let node = ("node".to_owned(), self.node.to_string());
        [node].into_iter().chain(self.facts.iter().cloned()).collect()
    }
}

/// The durable state of every core of a node. The AP core's snapshot, if there is one, is checked but not yet read.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The Raft groups.
    pub groups: BTreeMap<GroupId, raft::Recovered>,
    /// The AP core.
    pub ap: dynamo::Recovered,
    /// The node's standing among its peers; includes the start of this process.
    pub identity: identity::Recovered,
}

impl Recovery {
    fn replay(&mut self, record: LogRecord) -> Result<(), String> {
        match record {
            LogRecord::Raft(group, record) => {
                self.groups.entry(group).or_default().replay(record).map_err(|why| why.to_string())
            }
            LogRecord::Ap(record) => self.ap.replay(record),
            LogRecord::Node(record) => {
                self.identity.replay(record);
                Ok(())
            }
        }
    }

    /// Returns the snapshots that the log refers to.
    fn snapshots(&self) -> BTreeMap<CoreId, SnapshotMeta> {
        let groups = self.groups.iter().map(|(group, state)| (CoreId::Group(*group), state.snapshot));
        groups.chain([(CoreId::Ap, ap_meta(self.ap.snapshot))]).filter(|(_, meta)| meta.index > 0).collect()
    }
}

/// Result of receiving a chunk of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Offset of the next chunk wanted. Differs from the sender's next offset if a chunk was lost or duplicated.
    Next(u64),
    /// The file is complete, checked and durable under its name.
    Complete,
    /// The file was damaged and has been removed; the transfer must start again. Says why.
    Refused(String),
}

/// A snapshot being received from a peer.
struct Arrival {
    meta: SnapshotMeta,
    temporary: String,
    file: FileId,
    next: u64,
}

/// A node's storage. After any failed write or sync it is poisoned: every later call that would write fails.
pub struct Store<D: Disk> {
    disk: D,
    wal: Wal,
    writer: Option<Writer>,
    arrivals: BTreeMap<CoreId, Arrival>,
    poisoned: bool,
    mutant: Mutant,
}

impl<D: Disk> Store<D> {
    /// Opens the directory, initializing it if it is empty, and returns the durable state of every core.
    ///
    /// Nothing is written before everything has been checked. Then what was read is made durable again, leftovers of a
    /// crash (a torn tail, temporary files, superseded files) are removed, and the start of this process is recorded
    /// under an incarnation drawn from `rng`.
    ///
    /// # Errors
    /// The directory belongs to another node or was written under another configuration, is damaged, or the disk fails.
    pub fn open(mut disk: D, config: &StoreConfig, rng: &mut Rng) -> Result<(Store<D>, Recovery), StorageError> {
        let names = disk.list()?;
        let is_data = |name: &&String| segment::parse(name).is_some() || snapshot::parse(name).is_some();
        let identity = match Identity::load(&mut disk, &names)? {
            Some(identity) if config.mutant.is(Bug::DirectoryUnchecked) => Some(identity),
            Some(identity) => identity.check(&config.facts()).map(|()| Some(identity))?,
            None => match names.iter().find(is_data) {
                Some(name) => {
                    let what =
                        format!("the file is missing, yet there is {name}: it cannot be told whose data that is");
                    return Err(StorageError::corrupt(file::NAME, 0, what));
                }
                None => None,
            },
        };
        let (directory, is_new) = identity.map_or_else(|| (rng.next(), true), |identity| (identity.directory, false));
        let owner = (config.node, directory);
        let mut found = Recovery::default();
        let scan = wal::scan(&mut disk, owner, config.mutant, &names, |record| found.replay(record))?;
        let snapshots = found.snapshots();
        for (core, meta) in &snapshots {
            open_snapshot(&mut disk, *core, *meta, config.mutant)?.verify()?;
        }
        if scan.is_none()
            && let Some(name) = names.iter().find(|name| snapshot::parse(name).is_some())
        {
            return Err(StorageError::corrupt(name, 0, "there is a snapshot but no write-ahead log"));
        }

        for name in names.iter().filter(|name| is_temporary(name)) {
            disk.remove(name)?;
        }
        if is_new {
            Identity { directory, facts: config.facts() }.make(&mut disk)?;
        } else if scan.is_none() {
            // The process that created it may have died before its name was durable.
            disk.sync_dir()?;
        }
        let mut wal = match scan {
            Some(scan) => Wal::resume(&mut disk, scan, config.segment_bytes, config.mutant)?,
            None => Wal::create(&mut disk, owner, config.segment_bytes, config.mutant)?,
        };
        // Only now is the record that supersedes them certain to be durable.
        for name in &names {
            if snapshot::parse(name).is_some_and(|(core, meta)| snapshots.get(&core) != Some(&meta)) {
                disk.remove(name)?;
            }
        }
        let incarnation = match found.identity.incarnation {
            before @ 1.. if config.mutant.is(Bug::IncarnationReused) => before,
            _ => rng.next().max(1),
        };
        found.identity.directory = directory;
        let start = found.identity.start(incarnation, wal.last_batch());
        found.identity.replay(start);
        wal.append(&mut disk, &[LogRecord::Node(start)])?;
        let mutant = config.mutant;
        Ok((Store { disk, wal, writer: None, arrivals: BTreeMap::new(), poisoned: false, mutant }, found))
    }

    /// The planted bug, if any.
    pub(crate) fn mutant(&self) -> Mutant {
        self.mutant
    }

    /// Number of the last durable batch of the log. Batches are numbered from 1; numbers are never reused.
    #[must_use]
    pub fn last_batch(&self) -> u64 {
        self.wal.last_batch()
    }

    /// Makes records durable, in order, with one sync: all of them or, after a crash, none. Without records it does
    /// nothing.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn append(&mut self, records: &[LogRecord]) -> Result<(), StorageError> {
        self.writing(|store| match records {
            [] => Ok(()),
            records => store.wal.append(&mut store.disk, records),
        })
    }

    /// Whether the log has grown enough for [`Store::checkpoint`] to be due.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.wal.wants_checkpoint()
    }

    /// Atomically replaces the whole log by `records`, which must restate everything that every core needs (for a Raft
    /// group in the order hard state, snapshot, entries). Older segments are removed.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn checkpoint(&mut self, records: &[LogRecord]) -> Result<(), StorageError> {
        self.writing(|store| store.wal.checkpoint(&mut store.disk, records))
    }

    /// Starts a snapshot file. Only one is written at a time: an unfinished earlier one is abandoned.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn snapshot_begin(&mut self, core: CoreId, meta: SnapshotMeta) -> Result<(), StorageError> {
        self.writing(|store| {
            if let Some(writer) = store.writer.take() {
                writer.abandon(&mut store.disk)?;
            }
            store.writer = Some(Writer::begin(&mut store.disk, core, meta)?);
            Ok(())
        })
    }

    /// Appends a block of 1 to [`super::MAX_BLOCK_BYTES`] bytes to the current snapshot.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    ///
    /// # Panics
    /// If no snapshot has been started, or the block's size is out of range.
    pub fn snapshot_write(&mut self, block: &[u8]) -> Result<(), StorageError> {
        self.writing(|store| store.writer.as_mut().expect("a snapshot begun").write(&mut store.disk, block))
    }

    /// Completes the current snapshot: when this returns, it is durable under its name. It takes effect when its
    /// `Record::Snapshot` is appended; until then a restart removes it.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    ///
    /// # Panics
    /// If no snapshot has been started.
    pub fn snapshot_finish(&mut self) -> Result<SnapshotMeta, StorageError> {
        self.writing(|store| store.writer.take().expect("a snapshot begun").finish(&mut store.disk))
    }

    /// Returns up to `max` bytes of a snapshot file starting at `offset`, and whether the file ends with them. `None`
    /// if the file does not exist or `offset` is not within it. The bytes are not checked; the receiver checks the
    /// whole file.
    ///
    /// # Errors
    /// The disk fails.
    pub fn snapshot_chunk(
        &mut self,
        core: CoreId,
        meta: SnapshotMeta,
        offset: u64,
        max: usize,
    ) -> Result<Option<(Bytes, bool)>, StorageError> {
        let file = match self.disk.open(&snapshot::name(core, meta), false) {
            Err(e) if e.what == DiskFault::Missing => return Ok(None),
            opened => opened?,
        };
        let chunk = read_chunk(&mut self.disk, file, offset, max);
        self.disk.close(file);
        chunk
    }

    /// Receives a chunk of a snapshot file from a peer. Offset 0 restarts the group's transfer; any other offset must
    /// follow the previous chunk. After the `last` chunk the whole file is checked.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn incoming_chunk(
        &mut self,
        core: CoreId,
        meta: SnapshotMeta,
        offset: u64,
        data: &[u8],
        last: bool,
    ) -> Result<Incoming, StorageError> {
        self.writing(|store| {
            let as_they_come = store.mutant.is(Bug::PiecesAsTheyCome);
            if offset == 0 || as_they_come && store.arrivals.get(&core).is_none_or(|a| a.meta != meta) {
                store.give_up_arrival(core)?;
                let temporary = format!("{}.incoming{TEMPORARY}", snapshot::name(core, meta));
                let file = store.disk.open(&temporary, true)?;
                store.arrivals.insert(core, Arrival { meta, temporary, file, next: 0 });
            }
            let Some(arrival) = store.arrivals.get_mut(&core).filter(|a| a.meta == meta) else {
                return Ok(Incoming::Next(0));
            };
            if offset != arrival.next && !as_they_come {
                return Ok(Incoming::Next(arrival.next));
            }
            store.disk.write_at(arrival.file, arrival.next, data)?;
            arrival.next += data.len() as u64;
            if last { store.finish_arrival(core) } else { Ok(Incoming::Next(arrival.next)) }
        })
    }

    /// Returns the blocks of a snapshot, for restoring a state machine.
    ///
    /// # Errors
    /// The file is missing or damaged, or the disk fails.
    pub fn snapshot_blocks(&mut self, core: CoreId, meta: SnapshotMeta) -> Result<SnapshotBlocks<'_, D>, StorageError> {
        open_snapshot(&mut self.disk, core, meta, self.mutant)
    }

    /// Removes the snapshot files, received ones included, of the given groups that are older than the given ones.
    /// Files in `pinned` are kept: they are being sent to peers. Call this only when the records that refer to the
    /// given snapshots are durable.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn snapshot_retain(
        &mut self,
        kept: &BTreeMap<CoreId, SnapshotMeta>,
        pinned: &BTreeSet<(CoreId, SnapshotMeta)>,
    ) -> Result<(), StorageError> {
        self.writing(|store| {
            for (core, meta) in kept {
                if store.arrivals.get(core).is_some_and(|arrival| arrival.meta.index <= meta.index) {
                    store.give_up_arrival(*core)?;
                }
            }
            for name in store.disk.list()? {
                let found = snapshot::parse(&name).filter(|found| !pinned.contains(found));
                if found.is_some_and(|(g, m)| kept.get(&g).is_some_and(|meta| m.index < meta.index)) {
                    store.disk.remove(&name)?;
                }
            }
            Ok(())
        })
    }

    /// Runs an operation that writes. After an error, all later ones are refused.
    fn writing<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, StorageError>) -> Result<T, StorageError> {
        if self.poisoned {
            return Err(StorageError::Poisoned);
        }
        let result = f(self);
        self.poisoned = result.is_err();
        result
    }

    fn give_up_arrival(&mut self, core: CoreId) -> Result<(), StorageError> {
        if let Some(arrival) = self.arrivals.remove(&core) {
            self.disk.close(arrival.file);
            self.disk.remove(&arrival.temporary)?;
        }
        Ok(())
    }

    fn finish_arrival(&mut self, core: CoreId) -> Result<Incoming, StorageError> {
        let arrival = self.arrivals.remove(&core).expect("an arrival to finish");
        let checked = SnapshotBlocks::open(&mut self.disk, &arrival.temporary, core, arrival.meta, self.mutant)
            .and_then(SnapshotBlocks::verify);
        match checked {
            Ok(()) => {
                let name = snapshot::name(core, arrival.meta);
                snapshot::publish(&mut self.disk, arrival.file, &arrival.temporary, &name)?;
                Ok(Incoming::Complete)
            }
            Err(StorageError::Corrupt { offset, what, .. }) => {
                self.disk.close(arrival.file);
                self.disk.remove(&arrival.temporary)?;
                Ok(Incoming::Refused(format!("byte {offset} of the snapshot received: {what}")))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether this is a file that was being created when the process died. Files that are not the store's are left alone.
fn is_temporary(name: &str) -> bool {
    let begins = ["wal-", "snap-", file::NAME];
    name.ends_with(TEMPORARY) && begins.iter().any(|begin| name.starts_with(begin))
}

fn read_chunk(
    disk: &mut impl Disk,
    file: FileId,
    offset: u64,
    max: usize,
) -> Result<Option<(Bytes, bool)>, StorageError> {
    let Some(left) = disk.len(file)?.checked_sub(offset).filter(|&left| left > 0) else { return Ok(None) };
    let mut data = vec![0; max.min(usize::try_from(left).unwrap_or(usize::MAX))];
    disk.read_at(file, offset, &mut data)?;
    let last = data.len() as u64 == left;
    Ok(Some((data.into(), last)))
}

fn open_snapshot<D: Disk>(
    disk: &mut D,
    core: CoreId,
    meta: SnapshotMeta,
    mutant: Mutant,
) -> Result<SnapshotBlocks<'_, D>, StorageError> {
    let name = snapshot::name(core, meta);
    SnapshotBlocks::open(disk, &name, core, meta, mutant).map_err(|error| match error {
        StorageError::Disk(e) if e.what == DiskFault::Missing => {
            StorageError::corrupt(&name, 0, "the log refers to this snapshot, but the file is missing")
        }
        error => error,
    })
}
