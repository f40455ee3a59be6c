//! The cost of reading and checking, to compare one change with another: `cargo bench -p seaworthy-check`.
//!
//! The histories are small versions of those that the example `figures` measures.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seaworthy_check::format::{ReadOptions, export, jsonl, read};
use seaworthy_check::generate::{Shape, Workload, history};
use seaworthy_check::replicas::{self, Policy};
use seaworthy_check::txn::{self, Isolation};
use seaworthy_check::{Kind, Options, check_as};

#[path = "../tests/replicas/store.rs"]
mod store;

const SHAPE: Shape = Shape { operations: 100_000, clients: 10, keys: 1, values: 0, info: 0, plant: false };

fn reading(c: &mut Criterion) {
    let history = history(Workload::CasRegister, &Shape { keys: 100, ..SHAPE }, 1);
    let (mut json, mut edn) = (Vec::new(), Vec::new());
    jsonl::write(&history, &mut json).expect("memory takes everything");
    export::write(&history, &mut edn).expect("memory takes everything");
    let mut group = c.benchmark_group("read");
    group.sample_size(20);
    for (name, text) in [("jsonl", json), ("edn", edn)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| read(&text[..], &ReadOptions::default()).expect("what was written is read"));
        });
    }
    group.finish();
}

fn checking(c: &mut Criterion) {
    let mut group = c.benchmark_group("check");
    group.sample_size(20).throughput(Throughput::Elements(100_000));
    let append = Shape { clients: 50, keys: 200, ..SHAPE };
    let rows = [
        ("distinct values, one key", Workload::CasRegister, Kind::CasRegister, SHAPE),
        ("five values, one key", Workload::CasRegister, Kind::CasRegister, Shape { values: 5, ..SHAPE }),
        ("append, 200 keys", Workload::Append, Kind::Append, append),
    ];
    for (name, workload, kind, shape) in rows {
        let history = history(workload, &shape, 1);
        group.bench_function(name, |b| {
            b.iter(|| assert!(check_as(kind, &history, &Options::default()).is_valid()));
        });
    }
    let history = history(Workload::ListAppend, &Shape { clients: 20, keys: 10, ..SHAPE }, 1);
    group.bench_function("list-append", |b| {
        let check = || txn::check(&history, Isolation::StrictSerializable, &txn::Options::default());
        b.iter(|| assert!(check().is_valid()));
    });
    group.finish();
}

/// The load of a minute at a thousand operations per second.
fn leaderless(c: &mut Criterion) {
    let mut group = c.benchmark_group("replicas");
    group.sample_size(20).throughput(Throughput::Elements(60_000));
    let siblings = store::Plan {
        strict: true,
        policy: Policy::Siblings,
        clients: 20,
        keys: 100,
        operations: 60_000,
        read_first: false,
    };
    let rows = [
        ("strict, 100 keys", siblings),
        ("siblings, 100 keys", store::Plan { strict: false, ..siblings }),
        ("last writer, 100 keys", store::Plan { strict: false, policy: Policy::LastWriter, ..siblings }),
        ("siblings, one key", store::Plan { strict: false, keys: 1, ..siblings }),
        ("read before write, 100 keys", store::Plan { read_first: true, ..siblings }),
        ("read before write, one key", store::Plan { read_first: true, keys: 1, ..siblings }),
        ("last writer, one key", store::Plan { strict: false, policy: Policy::LastWriter, keys: 1, ..siblings }),
    ];
    for (name, plan) in rows {
        let (observed, options) = store::run(1, plan);
        group.bench_function(name, |b| b.iter(|| assert!(replicas::check(&observed, &options).is_valid())));
    }
    group.finish();
}

criterion_group!(benches, reading, checking, leaderless);
criterion_main!(benches);
