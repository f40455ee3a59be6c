//! The report on disk: `report.json`, from which all other files can be generated again, `index.html`, and `table.md`
//! for places that do not show HTML.
//!
//! Each file is written under a temporary name and then renamed, so a reader or a crash never sees an incomplete file.
//! Nothing is synced: a report lost in a power failure can be generated again.

use super::origin::Commit;
use super::page;
use super::record::RunRecord;
use super::summary::Summary;
use super::table;
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// All the data of a report.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was run, where and when.
    pub info: RunInfo,
    /// The descriptions of the scenarios.
    pub scenarios: Vec<ScenarioInfo>,
    /// The runs.
    pub runs: Vec<RunRecord>,
}

/// What was run, where and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    /// The command line.
    pub command: String,
    /// The commit it was built from.
    pub commit: Commit,
    /// The compiler version.
    pub toolchain: String,
    /// The date as text, in the caller's format.
    pub date: String,
    /// Wall-clock time from the start of the first run to the end of the last, in nanoseconds.
    pub elapsed_ns: u64,
}

/// The description of a scenario.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScenarioInfo {
    /// Its name, as in the records of runs.
    pub name: String,
    /// Its file, as a user would type it.
    pub file: String,
    /// Its purpose.
    pub about: String,
}

impl Report {
    /// The summary of the runs.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.runs, &self.scenarios)
    }

    /// Reads a report written by [`write_folder`].
    ///
    /// # Errors
    /// The file cannot be read or is not a report. The message contains its name, and the line and column if it is
    /// malformed.
    pub fn read(file: &Path) -> io::Result<Report> {
        let located = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
        serde_json::from_slice(&fs::read(file).map_err(located)?).map_err(|e| located(e.into()))
    }
}

/// Writes `report.json`, `table.md` and `index.html` into `dir`. Creates it if necessary and replaces an earlier
/// report.
///
/// # Errors
/// A folder or file cannot be written; the message contains its name. The previous file with that name is then intact.
pub fn write_folder(dir: &Path, report: &Report) -> io::Result<()> {
    let summary = report.summary();
    fs::create_dir_all(dir).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
    // The runs come last: they are long, and `Report::read` skips the summary, which is derived from them.
    #[derive(Serialize)]
    struct File<'a> {
        info: &'a RunInfo,
        scenarios: &'a [ScenarioInfo],
        summary: &'a Summary,
        runs: &'a [RunRecord],
    }
    let file = File { info: &report.info, scenarios: &report.scenarios, summary: &summary, runs: &report.runs };
    replace(&dir.join("report.json"), &serde_json::to_vec(&file)?)?;
    replace(&dir.join("table.md"), table::document(report, &summary).as_bytes())?;
    replace(&dir.join("index.html"), page::page(report, &summary).as_bytes())
}

/// Replaces the contents of `path` in one step.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    fs::write(&beside, contents).and_then(|()| fs::rename(&beside, path)).map_err(|e| {
        let _ = fs::remove_file(&beside);
        io::Error::new(e.kind(), format!("{}: {e}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_report_is_read_back_and_leaves_nothing_else_behind() {
        let dir = tempfile::tempdir().unwrap();
        let latest = dir.path().join("reports/latest");
        for _ in 0..2 {
            write_folder(&latest, &fixture::report()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&latest).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["index.html", "report.json", "table.md"]);
        assert_eq!(Report::read(&latest.join("report.json")).unwrap(), fixture::report());
    }

    /// To look at the page: `PAGE_OUT=/somewhere cargo test -p seaworthy-sim --lib -- --ignored look`.
    #[test]
    #[ignore]
    fn look() {
        write_folder(Path::new(&std::env::var("PAGE_OUT").unwrap()), &fixture::report()).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("index.html/in the way")).unwrap();
        let error = write_folder(dir.path(), &fixture::report()).unwrap_err().to_string();
        assert!(error.contains("index.html: "), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file is left");
        fs::write(dir.path().join("bad.json"), "{\n\"info\": 3}").unwrap();
        let error = Report::read(&dir.path().join("bad.json")).unwrap_err().to_string();
        assert!(error.contains("bad.json: ") && error.contains("line 2 column 9"), "{error}");
    }
}
