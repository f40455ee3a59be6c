//! Whatever is stored or sent can be read back, at every limit: records through the log's bytes, messages through
//! frames.

use super::*;
use crate::dynamo::context::{MAX_ACTORS, MAX_HELD_ACTORS, Seen};
use crate::dynamo::crdt::{FieldOp, Op, State};
use crate::dynamo::siblings::{Content, MAX_STAMP, Siblings, WriteId};
use crate::dynamo::store::MAX_HELD_BYTES;
use crate::dynamo::version_vector::{Actor, Dot, VersionVector};
use crate::identity::Origin;
use crate::storage::{LogRecord, MAX_BLOCK_BYTES};
use crate::types::{Hlc, Lane, Level, MAX_KEY_BYTES, MAX_VALUE_BYTES, MergeKind, Resolve, Wall};
use crate::wire::{Packet, Request as Asked, RequestBody, Response, ResponseBody, frame};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Mostly small lengths, sometimes the largest.
fn length(most: usize) -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..20usize, 1 => Just(most), 1 => Just(most - 1)]
}

fn key() -> impl Strategy<Value = Key> {
    (length(MAX_KEY_BYTES), any::<u8>()).prop_map(|(len, byte)| Key::from(&vec![byte; len][..]))
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    (length(most), any::<u8>()).prop_map(|(len, byte)| vec![byte; len].into())
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, Just(u64::MAX), any::<u64>()]
}

fn actor() -> impl Strategy<Value = Actor> {
    (select(vec![0, 1, 2, u32::MAX]), number())
        .prop_map(|(node, incarnation)| Actor { node: NodeId(node), incarnation })
}

fn op() -> impl Strategy<Value = (MergeKind, Op)> {
    let name = length(MAX_KEY_BYTES).prop_map(|len| "n".repeat(len));
    let field = prop_oneof![
        any::<i64>().prop_map(|n| (MergeKind::PnCounter, FieldOp::Add(n))),
        bytes(MAX_VALUE_BYTES / 2).prop_map(|value| (MergeKind::Register, FieldOp::Assign(value))),
        bytes(MAX_KEY_BYTES).prop_map(|element| (MergeKind::Set, FieldOp::Insert(element))),
    ];
    prop_oneof![
        any::<i64>().prop_map(|n| (MergeKind::PnCounter, Op::Add(n))),
        (0..=i64::MAX).prop_map(|n| (MergeKind::Counter, Op::Add(n))),
        bytes(MAX_VALUE_BYTES).prop_map(|value| (MergeKind::Register, Op::Assign(value))),
        bytes(MAX_KEY_BYTES).prop_map(|element| (MergeKind::Set, Op::Insert(element))),
        (name, field).prop_map(|(name, (kind, op))| (MergeKind::Map, Op::Field { name, kind, op })),
    ]
}

/// The content of one write; for a mergeable value, the result of `op` on an empty state.
fn content() -> impl Strategy<Value = Content> {
    let state = (op(), actor(), 1..=version_vector::MAX_COUNT, 0..=MAX_STAMP.0).prop_map(
        |((kind, op), actor, count, stamp)| {
            let mut state = State::new(kind);
            // An operation beyond the limits is refused and changes nothing.
            let _ = state.apply(&op, Dot { actor, count }, Hlc(stamp));
            Content::Merge(state)
        },
    );
    prop_oneof![3 => bytes(MAX_VALUE_BYTES).prop_map(Content::Value), 1 => Just(Content::Tombstone), 3 => state]
}

fn clock() -> impl Strategy<Value = VersionVector> {
    let wide = |len: usize| {
        VersionVector::of((0..len as u64).map(|incarnation| (Actor { node: NodeId(7), incarnation }, incarnation + 1)))
    };
    prop_oneof![
        4 => vec((actor(), 1..=version_vector::MAX_COUNT), 0..6).prop_map(VersionVector::of),
        1 => select(vec![MAX_ACTORS, MAX_HELD_ACTORS]).prop_map(wide),
    ]
}

/// A state that a replica may hold: some writes, each with the writes its client had seen.
fn siblings() -> impl Strategy<Value = Siblings> {
    let write = (clock(), actor(), 0..=MAX_STAMP.0, (number(), number()), content());
    vec(write, 0..4).prop_map(|writes| {
        let mut held = Siblings::default();
        for (clock, actor, stamp, (client, number), content) in writes {
            let full = clock.count(actor) >= version_vector::MAX_COUNT
                || held.clock().count(actor) >= version_vector::MAX_COUNT;
            if !full {
                let (seen, write) = (Seen { clock, stamp: Hlc(0) }, WriteId { client, number });
                held.write(&seen, actor, (Hlc(stamp), write), content, (Resolve::Siblings, Mutant::default()));
            }
        }
        held
    })
}

