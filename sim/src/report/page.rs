//! The report as one self-contained HTML file: no scripts, fonts or network access. It follows the reader's light or
//! dark setting and can be printed.
//!
//! `maud` escapes everything that is not a literal of this file. The comparison is in `matrix.rs`.

use super::cells::{Cell, LEGEND, Tone, duration, grouped, label, millis, verdict};
use super::folder::Report;
use super::matrix;
use super::record::{ApCounts, FaultTally, GUARANTEES, Verdict};
use super::summary::{Group, ModeSummary, RunLine, Summary, Verdicts};
use super::table::{effort, seeds, tally};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Renders the page. `summary` is the summary of `report`.
pub(super) fn page(report: &Report, summary: &Summary) -> String {
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
                    p.verdict.(class(tone)) { (verdict) span.effort { (effort(summary)) } }
                    (facts(report))
                }
                main {
                    section { (matrix::together(summary)) }
                    @if !summary.groups.is_empty() {
                        section { h2 { "Scenarios" } (matrix::matrix(summary)) }
                    }
                    (reading())
                    section {
                        h2 { "Run by run" }
                        @for (i, group) in summary.groups.iter().enumerate() { (details(report, group, i)) }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn facts(report: &Report) -> Markup {
    let info = &report.info;
    html! {
        dl.origin {
            div { dt { "command" } dd { code { (info.command) } } }
            div { dt { "seeds" } dd { (seeds(report)) } }
            div { dt { "commit" } dd { (info.commit) } }
            div { dt { "compiler" } dd { (info.toolchain) } }
            div { dt { "date" } dd { (info.date) } }
            div { dt { "took" } dd { (duration(Some(info.elapsed_ns))) } }
        }
    }
}

fn details(report: &Report, group: &Group, i: usize) -> Markup {
    let mut verdicts = Verdicts::default();
    group.modes.values().for_each(|m| verdicts += m.verdicts);
    let info = report.scenarios.iter().find(|s| s.name == group.scenario);
    html! {
        details open[!verdicts.passed()] {
            summary { (label(group)) " " (badge(&verdict(verdicts))) }
            // A link to an element inside opens this element.
            div.about id={ "s" (i) } {
                @if let Some(info) = info { p { (info.about) } p.file { code { (info.file) } } }
            }
            div.sides {
                @for (mode, m) in &group.modes {
                    div {
                        h3 { (mode) ", " (m.nodes) " nodes" }
                        (totals(m))
                        @if !m.sessions.is_empty() { (sessions(m)) }
                        @if !m.faults.is_empty() { (faults(&m.faults)) }
                        (runs(&m.runs))
                    }
                }
            }
        }
    }
}

fn totals(m: &ModeSummary) -> Markup {
    let recovery = match m.slowest_recovery_ms {
        None => "never".to_owned(),
        ms if m.unrecovered == 0 => format!("{} at worst", millis(ms)),
        ms => format!("{} at worst, never in {}", millis(ms), grouped(m.unrecovered)),
    };
    let (versions, time) = (&m.staleness.versions, &m.staleness.time);
    html! {
        dl.facts {
            dt { "Operations" }
            dd { (grouped(m.ops.ok)) " ok, " (grouped(m.ops.fail)) " failed, " (grouped(m.ops.info)) " unknown" }
            dt { "Latency" }
            dd {
                "p50 " (duration(m.latency.permille(500))) ", p99 " (duration(m.latency.permille(990)))
                ", p99.9 " (duration(m.latency.permille(999))) ", max " (duration(m.latency.max()))
            }
            dt { "First answer" } dd { (recovery) }
            @if let (Some(median), Some(late), Some(most)) = (versions.permille(500), versions.permille(990), versions.max()) {
                dt { "Stale by" }
                dd {
                    "versions: p50 " (grouped(median)) ", p99 " (grouped(late)) ", max " (grouped(most))
                    "; time: p50 " (duration(time.permille(500))) ", p99 " (duration(time.permille(990)))
                    ", max " (duration(time.max()))
                }
            }
            @if let Some(ap) = &m.ap { (besides(ap)) }
            dt { "Traffic" } dd { (grouped(m.messages)) " frames, " (grouped(m.bytes)) " bytes" }
            dt { "Trace" } dd { (grouped(m.events)) " events" }
        }
    }
}

fn besides(ap: &ApCounts) -> Markup {
    html! {
        dt { "Hints" }
        dd {
            (grouped(ap.hints_stored)) " stored, " (grouped(ap.handed_over)) " handed over, "
            (grouped(ap.hints_refused)) " refused for want of room, " (grouped(ap.hints_expired)) " expired"
        }
        dt { "Repairs" } dd { (grouped(ap.repairs)) " of replicas that were behind" }
        dt { "Forgotten" }
        dd { (grouped(ap.collected)) " tombstones, " (grouped(ap.pruned)) " clock entries" }
    }
}

/// Violations of the session guarantees by consistency level.
fn sessions(m: &ModeSummary) -> Markup {
    html! {
        div.wide {
            table {
                thead {
                    tr {
                        th scope="col" { "level" }
                        th.number scope="col" { "judged" }
                        @for guarantee in GUARANTEES { th.number scope="col" { "not " (guarantee) } }
                    }
                }
                tbody {
                    @for (level, [judged, breaches @ ..]) in &m.sessions {
                        tr {
                            th scope="row" { (level) }
                            td.number { (grouped(*judged)) }
                            @for &n in breaches { td.number .note[n > 0] { (grouped(n)) } }
                        }
                    }
                }
            }
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

/// The list of runs. Runs that passed are collapsed.
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

/// The result and evidence of a run that did not pass.
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

pub(super) fn badge(cell: &Cell) -> Markup {
    html! { @if cell.tone == Tone::None { (cell.text) } @else { span.badge.(class(cell.tone)) { (cell.text) } } }
}

pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Note => "note",
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
            dl { @for (term, meaning) in LEGEND { dt { (term) } dd { (meaning) } } }
            p {
                "Bars: storm from nothing to all; p99 logarithmic, from the least p50 to the greatest p99 here; stale reads "
                "and conflicts by share, the greatest here being the whole width."
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
        // One element per line, without the style sheet, so that diffs are readable.
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
}
