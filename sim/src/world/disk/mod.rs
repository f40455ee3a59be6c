//! A node's disk: a flat directory of files made of 512-byte sectors, and time.
//!
//! What is written is volatile. A sync takes effect when its modelled latency has passed, not when it is called: a
//! node that is killed meanwhile had not been promised anything, and may find any part of it. On a power failure any
//! subset of the sectors not durable survives (torn, not only a prefix), and so does any subset of the creations,
//! renames and removals whose directory was not synced. When only the process dies, nothing is lost: the operating
//! system still has it.
//!
//! The disk serves one operation at a time: each starts when the one before ended, or now. Whoever runs jobs on it
//! waits until [`DiskHandle::busy_until`] before it goes on. The owner of [`DiskHandle`] is the world, which crashes
//! and troubles the disk; the owner of [`SimDisk`] is one run of the node's process, and a dead one's is of no effect.
//!
//! Caveats: a sector is atomic (real disks' power-loss guarantees vary); a failed sync reverts the pages it should
//! have written at once, where a kernel may serve them from its cache a while longer; space is counted by file length.

mod file;
mod names;
#[cfg(test)]
mod tests;
mod trouble;

pub use file::SECTOR;
pub use trouble::{Damage, DiskTrouble, Scope};

use super::ledger::{Effect, FaultId, Ledger};
use super::trace::{Kind, Trace, payload};
use super::{Latency, Nanos, TimeSource, lock};
use file::SimFile;
use names::{Inode, Names};
use seaworthy::storage::{Disk, DiskError, DiskFault, FileId};
use seaworthy::types::{Addr, NodeId, Rng};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a disk takes, and how much fits on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiskSettings {
    /// For each operation other than a sync.
    pub per_operation: Duration,
    /// For each KiB read or written, in addition.
    pub per_kib: Duration,
    /// For a sync of a file or of the directory.
    pub sync: Latency,
    /// Sum of file lengths it can hold, in bytes.
    pub capacity: u64,
}

/// What a disk did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct DiskStats {
    /// Writes done.
    pub writes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Reads done.
    pub reads: u64,
    /// Syncs of files and of the directory that succeeded.
    pub syncs: u64,
    /// Power failures.
    pub crashes: u64,
    /// Bytes of unsynced sectors lost in them.
    pub bytes_lost: u64,
    /// Files of which some unsynced sectors survived and some did not.
    pub files_torn: u64,
    /// Creations, renames and removals lost.
    pub names_lost: u64,
}

struct State {
    node: Addr,
    settings: DiskSettings,
    time: TimeSource,
    rng: Rng,
    busy_until: Nanos,
    names: Names,
    files: BTreeMap<Inode, SimFile>,
    open: BTreeMap<FileId, (Inode, String)>,
    next_inode: Inode,
    next_file: u64,
    session: u64,
    troubles: Vec<(FaultId, DiskTrouble)>,
    damaged: BTreeMap<(Inode, u32), (FaultId, Damage)>,
    stats: DiskStats,
    trace: Trace,
    ledger: Ledger,
}

/// The world's hold on a disk. Clones share it.
#[derive(Clone)]
pub struct DiskHandle(Arc<Mutex<State>>);

/// The disk as one run of a node's process has it.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    session: u64,
}

