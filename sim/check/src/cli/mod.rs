//! The command line: arguments, exit statuses, and the output of reports.

mod budget;
mod check;
mod generate;
mod output;
mod progress;
mod properties;
mod replicas;
mod verify;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use seaworthy_check::format::{Delete, Fail, Format, Keys, Mismatch, Nil, ReadOptions, Refusal, named};
use seaworthy_check::generate::Workload;
use seaworthy_check::replicas::Policy;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Everything was decided, and every property holds.
const VALID: u8 = 0;
/// A property does not hold.
const INVALID: u8 = 1;
/// The input or the command line cannot be used.
const BAD_INPUT: u8 = 2;
/// A budget ended first.
const UNKNOWN: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  seaworthy-check history.edn                       a Jepsen history: is it linearizable?
  seaworthy-check history.jsonl --html report.html  and draw what is wrong
  seaworthy-check etcd.log.gz --check all           every property that fits the model
  seaworthy-check queue.edn --check total-queue     what went in came out: also set-full, bank, long-fork
  seaworthy-check history.edn --certificate proof   a proof that `verify` checks in one pass
  seaworthy-check verify history.edn proof
  seaworthy-check generate cas-register --plant > broken.jsonl

Exit status: 0 valid, 1 not valid, 2 bad input or command line, 3 unknown (a budget ended first).";

const REPLICAS_HELP: &str = "\
Examples:
  seaworthy-check replicas observed.jsonl
  seaworthy-check replicas observed.jsonl.gz --strict   R + W > N, and no disk was lost: no read may be stale
  seaworthy-check replicas observed.jsonl --json

A line of the file is an operation, what a replica held of a key at the end, or, first, what was promised:
  {\"policy\":\"siblings\",\"strict\":false,\"final_from\":9000}
  {\"client\":1,\"key\":\"cart\",\"f\":\"put\",\"value\":\"a\",\"saw\":[],\"called\":10,\"returned\":20,\"end\":\"ok\"}
  {\"client\":2,\"key\":\"cart\",\"f\":\"get\",\"called\":30,\"returned\":40,\"end\":\"ok\",\"found\":[\"a\"]}
  {\"replica\":\"n1\",\"key\":\"cart\",\"found\":[\"a\"],\"state\":\"n1:1\"}

Exit status: 0 valid, 1 not valid, 2 bad input or command line, 3 unknown (a key has too many writes).";

/// Checks histories of concurrent operations, as Jepsen does, for any store.
#[derive(Parser)]
#[command(
    name = "seaworthy-check",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    check: CheckArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a certificate against its history, independently of what wrote it
    Verify(VerifyArgs),
    /// Judges a store without a leader, by what clients saw and what its replicas hold at the end
    Replicas(ReplicasArgs),
    /// Writes a random history, to learn and to measure with
    Generate(GenerateArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// The history; - for standard input. Formats and compression are detected
    file: Option<PathBuf>,
    /// The model, or the kind of transactions; else it is detected
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Properties, separated by commas; `all`: those that fit the model; else linearizable, or strict serializable
    #[arg(long, value_name = "PROPERTY", value_delimiter = ',')]
    check: Vec<String>,
    /// What to take for granted of transactions on registers, to order the versions of each
    #[arg(long, value_enum, value_delimiter = ',')]
    assume: Vec<Assumption>,
    /// The sum of all balances of a bank; else that of --initial, else that of the first read
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    total: Option<i64>,
    /// The accounts of a bank, separated by commas; else those of --initial, else those of the first read
    #[arg(long, value_name = "ACCOUNT", value_delimiter = ',')]
    accounts: Vec<String>,
    /// Balances of a bank may be negative
    #[arg(long)]
    negative_balances: bool,
    /// What to spend at most: a time, a memory size, or both: 60s,1GB
    #[arg(long, value_name = "BUDGET", default_value = "60s,1GB", value_parser = budget::parse)]
    budget: budget::Budget,
    /// Do not look for the few operations that clash: the verdicts are all that is wanted
    #[arg(long)]
    no_evidence: bool,
    /// Keys judged at a time; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Print one JSON object instead of text, of an error too
    #[arg(long)]
    json: bool,
    /// Write a page with the verdicts and drawings
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a certificate, which `verify` checks
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Write the history in another format: FORMAT:FILE, with edn (for Knossos and Elle) or jsonl
    #[arg(long, value_name = "FORMAT:FILE", value_parser = export)]
    export: Vec<(Written, PathBuf)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Assumption {
    /// each register by itself is linearizable: real time orders its versions
    LinearizableKeys,
    /// each register by itself is sequentially consistent: each client sees its versions in order
    SequentialKeys,
}

/// How to read the history.
#[derive(Args, Default)]
struct ReadingArgs {
    /// The format; else it is detected
    #[arg(long, value_parser = by_name(&FORMATS))]
    format: Option<Format>,
    /// What an answered read of nil says: nothing was there; nothing; or either, so that what is decided holds for both
    #[arg(long, value_parser = by_name(&Nil::ALL))]
    nil: Option<Nil>,
    /// What a failed compare-and-set says: only that it did not happen; or that it found another value
    #[arg(long, value_parser = by_name(&Fail::ALL))]
    fail: Option<Fail>,
    /// What the ok of a delete says: that it found the key; or any, that the key is missing now
    #[arg(long, value_parser = by_name(&Delete::ALL))]
    delete: Option<Delete>,
    /// What the value of a refusal says: what was found instead; or nothing
    #[arg(long, value_name = "VALUE-OF-A-REFUSAL", value_parser = by_name(&Refusal::ALL))]
    refused: Option<Refusal>,
    /// What counts where an ok names other values than its call
    #[arg(long, value_parser = by_name(&Mismatch::ALL))]
    mismatch: Option<Mismatch>,
    /// Where the keys stand: in a field of their own; or in the value, which is a pair of key and value
    #[arg(long, value_parser = by_name(&Keys::ALL))]
    keys: Option<Keys>,
    /// What every object holds at first
    #[arg(long, value_name = "VALUE")]
    initial: Option<String>,
}

const FORMATS: [(&str, Format); 4] =
    [("jsonl", Format::JsonLines), ("edn", Format::Edn), ("log", Format::Log), ("plain", Format::Plain)];

/// Returns a parser of the names in `all`.
fn by_name<T: Copy + Send + Sync + 'static, const N: usize>(
    all: &'static [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(|(name, _)| name))
        .map(move |name| named(all, &name).expect("invariant: only these names are possible"))
}

/// A format that histories are written in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// JSON lines, whole
    Jsonl,
    /// for Knossos and Elle; conditions they do not know are lost
    Edn,
}

#[derive(Args)]
struct VerifyArgs {
    /// The history
    file: PathBuf,
    /// The certificate
    certificate: PathBuf,
    #[command(flatten)]
    reading: ReadingArgs,
}

#[derive(Args)]
#[command(after_help = REPLICAS_HELP)]
struct ReplicasArgs {
    /// Operations and dumps as JSON lines; - for standard input
    file: PathBuf,
    /// How concurrent writes are resolved; else what the file says, else siblings
    #[arg(long, value_parser = PossibleValuesParser::new(Policy::ALL.map(|(name, _)| name)))]
    policy: Option<String>,
    /// Quorums were strict, R + W > N, and no disk was lost: a stale read is a violation
    #[arg(long)]
    strict: bool,
    /// Reads called at this nanosecond or later come after the replicas have converged; else what the file says
    #[arg(long, value_name = "NANOSECOND")]
    final_from: Option<u64>,
    /// Print one JSON object instead of text, of an error too
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct GenerateArgs {
    /// What clients use
    #[arg(value_parser = PossibleValuesParser::new(Workload::ALL.map(|(name, _)| name)))]
    workload: String,
    /// Operations, or transactions
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..1 << 31))]
    operations: u32,
    /// Clients at work at a time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Different values; 0: every write has its own
    #[arg(long, default_value_t = 0)]
    values: u32,
    /// Operations of unknown outcome, in a thousand
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    info: u32,
    /// Make one late reply wrong
    #[arg(long)]
    plant: bool,
    /// The seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to write it
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Written,
}

/// Why there is no verdict: what is wrong, and what to do.
#[derive(Debug)]
struct Trouble {
    what: String,
    status: u8,
}

impl Trouble {
    /// The input or the command line cannot be used.
    fn new(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), status: BAD_INPUT }
    }

    /// The error as JSON.
    fn json(&self) -> serde_json::Value {
        match self.status {
            UNKNOWN => serde_json::json!({ "verdict": "unknown", "error": self.what }),
            _ => serde_json::json!({ "error": self.what }),
        }
    }

    /// A budget ended first.
    fn unknown(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), status: UNKNOWN }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Parses `edn:FILE`.
