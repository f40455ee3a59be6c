//! How fast histories are read: `cargo run --release --example parse_speed` in this package's folder.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Rng, Shape, generate, record};
use seaworthy_check::format::{ReadOptions, export, jsonl, read};
use seaworthy_check::{Datum, End, Function, History, Recorder, Request, Value};
use std::time::Instant;

fn main() {
    let storm = Shape {
        ops: 500_000,
        processes: 10,
        keys: 1_000,
        values: 0,
        info: 1,
        fail: 1,
        conditional: 20,
        revisions: 100,
    };
    let rows = [
        ("key-value, texts, revisions", key_value(storm)),
        ("register, whole numbers", numbers(500_000)),
        ("list-append transactions", transactions(200_000)),
    ];
    println!("{:<30} {:>8} {:>10} {:>10} {:>12}", "history", "format", "size, MB", "MB/s", "ns an event");
    for (name, history) in &rows {
        let (mut json, mut edn) = (Vec::new(), Vec::new());
        jsonl::write(history, &mut json).expect("memory takes everything");
        export::write(history, &mut edn).expect("memory takes everything");
        for (format, text) in [("jsonl", json), ("edn", edn)] {
            let best = (0..7).map(|_| time(&text, history.events())).min_by(f64::total_cmp).unwrap_or(f64::NAN);
            let mega = text.len() as f64 / 1e6;
            let event = best / f64::from(history.events()) * 1e9;
            println!("{name:<30} {format:>8} {mega:>10.1} {:>10.0} {event:>12.0}", mega / best);
        }
    }
}

fn key_value(shape: Shape) -> History {
    let mut raws = generate(shape, &mut Rng(1));
    // Who never hears of an operation cannot call the next in a file.
    for (i, raw) in raws.iter_mut().enumerate().filter(|(_, raw)| raw.events.1.is_none()) {
        raw.process = 1_000 + i as u32;
    }
    record(&raws)
}

/// Seconds to read a text.
fn time(text: &[u8], events: u32) -> f64 {
    let start = Instant::now();
    let reading = read(text, &ReadOptions::default()).expect("what was written can be read");
    let time = start.elapsed();
    assert_eq!(reading.history.events(), events);
    time.as_secs_f64()
}

fn numbers(ops: u32) -> History {
    let mut log = Recorder::default();
    for n in 0..ops {
        let (process, value) = (n % 10, log.value(Datum::Int(i64::from(n))));
        let key = log.value(Datum::Int(i64::from(n % 1_000)));
        let f = if n % 2 == 0 { Function::Write } else { Function::Read };
        let arg = if n % 2 == 0 { value } else { Value::UNTOLD };
        let op = log.begin(process, u64::from(n) * 1_000, key, Request::new(f, arg));
        let reply = if n % 2 == 0 { Value::UNTOLD } else { value };
        log.end(op, u64::from(n) * 1_000 + 500, End::Ok, reply, None);
    }
    log.finish()
}

fn transactions(count: u32) -> History {
    use seaworthy_check::history::recorder::Step;
    let mut log = Recorder::default();
    let mut lists = vec![Vec::new(); 100];
    for n in 0..count {
        let (place, value) = (n as usize % 100, log.value(Datum::Int(i64::from(n))));
        let key = log.value(Datum::Int(i64::from(n) / 1_000 * 100 + place as i64));
        let read = Step { f: Function::Read, key, value: Value::UNTOLD, list: None };
        let append = Step { f: Function::Append, value, ..read };
        let op = log.begin_txn(n % 10, u64::from(n), &[read, append]);
        if n % 1_000 < 100 {
            lists[place] = Vec::new();
        }
        let seen = Step { list: Some(&lists[place]), ..read };
        log.end_txn(op, u64::from(n), End::Ok, Some(&[seen, append]));
        lists[place].push(value);
    }
    log.finish()
}
