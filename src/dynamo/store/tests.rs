//! Tests of several stores in one process, with a network that delivers, delays or duplicates messages as the test
//! says, and disks that lose nothing.

use super::*;
use crate::dynamo::context::Seen;
use crate::dynamo::siblings::{Content, Version, WriteId};
use crate::dynamo::version_vector::{Actor, MAX_COUNT, VersionVector};
use crate::dynamo::write::Written;
use crate::dynamo::{Refusal, StoreSnapshot, Update, encoding as bytes};
use crate::placement::{Buckets, Layout};
use crate::types::{Bytes, Level, Policy, Rng};
use proptest::prelude::*;

const KEY: Key = Key::from_static(b"k");

struct Node {
    store: Store,
    out: Outbox<Dynamo>,
    log: Vec<Record>,
    notes: Vec<Note>,
}

struct Cluster {
    nodes: Vec<Node>,
    layout: Arc<Layout>,
    config: Config,
    now: Time,
    writes: u64,
    /// Messages in flight: sender, receiver, message.
    wire: Vec<(usize, usize, Message)>,
}

fn policy() -> Policy {
    Policy { n: 3, r: Level::One, w: Level::One, sloppy: true, resolve: Resolve::Siblings }
}

impl Cluster {
    fn new(count: u32, policy: Policy, adjust: impl FnOnce(&mut Config)) -> Cluster {
        let ids: Vec<NodeId> = (0..count).map(NodeId).collect();
        let buckets = Buckets { default: Mode::Ap(policy), ..Buckets::default() };
        let layout = Arc::new(Layout::simple(&ids, buckets));
        let mut config = Config::new(NodeId(0));
        adjust(&mut config);
        let (now, writes, wire) = (Time(0), 0, Vec::new());
        let mut cluster = Cluster { nodes: Vec::new(), layout, config, now, writes, wire };
        for n in 0..count as usize {
            let store = cluster.open(n, Recovered::default());
            cluster.nodes.push(Node { store, out: Outbox::default(), log: Vec::new(), notes: Vec::new() });
        }
        cluster
    }

    fn open(&self, n: usize, recovered: Recovered) -> Store {
        let config = Config { id: NodeId(n as u32), ..self.config.clone() };
        let rng = Rng::new(n as u64 + self.now.0, "store");
        let mut store = Store::new(&config, self.layout.clone(), recovered, self.now, rng);
        store.date(Wall(self.now.0));
        // The start has been announced already.
        store.greets = false;
        store
    }

    /// Returns the replicas of the key, then the other nodes.
    fn order(&self) -> Vec<usize> {
        self.layout.order(&KEY).iter().map(|node| node.0 as usize).collect()
    }

    fn restart(&mut self, n: usize) {
        let mut recovered = Recovered::default();
        self.nodes[n].log.iter().for_each(|record| recovered.replay(record.clone()).unwrap());
        self.nodes[n].store = self.open(n, recovered);
        self.nodes[n].out = Outbox::default();
    }

    /// Persists a node's records and puts its messages on the wire.
    fn settle(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        loop {
            let sends = std::mem::take(&mut node.out.sends);
            self.wire.extend(sends.into_iter().map(|sent| (n, sent.to.0 as usize, sent.message)));
            node.notes.extend(node.out.effects.drain(..).map(|effect| match effect {
                Effect::Note(note) => note,
                Effect::Reply { .. } => unreachable!("a store answers no clients"),
            }));
            let Some((ticket, records)) = node.out.take_records() else { break };
            node.log.extend(records);
            node.store.persisted(ticket, self.now, &mut node.out);
        }
    }

    fn put(&mut self, n: usize, owner: Option<usize>, context: &Seen, update: &Update) -> Result<Written, Refusal> {
        self.writes += 1;
        let (write, owner) = (WriteId { client: 1, number: self.writes }, owner.map(|owner| NodeId(owner as u32)));
        let node = &mut self.nodes[n];
        let written = node.store.write(&KEY, owner, context, write, update, &policy(), &mut node.out);
        self.settle(n);
        written
    }

    fn take(&mut self, n: usize, siblings: &Siblings, owner: Option<usize>, epoch: Epoch) -> PutResult {
        let (owner, cause) = (owner.map(|owner| NodeId(owner as u32)), Cause::Write(NodeId(9)));
        let node = &mut self.nodes[n];
        let (result, _) = node.store.take_in(&KEY, siblings, owner, cause, epoch, &mut node.out);
        self.settle(n);
        result
    }

