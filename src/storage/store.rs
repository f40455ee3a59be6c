//! A node's data directory: the log and the snapshot files, and what ties them together.

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

/// How a node's storage is run.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Whose directory it is.
    pub node: NodeId,
    /// Bytes in a segment of the log, rounded up to whole sectors. Only segments yet to be made heed it.
    pub segment_bytes: u64,
    /// What else the directory is bound to, in order: the cluster and who keeps what there.
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

    /// The same for a directory that is bound to a cluster of this name and layout.
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

/// What every core of a node had made durable. The AP core's snapshot, if there is one, is checked and not read yet.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The Raft groups.
    pub groups: BTreeMap<GroupId, raft::Recovered>,
    /// The AP core.
    pub ap: dynamo::Recovered,
    /// The node's standing among its peers; the start of this process is in it.
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

    /// The snapshots that the log refers to.
    fn snapshots(&self) -> BTreeMap<CoreId, SnapshotMeta> {
        let groups = self.groups.iter().map(|(group, state)| (CoreId::Group(*group), state.snapshot));
        groups.chain([(CoreId::Ap, ap_meta(self.ap.snapshot))]).filter(|(_, meta)| meta.index > 0).collect()
    }
}

/// What became of a piece of an arriving snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// Wanted next: the piece at this offset. Other than expected when a piece was lost or came twice.
    Next(u64),
    /// The file is complete, checked and durable under its name.
    Complete,
    /// The file was not what it should be and has been removed; the transfer must start again. Says why.
    Refused(String),
}

/// A snapshot arriving from a peer.
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
    /// Opens the directory, beginning it if it is empty, and gives what every core had made durable.
    ///
    /// Nothing is written before all of it has been checked. Then what was read is made durable afresh, leftovers of
    /// a crash (a torn tail, temporary files, superseded files) are removed, and the start of this process is recorded, under
    /// a number drawn from `rng`.
    ///
    /// # Errors
    /// The directory is another's or was written under another configuration, is damaged, or the disk fails.
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
            // Whoever made it may have died before its name was durable.
            disk.sync_dir()?;
        }
        let mut wal = match scan {
            Some(scan) => Wal::resume(&mut disk, scan, config.segment_bytes, config.mutant)?,
            None => Wal::create(&mut disk, owner, config.segment_bytes, config.mutant)?,
        };
        // Only now is the record that supersedes them sure to be durable.
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

    /// The last batch of the log that is durable: batches are counted from 1 on, for ever.
    #[must_use]
    pub fn last_batch(&self) -> u64 {
        self.wal.last_batch()
    }

    /// Makes records durable, in order, all or (after a crash) none, with one sync. No records: nothing is done.
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

    /// Replaces the whole log by `records`, which must restate all that every core needs (of a Raft group in the order
    /// hard state, snapshot, entries), atomically. Older segments are removed.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    pub fn checkpoint(&mut self, records: &[LogRecord]) -> Result<(), StorageError> {
        self.writing(|store| store.wal.checkpoint(&mut store.disk, records))
    }

    /// Starts a snapshot file. One is written at a time: one that was begun before and not finished is given up.
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

    /// Adds a block of 1 to [`super::MAX_BLOCK_BYTES`] bytes to the snapshot begun.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    ///
    /// # Panics
    /// No snapshot is begun, or the block has no allowed size.
    pub fn snapshot_write(&mut self, block: &[u8]) -> Result<(), StorageError> {
        self.writing(|store| store.writer.as_mut().expect("a snapshot begun").write(&mut store.disk, block))
    }

    /// Completes the snapshot begun: when this returns, it is durable under its name. It comes into force when its
    /// `Record::Snapshot` is appended; until then a restart removes it.
    ///
    /// # Errors
    /// The disk fails, or failed before.
    ///
    /// # Panics
    /// No snapshot is begun.
    pub fn snapshot_finish(&mut self) -> Result<SnapshotMeta, StorageError> {
        self.writing(|store| store.writer.take().expect("a snapshot begun").finish(&mut store.disk))
    }

    /// Up to `max` bytes of a snapshot file from `offset` on, and whether the file ends with them. `None` when there is
    /// no such file or offset. The bytes are not checked; the receiver checks the whole file.
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

    /// Takes a piece of a snapshot file from a peer. Offset 0 starts the group's transfer afresh; any other offset must
    /// follow the piece before. After the `last` piece the whole file is checked.
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

    /// The blocks of a snapshot, to restore from.
    ///
    /// # Errors
    /// The file is missing or damaged, or the disk fails.
    pub fn snapshot_blocks(&mut self, core: CoreId, meta: SnapshotMeta) -> Result<SnapshotBlocks<'_, D>, StorageError> {
        open_snapshot(&mut self.disk, core, meta, self.mutant)
    }

    /// Removes snapshot files older than those given, arriving ones included, of the groups given, except the `pinned`,
    /// which are on their way to others. Only to be called when the records that refer to those given are durable.
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

    /// Runs what writes; any error is the last thing it does.
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

/// Whether a file was being made when the process died. What is not ours is let alone.
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
