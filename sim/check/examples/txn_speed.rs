//! How fast transactions are checked: `cargo run --release --example txn_speed` in this package's folder, with the number of
//! transactions and `lists`, `registers` or `both` if you like. One row for a valid history and one with a planted cycle.

use seaworthy_check::history::recorder::Step;
use seaworthy_check::txn::{Isolation, Options, check};
use seaworthy_check::{End, Function, History, OpId, Recorder, Value, Verdict};
use std::time::Instant;

const PROCESSES: u64 = 20;
const KEYS: usize = 10;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A transaction that was called, and its steps: what and in which slot.
type Open = (OpId, Vec<(Function, usize)>);

/// As Elle's generator: transactions of 1–4 steps on ten keys at a time, each retired after `retire` writes, here run by a
/// serializable database with 20 clients. `plant`: every so many transactions one reads an old version.
fn generate(txns: usize, lists: bool, retire: usize, plant: usize) -> History {
    let mut rng = Rng(7);
    let mut log = Recorder::default();
    let small = |n: usize| Value::small(n as u32).unwrap_or(Value::NIL);
    let mut keys: Vec<(usize, Vec<Value>)> = (0..KEYS).map(|key| (key, Vec::new())).collect();
    let mut next = KEYS;
    let mut open: Vec<Option<Open>> = vec![None; PROCESSES as usize];
    let (mut begun, mut time) = (0, 0);
    while begun < txns || open.iter().any(Option::is_some) {
        let process = rng.below(PROCESSES) as usize;
        time += 1_000;
        let Some((id, plan)) = open[process].take() else {
            if begun < txns {
                let write = if lists { Function::Append } else { Function::Write };
                let plan: Vec<(Function, usize)> = (0..1 + rng.below(4))
                    .map(|_| (if rng.below(2) == 0 { Function::Read } else { write }, rng.below(KEYS as u64) as usize))
                    .collect();
                let steps: Vec<Step<'_>> = plan
                    .iter()
                    .map(|&(f, slot)| Step { f, key: small(keys[slot].0), value: Value::UNTOLD, list: None })
                    .collect();
                let id = log.begin_txn(process as u32, time, &steps);
                open[process] = Some((id, plan));
                begun += 1;
            }
            continue;
        };
        // It takes place and returns at once; it was called some while ago.
        let old = if plant > 0 && begun % plant == 0 { 1 } else { 0 };
        let mut taken: Vec<(Function, usize, Value, usize)> = Vec::new();
        for &(f, slot) in &plan {
            let (key, list) = &mut keys[slot];
            if f != Function::Read {
                list.push(small(list.len() + 1));
            }
            let own = taken.iter().any(|&(_, other, ..)| other == *key);
            let length = if own || f != Function::Read { list.len() } else { list.len().saturating_sub(old) };
            taken.push((f, *key, list.last().copied().unwrap_or(Value::NIL), length));
        }
        let steps: Vec<Step<'_>> = taken
            .iter()
            .zip(&plan)
            .map(|(&(f, key, value, length), &(_, slot))| {
                let list = &keys[slot].1[..length];
                let read = f == Function::Read;
                let value = match (read, lists) {
                    (true, true) => Value::UNTOLD,
                    (true, false) => list.last().copied().unwrap_or(Value::NIL),
                    _ => value,
                };
                Step { f, key: small(key), value, list: (read && lists).then_some(list) }
            })
            .collect();
        log.end_txn(id, time, End::Ok, Some(&steps));
        for key in keys.iter_mut().filter(|(_, list)| list.len() >= retire) {
            *key = (next, Vec::new());
            next += 1;
        }
    }
    log.finish()
}

fn row(name: &str, history: &History, isolation: Isolation, options: &Options) {
    let mut times = Vec::new();
    let mut verdict = String::new();
    for _ in 0..3 {
        let start = Instant::now();
        let report = check(history, isolation, options);
        times.push(start.elapsed());
        verdict = match &report.parts[0].verdict {
            Verdict::Valid => "valid".to_owned(),
            Verdict::Invalid(evidence) => format!("{} of {}", evidence.anomaly, evidence.core.len()),
            Verdict::Unknown(why) => why.clone(),
        };
    }
    let best = times.iter().min().map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!("{name:<44} {isolation:<22} {best:>9.1} ms  {verdict:<28} {}", memory());
}

/// The most memory that the process had, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown");
    format!("peak {}", peak.trim())
}

fn main() {
    let txns = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let what = std::env::args().nth(2).unwrap_or_else(|| "both".to_owned());
    for lists in [true, false] {
        let kind = if lists { "lists" } else { "registers" };
        if what != kind && what != "both" {
            continue;
        }
        for plant in [0, txns / 100, 100, 2] {
            let history = generate(txns, lists, 128, plant);
            println!("recorded: {}", memory());
            let name = format!(
                "{txns} transactions on {kind}, {}",
                match plant {
                    0 => "valid".to_owned(),
                    n => format!("stale 1 in {n}"),
                }
            );
            let options = Options::default();
            for isolation in [Isolation::Serializable, Isolation::StrictSerializable, Isolation::SnapshotIsolation] {
                row(&name, &history, isolation, &options);
            }
            if !lists {
                let options = Options { linearizable_keys: true, ..options };
                row(&format!("{name}, linear keys"), &history, Isolation::StrictSerializable, &options);
            }
        }
    }
}