    fn up(&mut self, node: usize, up: bool) {
        self.nodes.iter_mut().for_each(|other| other.store.peer(NodeId(node as u32), up));
    }

    /// Delivers all messages in flight, and those that result from them.
    fn deliver(&mut self) {
        while !self.wire.is_empty() {
            let (from, to, message) = self.wire.remove(0);
            let node = &mut self.nodes[to];
            node.store.message(NodeId(from as u32), message, &mut node.out);
            self.settle(to);
        }
    }

    /// Advances time by this many rounds of housekeeping.
    fn pass(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.now = self.now + self.config.housekeeping;
            for n in 0..self.nodes.len() {
                let node = &mut self.nodes[n];
                node.store.date(Wall(self.now.0));
                node.store.tick(self.now, &mut node.out);
                self.settle(n);
            }
            self.deliver();
        }
    }

    fn values(&self, n: usize) -> Vec<String> {
        self.nodes[n].store.holds(&KEY).map(|entry| text(entry.siblings.versions())).unwrap_or_default()
    }

    /// Returns the values at each replica.
    fn all_values(&self) -> [Vec<String>; 3] {
        let order = self.order();
        [0, 1, 2].map(|slot| self.values(order[slot]))
    }

    fn hints(&self, n: usize) -> usize {
        self.nodes[n].store.hints.all().len()
    }

    /// Writes at the first replica and merges the result into the other two.
    fn everywhere(&mut self, context: &Seen, update: &Update) -> Siblings {
        let order = self.order();
        let siblings = self.put(order[0], None, context, update).unwrap().siblings;
        order[1..3].iter().for_each(|n| assert_eq!(self.take(*n, &siblings, None, 0), PutResult::Stored));
        siblings
    }
}

fn text(versions: &[Version]) -> Vec<String> {
    let text = |v: &Version| match &v.content {
        Content::Value(value) => String::from_utf8_lossy(value).into_owned(),
        _ => "†".to_owned(),
    };
    versions.iter().map(text).collect()
}

fn set(value: &'static str) -> Update {
    Update::Set(Bytes::from_static(value.as_bytes()))
}

fn none() -> Seen {
    Seen::default()
}

#[test]
fn a_hint_survives_a_restart_and_goes_when_its_owner_has_it() {
    let mut c = Cluster::new(4, policy(), |_| {});
    let [_, _, owner, keeper] = c.order()[..] else { panic!("four nodes") };
    c.up(owner, false);
    c.put(keeper, Some(owner), &none(), &set("x")).unwrap();
    c.pass(3);
    c.restart(keeper);
    c.nodes[keeper].store.peer(NodeId(owner as u32), false);
    c.pass(3);
    assert_eq!((c.hints(keeper), c.values(owner)), (1, vec![]));
    let why = c.nodes[keeper].store.why(&KEY);
    assert_eq!((why.len(), why[0].owner, why[0].place), (1, Some(NodeId(owner as u32)), None));
    assert_eq!(why[0].arrivals[0].cause, Cause::Write(NodeId(keeper as u32)));
    c.up(owner, true);
    c.pass(1);
    assert_eq!((c.hints(keeper), c.values(owner)), (0, vec!["x".to_owned()]));
    assert_eq!(c.nodes[owner].store.why(&KEY)[0].arrivals[0].cause, Cause::Handoff(NodeId(keeper as u32)));
    c.restart(keeper);
    assert_eq!(c.hints(keeper), 0);
    assert!(c.nodes.iter().all(|node| node.store.deadline().is_none()), "idle again");
}

#[test]
fn a_hint_that_has_grown_meanwhile_stays() {
    let mut c = Cluster::new(4, policy(), |_| {});
    let [_, _, owner, keeper] = c.order()[..] else { panic!("four nodes") };
    c.put(keeper, Some(owner), &none(), &set("x")).unwrap();
    c.now = Time(1);
    let node = &mut c.nodes[keeper];
    node.store.tick(Time(1), &mut node.out);
    c.settle(keeper);
    assert!(matches!(c.wire[..], [(_, _, Message::Put { .. })]));
    c.put(keeper, Some(owner), &none(), &set("y")).unwrap();
    c.deliver();
    assert_eq!((c.hints(keeper), c.values(owner)), (1, vec!["x".to_owned()]));
    c.pass(1);
    assert_eq!((c.hints(keeper), c.values(owner)), (0, vec!["x".to_owned(), "y".to_owned()]));
}

