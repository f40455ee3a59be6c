//! Draws an overview of the whole history: one lane per client, darker where it has more operations.

use super::{count, escape};
use crate::evidence::Evidence;
use crate::history::{End, History, NEVER};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Maximum number of lanes and columns.
const LANES: usize = 32;
const COLUMNS: usize = 240;
/// Maximum number of unknown outcomes that are marked.
const MARKS: usize = 300;
const WIDTH: usize = 960;
const TALL: usize = 14;

/// Draws the lanes of the history, with the events at which parts became impossible.
pub(super) fn overview(history: &History, violations: &[&Evidence]) -> String {
    let mut busy: BTreeMap<u32, usize> = BTreeMap::new();
    history.operations().iter().for_each(|op| *busy.entry(op.process).or_default() += 1);
    let clients = busy.len();
    let mut most: Vec<(usize, u32)> = busy.iter().map(|(&process, &ops)| (ops, process)).collect();
    most.sort_unstable_by(|a, b| b.cmp(a));
    most.truncate(LANES);
    let mut lanes: Vec<u32> = most.iter().map(|&(_, process)| process).collect();
    lanes.sort_unstable();
    let lane: BTreeMap<u32, usize> = lanes.iter().enumerate().map(|(i, &process)| (process, i)).collect();

    let events = u64::from(history.events()).max(1);
    let column = |event: u32| (u64::from(event) * COLUMNS as u64 / events) as usize;
    let mut load = vec![vec![0u32; COLUMNS]; lanes.len()];
    let mut marks: Vec<(usize, usize)> = Vec::new();
    let mut unknown = 0usize;
    for op in history.operations() {
        unknown += usize::from(op.end == End::Info);
        let Some(&row) = lane.get(&op.process) else { continue };
        let until = if op.returned == NEVER { op.called } else { op.returned };
        (column(op.called)..=column(until)).for_each(|c| load[row][c] += 1);
        if op.end == End::Info && marks.len() < MARKS {
            marks.push((row, column(op.called)));
        }
    }
    let peak = load.iter().flatten().copied().max().unwrap_or(1).max(1);
    let mut levels = [const { String::new() }; 4];
    for (row, load) in load.iter().enumerate() {
        let level = |c: usize| (load[c] > 0).then(|| ((load[c] - 1) * 4 / peak) as usize);
        let mut from = 0;
        while from < COLUMNS {
            let to = (from..COLUMNS).find(|&c| level(c) != level(from)).unwrap_or(COLUMNS);
            if let Some(level) = level(from) {
                let (x, w, y) = (from * WIDTH / COLUMNS, (to - from) * WIDTH / COLUMNS, row * TALL + 2);
                let _ = write!(levels[level], "M{x} {y}h{w}v{}h-{w}z", TALL - 4);
            }
            from = to;
        }
    }
    let height = lanes.len() * TALL + 6;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"overview\" role=\"img\" aria-label=\"Operations of each client over \
         the whole history\" viewBox=\"-52 0 {} {}\">",
        WIDTH + 60,
        height + 18
    );
    for (row, process) in lanes.iter().enumerate() {
        let _ = write!(out, "<text class=\"who\" x=\"-8\" y=\"{}\">p{process}</text>", row * TALL + 11);
    }
    for (level, path) in levels.iter().enumerate() {
        let _ = write!(out, "<path class=\"d{level}\" d=\"{path}\"/>");
    }
    for (row, c) in &marks {
        let _ = write!(
            out,
            "<circle class=\"mark\" cx=\"{}\" cy=\"{}\" r=\"2.5\"/>",
            c * WIDTH / COLUMNS + 2,
            row * TALL + TALL / 2
        );
    }
    for (number, event) in violations.iter().take(40).enumerate().filter_map(|(i, e)| Some((i + 1, e.event?))) {
        let x = (u64::from(event) * WIDTH as u64 / events) as usize;
        let _ = write!(
            out,
            "<a href=\"#violation{number}\"><title>violation {number}: {}</title><path class=\"broken\" d=\"M{x} 0V{height}\"/>\
             <text class=\"broken\" x=\"{x}\" y=\"{}\">{number}</text></a>",
            escape(&super::cut(&violations[number - 1].part, 60)),
            height + 12
        );
    }
    out.push_str("</svg><p class=\"note\">");
    let _ = write!(
        out,
        "{} events from left to right, {} operations of {} clients",
        count(events),
        count(history.operations().len() as u64),
        count(clients as u64)
    );
    if clients > lanes.len() {
        let _ = write!(out, " (the {} busiest are shown)", lanes.len());
    }
    if unknown > 0 {
        let _ = write!(out, "; <span class=\"dot\"></span> {} of unknown outcome", count(unknown as u64));
        if unknown > marks.len() {
            let _ = write!(out, ", {} of them marked", count(marks.len() as u64));
        }
    }
    out.push_str(".</p>");
    out
}
