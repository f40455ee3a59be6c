//! The revisioned store: what the replicated log means.
//!
//! [`Kv`] is a deterministic state machine. Given the same log it holds the same state, gives the same replies and has
//! the same [`Kv::digest`] on every replica. It does no IO and reads no clock: time comes in with each command.
//!
//! - `command.rs`: the vocabulary. `layout.rs`: its bytes in the log and in snapshots (docs/formats.md).
//! - `machine.rs`: [`Kv`] itself: revisions, conditions, expiry.
//! - `sessions.rs`: each write applied at most once (Raft thesis §6.3).
//! - `snapshot.rs`: O(1) snapshots, streamed out and back in as blocks.
//!
//! Invariants:
//! - A key's revision only ever grows: a deleted or expired key leaves a tombstone that remembers it.
//! - Effective stamps are unique and grow strictly in log order, whatever the leaders' clocks did.
//! - A command costs O(log n) plus at most [`EXPIRE_BATCH`] removals.
//! - Bytes that are no command change nothing but the count of such entries.
//!
//! Caveats:
//! - Tombstones are kept for ever: about 120 bytes and the key for each key that was ever written.
//! - A leader whose wall clock is ahead drags the stamps with it: keys expire early by as much, and stamps then grow by
//!   1 ns a command until real time catches up. Nothing else depends on wall clocks.
//! - Stamps end at 2⁶⁴ - 1 ns (the year 2554); a clock set there makes stamps stop growing.

mod command;
mod layout;
mod machine;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;

pub use command::*;
pub use layout::{Malformed, decode, encode};
pub use machine::{EXPIRE_BATCH, Kv};
pub use sessions::{MAX_REPLY_BYTES, MAX_SESSIONS};
pub use snapshot::{KvRestore, KvSnapshot, RestoreError};