impl DiskHandle {
    /// An empty disk.
    #[must_use]
    pub fn new(
        seed: u64,
        node: NodeId,
        settings: DiskSettings,
        time: TimeSource,
        trace: Trace,
        ledger: Ledger,
    ) -> DiskHandle {
        DiskHandle(Arc::new(Mutex::new(State {
            node: Addr::Node(node),
            settings,
            time,
            rng: Rng::new(seed, &format!("disk {node}")),
            busy_until: 0,
            names: Names::default(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            next_inode: 1,
            next_file: 1,
            session: 0,
            troubles: Vec::new(),
            damaged: BTreeMap::new(),
            stats: DiskStats::default(),
            trace,
            ledger,
        })))
    }

    /// The disk for a new run of the node's process; any earlier [`SimDisk`] is of no effect from now on.
    #[must_use]
    pub fn attach(&self) -> SimDisk {
        let mut state = lock(&self.0);
        state.detach();
        SimDisk { state: self.0.clone(), session: state.session }
    }

    /// The node's process died; what the operating system has of its writes stays.
    pub fn detach(&self) {
        lock(&self.0).detach();
    }

    /// The node's machine lost power, by `fault` if by one.
    pub fn crash(&self, fault: Option<FaultId>) {
        lock(&self.0).crash(fault);
    }

    /// When the operations so far are done.
    #[must_use]
    pub fn busy_until(&self) -> Nanos {
        lock(&self.0).busy_until
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        lock(&self.0).stats
    }

    /// Lays a fault on the disk.
    pub fn trouble(&self, id: FaultId, trouble: DiskTrouble) {
        let mut state = lock(&self.0);
        state.ledger.fired(id);
        let trouble = match trouble {
            DiskTrouble::Full(free) => DiskTrouble::Full(state.used() + free),
            other => other,
        };
        state.troubles.push((id, trouble));
    }

    /// Takes a fault off the disk; damaged sectors stay damaged.
    pub fn lift(&self, id: FaultId) {
        lock(&self.0).troubles.retain(|(other, _)| *other != id);
    }

    /// Takes every fault off the disk; damaged sectors stay damaged.
    pub fn heal(&self) {
        lock(&self.0).troubles.clear();
    }

    /// Damages up to `count` sectors of the scope: one bit flipped in each, or made unreadable. What was hit, as
    /// (file name, sector).
    pub fn damage(&self, id: FaultId, scope: &Scope, damage: Damage, count: usize) -> Vec<(String, u32)> {
        lock(&self.0).damage(id, scope, damage, count)
    }

    /// The disk is lost and replaced by an empty one. The node's process should be dead.
    pub fn wipe(&self, id: FaultId) {
        let mut state = lock(&self.0);
        state.detach();
        let files = std::mem::take(&mut state.files).len() as u64;
        state.names = Names::default();
        state.damaged.clear();
        state.ledger.fired(id);
        state.ledger.affected(id, Effect::FilesWiped, files);
        state.event(Kind::Wipe, [files, 0, 0]);
    }
}

/// A failure, with the file's name.
fn error(op: &'static str, file: &str, what: DiskFault) -> DiskError {
    DiskError { op, file: file.to_owned(), what }
}

fn broken(op: &'static str, file: &str) -> DiskError {
    error(op, file, DiskFault::Io("input/output error".into()))
}

impl State {
    fn now(&self) -> Nanos {
        (self.time)()
    }

    fn event(&self, kind: Kind, numbers: [u64; 3]) {
        self.trace.event(self.now(), kind, self.node, self.node, numbers);
    }

    fn detach(&mut self) {
        self.session += 1;
        self.open.clear();
        self.collect();
    }

    /// Spends `cost` on an operation; when it ends.
    fn spend(&mut self, cost: Nanos) -> Nanos {
        let begin = self.busy_until.max(self.now());
        let (mut cost, mut not_before) = (cost, 0);
        for (id, trouble) in &self.troubles {
            match trouble {
                DiskTrouble::Slow(factor) => cost = cost.saturating_mul(u64::from(*factor)),
                DiskTrouble::StallUntil(until) if *until > begin => not_before = not_before.max(*until),
                _ => continue,
            }
            self.ledger.affected(*id, Effect::DiskOpsDelayed, 1);
        }
        self.busy_until = begin.saturating_add(cost).max(not_before);
        self.busy_until
    }

    fn spend_operation(&mut self, bytes: usize) {
        let settings = self.settings;
        let cost = super::nanos(settings.per_operation) + super::nanos(settings.per_kib) * bytes as u64 / 1024;
        self.spend(cost);
    }

