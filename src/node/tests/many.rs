//! Several cores on a node: they share one batch, requests reach their core, responses wait for the disk.

use super::*;
use crate::dynamo::siblings::{Siblings, WriteId};
use crate::dynamo::{Cause, ClientReply, ClientRequest, Message, PutResult, Slot, Update};
use crate::kv::{Condition, Reply, Write};
use crate::types::{Bytes, Key, Lane};
use crate::wire::Refused;

pub(super) fn key(n: u32) -> Key {
    Key::from(format!("key {n}"))
}

pub(super) fn put(session: u64, number: u64, key: Key) -> RequestBody {
    let write = Write::Put { value: Bytes::copy_from_slice(&key), key, when: Condition::default(), ttl_ms: None };
    RequestBody::Write { session, number, write }
}

fn ap_put(key: &str, n: u64) -> RequestBody {
    ap_put_of(key, n, 10)
}

pub(super) fn ap_put_of(key: &str, n: u64, bytes: usize) -> RequestBody {
    RequestBody::Ap(ClientRequest::Put {
        slot: Slot { server: NodeId(1), window: 0, number: 1 },
        write: WriteId { client: 5, number: n },
        key: key.into(),
        update: Update::Set(Bytes::from(vec![7; bytes])),
        context: Bytes::new(),
        w: None,
        sloppy: None,
        deadline_ms: 900,
        read_back: false,
    })
}

