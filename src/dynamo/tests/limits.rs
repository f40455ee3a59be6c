//! What is accepted can be read back, whichever node sends it, and nothing grows without bound.

use super::cluster::Packet;
use super::scribe::{Script, three};
use super::*;
use crate::dynamo::context::Seen;
use crate::dynamo::crdt::Op;
use crate::dynamo::siblings::{Content, Siblings, WriteId};
use crate::dynamo::version_vector::Actor;
use crate::types::{Hlc, MAX_KEY_BYTES, MAX_VALUE_BYTES, MergeKind, Policy, Resolve};

fn none(_: &Packet) -> bool {
    false
}

fn quiet(size: u32, policy: Policy) -> Script {
    let mut s = Script::new(size, policy, |_| {});
    s.cluster.transcript = None;
    s
}

/// A state with one version, as another node would send it.
fn one(incarnation: u64, content: Content) -> Siblings {
    let mut siblings = Siblings::default();
    let (actor, write) = (Actor { node: id(2), incarnation }, WriteId { client: 1, number: incarnation });
    siblings.write(&Seen::default(), actor, (Hlc(1), write), content, (Resolve::Siblings, Mutant::default()));
    siblings
}

fn put(key: &Key, siblings: Siblings) -> Message {
    Message::Put { op: 2, key: key.clone(), siblings, owner: None, cause: Cause::Write(id(2)), epoch: 0 }
}

fn can_be_read_back(record: &Record) -> bool {
    let mut bytes = Vec::new();
    encoding::encode(record, &mut bytes);
    encoding::decode(&mut &bytes[..]).as_ref() == Some(record)
}

/// Two clients assign to a register at the same time, then a third assigns a value that is too long.
#[test]
fn a_register_of_several_long_values() {
    let mut s = quiet(3, Policy { resolve: Resolve::Merge(MergeKind::Register), ..three() });
    let k = s.cluster.key("k", &[1, 2, 3]);
    let assign = |s: &mut Script, n: u32, bytes: usize| {
        let mut request = s.set(&k, "");
        if let ClientRequest::Put { update, .. } = &mut request {
            *update = Update::Merge(Op::Assign(Bytes::from(vec![n as u8; bytes])));
        }
        s.cluster.request(id(n), request)
    };
    let long = [1, 2].map(|n| assign(&mut s, n, MAX_VALUE_BYTES - 100));
    s.cluster.run(2000, none);
    assert!(long.iter().all(|put| matches!(s.cluster.replies[put], ClientReply::Done { .. })));
    let longer = assign(&mut s, 1, MAX_VALUE_BYTES * 3 / 2);
    s.cluster.run(2000, none);
    assert!(matches!(&s.cluster.replies[&longer], ClientReply::Refused(Refusal::Invalid(_))));
    for n in 1..=3 {
        let entry = s.cluster.nodes[&id(n)].dynamo.keys()[&k].clone();
        assert_eq!(entry.siblings.versions().len(), 2);
        assert!(can_be_read_back(&Record::Key(k.clone(), Some(entry))));
    }
}

/// A peer sends a key, a value or a version vector that is longer than allowed: it is ignored, and a note reports it.
#[test]
fn too_long_from_a_peer() {
    let mut s = quiet(3, three());
    let value = |bytes: usize| Content::Value(Bytes::from(vec![7; bytes]));
    let long = Key::from("k".repeat(MAX_KEY_BYTES + 1));
    let k = s.cluster.key("k", &[1, 2, 3]);
    for (key, siblings) in [(&long, one(1, value(1))), (&k, one(1, value(MAX_VALUE_BYTES + 1)))] {
        s.cluster.step(id(1), Input::Message(id(2), put(key, siblings)));
        assert!(s.cluster.held(id(1), key).is_empty());
        assert_eq!(s.cluster.notes.pop(), Some((id(1), Note::Nonsense { from: id(2) })));
    }
    let mut wide = one(1, value(1));
    for incarnation in 2..=context::MAX_HELD_ACTORS as u64 + 1 {
        wide.merge(&one(incarnation, Content::Tombstone), Resolve::LastWriter, Mutant::default());
    }
    s.cluster.step(id(1), Input::Message(id(2), put(&k, wide)));
    assert!(s.cluster.held(id(1), &k).is_empty());
    assert_eq!(s.cluster.notes.pop(), Some((id(1), Note::Full { key: k })));
}

