//! The client's side of a run against quorums.
//!
//! The plan is the same as for Raft. Quorums have no conditions; they have the context. With it a write tells what its
//! client has seen of the key, and supersedes exactly that. A write first reads its key and then passes the context of
//! that read, as clients of Dynamo and Riak do. Both steps count as one operation. A condition on what the client saw
//! last becomes the context of what it saw last. Other conditions (nx, xx, fixed values and revisions) have no
//! counterpart: the write is done unconditionally. Keys of a mergeable type have no contexts; their operations are in
//! `merges`.
//!
//! Operations are recorded twice. The neutral history can be judged for any store: a read that found several versions
//! reads their values joined by `|`, a value that no client wrote, and a read of a counter reads a number. The
//! [`replicas::Operation`]s contain everything.

use super::merges::{self, Change};
use super::workload::{Record, WorkloadClient, word_of};
use crate::plan::{Call, How, Tag, When};
use crate::settings::{Bucket, Contexts};
use bytes::Bytes;
use seaworthy::client::{ApWrite, ClientError, Found, Wrote};
use seaworthy::dynamo::{Achieved, Refusal, Update};
use seaworthy::env::{Clock, Transport};
use seaworthy::placement::Layout;
use seaworthy::types::{Level, MergeKind, NodeId, Resolve, Rng};
use seaworthy_check as check;
use seaworthy_check::{Datum, Function, Request, Value, replicas};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of a client of quorums.
pub struct Quorums {
    bucket: Bucket,
    layout: Arc<Layout>,
    client: u32,
    /// By key: the last result shown to the client.
    shown: BTreeMap<String, Found>,
    /// Names of the levels of reads and writes.
    levels: BTreeMap<(bool, Level), String>,
    /// Decides which contexts a confused client mixes up, and how.
    rng: Rng,
}

/// Values, and the context that covers them.
type Seen = (Vec<String>, Bytes);

impl Quorums {
    /// Creates client number `client`, which has not seen anything.
    pub fn new((bucket, layout): (Bucket, Arc<Layout>), client: u32, rng: Rng) -> Quorums {
        Quorums { bucket, layout, client, shown: BTreeMap::new(), levels: BTreeMap::new(), rng }
    }

    fn seen(&self, key: &str) -> Seen {
        self.shown.get(key).map(|found| (words(self.bucket.resolve, found), found.context.clone())).unwrap_or_default()
    }

    fn show(&mut self, key: &str, found: Found) {
        match self.shown.get_mut(key) {
            Some(shown) => *shown = found,
            None => drop(self.shown.insert(key.to_owned(), found)),
        }
    }

    /// One time in five, returns a damaged context or another key's context to use instead of the right one.
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

    /// The name of the level, such as `r=quorum` or `w=quorum sloppy`.
    fn level(&mut self, deed: &Deed<'_>, how: How) -> String {
        let reads = matches!(deed, Deed::Read);
        let level = how.level.unwrap_or(if reads { self.bucket.r } else { self.bucket.w });
        let quorum = if self.bucket.sloppy { "sloppy" } else { "strict" };
        let word = || if reads { format!("r={level}") } else { format!("w={level} {quorum}") };
        self.levels.entry((reads, level)).or_insert_with(word).clone()
    }
}

impl Quorums {
    /// How many replicas of the key a successful operation is certain to have involved. For a strict quorum that is
    /// what its level promises, within the region of the coordinator `by` if the level is local. For a sloppy one it is
    /// what the store reports.
    fn quorum(&self, key: &str, reads: bool, how: How, (achieved, by): (Achieved, NodeId)) -> Option<replicas::Quorum> {
        let Bucket { n, r, w, sloppy, resolve, .. } = self.bucket;
        if resolve == Resolve::LastWriter {
            return None;
        }
        let order = self.layout.order(key.as_bytes());
        let nodes = &order[..order.len().min(n as usize)];
        let of = nodes.len() as u32;
        if sloppy {
            let replicas = u32::from(achieved.replicas).min(of);
            return (replicas > 0).then_some(replicas::Quorum { replicas, of, region: 0 });
        }
        let level = how.level.unwrap_or(if reads { r } else { w });
        if level != Level::LocalQuorum {
            return Some(replicas::Quorum { replicas: level.of(nodes.len(), 0) as u32, of, region: 0 });
        }
        // A write through a server that is not a replica is coordinated elsewhere, perhaps in another region.
        let region = self.layout.region(by);
        let local = nodes.iter().filter(|node| self.layout.region(**node) == region).count();
        let certain = local > 0 && (reads || nodes.contains(&by));
        let number = region.trim_start_matches('r').parse().ok().filter(|_| certain)?;
        Some(replicas::Quorum { replicas: level.of(nodes.len(), local) as u32, of: local as u32, region: number })
    }
}

