//! Registers, compare-and-set registers and keys of a key-value store: the model is [`state`], `problem` prepares one key
//! for `search`, which decides it; `zones` refutes quickly.

mod problem;
mod search;
pub mod state;
mod zones;

use super::{Decision, Item, Judge, Limits};
use crate::history::{History, OpId};
use problem::{Problem, Scratch};

/// Decides one key at a time.
#[derive(Default)]
pub struct KvJudge {
    scratch: Scratch,
}

impl Judge for KvJudge {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        search::decide(&Problem::new(history, items, &mut self.scratch), limits)
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let problem = Problem::new(history, items, &mut self.scratch);
        let order = search::witness(&problem, limits)?;
        Some(order.iter().map(|&i| problem.ops[i as usize].source).collect())
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        let problem = Problem::new(history, items, &mut self.scratch);
        search::longest(&problem, limits).iter().map(|&i| problem.ops[i as usize].source).collect()
    }
}