#[test]
fn an_answer_to_an_earlier_life_drops_no_hint() {
    let mut c = Cluster::new(4, policy(), |_| {});
    let [_, _, owner, keeper] = c.order()[..] else { panic!("four nodes") };
    c.put(keeper, Some(owner), &none(), &set("x")).unwrap();
    let op = |c: &mut Cluster| {
        c.now = c.now + c.config.housekeeping;
        let (now, node) = (c.now, &mut c.nodes[keeper]);
        node.store.tick(now, &mut node.out);
        c.settle(keeper);
        let (_, _, Message::Put { op, .. }) = c.wire.remove(0) else { panic!("no hand-off") };
        op
    };
    let first = op(&mut c);
    c.restart(keeper);
    assert_ne!(op(&mut c), first);
    c.wire.push((owner, keeper, Message::PutReply { op: first, result: PutResult::Stored }));
    c.deliver();
    assert_eq!(c.hints(keeper), 1);
}

#[test]
fn hints_have_a_limit() {
    let mut c = Cluster::new(4, policy(), |config| config.hint_bytes = 200);
    let [_, _, owner, keeper] = c.order()[..] else { panic!("four nodes") };
    c.put(keeper, Some(owner), &none(), &set("x")).unwrap();
    let long = Update::Set(Bytes::from(vec![0; 200]));
    assert_eq!(c.put(keeper, Some(owner), &none(), &long).unwrap_err(), Refusal::Busy);
    let other = c.put(c.order()[0], None, &none(), &long).unwrap().siblings;
    assert_eq!(c.take(keeper, &other, Some(owner), 0), PutResult::NoRoom);
    assert_eq!(c.nodes[keeper].notes.iter().filter(|n| matches!(n, Note::HintRefused { .. })).count(), 2);
    assert_eq!(c.hints(keeper), 1, "what was kept stays");
}

#[test]
fn a_hint_that_is_too_old_goes_to_another_replica() {
    let mut c = Cluster::new(4, policy(), |config| config.hint_age = Duration::from_secs(5));
    let [first, _, owner, keeper] = c.order()[..] else { panic!("four nodes") };
    c.up(owner, false);
    c.put(keeper, Some(owner), &none(), &set("x")).unwrap();
    c.pass(9);
    assert_eq!((c.hints(keeper), c.values(first)), (1, vec![]));
    c.pass(3);
    assert_eq!((c.hints(keeper), c.values(first)), (0, vec!["x".to_owned()]));
    assert!(matches!(c.nodes[keeper].notes.last(), Some(Note::HintExpired { .. })));
}

#[test]
fn a_tombstone_that_all_hold_is_forgotten_and_nothing_old_comes_back() {
    let mut c = Cluster::new(4, policy(), |_| {});
    let [first, second, third, keeper] = c.order()[..] else { panic!("four nodes") };
    let old = c.everywhere(&none(), &set("x"));
    c.everywhere(&Seen::of(&old), &Update::Delete);
    assert_eq!(c.values(second), ["†"]);
    c.pass(25);
    for n in [first, second, third] {
        assert_eq!(c.values(n), Vec::<String>::new());
        assert!(matches!(c.nodes[n].notes.last(), Some(Note::Collected { .. })), "{:?}", c.nodes[n].notes);
        assert!(c.nodes[n].store.deadline().is_none());
    }
    // A message gathered before the delete arrives now.
    assert_eq!(c.take(third, &old, None, 0), PutResult::TooOld);
    assert_eq!(c.take(keeper, &old, Some(third), 0), PutResult::TooOld);
    c.restart(third);
    assert_eq!(c.take(third, &old, None, 0), PutResult::TooOld, "epochs survive a restart");
    assert_eq!(c.values(third), Vec::<String>::new());
    // With the present epoch instead, the old value is accepted and comes back.
    let now = c.nodes[third].store.epoch();
    assert_eq!(c.take(third, &old, None, now), PutResult::Stored);
    assert_eq!(c.values(third), ["x"]);
}

#[test]
fn a_tombstone_stays_while_a_node_is_down_or_an_old_hint_is_kept() {
    let mut c = Cluster::new(5, policy(), |_| {});
    let [_, _, third, keeper, other] = c.order()[..] else { panic!("five nodes") };
    let old = c.everywhere(&none(), &set("x"));
    assert_eq!(c.take(keeper, &old, Some(third), 0), PutResult::Stored);
    let gone = c.everywhere(&Seen::of(&old), &Update::Delete);
    c.up(other, false);
    c.pass(40);
    assert_eq!(c.all_values().concat(), ["†"; 3]);
    c.up(other, true);
    c.pass(40);
    assert_eq!(c.hints(keeper), 0);
    assert_eq!(c.all_values(), [const { Vec::<String>::new() }; 3]);
    // A copy of the tombstone with the present epoch is collected again, although the first replica knows nothing of
    // it.
    let now = c.nodes[third].store.epoch();
    assert_eq!(c.take(third, &gone, None, now), PutResult::Stored);
    c.pass(60);
    assert_eq!(c.all_values(), [const { Vec::<String>::new() }; 3]);
}

