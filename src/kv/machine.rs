//! [`Kv`]: revisions, conditions and expiry over a persistent map.
//!
//! Where the design leaves a choice:
//! - **Extend** keeps value, revision *and* commit stamp, so that one revision of a key always bears one stamp. Its reply
//!   carries the stamp of the extension, from which the new deadline counts.
//! - **OpenSession** is not itself deduplicated, even in a session: a retry opens another, and the first is forgotten in
//!   time.
//! - **Expiry** happens at the deadline on the cluster's stamps: a key is gone for every command and read that sees a
//!   last stamp at or past its deadline. Burying the expired takes place in deadline order, at most [`EXPIRE_BATCH`] for
//!   each command, so that a million deadlines in one second do not stop the group; a key still waiting is buried first
//!   when a command touches it. When that happens can therefore not be observed, except that [`Kv::len`] counts it and
//!   [`Kv::next_expiry`] stays in the past until the leader has proposed enough `Expire`.
//! - **The digest** is a wrapping sum of one hash for each record of the snapshot, so it does not depend on the path to
//!   the state, costs one hash a change, and checks a snapshot's contents too. It is no defence against forgery.

use super::layout::{self, Header};
use super::sessions::{MAX_SESSIONS, Seen, Sessions};
use super::{Command, Condition, Op, Reply, Versioned};
use crate::mutant::{Bug, Mutant};
use crate::types::{Bytes, Key, Revision, Value, Wall};
use im::{OrdMap, OrdSet};
use xxhash_rust::xxh3::xxh3_64;

/// Most keys one command buries because their time is up.
pub const EXPIRE_BATCH: usize = 128;

/// What a key that was ever written is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It holds a value.
    Live(Versioned),
    /// A tombstone: it was deleted or has expired, which took this revision.
    Deleted(Revision),
}

impl State {
    fn revision(&self) -> Revision {
        match self {
            State::Live(held) => held.revision,
            State::Deleted(revision) => *revision,
        }
    }

    fn live(&self) -> Option<&Versioned> {
        match self {
            State::Live(held) => Some(held),
            State::Deleted(_) => None,
        }
    }

    fn expires(&self) -> Option<Wall> {
        self.live().and_then(|held| held.expires)
    }
}

#[derive(Clone)]
pub(super) struct Slot {
    pub state: State,
    /// Hash of the key's snapshot record.
    hash: u64,
}

/// The state machine.
pub struct Kv {
    pub(super) keys: OrdMap<Key, Slot>,
    deadlines: OrdSet<(Wall, Key)>,
    pub(super) sessions: Sessions,
    live: u64,
    applied: u64,
    last_stamp: Wall,
    skipped: u64,
    /// Wrapping sum of the hashes of all slots.
    sum: u64,
    /// Where records are laid out for hashing.
    scratch: Vec<u8>,
    pub(super) mutant: Mutant,
}

impl Kv {
    /// An empty store before the first log entry.
    #[must_use]
    pub fn new(mutant: Mutant) -> Kv {
        Kv::with_session_limit(MAX_SESSIONS, mutant)
    }

    /// An empty store that remembers at most `limit` sessions; every replica of a group must be given the same.
    #[must_use]
    pub fn with_session_limit(limit: u32, mutant: Mutant) -> Kv {
        Kv {
            keys: OrdMap::new(),
            deadlines: OrdSet::new(),
            sessions: Sessions::new(limit),
            live: 0,
            applied: 0,
            last_stamp: Wall(0),
            skipped: 0,
            sum: 0,
            scratch: Vec::new(),
            mutant,
        }
    }

    /// The state a snapshot's header speaks of, still without keys and sessions.
    pub(super) fn from_header(header: &Header, mutant: Mutant) -> Kv {
        Kv {
            applied: header.applied,
            last_stamp: header.last_stamp,
            skipped: header.skipped,
            ..Kv::with_session_limit(header.session_limit, mutant)
        }
    }