/// What a client of quorums does for a call of the plan.
#[derive(Clone)]
enum Deed<'a> {
    Read,
    Change(Change),
    Put(&'a Tag, &'a When),
    Delete(&'a When),
}

impl<'a> Deed<'a> {
    fn of(call: &'a Call, resolve: Resolve, rng: &mut Rng) -> Deed<'a> {
        if let Some(kind) = merges::are_kept(resolve) {
            return Change::of(kind, call, rng).map_or(Deed::Read, Deed::Change);
        }
        match call {
            Call::Get { .. } | Call::Extend { .. } => Deed::Read,
            Call::Put { value, when, .. } => Deed::Put(value, when),
            Call::Delete { when, .. } => Deed::Delete(when),
        }
    }

    /// The operation as the replica checker needs it. `saw`: what the client had seen of the key.
    fn asked(&self, saw: Vec<String>) -> replicas::Call {
        match self {
            Deed::Read => replicas::Call::Get,
            Deed::Change(change) => change.call(),
            Deed::Put(value, _) => replicas::Call::Put { value: value.word.clone(), saw },
            Deed::Delete(_) => replicas::Call::Delete { saw },
        }
    }

    /// The operation as the neutral history needs it.
    fn neutral(&self, recorder: &mut check::Recorder) -> Request {
        let (f, arg) = match self {
            Deed::Read => (Function::Read, Value::UNTOLD),
            Deed::Change(change) => match (change.amount(), change.word()) {
                (Some(amount), _) => (Function::Add, recorder.value(Datum::Int(amount))),
                (_, Some(word)) => (Function::Write, recorder.value(Datum::Text(word))),
                // The neutral history has no model of sets and maps.
                _ => (recorder.other(change.name()).unwrap_or(Function::Remove), Value::UNTOLD),
            },
            Deed::Put(value, _) => (Function::Write, recorder.value(Datum::Text(&value.word))),
            Deed::Delete(_) => (Function::Delete, Value::UNTOLD),
        };
        Request::new(f, arg)
    }
}

/// The words of the values found.
fn words(resolve: Resolve, found: &Found) -> Vec<String> {
    let values = found.siblings.iter().filter_map(|sibling| sibling.value.as_ref());
    match merges::are_kept(resolve) {
        Some(kind) => values.flat_map(|value| merges::told(kind, &String::from_utf8_lossy(value))).collect(),
        None => values.map(|value| word_of(value)).collect(),
    }
}

impl<T: Transport, C: Clock> WorkloadClient<T, C> {
    /// Performs one operation and records it. `due` is the instant at which it was due; without it, it is due now.
    pub(super) async fn perform_by_quorums(&mut self, call: &Call, how: How, due: Option<u64>) {
        let Some(quorums) = &mut self.quorums else { return };
        let key = call.key();
        let resolve = quorums.bucket.resolve;
        let deed = Deed::of(call, resolve, &mut quorums.rng);
        let (client, level) = (quorums.client, quorums.level(&deed, how));
        let judged = if let Deed::Change(change) = &deed { change.key(key) } else { key.to_owned() };
        let op = self.record(|record, now, process| {
            record.due.push(due.unwrap_or(now));
            let name = record.recorder.value(Datum::Text(key));
            let request = deed.neutral(&mut record.recorder);
            let op = record.recorder.begin(process, now, name, request);
            let (key, call, end) = (judged, deed.asked(Vec::new()), replicas::End::Info);
            record.observed.operations.push(replicas::Operation {
                client,
                key,
                called: now,
                returned: None,
                call,
                end,
                level,
                quorum: None,
            });
            record.called(op)
        });
        let outcome = match &deed {
            Deed::Read => {
                let found = self.client.ap_get(key.into(), how.level).await;
                found.map(|found| Done { achieved: found.achieved, by: self.client.asked(), found: Some(found) })
            }
            Deed::Change(change) => self.change_by_quorums(key, change, how).await,
            Deed::Put(value, when) => {
                self.write_by_quorums(op, (key, when, &deed), Update::Set(value.bytes().into()), how).await
            }
            Deed::Delete(when) => self.write_by_quorums(op, (key, when, &deed), Update::Delete, how).await,
        };
        let counts = matches!(merges::are_kept(resolve), Some(MergeKind::Counter | MergeKind::PnCounter));
        let found = outcome.as_ref().ok().and_then(|done| done.found.as_ref());
        // For a set or map, the value after a change is not the element or field under which the change is judged.
        let told = found.filter(|_| counts || !matches!(deed, Deed::Change(_)));
        let words = told.map(|found| words(resolve, found));
        let reads = matches!(deed, Deed::Read);
        let quorum = self
            .quorums
            .as_ref()
            .zip(outcome.as_ref().ok())
            .and_then(|(quorums, done)| quorums.quorum(key, reads, how, (done.achieved, done.by)));
        self.record(|record, now, _| {
            if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
                operation.quorum = quorum;
            }
            ended(record, (op, counts), now, (&outcome, words));
        });
        match (outcome, &mut self.quorums) {
            (Ok(Done { found: Some(found), .. }), Some(quorums)) => quorums.show(key, found),
            (Err(error), _) if error.happened() => self.process += self.stride,
            _ => {}
        }
    }

