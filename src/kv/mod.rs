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
//! - No revision of a key is given out twice: a deleted or expired key leaves a tombstone that remembers its revision. At
//!   most [`MAX_TOMBSTONES`] are kept; the oldest one goes, and every key without a state begins above its revision.
//! - Stamps are unique and grow strictly in log order, whatever the leaders' clocks did.
//! - Deadlines are points in the group's time ([`GroupTime`]), which no date changes.
//! - A command costs O(log n) plus at most [`EXPIRE_BATCH`] removals.
//! - Bytes that are no command change nothing but the count of such entries.
//!
//! Caveats:
//! - A deadline comes as early or late as the leaders' monotonic clocks run fast or slow, and late by what the group's time
//!   stood still: while no member runs, and for what a new leader had not heard of its predecessor's time.
//! - Stamps are dates for information. A leader with a wrong date moves them away from the true one, at most as fast as time
//!   passes; they then grow by 1 ns a command until the date catches up, or run at double speed until they do.
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
