//! Renders a report as one HTML page: the verdicts, the account of the input, all parts, and a drawing of each
//! violation.
//!
//! The page is self-contained: no network and no framework. Without its script it still shows everything. Its size is
//! bounded ([`MOST_BYTES`]) for every history. The page says how much did not fit. All text from the user is escaped,
//! with control and direction characters made visible.

mod chart;
mod overview;
pub(super) mod svg;

use super::explain::show;
use super::{Evidence, headline};
use crate::certificate::step::replay;
use crate::history::{History, OpId};
use crate::linear::{PartReport, Report, Verdict};
use crate::model::Kind;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Maximum size of the page, in bytes.
pub const MOST_BYTES: usize = 2 << 20;
/// Part of the page for the table of parts.
const TABLE_BYTES: usize = 300 << 10;
/// Part of the page for the settings, and for the account of the input, each.
const LIST_BYTES: usize = 50 << 10;
/// Part of the page for everything after the violations.
const TAIL_BYTES: usize = 700 << 10;
/// Operations around a conflict in its first drawing. The second drawing has [`chart::MOST`] operations in total.
const NEAR: usize = 16;

/// The input of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// The title of the page.
    pub title: &'a str,
    /// The history's file, as written before `#L17`.
    pub file: &'a str,
    /// The history.
    pub history: &'a History,
    /// The reports, one for each property checked.
    pub reports: &'a [Report],
    /// The model's name, as in [`Kind::name`].
    pub model: &'a str,
    /// Names and values, such as the format, the meaning of nil and the budget.
    pub settings: &'a [(String, String)],
    /// The account of the input, line by line: what was read, and what was left out and why.
    pub understood: &'a [String],
    /// Source lines for the excerpts: those of [`lines`], in order.
    pub source: &'a [(u32, String)],
}

