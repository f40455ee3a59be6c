//! Frames: round trips, damage, truncation, and bytes that are not a frame.

use super::frame::{FrameError, HEADER_BYTES, Header, MAX_FRAME_BYTES, VERSION, decode, encode};
use super::*;
use crate::identity::Origin;
use crate::kv::Condition;
use crate::kv::Versioned;
use crate::raft::{AppendResult, Body, Entry, Message, Role, SnapshotMeta, SoftState};
use crate::types::{Bytes, Wall};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn meta() -> impl Strategy<Value = SnapshotMeta> {
    any::<(u64, u64)>().prop_map(|(index, term)| SnapshotMeta { index, term })
}

fn message() -> impl Strategy<Value = Message> {
    let entry = (any::<u64>(), bytes()).prop_map(|(term, command)| Entry { term, command });
    let result = prop_oneof![
        any::<u64>().prop_map(AppendResult::Matched),
        any::<(u64, u64, u64)>().prop_map(|(rejected, hint, hint_term)| AppendResult::Conflict {
            rejected,
            hint,
            hint_term
        }),
    ];
    let body = prop_oneof![
        any::<(bool, u64, u64, bool)>().prop_map(|(pre, last_index, last_term, transfer)| Body::Vote {
            pre,
            last_index,
            last_term,
            transfer
        }),
        any::<(bool, bool)>().prop_map(|(pre, granted)| Body::VoteReply { pre, granted }),
        (any::<(u64, u64, u64, u64)>(), vec(entry, 0..5)).prop_map(
            |((prev_index, prev_term, commit, round), entries)| {
                Body::Append { prev_index, prev_term, entries, commit, round }
            }
        ),
        (result, any::<u64>()).prop_map(|(result, round)| Body::AppendReply { result, round }),
        (meta(), any::<u64>(), bytes(), any::<bool>(), any::<u64>())
            .prop_map(|(meta, offset, data, last, round)| Body::Snapshot { meta, offset, data, last, round }),
        (meta(), any::<u64>(), any::<bool>(), any::<u64>())
            .prop_map(|(meta, next, installed, round)| Body::SnapshotReply { meta, next, installed, round }),
        Just(Body::TimeoutNow),
    ];
    (any::<u64>(), body).prop_map(|(term, body)| Message { term, body })
}

fn key() -> impl Strategy<Value = Key> {
    bytes().prop_map(Key::from)
}

fn request() -> impl Strategy<Value = Request> {
    let when = (option::of(any::<bool>()), option::of(bytes()), option::of(any::<i64>()))
        .prop_map(|(exists, value, revision)| Condition { exists, value, revision });
    let write =
        prop_oneof![
            (key(), bytes(), when.clone(), option::of(any::<u64>()))
                .prop_map(|(key, value, when, ttl_ms)| Write::Put { key, value, when, ttl_ms }),
            (key(), when).prop_map(|(key, when)| Write::Delete { key, when }),
            (key(), any::<u64>()).prop_map(|(key, ttl_ms)| Write::Extend { key, ttl_ms }),
        ];
    let body = prop_oneof![
        key().prop_map(|key| RequestBody::OpenSession { key }),
        key().prop_map(|key| RequestBody::Get { key }),
        (any::<u64>(), any::<u64>(), write).prop_map(|(session, number, write)| RequestBody::Write {
            session,
            number,
            write
        }),
        Just(RequestBody::Status),
        any::<u32>().prop_map(|n| RequestBody::Transfer { to: NodeId(n) }),
        (key(), any::<u32>(), any::<bool>()).prop_map(|(key, bytes, ap)| RequestBody::Expect { key, bytes, ap }),
    ];
    (any::<u64>(), any::<(bool, u32, bool)>(), body).prop_map(|(id, (forwarded, patience_ms, again), body)| Request {
        id,
        forwarded,
        patience_ms,
        again,
        body,
    })
}

