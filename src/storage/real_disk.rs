//! Files of the operating system: one directory, owned by one process.

use super::{Disk, DiskError, DiskFault, FileId};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file whose lock marks the directory as in use by a process.
const LOCK: &str = "lock";

/// A directory of real files. `sync` is `fdatasync`, and fails if the file has been unlinked: its contents would be
/// lost when the process ends. `allocate` writes zeros, so that later syncs do not update metadata.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
    /// Holds the lock as long as the value exists; the operating system releases it when the process dies.
    _lock: File,
    open: BTreeMap<FileId, (String, File)>,
    next: u64,
}

impl RealDisk {
    /// Opens and locks the directory at `path`, creating it if necessary.
    ///
    /// # Errors
    /// The directory cannot be created or opened, or another process has it open.
    pub fn open(path: &Path) -> Result<RealDisk, DiskError> {
        let shown = path.display().to_string();
        let fail = |op| move |e| failure(op, &shown, &e);
        create_durably(path).map_err(fail.clone()("create"))?;
        let directory = File::open(path).map_err(fail.clone()("open"))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
        let lock = lock.map_err(fail.clone()("lock"))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::Error(e) => fail("lock")(e),
            TryLockError::WouldBlock => {
                let what = "another process has this data directory open".to_owned();
                DiskError { op: "lock", file: path.display().to_string(), what: DiskFault::Io(what) }
            }
        })?;
        Ok(RealDisk { path: path.to_owned(), directory, _lock: lock, open: BTreeMap::new(), next: 0 })
    }

    /// Runs `f` on an open file and names the operation in its error.
    fn with<T>(
        &self,
        op: &'static str,
        file: FileId,
        f: impl FnOnce(&File) -> Result<T, Error>,
    ) -> Result<T, DiskError> {
        let (name, handle) = self.open.get(&file).expect("a file that is open");
        f(handle).map_err(|e| failure(op, name, &e))
    }

    /// Returns the path of a flat name.
    fn locate(&self, op: &'static str, name: &str) -> Result<PathBuf, DiskError> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) || name == LOCK {
            let what = DiskFault::Io("not a name a file of the store may have".into());
            return Err(DiskError { op, file: name.to_owned(), what });
        }
        Ok(self.path.join(name))
    }
}

/// Creates a directory and its missing parents, and makes their names durable.
fn create_durably(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(Error::other("it is not a directory"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durably(parent)?;
    std::fs::create_dir(path)?;
    File::open(parent)?.sync_all()
}

fn failure(op: &'static str, file: &str, error: &Error) -> DiskError {
    let what = match error.kind() {
        ErrorKind::NotFound => DiskFault::Missing,
        ErrorKind::AlreadyExists => DiskFault::Exists,
        ErrorKind::UnexpectedEof => DiskFault::PastEnd,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskFault::Full,
        _ => DiskFault::Io(error.to_string()),
    };
    DiskError { op, file: file.to_owned(), what }
}

impl Disk for RealDisk {
    fn open(&mut self, name: &str, create: bool) -> Result<FileId, DiskError> {
        let op = if create { "create" } else { "open" };
        let path = self.locate(op, name)?;
        let file = OpenOptions::new().read(true).write(true).create_new(create).open(path);
        let file = file.map_err(|e| failure(op, name, &e))?;
        let id = FileId(self.next);
        self.next += 1;
        self.open.insert(id, (name.to_owned(), file));
        Ok(id)
    }

    fn close(&mut self, file: FileId) {
        self.open.remove(&file);
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        self.with("stat", file, |f| Ok(f.metadata()?.len()))
    }

    fn read_at(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.with("read", file, |f| f.read_exact_at(buf, offset))
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.with("write", file, |f| f.write_all_at(data, offset))
    }

    fn allocate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.with("allocate", file, |f| {
            let zeros = [0; 64 << 10];
            let mut at = f.metadata()?.len();
            while at < len {
                let now = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
                f.write_all_at(&zeros[..now], at)?;
                at += now as u64;
            }
            Ok(())
        })
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.with("sync", file, |f| {
            f.sync_data()?;
            if f.metadata()?.nlink() == 0 { Err(ErrorKind::NotFound.into()) } else { Ok(()) }
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let paths = (self.locate("rename", from)?, self.locate("rename", to)?);
        std::fs::rename(paths.0, paths.1).map_err(|e| failure("rename", from, &e))
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.locate("remove", name)?).map_err(|e| failure("remove", name, &e))
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let fail = |e| failure("list", &self.path.display().to_string(), &e);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // Names that are not UTF-8 are not the store's.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        self.directory.sync_all().map_err(|e| failure("sync", &self.path.display().to_string(), &e))
    }
}
