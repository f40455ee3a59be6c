//! The client's side of a run against quorums.
//!
//! The plan is the same as for Raft. Quorums know no conditions; what they have is the context: with it a write says what its
//! client has seen of the key, and supersedes that and nothing else. So a condition on what the client saw last becomes
//! the context, and other conditions (nx, xx, fixed values and revisions) have no counterpart: the write is done.
//!
//! Operations are recorded twice: in the neutral history, by which any store can be judged, where a read that found several
//! versions has read a value that nobody wrote (they are joined by `|`); and as [`replicas::Operation`]s, which say all.

use super::workload::{Patron, Record, key_bytes, word_of};
use crate::plan::{Call, How};
use crate::scenario::{Bucket, Contexts};
use bytes::Bytes;
use seaworthy::client::{ApWrite, ClientError, Found};
use seaworthy::dynamo::Update;
use seaworthy::node::{Clock, Transport};
use seaworthy_check as check;
use seaworthy_check::replicas;
use std::collections::BTreeMap;

/// What a client of quorums knows.
pub struct Quorums {
    bucket: Bucket,
    client: u32,
    /// By key: what it was shown last, and the context that came with it.
    shown: BTreeMap<String, (Vec<String>, Bytes)>,
}

impl Quorums {
    /// Client number `client`, which has seen nothing.
    pub fn new(bucket: Bucket, client: u32) -> Quorums {
        Quorums { bucket, client, shown: BTreeMap::new() }
    }

    fn seen(&self, key: &str) -> (Vec<String>, Bytes) {
        match self.bucket.context {
            Contexts::Seen => self.shown.get(key).cloned().unwrap_or_default(),
            Contexts::Blind => (Vec::new(), Bytes::new()),
        }
    }

    /// Such as `r=quorum` or `w=quorum sloppy`.
    fn level(&self, call: &Call, how: How) -> String {
        match call {
            Call::Get { .. } => format!("r={}", how.level.unwrap_or(self.bucket.r)),
            Call::Put { .. } | Call::Delete { .. } => {
                let quorum = if self.bucket.sloppy { "sloppy" } else { "strict" };
                format!("w={} {quorum}", how.level.unwrap_or(self.bucket.w))
            }
        }
    }
}

/// The words of the values that were found.
fn words(found: &Found) -> Vec<String> {
    found.siblings.iter().filter_map(|sibling| sibling.value.as_ref()).map(|value| word_of(value)).collect()
}

impl<T: Transport, C: Clock> Patron<T, C> {
    /// Does one operation, which was due then or else is now, and records it.
    pub(super) async fn perform_by_quorums(&mut self, call: &Call, how: How, due: Option<u64>) {
        let Some(quorums) = &self.quorums else { return };
        let (Call::Get { key } | Call::Put { key, .. } | Call::Delete { key, .. }) = call;
        let (saw, context) = quorums.seen(key);
        let read_back = quorums.bucket.context == Contexts::Seen;
        let (client, level) = (quorums.client, quorums.level(call, how));
        let op = self.record(|record, now, process| {
            record.due.push(due.unwrap_or(now));
            let op = record.recorder.invoke(process, now, key, neutral(call));
            let (key, call, end) = (key.clone(), asked(call, saw), replicas::End::Info);
            record.observed.operations.push(replicas::Operation {
                client,
                key,
                called: now,
                returned: None,
                call,
                end,
                level,
            });
            record.called(op)
        });
        let key_of = key_bytes(key);
        let write = ApWrite { w: how.level, sloppy: None, read_back };
        let outcome = match call {
            Call::Get { .. } => self.client.ap_get(key_of, how.level).await.map(Some),
            Call::Put { value, .. } => {
                let update = Update::Set(value.bytes().into());
                self.client.ap_put(key_of, update, context, write).await.map(|wrote| wrote.found)
            }
            Call::Delete { .. } => {
                self.client.ap_put(key_of, Update::Delete, context, write).await.map(|wrote| wrote.found)
            }
        };
        if let (Ok(Some(found)), Some(quorums)) = (&outcome, &mut self.quorums) {
            quorums.shown.insert(key.clone(), (words(found), found.context.clone()));
        }
        let reads = matches!(call, Call::Get { .. });
        self.record(|record, now, _| ended(record, (op, reads), now, &outcome));
        if matches!(&outcome, Err(error) if error.happened()) {
            self.process += self.stride;
        }
    }
}

fn neutral(call: &Call) -> check::Call<&str> {
    match call {
        Call::Get { .. } => check::Call::Get,
        Call::Put { value, .. } => check::Call::put(&value.word),
        Call::Delete { .. } => check::Call::delete(),
    }
}

fn asked(call: &Call, saw: Vec<String>) -> replicas::Call {
    match call {
        Call::Get { .. } => replicas::Call::Get,
        Call::Put { value, .. } => replicas::Call::Put { value: value.word.clone(), saw },
        Call::Delete { .. } => replicas::Call::Delete { saw },
    }
}

fn ended(
    record: &mut Record,
    (op, reads): (check::OpId, bool),
    now: u64,
    outcome: &Result<Option<Found>, ClientError>,
) {
    let found = outcome.as_ref().ok().and_then(Option::as_ref).map(words);
    let (end, returned) = match outcome {
        Ok(_) => (replicas::End::Ok(found.clone()), Some(now)),
        Err(error) if error.happened() => (replicas::End::Info, None),
        Err(_) => (replicas::End::Fail, Some(now)),
    };
    if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
        (operation.end, operation.returned) = (end, returned);
    }
    match outcome {
        Ok(_) if reads => {
            let value = found.filter(|words| !words.is_empty()).map(|words| words.join("|"));
            let version = value.as_deref().map(|value| check::Version { value, revision: None });
            record.recorder.ok(op, now, check::Reply::Got(version));
        }
        Ok(_) => record.recorder.ok(op, now, check::Reply::Done { revision: None }),
        Err(error) if error.happened() => record.recorder.info(op, now),
        Err(_) => record.recorder.fail(op, now),
    }
}
