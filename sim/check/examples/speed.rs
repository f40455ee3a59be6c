//! How fast histories are checked: `cargo run --release --example speed` in this package's folder.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{End, Rng, Shape, generate, record};
use seaworthy_check::{Options, Reply, check};
use std::time::Instant;

fn main() {
    let storm =
        Shape { ops: 1_500, processes: 10, keys: 10, values: 0, info: 3, fail: 1, conditional: 20, revisions: 100 };
    let rows = [
        ("1,500 ops, 10 keys, 10 clients, 3 % info", storm),
        ("the same without revisions", Shape { revisions: 0, ..storm }),
        ("50,000 ops, 50 keys, 10 clients, 3 % info", Shape { ops: 50_000, keys: 50, ..storm }),
        ("100,000 ops, 1 key, 10 clients", Shape { ops: 100_000, keys: 1, info: 0, ..storm }),
        ("the same without revisions", Shape { ops: 100_000, keys: 1, info: 0, revisions: 0, ..storm }),
        ("100,000 ops, 1 key, 10 clients, 3 % info", Shape { ops: 100_000, keys: 1, ..storm }),
        ("the same without revisions", Shape { ops: 100_000, keys: 1, revisions: 0, ..storm }),
        (
            "100,000 ops, 1 key, five values, no revisions",
            Shape { ops: 100_000, keys: 1, info: 0, revisions: 0, values: 5, ..storm },
        ),
        ("1,000,000 ops, 1,000 keys, 10 clients, 3 % info", Shape { ops: 1_000_000, keys: 1_000, ..storm }),
    ];
    println!("{:<52} {:>12} {:>12}", "history", "valid", "one stale read");
    for (name, shape) in rows {
        let mut raws = generate(shape, &mut Rng(1));
        let valid = time(&raws, true);
        let broken = if plant(&mut raws) { time(&raws, false) } else { "-".to_owned() };
        println!("{name:<52} {valid:>12} {broken:>12}");
    }
}

/// Median of some checks, and what was decided if that is not what was expected.
fn time(raws: &[common::Raw], expected: bool) -> String {
    let history = record(raws);
    let mut times = Vec::new();
    let mut verdict = String::new();
    for _ in 0..(200_000 / raws.len()).clamp(3, 51) {
        let start = Instant::now();
        let report = check(&history, &Options::default());
        times.push(start.elapsed());
        if report.unknowns().next().is_some() {
            verdict = " unknown!".to_owned();
        } else if report.is_valid() != expected {
            verdict = " wrong!".to_owned();
        }
        if let Some(evidence) = report.violations().next() {
            verdict +=
                &format!(" core {}{}", evidence.core.len(), if evidence.minimal { "" } else { " (not minimal)" });
        }
        if report.violations().next().is_some() {
            break;
        }
    }
    times.sort_unstable();
    format!("{:.2} ms{verdict}", times[times.len() / 2].as_secs_f64() * 1e3)
}

/// Makes a read late in the history see what an early read of its key saw.
fn plant(raws: &mut [common::Raw]) -> bool {
    let late = raws.len() * 9 / 10;
    let read = |raw: &common::Raw| matches!(&raw.end, End::Ok(Reply::Got(Some(_))));
    let Some(at) = (late..raws.len()).find(|&i| read(&raws[i])) else { return false };
    let Some(old) = raws[..at].iter().find(|raw| raw.key == raws[at].key && read(raw)) else { return false };
    raws[at].end = old.end.clone();
    true
}
