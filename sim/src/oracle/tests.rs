//! Tests every property of the oracle, both violated and kept.

use super::contents::LOOKED_INTO;
use super::contents::contents;
use super::*;
use bytes::Bytes;
use seaworthy::kv::Kv;
use seaworthy::node::GROUP;
use seaworthy::node::Observer;
use seaworthy::raft::{AppendResult, Body, Effect, Message, Role, SoftState};
use seaworthy::types::Wall;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn entry(term: Term, command: &'static str) -> Entry {
    let op = seaworthy::kv::Op::Write(seaworthy::kv::Write::Delete {
        key: command.into(),
        when: seaworthy::kv::Condition::ALWAYS,
    });
    let (stamp, time) = (Wall(1), seaworthy::kv::GroupTime(1));
    let command = seaworthy::kv::encode(&seaworthy::kv::Command { stamp, time, session: None, op });
    Entry { term, command }
}

fn append(handle: &mut CheckerHandle, first: Index, entries: Vec<Entry>) {
    handle.persisting(GROUP, &[Record::Append { first, entries }]);
}

fn lead(handle: &mut CheckerHandle, term: Term) {
    handle.effect(GROUP, &Effect::Became(SoftState { role: Role::Leader, term, leader: Some(handle.node) }));
}

fn starts(oracle: &Oracle, node: NodeId, recovered: &Recovered) -> CheckerHandle {
    oracle.handle((node, usize::MAX), [(GROUP, recovered)])
}

fn pair() -> (Oracle, CheckerHandle, CheckerHandle) {
    let oracle = Oracle::default();
    let (a, b) = (starts(&oracle, A, &Recovered::default()), starts(&oracle, B, &Recovered::default()));
    (oracle, a, b)
}

fn broken(oracle: &Oracle) -> Option<&'static str> {
    oracle.violation().map(|violation| violation.property)
}

#[test]
fn equal_logs_pass() {
    let (oracle, mut a, mut b) = pair();
    lead(&mut a, 1);
    for handle in [&mut a, &mut b] {
        append(handle, 1, vec![entry(1, "x"), entry(1, "y")]);
        handle.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(1, "x"), entry(1, "y")] });
    }
    lead(&mut b, 2);
    assert_eq!(oracle.violation(), None);
    assert_eq!((oracle.committed()[&GROUP], oracle.leader()), (2, Some(B)));
    assert!(oracle.checks() > 0);
}

/// The oracle's digest of the contents does not depend on the state machine's own digest.
#[test]
fn other_contents_at_one_index_are_seen() {
    let (oracle, a, b) = pair();
    let look = |handle: &CheckerHandle, contents: u64| {
        handle.oracle.lock().group(GROUP).contents(handle.node, LOOKED_INTO, || contents);
    };
    look(&a, 1);
    look(&b, 1);
    assert_eq!(broken(&oracle), None);
    let mut stores = [Kv::new(seaworthy::mutant::Mutant::default()), Kv::new(seaworthy::mutant::Mutant::default())];
    for (kv, value) in stores.iter_mut().zip(["v", "w"]) {
        let op = seaworthy::kv::Op::Write(seaworthy::kv::Write::Put {
            key: "k".into(),
            value: Bytes::from_static(value.as_bytes()),
            when: seaworthy::kv::Condition::ALWAYS,
            ttl_ms: None,
        });
        kv.apply(
            1,
            &seaworthy::kv::encode(&seaworthy::kv::Command {
                stamp: Wall(1),
                time: seaworthy::kv::GroupTime(1),
                session: None,
                op,
            }),
        );
    }
    assert_ne!(contents(&stores[0]), contents(&stores[1]));
    let (oracle, a, b) = pair();
    look(&a, contents(&stores[0]));
    look(&b, contents(&stores[1]));
    assert_eq!(broken(&oracle), Some("equal states"));
}

#[test]
fn two_leaders_of_a_term_are_seen() {
    let (oracle, mut a, mut b) = pair();
    lead(&mut a, 3);
    lead(&mut b, 3);
    assert_eq!(broken(&oracle), Some("election safety"));
}

#[test]
fn a_second_vote_is_seen() {
    let (oracle, mut a, _b) = pair();
    let grant = Message { term: 4, body: Body::VoteReply { pre: false, granted: true } };
    a.sending(B, GROUP, &grant);
    a.sending(B, GROUP, &grant);
    assert_eq!(broken(&oracle), None);
    a.sending(NodeId(3), GROUP, &grant);
    assert_eq!(broken(&oracle), Some("one vote a term"));
}

#[test]
fn a_vote_beside_its_own_candidacy_is_seen() {
    let (oracle, mut a, _b) = pair();
    let vote = |pre| Body::Vote { pre, last_index: 0, last_term: 0, transfer: false };
    a.sending(B, GROUP, &Message { term: 4, body: vote(true) });
    a.sending(B, GROUP, &Message { term: 4, body: Body::VoteReply { pre: false, granted: true } });
    assert_eq!(broken(&oracle), None, "a pre-vote is no candidacy");
    a.sending(B, GROUP, &Message { term: 4, body: vote(false) });
    assert_eq!(broken(&oracle), Some("one vote a term"));
}

