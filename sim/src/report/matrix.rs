//! The comparison on the page: AP below CP for each scenario, with the same cells as everywhere. Some cells have a bar
//! behind the figure, so that trade-offs are visible at a glance.
//!
//! Bars of availability go from none to all. Bars of p99 are logarithmic, from the lowest p50 to the highest p99 on the
//! page. Bars of stale reads and conflicts are relative to the highest share on the page.

use super::cells::{COLUMNS, Cell, cells, label};
use super::page::{badge, class};
use super::record::Share;
use super::summary::{Group, ModeSummary, Summary};
use crate::settings::Mode;
use maud::{Markup, html};

/// The scales of the bars.
struct Scale {
    fastest: f64,
    slowest: f64,
    stale: f64,
    conflicts: f64,
}

impl Scale {
    fn of(summary: &Summary) -> Scale {
        let all = || summary.groups.iter().flat_map(|g| g.modes.values());
        let greatest = |share: fn(&ModeSummary) -> Share| all().filter_map(|m| share(m).fraction()).fold(0.0, f64::max);
        let logs = |permille: u16| all().filter_map(move |m| m.latency.permille(permille)).map(log);
        Scale {
            fastest: logs(500).fold(f64::INFINITY, f64::min),
            slowest: logs(990).fold(f64::NEG_INFINITY, f64::max),
            stale: greatest(|m| m.stale),
            conflicts: greatest(|m| m.conflicts),
        }
    }

    /// The length of the bar in a column, in `0.0..=1.0`, if the column has bars.
    fn bar(&self, column: &str, m: &ModeSummary) -> Option<f64> {
        let share = |share: Share, most: f64| share.fraction().filter(|_| most > 0.0).map(|f| f / most);
        match column {
            "storm" => m.availability.storm.fraction(),
            "p99" => {
                let span = self.slowest - self.fastest;
                m.latency.permille(990).filter(|_| span > 0.0).map(|ns| ((log(ns) - self.fastest) / span).max(0.0))
            }
            "stale reads" => share(m.stale, self.stale),
            "conflicts" => share(m.conflicts, self.conflicts),
            _ => None,
        }
    }
}

fn log(ns: u64) -> f64 {
    (ns.max(1) as f64).log10()
}

