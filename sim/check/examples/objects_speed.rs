//! How fast sets, queues, locks and sequences are checked: `cargo run --release --example objects_speed` in this package's
//! folder. 100,000 operations on one object by ten clients; then the same with one wrong reply, with and without evidence.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Rng;
use common::objects::{Object, Raw, Size, Val, all, generate, record};
use common::workloads::{Bag, Counter, Fifo, Mutex};
use seaworthy_check::linear::{Answer, Limits};
use seaworthy_check::{Function, Kind, Options, check_as};
use std::time::Instant;

const OPS: usize = 100_000;

fn main() {
    println!("{:<34} {:>10} {:>10} {:>10} {:>10}", "history", "valid", "witness", "not valid", "evidence");
    for info in [0, 1] {
        let note = if info == 0 { "" } else { ", 1 % unknown" };
        run(&format!("sequence{note}"), Kind::Sequence, info, Counter::new(None, 0), |raws| {
            repeat(raws, |raw| raw.f == Function::Next)
        });
        run(&format!("queue{note}"), Kind::Queue, info, Fifo::new(Vec::new(), 0, 50, 0), |raws| {
            repeat(raws, |raw| raw.f == Function::Dequeue)
        });
        run(&format!("queue, mostly empty{note}"), Kind::Queue, info, Fifo::new(Vec::new(), 0, 35, 0), wrong_empty);
        run(&format!("lock, tokens{note}"), Kind::Lock, info, Mutex::new(100, 100), |raws| {
            repeat(raws, |raw| raw.f == Function::Acquire)
        });
        run(&format!("set, 100 reads{note}"), Kind::Set, info, Bag::new(Vec::new(), [0, 500, 1], 0, 50), lost);
        let bag = Bag::new(Vec::new(), [300, 400, 0], 50_000, 100);
        run(&format!("set with removes{note}"), Kind::Set, info, bag, stale);
    }
}

/// Late in the history, a reply that was given early.
fn repeat(raws: &mut [Raw], of: impl Fn(&Raw) -> bool) -> bool {
    let number = |raw: &Raw| of(raw) && matches!(raw.reply, Val::Int(_));
    let Some(early) = raws.iter().position(&number) else { return false };
    let Some(late) = (OPS * 9 / 10..OPS).find(|&i| number(&raws[i])) else { return false };
    raws[late].reply = raws[early].reply.clone();
    true
}

/// Late in the history, an element is taken a little later than a reply says that nothing was there.
fn wrong_empty(raws: &mut [Raw]) -> bool {
    let Some(at) =
        (OPS * 9 / 10..OPS).find(|&i| raws[i].f == Function::Dequeue && matches!(raws[i].reply, Val::Int(_)))
    else {
        return false;
    };
    let Some(late) = (at + 40..OPS).find(|&i| raws[i].f == Function::Dequeue && raws[i].reply == Val::Nil) else {
        return false;
    };
    raws[late].reply = raws[at].reply.clone();
    raws[at].reply = Val::Nil;
    true
}

/// A late containment misses an element that was there long ago.
fn lost(raws: &mut [Raw]) -> bool {
    let Some(late) = (OPS * 9 / 10..OPS).find(|&i| raws[i].reply == Val::Bool(true) && raws[i].f == Function::Contains)
    else {
        return false;
    };
    raws[late].reply = Val::Bool(false);
    true
}

/// A late containment of an element that was never added.
fn stale(raws: &mut [Raw]) -> bool {
    let contains = |raw: &Raw| raw.f == Function::Contains && raw.reply == Val::Bool(false);
    let never = |x: &Val| !raws.iter().any(|raw| raw.f == Function::Add && raw.arg == *x);
    let found = (OPS * 9 / 10..OPS).filter(|&i| contains(&raws[i])).find(|&i| never(&raws[i].arg));
    let Some(late) = found else { return false };
    raws[late].reply = Val::Bool(true);
    true
}

fn run(name: &str, kind: Kind, info: u64, mut object: impl Object, plant: impl Fn(&mut [Raw]) -> bool) {
    let size = Size { ops: OPS, processes: 10, info, fail: 0 };
    let mut raws = generate(size, &mut object, &mut Rng(1));
    let valid = decide(kind, &raws, Answer::Possible);
    let witness = {
        let history = record(&Val::Nil, &raws);
        let start = Instant::now();
        let order = kind.judge().witness(&history, &all(&history), LIMITS);
        format!("{:.1} ms{}", start.elapsed().as_secs_f64() * 1e3, if order.is_some() { "" } else { " none!" })
    };
    let (broken, evidence) = if plant(&mut raws) {
        (decide(kind, &raws, Answer::Impossible), evidence(kind, &raws))
    } else {
        ("-".to_owned(), "-".to_owned())
    };
    println!("{name:<34} {valid:>10} {witness:>10} {broken:>10} {evidence:>10}");
}

const LIMITS: Limits = Limits::new(50_000_000, 256 << 20);

/// Least time of some, and what is wrong with the answer.
fn decide(kind: Kind, raws: &[Raw], expected: Answer) -> String {
    let history = record(&Val::Nil, raws);
    let items = all(&history);
    let mut least = f64::MAX;
    let mut wrong = String::new();
    for _ in 0..9 {
        let start = Instant::now();
        let decision = kind.judge().decide(&history, &items, LIMITS);
        least = least.min(start.elapsed().as_secs_f64());
        if decision.answer != expected {
            wrong = format!(" {:?}!", decision.answer);
        }
        if decision.by.contains("search") {
            wrong = " searched".to_owned();
        }
    }
    format!("{:.1} ms{wrong}", least * 1e3)
}

fn evidence(kind: Kind, raws: &[Raw]) -> String {
    let history = record(&Val::Nil, raws);
    let suspects = kind.judge().suspects(&history, &all(&history)).map_or(0, |suspects| suspects.len());
    let start = Instant::now();
    let report = check_as(kind, &history, &Options::default());
    let time = start.elapsed().as_secs_f64();
    let Some(evidence) = report.violations().next() else { return "none!".to_owned() };
    let minimal = if evidence.minimal { "" } else { ", not minimal" };
    format!("{:.0} ms, core {}{minimal}, {suspects} suspects", time * 1e3, evidence.core.len())
}
