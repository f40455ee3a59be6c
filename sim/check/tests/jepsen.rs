//! Jepsen's own analyses: histories with known verdicts, comparison with plain counting, and errors.

#[path = "jepsen/bank.rs"]
mod bank;
mod common;
#[path = "jepsen/long_fork.rs"]
mod long_fork;
#[path = "jepsen/read_init.rs"]
mod read_init;
#[path = "jepsen/set_full.rs"]
mod set_full;
#[path = "jepsen/total_queue.rs"]
mod total_queue;

use seaworthy_check::format::{ReadOptions, read};
use seaworthy_check::jepsen::{Analysis, Terms};
use seaworthy_check::{Amount, Evidence, History, Report, Verdict};
use std::fmt::Write;

/// A history in Jepsen's notation, one event per line: process, type, function, value.
fn edn(lines: &str) -> History {
    let mut text = String::new();
    for (n, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or("nil");
        let (process, kind, f, value) = (word(), word(), word(), word());
        let time = 1_000_000 * n;
        writeln!(text, "{{:process {process}, :type :{kind}, :f :{f}, :value {value}, :time {time}}}").unwrap();
    }
    text_of(&text)
}

fn text_of(text: &str) -> History {
    read(text.as_bytes(), &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}\n{text}")).history
}

fn judged(analysis: Analysis, history: &History) -> Report {
    analysis.check(history, &Terms::default()).unwrap_or_else(|misfit| panic!("{misfit:?}"))
}

/// Returns the verdict on the only part: the anomaly of a refutation, `valid` or `unknown`.
fn verdict(analysis: Analysis, history: &History) -> String {
    match &judged(analysis, history).parts[0].verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(why) => format!("unknown: {why}"),
        Verdict::Invalid(evidence) => evidence.anomaly.clone(),
    }
}

fn evidence(report: &Report) -> &Evidence {
    report.violations().next().unwrap_or_else(|| panic!("nothing was found: {report}"))
}

/// Returns a figure of the only part.
fn figure(report: &Report, name: &str) -> Amount {
    let figure = report.parts[0].figures.iter().find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no figure {name} in {report:?}")).amount.clone()
}

fn elements(all: &[&str]) -> Amount {
    Amount::Elements(all.iter().map(|&element| element.to_owned()).collect())
}

/// Returns the error of reading a history, with its position.
fn refused(text: &str) -> String {
    read(text.as_bytes(), &ReadOptions::default()).err().map_or_else(String::new, |error| error.to_string())
}

/// Returns the error of an analysis, with the line.
fn misfit(analysis: Analysis, history: &History) -> String {
    let misfit = analysis.check(history, &Terms::default()).expect_err("it is refused");
    let line = history.line(history.operation(misfit.op).called);
    format!("{}: {}", line.map_or(0, |line| line), misfit.what)
}
