//! Tests of state divergence: a replica's state is not what the log produces; all members find out, and the replica
//! stops serving. Also tests that the group's time does not depend on the wall clock.

use super::many::put;
use super::*;
use crate::kv::{Kv, Reply, Write};
use crate::types::{Bytes, Key};
use crate::wire::{Divergence, NodeStatus, Refused};

fn town(nodes: u32) -> Town {
    let mut town = Town::new(layout(nodes, Buckets::default(), 1, nodes));
    for node in &mut town.nodes {
        node.driver.turn.config.digest_entries = 10;
    }
    town.pass(3000);
    town
}

fn leader(town: &Town) -> u32 {
    let leads = |node: &&Node| node.driver.groups[&GROUP].leads();
    town.nodes.iter().find(leads).expect("a leader").driver.turn.config.raft.id.0
}

fn session(town: &mut Town, node: u32) -> u64 {
    match town.ask(node, RequestBody::OpenSession { key: "k".into() }) {
        Some(ResponseBody::Session { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

/// Corrupts the memory: the state is an empty one.
fn corrupt(town: &mut Town, node: u32) {
    town.pass(500);
    let group = town.node(NodeId(node)).driver.groups.get_mut(&GROUP).unwrap();
    let mut kv = Kv::new(Mutant::default());
    (1..=group.kv.applied()).for_each(|index| drop(kv.apply(index, &Bytes::new())));
    group.kv = kv;
}

fn status(town: &mut Town, node: u32) -> NodeStatus {
    match town.ask(node, RequestBody::Status) {
        Some(ResponseBody::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

/// Writes until the members have compared their states.
fn write(town: &mut Town, (session, numbers): (u64, std::ops::Range<u64>)) {
    for number in numbers {
        let leader = leader(town);
        let done = town.ask(leader, put(session, number, Key::from(format!("k{number}"))));
        assert!(matches!(done, Some(ResponseBody::Reply(_))), "{done:?}");
    }
    town.pass(500);
}

#[test]
fn replicas_that_are_alike_raise_no_alarm() {
    let mut town = town(3);
    let first = leader(&town);
    let session = session(&mut town, first);
    write(&mut town, (session, 1..35));
    assert!((1..=3).all(|node| status(&mut town, node).diverged.is_empty()));
    assert!(town.nodes.iter().all(|node| node.driver.groups[&GROUP].serves()));
}

#[test]
fn a_follower_whose_state_differs_says_so_and_stops_serving() {
    let mut town = town(3);
    let leads = leader(&town);
    let session = session(&mut town, leads);
    write(&mut town, (session, 1..5));
    let bad = leads % 3 + 1;
    corrupt(&mut town, bad);
    write(&mut town, (session, 5..20));
    for node in 1..=3 {
        let found = status(&mut town, node).diverged;
        assert_eq!(found, [Divergence { group: GROUP, index: found[0].index, minority: vec![NodeId(bad)] }], "n{node}");
    }
    assert!(!town.node(NodeId(bad)).driver.groups[&GROUP].serves());
    let passed_on = town.ask(bad, RequestBody::Get { key: "k1".into() });
    assert!(
        matches!(&passed_on, Some(ResponseBody::Reply(Reply::Value(Some(held)))) if held.value == "k1")
            || matches!(passed_on, Some(ResponseBody::Refused(Refused::NotLeader(_)))),
        "it gives no answer of its own: {passed_on:?}"
    );
    assert_eq!(leader(&town), leads, "the others go on");
    write(&mut town, (session, 20..25));
}

#[test]
fn a_leader_whose_state_differs_is_replaced_by_one_that_knows() {
    let mut town = town(3);
    let bad = leader(&town);
    let session = session(&mut town, bad);
    write(&mut town, (session, 1..5));
    corrupt(&mut town, bad);
    for number in 5..20 {
        // Its answers may be wrong until the difference is found.
        town.ask(bad, put(session, number, Key::from("x")));
    }
    town.pass(3000);
    assert!(!town.node(NodeId(bad)).driver.groups[&GROUP].serves());
    let leads = leader(&town);
    assert_ne!(leads, bad);
    let answer = town.ask(leads, RequestBody::Get { key: "k1".into() });
    let Some(ResponseBody::Reply(Reply::Value(Some(held)))) = answer else { panic!("{answer:?}") };
    assert_eq!(held.value, "k1");
    assert_eq!(status(&mut town, leads).diverged[0].minority, [NodeId(bad)]);
}

#[test]
fn two_that_differ_are_told_of_and_go_on() {
    let mut town = town(2);
    let leads = leader(&town);
    let session = session(&mut town, leads);
    corrupt(&mut town, 3 - leads);
    write(&mut town, (session, 1..15));
    for node in 1..=2 {
        assert_eq!(status(&mut town, node).diverged[0].minority, [], "n{node}");
    }
    assert_eq!(leader(&town), leads);
}

/// A key's deadline survives its leader: the next leader counts on from the last time it received. A group without
/// other activity still writes its time.
#[test]
fn a_new_leader_counts_on() {
    let mut town = town(3);
    let leads = leader(&town);
    let session = session(&mut town, leads);
    let write = Write::Put { key: "k".into(), value: "v".into(), when: Default::default(), ttl_ms: Some(20_000) };
    let done = town.ask(leads, RequestBody::Write { session, number: 1, write });
    assert!(matches!(done, Some(ResponseBody::Reply(_))), "{done:?}");
    town.pass(9_000);
    let next = leads % 3 + 1;
    town.ask(leads, RequestBody::Transfer { to: NodeId(next) });
    town.pass(1_000);
    assert_eq!(leader(&town), next);
    let holds = |town: &mut Town| match town.ask(next, RequestBody::Get { key: "k".into() }) {
        Some(ResponseBody::Reply(Reply::Value(held))) => held.is_some(),
        other => panic!("{other:?}"),
    };
    town.pass(9_400);
    assert!(holds(&mut town), "20 s are not over");
    town.pass(1_500);
    assert!(!holds(&mut town), "20 s are over");
}
