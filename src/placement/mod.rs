//! Where a key lives: which servers, which Raft group, and which of the two databases.
//!
//! - [`Ring`]: consistent hashing (Karger and others, 1997; Dynamo §4.2): the order in which servers are asked to hold a key.
//! - [`Layout`]: the whole of it, the same on every server and client: members, ring, the 16,384 hash slots and their groups.
//! - [`Buckets`]: a key's bucket is what stands before its first `/`, if a bucket of that name is declared.
//!
//! All of it is a pure function of the configuration: two processes with the same one agree on every key.

mod buckets;
mod layout;
mod ring;

pub use buckets::Buckets;
pub use layout::{Layout, SLOTS, group_of, slot_of};
pub use ring::{DEPTH, MAX_CAPACITY, Member, Ring};
