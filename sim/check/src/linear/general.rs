//! The procedure for any [`Model`]: the search of `search`, over operations that the model has prepared.
//!
//! A model's optional methods make the search cheaper without changing its answer: which operations only read
//! ([`Model::reads`]), which are equal ([`Model::class`]), which can no longer happen ([`Model::hopeless`]), and which
//! states to try first ([`Model::promise`]).

mod search;
#[cfg(test)]
mod tests;

use super::{Decision, Item, Judge, Limits, Options, Report, rounds};
use crate::history::{End, History, NEVER, OpId};
use crate::model::Model;

/// Decides one part at a time by a model.
pub struct General<M>(pub M);

/// Decides every part of a history by a model of the caller's own, as [`check_as`](super::check_as) does by the
/// built-in ones. Each key of the history is an object of its own; a history without keys has one.
#[must_use]
pub fn check_model<M: Model>(model: impl Fn() -> M + Sync, history: &History, options: &Options) -> Report {
    Report { property: "linearizable", parts: rounds::decide(|| General(model()), history, options) }
}

impl<M: Model> Judge for General<M> {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        search::decide(&Problem::new(&self.0, history, items), limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let problem = Problem::new(&self.0, history, items);
        Some(problem.sources(&search::witness(&problem, limits)?))
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        let problem = Problem::new(&self.0, history, items);
        problem.sources(&search::longest(&problem, limits))
    }
}

/// No class.
const NONE: u32 = u32::MAX;

/// An operation as the search sees it.
struct Op<O> {
    source: OpId,
    call: u32,
    /// [`NEVER`]: it may, but need not, take place.
    ret: u32,
    reads: bool,
    /// Operations of equal effect; [`NONE`]: there are no others. Open operations always have one.
    class: u32,
    op: O,
}

/// One part's operations.
struct Problem<'a, M: Model> {
    model: &'a M,
    initial: M::State,
    /// In the order of their calls.
    ops: Vec<Op<M::Op>>,
    /// The required operations by return.
    returns: Vec<(u32, u32)>,
    /// By class: the open operations in it, by call.
    classes: Vec<Vec<u32>>,
}

impl<'a, M: Model> Problem<'a, M> {
    fn new(model: &'a M, history: &History, items: &[Item]) -> Problem<'a, M> {
        let compiled = items.iter().filter_map(|item| {
            let op = history.operation(item.op);
            let settled = op.settled().filter(|_| !item.open);
            if op.end == End::Fail {
                return None;
            }
            let compiled = model.compile(history, op, settled.is_some())?;
            let reads = model.reads(&compiled);
            // A read that need not have happened adds no constraint.
            if reads && settled.is_none() {
                return None;
            }
            let ret = settled.unwrap_or(NEVER);
            Some(Op { source: item.op, call: op.called, ret, reads, class: NONE, op: compiled })
        });
        let mut problem = Problem {
            model,
            initial: model.initial(history),
            ops: compiled.collect(),
            returns: Vec::new(),
            classes: Vec::new(),
        };
        let required = (0u32..).zip(&problem.ops).filter(|(_, op)| op.ret != NEVER);
        problem.returns = required.map(|(i, op)| (op.ret, i)).collect();
        problem.returns.sort_unstable();
        problem.classify();
        problem
    }

    fn classify(&mut self) {
        let mut keyed: Vec<(Option<u64>, u32)> = Vec::new();
        for (i, op) in (0u32..).zip(&self.ops).filter(|(_, op)| !op.reads) {
            let key = self.model.class(&op.op);
            if key.is_some() || op.ret == NEVER {
                keyed.push((key, i));
            }
        }
        keyed.sort_unstable();
        for group in keyed.chunk_by(|a, b| a.0.is_some() && a.0 == b.0) {
            let open: Vec<u32> = group.iter().map(|&(_, i)| i).filter(|&i| self.ops[i as usize].ret == NEVER).collect();
            if group.len() > 1 || !open.is_empty() {
                for &(_, i) in group {
                    self.ops[i as usize].class = self.classes.len() as u32;
                }
                self.classes.push(open);
            }
        }
    }

    fn sources(&self, order: &[u32]) -> Vec<OpId> {
        order.iter().map(|&i| self.ops[i as usize].source).collect()
    }
}