    /// Changes a mergeable value and returns its new value.
    async fn change_by_quorums(&mut self, key: &str, change: &Change, how: How) -> Result<Done, ClientError> {
        let write = ApWrite { w: how.level, sloppy: None, read_back: true };
        let changed = self.client.ap_put(key.into(), Update::Merge(change.op()), Bytes::new(), write).await;
        changed.map(Done::from)
    }

    /// Writes with the context that the bucket's clients use. Returns the value after the write, if it was requested.
    async fn write_by_quorums(
        &mut self,
        op: check::OpId,
        (key, when, deed): (&str, &When, &Deed<'_>),
        update: Update,
        how: How,
    ) -> Result<Done, ClientError> {
        let Some(quorums) = &mut self.quorums else { return Err(ClientError::OtherMode(true)) };
        let (contexts, resolve) = (quorums.bucket.context, quorums.bucket.resolve);
        let of_old = matches!(when, When::SawValue | When::SawRevision) || contexts == Contexts::Seen;
        let ((saw, context), refusable) = if contexts == Contexts::Blind {
            (Seen::default(), false)
        } else if of_old {
            (quorums.seen(key), false)
        } else {
            // If this fails, the write certainly does not happen.
            let found = self.client.ap_get(key.into(), how.level).await?;
            let seen = (words(resolve, &found), found.context.clone());
            quorums.show(key, found);
            match quorums.mixed_up(key, &seen.1) {
                Some(wrong) => ((Vec::new(), wrong), true),
                None => (seen, false),
            }
        };
        self.record(|record, now, _| {
            if let Some(operation) = record.observed.operations.get_mut(op.0 as usize) {
                // The client has also seen what others wrote during its read.
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
        wrote.map(Done::from)
    }
}

/// The server's answer to an operation, and which server it came from.
struct Done {
    achieved: Achieved,
    by: NodeId,
    found: Option<Found>,
}

impl From<Wrote> for Done {
    fn from(wrote: Wrote) -> Done {
        Done { achieved: wrote.achieved, by: wrote.through, found: wrote.found }
    }
}

/// The result of a read as the neutral history needs it: a number if `counting` is set.
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
    (outcome, words): (&Result<Done, ClientError>, Option<Vec<String>>),
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

    /// Two regions of three servers: a quorum of one region does not overlap with one of the other.
    #[test]
    fn local_quorums_are_of_the_region_of_who_coordinated() {
        let head = "seaworthy-plan 1\nscenario x\nseed 7\nnetwork\ndisk\nworkload\ntime\nexpect\n";
        let text = format!("{head}cluster nodes=6 regions=2\nbucket n=6 r=local-quorum w=all sloppy=false\n");
        let plan = crate::plan::Plan::read("x", &text).unwrap_or_else(|p| panic!("{p}"));
        let layout = Arc::new(super::super::layout(&plan, crate::report::Mode::Ap));
        let quorums = Quorums::new((plan.bucket, layout), 1, Rng::new(1, "test"));
        let of = |reads, by| quorums.quorum("k", reads, How::default(), (Achieved::default(), NodeId(by)));
        let (here, there, all) = (of(true, 1).unwrap(), of(true, 2).unwrap(), of(false, 1).unwrap());
        assert_eq!((here.replicas, here.of, here.region), (2, 3, 1));
        assert_eq!((all.replicas, all.of, all.region), (6, 6, 0));
        assert!(here.meets(here) && !here.meets(there) && here.meets(all) && all.meets(there));
    }
}
