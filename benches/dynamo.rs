//! Quorums without a disk or a network: versions, contexts, and a write and a read through three cores. Run with `cargo
//! bench --bench dynamo`.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use seaworthy::dynamo::context::Seen;
use seaworthy::dynamo::siblings::{Content, Siblings, WriteId};
use seaworthy::dynamo::version_vector::{Actor, VersionVector};
use seaworthy::dynamo::{
    ClientReply, ClientRequest, Config, Dynamo, Effect, Recovered, Request, Slot, Update, WindowId, context,
};
use seaworthy::mutant::Mutant;
use seaworthy::placement::{Buckets, Layout};
use seaworthy::protocol::{Input, Outbox, Protocol};
use seaworthy::types::{Bytes, Hlc, Key, Mode, NodeId, Policy, Resolve, Rng, Time};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

const KEY: Key = Key::from_static(b"carts/17");

fn rules() -> (Resolve, Mutant) {
    (Resolve::Siblings, Mutant::default())
}

fn write(siblings: &mut Siblings, node: u32, number: u64, seen: &Seen) {
    let name = (Hlc(number), WriteId { client: 0x5eed, number });
    siblings.write(
        seen,
        Actor { node: NodeId(node), incarnation: 7 },
        name,
        Content::Value(vec![7; 100].into()),
        rules(),
    );
}

/// A key with this many concurrent versions.
fn key_with(versions: u64) -> Siblings {
    let mut siblings = Siblings::default();
    (0..versions).for_each(|n| write(&mut siblings, 1, n, &Seen::default()));
    siblings
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    for versions in [1, 4, 32] {
        let held = key_with(versions);
        let (mut newer, mut aside) = (held.clone(), held.clone());
        write(&mut newer, 1, 1000, &Seen::of(&held));
        write(&mut aside, 2, 1001, &Seen::default());
        for (what, other) in [("nothing new", &held), ("what supersedes it", &newer), ("a concurrent one", &aside)] {
            group.bench_function(BenchmarkId::new(what, versions), |b| {
                b.iter_batched_ref(
                    || held.clone(),
                    |held| held.merge(black_box(other), rules().0, rules().1),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn contexts(c: &mut Criterion) {
    let mut group = c.benchmark_group("context");
    for actors in [3, 32] {
        let clock =
            VersionVector::of((0..actors).map(|n| (Actor { node: NodeId(n), incarnation: u64::from(n) * 77 }, 5)));
        let seen = Seen::from(clock);
        let bytes = context::encode(&KEY, &seen);
        group.bench_function(BenchmarkId::new("encode", actors), |b| {
            b.iter(|| context::encode(&KEY, black_box(&seen)));
        });
        group.bench_function(BenchmarkId::new("decode", actors), |b| {
            b.iter(|| context::decode(&KEY, black_box(&bytes), Mutant::default()));
        });
    }
    group.finish();
}

/// Three replicas of every key. Their disks are instant and their network delivers at once.
struct Cluster {
    nodes: Vec<(Dynamo, Outbox<Dynamo>)>,
    first: usize,
    asked: u64,
    window: WindowId,
}

impl Cluster {
    fn new() -> Cluster {
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let buckets = Buckets { default: Mode::Ap(Policy::default()), ..Buckets::default() };
        let layout = Arc::new(Layout::simple(&ids, buckets));
        let first = ids.iter().position(|id| layout.order(&KEY)[0] == *id).unwrap_or(0);
        let start = |id: NodeId| {
            let config = Config { repair_permille: 0, ..Config::new(id) };
            let rng = Rng::new(u64::from(id.0), "bench");
            (Dynamo::new(config, layout.clone(), Recovered::default(), Time(0), rng), Outbox::default())
        };
        let mut cluster = Cluster { nodes: ids.into_iter().map(start).collect(), first, asked: 0, window: 0 };
        if let Some(ClientReply::UnknownWindow { granted, .. }) = cluster.put(Bytes::new()) {
            cluster.window = granted;
        }
        cluster
    }

    /// Sends the request to the key's first replica and runs until no node has anything left to do.
    fn ask(&mut self, request: ClientRequest) -> Option<ClientReply> {
        self.asked += 1;
        let mut answer = None;
        let mut inputs = VecDeque::from([(self.first, Input::Request(Request::Client { id: self.asked, request }))]);
        while let Some((at, input)) = inputs.pop_front() {
            let (core, out) = &mut self.nodes[at];
            core.step(Time(0), input, out);
            if let Some((ticket, records)) = out.take_records() {
                black_box(records);
                inputs.push_back((at, Input::Persisted(ticket)));
            }
            // The sender's records are made durable before its messages are taken, because the queue keeps that order.
            let from = NodeId(at as u32 + 1);
            inputs.extend(out.sends.drain(..).map(|o| (o.to.0 as usize - 1, Input::Message(from, o.message))));
            for effect in out.effects.drain(..) {
                if let Effect::Reply { reply, .. } = effect {
                    answer = Some(reply);
                }
            }
        }
        answer
    }

    fn put(&mut self, context: Bytes) -> Option<ClientReply> {
        let write = WriteId { client: 0x5eed, number: self.asked };
        let slot = Slot { server: NodeId(self.first as u32 + 1), window: self.window, number: self.asked + 1 };
        let update = Update::Set(Bytes::from_static(&[7; 100]));
        let (w, sloppy, read_back, deadline_ms) = (None, None, true, 1000);
        self.ask(ClientRequest::Put { slot, key: KEY, update, context, write, w, sloppy, read_back, deadline_ms })
    }

    fn get(&mut self) -> Option<ClientReply> {
        self.ask(ClientRequest::Get { key: KEY, r: None, deadline_ms: 1000 })
    }
}

fn context_of(reply: Option<ClientReply>) -> Bytes {
    match reply {
        Some(ClientReply::Value { context, .. }) => context,
        other => panic!("no value: {other:?}"),
    }
}

fn cores(c: &mut Criterion) {
    let mut group = c.benchmark_group("three cores");
    let mut cluster = Cluster::new();
    let mut seen = context_of(cluster.put(Bytes::new()));
    group.bench_function("get", |b| b.iter(|| context_of(cluster.get())));
    group.bench_function("put", |b| b.iter(|| seen = context_of(cluster.put(seen.clone()))));
    group.finish();
}

criterion_group!(benches, merge, contexts, cores);
criterion_main!(benches);
