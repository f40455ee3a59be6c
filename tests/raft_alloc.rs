//! A Raft follower's append path makes no allocations of its own: the entries move from the message to the record, and
//! the output for applying is one list. Measured with a counting allocator.

use seaworthy::protocol::{Input, Outbox, Protocol};
use seaworthy::raft::{Body, Config, Effect, Entry, Message, Raft, Recovered};
use seaworthy::types::{Bytes, NodeId, Rng, Time};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BEFORE: u64 = 5000;
const MEASURED: u64 = 1000;

/// An entry as decoded from a frame: its bytes are shared.
fn entry() -> Entry {
    let command = Bytes::from(vec![7; 64]);
    Entry { term: 1, command: command.slice(..) }
}

/// Returns the number of allocations in `MEASURED` appends of 4 entries each to a follower whose buffers have grown.
/// The records stay in the outbox, as within one turn of a driver. With `committing`, each append also commits the
/// entries of the previous one.
fn allocations(committing: bool) -> usize {
    let config = Config::new(NodeId(2), (1..=3).map(NodeId).collect());
    let mut raft = Raft::new(config, Recovered::default(), Time(0), Rng::new(1, "alloc"));
    let mut out: Outbox<Raft> = Outbox::default();
    let messages: Vec<Message> = (0..BEFORE + MEASURED)
        .map(|i| {
            let (prev_index, prev_term) = (i * 4, u64::from(i > 0));
            let entries = (0..4).map(|_| entry()).collect();
            let commit = if committing { prev_index } else { 0 };
            Message { term: 1, body: Body::Append { prev_index, prev_term, entries, commit, round: 1 } }
        })
        .collect();
    let mut counted = 0;
    for (i, message) in (0..).zip(messages) {
        let region = Region::new(ALLOCATOR);
        raft.step(Time(i), Input::Message(NodeId(1), message), &mut out);
        let change = region.change();
        let commits = out.effects.iter().filter(|e| matches!(e, Effect::Commit { .. })).count();
        assert_eq!(commits, usize::from(committing && i > 0));
        assert_eq!(out.sends.len(), 1);
        out.sends.clear();
        out.effects.clear();
        if i >= BEFORE {
            counted += change.allocations + change.reallocations;
        }
    }
    assert_eq!(raft.status().last, (BEFORE + MEASURED) * 4);
    counted
}

/// A single test, because the counter covers the whole process.
#[test]
fn a_follower_allocates_only_for_its_entries() {
    let (appending, committing) = (allocations(false), allocations(true));
    println!("{MEASURED} appends: {appending} allocations, with commits {committing}");
    // The buffers of the log and the outbox double occasionally.
    let growth = 2;
    assert!(appending <= growth, "{appending}");
    assert!(committing <= MEASURED as usize + growth, "{committing}");
}
