//! The anomalies found: counted, with a few examples of each in words.

use super::index::Index;
use super::levels::{Isolation, weakest};
use crate::evidence::{Edge, Link};
use crate::history::{End, Function, KeyId, OpId, Value};
use crate::linear::Count;
use std::fmt::Write;

/// Maximum number of elements shown of a list: its last ones.
const SHOWN_ELEMENTS: usize = 12;
/// Maximum number of steps shown of a transaction: its first ones.
const SHOWN_STEPS: usize = 12;
/// Maximum number of transactions drawn, or explained one by one.
pub const SHOWN_TRANSACTIONS: usize = 24;

/// Something that the history shows and some isolation level forbids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Anomaly {
    /// Its name: Adya's where there is one.
    pub name: &'static str,
    /// The transactions, which are `T1`, `T2`, … in the explanation. Those of a cycle are in its order.
    pub ops: Vec<OpId>,
    /// Which transaction must be before which, and why. In a cycle: each before the next, the last before the first.
    pub edges: Vec<Edge>,
    /// The reason in words.
    pub explanation: String,
    /// A diagram of the transactions over time.
    pub diagram: String,
    /// Whether there is certainly no shorter cycle of this kind among the transactions concerned.
    pub smallest: bool,
    /// The weakest levels that it rules out.
    pub forbidden_by: Vec<Isolation>,
}

/// Collects anomalies.
pub struct Found {
    /// The examples, in the order in which they were found.
    pub anomalies: Vec<Anomaly>,
    /// How often each anomaly was found, including those of which no example was kept.
    pub counts: Vec<Count>,
    /// The weakest levels that some anomaly rules out, whether its example was kept or not.
    ruled_out: Vec<Isolation>,
    examples: u64,
}

impl Found {
    /// Keeps up to `examples` examples of each anomaly.
    pub fn new(examples: usize) -> Found {
        Found { anomalies: Vec::new(), counts: Vec::new(), ruled_out: Vec::new(), examples: examples.max(1) as u64 }
    }

    /// Counts another anomaly of a name. Returns whether to keep its example.
    fn count(&mut self, name: &'static str) -> bool {
        let at = self.counts.iter().position(|count| count.name == name).unwrap_or_else(|| {
            self.counts.push(Count { name, times: 0 });
            self.counts.len() - 1
        });
        self.counts[at].times += 1;
        self.counts[at].times <= self.examples
    }

    /// Counts an anomaly and, if there are not enough examples yet, describes it in words.
    pub fn add(
        &mut self,
        index: &Index<'_>,
        name: &'static str,
        ops: &[u32],
        explain: impl FnOnce(&mut Words<'_, '_>) -> String,
    ) {
        self.add_told(index, name, (ops, true), weakest(name), explain);
    }

    /// Adds an anomaly that is known to rule out these levels, such as a cycle. Unless `smallest`, there may be a
    /// smaller one.
    pub fn add_told(
        &mut self,
        index: &Index<'_>,
        name: &'static str,
        (ops, smallest): (&[u32], bool),
        forbidden_by: &[Isolation],
        explain: impl FnOnce(&mut Words<'_, '_>) -> String,
    ) {
        self.ruled_out.extend(forbidden_by.iter().filter(|level| !self.ruled_out.contains(level)).collect::<Vec<_>>());
        if self.count(name) {
            self.keep(index, name, (ops, smallest), forbidden_by, explain);
        }
    }

    /// Whether an anomaly was found that a level forbids.
    pub fn rules_out(&self, level: Isolation) -> bool {
        self.ruled_out.iter().any(|&weakest| level.implies(weakest))
    }

    fn keep(
        &mut self,
        index: &Index<'_>,
        name: &'static str,
        (ops, smallest): (&[u32], bool),
        forbidden_by: &[Isolation],
        explain: impl FnOnce(&mut Words<'_, '_>) -> String,
    ) {
        let mut places: Vec<(u32, u32)> = ops.iter().copied().zip(1..).collect();
        places.sort_unstable();
        let mut words = Words { index, ops, places, edges: Vec::new() };
        let explanation = format!("{name}: {}.", explain(&mut words));
        let edges = std::mem::take(&mut words.edges);
        let mut diagram = words.diagram();
        if edges.len() > 1 {
            diagram.push_str(&words.arrows(&edges));
        }
        let ops = ops.iter().map(|&op| OpId(op)).collect();
        self.anomalies.push(Anomaly {
            name,
            ops,
            edges,
            explanation,
            diagram,
            smallest,
            forbidden_by: forbidden_by.to_vec(),
        });
    }
}

/// Describes an anomaly in words; its transactions are `T1`, `T2`, ….
pub struct Words<'a, 'h> {
    /// The index for look-ups.
    pub index: &'a Index<'h>,
    ops: &'a [u32],
    /// The transactions with their numbers, sorted.
    places: Vec<(u32, u32)>,
    edges: Vec<Edge>,
}

