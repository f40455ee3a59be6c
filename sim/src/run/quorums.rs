//! The client's side of a run against quorums.
//!
//! The plan is the same as for Raft. Quorums know no conditions; what they have is the context: with it a write says what its
//! client has seen of the key, and supersedes that and nothing else. A write reads its key first and gives the context of that,
//! as clients of Dynamo and Riak do: both steps are one operation. A condition on what the client saw last becomes the
//! context of that. Other conditions (nx, xx, fixed values and revisions) have no counterpart: the write is done.
//!
//! Operations are recorded twice: in the neutral history, by which any store can be judged, where a read that found several
//! versions has read a value that nobody wrote (they are joined by `|`); and as [`replicas::Operation`]s, which say all.

use super::workload::{Patron, Record, key_bytes, word_of};
use crate::plan::{Call, How, When};
use crate::scenario::{Bucket, Contexts};
use bytes::Bytes;
use seaworthy::client::{ApWrite, ClientError, Found};
use seaworthy::dynamo::{Refusal, Update};
use seaworthy::node::{Clock, Transport};
use seaworthy::types::Rng;
use seaworthy_check as check;
use seaworthy_check::replicas;
use std::collections::BTreeMap;

/// What a client of quorums knows.
pub struct Quorums {
    bucket: Bucket,
    client: u32,
    /// By key: what it was shown last, and the context that came with it.
    shown: BTreeMap<String, Seen>,
    /// Which contexts a confused client mixes up, and how.
    rng: Rng,
}

/// Values, and the context that covers them.
type Seen = (Vec<String>, Bytes);

impl Quorums {
    /// Client number `client`, which has seen nothing.
    pub fn new(bucket: Bucket, client: u32, rng: Rng) -> Quorums {
        Quorums { bucket, client, shown: BTreeMap::new(), rng }
    }

    fn seen(&self, key: &str) -> Seen {
        self.shown.get(key).cloned().unwrap_or_default()
    }

    fn show(&mut self, key: &str, found: &Found) {
        self.shown.insert(key.to_owned(), (words(found), found.context.clone()));
    }

    /// Instead of the right context a damaged one or another key's, one time in five.
    fn mixed_up(&mut self, key: &str, right: &Bytes) -> Option<Bytes> {
        if self.bucket.context != Contexts::Confused || right.is_empty() || !self.rng.chance(0.2) {
            return None;
        }
        let others = self.shown.iter().filter(|(other, (_, context))| *other != key && !context.is_empty());
        let others: Vec<&Bytes> = others.map(|(_, (_, context))| context).collect();
        if let Some(other) = self.rng.pick(&others).filter(|_| self.rng.chance(0.5)) {
            return Some((*other).clone());
        }
        let mut damaged = right.to_vec();
        let place = self.rng.below(damaged.len() as u64) as usize;
        damaged[place] ^= self.rng.between(1, 255) as u8;
        Some(damaged.into())
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
        let (client, level) = (quorums.client, quorums.level(call, how));
        let op = self.record(|record, now, process| {
            record.due.push(due.unwrap_or(now));
            let op = record.recorder.invoke(process, now, key, neutral(call));
            let (key, call, end) = (key.clone(), asked(call, Vec::new()), replicas::End::Info);
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
        let outcome = match call {
            Call::Get { .. } => self.client.ap_get(key_bytes(key), how.level).await.map(Some),
            Call::Put { .. } | Call::Delete { .. } => self.write_by_quorums(op, call, how).await,
        };
        if let (Ok(Some(found)), Some(quorums)) = (&outcome, &mut self.quorums) {
            quorums.show(key, found);
        }
        let reads = matches!(call, Call::Get { .. });
        self.record(|record, now, _| ended(record, (op, reads), now, &outcome));
        if matches!(&outcome, Err(error) if error.happened()) {
            self.process += self.stride;
        }
    }

    /// Writes with the context that the bucket's clients give; what the write left behind, if it was asked to tell.
    async fn write_by_quorums(&mut self, op: check::OpId, call: &Call, how: How) -> Result<Option<Found>, ClientError> {
        let Some(quorums) = &mut self.quorums else { return Ok(None) };
        let (key, when, update) = match call {
            Call::Get { .. } => return Ok(None),
            Call::Put { key, value, when } => (key, when, Update::Set(value.bytes().into())),
            Call::Delete { key, when } => (key, when, Update::Delete),
        };
        let contexts = quorums.bucket.context;
        let of_old = matches!(when, When::SawValue | When::SawRevision) || contexts == Contexts::Seen;
        let ((saw, context), refusable) = if contexts == Contexts::Blind {
            (Seen::default(), false)
        } else if of_old {
            (quorums.seen(key), false)
        } else {
            // Should this fail, the write certainly does not happen.
            let found = self.client.ap_get(key_bytes(key), how.level).await?;
            quorums.show(key, &found);
            match quorums.mixed_up(key, &found.context) {
                Some(wrong) => ((Vec::new(), wrong), true),
                None => ((words(&found), found.context), false),
            }
        };
        self.record(|record, now, _| {
            if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
                // What others wrote while this client read it has seen as well.
                (operation.called, operation.call) = (now, asked(call, saw));
            }
            if refusable {
                record.refusable.insert(op);
            }
        });
        let write = ApWrite { w: how.level, sloppy: None, read_back: contexts != Contexts::Blind };
        let wrote = self.client.ap_put(key_bytes(key), update, context, write).await;
        if matches!(wrote, Err(ClientError::Refused(Refusal::TooManySiblings(_)))) {
            self.record(|record, _, _| record.refusable.insert(op));
        }
        wrote.map(|wrote| wrote.found)
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