#[test]
fn a_replica_without_the_key_is_sent_the_tombstone_first() {
    let mut c = Cluster::new(3, policy(), |_| {});
    let [first, second, third] = c.order()[..] else { panic!("three nodes") };
    let old = c.put(first, None, &none(), &set("x")).unwrap().siblings;
    let dead = c.put(first, None, &Seen::of(&old), &Update::Delete).unwrap().siblings;
    c.take(second, &dead, None, 0);
    c.pass(2);
    // The old value, in flight until now, reaches the replica that did not have the key.
    assert_eq!(c.values(third), ["†"]);
    c.take(third, &old, None, 0);
    c.pass(20);
    assert_eq!(c.all_values(), [const { Vec::<String>::new() }; 3]);
}

#[test]
fn idle_entries_of_a_clock_are_pruned_and_stay_dead() {
    let mut c = Cluster::new(4, policy(), |_| {});
    let [first, second, third, keeper] = c.order()[..] else { panic!("four nodes") };
    let mut context = none();
    let mut olds = Vec::new();
    for _ in 0..40 {
        let written = c.put(keeper, Some(first), &context, &set("x")).unwrap().siblings;
        [first, second, third].iter().for_each(|n| assert_eq!(c.take(*n, &written, None, 0), PutResult::Stored));
        context = Seen::of(&written);
        olds.push(written);
        c.nodes[keeper].store.hints.set(NodeId(first as u32), &KEY, None);
    }
    assert_eq!(c.nodes[first].store.holds(&KEY).unwrap().siblings.clock().len(), 40);
    c.pass(12);
    for n in [first, second, third] {
        assert_eq!(c.nodes[n].store.holds(&KEY).unwrap().siblings.clock().len(), 1 + 40 - 40, "{:?}", c.nodes[n].notes);
        assert_eq!(c.take(n, &olds[3], None, 0), PutResult::TooOld);
        assert_eq!(c.values(n), ["x"]);
    }
}

#[test]
fn full_keys_refuse_writes_that_add_to_them() {
    let mut c = Cluster::new(3, policy(), |config| config.max_siblings = 3);
    let first = c.order()[0];
    for _ in 0..3 {
        c.put(first, None, &none(), &set("x")).unwrap();
    }
    assert_eq!(c.put(first, None, &none(), &set("y")).unwrap_err(), Refusal::TooManySiblings(3));
    let seen = c.nodes[first].store.holds(&KEY).unwrap().siblings.clock().clone();
    assert_eq!(text(c.put(first, None, &seen.into(), &set("y")).unwrap().siblings.versions()), ["y"]);
    let wide = VersionVector::of((1..=256).map(|incarnation| (Actor { node: NodeId(7), incarnation }, 1)));
    assert_eq!(c.put(first, None, &wide.into(), &set("z")).unwrap_err(), Refusal::TooManyActors(257));
    let add = Update::Merge(crate::dynamo::crdt::Op::Add(1));
    assert!(matches!(c.put(first, None, &none(), &add), Err(Refusal::Invalid(_))));
}

