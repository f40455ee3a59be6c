//! Tests of the whole core as several nodes in one process: golden transcripts and random fault schedules.

mod amnesia;
mod apart;
mod cluster;
mod limits;
mod oracle;
mod random;
mod readable;
mod scribe;
mod script;
mod transcript;

use super::*;
use crate::mutant::Mutant;
use crate::types::{Bytes, Key};

fn id(n: u32) -> NodeId {
    NodeId(n)
}
