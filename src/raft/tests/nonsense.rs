//! Invalid and forged messages: no sequence of messages from peers makes a node panic.

use super::*;
use crate::types::Rng;
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..12u64, 1 => Just(u64::MAX), 1 => (LIMIT - 2)..=(LIMIT + 2), 1 => any::<u64>()]
}

fn meta() -> impl Strategy<Value = SnapshotMeta> {
    (number(), number()).prop_map(|(index, term)| SnapshotMeta { index, term })
}

fn body() -> impl Strategy<Value = Body> {
    let entry = (number(), 0..3usize).prop_map(|(term, len)| Entry { term, command: vec![7; len].into() });
    let entries = (prop::collection::vec(entry, 0..5), any::<bool>()).prop_map(|(mut list, sorted)| {
        if sorted {
            list.sort_by_key(|e| e.term);
        }
        list
    });
    prop_oneof![
        (any::<bool>(), number(), number(), any::<bool>())
            .prop_map(|(pre, last_index, last_term, transfer)| Body::Vote { pre, last_index, last_term, transfer }),
        (any::<bool>(), any::<bool>()).prop_map(|(pre, granted)| Body::VoteReply { pre, granted }),
        (number(), number(), entries, number(), number()).prop_map(
            |(prev_index, prev_term, entries, commit, round)| {
                Body::Append { prev_index, prev_term, entries, commit, round }
            }
        ),
        (number(), number()).prop_map(|(m, round)| Body::AppendReply { result: AppendResult::Matched(m), round }),
        (number(), number(), number(), number()).prop_map(|(rejected, hint, hint_term, round)| Body::AppendReply {
            result: AppendResult::Conflict { rejected, hint, hint_term },
            round
        }),
        (meta(), number(), 0..3usize, any::<bool>(), number()).prop_map(|(meta, offset, len, last, round)| {
            Body::Snapshot { meta, offset, data: vec![1; len].into(), last, round }
        }),
        (meta(), number(), any::<bool>(), number()).prop_map(|(meta, next, installed, round)| Body::SnapshotReply {
            meta,
            next,
            installed,
            round
        }),
        Just(Body::TimeoutNow),
        (number(), number()).prop_map(|(last, round)| Body::Quiesce { last, round }),
        (number(), number()).prop_map(|(index, digest)| Body::Digest { index, digest }),
    ]
}

/// A single message with the highest possible term would make the group useless: no node could be elected any more.
#[test]
fn an_absurd_term_is_refused_without_harm() {
    let config = Config::new(id(1), vec![id(1), id(2), id(3)]);
    let (jump, mut out) = (config.max_term_jump, Outbox::default());
    let recovered = Recovered { term: 3, ..Recovered::default() };
    let mut raft = Raft::new(config, recovered, Time(0), Rng::new(1, "absurd"));
    let bodies = [
        Body::AppendReply { result: AppendResult::Matched(0), round: 0 },
        Body::Vote { pre: false, last_index: 0, last_term: 0, transfer: true },
        Body::Append { prev_index: 0, prev_term: 0, entries: Vec::new(), commit: 0, round: 0 },
    ];
    for term in [jump + 4, LIMIT, TERM_LIMIT] {
        for body in bodies.clone() {
            raft.step(Time(1), Input::Message(id(2), Message { term, body }), &mut out);
            assert_eq!(raft.status().soft.term, 3);
        }
    }
    assert!(!out.has_records() && out.sends.is_empty(), "and nothing is said or recorded");
    let latest = Message { term: jump + 3, body: bodies[2].clone() };
    raft.step(Time(1), Input::Message(id(2), latest), &mut out);
    assert_eq!(raft.status().soft.term, jump + 3, "a term within the bound is followed");
}

/// Recovery of a group that an earlier release let a forged message raise to its last term: one start with a larger
/// bound.
#[test]
fn a_group_at_an_absurd_term_goes_on() {
    let mut config = Config::new(id(1), vec![id(1), id(2), id(3)]);
    config.max_term_jump = TERM_LIMIT - 1;
    let mut raft = Raft::new(config, Recovered::default(), Time(0), Rng::new(1, "way out"));
    let mut out = Outbox::default();
    let body = Body::Append { prev_index: 0, prev_term: 0, entries: Vec::new(), commit: 0, round: 0 };
    raft.step(Time(1), Input::Message(id(2), Message { term: LIMIT + 1, body }), &mut out);
    let soft = raft.status().soft;
    assert_eq!((soft.term, soft.leader), (LIMIT + 1, Some(id(2))));
}

