//! Causal consistency (CC) and causal convergence (CCv): the bad patterns of Bouajjani, Enea, Guerraoui and Hamza, "On
//! verifying causal consistency" (2017).
//!
//! Causal order is the smallest order that contains the order of each session and "read from". A history is **causally
//! consistent** unless one of these holds: causal order has a cycle (CyclicCO); a read saw a value that no operation
//! wrote (ThinAirRead); a read saw the initial state although a write of its key is causally before it
//! (WriteCOInitRead); or a read saw a version although a causally later version of the same key is causally before the
//! read (WriteCORead). It is **causally convergent** if, in addition, the versions of each key have one order for all
//! sessions: when a read saw w, and w' of the same key is causally before the read, then w' is before w. This must not
//! contradict causal order (CyclicCF).
//!
//! One sweep over the accesses, in an order that extends causal order, computes a vector clock for each access: how
//! much of each session is causally before it. A clock is kept only while it is still needed. For each read, the sweep
//! finds the writes that must be before the read's source but come after that source in the order of the sweep. With
//! causal order alone, each of these is a candidate for WriteCORead, and a second sweep decides. For convergence they
//! are added as edges, the accesses are ordered again and swept again, until nothing new is found or there is a cycle.
//! One sweep takes time proportional to accesses times sessions (a vectorised maximum), and few sweeps are needed.
//!
//! A conditional write that took effect is both a read and a write.

use super::graph::{Edge, Why};
use super::trace::{INITIAL, NOBODY, NONE, Trace, is_access};
use super::{Options, settle, show, whole};
use crate::evidence::Evidence;
use crate::history::History;
use crate::linear::{Report, Verdict};

/// Decides causal consistency (CC).
#[must_use]
pub fn check_causal(history: &History, options: &Options) -> Report {
    let (verdict, steps) = settle(history, &mut |trace| Causal::new(history, trace, options).consistent());
    whole("causally consistent", history, verdict, "vector clocks", steps)
}

/// Decides causal convergence (CCv).
#[must_use]
pub fn check_causal_convergence(history: &History, options: &Options) -> Report {
    let (verdict, steps) = settle(history, &mut |trace| Causal::new(history, trace, options).convergent());
    whole("causally convergent", history, verdict, "vector clocks", steps)
}

/// Why a sweep ended early.
pub(super) enum Stop {
    Bad(Box<Evidence>),
    Limit(&'static str),
}

/// An order of the accesses that extends causal order and the edges found so far, with those edges sorted by target.
pub(super) struct Convergent {
    pub order: Vec<u32>,
    pub edges: Vec<Edge>,
}

pub(super) struct Causal<'a> {
    history: &'a History,
    trace: &'a Trace,
    memory: usize,
    left: u64,
    steps: u64,
    /// By access: how many accesses need its clock: the next one of its session, and its readers.
    uses: Vec<u32>,
}

/// Called with each access and its clock; returns the steps taken.
type Visit<'v> = dyn FnMut(u32, &[u32]) -> Result<usize, Stop> + 'v;

const STEPS: &str = "the limit of steps was reached";
const MEMORY: &str = "the limit of memory was reached: too many sessions";

