//! What can be run: scenarios (one plan per seed) and plans (one run each), from files and folders.

use crate::plan::Plan;
use crate::report::{Mode, ScenarioInfo};
use crate::scenario::{NIGHTLY, Scenario};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file to run.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Scenario(Arc<Scenario>),
    Plan(Arc<Plan>),
}

impl Source {
    /// Reads a scenario (`.toml`) or a plan (`.plan`).
    pub(super) fn load(path: &Path) -> Result<Source, String> {
        let what = match path.extension().and_then(|e| e.to_str()) {
            Some("toml") => What::Scenario(Arc::new(Scenario::load(path).map_err(|e| e.to_string())?)),
            Some("plan") => What::Plan(Arc::new(Plan::load(path).map_err(|e| e.to_string())?)),
            _ if !path.exists() => return Err(format!("{}: no such file or folder", path.display())),
            _ => return Err(format!("{}: expected a scenario (.toml), a plan (.plan) or a folder", path.display())),
        };
        Ok(Source { path: path.to_owned(), what })
    }

    /// Reads all sources below the given files and folders, in the order of their names.
    pub(super) fn load_all(paths: &[PathBuf]) -> Result<Vec<Source>, String> {
        let mut sources = Vec::new();
        for path in paths {
            if path.is_dir() {
                let mut files = Vec::new();
                walk(path, &mut files)?;
                for file in files {
                    sources.push(Source::load(&file)?);
                }
            } else {
                sources.push(Source::load(path)?);
            }
        }
        if sources.is_empty() {
            let named: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
            return Err(format!("{}: no scenario (.toml) or plan (.plan) in there", named.join(", ")));
        }
        Ok(sources)
    }

    /// The plan for a seed. For a plan the seed is ignored.
    pub(super) fn plan(&self, seed: u64) -> Arc<Plan> {
        match &self.what {
            What::Scenario(scenario) => Arc::new(Plan::expand(scenario, seed)),
            What::Plan(plan) => plan.clone(),
        }
    }

    pub(super) fn info(&self) -> ScenarioInfo {
        let (name, about) = match &self.what {
            What::Scenario(scenario) => (scenario.name.clone(), scenario.description.clone()),
            What::Plan(plan) => (plan.scenario.clone(), told(&self.path).unwrap_or_else(|| kept(plan))),
        };
        ScenarioInfo { name, file: self.path.display().to_string(), about }
    }

    /// The databases it suits, CP first.
    pub(super) fn modes(&self) -> &'static [Mode] {
        match &self.what {
            What::Scenario(scenario) => scenario.bucket.mode.modes(),
            What::Plan(plan) => plan.bucket.mode.modes(),
        }
    }

    pub(super) fn is_plan(&self) -> bool {
        matches!(self.what, What::Plan(_))
    }
}

/// The description of a plan: the comment at its top.
fn told(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    Some(lines.join(" ")).filter(|about| !about.is_empty())
}

fn kept(plan: &Plan) -> String {
    format!("A kept plan of {} with seed {}.", plan.scenario, plan.seed)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let located = |e: std::io::Error| format!("{}: {e}", dir.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(located)? {
        paths.push(entry.map_err(located)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            // Scenarios that take all night run only when named explicitly.
            if path.file_name().is_none_or(|name| name != NIGHTLY) {
                walk(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "toml" || e == "plan") {
            files.push(path);
        }
    }
    Ok(())
}
