//! Evidence about sessions: descriptions of cycles, and diagrams of the operations over time.

use super::graph::{Edge, Why};
use super::trace::{Trace, is_access};
use crate::evidence::{self, Evidence};
use crate::history::{Call, History, KvOperation, OpId, Outcome, Reply, Value};
use std::fmt::Write;

/// Maximum number of operations in a diagram.
const SHOWN: usize = 40;

/// Describes an operation in a few words: `process 3's read of x → 7`.
pub fn op(history: &History, id: OpId) -> String {
    let kv = history.kv(id);
    format!("process {}'s {}", kv.process, title(history, &kv))
}

fn title(history: &History, kv: &KvOperation) -> String {
    let key = history.key(kv.key);
    let seen = |value: Value| if value == Value::NIL { "missing".to_owned() } else { history.show(value) };
    let revision = |r: Option<u64>| r.map_or(String::new(), |r| format!(" r{r}"));
    let when = match kv.call.condition() {
        Some(when) if !when.is_always() => match when.value {
            Some(value) => format!(" if {}", seen(value)),
            None => " on condition".to_owned(),
        },
        _ => String::new(),
    };
    let what = match kv.call {
        Call::Get => format!("read {key}"),
        Call::Put { value, .. } => format!("write {key} = {}{when}", history.show(value)),
        Call::Delete { .. } => format!("delete {key}{when}"),
    };
    let reply = match kv.outcome {
        Outcome::Ok(Reply::Got(v)) => {
            format!(" → {}{}", seen(v.map_or(Value::NIL, |v| v.value)), revision(v.and_then(|v| v.revision)))
        }
        Outcome::Ok(Reply::Done { revision: r }) => revision(r),
        Outcome::Ok(Reply::Refused(v)) => {
            format!(" refused, saw {}{}", seen(v.map_or(Value::NIL, |v| v.value)), revision(v.and_then(|v| v.revision)))
        }
        Outcome::Ok(Reply::Declined) => " refused".to_owned(),
        Outcome::Fail => " failed".to_owned(),
        Outcome::Info => " outcome unknown".to_owned(),
    };
    what + &reply
}

/// Draws the operations over time, one row each.
pub fn diagram(history: &History, ops: &[OpId]) -> String {
    let shown: Vec<KvOperation> = ops.iter().take(SHOWN).map(|&op| history.kv(op)).collect();
    let mut moments: Vec<u32> = shown.iter().flat_map(|kv| [Some(kv.called.index), kv.settled()]).flatten().collect();
    moments.sort_unstable();
    let step = (60 / moments.len().max(1)).clamp(2, 8);
    let column = |moment: u32| moments.partition_point(|&m| m < moment) * step;
    let titles: Vec<String> = shown.iter().map(|kv| title(history, kv)).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (kv, title) in shown.iter().zip(&titles) {
        let start = column(kv.called.index);
        let bar = match kv.settled() {
            Some(ret) => format!("├{}┤", "─".repeat(column(ret).saturating_sub(start + 1))),
            None => format!("├{}╌", "╌".repeat((moments.len() * step).saturating_sub(start + 1))),
        };
        let _ = writeln!(text, "  p{:<4} #{:<7} {title:<width$}  {:start$}{bar}", kv.process, kv.called.index, "");
    }
    if ops.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more", ops.len() - SHOWN);
    }
    text
}

/// Returns evidence of operations that contradict each other, without edges.
pub fn plain(history: &History, part: &str, anomaly: &str, core: Vec<OpId>, explanation: String) -> Box<Evidence> {
    let diagram = diagram(history, &core);
    Box::new(Evidence::of_clash((part, anomaly), (core, None), diagram, explanation))
}

/// Returns evidence of a cycle.
pub fn cycle(
    history: &History,
    trace: &Trace,
    part: &str,
    anomaly: &str,
    intro: &str,
    cycle: &[Edge],
) -> Box<Evidence> {
    let id = |access: u32| trace.accesses[access as usize].op;
    let mut accesses = Vec::new();
    let mut edges = Vec::new();
    let mut text = format!("{intro}. A cycle:");
    for edge in cycle {
        accesses.extend([edge.from, edge.to]);
        if let Why::Seen(by) | Why::Unseen(by) | Why::Guarantee(by) = edge.why {
            accesses.push(by);
            let source = trace.accesses[by as usize].source;
            accesses.extend(is_access(source).then_some(source));
        }
        let why = why(history, trace, edge);
        let _ = write!(text, "\n- {} is before {}: {why}", op(history, id(edge.from)), op(history, id(edge.to)));
        let link = match edge.why {
            Why::Session => evidence::Link::Process,
            Why::RealTime => evidence::Link::Realtime,
            Why::ReadsFrom => evidence::Link::Wr(history.operation(id(edge.from)).key),
            _ => evidence::Link::Other,
        };
        edges.push(evidence::Edge { from: id(edge.from), to: id(edge.to), link, why });
    }
    let mut evidence = plain(history, part, anomaly, trace.ops(&accesses), text);
    evidence.edges = edges;
    evidence.minimal = false;
    evidence
}

fn why(history: &History, trace: &Trace, edge: &Edge) -> String {
    let name = |access: u32| op(history, trace.accesses[access as usize].op);
    match edge.why {
        Why::Session => "the same session did them in this order".to_owned(),
        Why::ReadsFrom => "it read what that wrote".to_owned(),
        Why::Revisions => "revisions".to_owned(),
        Why::RealTime => "it had returned before the other was called".to_owned(),
        Why::Seen(by) => format!("{} came after both and saw the latter", name(by)),
        Why::Unseen(by) => format!("it read {}, which is before the latter", name(by)),
        Why::Guarantee(by) if by == edge.to => "the guarantee asks for this order of the two writes".to_owned(),
        Why::Guarantee(by) => format!("the guarantee asks that {} sees the former, and it saw the latter", name(by)),
    }
}
