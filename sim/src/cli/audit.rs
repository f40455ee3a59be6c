//! `audit`: checks that a run is the same in every process.
//!
//! Each seed runs repeatedly in separate processes, with the system's address randomisation. All trace hashes must
//! agree. If two differ, both runs are repeated with full traces, and the first event that differs is printed.

use super::source::Source;
use super::{Common, Failure, at_least_one, jobs};
use crate::pool;
use crate::report::{Mode, Progress};
use crate::world::trace::first_difference;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

const AUDIT: &str = "\
Examples:
  cargo sim audit
  cargo sim audit scenarios/cp/swarm.toml --seeds 1 --reruns 10000";

#[derive(Args)]
#[command(after_help = AUDIT)]
pub(super) struct Audit {
    /// Files or folders
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Seeds for each scenario
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    seeds: u64,
    /// Processes for each seed
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one)]
    reruns: u64,
    /// Processes at a time [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// A run: its file, its seed and its database.
type Task<'a> = (&'a Path, u64, Mode);

/// The result reported by a process: the hash of its trace, or an error.
type Heard = Result<String, String>;

/// The hashes reported so far, one for each task, and the first mismatch.
#[derive(Default)]
struct Hashes {
    heard: BTreeMap<usize, String>,
    wrong: Option<(usize, Heard)>,
}

impl Hashes {
    /// Records the result of one more run of `task`. Returns whether it agrees with earlier runs.
    fn agrees(&mut self, task: usize, heard: Heard) -> bool {
        let agrees = match &heard {
            Ok(hash) => hash == self.heard.entry(task).or_insert_with(|| hash.clone()),
            Err(_) => false,
        };
        if !agrees {
            self.wrong.get_or_insert((task, heard));
        }
        agrees
    }
}

