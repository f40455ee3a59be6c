//! How fast histories are checked, and in how much memory: `cargo run --release -p seaworthy-check --example speed`.
//!
//! Every write has a value of its own. Times are the smallest of several checks on one thread, after the history has been
//! made; the peak is of the whole process with the history, so each row runs in a process of its own.

use seaworthy_check::linear::{Answer, Item, Limits, parts};
use seaworthy_check::{
    Condition, End, Function, History, Kind, OpId, Options, Recorder, Request, Value, Verdict, check,
};
use std::time::{Duration, Instant};

/// A history to make.
struct Row {
    name: &'static str,
    ops: u32,
    clients: usize,
    keys: u32,
    /// Thousandths of operations whose outcome stays unknown.
    unknown: u64,
    /// Whether replies tell revisions; then there are deletes too.
    revisions: bool,
    /// How many late reads see early values.
    stale: u32,
}

const PLAIN: Row = Row { name: "", ops: 1_000_000, clients: 10, keys: 1, unknown: 0, revisions: false, stale: 0 };
const ROWS: [Row; 9] = [
    Row { name: "1 M operations, 10 clients, 1,000 keys", keys: 1_000, ..PLAIN },
    Row { name: "1 M operations, 100 clients, 1,000 keys", keys: 1_000, clients: 100, ..PLAIN },
    Row { name: "100 k operations, 10 clients, 1 key", ops: 100_000, ..PLAIN },
    Row { name: "1 M operations, 100 clients, 1 key", clients: 100, ..PLAIN },
    Row { name: "  1 % unknown", clients: 100, unknown: 10, ..PLAIN },
    Row { name: "  1 % unknown, one stale read", clients: 100, unknown: 10, stale: 1, ..PLAIN },
    Row {
        name: "1 M operations, 10 clients, 1,000 keys, revisions, deletes, 3 % unknown",
        keys: 1_000,
        unknown: 30,
        revisions: true,
        ..PLAIN
    },
    Row {
        name: "1 M operations, 100 clients, 1 key, revisions, one stale read",
        clients: 100,
        revisions: true,
        stale: 1,
        ..PLAIN
    },
    Row { name: "1 M operations, 100 clients, 1 key, 1,000 stale reads", clients: 100, stale: 1_000, ..PLAIN },
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().and_then(|row| ROWS.get(row.parse::<usize>().ok()?)) {
        Some(row) => measure(row),
        None => {
            println!("{:<72} {:>10} {:>12} {:>8}  decided", "history", "verdict", "evidence", "peak");
            let program = std::env::current_exe().expect("this program");
            for row in 0..ROWS.len() {
                let done = std::process::Command::new(&program).arg(row.to_string()).status();
                assert!(done.expect("this program runs").success());
            }
        }
    }
}

fn measure(row: &Row) {
    let history = generate(row);
    let (mut verdict, mut evidence) = (Duration::MAX, Duration::MAX);
    let (mut by, mut valid, mut core) = (Vec::new(), false, String::new());
    for _ in 0..5 {
        let start = Instant::now();
        let (impossible, names) = decide(&history);
        verdict = verdict.min(start.elapsed());
        (valid, by) = (!impossible, names);
        if !valid {
            let start = Instant::now();
            let report = check(&history, &Options::default());
            evidence = evidence.min(start.elapsed());
            for part in &report.parts {
                if let Verdict::Invalid(why) = &part.verdict {
                    core = format!("core {}{}", why.core.len(), if why.minimal { "" } else { " (not minimal)" });
                }
            }
        }
    }
    assert!(valid == (row.stale == 0), "wrong verdict on {}", row.name);
    let evidence = if valid { "-".to_owned() } else { format!("{:.0} ms", evidence.as_secs_f64() * 1e3) };
    println!(
        "{:<72} {:>7.1} ms {evidence:>12} {:>5} MB  {} {core}",
        row.name,
        verdict.as_secs_f64() * 1e3,
        peak() / 1000,
        by.join(", ")
    );
}

