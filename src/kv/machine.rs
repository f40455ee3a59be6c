//! [`Kv`]: revisions, conditions and expiry over a persistent map.
//!
//! Details that the design leaves open:
//! - **Extend** keeps the value, the revision *and* the commit stamp, so that each revision of a key has exactly one
//!   stamp. Its reply contains the stamp of the extension; the new deadline counts from there.
//! - **OpenSession** is not itself deduplicated, even in a session: a retry opens another session, and the first one is
//!   dropped eventually.
//! - **Expiry** happens at the deadline in the group's time: a key is gone for every command and read that sees a time
//!   at or past its deadline. Expired keys become tombstones in deadline order, at most [`EXPIRE_BATCH`] per command,
//!   so that a million deadlines in one second do not stop the group. If a command touches an expired key that is still
//!   waiting, that key becomes a tombstone first. So the delay cannot be observed, except that [`Kv::len`] counts the
//!   key and [`Kv::next_expiry`] stays in the past until the leader has proposed enough `Expire`.
//! - **The digest** is a wrapping sum with one hash per record of the snapshot. So it does not depend on the path to
//!   the state, costs one hash per change, and also checks a snapshot's contents. It does not protect against forgery.

use super::encoding::{self, Header};
use super::sessions::{MAX_SESSIONS, Seen, Sessions};
use super::{Command, Condition, GroupTime, Op, Reply, Versioned, Write};
use crate::mutant::{Bug, Mutant};
use crate::types::{Bytes, Key, Revision, Value, Wall};
use im::{OrdMap, OrdSet};
use std::collections::BTreeSet;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Maximum number of expired keys that one command turns into tombstones.
pub const EXPIRE_BATCH: usize = 128;
/// Maximum step by which one command advances the group's time.
pub const MAX_STEP: Duration = Duration::from_secs(24 * 3600);
/// Maximum number of tombstones, which limits their keys to 16 MiB. Part of the replicated state: a group keeps the
/// number it was started with.
pub const MAX_TOMBSTONES: u32 = 4096;

/// The state of a key that was ever written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The key holds a value.
    Live(Held),
    /// A tombstone.
    Deleted {
        /// The revision of the deletion or expiry.
        revision: Revision,
        /// The log index of the deletion or expiry.
        at: u64,
    },
}

/// A value in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub value: Value,
    pub revision: Revision,
    pub commit: Wall,
    pub deadline: Option<GroupTime>,
}

impl State {
    fn revision(&self) -> Revision {
        match self {
            State::Live(held) => held.revision,
            State::Deleted { revision, .. } => *revision,
        }
    }

    fn live(&self) -> Option<&Held> {
        match self {
            State::Live(held) => Some(held),
            State::Deleted { .. } => None,
        }
    }

    fn deadline(&self) -> Option<GroupTime> {
        self.live().and_then(|held| held.deadline)
    }

    /// Returns the log index of the deletion.
    fn deleted_at(&self) -> Option<u64> {
        match self {
            State::Live(_) => None,
            State::Deleted { at, .. } => Some(*at),
        }
    }
}

#[derive(Clone)]
pub(super) struct Slot {
    pub state: State,
    /// Hash of the key's snapshot record.
    hash: u64,
}

/// The current content of a key.
#[derive(Clone, Copy, Debug)]
pub struct Present<'a> {
    /// The value.
    pub value: &'a Value,
    /// The stamp of its write.
    pub commit: Wall,
    /// When it expires, in the group's time.
    pub deadline: Option<GroupTime>,
}

/// The state machine.
pub struct Kv {
    pub(super) keys: OrdMap<Key, Slot>,
    deadlines: OrdSet<(GroupTime, Key)>,
    /// Tombstones by the log index that created them.
    tombstones_by_age: BTreeSet<(u64, Key)>,
    max_tombstones: u32,
    /// First revision of a key without a state: above the revision of every tombstone that was dropped.
    first_revision: Revision,
    pub(super) sessions: Sessions,
    live: u64,
    applied: u64,
    last_stamp: Wall,
    time: GroupTime,
    skipped: u64,
    /// Wrapping sum of the hashes of all slots.
    sum: u64,
    /// Reusable buffer for encoding records to hash.
    scratch: Vec<u8>,
    pub(super) mutant: Mutant,
}

