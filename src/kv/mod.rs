//! The revisioned store: the state machine of the replicated log.
//!
//! [`Kv`] is deterministic. Given the same log, every replica holds the same state, gives the same replies and has the
//! same [`Kv::digest`]. It does no IO and reads no clock: each command contains the time.
//!
//! - `command.rs`: commands and replies. `encoding.rs`: their bytes in the log and in snapshots (docs/formats.md).
//! - `machine.rs`: [`Kv`] itself: revisions, conditions, expiry.
//! - `sessions.rs`: each write is applied at most once (Raft thesis §6.3).
//! - `snapshot.rs`: O(1) snapshots, streamed out and restored in blocks.
//!
//! Invariants:
//! - No revision of a key is used twice: a deleted or expired key leaves a tombstone that keeps its revision. At most
//!   [`MAX_TOMBSTONES`] are kept. When the oldest one is dropped, every key without a state starts above its revision.
//! - Stamps are unique and strictly increase in log order, whatever the leaders' clocks did.
//! - Deadlines are points in the group's time ([`GroupTime`]), which no change of the date affects.
//! - A command costs O(log n) plus at most [`EXPIRE_BATCH`] removals.
//! - An entry that is not a valid command changes nothing but the count of such entries.
//!
//! Caveats:
//! - A deadline is early or late by the drift of the leaders' monotonic clocks. It is also late by the time for which
//!   the group's time was stopped: while no member runs, and by the part of its predecessor's time that a new leader
//!   had not heard of.
//! - Stamps are dates for information. A leader with a wrong date moves them away from the true date, at most as fast
//!   as time passes. They then grow by 1 ns per command until the date catches up, or run at double speed until they
//!   catch up with it.
//! - Stamps end at 2⁶⁴ - 1 ns (the year 2554).

mod command;
mod encoding;
mod machine;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

pub use command::*;
pub use encoding::{Malformed, decode, encode};
pub use machine::{EXPIRE_BATCH, Kv, MAX_STEP, MAX_TOMBSTONES, Present};
pub use sessions::{MAX_REPLY_BYTES, MAX_SESSIONS};
pub use snapshot::{KvRestore, KvSnapshot, RestoreError};
