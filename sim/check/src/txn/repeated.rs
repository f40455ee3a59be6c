//! Transactions on registers to which some value was written more than once. A read of such a value does not show which
//! write it read from, so there are no dependencies to reason with. Instead, all registers together are one object,
//! whose operations are the transactions. Strict serializability is the linearizability of this object (Herlihy and
//! Wing, 1990): Knossos' multi-register. The search for arbitrary models decides that, and is exact if it ends.
//!
//! An order that keeps real time is also one for every weaker level. If there is none, only strict serializability is
//! ruled out.

use super::found::Found;
use super::index::{Index, Use};
use super::levels::{Isolation, weakest};
use crate::history::{End, Function, History, KeyId, MicroOp, OpId, Operation, Value};
use crate::linear::general::General;
use crate::linear::{Answer, Item, Judge, Limits};
use crate::model::Model;
use std::sync::Arc;

/// The model of all registers of a history, which transactions read and write.
struct Registers;

/// A transaction, ready to be applied.
struct Step {
    steps: Vec<MicroOp>,
    /// Whether what it read is known.
    told: bool,
}

impl Model for Registers {
    type State = Arc<[Value]>;
    type Op = Step;

    fn initial(&self, history: &History) -> Arc<[Value]> {
        vec![history.initial(); history.keys() as usize].into()
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        let told = told && op.end == End::Ok;
        let matters = |step: &&MicroOp| step.f == Function::Write || told && step.value != Value::UNTOLD;
        let steps: Vec<MicroOp> = history.micro_ops(op).iter().filter(matters).copied().collect();
        (!steps.is_empty()).then_some(Step { steps, told })
    }

    fn apply(&self, state: &Arc<[Value]>, op: &Step) -> Option<Arc<[Value]>> {
        let held = |changed: &[(KeyId, Value)], key: KeyId| {
            let own = changed.iter().rev().find(|(other, _)| *other == key);
            own.map_or(state[key.0 as usize], |&(_, value)| value)
        };
        let mut changed: Vec<(KeyId, Value)> = Vec::new();
        for step in &op.steps {
            if step.f == Function::Write {
                changed.push((step.key, step.value));
            } else if op.told && held(&changed, step.key) != step.value {
                return None;
            }
        }
        if changed.is_empty() {
            return Some(state.clone());
        }
        let mut next = state.to_vec();
        for (key, value) in changed {
            next[key.0 as usize] = value;
        }
        Some(next.into())
    }

    fn reads(&self, op: &Step) -> bool {
        op.steps.iter().all(|step| step.f == Function::Read)
    }

    fn weight(&self, state: &Arc<[Value]>) -> usize {
        size_of_val(&state[..]) + 16
    }
}

/// Whether a history needs this check: reads are unclear, and there are no lists.
pub fn fits(index: &Index<'_>) -> bool {
    index.unclear.is_some() && !index.uses.contains(&Use::List)
}

fn all(history: &History) -> Vec<Item> {
    (0u32..).take(history.operations().len()).map(|op| Item { op: OpId(op), open: false }).collect()
}

/// Searches for an order within real time. Reports if there is none.
pub fn order(index: &Index<'_>, limits: Limits, found: &mut Found) -> (Option<Isolation>, u64) {
    let history = index.history;
    let decision = General(Registers).decide(history, &all(history), limits);
    match decision.answer {
        Answer::Possible => (Some(Isolation::StrictSerializable), decision.steps),
        Answer::GaveUp(_) => (None, decision.steps),
        Answer::Impossible => {
            let (event, few) = first_impossible(history, limits);
            let name = "no serial order-realtime";
            let by = few.iter().copied().find(|&op| history.operation(OpId(op)).settled() == Some(event));
            found.add_told(index, name, (&few, false), weakest(name), |words| {
                let last = by.map_or_else(String::new, |op| words.name(op));
                format!(
                    "no order within real time of the {} transactions called by event #{event} explains what they read; without \
                     what {last} read, which returned then, there is one",
                    few.len()
                )
            });
            (None, decision.steps)
        }
    }
}

/// Returns an order within real time that explains all replies.
pub fn witness(history: &History, limits: Limits) -> Option<Vec<OpId>> {
    General(Registers).witness(history, &all(history), limits)
}

/// Returns the first return at which there is no order, and the transactions that count and were called by then.
fn first_impossible(history: &History, limits: Limits) -> (u32, Vec<u32>) {
    let mut returns: Vec<u32> = history.operations().iter().filter_map(Operation::settled).collect();
    returns.sort_unstable();
    let until = |event: u32| -> Vec<Item> {
        let called = all(history).into_iter().filter(|item| history.operation(item.op).called <= event);
        called
            .map(|item| Item { open: history.operation(item.op).settled().is_none_or(|ret| ret > event), ..item })
            .collect()
    };
    // The prefix that ends at `high` is impossible; the prefixes that end below `low` are possible.
    let (mut low, mut high) = (0, returns.len().saturating_sub(1));
    while low < high {
        let middle = usize::midpoint(low, high);
        match General(Registers).decide(history, &until(returns[middle]), limits).answer {
            Answer::Impossible => high = middle,
            Answer::Possible => low = middle + 1,
            Answer::GaveUp(_) => break,
        }
    }
    let event = returns.get(high).copied().unwrap_or(0);
    let counts = |item: &Item| history.operation(item.op).end != End::Fail;
    (event, until(event).iter().filter(|item| counts(item)).map(|item| item.op.0).collect())
}
