//! The search for any [`Model`]: depth first over the operations that may come next, with a memory of configurations.

use super::{Answer, Decision, Item, Judge, Limits};
use crate::history::{History, NEVER, OpId};
use crate::model::Model;
use std::collections::HashSet;

/// Decides one part at a time by a model.
pub struct General<M>(pub M);

struct Op<M: Model> {
    source: OpId,
    call: u32,
    ret: u32,
    op: M::Op,
}

struct Search<'a, M: Model> {
    model: &'a M,
    ops: Vec<Op<M>>,
    done: Vec<bool>,
    order: Vec<u32>,
    longest: Vec<u32>,
    seen: HashSet<(Vec<bool>, M::State)>,
    memory: usize,
    steps: u64,
    limits: Limits,
}

impl<M: Model> Search<'_, M> {
    /// `None`: a limit was reached.
    fn run(&mut self, state: &M::State) -> Option<bool> {
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
        let pending = (0..self.ops.len()).filter(|&i| !self.done[i]);
        let deadline = pending.map(|i| self.ops[i].ret).min().unwrap_or(NEVER);
        if deadline == NEVER {
            return Some(true);
        }
        if self.seen.contains(&(self.done.clone(), state.clone())) {
            return Some(false);
        }
        for i in 0..self.ops.len() {
            self.steps += 1;
            if self.done[i] || self.ops[i].call > deadline {
                continue;
            }
            let Some(next) = self.model.apply(state, &self.ops[i].op) else { continue };
            self.done[i] = true;
            self.order.push(i as u32);
            if self.run(&next)? {
                return Some(true);
            }
            self.order.pop();
            self.done[i] = false;
        }
        self.memory += self.done.len() + 64;
        if self.steps > self.limits.steps || self.memory > self.limits.memory {
            return None;
        }
        self.seen.insert((self.done.clone(), state.clone()));
        Some(false)
    }
}

impl<M: Model> General<M> {
    fn search<'a>(&'a self, history: &History, items: &[Item], limits: Limits) -> (Option<bool>, Search<'a, M>) {
        let ops: Vec<Op<M>> = items
            .iter()
            .filter_map(|item| {
                let op = history.operation(item.op);
                let settled = op.settled().filter(|_| !item.open);
                if op.end == crate::history::End::Fail {
                    return None;
                }
                let compiled = self.0.compile(history, op, settled.is_some())?;
                Some(Op { source: item.op, call: op.called, ret: settled.unwrap_or(NEVER), op: compiled })
            })
            .collect();
        let done = vec![false; ops.len()];
        let mut search = Search {
            model: &self.0,
            ops,
            done,
            order: Vec::new(),
            longest: Vec::new(),
            seen: HashSet::new(),
            memory: 0,
            steps: 0,
            limits,
        };
        let found = search.run(&self.0.initial(history));
        (found, search)
    }
}

impl<M: Model> Judge for General<M> {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        let (found, search) = self.search(history, items, limits);
        let answer = match found {
            Some(true) => Answer::Possible,
            Some(false) => Answer::Impossible,
            None => Answer::GaveUp("the limit was reached"),
        };
        Decision { answer, by: "search", steps: search.steps }
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let (found, search) = self.search(history, items, limits);
        found?.then(|| search.order.iter().map(|&i| search.ops[i as usize].source).collect())
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        let (_, search) = self.search(history, items, limits);
        search.longest.iter().map(|&i| search.ops[i as usize].source).collect()
    }
}
