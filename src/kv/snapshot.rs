//! Snapshots: taken in O(1), written in blocks while the store continues, and verified when restored.
//!
//! [`Kv::snapshot`] clones the persistent maps, which share all their memory with the store. Later writes to the store
//! copy the tree nodes they touch: at most the whole tree once while the snapshot exists.
//!
//! The records of a snapshot are a header, all keys in order, and all sessions in order. The same state gives the same
//! bytes on every replica. A block holds whole records; block boundaries have no other meaning. Each block is expected
//! to be checksummed by the file or message that contains it. The counts and the digest in the header prove that
//! nothing is missing.

use super::encoding::{self, Header, Malformed, Reader, Record};
use super::machine::Slot;
use super::sessions::{Session, Sessions};
use super::{Kv, SessionId};
use crate::mutant::{Bug, Mutant};
use crate::types::Key;
use im::OrdMap;
use std::ops::Bound;

/// The state at one index, ready to be written.
pub struct KvSnapshot {
    header: Header,
    keys: OrdMap<Key, Slot>,
    sessions: OrdMap<SessionId, Session>,
    at: Cursor,
}

/// The position up to which the snapshot is written.
enum Cursor {
    Nothing,
    Keys(Bound<Key>),
    Sessions(Bound<SessionId>),
}

impl Kv {
    /// Returns a snapshot of the current state, in O(1).
    #[must_use]
    pub fn snapshot(&self) -> KvSnapshot {
        let mut snapshot = KvSnapshot {
            header: self.header(),
            keys: self.keys.clone(),
            sessions: self.sessions.table().clone(),
            at: Cursor::Nothing,
        };
        if self.mutant.is(Bug::ForgetSessions) {
            forget_sessions(&mut snapshot, self);
        }
        snapshot
    }
}

/// A planted bug: clients keep their sessions, but the last write of each is lost.
fn forget_sessions(snapshot: &mut KvSnapshot, of: &Kv) {
    let mut blank = Sessions::new(of.sessions.limit());
    for (&id, session) in of.sessions.table() {
        blank.put(id, Session { used: session.used, last: None });
    }
    snapshot.header.sum = snapshot.header.sum.wrapping_sub(of.sessions.sum()).wrapping_add(blank.sum());
    snapshot.sessions = blank.table().clone();
}

impl KvSnapshot {
    /// Index of the last entry included.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.header.applied
    }

    /// Returns the next block, of at most `max_bytes` unless a single record is larger (a little over 1 MiB). `None`
    /// when everything is written.
    pub fn next_block(&mut self, max_bytes: usize) -> Option<Vec<u8>> {
        let mut block = Block { bytes: Vec::new(), max_bytes };
        if let Cursor::Nothing = self.at {
            block.push(|out| encoding::put_header(out, &self.header));
            self.at = Cursor::Keys(Bound::Unbounded);
        }
        if let Cursor::Keys(from) = &self.at {
            let mut last = None;
            for (key, slot) in self.keys.range((from.clone(), Bound::Unbounded)) {
                if !block.push(|out| encoding::put_state(out, key, &slot.state)) {
                    self.at = Cursor::Keys(last.map_or(from.clone(), |key: &Key| Bound::Excluded(key.clone())));
                    return Some(block.bytes);
                }
                last = Some(key);
            }
            self.at = Cursor::Sessions(Bound::Unbounded);
        }
        if let Cursor::Sessions(from) = self.at {
            let mut last = from;
            for (&id, session) in self.sessions.range((from, Bound::Unbounded)) {
                if !block.push(|out| encoding::put_session(out, id, session)) {
                    break;
                }
                last = Bound::Excluded(id);
            }
            self.at = Cursor::Sessions(last);
        }
        (!block.bytes.is_empty()).then_some(block.bytes)
    }
}

