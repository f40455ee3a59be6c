//! Steps of the Raft core: the cost of those on which a cluster spends most of its time.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seaworthy::protocol::{Input, Outbox, Protocol};
use seaworthy::raft::{AppendResult, Body, Config, Entry, Message, Raft, Recovered, Request, Role};
use seaworthy::types::{Bytes, NodeId, Rng, Time};
use std::time::Duration;

type Out = Outbox<Raft>;

fn config(id: u32) -> Config {
    Config::new(NodeId(id), (1..=3).map(NodeId).collect())
}

fn start(config: Config) -> (Raft, Out) {
    (Raft::new(config, Recovered::default(), Time(0), Rng::new(1, "bench")), Outbox::default())
}

fn node(id: u32) -> (Raft, Out) {
    start(config(id))
}

/// Drains the outbox as a driver does, without a disk or a network.
fn drain(raft: &mut Raft, out: &mut Out) {
    let ticket = out.take_records().map(|(ticket, _)| ticket);
    out.sends.clear();
    out.effects.clear();
    if let Some(ticket) = ticket {
        raft.step(Time(0), Input::Persisted(ticket), out);
        out.effects.clear();
    }
}

fn say(raft: &mut Raft, out: &mut Out, from: u32, term: u64, body: Body) {
    raft.step(Time(0), Input::Message(NodeId(from), Message { term, body }), out);
}

fn leader() -> (Raft, Out) {
    leader_of(config(1))
}

fn leader_of(config: Config) -> (Raft, Out) {
    let (mut raft, mut out) = start(config);
    let now = Time(0) + Duration::from_secs(2);
    raft.step(now, Input::Tick, &mut out);
    say(&mut raft, &mut out, 2, 1, Body::VoteReply { pre: true, granted: true });
    drain(&mut raft, &mut out);
    say(&mut raft, &mut out, 2, 1, Body::VoteReply { pre: false, granted: true });
    raft.step(now, Input::Tick, &mut out);
    drain(&mut raft, &mut out);
    for follower in [2, 3] {
        let result = AppendResult::Matched(1);
        say(&mut raft, &mut out, follower, 1, Body::AppendReply { result, round: 1 });
    }
    assert_eq!((raft.status().soft.role, raft.status().commit), (Role::Leader, 1));
    (raft, out)
}

fn append(prev: u64, entries: Vec<Entry>, commit: u64) -> Body {
    Body::Append { prev_index: prev, prev_term: u64::from(prev > 0), entries, commit, round: 1 }
}

/// An entry whose bytes are already shared, like those of a received frame.
fn entry() -> Entry {
    let command = Bytes::from(vec![7; 64]);
    Entry { term: 1, command: command.slice(..) }
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft");
    group.throughput(Throughput::Elements(1));

    group.bench_function("follower: heartbeat", |b| {
        let (mut raft, mut out) = node(2);
        b.iter(|| {
            say(&mut raft, &mut out, 1, 1, append(0, vec![], 0));
            drain(&mut raft, &mut out);
        });
    });

    group.bench_function("leader: answer to a heartbeat", |b| {
        let (mut raft, mut out) = leader();
        b.iter(|| {
            let result = AppendResult::Matched(1);
            say(&mut raft, &mut out, 2, 1, Body::AppendReply { result, round: 1 });
            drain(&mut raft, &mut out);
        });
    });

    // The cost of an idle group for its leader: nothing is due, and the driver learns that when it asks.
    group.bench_function("leader: deadline and tick asleep", |b| {
        let (mut raft, mut out) = leader_of(Config { quiesce: true, ..config(1) });
        for follower in [2, 3] {
            let result = AppendResult::Matched(1);
            say(&mut raft, &mut out, follower, 1, Body::AppendReply { result, round: 1 });
        }
        raft.step(Time(0) + Duration::from_secs(3), Input::Tick, &mut out);
        for follower in [2, 3] {
            let result = AppendResult::Matched(1);
            say(&mut raft, &mut out, follower, 1, Body::AppendReply { result, round: 2 });
        }
        drain(&mut raft, &mut out);
        assert!(raft.is_asleep());
        b.iter(|| {
            raft.step(Time(0), Input::Tick, &mut out);
            assert!(raft.deadline().is_none());
        });
    });

    // A thousand steps on one node, so that the log grows realistically and is dropped outside the measurement.
    const MANY: u64 = 1000;
    group.throughput(Throughput::Elements(MANY));

    group.bench_function("leader: answer that commits an entry", |b| {
        let setup = || {
            let (mut raft, mut out) = leader();
            for id in 0..MANY {
                let command = entry().command;
                raft.step(Time(0), Input::Request(Request::Propose { id, command }), &mut out);
            }
            raft.step(Time(0), Input::Tick, &mut out);
            drain(&mut raft, &mut out);
            (raft, out)
        };
        let run = |(mut raft, mut out): (Raft, Out)| {
            for index in 2..2 + MANY {
                let result = AppendResult::Matched(index);
                say(&mut raft, &mut out, 2, 1, Body::AppendReply { result, round: 1 });
                drain(&mut raft, &mut out);
            }
            assert_eq!(raft.status().commit, MANY + 1);
            (raft, out)
        };
        b.iter_batched(setup, run, BatchSize::LargeInput);
    });

    // Includes a second core step for each append, `Persisted`.
    group.bench_function("follower: append of one small entry", |b| {
        let setup = || {
            let messages: Vec<Body> = (0..MANY).map(|prev| append(prev, vec![entry()], prev)).collect();
            (node(2), messages)
        };
        let run = |((mut raft, mut out), messages): ((Raft, Out), Vec<Body>)| {
            for body in messages {
                say(&mut raft, &mut out, 1, 1, body);
                drain(&mut raft, &mut out);
            }
            assert_eq!(raft.status().last, MANY);
            (raft, out)
        };
        b.iter_batched(setup, run, BatchSize::LargeInput);
    });

    group.bench_function("leader: proposal, 32 to a turn", |b| {
        let run = |(mut raft, mut out): (Raft, Out)| {
            for id in 0..MANY {
                let command = Bytes::from_static(&[7; 64]);
                raft.step(Time(0), Input::Request(Request::Propose { id, command }), &mut out);
                if id % 32 == 31 {
                    raft.step(Time(0), Input::Tick, &mut out);
                    drain(&mut raft, &mut out);
                }
            }
            (raft, out)
        };
        b.iter_batched(leader, run, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
