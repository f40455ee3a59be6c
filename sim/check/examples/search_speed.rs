//! How fast the search decides keys with repeated values and ambiguous operations:
//! `cargo run --release --example search_speed -- [DIR/FILE...] [WORD...]` in this package's folder; only rows with
//! one of the words. A file has lines
//! `<process> <i|o|f|?> <r|w|c> <key> <a> <b>`, or is a text log of a register.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Rng;
use seaworthy_check::history::{Datum, Function, Request};
use seaworthy_check::linear::kv::KvJudge;
use seaworthy_check::linear::{Answer, Item, Judge, Limits};
use seaworthy_check::{Condition, End, History, OpId, Recorder, Value};
use std::time::{Duration, Instant};

/// A register's history.
#[derive(Clone, Copy)]
struct Mix {
    ops: usize,
    clients: usize,
    /// 0: every write has its own value.
    values: u64,
    /// Percent of compare-and-sets and writes; the rest are reads.
    cas: u64,
    write: u64,
    /// Permille whose outcome stays unknown.
    info: u64,
    /// Percent of compare-and-sets that guess what is there, not know it.
    guess: u64,
    /// Whether one late read sees what was overwritten long ago.
    stale: bool,
}

/// Operations of an atomic register, each at a random moment between call and return.
fn generate(mix: Mix, rng: &mut Rng) -> History {
    #[derive(Clone, Copy)]
    enum At {
        Idle,
        Called(OpId, Request),
        Applied(OpId, End, Value, bool),
    }
    let mut log = Recorder::default();
    let key = log.value(Datum::Text("x"));
    let mut at = vec![At::Idle; mix.clients];
    let mut processes: Vec<u32> = (0..mix.clients as u32).collect();
    let (mut state, mut calls, mut done, mut time) = (Value::NIL, 0, 0, 0);
    let mut adrift: Vec<Request> = Vec::new();
    let mut last_seen = Vec::new();
    let mut planted = !mix.stale;
    let apply = |state: &mut Value, request: &Request| {
        let holds = request.when.value.is_none_or(|from| from == *state);
        if request.f == Function::Write && holds {
            *state = request.arg;
        }
        holds
    };
    while done < mix.ops {
        time += 1_000;
        if !adrift.is_empty() && rng.percent(5) {
            let request = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            apply(&mut state, &request);
            last_seen.push(state);
        }
        let p = rng.below(mix.clients as u64) as usize;
        at[p] = match at[p] {
            At::Idle if calls == mix.ops => At::Idle,
            At::Idle => {
                let value = |n: u64, log: &mut Recorder, rng: &mut Rng| {
                    let number = if mix.values == 0 { n } else { rng.below(mix.values) };
                    log.value(Datum::Int(number as i64))
                };
                let what = rng.below(100);
                let mut request = Request::new(Function::Read, Value::UNTOLD);
                if what < mix.cas + mix.write {
                    request = Request::new(Function::Write, value(calls as u64, &mut log, rng));
                }
                if what < mix.cas {
                    let near = if mix.values == 0 { rng.below(calls as u64 + 1) } else { 0 };
                    let guess = rng.percent(mix.guess);
                    request.when.value = Some(if guess { value(near, &mut log, rng) } else { state });
                }
                calls += 1;
                At::Called(log.begin(processes[p], time, key, request), request)
            }
            At::Called(op, request) if rng.below(1_000) < mix.info => {
                if rng.percent(60) {
                    adrift.push(request);
                }
                log.end(op, time, End::Info, Value::UNTOLD, None);
                processes[p] += mix.clients as u32;
                done += 1;
                At::Idle
            }
            At::Called(op, request) => {
                let end = if apply(&mut state, &request) { End::Ok } else { End::Refused };
                last_seen.push(state);
                let read = request.f == Function::Read;
                At::Applied(op, end, if read { state } else { Value::UNTOLD }, read)
            }
            At::Applied(op, end, mut reply, read) => {
                if !planted && read && done > mix.ops * 9 / 10 {
                    // A value that the register has not had for a while.
                    let recent = &last_seen[last_seen.len().saturating_sub(2 * mix.clients)..];
                    if let Some(&old) = last_seen.iter().rev().find(|value| !recent.contains(value)) {
                        (reply, planted) = (old, true);
                    }
                }
                log.end(op, time, end, reply, None);
                done += 1;
                At::Idle
            }
        };
    }
    log.finish()
}

