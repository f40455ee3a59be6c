//! Servers that restart with less data than they had: the last batch is gone, the directory is empty, or an old copy of
//! it was restored.

use super::cluster::Packet;
use super::scribe::{Script, three};
use super::*;
use crate::types::Level;

fn none(_: &Packet) -> bool {
    false
}

fn quiet(size: u32) -> Script {
    let mut s = Script::new(size, three(), |_| {});
    s.cluster.transcript = None;
    s
}

/// Writes a key, deletes it and waits until its tombstone is forgotten, which moves all nodes to a later epoch.
fn age(s: &mut Script, name: &str) {
    let k = s.cluster.key(name, &[1, 2, 3]);
    s.put(1, &k, "x");
    s.cluster.run(100, none);
    s.delete(1, &k);
    s.cluster.run(60_000, none);
    assert!(s.cluster.held(id(1), &k).is_empty(), "forgotten");
}

fn epochs(s: &Script) -> Vec<Epoch> {
    s.cluster.nodes.values().map(|n| n.dynamo.epoch()).collect()
}

fn restart_empty(s: &mut Script, n: u32, told: bool) {
    s.cluster.crash(id(n), 0);
    s.cluster.believe(id(n), false);
    s.cluster.restart_from(id(n), Recovered::default(), told);
    s.cluster.believe(id(n), true);
}

fn rejoins(s: &Script, n: u32) -> bool {
    s.cluster.nodes[&id(n)].dynamo.store.rejoins()
}

/// A disk loses its last batch although it had reported it durable: the dot of the lost write is not reused.
#[test]
fn the_last_batch_is_lost() {
    let mut s = quiet(3);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "one");
    s.cluster.run(1000, none);
    let before = s.cluster.disk(id(1));
    let read = s.get(1, &k);
    s.cluster.run(1000, none);
    s.put_after(1, &k, "y", read);
    s.cluster.run(1000, none);
    s.cluster.crash(id(1), 0);
    s.cluster.restart_from(id(1), before, false);
    // A client writes at once, before anything else happens.
    let z = s.put(1, &k, "z");
    s.cluster.run(60_000, none);
    assert!(matches!(s.cluster.replies[&z], ClientReply::Done { .. }));
    for n in 1..=3 {
        let read = s.get_at(Some(Level::All), n, &k);
        s.cluster.run(1000, none);
        let mut values = s.values(read);
        values.sort_unstable();
        assert_eq!(values, ["y", "z"], "both were acknowledged, and neither knew of the other");
    }
}

/// A server restarts with an empty disk in a cluster that has already forgotten a tombstone. It is not told that its
/// disk is empty, and detects it.
#[test]
fn an_empty_disk_that_nobody_tells_of() {
    let mut s = quiet(5);
    age(&mut s, "old");
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(2, &k, "y");
    s.cluster.run(1000, none);
    restart_empty(&mut s, 1, false);
    s.cluster.run(5000, none);
    assert!(!rejoins(&s, 1));
    assert_eq!(epochs(&s), [5; 5]);
    assert_eq!(s.cluster.held(id(1), &k), s.cluster.held(id(2), &k), "it was refilled");
    let put = s.put(1, &k, "z");
    s.cluster.run(1000, none);
    let achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
    assert_eq!(s.cluster.replies[&put], ClientReply::Done { achieved });
    // Tombstone GC works again.
    age(&mut s, "another");
    assert!(s.cluster.nodes.values().all(|node| node.dynamo.hints().is_empty()));
}

/// A server that is told this does not coordinate and does not count until all others have refilled it.
#[test]
fn an_empty_disk() {
    let mut s = Script::new(4, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3, 4]);
    s.put(1, &k, "x");
    s.cluster.run(100, none);
    s.says("n1 comes back with an empty disk, and is told; n4 cannot be reached");
    s.cluster.crash(id(1), 0);
    s.cluster.believe(id(1), false);
    s.cluster.restart_from(id(1), Recovered::default(), true);
    s.cluster.believe(id(1), true);
    let lost = |p: &Packet| p.to == id(4);
    s.cluster.run(600, lost);
    assert!(rejoins(&s, 1));
    let (put, read) = (s.put(1, &k, "no"), s.get(1, &k));
    for refused in [put, read] {
        assert_eq!(s.cluster.replies[&refused], ClientReply::Refused(Refusal::Rejoining));
    }
    s.says("a strict write of all is unfinished, one of a quorum is held by n2 and n3");
    let all = s.put_at(Level::All, 2, &k, "y");
    s.cluster.run(1000, lost);
    assert!(!matches!(s.cluster.replies[&all], ClientReply::Done { .. }), "n1 does not count");
    let quorum = s.put_strictly(2, &k, "z");
    s.cluster.run(100, lost);
    let achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
    assert_eq!(s.cluster.replies[&quorum], ClientReply::Done { achieved });
    let read = s.get_at(Some(Level::One), 4, &k);
    s.cluster.run(100, |_| false);
    assert_eq!(s.values(read).len(), 3, "n1 is not asked");
    s.says("n4 can be reached again");
    s.cluster.run(3000, none);
    assert!(!rejoins(&s, 1) && !s.cluster.disk(id(1)).rejoining);
    assert_eq!(s.cluster.held(id(1), &k), s.cluster.held(id(2), &k));
    let put = s.put(1, &k, "yes");
    s.cluster.run(100, none);
    assert!(matches!(s.cluster.replies[&put], ClientReply::Done { .. }));
    insta::assert_snapshot!(s.end());
}

