//! The four session guarantees (Terry et al. 1994; formally Viotti and Vukolić 2016), each with histories that keep it
//! and histories that break it. Values may be siblings, and are overwritten by clients that have seen them.

use super::{add, delete, ending, get, judge, put};
use seaworthy_check::replicas::{Operation, Policy};

/// Returns the numbers judged and violated of: read your writes, monotonic reads, monotonic writes, writes follow
/// reads.
fn tallies(operations: &[Operation], policy: Policy) -> [(u64, u64); 4] {
    let level = judge(&ending(operations.to_vec(), &[]), policy, false).figures.overall();
    [level.read_your_writes, level.monotonic_reads, level.monotonic_writes, level.writes_follow_reads]
        .map(|tally| (tally.judged, tally.violated))
}

/// Returns the numbers of one guarantee, by its position in `tallies`, that are added by one read of these values after
/// some operations.
fn judged(guarantee: usize, before: &[Operation], reader: u32, found: &[&str]) -> (u64, u64) {
    let read = get(reader, (100, 101), found);
    let without = tallies(before, Policy::Siblings)[guarantee];
    let with = tallies(&[before, &[read]].concat(), Policy::Siblings)[guarantee];
    (with.0 - without.0, with.1 - without.1)
}

const KEPT: (u64, u64) = (1, 0);
const BROKEN: (u64, u64) = (1, 1);
const NOTHING: (u64, u64) = (0, 0);

#[test]
fn read_your_writes() {
    let own = [put(1, (0, 1), "a", &[])];
    assert_eq!(judged(0, &own, 1, &[]), BROKEN);
    assert_eq!(judged(0, &own, 1, &["a"]), KEPT);
    assert_eq!(judged(0, &own, 2, &[]), NOTHING, "somebody else's");
    // A client's write is contained in a state if another write overwrote it, but not if another write was made beside
    // it.
    let over = [&own[..], &[put(2, (2, 3), "b", &["a"]), put(3, (4, 5), "c", &["b"])]].concat();
    assert_eq!(judged(0, &over, 1, &["c"]), KEPT);
    let beside = [&own[..], &[put(2, (2, 3), "b", &[])]].concat();
    assert_eq!(judged(0, &beside, 1, &["b"]), BROKEN);
    assert_eq!(judged(0, &beside, 1, &["a", "b"]), KEPT);
    // All earlier writes count, not only the latest.
    let two = [&own[..], &[put(1, (2, 3), "b", &[])]].concat();
    assert_eq!(judged(0, &two, 1, &["b"]), BROKEN);
    assert_eq!(judged(0, &[put(1, (0, 0), "a", &[])], 1, &[]), NOTHING, "it may not have happened");
    // Deletes count as writes.
    let deleted = [put(2, (0, 1), "a", &[]), put(2, (2, 3), "b", &["a"]), delete(1, (4, 5), &["b"])];
    assert_eq!(judged(0, &deleted, 1, &["b"]), BROKEN);
    assert_eq!(judged(0, &deleted, 1, &["a"]), BROKEN, "deleted at second hand");
    assert_eq!(judged(0, &deleted, 1, &[]), KEPT);
    let others = [&own[..], &[delete(2, (2, 0), &["a"])]].concat();
    assert_eq!(judged(0, &others, 1, &[]), KEPT, "somebody's delete may have happened");
    let late = [&own[..], &[delete(2, (102, 103), &["a"])]].concat();
    assert_eq!(tallies(&[&late[..], &[get(1, (100, 101), &[])]].concat(), Policy::Siblings)[0], (1, 1), "not yet");
}

#[test]
fn monotonic_reads() {
    let writes = [put(1, (0, 1), "a", &[]), put(1, (2, 3), "b", &["a"]), put(3, (2, 3), "x", &[])];
    let after = |found: &[&str], then: &[&str]| judged(1, &[&writes[..], &[get(2, (10, 11), found)]].concat(), 2, then);
    assert_eq!(after(&["b"], &["a"]), BROKEN, "older");
    assert_eq!(after(&["a"], &["b"]), KEPT);
    assert_eq!(after(&["b", "x"], &["b"]), BROKEN, "a sibling is gone");
    assert_eq!(after(&["b"], &["b", "x"]), KEPT, "one has come");
    assert_eq!(after(&["b"], &[]), BROKEN);
    assert_eq!(after(&[], &["a"]), NOTHING, "nothing was shown");
    assert_eq!(judged(1, &[&writes[..], &[get(2, (10, 11), &["b"])]].concat(), 4, &["a"]), NOTHING, "another's read");
    // A value that one read missed, and that no later read has covered, is still missed: all earlier reads count, not
    // only the last.
    let twice = [&writes[..], &[get(2, (10, 11), &["b"]), get(2, (12, 13), &["x"])]].concat();
    assert_eq!(judged(1, &twice, 2, &["x"]), BROKEN);
    assert_eq!(judged(1, &twice, 2, &["b", "x"]), KEPT);
    // A put that returns the resulting values has shown them.
    let mut told = put(2, (10, 11), "y", &[]);
    told.end = seaworthy_check::replicas::End::Ok(Some(vec!["b".to_owned(), "y".to_owned()]));
    assert_eq!(judged(1, &[&writes[..], &[told]].concat(), 2, &["y"]), BROKEN);
}