    fn spend_sync(&mut self) -> Nanos {
        let cost = self.settings.sync.sample(&mut self.rng);
        self.spend(cost)
    }

    /// Uses up one of a counted trouble, if there is one.
    fn strike(&mut self, of: impl Fn(&mut DiskTrouble) -> Option<&mut u64>) -> Option<FaultId> {
        let hit = self.troubles.iter_mut().find_map(|(id, trouble)| match of(trouble) {
            Some(left) if *left > 0 => {
                *left = if *left == u64::MAX { u64::MAX } else { *left - 1 };
                Some(*id)
            }
            _ => None,
        })?;
        Some(hit)
    }

    fn used(&self) -> u64 {
        self.files.values().map(SimFile::len).sum()
    }

    /// Refuses to grow a file beyond what fits.
    fn check_space(&self, op: &'static str, name: &str, inode: Inode, len: u64) -> Result<(), DiskError> {
        let grows = len.saturating_sub(self.files[&inode].len());
        if grows == 0 {
            return Ok(());
        }
        let needed = self.used() + grows;
        let full = self.troubles.iter().find_map(|(id, trouble)| match trouble {
            DiskTrouble::Full(limit) if needed > *limit => Some(*id),
            _ => None,
        });
        if full.is_none() && needed <= self.settings.capacity {
            return Ok(());
        }
        self.ledger.charge(full, Effect::WritesFailed, 1);
        self.failure(inode, full);
        Err(error(op, name, DiskFault::Full))
    }

    fn failure(&self, inode: Inode, fault: Option<FaultId>) {
        self.event(Kind::DiskFailure, [inode, fault.map_or(u64::MAX, |id| u64::from(id.0)), 0]);
    }

    fn opened(&self, op: &'static str, file: FileId) -> Result<(Inode, String), DiskError> {
        self.open.get(&file).cloned().ok_or_else(|| broken(op, &format!("closed file {}", file.0)))
    }

    fn file(&mut self, inode: Inode) -> &mut SimFile {
        self.files.get_mut(&inode).expect("open and named files exist")
    }

    /// Fails a read that meets an unreadable sector, and notes one that meets a rotten one.
    fn check_damage(&self, name: &str, inode: Inode, offset: u64, len: usize) -> Result<(), DiskError> {
        let mut result = Ok(());
        for (&(_, _), &(id, damage)) in self.damaged.range(sectors(inode, offset, len)) {
            self.ledger.affected(id, Effect::BadReads, 1);
            if damage == Damage::Unreadable {
                self.failure(inode, Some(id));
                result = Err(broken("read", name));
            }
        }
        result
    }

    fn mend(&mut self, inode: Inode, offset: u64, len: usize) {
        if !self.damaged.is_empty() {
            let mended: Vec<_> = self.damaged.range(sectors(inode, offset, len)).map(|(key, _)| *key).collect();
            for key in mended {
                self.damaged.remove(&key);
            }
        }
    }

    fn write(&mut self, name: &str, inode: Inode, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.spend_operation(data.len());
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailWrites(left) = t { Some(left) } else { None }) {
            self.ledger.affected(id, Effect::WritesFailed, 1);
            self.failure(inode, Some(id));
            return Err(broken("write", name));
        }
        self.check_space("write", name, inode, offset + data.len() as u64)?;
        let offset = self.direct(inode, offset, data.len());
        self.mend(inode, offset, data.len());
        self.file(inode).write(offset, data);
        self.stats.writes += 1;
        self.stats.bytes += data.len() as u64;
        self.event(Kind::Write, [inode, offset, payload(data)]);
        Ok(())
    }

    /// Where a write lands: where it should, unless it is misdirected to another place that fits in the file.
    fn direct(&mut self, inode: Inode, offset: u64, len: usize) -> u64 {
        let room = self.files[&inode].len().saturating_sub(len as u64) / SECTOR as u64;
        let own = offset / SECTOR as u64;
        if room == 0 || own > room {
            return offset;
        }
        match self.strike(|t| if let DiskTrouble::Misdirect(left) = t { Some(left) } else { None }) {
            Some(id) => {
                self.ledger.affected(id, Effect::WritesMisdirected, 1);
                let shift = 1 + self.rng.below(room);
                (own + shift) % (room + 1) * SECTOR as u64
            }
            None => offset,
        }
    }