    pub(super) fn header(&self) -> Header {
        Header {
            applied: self.applied,
            last_stamp: self.last_stamp,
            skipped: self.skipped,
            session_limit: self.sessions.limit(),
            keys: self.keys.len() as u64,
            sessions: self.sessions.len() as u64,
            sum: self.sum.wrapping_add(self.sessions.sum()),
        }
    }

    /// Applies the log entry at `index` and answers it. An empty entry is a leader's no-op; an entry that is no command
    /// is counted and otherwise a no-op too, for what a peer put into the log must not stop the group.
    ///
    /// # Panics
    /// If `index` does not follow the last one: a replica that misses an entry must stop.
    pub fn apply(&mut self, index: u64, entry: &Bytes) -> Reply {
        assert_eq!(index, self.applied + 1, "log entries are applied in order and without a gap");
        self.applied = index;
        if entry.is_empty() {
            return Reply::Nothing;
        }
        match layout::decode(entry) {
            Ok(command) => self.execute(command),
            Err(_) => {
                self.skipped += 1;
                Reply::Nothing
            }
        }
    }

    fn execute(&mut self, command: Command) -> Reply {
        self.last_stamp = Wall(command.stamp.0.max(self.last_stamp.0.saturating_add(1)));
        self.bury_expired();
        let (Some((session, number)), false) = (command.session, command.op == Op::OpenSession) else {
            return self.act(command.op);
        };
        let (reply, applied) = match self.sessions.see(session, number) {
            Seen::Unknown => return Reply::SessionExpired,
            Seen::Earlier => (Reply::Stale, None),
            Seen::Repeat(reply) => (reply, None),
            Seen::New => {
                let reply = self.act(command.op);
                (reply.clone(), Some((number, reply)))
            }
        };
        self.sessions.touch(session, self.applied, applied);
        reply
    }

    fn act(&mut self, op: Op) -> Reply {
        match op {
            Op::OpenSession => {
                self.sessions.open(self.applied);
                Reply::Session(self.applied)
            }
            Op::Put { key, value, when, ttl_ms } => self.put(&key, value, &when, ttl_ms),
            Op::Delete { key, when } => self.delete(&key, &when),
            Op::Extend { key, ttl_ms } => self.extend(&key, ttl_ms),
            Op::Expire => Reply::Nothing,
        }
    }

    fn put(&mut self, key: &Key, value: Value, when: &Condition, ttl_ms: Option<u64>) -> Reply {
        let before = self.settle(key);
        let held = before.and_then(State::live);
        if !holds(when, held) {
            return Reply::Refused(held.cloned());
        }
        let revision = before.map_or(0, |state| state.revision().saturating_add(1));
        // `value` shares the entry's memory. A large `cmp` beside it would be kept alive by it for nothing.
        let value = if when.value.is_some() { Bytes::copy_from_slice(&value) } else { value };
        let expires = ttl_ms.filter(|_| !self.mutant.is(Bug::ExpireNever)).map(|ttl| self.deadline(ttl));
        self.set(key, State::Live(Versioned { value, revision, commit: self.last_stamp, expires }));
        Reply::Done { revision, commit: self.last_stamp }
    }

    fn delete(&mut self, key: &Key, when: &Condition) -> Reply {
        match self.settle(key).and_then(State::live) {
            Some(held) if holds(when, Some(held)) => {
                let revision = held.revision.saturating_add(1);
                self.set(key, State::Deleted(revision));
                Reply::Done { revision, commit: self.last_stamp }
            }
            held => Reply::Refused(held.cloned()),
        }
    }

    fn extend(&mut self, key: &Key, ttl_ms: u64) -> Reply {
        let Some(held) = self.settle(key).and_then(State::live).cloned() else {
            return Reply::Refused(None);
        };
        let revision = held.revision;
        let expires = if self.mutant.is(Bug::ExtendIgnored) { held.expires } else { Some(self.deadline(ttl_ms)) };
        self.set(key, State::Live(Versioned { expires, ..held }));
        Reply::Done { revision, commit: self.last_stamp }
    }

