//! Scenarios: descriptions of storms, in TOML. docs/scenarios.md is the manual.
//!
//! A [`Scenario`] describes what is possible. A seed turns it into one [`Plan`](crate::plan::Plan). All errors in a
//! scenario are found here, before anything runs. A [`Problem`] contains the position (file, line, column), what was
//! found and what was expected.

mod expand;
mod ops;
mod script;
mod spec;
mod swarm;

pub use spec::{Act, FaultSpec, Lasts, Schedule};

use crate::plan::Event;
use crate::settings::{
    Bucket, Cluster, Cpu, Disk, Expect, Fields, Network, Problem, Source, Times, Workload, suggestion,
};
use std::path::{Path, PathBuf};
use swarm::catalogue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The description of a storm.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Its name: letters, digits and dashes.
    pub name: String,
    /// What it tests and why that is hard; one paragraph.
    pub description: String,
    /// The servers.
    pub cluster: Cluster,
    /// The network without faults.
    pub network: Network,
    /// The disks without faults.
    pub disk: Disk,
    /// The servers' processors.
    pub cpu: Cpu,
    /// How quorums store the keys, in an AP run.
    pub bucket: Bucket,
    /// The operations of clients.
    pub workload: Workload,
    /// The phases of a run.
    pub time: Times,
    /// What a run must show.
    pub expect: Expect,
    /// The faults.
    pub faults: Vec<FaultSpec>,
    /// Operations at exact times, in addition to random ones.
    pub script: Vec<Event>,
}

/// The folder of scenarios that last for hours. It is skipped when a folder above it is read.
pub const NIGHTLY: &str = "nightly";

const PARTS: [&str; 12] =
    ["name", "description", "cluster", "network", "disk", "cpu", "bucket", "workload", "time", "expect", "fault", "op"];

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// The file cannot be read, or its content is wrong.
    pub fn load(path: &Path) -> Result<Scenario, Problem> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
        Scenario::parse(&file, &text)
    }

    /// Reads every `.toml` file under `dir`, at any depth, in the order of their paths. Folders called [`NIGHTLY`]
    /// below it are skipped.
    ///
    /// # Errors
    /// As [`Scenario::load`]; also if two scenarios have the same name, or there are none.
    pub fn load_dir(dir: &Path) -> Result<Vec<(PathBuf, Scenario)>, Problem> {
        let mut paths = Vec::new();
        collect(dir, &mut paths)?;
        let mut scenarios: Vec<(PathBuf, Scenario)> = Vec::new();
        for path in paths {
            let scenario = Scenario::load(&path)?;
            if let Some((other, _)) = scenarios.iter().find(|(_, s)| s.name == scenario.name) {
                let what = format!("the name `{}` is that of {} too", scenario.name, other.display());
                return Err(Problem { file: path.display().to_string(), line: 0, column: 0, what });
            }
            scenarios.push((path, scenario));
        }
        match scenarios.is_empty() {
            true => {
                let what = "no scenario in here; expected *.toml files".into();
                Err(Problem { file: dir.display().to_string(), line: 0, column: 0, what })
            }
            false => Ok(scenarios),
        }
    }

    /// Reads a scenario. `file` is its name in error messages.
    ///
    /// # Errors
    /// The first problem found.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, Problem> {
        let source = Source { file, text };
        let document = parse_toml(source)?;
        for (key, value) in &document {
            let name = key.get_ref().as_ref();
            if !PARTS.contains(&name) {
                let what = format!("a scenario has no part `{name}`{}", suggestion(name, &PARTS));
                return Err(source.problem(key.span().start, what));
            }
            if PARTS[2..10].contains(&name) && !matches!(value.get_ref(), DeValue::Table(_)) {
                return Err(source.problem(value.span().start, format!("expected a table [{name}]")));
            }
        }
        let name = read_text(source, &document, "name")?;
        let cluster = section(source, &document, "cluster", |f| {
            let cluster = Cluster::read(f, Cluster::default())?;
            cluster.check(f).map(|()| cluster)
        })?;
        let network = section(source, &document, "network", |f| {
            let network = Network::read(f, Network::default())?;
            network.check(f).map(|()| network)
        })?;
        let workload = section(source, &document, "workload", |f| {
            let workload = Workload::read(f, Workload::default())?;
            workload.check(f).map(|()| workload)
        })?;
        let time = section(source, &document, "time", |f| {
            let time = Times::read(f, Times::default())?;
            time.check(f, &cluster, &workload).map(|()| time)
        })?;
        let script = read_script(source, &document, (&cluster, &workload, &time))?;
        if workload.rate == 0 && workload.think.is_none() && script.is_empty() {
            return Err(source.problem(0, "the workload's rate is 0 and there is no [[op]]: nothing would be asked"));
        }
        let faults = read_faults(source, &document, (&cluster, &time), Some(&network))?;
        Ok(Scenario {
            name,
            description: read_text(source, &document, "description")?,
            network,
            disk: section(source, &document, "disk", |f| Disk::read(f, Disk::default()))?,
            cpu: section(source, &document, "cpu", |f| Cpu::read(f, Cpu::default()))?,
            bucket: section(source, &document, "bucket", |f| {
                let bucket = Bucket::read(f, Bucket::default())?;
                bucket.check(f).map(|()| bucket)
            })?,
            expect: section(source, &document, "expect", |f| Expect::read(f, Expect::default()))?,
            faults,
            script,
            cluster,
            workload,
            time,
        })
    }
}

