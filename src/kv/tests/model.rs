//! The store against the simplest possible model: a `BTreeMap` with linear search.

use super::*;
use std::collections::BTreeMap;

const SESSIONS: usize = 3;
const TOMBSTONES: usize = 2;

#[derive(Default)]
struct Model {
    index: u64,
    stamp: u64,
    time: u64,
    /// First revision of an unknown key.
    first: u64,
    keys: BTreeMap<Key, (u64, Content)>,
    sessions: Vec<Client>,
}

/// The content of a key (value, stamp, deadline), or the index at which it was deleted.
type Content = Result<(Bytes, u64, Option<u64>), u64>;

struct Client {
    id: u64,
    used: u64,
    last: Option<(u64, Reply)>,
}

impl Model {
    fn apply(&mut self, entry: &Bytes) -> Reply {
        self.index += 1;
        let Ok(Command { stamp, time, session, op }) = decode(entry) else { return Reply::Nothing };
        let passed = time.0.saturating_sub(self.time);
        self.time += passed;
        let most = if self.stamp == 0 { u64::MAX } else { self.stamp + 2 * passed };
        self.stamp = stamp.0.min(most).max(self.stamp + 1);
        let due = |held: &Content| held.as_ref().ok().and_then(|(_, _, deadline)| *deadline);
        let mut over: Vec<(u64, Key)> =
            self.keys.iter().filter_map(|(key, (_, held))| Some((due(held)?, key.clone()))).collect();
        over.retain(|(deadline, _)| *deadline <= self.time);
        over.sort();
        for (_, key) in over {
            self.delete_held(&key);
        }
        let Some((id, number)) = session.filter(|_| op != Op::OpenSession) else { return self.act(op) };
        let Some(at) = self.sessions.iter().position(|s| s.id == id) else { return Reply::SessionExpired };
        self.sessions[at].used = self.index;
        match self.sessions[at].last.clone() {
            Some((last, reply)) if last == number => reply,
            Some((last, _)) if last > number => Reply::Stale,
            _ => {
                let reply = self.act(op);
                self.sessions[at].last = Some((number, reply.clone()));
                reply
            }
        }
    }

    /// Deletes the key. Beyond the limit, the oldest tombstones are dropped.
    fn delete_held(&mut self, key: &Key) {
        let (revision, held) = self.keys.get_mut(key).unwrap();
        (*revision, *held) = (*revision + 1, Err(self.index));
        loop {
            let tombstones = self.keys.iter().filter_map(|(key, (_, held))| Some((held.clone().err()?, key.clone())));
            let tombstones: Vec<_> = tombstones.collect();
            if tombstones.len() <= TOMBSTONES {
                return;
            }
            let (_, oldest) = tombstones.into_iter().min().unwrap();
            let (revision, _) = self.keys.remove(&oldest).unwrap();
            self.first = self.first.max(revision + 1);
        }
    }

    fn act(&mut self, op: Op) -> Reply {
        let commit = Wall(self.stamp);
        let deadline = |ttl_ms: u64| self.time + ttl_ms * MS;
        match op {
            Op::Expire => Reply::Nothing,
            Op::OpenSession => {
                self.sessions.push(Client { id: self.index, used: self.index, last: None });
                if self.sessions.len() > SESSIONS {
                    let oldest = self.sessions.iter().map(|s| s.used).min();
                    self.sessions.retain(|s| Some(s.used) != oldest);
                }
                Reply::Session(self.index)
            }
            Op::Write(Write::Put { key, value, when, ttl_ms }) => {
                let held = self.get(&key);
                if !holds(&when, &held) {
                    return Reply::Refused(held);
                }
                let revision = self.keys.get(&key).map_or(self.first, |(revision, _)| revision + 1);
                let deadline = ttl_ms.map(deadline);
                self.keys.insert(key, (revision, Ok((value, self.stamp, deadline))));
                Reply::Done { revision, commit }
            }
            Op::Write(Write::Delete { key, when }) => match self.get(&key) {
                Some(held) if holds(&when, &Some(held.clone())) => {
                    self.delete_held(&key);
                    Reply::Done { revision: held.revision + 1, commit }
                }
                held => Reply::Refused(held),
            },
            Op::Write(Write::Extend { key, ttl_ms }) => match self.get(&key) {
                Some(held) => {
                    let revision = held.revision;
                    let deadline = Some(deadline(ttl_ms));
                    self.keys.insert(key, (revision, Ok((held.value, held.commit.0, deadline))));
                    Reply::Done { revision, commit }
                }
                None => Reply::Refused(None),
            },
        }
    }

    /// Returns what a reader sees. A key expires exactly at its deadline.
    fn get(&self, key: &Key) -> Option<Versioned> {
        let (revision, held) = self.keys.get(key)?.clone();
        let (value, commit, deadline) = held.ok()?;
        let expires = deadline.map(|at| Wall(self.stamp + at.saturating_sub(self.time)));
        let held = Versioned { value, revision, commit: Wall(commit), expires };
        deadline.is_none_or(|at| at > self.time).then_some(held)
    }
}

/// Checks the conditions one by one.
fn holds(when: &Condition, held: &Option<Versioned>) -> bool {
    let presence = match when.exists {
        None => true,
        Some(true) => held.is_some(),
        Some(false) => held.is_none(),
    };
    let value = match (&when.value, held) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(held)) => wanted == &held.value,
    };
    let revision = match (when.revision, held) {
        (None, _) => true,
        (Some(wanted), None) => wanted == -1,
        (Some(wanted), Some(held)) => wanted == held.revision as i64,
    };
    presence && value && revision
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_store_does_what_the_model_does(steps in steps(1..150)) {
        let mut kv = Kv::with_limits(SESSIONS as u32, TOMBSTONES as u32, Mutant::default());
        let mut model = Model::default();
        for (entry, index) in entries(&steps).iter().zip(1..) {
            prop_assert_eq!(kv.apply(index, entry), model.apply(entry), "at {}: {:?}", index, decode(entry));
            prop_assert_eq!(kv.last_stamp().0, model.stamp);
            for key in ["a", "b", "c", "dd"].map(Key::from) {
                prop_assert_eq!(kv.get(&key), model.get(&key), "{:?} at {}", &key, index);
            }
            let live = || model.keys.values().filter_map(|(_, held)| held.as_ref().ok());
            prop_assert_eq!(kv.len(), live().count() as u64);
            prop_assert_eq!(kv.tombstones(), (model.keys.len() - live().count()) as u64);
            prop_assert_eq!(kv.next_expiry(), live().filter_map(|held| held.2).min().map(GroupTime));
            prop_assert_eq!(kv.sessions(), model.sessions.len() as u64);
        }
    }
}
