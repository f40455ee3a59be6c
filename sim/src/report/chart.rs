//! Bars as inline SVG: availability from nothing to all, latency on a logarithmic axis. One row for each scenario, planted
//! bug and mode, so that modes lie one under the other.

use super::record::Mode;
use super::summary::{ModeSummary, Summary};
use super::table::{duration, label, percent};
use maud::{Markup, html};

/// Geometry, in units of the drawing: where bars start and end, the drawing's width, the height of a row and of the axis.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 840.0;
const WIDTH: f64 = 960.0;
const ROW: f64 = 38.0;
const AXIS: f64 = 24.0;
/// Names longer than this are cut; the whole name is in the table above.
const LABEL_CHARS: usize = 36;

/// One row of a chart.
struct Row<'a> {
    label: String,
    top: f64,
    mode: &'a ModeSummary,
}

fn rows(summary: &Summary) -> Vec<Row<'_>> {
    let several = summary.modes().len() > 1;
    let all = summary.groups.iter().flat_map(|g| g.modes.iter().map(move |(&mode, m)| (g, mode, m)));
    let name = |label: String, mode: Mode| if several { format!("{label} {mode}") } else { label };
    all.enumerate()
        .map(|(i, (g, mode, m))| Row { label: cut(&name(label(g), mode)), top: AXIS + i as f64 * ROW, mode: m })
        .collect()
}

fn cut(label: &str) -> String {
    if label.chars().count() <= LABEL_CHARS {
        return label.to_owned();
    }
    label.chars().take(LABEL_CHARS - 1).chain(['…']).collect()
}

/// Share of operations answered, storm above calm.
pub(super) fn availability(summary: &Summary) -> Markup {
    let rows = rows(summary);
    let at = |fraction: f64| LEFT + fraction * (RIGHT - LEFT);
    let ticks: Vec<(f64, String)> = (0..=4).map(|i| (at(f64::from(i) / 4.0), format!("{} %", i * 25))).collect();
    html! {
        h2 { "Availability" }
        p.legend { span.key.storm {} "storm " span.key.calm {} "calm" }
        (drawing("Availability by scenario", rows.len(), &ticks, &html! {
            @for row in &rows {
                (name(row))
                @let a = row.mode.availability;
                @for (phase, share, y) in [("storm", a.storm, row.top + 7.0), ("calm", a.calm, row.top + 20.0)] {
                    @if let Some(fraction) = share.fraction() {
                        rect class=(phase) x=(n(LEFT)) y=(n(y)) width=(n(at(fraction) - LEFT)) height="11" rx="2" {}
                    }
                    text.value x=(n(RIGHT + 10.0)) y=(n(y + 10.0)) { (percent(share)) }
                }
            }
        }))
    }
}

/// Latency from p50 to p99 as a bar, on to the maximum as a line.
pub(super) fn latency(summary: &Summary) -> Markup {
    let rows = rows(summary);
    let edges = rows.iter().filter_map(|r| r.mode.latency.permille(500).zip(r.mode.latency.max()));
    let (low, high) = edges.fold((u64::MAX, 1), |(low, high), (p50, max)| (low.min(p50), high.max(max)));
    let first = low.min(high).max(1).ilog10();
    let last = (high.ilog10() + u32::from(!is_power_of_ten(high))).max(first + 1);
    let at = |ns: u64| {
        let decades = (ns.max(1) as f64).log10() - f64::from(first);
        LEFT + (decades / f64::from(last - first)).max(0.0) * (RIGHT - LEFT)
    };
    let decade = |e: u32| (LEFT + f64::from(e - first) / f64::from(last - first) * (RIGHT - LEFT), power_of_ten(e));
    let ticks: Vec<(f64, String)> = (first..=last).map(decade).collect();
    html! {
        h2 { "Latency" }
        p.legend { span.key.latency {} "p50 to p99 " span.key.max {} "maximum; logarithmic" }
        (drawing("Latency by scenario", rows.len(), &ticks, &html! {
            @for row in &rows {
                (name(row))
                @let l = &row.mode.latency;
                @if let (Some(p50), Some(p99), Some(max)) = (l.permille(500), l.permille(990), l.max()) {
                    @let y = row.top + 14.0;
                    line.max x1=(n(at(p99))) x2=(n(at(max))) y1=(n(y + 5.5)) y2=(n(y + 5.5)) {}
                    rect.latency x=(n(at(p50))) y=(n(y)) width=(n((at(p99) - at(p50)).max(2.0))) height="11" rx="2" {}
                    text.value x=(n(RIGHT + 10.0)) y=(n(y + 2.0)) { (duration(Some(p50))) }
                    text.value x=(n(RIGHT + 10.0)) y=(n(y + 17.0)) { (duration(Some(p99))) }
                } @else {
                    text.value x=(n(LEFT)) y=(n(row.top + 24.0)) { "nothing was answered" }
                }
            }
        }))
    }
}

