//! `cargo verify`: runs every check that must pass before a commit, in sequence, in one command.
//!
//! A step is one or more programs run from the root of the repository. Its whole output goes to
//! `target/verify/STEP.log` and is printed if the step fails. The last line printed is `N passed, N failed`.
//!
//! Quick steps and those that fail often come first. Two builds are made, each into its own target folder: the real one
//! (`target`, debug) and the simulated one (`target/sim`, `--cfg madsim`: tests in the profile `release`, `cargo sim`
//! itself in the profile `sim`, which takes longer to build and runs faster). `tests` builds the database with planted
//! bugs possible (the feature `mutants`, which the simulator enables). `tests-shipped` builds it alone, with the
//! features users get; this recompiles it and the few dependencies whose features the simulator extends.

mod steps;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steps::{Step, all};

const USAGE: &str = "\
Runs every check that must pass before a commit.

Usage: cargo verify [--only STEP]... [--keep-going] [--list]

  --only STEP    run this step only; may be repeated
  --keep-going   run the remaining steps after one has failed
  --list         print the steps and their commands, and run nothing

Examples:
  cargo verify
  cargo verify --only fmt --only tests

Exit status: 0 all passed, 1 a step failed, 2 bad command line.";

/// The command line options.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    only: Vec<String>,
    keep_going: bool,
    list: bool,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    NotRun,
}

fn main() -> ExitCode {
    let root = root();
    let steps = all(&root);
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = steps.iter().map(|s| s.name).collect();
    let options = match parse(&args, &names) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<&Step> =
        steps.iter().filter(|s| options.only.is_empty() || options.only.iter().any(|o| o == s.name)).collect();
    if options.list {
        for step in chosen {
            println!("{:<14} {}", step.name, step.shown());
        }
        return ExitCode::SUCCESS;
    }
    let ends = run_all(&root, &chosen, options.keep_going);
    println!("\n{}", table(&chosen, &ends));
    let failed = ends.iter().filter(|(end, _)| *end == End::Failed).count();
    println!("{}", tally(&ends));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the root of the repository, two folders above this package.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn parse(args: &[String], names: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--keep-going" => options.keep_going = true,
            "--list" => options.list = true,
            "--only" => {
                let step = args.next().ok_or("--only needs the name of a step")?;
                if !names.contains(&step.as_str()) {
                    return Err(format!("no step is called {step:?}; there are: {}", names.join(", ")));
                }
                options.only.push(step.clone());
            }
            other => return Err(format!("unexpected argument {other:?}")),
        }
    }
    Ok(options)
}

/// Runs the steps in order; after a failure, runs the rest only if `keep_going`.
fn run_all(root: &Path, steps: &[&Step], keep_going: bool) -> Vec<(End, Duration)> {
    let mut ends: Vec<(End, Duration)> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        if !keep_going && ends.iter().any(|(end, _)| *end == End::Failed) {
            ends.push((End::NotRun, Duration::ZERO));
            continue;
        }
        println!("[{}/{}] {}: {}", i + 1, steps.len(), step.name, step.shown());
        let start = Instant::now();
        let result = run(root, step);
        let took = start.elapsed();
        let end = match result {
            Ok(()) => {
                println!("      passed in {}", seconds(took));
                End::Passed
            }
            Err(output) => {
                println!("{}\n      {} FAILED after {}", output.trim_end(), step.name, seconds(took));
                End::Failed
            }
        };
        ends.push((end, took));
    }
    ends
}