/// The totals of all pairs, in two lines of large type, or nothing if there are no pairs.
pub(super) fn together(summary: &Summary) -> Markup {
    let (totals, pairs) = (summary.totals(), summary.pairs().count());
    let shown = |title: &str| !["mode", "seeds", "verdict", "heal", "frames/op", "bytes/op"].contains(&title);
    let scale = Scale { stale: 0.0, conflicts: 0.0, ..Scale::of(summary) };
    html! {
        @if !totals.is_empty() {
            h2 { "CP beside AP" }
            p.lead {
                @if pairs == 1 { "One scenario, " } @else { (pairs) " scenarios, " }
                "each run in both modes under the same plans: the same faults upon the same servers at the same "
                "instants, the same operations due."
            }
            div.wide {
                table.together {
                    thead {
                        tr {
                            th {}
                            @for (title, _) in COLUMNS.iter().filter(|(title, _)| shown(title)) {
                                th scope="col" { (spoken(title)) }
                            }
                        }
                    }
                    tbody {
                        @for (mode, m) in &totals {
                            tr.(side(*mode)) {
                                th scope="row" { (mode) }
                                @for (cell, (title, _)) in cells(*mode, m).iter().zip(COLUMNS) {
                                    @if shown(title) { (large(cell, scale.bar(title, m))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell in large type, with its whole in small type.
fn large(cell: &Cell, bar: Option<f64>) -> Markup {
    html! {
        @if bar.is_some() {
            (figure(cell, false, bar))
        } @else {
            td.(class(cell.tone)) {
                @if let Some((part, whole)) = cell.text.split_once('/') {
                    (part) small { " of " (whole) }
                } @else {
                    (cell.text)
                }
            }
        }
    }
}

fn spoken(title: &'static str) -> &'static str {
    match title {
        "storm" => "answered in the storm",
        "calm" => "in the calm",
        "lost" => "lost writes",
        "by policy" => "lost by policy",
        title => title,
    }
}

/// Every scenario, pairs first.
pub(super) fn matrix(summary: &Summary) -> Markup {
    let scale = Scale::of(summary);
    let groups = || summary.groups.iter().enumerate();
    let pairs = summary.pairs().count() > 0;
    let single = summary.groups.iter().any(|g| g.modes.len() == 1);
    html! {
        div.wide {
            table.matrix {
                thead {
                    tr {
                        th scope="col" { "scenario" }
                        @for (title, number) in COLUMNS { th scope="col" .number[number] { (title) } }
                    }
                }
                @for (i, group) in groups().filter(|(_, g)| g.modes.len() > 1) { (body(group, i, &scale)) }
                @if pairs && single {
                    tbody { tr.part { th colspan=(COLUMNS.len() + 1) scope="rowgroup" { "in one mode only" } } }
                }
                @for (i, group) in groups().filter(|(_, g)| g.modes.len() == 1) { (body(group, i, &scale)) }
            }
        }
    }
}

fn body(group: &Group, i: usize, scale: &Scale) -> Markup {
    html! {
        tbody {
            @for (line, (mode, m)) in group.modes.iter().enumerate() {
                tr.(side(*mode)) {
                    @if line == 0 {
                        th scope="rowgroup" rowspan=(group.modes.len()) { a href={ "#s" (i) } { (label(group)) } }
                    }
                    @for (cell, (title, number)) in cells(*mode, m).iter().zip(COLUMNS) {
                        @if title == "mode" {
                            td.mode { (cell.text) }
                        } @else {
                            (figure(cell, number, scale.bar(title, m)))
                        }
                    }
                }
            }
        }
    }
}

/// A cell, with a bar behind its text if it has one.
fn figure(cell: &Cell, number: bool, bar: Option<f64>) -> Markup {
    html! {
        @if let Some(bar) = bar {
            td.bar .number[number] style={ "--bar:" (format!("{:.1}%", bar.clamp(0.0, 1.0) * 100.0)) } {
                span.(class(cell.tone)) { (cell.text) }
            }
        } @else {
            td .number[number] { (badge(cell)) }
        }
    }
}

fn side(mode: Mode) -> &'static str {
    match mode {
        Mode::Cp => "cp",
        Mode::Ap => "ap",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// Whatever the figures, bars end inside their cells and are numbers.
    #[test]
    fn bars_stay_inside_their_cells() {
        for values in [vec![], vec![0], vec![u64::MAX], vec![0, u64::MAX], vec![1000], vec![5, 7]] {
            let mut run = fixture::run("a", 1);
            run.outcome.latency = values.iter().copied().collect();
            run.outcome.stale = Share { ok: 7, of: 7 };
            let page = matrix(&Summary::of(&[run, fixture::run("b", 1)], &[])).into_string();
            let bars: Vec<f64> =
                page.split("--bar:").skip(1).map(|part| part.split('%').next().unwrap().parse().unwrap()).collect();
            assert!(bars.len() >= 3, "{values:?}: {bars:?}");
            assert!(bars.iter().all(|bar| (0.0..=100.0).contains(bar)), "{values:?}: {bars:?}");
        }
    }

    #[test]
    fn without_pairs_nothing_is_compared() {
        let alone = Summary::of(&[fixture::run("a", 1)], &[]);
        assert_eq!(together(&alone).into_string(), "");
        assert!(!matrix(&alone).into_string().contains("one mode only"));
        let both = Summary::of(&fixture::runs(), &[]);
        assert!(together(&both).into_string().contains("scenarios, each run in both modes"));
        assert!(matrix(&both).into_string().contains("in one mode only"));
    }
}
