//! Workload clients: each performs the plan's operations one after another and records what it saw, as Jepsen does.
//!
//! A client is one process of the history as long as it knows the outcome of its operations. After an operation of
//! unknown outcome it continues as a new process, because in the history the old process is still waiting.

use super::abort::Abort;
use super::quorums::Quorums;
use crate::oracle::expiry;
use crate::plan::{Call, Event, How, Plan, What, When};
use crate::world::bug::WorldBug;
use crate::world::{TimeSource, lock, nanos};
use bytes::Bytes;
use seaworthy::client::{Client, ClientError};
use seaworthy::env::{Clock, Transport};
use seaworthy::kv;
use seaworthy::kv::Write;
use seaworthy_check as check;
use seaworthy_check::model::kv::Kv;
use seaworthy_check::online::{Impossible, Online};
use seaworthy_check::replicas::Observed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What clients did and saw, and when each operation was due.
#[derive(Default)]
pub struct Record {
    /// The history so far.
    pub recorder: check::Recorder,
    /// The instant at which each operation of the history was due, in order, in nanoseconds. In an open loop it is the
    /// plan's instant, even if the client began later. In a closed loop it is the instant of the call.
    pub due: Vec<u64>,
    /// Judges the history as it grows, if it must be linearizable.
    pub online: Option<Online<Kv>>,
    /// The first event that made the history impossible.
    pub impossible: Option<Impossible>,
    /// In a run against quorums: the same operations in the form that [`check::replicas`] needs.
    pub observed: Observed,
    /// Writes that a healthy cluster refuses: those with an intentionally wrong context, and those to a key that
    /// already has the maximum number of versions.
    pub refusable: BTreeSet<check::OpId>,
    /// In a run against Raft: the TTLs of writes and extensions.
    pub lives: BTreeMap<check::OpId, Duration>,
}

impl Record {
    pub(super) fn called(&mut self, op: check::OpId) -> check::OpId {
        if let Some(online) = &mut self.online {
            online.called(self.recorder.history(), op);
        }
        op
    }

    /// Records the end of an operation and returns whether the history is still possible.
    fn ended(&mut self, op: check::OpId) -> bool {
        if let Some(online) = &mut self.online
            && let Err(impossible) = online.ended(self.recorder.history(), op)
        {
            self.impossible.get_or_insert(impossible);
        }
        self.impossible.is_none()
    }
}

/// The record that all clients of a run write to, and its time source.
#[derive(Clone)]
pub struct Log {
    /// The record so far.
    pub record: Arc<Mutex<Record>>,
    /// True simulated time.
    pub time: TimeSource,
    /// Ends the run.
    pub abort: Abort,
    /// The bug planted in the world.
    pub bug: Option<WorldBug>,
}

/// A workload client and what it has seen.
pub struct WorkloadClient<T, C> {
    pub(super) client: Client<T, C>,
    clock: C,
    pub(super) process: u32,
    /// Added to `process` when an outcome becomes unknown: the number of clients, so that process numbers never
    /// collide.
    pub(super) stride: u32,
    saw: BTreeMap<String, kv::Versioned>,
    /// In a run against quorums: what the client has seen.
    pub(super) quorums: Option<Quorums>,
    /// The values for words of the plan.
    values: Arc<BTreeMap<String, Bytes>>,
    pub(super) log: Log,
}

/// The part of a version that the history keeps.
fn version(seen: Option<&kv::Versioned>) -> Option<(String, u64)> {
    seen.map(|v| (word_of(&v.value), v.revision))
}

/// The word in a value. A value is a unique word padded with dots.
pub(super) fn word_of(value: &[u8]) -> String {
    let end = value.iter().rposition(|byte| *byte != b'.').map_or(0, |last| last + 1);
    String::from_utf8_lossy(&value[..end]).into_owned()
}

impl<T: Transport, C: Clock> WorkloadClient<T, C> {
    /// Creates client number `process` of `stride` clients.
    pub fn new(
        client: Client<T, C>,
        clock: C,
        (process, stride): (u32, u32),
        quorums: Option<Quorums>,
        values: Arc<BTreeMap<String, Bytes>>,
        log: Log,
    ) -> WorkloadClient<T, C> {
        WorkloadClient { client, clock, process, stride, saw: BTreeMap::new(), quorums, values, log }
    }

    /// Performs the operations at these indices of the plan's events. Each starts at its instant, or as soon as the
    /// previous one is done (in a closed loop, after a further pause). A client of the crowd stops at the end of the
    /// storm.
    pub async fn work(&mut self, plan: &Plan, operations: &[usize]) {
        let zero = seaworthy::types::Time(0);
        let crowd = operations.first().is_some_and(|first| match plan.events[*first].what {
            What::Op { client, .. } => client > plan.workload.clients,
            _ => false,
        });
        let think = plan.workload.think.filter(|_| !crowd);
        let ends = if crowd { plan.time.storm_ends() } else { plan.time.ends() };
        for &position in operations {
            let Event { at, what: What::Op { call, how, .. } } = &plan.events[position] else { continue };
            let pause = think.map_or(zero, |think| self.clock.now() + think);
            self.clock.sleep_until(pause.max(zero + *at)).await;
            if self.clock.now() >= zero + ends {
                break;
            }
            let due = nanos(*at);
            self.perform(call, *how, (think.is_none() && !crowd).then_some(due)).await;
        }
    }

    /// Performs one operation and records it. `due` is the instant at which it was due; without it, it is due now.
    pub async fn perform(&mut self, call: &Call, how: How, due: Option<u64>) {
        if let Some(node) = how.via {
            self.client.favour(node);
        }
        match self.quorums.is_some() {
            true => self.perform_by_quorums(call, how, due).await,
            false => self.perform_by_raft(call, due).await,
        }
    }

