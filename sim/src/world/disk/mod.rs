//! A node's disk: a flat directory of files made of 512-byte sectors, with modelled latencies.
//!
//! Writes are volatile. A sync takes effect when its modelled latency has passed, not when it is called: a node that is
//! killed in between has not been told that the sync succeeded, and may find any part of the data. After a power
//! failure, any subset of the non-durable sectors survives (torn, not only a prefix), and so does any subset of the
//! creations, renames and removals whose directory was not synced. Operations that had not begun leave no trace. If
//! only the process dies, nothing is lost: the operating system still has the data.
//!
//! The disk executes one operation at a time: each starts when the previous one has ended, or now. The caller that runs
//! jobs on the disk waits until [`DiskHandle::busy_until`] before it continues. The world owns [`DiskHandle`], and uses
//! it to crash the disk and to apply faults. One run of the node's process owns [`SimDisk`]; that of a dead process has
//! no effect.
//!
//! The sectors of a physical block survive together or not at all; blocks being written may also end up with random
//! contents. A failed sync reverts the unsynced pages at once, or leaves them readable until the power fails, as Linux
//! does. A disk may lie: it reports a sync as done but keeps the data in a cache that a power failure empties.
//!
//! Caveat: used space is computed from file lengths.

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

/// A disk's latencies and capacity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiskSettings {
    /// Cost of each operation other than a sync.
    pub per_operation: Duration,
    /// Additional cost per KiB read or written.
    pub per_kib: Duration,
    /// Latency of a sync of a file or of the directory.
    pub sync: Latency,
    /// Maximum sum of file lengths, in bytes.
    pub capacity: u64,
    /// Sectors per physical block, which survives a power failure whole or not at all; at least 1.
    pub block_sectors: u32,
    /// The bug planted in the disk.
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
    /// Bytes of unsynced sectors lost in power failures.
    pub bytes_lost: u64,
    /// Files of which some unsynced sectors survived and some did not.
    pub files_torn: u64,
    /// Creations, renames and removals lost in power failures.
    pub names_lost: u64,
}

/// The files of a disk at one instant: names and contents.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DirectoryCopy(BTreeMap<String, Vec<u8>>);

/// The world's handle on a disk. Clones share it.
#[derive(Clone)]
pub struct DiskHandle(Arc<Mutex<State>>);

/// The disk as seen by one run of a node's process.
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    session: u64,
}

impl DiskHandle {
    /// Creates an empty disk.
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

    /// Returns the disk for a new run of the node's process. Any earlier [`SimDisk`] has no effect from now on.
    #[must_use]
    pub fn attach(&self) -> SimDisk {
        let mut state = lock(&self.0);
        state.detach();
        SimDisk { state: self.0.clone(), session: state.session }
    }

    /// The node's process died; its writes stay with the operating system.
    pub fn detach(&self) {
        lock(&self.0).detach();
    }

    /// The node's machine lost power, because of `fault` if given.
    pub fn crash(&self, fault: Option<FaultId>) {
        lock(&self.0).crash(fault, false);
    }

    /// The node's machine lost power during writes: some of the physical blocks being written get random contents.
    pub fn crash_garbled(&self, fault: Option<FaultId>) {
        lock(&self.0).crash(fault, true);
    }

    /// Returns when the operations so far are done.
    #[must_use]
    pub fn busy_until(&self) -> Nanos {
        lock(&self.0).busy_until
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        lock(&self.0).stats
    }

    /// Applies a fault to the disk.
    pub fn trouble(&self, id: FaultId, trouble: DiskTrouble) {
        let mut state = lock(&self.0);
        state.ledger.fired(id);
        let trouble = match trouble {
            DiskTrouble::Full { limit, room } => DiskTrouble::Full { limit: state.used() + limit, room },
            other => other,
        };
        state.troubles.push((id, trouble));
    }

    /// Lifts a fault; damaged sectors stay damaged.
    pub fn lift(&self, id: FaultId) {
        lock(&self.0).troubles.retain(|(other, _)| *other != id);
    }

    /// Lifts every fault; damaged sectors stay damaged.
    pub fn heal(&self) {
        lock(&self.0).troubles.clear();
    }

    /// Damages up to `count` sectors of the scope: flips one bit in each, or makes it unreadable. Returns the damaged
    /// sectors as (file name, sector).
    pub fn damage(&self, id: FaultId, scope: &Scope, damage: Damage, count: usize) -> Vec<(String, u32)> {
        lock(&self.0).damage(id, scope, damage, count)
    }

    /// Returns all files as they are now, synced or not, like a snapshot of the whole volume.
    #[must_use]
    pub fn copy(&self) -> DirectoryCopy {
        let state = lock(&self.0);
        let contents = |(name, inode): (&String, Inode)| (name.clone(), state.files[&inode].contents());
        DirectoryCopy(state.names.iter().map(contents).collect())
    }

    /// Replaces the disk by a new one that holds a copy. The node's process should be dead.
    pub fn replace(&self, id: FaultId, copy: &DirectoryCopy) {
        self.wipe(id);
        self.restore(copy);
    }

    /// Adds the files of a copy to an empty disk.
    pub fn restore(&self, copy: &DirectoryCopy) {
        let mut state = lock(&self.0);
        for (name, contents) in &copy.0 {
            let inode = state.next_inode;
            state.next_inode += 1;
            state.names.put_durable(name, inode);
            state.files.insert(inode, SimFile::durable(contents));
        }
    }

    /// Replaces the disk by an empty one. The node's process should be dead.
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
