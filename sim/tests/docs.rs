//! The documents show what the code does: transcripts and the committed report are generated again and compared.
//!
//! After an intended change of behaviour, run `UPDATE_DOCS=1 cargo verify --only tests-sim`.

#![cfg(madsim)]

use seaworthy_sim::plan::Plan;
use seaworthy_sim::report::{Mode, Report, write_folder};
use seaworthy_sim::scenario::Scenario;
use seaworthy_sim::{pool, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// Replaces the figures measured by the machine's own clock and the output folder, so that only deterministic output is
/// compared.
fn settled(output: &str, folder: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in output.lines() {
        if line.starts_with("  written to") {
            lines.push(format!("  written to  reports/runs/{folder}"));
        } else if let Some((simulated, rest)) = line.split_once(" s in ") {
            let events = rest.split_once(" ms").map_or(rest, |(_, events)| events);
            lines.push(format!("{simulated} s in … ms{events}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn the_readme_shows_a_real_run() {
    shows_a_real_run("README.md", "sim run scenarios/cp/leader-isolated.toml --seed 7", "leader-isolated-7");
}

#[test]
fn the_story_of_a_hinted_handoff_is_what_happens() {
    let command = "sim run scenarios/ap/hinted-handoff.toml --why Key1";
    shows_a_real_run("docs/hinted-handoff.md", command, "hinted-handoff-1-ap");
}

/// Checks that the transcript of `command` in a document is its current output. Here it writes to a temporary folder.
fn shows_a_real_run(document: &str, command: &str, folder: &str) {
    let path = root().join(document);
    let text = fs::read_to_string(&path).unwrap();
    let opening = format!("<!-- {command} -->\n");
    let (before, rest) = text.split_once(&opening).expect("the document has the transcript's opening mark");
    let (shown, after) = rest.split_once("<!-- end -->").expect("the document has the transcript's end mark");
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(command.split(' ').skip(1))
        .arg("--out")
        .arg(out.path())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told = String::from_utf8(run.stdout).unwrap();
    let real = format!("```console\n$ cargo {command}\n{}\n```\n", settled(&told, folder));
    if updating() {
        fs::write(&path, format!("{before}{opening}{real}<!-- end -->{after}")).unwrap();
    } else {
        assert_eq!(shown, real, "the transcript in {document} is out of date; UPDATE_DOCS=1 renews it");
    }
}

/// Repeats every run of the committed report. On any machine the outcome must be the same, including the trace hash.
#[test]
fn the_committed_report_is_what_the_code_does() {
    let dir = root().join("reports/example");
    if updating() {
        let made = Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(["compare", "--seeds", "1", "--out", "reports/example"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    }
    let report = Report::read(&dir.join("report.json")).unwrap();
    assert!(report.runs.len() > 20, "the report has {} runs", report.runs.len());
    let plans: Vec<Arc<Plan>> = report
        .runs
        .iter()
        .map(|record| {
            let info = report.scenarios.iter().find(|info| info.name == record.outcome.scenario).unwrap();
            let file = root().join(&info.file);
            Arc::new(if info.file.ends_with(".plan") {
                Plan::load(&file).unwrap()
            } else {
                Plan::expand(&Scenario::load(&file).unwrap(), record.outcome.seed)
            })
        })
        .collect();
    let modes = report.runs.iter().map(|record| record.outcome.mode);
    assert!(modes.clone().any(|m| m == Mode::Cp) && modes.clone().any(|m| m == Mode::Ap), "both databases are shown");
    let again = |n: usize| {
        let mode = report.runs[n].outcome.mode;
        let met = run::fault_targets(&plans[n], mode);
        run::run(&plans[n], run::Options { mode, met, ..run::Options::default() })
    };
    pool::each(plans.len(), 2, again, |n, finished| {
        assert_eq!(
            serde_json::to_string_pretty(&finished.record.outcome).unwrap(),
            serde_json::to_string_pretty(&report.runs[n].outcome).unwrap(),
            "reports/example is out of date; UPDATE_DOCS=1 renews it"
        );
        true
    });
    let again = tempfile::tempdir().unwrap();
    write_folder(again.path(), &report).unwrap();
    for name in ["index.html", "table.md"] {
        let made = |dir: &Path| fs::read_to_string(dir.join(name)).unwrap();
        assert!(made(again.path()) == made(&dir), "reports/example/{name} is not what report.json says");
    }
}
