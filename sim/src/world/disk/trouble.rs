//! The faults of a disk.

use super::super::Nanos;

/// A fault that lasts until it is lifted or used up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum DiskTrouble {
    /// This many syncs fail, and their unsynced data is lost. `u64::MAX`: all of them.
    FailSyncs(u64),
    /// Syncs that have something to write fail. The unsynced data stays readable and counts as clean, as on Linux: a
    /// further sync succeeds, and the next power failure loses the data.
    FailDirtySyncs,
    /// Syncs are reported as done but are not; the next real sync makes the earlier data durable too.
    LieSyncs(Losing),
    /// This many writes fail, and write nothing.
    FailWrites(u64),
    /// This many writes land at another place in their file.
    Misdirect(u64),
    /// The disk has only this many bytes of space left when the fault is applied.
    Full {
        /// How many bytes; [`DiskHandle::trouble`](super::DiskHandle::trouble) adds the bytes already used.
        limit: u64,
        /// Which operations need space.
        room: Room,
    },
    /// Every operation takes this many times as long.
    Slow(u32),
    /// No operation ends before this time.
    StallUntil(Nanos),
}

/// What survives a power failure of the data whose sync the disk pretended to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Losing {
    /// Nothing, and nothing written since then either.
    All,
    /// Some sectors and names, at random.
    Some,
}

/// When a full disk returns errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// When a file must grow.
    Growth,
    /// When a file that has grown is synced, as with delayed allocation.
    Syncs,
    /// At every write, as with copy-on-write.
    Writes,
}

/// Which sectors to damage: only sectors that are durable and not all zeros.
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    /// In files whose names start with this.
    pub prefix: String,
    /// Only this leading fraction (0 to 1) of those sectors, in order of file name and offset: 1 is anywhere, 0.5 is
    /// the older half of a log.
    pub oldest: f64,
    /// Only within this many bytes at the start of each sector.
    pub bytes: usize,
}

/// Damage to a sector, which lasts until the sector is written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Some bits are flipped; reads succeed.
    Rotten,
    /// Reads fail.
    Unreadable,
}
