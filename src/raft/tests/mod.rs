//! Tests of the core with a group of nodes in one process: golden transcripts, random fault schedules, invalid
//! messages.

mod cluster;
mod contradiction;
mod nonsense;
mod oracle;
mod random;
mod script;
mod transcript;

use super::*;
use crate::mutant::Mutant;
use crate::types::Bytes;

fn id(n: u32) -> NodeId {
    NodeId(n)
}

fn command(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
