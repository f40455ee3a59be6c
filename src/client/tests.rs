//! The client against servers with scripted answers: what is sent, to which server, and how the answers are
//! interpreted.

use super::*;
use crate::dynamo::siblings::WriteId;
use crate::dynamo::{Achieved, ClientRequest, Refusal, Slot, Update, crdt};
use crate::types::{Bytes, Wall};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What the servers answer to the n-th request (from 0): bodies, each with the number of the request that it answers.
type Answers = Box<dyn FnMut(usize, NodeId, &RequestBody) -> Vec<(usize, ResponseBody)> + Send>;

#[derive(Default)]
struct Inner {
    now: Time,
    ids: Vec<u64>,
    sent: Vec<(NodeId, RequestBody)>,
    inbox: VecDeque<Packet>,
    answers: Option<Answers>,
}

/// Network and clock in one: when no packet is in transit, time jumps to the next deadline.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Inner>>);

impl Transport for World {
    fn send(&mut self, to: Addr, packet: &Packet) {
        let (Addr::Node(to), Packet::Request(request)) = (to, packet) else { panic!("not a request") };
        let Request { id, body, .. } = Request::clone(request);
        let mut inner = self.0.lock().unwrap();
        let number = inner.ids.len();
        inner.ids.push(id);
        inner.sent.push((to, body.clone()));
        for (of, body) in (inner.answers.as_mut().unwrap())(number, to, &body) {
            let id = inner.ids[of];
            inner.inbox.push_back(Packet::Response(Response { id, body }));
        }
    }

    async fn recv(&mut self) -> (Addr, Packet) {
        let packet = self.0.lock().unwrap().inbox.pop_front();
        match packet {
            Some(packet) => (Addr::Node(NodeId(1)), packet),
            None => std::future::pending().await,
        }
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        None
    }

    fn bad_frames(&self) -> u64 {
        0
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        self.0.lock().unwrap().now
    }

    fn wall(&self) -> Wall {
        Wall(0)
    }

    async fn sleep_until(&self, deadline: Time) {
        let mut inner = self.0.lock().unwrap();
        inner.now = inner.now.max(deadline);
    }
}

impl World {
    fn sent(&self) -> Vec<(NodeId, RequestBody)> {
        self.0.lock().unwrap().sent.clone()
    }

    fn answers(
        &self,
        mut answers: impl FnMut(usize, NodeId, &RequestBody) -> Vec<(usize, ResponseBody)> + Send + 'static,
    ) {
        let answers: Answers = Box::new(move |number, to, body| answers(number, to, body));
        self.0.lock().unwrap().answers = Some(answers);
    }
}

/// A client of three servers that answer each request as `answer` says, or not at all.
fn client(
    mut answer: impl FnMut(usize, NodeId, &RequestBody) -> Option<ResponseBody> + Send + 'static,
) -> (Client<World, World>, World) {
    let world = World::default();
    world.answers(move |number, to, body| answer(number, to, body).into_iter().map(|body| (number, body)).collect());
    let nodes = [1, 2, 3].map(NodeId).to_vec();
    (Client::new(world.clone(), world.clone(), nodes, Patience::default(), Rng::new(1, "client")), world)
}

fn key(n: usize) -> Key {
    Key::from(format!("key-{n}"))
}

fn put(key: Key) -> Write {
    Write::Put { key, value: Bytes::from_static(b"v"), when: Condition::default(), ttl_ms: None }
}

fn done() -> ResponseBody {
    ResponseBody::Reply(Reply::Done { revision: 0, commit: Wall(0) })
}

fn session(key: &Key, groups: u32) -> ResponseBody {
    let group = group_of(key, groups);
    ResponseBody::Session { id: SessionId::from(group.0 * 10), group, groups }
}