/// The versions held of a key always fit a frame, and a client that reads them can overwrite them.
#[test]
fn the_bytes_of_a_key_are_bounded() {
    let mut c = Cluster::new(3, policy(), |_| {});
    let order = c.order();
    let large = Update::Set(Bytes::from(vec![7; 1_000_000]));
    let full = |c: &mut Cluster, n| {
        for _ in 0..2 {
            c.put(n, None, &none(), &large).unwrap();
        }
        let refused = c.put(n, None, &none(), &large).unwrap_err();
        assert!(matches!(refused, Refusal::TooManyBytes(2_000_000..)), "{refused}");
        assert!(matches!(c.nodes[n].notes.last(), Some(Note::Full { .. })));
        c.nodes[n].store.holds(&KEY).unwrap().siblings.clone()
    };
    let sides: Vec<Siblings> = order.iter().map(|n| full(&mut c, *n)).collect();
    for side in &sides {
        assert_eq!(c.take(order[0], side, None, 0), PutResult::Stored, "three sides of a partition fit");
    }
    let mut more = Cluster::new(3, policy(), |_| {});
    let n = more.order()[1];
    (more.now, more.writes) = (Time(1), 100);
    more.restart(n);
    let mut fourth = full(&mut more, n);
    assert_eq!(c.take(order[0], &fourth, None, 0), PutResult::NoRoom);
    let all = c.nodes[order[0]].store.holds(&KEY).unwrap().siblings.clone();
    assert!(all.versions().len() == 6 && all.bytes() <= MAX_HELD_BYTES);
    // A client that reads one side can overwrite it; then both fit.
    let small = c.put(order[0], None, &Seen::of(&all), &large).unwrap().siblings;
    assert_eq!(small.versions().len(), 1);
    assert!(fourth.merge(&small, Resolve::Siblings, Mutant::default()));
    assert_eq!(c.take(order[0], &fourth, None, 0), PutResult::Stored);
}

/// If a context covers more of this node's writes than the node holds, or the maximum count, the actor's incarnation
/// ends.
#[test]
fn counts_are_bounded_and_no_dot_is_given_twice() {
    let mut c = Cluster::new(3, policy(), |_| {});
    let first = c.order()[0];
    let actor = |s: &Siblings| s.versions().last().unwrap().dot.actor;
    let before = actor(&c.put(first, None, &none(), &set("x")).unwrap().siblings);
    let lost = VersionVector::of([(before, 5)]);
    let after = c.put(first, None, &lost.into(), &set("y")).unwrap().siblings;
    assert_eq!(text(after.versions()), ["y"]);
    assert_ne!(after.versions()[0].dot.actor, before);
    assert!(after.is_sane());
    let all = VersionVector::of([(after.versions()[0].dot.actor, MAX_COUNT)]);
    let last = c.put(first, None, &all.into(), &set("z")).unwrap().siblings;
    assert!(last.is_sane() && last.versions()[0].dot.count == 1);
    let next = c.put(first, None, &Seen::of(&last), &set("zz")).unwrap().siblings;
    assert_eq!((text(next.versions()), next.versions()[0].dot.count), (vec!["zz".to_owned()], 2));
}

/// The timestamp of a write is later than everything its writer saw, even if this node's clock is behind and it holds
/// none of that.
#[test]
fn a_slow_clock_overwrites_what_a_fast_one_wrote() {
    let mut c = Cluster::new(3, Policy { resolve: Resolve::LastWriter, ..policy() }, |_| {});
    let [fast, slow, ..] = c.order()[..] else { panic!("three nodes") };
    c.nodes[fast].store.date(Wall(3_600_000_000_000));
    let x = c.put(fast, None, &none(), &set("x")).unwrap().siblings;
    let mut y = c.put(slow, None, &Seen::of(&x), &set("y")).unwrap().siblings;
    y.merge(&x, Resolve::LastWriter, Mutant::default());
    assert_eq!(text(y.versions()), ["y"]);
    let blind = c.put(slow, None, &none(), &set("z")).unwrap().siblings;
    assert!(blind.versions().iter().all(|v| v.stamp.0 <= x.versions()[0].stamp.0 + 1), "nor does that date spread");
}

#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_do_their_harm() {
    let mut c = Cluster::new(4, policy(), |config| config.mutant = Mutant::planted(Bug::HintsForgotten));
    let [first, second, third, keeper] = c.order()[..] else { panic!("four nodes") };
    c.put(keeper, Some(third), &none(), &set("x")).unwrap();
    c.restart(keeper);
    assert_eq!(c.hints(keeper), 0);

    let mut c = Cluster::new(4, policy(), |config| config.mutant = Mutant::planted(Bug::TombstoneByTimer));
    let old = c.everywhere(&none(), &set("x"));
    c.up(third, false);
    let dead = c.put(first, None, &Seen::of(&old), &Update::Delete).unwrap().siblings;
    c.take(second, &dead, None, 0);
    c.pass(6);
    assert_eq!(c.all_values(), [vec![], vec![], vec!["x".to_owned()]]);
}