#[test]
fn monotonic_writes() {
    let blind = [put(1, (0, 1), "a", &[]), put(1, (2, 3), "b", &[])];
    assert_eq!(judged(2, &blind, 2, &["b"]), BROKEN, "whoever reads");
    assert_eq!(judged(2, &blind, 2, &["a", "b"]), KEPT);
    let at_once = [put(1, (0, 1), "a", &[]), put(1, (1, 2), "b", &[])];
    assert_eq!(judged(2, &at_once, 2, &["b"]), BROKEN, "called when the first was acknowledged");
    assert_eq!(judged(2, &blind, 2, &["a"]), NOTHING, "before the first the writer wrote nothing");
    let over = [put(1, (0, 1), "a", &[]), put(1, (2, 3), "b", &["a"])];
    assert_eq!(judged(2, &over, 2, &["b"]), KEPT, "a is in b's past");
    // All earlier writes count, not only the latest.
    let three = [&blind[..], &[put(1, (4, 5), "c", &["b"])]].concat();
    assert_eq!(judged(2, &three, 2, &["c"]), BROKEN, "a is missed");
    assert_eq!(judged(2, &three, 2, &["a", "c"]), KEPT);
    let other = [put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &[])];
    assert_eq!(judged(2, &other, 3, &["b"]), NOTHING, "of two writers nothing is said");
    assert_eq!(judged(2, &[put(1, (0, 0), "a", &[]), put(1, (2, 3), "b", &[])], 2, &["b"]), NOTHING, "in doubt");
}

#[test]
fn writes_follow_reads() {
    let follow = |saw: &[&str]| {
        [put(1, (0, 1), "a", &[]), put(3, (0, 1), "x", &[]), get(2, (2, 3), &["a", "x"]), put(2, (4, 5), "b", saw)]
    };
    assert_eq!(judged(3, &follow(&[]), 4, &["b"]), BROKEN, "it is there without what its writer had been shown");
    assert_eq!(judged(3, &follow(&[]), 4, &["a", "b"]), BROKEN);
    assert_eq!(judged(3, &follow(&[]), 4, &["a", "b", "x"]), KEPT, "beside it");
    assert_eq!(judged(3, &follow(&["a", "x"]), 4, &["b"]), KEPT, "below it");
    assert_eq!(judged(3, &follow(&["a"]), 4, &["b"]), BROKEN);
    assert_eq!(judged(3, &follow(&[]), 4, &["a"]), NOTHING, "whoever wrote a had seen nothing");
    let unseen = [put(1, (0, 1), "a", &[]), get(3, (2, 3), &["a"]), put(2, (4, 5), "b", &[])];
    assert_eq!(judged(3, &unseen, 4, &["b"]), NOTHING, "another had read it");
    let later = [put(1, (0, 1), "a", &[]), put(2, (2, 3), "b", &[]), get(2, (4, 5), &["a"])];
    assert_eq!(judged(3, &later, 4, &["b"]), NOTHING, "read after the write");
}

#[test]
fn what_the_last_writer_may_have_beaten_is_not_missed() {
    let both = [put(1, (0, 1), "a", &[]), put(2, (0, 1), "b", &[]), get(1, (2, 3), &["b"])];
    assert_eq!(tallies(&both, Policy::LastWriter)[0], (1, 0), "b may have a later stamp");
    let over = [put(2, (0, 1), "b", &[]), put(1, (2, 3), "a", &["b"]), get(1, (4, 5), &["b"])];
    assert_eq!(tallies(&over, Policy::LastWriter)[0], (1, 1), "a has seen b and bears a later stamp");
    let gone = [put(1, (0, 1), "a", &[]), get(1, (2, 3), &[])];
    assert_eq!(tallies(&gone, Policy::LastWriter)[0], (1, 1));
    let deleted = [put(1, (0, 1), "a", &[]), delete(2, (0, 1), &[]), get(1, (2, 3), &[])];
    assert_eq!(tallies(&deleted, Policy::LastWriter)[0], (1, 0), "a delete may bear a later stamp");
    let counter = [add(1, (0, 1), 5), get(1, (2, 3), &["0"])];
    assert_eq!(tallies(&counter, Policy::Counter), [(0, 0); 4], "of counters nothing is counted");
}
