//! The whole order from the writes that a just-in-time search chose.

use super::{Jit, state};
use crate::linear::kv::problem::OPEN;
use crate::linear::kv::state::{Act, Local};

/// Puts reads, and writes that were never seen, at the first place where they fit.
pub struct Replay<'a> {
    jit: &'a Jit<'a>,
    /// By operation: whether it has a place in the trace.
    explicit: Vec<bool>,
    pending: Vec<u32>,
    value: Local,
    next_call: usize,
    pub order: Vec<u32>,
}

impl<'a> Replay<'a> {
    pub fn new(jit: &'a Jit<'a>) -> Replay<'a> {
        let mut explicit = vec![false; jit.problem.ops.len()];
        for step in jit.steps_taken() {
            explicit[step.op as usize] = true;
        }
        let value = jit.problem.initial.value;
        Replay { jit, explicit, pending: Vec::new(), value, next_call: 0, order: Vec::new() }
    }

    pub fn call_until(&mut self, ret: u64) {
        while let Some(op) = self.jit.problem.ops.get(self.next_call).filter(|op| op.call < ret) {
            if op.ret != OPEN && !self.explicit[self.next_call] {
                self.pending.push(self.next_call as u32);
            }
            self.next_call += 1;
        }
        self.settle();
    }

    /// Places the operations that change nothing at this point.
    fn settle(&mut self) {
        let (ops, value, order) = (&self.jit.problem.ops, self.value, &mut self.order);
        self.pending.retain(|&op| {
            let act = &ops[op as usize].act;
            let fits = act.allowed(state(value)) && act.after(state(value)).value == value;
            if fits {
                order.push(op);
            }
            !fits
        });
    }

    pub fn write(&mut self, op: u32, ret: u64, plain: bool) {
        self.call_until(ret);
        if plain {
            let (ops, order) = (&self.jit.problem.ops, &mut self.order);
            self.pending.retain(|&other| {
                let hidden = matches!(&ops[other as usize].act, Act::Change { when, .. } if when.is_always());
                if hidden {
                    order.push(other);
                }
                !hidden
            });
        }
        self.order.push(op);
        self.value = self.jit.problem.ops[op as usize].act.after(state(self.value)).value;
        self.settle();
    }
}