fn cause() -> impl Strategy<Value = Cause> {
    (any::<u32>(), select(vec![Cause::Write as fn(NodeId) -> Cause, Cause::Handoff, Cause::Repair]))
        .prop_map(|(node, cause)| cause(NodeId(node)))
}

fn entry() -> impl Strategy<Value = Arc<Entry>> {
    (siblings(), cause(), number()).prop_map(|(siblings, cause, at)| {
        let arrival = |v: &siblings::Version| Arrival { dot: v.dot, cause, at: Wall(at) };
        let arrivals = siblings.versions().iter().map(arrival).collect();
        Arc::new(Entry { siblings, arrivals })
    })
}

fn record() -> impl Strategy<Value = Record> {
    let hint =
        (entry(), number(), number()).prop_map(|(entry, epoch, since)| Hint { entry, epoch, since: Wall(since) });
    prop_oneof![
        4 => (key(), prop::option::of(entry())).prop_map(|(key, entry)| Record::Key(key, entry)),
        3 => (any::<u32>(), key(), prop::option::of(hint))
            .prop_map(|(owner, key, hint)| Record::Hint(NodeId(owner), key, hint)),
        1 => number().prop_map(Record::Epoch),
        1 => number().prop_map(Record::Snapshot),
        1 => any::<bool>().prop_map(Record::Rejoin),
    ]
}

fn request() -> impl Strategy<Value = ClientRequest> {
    let level = select(vec![None, Some(Level::One), Some(Level::LocalQuorum), Some(Level::Count(u8::MAX))]);
    let update = prop_oneof![
        bytes(MAX_VALUE_BYTES).prop_map(Update::Set),
        Just(Update::Delete),
        op().prop_map(|(_, op)| Update::Merge(op)),
    ];
    let context = (clock(), 0..=MAX_STAMP.0).prop_map(|(clock, stamp)| Seen { clock, stamp: Hlc(stamp) });
    let put = (key(), update, context, level.clone(), (number(), any::<u32>(), any::<bool>())).prop_map(
        |(key, update, seen, w, (n, deadline_ms, yes))| ClientRequest::Put {
            slot: Slot { server: NodeId(deadline_ms), window: n, number: n },
            write: WriteId { client: n, number: n },
            context: context::encode(&key, &seen),
            key,
            update,
            w,
            sloppy: yes.then_some(yes),
            deadline_ms,
            read_back: yes,
        },
    );
    let get = (key(), level, any::<u32>()).prop_map(|(key, r, deadline_ms)| ClientRequest::Get { key, r, deadline_ms });
    prop_oneof![2 => put, 1 => get]
}

