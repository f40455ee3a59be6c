//! Sets: the direct procedures compared with trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Script, Val, assert_caught, assert_valid, histories, sweep, sweep_longer};
use common::workloads::Bag;
use seaworthy_check::model::set::Set;
use seaworthy_check::{End, Function, Kind, OpId};

fn bag(rng: &mut Rng, mixes: &[[u64; 3]]) -> Bag {
    let first: Vec<i64> = if rng.percent(20) { vec![0, 50] } else { Vec::new() };
    let mix = mixes[rng.below(mixes.len() as u64) as usize];
    Bag::new(first, mix, [0, 0, 1, 2, 3][rng.below(5) as usize], [0, 50, 100][rng.below(3) as usize])
}

#[test]
fn growing_sets_agree_with_trying_every_order() {
    let tally = sweep(Kind::Set, &Set, 4, |rng| bag(rng, &[[0, 0, 400], [0, 300, 300], [50, 300, 300], [0, 600, 0]]));
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
}

#[test]
fn elements_alone_agree_with_trying_every_order() {
    let tally =
        sweep(Kind::Set, &Set, 5, |rng| bag(rng, &[[300, 300, 0], [300, 400, 0], [250, 250, 20], [600, 200, 0]]));
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid / 2 && tally.direct.1 > tally.invalid / 3, "{tally:?}");
}

#[test]
fn agrees_with_the_search_on_longer_histories() {
    let (valid, invalid) =
        sweep_longer(Kind::Set, Set, 9, |rng| bag(rng, &[[0, 300, 200], [200, 300, 0], [100, 300, 100]]));
    let all = histories() / 20;
    assert!(valid > all / 5 && invalid > all / 10, "{valid} valid, {invalid} invalid of {all}");
}

use Function::{Add, Contains, Read, Remove};

fn list(elements: &[i64]) -> Val {
    Val::List(elements.to_vec())
}

#[test]
fn lost_element() {
    let mut script = Script::default();
    let add = script.ok(1, Add, Val::Int(1), Val::Untold);
    script.ok(1, Add, Val::Int(2), Val::Untold);
    let read = script.ok(2, Read, Val::Untold, list(&[2]));
    assert_caught(Kind::Set, &script.finish(), read, &[add, read]);
}

#[test]
fn element_that_a_read_saw_and_a_later_one_did_not() {
    let mut script = Script::default();
    let add = script.call(1, Add, Val::Int(1));
    script.ok(2, Add, Val::Int(2), Val::Bool(true));
    let first = script.ok(3, Read, Val::Untold, list(&[2, 1]));
    let second = script.ok(4, Read, Val::Untold, list(&[2]));
    script.end(add, End::Ok, Val::Untold);
    assert_caught(Kind::Set, &script.finish(), second, &[first, second]);
}

#[test]
fn reads_that_do_not_form_a_chain() {
    let mut script = Script::default();
    let adds = [script.call(1, Add, Val::Int(1)), script.call(2, Add, Val::Int(2))];
    let reads = [script.call(3, Read, Val::Untold), script.call(4, Read, Val::Untold)];
    for (&read, x) in reads.iter().zip(1..) {
        script.end(read, End::Ok, list(&[x]));
    }
    for add in adds {
        script.end(add, End::Ok, Val::Untold);
    }
    assert_caught(Kind::Set, &script.finish(), reads[1], &reads);
}

#[test]
fn phantom_and_duplicate_in_a_read() {
    let mut script = Script::default();
    script.ok(1, Add, Val::Int(1), Val::Untold);
    let read = script.ok(2, Read, Val::Untold, list(&[1, 7]));
    assert_caught(Kind::Set, &script.finish(), read, &[read]);
    let mut script = Script::default();
    script.ok(1, Add, Val::Int(1), Val::Untold);
    let read = script.ok(2, Read, Val::Untold, list(&[1, 1]));
    assert_caught(Kind::Set, &script.finish(), read, &[read]);
}

#[test]
fn resurrected_element() {
    let mut script = Script::default();
    let add = script.ok(1, Add, Val::Int(1), Val::Untold);
    script.ok(1, Remove, Val::Int(1), Val::Untold);
    let missing = script.ok(2, Contains, Val::Int(1), Val::Bool(false));
    let there = script.ok(2, Contains, Val::Int(1), Val::Bool(true));
    assert_caught(Kind::Set, &script.finish(), there, &[add, missing, there]);
}

#[test]
fn stale_contains() {
    let mut script = Script::default();
    let add = script.ok(1, Add, Val::Int(1), Val::Bool(true));
    script.ok(1, Add, Val::Int(2), Val::Bool(true));
    let stale = script.ok(2, Contains, Val::Int(1), Val::Bool(false));
    assert_caught(Kind::Set, &script.finish(), stale, &[add, stale]);
}

#[test]
fn an_open_add_explains_one_entrance() {
    let build = |late: bool| {
        let mut script = Script::default();
        let open = script.call(1, Add, Val::Int(1));
        script.end(open, End::Info, Val::Untold);
        script.ok(2, Contains, Val::Int(1), Val::Bool(late));
        let last = script.ok(2, Contains, Val::Int(1), Val::Bool(!late));
        (script.finish(), last)
    };
    assert_valid(Kind::Set, &build(false).0);
    let (history, last) = build(true);
    assert_caught(Kind::Set, &history, last, &[OpId(1), last]);
}