/// A replica whose disk stalls accepts a limited amount of data, and continues when the disk does.
#[test]
fn a_stalled_disk() {
    let mut s = Script::new(3, three(), |config| config.unsynced_bytes = 1 << 20);
    s.cluster.transcript = None;
    let first = s.cluster.key("first", &[1, 2, 3]);
    s.put(1, &first, "x");
    s.cluster.run(100, none);
    s.cluster.instant_disk = false;
    let mut taken = 0;
    for n in 0..100 {
        let key = Key::from(format!("key{n}"));
        let ask = s.set(&key, &"v".repeat(100_000));
        s.cluster.oracle.asked(n, &ask);
        let ClientRequest::Put { write, update: Update::Set(value), .. } = ask else { panic!("a put") };
        let siblings = one(write.number, Content::Value(value));
        s.cluster.step(id(1), Input::Message(id(2), put(&key, siblings)));
        taken += s.cluster.held(id(1), &key).bytes();
        s.cluster.net.clear();
    }
    assert!(((1 << 20)..(1 << 20) + 110_000).contains(&taken), "{taken} bytes taken in");
    let refused = s.put(1, &first, "y");
    assert_eq!(s.cluster.replies[&refused], ClientReply::Refused(Refusal::Busy));
    s.cluster.instant_disk = true;
    s.cluster.sync(id(1));
    let taken = s.put(1, &first, "z");
    s.cluster.run(100, none);
    assert!(matches!(s.cluster.replies[&taken], ClientReply::Done { .. }));
}

/// The memory that operations keep is limited too.
#[test]
fn many_open_writes() {
    let mut s = Script::new(3, three(), |config| config.open_bytes = 1 << 20);
    s.cluster.transcript = None;
    let k = s.cluster.key("k", &[1, 2, 3]);
    let value = "v".repeat(100_000);
    let puts: Vec<RequestId> = (0..20).map(|_| s.put(1, &k, &value)).collect();
    let refused = puts.iter().filter(|put| s.cluster.replies.contains_key(put)).count();
    // Each write keeps all versions that exist by then.
    assert_eq!(refused, 20 - 5);
    s.cluster.run(2000, none);
    let last = s.put(1, &k, "small");
    s.cluster.run(100, none);
    assert!(matches!(s.cluster.replies[&last], ClientReply::Done { .. }));
}

/// A key that is written and deleted again and again while a server is down leaves one tombstone, and a version vector
/// of one actor.
#[test]
fn a_key_deleted_many_times_while_one_is_down() {
    let mut s = quiet(4, three());
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.cluster.crash(id(4), 0);
    s.cluster.believe(id(4), false);
    for _ in 0..50 {
        s.put(1, &k, "x");
        s.cluster.run(600, none);
        s.delete(1, &k);
        s.cluster.run(600, none);
    }
    assert_eq!(s.cluster.nodes[&id(1)].dynamo.store.keys_waiting(), 1);
    assert_eq!(s.cluster.held(id(1), &k).clock().len(), 1);
    s.cluster.restart(id(4));
    s.cluster.believe(id(4), true);
    s.cluster.run(60_000, none);
    assert!(s.cluster.held(id(1), &k).is_empty(), "forgotten");
}

/// A counter is deleted and started again many times while a server is down.
#[test]
fn a_counter_deleted_many_times_while_one_is_down() {
    let mut s = quiet(4, Policy { resolve: Resolve::Merge(MergeKind::Counter), ..three() });
    let k = s.cluster.key("k", &[1, 2, 3]);
    s.cluster.crash(id(4), 0);
    s.cluster.believe(id(4), false);
    for n in 0..300 {
        let add = s.add(1 + n % 3, &k, 1 + i64::from(n));
        s.cluster.run(50, none);
        assert_eq!(s.values(add), [(1 + n).to_string()], "it begins anew");
        s.delete(1, &k);
        s.cluster.run(50, none);
    }
    assert!(s.cluster.held(id(1), &k).clock().len() <= 3);
}

/// Nodes restart many times, each time as another actor: version vectors are pruned.
#[test]
fn many_restarts() {
    let mut s = quiet(3, three());
    let k = s.cluster.key("k", &[1, 2, 3]);
    let mut most = 0;
    for n in 0..120 {
        let read = s.get(1 + n % 3, &k);
        s.cluster.run(100, none);
        s.put_after(1 + n % 3, &k, &n.to_string(), read);
        s.cluster.run(3000, none);
        s.cluster.crash(id(1 + n % 3), 0);
        s.cluster.restart(id(1 + n % 3));
        most = most.max(s.cluster.held(id(1), &k).clock().len());
    }
    assert!((17..40).contains(&most), "{most} actors");
}
