//! A summary as aligned text for a terminal and as markdown for a README, both from the same [`cells`](super). There is
//! one line for each scenario and mode, AP below CP.

use super::cells::{COLUMNS, Cell, LEGEND, Tone, duration, grouped, lines};
use super::folder::Report;
use super::summary::{Summary, Verdicts};
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
    /// The style for standard output: colour on a terminal, unless `NO_COLOR` is set to a nonempty value
    /// (no-color.org).
    #[must_use]
    pub fn of_stdout() -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if std::io::stdout().is_terminal() && !refused { Style::Colour } else { Style::Plain }
    }

    fn paint(self, text: String, tone: Tone) -> String {
        match (self, tone) {
            (Style::Plain, _) | (_, Tone::None) => text,
            (Style::Colour, Tone::Note) => format!("\x1b[36m{text}\x1b[0m"),
            (Style::Colour, Tone::Good) => format!("\x1b[32m{text}\x1b[0m"),
            (Style::Colour, Tone::Doubt) => format!("\x1b[33m{text}\x1b[0m"),
            (Style::Colour, Tone::Bad) => format!("\x1b[1;31m{text}\x1b[0m"),
            (Style::Colour, Tone::Head) => format!("\x1b[1m{text}\x1b[0m"),
        }
    }
}

/// All rows. A scenario's name is only in its first row.
fn rows(summary: &Summary) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for (name, modes) in lines(summary) {
        for (i, cells) in modes.into_iter().enumerate() {
            let name = if i == 0 { name.clone() } else { String::new() };
            rows.push(std::iter::once(Cell::from(name)).chain(cells).collect());
        }
    }
    rows
}

fn columns() -> impl Iterator<Item = (&'static str, bool)> {
    std::iter::once(("scenario", false)).chain(COLUMNS)
}

