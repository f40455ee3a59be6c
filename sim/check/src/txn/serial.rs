//! A serial order of the transactions: a topological order of the dependencies.
//!
//! For lists, every such order explains the replies, if no reads contradict each other. For registers, the dependencies
//! say little about the order of writes. So a transaction can run next only if the state is the one that it read, and
//! if all transactions that must still read what it would overwrite have run. A depth-first search over which
//! transaction runs next decides. A transaction that writes no register runs as soon as it can, because it is in no
//! other transaction's way. Of the others, each is tried. A state that led nowhere (which transactions have run, and
//! what each register holds) is not entered again. States are compared by 128-bit hashes, so confusing two of them is
//! possible, but not to be expected.
//!
//! The search is exact if it ends within its steps and each value of a register has one writer.

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

/// Maximum number of times that a search checks whether a transaction can run next.
pub const LOOKS: u64 = 2_000_000;

/// The result of a search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Search {
    /// This order explains all replies.
    Order(Vec<OpId>),
    /// No order does.
    Impossible,
    /// The steps ended first.
    Ended,
}

/// Returns an order that respects the dependencies that the replies show and, in addition, nothing (0), the order
/// within each client (1), or real time (2). The caller should still check the replies in this order.
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

/// Searches for such an order, for at most `steps` steps.
pub fn search(index: &Index<'_>, graph: &Graph, order: u8, steps: u64) -> Search {
    let base = [Link::Ww, Link::Wr, Link::Rw, Link::Via].iter().map(|link| link.mask()).sum::<u8>();
    let (process, realtime) = (Link::Process.mask(), Link::Realtime.mask());
    // Try real time first, even if it is not required: it leaves fewer choices, and they are most often right.
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

/// A change that was made when a transaction ran, recorded to be undone.
#[derive(Clone, Copy)]
enum Done {
    /// A node waits for one edge fewer.
    Waits(u32),
    /// A transaction no longer waits for any node.
    Ready(u32),
    /// A transaction ran.
    Turn(u32),
    /// A reader of a version ran.
    Read(u32),
    /// A key held this version before.
    Held(KeyId, u32),
}

/// A point at which several transactions could run next.
struct Choice {
    /// The length of the log before it.
    done: usize,
    /// The transaction that ran. Those before it were tried, or could not run.
    tried: u32,
}

/// The state of the search: which transactions can run next.
struct Turns<'a, 'h> {
    index: &'a Index<'h>,
    graph: &'a Graph,
    mask: u8,
    /// By node: the number of edges from nodes that have not run yet.
    waits: Vec<u32>,
    /// Transactions that do not wait for any node.
    ready: BTreeSet<u32>,
    /// By version: the number of transactions that have not run yet and read it before any other access to its key.
    readers: Vec<u32>,
    /// By key: its current version.
    now: Vec<u32>,
    /// Which transactions have run and what keys hold, as a 128-bit hash.
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

    /// Handles a node that no longer waits: a transaction becomes ready; a helper node is passed at once, perhaps with
    /// others.
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

    /// Adds the nodes that waited only for this node.
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

    /// Whether a transaction reads the current versions, and overwrites nothing that others must still read.
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

    /// Returns the writes of registers by a transaction that counts.
    fn writes(&self, op: u32) -> impl Iterator<Item = &'h Step> + use<'a, 'h> {
        let steps = if self.index.counts(op) { self.index.steps(op) } else { &[] };
        steps.iter().filter(|step| step.f == Function::Write)
    }

    /// Runs a transaction.
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

    /// Undoes all changes after the first `length` entries of the log.
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

    /// Returns a transaction that can run next: one that is in no other transaction's way, else the first after
    /// `tried`.
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
            // After a first choice here, no reader is left that can run: it would have been chosen.
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
        let mut hopeless: HashSet<u128> = HashSet::new(); // Look-ups only: never iterated.
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
            // No transaction can run: go back to the last choice.
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

/// Mixes two numbers into 128 bits that look random (Steele and others' SplitMix64, twice).
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

/// Returns the reads by which a committed transaction saw other transactions' versions of registers, with these
/// versions.
fn outer_reads<'a>(index: &'a Index<'_>, op: u32) -> impl Iterator<Item = (&'a Step, u32)> {
    let steps = index.steps(op);
    let told = index.history.operation(OpId(op)).end == End::Ok;
    let reads = steps.iter().enumerate().filter(move |(at, step)| {
        told && step.f == Function::Read && !steps[..*at].iter().any(|other| other.key == step.key)
    });
    reads.map(|(_, step)| (step, version(index, step))).filter(|&(_, seen)| seen != NONE)
}