/// The source lines that the page quotes, in order: those of the cores.
#[must_use]
pub fn lines(history: &History, reports: &[Report]) -> Vec<u32> {
    let core = reports.iter().flat_map(Report::violations).flat_map(shown_core).map(|op| history.operation(op));
    let mut lines: Vec<u32> =
        core.flat_map(|op| [op.called, op.returned]).filter_map(|event| history.line(event)).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// The core, or the end of a large one.
fn shown_core(evidence: &Evidence) -> impl Iterator<Item = OpId> {
    evidence.core[evidence.core.len().saturating_sub(60)..].iter().copied()
}

/// Renders the page.
#[must_use]
pub fn html(input: &PageInput<'_>) -> String {
    let title = escape(&cut(input.title, 200));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';\
         script-src 'unsafe-inline'\"><title>{title}</title><style>{}</style></head><body><main>",
        include_str!("page/page.css")
    );
    let _ = write!(out, "<header><h1>{title}</h1>");
    for report in input.reports {
        out.push_str(&banner(report));
    }
    let _ = write!(
        out,
        "<p class=\"facts\">{} · {} · model {} · <a href=\"#read\">how it was read and decided</a></p></header>",
        escape(&cut(input.file, 200)),
        size(input.history),
        escape(&cut(input.model, 80))
    );
    let violations: Vec<(&'static str, &Evidence)> = input
        .reports
        .iter()
        .flat_map(|report| report.violations().map(|evidence| (report.property, evidence)))
        .collect();
    if !violations.is_empty() {
        out.push_str(TOOLS);
    }
    let mut drawn = 0;
    for (number, (property, evidence)) in (1..).zip(&violations) {
        // With fewer operations around the conflict, if the section is too large.
        let sections =
            [chart::MOST, NEAR, 0].into_iter().map(|others| violation(input, number, property, evidence, others));
        let room = MOST_BYTES - TAIL_BYTES - out.len();
        let Some(section) = sections.into_iter().find(|section| section.len() < room) else { break };
        out.push_str(&section);
        drawn = number;
    }
    if drawn < violations.len() {
        let left = count((violations.len() - drawn) as u64);
        let _ = write!(
            out,
            "<p class=\"note\">{left} more violations are in the table below: the page would grow too large.</p>"
        );
    }
    let evidence: Vec<&Evidence> = violations.iter().take(drawn).map(|&(_, evidence)| evidence).collect();
    let _ =
        write!(out, "<section><h2>The whole history</h2>{}</section>", overview::overview(input.history, &evidence));
    out.push_str(&parts(input.reports, drawn));
    out.push_str(&understood(input));
    out.push_str("</main><div id=\"tip\" role=\"status\"></div><script>");
    out + include_str!("page/page.js") + "</script></body></html>\n"
}

/// The filters, which apply to all drawings.
const TOOLS: &str = "<div class=\"tools\" role=\"search\"><label>process \
    <select id=\"by-process\"><option value=\"\">all</option></select></label><label>function <select id=\"by-function\">\
    <option value=\"\">all</option></select></label><label>key or value <input id=\"by-text\" type=\"search\" size=\"14\"></label>\
    <label><input id=\"by-core\" type=\"checkbox\"> only the clash</label></div>";

/// The buttons and the legend of a drawing.
const CONTROLS: &str = "<div class=\"drawing\"><div class=\"bar\"><button type=\"button\" data-do=\"out\" aria-label=\"zoom out\">−</button>\
         <button type=\"button\" data-do=\"in\" aria-label=\"zoom in\">+</button>\
         <button type=\"button\" data-do=\"fit\">fit all</button><button type=\"button\" data-do=\"clash\">the clash</button>\
         <span class=\"legend\"><i class=\"k-change\"></i>changes <i class=\"k-see\"></i>observes <i class=\"k-breaks\"></i>cannot \
         be true <i class=\"k-other\"></i>others <i class=\"k-open\"></i>outcome unknown <i class=\"k-point\">1</i>order \
         found</span></div>";

/// The verdict on a property.
fn banner(report: &Report) -> String {
    let (bad, unknown) = (report.violations().count(), report.unknowns().count());
    let (all, property) = (report.parts.len(), escape(report.property));
    let parts =
        |n: usize| format!("{} of {} part{}", count(n as u64), count(all as u64), if all == 1 { "" } else { "s" });
    let (class, mark, text, detail) = match (bad, unknown) {
        (0, 0) => (
            "good",
            "✓",
            property,
            format!(
                "{}{} part{} checked",
                if all == 1 { "" } else { "all of " },
                count(all as u64),
                if all == 1 { "" } else { "s" }
            ),
        ),
        (0, _) => ("unsure", "?", format!("unknown whether {property}"), format!("undecided: {}", parts(unknown))),
        (_, 0) => ("bad", "✗", format!("NOT {property}"), parts(bad)),
        _ => ("bad", "✗", format!("NOT {property}"), format!("{}; {} undecided", parts(bad), count(unknown as u64))),
    };
    format!(
        "<div class=\"verdict {class}\"><b aria-hidden=\"true\">{mark}</b><div><strong>{text}</strong><span>{detail}</span></div></div>"
    )
}

/// How the history was read and decided.
fn understood(input: &PageInput<'_>) -> String {
    let mut out = String::from("<section id=\"read\"><h2>How it was read and decided</h2><dl>");
    let history = input.history;
    let fixed = [("file", input.file.to_owned()), ("model", input.model.to_owned()), ("history", size(history))];
    let given = input.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in fixed.into_iter().chain(given) {
        if out.len() > LIST_BYTES {
            break;
        }
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(&cut(name, 80)), escape(&cut(&value, 400)));
    }
    out.push_str("</dl><ul>");
    let start = out.len();
    for line in input.understood {
        if out.len() - start > LIST_BYTES {
            out.push_str("<li>… and more</li>");
            break;
        }
        let _ = write!(out, "<li>{}</li>", escape(&cut(line, 400)));
    }
    out.push_str("</ul></section>");
    out
}

/// The size of a history in words.
fn size(history: &History) -> String {
    let plural = |n: u64, what: &str| format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" });
    let operations = plural(history.operations().len() as u64, "operation");
    let (events, keys) = (plural(u64::from(history.events()), "event"), plural(u64::from(history.keys()), "key"));
    format!("{operations}, {events}, {keys}")
}

