//! Cost of durability for a put, and speed of recovery. Run with `cargo bench --bench storage`. The log is in the
//! system's temporary directory, so point `TMPDIR` at the disk to be measured.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seaworthy::raft::{Entry, Record};
use seaworthy::storage::{LogRecord, RealDisk, Store, StoreConfig};
use seaworthy::types::{Bytes, GroupId, NodeId, Rng};
use std::path::Path;

fn batch(first: u64, entries: u64, bytes: usize) -> [LogRecord; 1] {
    let entry = Entry { term: 1, command: Bytes::from(vec![7; bytes]) };
    [LogRecord::Raft(GroupId(1), Record::Append { first, entries: vec![entry; entries as usize] })]
}

fn open(path: &Path) -> (Store<RealDisk>, u64) {
    let disk = RealDisk::open(path).expect("a directory");
    let (store, found) =
        Store::open(disk, &StoreConfig::new(NodeId(1)), &mut Rng::new(1, "store")).expect("a log in order");
    (store, found.groups.values().map(|group| group.entries.len() as u64).sum())
}

/// One batch with one sync, into segments that already exist, except for about one in every thousand batches.
fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append and sync");
    for (entries, bytes) in [(1, 100), (32, 100), (256, 256)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut store, _) = open(dir.path());
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(format!("{entries} x {bytes} B")), |b| {
            // The same entries are replaced again and again, so the log does not grow in memory and has no gap.
            let records = batch(1, entries, bytes);
            b.iter(|| {
                store.append(&records).expect("a working disk");
                if store.wants_checkpoint() {
                    store.checkpoint(&records).expect("a working disk");
                }
            });
        });
    }
}

/// Opens a directory whose log holds 64 MiB of batches of 16 KiB, from the page cache.
fn recover(c: &mut Criterion) {
    const BATCHES: u64 = 4096;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = open(dir.path());
    for i in 0..BATCHES {
        store.append(&batch(1 + i * 16, 16, 1000)).expect("a working disk");
    }
    drop(store);
    let mut group = c.benchmark_group("recover");
    group.sample_size(10).throughput(Throughput::Bytes(BATCHES * 16_000));
    group.bench_function("64 MiB of 1 kB entries", |b| {
        b.iter_batched(|| (), |()| assert_eq!(open(dir.path()).1, BATCHES * 16), BatchSize::PerIteration);
    });
}

criterion_group!(benches, append, recover);
criterion_main!(benches);