fn reply() -> impl Strategy<Value = ClientReply> {
    let achieved = any::<[u8; 3]>().prop_map(|[wanted, replicas, hints]| Achieved { wanted, replicas, hints });
    prop_oneof![
        (key(), siblings(), achieved.clone())
            .prop_map(|(key, siblings, achieved)| { coordinator::shown(&key, &siblings, achieved) }),
        achieved.clone().prop_map(|achieved| ClientReply::Done { achieved }),
        achieved.prop_map(|achieved| ClientReply::Unfinished { achieved }),
        (number(), number()).prop_map(|(refused, granted)| ClientReply::UnknownWindow { refused, granted }),
        select(vec![Refusal::Busy, Refusal::Rejoining, Refusal::TooManyBytes(u64::MAX)]).prop_map(ClientReply::Refused),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let list = || vec((key(), clock()), 0..4);
    prop_oneof![
        4 => (number(), key(), siblings(), prop::option::of(any::<u32>()), cause(), number()).prop_map(
            |(op, key, siblings, owner, cause, epoch)| {
                Message::Put { op, key, siblings, owner: owner.map(NodeId), cause, epoch }
            }
        ),
        1 => (number(), select(vec![PutResult::Stored, PutResult::NoRoom, PutResult::TooOld, PutResult::Refilling]))
            .prop_map(|(op, result)| Message::PutReply { op, result }),
        1 => (number(), key()).prop_map(|(op, key)| Message::Get { op, key }),
        3 => (number(), siblings(), number(), any::<bool>())
            .prop_map(|(op, siblings, epoch, member)| Message::GetReply { op, siblings, epoch, member }),
        2 => (number(), request()).prop_map(|(op, request)| Message::Forward { op, request: Box::new(request) }),
        2 => (number(), reply()).prop_map(|(op, reply)| Message::ForwardReply { op, reply }),
        1 => (number(), number()).prop_map(|(at, want)| Message::Epoch { at, want }),
        1 => list().prop_map(Message::Ask),
        1 => list().prop_map(Message::Held),
        1 => list().prop_map(Message::Forget),
        1 => list().prop_map(Message::Forgotten),
        1 => (number(), number(), any::<bool>()).prop_map(|(round, at, refill)| Message::Rejoin { round, at, refill }),
        1 => (number(), number(), any::<[bool; 2]>()).prop_map(|(round, at, [rejoins, refilled])| {
            Message::Welcome { round, at, rejoins, refilled }
        }),
    ]
}

fn survives(packet: &Packet) -> Result<(), TestCaseError> {
    let bytes = frame::encode(packet).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert!(frame::decode(&bytes).as_ref() == Ok(packet));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn records_can_be_read_back(record in record()) {
        prop_assert!(LogRecord::Ap(record).reads_back());
    }

    #[test]
    fn messages_can_be_read_back(message in message()) {
        survives(&Packet::Peer { origin: Origin::default(), lane: Lane::Control, raft: Vec::new(), ap: vec![message] })?;
    }

    #[test]
    fn requests_and_replies_can_be_read_back(request in request(), reply in reply()) {
        survives(&Packet::from(Asked::new(1, RequestBody::Ap(request))))?;
        survives(&Packet::Response(Response { id: 1, body: ResponseBody::Ap(reply) }))?;
    }

    #[test]
    fn contexts_can_be_given_back(key in key(), clock in clock(), stamp in 1..=MAX_STAMP.0) {
        let seen = if clock.is_empty() { Seen::default() } else { Seen { clock, stamp: Hlc(stamp) } };
        prop_assert_eq!(context::decode(&key, &context::encode(&key, &seen), Mutant::default()), Ok(seen));
    }
}

/// The largest entry of a key fits a frame, a block of a snapshot, and the log.
#[test]
fn the_largest_entry() {
    let key = Key::from(&[0xff; MAX_KEY_BYTES][..]);
    let mut siblings = Siblings::default();
    let actors = MAX_HELD_ACTORS as u64;
    for incarnation in 0..actors {
        let actor = Actor { node: NodeId(u32::MAX), incarnation: u64::MAX - incarnation };
        if incarnation < 6 {
            let size = (MAX_HELD_BYTES - siblings.bytes() - 64).min(MAX_VALUE_BYTES);
            let (write, content) =
                (WriteId { client: 1, number: incarnation }, Content::Value(vec![0xff; size].into()));
            let rules = (Resolve::Siblings, Mutant::default());
            siblings.write(&Seen::default(), actor, (MAX_STAMP, write), content, rules);
        } else {
            let clock = VersionVector::of([(actor, version_vector::MAX_COUNT)]);
            let known = Siblings::from_parts(clock, Vec::new()).expect("a clock alone");
            siblings.merge(&known, Resolve::Siblings, Mutant::default());
        }
    }
    assert!(siblings.bytes() > MAX_HELD_BYTES - 500 && siblings.clock().len() == MAX_HELD_ACTORS);
    let arrival = |v: &siblings::Version| Arrival { dot: v.dot, cause: Cause::Write(id(1)), at: Wall(u64::MAX) };
    let arrivals = siblings.versions().iter().map(arrival).collect();
    let entry = Arc::new(Entry { siblings: siblings.clone(), arrivals });
    let hint = Hint { entry: entry.clone(), epoch: u64::MAX, since: Wall(u64::MAX) };
    for record in [Record::Key(key.clone(), Some(entry)), Record::Hint(id(1), key.clone(), Some(hint))] {
        let mut bytes = Vec::new();
        encoding::encode(&record, &mut bytes);
        assert!(bytes.len() <= MAX_BLOCK_BYTES, "{} bytes", bytes.len());
        assert!(LogRecord::Ap(record).reads_back());
    }
    let cause = Cause::Write(id(1));
    let put = Message::Put { op: 1, key: key.clone(), siblings: siblings.clone(), owner: Some(id(1)), cause, epoch: 1 };
    survives(&Packet::Peer { origin: Origin::default(), lane: Lane::Control, raft: Vec::new(), ap: vec![put] })
        .unwrap();
    let shown = coordinator::shown(&key, &siblings, Achieved::default());
    assert!(matches!(shown, ClientReply::Value { .. }));
    survives(&Packet::Response(Response { id: 1, body: ResponseBody::Ap(shown) })).unwrap();
}

/// The longest lists that tombstone GC sends fit a frame.
#[test]
fn the_longest_lists() {
    let wide =
        VersionVector::of((0..MAX_HELD_ACTORS as u64).map(|incarnation| (Actor { node: NodeId(7), incarnation }, 1)));
    let list = vec![(Key::from(&[0xff; MAX_KEY_BYTES][..]), wide); tombstone_gc::MAX_KEYS];
    survives(&Packet::Peer {
        origin: Origin::default(),
        lane: Lane::Control,
        raft: Vec::new(),
        ap: vec![Message::Forget(list)],
    })
    .unwrap();
}