impl Words<'_, '_> {
    /// Returns a transaction's name: `T1`, or its process and events.
    pub fn name(&self, op: u32) -> String {
        let at = self.places.partition_point(|&(other, _)| other < op);
        match self.places.get(at).filter(|&&(other, _)| other == op) {
            Some((_, number)) => format!("T{number}"),
            None => {
                let process = self.index.history.operation(OpId(op)).process;
                format!("process {process}'s transaction {}", self.span(op))
            }
        }
    }

    /// Returns a transaction's events: `#4–#7`.
    pub fn span(&self, op: u32) -> String {
        let op = self.index.history.operation(OpId(op));
        match op.settled() {
            Some(returned) => format!("#{}–#{returned}", op.called),
            None => format!("#{}…", op.called),
        }
    }

    /// Shows a key.
    pub fn key(&self, key: KeyId) -> String {
        self.index.history.key(key).into_owned()
    }

    /// Shows a value.
    pub fn value(&self, value: Value) -> String {
        self.index.history.show(value)
    }

    /// Shows a list; omits the beginning of a long one.
    pub fn list(&self, list: &[Value]) -> String {
        let skipped = list.len().saturating_sub(SHOWN_ELEMENTS);
        let mut text = String::from("[");
        if skipped > 0 {
            let _ = write!(text, "… {skipped} more … ");
        }
        let shown: Vec<String> = list[skipped..].iter().map(|&value| self.value(value)).collect();
        text + &shown.join(" ") + "]"
    }

    /// Adds an edge: one transaction is before another.
    pub fn edge(&mut self, from: u32, to: u32, link: Link, why: String) {
        self.edges.push(Edge { from: OpId(from), to: OpId(to), link, why });
    }

    /// Describes what a transaction did.
    pub fn title(&self, op: u32) -> String {
        let steps = self.index.steps(op);
        let shown = steps.iter().take(SHOWN_STEPS).map(|step| {
            let (f, key) = (self.index.history.function(step.f), self.key(step.key));
            match (step.f, self.index.history.list(step)) {
                (Function::Read, Some(list)) => format!("read {key} = {}", self.list(list)),
                (Function::Read, None) if step.value.told().is_none() => format!("read {key}"),
                (Function::Read, None) => format!("read {key} = {}", self.value(step.value)),
                _ => format!("{f} {key} {}", self.value(step.value)),
            }
        });
        let mut text = shown.collect::<Vec<_>>().join(", ");
        if steps.len() > SHOWN_STEPS {
            let _ = write!(text, ", and {} more steps", steps.len() - SHOWN_STEPS);
        }
        match self.index.history.operation(OpId(op)).end {
            End::Fail | End::Refused => text.push_str(" (aborted)"),
            End::Info => text.push_str(" (unknown)"),
            End::Ok => {}
        }
        text
    }

    /// Draws the transactions over time, one row each.
    fn diagram(&self) -> String {
        let shown = &self.ops[..self.ops.len().min(SHOWN_TRANSACTIONS)];
        let operations: Vec<_> = shown.iter().map(|&op| self.index.history.operation(OpId(op))).collect();
        let mut moments: Vec<u32> =
            operations.iter().flat_map(|op| [Some(op.called), op.settled()]).flatten().collect();
        moments.sort_unstable();
        let step = (48 / moments.len().max(1)).clamp(2, 8);
        let column = |moment: u32| moments.partition_point(|&m| m < moment) * step;
        let rows = shown.iter().zip(&operations).map(|(&op, operation)| {
            let labels = [self.name(op), format!("p{}", operation.process), self.title(op), self.span(op)];
            let start = column(operation.called);
            let end = operation.settled().map_or(moments.len() * step, column);
            let (line, tip) = if operation.settled().is_some() { ("─", "┤") } else { ("╌", "") };
            (labels, format!("{:start$}├{}{tip}", "", line.repeat(end.saturating_sub(start + 1))))
        });
        let rows: Vec<_> = rows.collect();
        let width = |i: usize| rows.iter().map(|(labels, _)| labels[i].chars().count()).max().unwrap_or(0);
        let [a, b, c, d] = [0, 1, 2, 3].map(width);
        let mut text = String::new();
        for ([name, process, title, span], bar) in &rows {
            let _ = writeln!(text, "  {name:<a$}  {process:<b$}  {title:<c$}  {span:<d$}  {bar}");
        }
        if self.ops.len() > shown.len() {
            let _ = writeln!(text, "  … and {} more", self.ops.len() - shown.len());
        }
        text
    }

    /// Shows a cycle in one line.
    fn arrows(&self, edges: &[Edge]) -> String {
        let mut text = String::from("  ");
        for edge in edges.iter().take(SHOWN_TRANSACTIONS) {
            let label = edge.why.split(':').next().unwrap_or_default();
            let _ = write!(text, "{} ──{label}→ ", self.name(edge.from.0));
        }
        if edges.len() > SHOWN_TRANSACTIONS {
            text.push_str("… → ");
        }
        match edges.first() {
            Some(first) => text + &self.name(first.from.0) + "\n",
            None => text,
        }
    }
}
