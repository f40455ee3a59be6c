//! An order in which the transactions could have run one after the other: a topological one of the dependencies.
//!
//! Of lists every such order explains the replies, if the reads contradict each other nowhere. Of registers the dependencies
//! say little of the order of writes; so a transaction's turn comes only when the state is the one that it read, and when all
//! that must still read what it would overwrite have done so. That is no search: it may fail where an order exists.

use super::Options;
use super::append::Lists;
use super::found::Found;
use super::graph::{Builder, Graph, Link};
use super::index::{Index, NONE, Step};
use super::register::{Registers, version};
use crate::history::{End, Function, History, OpId};
use std::collections::BTreeSet;

/// An order that respects the dependencies that replies show, and beside them nothing (0), or the order within each client
/// (1), or real time (2). The replies should still be looked at in this order.
#[must_use]
pub fn serial_order(history: &History, order: u8) -> Option<Vec<OpId>> {
    let mut index = Index::new(history).ok()?;
    let mut found = Found::new(1);
    let mut graph = Builder::new(history.operations().len(), 6 * history.operations().len());
    let mut lists = Lists::new(&mut index, &mut found);
    Registers::new(&mut index, &Options::default(), &mut graph, &mut found);
    lists.depend(&index, &mut graph, &mut found);
    graph.orders(history, |op| index.counts(op));
    let graph = graph.finish()?;
    let base = [Link::Ww, Link::Wr, Link::Rw, Link::Via].iter().map(|link| link.mask()).sum::<u8>();
    let (process, realtime) = (Link::Process.mask(), Link::Realtime.mask());
    // Real time, even where it is not asked for, leaves fewer to choose from, and most often rightly.
    let masks = [base | process | realtime, base | process, base];
    masks[..3 - usize::from(order.min(2))]
        .iter()
        .find_map(|&mask| Turns::new(&index, &graph, mask).take(&index, &graph))
}

/// Whose turn it can be.
struct Turns {
    mask: u8,
    /// By node: edges from nodes that had no turn yet.
    waits: Vec<u32>,
    /// Transactions that wait for none.
    ready: BTreeSet<u32>,
    /// By version: transactions that read it first of all and had no turn yet.
    readers: Vec<u32>,
    /// By key: the version that it has.
    now: Vec<u32>,
}

impl Turns {
    fn new(index: &Index<'_>, graph: &Graph, mask: u8) -> Turns {
        let mut waits = vec![0; graph.nodes()];
        for node in 0..graph.nodes() as u32 {
            for (to, _) in graph.out(node).filter(|(_, link)| mask & link.mask() != 0) {
                waits[to as usize] += 1;
            }
        }
        let keys = index.uses.len() as u32;
        let mut turns = Turns {
            mask,
            ready: BTreeSet::new(),
            readers: vec![0; index.writes.len() + keys as usize],
            now: (0..keys).map(|key| index.writes.len() as u32 + key).collect(),
            waits,
        };
        for op in (0..index.fates.len() as u32).filter(|&op| index.counts(op)) {
            for (_, seen) in outer_reads(index, op) {
                turns.readers[seen as usize] += 1;
            }
        }
        for node in (0..graph.nodes() as u32).filter(|&node| turns.waits[node as usize] == 0).collect::<Vec<_>>() {
            turns.open(graph, node);
        }
        turns
    }

    /// A node waits for none: a helping one is gone at once, and perhaps others with it.
    fn open(&mut self, graph: &Graph, node: u32) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if graph.is_real(node) {
                self.ready.insert(node);
            } else {
                open.extend(self.pass(graph, node));
            }
        }
    }

    /// Those that waited for this node only.
    fn pass(&mut self, graph: &Graph, node: u32) -> Vec<u32> {
        let mut free = Vec::new();
        for (to, _) in graph.out(node).filter(|(_, link)| self.mask & link.mask() != 0) {
            self.waits[to as usize] -= 1;
            if self.waits[to as usize] == 0 {
                free.push(to);
            }
        }
        free
    }

    /// Whether it reads what there is, and overwrites nothing that others are still to read.
    fn can(&self, index: &Index<'_>, op: u32) -> bool {
        let reads: Vec<(&Step, u32)> = outer_reads(index, op).collect();
        let own = |version: u32| reads.iter().filter(|&&(_, seen)| seen == version).count() as u32;
        reads.iter().all(|&(step, seen)| self.now[step.key.0 as usize] == seen)
            && index.steps(op).iter().filter(|step| step.f == Function::Write).all(|step| {
                let now = self.now[step.key.0 as usize];
                now == NONE || self.readers[now as usize] == own(now)
            })
    }

    fn take(mut self, index: &Index<'_>, graph: &Graph) -> Option<Vec<OpId>> {
        let total = (0..index.fates.len() as u32).filter(|&op| index.counts(op)).count();
        let mut order = Vec::with_capacity(total);
        while order.len() < total {
            let op = self.ready.iter().copied().find(|&op| !index.counts(op) || self.can(index, op))?;
            self.ready.remove(&op);
            if index.counts(op) {
                for (_, seen) in outer_reads(index, op) {
                    self.readers[seen as usize] -= 1;
                }
                for step in index.steps(op).iter().filter(|step| step.f == Function::Write) {
                    self.now[step.key.0 as usize] = index.find(step.key, step.value).unwrap_or(NONE);
                }
                order.push(OpId(op));
            }
            for free in self.pass(graph, op) {
                self.open(graph, free);
            }
        }
        Some(order)
    }
}

/// The versions of registers that a committed transaction read of others.
fn outer_reads<'a>(index: &'a Index<'_>, op: u32) -> impl Iterator<Item = (&'a Step, u32)> {
    let steps = index.steps(op);
    let told = index.history.operation(OpId(op)).end == End::Ok;
    let reads = steps.iter().enumerate().filter(move |(at, step)| {
        told && step.f == Function::Read && !steps[..*at].iter().any(|other| other.key == step.key)
    });
    reads.map(|(_, step)| (step, version(index, step))).filter(|&(_, seen)| seen != NONE)
}