/// The table of all parts: first those that do not hold, then the undecided, then the largest.
fn parts(reports: &[Report], drawn: usize) -> String {
    let rank = |part: &PartReport| match part.verdict {
        Verdict::Invalid(_) => 0,
        Verdict::Unknown(_) => 1,
        Verdict::Valid => 2,
    };
    let all = reports.iter().flat_map(|report| report.parts.iter().map(|part| (report.property, part)));
    let mut number = 0;
    let numbered = all.map(|(property, part)| {
        number += usize::from(rank(part) == 0);
        (property, part, number)
    });
    let mut rows: Vec<(&'static str, &PartReport, usize)> = numbered.collect();
    rows.sort_by_key(|(_, part, _)| (rank(part), std::cmp::Reverse(part.operations)));
    let mut out = String::from(
        "<section><h2>Parts</h2><p><label>find <input id=\"find\" type=\"search\" size=\"20\"></label></p>\
         <div class=\"wide\"><table id=\"parts\"><thead><tr>",
    );
    for (name, class) in
        [("part", ""), ("property", ""), ("verdict", ""), ("operations", "n"), ("steps", "n"), ("decided by", "")]
    {
        let _ = write!(out, "<th class=\"{class}\" aria-sort=\"none\"><button type=\"button\">{name}</button></th>");
    }
    out.push_str("</tr></thead><tbody>");
    let mut shown = 0;
    for (property, part, number) in &rows {
        if out.len() > TABLE_BYTES {
            break;
        }
        let verdict = match &part.verdict {
            Verdict::Valid => "<span class=\"good\">✓ valid</span>".to_owned(),
            Verdict::Unknown(why) => format!("<span class=\"unsure\">? {}</span>", escape(&cut(why, 120))),
            Verdict::Invalid(evidence) => {
                let name = if evidence.anomaly.is_empty() { "not valid" } else { &evidence.anomaly };
                let name = format!("<span class=\"bad\">✗ {}</span>", escape(&cut(name, 80)));
                if *number <= drawn { format!("<a href=\"#violation{number}\">{name}</a>") } else { name }
            }
        };
        let (name, property, by) = (escape(&cut(&part.name, 80)), escape(property), escape(part.by));
        let _ = write!(
            out,
            "<tr><td><bdi>{name}</bdi></td><td>{property}</td><td>{verdict}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td>{by}</td></tr>",
            count(part.operations as u64),
            count(part.steps)
        );
        shown += 1;
    }
    out.push_str("</tbody></table></div>");
    if shown < rows.len() {
        let _ = write!(out, "<p class=\"note\">{} more parts are not listed.</p>", count((rows.len() - shown) as u64));
    }
    out + "</section>"
}

/// One violation: its words, its drawing, and the operations in conflict.
fn violation(input: &PageInput<'_>, number: usize, property: &str, evidence: &Evidence, others: usize) -> String {
    let mut out = format!("<section class=\"violation\" id=\"violation{number}\"><h2>");
    let name = if evidence.anomaly.is_empty() { format!("not {property}") } else { evidence.anomaly.clone() };
    let _ = write!(
        out,
        "<span class=\"no\">{number}</span> {} <small>in <bdi>{}</bdi></small></h2>",
        escape(&cut(&name, 80)),
        escape(&cut(&evidence.part, 120))
    );
    let _ = write!(out, "<p class=\"headline\">{}</p>", escape(&headline(property, &evidence.anomaly)));
    let mut words = evidence.explanation.lines();
    let _ = write!(out, "<p class=\"reason\">{}</p>", escape(&cut(words.next().unwrap_or_default(), 3000)));
    for line in words.take(20) {
        let _ = write!(out, "<p class=\"more\">{}</p>", escape(&cut(line, 1000)));
    }
    let near = others.min(NEAR);
    // A phone has room for the conflict only.
    out.push_str("<div class=\"narrow\">");
    drawing(&mut out, input, (number, 'n'), property, evidence, 0);
    out.push_str("</div><div class=\"roomy\">");
    let hidden = drawing(&mut out, input, (number, 'v'), property, evidence, near);
    out.push_str("</div>");
    out.push_str(&table(input, evidence, number));
    if hidden > 0 && others > near {
        out.push_str("<details class=\"roomy\"><summary>The clash among more of the operations around it</summary>");
        drawing(&mut out, input, (number, 'w'), property, evidence, others);
        out.push_str("</details>");
    }
    out + "</section>"
}

/// Draws the conflict with `others` operations around it. Returns how many more operations there are.
fn drawing(
    out: &mut String,
    input: &PageInput<'_>,
    (number, prefix): (usize, char),
    property: &str,
    evidence: &Evidence,
    others: usize,
) -> usize {
    let history = input.history;
    let chart = chart::lay_out(history, evidence, others);
    let kind = Kind::named(input.model).filter(|_| property == "linearizable");
    let mut states = BTreeMap::new();
    if let Some(kind) = kind {
        let mut wanted: Vec<usize> = chart.points.iter().map(|point| point.place).collect();
        wanted.extend(evidence.order.len().checked_sub(1));
        let explains = replay(history, kind, &evidence.order, |place, state| {
            if wanted.binary_search(&place).is_ok() {
                states.insert(place, cut(&svg::describe(history, state), 200));
            }
        });
        // An order that the model does not accept says nothing about its states.
        explains.unwrap_or_else(|| states.clear());
    }
    out.push_str(CONTROLS);
    let scene =
        svg::Scene { history, evidence, chart: &chart, states: &states, file: &cut(input.file, 200), number, prefix };
    out.push_str(&scene.draw());
    out.push_str(&notes(history, evidence, &chart, &states));
    out.push_str("</div>");
    chart.hidden
}

/// What the drawing leaves out, and how far the order found goes.
fn notes(history: &History, evidence: &Evidence, chart: &chart::Chart, states: &BTreeMap<usize, String>) -> String {
    let mut out = String::from("<p class=\"note\">");
    if !evidence.order.is_empty() {
        let _ = write!(out, "The longest order found has {} operations", count(evidence.order.len() as u64));
        let before = chart.points.first().map_or(0, |point| point.place);
        if before > 0 {
            let _ = write!(
                out,
                " ({} of them before the first that is numbered here; those that are not drawn are not numbered)",
                count(before as u64)
            );
        }
        if let Some(state) = states.get(&(evidence.order.len() - 1)) {
            let _ = write!(out, "; after it: {}", escape(state));
        }
        let stuck = evidence.core.iter().filter(|op| !evidence.order.contains(op)).take(4);
        let stuck: Vec<String> = stuck
            .map(|&op| history.operation(op))
            .map(|op| {
                format!(
                    "p{} {} → {}",
                    op.process,
                    cut(&show::request(history, op), 60),
                    cut(&show::reply(history, op), 60)
                )
            })
            .collect();
        if !stuck.is_empty() {
            let _ = write!(out, ", and then these cannot come: {}", escape(&stuck.join("; ")));
        }
        out.push_str(". ");
    }
    match chart.hidden {
        0 => out.push_str("All operations of this part up to that event are shown. "),
        n => {
            let _ = write!(out, "{} more operations of this part up to that event are not shown. ", count(n as u64));
        }
    }
    if !evidence.minimal {
        out.push_str("The evidence may be larger than it need be. ");
    }
    out.push_str("Only the order of events matters: the axis has a column for each, not for time.</p>");
    out
}

/// The operations in conflict, with their source lines.
fn table(input: &PageInput<'_>, evidence: &Evidence, number: usize) -> String {
    let history = input.history;
    let mut out = String::from(
        "<div class=\"wide\"><table class=\"core\"><caption>The operations that clash</caption><thead><tr><th>process</th>\
         <th>request</th><th>reply</th><th>called</th><th>returned</th></tr></thead><tbody>",
    );
    let quote = |event: u32| {
        let place = escape(&moment(history, event, &cut(input.file, 200)));
        let line =
            history.line(event).and_then(|line| input.source.binary_search_by_key(&line, |&(line, _)| line).ok());
        let text = line.map(|at| format!("<code>{}</code>", escape(&cut(&input.source[at].1, 240))));
        format!("{place}{}", text.unwrap_or_default())
    };
    for id in shown_core(evidence) {
        let op = history.operation(id);
        let class = if Some(id) == evidence.breaks { " class=\"breaks\"" } else { "" };
        let returned = if op.returned == crate::history::NEVER { "never".to_owned() } else { quote(op.returned) };
        let _ = write!(
            out,
            "<tr{class}><td data-is=\"process\">{}</td><td><a href=\"#v{number}-{}\"><bdi>{}</bdi></a></td><td data-is=\"reply\"><bdi>{}</bdi></td>\
             <td data-is=\"called\">{}</td><td data-is=\"returned\">{returned}</td></tr>",
            op.process,
            id.0,
            escape(&cut(&show::request(history, op), 400)),
            escape(&cut(&show::reply(history, op), 400)),
            quote(op.called),
        );
    }
    let left = evidence.core.len() - shown_core(evidence).count();
    out.push_str("</tbody></table></div>");
    if left > 0 {
        let _ = write!(out, "<p class=\"note\">{} more operations clash.</p>", count(left as u64));
    }
    out
}

/// An event: its position, its time and its line in the source.
fn moment(history: &History, event: u32, file: &str) -> String {
    let time = match history.time(event) {
        0 => String::new(),
        ns if ns < 1_000 => format!(" · {ns} ns"),
        ns if ns < 1_000_000 => format!(" · {:.1} µs", ns as f64 / 1e3),
        ns if ns < 1_000_000_000 => format!(" · {:.3} ms", ns as f64 / 1e6),
        ns => format!(" · {:.6} s", ns as f64 / 1e9),
    };
    let line = history.line(event).map_or(String::new(), |line| format!(" · {file}#L{line}"));
    format!("#{event}{time}{line}")
}

/// Cuts a text to `most` characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A number with thousands separators.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Escapes a text for HTML elements and quoted attributes: no markup, and invisible characters made visible.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            '\u{7f}' => out.push('\u{2421}'),
            c if c < ' ' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}
