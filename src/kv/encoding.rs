//! The encoding of commands in the log and of records in snapshots. It is explicit because the bytes outlive a release;
//! docs/formats.md shows it byte by byte. Integers are little-endian and have a fixed width.
//!
//! Every value has exactly one encoding. Anything else is refused: unknown tags and flags, flags that have no meaning
//! for the operation, lengths beyond the limits, trailing bytes.
//!
//! A decoded command shares the log entry's memory instead of copying keys and values.

use super::machine::{Held, State};
use super::sessions::Session;
use super::{Command, Condition, GroupTime, Op, Reply, SessionId, Versioned, Write};
use crate::types::{Bytes, Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Wall};
use xxhash_rust::xxh3::xxh3_64;

/// The bytes are not a valid encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Where the error was found, in bytes from the start of the input.
    pub offset: usize,
}

const OPEN_SESSION: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const EXTEND: u8 = 4;
const EXPIRE: u8 = 5;

const HAS_SESSION: u8 = 1 << 0;
const IF_PRESENCE: u8 = 1 << 1;
const IF_PRESENT: u8 = 1 << 2;
const IF_REVISION: u8 = 1 << 3;
const IF_VALUE: u8 = 1 << 4;
const HAS_TTL: u8 = 1 << 5;
const CONDITIONS: u8 = IF_PRESENCE | IF_PRESENT | IF_REVISION | IF_VALUE;

/// Returns the log entry for `command`. Its sizes must have passed [`Write::check_limits`]; otherwise [`decode`] refuses
/// it.
#[must_use]
pub fn encode(command: &Command) -> Bytes {
    let (tag, key, when, ttl, value) = match &command.op {
        Op::OpenSession => (OPEN_SESSION, None, None, None, None),
        Op::Write(Write::Put { key, value, when, ttl_ms }) => (PUT, Some(key), Some(when), *ttl_ms, Some(value)),
        Op::Write(Write::Delete { key, when }) => (DELETE, Some(key), Some(when), None, None),
        Op::Write(Write::Extend { key, ttl_ms }) => (EXTEND, Some(key), None, Some(*ttl_ms), None),
        Op::Expire => (EXPIRE, None, None, None, None),
    };
    let expected = when.and_then(|w| w.value.as_ref());
    let mut flags = when.map_or(0, condition_flags);
    flags |= if command.session.is_some() { HAS_SESSION } else { 0 };
    flags |= if ttl.is_some() { HAS_TTL } else { 0 };

    let payload = key.map_or(0, |key| key.len()) + value.map_or(0, Bytes::len) + expected.map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(60 + payload);
    out.extend_from_slice(&[tag, flags]);
    put_u64(&mut out, command.stamp.0);
    put_u64(&mut out, command.time.0);
    if let Some((session, number)) = command.session {
        put_u64(&mut out, session);
        put_u64(&mut out, number);
    }
    if let Some(key) = key {
        put_key(&mut out, key);
    }
    if let Some(ttl) = ttl {
        put_u64(&mut out, ttl);
    }
    if let Some(revision) = when.and_then(|w| w.revision) {
        out.extend_from_slice(&revision.to_le_bytes());
    }
    if let Some(expected) = expected {
        put_value(&mut out, expected);
    }
    if let Some(value) = value {
        put_value(&mut out, value);
    }
    out.into()
}

fn condition_flags(when: &Condition) -> u8 {
    let presence = match when.exists {
        None => 0,
        Some(false) => IF_PRESENCE,
        Some(true) => IF_PRESENCE | IF_PRESENT,
    };
    let revision = if when.revision.is_some() { IF_REVISION } else { 0 };
    let value = if when.value.is_some() { IF_VALUE } else { 0 };
    presence | revision | value
}