fn read_events(text: &str) -> History {
    let mut log = Recorder::default();
    let zero = log.value(Datum::Int(0));
    log.initial(zero);
    let mut open: Vec<(u32, OpId, char)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let time = n as u64 * 1_000;
        let field: Vec<&str> = line.split_whitespace().collect();
        let [process, event, f, rest @ ..] = &field[..] else { continue };
        let Ok(process) = process.parse() else { continue };
        let mut int = |text: &str| log.value(Datum::Int(text.parse().unwrap_or(-1)));
        let (key, a, b) = (int(rest[0]), int(rest[1]), int(rest[2]));
        let at = open.iter().position(|(owner, ..)| *owner == process);
        match (*event, at) {
            ("i", _) => {
                let request = match *f {
                    "r" => Request::new(Function::Read, Value::UNTOLD),
                    "w" => Request::new(Function::Write, a),
                    _ => Request {
                        when: Condition { value: Some(a), ..Condition::ALWAYS },
                        ..Request::new(Function::Write, b)
                    },
                };
                open.push((process, log.begin(process, time, key, request), f.chars().next().unwrap_or('?')));
            }
            (end, Some(at)) => {
                let (_, op, f) = open.remove(at);
                let reply = if f == 'r' { a } else { Value::UNTOLD };
                let (end, reply) = match (end, f) {
                    ("o", _) => (End::Ok, reply),
                    ("f", 'c') => (End::Refused, Value::UNTOLD),
                    ("f", _) => (End::Fail, Value::UNTOLD),
                    _ => (End::Info, Value::UNTOLD),
                };
                log.end(op, time, end, reply, None);
            }
            _ => {}
        }
    }
    log.finish()
}

fn read_log(text: &str) -> History {
    let mut log = Recorder::default();
    let key = log.value(Datum::Text("register"));
    let mut open: Vec<(u32, OpId)> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let time = n as u64 * 1_000;
        let Some((_, line)) = line.split_once(" - ") else { continue };
        let cleaned = line.replace(['[', ']'], " ");
        let field: Vec<&str> = cleaned.split_whitespace().collect();
        let [process, event, f, rest @ ..] = &field[..] else { continue };
        let Ok(process) = process.parse() else { continue };
        let mut value = |at: usize| match rest.get(at).and_then(|text| text.parse().ok()) {
            Some(n) => log.value(Datum::Int(n)),
            None => Value::NIL,
        };
        let (a, b) = (value(0), value(1));
        if *event == ":invoke" {
            let request = match *f {
                ":read" => Request::new(Function::Read, Value::UNTOLD),
                ":write" => Request::new(Function::Write, a),
                _ => Request {
                    when: Condition { value: Some(a), ..Condition::ALWAYS },
                    ..Request::new(Function::Write, b)
                },
            };
            open.push((process, log.begin(process, time, key, request)));
        } else if let Some(at) = open.iter().position(|(owner, _)| *owner == process) {
            let (_, op) = open.remove(at);
            let (end, reply) = match (*event, *f) {
                (":ok", ":read") => (End::Ok, a),
                (":ok", _) => (End::Ok, Value::UNTOLD),
                (":fail", ":cas") => (End::Refused, Value::UNTOLD),
                (":fail", _) => (End::Fail, Value::UNTOLD),
                _ => (End::Info, Value::UNTOLD),
            };
            log.end(op, time, end, reply, None);
        }
    }
    log.finish()
}

struct Measured {
    time: Duration,
    answer: Answer,
    by: &'static str,
    steps: u64,
}

/// The least time of some runs.
fn measure(history: &History) -> Measured {
    let items: Vec<Item> =
        (0u32..).take(history.operations().len()).map(|i| Item { op: OpId(i), open: false }).collect();
    let mut judge = KvJudge::default();
    let (mut best, begun) = (Duration::MAX, Instant::now());
    loop {
        let start = Instant::now();
        let decision = judge.decide(history, &items, Limits::new(200_000_000, 256 << 20));
        best = best.min(start.elapsed());
        if begun.elapsed() > Duration::from_millis(300) {
            return Measured { time: best, answer: decision.answer, by: decision.by, steps: decision.steps };
        }
    }
}

