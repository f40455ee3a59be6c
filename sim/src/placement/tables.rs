//! The report as aligned text and as markdown.

use super::{Cell, REPLICAS, Report};

/// The cluster sizes that tables show, in addition to the largest. The JSON contains all.
const SHOWN: [u32; 9] = [3, 4, 5, 7, 10, 15, 20, 30, 40];

struct Table {
    title: String,
    /// A header and rows with the same number of cells.
    lines: Vec<Vec<String>>,
}

fn tables(report: &Report) -> Vec<Table> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let table = |title: String, figure: &dyn Fn(&Cell) -> String| {
        let mut header = vec!["servers".to_owned()];
        header.extend(report.strategies.iter().map(|s| s.name()));
        let shown = report
            .rows
            .iter()
            .filter(|row| SHOWN.contains(&row.nodes) || report.rows.last().is_some_and(|last| last.nodes == row.nodes));
        let line = |row: &super::Row| {
            std::iter::once(row.nodes.to_string()).chain(row.cells.iter().map(figure)).collect::<Vec<_>>()
        };
        Table { title, lines: std::iter::once(header).chain(shown.map(line)).collect() }
    };
    vec![
        table("A server joins: keys whose first replica moves".to_owned(), &|c| percent(c.join.first)),
        table(format!("A server joins: keys of which any of {REPLICAS} replicas moves"), &|c| percent(c.join.any)),
        table("A server leaves: keys whose first replica moves".to_owned(), &|c| percent(c.leave.first)),
        table(format!("A server leaves: keys of which any of {REPLICAS} replicas moves"), &|c| percent(c.leave.any)),
        table("The fullest server's keys, as a multiple of the mean".to_owned(), &|c| format!("{:.2}", c.fullest)),
    ]
}

/// The report as text for a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let aligned = |table: &Table| {
        let cell = |cell: &String| format!("{cell:>12}");
        let lines = table.lines.iter().map(|line| line.iter().map(cell).collect::<String>());
        std::iter::once(table.title.clone()).chain(lines).collect::<Vec<_>>().join("\n")
    };
    tables(report).iter().map(aligned).collect::<Vec<_>>().join("\n\n")
}

/// The report as markdown for a document.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let marked = |table: &Table| {
        let mut out = format!("**{}**\n\n", table.title);
        for (i, line) in table.lines.iter().enumerate() {
            out += &format!("| {} |\n", line.join(" | "));
            if i == 0 {
                out += &format!("|{}\n", "--:|".repeat(line.len()));
            }
        }
        out
    };
    tables(report).iter().map(marked).collect::<Vec<_>>().join("\n")
}