impl<'a> Causal<'a> {
    pub fn new(history: &'a History, trace: &'a Trace, options: &Options) -> Causal<'a> {
        let mut uses = vec![0; trace.accesses.len()];
        for access in &trace.accesses {
            for pred in [access.before, access.source] {
                if is_access(pred) {
                    uses[pred as usize] += 1;
                }
            }
        }
        Causal { history, trace, memory: options.memory, left: options.steps, steps: options.steps, uses }
    }

    fn verdict<T>(&self, found: Result<T, Stop>) -> (Verdict, u64) {
        let verdict = match found {
            Ok(_) => Verdict::Valid,
            Err(Stop::Bad(evidence)) => Verdict::Invalid(evidence),
            Err(Stop::Limit(why)) => Verdict::Unknown(why.to_owned()),
        };
        (verdict, self.steps - self.left)
    }

    fn consistent(mut self) -> (Verdict, u64) {
        let found = self.order_and_candidates().and_then(|(order, candidates)| self.overwritten(&order, &candidates));
        self.verdict(found)
    }

    fn convergent(mut self) -> (Verdict, u64) {
        let found = self.converge();
        self.verdict(found)
    }

    /// Decides CCv: returns an order, or why there is none.
    pub fn converge(&mut self) -> Result<Convergent, Stop> {
        let (mut order, mut fresh) = self.order_and_candidates()?;
        let mut edges = Vec::new();
        while !fresh.is_empty() {
            edges.append(&mut fresh);
            edges.sort_unstable_by_key(|edge: &Edge| (edge.to, edge.from));
            edges.dedup_by_key(|edge| (edge.to, edge.from));
            order =
                self.order(&order, &edges, "CyclicCF", "not causally convergent: no order of the versions suits all")?;
            fresh = self.sweep(&order)?;
        }
        Ok(Convergent { order, edges })
    }

    /// Returns an order of the accesses that extends causal order. Fails if causal order has a cycle, or if a read saw
    /// a value that no operation can have written.
    pub fn ordered(&mut self) -> Result<Vec<u32>, Stop> {
        if let Some(read) = self.trace.accesses.iter().find(|access| access.source == NOBODY) {
            let words = format!("{} saw a value that nobody can have written", show::op(self.history, read.op));
            return Err(Stop::Bad(show::plain(self.history, "history", "ThinAirRead", vec![read.op], words)));
        }
        let base: Vec<u32> = (0u32..).take(self.trace.accesses.len()).collect();
        self.order(&base, &[], "CyclicCO", "not causally consistent: causal order has a cycle")
    }

    fn order_and_candidates(&mut self) -> Result<(Vec<u32>, Vec<Edge>), Stop> {
        let order = self.ordered()?;
        let candidates = self.sweep(&order)?;
        Ok((order, candidates))
    }

    fn spend(&mut self, steps: usize) -> Result<(), Stop> {
        self.left = self.left.checked_sub(steps as u64).ok_or(Stop::Limit(STEPS))?;
        Ok(())
    }

    /// Returns an order of the accesses that extends causal order and `edges` (sorted by target), close to `base`.
    fn order(&mut self, base: &[u32], edges: &[Edge], anomaly: &str, intro: &str) -> Result<Vec<u32>, Stop> {
        let accesses = &self.trace.accesses;
        // The predecessors of an access, by number: the previous access of its session, its source, then its edges. If
        // `from` is not an access, there is no predecessor under that number.
        let pred = |node: u32, extra: usize, n: usize| -> Option<Edge> {
            let access = &accesses[node as usize];
            match n {
                0 => Some(Edge { from: access.before, to: node, why: Why::Session }),
                1 => Some(Edge { from: access.source, to: node, why: Why::ReadsFrom }),
                n => edges.get(extra + n - 2).filter(|edge| edge.to == node).copied(),
            }
        };
        let mut order = Vec::with_capacity(accesses.len());
        let (mut entered, mut left) = (vec![false; accesses.len()], vec![false; accesses.len()]);
        let mut path: Vec<(u32, usize, usize)> = Vec::new();
        for &root in base {
            if entered[root as usize] {
                continue;
            }
            let first = |node: u32| edges.partition_point(|edge| edge.to < node);
            entered[root as usize] = true;
            path.push((root, first(root), 0));
            while let Some((node, extra, n)) = path.last_mut() {
                let Some(edge) = pred(*node, *extra, *n) else {
                    left[*node as usize] = true;
                    order.push(*node);
                    path.pop();
                    continue;
                };
                *n += 1;
                if !is_access(edge.from) || left[edge.from as usize] {
                    continue;
                }
                if entered[edge.from as usize] {
                    let start = path.iter().position(|&(node, ..)| node == edge.from).unwrap_or(0);
                    let mut cycle: Vec<Edge> =
                        path[start..].iter().filter_map(|&(node, extra, n)| pred(node, extra, n - 1)).collect();
                    cycle.reverse();
                    let evidence = show::cycle(self.history, self.trace, "history", anomaly, intro, &cycle);
                    return Err(Stop::Bad(evidence));
                }
                entered[edge.from as usize] = true;
                path.push((edge.from, first(edge.from), 0));
            }
        }
        self.spend(2 * order.len() + edges.len())?;
        Ok(order)
    }

    /// Computes the clock of each access and passes it to `visit`, in an order that extends causal order.
    fn clocks(&mut self, order: &[u32], visit: &mut Visit<'_>) -> Result<(), Stop> {
        let width = self.trace.chains.len();
        let most = (self.memory / (4 * width + 64)).max(1);
        let mut clocks: Vec<Option<Box<[u32]>>> = vec![None; order.len()];
        let mut uses = self.uses.clone();
        let (mut free, mut live): (Vec<Box<[u32]>>, usize) = (Vec::new(), 0);
        for &e in order {
            let access = &self.trace.accesses[e as usize];
            let mut clock = None;
            for pred in [access.before, access.source] {
                if !is_access(pred) {
                    continue;
                }
                uses[pred as usize] -= 1;
                let last = uses[pred as usize] == 0;
                let theirs = &mut clocks[pred as usize];
                clock = match (clock.take(), theirs.as_deref()) {
                    (None, Some(_)) if last => theirs.take(),
                    (None, Some(theirs)) => {
                        live += 1;
                        let mut mine = free.pop().unwrap_or_else(|| vec![0; width].into_boxed_slice());
                        mine.copy_from_slice(theirs);
                        Some(mine)
                    }
                    (Some(mut mine), Some(theirs)) => {
                        mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
                        Some(mine)
                    }
                    (mine, None) => mine,
                };
                if last && let Some(done) = theirs.take() {
                    live -= 1;
                    free.push(done);
                }
            }
            let mut clock = clock.unwrap_or_else(|| {
                live += 1;
                let mut fresh = free.pop().unwrap_or_else(|| vec![0; width].into_boxed_slice());
                fresh.fill(0);
                fresh
            });
            let steps = visit(e, &clock)?;
            self.spend(1 + width / 16 + steps)?;
            clock[access.chain as usize] = clock[access.chain as usize].max(access.at + 1);
            if uses[e as usize] > 0 {
                clocks[e as usize] = Some(clock);
            } else {
                live -= 1;
                free.push(clock);
            }
            if live > most {
                return Err(Stop::Limit(MEMORY));
            }
        }
        Ok(())
    }

    /// Returns the writes that must be before the source of a read but come after that source in this order.
    fn sweep(&mut self, order: &[u32]) -> Result<Vec<Edge>, Stop> {
        let (history, trace) = (self.history, self.trace);
        let mut writes: Vec<Vec<u32>> = trace.writes.iter().map(|writes| Vec::with_capacity(writes.len())).collect();
        let mut places = vec![NONE; trace.accesses.len()];
        let mut found = Vec::new();
        let most = self.memory / 32;
        self.clocks(order, &mut |e, clock| {
            let access = &trace.accesses[e as usize];
            let visible = |w: u32| {
                let w = &trace.accesses[w as usize];
                clock[w.chain as usize] > w.at
            };
            let writes = &mut writes[access.key as usize];
            let from = match access.source {
                INITIAL => 0,
                source if is_access(source) => places[source as usize] as usize + 1,
                _ => writes.len(),
            };
            for &w in &writes[from..] {
                if !visible(w) {
                    continue;
                }
                if access.source == INITIAL {
                    return Err(Stop::Bad(missed(history, trace, w, e)));
                }
                found.push(Edge { from: w, to: access.source, why: Why::Seen(e) });
            }
            let steps = writes.len() - from;
            if access.writes {
                places[e as usize] = writes.len() as u32;
                writes.push(e);
            }
            if found.len() > most { Err(Stop::Limit("the limit of memory was reached")) } else { Ok(steps) }
        })?;
        found.sort_unstable_by_key(|edge| (edge.to, edge.from));
        found.dedup_by_key(|edge| (edge.to, edge.from));
        Ok(found)
    }

    /// Decides WriteCORead: whether a candidate's source is causally before the write that the reader must also have
    /// seen.
    fn overwritten(&mut self, order: &[u32], candidates: &[Edge]) -> Result<(), Stop> {
        if candidates.is_empty() {
            return Ok(());
        }
        let (history, trace) = (self.history, self.trace);
        let mut by_newer: Vec<&Edge> = candidates.iter().collect();
        by_newer.sort_unstable_by_key(|edge| edge.from);
        self.clocks(order, &mut |e, clock| {
            let first = by_newer.partition_point(|edge| edge.from < e);
            let mine = by_newer[first..].iter().take_while(|edge| edge.from == e);
            let mut steps = 0;
            for edge in mine {
                steps += 1;
                let old = &trace.accesses[edge.to as usize];
                if clock[old.chain as usize] > old.at
                    && let Why::Seen(by) = edge.why
                {
                    let [old, new, read] = [edge.to, e, by].map(|a| trace.accesses[a as usize].op);
                    let words = format!(
                        "{} saw an overwritten version: {} is causally after what it read, {}, and causally before the read",
                        show::op(history, read),
                        show::op(history, new),
                        show::op(history, old)
                    );
                    let core = trace.ops(&[edge.to, e, by]);
                    let evidence = show::plain(history, "history", "WriteCORead", core, words);
                    return Err(Stop::Bad(evidence));
                }
            }
            Ok(steps)
        })
    }
}

/// Returns the evidence of a WriteCOInitRead.
fn missed(history: &History, trace: &Trace, write: u32, read: u32) -> Box<Evidence> {
    let [write, read] = [write, read].map(|a| trace.accesses[a as usize].op);
    let words = format!(
        "{} saw the initial state, but {} is causally before it",
        show::op(history, read),
        show::op(history, write)
    );
    let core = if write < read { vec![write, read] } else { vec![read, write] };
    show::plain(history, "history", "WriteCOInitRead", core, words)
}