    fn sync(&mut self, name: &str, inode: Inode) -> Result<(), DiskError> {
        let effective = self.spend_sync();
        let now = self.now();
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailSyncs(left) = t { Some(left) } else { None }) {
            let lost = self.file(inode).drop_dirty();
            self.ledger.affected(id, Effect::SyncsFailed, 1);
            self.ledger.affected(id, Effect::SectorsLost, lost);
            self.failure(inode, Some(id));
            return Err(broken("sync", name));
        }
        let file = self.file(inode);
        file.settle(now);
        file.begin_sync(effective);
        self.stats.syncs += 1;
        self.event(Kind::Sync, [inode, effective, 0]);
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        let effective = self.spend_sync();
        let now = self.now();
        if let Some(id) = self.strike(|t| if let DiskTrouble::FailSyncs(left) = t { Some(left) } else { None }) {
            self.ledger.affected(id, Effect::SyncsFailed, 1);
            self.failure(0, Some(id));
            return Err(broken("sync", "the directory"));
        }
        if self.names.settle(now) {
            self.collect();
        }
        self.names.begin_sync(effective);
        self.stats.syncs += 1;
        self.event(Kind::Sync, [0, effective, 0]);
        Ok(())
    }

    fn crash(&mut self, fault: Option<FaultId>) {
        let now = self.now();
        self.names.settle(now);
        let names_lost = self.names.crash(&mut self.rng);
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for file in self.files.values_mut() {
            file.settle(now);
            let wreck = file.crash(&mut self.rng);
            kept += wreck.kept;
            lost += wreck.lost;
            torn += u64::from(wreck.kept > 0 && wreck.lost > 0);
        }
        self.stats.crashes += 1;
        self.stats.bytes_lost += lost * SECTOR as u64;
        self.stats.files_torn += torn;
        self.stats.names_lost += names_lost;
        self.ledger.charge(fault, Effect::SectorsLost, lost);
        self.ledger.charge(fault, Effect::FilesTorn, torn);
        self.ledger.charge(fault, Effect::NamesLost, names_lost);
        self.event(Kind::Crash, [kept, lost, names_lost]);
        self.busy_until = now;
        self.detach();
    }

    fn damage(&mut self, id: FaultId, scope: &Scope, damage: Damage, count: usize) -> Vec<(String, u32)> {
        self.ledger.fired(id);
        let now = self.now();
        let mut candidates = Vec::new();
        for (name, inode) in self.names.iter().filter(|(name, _)| name.starts_with(&scope.prefix)) {
            let file = self.files.get_mut(&inode).expect("named files exist");
            file.settle(now);
            candidates.extend(file.durable_sectors().into_iter().map(|sector| (name.clone(), inode, sector)));
        }
        candidates.truncate((candidates.len() as f64 * scope.oldest).ceil() as usize);
        self.rng.shuffle(&mut candidates);
        candidates.truncate(count);
        for (_, inode, sector) in &candidates {
            let bit = match damage {
                Damage::Rotten => {
                    let bit = self.rng.below(SECTOR as u64 * 8);
                    self.file(*inode).flip(*sector, bit as usize);
                    self.ledger.affected(id, Effect::BitsFlipped, 1);
                    bit
                }
                Damage::Unreadable => {
                    self.ledger.affected(id, Effect::SectorsSpoiled, 1);
                    u64::MAX
                }
            };
            self.damaged.insert((*inode, *sector), (id, damage));
            self.event(Kind::Rot, [*inode, u64::from(*sector), bit]);
        }
        candidates.into_iter().map(|(name, _, sector)| (name, sector)).collect()
    }

    /// Frees files that no name and no handle leads to.
    fn collect(&mut self) {
        let (names, open) = (&self.names, &self.open);
        self.files.retain(|inode, _| names.leads_to(*inode) || open.values().any(|(other, _)| other == inode));
    }
}

