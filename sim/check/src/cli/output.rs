//! Formats reports as text and as JSON.

use seaworthy_check::format::Reading;
use seaworthy_check::{Amount, End, Evidence, Figure, Function, History, OpId, Report, Value, Verdict};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

/// Maximum number of violations that are printed. The rest is only counted.
const TOLD: usize = 5;

/// The account of the input, one line per item.
pub fn understood(file: &str, reading: &Reading) -> Vec<String> {
    let Reading { history, format, compression, understood, .. } = reading;
    let packed = compression.map_or(String::new(), |how| format!(", {how}"));
    let (operations, keys) = (history.operations().len(), history.keys());
    let plural = if keys == 1 { "" } else { "s" };
    let told = understood.to_string();
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    if let Some(first) = lines.first_mut() {
        *first = format!("{file}: {}{packed}, {first}: {operations} operations on {keys} key{plural}", format.name());
    }
    lines
}

/// The settings of a reading, by name.
pub fn settings(reading: &Reading) -> Vec<(String, String)> {
    let settings = reading.settings.to_string();
    let pair = |part: &str| part.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.split("; ").filter_map(pair).collect()
}

/// The verdict of a report in a word or two.
pub fn word(report: &Report) -> &'static str {
    if report.is_valid() {
        "valid"
    } else if report.violations().next().is_some() {
        "not valid"
    } else {
        "unknown"
    }
}

/// A report as text.
pub fn text(history: &History, report: &Report, colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let (violations, unknowns) = (report.violations().count(), report.unknowns().count());
    let parts = report.parts.len();
    let headline = match (violations, unknowns) {
        (0, 0) => paint("32", &format!("VALID: {}", report.property)),
        (0, n) => paint("33", &format!("UNKNOWN: {} ({n} of {parts} parts undecided)", report.property)),
        (n, 0) => paint("31", &format!("NOT VALID: not {} ({n} of {parts} parts)", report.property)),
        (n, m) => paint("31", &format!("NOT VALID: not {} ({n} of {parts} parts, {m} undecided)", report.property)),
    };
    let mut text = format!("{headline}\n");
    let _ = writeln!(text, "  decided by {}", procedures(report).join(", "));
    text += &figures(report);
    for (part, why) in report.unknowns().take(TOLD) {
        let _ = writeln!(text, "  {part}: unknown, {why}");
    }
    if let Some(hint) = hint(history, report) {
        let _ = writeln!(text, "  hint: {hint}");
    }
    for evidence in report.violations().take(TOLD) {
        let _ = writeln!(text, "\n{}", evidence.to_string().trim_end());
    }
    if violations > TOLD {
        let _ = writeln!(text, "\n… and {} more; --json and --html have them all", violations - TOLD);
    }
    text
}

/// The figures of the first parts, one per line. Empty lists are left out.
fn figures(report: &Report) -> String {
    let mut text = String::new();
    let parts = report.parts.iter().filter(|part| !part.figures.is_empty());
    for part in parts.clone().take(TOLD) {
        let of = if report.parts.len() > 1 { format!("{}: ", part.name) } else { String::new() };
        for Figure { name, amount } in &part.figures {
            let amount = match amount {
                Amount::Count(n) => n.to_string(),
                Amount::Sum(n) => n.to_string(),
                Amount::Elements(all) if all.is_empty() => continue,
                Amount::Elements(all) => shortened(all),
                Amount::Quantiles(of) => {
                    let each = of.iter().map(|(part, most)| format!("{part}: {most} ms"));
                    each.collect::<Vec<_>>().join(", ")
                }
            };
            let _ = writeln!(text, "  {of}{name:<20} {amount}");
        }
    }
    let more = parts.count().saturating_sub(TOLD);
    if more > 0 {
        let _ = writeln!(text, "  … and {more} more keys; --json has them all");
    }
    text
}

/// The first elements of a long list.
fn shortened(all: &[String]) -> String {
    const SHOWN: usize = 16;
    match all.len().saturating_sub(SHOWN) {
        0 => all.join(" "),
        more => format!("{} … and {more} more", all[..SHOWN].join(" ")),
    }
}