#[tokio::test]
async fn each_group_has_a_session_and_numbers_of_its_own() {
    let (mut client, world) = client(|_, _, body| match body {
        RequestBody::OpenSession { key } => Some(session(key, 4)),
        _ => Some(done()),
    });
    for n in 0..40 {
        client.write(put(key(n))).await.unwrap();
    }
    let mut numbers: BTreeMap<GroupId, u64> = BTreeMap::new();
    let mut opened = Vec::new();
    for (_, body) in world.sent() {
        match body {
            RequestBody::OpenSession { key } => opened.push(group_of(&key, 4)),
            RequestBody::Write { session, number, write } => {
                let group = group_of(write.key(), 4);
                let expected = numbers.entry(group).and_modify(|n| *n += 1).or_insert(1);
                assert_eq!((session, number), (SessionId::from(group.0 * 10), *expected));
            }
            other => panic!("{other:?}"),
        }
    }
    opened.sort_unstable();
    assert_eq!(opened, [1, 2, 3, 4].map(GroupId));
    assert_eq!(numbers.values().sum::<u64>(), 40);
}

#[tokio::test]
async fn an_expired_session_is_of_one_group_only() {
    let (one, other) = (key(0), (1..).map(key).find(|k| group_of(k, 2) != group_of(&key(0), 2)).unwrap());
    let expire = one.clone();
    let (mut client, world) = client(move |number, _, body| match body {
        RequestBody::OpenSession { key } => Some(session(key, 2)),
        RequestBody::Write { write, .. } if number == 4 && *write.key() == expire => {
            Some(ResponseBody::Reply(Reply::SessionExpired))
        }
        _ => Some(done()),
    });
    client.write(put(one.clone())).await.unwrap();
    client.write(put(other.clone())).await.unwrap();
    let error = client.write(put(one.clone())).await.unwrap_err();
    assert!(error == ClientError::SessionExpired && error.happened());
    client.write(put(other)).await.unwrap();
    client.write(put(one)).await.unwrap();
    let opens =
        world.sent().iter().map(|(_, body)| matches!(body, RequestBody::OpenSession { .. })).collect::<Vec<_>>();
    assert_eq!(opens, [true, false, true, false, false, false, true, false]);
}

#[tokio::test]
async fn the_leader_of_each_group_is_remembered() {
    let leader = |group: GroupId| NodeId(group.0 % 3 + 1);
    let (mut client, world) = client(move |_, to, body| match body {
        RequestBody::OpenSession { key } => Some(session(key, 6)),
        RequestBody::Write { write, .. } => {
            let leader = leader(group_of(write.key(), 6));
            Some(if to == leader { done() } else { ResponseBody::Refused(Refused::NotLeader(Some(leader))) })
        }
        other => panic!("{other:?}"),
    });
    for n in 0..60 {
        client.write(put(key(n))).await.unwrap();
    }
    let before = world.sent().len();
    for n in 0..60 {
        client.write(put(key(n))).await.unwrap();
    }
    let later = world.sent().split_off(before);
    assert_eq!(later.len(), 60, "no other server is asked any more");
}

#[tokio::test]
async fn servers_that_disagree_on_the_groups_are_not_written_to() {
    for wrong in [
        ResponseBody::Session { id: 1, group: GroupId(0), groups: 1 },
        ResponseBody::Session { id: 1, group: GroupId(1), groups: 0 },
        ResponseBody::Session { id: 1, group: GroupId(1), groups: SLOTS + 1 },
        ResponseBody::Session { id: 1, group: group_of(&key(1), 2), groups: 2 },
    ] {
        let (mut client, world) = client(move |number, _, body| match body {
            RequestBody::OpenSession { key } if number == 0 => Some(session(key, 1)),
            RequestBody::OpenSession { .. } => Some(wrong.clone()),
            _ if number == 1 => Some(ResponseBody::Reply(Reply::SessionExpired)),
            _ => Some(done()),
        });
        assert_eq!(client.write(put(key(0))).await, Err(ClientError::SessionExpired));
        assert!(matches!(client.write(put(key(1))).await, Err(ClientError::Confused(_))));
        assert_eq!(world.sent().len(), 3, "the write itself was not sent");
    }
}

fn ap(reply: ClientReply) -> ResponseBody {
    ResponseBody::Ap(reply)
}

