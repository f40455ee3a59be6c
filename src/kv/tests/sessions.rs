//! Sessions: retries, late duplicates, and which session is dropped when the table is full.

use super::*;

#[test]
fn a_write_is_applied_once_however_often_it_comes() {
    let mut kv = kv();
    assert_eq!(run(&mut kv, 1, None, Op::OpenSession), Reply::Session(1));
    let first = run(&mut kv, 2, Some((1, 7)), put("k", "a"));
    assert_eq!(revision(&first), 0);
    assert_eq!(run(&mut kv, 3, Some((1, 7)), put("k", "a")), first, "the reply of then");
    assert_eq!(revision(&run(&mut kv, 4, Some((1, 8)), put("k", "b"))), 1);
    assert_eq!(run(&mut kv, 5, Some((1, 7)), put("k", "a")), Reply::Stale);
    assert_eq!(run(&mut kv, 6, Some((99, 1)), put("k", "c")), Reply::SessionExpired);
    assert_eq!(kv.get(b"k").unwrap().value, "b");
}

/// A late duplicate of a refused write must not be applied once its condition holds.
#[test]
fn a_refusal_is_final() {
    let mut kv = kv();
    run(&mut kv, 1, None, Op::OpenSession);
    run(&mut kv, 2, None, put("lock", "other"));
    let when = Condition { exists: Some(false), ..Condition::ALWAYS };
    let take = Op::Write(Write::Put { key: "lock".into(), value: "mine".into(), when, ttl_ms: None });
    let refused = run(&mut kv, 3, Some((1, 1)), take.clone());
    assert!(matches!(&refused, Reply::Refused(Some(held)) if held.value == "other"));
    run(&mut kv, 4, None, delete("lock"));
    assert_eq!(run(&mut kv, 5, Some((1, 1)), take), refused);
    assert_eq!(kv.get(b"lock"), None);
}

#[test]
fn the_session_used_longest_ago_makes_room() {
    let mut kv = kv();
    for _ in 0..MAX_SESSIONS {
        run(&mut kv, 1, None, Op::OpenSession);
    }
    run(&mut kv, 2, Some((1, 1)), put("k", "v"));
    run(&mut kv, 3, None, Op::OpenSession);
    assert_eq!(kv.sessions(), u64::from(MAX_SESSIONS));
    assert_eq!(run(&mut kv, 4, Some((2, 1)), put("k", "v")), Reply::SessionExpired, "the second was idle longest");
    assert_eq!(revision(&run(&mut kv, 5, Some((1, 2)), put("k", "v"))), 1, "the first was used since");
}

#[test]
fn remembered_refusals_stay_within_their_bytes() {
    let mut kv = kv();
    run(&mut kv, 1, None, put("k", vec![7; MAX_VALUE_BYTES]));
    let most = (MAX_REPLY_BYTES / MAX_VALUE_BYTES) as u64;
    let opened: Vec<u64> = (0..=most)
        .map(|_| match run(&mut kv, 2, None, Op::OpenSession) {
            Reply::Session(id) => id,
            other => panic!("{other:?}"),
        })
        .collect();
    let refused =
        Op::Write(Write::Delete { key: "k".into(), when: Condition { revision: Some(5), ..Condition::ALWAYS } });
    for id in &opened {
        assert_eq!(kv.sessions(), most + 1);
        assert!(matches!(run(&mut kv, 3, Some((*id, 1)), refused.clone()), Reply::Refused(Some(_))));
    }
    assert_eq!(kv.sessions(), most, "one had to go");
    assert_eq!(run(&mut kv, 4, Some((opened[0], 1)), refused.clone()), Reply::SessionExpired);
    assert!(matches!(run(&mut kv, 5, Some((opened[1], 1)), refused), Reply::Refused(Some(_))));
}
