//! Sets: the direct procedures against trying every order, and planted bugs.

mod common;

use common::Rng;
use common::objects::{Object, Raw, Script, Val, assert_caught, assert_valid, sweep};
use seaworthy_check::model::set::Set;
use seaworthy_check::{End, Function, Kind, OpId};

struct Bag {
    first: Vec<i64>,
    set: Vec<i64>,
    /// Percent of removes, of containments and of reads; the rest adds.
    mix: [u64; 3],
    elements: u64,
    told: u64,
    random: u64,
}

impl Object for Bag {
    fn ask(&mut self, _: u32, n: usize, rng: &mut Rng) -> (Function, Val) {
        self.random = rng.below(100);
        let x = if self.elements == 0 { rng.below(1 + n as u64) } else { rng.below(self.elements) } as i64;
        let dice = rng.below(100);
        let [removes, contains, reads] = self.mix;
        if dice < removes {
            (Function::Remove, Val::Int(x))
        } else if dice < removes + contains {
            (Function::Contains, Val::Int(x))
        } else if dice < removes + contains + reads {
            (Function::Read, Val::Untold)
        } else {
            (Function::Add, Val::Int(if self.elements == 0 { n as i64 } else { x }))
        }
    }

    fn apply(&mut self, _: u32, f: Function, arg: &Val) -> (End, Val) {
        let x = if let Val::Int(x) = arg { *x } else { 0 };
        let there = self.set.contains(&x);
        let changed = match f {
            Function::Read => return (End::Ok, Val::List(self.set.iter().rev().copied().collect())),
            Function::Contains => return (End::Ok, Val::Bool(there)),
            Function::Add => !there,
            _ => there,
        };
        self.set.retain(|&y| y != x);
        if f == Function::Add {
            self.set.push(x);
        }
        match self.random {
            n if n >= self.told => (End::Ok, Val::Untold),
            n if n % 4 == 0 && !changed => (End::Refused, Val::Untold),
            _ => (End::Ok, Val::Bool(changed)),
        }
    }

    fn lie(&self, raw: &mut Raw, rng: &mut Rng) {
        raw.end = End::Ok;
        raw.reply = match &raw.reply {
            Val::Bool(yes) => Val::Bool(!yes),
            Val::List(list) => {
                let mut list = list.clone();
                match rng.below(6) {
                    0 => list.push(rng.below(9) as i64),
                    1 if !list.is_empty() => list.push(list[0]),
                    _ => {
                        let at = rng.below(1 + list.len() as u64) as usize;
                        list.truncate(at);
                    }
                }
                Val::List(list)
            }
            _ => Val::Bool(rng.percent(50)),
        };
    }

    fn initial(&self) -> Val {
        Val::List(self.first.clone())
    }
}

fn bag(rng: &mut Rng, mixes: &[[u64; 3]]) -> Bag {
    let first: Vec<i64> = if rng.percent(20) { vec![0, 50] } else { Vec::new() };
    Bag {
        set: first.clone(),
        first,
        mix: mixes[rng.below(mixes.len() as u64) as usize],
        elements: [0, 0, 1, 2, 3][rng.below(5) as usize],
        told: [0, 50, 100][rng.below(3) as usize],
        random: 0,
    }
}

#[test]
fn growing_sets_agree_with_trying_every_order() {
    let tally = sweep(Kind::Set, &Set, 4, |rng| bag(rng, &[[0, 0, 40], [0, 30, 30], [5, 30, 30], [0, 60, 0]]));
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid * 7 / 10 && tally.direct.1 > tally.invalid * 7 / 10, "{tally:?}");
}

#[test]
fn elements_alone_agree_with_trying_every_order() {
    let tally = sweep(Kind::Set, &Set, 5, |rng| bag(rng, &[[30, 30, 0], [30, 40, 0], [25, 25, 2], [60, 20, 0]]));
    let all = tally.valid + tally.invalid;
    assert!(tally.valid > all / 4 && tally.invalid > all / 6, "{tally:?}");
    assert!(tally.direct.0 > tally.valid / 2 && tally.direct.1 > tally.invalid / 3, "{tally:?}");
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
