//! Tests of the state machine against a simple model, and a golden transcript.

mod model;
mod script;
mod sessions;
mod snapshot;

use super::*;
use crate::mutant::Mutant;
use crate::types::{Bytes, Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Wall};
use proptest::collection::vec;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn kv() -> Kv {
    Kv::new(Mutant::default())
}

fn put(key: &str, value: impl Into<Bytes>) -> Op {
    Op::Write(Write::Put { key: key.into(), value: value.into(), when: Condition::ALWAYS, ttl_ms: None })
}

fn put_for(key: &str, ttl_ms: u64) -> Op {
    Op::Write(Write::Put {
        key: key.to_owned().into(),
        value: "v".into(),
        when: Condition::ALWAYS,
        ttl_ms: Some(ttl_ms),
    })
}

fn delete(key: &str) -> Op {
    Op::Write(Write::Delete { key: key.to_owned().into(), when: Condition::ALWAYS })
}

/// Applies `op` as the next log entry, at a stamp and a time in milliseconds.
fn run(kv: &mut Kv, ms: u64, session: Option<(u64, u64)>, op: Op) -> Reply {
    run_at(kv, (ms, ms), session, op)
}

/// Does the same with a date that is independent of the time.
fn run_at(kv: &mut Kv, (date, time): (u64, u64), session: Option<(u64, u64)>, op: Op) -> Reply {
    let (stamp, time) = (Wall(date * MS), GroupTime(time * MS));
    kv.apply(kv.applied() + 1, &encode(&Command { stamp, time, session, op }))
}

fn revision(reply: &Reply) -> u64 {
    match reply {
        Reply::Done { revision, .. } => *revision,
        other => panic!("not done: {other:?}"),
    }
}

fn blocks(kv: &Kv, max_bytes: usize) -> Vec<Vec<u8>> {
    let mut snapshot = kv.snapshot();
    std::iter::from_fn(|| snapshot.next_block(max_bytes)).collect()
}

fn restore(blocks: &[Vec<u8>], index: u64) -> Result<Kv, RestoreError> {
    let mut restore = KvRestore::new(Mutant::default());
    blocks.iter().try_for_each(|block| restore.block(block))?;
    restore.finish(index)
}

/// A future log entry: an operation, or bytes that are not a valid command.
#[derive(Clone, Debug)]
enum Step {
    Command { stamp: Wall, time: GroupTime, session: Option<(prop::sample::Index, u64)>, op: Op },
    Raw(Vec<u8>),
}

