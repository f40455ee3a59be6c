//! Placement of keys: which servers, which Raft group, and which of the two databases holds a key.
//!
//! - [`Ring`]: consistent hashing (Karger and others, 1997; Dynamo §4.2); gives each key's servers in order of
//!   preference.
//! - [`Layout`]: the complete configuration, identical on every server and client: members, ring, the 16,384 hash slots
//!   and their groups.
//! - [`Buckets`]: a key's bucket is the part before its first `/`, if a bucket of that name is declared.
//!
//! Everything is a pure function of the configuration: two processes with the same configuration agree on every key.

mod buckets;
mod layout;
mod ring;

pub use buckets::Buckets;
pub use layout::{Layout, SLOTS, group_of, slot_of};
pub use ring::{DEPTH, MAX_CAPACITY, Member, Ring};