#[test]
fn a_forgotten_promise_is_seen() {
    let matched = |index| Body::AppendReply { result: AppendResult::Matched(index), round: 0 };
    let start = |term, count| {
        let (oracle, mut a, _b) = pair();
        a.sending(B, GROUP, &Message { term: 4, body: matched(9) });
        a.sending(B, GROUP, &Message { term: 5, body: matched(2) });
        let entries = vec![entry(1, "x"); count];
        let recovered = Recovered { term, entries, ..Recovered::default() };
        (starts(&oracle, A, &recovered), oracle)
    };
    assert_eq!(broken(&start(5, 2).1), None);
    assert_eq!(broken(&start(6, 1).1), None, "a later leader may have taken entries away");
    assert_eq!(broken(&start(5, 1).1), Some("promises outlive crashes"));
    assert_eq!(broken(&start(4, 9).1), Some("promises outlive crashes"));
}

#[test]
fn a_log_that_does_not_match_is_seen() {
    let (oracle, mut a, mut b) = pair();
    append(&mut a, 1, vec![entry(1, "x")]);
    append(&mut b, 1, vec![entry(1, "z")]);
    assert_eq!(broken(&oracle), Some("log matching"));
}

#[test]
fn a_gap_is_seen() {
    let (oracle, mut a, _b) = pair();
    append(&mut a, 3, vec![entry(1, "x")]);
    assert_eq!(broken(&oracle), Some("logs have no gaps"));
}

#[test]
fn an_incomplete_leader_is_seen() {
    let (oracle, mut a, mut b) = pair();
    lead(&mut a, 1);
    append(&mut a, 1, vec![entry(1, "x")]);
    a.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(1, "x")] });
    lead(&mut b, 2);
    oracle.lock().group(GROUP).complete(B, 0, |index| (index == 1).then_some(1));
    assert_eq!(broken(&oracle), None);
    lead(&mut b, 3);
    oracle.lock().group(GROUP).complete(B, 0, |_| None);
    assert_eq!(broken(&oracle), Some("leader completeness"));
}

#[test]
fn different_commits_are_seen() {
    let (oracle, mut a, mut b) = pair();
    a.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(1, "x")] });
    b.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(2, "x")] });
    assert_eq!(broken(&oracle), Some("state-machine safety"));
}

#[test]
fn an_overwritten_commit_is_seen() {
    let (oracle, mut a, _b) = pair();
    append(&mut a, 1, vec![entry(1, "x")]);
    a.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(1, "x")] });
    append(&mut a, 1, vec![entry(2, "y")]);
    assert_eq!(broken(&oracle), Some("committed entries stay"));
}

/// With a slow disk, the batch is written after the commit that its last record led to.
#[test]
fn an_entry_displaced_before_it_was_written_is_no_violation() {
    let (oracle, mut a, _b) = pair();
    a.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(2, "y")] });
    let append = |term, command| Record::Append { first: 1, entries: vec![entry(term, command)] };
    a.persisting(GROUP, &[append(1, "x"), append(2, "y")]);
    assert_eq!(oracle.violation(), None);
    a.persisting(GROUP, &[append(2, "y"), append(3, "x")]);
    assert_eq!(broken(&oracle), Some("committed entries stay"));
}

#[test]
fn a_committed_entry_cut_off_is_seen() {
    let (oracle, mut a, _b) = pair();
    append(&mut a, 1, vec![entry(1, "x"), entry(1, "y")]);
    a.effect(GROUP, &Effect::Commit { first: 1, entries: vec![entry(1, "x"), entry(1, "y")] });
    append(&mut a, 1, vec![entry(1, "x")]);
    assert_eq!(broken(&oracle), Some("committed entries stay"));
}

#[test]
fn a_skipped_commit_and_a_term_going_back_are_seen() {
    let (oracle, mut a, _b) = pair();
    a.effect(GROUP, &Effect::Commit { first: 2, entries: vec![entry(1, "x")] });
    assert_eq!(broken(&oracle), Some("commits in order"));
    let (oracle, mut a, _b) = pair();
    a.persisting(GROUP, &[Record::HardState { term: 5, vote: None }, Record::HardState { term: 4, vote: None }]);
    assert_eq!(broken(&oracle), Some("terms never go back"));
}

#[test]
fn groups_are_told_apart() {
    let (oracle, mut a, mut b) = pair();
    lead(&mut a, 3);
    let of_two = Effect::Became(SoftState { role: Role::Leader, term: 3, leader: Some(B) });
    b.effect(GroupId(2), &of_two);
    assert_eq!(oracle.violation(), None, "one leads the first group, the other the second");
    assert_eq!(oracle.leader(), Some(A), "of equals the first");
    b.effect(GroupId(3), &of_two);
    assert_eq!(oracle.leader(), Some(B), "who leads most");
    a.effect(GroupId(3), &Effect::Became(SoftState { role: Role::Leader, term: 3, leader: Some(A) }));
    let violation = oracle.violation().expect("two leaders");
    assert!(violation.property == "election safety" && violation.detail.starts_with("in group 3: "), "{violation:?}");
}
