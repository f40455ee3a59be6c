//! `audit`: is a run the same run in every process?
//!
//! Each seed runs again and again in processes of its own, with address randomisation as the system has it. All trace
//! hashes must agree. Where two differ, both runs are made once more with full traces and the first event in which
//! these differ is printed.

use super::source::Source;
use super::{Common, Failure};
use crate::pool;
use crate::report::Progress;
use crate::world::trace::first_difference;
use clap::Args;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

#[derive(Args)]
pub(super) struct Audit {
    /// Files or folders
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
    /// Seeds for each scenario
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Processes for each seed
    #[arg(long, default_value_t = 2)]
    reruns: usize,
    /// Processes at a time [default: one for each processor]
    #[arg(long)]
    jobs: Option<usize>,
    #[command(flatten)]
    common: Common,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let sources = Source::load_all(&self.paths)?;
        let mut tasks: Vec<(&Path, u64)> = Vec::new();
        for seed in 1..=self.seeds {
            tasks.extend(sources.iter().filter(|s| !s.is_plan() || seed == 1).map(|s| (s.path.as_path(), seed)));
        }
        let total = tasks.len() * self.reruns;
        let jobs = self.jobs.unwrap_or_else(|| available_parallelism().map_or(1, Into::into));
        let mut progress = Progress::new(total as u64, self.common.json);
        let mut hashes: BTreeMap<usize, String> = BTreeMap::new();
        let mut wrong = None;
        pool::each(
            total,
            jobs,
            |n| self.hash(tasks[n % tasks.len()]),
            |n, hash| {
                let task = n % tasks.len();
                let agrees = match &hash {
                    Ok(hash) => hash == hashes.entry(task).or_insert_with(|| hash.clone()),
                    Err(_) => false,
                };
                if !agrees {
                    wrong.get_or_insert((task, hash));
                }
                progress.done(agrees);
                agrees
            },
        );
        progress.finish();
        let Some((task, hash)) = wrong else {
            if self.common.json {
                println!("{}", serde_json::json!({ "runs": total, "plans": tasks.len(), "equal": true }));
            } else {
                println!(
                    "{total} runs in processes of their own, {} each of {} plans: all traces equal",
                    self.reruns,
                    tasks.len()
                );
            }
            return Ok(());
        };
        let hash = hash?;
        let (path, seed) = tasks[task];
        let earlier = &hashes[&task];
        println!("{} with seed {seed}: trace {hash} where another process had {earlier}", path.display());
        self.explain(tasks[task])?;
        Err(Failure::Property)
    }

    fn command(&self, (path, seed): (&Path, u64)) -> Result<Command, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.arg("run").arg(path).arg("--seed").arg(seed.to_string());
        if let Some(bug) = self.common.mutant {
            command.arg("--mutant").arg(bug.name());
        }
        Ok(command)
    }

    /// The trace hash of a run in a process of its own.
    fn hash(&self, task: (&Path, u64)) -> Result<String, String> {
        let output = self.command(task)?.arg("--hash").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if text.len() == 16 { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
    }

    /// Runs twice more with full traces and prints where they part.
    fn explain(&self, task: (&Path, u64)) -> Result<(), String> {
        for attempt in 1..=20 {
            let dirs = [1, 2].map(|n| super::reports().join(format!("audit-{attempt}-{n}")));
            for dir in &dirs {
                let status =
                    self.command(task)?.arg("--trace").arg("--out").arg(dir).output().map_err(|e| e.to_string())?;
                drop(status);
            }
            let traces = [0, 1].map(|n| File::open(dirs[n].join("trace.txt")).map(BufReader::new));
            let [Ok(a), Ok(b)] = traces else { return Err("the traces could not be read".to_owned()) };
            if let Some((line, a, b)) = first_difference(a, b).map_err(|e| e.to_string())? {
                println!(
                    "first difference, line {line} of {} and {}:\n  {a}\n  {b}",
                    dirs[0].display(),
                    dirs[1].display()
                );
                return Ok(());
            }
            for dir in &dirs {
                let _ = fs::remove_dir_all(dir);
            }
        }
        println!("twenty more pairs of runs with full traces were equal");
        Ok(())
    }
}
