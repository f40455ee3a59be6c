//! The command line: arguments, exit statuses, and which report goes where.

mod budget;
mod check;
mod generate;
mod output;
mod progress;
mod properties;
mod replicas;
mod verify;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use seaworthy_check::format::{Fail, Format, Keys, Nil};
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
    /// What to spend at most: a time, a memory size, or both: 60s,1GB
    #[arg(long, value_name = "BUDGET", default_value = "60s,1GB", value_parser = budget::parse)]
    budget: budget::Budget,
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
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// What an answered read of nil says
    #[arg(long, value_enum)]
    nil: Option<NilMeaning>,
    /// What a failed compare-and-set says
    #[arg(long, value_enum)]
    fail: Option<FailMeaning>,
    /// Where the keys stand
    #[arg(long, value_enum)]
    keys: Option<KeysPlace>,
    /// What every object holds at first
    #[arg(long, value_name = "VALUE")]
    initial: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    Jsonl,
    Edn,
    Log,
    Plain,
}

/// A format that histories are written in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    /// JSON lines, whole
    Jsonl,
    /// for Knossos and Elle; conditions they do not know are lost
    Edn,
}

#[derive(Clone, Copy, ValueEnum)]
enum NilMeaning {
    /// the object is missing
    Absent,
    /// nothing: the read is left out
    Unknown,
}

#[derive(Clone, Copy, ValueEnum)]
enum FailMeaning {
    /// only that it did not happen
    DidNotHappen,
    /// that the object did not hold the value compared with
    Refused,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeysPlace {
    /// in a field of their own
    Field,
    /// in the value, which is a pair of key and value
    InValue,
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

/// Why nothing could be decided: what is wrong, and what to do.
#[derive(Debug)]
struct Trouble(String);

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    fn options(&self) -> seaworthy_check::format::ReadOptions {
        seaworthy_check::format::ReadOptions {
            format: self.format.map(|format| match format {
                FormatName::Jsonl => Format::JsonLines,
                FormatName::Edn => Format::Edn,
                FormatName::Log => Format::Log,
                FormatName::Plain => Format::Plain,
            }),
            nil: self.nil.map(|nil| match nil {
                NilMeaning::Absent => Nil::Absent,
                NilMeaning::Unknown => Nil::Unknown,
            }),
            fail: self.fail.map(|fail| match fail {
                FailMeaning::DidNotHappen => Fail::DidNotHappen,
                FailMeaning::Refused => Fail::Refused,
            }),
            keys: self.keys.map(|keys| match keys {
                KeysPlace::Field => Keys::Field,
                KeysPlace::InValue => Keys::InValue,
            }),
            initial: self.initial.clone(),
        }
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match (&cli.command, &cli.check.file) {
        (Some(Command::Verify(args)), _) => verify::verify(args),
        (Some(Command::Replicas(args)), _) => replicas::check(args),
        (Some(Command::Generate(args)), _) => generate::generate(args),
        (None, Some(file)) => check::check(file, &cli.check),
        (None, None) => Err(Trouble("no history given: seaworthy-check FILE".to_owned())),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(trouble) => {
            if cli.check.json || matches!(&cli.command, Some(Command::Replicas(args)) if args.json) {
                // Whoever reads it may be gone; the exit status tells as much.
                let _ = check::print(&format!("{}\n", serde_json::json!({ "error": trouble.0 })));
            }
            eprintln!("error: {trouble}");
            ExitCode::from(BAD_INPUT)
        }
    }
}
