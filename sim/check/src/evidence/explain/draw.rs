//! Draws operations over time as text: one row per operation, events evenly spaced.

use super::show::{reply, request};
use crate::history::{History, OpId, Operation};
use std::fmt::Write;

/// Draws the core over time. Marks `breaks`, the operation whose reply is impossible, if there is one.
pub fn diagram(history: &History, breaks: impl Into<Option<OpId>>, core: &[OpId]) -> String {
    let breaks = breaks.into();
    let shown = super::focus(breaks, core);
    let ops: Vec<&Operation> = shown.iter().map(|&op| history.operation(op)).collect();
    let mut moments: Vec<u32> = ops.iter().flat_map(|op| [Some(op.called), op.settled()]).flatten().collect();
    moments.sort_unstable();
    let step = (60 / moments.len().max(1)).clamp(2, 8);
    let column = |moment: u32| moments.partition_point(|&m| m < moment) * step;
    let labels: Vec<[String; 3]> = ops
        .iter()
        .map(|op| {
            [
                format!("p{}", op.process),
                format!("{} → {}", request(history, op), reply(history, op)),
                when(history, op),
            ]
        })
        .collect();
    let width = |i: usize| labels.iter().map(|label| label[i].chars().count()).max().unwrap_or(0);
    let [a, b, c] = [width(0), width(1), width(2)];
    let mut text = String::new();
    for ((op, &id), [process, what, when]) in ops.iter().zip(&shown).zip(&labels) {
        let start = column(op.called);
        let bar = match op.settled() {
            Some(ret) => format!("├{}┤", "─".repeat(column(ret).saturating_sub(start + 1))),
            None => format!("├{}╌", "╌".repeat((moments.len() * step).saturating_sub(start + 1))),
        };
        let mark = if Some(id) == breaks { " ✗" } else { "" };
        let _ = writeln!(text, "  {process:<a$}  {what:<b$}  {when:<c$}  {:start$}{bar}{mark}", "");
    }
    if core.len() > shown.len() {
        let _ = writeln!(text, "  … and {} more", core.len() - shown.len());
    }
    text
}

/// The events of an operation, and their source lines.
fn when(history: &History, op: &Operation) -> String {
    let (call, settled) = (op.called, op.settled());
    let events = settled.map_or(format!("#{call}…"), |ret| format!("#{call}–#{ret}"));
    match (history.line(call), settled.and_then(|ret| history.line(ret))) {
        (None, _) => events,
        (Some(line), None) => format!("{events} line {line}"),
        (Some(first), Some(last)) => format!("{events} lines {first}–{last}"),
    }
}