fn export(text: &str) -> Result<(Written, PathBuf), String> {
    match text.split_once(':') {
        Some(("edn", file)) if !file.is_empty() => Ok((Written::Edn, file.into())),
        Some(("jsonl", file)) if !file.is_empty() => Ok((Written::Jsonl, file.into())),
        _ => Err("expected edn:FILE or jsonl:FILE".to_owned()),
    }
}

impl ReadingArgs {
    /// Returns the options. `memory`: memory limit of the history, in bytes.
    fn options(&self, memory: usize) -> ReadOptions {
        ReadOptions {
            format: self.format,
            nil: self.nil,
            fail: self.fail,
            delete: self.delete,
            refusal: self.refused,
            mismatch: self.mismatch,
            keys: self.keys,
            initial: self.initial.clone(),
            memory: Some(memory),
        }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (&cli.command, &cli.check.file) {
        (Some(Command::Verify(args)), _) => verify::verify(args),
        (Some(Command::Replicas(args)), _) => replicas::check(args),
        (Some(Command::Generate(args)), _) => generate::generate(args),
        (None, Some(file)) => check::check(file, &cli.check),
        (None, None) => Err(Trouble::new("no history given: seaworthy-check FILE".to_owned())),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(trouble) => {
            if cli.check.json || matches!(&cli.command, Some(Command::Replicas(args)) if args.json) {
                // The reader may have exited. The exit status says the same.
                let _ = check::print(&format!("{}\n", trouble.json()));
            }
            eprintln!("{}: {trouble}", if trouble.status == UNKNOWN { "unknown" } else { "error" });
            ExitCode::from(trouble.status)
        }
    }
}
