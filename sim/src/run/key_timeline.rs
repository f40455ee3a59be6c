//! The timeline of one key in a run against quorums: what clients asked for and were told, what each server stored of
//! the key (its own copy or a hint), and which faults began and ended meanwhile.

use super::workload::word_of;
use crate::plan::Plan;
use crate::world::ledger;
use crate::world::{TimeSource, lock};
use seaworthy::dynamo::siblings::{Content, Siblings};
use seaworthy::dynamo::{self, Dynamo, Entry, Note};
use seaworthy::identity::Standing;
use seaworthy::kv::Kv;
use seaworthy::node::Observer;
use seaworthy::raft::{Effect, Message, Raft, Record};
use seaworthy::types::{GroupId, Key, NodeId};
use seaworthy_check::replicas::{Call, End, Observed, Operation};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Events in order, each with its time in nanoseconds since the start of the run.
pub type KeyTimeline = Vec<(u64, String)>;

/// The watched key, and what servers have done with it so far. Clones share it.
#[derive(Clone)]
pub(super) struct Watch {
    key: Key,
    steps: Arc<Mutex<KeyTimeline>>,
}

impl Watch {
    pub(super) fn new(key: Key) -> Watch {
        Watch { key, steps: Arc::default() }
    }

    /// The whole timeline, including clients' operations and faults.
    pub(super) fn told(&self, plan: &Plan, observed: &Observed, faults: &[ledger::Entry]) -> KeyTimeline {
        let mut key_timeline = KeyTimeline::new();
        for fault in faults {
            key_timeline.push((fault.from, format!("{} begins", fault.description)));
            key_timeline.extend(fault.until.map(|until| (until, format!("{} is over", fault.description))));
        }
        for op in observed.operations.iter().filter(|op| op.key.as_bytes() == &self.key[..]) {
            let client = match op.client > plan.workload.clients {
                true => "the last reader".to_owned(),
                false => format!("c{}", op.client),
            };
            key_timeline.push((op.called, format!("{client} asks to {}", asked(op))));
            key_timeline.extend(op.returned.map(|at| (at, format!("{client} is told: {}", answer(op)))));
        }
        key_timeline.extend(lock(&self.steps).iter().cloned());
        key_timeline.sort_by_key(|(at, _)| *at);
        key_timeline
    }
}

fn asked(op: &Operation) -> String {
    let over = |saw: &[String]| if saw.is_empty() { String::new() } else { format!(" over {}", saw.join(", ")) };
    match &op.call {
        Call::Get => format!("read ({})", op.level),
        Call::Put { value, saw } => format!("write {value}{} ({})", over(saw), op.level),
        Call::Delete { saw } => format!("delete{} ({})", over(saw), op.level),
        Call::Add(by) => format!("add {by} ({})", op.level),
        Call::Insert(element) => format!("insert {element} ({})", op.level),
        Call::Remove(element) => format!("remove {element} ({})", op.level),
    }
}

fn answer(op: &Operation) -> String {
    match &op.end {
        End::Ok(None) => "done".to_owned(),
        End::Ok(Some(values)) if values.is_empty() => "nothing is there".to_owned(),
        End::Ok(Some(values)) if op.call == Call::Get => values.join(", "),
        End::Ok(Some(values)) => format!("done, it holds {} now", values.join(", ")),
        End::Fail => "not done".to_owned(),
        End::Info => "nothing".to_owned(),
    }
}

/// An observer of a node that wraps another observer and forwards everything to it.
pub(super) struct TimelineObserver<O> {
    /// The wrapped observer.
    pub(super) inner: O,
    told: Option<Told>,
}

struct Told {
    watch: Watch,
    node: NodeId,
    time: TimeSource,
    own: Option<Arc<Entry>>,
    hints: BTreeMap<NodeId, Arc<Entry>>,
}

impl<O> TimelineObserver<O> {
    /// Records the timeline at `node`, if a key is watched.
    pub(super) fn new(inner: O, watch: Option<Watch>, (node, time): (NodeId, TimeSource)) -> TimelineObserver<O> {
        let told = watch.map(|watch| Told { watch, node, time, own: None, hints: BTreeMap::new() });
        TimelineObserver { inner, told }
    }
}

impl Told {
    fn step(&self, what: String) {
        lock(&self.watch.steps).push(((self.time)(), what));
    }

