//! The client's side of a run against quorums.
//!
//! The plan is the same as for Raft. Quorums know no conditions; what they have is the context: with it a write says what its
//! client has seen of the key, and supersedes that and nothing else. A write reads its key first and gives the context of that,
//! as clients of Dynamo and Riak do: both steps are one operation. A condition on what the client saw last becomes the
//! context of that. Other conditions (nx, xx, fixed values and revisions) have no counterpart: the write is done. Where keys are
//! counters nothing is seen or superseded, and what is done is in `counters`.
//!
//! Operations are recorded twice: in the neutral history, by which any store can be judged, where a read that found several
//! versions has read a value that nobody wrote (they are joined by `|`), and a read of a counter a number; and as
//! [`replicas::Operation`]s, which say all.

use super::counters;
use super::workload::{Patron, Record, word_of};
use crate::plan::{Call, How, Tag, When};
use crate::scenario::{Bucket, Contexts};
use bytes::Bytes;
use seaworthy::client::{ApWrite, ClientError, Found};
use seaworthy::dynamo::merge::Op;
use seaworthy::dynamo::{Refusal, Update};
use seaworthy::node::{Clock, Transport};
use seaworthy::types::{Level, Resolve, Rng};
use seaworthy_check as check;
use seaworthy_check::{Datum, Function, Request, Value, replicas};
use std::collections::BTreeMap;

/// What a client of quorums knows.
pub struct Quorums {
    bucket: Bucket,
    client: u32,
    /// By key: what it was shown last.
    shown: BTreeMap<String, Found>,
    /// What levels are called, of reads and of writes.
    levels: BTreeMap<(bool, Level), String>,
    /// Which contexts a confused client mixes up, and how.
    rng: Rng,
}

/// Values, and the context that covers them.
type Seen = (Vec<String>, Bytes);

impl Quorums {
    /// Client number `client`, which has seen nothing.
    pub fn new(bucket: Bucket, client: u32, rng: Rng) -> Quorums {
        Quorums { bucket, client, shown: BTreeMap::new(), levels: BTreeMap::new(), rng }
    }

    fn seen(&self, key: &str) -> Seen {
        self.shown.get(key).map(|found| (words(found), found.context.clone())).unwrap_or_default()
    }

    fn show(&mut self, key: &str, found: Found) {
        match self.shown.get_mut(key) {
            Some(shown) => *shown = found,
            None => drop(self.shown.insert(key.to_owned(), found)),
        }
    }

    /// Instead of the right context a damaged one or another key's, one time in five.
    fn mixed_up(&mut self, key: &str, right: &Bytes) -> Option<Bytes> {
        if self.bucket.context != Contexts::Confused || right.is_empty() || !self.rng.chance(0.2) {
            return None;
        }
        let others = self.shown.iter().filter(|(other, found)| *other != key && !found.context.is_empty());
        let others: Vec<&Bytes> = others.map(|(_, found)| &found.context).collect();
        if let Some(other) = self.rng.pick(&others).filter(|_| self.rng.chance(0.5)) {
            return Some((*other).clone());
        }
        let mut damaged = right.to_vec();
        let place = self.rng.below(damaged.len() as u64) as usize;
        damaged[place] ^= self.rng.between(1, 255) as u8;
        Some(damaged.into())
    }

    /// Such as `r=quorum` or `w=quorum sloppy`.
    fn level(&mut self, deed: Deed<'_>, how: How) -> String {
        let reads = matches!(deed, Deed::Read);
        let level = how.level.unwrap_or(if reads { self.bucket.r } else { self.bucket.w });
        let quorum = if self.bucket.sloppy { "sloppy" } else { "strict" };
        let word = || if reads { format!("r={level}") } else { format!("w={level} {quorum}") };
        self.levels.entry((reads, level)).or_insert_with(word).clone()
    }
}

/// What a client of quorums does of what a plan says.
#[derive(Clone, Copy)]
enum Deed<'a> {
    Read,
    Add(i64),
    Put(&'a Tag, &'a When),
    Delete(&'a When),
}

