//! Client sessions: each write is applied at most once, however often it is sent (Raft thesis §6.3).
//!
//! A session stores the number of its newest write and the reply to it. This is enough because a client repeats only
//! its newest write: it has seen the reply to every earlier one. A refused write is stored like any other. Otherwise a
//! duplicate that arrives long after the refusal was delivered could be applied.
//!
//! The table has two limits: the number of sessions, and the bytes of the values in stored refusals (up to 1 MiB each).
//! Beyond either limit, the least recently used session (by log index) is dropped. Its client then gets
//! [`Reply::SessionExpired`] and cannot know whether a pending write was applied. In memory, such a value is mostly
//! shared with the store. A snapshot writes it out, at most [`MAX_REPLY_BYTES`] in total.

use super::{Reply, SessionId, encoding};
use im::OrdMap;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Maximum number of open sessions. Part of the replicated state: a group keeps the number it was started with.
pub const MAX_SESSIONS: u32 = 10_000;
/// Maximum bytes of the values in stored replies.
pub const MAX_REPLY_BYTES: usize = 64 << 20;

/// The state of a client session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Session {
    /// Log index of the last command that named it.
    pub used: u64,
    /// Number of its newest write and the reply; `None` before the first.
    pub last: Option<(u64, Reply)>,
}

impl Session {
    fn reply_bytes(&self) -> usize {
        match &self.last {
            Some((_, Reply::Refused(Some(held)))) => held.value.len(),
            _ => 0,
        }
    }
}

/// The session table's verdict on a write before it is applied.
pub(super) enum Seen {
    /// The session is unknown.
    Unknown,
    /// The session has already applied a newer write.
    Earlier,
    /// The same write was already applied, with this reply.
    Repeat(Reply),
    /// A new write.
    New,
}

/// The session table.
pub(super) struct Sessions {
    table: OrdMap<SessionId, Session>,
    /// Sessions by the log index that last used them. Each index belongs to one command, so to at most one session.
    recent: BTreeMap<u64, SessionId>,
    limit: u32,
    reply_bytes: usize,
    /// Wrapping sum of the hashes of the sessions' snapshot records.
    sum: u64,
    /// Reusable buffer for encoding records to hash.
    scratch: Vec<u8>,
}

impl Sessions {
    pub fn new(limit: u32) -> Sessions {
        Sessions { table: OrdMap::new(), recent: BTreeMap::new(), limit, reply_bytes: 0, sum: 0, scratch: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn table(&self) -> &OrdMap<SessionId, Session> {
        &self.table
    }

    pub fn used_at(&self, index: u64) -> bool {
        self.recent.contains_key(&index)
    }

    pub fn see(&self, id: SessionId, number: u64) -> Seen {
        match self.table.get(&id).map(|session| &session.last) {
            None => Seen::Unknown,
            Some(Some((last, reply))) if number == *last => Seen::Repeat(reply.clone()),
            Some(Some((last, _))) if number < *last => Seen::Earlier,
            Some(_) => Seen::New,
        }
    }

    /// Opens the session with the id `index`.
    pub fn open(&mut self, index: u64) {
        self.put(index, Session { used: index, last: None });
        self.shed();
    }

    /// Marks a session as used at `index`. If a write was applied now, stores its number and reply.
    pub fn touch(&mut self, id: SessionId, index: u64, applied: Option<(u64, Reply)>) {
        let Some(session) = self.table.get_mut(&id) else { return };
        self.sum = self.sum.wrapping_sub(hash(&mut self.scratch, id, session));
        self.reply_bytes -= session.reply_bytes();
        self.recent.remove(&session.used);
        session.used = index;
        session.last = applied.or(session.last.take());
        self.sum = self.sum.wrapping_add(hash(&mut self.scratch, id, session));
        self.reply_bytes += session.reply_bytes();
        self.recent.insert(index, id);
        self.shed();
    }

    /// Adds a session that is not in the table, and updates the counts.
    pub fn put(&mut self, id: SessionId, session: Session) {
        self.sum = self.sum.wrapping_add(hash(&mut self.scratch, id, &session));
        self.reply_bytes += session.reply_bytes();
        self.recent.insert(session.used, id);
        self.table.insert(id, session);
    }

    fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.table.remove(&id)?;
        self.recent.remove(&session.used);
        self.reply_bytes -= session.reply_bytes();
        self.sum = self.sum.wrapping_sub(hash(&mut self.scratch, id, &session));
        Some(session)
    }

    fn shed(&mut self) {
        while self.table.len() > self.limit as usize || self.reply_bytes > MAX_REPLY_BYTES {
            let Some((_, &oldest)) = self.recent.first_key_value() else { return };
            self.forget(oldest);
        }
    }
}

/// Hash of the session's snapshot record.
fn hash(scratch: &mut Vec<u8>, id: SessionId, session: &Session) -> u64 {
    scratch.clear();
    encoding::put_session(scratch, id, session);
    xxh3_64(scratch)
}