    fn key(&self) -> String {
        String::from_utf8_lossy(&self.watch.key).into_owned()
    }

    fn note(&self, note: &Note) {
        let (me, of_key) = (self.node, |key: &Key| *key == self.watch.key);
        match note {
            Note::HintHandedOver { owner, key } if of_key(key) => {
                self.step(format!("{owner} has acknowledged what {me} kept for it"));
            }
            Note::HintExpired { owner, key } if of_key(key) => {
                self.step(format!("what {me} kept for {owner} has become too old, and another replica holds it"));
            }
            Note::Repaired { node, key } if of_key(key) => {
                self.step(format!("{me} has read that {node} is behind, and sends it what it lacks"));
            }
            _ => {}
        }
    }

    fn changes(&mut self, record: &dynamo::Record) {
        let (me, key) = (self.node, self.key());
        match record {
            dynamo::Record::Key(of, entry) if *of == self.watch.key => {
                match entry {
                    None => self.step(format!("{me} has forgotten {key}")),
                    Some(entry) if differs(entry, self.own.as_deref()) => {
                        self.step(format!("{me} holds {key}: {}", shown(&entry.siblings)));
                    }
                    Some(_) => {}
                }
                self.own = entry.clone();
            }
            dynamo::Record::Hint(owner, of, Some(hint)) if *of == self.watch.key => {
                let old = self.hints.insert(*owner, hint.entry.clone());
                if differs(&hint.entry, old.as_deref()) {
                    self.step(format!("{me} keeps {key} for {owner}: {}", shown(&hint.entry.siblings)));
                }
            }
            dynamo::Record::Hint(owner, of, None) if *of == self.watch.key && self.hints.remove(owner).is_some() => {
                self.step(format!("{me} keeps nothing of {key} for {owner} any more"));
            }
            _ => {}
        }
    }
}

fn differs(entry: &Entry, old: Option<&Entry>) -> bool {
    old.is_none_or(|old| entry.siblings.versions() != old.siblings.versions())
}

fn shown(siblings: &Siblings) -> String {
    let one = |version: &dynamo::siblings::Version| match &version.content {
        Content::Value(value) => format!("{} {}", version.dot, word_of(value)),
        Content::Tombstone => format!("{} (deleted)", version.dot),
        Content::Merge(state) => format!("{} {}", version.dot, state.render()),
    };
    siblings.versions().iter().map(one).collect::<Vec<_>>().join(", ")
}

impl<O: Observer> Observer for TimelineObserver<O> {
    fn persisting(&mut self, group: GroupId, records: &[Record]) {
        self.inner.persisting(group, records);
    }
    fn effect(&mut self, group: GroupId, effect: &Effect) {
        self.inner.effect(group, effect);
    }
    fn sending(&mut self, to: NodeId, group: GroupId, message: &Message) {
        self.inner.sending(to, group, message);
    }
    fn turn(&mut self, group: GroupId, raft: &Raft, kv: &Kv) {
        self.inner.turn(group, raft, kv);
    }
    fn stands(&mut self, standing: Standing) {
        self.inner.stands(standing);
    }
    fn ap_effect(&mut self, effect: &dynamo::Effect) {
        if let (Some(told), dynamo::Effect::Note(note)) = (&self.told, effect) {
            told.note(note);
        }
        self.inner.ap_effect(effect);
    }
    fn ap_starts(&mut self, dynamo: &Dynamo) {
        if let Some(told) = &mut self.told {
            told.own = dynamo.keys().get(&told.watch.key).cloned();
            let hints = dynamo.hints();
            let of_key = hints.iter().filter(|((_, hinted), _)| *hinted == told.watch.key);
            told.hints = of_key.map(|((owner, _), hint)| (*owner, hint.entry.clone())).collect();
        }
        self.inner.ap_starts(dynamo);
    }
    fn queued(&mut self, bytes: usize) {
        self.inner.queued(bytes);
    }
    fn ap_changes(&mut self, records: &[dynamo::Record]) {
        if let Some(told) = &mut self.told {
            records.iter().for_each(|record| told.changes(record));
        }
        self.inner.ap_changes(records);
    }

    fn ap_durable(&mut self, records: usize) {
        self.inner.ap_durable(records);
    }
}