fn steps(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Step>> {
    let key = prop::sample::select(vec!["a", "b", "c", "dd"]).prop_map(Key::from);
    let value = prop::sample::select(vec!["", "x", "yy"]).prop_map(Bytes::from_static_str);
    let when = (option(any::<bool>(), 3), option(value.clone(), 3), option(-2i64..4, 3))
        .prop_map(|(exists, value, revision)| Condition { exists, value, revision });
    let op = prop_oneof![
        2 => Just(Op::OpenSession),
        9 => (key.clone(), value, when.clone(), option(0u64..300, 2))
            .prop_map(|(key, value, when, ttl_ms)| Op::Write(Write::Put { key, value, when, ttl_ms })),
        4 => (key.clone(), when).prop_map(|(key, when)| Op::Write(Write::Delete { key, when })),
        2 => (key, 0u64..300).prop_map(|(key, ttl_ms)| Op::Write(Write::Extend { key, ttl_ms })),
        1 => Just(Op::Expire),
    ];
    let command = (0u64..1000, 0u64..1000, option((any::<prop::sample::Index>(), 0u64..4), 2), op).prop_map(
        |(date, ms, session, op)| Step::Command { stamp: Wall(date * MS), time: GroupTime(ms * MS), session, op },
    );
    let raw = vec(any::<u8>(), 0..12).prop_map(Step::Raw);
    vec(prop_oneof![30 => command, 1 => raw], len)
}

/// `Some` once in `n`.
fn option<T: Clone + std::fmt::Debug>(
    some: impl Strategy<Value = T> + Clone,
    n: u32,
) -> impl Strategy<Value = Option<T>> + Clone {
    prop::option::weighted(1.0 / f64::from(n), some)
}

trait FromStaticStr {
    fn from_static_str(s: &'static str) -> Self;
}

impl FromStaticStr for Bytes {
    fn from_static_str(s: &'static str) -> Bytes {
        Bytes::from_static(s.as_bytes())
    }
}

/// Returns the log entries of `steps`. Sessions are picked among the indices that opened one so far, and index 0, which
/// opened none.
fn entries(steps: &[Step]) -> Vec<Bytes> {
    let mut opened = vec![0];
    let mut entries = Vec::new();
    for (step, index) in steps.iter().zip(1..) {
        entries.push(match step {
            Step::Raw(bytes) => Bytes::copy_from_slice(bytes),
            Step::Command { stamp, time, session, op } => {
                let session = session.map(|(pick, number)| (*pick.get(&opened), number));
                encode(&Command { stamp: *stamp, time: *time, session, op: op.clone() })
            }
        });
        if let Step::Command { op: Op::OpenSession, .. } = step {
            opened.push(index);
        }
    }
    entries
}

fn apply_all(kv: &mut Kv, entries: &[Bytes]) -> Vec<Reply> {
    entries.iter().map(|entry| kv.apply(kv.applied() + 1, entry)).collect()
}

proptest! {
    #[test]
    fn commands_survive_their_layout(steps in steps(1..30)) {
        for (entry, step) in entries(&steps).iter().zip(&steps) {
            if let Step::Command { stamp, time, op, .. } = step {
                let command = decode(entry).unwrap();
                prop_assert_eq!((command.stamp, command.time, &command.op), (*stamp, *time, op));
                prop_assert_eq!(&encode(&command), entry);
                for cut in 0..entry.len() {
                    prop_assert!(decode(&entry.slice(..cut)).is_err(), "cut at {}", cut);
                }
            }
        }
    }

    /// Bytes that decode are exactly the encoding of the result: decoding is strict.
    #[test]
    fn any_bytes_are_a_command_or_refused(mut bytes in vec(any::<u8>(), 0..80), tag in 0u8..8) {
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(command) = decode(&bytes) {
            prop_assert_eq!(encode(&command), bytes);
        }
    }
}

/// The example in docs/formats.md.
#[test]
fn the_documented_bytes_are_the_real_ones() {
    let (stamp, time) = (Wall(1), GroupTime(3));
    let entry = encode(&Command { stamp, time, session: Some((5, 2)), op: put("k", "v") });
    let zeros = [0; 7];
    let expected =
        [&[2, 1][..], &[1], &zeros, &[3], &zeros, &[5], &zeros, &[2], &zeros, &[1, 0, b'k'], &[1, 0, 0, 0, b'v']]
            .concat();
    assert_eq!(entry, expected);
}

#[test]
fn a_command_beyond_the_limits_is_refused() {
    let command = |key: usize, value: usize| {
        let (key, value) = (vec![1; key].into(), vec![2; value].into());
        let write = Write::Put { key, value, when: Condition::ALWAYS, ttl_ms: None };
        let ok = write.check_limits().is_ok();
        let op = Op::Write(write);
        (ok, decode(&encode(&Command { stamp: Wall(1), time: GroupTime(1), session: None, op })).is_ok())
    };
    assert_eq!(command(MAX_KEY_BYTES, MAX_VALUE_BYTES), (true, true));
    assert_eq!(command(0, 1), (false, false));
    assert_eq!(command(MAX_KEY_BYTES + 1, 1), (false, false));
    assert_eq!(command(1, MAX_VALUE_BYTES + 1), (false, false));
}

#[test]
fn what_is_no_command_changes_nothing_but_the_count() {
    let mut kv = kv();
    run(&mut kv, 5, None, put("k", "v"));
    let held = kv.get(b"k");
    assert_eq!(kv.apply(2, &Bytes::from_static(b"\xffnonsense")), Reply::Nothing);
    assert_eq!(kv.apply(3, &Bytes::new()), Reply::Nothing);
    assert_eq!((kv.skipped(), kv.applied(), kv.last_stamp(), kv.get(b"k")), (1, 3, Wall(5 * MS), held));
}

#[test]
#[should_panic(expected = "without a gap")]
fn a_gap_in_the_log_stops_the_replica() {
    kv().apply(2, &Bytes::new());
}

#[test]
fn expiry_is_bounded_for_each_command_and_that_does_not_show() {
    let mut kv = kv();
    let keys: Vec<String> = (0..EXPIRE_BATCH as u64 * 5).map(|n| format!("k{n:04}")).collect();
    for key in &keys {
        run(&mut kv, 1, None, put_for(key, 100));
    }
    assert_eq!(kv.len(), keys.len() as u64);
    run(&mut kv, 10_000, None, Op::Expire);
    assert_eq!(kv.len(), keys.len() as u64 - EXPIRE_BATCH as u64, "one batch is buried");
    assert!(keys.iter().all(|key| kv.get(key.as_bytes()).is_none()), "all are gone for readers");
    let last = keys.last().unwrap();
    assert_eq!(run(&mut kv, 10_001, None, delete(last)), Reply::Refused(None), "and for writers");
    assert_eq!(revision(&run(&mut kv, 10_002, None, put(last, "new"))), 2, "after write r0 and expiry r1");
    while kv.next_expiry().is_some_and(|at| at <= kv.time()) {
        run(&mut kv, 10_003, None, Op::Expire);
    }
    assert_eq!((kv.len(), kv.next_expiry()), (1, None));
    assert_eq!(revision(&run(&mut kv, 10_004, None, put(&keys[0], "new"))), 2);
}

#[test]
fn times_at_the_end_of_the_range_do_not_panic() {
    let mut kv = kv();
    let at_the_end = |op| encode(&Command { stamp: Wall(u64::MAX), time: GroupTime(u64::MAX), session: None, op });
    for (op, index) in [put_for("k", u64::MAX), Op::Write(Write::Extend { key: "k".into(), ttl_ms: 1 }), Op::Expire]
        .into_iter()
        .zip(1..)
    {
        kv.apply(index, &at_the_end(op));
    }
    assert_eq!(kv.last_stamp(), Wall(u64::MAX));
    assert_eq!(kv.time(), GroupTime(3 * MAX_STEP.as_nanos() as u64), "one step at a time");
    assert_eq!(kv.get(b"k"), None, "its last deadline is a step ago");
}

/// A leader's date jumps a year ahead for a moment and is then right again.
#[test]
fn deadlines_do_not_know_the_date() {
    let mut kv = kv();
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    let now = 1_000_000_000_000;
    run_at(&mut kv, (now, 10), None, put_for("before", 3_600_000));
    run_at(&mut kv, (now + YEAR, 20), None, put("any", "x"));
    assert!(kv.get(b"before").is_some(), "an hour is not over");
    run_at(&mut kv, (now + 1000, 1000), None, put_for("after", 1000));
    assert_eq!(kv.get(b"after").unwrap().expires, Some(Wall(kv.last_stamp().0 + 1000 * MS)));
    run_at(&mut kv, (now + 2000, 2000), None, Op::Expire);
    assert_eq!(kv.get(b"after"), None, "a second is over, whatever the date");
    assert!(kv.get(b"before").is_some());
}

/// Stamps follow a wrong date no faster than time passes, and never go back.
#[test]
fn a_wrong_date_moves_stamps_by_no_more_than_the_time_it_was_wrong() {
    let mut kv = kv();
    const HOUR: u64 = 3_600_000;
    let start = 1_000_000 * HOUR;
    let stamp = |kv: &mut Kv, error: i64, time: u64| {
        run_at(kv, ((start + time).saturating_add_signed(error), time), None, put("k", "v"));
        kv.last_stamp().0 as i64 / MS as i64 - (start + time) as i64
    };
    assert_eq!(stamp(&mut kv, 0, 1), 0);
    for time in (1000..=60_000).step_by(1000) {
        let off = stamp(&mut kv, HOUR as i64, time);
        assert!((0..=time as i64).contains(&off), "{off} ms at {time}");
    }
    let worst = stamp(&mut kv, HOUR as i64, 60_001);
    assert!(worst > 50_000, "an hour ahead for a minute: {worst} ms");
    assert!(stamp(&mut kv, 0, 90_000) < worst, "a right date wins back what it can");
    assert_eq!(stamp(&mut kv, 0, 200_000), 0);
    let late = stamp(&mut kv, -(HOUR as i64), 210_000);
    assert!((-10_000..0).contains(&late), "a date that is behind: stamps stand almost still, {late} ms");
    assert_eq!(stamp(&mut kv, 0, 230_000), 0);
}

/// 20,000 keys that expire after 10 ms leave only the allowed number of tombstones, and no revision is used twice.
#[test]
fn keys_that_are_gone_leave_a_bounded_number_of_tombstones() {
    let mut kv = kv();
    let key = |n: u64| format!("login/{n:020}");
    let given: Vec<u64> = (0..20_000u64).map(|n| revision(&run(&mut kv, n * 20, None, put_for(&key(n), 10)))).collect();
    for n in 0..200 {
        run(&mut kv, 1_000_000 + n, None, Op::Expire);
    }
    assert_eq!((kv.len(), kv.tombstones()), (0, u64::from(MAX_TOMBSTONES)));
    let bytes: usize = blocks(&kv, 1 << 20).iter().map(Vec::len).sum();
    assert!(bytes < MAX_TOMBSTONES as usize * 60, "{bytes} bytes");
    for n in [0, 7, 10_000, 19_999] {
        let cmprev = Condition { revision: Some(-1), ..Condition::ALWAYS };
        let op = Op::Write(Write::Put { key: key(n).into(), value: "x".into(), when: cmprev, ttl_ms: None });
        let next = revision(&run(&mut kv, 2_000_000, None, op));
        assert!(next > given[n as usize] + 1, "expiry took {}, the next is {next}", given[n as usize] + 1);
    }
    assert_eq!(revision(&run(&mut kv, 2_000_000, None, put(&key(19_998), "x"))), given[19_998] + 2, "remembered");
    let first = revision(&run(&mut kv, 2_000_000, None, put("never", "x")));
    assert!(first > given[0] + 1, "a new key cannot be told from one that is forgotten");
    assert_eq!(revision(&run(&mut kv, 2_000_000, None, put("never", "y"))), first + 1);
}

#[test]
fn a_small_value_does_not_keep_a_large_entry_alive() {
    let mut kv = kv();
    let large = Bytes::from(vec![1; MAX_VALUE_BYTES]);
    run(&mut kv, 1, None, put("k", large.clone()));
    let when = Condition { value: Some(large), ..Condition::ALWAYS };
    let op = Op::Write(Write::Put { key: "k".into(), value: "small".into(), when, ttl_ms: None });
    let entry = encode(&Command { stamp: Wall(2), time: GroupTime(2), session: None, op });
    assert_eq!(revision(&kv.apply(2, &entry)), 1);
    assert!(entry.is_unique(), "neither key nor value share the entry's memory");
}
