//! A disk for tests: keeps what is durable, loses the rest on a crash, and injects faults on request.

use super::{Disk, DiskError, DiskFault, FileId};
use crate::types::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct File {
    /// Contents as the process sees them.
    now: Vec<u8>,
    /// Contents after a crash, apart from what survives of `dirty`.
    durable: Vec<u8>,
    /// Sectors written but not yet durable.
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending: Vec<NameChange>,
    open: BTreeMap<FileId, u64>,
    next: u64,
    /// Number of mutating operations so far.
    changes: u64,
    /// When `changes` reaches this, the power is off: every operation fails.
    power_until: Option<u64>,
    fail_sync: bool,
    /// Number of syncs so far.
    syncs: u64,
}

/// A handle to the disk; clones share it. [`MemDisk::copy`] makes an independent disk.
#[derive(Clone, Default)]
pub(crate) struct MemDisk(Arc<Mutex<Inner>>);

impl MemDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds the lock")
    }

    /// Returns an independent disk in the same state.
    pub(crate) fn copy(&self) -> MemDisk {
        MemDisk(Arc::new(Mutex::new(self.inner().clone())))
    }

    /// Power loss and restart: an arbitrary part of what is not durable survives. `keep` is the probability that each
    /// sector and each name change survives.
    pub(crate) fn crash(&self, rng: &mut Rng, keep: f64) {
        let disk = &mut *self.inner();
        for change in std::mem::take(&mut disk.pending) {
            if rng.chance(keep) {
                change.apply(&mut disk.durable_names);
            }
        }
        disk.names = disk.durable_names.clone();
        for file in disk.files.values_mut() {
            if file.now.len() > file.durable.len() && rng.chance(keep) {
                file.durable.resize(file.now.len(), 0);
            }
            for sector in std::mem::take(&mut file.dirty) {
                if rng.chance(keep) {
                    file.keep(sector);
                }
            }
            file.now.clone_from(&file.durable);
        }
        disk.open.clear();
        disk.power_until = None;
        disk.fail_sync = false;
    }

    /// The process is killed and restarts. The operating system keeps running and loses nothing.
    pub(crate) fn kill(&self) {
        let disk = &mut *self.inner();
        disk.open.clear();
        disk.power_until = None;
        disk.fail_sync = false;
    }

    /// Cuts the power after `changes` more mutating operations.
    pub(crate) fn cut_power_after(&self, changes: u64) {
        let disk = &mut *self.inner();
        disk.power_until = Some(disk.changes + changes);
    }

    /// Number of mutating operations so far.
    pub(crate) fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// Number of syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// From now on syncs fail, and the contents (not the names) they should have made durable are silently lost.
    pub(crate) fn fail_syncs(&self) {
        self.inner().fail_sync = true;
    }

    /// Returns all names.
    pub(crate) fn names(&self) -> Vec<String> {
        self.inner().names.keys().cloned().collect()
    }

    /// Returns the contents of a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        let disk = self.inner();
        disk.files[&disk.names[name]].now.clone()
    }

    /// Changes a file durably, bypassing the store.
    pub(crate) fn tamper(&self, name: &str, f: impl FnOnce(&mut Vec<u8>)) {
        let disk = &mut *self.inner();
        let inode = disk.names[name];
        let file = disk.files.get_mut(&inode).expect("a file of that name");
        f(&mut file.now);
        file.durable.clone_from(&file.now);
        file.dirty.clear();
    }

    /// Creates a file, durably.
    pub(crate) fn plant(&self, name: &str, bytes: &[u8]) {
        {
            let disk = &mut *self.inner();
            let inode = disk.fresh();
            disk.names.insert(name.to_owned(), inode);
            disk.durable_names.insert(name.to_owned(), inode);
            disk.files.insert(inode, File::default());
        }
        self.tamper(name, |file| file.extend_from_slice(bytes));
    }

    /// Removes a file, durably.
    pub(crate) fn lose(&self, name: &str) {
        let disk = &mut *self.inner();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }
}

impl File {
    /// Makes one dirty sector durable.
    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR).min(self.now.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.now[start..end]);
    }
}

impl Inner {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn powered(&self, op: &'static str, file: &str) -> Result<(), DiskError> {
        if self.power_until.is_some_and(|until| self.changes >= until) {
            return Err(error(op, file, DiskFault::Io("no power".into())));
        }
        Ok(())
    }

    fn change(&mut self, op: &'static str, file: &str) -> Result<(), DiskError> {
        self.powered(op, file)?;
        self.changes += 1;
        Ok(())
    }

    fn rename_pending(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    fn file(&mut self, id: FileId) -> &mut File {
        let inode = self.open[&id];
        self.files.get_mut(&inode).expect("an open file")
    }
}

fn error(op: &'static str, file: &str, what: DiskFault) -> DiskError {
    DiskError { op, file: file.to_owned(), what }
}

impl Disk for MemDisk {
    fn open(&mut self, name: &str, create: bool) -> Result<FileId, DiskError> {
        let disk = &mut *self.inner();
        let inode = match (disk.names.get(name).copied(), create) {
            (Some(_), true) => return Err(error("create", name, DiskFault::Exists)),
            (None, false) => return Err(error("open", name, DiskFault::Missing)),
            (Some(inode), false) => inode,
            (None, true) => {
                disk.change("create", name)?;
                let inode = disk.fresh();
                disk.files.insert(inode, File::default());
                disk.rename_pending(NameChange::Link(name.to_owned(), inode));
                inode
            }
        };
        let id = FileId(disk.fresh());
        disk.open.insert(id, inode);
        Ok(id)
    }

    fn close(&mut self, file: FileId) {
        self.inner().open.remove(&file).expect("closed once");
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.inner().file(file).now.len() as u64)
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.powered("read", "")?;
        let start = offset as usize;
        let data = disk.file(file).now.get(start..start + buf.len());
        buf.copy_from_slice(data.ok_or_else(|| error("read", "", DiskFault::PastEnd))?);
        Ok(())
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.change("write", "")?;
        let file = disk.file(file);
        let (start, end) = (offset as usize, offset as usize + data.len());
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[start..end].copy_from_slice(data);
        file.dirty.extend(start / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    fn allocate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        let from = self.len(file)?;
        self.write_at(file, from, &vec![0; (len - from) as usize])
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.change("sync", "")?;
        disk.syncs += 1;
        let fail = disk.fail_sync;
        let file = disk.file(file);
        let dirty = std::mem::take(&mut file.dirty);
        if fail {
            return Err(error("sync", "", DiskFault::Io("the device failed".into())));
        }
        file.durable.resize(file.now.len(), 0);
        for sector in dirty {
            file.keep(sector);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.change("rename", from)?;
        let inode = *disk.names.get(from).ok_or_else(|| error("rename", from, DiskFault::Missing))?;
        disk.rename_pending(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.change("remove", name)?;
        if !disk.names.contains_key(name) {
            return Err(error("remove", name, DiskFault::Missing));
        }
        disk.rename_pending(NameChange::Unlink(name.to_owned()));
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let disk = self.inner();
        disk.powered("list", "")?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        let disk = &mut *self.inner();
        disk.change("sync directory", "")?;
        if disk.fail_sync {
            return Err(error("sync directory", "", DiskFault::Io("the device failed".into())));
        }
        for change in std::mem::take(&mut disk.pending) {
            change.apply(&mut disk.durable_names);
        }
        Ok(())
    }
}
