//! Encoding of records in a batch: tag, group, then the record's own fields, little-endian. The encoding is explicit
//! because it must outlive releases. After the tag of an AP record, the encoding is that of [`dynamo::encoding`].

use super::sector::Batch;
use crate::dynamo;
use crate::identity::{self, Contradiction, Known};
use crate::raft::{Entry, Record, SnapshotMeta};
use crate::types::{Bytes, CoreId, GroupId, NodeId};

const HARD_STATE: u8 = 1;
const APPEND: u8 = 2;
const SNAPSHOT: u8 = 3;
const DYNAMO: u8 = 4;
const NODE: u8 = 5;

/// One record of the log that all cores of a node share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// A record of a Raft group.
    Raft(GroupId, Record),
    /// A record of the AP core.
    Ap(dynamo::Record),
    /// A record of the node's standing among its peers.
    Node(identity::Record),
}

/// Appends a record to a batch.
///
/// # Panics
/// If a command's length or the number of entries exceeds `u32`, three orders of magnitude above any limit set above
/// this layer.
pub(super) fn encode(batch: &mut Batch, record: &LogRecord) {
    write(record, &mut |bytes| batch.put(bytes));
}

impl LogRecord {
    /// Whether the record's encoding decodes to the same record. If not, the node that wrote it could not restart.
    #[must_use]
    pub fn reads_back(&self) -> bool {
        let mut bytes = Vec::with_capacity(512);
        write(self, &mut |some| bytes.extend_from_slice(some));
        let mut rest = &bytes[..];
        decode(&mut rest).as_ref() == Some(self) && rest.is_empty()
    }
}

fn write(record: &LogRecord, put: &mut impl FnMut(&[u8])) {
    match record {
        LogRecord::Raft(group, record) => write_raft(*group, record, put),
        LogRecord::Ap(record) => {
            let mut bytes = Vec::with_capacity(1024);
            bytes.push(DYNAMO);
            dynamo::encoding::encode(record, &mut bytes);
            put(&bytes);
        }
        LogRecord::Node(record) => write_node(record, put),
    }
}

fn write_node(record: &identity::Record, put: &mut impl FnMut(&[u8])) {
    use identity::Record;
    let (kind, nodes, numbers): (u8, &[u32], &[u64]) = match record {
        Record::Start { incarnation, found } => (1, &[], &[*incarnation, *found]),
        Record::Member => (2, &[], &[]),
        Record::Lost => (3, &[], &[]),
        Record::Peer(node, Known { directory, incarnation, batch }) => {
            (4, &[node.0], &[*directory, *incarnation, *batch])
        }
        Record::Contradiction(Contradiction { group, from, index, committed, sent }) => {
            (5, &[group.0, from.0], &[*index, *committed, *sent])
        }
    };
    put(&[NODE, kind]);
    nodes.iter().for_each(|number| put(&number.to_le_bytes()));
    numbers.iter().for_each(|number| put(&number.to_le_bytes()));
}

fn decode_node(payload: &mut &[u8]) -> Option<identity::Record> {
    use identity::Record;
    Some(match u8(payload)? {
        1 => Record::Start { incarnation: u64(payload)?, found: u64(payload)? },
        2 => Record::Member,
        3 => Record::Lost,
        4 => {
            let node = NodeId(u32(payload)?);
            let (directory, incarnation, batch) = (u64(payload)?, u64(payload)?, u64(payload)?);
            Record::Peer(node, Known { directory, incarnation, batch })
        }
        5 => {
            let (group, from) = (GroupId(u32(payload)?), NodeId(u32(payload)?));
            let (index, committed, sent) = (u64(payload)?, u64(payload)?, u64(payload)?);
            Record::Contradiction(Contradiction { group, from, index, committed, sent })
        }
        _ => return None,
    })
}

fn write_raft(group: GroupId, record: &Record, put: &mut impl FnMut(&[u8])) {
    let mut tag = |tag: u8| {
        put(&[tag]);
        put(&group.0.to_le_bytes());
    };
    match record {
        Record::HardState { term, vote } => {
            tag(HARD_STATE);
            put(&term.to_le_bytes());
            put(&[u8::from(vote.is_some())]);
            put(&vote.map_or(0, |n| n.0).to_le_bytes());
        }
        Record::Append { first, entries } => {
            tag(APPEND);
            put(&first.to_le_bytes());
            put(&len32(entries.len()));
            for entry in entries {
                put(&entry.term.to_le_bytes());
                put(&len32(entry.command.len()));
                put(&entry.command);
            }
        }
        Record::Snapshot(meta) => {
            tag(SNAPSHOT);
            put(&meta.index.to_le_bytes());
            put(&meta.term.to_le_bytes());
        }
    }
}

fn len32(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("lengths fit 32 bits").to_le_bytes()
}

/// Decodes the next record of `payload` and advances past it; `None` if the bytes are not a record.
pub(super) fn decode(payload: &mut &[u8]) -> Option<LogRecord> {
    let tag = u8(payload)?;
    if tag == DYNAMO {
        return dynamo::encoding::decode(payload).map(LogRecord::Ap);
    }
    if tag == NODE {
        return decode_node(payload).map(LogRecord::Node);
    }
    let group = Some(GroupId(u32(payload)?)).filter(|group| group.0 != CoreId::Ap.number())?;
    let record = match tag {
        HARD_STATE => {
            let term = u64(payload)?;
            let voted = u8(payload)?;
            let node = NodeId(u32(payload)?);
            let vote = match (voted, node) {
                (0, NodeId(0)) => None,
                (1, node) => Some(node),
                _ => return None,
            };
            Record::HardState { term, vote }
        }
        APPEND => {
            let first = u64(payload)?;
            let count = u32(payload)? as usize;
            // Each entry takes at least 12 bytes, so the payload's length bounds the reservation for a bogus count.
            let mut entries = Vec::with_capacity(count.min(payload.len() / 12));
            for _ in 0..count {
                let term = u64(payload)?;
                let len = u32(payload)? as usize;
                entries.push(Entry { term, command: Bytes::copy_from_slice(take(payload, len)?) });
            }
            Record::Append { first, entries }
        }
        SNAPSHOT => Record::Snapshot(SnapshotMeta { index: u64(payload)?, term: u64(payload)? }),
        _ => return None,
    };
    Some(LogRecord::Raft(group, record))
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    from.split_off(..n)
}

fn u8(from: &mut &[u8]) -> Option<u8> {
    Some(take(from, 1)?[0])
}

fn u32(from: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(from, 4)?.try_into().ok()?))
}

fn u64(from: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(from, 8)?.try_into().ok()?))
}
