//! The report as one HTML file that needs nothing else: no script, no fonts, no network; it follows the reader's light
//! or dark setting and prints.
//!
//! `maud` escapes everything that is not a literal of this file. Bars are inline SVG (`chart.rs`).

use super::chart;
use super::folder::Report;
use super::record::{FaultTally, Mode, Verdict};
use super::summary::{Group, ModeSummary, RunLine, Summary, Verdicts};
use super::table::{Cell, MODE_COLUMNS, Tone, duration, grouped, label, mode_cells, tally, verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page. `summary` is that of `report`.
pub(super) fn page(report: &Report, summary: &Summary) -> String {
    let modes = summary.modes();
    let (verdict, tone) = tally(summary.verdicts());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Seaworthy: " (verdict) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { "Seaworthy" }
                    p.verdict.(class(tone)) { (verdict) }
                    (facts(report))
                }
                main {
                    section {
                        h2 { "Scenarios" }
                        div.wide { (overview(summary, &modes)) }
                    }
                    @if !summary.groups.is_empty() {
                        section { (chart::availability(summary)) }
                        section { (chart::latency(summary)) }
                    }
                    section {
                        h2 { "Run by run" }
                        @for (i, group) in summary.groups.iter().enumerate() { (details(report, group, i)) }
                    }
                    (reading())
                }
            }
        }
    };
    page.into_string()
}

fn facts(report: &Report) -> Markup {
    let info = &report.info;
    html! {
        dl.facts {
            dt { "Command" } dd { code { (info.command) } }
            dt { "Commit" } dd { (info.commit) }
            dt { "Seeds" } dd { (seeds(report)) }
            dt { "Toolchain" } dd { (info.toolchain) }
            dt { "Date" } dd { (info.date) }
            dt { "Took" } dd { (duration(Some(info.elapsed_ns))) }
        }
    }
}

/// How many different seeds, and between which.
fn seeds(report: &Report) -> String {
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

fn overview(summary: &Summary, modes: &[Mode]) -> Markup {
    html! {
        table {
            thead {
                @if modes.len() > 1 {
                    tr { th {} @for mode in modes { th.group colspan=(MODE_COLUMNS.len()) scope="colgroup" { (mode) } } }
                }
                tr {
                    th scope="col" { "scenario" }
                    @for (title, number) in modes.iter().flat_map(|_| MODE_COLUMNS) {
                        th scope="col" .number[number] { (title) }
                    }
                }
            }
            tbody {
                @for (i, group) in summary.groups.iter().enumerate() {
                    tr {
                        th scope="row" { a href={ "#s" (i) } { (label(group)) } }
                        @for mode in modes { (overview_cells(group.modes.get(mode))) }
                    }
                }
            }
        }
    }
}

fn overview_cells(mode: Option<&ModeSummary>) -> Markup {
    let Some(mode) = mode else {
        return html! { @for _ in MODE_COLUMNS { td { "–" } } };
    };
    html! {
        @for (cell, (_, number)) in mode_cells(mode).iter().zip(MODE_COLUMNS) {
            td .number[number] { (badge(cell)) }
        }
    }
}

fn details(report: &Report, group: &Group, i: usize) -> Markup {
    let mut verdicts = Verdicts::default();
    group.modes.values().for_each(|m| verdicts += m.verdicts);
    let info = report.scenarios.iter().find(|s| s.name == group.scenario);
    html! {
        details id={ "s" (i) } open[!verdicts.passed()] {
            summary { (label(group)) " " (badge(&verdict(verdicts))) }
            @if let Some(info) = info { p { (info.about) } p.file { code { (info.file) } } }
            @for (mode, m) in &group.modes {
                h3 { (mode) ", " (m.nodes) " nodes" }
                (totals(m))
                @if !m.faults.is_empty() { (faults(&m.faults)) }
                (runs(&m.runs))
            }
        }
    }
}

fn totals(m: &ModeSummary) -> Markup {
    let recovery = match m.slowest_recovery_ms {
        None => "never".to_owned(),
        Some(ms) if m.unrecovered == 0 => format!("{} at worst", duration(ms.checked_mul(1_000_000))),
        Some(ms) => format!("{} at worst, never in {}", duration(ms.checked_mul(1_000_000)), grouped(m.unrecovered)),
    };
    html! {
        dl.facts {
            dt { "Operations" }
            dd { (grouped(m.ops.ok)) " ok, " (grouped(m.ops.fail)) " failed, " (grouped(m.ops.info)) " unknown" }
            dt { "Latency" }
            dd {
                "p50 " (duration(m.latency.permille(500))) ", p99 " (duration(m.latency.permille(990)))
                ", p99.9 " (duration(m.latency.permille(999))) ", max " (duration(m.latency.max()))
            }
            dt { "Recovery" } dd { (recovery) }
            dt { "Traffic" } dd { (grouped(m.messages)) " frames, " (grouped(m.bytes)) " bytes" }
            dt { "Trace" } dd { (grouped(m.events)) " events" }
        }
    }
}

fn faults(faults: &[FaultTally]) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "fault" }
                        @for title in ["requested", "fired", "affected", "inert"] { th.number scope="col" { (title) } }
                    }
                }
                tbody {
                    @for f in faults {
                        tr {
                            th scope="row" { (f.kind) }
                            @for n in [f.requested, f.fired, f.affected] { td.number { (grouped(n)) } }
                            td.number .doubt[f.inert > 0] { (grouped(f.inert)) }
                        }
                    }
                }
            }
        }
    }
}