/// The verdict alone: whether any part is impossible, and which procedures decided.
fn decide(history: &History) -> (bool, Vec<String>) {
    let Options { steps, memory, .. } = Options::default();
    let mut judge = Kind::Kv.judge();
    let (mut impossible, mut by) = (false, Vec::new());
    for part in parts(history).iter() {
        let items: Vec<Item> = part.ops.iter().map(|&op| Item { op, open: false }).collect();
        let decision = judge.decide(history, &items, Limits::new(steps, memory));
        impossible |= decision.answer == Answer::Impossible;
        by.push(decision.by);
    }
    by.sort_unstable();
    let by = by.chunk_by(|a, b| a == b).map(|same| format!("{} × {}", same.len(), same[0])).collect();
    (impossible, by)
}

/// The most memory that this process ever had, in kB; 0 where the system does not tell.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Numbers from a counter, mixed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What a client is about.
#[derive(Clone, Copy)]
enum Client {
    Idle,
    Called(OpId, u32, Request),
    Done(OpId, End, Value, Option<u32>),
}

/// A store in which every operation takes effect at some moment between call and return: half reads, a quarter writes, a
/// quarter compare-and-sets from a value that was there when they were called.
fn generate(row: &Row) -> History {
    let mut rng = Rng(1);
    let mut log = Recorder::default();
    let mut cells: Vec<(Value, u32)> = vec![(Value::NIL, 0); row.keys as usize];
    let mut clients = vec![Client::Idle; row.clients];
    let mut old = vec![vec![Value::NIL]; row.keys as usize];
    let (mut made, mut busy, mut planted) = (0, 0, 0);
    while made < row.ops || busy > 0 {
        let at = rng.below(row.clients as u64) as usize;
        clients[at] = match clients[at] {
            Client::Idle if made == row.ops => Client::Idle,
            Client::Idle => {
                let key = rng.below(u64::from(row.keys)) as u32;
                let arg = Value::small(made).expect("small");
                let (there, _) = cells[key as usize];
                let request = match rng.below(100) {
                    0..50 => Request::new(Function::Read, Value::UNTOLD),
                    50..75 => Request::new(Function::Write, arg),
                    75..80 if row.revisions => Request::new(Function::Delete, Value::UNTOLD),
                    _ => {
                        Request { f: Function::Write, arg, when: Condition { value: Some(there), ..Condition::ALWAYS } }
                    }
                };
                made += 1;
                busy += 1;
                Client::Called(log.begin(at as u32, 0, Value::small(key).expect("small"), request), key, request)
            }
            Client::Called(op, key, request) => {
                let (value, count) = cells[key as usize];
                let accepts = request.when.value.is_none_or(|wanted| wanted == value);
                let tell = |n: Option<u32>| n.filter(|_| row.revisions);
                let (end, reply, revision) = match request.f {
                    Function::Read => {
                        let stale = planted < row.stale && made > row.ops / 10 * 9;
                        planted += u32::from(stale);
                        let old = &old[key as usize];
                        let value = if stale { old[rng.below(old.len() as u64) as usize] } else { value };
                        (End::Ok, value, tell(count.checked_sub(1).filter(|_| !stale)))
                    }
                    Function::Delete if value != Value::NIL => {
                        cells[key as usize] = (Value::NIL, count + 1);
                        (End::Ok, Value::UNTOLD, tell(Some(count)))
                    }
                    Function::Write if accepts => {
                        cells[key as usize] = (request.arg, count + 1);
                        if row.stale > 0 && made < row.ops / 5 && rng.below(100) == 0 {
                            old[key as usize].push(request.arg);
                        }
                        (End::Ok, Value::UNTOLD, tell(Some(count)))
                    }
                    _ => (End::Refused, value, tell(count.checked_sub(1))),
                };
                let unknown = rng.below(1_000) < row.unknown;
                if unknown {
                    Client::Done(op, End::Info, Value::UNTOLD, None)
                } else {
                    Client::Done(op, end, reply, revision)
                }
            }
            Client::Done(op, end, reply, revision) => {
                log.end(op, 0, end, reply, revision);
                busy -= 1;
                Client::Idle
            }
        };
    }
    log.finish()
}