    fn deadline(&self, ttl_ms: u64) -> Wall {
        let ttl_ms = if self.mutant.is(Bug::ExpireEarly) { ttl_ms / 2 } else { ttl_ms };
        Wall(self.last_stamp.0.saturating_add(ttl_ms.saturating_mul(1_000_000)))
    }

    /// The key's state after burying it if its time is up.
    fn settle(&mut self, key: &Key) -> Option<&State> {
        if self.next_expiry().is_some_and(|deadline| deadline <= self.last_stamp) {
            self.bury(key);
        }
        self.keys.get(key).map(|slot| &slot.state)
    }

    fn bury(&mut self, key: &Key) {
        let held = self.keys.get(key).and_then(|slot| slot.state.live());
        if let Some(revision) = held.filter(|held| self.is_over(held)).map(|held| held.revision.saturating_add(1)) {
            self.set(key, State::Deleted(revision));
        }
    }

    fn is_over(&self, held: &Versioned) -> bool {
        held.expires.is_some_and(|deadline| deadline <= self.last_stamp)
    }

    fn bury_expired(&mut self) {
        for _ in 0..EXPIRE_BATCH {
            match self.deadlines.get_min() {
                Some((deadline, key)) if *deadline <= self.last_stamp => {
                    let key = key.clone();
                    self.bury(&key);
                }
                _ => return,
            }
        }
    }

    /// Gives `key` a new state and keeps count, expiry index and digest in step.
    pub(super) fn set(&mut self, key: &Key, state: State) {
        self.scratch.clear();
        layout::put_state(&mut self.scratch, key, &state);
        let hash = xxh3_64(&self.scratch);
        let expires = state.expires();
        self.sum = self.sum.wrapping_add(hash);
        self.live += u64::from(state.live().is_some());

        let slot = Slot { state, hash };
        let before = if let Some(held) = self.keys.get_mut(key) {
            Some(std::mem::replace(held, slot))
        } else {
            self.keys.insert(key.clone(), slot)
        };
        let expired_before = before.as_ref().and_then(|slot| slot.state.expires());
        if let Some(before) = before {
            self.sum = self.sum.wrapping_sub(before.hash);
            self.live -= u64::from(before.state.live().is_some());
        }
        if expired_before != expires {
            if let Some(deadline) = expired_before {
                self.deadlines.remove(&(deadline, key.clone()));
            }
            if let Some(deadline) = expires {
                self.deadlines.insert((deadline, key.clone()));
            }
        }
    }

    /// What `key` holds after the last applied entry.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Versioned> {
        self.keys.get(key)?.state.live().filter(|held| !self.is_over(held)).cloned()
    }

    /// Index of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The last effective stamp given out.
    #[must_use]
    pub fn last_stamp(&self) -> Wall {
        self.last_stamp
    }

    /// When the leader should propose [`Op::Expire`]: once its wall clock has reached this. In the past while expired
    /// keys wait to be buried.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Wall> {
        self.deadlines.get_min().map(|(deadline, _)| *deadline)
    }

    /// Keys that hold a value, those included that have expired but are not yet buried.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a count for status replies, not a collection")]
    pub fn len(&self) -> u64 {
        self.live
    }

    /// Open sessions.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// Log entries that were no command.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A hash of the whole state, the index included. Replicas at the same index have the same one; different states
    /// have different ones but for chance (2⁻⁶⁴).
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.header().digest()
    }
}

/// Whether all conditions hold for a key that holds this, or nothing.
fn holds(when: &Condition, held: Option<&Versioned>) -> bool {
    let revision = held.map_or(Some(-1), |h| i64::try_from(h.revision).ok());
    when.exists.is_none_or(|wanted| wanted == held.is_some())
        && when.revision.is_none_or(|wanted| revision == Some(wanted))
        && when.value.as_ref().is_none_or(|wanted| held.is_some_and(|h| h.value == *wanted))
}