struct Block {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Block {
    /// Adds a record. Returns false and leaves it out if it does not fit.
    fn push(&mut self, record: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.bytes.len();
        record(&mut self.bytes);
        let fits = before == 0 || self.bytes.len() <= self.max_bytes;
        if !fits {
            self.bytes.truncate(before);
        }
        fits
    }
}

/// The reason why a snapshot is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// A block is not valid.
    #[error("snapshot block {block}: {why}")]
    Block {
        /// Number of the block, starting at 0.
        block: u64,
        /// What is wrong and where in the block.
        why: Malformed,
    },
    /// The snapshot ended before its header.
    #[error("the snapshot is empty")]
    Empty,
    /// The snapshot is for another index than the requested one.
    #[error("the snapshot is for index {got}, not {want}")]
    Index {
        /// The snapshot's index.
        got: u64,
        /// The requested index.
        want: u64,
    },
    /// The number of keys or sessions differs from the header.
    #[error("the snapshot holds {got} {what}, its header says {want}")]
    Count {
        /// Keys or sessions.
        what: &'static str,
        /// The actual number.
        got: u64,
        /// The number in the header.
        want: u64,
    },
    /// The contents do not match the digest in the header.
    #[error("the snapshot's contents do not match its digest")]
    Digest,
}

/// Builds a [`Kv`] from the blocks of a snapshot. It must not be used after an error.
pub struct KvRestore {
    kv: Option<(Header, Kv)>,
    last_key: Key,
    last_session: Option<SessionId>,
    blocks: u64,
    mutant: Mutant,
}

impl KvRestore {
    /// Creates a restore that expects the first block.
    #[must_use]
    pub fn new(mutant: Mutant) -> KvRestore {
        KvRestore { kv: None, last_key: Key::default(), last_session: None, blocks: 0, mutant }
    }

    /// Adds the next block.
    ///
    /// # Errors
    /// [`RestoreError::Block`].
    pub fn block(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut from = Reader::new(bytes);
        while !from.is_empty() {
            let offset = from.offset();
            from.record()
                .and_then(|record| self.record(record).map_err(|what| Malformed { what, offset }))
                .map_err(|why| RestoreError::Block { block: self.blocks, why })?;
        }
        self.blocks += 1;
        Ok(())
    }

    fn record(&mut self, record: Record) -> Result<(), &'static str> {
        match (record, &mut self.kv) {
            (Record::Header(header), kv @ None) => *kv = Some((header, Kv::from_header(&header, self.mutant))),
            (Record::Header(_), Some(_)) => return Err("a second header"),
            (_, None) => return Err("a record before the header"),
            (Record::Key(key, state), Some((_, kv))) => {
                if key <= self.last_key || self.last_session.is_some() {
                    return Err("a key out of order");
                }
                kv.set(&key, state);
                self.last_key = key;
            }
            (Record::Session(id, session), Some((header, kv))) => {
                if self.last_session.is_some_and(|last| id <= last) {
                    return Err("a session out of order");
                }
                if id > session.used || session.used > header.applied || kv.sessions.used_at(session.used) {
                    return Err("a session used at an impossible index");
                }
                kv.sessions.put(id, session);
                self.last_session = Some(id);
            }
        }
        Ok(())
    }

    /// Returns the restored state once all blocks were added. `index` is the index the snapshot must have.
    ///
    /// # Errors
    /// Something is missing, superfluous, or different from the header.
    pub fn finish(self, index: u64) -> Result<Kv, RestoreError> {
        let (header, kv) = self.kv.ok_or(RestoreError::Empty)?;
        let found = kv.header();
        let counts = [("keys", found.keys, header.keys), ("sessions", found.sessions, header.sessions)];
        if header.applied != index {
            return Err(RestoreError::Index { got: header.applied, want: index });
        }
        if let Some((what, got, want)) = counts.into_iter().find(|(_, got, want)| got != want) {
            return Err(RestoreError::Count { what, got, want });
        }
        if found != header {
            return Err(RestoreError::Digest);
        }
        Ok(kv)
    }
}
