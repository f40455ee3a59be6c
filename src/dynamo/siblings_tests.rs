//! Tests of merging versions: by example, and against a model that tracks which write had seen which.

use super::*;
use crate::types::{Bytes, NodeId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn actor(node: u32) -> Actor {
    Actor { node: NodeId(node), incarnation: 1 }
}

fn put(state: &mut Siblings, seen: &Seen, node: u32, id: u64, value: &str) -> Dot {
    let content = Content::Value(Bytes::copy_from_slice(value.as_bytes()));
    let id = (Hlc(id), WriteId { client: 1, number: id });
    state.write(seen, actor(node), id, content, (Resolve::Siblings, Mutant::default()))
}

fn values(state: &Siblings) -> Vec<String> {
    let text = |v: &Version| match &v.content {
        Content::Value(value) => String::from_utf8_lossy(value).into_owned(),
        _ => "†".to_owned(),
    };
    state.versions().iter().map(text).collect()
}

fn merged(a: &Siblings, b: &Siblings) -> Siblings {
    let mut out = a.clone();
    out.merge(b, Resolve::Siblings, Mutant::default());
    out
}

#[test]
fn red_and_blue_become_purple() {
    let (mut a, mut b) = (Siblings::default(), Siblings::default());
    put(&mut a, &Seen::default(), 1, 1, "Red");
    put(&mut b, &Seen::default(), 2, 2, "Blue");
    let both = merged(&a, &b);
    assert_eq!(both, merged(&b, &a));
    assert_eq!(values(&both), ["Red", "Blue"]);
    assert_eq!(both.clock().to_string(), "{n1:1, n2:1}");
    let mut c = both.clone();
    put(&mut c, &Seen::of(&both), 3, 3, "Purple");
    assert_eq!(values(&c), ["Purple"]);
    assert_eq!(c.clock().to_string(), "{n1:1, n2:1, n3:1}");
    for state in [&a, &b, &both] {
        assert_eq!(merged(state, &c), c, "an ancestor is overwritten");
        assert!(c.includes(state) && !state.includes(&c));
    }
}

#[test]
fn a_write_is_later_than_what_it_has_seen_even_where_that_is_not_held() {
    let mut fast = Siblings::default();
    put(&mut fast, &Seen::default(), 1, 9_000, "x");
    let mut slow = Siblings::default();
    put(&mut slow, &Seen::of(&fast), 2, 7, "y");
    assert_eq!(slow.versions()[0].stamp, Hlc(9_001));
}

#[test]
fn one_server_invents_no_siblings_and_loses_none() {
    let mut a = Siblings::default();
    put(&mut a, &Seen::default(), 1, 1, "x");
    let seen = Seen::of(&a);
    put(&mut a, &seen, 1, 2, "y");
    assert_eq!(values(&a), ["y"]);
    put(&mut a, &seen, 1, 3, "z");
    assert_eq!(values(&a), ["y", "z"], "both had seen x, neither the other");
}

/// One event in a system of three replicas.
#[derive(Clone, Debug)]
enum Event {
    /// A client writes at a replica, with the context it got at the read with this index, or none.
    Write {
        at: usize,
        read: Option<prop::sample::Index>,
        stamp: u64,
    },
    Read {
        at: usize,
    },
    /// A replica sends its state.
    Send {
        from: usize,
    },
    /// Any state that was ever sent arrives, possibly late or again.
    Deliver {
        to: usize,
        message: prop::sample::Index,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let (node, index) = (|| 0..3usize, any::<prop::sample::Index>);
    prop_oneof![
        (node(), proptest::option::of(index()), 1..50u64).prop_map(|(at, read, stamp)| Event::Write {
            at,
            read,
            stamp
        }),
        node().prop_map(|at| Event::Read { at }),
        node().prop_map(|from| Event::Send { from }),
        (node(), index()).prop_map(|(to, message)| Event::Deliver { to, message }),
    ]
}

/// Three replicas, and a model that tracks which writes each write had seen.
#[derive(Default)]
struct World {
    replicas: [Siblings; 3],
    sent: Vec<Siblings>,
    reads: Vec<(Seen, BTreeSet<u64>)>,
    writes: Vec<(Seen, BTreeSet<u64>)>,
    /// All versions ever made, by timestamp and dot.
    minted: BTreeMap<(Hlc, Dot), u64>,
}

impl World {
    fn run(events: &[Event], resolve: Resolve) -> World {
        let mut world = World::default();
        events.iter().for_each(|event| world.happen(event, resolve));
        world
    }

    fn happen(&mut self, event: &Event, resolve: Resolve) {
        match event {
            Event::Write { at, read, stamp } => {
                let read = read.as_ref().filter(|_| !self.reads.is_empty());
                self.writes.push(read.map_or_else(Default::default, |read| read.get(&self.reads).clone()));
                self.put(*at, self.writes.len() - 1, *stamp, resolve);
            }
            Event::Read { at } => {
                let seen = self.replicas[*at].versions().iter().map(|v| v.write.number).collect();
                self.reads.push((Seen::of(&self.replicas[*at]), seen));
            }
            Event::Send { from } => self.sent.push(self.replicas[*from].clone()),
            Event::Deliver { to, message } if !self.sent.is_empty() => {
                let message = message.get(&self.sent).clone();
                let before = self.replicas[*to].clone();
                let changed = self.replicas[*to].merge(&message, resolve, Mutant::default());
                assert_eq!(changed, before != self.replicas[*to], "a merge says rightly whether it changed anything");
                assert!(self.replicas[*to].is_sane());
                assert!(self.replicas[*to].includes(&message));
            }
            Event::Deliver { .. } => {}
        }
        if resolve == Resolve::Siblings {
            self.replicas.iter().for_each(|replica| self.shows_nothing_superseded(replica));
        }
    }

    /// Asserts that the replica holds no write together with one that supersedes it, directly or through other writes.
    fn shows_nothing_superseded(&self, replica: &Siblings) {
        let shown = ids(replica);
        let mut left: Vec<u64> = shown.iter().copied().collect();
        let mut superseded = BTreeSet::new();
        while let Some(write) = left.pop() {
            let seen = self.writes[write as usize].1.iter();
            left.extend(seen.filter(|old| superseded.insert(**old)));
        }
        let back: Vec<_> = shown.intersection(&superseded).collect();
        assert!(back.is_empty(), "{back:?} beside what superseded it: {replica:?}");
    }

    fn put(&mut self, at: usize, number: usize, stamp: u64, resolve: Resolve) {
        let (replica, id) = (&mut self.replicas[at], WriteId { client: 1, number: number as u64 });
        let (name, rules) = ((Hlc(stamp), id), (resolve, Mutant::default()));
        replica.write(&self.writes[number].0, actor(at as u32), name, Content::Tombstone, rules);
        self.minted.extend(replica.versions().iter().map(|v| ((v.stamp, v.dot), v.write.number)));
        assert!(replica.is_sane());
    }

    fn all(&self, order: [usize; 3], resolve: Resolve) -> Siblings {
        let mut all = Siblings::default();
        for at in order {
            all.merge(&self.replicas[at], resolve, Mutant::default());
        }
        all
    }
}

fn ids(state: &Siblings) -> BTreeSet<u64> {
    state.versions().iter().map(|v| v.write.number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Exactly those writes are left that no other write had seen, even if messages are late or duplicated.
    #[test]
    fn exactly_the_writes_nobody_saw_survive(events in proptest::collection::vec(event(), 1..60)) {
        let world = World::run(&events, Resolve::Siblings);
        let seen: BTreeSet<u64> = world.writes.iter().flat_map(|(_, seen)| seen).copied().collect();
        let expected: BTreeSet<u64> = (0..world.writes.len() as u64).filter(|id| !seen.contains(id)).collect();
        prop_assert_eq!(ids(&world.all([0, 1, 2], Resolve::Siblings)), expected);
    }

    #[test]
    fn the_last_writer_wins_whatever_the_order(events in proptest::collection::vec(event(), 1..60)) {
        let world = World::run(&events, Resolve::LastWriter);
        let last = world.minted.last_key_value().map(|(_, id)| *id);
        prop_assert_eq!(ids(&world.all([2, 0, 1], Resolve::LastWriter)), last.into_iter().collect());
    }

    /// The order, number and grouping of merges make no difference.
    #[test]
    fn replicas_are_a_lattice(events in proptest::collection::vec(event(), 1..60), last_writer: bool) {
        let resolve = if last_writer { Resolve::LastWriter } else { Resolve::Siblings };
        let world = World::run(&events, resolve);
        let [a, b, c] = &world.replicas;
        let join = |x: &Siblings, y: &Siblings| {
            let mut out = x.clone();
            out.merge(y, resolve, Mutant::default());
            out
        };
        prop_assert_eq!(join(a, b), join(b, a));
        prop_assert_eq!(&join(a, a), a);
        prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        prop_assert_eq!(&join(&join(a, b), b), &join(a, b));
    }
}