/// Advice if a limit ended the check, or if the verdict depends on the meaning of a word.
fn hint(history: &History, report: &Report) -> Option<&'static str> {
    let unknown = |what: &str| report.unknowns().any(|(_, why)| why.contains(what));
    // Evidence that may depend on the initial value of registers.
    let in_doubt =
        |evidence: &Evidence| evidence.anomaly == "phantom value" || evidence.anomaly.starts_with("no serial order");
    let found = |op: &OpId| {
        let op = history.operation(*op);
        (op.f, op.end) == (Function::Delete, End::Ok) && op.told_revision().is_none()
    };
    if unknown("a read of nil") {
        Some(
            "say what it says: --nil absent where nil means that nothing was there, --nil unknown where it means nothing",
        )
    } else if unknown("limit") {
        Some(
            "give it more, as --budget 10m,4GB; or record a history in which each written value is different, which needs no search",
        )
    } else if history.initial() == Value::NIL && report.violations().any(in_doubt) {
        Some("registers are taken to hold nil at first; --initial says what else they hold, as --initial 0")
    } else if report.violations().any(|evidence| ["reordered", "lost element"].contains(&&*evidence.anomaly))
        && history.operations().iter().any(|op| op.f == Function::Enqueue)
    {
        Some("the model queue is first in, first out; say --model unordered-queue where no order is promised")
    } else if report.violations().any(|evidence| evidence.core.iter().any(found)) {
        Some("an ok delete is taken to have found the key; say --delete any if it may have found nothing")
    } else {
        None
    }
}

/// The procedures that decided the parts, each with its number of parts.
pub fn procedures(report: &Report) -> Vec<String> {
    let mut by: Vec<&str> = report.parts.iter().map(|part| part.by).collect();
    by.sort_unstable();
    let count = |group: &[&str]| format!("{} ({})", group[0], group.len());
    by.chunk_by(|a, b| a == b).map(count).collect()
}

/// A report as JSON.
pub fn json(history: &History, report: &Report) -> Json {
    let parts = report.parts.iter().map(|part| {
        let (verdict, why, evidence) = match &part.verdict {
            Verdict::Valid => ("valid", Json::Null, Json::Null),
            Verdict::Unknown(why) => ("unknown", json!(why), Json::Null),
            Verdict::Invalid(evidence) => ("not valid", Json::Null, evidence_json(history, evidence)),
        };
        json!({
            "part": part.name, "operations": part.operations, "verdict": verdict, "why": why,
            "by": part.by, "steps": part.steps, "evidence": evidence, "figures": figures_json(&part.figures),
            "anomalies": part.counts.iter().map(|count| (count.name.replace(' ', "-"), json!(count.times))).collect::<serde_json::Map<_, _>>(),
        })
    });
    json!({ "property": report.property, "verdict": word(report), "hint": hint(history, report), "parts": parts.collect::<Vec<_>>() })
}

fn figures_json(figures: &[Figure]) -> Json {
    let one = |figure: &Figure| {
        let amount = match &figure.amount {
            Amount::Count(n) => json!(n),
            Amount::Sum(n) => i64::try_from(*n).map_or_else(|_| json!(n.to_string()), |n| json!(n)),
            Amount::Elements(all) => json!(all),
            Amount::Quantiles(of) => of.iter().map(|(part, most)| ((*part).to_owned(), json!(most))).collect(),
        };
        (figure.name.to_owned(), amount)
    };
    Json::Object(figures.iter().map(one).collect())
}

fn evidence_json(history: &History, evidence: &Evidence) -> Json {
    let operations: Vec<Json> = evidence.core.iter().map(|&op| operation(history, op)).collect();
    let edges: Vec<Json> =
        evidence.edges.iter().map(|edge| json!({ "from": edge.from.0, "to": edge.to.0, "why": edge.why })).collect();
    json!({
        "anomaly": evidence.anomaly, "explanation": evidence.explanation, "minimal": evidence.minimal,
        "event": evidence.event, "breaks": evidence.breaks.map(|op| op.0), "operations": operations, "edges": edges,
        "given": evidence.given.iter().map(|op| op.0).collect::<Vec<_>>(),
    })
}

fn operation(history: &History, id: OpId) -> Json {
    let op = history.operation(id);
    let told = |value: seaworthy_check::Value| value.told().map(|value| history.show(value));
    json!({
        "op": id.0, "process": op.process, "f": history.function(op.f), "key": history.key(op.key),
        "asked": told(op.arg), "compare": told(op.compare), "reply": told(op.reply),
        "revision": op.told_revision(), "called": op.called, "returned": op.settled(),
        "line": history.line(op.called),
    })
}