fn response() -> impl Strategy<Value = Response> {
    let held = (bytes(), any::<u64>(), any::<u64>(), option::of(any::<u64>())).prop_map(
        |(value, revision, commit, expires)| Versioned {
            value,
            revision,
            commit: Wall(commit),
            expires: expires.map(Wall),
        },
    );
    let reply = prop_oneof![
        any::<u64>().prop_map(Reply::Session),
        any::<(u64, u64)>().prop_map(|(revision, commit)| Reply::Done { revision, commit: Wall(commit) }),
        option::of(held.clone()).prop_map(Reply::Refused),
        option::of(held).prop_map(Reply::Value),
        Just(Reply::SessionExpired),
        Just(Reply::Stale),
        Just(Reply::Nothing),
    ];
    let refused = prop_oneof![
        option::of(any::<u32>()).prop_map(|n| Refused::NotLeader(n.map(NodeId))),
        any::<u32>().prop_map(|retry_ms| Refused::Busy { retry_ms }),
        Just(Refused::Displaced),
        ".{0,20}".prop_map(Refused::Invalid),
    ];
    let body = prop_oneof![
        4 => reply.prop_map(ResponseBody::Reply),
        1 => any::<[u64; 9]>().prop_map(|n| ResponseBody::Status(Box::new(status(n)))),
        1 => select(vec![ResponseBody::TransferStarted, ResponseBody::Continue]),
        2 => refused.prop_map(ResponseBody::Refused),
    ];
    (any::<u64>(), body).prop_map(|(id, body)| Response { id, body })
}

fn status(n: [u64; 9]) -> NodeStatus {
    let soft = SoftState { role: Role::Leader, term: n[0], leader: Some(NodeId(3)) };
    let snapshot = SnapshotMeta { index: n[1], term: n[2] };
    let raft = raft::Status {
        soft,
        vote: None,
        commit: n[3],
        last: n[4],
        durable: n[5],
        snapshot,
        first: n[6],
        log_bytes: n[7] as usize,
    };
    let voters = vec![NodeId(1), NodeId(2), NodeId(3)];
    let ap = n[3].is_multiple_of(2).then_some(ApStatus { keys: n[4], hints: n[5], epoch: n[6] });
    let (groups, led, down) = (n[7] as u32, n[8] as u32, vec![NodeId(n[0] as u32)]);
    let (applied, keys, sessions, bad_frames, layout) = (n[8], n[0], n[1], n[2], n[3]);
    NodeStatus {
        node: NodeId(1),
        voters,
        raft,
        applied,
        keys,
        sessions,
        bad_frames,
        all_groups: groups,
        groups,
        led,
        ap,
        layout,
        diverged: vec![Divergence { group: GroupId(1), index: n[5], minority: vec![NodeId(2)] }],
        standing: Standing::Lost,
        idle: ap.map(|_| "lost".to_owned()),
        down,
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        vec((any::<u32>().prop_map(GroupId), message()), 0..4).prop_map(|raft| Packet::Peer {
            origin: Origin::default(),
            lane: Lane::Control,
            raft,
            ap: Vec::new()
        }),
        request().prop_map(Packet::from),
        response().prop_map(Packet::Response),
    ]
}

/// A frame with a valid header and checksum around any body.
fn sealed(body: &[u8]) -> Vec<u8> {
    let checked = [&(body.len() as u32).to_le_bytes(), body].concat();
    let crc = crc32fast::hash(&checked).to_le_bytes();
    [b"SEAW", &VERSION.to_le_bytes()[..], &[0; 2], &crc, &checked].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn packets_survive_the_wire(packet in packet()) {
        let frame = encode(&packet).unwrap();
        prop_assert_eq!(&frame, &sealed(&frame[HEADER_BYTES..]), "the header is laid out as documented");
        prop_assert_eq!(decode(&frame), Ok(packet));
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused(packet in packet(), more in 0u8..) {
        let frame = encode(&packet).unwrap();
        for have in 0..frame.len() {
            let want = if have < HEADER_BYTES { HEADER_BYTES } else { frame.len() };
            prop_assert_eq!(decode(&frame[..have]), Err(FrameError::Truncated { have, want }));
            if have >= HEADER_BYTES {
                let short = decode(&sealed(&frame[HEADER_BYTES..have]));
                prop_assert!(matches!(short, Err(FrameError::Body(_))), "{:?}", short);
            }
        }
        let longer = [&frame[..], &[more]].concat();
        prop_assert!(matches!(decode(&longer), Err(FrameError::Body(_))));
        let garbage = sealed(&longer[HEADER_BYTES..]);
        prop_assert_eq!(decode(&garbage), Err(FrameError::Body("1 bytes left over".to_owned())));
    }

    #[test]
    fn random_bytes_never_panic(body in vec(prop_oneof![4 => 0u8..3, 1 => any::<u8>()], 0..120)) {
        prop_assert!(decode(&body).is_err());
        if let Ok(packet) = decode(&sealed(&body)) {
            prop_assert_eq!(&encode(&packet).unwrap()[HEADER_BYTES..], &body[..], "one encoding only");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn every_flipped_bit_is_refused(packet in packet()) {
        let frame = encode(&packet).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&damaged).is_err(), "bit {}", bit);
        }
    }
}

