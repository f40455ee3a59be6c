//! Golden transcripts of separated nodes: nodes in two regions, a node that is down while no stand-in has room, and
//! nodes that increment a counter on both sides of a partition.

use super::cluster::{Cluster, Packet};
use super::scribe::{Script, three};
use super::*;
use crate::placement::Member;
use crate::types::{Level, MergeKind, Policy, Resolve};

/// Selects packets between these nodes and all others.
fn across(some: &'static [u32]) -> impl Fn(&Packet) -> bool {
    move |p| some.contains(&p.from.0) != some.contains(&p.to.0)
}

/// Two regions of three nodes, each with two of a key's four replicas, are partitioned from each other. Both continue
/// with local quorums, while a quorum of all replicas is impossible. Each region keeps what the other lacks until the
/// partition heals.
#[test]
fn local_quorums() {
    const EAST: &[u32] = &[1, 3, 5];
    let region = |n: u32| if EAST.contains(&n) { "east" } else { "west" };
    let slot = |n: u32| Member { region: region(n).to_owned(), ..Member::plain(id(n)) };
    let policy = Policy { n: 4, ..three() };
    let mut s = Script::of(Cluster::of((1..=6).map(slot).collect(), 1, policy, |_| {}));
    let k = s.cluster.key("k", &[1, 2, 3, 4, 5, 6]);
    s.says("the west is cut off from the east, and both have noticed");
    s.cluster.believe_apart(EAST, false);
    let all = s.put_strictly(1, &k, "for all");
    assert!(matches!(s.cluster.replies[&all], ClientReply::Refused(Refusal::Unavailable { wanted: 3, reachable: 2 })));
    s.says(
        "the east: n1 and n3 are its quorum; n5 stands in for one of the west, and n1 keeps the write for the other",
    );
    let east = s.put_at(Level::LocalQuorum, 1, &k, "east");
    assert!(!s.cluster.replies.contains_key(&east), "n1 alone is no quorum of two");
    s.cluster.deliver_unless(across(EAST));
    let of_region = Achieved { wanted: 2, replicas: 2, hints: 0 };
    assert_eq!(s.cluster.replies[&east], ClientReply::Done { achieved: of_region });
    s.says("the west, which knows nothing of that");
    let west = s.put_at(Level::LocalQuorum, 2, &k, "west");
    s.cluster.deliver_unless(across(EAST));
    assert_eq!(s.cluster.replies[&west], ClientReply::Done { achieved: of_region });
    s.says("each reads its own");
    for (n, value) in [(3, "east"), (4, "west")] {
        let read = s.get_at(Some(Level::LocalQuorum), n, &k);
        s.cluster.deliver_unless(across(EAST));
        assert_eq!(s.values(read), [value]);
    }
    s.states(&k);
    s.says("the cut heals");
    s.cluster.believe_apart(EAST, true);
    s.cluster.run(5000, |_| false);
    s.states(&k);
    let held = s.cluster.held(id(1), &k);
    assert_eq!(held.versions().len(), 2, "neither region's write was lost to the other's");
    assert!((2..=4).all(|n| s.cluster.held(id(n), &k) == held));
    assert!(s.cluster.nodes.values().all(|node| node.dynamo.hints().is_empty()));
    s.says("the whole west has a write of the east, which is no local quorum; n3 makes it one");
    let last = s.put_at(Level::LocalQuorum, 1, &k, "home");
    let at = s.cluster.net.iter().position(|p| p.to == id(3)).expect("a message to n3");
    let late = s.cluster.net.remove(at);
    s.deliver();
    assert!(!s.cluster.replies.contains_key(&last));
    s.cluster.deliver(late);
    s.deliver();
    assert_eq!(s.cluster.replies[&last], ClientReply::Done { achieved: of_region });
    insta::assert_snapshot!(s.end());
}