fn pad(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

/// The summary as a table for a terminal. The last line counts the runs.
#[must_use]
pub fn table(summary: &Summary, style: Style) -> String {
    let rows = rows(summary);
    let width = |(i, (title, _)): (usize, (&str, bool))| {
        let cells = rows.iter().map(|r| r[i].text.chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns().enumerate().map(width).collect();

    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    };
    line(&mut columns().zip(&widths).map(|((t, right), &w)| style.paint(pad(t, w, right), Tone::Head)));
    line(&mut widths.iter().map(|&w| "─".repeat(w)));
    for row in &rows {
        let cells = row.iter().zip(columns()).zip(&widths);
        line(&mut cells.map(|((c, (_, right)), &w)| style.paint(pad(&c.text, w, right), c.tone)));
    }
    let (count, tone) = tally(summary.verdicts());
    text + &format!("\n{}\n{}\n", style.paint(count, tone), effort(summary))
}

/// The meaning of the table's columns, as text of at most 120 characters per line.
#[must_use]
pub fn legend() -> String {
    let mut text = String::new();
    for (term, meaning) in LEGEND {
        let mut room = 0;
        for (i, word) in meaning.split(' ').enumerate() {
            if i == 0 || room < word.chars().count() + 1 {
                text += &format!(
                    "{}{:<13} {word}",
                    if text.is_empty() { "" } else { "\n" },
                    if i == 0 { term } else { "" }
                );
                room = 106;
            } else {
                text += &format!(" {word}");
                room -= 1;
            }
            room = room.saturating_sub(word.chars().count());
        }
    }
    text + "\n"
}

/// What the runs did, and the time they took.
pub(super) fn effort(summary: &Summary) -> String {
    let all = || summary.groups.iter().flat_map(|g| g.modes.values());
    let sum = |figure: fn(&super::ModeSummary) -> u64| all().map(figure).sum::<u64>();
    format!(
        "{} operations, {} faults, {} simulated in {}, summed over runs",
        grouped(sum(|m| m.ops.total())),
        grouped(sum(super::ModeSummary::fired)),
        duration(Some(sum(|m| m.sim_ns))),
        duration(Some(sum(|m| m.wall_ns))),
    )
}

/// The number of runs and their results, in words.
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
    let rules = columns().map(|(_, right)| if right { "--:" } else { ":--" }.to_owned());
    let mut text = markdown_row(columns().map(|(title, _)| title.to_owned())) + &markdown_row(rules);
    for row in rows(summary) {
        text += &markdown_row(row.into_iter().map(|c| escape(&c.text)));
    }
    text
}

/// The report as a markdown page, for places that do not show HTML.
pub(super) fn document(report: &Report, summary: &Summary) -> String {
    let info = &report.info;
    let origin =
        [&info.command, &format!("seeds {}", seeds(report)), &format!("commit {}", info.commit), &info.toolchain];
    let origin: Vec<String> = origin.into_iter().chain([&info.date]).map(|text| escape(text)).collect();
    let legend: String = LEGEND.iter().map(|(term, meaning)| format!("- **{term}**: {meaning}\n")).collect();
    let (count, _) = tally(summary.verdicts());
    format!("# {count}\n\n{}. {}.\n\n{}\n{legend}", effort(summary), origin.join(", "), markdown(summary))
}

/// The number of different seeds, and their range.
pub(super) fn seeds(report: &Report) -> String {
    let mut seeds: Vec<u64> = report.runs.iter().map(|r| r.outcome.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    match seeds[..] {
        [] => "none".into(),
        [one] => one.to_string(),
        [first, .., last] if last - first == seeds.len() as u64 - 1 => format!("{first} to {last}"),
        [first, .., last] => format!("{} between {first} and {last}", grouped(seeds.len() as u64)),
    }
}

/// Escapes `text` for markdown, as far as needed for names of scenarios.
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

    #[test]
    fn a_table_for_the_terminal() {
        insta::assert_snapshot!(table(&summary(), Style::Plain));
    }

    /// The table fits the width of a usual terminal window.
    #[test]
    fn the_table_is_no_wider_than_a_terminal() {
        for line in table(&summary(), Style::Plain).lines() {
            assert!(line.chars().count() <= 200, "{} characters: {line}", line.chars().count());
        }
        for line in legend().lines() {
            assert!(line.chars().count() <= 120, "{} characters: {line}", line.chars().count());
        }
    }

    #[test]
    fn the_legend_names_every_column() {
        insta::assert_snapshot!(legend());
        for (title, _) in COLUMNS.iter().skip(2) {
            let word = title.split(['/', ' ']).next().unwrap();
            assert!(LEGEND.iter().any(|(term, _)| term.contains(word)), "{title}");
        }
    }

    #[test]
    fn markdown_for_a_readme() {
        insta::assert_snapshot!(markdown(&summary()));
        let pipes = Summary::of(&[fixture::run("a|b", 1)], &[]);
        assert!(markdown(&pipes).contains("| a\\|b |"));
    }

    #[test]
    fn a_document_for_places_without_html() {
        let report = fixture::report();
        let text = document(&report, &report.summary());
        assert!(text.starts_with("# 36 runs: 33 passed, 1 failed"), "{text}");
        assert!(text.contains("seeds 1 to 4, commit 0123456789ab with uncommitted changes"), "{text}");
        assert!(
            text.contains(&markdown(&report.summary())) && text.contains("- **by policy**: acknowledged"),
            "{text}"
        );
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
    fn the_last_line_counts_runs() {
        let tally = |v| tally(v).0;
        assert_eq!(tally(Verdicts { pass: 1, ..Verdicts::default() }), "1 run, all passed");
        let mixed = Verdicts { pass: 1996, fail: 2, inert: 1, unknown: 1 };
        assert_eq!(tally(mixed), "2,000 runs: 1,996 passed, 2 failed, 1 undecided, 1 inert");
        assert_eq!(tally(Verdicts::default()), "0 runs: 0 passed");
    }
    #[test]
    fn seeds_are_named_by_their_range() {
        let seeds = |list: &[u64]| {
            seeds(&Report { runs: list.iter().map(|&s| fixture::run("a", s)).collect(), ..fixture::report() })
        };
        assert_eq!(seeds(&[]), "none");
        assert_eq!(seeds(&[7, 7]), "7");
        assert_eq!(seeds(&[3, 1, 2, 2]), "1 to 3");
        assert_eq!(seeds(&[1, 9]), "2 between 1 and 9");
    }
}
