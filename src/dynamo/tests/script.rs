//! Golden transcripts. Each script drives a few nodes by hand; the snapshot is the recorded transcript.

use super::cluster::Packet;
use super::scribe::{Script, three, without};
use super::*;
use crate::types::{Level, Policy};
use std::collections::BTreeMap;

/// N=3, R=W=2: no operation waits for the slowest replica.
#[test]
fn put_and_get() {
    let mut s = Script::new(3, three(), |_| {});
    s.cluster.instant_disk = false;
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    assert!(s.cluster.net.is_empty(), "sent before it was durable");
    s.says("no reply before n1 has it; n3's acknowledgement comes after the answer");
    s.cluster.sync(id(1));
    let (to_n2, to_n3) = (s.cluster.net.remove(0), s.cluster.net.remove(0));
    s.cluster.deliver(to_n2);
    s.cluster.sync(id(2));
    s.deliver();
    s.cluster.deliver(to_n3);
    s.cluster.sync(id(3));
    s.deliver();
    s.says("a read asks two");
    let read = s.get(3, &k);
    s.deliver();
    assert_eq!(s.values(read), ["x"]);
    s.says("what was read is superseded by a write with its context");
    s.put_after(1, &k, "y", read);
    s.cluster.sync(id(1));
    s.deliver();
    for n in [2, 3] {
        s.cluster.sync(id(n));
    }
    s.deliver();
    s.states(&k);
    insta::assert_snapshot!(s.end());
}

/// Two clients write on both sides of a partition, a third resolves: {n1:1}, {n2:1} → {n1:1, n2:1, n3:1}.
#[test]
fn red_blue_purple() {
    let policy = Policy { r: Level::All, w: Level::One, ..three() };
    let mut s = Script::new(3, policy, |_| {});
    let k = s.cluster.key("colour", &[1, 2, 3]);
    s.says("n1 is cut off from n2 and n3");
    let cut = |p: &Packet| p.from == id(1) || p.to == id(1);
    s.put(1, &k, "Red");
    s.cluster.deliver_unless(cut);
    s.put(2, &k, "Blue");
    s.cluster.deliver_unless(cut);
    s.states(&k);
    s.says("the partition heals; a read of all finds both, and brings each replica what it lacks");
    let read = s.get(3, &k);
    s.cluster.run(10, |_| false);
    assert_eq!(s.values(read), ["Red", "Blue"]);
    s.put_after(3, &k, "Purple", read);
    s.deliver();
    s.states(&k);
    let last = s.cluster.held(id(1), &k);
    assert_eq!(last.clock().to_string(), "{n1:1, n2:1, n3:1}");
    assert!((2..=3).all(|n| s.cluster.held(id(n), &k) == last) && last.versions().len() == 1);
    insta::assert_snapshot!(s.end());
}

/// Five nodes, two of the three replicas down: a sloppy write continues with stand-ins, a strict one is refused at
/// once.
#[test]
fn sloppy_against_strict() {
    let mut s = Script::new(5, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3, 4, 5]);
    for n in [2, 3] {
        s.cluster.crash(id(n), 0);
        s.cluster.believe(id(n), false);
    }
    s.says("strict: one of the two needed is there, so nothing is done");
    let strict = s.put_strictly(5, &k, "x");
    s.deliver();
    assert!(matches!(
        s.cluster.replies[&strict],
        ClientReply::Refused(Refusal::Unavailable { wanted: 2, reachable: 1 })
    ));
    assert!(s.cluster.held(id(1), &k).is_empty());
    s.says("sloppy: n4 and n5 stand in");
    let sloppy = s.put(5, &k, "y");
    s.deliver();
    let achieved = Achieved { wanted: 2, replicas: 1, hints: 1 };
    assert_eq!(s.cluster.replies[&sloppy], ClientReply::Done { achieved });
    s.says("a read asks a stand-in for its hints");
    let read = s.get(4, &k);
    s.cluster.run(10, |_| false);
    assert_eq!(s.values(read), ["y"]);
    s.says("n1 seems down too: n4 coordinates, on a hint for n1; the read then comes from stand-ins alone");
    s.cluster.crash(id(1), 0);
    s.cluster.believe(id(1), false);
    let last = s.put(5, &k, "z");
    s.deliver();
    let achieved = Achieved { wanted: 2, replicas: 0, hints: 2 };
    assert_eq!(s.cluster.replies[&last], ClientReply::Done { achieved });
    let read = s.get(5, &k);
    s.cluster.run(10, |_| false);
    assert_eq!(s.values(read), ["y", "z"], "blind writes are concurrent");
    insta::assert_snapshot!(s.end());
}

