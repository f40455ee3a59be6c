//! The report as a chart: how many keys move when a server joins, for first replicas and for any of three. The axis is
//! logarithmic, because what matters is the ratio to the minimum.

use super::{Cell, Moved, REPLICAS, Report, Strategy};
use maud::{Markup, html};

/// Geometry, in units of the drawing.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = 380.0;
const PANELS: [(f64, f64); 2] = [(62.0, 470.0), (530.0, 938.0)];

/// The lines drawn, with colour, width and dashes. The other virtual node counts are only in the tables.
const LINES: [(Strategy, &str, &str, &str, &str); 5] = [
    (Strategy::Modulo, "modulo hashing", "#c0392b", "2", ""),
    (Strategy::Ranges, "equal ranges", "#d98c00", "2", ""),
    (Strategy::Ring(1), "ring, 1 virtual node", "#9dbfe0", "1.5", ""),
    (Strategy::Ring(64), "ring, 64 virtual nodes", "#1f5fa8", "2.5", ""),
    (Strategy::Least, "least possible", "#222222", "1.5", "5 4"),
];

const TICKS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// The chart, as a standalone SVG file.
#[must_use]
pub fn svg(report: &Report) -> String {
    let titles = ["First replica".to_owned(), format!("Any of {REPLICAS} replicas")];
    let figures: [fn(&Moved) -> f64; 2] = [|moved| moved.first, |moved| moved.any];
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (n(WIDTH)) " " (n(HEIGHT)) } font-family="system-ui, sans-serif"
            font-size="12" role="img" aria-label="Keys that move when a server joins" {
            rect width=(n(WIDTH)) height=(n(HEIGHT)) fill="#ffffff" {}
            text x="16" y="26" font-size="16" font-weight="600" fill="#222" { "Keys that move when one server joins n" }
            (legend())
            @for ((title, figure), (left, right)) in titles.iter().zip(figures).zip(PANELS) {
                (panel(report, title, figure, left, right))
            }
        }
    };
    picture.into_string() + "\n"
}

fn legend() -> Markup {
    let place = |i: usize| 16.0 + [0.0, 140.0, 262.0, 430.0, 612.0][i];
    html! {
        @for (i, (_, name, colour, width, dashes)) in LINES.iter().enumerate() {
            line x1=(n(place(i))) x2=(n(place(i) + 22.0)) y1="48" y2="48" stroke=(colour) stroke-width=(width) stroke-dasharray=(dashes) {}
            text x=(n(place(i) + 28.0)) y="52" fill="#222" { (name) }
        }
    }
}

fn panel(report: &Report, title: &str, figure: fn(&Moved) -> f64, left: f64, right: f64) -> Markup {
    let (first, last) = (3, report.rows.last().map_or(3, |row| row.nodes));
    let least = super::least(last + 1).first;
    let low = TICKS.into_iter().rev().find(|tick| *tick <= least * 0.6).unwrap_or(TICKS[0]);
    let x = |nodes: u32| left + f64::from(nodes - first) / f64::from((last - first).max(1)) * (right - left);
    let y = |share: f64| BOTTOM - (share.max(low) / low).log10() / (1.0 / low).log10() * (BOTTOM - TOP);
    let line = |strategy: Strategy| {
        let at = report.strategies.iter().position(|s| *s == strategy);
        let cell = |cells: &[Cell]| at.map_or(low, |at| figure(&cells[at].join));
        let points = report.rows.iter().map(|row| format!("{},{}", n(x(row.nodes)), n(y(cell(&row.cells)))));
        points.collect::<Vec<_>>().join(" ")
    };
    let marks = (first..=last).filter(|nodes| *nodes == first || nodes % (last / 5).max(1) == 0);
    html! {
        text x=(n(left)) y=(n(TOP - 12.0)) font-weight="600" fill="#222" { (title) }
        @for tick in TICKS.into_iter().filter(|tick| *tick >= low) {
            line x1=(n(left)) x2=(n(right)) y1=(n(y(tick))) y2=(n(y(tick))) stroke="#e2e2e2" {}
            text x=(n(left - 8.0)) y=(n(y(tick) + 4.0)) text-anchor="end" fill="#555" { (tick * 100.0) " %" }
        }
        @for nodes in marks {
            line x1=(n(x(nodes))) x2=(n(x(nodes))) y1=(n(BOTTOM)) y2=(n(BOTTOM + 5.0)) stroke="#888" {}
            text x=(n(x(nodes))) y=(n(BOTTOM + 19.0)) text-anchor="middle" fill="#555" { (nodes) }
        }
        line x1=(n(left)) x2=(n(right)) y1=(n(BOTTOM)) y2=(n(BOTTOM)) stroke="#888" {}
        text x=(n((left + right) / 2.0)) y=(n(BOTTOM + 38.0)) text-anchor="middle" fill="#555" { "servers before" }
        @for (strategy, _, colour, width, dashes) in LINES {
            polyline points=(line(strategy)) fill="none" stroke=(colour) stroke-width=(width) stroke-dasharray=(dashes)
                stroke-linejoin="round" {}
        }
    }
}

/// A coordinate with one decimal, the same on every machine.
fn n(value: f64) -> String {
    format!("{value:.1}")
}
