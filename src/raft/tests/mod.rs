//! Tests of the core as a group of nodes in one process: golden conversations, random storms, nonsense.

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
