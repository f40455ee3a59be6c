//! A summary as aligned text for a terminal and as markdown for a README.
//!
//! Both are made from the same cells. With one mode the columns stand alone; with several, each mode brings its own
//! group of columns under its name.

use super::record::{Mode, Share};
use super::summary::{Group, ModeSummary, Summary, Verdicts};
use std::io::IsTerminal;

/// Whether text may be coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Never.
    Plain,
    /// With ANSI escapes.
    Colour,
}

impl Style {
    /// What suits standard output: colour on a terminal, unless `NO_COLOR` is set to something (no-color.org).
    #[must_use]
    pub fn of_stdout() -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if std::io::stdout().is_terminal() && !refused { Style::Colour } else { Style::Plain }
    }

    fn paint(self, text: String, tone: Tone) -> String {
        match (self, tone) {
            (Style::Plain, _) | (_, Tone::None) => text,
            (Style::Colour, Tone::Good) => format!("\x1b[32m{text}\x1b[0m"),
            (Style::Colour, Tone::Doubt) => format!("\x1b[33m{text}\x1b[0m"),
            (Style::Colour, Tone::Bad) => format!("\x1b[1;31m{text}\x1b[0m"),
            (Style::Colour, Tone::Head) => format!("\x1b[1m{text}\x1b[0m"),
        }
    }
}

/// What a text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    None,
    Good,
    Doubt,
    Bad,
    Head,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, tone: Tone::None }
    }
}

/// Titles of the columns that every mode has, and whether they are numbers. "storm ok" and "calm ok" are the
/// availability of each phase ([`super::Availability`]).
pub(super) const MODE_COLUMNS: [(&str, bool); 10] = [
    ("seeds", true),
    ("operations", true),
    ("faults fired", true),
    ("verdict", false),
    ("storm ok", true),
    ("calm ok", true),
    ("p50", true),
    ("p99", true),
    ("simulated", true),
    ("wall", true),
];

/// The cells of one mode, in the order of [`MODE_COLUMNS`].
pub(super) fn mode_cells(m: &ModeSummary) -> [Cell; MODE_COLUMNS.len()] {
    [
        m.seeds.to_string().into(),
        grouped(m.ops.total()).into(),
        grouped(m.fired()).into(),
        verdict(m.verdicts),
        percent(m.availability.storm).into(),
        percent(m.availability.calm).into(),
        duration(m.latency.permille(500)).into(),
        duration(m.latency.permille(990)).into(),
        duration(Some(m.sim_ns)).into(),
        duration(Some(m.wall_ns)).into(),
    ]
}

/// The scenario's name, with the planted bug if there is one.
pub(super) fn label(group: &Group) -> String {
    match &group.mutant {
        None => group.scenario.clone(),
        Some(mutant) => format!("{} + {mutant}", group.scenario),
    }
}

/// The worst that happened, how often.
pub(super) fn verdict(v: Verdicts) -> Cell {
    let of = |n: u64, what: &str| if v.total() == n { what.to_owned() } else { format!("{n}/{} {what}", v.total()) };
    let (text, tone) = match v {
        Verdicts { fail: n @ 1.., .. } => (of(n, "FAIL"), Tone::Bad),
        Verdicts { unknown: n @ 1.., .. } => (of(n, "unknown"), Tone::Doubt),
        Verdicts { inert: n @ 1.., .. } => (of(n, "inert"), Tone::Doubt),
        Verdicts { pass: 1.., .. } => ("pass".into(), Tone::Good),
        _ => ("no runs".into(), Tone::Doubt),
    };
    Cell { text, tone }
}

/// A number with its thousands apart.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent, rounded down so that only all of it is 100; a dash when nothing was asked.
pub(super) fn percent(share: Share) -> String {
    if share.of == 0 {
        return "–".into();
    }
    let basis_points = u128::from(share.ok) * 10_000 / u128::from(share.of);
    match basis_points {
        10_000 => "100 %".into(),
        b => format!("{}.{:02} %", b / 100, b % 100),
    }
}

/// Nanoseconds with three significant digits in a fitting unit; a dash for none.
pub(super) fn duration(ns: Option<u64>) -> String {
    let Some(ns) = ns else { return "–".into() };
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => (ns as f64 / 1e9, "s"),
        120_000_000_000..7_200_000_000_000 => (ns as f64 / 60e9, "min"),
        _ => (ns as f64 / 3600e9, "h"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2} {unit}"),
        v if v < 99.95 => format!("{v:.1} {unit}"),
        v => format!("{v:.0} {unit}"),
    }
}

/// All rows, with dashes where a group was not run in a mode.
fn rows(summary: &Summary, modes: &[Mode]) -> Vec<Vec<Cell>> {
    let row = |group: &Group| {
        let mut row = vec![Cell::from(label(group))];
        for mode in modes {
            match group.modes.get(mode) {
                Some(m) => row.extend(mode_cells(m)),
                None => row.extend(MODE_COLUMNS.map(|_| Cell::from("–".to_owned()))),
            }
        }
        row
    };
    summary.groups.iter().map(row).collect()
}

/// Titles of all columns, and whether they are numbers.
fn columns(modes: &[Mode]) -> Vec<(&'static str, bool)> {
    let mut columns = vec![("scenario", false)];
    modes.iter().for_each(|_| columns.extend(MODE_COLUMNS));
    columns
}