impl Kv {
    /// Creates an empty store, before the first log entry.
    #[must_use]
    pub fn new(mutant: Mutant) -> Kv {
        Kv::with_limits(MAX_SESSIONS, MAX_TOMBSTONES, mutant)
    }

    /// Creates an empty store with these limits on sessions and tombstones. Every replica of a group must use the same
    /// limits.
    #[must_use]
    pub fn with_limits(max_sessions: u32, max_tombstones: u32, mutant: Mutant) -> Kv {
        Kv {
            keys: OrdMap::new(),
            deadlines: OrdSet::new(),
            tombstones_by_age: BTreeSet::new(),
            max_tombstones,
            first_revision: 0,
            sessions: Sessions::new(max_sessions),
            live: 0,
            applied: 0,
            last_stamp: Wall(0),
            time: GroupTime(0),
            skipped: 0,
            sum: 0,
            scratch: Vec::new(),
            mutant,
        }
    }

    /// Creates the state that a snapshot's header describes, still without keys and sessions.
    pub(super) fn from_header(header: &Header, mutant: Mutant) -> Kv {
        Kv {
            applied: header.applied,
            last_stamp: header.last_stamp,
            time: header.time,
            first_revision: header.first_revision,
            skipped: header.skipped,
            ..Kv::with_limits(header.session_limit, header.max_tombstones, mutant)
        }
    }

    pub(super) fn header(&self) -> Header {
        Header {
            applied: self.applied,
            last_stamp: self.last_stamp,
            time: self.time,
            first_revision: self.first_revision,
            skipped: self.skipped,
            session_limit: self.sessions.limit(),
            max_tombstones: self.max_tombstones,
            keys: self.keys.len() as u64,
            sessions: self.sessions.len() as u64,
            sum: self.sum.wrapping_add(self.sessions.sum()),
        }
    }

    /// Applies the log entry at `index` and returns the reply. An empty entry is a leader's no-op. An entry that is not
    /// a valid command is counted and otherwise ignored: an entry that a peer put into the log must not stop the group.
    ///
    /// # Panics
    /// If `index` does not follow the last one: a replica that misses an entry must stop.
    pub fn apply(&mut self, index: u64, entry: &Bytes) -> Reply {
        assert_eq!(index, self.applied + 1, "log entries are applied in order and without a gap");
        self.applied = index;
        if entry.is_empty() {
            return Reply::Nothing;
        }
        match encoding::decode(entry) {
            Ok(command) => self.execute(command),
            Err(_) => {
                self.skipped += 1;
                Reply::Nothing
            }
        }
    }

