//! Sequences: the direct procedure compared with trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Script, Val, assert_caught, assert_valid, histories, sweep, sweep_longer};
use common::workloads::Counter;
use seaworthy_check::model::sequence::Sequence;
use seaworthy_check::{End, Function, History, Kind, OpId};

fn counter(rng: &mut Rng) -> Counter {
    let last = rng.percent(30).then(|| rng.below(3) as i64);
    Counter::new(last, 3)
}

#[test]
fn agrees_with_trying_every_order() {
    let tally = sweep(Kind::Sequence, &Sequence, 1, counter);
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
}

fn run(steps: &[(u32, Function, Val)]) -> History {
    let mut script = Script::default();
    for (process, f, reply) in steps {
        script.ok(*process, *f, Val::Untold, reply.clone());
    }
    script.finish()
}

#[test]
fn agrees_with_the_search_on_longer_histories() {
    let (valid, invalid) = sweep_longer(Kind::Sequence, Sequence, 9, counter);
    let all = histories() / 20;
    assert!(valid > all / 5 && invalid > all / 10, "{valid} valid, {invalid} invalid of {all}");
}

use Function::{Next, Read};

#[test]
fn a_number_given_twice() {
    let steps = [(1, Next, Val::Int(1)), (2, Next, Val::Int(5)), (1, Next, Val::Int(6)), (3, Next, Val::Int(5))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(3), &[OpId(1), OpId(3)]);
    let steps = [(1, Next, Val::Int(1)), (2, Next, Val::Int(5)), (3, Next, Val::Int(5))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(2), &[OpId(1), OpId(2)]);
}

#[test]
fn numbers_that_go_back() {
    let steps = [(1, Next, Val::Int(7)), (2, Next, Val::Int(9)), (1, Next, Val::Int(8))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(2), &[OpId(1), OpId(2)]);
}

#[test]
fn a_stale_read_and_a_read_of_what_was_never_given() {
    let steps = [(1, Next, Val::Int(1)), (2, Next, Val::Int(3)), (1, Read, Val::Int(1))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(2), &[OpId(1), OpId(2)]);
    let steps = [(1, Next, Val::Int(1)), (1, Read, Val::Int(2))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(1), &[OpId(0), OpId(1)]);
    let steps = [(1, Read, Val::Int(2))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(0), &[OpId(0)]);
}

#[test]
fn an_open_next_may_have_given_any_number_but_only_one() {
    let history = |last: i64| {
        let mut script = Script::default();
        let open = script.call(1, Next, Val::Untold);
        script.ok(2, Next, Val::Untold, Val::Int(4));
        script.ok(2, Read, Val::Untold, Val::Int(6));
        script.ok(2, Read, Val::Untold, Val::Int(last));
        script.end(open, End::Info, Val::Untold);
        script.finish()
    };
    assert_valid(Kind::Sequence, &history(6));
    assert_caught(Kind::Sequence, &history(7), OpId(3), &[OpId(1), OpId(2), OpId(3)]);
}