#[test]
fn a_header_is_refused_before_its_body_is_read() {
    let good =
        encode(&Packet::Peer { origin: Origin::default(), lane: Lane::Control, raft: vec![], ap: vec![] }).unwrap();
    let parse = |at: usize, bytes: &[u8]| {
        let mut header: [u8; HEADER_BYTES] = good[..HEADER_BYTES].try_into().unwrap();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        Header::parse(&header).map(|h| h.body_bytes)
    };
    assert_eq!(parse(0, b""), Ok(good.len() - HEADER_BYTES));
    assert_eq!(parse(0, b"HTTP"), Err(FrameError::Magic));
    assert_eq!(parse(4, &2u16.to_le_bytes()), Err(FrameError::Version { got: 2 }));
    assert_eq!(parse(6, &[1]), Err(FrameError::Body("reserved flags are set".to_owned())));
    assert_eq!(parse(12, &((MAX_FRAME_BYTES - HEADER_BYTES) as u32).to_le_bytes()), Ok(MAX_FRAME_BYTES - HEADER_BYTES));
    let len = u32::MAX as usize + HEADER_BYTES;
    assert_eq!(parse(12, &[0xff; 4]), Err(FrameError::TooLarge { len }));
    assert_eq!(
        FrameError::Version { got: 2 }.to_string(),
        "the frame is of version 2, this release speaks version 1 only"
    );
}

#[test]
fn a_packet_too_large_for_a_frame_is_refused_by_its_sender() {
    let packet = |data: usize| {
        let entries = vec![Entry { term: 1, command: vec![0; data].into() }];
        let body = Body::Append { prev_index: 1, prev_term: 1, entries, commit: 1, round: 1 };
        Packet::Peer {
            origin: Origin::default(),
            lane: Lane::Control,
            raft: vec![(GroupId(0), Message { term: 1, body })],
            ap: vec![],
        }
    };
    let overhead = encode(&packet(0)).unwrap().len();
    let largest = encode(&packet(MAX_FRAME_BYTES - overhead)).unwrap();
    assert_eq!(largest.len(), MAX_FRAME_BYTES);
    assert_eq!(decode(&largest), Ok(packet(MAX_FRAME_BYTES - overhead)));
    let len = MAX_FRAME_BYTES + 1;
    assert_eq!(encode(&packet(len - overhead)), Err(FrameError::TooLarge { len }));
}

/// A correct checksum over an announced length (of messages, entries or bytes) that exceeds the body.
#[test]
fn announced_lengths_are_not_believed() {
    let frame = encode(&Packet::from(Request::new(1, RequestBody::Get { key: "k".into() })));
    let body = &frame.unwrap()[HEADER_BYTES..];
    let key_length = body.len() - 9..body.len() - 1;
    for announced in [2, 1 << 20, MAX_FRAME_BYTES as u64 + 1, u64::MAX] {
        let mut bomb = body.to_vec();
        bomb[key_length.clone()].copy_from_slice(&announced.to_le_bytes());
        assert!(matches!(decode(&sealed(&bomb)), Err(FrameError::Body(_))), "a key of {announced} bytes");
        let bomb = [&[0; 4], &announced.to_le_bytes()[..]].concat();
        assert!(matches!(decode(&sealed(&bomb)), Err(FrameError::Body(_))), "{announced} messages");
    }
}

/// Checks the caveat in frame.rs: a vector may have grown to twice its contents.
#[test]
fn decoding_takes_at_most_twelve_times_the_frame() {
    let full = |n: usize| vec![(GroupId(1), Message { term: 1, body: Body::TimeoutNow }); n];
    let frame = |n: usize| {
        encode(&Packet::Peer { origin: Origin::default(), lane: Lane::Control, raft: full(n), ap: vec![] })
            .unwrap()
            .len()
    };
    let on_the_wire = frame(2) - frame(1);
    let in_memory = size_of::<(GroupId, Message)>();
    assert!(2 * in_memory <= 12 * on_the_wire, "{in_memory} bytes for {on_the_wire}");
}