/// The frame around rows: the axis on top, a thin line down from each tick.
fn drawing(title: &str, rows: usize, ticks: &[(f64, String)], content: &Markup) -> Markup {
    let bottom = AXIS + rows as f64 * ROW;
    html! {
        div.wide {
            svg viewBox={ "0 0 " (n(WIDTH)) " " (n(bottom + 4.0)) } role="img" aria-label=(title) {
                @for (x, text) in ticks {
                    line.grid x1=(n(*x)) x2=(n(*x)) y1=(n(AXIS - 4.0)) y2=(n(bottom)) {}
                    text.tick x=(n(*x)) y=(n(AXIS - 10.0)) { (text) }
                }
                (content)
            }
        }
    }
}

fn name(row: &Row<'_>) -> Markup {
    html! { text.name x=(n(LEFT - 12.0)) y=(n(row.top + 24.0)) { (row.label) } }
}

/// A coordinate with one decimal, the same on every machine.
fn n(value: f64) -> String {
    format!("{value:.1}")
}

fn is_power_of_ten(n: u64) -> bool {
    10u64.checked_pow(n.ilog10()) == Some(n)
}

/// 10ᵉ nanoseconds, in words: `1 ms`, `10 s`.
fn power_of_ten(e: u32) -> String {
    let unit = ["ns", "µs", "ms", "s"].get(e as usize / 3).copied();
    match unit {
        Some(unit) => format!("{} {unit}", 10u32.pow(e % 3)),
        None => format!("10{} s", "0".repeat(e as usize - 10)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn decades_have_names() {
        let names: Vec<String> = [0, 3, 5, 6, 9, 11, 12].map(power_of_ten).into();
        assert_eq!(names, ["1 ns", "1 µs", "100 µs", "1 ms", "1 s", "100 s", "1000 s"]);
        assert!(is_power_of_ten(1) && is_power_of_ten(1000) && !is_power_of_ten(999));
    }

    /// Coordinates stay inside the drawing and are numbers, whatever the latencies.
    #[test]
    fn bars_stay_inside_the_drawing() {
        for values in [vec![], vec![0], vec![1], vec![u64::MAX], vec![0, u64::MAX], vec![1000], vec![5, 7]] {
            let mut run = fixture::run("a", 1);
            run.outcome.latency = values.iter().copied().collect();
            let svg = latency(&Summary::of(&[run], &[])).into_string();
            for coordinate in [" x=\"", " x1=\"", " x2=\""] {
                for part in svg.split(coordinate).skip(1) {
                    let x: f64 = part.split('"').next().unwrap().parse().unwrap();
                    assert!((0.0..=WIDTH).contains(&x), "{values:?}: {x}");
                }
            }
        }
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut(&"é".repeat(37)), "é".repeat(35) + "…");
        assert_eq!(cut("short"), "short");
    }
}