fn ap_done() -> ResponseBody {
    ap(ClientReply::Done { achieved: Achieved { wanted: 2, replicas: 2, hints: 0 } })
}

fn slot_of(body: &RequestBody) -> Slot {
    match body {
        RequestBody::Ap(ClientRequest::Put { slot, .. }) => *slot,
        other => panic!("{other:?}"),
    }
}

/// What a server answers to a write without a dedup window.
fn window(granted: u64) -> ResponseBody {
    ap(ClientReply::UnknownWindow { refused: 0, granted })
}

fn write_of(body: &RequestBody) -> WriteId {
    match body {
        RequestBody::Ap(ClientRequest::Put { write, .. }) => *write,
        other => panic!("{other:?}"),
    }
}

async fn ap_set(client: &mut Client<World, World>) -> Result<Wrote, ClientError> {
    client.ap_put(key(0), Update::Set(Bytes::from_static(b"v")), Bytes::new(), ApWrite::default()).await
}

/// While the server that was asked first may have accepted a write, the others are asked to forward the same request. A
/// write that it refused goes to another server.
#[tokio::test]
async fn a_write_is_for_one_server_until_that_has_refused_it() {
    let (mut client, world) = client(move |number, _, _| match number {
        0 => Some(window(7)),
        1 => None,
        2 => Some(ResponseBody::Refused(Refused::Busy { retry_ms: 0 })),
        3 => Some(ap(ClientReply::Refused(Refusal::Unavailable { wanted: 2, reachable: 1 }))),
        4 => Some(window(9)),
        _ => Some(ap_done()),
    });
    ap_set(&mut client).await.unwrap();
    ap_set(&mut client).await.unwrap();
    let sent = world.sent();
    let names: Vec<u64> = sent.iter().map(|(_, body)| write_of(body).number).collect();
    assert_eq!(names, [1, 1, 1, 1, 1, 1, 2]);
    let asked: Vec<NodeId> = sent.iter().map(|(node, _)| *node).collect();
    let places: Vec<Slot> = sent.iter().map(|(_, body)| slot_of(body)).collect();
    let (first, next) = (asked[0], asked[4]);
    assert!(asked[1] == first && asked[2] != first && asked[3] != asked[2] && next == first, "{asked:?}");
    let in_window = |server, window, number| Slot { server, window, number };
    assert_eq!(places[..2], [in_window(first, 0, 0), in_window(first, 7, 1)]);
    assert_eq!(places[1..4], [places[1]; 3], "the same request, whoever passes it on");
    assert_eq!(places[4..], [in_window(next, 0, 0), in_window(next, 9, 1), in_window(next, 9, 2)]);
}

/// A server that has restarted has not executed what was sent once; of what was sent more often, the outcome is
/// unknown.
#[tokio::test]
async fn a_lane_that_is_gone() {
    let gone = || ap(ClientReply::UnknownWindow { refused: 7, granted: 8 });
    let (mut once, world) = client(move |number, _, _| match number {
        0 => Some(window(7)),
        2 => Some(gone()),
        _ => Some(ap_done()),
    });
    ap_set(&mut once).await.unwrap();
    ap_set(&mut once).await.unwrap();
    assert_eq!(world.sent().iter().map(|(_, body)| slot_of(body).window).collect::<Vec<_>>(), [0, 7, 7, 8]);
    let (mut twice, _) = client(move |number, _, _| match number {
        0 => Some(window(7)),
        1 => None,
        _ => Some(gone()),
    });
    assert!(ap_set(&mut twice).await.unwrap_err().happened());
    let (mut idle, world) = client(move |number, _, _| Some(if number % 2 == 0 { window(7) } else { ap_done() }));
    ap_set(&mut idle).await.unwrap();
    world.0.lock().unwrap().now = Time(2_000_000_000);
    ap_set(&mut idle).await.unwrap();
    let windows: Vec<u64> = world.sent().iter().map(|(_, body)| slot_of(body).window).collect();
    assert_eq!(windows, [0, 7, 0, 7], "a server not heard from for long is asked for a window first");
    let (mut never, _) = client(|_, _, _| None);
    assert!(!ap_set(&mut never).await.unwrap_err().happened(), "no server executes a write without a window");
}