    fn execute(&mut self, command: Command) -> Reply {
        self.advance(command.stamp, command.time);
        self.delete_all_expired();
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

    /// Advances the group's time and the stamp. The very first stamp is accepted as it is: there is nothing to compare
    /// it with.
    fn advance(&mut self, stamp: Wall, time: GroupTime) {
        let before = self.time;
        let furthest = GroupTime(before.0.saturating_add(MAX_STEP.as_nanos() as u64));
        self.time = time.clamp(before, furthest);
        let passed = self.time.0 - before.0;
        let most = match self.last_stamp {
            Wall(0) => u64::MAX,
            Wall(last) => last.saturating_add(passed.saturating_mul(2)),
        };
        self.last_stamp = Wall(stamp.0.min(most).max(self.last_stamp.0.saturating_add(1)));
    }

    fn act(&mut self, op: Op) -> Reply {
        match op {
            Op::OpenSession => {
                self.sessions.open(self.applied);
                Reply::Session(self.applied)
            }
            Op::Write(Write::Put { key, value, when, ttl_ms }) => self.put(&key, value, &when, ttl_ms),
            Op::Write(Write::Delete { key, when }) => self.delete(&key, &when),
            Op::Write(Write::Extend { key, ttl_ms }) => self.extend(&key, ttl_ms),
            Op::Expire => Reply::Nothing,
        }
    }

    fn put(&mut self, key: &Key, value: Value, when: &Condition, ttl_ms: Option<u64>) -> Reply {
        let first = self.first_revision;
        let forgets = self.mutant.is(Bug::TombstoneRevisionRestarts);
        let before = self.settle(key);
        let held = before.and_then(State::live);
        if !holds(when, held) {
            let held = held.cloned();
            return Reply::Refused(held.map(|held| self.show(held)));
        }
        let before = before.filter(|state| !forgets || state.live().is_some());
        let revision = before.map_or(first, |state| state.revision().saturating_add(1));
        // `value` shares the entry's memory and would keep a large `cmp` value in the same entry alive.
        let value = if when.value.is_some() { Bytes::copy_from_slice(&value) } else { value };
        let deadline = ttl_ms.filter(|_| !self.mutant.is(Bug::ExpireNever)).map(|ttl| self.deadline(ttl));
        self.set(key, State::Live(Held { value, revision, commit: self.last_stamp, deadline }));
        Reply::Done { revision, commit: self.last_stamp }
    }

    fn delete(&mut self, key: &Key, when: &Condition) -> Reply {
        match self.settle(key).and_then(State::live) {
            Some(held) if holds(when, Some(held)) => {
                let revision = held.revision.saturating_add(1);
                self.set(key, State::Deleted { revision, at: self.applied });
                Reply::Done { revision, commit: self.last_stamp }
            }
            held => {
                let held = held.cloned();
                Reply::Refused(held.map(|held| self.show(held)))
            }
        }
    }

    fn extend(&mut self, key: &Key, ttl_ms: u64) -> Reply {
        let Some(held) = self.settle(key).and_then(State::live).cloned() else {
            return Reply::Refused(None);
        };
        let revision = held.revision;
        let deadline = if self.mutant.is(Bug::ExtendIgnored) { held.deadline } else { Some(self.deadline(ttl_ms)) };
        self.set(key, State::Live(Held { deadline, ..held }));
        Reply::Done { revision, commit: self.last_stamp }
    }

    fn deadline(&self, ttl_ms: u64) -> GroupTime {
        let ttl_ms = if self.mutant.is(Bug::ExpireEarly) { ttl_ms / 2 } else { ttl_ms };
        GroupTime(self.time.0.saturating_add(ttl_ms.saturating_mul(1_000_000)))
    }

    /// Returns a value as a reader sees it now.
    fn show(&self, held: Held) -> Versioned {
        let Held { value, revision, commit, deadline } = held;
        let left = |at: GroupTime| Wall(self.last_stamp.0.saturating_add(at.0.saturating_sub(self.time.0)));
        Versioned { value, revision, commit, expires: deadline.map(left) }
    }

    /// Returns the key's state, after turning it into a tombstone if it has expired.
    fn settle(&mut self, key: &Key) -> Option<&State> {
        if self.next_expiry().is_some_and(|deadline| deadline <= self.time) {
            self.delete_expired(key);
        }
        self.keys.get(key).map(|slot| &slot.state)
    }

    fn delete_expired(&mut self, key: &Key) {
        let held = self.keys.get(key).and_then(|slot| slot.state.live());
        if let Some(revision) = held.filter(|held| self.is_over(held)).map(|held| held.revision.saturating_add(1)) {
            self.set(key, State::Deleted { revision, at: self.applied });
        }
    }

    fn is_over(&self, held: &Held) -> bool {
        held.deadline.is_some_and(|deadline| deadline <= self.time)
    }

    fn delete_all_expired(&mut self) {
        for _ in 0..EXPIRE_BATCH {
            match self.deadlines.get_min() {
                Some((deadline, key)) if *deadline <= self.time => {
                    let key = key.clone();
                    self.delete_expired(&key);
                }
                _ => return,
            }
        }
    }

    /// Sets the state of `key`, and updates the count, the expiry index, the tombstones and the digest.
    pub(super) fn set(&mut self, key: &Key, state: State) {
        self.scratch.clear();
        encoding::put_state(&mut self.scratch, key, &state);
        let hash = xxh3_64(&self.scratch);
        let (deadline, deleted_at) = (state.deadline(), state.deleted_at());
        self.sum = self.sum.wrapping_add(hash);
        self.live += u64::from(state.live().is_some());

        let slot = Slot { state, hash };
        let before = if let Some(held) = self.keys.get_mut(key) {
            Some(std::mem::replace(held, slot))
        } else {
            self.keys.insert(key.clone(), slot)
        };
        let deadline_before = before.as_ref().and_then(|slot| slot.state.deadline());
        if let Some(before) = before {
            self.sum = self.sum.wrapping_sub(before.hash);
            self.live -= u64::from(before.state.live().is_some());
            before.state.deleted_at().map(|at| self.tombstones_by_age.remove(&(at, key.clone())));
        }
        if deadline_before != deadline {
            if let Some(at) = deadline_before {
                self.deadlines.remove(&(at, key.clone()));
            }
            if let Some(at) = deadline {
                self.deadlines.insert((at, key.clone()));
            }
        }
        if let Some(at) = deleted_at {
            self.tombstones_by_age.insert((at, key.clone()));
            self.collect();
        }
    }

    /// Drops the oldest tombstones beyond the limit. Their revisions raise the first revision of keys without a state.
    fn collect(&mut self) {
        while self.tombstones_by_age.len() > self.max_tombstones as usize
            && !self.mutant.is(Bug::KvTombstonesKept)
            && let Some((_, key)) = self.tombstones_by_age.pop_first()
            && let Some(slot) = self.keys.remove(&key)
        {
            self.sum = self.sum.wrapping_sub(slot.hash);
            let above = slot.state.revision().saturating_add(1);
            self.first_revision = if self.mutant.is(Bug::RevisionsReused) { 0 } else { self.first_revision.max(above) };
        }
    }

    /// Returns what `key` holds after the last applied entry.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Versioned> {
        self.keys.get(key)?.state.live().filter(|held| !self.is_over(held)).cloned().map(|held| self.show(held))
    }

