//! The layout of a drawing: which operations of a violation are drawn, the lanes, the columns of events, and the
//! moments of an order.
//!
//! Only the order of events matters. So the horizontal axis has one column for each event of the operations shown, as
//! wide as their labels need. An order respects real time, so its moments can be placed from left to right within the
//! bars. Each is as early as the call of its operation and the previous moment allow.

use crate::evidence::explain::show;
use crate::evidence::{Edge, Evidence};
use crate::history::{End, Function, History, NEVER, OpId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of operations drawn for one violation.
pub(super) const MOST: usize = 400;
/// Maximum number of operations of the core among them.
const MOST_CORE: usize = 200;
/// Heights: of a lane's row, of a row among many, of a row with edges, of a bar, and of the axis at the top.
const ROW: f64 = 50.0;
const LOW_ROW: f64 = 42.0;
const TALL_ROW: f64 = 92.0;
pub(super) const BAR: f64 = 26.0;
pub(super) const TOP: f64 = 30.0;
/// Space to the left of the first event and to the right of the last one.
pub(super) const MARGIN: f64 = 18.0;

/// A bar.
pub(super) struct Bar {
    pub op: OpId,
    pub core: bool,
    pub label: String,
    pub left: f64,
    pub right: f64,
    /// The bar has no certain end in the drawing. It fades out, up to the client's next operation or the end.
    pub open: bool,
    pub row: usize,
}

/// A moment of the order.
pub(super) struct Point {
    pub bar: usize,
    /// Index in the whole order, from 0.
    pub place: usize,
    pub x: f64,
}

pub(super) struct Lane {
    pub process: u32,
    pub first_row: usize,
    pub rows: usize,
}

pub(super) struct Chart {
    pub bars: Vec<Bar>,
    pub lanes: Vec<Lane>,
    pub rows: usize,
    pub row_height: f64,
    pub points: Vec<Point>,
    /// The events shown and their positions.
    pub ticks: Vec<(u32, f64)>,
    pub width: f64,
    /// Number of operations of the part that were called before it became impossible and are not shown.
    pub hidden: usize,
    /// The position at which the history became impossible.
    pub end: Option<f64>,
}

/// Lays out a violation with at most `others` operations besides the core.
pub(super) fn lay_out(history: &History, evidence: &Evidence, others: usize) -> Chart {
    let (shown, hidden) = select(history, evidence, others);
    let core: BTreeSet<OpId> = evidence.core.iter().copied().collect();
    let end = evidence.event.unwrap_or(u32::MAX);
    // A failed operation has an end: it is certain that it had no effect.
    let settled = |op: OpId| {
        let op = history.operation(op);
        op.settled().or((op.end == End::Fail).then_some(op.returned)).filter(|&ret| ret <= end)
    };
    let mut events: Vec<u32> =
        shown.iter().flat_map(|&op| [Some(history.operation(op).called), settled(op)]).flatten().collect();
    events.sort_unstable();
    let column = |event: u32| events.partition_point(|&other| other < event);
    let label = |op: OpId| {
        let text = label(history, op, core.contains(&op), Some(op) == evidence.breaks);
        number(history, evidence, op).map_or(text.clone(), |n| format!("T{n} {text}"))
    };
    let labels: Vec<String> = shown.iter().map(|&op| label(op)).collect();

    let (order, at) = moments(history, &shown, &evidence.order);
    let mut crowd = vec![0usize; events.len() + 1];
    at.iter().for_each(|&event| crowd[column(event)] += 1);

    // Places each column far enough to the right for the bars that end there and the moments before it.
    let edge_width = |op: OpId| {
        let edges = evidence.edges.iter().filter(|edge| edge.from == op || edge.to == op);
        edges.map(|edge| text_width(kind(edge)) + 40.0).sum::<f64>().min(620.0)
    };
    let mut ending: Vec<Vec<(usize, f64)>> = vec![Vec::new(); events.len() + 1];
    for (&op, label) in shown.iter().zip(&labels) {
        let most = if core.contains(&op) { 330.0 } else { 150.0 };
        let need = (text_width(label) + 18.0).min(most).max(edge_width(op));
        let last = settled(op).map_or(events.len(), column);
        ending[last].push((column(history.operation(op).called), need));
    }
    let mut xs: Vec<f64> = Vec::with_capacity(events.len() + 1);
    for (i, ending) in ending.iter().enumerate() {
        let before = xs.last().map_or(MARGIN, |x| x + 12.0 + 20.0 * crowd[i.saturating_sub(1)] as f64);
        xs.push(
            ending.iter().map(|&(from, need)| xs.get(from).copied().unwrap_or(MARGIN) + need).fold(before, f64::max),
        );
    }
    let last = xs.last().copied().unwrap_or(MARGIN);
    let late = |op: OpId| {
        let moment = order.iter().zip(&at).find(|((_, other), _)| *other == op).map(|(_, &at)| at);
        moment.is_some_and(|moment| moment > history.operation(op).returned)
    };
    let (rows, lanes) = rows(history, &shown, &|op| match settled(op) {
        None if history.operation(op).end == End::Info && !late(op) => history.operation(op).returned,
        until => until.unwrap_or(NEVER),
    });
    let bars = shown.iter().zip(labels).zip(&rows).map(|((&op, label), &row)| {
        let right = settled(op).map_or(last, |ret| xs[column(ret)]);
        let left = xs[column(history.operation(op).called)];
        Bar { op, core: core.contains(&op), label, left, right, open: settled(op).is_none(), row }
    });
    let mut bars: Vec<Bar> = bars.collect();
    for i in 0..bars.len() {
        let next = bars[i + 1..].iter().find(|bar| bar.row == bars[i].row).map(|bar| bar.left - 6.0);
        let next = next.filter(|_| bars[i].open);
        bars[i].right = next.unwrap_or(bars[i].right).max(bars[i].left + 8.0);
    }
    let place: BTreeMap<OpId, usize> = bars.iter().enumerate().map(|(i, bar)| (bar.op, i)).collect();
    let mut points = Vec::new();
    let mut nth = vec![0usize; events.len() + 1];
    for (&(at_place, op), &event) in order.iter().zip(&at) {
        let c = column(event);
        nth[c] += 1;
        let share = nth[c] as f64 / (crowd[c] + 1) as f64;
        let x = xs[c] + share * (xs.get(c + 1).copied().unwrap_or(last) - xs[c]);
        points.extend(place.get(&op).map(|&bar| Point { bar, place: at_place, x }));
    }
    let total = lanes.last().map_or(0, |lane: &Lane| lane.first_row + lane.rows);
    let points_end = evidence.event.is_some() && points.last().is_some_and(|point: &Point| point.x > last - 120.0);
    Chart {
        bars,
        rows: total,
        row_height: match evidence.edges.is_empty() {
            false => TALL_ROW,
            true if total > 10 => LOW_ROW,
            true => ROW,
        },
        lanes,
        points,
        ticks: events.iter().map(|&event| (event, xs[column(event)])).collect(),
        // Room for the state where the order is stuck.
        width: last + MARGIN + if points_end { 120.0 } else { 0.0 },
        hidden,
        end: evidence.event.map(|event| xs[column(event)]),
    }
}

/// The kind of an edge's reason: its text up to the colon. The rest is in the explanation.
pub(super) fn kind(edge: &Edge) -> &str {
    edge.why.split(':').next().unwrap_or_default()
}

/// The number of a transaction in the explanation (`T1`, `T2`, …), if the edges determine it.
fn number(history: &History, evidence: &Evidence, op: OpId) -> Option<usize> {
    let mut seen: Vec<OpId> = Vec::new();
    for other in evidence.edges.iter().flat_map(|edge| [edge.from, edge.to]) {
        if !seen.contains(&other) {
            seen.push(other);
        }
    }
    if evidence.edges.is_empty() && evidence.core.len() == 1 {
        seen.clone_from(&evidence.core);
    }
    let at = seen.iter().position(|&other| other == op).filter(|_| history.operation(op).f == Function::Txn);
    at.map(|at| at + 1)
}

/// The approximate width of a text in a bar.
pub(super) fn text_width(text: &str) -> f64 {
    7.25 * text.chars().count() as f64
}

fn label(history: &History, op: OpId, core: bool, breaks: bool) -> String {
    let op = history.operation(op);
    let (asked, told) = (show::request(history, op), show::reply(history, op));
    let text = match (op.end, told.as_str()) {
        (End::Ok, "done" | "committed") => asked,
        (End::Info, _) => format!("{asked} → ?"),
        _ => format!("{asked} → {told}"),
    };
    let text = super::cut(&text, if core { 60 } else { 24 });
    if breaks { format!("✗ {text}") } else { text }
}

/// Returns the core (or the end of a large one) and the operations of the part that are closest to it, in the order of
/// calls. Also returns the number of operations left out.
fn select(history: &History, evidence: &Evidence, others: usize) -> (Vec<OpId>, usize) {
    let core = &evidence.core;
    let mut shown: BTreeSet<OpId> = core[core.len().saturating_sub(MOST_CORE)..].iter().copied().collect();
    shown.extend(evidence.breaks);
    let Some(&about) = shown.first() else { return (Vec::new(), 0) };
    let (key, end) = (history.operation(about).key, evidence.event.unwrap_or(u32::MAX));
    let spans: Vec<(u32, u32)> = shown
        .iter()
        .map(|&op| history.operation(op))
        .map(|op| (op.called, op.settled().unwrap_or(op.called).min(end)))
        .collect();
    let mut near: Vec<(u32, Reverse<OpId>)> = Vec::new();
    for (i, op) in (0..).map(OpId).zip(history.operations()).take_while(|(_, op)| op.called <= end) {
        if op.key == key && !shown.contains(&i) {
            let until = op.settled().unwrap_or(op.called);
            let gap = |&(from, to): &(u32, u32)| from.saturating_sub(until).max(op.called.saturating_sub(to));
            near.push((spans.iter().map(gap).min().unwrap_or(0), Reverse(i)));
        }
    }
    let room = others.min(MOST.saturating_sub(shown.len()));
    near.sort_unstable();
    shown.extend(near.iter().take(room).map(|&(_, Reverse(op))| op));
    let all = near.len() + core.len().max(shown.len() - room.min(near.len()));
    let hidden = all.saturating_sub(shown.len());
    (shown.into_iter().collect(), hidden)
}

/// The operations of the order that are shown, and their moments: for each, the first event from which it is possible.
fn moments(history: &History, shown: &[OpId], order: &[OpId]) -> (Vec<(usize, OpId)>, Vec<u32>) {
    let order = order.iter().copied().enumerate().filter(|(_, op)| shown.binary_search(op).is_ok());
    let order: Vec<(usize, OpId)> = order.collect();
    let mut latest = 0;
    let at = order.iter().map(|&(_, op)| {
        latest = history.operation(op).called.max(latest);
        latest
    });
    let at = at.collect();
    (order, at)
}

/// Assigns a row to each operation: the first free row of its client, given when each operation is `over`. A client has
/// several operations at a time only after unknown outcomes.
fn rows(history: &History, shown: &[OpId], over: &impl Fn(OpId) -> u32) -> (Vec<usize>, Vec<Lane>) {
    let mut lanes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut at = Vec::with_capacity(shown.len());
    for &id in shown {
        let op = history.operation(id);
        let busy = lanes.entry(op.process).or_default();
        let row = busy.iter().position(|&until| until < op.called).unwrap_or(busy.len());
        if row == busy.len() {
            busy.push(over(id));
        } else {
            busy[row] = over(id);
        }
        at.push((op.process, row));
    }
    let mut first_row = 0;
    let lanes = lanes.into_iter().map(|(process, busy)| {
        let lane = Lane { process, first_row, rows: busy.len() };
        first_row += busy.len();
        lane
    });
    let lanes: Vec<Lane> = lanes.collect();
    let first = |process: u32| lanes.iter().find(|lane| lane.process == process).map_or(0, |lane| lane.first_row);
    (at.iter().map(|&(process, row)| first(process) + row).collect(), lanes)
}