/// A coordinator's refusal covers all copies of a request, whatever happened to earlier attempts. A refusal by a server
/// that did not look at the request covers this attempt only.
#[tokio::test]
async fn whose_refusal_says_what() {
    let refused = |why| ap(ClientReply::Refused(why));
    let unavailable = || Refusal::Unavailable { wanted: 2, reachable: 1 };
    let cases = [
        (refused(Refusal::TooManySiblings(9)), ClientError::Refused(Refusal::TooManySiblings(9)), true),
        (refused(Refusal::TooManyActors(9)), ClientError::Refused(Refusal::TooManyActors(9)), true),
        (refused(Refusal::Invalid("no".into())), ClientError::Invalid("no".into()), true),
        (refused(unavailable()), ClientError::Refused(unavailable()), true),
        (ResponseBody::Refused(Refused::Invalid("no".into())), ClientError::Invalid("no".into()), false),
        (ResponseBody::Refused(Refused::Busy { retry_ms: 0 }), ClientError::Refused(Refusal::Busy), false),
    ];
    for (answer, expected, all_copies) in cases {
        let body = answer.clone();
        let error = ap_set(&mut client(move |_, _, _| Some(body.clone())).0).await.unwrap_err();
        assert_eq!((&error, error.happened()), (&expected, false));
        let body = answer.clone();
        let mut later = client(move |n, _, _| match n {
            0 => Some(window(7)),
            1 => None,
            _ => Some(body.clone()),
        });
        let error = ap_set(&mut later.0).await.unwrap_err();
        if all_copies {
            assert_eq!((&error, error.happened()), (&expected, false));
        } else {
            assert!(matches!(error, ClientError::Unknown(_)) && error.happened(), "{answer:?}: {error}");
        }
        let body = answer.clone();
        let mut reader = client(move |n, _, _| (n > 0).then(|| body.clone())).0;
        let error = reader.ap_get(key(0), None).await.unwrap_err();
        assert!(!error.happened(), "a read has no effect: {error}");
        let mut writer = client(move |n, _, body| match body {
            RequestBody::OpenSession { key } => Some(session(key, 1)),
            _ => (n > 1).then(|| ResponseBody::Refused(Refused::Invalid("no".into()))),
        });
        assert!(writer.0.write(put(key(0))).await.unwrap_err().happened());
    }
}

/// All servers agree on a bucket's mode, so a silent server has not executed the request either.
#[tokio::test]
async fn the_other_mode_is_certain() {
    let (mut ap_of_cp, _) = client(|n, _, _| (n > 0).then_some(ResponseBody::Refused(Refused::OtherMode(false))));
    assert_eq!(ap_set(&mut ap_of_cp).await, Err(ClientError::OtherMode(false)));
    let (mut cp_of_ap, _) = client(|n, _, _| (n > 0).then_some(ResponseBody::Refused(Refused::OtherMode(true))));
    assert_eq!(cp_of_ap.get(key(0)).await, Err(ClientError::OtherMode(true)));
}

#[tokio::test]
async fn an_addition_may_be_sent_again_as_the_same_request() {
    let (mut client, world) = client(|n, _, _| match n {
        0 => Some(window(7)),
        1 => None,
        _ => Some(ap_done()),
    });
    client.ap_put(key(0), Update::Merge(crdt::Op::Add(5)), Bytes::new(), ApWrite::default()).await.unwrap();
    let places: Vec<Slot> = world.sent()[1..].iter().map(|(_, body)| slot_of(body)).collect();
    assert_eq!(places, [places[0]; 2]);
    let unfinished = ap(ClientReply::Unfinished { achieved: Achieved::default() });
    let mut unsure = self::client(move |_, _, _| Some(unfinished.clone())).0;
    assert!(ap_set(&mut unsure).await.unwrap_err().happened());
}

