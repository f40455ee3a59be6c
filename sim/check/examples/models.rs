//! How fast the models append and counter are checked: `cargo run --release --example models` in this package's folder.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Rng;
use seaworthy_check::{
    Datum, End, Function, History, Kind, OpId, Options, Recorder, Request, Value, Verdict, check_as,
};
use std::time::{Duration, Instant};

/// What clients do in turn.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    /// Rounds that begin when all clients have ended the one before; texts begin anew in each.
    rounds: usize,
    ops: usize,
    keys: u64,
    /// Percent of writes.
    puts: u64,
    /// Percent of appends or adds.
    adds: u64,
    /// Percent of unknown outcomes.
    info: u64,
}

fn main() {
    let kv = Load { clients: 50, rounds: 3, ops: 5_000, keys: 10, puts: 10, adds: 50, info: 0 };
    let rows = [
        ("kv log, 50 clients, 10 keys, 5,000 ops", kv),
        ("the same, 7,000 ops", Load { ops: 7_000, ..kv }),
        ("the same without put", Load { puts: 0, ..kv }),
        ("the same, texts all different", Load { rounds: 1, ..kv }),
        ("50 clients, 1 key, 5,000 ops", Load { keys: 1, ..kv }),
        ("50 clients, 10 keys, 5,000 ops, 3 % unknown", Load { info: 3, ..kv }),
        ("10 clients, 1 key, 100,000 ops, many puts", Load { clients: 10, keys: 1, ops: 100_000, ..kv }),
    ];
    println!("{:<48} {:>30} {:>50}", "append", "valid", "one read misses an append");
    for (name, load) in rows {
        let (valid, broken) = (texts(load, false), texts(load, true));
        println!("{name:<48} {:>30} {:>50}", time(Kind::Append, &valid), time(Kind::Append, &broken));
    }
    let counter = Load { clients: 10, rounds: 1, ops: 100_000, keys: 1, puts: 0, adds: 50, info: 0 };
    let rows: [(&str, Load, &[i64]); 5] = [
        ("increments, 10 clients, 1 key, 100,000 ops", counter, &[1]),
        ("the same, 1 % unknown", Load { info: 1, ..counter }, &[1]),
        ("50 clients, 10 keys, 100,000 ops", Load { clients: 50, keys: 10, ..counter }, &[1]),
        ("add 1 to 5, 10 clients, 1 key, 100,000 ops", counter, &[1, 2, 3, 4, 5]),
        ("add and subtract, 10 clients, 10,000 ops", Load { ops: 10_000, ..counter }, &[1, 5, -1, -5]),
    ];
    println!("{:<48} {:>30} {:>50}", "counter", "valid", "one read is stale");
    for (name, load, amounts) in rows {
        let (valid, broken) = (sums(load, amounts, false), sums(load, amounts, true));
        println!("{name:<48} {:>30} {:>50}", time(Kind::Counter, &valid), time(Kind::Counter, &broken));
    }
}