/// The keys of the damage table that a byte range of a file covers.
fn sectors(inode: Inode, offset: u64, len: usize) -> std::ops::Range<(Inode, u32)> {
    let sector = SECTOR as u64;
    (inode, (offset / sector) as u32)..(inode, (offset + len as u64).div_ceil(sector) as u32)
}

impl SimDisk {
    /// Runs one operation, unless this process is dead.
    fn with<T>(
        &self,
        op: &'static str,
        name: &str,
        run: impl FnOnce(&mut State) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        let mut state = lock(&self.state);
        if state.session != self.session {
            return Err(error(op, name, DiskFault::Io("the process is dead".into())));
        }
        run(&mut state)
    }
}

impl Disk for SimDisk {
    fn open(&mut self, name: &str, create: bool) -> Result<FileId, DiskError> {
        self.with("open", name, |state| {
            state.spend_operation(0);
            let inode = match (state.names.get(name), create) {
                (Some(_), true) => return Err(error("open", name, DiskFault::Exists)),
                (None, false) => return Err(error("open", name, DiskFault::Missing)),
                (Some(inode), false) => inode,
                (None, true) => {
                    let inode = state.next_inode;
                    state.next_inode += 1;
                    state.names.create(name, inode);
                    state.files.insert(inode, SimFile::new());
                    inode
                }
            };
            let file = FileId(state.next_file);
            state.next_file += 1;
            state.open.insert(file, (inode, name.to_owned()));
            Ok(file)
        })
    }

    fn close(&mut self, file: FileId) {
        let mut state = lock(&self.state);
        if state.session == self.session && state.open.remove(&file).is_some() {
            state.collect();
        }
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.with("len", "", |state| {
            let (inode, _) = state.opened("len", file)?;
            Ok(state.files[&inode].len())
        })
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.with("read", "", |state| {
            let (inode, name) = state.opened("read", file)?;
            state.spend_operation(buf.len());
            let end = offset.checked_add(buf.len() as u64);
            if end.is_none_or(|end| end > state.files[&inode].len()) {
                return Err(error("read", &name, DiskFault::PastEnd));
            }
            if !state.damaged.is_empty() {
                state.check_damage(&name, inode, offset, buf.len())?;
            }
            state.file(inode).read(offset, buf);
            state.stats.reads += 1;
            Ok(())
        })
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.with("write", "", |state| {
            let (inode, name) = state.opened("write", file)?;
            if offset.checked_add(data.len() as u64).is_none_or(|end| end > state.settings.capacity) {
                return Err(error("write", &name, DiskFault::Full));
            }
            state.write(&name, inode, offset, data)
        })
    }

    fn allocate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.with("allocate", "", |state| {
            let (inode, name) = state.opened("allocate", file)?;
            state.spend_operation(0);
            state.check_space("allocate", &name, inode, len)?;
            state.file(inode).grow(len);
            Ok(())
        })
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.with("sync", "", |state| {
            let (inode, name) = state.opened("sync", file)?;
            state.sync(&name, inode)
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.with("rename", from, |state| {
            state.spend_operation(0);
            let inode = state.names.get(from).ok_or_else(|| error("rename", from, DiskFault::Missing))?;
            if from != to {
                state.names.rename(from, to, inode);
            }
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.with("remove", name, |state| {
            state.spend_operation(0);
            state.names.get(name).ok_or_else(|| error("remove", name, DiskFault::Missing))?;
            state.names.remove(name);
            Ok(())
        })
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.with("list", "the directory", |state| {
            state.spend_operation(0);
            Ok(state.names.iter().map(|(name, _)| name.clone()).collect())
        })
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        self.with("sync", "the directory", State::sync_dir)
    }
}
