//! Quorums that meet, reads that never go back, registers and sets: small histories with known verdicts.

use seaworthy_check::replicas::{
    self, Call, Dump, End, FORWARD, LATEST, NONE_INVENTED, NONE_LOST, NONE_RESURRECTED, ONCE, Observed, Operation,
    Options, Policy, Quorum,
};

fn op(times: (u64, u64), call: Call, found: Option<&[&str]>, replicas: u32) -> Operation {
    let found = found.map(|values| values.iter().map(|value| (*value).to_owned()).collect());
    Operation {
        client: 1,
        key: "k".to_owned(),
        called: times.0,
        returned: Some(times.1),
        call,
        end: End::Ok(found),
        level: String::new(),
        quorum: Some(Quorum { replicas, of: 3, region: 0 }),
    }
}

fn put(times: (u64, u64), value: &str, saw: &[&str], w: u32) -> Operation {
    let saw = saw.iter().map(|value| (*value).to_owned()).collect();
    op(times, Call::Put { value: value.to_owned(), saw }, None, w)
}

fn get(times: (u64, u64), found: &[&str], r: u32) -> Operation {
    op(times, Call::Get, Some(found), r)
}

fn unknown(mut op: Operation) -> Operation {
    (op.end, op.returned, op.quorum) = (End::Info, None, None);
    op
}

fn dump(values: &[&str]) -> Dump {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    Dump { replica: "n1".to_owned(), key: "k".to_owned(), values, state: String::new() }
}

fn broken(policy: Policy, operations: Vec<Operation>, dumps: Vec<Dump>) -> Vec<&'static str> {
    let options = Options { policy, forward: true, skew: Some(1), ..Options::default() };
    replicas::check(&Observed { operations, dumps }, &options).counts.into_keys().collect()
}

fn siblings(operations: Vec<Operation>) -> Vec<&'static str> {
    broken(Policy::Siblings, operations, Vec::new())
}

#[test]
fn a_stale_read_is_one_whose_quorum_met_that_of_the_write() {
    let stale = |w, r| siblings(vec![put((0, 1), "a", &[], w), get((2, 3), &[], r)]);
    for w in 1..=3 {
        for r in 1..=3 {
            assert_eq!(stale(w, r), if w + r > 3 { vec![LATEST] } else { Vec::new() }, "w = {w}, r = {r}");
        }
    }
    let deleted = |w, r| {
        let delete = op((2, 3), Call::Delete { saw: vec!["a".to_owned()] }, None, w);
        siblings(vec![put((0, 1), "a", &[], 3), delete, get((4, 5), &["a"], r)])
    };
    assert_eq!(deleted(2, 2), [NONE_RESURRECTED, LATEST]);
    assert!(deleted(1, 2).is_empty());
}

#[test]
fn quorums_of_two_regions_do_not_meet() {
    let of = |region, replicas| Quorum { replicas, of: 2, region };
    let judged = |write: Quorum, read: Quorum| {
        let mut operations = vec![put((0, 1), "a", &[], 2), get((2, 3), &[], 2)];
        (operations[0].quorum, operations[1].quorum) = (Some(write), Some(read));
        siblings(operations)
    };
    assert_eq!(judged(of(1, 2), of(1, 1)), [LATEST]);
    assert!(judged(of(1, 2), of(2, 2)).is_empty());
    let all = Quorum { replicas: 3, of: 4, region: 0 };
    assert_eq!(judged(of(1, 2), all), [LATEST]);
    assert!(judged(of(1, 1), all).is_empty());
}

#[test]
fn what_a_read_found_later_ones_that_meet_it_find_too() {
    let write = || unknown(put((0, 1), "a", &[], 2));
    let reads = |first: u32, second: u32| siblings(vec![write(), get((2, 3), &["a"], first), get((4, 5), &[], second)]);
    assert_eq!(reads(2, 2), [FORWARD], "though it was never acknowledged");
    assert!(reads(1, 2).is_empty() && reads(2, 1).is_empty());
    assert!(siblings(vec![write(), get((2, 5), &["a"], 2), get((4, 6), &[], 2)]).is_empty(), "at the same time");
    let over = put((3, 4), "b", &["a"], 2);
    assert!(siblings(vec![write(), get((2, 3), &["a"], 2), over, get((5, 6), &["b"], 2)]).is_empty());
    let gone = unknown(op((4, 5), Call::Delete { saw: vec!["a".to_owned()] }, None, 2));
    let back = |last: &[&str]| {
        let reads = vec![get((6, 7), &[], 2), get((8, 9), last, 2)];
        siblings([vec![put((0, 1), "a", &[], 2), gone.clone()], reads].concat())
    };
    assert_eq!(back(&["a"]), [FORWARD], "it was deleted, acknowledged or not");
    assert!(back(&[]).is_empty());
}

