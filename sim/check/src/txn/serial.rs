//! An order in which the transactions could have run one after the other: a topological one of the dependencies.
//!
//! Of lists every such order explains the replies, if the reads contradict each other nowhere. Of registers the dependencies
//! say little of the order of writes; so a transaction's turn comes only when the state is the one that it read, and when all
//! that must still read what it would overwrite have done so. A depth-first search over whose turn is next decides: a
//! transaction that writes no register goes as soon as it can, for it is in no other's way; of the others each is tried; a
//! state that led nowhere (who has gone, and what each register holds) is not entered again. States are told apart by 128
//! bits, so that two of them are taken for one is possible, but not to be expected.
//!
//! The search is exact where it ends within its steps, and each value of a register has one writer.

use super::append::Lists;
use super::found::Found;
use super::graph::{Builder, Graph, Link};
use super::index::{Index, NONE, Step};
use super::register::{Registers, version};
use super::{Options, repeated};
use crate::history::{End, Function, History, KeyId, OpId};
use crate::linear::Limits;
use hashbrown::HashSet;
use std::collections::BTreeSet;

/// Transactions that a search may look at, whether it can be their turn.
pub const LOOKS: u64 = 2_000_000;

/// What a search came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Search {
    /// This order explains all replies.
    Order(Vec<OpId>),
    /// No order does.
    Impossible,
    /// The steps ended first.
    Ended,
}

/// An order that respects the dependencies that replies show, and beside them nothing (0), or the order within each client
/// (1), or real time (2). The replies should still be looked at in this order.
#[must_use]
pub fn serial_order(history: &History, order: u8) -> Option<Vec<OpId>> {
    let mut index = Index::new(history).ok()?;
    if repeated::fits(&index) {
        let Options { steps, memory, .. } = Options::default();
        return repeated::witness(history, Limits::new(steps, memory));
    }
    let mut found = Found::new(1);
    let mut graph = Builder::new(history.operations().len(), 6 * history.operations().len());
    let mut lists = Lists::new(&mut index, &mut found);
    Registers::new(&mut index, &Options::default(), &mut graph, &mut found);
    lists.depend(&index, &mut graph, &mut found);
    graph.orders(history, |op| index.counts(op));
    let graph = graph.finish()?;
    match search(&index, &graph, order, LOOKS) {
        Search::Order(order) => Some(order),
        Search::Impossible | Search::Ended => None,
    }
}

/// Looks for such an order, for so many steps.
pub fn search(index: &Index<'_>, graph: &Graph, order: u8, steps: u64) -> Search {
    let base = [Link::Ww, Link::Wr, Link::Rw, Link::Via].iter().map(|link| link.mask()).sum::<u8>();
    let (process, realtime) = (Link::Process.mask(), Link::Realtime.mask());
    // Real time, even where it is not asked for, leaves fewer to choose from, and most often rightly.
    let masks = [base | process | realtime, base | process, base];
    let masks = &masks[..3 - usize::from(order.min(2))];
    let Some((exact, stricter)) = masks.split_last() else { return Search::Ended };
    for &mask in stricter {
        if let Search::Order(order) = Turns::new(index, graph, mask).search(steps / 4) {
            return Search::Order(order);
        }
    }
    Turns::new(index, graph, *exact).search(steps)
}

/// What was done for a turn, to be undone.
#[derive(Clone, Copy)]
enum Done {
    /// A node waits for one less.
    Waits(u32),
    /// A transaction waits for none any more.
    Ready(u32),
    /// A transaction had its turn.
    Turn(u32),
    /// A reader of a version had its turn.
    Read(u32),
    /// A key held this version.
    Held(KeyId, u32),
}

/// A moment at which one of several could have its turn.
struct Choice {
    /// How much was done before.
    done: usize,
    /// Who had it. Those before were tried, or could not have it.
    tried: u32,
}

/// Whose turn it can be.
struct Turns<'a, 'h> {
    index: &'a Index<'h>,
    graph: &'a Graph,
    mask: u8,
    /// By node: edges from nodes that had no turn yet.
    waits: Vec<u32>,
    /// Transactions that wait for none.
    ready: BTreeSet<u32>,
    /// By version: transactions that read it first of all and had no turn yet.
    readers: Vec<u32>,
    /// By key: the version that it has.
    now: Vec<u32>,
    /// Who had a turn and what keys hold, in 128 bits.
    state: u128,
    log: Vec<Done>,
    steps: u64,
}

impl<'a, 'h> Turns<'a, 'h> {
    fn new(index: &'a Index<'h>, graph: &'a Graph, mask: u8) -> Turns<'a, 'h> {
        let mut waits = vec![0; graph.nodes()];
        for node in 0..graph.nodes() as u32 {
            for (to, _) in graph.out(node).filter(|(_, link)| mask & link.mask() != 0) {
                waits[to as usize] += 1;
            }
        }
        let keys = index.uses.len() as u32;
        let mut turns = Turns {
            index,
            graph,
            mask,
            ready: BTreeSet::new(),
            readers: vec![0; index.writes.len() + keys as usize],
            now: (0..keys).map(|key| index.writes.len() as u32 + key).collect(),
            waits,
            state: 0,
            log: Vec::new(),
            steps: 0,
        };
        for op in (0..index.fates.len() as u32).filter(|&op| index.counts(op)) {
            for (_, seen) in outer_reads(index, op) {
                turns.readers[seen as usize] += 1;
            }
        }
        for node in (0..graph.nodes() as u32).filter(|&node| turns.waits[node as usize] == 0).collect::<Vec<_>>() {
            turns.open(node);
        }
        turns.log.clear();
        turns
    }

