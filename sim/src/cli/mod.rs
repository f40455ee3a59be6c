//! The command line of the simulator.
//!
//! Exit status: 0 all passed, 1 a property failed (or a fault was inert, or a verdict unknown), 2 bad input.

/// Prints a line. A reader that has closed the pipe, as in `cargo sim list | head`, is not an error of ours.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod audit;
mod bench;
mod mutants;
mod placement;
mod run;
mod source;
mod sweep;
mod why;

use crate::mutants::Planted;
use crate::report::Mode;
use crate::settings::suggestion;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  cargo sim compare                                     run every bundled scenario and write reports/latest/
  cargo sim run scenarios/cp/leader-isolated.toml --seed 7
  cargo sim sweep scenarios/ --seeds 500 --jobs 2
  cargo sim sweep scenarios/ --seeds 500 --mutant vote-twice
  cargo sim replay reports/failures/swarm-17.plan
  cargo sim list

Exit status: 0 all passed, 1 a property failed, 2 bad input.";

#[derive(Parser)]
#[command(name = "sim", bin_name = "cargo sim", version, about = "Runs whole Seaworthy clusters in a simulated storm", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the bundled scenarios over a handful of seeds, check everything, write reports/latest/
    Compare(sweep::Compare),
    /// Run one scenario (or plan) with one seed and say what happened
    Run(run::Run),
    /// Run a saved plan again, event for event
    Replay(run::Replay),
    /// Run scenarios over many seeds; keep the plan of every failure
    Sweep(sweep::Sweep),
    /// Print the plan that a scenario and a seed expand to
    Plan(run::ShowPlan),
    /// List scenarios and planted bugs
    List(run::List),
    /// Hunt every planted bug with the scenario made for it; write reports/mutants/
    Mutants(mutants::Mutants),
    /// Run the same seeds again in fresh processes and compare their traces
    Audit(audit::Audit),
    /// Measure how fast simulated time passes
    Bench(bench::Bench),
    /// Measure how many keys move when a cluster grows or shrinks
    Placement(placement::Placement),
}

/// What most commands share.
#[derive(Args, Clone)]
struct Common {
    /// Plant a bug by name (see `sim list`)
    #[arg(long, value_name = "NAME", value_parser = bug)]
    mutant: Option<Planted>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// How a command ends if it does not pass.
enum Failure {
    /// A property failed; this was already printed.
    Property,
    /// The input is bad; the message contains the position.
    Input(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::Input(message)
    }
}

/// The folder of reports, relative to the root of the repository.
fn reports() -> PathBuf {
    PathBuf::from("reports")
}

fn bug(name: &str) -> Result<Planted, String> {
    let known: Vec<&str> = Planted::all().map(Planted::name).collect();
    let found = Planted::all().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("no bug is called `{name}`{}", suggestion(name, &known)))
}

/// Parses the name of one of the two databases.
fn mode(name: &str) -> Result<Mode, String> {
    [Mode::Cp, Mode::Ap]
        .into_iter()
        .find(|m| m.to_string().eq_ignore_ascii_case(name))
        .ok_or("expected cp or ap".into())
}

/// Parses a number of runs, seeds or processes. Zero is rejected, because it would pass without having shown anything.
fn at_least_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("expected 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("expected a number: {error}")),
    }
}

/// The number of parallel runs: as requested, or one for each processor.
fn jobs(asked: Option<u64>) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, Into::into);
    asked.map_or_else(all, |jobs| usize::try_from(jobs).unwrap_or(usize::MAX))
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    // A run that panics is a verdict. Its message is stored by the run itself instead of being printed in the middle of
    // a table.
    crate::run::quiet_panics();
    let result = match Cli::parse().command {
        Command::Compare(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Sweep(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::List(command) => command.run(),
        Command::Mutants(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Placement(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Property) => ExitCode::FAILURE,
        Err(Failure::Input(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
