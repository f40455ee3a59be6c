//! What can be wrong with a disk.

use super::super::Nanos;

/// A fault that lasts until it is lifted or used up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum DiskTrouble {
    /// So many syncs fail, and what they should have written is lost. `u64::MAX`: all of them.
    FailSyncs(u64),
    /// So many writes fail, nothing having been written.
    FailWrites(u64),
    /// So many writes land elsewhere in their file.
    Misdirect(u64),
    /// Only so many more bytes fit on the disk.
    Full(u64),
    /// Every operation takes so many times as long.
    Slow(u32),
    /// No operation ends before this time.
    StallUntil(Nanos),
}

/// Which sectors to damage: durable ones that hold something.
#[derive(Clone, PartialEq, Debug)]
pub struct Scope {
    /// In files whose names begin so.
    pub prefix: String,
    /// Among those sectors, in order of file name and offset, only this first part (0 to 1): 1 is anywhere, 0.5 the
    /// older half of a log.
    pub oldest: f64,
}

/// Damage to a sector, until it is written anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Some bits are flipped; reads succeed.
    Rotten,
    /// Reads fail.
    Unreadable,
}
