//! The cost of checking: generates histories, checks each in its own process on one thread, and prints the table.
//!
//! `cargo run --release -p seaworthy-check --example figures [-- --histories FOLDER] [--only TEXT]`
//!
//! The time is that of checking alone, with the history in memory. It is the minimum of several runs, in processor time
//! of the thread if the system reports it, else in elapsed time, so that other work on the machine does not count.
//! Memory is the peak of the whole process, generation and history included. The search may take [`STEPS`] steps per
//! key. With repeated values the problem is NP-complete, and the rows with a growing number of clients show where that
//! budget ends.
//!
//! FOLDER may hold Porcupine's and Jepsen's own files, which are not part of this repository: `etcd_*.log`, `c*.txt`,
//! `hard-*.txt`.

use seaworthy_check::format::{ReadOptions, export, jsonl, read};
use seaworthy_check::generate::{Shape, Workload, history};
use seaworthy_check::linear::{Decision, Item, Judge, Limits, Part, parts};
use seaworthy_check::txn::{self, Isolation};
use seaworthy_check::{History, Kind, Options, Report, check_as, session};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// A row of the table.
struct Row {
    name: &'static str,
    /// The target; empty if there is none.
    reach: &'static str,
    source: Source,
}

enum Source {
    Objects(Workload, Kind, Shape),
    Transactions(Workload, Shape),
    Sessions(fn(&History, &session::Options) -> Report, Shape),
    Parse(Workload, &'static str),
    Files(&'static str),
}

/// Minimum duration of a sample, maximum number of samples, and the time after which no more are taken.
const SAMPLE: Duration = Duration::from_millis(100);
const SAMPLES: usize = 10;
const ENOUGH: Duration = Duration::from_secs(2);
/// Steps of the search after which the answer is unknown, and maximum bytes that it may store.
const STEPS: u64 = 100_000_000;
const MEMORY: usize = 1 << 30;

const BASE: Shape = Shape { operations: 1_000_000, clients: 10, keys: 1, values: 0, info: 0, plant: false };
const HUNDRED: Shape = Shape { operations: 100_000, ..BASE };

fn rows() -> Vec<Row> {
    [linear(), objects(), transactions(), sessions(), reading()].into_iter().flatten().collect()
}

/// Rows for registers.
fn linear() -> Vec<Row> {
    let of = |workload, kind, name, reach, shape| Row { name, reach, source: Source::Objects(workload, kind, shape) };
    let cas = |name, reach, shape| of(Workload::CasRegister, Kind::CasRegister, name, reach, shape);
    let five = Shape { values: 5, ..HUNDRED };
    let ambiguous = Shape { clients: 100, info: 10, ..BASE };
    let crowd = |operations, clients| Shape { operations, clients, values: 5, ..BASE };
    let register = "1,000 ops, 30 clients, one key, five values, no cas";
    vec![
        cas("1 M ops, 10 clients, 1,000 keys, distinct", "100 ms, 100 MB", Shape { keys: 1_000, ..BASE }),
        cas(
            "1 M ops, 100 clients, 1,000 keys, distinct",
            "100 ms, 100 MB",
            Shape { clients: 100, keys: 1_000, ..BASE },
        ),
        cas("100 k ops, 10 clients, one key, distinct", "8 ms", HUNDRED),
        cas("1 M ops, 100 clients, one key, distinct, 1 % ambiguous", "", ambiguous),
        cas("the same, one stale read", "80 ms, cause in 1 s", Shape { plant: true, ..ambiguous }),
        cas("100 k ops, 10 clients, one key, five values", "150 ms, 40 MB", five),
        cas("the same, one impossible read", "150 ms, 40 MB", Shape { plant: true, ..five }),
        of(Workload::Register, Kind::Register, register, "10 ms", crowd(1_000, 30)),
        cas("1,000 ops, 30 clients, one key, five values, cas", "1 s", crowd(1_000, 30)),
        cas("8,000 ops, 30 clients, one key, five values, cas", "", crowd(8_000, 30)),
        cas("32,000 ops, 30 clients, one key, five values, cas", "", crowd(32_000, 30)),
        cas("1,000 ops, 60 clients, one key, five values, cas", "", crowd(1_000, 60)),
        cas("1,000 ops, 100 clients, one key, five values, cas", "", crowd(1_000, 100)),
        cas("4,000 ops, 100 clients, one key, five values, cas", "", crowd(4_000, 100)),
        cas("16,000 ops, 100 clients, one key, five values, cas", "", crowd(16_000, 100)),
        cas("1,000 ops, 200 clients, one key, five values, cas", "", crowd(1_000, 200)),
    ]
}

/// One row for each other kind of object.
fn objects() -> Vec<Row> {
    let row = |name, reach, workload, kind, shape| Row { name, reach, source: Source::Objects(workload, kind, shape) };
    let append = Shape { operations: 5_000, clients: 50, keys: 10, ..BASE };
    let wrong = Shape { plant: true, ..append };
    vec![
        row("append and get, 5,000 ops, 50 clients, 10 keys", "3 ms", Workload::Append, Kind::Append, append),
        row("the same, one wrong read", "3 ms", Workload::Append, Kind::Append, wrong),
        row("key-value, 100 k ops, 3 % ambiguous", "", Workload::Kv, Kind::Kv, Shape { info: 30, ..HUNDRED }),
        row("set, 100 k ops", "", Workload::Set, Kind::Set, HUNDRED),
        row("queue, 100 k ops", "", Workload::Queue, Kind::Queue, HUNDRED),
        row("lock, 100 k ops", "", Workload::Lock, Kind::Lock, HUNDRED),
        row("sequence, 100 k ops", "", Workload::Sequence, Kind::Sequence, HUNDRED),
        row("counter, 100 k ops", "", Workload::Counter, Kind::Counter, HUNDRED),
    ]
}

fn transactions() -> Vec<Row> {
    let row = |name, reach, workload, shape| Row { name, reach, source: Source::Transactions(workload, shape) };
    let shape = Shape { clients: 20, keys: 10, ..BASE };
    let stale = Shape { plant: true, ..shape };
    vec![
        row("list-append, 1 M transactions", "3 s", Workload::ListAppend, shape),
        row("the same, one stale read", "3 s", Workload::ListAppend, stale),
        row("rw-register, 1 M transactions", "", Workload::RwRegister, shape),
    ]
}

fn sessions() -> Vec<Row> {
    let row = |name, check, keys| Row {
        name,
        reach: "",
        source: Source::Sessions(check, Shape { clients: 100, keys, ..BASE }),
    };
    vec![
        row("read your writes, 1 M ops, 100 clients, 1,000 keys", read_your_writes, 1_000),
        row("causal, 1 M ops, 100 clients, 1,000 keys", session::check_causal, 1_000),
        row("sequential, 1 M ops, 100 clients, 1,000 keys", session::check_sequential, 1_000),
    ]
}

fn read_your_writes(history: &History, options: &session::Options) -> Report {
    session::check_guarantee(history, session::Guarantee::ReadYourWrites, options)
}

/// Rows for parsing, and for histories recorded by other tools.
fn reading() -> Vec<Row> {
    let parse = |name, reach, workload, format| Row { name, reach, source: Source::Parse(workload, format) };
    let files = |name, reach, prefix| Row { name, reach, source: Source::Files(prefix) };
    vec![
        parse("parsing JSON lines, registers", "300 MB/s", Workload::CasRegister, "jsonl"),
        parse("parsing JSON lines, revisions and conditions", "300 MB/s", Workload::Kv, "jsonl"),
        parse("parsing JSON lines, transactions", "300 MB/s", Workload::ListAppend, "jsonl"),
        parse("parsing EDN, registers", "100 MB/s", Workload::CasRegister, "edn"),
        parse("parsing EDN, revisions and conditions", "100 MB/s", Workload::Kv, "edn"),
        parse("parsing EDN, transactions", "100 MB/s", Workload::ListAppend, "edn"),
        files("files hard-*.txt", "10 ms", "hard-"),
        files("files etcd_*.log", "0.1 ms each", "etcd_"),
        files("files c*.txt", "3 ms each", "c"),
    ]
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let folder = value("--histories").map(PathBuf::from);
    if let Some(row) = value("--row").and_then(|row| row.parse().ok()) {
        if let Some(line) = rows().into_iter().nth(row).and_then(|row| measure(&row, folder.as_deref())) {
            println!("{line}");
        }
        return ExitCode::SUCCESS;
    }
    println!("{:<56} {:<20} {:>11} {:>8}  decided", "history", "reach", "checking", "peak");
    for (i, row) in rows().iter().enumerate() {
        if value("--only").is_some_and(|only| !row.name.contains(only.as_str())) {
            continue;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command.args(["--row", &i.to_string()]);
        if let Some(folder) = &folder {
            command.arg("--histories").arg(folder);
        }
        let output = command.output().expect("this program starts");
        if !output.status.success() {
            println!("{:<56} failed: {}", row.name, String::from_utf8_lossy(&output.stderr).trim());
        } else if !output.stdout.is_empty() {
            let figures = String::from_utf8_lossy(&output.stdout);
            println!("{:<56} {:<20} {}", row.name, row.reach, figures.trim_end());
        }
    }
    ExitCode::SUCCESS
}

/// Measures a row; `None` if its files are missing.
fn measure(row: &Row, folder: Option<&Path>) -> Option<String> {
    let options = Options { steps: STEPS, memory: MEMORY, ..Options::default() };
    match &row.source {
        Source::Objects(workload, kind, shape) => {
            let history = history(*workload, shape, 1);
            let (time, report) = fastest(|| check_as(*kind, &history, &options));
            let decided = if report.is_valid() { time } else { fastest(|| decide(*kind, &history, &options)).0 };
            let words = verdict(&report, report.violations().next().map(|_| time));
            Some(format!("{:>11} {:>8}  {words}", milliseconds(decided), peak()))
        }
        Source::Transactions(workload, shape) => {
            let history = history(*workload, shape, 1);
            let (time, report) =
                fastest(|| txn::check(&history, Isolation::StrictSerializable, &txn::Options::default()));
            Some(format!("{:>11} {:>8}  {}", milliseconds(time), peak(), verdict(&report, None)))
        }
        Source::Sessions(check, shape) => {
            let history = history(Workload::Register, shape, 1);
            let (time, report) = fastest(|| check(&history, &session::Options::default()));
            Some(format!("{:>11} {:>8}  {}", milliseconds(time), peak(), verdict(&report, None)))
        }
        Source::Parse(workload, format) => {
            let transactions = *workload == Workload::ListAppend;
            let shape = Shape { operations: 250_000, keys: if transactions { 10 } else { 1_000 }, ..BASE };
            let history = history(*workload, &shape, 1);
            let mut text = Vec::new();
            match *format {
                "jsonl" => jsonl::write(&history, &mut text).expect("writing to memory"),
                _ => export::write(&history, &mut text).expect("writing to memory"),
            }
            let (time, _) = fastest(|| read(&text[..], &ReadOptions::default()).expect("what was written is read"));
            let speed = text.len() as f64 / 1e6 / time.as_secs_f64();
            Some(format!("{:>11} {:>8}  {speed:.0} MB/s", milliseconds(time), peak()))
        }
        Source::Files(prefix) => files(folder?, prefix, &options),
    }
}

/// Checks all files of a folder whose names begin with `prefix`.
fn files(folder: &Path, prefix: &str, options: &Options) -> Option<String> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    paths.sort();
    let (mut total, mut worst, mut words) = (Duration::ZERO, Duration::ZERO, [0; 3]);
    for path in &paths {
        let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
        let reading = read(file, &ReadOptions::default()).ok()?;
        let kind = object(&reading.history);
        let (time, report) = fastest(|| check_as(kind, &reading.history, options));
        let class =
            usize::from(!report.is_valid()) + usize::from(report.violations().next().is_none() && !report.is_valid());
        words[class] += 1;
        total += time;
        worst = worst.max(time);
    }
    let [valid, invalid, unknown] = words;
    (!paths.is_empty()).then(|| {
        let decided = format!("{valid} valid, {invalid} not, {unknown} unknown; slowest {}", milliseconds(worst));
        format!("{:>11} {:>8}  {} files: {decided}", milliseconds(total), peak(), paths.len())
    })
}

fn object(history: &History) -> Kind {
    let fits = |kind: &Kind| kind.accepts(history).is_ok();
    [Kind::CasRegister, Kind::Kv, Kind::Append].into_iter().find(fits).unwrap_or(Kind::Kv)
}

/// Returns the verdicts alone, without evidence.
fn decide(kind: Kind, history: &History, options: &Options) -> Vec<Decision> {
    let mut judge = kind.judge();
    let limits = Limits::new(options.steps, options.memory);
    let items = |part: Part<'_>| part.ops.iter().map(|&op| Item { op, open: false }).collect::<Vec<_>>();
    parts(history).iter().map(|part| judge.decide(history, &items(part), limits)).collect()
}

/// Returns the time of the fastest run, and its result. The system's accounting is coarse, so short work is repeated.
fn fastest<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let mut result = work();
    let times = (SAMPLE.as_nanos() / begun.elapsed().as_nanos().max(1)).clamp(1, 10_000) as u32;
    let mut best = Duration::MAX;
    for _ in 0..SAMPLES {
        let (start, on_processor) = (Instant::now(), processor_time());
        for _ in 0..times {
            result = work();
        }
        let time = processor_time().zip(on_processor).map_or(start.elapsed(), |(end, start)| end.saturating_sub(start));
        best = best.min(time / times);
        if begun.elapsed() > ENOUGH {
            break;
        }
    }
    (best, result)
}

/// Returns the processor time used by this thread.
fn processor_time() -> Option<Duration> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn verdict(report: &Report, with_evidence: Option<Duration>) -> String {
    let mut words = match (report.violations().next(), report.unknowns().next()) {
        (Some(evidence), _) => {
            let minimal = if evidence.minimal { "minimal" } else { "not minimal" };
            format!("not valid, core of {} ({minimal})", evidence.core.len())
        }
        (None, Some((_, why))) => format!("unknown: {why}"),
        (None, None) => "valid".to_owned(),
    };
    if let Some(time) = with_evidence {
        words += &format!(", with evidence {}", milliseconds(time));
    }
    let mut by: Vec<&str> = report.parts.iter().map(|part| part.by).collect();
    by.sort_unstable();
    by.dedup();
    format!("{words}; by {}", by.join(", "))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Returns the peak memory of this process.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: Option<f64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.map_or("?".to_owned(), |kb| format!("{:.0} MB", kb * 1024.0 / 1e6))
}