/// A server continues to rejoin if it restarts in the middle.
#[test]
fn rejoining_outlasts_a_restart() {
    let mut s = quiet(3);
    let keys: Vec<Key> = (0..40).map(|n| s.cluster.key(&format!("k{n}"), &[1])).collect();
    for k in &keys {
        s.put(1, k, "x");
    }
    s.cluster.run(1000, none);
    s.cluster.crash(id(1), 0);
    s.cluster.restart_from(id(1), Recovered::default(), true);
    s.cluster.run(600, |p| matches!(&p.message, Message::Put { key, .. } if *key > keys[20]));
    assert!(rejoins(&s, 1));
    s.cluster.crash(id(1), 0);
    s.cluster.restart(id(1));
    assert!(rejoins(&s, 1));
    s.cluster.run(5000, none);
    assert!(!rejoins(&s, 1));
    assert!(keys.iter().all(|k| s.cluster.held(id(1), k) == s.cluster.held(id(2), k)));
}

/// An old copy of a directory has a value whose delete all others have forgotten: it must not come back.
#[test]
fn an_old_copy() {
    for told in [true, false] {
        old_copy(told, Mutant::default());
    }
}

#[cfg(feature = "mutants")]
#[test]
fn an_old_copy_that_is_kept_is_noticed() {
    use crate::mutant::Bug;
    let panic = std::panic::catch_unwind(|| old_copy(true, Mutant::planted(Bug::OldCopyKept))).unwrap_err();
    assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("came back")));
}

fn old_copy(told: bool, mutant: Mutant) {
    let mut s = Script::new(3, three(), |config| config.mutant = mutant);
    s.cluster.transcript = None;
    let (k, other) = (s.cluster.key("k", &[1, 2, 3]), s.cluster.key("other", &[2, 3, 1]));
    s.put(1, &k, "deleted long ago");
    s.put(2, &other, "x");
    s.cluster.run(1000, none);
    let old = s.cluster.disk(id(1));
    s.delete(2, &k);
    s.cluster.run(60_000, none);
    assert!((1..=3).all(|n| s.cluster.held(id(n), &k).is_empty()), "forgotten everywhere");
    s.cluster.crash(id(1), 0);
    s.cluster.restart_from(id(1), old, told);
    s.cluster.run(60_000, none);
    assert!(!rejoins(&s, 1));
    for n in 1..=3 {
        assert!(s.cluster.held(id(n), &k).is_empty(), "it came back from an old copy");
        assert_eq!(s.cluster.held(id(n), &other).versions().len(), 1);
    }
}

/// A restored copy of the same epoch keeps what no other server has: no tombstone can have been forgotten since.
#[test]
fn a_copy_of_the_same_epoch_keeps_what_it_has() {
    let mut s = quiet(3);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put_at(Level::One, 1, &k, "x");
    s.cluster.net.clear();
    let disk = s.cluster.disk(id(1));
    s.cluster.crash(id(1), 0);
    s.cluster.restart_from(id(1), disk, true);
    s.cluster.run(10_000, none);
    assert!(!rejoins(&s, 1));
    assert!((1..=3).all(|n| s.cluster.held(id(n), &k).versions().len() == 1));
}

/// A node that rejoins forwards a write for another server instead of refusing it: that server may have executed it
/// already.
#[test]
fn a_node_that_rejoins_passes_on() {
    let mut s = quiet(3);
    let k = s.cluster.key("k", &[1, 2, 3]);
    let mut request = s.set(&k, "x");
    if let ClientRequest::Put { slot, .. } = &mut request {
        *slot = s.cluster.slot(id(1));
    }
    s.cluster.crash(id(2), 0);
    s.cluster.restart_from(id(2), Recovered::default(), true);
    let first = s.cluster.send(id(1), request.clone());
    let copy = s.cluster.send(id(2), request);
    s.cluster.run(1000, none);
    for put in [first, copy] {
        assert!(matches!(s.cluster.replies[&put], ClientReply::Done { .. } | ClientReply::Unfinished { .. }));
    }
}

/// Two servers lose their disks at once; the third refills both.
#[test]
fn two_empty_disks() {
    let mut s = quiet(3);
    age(&mut s, "old");
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.cluster.run(1000, none);
    for n in [1, 2] {
        s.cluster.crash(id(n), 0);
    }
    for n in [1, 2] {
        s.cluster.restart_from(id(n), Recovered::default(), true);
    }
    s.cluster.run(10_000, none);
    assert!(!rejoins(&s, 1) && !rejoins(&s, 2));
    assert_eq!(epochs(&s), [5; 3]);
    assert!((1..=3).all(|n| s.cluster.held(id(n), &k).versions().len() == 1));
}

/// A peer that lies about its epoch does not make any node drop data.
#[test]
fn an_absurd_epoch() {
    let mut s = quiet(3);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.cluster.run(1000, none);
    let lie = || Message::Epoch { at: 1 << 62, want: 1 << 62 };
    s.cluster.step(id(1), Input::Message(id(2), lie()));
    assert!(!rejoins(&s, 1), "n3 is where n1 is");
    s.cluster.step(id(1), Input::Message(id(3), lie()));
    assert!(rejoins(&s, 1), "all others are far ahead");
    s.cluster.run(5000, none);
    assert!(!rejoins(&s, 1), "but they are not");
    assert!((1..=3).all(|n| s.cluster.held(id(n), &k).versions().len() == 1));
}