    /// Returns every key that has a state, with its revision and its content unless it was deleted.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, Revision, Option<Present<'_>>)> {
        self.keys.iter().map(|(key, slot)| {
            let held = slot.state.live().map(|held| Present {
                value: &held.value,
                commit: held.commit,
                deadline: held.deadline,
            });
            (key, slot.state.revision(), held)
        })
    }

    /// Index of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The effective stamp of the last command.
    #[must_use]
    pub fn last_stamp(&self) -> Wall {
        self.last_stamp
    }

    /// The group's time as of the last command.
    #[must_use]
    pub fn time(&self) -> GroupTime {
        self.time
    }

    /// The group's time at which the leader should propose [`Op::Expire`]. It is in the past while expired keys wait to
    /// become tombstones.
    #[must_use]
    pub fn next_expiry(&self) -> Option<GroupTime> {
        self.deadlines.get_min().map(|(deadline, _)| *deadline)
    }

    /// Number of keys that hold a value, including expired keys that are not tombstones yet.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a count for status replies, not a collection")]
    pub fn len(&self) -> u64 {
        self.live
    }

    /// Number of tombstones.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.tombstones_by_age.len() as u64
    }

    /// Number of open sessions.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// Number of log entries that were not a valid command.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Returns a hash of the whole state, including the index. Replicas at the same index have the same digest.
    /// Different states have different digests, except with a probability of 2⁻⁶⁴.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.header().digest()
    }
}

/// Whether all conditions hold for a key with this content, or without content.
fn holds(when: &Condition, held: Option<&Held>) -> bool {
    let revision = held.map_or(Some(-1), |h| i64::try_from(h.revision).ok());
    when.exists.is_none_or(|wanted| wanted == held.is_some())
        && when.revision.is_none_or(|wanted| revision == Some(wanted))
        && when.value.as_ref().is_none_or(|wanted| held.is_some_and(|h| h.value == *wanted))
}