/// Reads the faults of a text that contains nothing else: the catalogue of a swarm.
pub(crate) fn parse_catalogue(source: Source<'_>, cluster: &Cluster, time: &Times) -> Result<Vec<FaultSpec>, Problem> {
    read_faults(source, &parse_toml(source)?, (cluster, time), None)
}

fn parse_toml(source: Source<'_>) -> Result<DeTable<'_>, Problem> {
    DeTable::parse(source.text).map(Spanned::into_inner).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        source.problem(at, format!("not TOML: {}", error.message().replace('\n', ", ")))
    })
}

/// Reads one section. A missing section has its defaults.
fn section<T>(
    source: Source<'_>,
    document: &DeTable<'_>,
    name: &str,
    read: impl FnOnce(&mut Fields<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let (place, empty) = (format!("[{name}]"), DeTable::new());
    let (start, table) = match document.get(name) {
        Some(value) => (value.span().start, value.get_ref().as_table().unwrap_or(&empty)),
        None => (0, &empty),
    };
    let mut fields = Fields::of_table(source, &place, start, table)?;
    let section = read(&mut fields)?;
    fields.finish()?;
    Ok(section)
}

fn read_text(source: Source<'_>, document: &DeTable<'_>, part: &str) -> Result<String, Problem> {
    let Some(value) = document.get(part) else {
        return Err(source.problem(0, format!("the scenario lacks `{part}`, expected a text")));
    };
    let text = match value.get_ref() {
        DeValue::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || part == "name" && !text.chars().all(plain) {
        let expected = if part == "name" { "letters, digits and dashes in quotes" } else { "a text" };
        return Err(source.problem(value.span().start, format!("`{part}`: expected {expected}")));
    }
    Ok(text)
}

/// Reads the faults of a scenario. `network` is `None` for a swarm's catalogue: the seed chooses the kind of
/// connections.
fn read_faults(
    source: Source<'_>,
    document: &DeTable<'_>,
    (cluster, time): (&Cluster, &Times),
    network: Option<&Network>,
) -> Result<Vec<FaultSpec>, Problem> {
    let Some(list) = document.get("fault") else { return Ok(Vec::new()) };
    let DeValue::Array(list) = list.get_ref() else {
        return Err(source.problem(list.span().start, "expected [[fault]], with two brackets"));
    };
    let mut faults: Vec<FaultSpec> = Vec::new();
    for item in list {
        let start = item.span().start;
        let DeValue::Table(table) = item.get_ref() else {
            return Err(source.problem(start, "expected [[fault]]"));
        };
        let mut fields = Fields::of_table(source, "[[fault]]", start, table)?;
        let is_swarm = network.is_some() && table.get("kind").and_then(|k| k.get_ref().as_str()) == Some("swarm");
        let swarm = match is_swarm {
            true => Some(catalogue(cluster, time).map_err(|p| {
                let what = format!("this storm is too short for a swarm: {}", p.what);
                fields.problem("kind", what)
            })?),
            false => None,
        };
        let lost = time.lost_nodes.high + faults.iter().filter_map(|f| f.lost(cluster)).sum::<u32>();
        let context = spec::Context { cluster, network, time, earlier: &faults, lost, swarm: swarm.as_deref() };
        let fault = FaultSpec::read(&mut fields, &context)?;
        fields.finish()?;
        faults.push(fault);
    }
    Ok(faults)
}

fn read_script(
    source: Source<'_>,
    document: &DeTable<'_>,
    within: (&Cluster, &Workload, &Times),
) -> Result<Vec<Event>, Problem> {
    let Some(list) = document.get("op") else { return Ok(Vec::new()) };
    let DeValue::Array(list) = list.get_ref() else {
        return Err(source.problem(list.span().start, "expected [[op]], with two brackets"));
    };
    let mut script = Vec::new();
    for item in list {
        let start = item.span().start;
        let DeValue::Table(table) = item.get_ref() else {
            return Err(source.problem(start, "expected [[op]]"));
        };
        let mut fields = Fields::of_table(source, "[[op]]", start, table)?;
        script.push(script::read(&mut fields, within, &script)?);
        fields.finish()?;
    }
    Ok(script)
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries: Vec<PathBuf> = entries.map_err(|e| unreadable(dir, &e))?.iter().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != NIGHTLY) {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|e| e == "toml") {
            paths.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem { file: path.display().to_string(), line: 0, column: 0, what: format!("cannot be read: {error}") }
}

#[cfg(test)]
mod tests;