/// One event that changes a store.
#[derive(Clone, Debug)]
enum Change {
    Write { key: u8, owner: Option<u8>, seen: bool, delete: bool },
    Forget { key: u8 },
    HandOver { key: u8, owner: u8 },
    Snapshot { finish: bool },
    Segment,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..6u8, proptest::option::of(1..3u8), any::<bool>(), any::<bool>())
            .prop_map(|(key, owner, seen, delete)| Change::Write { key, owner, seen, delete }),
        2 => (0..6u8).prop_map(|key| Change::Forget { key }),
        2 => (0..6u8, 1..3u8).prop_map(|(key, owner)| Change::HandOver { key, owner }),
        1 => any::<bool>().prop_map(|finish| Change::Snapshot { finish }),
        1 => Just(Change::Segment),
    ]
}

fn reencoded(records: &[Record]) -> Vec<Record> {
    let mut all = Vec::new();
    records.iter().for_each(|record| bytes::encode(record, &mut all));
    let mut rest = &all[..];
    let decoded = std::iter::from_fn(|| bytes::decode(&mut rest)).collect();
    assert!(rest.is_empty());
    decoded
}

fn blocks(mut snapshot: StoreSnapshot) -> (u64, Vec<Bytes>) {
    (snapshot.number(), std::iter::from_fn(|| snapshot.next_block(300)).collect())
}

proptest! {
    /// After any sequence of changes, log and snapshot restore the store: the log in order, then the blocks.
    #[test]
    fn what_the_disk_holds_is_the_store(changes in proptest::collection::vec(change(), 0..60)) {
        let mut c = Cluster::new(1, policy(), |_| {});
        let mut files: Vec<(u64, Vec<Bytes>)> = Vec::new();
        for (number, change) in changes.iter().enumerate() {
            let name = |key: &u8| Key::from(vec![b'a' + key]);
            let node = &mut c.nodes[0];
            match change {
                Change::Write { key, owner, seen, delete } => {
                    let held = node.store.holds(&name(key)).filter(|_| *seen).map(|held| held.siblings.clock().clone());
                    let update = if *delete { Update::Delete } else { set("v") };
                    let (owner, write) = (owner.map(|n| NodeId(n.into())), WriteId { client: 1, number: number as u64 });
                    let (context, policy) = (held.unwrap_or_default(), policy());
                    node.store.write(&name(key), owner, &context.into(), write, &update, &policy, &mut node.out).unwrap();
                }
                Change::Forget { key } => {
                    let held = node.store.holds(&name(key)).map(|held| held.siblings.clock().clone());
                    node.store.told_to_forget(NodeId(0), vec![(name(key), held.unwrap_or_default())], &mut node.out);
                }
                Change::HandOver { key, owner } => {
                    let (owner, key) = (NodeId((*owner).into()), name(key));
                    if node.store.hints.get(owner, &key).is_some() {
                        let note = Note::HintHandedOver { owner, key: key.clone() };
                        node.store.drop_hint(owner, &key, note, &mut node.out);
                    }
                }
                Change::Snapshot { finish } => {
                    let snapshot = node.store.begin_snapshot();
                    if *finish {
                        files.push(blocks(snapshot));
                        node.store.snapshot_finished();
                        node.log = node.store.state_records();
                    }
                }
                Change::Segment => node.log = node.store.state_records(),
            }
            c.settle(0);
        }
        let node = &c.nodes[0];
        let mut recovered = Recovered::default();
        for record in reencoded(&node.log) {
            prop_assert_eq!(recovered.replay(record), Ok(()));
        }
        let newest = recovered.snapshot;
        for block in files.iter().filter(|(number, _)| newest == *number).flat_map(|(_, blocks)| blocks) {
            prop_assert_eq!(recovered.block(block), Ok(()));
        }
        prop_assert_eq!(&recovered.keys, &node.store.keys);
        prop_assert_eq!(&recovered.hints, node.store.hints.all());
        prop_assert_eq!(recovered.epoch, node.store.epoch());
        let restated = c.open(0, recovered).state_records();
        prop_assert_eq!(restated, node.store.state_records());
    }

    #[test]
    fn noise_is_no_record_and_no_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), cut: prop::sample::Index) {
        let _ = bytes::decode(&mut &noise[..]);
        let _ = Recovered::default().block(&noise);
        let mut c = Cluster::new(1, policy(), |_| {});
        c.put(0, Some(3), &none(), &set("x")).unwrap();
        let mut good = Vec::new();
        bytes::encode(&c.nodes[0].log[0], &mut good);
        prop_assert!(bytes::decode(&mut &good[..cut.index(good.len())]).is_none(), "half a record is none");
        let end = cut.index(good.len()).max(1);
        noise.iter().enumerate().for_each(|(i, byte)| good[(i * 7) % end] ^= byte);
        let _ = bytes::decode(&mut &good[..]);
    }
}