/// `text` in `width` columns. Characters are taken to be one column wide.
fn pad(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

/// The summary as a table for a terminal, ending in a line that counts the runs.
#[must_use]
pub fn table(summary: &Summary, style: Style) -> String {
    let modes = summary.modes();
    let (columns, rows) = (columns(&modes), rows(summary, &modes));
    let width = |i: usize| {
        let cells = rows.iter().map(|r| r[i].text.chars().count());
        cells.chain([columns[i].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();

    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    };
    if modes.len() > 1 {
        let group = |i: usize| widths[1 + i * MODE_COLUMNS.len()..][..MODE_COLUMNS.len()].iter().sum::<usize>();
        let gaps = 2 * (MODE_COLUMNS.len() - 1);
        let names = modes.iter().enumerate().map(|(i, mode)| format!("{:─^1$}", format!(" {mode} "), group(i) + gaps));
        line(&mut std::iter::once(" ".repeat(widths[0])).chain(names));
    }
    line(&mut columns.iter().zip(&widths).map(|(&(t, right), &w)| style.paint(pad(t, w, right), Tone::Head)));
    line(&mut widths.iter().map(|&w| "─".repeat(w)));
    for row in &rows {
        let cells = row.iter().zip(&columns).zip(&widths);
        line(&mut cells.map(|((c, &(_, right)), &w)| style.paint(pad(&c.text, w, right), c.tone)));
    }
    text.push('\n');
    let (count, tone) = tally(summary.verdicts());
    text += &style.paint(count, tone);
    text.push('\n');
    text
}

/// How many runs there were and how they ended, in words.
pub(super) fn tally(v: Verdicts) -> (String, Tone) {
    let runs = if v.total() == 1 { "1 run".into() } else { format!("{} runs", grouped(v.total())) };
    if v.passed() {
        return (format!("{runs}, all passed"), Tone::Good);
    }
    let mut text = format!("{runs}: {} passed", grouped(v.pass));
    for (n, what) in [(v.fail, "failed"), (v.unknown, "undecided"), (v.inert, "inert")] {
        if n > 0 {
            text += &format!(", {} {what}", grouped(n));
        }
    }
    (text, if v.fail > 0 { Tone::Bad } else { Tone::Doubt })
}

/// The summary as a markdown table.
#[must_use]
pub fn markdown(summary: &Summary) -> String {
    let modes = summary.modes();
    let several = modes.len() > 1;
    let titles = columns(&modes).into_iter().enumerate().map(|(i, (title, _))| match i.checked_sub(1) {
        Some(i) if several => format!("{} {title}", modes[i / MODE_COLUMNS.len()]),
        _ => title.to_owned(),
    });
    let rules = columns(&modes).into_iter().map(|(_, right)| if right { "--:" } else { ":--" }.to_owned());
    let mut text = markdown_row(titles) + &markdown_row(rules);
    for row in rows(summary, &modes) {
        text += &markdown_row(row.into_iter().map(|c| escape(&c.text)));
    }
    text
}

/// `text` so that markdown shows it as it is, as far as names of scenarios go.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('&', "&amp;").replace('<', "&lt;")
}

fn markdown_row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn summary() -> Summary {
        Summary::of(&fixture::runs(), &fixture::scenarios())
    }

    /// The same storms once more, in the other mode.
    fn side_by_side() -> Summary {
        let mut runs = fixture::runs();
        for mut run in fixture::runs().drain(..8) {
            run.outcome.mode = Mode::Ap;
            runs.push(run);
        }
        Summary::of(&runs, &fixture::scenarios())
    }

    #[test]
    fn a_table_for_the_terminal() {
        insta::assert_snapshot!(table(&summary(), Style::Plain));
    }

    #[test]
    fn two_modes_side_by_side() {
        insta::assert_snapshot!(table(&side_by_side(), Style::Plain));
    }

    #[test]
    fn markdown_for_a_readme() {
        insta::assert_snapshot!(markdown(&summary()));
        let titles = markdown(&side_by_side());
        assert!(titles.starts_with("| scenario | CP seeds |") && titles.contains("| AP seeds |"), "{titles}");
        let pipes = Summary::of(&[fixture::run("a|b", 1)], &[]);
        assert!(markdown(&pipes).contains("| a\\|b |"));
    }

    #[test]
    fn colour_changes_no_character_that_is_seen() {
        let coloured = table(&summary(), Style::Colour);
        assert!(coloured.contains("\x1b[1;31m1/4 FAIL"), "a failure is red");
        let mut seen = String::new();
        for (i, part) in coloured.split('\x1b').enumerate() {
            seen += if i == 0 { part } else { part.split_once('m').unwrap().1 };
        }
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&seen), trimmed(&table(&summary(), Style::Plain)));
    }

    #[test]
    fn numbers_are_rounded_against_us() {
        assert_eq!(percent(Share { ok: 99_999, of: 100_000 }), "99.99 %");
        assert_eq!(percent(Share { ok: 3, of: 3 }), "100 %");
        assert_eq!(percent(Share::default()), "–");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
        for (ns, text) in [
            (999, "999 ns"),
            (1_500, "1.50 µs"),
            (99_940, "99.9 µs"),
            (123_456_789, "123 ms"),
            (30_000_000_000, "30.0 s"),
            (600_000_000_000, "10.0 min"),
            (7_200_000_000_000, "2.00 h"),
        ] {
            assert_eq!(duration(Some(ns)), text);
        }
    }

    #[test]
    fn the_last_line_counts_runs() {
        let tally = |v| tally(v).0;
        assert_eq!(tally(Verdicts { pass: 1, ..Verdicts::default() }), "1 run, all passed");
        let mixed = Verdicts { pass: 1996, fail: 2, inert: 1, unknown: 1 };
        assert_eq!(tally(mixed), "2,000 runs: 1,996 passed, 2 failed, 1 undecided, 1 inert");
        assert_eq!(tally(Verdicts::default()), "0 runs: 0 passed");
    }
}