    /// A node waits for none: a helping one is gone at once, and perhaps others with it.
    fn open(&mut self, node: u32) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if self.graph.is_real(node) {
                self.ready.insert(node);
                self.log.push(Done::Ready(node));
            } else {
                self.pass(node, &mut open);
            }
        }
    }

    /// Adds those that waited for this node only.
    fn pass(&mut self, node: u32, free: &mut Vec<u32>) {
        let graph = self.graph;
        for (to, _) in graph.out(node).filter(|(_, link)| self.mask & link.mask() != 0) {
            self.waits[to as usize] -= 1;
            self.log.push(Done::Waits(to));
            if self.waits[to as usize] == 0 {
                free.push(to);
            }
        }
    }

    /// Whether it reads what there is, and overwrites nothing that others are still to read.
    fn can(&self, op: u32) -> bool {
        if !self.index.counts(op) {
            return true;
        }
        let reads: Vec<(&Step, u32)> = outer_reads(self.index, op).collect();
        let own = |version: u32| reads.iter().filter(|&&(_, seen)| seen == version).count() as u32;
        reads.iter().all(|&(step, seen)| self.now[step.key.0 as usize] == seen)
            && self.writes(op).all(|step| {
                let now = self.now[step.key.0 as usize];
                now == NONE || self.readers[now as usize] == own(now)
            })
    }

    /// The writes of registers of a transaction that counts.
    fn writes(&self, op: u32) -> impl Iterator<Item = &'h Step> + use<'a, 'h> {
        let steps = if self.index.counts(op) { self.index.steps(op) } else { &[] };
        steps.iter().filter(|step| step.f == Function::Write)
    }

    /// Gives a transaction its turn.
    fn turn(&mut self, op: u32) {
        self.ready.remove(&op);
        self.log.push(Done::Turn(op));
        self.state ^= mixed(u64::from(op), 0);
        if self.index.counts(op) {
            for (_, seen) in outer_reads(self.index, op) {
                self.readers[seen as usize] -= 1;
                self.log.push(Done::Read(seen));
            }
            for step in self.writes(op) {
                self.hold(step.key, self.index.find(step.key, step.value).unwrap_or(NONE));
            }
        }
        let mut free = Vec::new();
        self.pass(op, &mut free);
        for node in free {
            self.open(node);
        }
    }

    fn hold(&mut self, key: KeyId, version: u32) {
        let old = std::mem::replace(&mut self.now[key.0 as usize], version);
        self.log.push(Done::Held(key, old));
        self.state ^= mixed(u64::from(key.0), u64::from(old) + 1) ^ mixed(u64::from(key.0), u64::from(version) + 1);
    }

    /// Undoes all that was done after `length` entries of the log.
    fn undo(&mut self, length: usize) {
        while self.log.len() > length {
            match self.log.pop() {
                Some(Done::Waits(node)) => self.waits[node as usize] += 1,
                Some(Done::Ready(op)) => drop(self.ready.remove(&op)),
                Some(Done::Turn(op)) => {
                    self.ready.insert(op);
                    self.state ^= mixed(u64::from(op), 0);
                }
                Some(Done::Read(version)) => self.readers[version as usize] += 1,
                Some(Done::Held(key, old)) => {
                    self.hold(key, old);
                    self.log.pop();
                }
                None => {}
            }
        }
    }

    /// Who can have its turn: one that is in no other's way, else the first after `tried`.
    fn next(&mut self, tried: Option<u32>) -> Option<u32> {
        let mut first = None;
        for &op in self.ready.range(tried.map_or(0, |tried| tried + 1)..) {
            let writes = self.writes(op).next().is_some();
            if writes && first.is_some() {
                continue;
            }
            self.steps += 1;
            if !self.can(op) {
                continue;
            }
            // After a first choice no reader is left that could go: it would have been that.
            if !writes || tried.is_some() {
                return Some(op);
            }
            first = Some(op);
        }
        first
    }

    fn search(mut self, limit: u64) -> Search {
        let total = self.index.fates.len();
        let mut gone = 0;
        let mut choices: Vec<Choice> = Vec::new();
        let mut hopeless: HashSet<u128> = HashSet::new(); // Only looked into.
        let mut tried = None;
        while gone < total {
            if self.steps > limit {
                return Search::Ended;
            }
            let (done, state) = (self.log.len(), self.state);
            let next = if tried.is_none() && hopeless.contains(&state) { None } else { self.next(tried) };
            if let Some(op) = next {
                if self.writes(op).next().is_some() {
                    choices.push(Choice { done, tried: op });
                }
                self.turn(op);
                (gone, tried) = (gone + 1, None);
                continue;
            }
            // No one's turn: back to the last moment at which another could have had it.
            hopeless.insert(state);
            let Some(choice) = choices.pop() else { return Search::Impossible };
            gone -= self.log[choice.done..].iter().filter(|done| matches!(done, Done::Turn(_))).count();
            self.steps += (self.log.len() - choice.done) as u64;
            self.undo(choice.done);
            tried = Some(choice.tried);
        }
        let order = self.log.iter().filter_map(|done| match done {
            Done::Turn(op) if self.index.counts(*op) => Some(OpId(*op)),
            _ => None,
        });
        Search::Order(order.collect())
    }
}

/// Two numbers in 128 bits that look drawn by chance (Steele and others' SplitMix64, twice).
fn mixed(a: u64, b: u64) -> u128 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let one = mix(a.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(mix(b)));
    let other = mix(b.wrapping_add(0x3c6e_f372_fe94_f82a).wrapping_add(mix(a ^ 0x5851_f42d_4c95_7f2d)));
    u128::from(one) << 64 | u128::from(other)
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
