//! What can be wrong with a disk.

use super::super::Nanos;

/// A fault that lasts until it is lifted or used up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum DiskTrouble {
    /// So many syncs fail, and what they should have written is lost. `u64::MAX`: all of them.
    FailSyncs(u64),
    /// Syncs that have something to write fail. What they should have written stays readable and counts as clean, as on
    /// Linux: a further sync succeeds, and the next power failure takes it.
    FailDirtySyncs,
    /// Syncs are reported as done and are not; the next honest one makes good for them.
    LieSyncs(Losing),
    /// So many writes fail, nothing having been written.
    FailWrites(u64),
    /// So many writes land elsewhere in their file.
    Misdirect(u64),
    /// Only so many bytes fit on the disk: more than it holds when the fault is laid on.
    Full {
        /// How many; [`DiskHandle::trouble`](super::DiskHandle::trouble) adds what is there already.
        limit: u64,
        /// What takes room.
        room: Room,
    },
    /// Every operation takes so many times as long.
    Slow(u32),
    /// No operation ends before this time.
    StallUntil(Nanos),
}

/// What a power failure leaves of what a disk lied about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Losing {
    /// Nothing, nor of anything written since.
    All,
    /// Some sectors and names, by chance.
    Some,
}

/// When a full disk refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// When a file is to grow.
    Growth,
    /// When what has grown is synced, as where space is allocated late.
    Syncs,
    /// At every write, as where what is overwritten is copied.
    Writes,
}

/// Which sectors to damage: durable ones that hold something.
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    /// In files whose names begin so.
    pub prefix: String,
    /// Among those sectors, in order of file name and offset, only this first part (0 to 1): 1 is anywhere, 0.5 the
    /// older half of a log.
    pub oldest: f64,
    /// In the first so many bytes of a sector.
    pub bytes: usize,
}

/// Damage to a sector, until it is written anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Some bits are flipped; reads succeed.
    Rotten,
    /// Reads fail.
    Unreadable,
}
