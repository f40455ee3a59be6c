//! Sequences: the direct procedure against trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Object, Raw, Script, Val, assert_caught, assert_valid, sweep};
use seaworthy_check::model::sequence::Sequence;
use seaworthy_check::{End, Function, History, Kind, OpId};

struct Counter {
    first: Val,
    last: Option<i64>,
    step: i64,
    silent: bool,
}

impl Object for Counter {
    fn ask(&mut self, _: u32, _: usize, rng: &mut Rng) -> (Function, Val) {
        self.step = 1 + rng.below(2) as i64;
        self.silent = rng.percent(3);
        (if rng.percent(45) { Function::Read } else { Function::Next }, Val::Untold)
    }

    fn apply(&mut self, _: u32, f: Function, _: &Val) -> (End, Val) {
        if f == Function::Next {
            self.last = Some(self.last.unwrap_or(0) + self.step);
        }
        let reply = if self.silent { Val::Untold } else { self.last.map_or(Val::Nil, Val::Int) };
        (End::Ok, reply)
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        raw.reply = match (rng.below(20), &raw.reply) {
            (0, _) => Val::Nil,
            (1, _) => Val::Bool(true),
            (n, Val::Int(last)) if n < 12 => Val::Int(last + [-2, -1, 1, 2][rng.below(4) as usize]),
            _ => Val::Int(rng.below(8) as i64),
        };
    }

    fn initial(&self) -> Val {
        self.first.clone()
    }
}

#[test]
fn agrees_with_trying_every_order() {
    let tally = sweep(Kind::Sequence, &Sequence, 1, |rng| {
        let last = rng.percent(30).then(|| rng.below(3) as i64);
        Counter { first: last.map_or(Val::Nil, Val::Int), last, step: 1, silent: false }
    });
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

use Function::{Next, Read};

#[test]
fn a_number_given_twice() {
    let steps = [(1, Next, Val::Int(1)), (2, Next, Val::Int(5)), (1, Next, Val::Int(6)), (3, Next, Val::Int(5))];
    assert_caught(Kind::Sequence, &run(&steps), OpId(3), &[OpId(2), OpId(3)]);
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
