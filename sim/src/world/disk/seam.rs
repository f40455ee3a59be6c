//! The storage's view of the disk: `SimDisk` implements the trait `Disk`.

use super::super::bug::WorldBug;
use super::super::lock;
use super::SimDisk;
use super::file::SimFile;
use super::machine::{State, error};
use seaworthy::storage::{Disk, DiskError, DiskFault, FileId};

impl SimDisk {
    /// Runs one operation. Fails if this process is dead.
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
        state.felt = None;
        let result = run(&mut state);
        if let (Err(_), Some((id, effect))) = (&result, state.felt) {
            state.ledger.affected(id, effect, 1);
        }
        result
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
                    state.names.create(state.begun, name, inode);
                    state.files.insert(inode, SimFile::new());
                    inode
                }
            };
            let file = FileId(state.next_file);
            state.next_file += 1;
            state.open.insert(file, (inode, name.into()));
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
                if state.settings.bug == Some(WorldBug::PastEndReads) {
                    buf.fill(0);
                    return Ok(());
                }
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
            let begun = state.begun;
            state.file(inode).grow(begun, len);
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
                state.names.rename(state.begun, from, to, inode);
            }
            Ok(())
        })
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.with("remove", name, |state| {
            state.spend_operation(0);
            state.names.get(name).ok_or_else(|| error("remove", name, DiskFault::Missing))?;
            state.names.remove(state.begun, name);
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
