//! Raft (placeholder, replaced by the core).
mod message;
pub use message::*;