#[tokio::test]
async fn a_late_success_counts_and_a_late_refusal_does_not() {
    let (mut client, world) = client(|_, _, _| None);
    world.answers(|number, _, _| match number {
        0 => vec![(0, window(7))],
        2 => vec![(1, ResponseBody::Refused(Refused::Invalid("late".into())))],
        3 => vec![(2, ap_done())],
        _ => vec![],
    });
    ap_set(&mut client).await.unwrap();
    assert_eq!(world.sent().len(), 4);
}

/// A coordinator gets less time than the client waits, also when little is left.
#[tokio::test]
async fn a_coordinator_gives_up_before_its_client_does() {
    let (mut client, world) = client(|_, _, _| None);
    client.patience.operation = Duration::from_millis(1500);
    let error = client.ap_get(key(0), None).await.unwrap_err();
    assert!(!error.happened(), "{error}");
    let deadlines: Vec<u32> = world
        .sent()
        .iter()
        .map(|(_, body)| match body {
            RequestBody::Ap(ClientRequest::Get { deadline_ms, .. }) => *deadline_ms,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(deadlines[0] == 900 && (1..450).contains(&deadlines[1]) && deadlines.len() == 2, "{deadlines:?}");
}

/// A client that is refused as busy retries when it is told to, later each time, and asks first whether there is room
/// for a large write.
#[tokio::test]
async fn a_busy_server_is_asked_before_it_is_sent_much() {
    let (mut client, world) = client(|number, _, body| match (number, body) {
        (_, RequestBody::OpenSession { key }) => Some(session(key, 1)),
        (1 | 2, _) => Some(ResponseBody::Refused(Refused::Busy { retry_ms: 300 })),
        (_, RequestBody::Expect { .. }) => Some(ResponseBody::Continue),
        _ => Some(done()),
    });
    let large = || {
        let value = Bytes::from(vec![0; LARGE]);
        Write::Put { key: key(0), value, when: Condition::default(), ttl_ms: None }
    };
    client.write(large()).await.unwrap();
    let waited = world.now().since(Time(0));
    assert!((800..900).contains(&waited.as_millis()), "300 ms, then half an attempt: {waited:?}");
    client.write(put(key(0))).await.unwrap();
    client.write(large()).await.unwrap();
    world.sleep_until(world.now() + WARY).await;
    client.write(large()).await.unwrap();
    let kind = |(_, body): (NodeId, RequestBody)| match body {
        RequestBody::OpenSession { .. } => "open",
        RequestBody::Expect { .. } => "expect",
        _ => "write",
    };
    let kinds: Vec<&str> = world.sent().into_iter().map(kind).collect();
    assert_eq!(kinds, ["open", "write", "expect", "expect", "write", "write", "expect", "write", "write"]);
}

/// If the retry time is after the client's deadline, the operation ends at once with an error.
#[tokio::test]
async fn a_busy_server_that_has_time_too_late_is_not_waited_for() {
    let refused = |retry_ms| Some(ResponseBody::Refused(Refused::Busy { retry_ms }));
    let (mut reader, world) = client(move |_, _, _| refused(6_000));
    assert_eq!(reader.get(key(0)).await, Err(ClientError::Busy(Duration::from_secs(6))));
    assert_eq!(world.now(), Time(0));
    let (mut writer, _) = client(move |number, _, body| match (number, body) {
        (_, RequestBody::OpenSession { key }) => Some(session(key, 1)),
        (1, _) => None,
        _ => refused(6_000),
    });
    assert!(writer.write(put(key(0))).await.unwrap_err().happened(), "the first attempt may have been taken");
}

#[tokio::test]
async fn the_opening_of_a_session_takes_of_the_time_of_its_write() {
    let (mut client, world) = client(|number, _, body| match body {
        RequestBody::OpenSession { key } => (number == 3).then(|| session(key, 1)),
        _ => None,
    });
    assert!(matches!(client.write(put(key(1))).await, Err(ClientError::Unknown(_))));
    let took = world.now().since(Time(0));
    let Patience { operation, attempt, .. } = Patience::default();
    assert!(took >= attempt * 4 && took <= operation, "{took:?}");
}
