//! Tries every order, by a model: slow, but simple enough to trust.

use seaworthy_check::linear::Item;
use seaworthy_check::model::Model;
use seaworthy_check::{End, History};

/// Returns whether the operations can be put in an order that explains all replies.
pub fn possible<M: Model>(model: &M, history: &History, items: &[Item]) -> bool {
    let ops: Vec<(u32, u32, M::Op)> = items
        .iter()
        .filter_map(|item| {
            let op = history.operation(item.op);
            let settled = op.settled().filter(|_| !item.open);
            let compiled = if op.end == End::Fail { None } else { model.compile(history, op, settled.is_some()) };
            Some((op.called, settled.unwrap_or(u32::MAX), compiled?))
        })
        .collect();
    extend(model, &ops, &mut vec![false; ops.len()], &model.initial(history))
}

fn extend<M: Model>(model: &M, ops: &[(u32, u32, M::Op)], done: &mut [bool], state: &M::State) -> bool {
    let deadline = (0..ops.len()).filter(|&i| !done[i]).map(|i| ops[i].1).min().unwrap_or(u32::MAX);
    if deadline == u32::MAX {
        return true;
    }
    for i in 0..ops.len() {
        if done[i] || ops[i].0 > deadline {
            continue;
        }
        let Some(next) = model.apply(state, &ops[i].2) else { continue };
        done[i] = true;
        if extend(model, ops, done, &next) {
            return true;
        }
        done[i] = false;
    }
    false
}
