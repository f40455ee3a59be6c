//! The operations that are pending at a moment of a just-in-time search: their slots, and masks of slots for properties
//! of many operations at once.

use super::config::{COUNTED, COUNTERS};
use super::{Jit, state};
use crate::linear::kv::problem::{OPEN, Op};
use crate::linear::kv::state::{ANY, Act, Local};

impl Jit<'_> {
    /// Processes the calls before a return. Returns false if there are too many pending operations.
    pub(super) fn call_until(&mut self, ret: u64) -> bool {
        while let Some(op) = self.problem.ops.get(self.next_call).filter(|op| op.call < ret) {
            let index = self.next_call as u32;
            let kind = self.kind_of[self.next_call];
            if op.ret == OPEN {
                if self.kinds[kind as usize].called == 0 && self.kinds[kind as usize].pending == 0 {
                    self.activate(kind);
                }
                self.kinds[kind as usize].called += 1;
                self.shared_called[kind as usize % (COUNTERS - COUNTED)] += 1;
            } else if !self.occupy(index, op) {
                return false;
            }
            self.next_call += 1;
        }
        true
    }

    fn occupy(&mut self, index: u32, op: &Op) -> bool {
        if self.vacant == 0 {
            return false;
        }
        let slot = self.vacant.trailing_zeros();
        let bit = 1u128 << slot;
        self.vacant &= !bit;
        self.slots[slot as usize] = index;
        self.slot_of[index as usize] = slot as u8;
        self.fresh |= bit;
        match &op.act {
            Act::See { value: ANY, .. } => self.fussy |= bit,
            Act::See { value, .. } => {
                if op.act.allowed(state(*value)) {
                    self.content[*value as usize] |= bit;
                }
            }
            Act::Change { to, .. } => {
                if op.act.allowed(state(*to)) {
                    self.content[*to as usize] |= bit;
                }
                self.changes |= bit;
                let kind = self.kind_of[index as usize];
                if self.kinds[kind as usize].is_plain() {
                    self.plain |= bit;
                }
                if self.kinds[kind as usize].pending == 0 && self.kinds[kind as usize].called == 0 {
                    self.activate(kind);
                }
                self.kinds[kind as usize].pending |= bit;
            }
        }
        true
    }

    pub(super) fn release(&mut self, index: u32, bit: u128) {
        for mask in [&mut self.plain, &mut self.changes, &mut self.fussy] {
            *mask &= !bit;
        }
        self.vacant |= bit;
        let value = match self.problem.ops[index as usize].act {
            Act::See { value: ANY, .. } => return,
            Act::See { value, .. } => value,
            Act::Change { to, .. } => {
                let number = self.kind_of[index as usize];
                let kind = &mut self.kinds[number as usize];
                kind.pending &= !bit;
                if kind.pending == 0 && kind.called == 0 {
                    self.conditional -= usize::from(kind.when.value.is_none() && !kind.is_plain());
                    let list = kind.when.value.map_or(&mut self.active, |from| &mut self.active_from[from as usize]);
                    list.retain(|&other| other != number);
                }
                to
            }
        };
        self.content[value as usize] &= !bit;
    }

    fn activate(&mut self, kind: u32) {
        match self.kinds[kind as usize].when.value {
            Some(from) => self.active_from[from as usize].push(kind),
            None => {
                self.active.push(kind);
                self.conditional += usize::from(!self.kinds[kind as usize].is_plain());
            }
        }
    }

    /// The pending operations that a moment with this value explains.
    pub(super) fn contented(&self, value: Local) -> u128 {
        let mut all = self.content[value as usize];
        let mut fussy = self.fussy;
        while fussy != 0 {
            let slot = fussy.trailing_zeros();
            fussy &= fussy - 1;
            if self.problem.ops[self.slots[slot as usize] as usize].act.allowed(state(value)) {
                all |= 1u128 << slot;
            }
        }
        all
    }

    /// Of some slots of writes, the one that returns first.
    pub(super) fn first_to_return(&self, mut slots: u128) -> Option<u32> {
        let mut first = None;
        while slots != 0 {
            let slot = slots.trailing_zeros();
            slots &= slots - 1;
            let ret = self.problem.ops[self.slots[slot as usize] as usize].ret;
            if first.is_none_or(|(earliest, _)| ret < earliest) {
                first = Some((ret, slot));
            }
        }
        first.map(|(_, slot)| slot)
    }
}