/// The second of two replicas is slow: after a while the third is asked, and answers first.
#[test]
fn hedged_read() {
    let mut s = Script::new(3, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.deliver();
    let read = s.get(1, &k);
    let slow = s.cluster.net.remove(0);
    s.says("30 ms later");
    s.cluster.run(30, |_| false);
    assert_eq!(s.values(read), ["x"]);
    s.says("n2 gets the question at last; its answer ends the read");
    s.cluster.deliver(slow);
    s.deliver();
    assert_eq!(s.cluster.nodes[&id(1)].dynamo.deadline(), None);
    insta::assert_snapshot!(s.end());
}

/// A read that finds one of its two replicas behind answers when that replica has caught up; the third is repaired in
/// the background.
#[test]
fn read_repair() {
    let mut s = Script::new(3, three(), |config| config.repair_permille = 1000);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put_at(Level::One, 1, &k, "x");
    s.says("what n1 sends to the others is lost");
    s.cluster.net.clear();
    let read = s.get(2, &k);
    s.says("n1 answers: with n2 itself the quorum is complete, and n2 behind");
    let late = s.cluster.net.pop().unwrap();
    assert_eq!(late.to, id(3));
    s.deliver();
    assert_eq!(s.values(read), ["x"]);
    s.says("n3 answers late");
    s.cluster.deliver(late);
    s.deliver();
    s.states(&k);
    assert_eq!(s.cluster.held(id(3), &k), s.cluster.held(id(1), &k));
    s.says("a replica elsewhere is behind: the answer waits for its acknowledgement");
    s.put_after(1, &k, "y", read);
    s.cluster.net.clear();
    let read = s.get(1, &k);
    s.cluster.net.retain(|p| p.to == id(2));
    let (question, lost) = (s.cluster.net.remove(0), |p: &Packet| matches!(p.message, Message::Put { .. }));
    s.cluster.deliver(question);
    s.cluster.deliver_unless(lost);
    assert!(!s.cluster.replies.contains_key(&read));
    s.says("the repair was lost; it is sent again, and the answer follows");
    s.cluster.run(30, |p| p.to == id(3));
    assert_eq!(s.values(read), ["y"]);
    insta::assert_snapshot!(s.end());
}

/// R=1 and W=3: R + R ≤ N, so two reads need not intersect. A read of n2 finds a write in progress, and a read of n3
/// misses it. Reads of two replicas do intersect: what the first has found, the second finds. No read misses an
/// acknowledged write.
#[test]
fn reads_of_one_need_not_meet() {
    let policy = Policy { r: Level::One, w: Level::All, sloppy: false, ..three() };
    let mut s = Script::new(3, policy, |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    let write = s.put(1, &k, "x");
    s.says("n2 has the write, and n3 not yet");
    s.cluster.deliver_unless(|p: &Packet| p.to == id(3));
    let read = |s: &mut Script, r, n| {
        let read = s.get_at(r, n, &k);
        s.deliver();
        s.values(read)
    };
    assert_eq!(read(&mut s, None, 2), ["x"]);
    assert!(read(&mut s, None, 3).is_empty(), "it was never acknowledged");
    assert!(!s.cluster.replies.contains_key(&write));
    s.says("a read of two finds it, and brings n3 up to date before it answers");
    assert_eq!(read(&mut s, Some(Level::Quorum), 3), ["x"]);
    s.says("so does one of n3 alone from then on; the write is acknowledged when n3 has answered it too");
    assert_eq!(read(&mut s, None, 3), ["x"]);
    s.cluster.run(1000, |_| false);
    let achieved = Achieved { wanted: 3, replicas: 3, hints: 0 };
    assert_eq!(s.cluster.replies[&write], ClientReply::Done { achieved });
    assert!((1..=3).all(|n| read(&mut s, None, n) == ["x"]));
    insta::assert_snapshot!(s.end());
}

/// A client without an answer asks another server to forward the same request: it is executed once. While the
/// coordinator is down the outcome is unknown; after a restart it does not know either, and says so.
#[test]
fn asked_through_another_server() {
    let mut s = Script::new(3, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    let mut request = s.set(&k, "x");
    if let ClientRequest::Put { slot, .. } = &mut request {
        *slot = s.cluster.slot(id(1));
    }
    s.cluster.send(id(1), request.clone());
    s.deliver();
    s.says("had its client not heard that: n2 asks n1");
    let again = s.cluster.send(id(2), request.clone());
    s.deliver();
    assert!(matches!(s.cluster.replies[&again], ClientReply::Done { .. }));
    s.says("n1 has started anew");
    s.cluster.crash(id(1), 0);
    s.cluster.restart(id(1));
    let forgotten = s.cluster.send(id(3), request.clone());
    s.deliver();
    assert!(matches!(s.cluster.replies[&forgotten], ClientReply::UnknownWindow { .. }));
    s.cluster.crash(id(1), 0);
    s.cluster.believe(id(1), false);
    let unknown = s.cluster.send(id(3), request);
    assert!(matches!(s.cluster.replies[&unknown], ClientReply::Unfinished { .. }));
    let read = s.get(2, &k);
    s.deliver();
    assert_eq!(s.values(read), ["x"]);
    s.states(&k);
    insta::assert_snapshot!(s.end());
}

/// n4 forwards a write, the network duplicates it, and n4 retries: it is executed once, and answered again.
#[test]
fn forwarded_twice() {
    let mut s = Script::new(4, three(), |_| {});
    let (k, j) = (s.cluster.key("k", &[1, 2, 3, 4]), s.cluster.key("j", &[1, 2, 3, 4]));
    s.says("n1 gives n4 a lane with the first write that n4 passes on");
    s.put(4, &j, "w");
    s.deliver();
    let put = s.put(4, &k, "x");
    let forward = s.cluster.net.remove(0);
    s.cluster.deliver(forward.clone());
    s.says("a copy while the first is under way");
    s.cluster.deliver(forward.clone());
    s.says("the answer is lost; a copy is answered again");
    s.cluster.deliver_unless(|p| p.to == id(4));
    assert!(!s.cluster.replies.contains_key(&put));
    s.cluster.run(150, |_| false);
    assert!(matches!(s.cluster.replies[&put], ClientReply::Done { .. }));
    s.says("a late copy");
    s.cluster.deliver(forward);
    s.deliver();
    s.states(&k);
    assert_eq!(s.cluster.held(id(1), &k).clock().to_string(), "{n1:1}");
    insta::assert_snapshot!(s.end());
}

/// Only the coordinator is up, and no failure detector has noticed: the write is answered as unfinished, and its hints
/// are kept.
#[test]
fn unfinished() {
    let mut s = Script::new(3, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    let put = s.put(1, &k, "x");
    s.cluster.run(999, without(&[2, 3]));
    assert!(!s.cluster.replies.contains_key(&put));
    s.cluster.run(1, without(&[2, 3]));
    let achieved = Achieved { wanted: 2, replicas: 1, hints: 0 };
    assert_eq!(s.cluster.replies[&put], ClientReply::Unfinished { achieved });
    let read = s.get(1, &k);
    s.cluster.run(1000, without(&[2, 3]));
    assert_eq!(s.cluster.replies[&read], ClientReply::Unfinished { achieved });
    insta::assert_snapshot!(s.end());
}

/// Requests that are refused before anything is done, and the reasons.
#[test]
fn refused() {
    let mut s = Script::new(3, three(), |config| config.max_open = 1);
    let (k, other) = (s.cluster.key("k", &[1, 2, 3]), s.cluster.key("other", &[1, 2, 3]));
    s.put(1, &k, "x");
    s.says("one is open");
    s.get(1, &k);
    s.deliver();
    let read = s.get(1, &k);
    s.deliver();
    s.put_after(1, &other, "y", read);
    let mut damaged = s.context(read).to_vec();
    damaged[20] ^= 1;
    let mut request = s.set(&k, "y");
    if let ClientRequest::Put { context, .. } = &mut request {
        *context = damaged.into();
    }
    s.cluster.request(id(1), request);
    s.cluster.request(id(1), ClientRequest::Get { key: k.clone(), r: Some(Level::Count(4)), deadline_ms: 1 });
    let request = s.set(&Key::from(vec![b'k'; 5000]), "y");
    s.cluster.transcript.as_mut().unwrap().push_str("a key of 5000 bytes\n");
    let transcript = s.cluster.transcript.take();
    let long = s.cluster.request(id(1), request);
    s.cluster.transcript = transcript;
    let why = transcript::reply(&s.cluster.replies[&long]);
    s.cluster.note(&why);
    assert_eq!(s.cluster.held(id(1), &k).clock().to_string(), "{n1:1}");
    insta::assert_snapshot!(s.end());
}

/// C is down when Key1 is written. D keeps a hint for C, across a restart of its own, until C is back and has the
/// write.
#[test]
fn hinted_handoff() {
    let mut s = Script::new(4, three(), |_| {});
    let k = s.cluster.key("Key1", &[1, 2, 3, 4]);
    let (c, d) = (id(3), id(4));
    s.says("C, which is n3, goes down, and all have noticed");
    s.cluster.crash(c, 0);
    s.cluster.believe(c, false);
    let put = s.put(1, &k, "x");
    s.deliver();
    let achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
    assert_eq!(s.cluster.replies[&put], ClientReply::Done { achieved });
    s.says("D, which is n4, restarts: it finds the hint on its disk, and C still down");
    s.cluster.crash(d, 0);
    s.cluster.restart(d);
    s.cluster.step(d, Input::Request(Request::Peer { node: c, up: false }));
    s.cluster.run(2000, |_| false);
    assert_eq!(s.cluster.nodes[&d].dynamo.hints().len(), 1);
    s.says("C is back, but does not hear yet: the first hand-off is lost, and what the sweeps of A and B ask");
    s.cluster.restart(c);
    s.cluster.believe(c, true);
    s.cluster.run(2500, |p| p.to == c);
    s.says("some rounds later D tries again");
    s.cluster.run(4000, |_| false);
    s.states(&k);
    assert!(s.cluster.nodes[&d].dynamo.hints().is_empty());
    assert_eq!(s.cluster.held(c, &k), s.cluster.held(id(1), &k));
    s.says("what C has came by hand-off");
    let causes: Vec<Cause> = s.cluster.nodes[&c].dynamo.why(&k)[0].arrivals.iter().map(|a| a.cause).collect();
    assert_eq!(causes, [Cause::Handoff(d)]);
    insta::assert_snapshot!(s.end());
}

/// A deleted key is forgotten once all replicas have acknowledged that, and nothing older can be in transit: five
/// epochs.
#[test]
fn delete_and_collect() {
    let mut s = Script::new(3, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.deliver();
    let read = s.get(1, &k);
    s.deliver();
    let mut request = s.set(&k, "");
    let seen = s.context(read);
    if let ClientRequest::Put { update, context, .. } = &mut request {
        (*update, *context) = (Update::Delete, seen);
    }
    s.says("n3 is away when the key is deleted");
    s.cluster.crash(id(3), 0);
    s.cluster.believe(id(3), false);
    s.cluster.request(id(1), request);
    s.cluster.run(5000, |_| false);
    let gone = s.get(1, &k);
    s.deliver();
    assert!(s.values(gone).is_empty() && !s.context(gone).is_empty());
    assert!(s.cluster.held(id(1), &k).is_deleted(), "kept while n3 may have the old value");
    s.says("n3 is back, and gets the tombstone");
    s.cluster.restart(id(3));
    s.cluster.believe(id(3), true);
    s.cluster.run(10_000, |_| false);
    assert!((1..=3).all(|n| s.cluster.held(id(n), &k).is_empty()));
    insta::assert_snapshot!(s.end());
}

/// The coordinator crashes between its own write and the others. No other node knows of the write until the coordinator
/// is back and runs anti-entropy.
#[test]
fn sweep_after_a_crash() {
    let mut s = Script::new(3, three(), |_| {});
    let k = s.cluster.key("k", &[1, 2, 3]);
    let put = s.put(1, &k, "x");
    s.cluster.net.clear();
    s.cluster.crash(id(1), 0);
    s.cluster.believe(id(1), false);
    s.cluster.run(2000, |_| false);
    assert!(s.cluster.held(id(2), &k).is_empty() && !s.cluster.replies.contains_key(&put));
    s.says("n1 has it on disk; it starts, and its sweep finds that the others lack it");
    s.cluster.restart(id(1));
    s.cluster.believe(id(1), true);
    s.cluster.run(2000, |_| false);
    s.states(&k);
    assert!([2, 3].iter().all(|n| s.cluster.held(id(*n), &k) == s.cluster.held(id(1), &k)));
    s.says("no answer was ever given, and nothing is left to do");
    let before = s.cluster.notes.len();
    s.cluster.run(10_000, |p| panic!("still talking: {}", transcript::message(&p.message, &BTreeMap::new())));
    assert!(!s.cluster.replies.contains_key(&put) && s.cluster.notes.len() == before);
    insta::assert_snapshot!(s.end());
}

/// No node has room for a hint. When the owner is back, the others' anti-entropy brings it what it missed.
#[test]
fn sweep_after_a_refused_hint() {
    let mut s = Script::new(3, three(), |config| config.hint_bytes = 0);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.cluster.crash(id(3), 0);
    s.cluster.believe(id(3), false);
    let put = s.put(1, &k, "x");
    s.cluster.run(2000, |_| false);
    let achieved = Achieved { wanted: 2, replicas: 2, hints: 0 };
    assert_eq!(s.cluster.replies[&put], ClientReply::Done { achieved });
    assert!(s.cluster.nodes.values().all(|node| node.dynamo.hints().is_empty()));
    s.says("n3 is back");
    s.cluster.restart(id(3));
    s.cluster.believe(id(3), true);
    s.cluster.run(2000, |_| false);
    s.states(&k);
    assert_eq!(s.cluster.held(id(3), &k), s.cluster.held(id(1), &k));
    let repaired = |(node, note): &&(NodeId, Note)| *node != id(3) && matches!(note, Note::Repaired { .. });
    assert!(s.cluster.notes.iter().any(|note| repaired(&note)));
    insta::assert_snapshot!(s.end());
}

/// Messages of anti-entropy are lost too; it retries comparisons and repairs until they arrive.
#[test]
fn sweep_over_a_bad_network() {
    let mut s = Script::new(3, three(), |config| config.hint_bytes = 0);
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.put(1, &k, "x");
    s.cluster.net.clear();
    s.cluster.crash(id(1), 0);
    s.cluster.restart(id(1));
    s.says("the first questions are lost");
    s.cluster.run(300, |p| p.to == id(2) || p.to == id(3));
    s.says("then the first repairs");
    s.cluster.run(400, |p| matches!(p.message, Message::Put { .. }));
    s.cluster.run(2000, |_| false);
    s.states(&k);
    assert!([2, 3].iter().all(|n| s.cluster.held(id(*n), &k) == s.cluster.held(id(1), &k)));
    insta::assert_snapshot!(s.end());
}

/// Zero pauses do not make any node spin.
#[test]
fn pauses_are_never_zero() {
    let zero = |config: &mut Config| {
        (config.hint_after, config.hedge_after, config.housekeeping) = Default::default();
    };
    let mut s = Script::new(3, three(), zero);
    let k = s.cluster.key("k", &[1, 2, 3]);
    let (put, get) = (s.put(1, &k, "x"), s.get(2, &k));
    s.cluster.run(2, |_| true);
    s.cluster.run(50, |_| false);
    assert!(matches!(s.cluster.replies[&put], ClientReply::Done { .. }));
    assert_eq!(s.values(get), ["x"]);
}
