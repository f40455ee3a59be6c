//! Registers, compare-and-set registers and keys of a key-value store. The model is [`state`]. `chains` decides keys
//! whose values identify their writers. For all others `problem` prepares the key for `search`, which decides it with
//! `depth_first`, `jit` and `backward` in turns, and with `zones`, which refutes quickly.

mod backward;
mod chains;
mod depth_first;
pub mod gone;
mod jit;
mod problem;
mod search;
pub mod state;
#[cfg(test)]
mod tests;
mod zones;

use super::{Decision, Item, Judge, Limits};
use crate::history::{History, OpId};
use chains::Chains;
use problem::{Problem, Scratch};

/// Decides one key at a time.
#[derive(Default)]
pub struct KvJudge {
    chains: Chains,
    scratch: Scratch,
}

impl Judge for KvJudge {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        if let Some((answer, by)) = self.chains.decide(history, items) {
            // It takes about as long as one step per two operations.
            return Decision { answer, by, steps: items.len() as u64 / 2 };
        }
        search::decide(&Problem::new(history, items, &mut self.scratch), limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        if let Some(order) = self.chains.witness(history, items) {
            return Some(order);
        }
        let problem = Problem::new(history, items, &mut self.scratch);
        let order = search::witness(&problem, limits)?;
        Some(order.iter().map(|&i| problem.ops[i as usize].source).collect())
    }

    fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        self.chains.suspects(history, items)
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        let problem = Problem::new(history, items, &mut self.scratch);
        search::longest(&problem, limits).iter().map(|&i| problem.ops[i as usize].source).collect()
    }
}
