//! Interchangeable writes.

use crate::history::Condition;
use crate::linear::kv::problem::{NONE, OPEN, Problem};
use crate::linear::kv::state::{Act, Local};
use hashbrown::HashMap;

/// Changes of equal effect and condition.
pub struct Kind {
    pub to: Local,
    pub when: Condition<Local>,
    /// Open ones, by call.
    pub members: Vec<u32>,
    /// How many of these have been called.
    pub called: u32,
    /// The place of their number in [`Config::used`], or [`NONE`].
    pub counter: u32,
    /// Slots of pending ones.
    pub pending: u128,
}

impl Kind {
    pub fn is_plain(&self) -> bool {
        self.when.is_always()
    }
}

/// The kinds of changes, and each operation's.
pub fn kinds(problem: &Problem) -> (Vec<Kind>, Vec<u32>) {
    let mut numbers: HashMap<(Local, Condition<Local>), u32> = HashMap::new();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut kind_of = vec![NONE; problem.ops.len()];
    for (i, op) in (0u32..).zip(&problem.ops) {
        let Act::Change { to, when, .. } = op.act else { continue };
        let number = *numbers.entry((to, when)).or_insert_with(|| {
            kinds.push(Kind { to, when, members: Vec::new(), called: 0, counter: NONE, pending: 0 });
            kinds.len() as u32 - 1
        });
        kind_of[i as usize] = number;
        if op.ret == OPEN {
            kinds[number as usize].members.push(i);
        }
    }
    (kinds, kind_of)
}