fn row(name: &str, mix: Mix, seeds: u64) {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.contains('/')).collect();
    if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word)) {
        return;
    }
    for stale in [false, true] {
        let mut all: Vec<Measured> =
            (1..=seeds).map(|seed| measure(&generate(Mix { stale, ..mix }, &mut Rng(seed)))).collect();
        all.sort_by_key(|one| one.time);
        let count = |wanted: fn(&Answer) -> bool| all.iter().filter(|one| wanted(&one.answer)).count();
        let (median, worst) = (&all[all.len() / 2], &all[all.len() - 1]);
        println!(
            "{name:<58} {:>5} {:>10.3} {:>10.3} {:>11} {:>3} {:>3} {:>3}  {}",
            if stale { "stale" } else { "" },
            median.time.as_secs_f64() * 1e3,
            worst.time.as_secs_f64() * 1e3,
            worst.steps,
            count(|answer| *answer == Answer::Possible),
            count(|answer| *answer == Answer::Impossible),
            count(|answer| matches!(answer, Answer::GaveUp(_))),
            worst.by,
        );
    }
}

fn main() {
    let title = ["median ms", "worst ms", "steps", "yes", "no", "?"];
    println!(
        "{:<64} {:>10} {:>10} {:>11} {:>3} {:>3} {:>3}  by",
        "history", title[0], title[1], title[2], title[3], title[4], title[5]
    );
    for path in std::env::args().skip(1).filter(|path| path.contains('/')) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let history = if path.ends_with(".log") { read_log(&text) } else { read_events(&text) };
        let one = measure(&history);
        let name = path.rsplit('/').next().unwrap_or(&path);
        println!(
            "{name:<64} {:>10.4} {:>10} {:>11} {:?} {}",
            one.time.as_secs_f64() * 1e3,
            "",
            one.steps,
            one.answer,
            one.by
        );
    }
    let base = Mix { ops: 1_000, clients: 30, values: 5, cas: 0, write: 50, info: 0, guess: 80, stale: false };
    let cas = Mix { cas: 30, write: 30, ..base };
    row("1,000 ops, 30 clients, five values, read + write", base, 20);
    row("the same with cas", cas, 20);
    row("the same with cas that know what is there", Mix { guess: 20, ..cas }, 20);
    row("the same, cas, 1 % ambiguous", Mix { info: 10, ..cas }, 20);
    row("the same, cas, 10 % ambiguous", Mix { info: 100, ..cas }, 20);
    row("1,000 ops, 60 clients, five values, read + write", Mix { clients: 60, ..base }, 10);
    row("1,000 ops, 60 clients, five values, cas", Mix { clients: 60, ..cas }, 5);
    row("1,000 ops, 100 clients, twenty values, cas", Mix { clients: 100, values: 20, ..cas }, 5);
    row(
        "3,000 ops, 30 clients, twenty values, cas, 10 % ambiguous",
        Mix { ops: 3_000, values: 20, info: 100, ..cas },
        5,
    );
    row(
        "3,000 ops, 100 clients, twenty values, read + write, 10 % ambiguous",
        Mix { ops: 3_000, values: 20, clients: 100, info: 100, ..base },
        5,
    );
    let long = Mix { ops: 100_000, clients: 10, ..base };
    row("100,000 ops, 10 clients, five values, read + write", long, 3);
    let long = Mix { ops: 100_000, clients: 10, ..cas };
    row("100,000 ops, 10 clients, five values, cas", long, 3);
    row("the same, 1 % ambiguous", Mix { info: 10, ..long }, 3);
    row("the same, 3 % ambiguous", Mix { info: 30, ..long }, 3);
    row("100,000 ops, 10 clients, distinct, cas, 3 % ambiguous", Mix { info: 30, values: 0, guess: 20, ..long }, 3);
    row("100,000 ops, 30 clients, five values, cas", Mix { clients: 30, ..long }, 2);
}