/// Runs one step. On failure, returns everything its programs printed.
fn run(root: &Path, step: &Step) -> Result<(), String> {
    let path = root.join("target/verify").join(format!("{}.log", step.name));
    let located = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(root.join("target/verify")).map_err(located)?;
    let log = File::create(&path).map_err(located)?;
    for invocation in &step.commands {
        let out = log.try_clone().map_err(located)?;
        let err = log.try_clone().map_err(located)?;
        let status = invocation.command(root).stdout(out).stderr(err).status();
        let problem = match status {
            Ok(status) if status.success() => continue,
            Ok(status) => status.to_string(),
            Err(e) => format!("cannot be started: {e}"),
        };
        let output = fs::read(&path).map_err(located)?;
        return Err(format!("{}{}\n{problem}", String::from_utf8_lossy(&output), invocation.shown()));
    }
    Ok(())
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

fn table(steps: &[&Step], ends: &[(End, Duration)]) -> String {
    let width = steps.iter().map(|s| s.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (step, (end, took)) in steps.iter().zip(ends) {
        let (end, took) = match end {
            End::Passed => ("passed", seconds(*took)),
            End::Failed => ("FAILED", seconds(*took)),
            End::NotRun => ("not run", String::new()),
        };
        text += format!("{:<width$}  {end:<7}  {took:>9}", step.name).trim_end();
        text.push('\n');
    }
    let total = ends.iter().map(|(_, took)| *took).sum();
    text + &format!("{:<width$}  {:<7}  {:>9}\n", "total", "", seconds(total))
}

/// Returns the last line to print.
fn tally(ends: &[(End, Duration)]) -> String {
    let count = |wanted| ends.iter().filter(|(end, _)| *end == wanted).count();
    format!("{} passed, {} failed", count(End::Passed), count(End::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use steps::Invocation;

    fn step(name: &'static str, script: &str) -> Step {
        Step { name, commands: vec![Invocation::of("sh", &["-c", script])] }
    }

    fn ends(scripts: &[&str], keep_going: bool) -> Vec<End> {
        let dir = std::env::temp_dir().join(format!("seaworthy-verify-{}-{keep_going}", std::process::id()));
        let steps: Vec<Step> = scripts.iter().map(|s| step("test", s)).collect();
        let ends = run_all(&dir, &steps.iter().collect::<Vec<_>>(), keep_going);
        fs::remove_dir_all(dir).unwrap();
        ends.into_iter().map(|(end, _)| end).collect()
    }

    #[test]
    fn the_first_failure_stops_unless_told_otherwise() {
        let scripts = ["true", "exit 3", "true"];
        assert_eq!(ends(&scripts, false), [End::Passed, End::Failed, End::NotRun]);
        assert_eq!(ends(&scripts, true), [End::Passed, End::Failed, End::Passed]);
    }

    #[test]
    fn a_failure_shows_what_was_printed_and_how_it_ended() {
        let dir = std::env::temp_dir().join(format!("seaworthy-verify-{}", std::process::id()));
        let error = run(&dir, &step("test", "echo out; echo err >&2; exit 3")).unwrap_err();
        assert!(error.starts_with("out\nerr\n") && error.ends_with("exit status: 3"), "{error}");
        let missing = Step { name: "test", commands: vec![Invocation::of("no-such-program", &[])] };
        assert!(run(&dir, &missing).unwrap_err().contains("cannot be started"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_bad_command_line_is_refused() {
        let parse = |args: &[&str]| parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), &["fmt", "docs"]);
        let only = Options { only: vec!["fmt".into()], keep_going: true, list: false };
        assert_eq!(parse(&["--only", "fmt", "--keep-going"]), Ok(only));
        assert_eq!(parse(&["--only", "x"]).unwrap_err(), "no step is called \"x\"; there are: fmt, docs");
        assert!(parse(&["--only"]).is_err());
        assert_eq!(parse(&["fmt"]).unwrap_err(), "unexpected argument \"fmt\"");
    }

    #[test]
    fn the_table_ends_in_the_total() {
        let steps = [step("a", ""), step("bcd", "")];
        let ends = [(End::Failed, Duration::from_millis(1500)), (End::NotRun, Duration::ZERO)];
        let table = table(&steps.iter().collect::<Vec<_>>(), &ends);
        assert_eq!(table, "a    FAILED       1.5 s\nbcd  not run\ntotal               1.5 s\n");
        assert_eq!(tally(&ends), "0 passed, 1 failed");
    }
}
