//! Cost of a command in the state machine and of a packet on the wire.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seaworthy::identity::Origin;
use seaworthy::kv::{self, Command, Condition, GroupTime, Kv, Op, Reply, Write};
use seaworthy::mutant::Mutant;
use seaworthy::raft::{Body, Entry, Message};
use seaworthy::types::{GroupId, Key, Lane, Wall};
use seaworthy::wire::{Packet, Request, RequestBody, Response, ResponseBody, frame};
use std::hint::black_box;

fn key(n: u64) -> Key {
    format!("key-{n:012}").into()
}

fn put(n: u64, session: Option<(u64, u64)>, ttl_ms: Option<u64>) -> Command {
    let op = Op::Write(Write::Put { key: key(n), value: vec![7; 100].into(), when: Condition::ALWAYS, ttl_ms });
    Command { stamp: Wall(1_700_000_000_000_000_000 + n), time: GroupTime(n), session, op }
}

fn filled(keys: u64) -> Kv {
    let mut kv = Kv::new(Mutant::default());
    kv.apply(1, &kv::encode(&Command { stamp: Wall(1), time: GroupTime(1), session: None, op: Op::OpenSession }));
    for n in 0..keys {
        kv.apply(kv.applied() + 1, &kv::encode(&put(n, None, None)));
    }
    kv
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("command");
    let command = put(5, Some((1, 2)), None);
    group.bench_function("encode put 100 B", |b| b.iter(|| kv::encode(black_box(&command))));
    group.bench_function("decode put 100 B", |b| {
        b.iter_batched_ref(|| kv::encode(&command), |entry| kv::decode(entry), BatchSize::SmallInput);
    });
    group.finish();
}

fn apply(c: &mut Criterion) {
    const KEYS: u64 = 10_000;
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(1));
    let mut run = |name: &str, entry: &dyn Fn(u64) -> Command, shared: bool| {
        let mut kv = filled(KEYS);
        let _held = shared.then(|| kv.snapshot());
        let mut n = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    n += 1;
                    kv::encode(&entry(n))
                },
                |entry| kv.apply(kv.applied() + 1, &entry),
                BatchSize::SmallInput,
            );
        });
    };
    let scatter = |n: u64| n.wrapping_mul(7919) % KEYS;
    run("put 100 B over 10k keys", &|n| put(scatter(n), None, None), false);
    run("put 100 B in a session", &|n| put(scatter(n), Some((1, n)), None), false);
    run("put 100 B with expiry", &|n| put(scatter(n), None, Some(1_000_000)), false);
    run("put 100 B under a snapshot", &|n| put(scatter(n), None, None), true);
    group.finish();

    let kv = filled(KEYS);
    let (wanted, mut n) = ((0..KEYS).map(key).collect::<Vec<_>>(), 0);
    c.bench_function("get of 10k keys", |b| {
        b.iter(|| {
            n += 1;
            kv.get(&wanted[scatter(n) as usize])
        });
    });
}

fn snapshots(c: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let kv = filled(KEYS);
    let write = |kv: &Kv| {
        let mut snapshot = kv.snapshot();
        std::iter::from_fn(move || snapshot.next_block(256 << 10)).collect::<Vec<_>>()
    };
    let blocks = write(&kv);
    let mut group = c.benchmark_group("snapshot of 100k keys");
    group.bench_function("take", |b| b.iter(|| kv.snapshot()));
    group.sample_size(10).throughput(Throughput::Bytes(blocks.iter().map(|b| b.len() as u64).sum()));
    group.bench_function("write", |b| b.iter(|| write(&kv)));
    group.bench_function("restore", |b| {
        b.iter(|| {
            let mut restore = kv::KvRestore::new(Mutant::default());
            blocks.iter().for_each(|block| restore.block(block).expect("own snapshot"));
            restore.finish(kv.applied()).map(|kv| kv.len())
        });
    });
    group.finish();
}

fn frames(c: &mut Criterion) {
    let append = |entries: usize| {
        let entries = vec![Entry { term: 7, command: vec![7; 100].into() }; entries];
        let body = Body::Append { prev_index: 123_456, prev_term: 7, entries, commit: 123_450, round: 99_999 };
        Packet::Peer {
            origin: Origin::default(),
            lane: Lane::Control,
            raft: vec![(GroupId(0), Message { term: 7, body })],
            ap: vec![],
        }
    };
    let write = Write::Put { key: key(5), value: vec![7; 100].into(), when: Condition::ALWAYS, ttl_ms: None };
    let request = RequestBody::Write { session: 1234, number: 77, write };
    let done = Reply::Done { revision: 12, commit: Wall(1_700_000_000_000_000_000) };
    let packets = [
        ("heartbeat", append(0)),
        ("append of 8 x 100 B", append(8)),
        ("put request 100 B", Packet::from(Request::new(4711, request))),
        ("response", Packet::Response(Response { id: 4711, body: ResponseBody::Reply(done) })),
    ];
    let mut group = c.benchmark_group("frame");
    for (name, packet) in &packets {
        let bytes = frame::encode(packet).expect("small");
        group.bench_function(format!("encode {name}"), |b| b.iter(|| frame::encode(black_box(packet))));
        group.bench_function(format!("decode {name}"), |b| b.iter(|| frame::decode(black_box(&bytes))));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = commands, apply, snapshots, frames
}
criterion_main!(benches);
