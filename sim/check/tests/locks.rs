//! Locks: the direct procedure against trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Object, Raw, Script, Val, assert_caught, assert_valid, sweep};
use seaworthy_check::model::lock::Lock;
use seaworthy_check::{End, Function, Kind};

struct Mutex {
    holder: Option<u32>,
    token: i64,
    tokens: u64,
    fitting: u64,
    random: u64,
}

impl Object for Mutex {
    fn ask(&mut self, process: u32, _: usize, rng: &mut Rng) -> (Function, Val) {
        self.random = rng.below(100);
        let fits = rng.percent(self.fitting);
        let release = (self.holder == Some(process)) == fits;
        (if release { Function::Release } else { Function::Acquire }, Val::Untold)
    }

    fn apply(&mut self, process: u32, f: Function, _: &Val) -> (End, Val) {
        let refused = if self.random % 2 == 0 { (End::Refused, Val::Untold) } else { (End::Ok, Val::Bool(false)) };
        match (f, self.holder) {
            (Function::Acquire, Some(_)) => refused,
            (Function::Acquire, None) => {
                self.holder = Some(process);
                self.token += 1 + (self.random % 2) as i64;
                (End::Ok, if self.random < self.tokens { Val::Int(self.token) } else { Val::Bool(true) })
            }
            (_, Some(holder)) if holder == process => {
                self.holder = None;
                (End::Ok, Val::Untold)
            }
            _ => refused,
        }
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        let other = rng.below(6) as i64;
        (raw.end, raw.reply) = match (raw.f, raw.end, &raw.reply, rng.below(2)) {
            (Function::Acquire, End::Ok, Val::Int(_), 0) => (End::Ok, Val::Int(other)),
            (_, End::Refused, ..) | (_, _, Val::Bool(false), _) => (End::Ok, Val::Untold),
            _ => (End::Refused, Val::Untold),
        };
    }
}

#[test]
fn agrees_with_trying_every_order() {
    let tally = sweep(Kind::Lock, &Lock, 3, |rng| Mutex {
        holder: None,
        token: 0,
        tokens: [0, 60, 100][rng.below(3) as usize],
        fitting: [70, 95][rng.below(2) as usize],
        random: 0,
    });
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
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
    // The release tells that the acquire was over.
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