/// Minimum of some checks, with what was decided.
fn time(kind: Kind, history: &History) -> String {
    let options = Options { evidence_steps: 0, ..Options::default() };
    let mut least = Duration::MAX;
    let begin = Instant::now();
    let mut report = None;
    while report.is_none() || begin.elapsed() < Duration::from_millis(700) {
        let start = Instant::now();
        report = Some(check_as(kind, history, &options));
        least = least.min(start.elapsed());
    }
    let Some(report) = report else { return String::new() };
    let searched = report.parts.iter().filter(|part| part.by == "search").count();
    let searched = if searched > 0 { format!(", {searched} keys searched") } else { String::new() };
    let mut what = if report.is_valid() { "valid" } else { "unknown" }.to_owned() + &searched;
    if report.violations().next().is_some() {
        let start = Instant::now();
        let full = check_as(kind, history, &Options::default());
        let evidence = full.parts.iter().find_map(|part| match &part.verdict {
            Verdict::Invalid(evidence) => Some((evidence.core.len(), evidence.minimal)),
            _ => None,
        });
        let (core, minimal) = evidence.unwrap_or_default();
        let minimal = if minimal { "" } else { "+" };
        what = format!("not{searched}, core {core}{minimal} in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    format!("{:.2} ms {what}", least.as_secs_f64() * 1e3)
}

enum At {
    Idle,
    Called(OpId, u64, Function, String),
    Applied(OpId, Function, String),
    Gone,
}

/// Texts that clients write, append to and read. `broken`: a read near the end misses the last append.
fn texts(load: Load, broken: bool) -> History {
    let mut rng = Rng(3);
    let mut log = Recorder::default();
    let mut store = vec![String::new(); load.keys as usize];
    // As it was some hundred turns ago, and before that.
    let mut before = [store.clone(), store.clone()];
    let mut turns = 0;
    let mut planted = !broken;
    let mut process = 0u32;
    for round in 0..load.rounds {
        let mut left = load.ops / load.rounds;
        let mut at: Vec<At> = (0..load.clients).map(|_| At::Idle).collect();
        let mut turn = vec![0; load.clients];
        let mut names: Vec<u32> = (0..load.clients as u32).collect();
        process = process.max(load.clients as u32);
        while !at.iter().all(|at| matches!(at, At::Gone)) {
            let p = rng.below(load.clients as u64) as usize;
            turns += 1;
            if turns % (20 * load.clients) == 0 {
                before = [before[1].clone(), store.clone()];
            }
            at[p] = match std::mem::replace(&mut at[p], At::Gone) {
                At::Idle if left == 0 => At::Gone,
                At::Gone => At::Gone,
                At::Idle => {
                    left -= 1;
                    let dice = rng.below(100);
                    let f = if dice < load.puts {
                        Function::Write
                    } else if dice < load.puts + load.adds {
                        Function::Append
                    } else {
                        Function::Read
                    };
                    let mut text = String::new();
                    let mut arg = Value::UNTOLD;
                    if f != Function::Read {
                        text = format!("x {p} {} y", turn[p]);
                        turn[p] += 1;
                        arg = log.value(Datum::Text(&text));
                    }
                    let key = rng.below(load.keys);
                    let name = log.value(Datum::Text(&key.to_string()));
                    At::Called(log.begin(names[p], 0, name, Request::new(f, arg)), key, f, text)
                }
                At::Called(op, key, f, mut text) => {
                    let content = &mut store[key as usize];
                    if f == Function::Read {
                        text.clone_from(content);
                        let late = round + 1 == load.rounds && left < load.ops / load.rounds / 5;
                        let old = &before[0][key as usize];
                        if !planted && late && *old != text && !old.is_empty() && rng.percent(20) {
                            planted = true;
                            text.clone_from(old);
                        }
                    } else {
                        if f == Function::Write {
                            content.clear();
                        }
                        content.push_str(&text);
                    }
                    if rng.percent(load.info) {
                        log.info(op, 0);
                        names[p] = process;
                        process += 1;
                        At::Idle
                    } else {
                        At::Applied(op, f, text)
                    }
                }
                At::Applied(op, f, text) => {
                    let reply = if f == Function::Read { log.value(Datum::Text(&text)) } else { Value::UNTOLD };
                    log.end(op, 0, End::Ok, reply, None);
                    At::Idle
                }
            };
        }
    }
    log.finish()
}

/// An operation, its key, the amount or what was seen, and whether it took effect.
type Pending = Option<(OpId, u64, Option<i64>, bool)>;

/// Sums that clients add to and read. `broken`: a read near the end sees an old sum.
fn sums(load: Load, amounts: &[i64], broken: bool) -> History {
    let mut rng = Rng(4);
    let mut log = Recorder::default();
    let mut store = vec![0i64; load.keys as usize];
    let mut old = store.clone();
    let mut planted = !broken;
    let mut left = load.ops;
    let mut process = load.clients as u32;
    let mut names: Vec<u32> = (0..process).collect();
    let mut open: Vec<Pending> = vec![None; load.clients];
    while left > 0 || open.iter().any(Option::is_some) {
        let p = rng.below(load.clients as u64) as usize;
        open[p] = match open[p].take() {
            None if left == 0 => None,
            None => {
                left -= 1;
                if left == load.ops / 5 {
                    old.clone_from(&store);
                }
                let amount = rng.percent(load.adds).then(|| amounts[rng.below(amounts.len() as u64) as usize]);
                let f = if amount.is_some() { Function::Add } else { Function::Read };
                let arg = amount.map_or(Value::UNTOLD, |n| log.value(Datum::Int(n)));
                let key = rng.below(load.keys);
                let name = log.value(Datum::Text(&key.to_string()));
                Some((log.begin(names[p], 0, name, Request::new(f, arg)), key, amount, false))
            }
            Some((op, key, amount, false)) => {
                let sum = &mut store[key as usize];
                *sum += amount.unwrap_or(0);
                if rng.percent(load.info) {
                    log.info(op, 0);
                    names[p] = process;
                    process += 1;
                    None
                } else {
                    let stale = amount.is_none() && !planted && left < load.ops / 10 && old[key as usize] != *sum;
                    planted |= stale;
                    let seen = if stale { old[key as usize] } else { *sum };
                    Some((op, key, amount.map_or(Some(seen), |_| None), true))
                }
            }
            Some((op, _, seen, true)) => {
                let reply = seen.map_or(Value::UNTOLD, |n| log.value(Datum::Int(n)));
                log.end(op, 0, End::Ok, reply, None);
                None
            }
        };
    }
    log.finish()
}
