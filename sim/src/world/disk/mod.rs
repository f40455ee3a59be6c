//! A node's disk: a flat directory of files made of 512-byte sectors, and time.
//!
//! What is written is volatile. A sync takes effect when its modelled latency has passed, not when it is called: a
//! node that is killed meanwhile had not been promised anything, and may find any part of it. On a power failure any
//! subset of the sectors not durable survives (torn, not only a prefix), and so does any subset of the creations,
//! renames and removals whose directory was not synced; of operations that had not begun, nothing. When only the process dies, nothing is lost: the operating
//! system still has it.
//!
//! The disk serves one operation at a time: each starts when the one before ended, or now. Whoever runs jobs on it
//! waits until [`DiskHandle::busy_until`] before it goes on. The owner of [`DiskHandle`] is the world, which crashes
//! and troubles the disk; the owner of [`SimDisk`] is one run of the node's process, and a dead one's is of no effect.
//!
//! Sectors of one physical block share their fate; blocks being written may also come to hold noise. A failed sync reverts
//! the pages it should have written at once, or leaves them readable until the power fails, as Linux does. A disk may lie:
//! it reports a sync and keeps the data in a cache that a power failure empties.
//!
//! Caveat: space is counted by file length.

mod file;
mod machine;
mod names;
mod seam;
#[cfg(test)]
mod tests;
mod trouble;

pub use file::SECTOR;
pub use trouble::{Damage, DiskTrouble, Losing, Room, Scope};

use super::bug::WorldBug;
use super::ledger::{Effect, FaultId, Ledger};
use super::trace::{Kind, Trace};
use super::{Latency, Nanos, TimeSource, lock};
use file::SimFile;
use machine::State;
use names::{Inode, Names};
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
    /// Sectors in a physical block, which survives a power failure whole or not at all; at least 1.
    pub block_sectors: u32,
    /// The bug planted in it.
    pub bug: Option<WorldBug>,
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

/// The files of a disk at one instant: names and contents.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DirectoryCopy(BTreeMap<String, Vec<u8>>);

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
            begun: 0,
            names: Names::default(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            next_inode: 1,
            next_file: 1,
            session: 0,
            troubles: Vec::new(),
            lied: None,
            damaged: BTreeMap::new(),
            stats: DiskStats::default(),
            felt: None,
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
        lock(&self.0).crash(fault, false);
    }

    /// The node's machine lost power in the midst of its writes: of the physical blocks being written some hold noise.
    pub fn crash_garbled(&self, fault: Option<FaultId>) {
        lock(&self.0).crash(fault, true);
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
            DiskTrouble::Full { limit, room } => DiskTrouble::Full { limit: state.used() + limit, room },
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

    /// All files as they are now, whether synced or not, as a copy of the whole volume has them.
    #[must_use]
    pub fn copy(&self) -> DirectoryCopy {
        let state = lock(&self.0);
        let contents = |(name, inode): (&String, Inode)| (name.clone(), state.files[&inode].contents());
        DirectoryCopy(state.names.iter().map(contents).collect())
    }

    /// The disk is lost and replaced by one that holds a copy. The node's process should be dead.
    pub fn replace(&self, id: FaultId, copy: &DirectoryCopy) {
        self.wipe(id);
        self.restore(copy);
    }

    /// Puts the files of a copy on an empty disk.
    pub fn restore(&self, copy: &DirectoryCopy) {
        let mut state = lock(&self.0);
        for (name, contents) in &copy.0 {
            let inode = state.next_inode;
            state.next_inode += 1;
            state.names.put_durable(name, inode);
            state.files.insert(inode, SimFile::durable(contents));
        }
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