fn open(town: &mut Town, node: u32, key: Key) -> (u64, GroupId) {
    match town.ask(node, RequestBody::OpenSession { key }) {
        Some(ResponseBody::Session { id, group, .. }) => (id, group),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_cores_of_a_node_share_one_batch_and_one_sync() {
    let mut town = Town::new(layout(1, carts(), 4, 1));
    town.pass(1500);
    let keys: Vec<Key> = (0..40).map(key).collect();
    let sessions: BTreeMap<GroupId, (u64, Key)> = keys
        .iter()
        .map(|key| {
            let (session, group) = open(&mut town, 1, key.clone());
            (group, (session, key.clone()))
        })
        .collect();
    assert_eq!(sessions.len(), 4, "keys for every group");

    let mut of_cart = ap_put("cart/1", 1);
    let answer = town.ask_once(1, of_cart.clone()).unwrap();
    assert!(take_window(&mut of_cart, &answer));
    let node = &mut town.nodes[0];
    let bodies = sessions.values().map(|(session, key)| put(*session, 1, key.clone())).chain([of_cart]);
    for (id, body) in (1_000..).zip(bodies) {
        let request = Packet::from(Ask::new(id, body));
        node.hears(Addr::Client(CLIENT), request);
    }
    node.turn();
    let Some(Job::Write(batch)) = &node.job else { panic!("a batch") };
    let cores: Vec<u32> = batch.tickets.iter().map(|(id, _)| id.number()).collect();
    assert_eq!(cores, [0, 1, 2, 3, 4]);
    assert!(town.post.lock().unwrap().iter().all(|(_, to, _)| matches!(to, Addr::Node(_))), "answered before the sync");
    let before = node.disk.syncs();
    node.disk_works();
    assert_eq!(node.disk.syncs() - before, 1);
    town.deliver();
    let answered: BTreeSet<u64> = town.answers.iter().map(|(.., response)| response.id).collect();
    assert_eq!(answered, (1_000..1_005).collect());
    assert!(
        town.answers.iter().all(|(.., r)| matches!(
            r.body,
            ResponseBody::Reply(Reply::Done { .. }) | ResponseBody::Ap(ClientReply::Done { .. })
        )),
        "{:?}",
        town.answers
    );
}

#[test]
fn any_node_passes_a_request_on_to_the_leader() {
    // Each group has two of the three nodes: some nodes are asked for groups that they are not members of.
    let mut town = Town::new(layout(3, Buckets::default(), 6, 2));
    town.pass(3000);
    for n in 0..30 {
        let (session, _) = open(&mut town, n % 3 + 1, key(n));
        for (number, node) in [(1, 1), (2, 2), (3, 3)] {
            let answer = town.ask(node, put(session, number, key(n)));
            assert!(
                matches!(answer, Some(ResponseBody::Reply(Reply::Done { revision, .. })) if revision + 1 == number),
                "{answer:?}"
            );
        }
        let retried = town.ask(1, put(session, 3, key(n)));
        assert!(matches!(retried, Some(ResponseBody::Reply(Reply::Done { revision: 2, .. }))), "{retried:?}");
    }
    for node in 1..=3 {
        let relays = &town.node(NodeId(node)).driver.relays;
        assert_eq!(relays.open_count(), 0, "n{node} still waits for answers");
    }
}

#[test]
fn with_one_group_of_all_a_node_names_the_leader_instead() {
    let mut town = Town::new(layout(3, Buckets::default(), 1, 3));
    town.pass(2000);
    let leader = town.nodes[0].driver.groups[&GROUP].status().soft.leader.unwrap();
    for node in ids(3).into_iter().filter(|node| *node != leader) {
        let answer = town.ask(node.0, RequestBody::Get { key: key(1) });
        assert_eq!(answer, Some(ResponseBody::Refused(Refused::NotLeader(Some(leader)))));
    }
    assert!(matches!(town.ask(leader.0, RequestBody::Get { key: key(1) }), Some(ResponseBody::Reply(_))));
}

#[test]
fn what_was_passed_on_and_is_not_answered_is_given_up() {
    let mut town = Town::new(layout(3, Buckets::default(), 6, 1));
    town.pass(2000);
    let of_n3 = (0..).map(key).find(|key| {
        let layout = &town.nodes[0].driver.turn.config.layout;
        layout.voters_of(layout.group_of(key)) == [NodeId(3)]
    });
    let n3 = town.nodes.pop().unwrap();
    drop(n3);
    let node = &mut town.nodes[0];
    let body = RequestBody::Get { key: of_n3.unwrap() };
    node.hears(Addr::Client(CLIENT), Packet::from(Ask::new(77, body)));
    assert_eq!((node.driver.relays.open_count(), node.driver.turn.pending.open_count()), (1, 1));
    for _ in 0..60 {
        town.time.fetch_add(100_000_000, Ordering::Relaxed);
        town.nodes[0].disk_works();
        town.nodes[0].turn();
    }
    let driver = &town.nodes[0].driver;
    assert_eq!((driver.relays.open_count(), driver.turn.pending.open_count()), (0, 0));
    let to_client = |(_, to, _): &(NodeId, Addr, Packet)| *to == Addr::Client(CLIENT);
    assert!(!town.post.lock().unwrap().iter().any(to_client), "nothing is known, so nothing is said");
}

#[test]
fn a_session_of_another_group_is_refused() {
    let mut town = Town::new(layout(1, Buckets::default(), 4, 1));
    town.pass(1500);
    let (session, group) = open(&mut town, 1, key(0));
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let other = (1..).map(key).find(|key| layout.group_of(key) != group).unwrap();
    let answer = town.ask(1, put(session, 1, other));
    assert!(matches!(answer, Some(ResponseBody::Refused(Refused::Invalid(_)))), "{answer:?}");
    assert!(matches!(town.ask(1, put(session, 1, key(0))), Some(ResponseBody::Reply(Reply::Done { .. }))));
}

#[test]
fn requests_of_the_other_mode_are_refused() {
    let mut town = Town::new(layout(1, carts(), 1, 1));
    town.pass(1500);
    let in_cart = Key::from("cart/7");
    let other = |ap| Some(ResponseBody::Refused(Refused::OtherMode(ap)));
    assert_eq!(town.ask(1, RequestBody::OpenSession { key: in_cart.clone() }), other(true));
    assert_eq!(town.ask(1, RequestBody::Get { key: in_cart.clone() }), other(true));
    assert_eq!(town.ask(1, put(1, 1, in_cart.clone())), other(true));
    assert_eq!(town.ask(1, ap_put("plain", 1)), other(false));
    assert_eq!(town.ask(1, RequestBody::Why { key: key(1) }), other(false));
    assert!(matches!(town.ask(1, RequestBody::Why { key: in_cart }), Some(ResponseBody::Why(_))));
    assert!(matches!(town.ask(1, ap_put("cart/7", 2)), Some(ResponseBody::Ap(ClientReply::Done { .. }))));
}

#[test]
fn an_answer_of_the_ap_core_waits_for_the_sync() {
    let mut town = Town::new(layout(3, carts(), 1, 3));
    let put = Message::Put {
        op: 4,
        key: "cart/1".into(),
        siblings: Siblings::default(),
        owner: None,
        cause: Cause::Write(NodeId(2)),
        epoch: 0,
    };
    let siblings = written();
    let Message::Put { op, key, owner, cause, epoch, .. } = put else { unreachable!() };
    let put = Message::Put { op, key, siblings, owner, cause, epoch };
    let origin = town.nodes[1].driver.standing.origin();
    let node = &mut town.nodes[0];
    node.hears(Addr::Node(NodeId(2)), Packet::Peer { origin, lane: Lane::Control, raft: Vec::new(), ap: vec![put] });
    node.turn();
    assert!(matches!(&node.job, Some(Job::Write(batch)) if batch.tickets.len() == 1));
    let replies = |town: &Town| {
        let post = town.post.lock().unwrap();
        let reply = |packet: &Packet| match packet {
            Packet::Peer { ap, .. } => ap.contains(&Message::PutReply { op: 4, result: PutResult::Stored }),
            _ => false,
        };
        post.iter().filter(|(_, to, packet)| *to == Addr::Node(NodeId(2)) && reply(packet)).count()
    };
    assert_eq!(replies(&town), 0, "it was told before the sync");
    town.nodes[0].disk_works();
    town.nodes[0].turn();
    assert_eq!(replies(&town), 1);
}

/// Builds the state that a write leaves behind.
fn written() -> Siblings {
    use crate::dynamo::context::Seen;
    use crate::dynamo::siblings::Content;
    use crate::dynamo::version_vector::Actor;
    use crate::types::Hlc;
    let mut siblings = Siblings::default();
    let actor = Actor { node: NodeId(2), incarnation: 3 };
    let write = WriteId { client: 1, number: 1 };
    siblings.write(
        &Seen::default(),
        actor,
        (Hlc(1), write),
        Content::Value(Bytes::from_static(b"x")),
        (crate::types::Resolve::Siblings, Mutant::default()),
    );
    siblings
}

/// Power loss and restart.
fn crash_the_only_node(town: &mut Town) {
    let disk = town.nodes[0].disk.clone();
    disk.crash(&mut Rng::new(1, "crash"), 0.0);
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let world = World { me: NodeId(1), post: town.post.clone(), time: town.time.clone() };
    town.nodes = vec![Node::start(world, &layout, disk)];
    town.pass(1500);
}

#[test]
fn a_long_log_is_cut_by_a_checkpoint_of_all_cores() {
    let mut town = Town::new(layout(1, carts(), 2, 1));
    town.pass(1500);
    let (session, _) = open(&mut town, 1, key(0));
    assert!(town.ask(1, put(session, 1, key(0))).is_some());
    // With segments of 64 KiB a checkpoint is due at 256 KiB.
    for n in 0..100 {
        let answer = town.ask(1, ap_put_of(&format!("cart/{n}"), n, 8_000));
        assert!(matches!(answer, Some(ResponseBody::Ap(ClientReply::Done { .. }))), "{answer:?}");
    }
    let names = town.nodes[0].disk.names();
    let snapshots: Vec<&String> = names.iter().filter(|name| name.starts_with("snap-")).collect();
    assert!(matches!(snapshots[..], [name] if name.starts_with("snap-00000000-")), "{names:?}");
    assert!(!names.contains(&"wal-0000000000000001.log".to_owned()), "{names:?}");
    crash_the_only_node(&mut town);
    let found = town.ask(1, RequestBody::Get { key: key(0) });
    assert!(
        matches!(&found, Some(ResponseBody::Reply(Reply::Value(Some(held)))) if held.value[..] == key(0)[..]),
        "{found:?}"
    );
    assert_eq!(town.nodes[0].driver.ap.as_ref().unwrap().dynamo().keys().len(), 100);
}

#[test]
fn a_restarted_node_finds_both_kinds_of_state() {
    let mut town = Town::new(layout(1, carts(), 2, 1));
    town.pass(1500);
    let (session, _) = open(&mut town, 1, key(0));
    assert!(town.ask(1, put(session, 1, key(0))).is_some());
    assert!(town.ask(1, ap_put("cart/1", 1)).is_some());
    crash_the_only_node(&mut town);
    let found = town.ask(1, RequestBody::Get { key: key(0) });
    assert!(
        matches!(&found, Some(ResponseBody::Reply(Reply::Value(Some(held)))) if held.value[..] == key(0)[..]),
        "{found:?}"
    );
    let get = ClientRequest::Get { key: "cart/1".into(), r: None, deadline_ms: 900 };
    let found = town.ask(1, RequestBody::Ap(get));
    assert!(
        matches!(&found, Some(ResponseBody::Ap(ClientReply::Value { siblings, .. })) if siblings.len() == 1),
        "{found:?}"
    );
}

#[test]
fn leaders_spread_as_the_layout_says_and_a_dead_leaders_groups_wake() {
    let mut town = Town::new(layout(3, Buckets::default(), 9, 3));
    town.pass(20_000);
    let led = |town: &Town| -> Vec<usize> {
        town.nodes.iter().map(|n| n.driver.groups.values().filter(|g| g.leads()).count()).collect()
    };
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let named = |node: u32| layout.all_groups().filter(|g| layout.voters_of(*g)[0] == NodeId(node)).count();
    assert_eq!(led(&town), [named(1), named(2), named(3)]);
    assert!(town.nodes.iter().all(|n| n.driver.groups.values().all(|g| g.raft().is_asleep())), "idle groups sleep");
    // The process of n1 ends.
    let post = town.post.clone();
    let dead = town.nodes.remove(0);
    drop(dead);
    for _ in 0..300 {
        town.time.fetch_add(10_000_000, Ordering::Relaxed);
        for node in &mut town.nodes {
            node.disk_works();
            node.turn();
        }
        for (from, to, packet) in mem::take(&mut *post.lock().unwrap()) {
            if let Addr::Node(to @ NodeId(2..)) = to {
                town.node(to).hears(Addr::Node(from), packet);
            }
        }
    }
    assert_eq!(led(&town).iter().sum::<usize>(), 9, "{:?}", led(&town));
}

#[test]
fn who_has_nothing_to_say_shows_that_it_is_up_but_not_with_a_single_group() {
    for (groups, expected) in [(1, 0), (2, 20)] {
        let town = Town::new(layout(2, Buckets::default(), groups, 1));
        let mut node = town.nodes.into_iter().next().unwrap();
        let mut beats = 0;
        for _ in 0..200 {
            town.time.fetch_add(10_000_000, Ordering::Relaxed);
            node.turn();
            let post = mem::take(&mut *town.post.lock().unwrap());
            let beat = |packet: &Packet| matches!(packet, Packet::Peer { .. });
            beats += post.iter().filter(|(_, to, packet)| *to == Addr::Node(NodeId(2)) && beat(packet)).count();
        }
        assert_eq!(beats, expected, "{groups} groups");
    }
}

#[test]
fn what_an_operator_moved_stays_until_the_named_leader_has_been_away() {
    let mut town = Town::new(layout(3, Buckets::default(), 6, 3));
    town.pass(15_000);
    let led = |town: &mut Town, node: u32| {
        town.node(NodeId(node)).driver.groups.values().filter(|group| group.leads()).count()
    };
    let spread = [1, 2, 3].map(|node| led(&mut town, node));
    assert_eq!(spread, [2, 2, 2]);
    for other in [1, 3] {
        let answer = town.ask(other, RequestBody::Transfer { to: NodeId(2) });
        assert_eq!(answer, Some(ResponseBody::TransferStarted));
    }
    town.pass(20_000);
    assert_eq!([1, 2, 3].map(|node| led(&mut town, node)), [0, 6, 0], "no node undoes it");
    // n3 hears nothing of n1, and no node hears n3 for a second: n3 seems to have been down.
    let absent = town.nodes.pop().unwrap();
    for _ in 0..100 {
        town.time.fetch_add(10_000_000, Ordering::Relaxed);
        for node in &mut town.nodes {
            node.disk_works();
            node.turn();
        }
        let post = mem::take(&mut *town.post.lock().unwrap());
        for (from, to, packet) in post {
            if let Addr::Node(to @ NodeId(..=2)) = to {
                town.node(to).hears(Addr::Node(from), packet);
            }
        }
    }
    town.nodes.push(absent);
    town.pass(20_000);
    assert_eq!([1, 2, 3].map(|node| led(&mut town, node)), [0, 4, 2], "what n3 should lead has gone back to it");
}

/// A request that waited in a queue until its client gave up is not executed. A forwarded request carries the time that
/// its client still waits.
#[test]
fn what_comes_too_late_is_dropped() {
    let mut town = Town::new(layout(3, Buckets::default(), 6, 1));
    town.pass(2000);
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let of_n2 = (0..).map(key).find(|key| layout.voters_of(layout.group_of(key)) == [NodeId(2)]).unwrap();
    let asked = |id, patience_ms| {
        let mut request = Ask::new(id, RequestBody::Get { key: of_n2.clone() });
        request.patience_ms = patience_ms;
        request.ages(250);
        Packet::from(request)
    };
    let node = &mut town.nodes[0];
    node.hears(Addr::Client(CLIENT), asked(77, 250));
    assert_eq!(node.driver.turn.pending.open_count(), 0);
    node.hears(Addr::Client(CLIENT), asked(78, 700));
    assert_eq!(node.driver.relays.open_count(), 1);
    let passed = town.post.lock().unwrap().iter().find_map(|(_, _, packet)| match packet {
        Packet::Request(request) if request.forwarded => Some(request.patience_ms),
        _ => None,
    });
    assert_eq!(passed, Some(450));
    town.time.fetch_add(450_000_000, Ordering::Relaxed);
    town.nodes[0].turn();
    assert_eq!(town.nodes[0].driver.relays.open_count(), 0, "given up when its client does");
}

/// A node that accepts nothing more still reports its status. An announced size is counted as at most the maximum of a
/// write.
#[test]
fn a_busy_node_tells_how_it_is() {
    let mut town = Town::new(layout(1, carts(), 1, 1));
    town.pass(1500);
    let expect = |bytes| RequestBody::Expect { key: "cart/1".into(), bytes, ap: true };
    assert_eq!(town.ask_once(1, expect(u32::MAX)), Some(ResponseBody::Continue));
    let busy = |answer| matches!(answer, Some(ResponseBody::Refused(Refused::Busy { retry_ms: 1.. })));
    let node = &mut town.nodes[0];
    for id in 1..=3 {
        node.hears(Addr::Client(CLIENT + id), Packet::from(Ask::new(id, expect(1 << 20))));
    }
    town.deliver();
    let refused = town.answers.drain(..).filter(|(.., response)| busy(Some(response.body.clone()))).count();
    assert_eq!(refused, 3, "the room is promised to another");
    assert!(matches!(town.ask_once(1, RequestBody::Status), Some(ResponseBody::Status(_))));
    town.pass(2000);
    assert_eq!(
        town.ask_once(1, expect(4096)),
        Some(ResponseBody::Continue),
        "who did not come keeps it for a while only"
    );
}

/// The leader of a group admits forwarded requests. What the other nodes could admit themselves does not matter.
#[test]
fn what_is_passed_on_is_admitted_where_it_is_carried_out() {
    let mut town = Town::new(layout(3, Buckets::default(), 6, 1));
    town.pass(2000);
    let layout = town.nodes[0].driver.turn.config.layout.clone();
    let of = |node| (0..100).map(key).find(|key| layout.voters_of(layout.group_of(key)) == [NodeId(node)]).unwrap();
    let expect = |node| RequestBody::Expect { key: of(node), bytes: 1 << 20, ap: false };
    let is_busy = |answer: &Option<_>| matches!(answer, Some(ResponseBody::Refused(Refused::Busy { .. })));
    assert_eq!(town.ask_once(3, expect(3)), Some(ResponseBody::Continue));
    assert!(is_busy(&town.ask_once(3, expect(3))), "its room is promised");
    assert_eq!(town.ask_once(3, expect(2)), Some(ResponseBody::Continue));
    let refused = town.ask_once(3, expect(2));
    assert!(is_busy(&refused), "n2 has promised its own: {refused:?}");
    let open = &town.node(NodeId(3)).driver.turn.pending;
    assert_eq!((open.open_count(), open.bytes()), (0, 0));
}

/// A copy that arrives while the first is in progress gets the only response. A copy that arrives later gets the
/// response again.
#[test]
fn a_request_that_is_sent_again_joins_the_first() {
    let mut town = Town::new(layout(1, carts(), 1, 1));
    town.pass(1500);
    let mut body = ap_put("cart/1", 1);
    let answer = town.ask_once(1, body.clone()).unwrap();
    assert!(take_window(&mut body, &answer));
    let ask = |town: &mut Town, id| {
        let request = Packet::from(Ask::new(id, body.clone()));
        town.nodes[0].hears(Addr::Client(CLIENT), request);
    };
    ask(&mut town, 7001);
    town.nodes[0].turn();
    ask(&mut town, 7002);
    assert_eq!(town.nodes[0].driver.turn.pending.open_count(), 1);
    town.deliver();
    ask(&mut town, 7003);
    town.deliver();
    let answered: Vec<u64> = town.answers.iter().map(|(.., response)| response.id).collect();
    assert_eq!(answered, [7002, 7003]);
    assert_eq!(town.answers[0].2.body, town.answers[1].2.body);
    assert_eq!(town.nodes[0].driver.turn.pending.open_count(), 0);
    let ap = town.nodes[0].driver.ap.as_ref().unwrap();
    assert_eq!(ap.dynamo().keys().values().next().unwrap().siblings.clock().to_string(), "{n1:1}");
}
