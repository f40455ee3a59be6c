//! Cost of finding the servers of a key, of finding the slot of a key, and of building a ring. Run with `cargo bench
//! --bench placement`.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use seaworthy::placement::{Member, Ring, slot_of};
use seaworthy::types::NodeId;
use std::hint::black_box;

fn members(nodes: u32, zones: u32) -> Vec<Member> {
    let place = |id: u32| (format!("z{}", id % zones), format!("r{}", id % zones / 3));
    let member = |id: u32| Member { id: NodeId(id), capacity: 1, zone: place(id).0, region: place(id).1 };
    (0..nodes).map(member).collect()
}

/// Keys as clients write them, in an order without locality, so that caches do not help.
fn keys() -> Vec<String> {
    (0..1u64 << 16).map(|n| format!("carts/{:012}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24)).collect()
}

fn look_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("look up");
    let keys = keys();
    for (nodes, vnodes) in [(5, 64), (100, 100), (1000, 100)] {
        let ring = Ring::new(&members(nodes, 1), vnodes);
        let mut next = keys.iter().cycle();
        // The first three servers are read too, because only returning the slice would be misleadingly cheap.
        group.bench_function(BenchmarkId::new("order", format!("{nodes} nodes x {vnodes}")), |b| {
            b.iter(|| {
                let key = next.next().map_or(&[][..], String::as_bytes);
                ring.order(black_box(key)).iter().take(3).map(|n| n.0).sum::<u32>()
            });
        });
    }
    let mut next = keys.iter().cycle();
    group.bench_function("slot", |b| b.iter(|| slot_of(black_box(next.next().map_or(&[][..], String::as_bytes)))));
    group.finish();
}

fn make(c: &mut Criterion) {
    let mut group = c.benchmark_group("make a ring");
    group.sample_size(10);
    for (nodes, vnodes, zones) in [(5, 64, 1), (5, 64, 5), (1000, 100, 1), (1000, 100, 9), (1000, 100, 1000)] {
        let members = members(nodes, zones);
        let ring = Ring::new(&members, vnodes);
        let name = format!("{nodes} nodes x {vnodes} in {zones} zones, {} KiB", ring.bytes() >> 10);
        group.bench_function(name, |b| b.iter(|| Ring::new(black_box(&members), vnodes)));
    }
    group.finish();
}

criterion_group!(benches, look_up, make);
criterion_main!(benches);
