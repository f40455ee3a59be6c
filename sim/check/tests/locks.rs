//! Locks: the direct procedure compared with trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Script, Val, assert_caught, assert_valid, histories, sweep, sweep_longer};
use common::workloads::Mutex;
use seaworthy_check::model::lock::Lock;
use seaworthy_check::{End, Function, Kind};

fn mutex(rng: &mut Rng) -> Mutex {
    Mutex::new([0, 60, 100][rng.below(3) as usize], [70, 95][rng.below(2) as usize])
}

#[test]
fn agrees_with_trying_every_order() {
    let tally = sweep(Kind::Lock, &Lock, 3, mutex);
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
}

#[test]
fn agrees_with_the_search_on_longer_histories() {
    let (valid, invalid) = sweep_longer(Kind::Lock, Lock, 9, mutex);
    let all = histories() / 20;
    assert!(valid > all / 5 && invalid > all / 10, "{valid} valid, {invalid} invalid of {all}");
}

use Function::{Acquire, Release};

#[test]
fn two_holders() {
    let mut script = Script::default();
    let a = script.ok(1, Acquire, Val::Untold, Val::Int(1));
    let b = script.ok(2, Acquire, Val::Untold, Val::Int(2));
    script.ok(1, Release, Val::Untold, Val::Untold);
    assert_caught(Kind::Lock, &script.finish(), b, &[a, b]);
}

#[test]
fn two_holders_though_a_release_was_on_its_way() {
    let mut script = Script::default();
    script.ok(1, Acquire, Val::Untold, Val::Int(1));
    let lost = script.call(1, Release, Val::Untold);
    let second = script.ok(2, Acquire, Val::Untold, Val::Int(2));
    let release = script.ok(1, Release, Val::Untold, Val::Untold);
    script.end(lost, End::Info, Val::Untold);
    assert_caught(Kind::Lock, &script.finish(), release, &[second, release]);
}

#[test]
fn a_token_that_goes_back() {
    let mut script = Script::default();
    let a = script.ok(1, Acquire, Val::Untold, Val::Int(9));
    script.ok(1, Release, Val::Untold, Val::Untold);
    let b = script.ok(2, Acquire, Val::Untold, Val::Int(8));
    assert_caught(Kind::Lock, &script.finish(), b, &[a, b]);
}

#[test]
fn a_token_given_twice() {
    let mut script = Script::default();
    let a = script.call(1, Acquire, Val::Untold);
    let b = script.call(2, Acquire, Val::Untold);
    script.end(a, End::Ok, Val::Int(3));
    script.ok(1, Release, Val::Untold, Val::Untold);
    script.end(b, End::Ok, Val::Int(3));
    assert_caught(Kind::Lock, &script.finish(), b, &[a, b]);
}

#[test]
fn a_release_by_a_stranger() {
    let mut script = Script::default();
    script.ok(1, Acquire, Val::Untold, Val::Int(1));
    let stranger = script.ok(2, Release, Val::Untold, Val::Untold);
    assert_caught(Kind::Lock, &script.finish(), stranger, &[stranger]);
}

#[test]
fn refused_while_free() {
    let build = |open: bool| {
        let mut script = Script::default();
        if open {
            let lost = script.call(3, Acquire, Val::Untold);
            script.end(lost, End::Info, Val::Untold);
        }
        let a = script.ok(1, Acquire, Val::Untold, Val::Int(1));
        let r = script.ok(1, Release, Val::Untold, Val::Untold);
        let refused = script.call(2, Acquire, Val::Untold);
        script.end(refused, End::Refused, Val::Untold);
        (script.finish(), [a, r, refused])
    };
    assert_valid(Kind::Lock, &build(true).0);
    // Without the lost acquire, the release proves that the lock was free.
    let (history, [_, release, refused]) = build(false);
    assert_caught(Kind::Lock, &history, refused, &[release, refused]);
}

#[test]
fn an_unknown_acquire_is_shown_by_its_release() {
    let mut script = Script::default();
    let lost = script.call(1, Acquire, Val::Untold);
    script.end(lost, End::Info, Val::Untold);
    script.ok(2, Acquire, Val::Untold, Val::Int(1));
    script.ok(2, Release, Val::Untold, Val::Untold);
    script.ok(1, Release, Val::Untold, Val::Untold);
    script.ok(2, Acquire, Val::Untold, Val::Int(5));
    assert_valid(Kind::Lock, &script.finish());
}

#[test]
fn the_token_from_before_the_history_is_given_again_to_nobody() {
    for (token, valid) in [(4, false), (5, false), (6, true)] {
        let mut script = Script::default();
        let before = script.log.value(seaworthy_check::Datum::Int(5));
        script.log.initial(before);
        let acquire = script.ok(0, Function::Acquire, Val::Untold, Val::Int(token));
        let history = script.finish();
        if valid {
            assert_valid(Kind::Lock, &history);
        } else {
            assert_caught(Kind::Lock, &history, acquire, &[acquire]);
        }
    }
}