#[derive(Clone, Debug)]
enum Event {
    Message(u32, Message),
    Propose,
    Read,
    Wake,
    Transfer(u32),
    Compact,
    /// The node's disk did what the last effect asked for (true), or failed (false).
    Disk(bool),
    Pass(u64),
    Persist,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0..5u32, number(), body()).prop_map(|(from, term, body)| Event::Message(from, Message { term, body })),
        1 => Just(Event::Propose),
        1 => Just(Event::Read),
        1 => Just(Event::Wake),
        1 => (0..5u32).prop_map(Event::Transfer),
        1 => Just(Event::Compact),
        2 => any::<bool>().prop_map(Event::Disk),
        3 => (0..1200u64).prop_map(Event::Pass),
        4 => Just(Event::Persist),
    ]
}

/// Answers the node's last request to the disk, so that snapshot transfers make progress.
fn disk(effects: &[Effect], ok: bool) -> Option<Request> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::LoadChunk { to, meta, offset } => {
            let loaded = if ok { Loaded::Piece(command("data"), true) } else { Loaded::Busy };
            Some(Request::ChunkLoaded { to: *to, meta: *meta, offset: *offset, loaded })
        }
        Effect::SaveChunk { from, meta, offset, data, last } => {
            let saved = match (ok, last) {
                (false, _) => Saved::Busy,
                (true, true) => Saved::Complete,
                (true, false) => Saved::Next(offset + data.len() as u64),
            };
            Some(Request::ChunkSaved { from: *from, meta: *meta, saved })
        }
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_panics(events in prop::collection::vec(event(), 1..80), leads: bool, lease: bool, quiesce: bool) {
        let mut config = Config::new(id(1), vec![id(1), id(2), id(3)]);
        config.lease_ppm = lease.then_some(999_999);
        config.keep_entries = 1;
        config.quiesce = quiesce;
        let recovered = if leads {
            Recovered::default()
        } else {
            let entries = [2, 2, 3].map(|term| Entry { term, command: command("x") }).to_vec();
            Recovered { term: 3, vote: None, snapshot: SnapshotMeta { index: 2, term: 1 }, entries }
        };
        let mut raft = Raft::new(config, recovered, Time(0), Rng::new(1, "nonsense"));
        let (mut out, mut now, mut effects, mut ticket) = (Outbox::default(), Time(0), Vec::new(), Ticket(0));
        let step = |raft: &mut Raft, out: &mut Outbox<Raft>, now: Time, input| raft.step(now, input, out);
        if leads {
            now = Time(2_000_000_000);
            step(&mut raft, &mut out, now, Input::Tick);
            let grant = |pre| Message { term: 1, body: Body::VoteReply { pre, granted: true } };
            step(&mut raft, &mut out, now, Input::Message(id(2), grant(true)));
            step(&mut raft, &mut out, now, Input::Message(id(2), grant(false)));
            step(&mut raft, &mut out, now, Input::Message(id(3), grant(false)));
            prop_assert_eq!(raft.status().soft.role, Role::Leader);
        }
        for (number, event) in (0..).zip(events) {
            let input = match event {
                Event::Message(from, message) => Input::Message(id(from), message),
                Event::Propose => Input::Request(Request::Propose { id: number, command: command("p") }),
                Event::Wake => Input::Request(Request::Wake),
                Event::Read => Input::Request(Request::Read { id: number }),
                Event::Transfer(to) => Input::Request(Request::Transfer { id: number, to: id(to) }),
                Event::Compact => {
                    let index = raft.status().commit;
                    let term = raft.term_at(index).unwrap();
                    Input::Request(Request::Compact { meta: SnapshotMeta { index, term } })
                }
                Event::Disk(ok) => disk(&effects, ok).map_or(Input::Tick, Input::Request),
                Event::Pass(ms) => {
                    now = now + std::time::Duration::from_millis(ms);
                    Input::Tick
                }
                Event::Persist => {
                    ticket = out.take_records().map_or(ticket, |(ticket, _)| ticket);
                    Input::Persisted(ticket)
                }
            };
            step(&mut raft, &mut out, now, input);
            effects.append(&mut out.effects);
            out.sends.clear();
        }
    }
}

proptest! {
    /// Messages and records can be stored as JSON, for logs and traces.
    #[test]
    fn messages_and_records_survive_json(term in number(), body in body()) {
        let message = Message { term, body };
        let text = serde_json::to_string(&message).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Message>(&text).unwrap(), &message);
        if let Body::Append { prev_index: first, entries, .. } = message.body {
            let record = Record::Append { first, entries };
            let text = serde_json::to_string(&record).unwrap();
            prop_assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        }
    }
}