/// The first difference of two traces: the line number, and the line in each trace.
type Parting = (u64, String, String);

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let sources = Source::load_all(&self.paths)?;
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for seed in 1..=self.seeds {
            for source in sources.iter().filter(|s| !s.is_plan() || seed == 1) {
                tasks.extend(source.modes().iter().map(|mode| (source.path.as_path(), seed, *mode)));
            }
        }
        let reruns = usize::try_from(self.reruns).unwrap_or(usize::MAX);
        let total = tasks.len().saturating_mul(reruns);
        let mut progress = Progress::new(total as u64, self.common.json);
        let mut hashes = Hashes::default();
        pool::each(
            total,
            jobs(self.jobs),
            |n| self.hash(tasks[n % tasks.len()]),
            |n, heard| {
                let agrees = hashes.agrees(n % tasks.len(), heard);
                progress.done(agrees);
                agrees
            },
        );
        progress.finish();
        match hashes.wrong {
            None => {
                self.say_equal(total, tasks.len());
                Ok(())
            }
            Some((task, heard)) => {
                let hash = heard?;
                self.say_unequal(tasks[task], [&hashes.heard[&task], &hash])?;
                Err(Failure::Property)
            }
        }
    }

    fn say_equal(&self, runs: usize, plans: usize) {
        if self.common.json {
            say!("{}", json!({ "runs": runs, "plans": plans, "equal": true }));
        } else {
            let each = self.reruns;
            say!("{runs} runs in processes of their own, {each} each of {plans} plans: all traces equal");
        }
    }

    fn say_unequal(&self, task: Task<'_>, hashes: [&str; 2]) -> Result<(), String> {
        let (file, seed, mode) = (task.0.display().to_string(), task.1, task.2.to_string());
        let parting = self.parting(task)?;
        if self.common.json {
            let difference = parting.map(|(line, a, b)| json!({ "line": line, "traces": [a, b] }));
            let facts = json!({ "equal": false, "file": file, "seed": seed, "mode": mode, "hashes": hashes, "difference": difference });
            say!("{facts}");
            return Ok(());
        }
        say!("{file} with seed {seed}, {mode}: trace {} where another process had {}", hashes[1], hashes[0]);
        match parting {
            Some((line, a, b)) => say!("first difference, in line {line} of the traces:\n  {a}\n  {b}"),
            None => say!("{PAIRS} more pairs of runs with full traces were equal"),
        }
        Ok(())
    }

    fn command(&self, (path, seed, mode): Task<'_>) -> Result<Command, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        let mode = mode.to_string().to_lowercase();
        command.arg("run").arg(path).args(["--seed", &seed.to_string(), "--mode", &mode]);
        if let Some(bug) = self.common.mutant {
            command.arg("--mutant").arg(bug.name());
        }
        Ok(command)
    }

    /// The trace hash of a run in a separate process.
    fn hash(&self, task: Task<'_>) -> Heard {
        let output = self.command(task)?.arg("--hash").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if text.len() == 16 { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    /// Runs pairs with full traces until two traces differ. The traces of that pair are kept.
    fn parting(&self, task: Task<'_>) -> Result<Option<Parting>, String> {
        for pair in 1..=PAIRS {
            let dirs = [1, 2].map(|n| super::reports().join(format!("audit-{pair}-{n}")));
            for dir in &dirs {
                // The run may pass or fail, as long as it leaves a trace.
                self.command(task)?.arg("--trace").arg("--out").arg(dir).output().map_err(|e| e.to_string())?;
            }
            if let Some(parting) = compare(&dirs)? {
                return Ok(Some(parting));
            }
            for dir in &dirs {
                let _ = fs::remove_dir_all(dir);
            }
        }
        Ok(None)
    }
}

/// How many pairs of runs with full traces are tried to reproduce a difference.
const PAIRS: u32 = 20;

/// Finds the first difference between the traces in two folders.
fn compare(dirs: &[PathBuf; 2]) -> Result<Option<Parting>, String> {
    let open = |dir: &PathBuf| {
        let path = dir.join("trace.txt");
        File::open(&path).map(BufReader::new).map_err(|e| format!("{}: {e}", path.display()))
    };
    first_difference(open(&dirs[0])?, open(&dirs[1])?).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_differs_or_is_missing_is_told() {
        let mut hashes = Hashes::default();
        let heard = |hash: &str| Ok(hash.to_owned());
        assert!(hashes.agrees(0, heard("a")) && hashes.agrees(1, heard("b")));
        assert!(hashes.agrees(0, heard("a")) && hashes.agrees(1, heard("b")));
        assert_eq!(hashes.wrong, None);
        assert!(!hashes.agrees(1, heard("a")), "what another task had counts nothing");
        assert!(!hashes.agrees(0, Err("killed".to_owned())), "a run without a hash is no agreement");
        assert_eq!(hashes.wrong, Some((1, heard("a"))), "the first disagreement is the one explained");
        assert_eq!(hashes.heard[&1], "b");
    }

    #[test]
    fn two_traces_are_compared_line_by_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let dirs = ["a", "b"].map(|name| dir.path().join(name));
        let write = |n: usize, trace: &str| {
            fs::create_dir_all(&dirs[n]).and_then(|()| fs::write(dirs[n].join("trace.txt"), trace)).expect("written");
        };
        write(0, "0.1 start n1 times=1\n0.2 send n1\u{2192}n2 frame=1\n");
        assert!(compare(&dirs).expect_err("one is missing").contains("trace.txt"));
        write(1, "0.1 start n1 times=1\n0.2 send n1\u{2192}n2 frame=1\n");
        assert_eq!(compare(&dirs), Ok(None));
        write(1, "0.1 start n1 times=1\n0.2 send n1\u{2192}n3 frame=1\n");
        let parting = compare(&dirs).expect("both can be read").expect("they part");
        assert_eq!(parting.0, 2);
        assert!(parting.1.contains("n2") && parting.2.contains("n3"));
    }
}