impl<'a> Deed<'a> {
    fn of(call: &'a Call, resolve: Resolve) -> Deed<'a> {
        match call {
            Call::Get { .. } | Call::Extend { .. } => Deed::Read,
            Call::Put { value, when, .. } => counters::amount(resolve, value).map_or(Deed::Put(value, when), Deed::Add),
            Call::Delete { .. } if counters::are_kept(resolve) => Deed::Read,
            Call::Delete { when, .. } => Deed::Delete(when),
        }
    }

    /// As the checker of replicas is told; `saw`: what the client had seen of the key.
    fn asked(self, saw: Vec<String>) -> replicas::Call {
        match self {
            Deed::Read => replicas::Call::Get,
            Deed::Add(amount) => replicas::Call::Add(amount),
            Deed::Put(value, _) => replicas::Call::Put { value: value.word.clone(), saw },
            Deed::Delete(_) => replicas::Call::Delete { saw },
        }
    }

    /// As the neutral history has it.
    fn neutral(self, recorder: &mut check::Recorder) -> Request {
        let (f, arg) = match self {
            Deed::Read => (Function::Read, Value::UNTOLD),
            Deed::Add(amount) => (Function::Add, recorder.value(Datum::Int(amount))),
            Deed::Put(value, _) => (Function::Write, recorder.value(Datum::Text(&value.word))),
            Deed::Delete(_) => (Function::Delete, Value::UNTOLD),
        };
        Request::new(f, arg)
    }
}

/// The words of the values that were found.
fn words(found: &Found) -> Vec<String> {
    found.siblings.iter().filter_map(|sibling| sibling.value.as_ref()).map(|value| word_of(value)).collect()
}

impl<T: Transport, C: Clock> Patron<T, C> {
    /// Does one operation, which was due then or else is now, and records it.
    pub(super) async fn perform_by_quorums(&mut self, call: &Call, how: How, due: Option<u64>) {
        let Some(quorums) = &mut self.quorums else { return };
        let key = call.key();
        let resolve = quorums.bucket.resolve;
        let deed = Deed::of(call, resolve);
        let (client, level) = (quorums.client, quorums.level(deed, how));
        let op = self.record(|record, now, process| {
            record.due.push(due.unwrap_or(now));
            let name = record.recorder.value(Datum::Text(key));
            let request = deed.neutral(&mut record.recorder);
            let op = record.recorder.begin(process, now, name, request);
            let (key, call, end) = (key.to_owned(), deed.asked(Vec::new()), replicas::End::Info);
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
        let outcome = match deed {
            Deed::Read => self.client.ap_get(key.into(), how.level).await.map(Some),
            Deed::Add(amount) => self.add_by_quorums(key, amount, how).await,
            Deed::Put(value, when) => {
                self.write_by_quorums(op, (key, when, deed), Update::Set(value.bytes().into()), how).await
            }
            Deed::Delete(when) => self.write_by_quorums(op, (key, when, deed), Update::Delete, how).await,
        };
        let words = outcome.as_ref().ok().and_then(Option::as_ref).map(words);
        self.record(|record, now, _| ended(record, (op, counters::are_kept(resolve)), now, (&outcome, words)));
        match (outcome, &mut self.quorums) {
            (Ok(Some(found)), Some(quorums)) => quorums.show(key, found),
            (Err(error), _) if error.happened() => self.process += self.stride,
            _ => {}
        }
    }

    /// Adds to a counter; what it is then.
    async fn add_by_quorums(&mut self, key: &str, amount: i64, how: How) -> Result<Option<Found>, ClientError> {
        let write = ApWrite { w: how.level, sloppy: None, read_back: true };
        let added = self.client.ap_put(key.into(), Update::Merge(Op::Add(amount)), Bytes::new(), write).await;
        added.map(|added| added.found)
    }

    /// Writes with the context that the bucket's clients give; what the write left behind, if it was asked to tell.
    async fn write_by_quorums(
        &mut self,
        op: check::OpId,
        (key, when, deed): (&str, &When, Deed<'_>),
        update: Update,
        how: How,
    ) -> Result<Option<Found>, ClientError> {
        let Some(quorums) = &mut self.quorums else { return Ok(None) };
        let contexts = quorums.bucket.context;
        let of_old = matches!(when, When::SawValue | When::SawRevision) || contexts == Contexts::Seen;
        let ((saw, context), refusable) = if contexts == Contexts::Blind {
            (Seen::default(), false)
        } else if of_old {
            (quorums.seen(key), false)
        } else {
            // Should this fail, the write certainly does not happen.
            let found = self.client.ap_get(key.into(), how.level).await?;
            let seen = (words(&found), found.context.clone());
            quorums.show(key, found);
            match quorums.mixed_up(key, &seen.1) {
                Some(wrong) => ((Vec::new(), wrong), true),
                None => (seen, false),
            }
        };
        self.record(|record, now, _| {
            if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
                // What others wrote while this client read it has seen as well.
                (operation.called, operation.call) = (now, deed.asked(saw));
            }
            if refusable {
                record.refusable.insert(op);
            }
        });
        let write = ApWrite { w: how.level, sloppy: None, read_back: contexts != Contexts::Blind };
        let wrote = self.client.ap_put(key.into(), update, context, write).await;
        if matches!(wrote, Err(ClientError::Refused(Refusal::TooManySiblings(_)))) {
            self.record(|record, _, _| record.refusable.insert(op));
        }
        wrote.map(|wrote| wrote.found)
    }
}

/// What a read found, as the neutral history has it: numbers if it is `counting`.
fn read(recorder: &mut check::Recorder, counting: bool, words: &[String]) -> Value {
    let text = words.join("|");
    match text.parse() {
        _ if words.is_empty() => Value::NIL,
        Ok(number) if counting => recorder.value(Datum::Int(number)),
        _ => recorder.value(Datum::Text(&text)),
    }
}

fn ended(
    record: &mut Record,
    (op, counting): (check::OpId, bool),
    now: u64,
    (outcome, words): (&Result<Option<Found>, ClientError>, Option<Vec<String>>),
) {
    match outcome {
        Ok(_) => {
            let reads = record.recorder.history().operation(op).f == Function::Read;
            let found = words.as_deref().filter(|_| reads).map(|words| read(&mut record.recorder, counting, words));
            record.recorder.end(op, now, check::End::Ok, found.unwrap_or(Value::UNTOLD), None);
        }
        Err(error) if error.happened() => record.recorder.info(op, now),
        Err(_) => record.recorder.fail(op, now),
    }
    let (end, returned) = match outcome {
        Ok(_) => (replicas::End::Ok(words), Some(now)),
        Err(error) if error.happened() => (replicas::End::Info, None),
        Err(_) => (replicas::End::Fail, Some(now)),
    };
    if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
        (operation.end, operation.returned) = (end, returned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_a_counter_is_a_number_and_one_of_several_versions_none() {
        let mut recorder = check::Recorder::default();
        let mut of = |counting, words: &[&str]| {
            read(&mut recorder, counting, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let values = [of(true, &["-7"]), of(true, &[]), of(true, &["1", "2"]), of(false, &["-7"]), of(false, &[])];
        let history = recorder.finish();
        let expected = [Datum::Int(-7), Datum::Nil, Datum::Text("1|2"), Datum::Text("-7"), Datum::Nil];
        assert_eq!(values.map(|value| history.datum(value)), expected);
    }

    #[test]
    fn a_delete_of_a_counter_is_a_read() {
        use seaworthy::types::MergeKind;
        let delete = Call::Delete { key: "k".into(), when: When::Always };
        assert!(matches!(Deed::of(&delete, Resolve::Merge(MergeKind::Counter)), Deed::Read));
        assert!(matches!(Deed::of(&delete, Resolve::LastWriter), Deed::Delete(When::Always)));
    }
}