/// With r = 1 and w = 3 of 3, each read meets each acknowledged write, but no other read. An unacknowledged write may
/// be visible on one replica and not yet on another.
#[test]
fn reads_that_meet_all_writes_need_not_meet_each_other() {
    let judged = |operations| {
        let options = Options { policy: Policy::Siblings, strict: true, forward: true, ..Options::default() };
        let observed = Observed { operations, dumps: Vec::new() };
        replicas::check(&observed, &options).counts.into_keys().collect::<Vec<_>>()
    };
    let under_way = unknown(put((0, 1), "a", &[], 3));
    let found = |first, second| judged(vec![under_way.clone(), get((2, 3), &["a"], first), get((4, 5), &[], second)]);
    let delete = unknown(op((2, 3), Call::Delete { saw: vec!["a".to_owned()] }, None, 3));
    let gone = |first, second| {
        let reads = [get((4, 5), &[], first), get((6, 7), &["a"], second)];
        judged([vec![put((0, 1), "a", &[], 3), delete.clone()], reads.to_vec()].concat())
    };
    for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)] {
        let expected = if first + second > 3 { vec![FORWARD] } else { Vec::new() };
        assert_eq!(found(first, second), expected, "found by {first}, missed by {second}");
        assert_eq!(gone(first, second), expected, "gone for {first}, back for {second}");
    }
    assert_eq!(judged(vec![put((0, 1), "a", &[], 3), get((2, 3), &[], 1)]), [LATEST], "reads meet writes");
}

#[test]
fn a_register_holds_what_was_written_last() {
    let register = |operations, dumps| broken(Policy::Register, operations, dumps);
    let both = || vec![put((0, 1), "a", &[], 2), put((10, 11), "b", &[], 2)];
    assert!(register(both(), vec![dump(&["b"])]).is_empty());
    assert_eq!(register(both(), vec![dump(&["a"])]), [NONE_LOST]);
    assert_eq!(register(both(), vec![dump(&[])]), [NONE_LOST]);
    assert_eq!(register(both(), vec![dump(&["a", "b"])]), [ONCE]);
    assert_eq!(register(both(), vec![dump(&["c"])]), [NONE_INVENTED]);
    let close = vec![put((0, 9), "a", &[], 2), put((10, 11), "b", &[], 2)];
    assert!(register(close, vec![dump(&["a"])]).is_empty(), "within the skew");
    let read = |r| register([both(), vec![get((12, 13), &["a"], r)]].concat(), Vec::new());
    assert_eq!(read(2), [LATEST]);
    assert!(read(1).is_empty());
    let early = vec![get((0, 1), &["a"], 1), put((2, 3), "a", &[], 1)];
    assert_eq!(register(early, Vec::new()), [NONE_INVENTED]);
}

#[test]
fn an_element_stays_unless_a_removal_can_have_known_it() {
    let insert = |times, w| op(times, Call::Insert("x".to_owned()), None, w);
    let remove = |times| op(times, Call::Remove("x".to_owned()), None, 2);
    let set = |operations, held: &[&str]| broken(Policy::Set, operations, vec![dump(held)]);
    assert_eq!(set(vec![insert((0, 1), 2)], &[]), [NONE_LOST]);
    assert_eq!(set(vec![remove((0, 1)), insert((2, 3), 2)], &[]), [NONE_LOST], "an add after all removals");
    assert!(set(vec![remove((0, 3)), insert((2, 4), 2)], &[]).is_empty(), "at the same time");
    assert!(set(vec![insert((0, 1), 2), unknown(remove((0, 1)))], &[]).is_empty());
    assert_eq!(set(vec![insert((0, 1), 3), remove((2, 3))], &["x"]), [NONE_RESURRECTED]);
    assert!(set(vec![insert((0, 1), 2), remove((2, 3))], &["x"]).is_empty(), "by a replica that did not know it");
    assert!(set(vec![insert((0, 1), 3), insert((2, 4), 3), remove((3, 5))], &["x"]).is_empty());
    assert_eq!(set(vec![insert((0, 1), 2)], &["x", "y"]), [NONE_INVENTED]);
    assert_eq!(set(vec![insert((0, 1), 2)], &["x", "x"]), [ONCE]);
    let read = |r| broken(Policy::Set, vec![insert((0, 1), 2), get((2, 3), &[], r)], Vec::new());
    assert_eq!(read(2), [LATEST]);
    assert!(read(1).is_empty());
}

#[test]
fn what_is_known_of_quorums_is_written_and_read_back() {
    let operations = vec![
        put((0, 1), "a", &[], 2),
        op((2, 3), Call::Insert("x".to_owned()), None, 1),
        op((4, 5), Call::Remove("x".to_owned()), Some(&[]), 3),
        get((6, 7), &["a"], 2),
    ];
    let observed = Observed { operations, dumps: vec![dump(&["a"])] };
    let options = Options { policy: Policy::Map, forward: true, skew: Some(7), ..Options::default() };
    let mut text = Vec::new();
    replicas::jsonl::write(&observed, &options, &mut text).expect("written");
    assert_eq!(replicas::jsonl::read(&text[..]).expect("read"), (observed, options));
}