/// Decodes the command in a log entry. Keys and values are slices of the entry.
///
/// # Errors
/// The bytes are not exactly an encoded command.
pub fn decode(entry: &Bytes) -> Result<Command, Malformed> {
    let mut from = Reader::new(entry);
    let tag = from.u8()?;
    let flags = from.u8()?;
    let allowed = match tag {
        PUT => CONDITIONS | HAS_TTL,
        DELETE => CONDITIONS,
        EXTEND => HAS_TTL,
        OPEN_SESSION | EXPIRE => 0,
        _ => return Err(from.wrong("unknown operation")),
    };
    let odd = flags & !(allowed | HAS_SESSION) != 0
        || flags & (IF_PRESENCE | IF_PRESENT) == IF_PRESENT
        || (tag == EXTEND && flags & HAS_TTL == 0);
    if odd {
        return Err(from.wrong("flags that do not belong to the operation"));
    }
    let (stamp, time) = (Wall(from.u64()?), GroupTime(from.u64()?));
    let session = if flags & HAS_SESSION != 0 { Some((from.u64()?, from.u64()?)) } else { None };
    let op = match tag {
        OPEN_SESSION => Op::OpenSession,
        EXPIRE => Op::Expire,
        _ => {
            let key = Key::from(from.key()?);
            let ttl_ms = if flags & HAS_TTL != 0 { Some(from.u64()?) } else { None };
            let when = condition(entry, &mut from, flags)?;
            match (tag, ttl_ms) {
                (PUT, ttl_ms) => Op::Write(Write::Put { key, value: entry.slice_ref(from.value()?), when, ttl_ms }),
                (_, Some(ttl_ms)) => Op::Write(Write::Extend { key, ttl_ms }),
                (_, None) => Op::Write(Write::Delete { key, when }),
            }
        }
    };
    from.end()?;
    Ok(Command { stamp, time, session, op })
}

fn condition(entry: &Bytes, from: &mut Reader, flags: u8) -> Result<Condition, Malformed> {
    Ok(Condition {
        exists: (flags & IF_PRESENCE != 0).then_some(flags & IF_PRESENT != 0),
        revision: if flags & IF_REVISION != 0 { Some(from.u64()?.cast_signed()) } else { None },
        value: if flags & IF_VALUE != 0 { Some(entry.slice_ref(from.value()?)) } else { None },
    })
}

const HEADER: u8 = 1;
const LIVE: u8 = 2;
const DELETED: u8 = 3;
const SESSION: u8 = 4;

/// Encoding version of snapshots.
const SNAPSHOT_VERSION: u16 = 2;

/// The header of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub applied: u64,
    pub last_stamp: Wall,
    pub time: GroupTime,
    pub skipped: u64,
    pub session_limit: u32,
    pub max_tombstones: u32,
    pub first_revision: u64,
    pub keys: u64,
    pub sessions: u64,
    /// Wrapping sum of the hashes of all following records.
    pub sum: u64,
}

/// One record of a snapshot.
pub(super) enum Record {
    Header(Header),
    Key(Key, State),
    Session(SessionId, Session),
}

impl Header {
    /// Returns the hash of all fields, which covers the whole state.
    pub fn digest(&self) -> u64 {
        let mut fields = Vec::with_capacity(75);
        self.put_fields(&mut fields);
        xxh3_64(&fields)
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        out.push(HEADER);
        out.extend_from_slice(&SNAPSHOT_VERSION.to_le_bytes());
        put_u64(out, self.applied);
        put_u64(out, self.last_stamp.0);
        put_u64(out, self.time.0);
        put_u64(out, self.skipped);
        out.extend_from_slice(&self.session_limit.to_le_bytes());
        out.extend_from_slice(&self.max_tombstones.to_le_bytes());
        put_u64(out, self.first_revision);
        put_u64(out, self.keys);
        put_u64(out, self.sessions);
        put_u64(out, self.sum);
    }
}

pub(super) fn put_header(out: &mut Vec<u8>, header: &Header) {
    header.put_fields(out);
    put_u64(out, header.digest());
}

pub(super) fn put_state(out: &mut Vec<u8>, key: &[u8], state: &State) {
    match state {
        State::Live(held) => {
            out.push(LIVE);
            put_key(out, key);
            put_held(out, (held.revision, held.commit), held.deadline.map(|at| at.0), &held.value);
        }
        State::Deleted { revision, at } => {
            out.push(DELETED);
            put_key(out, key);
            put_u64(out, *revision);
            put_u64(out, *at);
        }
    }
}

pub(super) fn put_session(out: &mut Vec<u8>, id: SessionId, session: &Session) {
    out.push(SESSION);
    put_u64(out, id);
    put_u64(out, session.used);
    out.push(u8::from(session.last.is_some()));
    if let Some((number, reply)) = &session.last {
        put_u64(out, *number);
        put_reply(out, reply);
    }
}

fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Nothing => out.push(0),
        Reply::Session(id) => {
            out.push(1);
            put_u64(out, *id);
        }
        Reply::Done { revision, commit } => {
            out.push(2);
            put_u64(out, *revision);
            put_u64(out, commit.0);
        }
        Reply::Refused(None) => out.push(3),
        Reply::Refused(Some(held)) => {
            out.push(4);
            put_held(out, (held.revision, held.commit), held.expires.map(|at| at.0), &held.value);
        }
        // invariant: sessions store only the replies to writes.
        Reply::Value(_) | Reply::SessionExpired | Reply::Stale => unreachable!("no write is answered so: {reply:?}"),
    }
}

fn put_held(out: &mut Vec<u8>, (revision, commit): (u64, Wall), expires: Option<u64>, value: &[u8]) {
    put_u64(out, revision);
    put_u64(out, commit.0);
    out.push(u8::from(expires.is_some()));
    if let Some(expires) = expires {
        put_u64(out, expires);
    }
    put_value(out, value);
}

fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key);
}

fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Decodes values from the front of a byte slice.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, len: bytes.len() }
    }

    pub fn offset(&self) -> usize {
        self.len - self.rest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { what, offset: self.offset() }
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(self.wrong("bytes left over")) }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(self.wrong("the bytes end too soon"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.wrong("the bytes end too soon"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong("neither yes nor no")),
        }
    }

    fn key(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len == 0 || len > MAX_KEY_BYTES {
            return Err(self.wrong("a key that is empty or too long"));
        }
        self.take(len)
    }

    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        let len = u32::from_le_bytes(self.array()?) as usize;
        if len > MAX_VALUE_BYTES {
            return Err(self.wrong("a value that is too long"));
        }
        self.take(len)
    }

    /// Reads the next record of a snapshot. Keys and values are copies.
    pub fn record(&mut self) -> Result<Record, Malformed> {
        match self.u8()? {
            HEADER => self.header().map(Record::Header),
            LIVE => {
                let (key, Versioned { value, revision, commit, expires }) = (self.key()?.into(), self.versioned()?);
                let deadline = expires.map(|at| GroupTime(at.0));
                Ok(Record::Key(key, State::Live(Held { value, revision, commit, deadline })))
            }
            DELETED => Ok(Record::Key(self.key()?.into(), State::Deleted { revision: self.u64()?, at: self.u64()? })),
            SESSION => self.session(),
            _ => Err(self.wrong("unknown record")),
        }
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        if u16::from_le_bytes(self.array()?) != SNAPSHOT_VERSION {
            return Err(self.wrong("a snapshot of another layout version"));
        }
        let header = Header {
            applied: self.u64()?,
            last_stamp: Wall(self.u64()?),
            time: GroupTime(self.u64()?),
            skipped: self.u64()?,
            session_limit: u32::from_le_bytes(self.array()?),
            max_tombstones: u32::from_le_bytes(self.array()?),
            first_revision: self.u64()?,
            keys: self.u64()?,
            sessions: self.u64()?,
            sum: self.u64()?,
        };
        if self.u64()? != header.digest() {
            return Err(self.wrong("a header that does not match its digest"));
        }
        Ok(header)
    }

    fn session(&mut self) -> Result<Record, Malformed> {
        let (id, used) = (self.u64()?, self.u64()?);
        let last = if self.flag()? { Some((self.u64()?, self.reply()?)) } else { None };
        Ok(Record::Session(id, Session { used, last }))
    }

    fn reply(&mut self) -> Result<Reply, Malformed> {
        match self.u8()? {
            0 => Ok(Reply::Nothing),
            1 => Ok(Reply::Session(self.u64()?)),
            2 => Ok(Reply::Done { revision: self.u64()?, commit: Wall(self.u64()?) }),
            3 => Ok(Reply::Refused(None)),
            4 => Ok(Reply::Refused(Some(self.versioned()?))),
            _ => Err(self.wrong("unknown reply")),
        }
    }

    fn versioned(&mut self) -> Result<Versioned, Malformed> {
        let (revision, commit) = (self.u64()?, Wall(self.u64()?));
        let expires = if self.flag()? { Some(Wall(self.u64()?)) } else { None };
        Ok(Versioned { value: Bytes::copy_from_slice(self.value()?), revision, commit, expires })
    }
}