    async fn perform_by_raft(&mut self, call: &Call, due: Option<u64>) {
        let (key, when) = match call {
            Call::Get { key } | Call::Extend { key, .. } => (key, &When::Always),
            Call::Put { key, when, .. } | Call::Delete { key, when } => (key, when),
        };
        let ttl_ms = call.ttl().map(|ttl| ttl.as_millis() as u64);
        let condition = self.condition(key, when);
        let compare = condition.value.as_deref().map(word_of);
        let asked =
            check::Condition { exists: condition.exists, value: compare.as_deref(), revision: condition.revision };
        let write = match call {
            Call::Get { .. } => None,
            Call::Put { value, .. } => Some(Write::Put {
                key: key.as_str().into(),
                value: value.bytes().into(),
                when: condition.clone(),
                ttl_ms,
            }),
            Call::Extend { ttl, .. } => {
                Some(Write::Extend { key: key.as_str().into(), ttl_ms: ttl.as_millis() as u64 })
            }
            Call::Delete { .. } => Some(Write::Delete { key: key.as_str().into(), when: condition.clone() }),
        };
        let invoked = match call {
            Call::Get { .. } => Some(check::Call::Get),
            Call::Put { value, ttl: None, .. } => Some(check::Call::Put { value: value.word.as_str(), when: asked }),
            Call::Delete { .. } => Some(check::Call::Delete { when: asked }),
            Call::Put { .. } | Call::Extend { .. } => None,
        };
        let op = self.record(|record, now, process| {
            record.due.push(due.unwrap_or(now));
            let op = match (invoked, call) {
                (Some(invoked), _) => record.recorder.invoke(process, now, key, invoked),
                (None, Call::Put { value, .. }) => {
                    expiry::put(&mut record.recorder, (process, now), key, (&value.word, asked))
                }
                (None, _) => expiry::extend(&mut record.recorder, (process, now), key),
            };
            record.lives.extend(call.ttl().map(|ttl| (op, ttl)));
            record.called(op)
        });
        let outcome = match write {
            None => self.client.get(key.as_str().into()).await.map(kv::Reply::Value),
            Some(write) => self.client.write(write).await,
        };
        if let Ok(kv::Reply::Value(seen) | kv::Reply::Refused(seen)) = &outcome {
            self.remember(key, seen.clone());
        } else if let (Ok(kv::Reply::Done { revision, commit }), Call::Put { value, .. }) = (&outcome, call) {
            let (value, revision, commit) = (value.bytes().into(), *revision, *commit);
            self.remember(key, Some(kv::Versioned { value, revision, commit, expires: None }));
        }
        self.end(op, &outcome);
    }

    fn remember(&mut self, key: &str, seen: Option<kv::Versioned>) {
        match seen {
            Some(seen) => self.saw.insert(key.to_owned(), seen),
            None => self.saw.remove(key),
        };
    }

    fn condition(&self, key: &str, when: &When) -> kv::Condition {
        let saw = || self.saw.get(key);
        let missing = kv::Condition { revision: Some(-1), ..kv::Condition::ALWAYS };
        match when {
            When::Always => kv::Condition::ALWAYS,
            When::Missing => kv::Condition { exists: Some(false), ..kv::Condition::ALWAYS },
            When::Present => kv::Condition { exists: Some(true), ..kv::Condition::ALWAYS },
            When::SawValue => {
                saw().map_or(missing, |v| kv::Condition { value: Some(v.value.clone()), ..kv::Condition::ALWAYS })
            }
            When::SawRevision => saw().map_or(missing, |v| kv::Condition {
                revision: i64::try_from(v.revision).ok(),
                ..kv::Condition::ALWAYS
            }),
            When::Value(word) => {
                let value = self.values.get(word).cloned().unwrap_or_else(|| Bytes::copy_from_slice(word.as_bytes()));
                kv::Condition { value: Some(value), ..kv::Condition::ALWAYS }
            }
            When::Revision(revision) => kv::Condition { revision: Some(*revision), ..kv::Condition::ALWAYS },
        }
    }

    fn end(&mut self, op: check::OpId, outcome: &Result<kv::Reply, ClientError>) {
        let unknown = matches!(outcome, Err(error) if error.happened());
        let possible = self.record(|record, now, _| {
            let recorder = &mut record.recorder;
            match outcome {
                Ok(reply) => answered(recorder, op, now, reply),
                Err(_) if unknown && self.log.bug != Some(WorldBug::UnknownAsFailed) => recorder.info(op, now),
                Err(_) => recorder.fail(op, now),
            }
            record.ended(op)
        });
        if !possible {
            self.log.abort.abort();
        }
        if unknown {
            self.process += self.stride;
        }
    }

    pub(super) fn record<R>(&self, note: impl FnOnce(&mut Record, u64, u32) -> R) -> R {
        let mut record = lock(&self.log.record);
        note(&mut record, (self.log.time)(), self.process)
    }
}

fn answered(recorder: &mut check::Recorder, op: check::OpId, now: u64, reply: &kv::Reply) {
    let seen = match reply {
        kv::Reply::Value(seen) | kv::Reply::Refused(seen) => version(seen.as_ref()),
        _ => None,
    };
    let seen = seen.as_ref().map(|(value, r)| check::Version { value: value.as_str(), revision: Some(*r) });
    let reply = match reply {
        kv::Reply::Value(_) => check::Reply::Got(seen),
        kv::Reply::Done { revision, .. } => check::Reply::Done { revision: Some(*revision) },
        _ => check::Reply::Refused(seen),
    };
    recorder.ok(op, now, reply);
}