/// Runs that did not pass in full view, those that did folded away.
fn runs(runs: &[RunLine]) -> Markup {
    let (passed, rest): (Vec<&RunLine>, Vec<&RunLine>) = runs.iter().partition(|r| r.verdict == Verdict::Pass);
    html! {
        @for run in rest {
            @let (cell, evidence) = evidence(&run.verdict);
            div.finding.(class(cell.tone)) {
                p { "seed " (run.seed) " " (badge(&cell)) " " span.hash { "trace " (run.trace_hash) } }
                pre { (evidence) }
                pre.replay { code { (run.replay) } }
            }
        }
        @if !passed.is_empty() {
            details.passed {
                summary { (grouped(passed.len() as u64)) @if passed.len() == 1 { " seed" } @else { " seeds" } " passed" }
                div.wide {
                    table {
                        thead {
                            tr {
                                th.number scope="col" { "seed" }
                                th scope="col" { "trace" }
                                th scope="col" { "run it again" }
                            }
                        }
                        tbody {
                            @for run in passed {
                                tr {
                                    td.number { (run.seed) }
                                    td.hash { (run.trace_hash) }
                                    td { code { (run.replay) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What to say of a run that did not pass.
fn evidence(verdict: &Verdict) -> (Cell, String) {
    let cell = |text: &str, tone| Cell { text: text.into(), tone };
    match verdict {
        Verdict::Pass => (cell("pass", Tone::Good), String::new()),
        Verdict::Fail { property, detail } => (cell(&format!("not {property}"), Tone::Bad), detail.clone()),
        Verdict::Inert { faults } => {
            (cell("inert", Tone::Doubt), format!("never touched anything: {}", faults.join(", ")))
        }
        Verdict::Unknown { why } => (cell("unknown", Tone::Doubt), why.clone()),
    }
}

fn badge(cell: &Cell) -> Markup {
    html! { @if cell.tone == Tone::None { (cell.text) } @else { span.badge.(class(cell.tone)) { (cell.text) } } }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Doubt => "doubt",
        Tone::Bad => "bad",
        Tone::None | Tone::Head => "plain",
    }
}

fn reading() -> Markup {
    html! {
        section.reading {
            h2 { "How to read this" }
            dl {
                dt { "Verdict" }
                dd {
                    b { "pass" } ": every checked property held and every requested fault touched something. "
                    b { "FAIL" } ": a property was broken; the evidence and the command that repeats it are above. "
                    b { "inert" } ": nothing broke, but a requested fault never touched anything, so the run proves nothing. "
                    b { "unknown" } ": the checkers gave up."
                }
                dt { "Availability (storm ok, calm ok)" }
                dd {
                    "Of the operations clients first invoked in a phase, the share that was answered in time. "
                    "Faults are on in the storm; in the calm they have ended. Rounded down."
                }
                dt { "Latency" }
                dd {
                    "Simulated time from the first invocation to the answer, retries included, of answered operations "
                    "only. Percentiles are nearest-rank and rounded up, by less than 1/32."
                }
                dt { "Recovery" }
                dd { "Simulated time from the end of the faults to the first answered operation invoked after it." }
                dt { "Wall" }
                dd { "Summed over runs, which may have been made in parallel." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn render(report: &Report) -> String {
        page(report, &report.summary())
    }

    #[test]
    fn a_page_for_the_fixture() {
        // One element a line, without the style sheet, so that a difference can be read.
        let page = render(&fixture::report()).replace(include_str!("page.css"), "").replace("><", ">\n<");
        insta::assert_snapshot!(page);
    }

    #[test]
    fn what_was_recorded_cannot_become_markup() {
        let hostile = "</pre><script>alert(\"x\")</script>&amp;<a href='javascript:0'>";
        let mut report = fixture::report();
        report.info.command = hostile.into();
        report.info.date = hostile.into();
        report.info.toolchain = hostile.into();
        report.info.commit.hash = Some(hostile.into());
        report.scenarios[0].about = hostile.into();
        report.scenarios[0].file = hostile.into();
        for run in &mut report.runs {
            run.outcome.mutant = Some(hostile.into());
            run.outcome.faults[0].kind = hostile.into();
            run.outcome.verdict = Verdict::Fail { property: hostile.into(), detail: hostile.into() };
        }
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains("<a href='"), "unescaped");
        assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)"), "shown as text");
        assert!(page.contains("&amp;amp;"), "what looks escaped is escaped again");
    }

    #[test]
    fn the_page_asks_for_nothing_from_elsewhere() {
        let page = render(&fixture::report());
        for wish in ["http:", "https:", "src=", "@import", "url(", "<link", "<script"] {
            assert!(!page.contains(wish), "{wish}");
        }
    }

    #[test]
    fn no_runs_make_a_page_that_does_not_claim_success() {
        let page = render(&Report { runs: Vec::new(), ..fixture::report() });
        assert!(page.contains("0 runs: 0 passed") && !page.contains("all passed"));
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