/// n3 is down, and every node has room for one hint. A stand-in without room is skipped for the next. When the last one
/// has refused, the coordinator keeps the hint itself, which adds no holder. When it has no room either, n3 has to wait
/// for anti-entropy.
#[test]
fn stand_ins_without_room() {
    let mut s = Script::new(5, three(), |config| config.hint_bytes = 250);
    let keys = ["one", "two", "three", "four"].map(|name| s.cluster.key(name, &[1, 2, 3, 4, 5]));
    s.cluster.crash(id(3), 0);
    s.cluster.believe(id(3), false);
    let put = |s: &mut Script, at: usize| {
        let put = s.put_at(Level::All, 1, &keys[at], "x");
        s.cluster.run(1000, |_| false);
        s.cluster.replies[&put].clone()
    };
    let hints = |s: &Script| [1, 2, 4, 5].map(|n| s.cluster.nodes[&id(n)].dynamo.hints().len());
    s.says("n4 has room");
    let by_stand_in = ClientReply::Done { achieved: Achieved { wanted: 3, replicas: 2, hints: 1 } };
    assert_eq!((put(&mut s, 0), hints(&s)), (by_stand_in.clone(), [0, 0, 1, 0]));
    s.says("n4 has none, n5 has");
    assert_eq!((put(&mut s, 1), hints(&s)), (by_stand_in, [0, 0, 1, 1]));
    s.says("neither has: n1 keeps the hint beside what it holds, so there are no more holders than before");
    let unfinished = ClientReply::Unfinished { achieved: Achieved { wanted: 3, replicas: 2, hints: 0 } };
    assert_eq!((put(&mut s, 2), hints(&s)), (unfinished.clone(), [1, 0, 1, 1]));
    s.says("no node has it");
    assert_eq!((put(&mut s, 3), hints(&s)), (unfinished, [1, 0, 1, 1]));
    s.says("n3 is back: it gets three keys by hand-off, and the fourth by sweeps");
    s.cluster.restart(id(3));
    s.cluster.believe(id(3), true);
    s.cluster.run(5000, |_| false);
    assert_eq!(hints(&s), [0; 4]);
    assert!(keys.iter().all(|key| s.cluster.held(id(3), key) == s.cluster.held(id(1), key)));
    let cause = |key| s.cluster.nodes[&id(3)].dynamo.why(key)[0].arrivals[0].cause;
    assert_eq!([0, 1, 2].map(|at| cause(&keys[at])), [4, 5, 1].map(|n| Cause::Handoff(id(n))));
    assert!(matches!(cause(&keys[3]), Cause::Repair(_)), "{:?}", cause(&keys[3]));
    insta::assert_snapshot!(s.end());
}

/// A counter is incremented on both sides of a partition. Each side reports its own correct sum; after the merge the
/// sum includes both.
#[test]
fn a_counter_on_both_sides() {
    let policy = Policy { r: Level::One, w: Level::One, resolve: Resolve::Merge(MergeKind::PnCounter), ..three() };
    let mut s = Script::new(3, policy, |_| {});
    let k = s.cluster.key("votes", &[1, 2, 3]);
    let first = s.add(1, &k, 10);
    s.deliver();
    assert_eq!(s.values(first), ["10"]);
    s.says("n1 is cut off from n2 and n3");
    let adds = [(1, 5, "15"), (2, 3, "13"), (3, -1, "12"), (1, 5, "20")];
    for (n, amount, sum) in adds {
        let add = s.add(n, &k, amount);
        s.cluster.deliver_unless(across(&[1]));
        assert_eq!(s.values(add), [sum], "what this side knows of");
    }
    for (n, sum) in [(1, "20"), (3, "12")] {
        let read = s.get(n, &k);
        s.deliver();
        assert_eq!(s.values(read), [sum]);
    }
    s.states(&k);
    s.says("the partition heals; a read of all is shown one number, and brings each replica what it lacks");
    let read = s.get_at(Some(Level::All), 3, &k);
    s.cluster.run(10, |_| false);
    assert_eq!(s.values(read), ["22"], "10 + 5 + 3 - 1 + 5");
    s.states(&k);
    s.says("the next addition makes one version of all");
    let last = s.add(2, &k, -2);
    s.cluster.run(10, |_| false);
    assert_eq!(s.values(last), ["20"]);
    s.states(&k);
    let held = s.cluster.held(id(1), &k);
    assert_eq!(held.versions().len(), 1);
    assert!((2..=3).all(|n| s.cluster.held(id(n), &k) == held));
    insta::assert_snapshot!(s.end());
}
