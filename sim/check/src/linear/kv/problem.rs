//! One key's part of a history, prepared for the search: which operations must take place, which may, and what the
//! replies show about the order.
//!
//! Three kinds of knowledge make the search cheap; all of them follow from the replies alone:
//!
//! - **Revisions.** A write whose reply has revision r, or the only writer of a value that was read at revision r, is
//!   the *owner* of r. No other operation can take that revision, so at that point it is the only candidate.
//! - **Supply.** A value can be replaced only when all operations that saw it (at that revision) are placed, or another
//!   writer of it is still to come.
//! - **Classes.** Open writes with the same effect and the same condition are interchangeable once called. Only the
//!   first unused one of each class is tried. Values that no reply or condition names count as the same.
//!
//! Some histories are obviously impossible ([`Problem::broken`]): two owners or two values of one revision, a value
//! without a writer, a revision beyond the number of writes so far, or one older than a revision returned before the
//! call. This is only a shortcut: the search would find the same.

use super::state::{ANY, Act, Local, MISSING, State, UNSEEN};
use crate::history::{Call, Condition, History, OpId, Outcome, Reply, Value, Version};
use crate::linear::Item;
use hashbrown::HashMap;

/// No operation, no value.
pub const NONE: u32 = u32::MAX;
/// The return of an operation that has none.
pub const OPEN: u64 = u64::MAX;

/// An operation as the search sees it.
#[derive(Clone, Debug)]
pub struct Op {
    pub source: OpId,
    pub call: u64,
    /// [`OPEN`]: it may, but need not, take place.
    pub ret: u64,
    pub act: Act,
    /// The class of an optional operation without known revision, else [`NONE`].
    pub class: u32,
}

/// Optional operations of equal effect, by call.
#[derive(Clone, Debug)]
pub struct Class {
    pub to: Local,
    pub members: Vec<u32>,
}

/// One key's operations and what follows from their replies.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Before the first operation.
    pub initial: State,
    /// In the order of their calls.
    pub ops: Vec<Op>,
    /// The required operations by return.
    pub returns: Vec<(u64, u32)>,
    /// By revision: the only operation that can take it, or [`NONE`].
    pub owner: Vec<u32>,
    /// By revision: the only value it can have written, or [`NONE`].
    pub value_at: Vec<Local>,
    /// By revision: how many operations saw it.
    pub readers_at: Vec<u32>,
    /// By value: how many operations saw it.
    pub readers: Vec<u32>,
    /// By value: how many operations write it.
    pub supply: Vec<u32>,
    /// By value: whether some write's condition names it.
    pub compared: Vec<bool>,
    /// Whether some refused write did not report what it saw. That may have been a value that no operation names.
    pub untold: bool,
    /// Ordered by `to`.
    pub classes: Vec<Class>,
    /// From this count on, no reply or condition depends on the count.
    pub last_count: u64,
    /// Whether the history is obviously impossible.
    pub broken: bool,
}

/// Renumbers the values of a key, from [`MISSING`] on.
#[derive(Default)]
pub struct Scratch {
    local: HashMap<Value, Local>,
}

impl Scratch {
    fn name(&mut self, value: Value) {
        let next = UNSEEN + self.local.len() as u32;
        self.local.entry(value).or_insert(next);
    }

    fn get(&self, value: Value) -> Local {
        self.local.get(&value).copied().unwrap_or(UNSEEN)
    }

    fn seen(&self, seen: Option<Version>) -> (Local, Option<u64>) {
        seen.map_or((MISSING, None), |v| (self.get(v.value), v.revision))
    }

    fn condition(&self, when: &Condition) -> Condition<Local> {
        Condition { exists: when.exists, value: when.value.map(|v| self.get(v)), revision: when.revision }
    }

    /// Only [`MISSING`] has a number.
    fn clear(&mut self) {
        self.local.clear();
        self.local.insert(Value::NIL, MISSING);
    }
}

impl Problem {
    /// Prepares the given operations, which are in the order of their calls.
    pub fn new(history: &History, items: &[Item], scratch: &mut Scratch) -> Problem {
        scratch.clear();
        scratch.name(history.initial());
        let mut problem = Problem {
            initial: State { value: scratch.get(history.initial()), count: 0 },
            ops: Vec::with_capacity(items.len()),
            returns: Vec::new(),
            owner: Vec::new(),
            value_at: Vec::new(),
            readers_at: Vec::new(),
            readers: Vec::new(),
            supply: Vec::new(),
            compared: Vec::new(),
            untold: false,
            classes: Vec::new(),
            last_count: 0,
            broken: false,
        };
        for item in items {
            name_values(history, *item, scratch);
        }
        for item in items {
            problem.ops.extend(compile(history, *item, scratch));
        }
        let values = UNSEEN as usize + scratch.local.len();
        problem.returns = problem.required().map(|(i, op)| (op.ret, i)).collect();
        problem.returns.sort_unstable();
        problem.count_values(values);
        problem.collect_revisions();
        problem.infer_revisions();
        problem.make_classes();
        problem.broken |= problem.contradicts();
        problem
    }

    fn required(&self) -> impl Iterator<Item = (u32, &Op)> {
        (0u32..).zip(&self.ops).filter(|(_, op)| op.ret != OPEN)
    }

    fn count_values(&mut self, values: usize) {
        self.readers = vec![0; values];
        self.supply = vec![0; values];
        self.compared = vec![false; values];
        for op in &self.ops {
            match op.act {
                Act::See { value: ANY, .. } => self.untold = true,
                Act::See { value, .. } => self.readers[value as usize] += 1,
                Act::Change { to, when, .. } => {
                    self.supply[to as usize] += 1;
                    if let Some(value) = when.value {
                        self.compared[value as usize] = true;
                    }
                }
            }
        }
        let first = self.initial.value as usize;
        self.broken = (2..values).any(|v| self.readers[v] > 0 && self.supply[v] == 0 && v != first);
    }

    /// What replies say about each revision.
    fn collect_revisions(&mut self) {
        let changes: usize = self.supply.iter().map(|&n| n as usize).sum();
        self.owner = vec![NONE; changes];
        self.value_at = vec![NONE; changes];
        self.readers_at = vec![0; changes];
        let mut last = 0;
        for (i, op) in (0u32..).zip(&self.ops) {
            let (told, conditions, value) = match &op.act {
                Act::See { value, revision, refused } => (*revision, refused.as_ref(), *value),
                Act::Change { to, when, revision } => (*revision, Some(when), *to),
            };
            last = last.max(told.map_or(0, |r| r.saturating_add(1)));
            // At count n + 1 `cmprev n` holds; one more and it does not, which a refused write may need.
            let asked = conditions.and_then(|when| when.revision);
            last = last.max(asked.map_or(0, |n| u64::try_from(n).map_or(0, |n| n.saturating_add(2))));
            let Some(r) = told else { continue };
            let Some(slot) = usize::try_from(r).ok().filter(|&slot| slot < changes) else {
                self.broken = true;
                continue;
            };
            if matches!(op.act, Act::Change { .. }) {
                self.broken |= self.owner[slot] != NONE;
                self.owner[slot] = i;
            } else {
                self.readers_at[slot] += 1;
            }
            self.broken |= self.value_at[slot] != NONE && self.value_at[slot] != value;
            self.value_at[slot] = value;
        }
        self.last_count = last;
    }

    /// The only writer of a value that was seen at revision r took revision r.
    fn infer_revisions(&mut self) {
        let mut seen_at = vec![None; self.readers.len()];
        for op in &self.ops {
            if let Act::See { value, revision: Some(r), .. } = op.act
                && value != ANY
            {
                seen_at[value as usize] = Some(r);
            }
        }
        for i in 0..self.ops.len() {
            let Act::Change { to, revision: revision @ None, .. } = &mut self.ops[i].act else { continue };
            let (Some(r), 1) = (seen_at[*to as usize], self.supply[*to as usize]) else { continue };
            *revision = Some(r);
            // Out of range only in a history that is broken already.
            if let Some(owner) = self.owner.get_mut(r as usize) {
                self.broken |= *owner != NONE;
                *owner = i as u32;
            }
        }
    }

    fn make_classes(&mut self) {
        let mut optional: Vec<(Local, Condition<Local>, u32)> = Vec::new();
        for (i, op) in (0u32..).zip(&self.ops) {
            if let (OPEN, Act::Change { to, when, revision: None }) = (op.ret, op.act) {
                optional.push((to, when, i));
            }
        }
        optional.sort_unstable();
        for group in optional.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            for &(_, _, i) in group {
                self.ops[i as usize].class = self.classes.len() as u32;
            }
            self.classes.push(Class { to: group[0].0, members: group.iter().map(|&(_, _, i)| i).collect() });
        }
    }

    /// Whether revisions go back in real time, or exceed the number of writes called so far.
    fn contradicts(&self) -> bool {
        let count_told = |op: &Op| match op.act {
            Act::See { revision, .. } | Act::Change { revision, .. } => revision.map_or(0, |r| r.saturating_add(1)),
        };
        let mut returns = self.returns.iter().peekable();
        let (mut reached, mut changes) = (0, 0);
        for op in self.ops.iter().map(Some).chain([None]) {
            let call = op.map_or(OPEN, |op| op.call);
            while let Some((_, i)) = returns.next_if(|(ret, _)| *ret < call) {
                let told = count_told(&self.ops[*i as usize]);
                if told > changes {
                    return true;
                }
                reached = reached.max(told);
            }
            let Some(op) = op else { break };
            let told = count_told(op);
            let newest = reached + u64::from(matches!(op.act, Act::Change { .. }));
            if op.ret != OPEN && told != 0 && told < newest {
                return true;
            }
            changes += u64::from(matches!(op.act, Act::Change { .. }));
        }
        false
    }
}

/// Numbers the values that replies and conditions name.
fn name_values(history: &History, item: Item, scratch: &mut Scratch) {
    let operation = history.operation(item.op);
    let outcome = history.outcome(operation);
    if outcome == Outcome::Fail {
        return;
    }
    if let Some(value) = operation.compare.told() {
        scratch.name(value);
    }
    if let (false, Outcome::Ok(Reply::Got(Some(seen)) | Reply::Refused(Some(seen)))) = (item.open, outcome) {
        scratch.name(seen.value);
    }
}

/// Returns the operation as the search sees it, or `None` if it cannot matter.
fn compile(history: &History, item: Item, scratch: &Scratch) -> Option<Op> {
    let operation = history.operation(item.op);
    let outcome = history.outcome(operation);
    let ret = match outcome {
        Outcome::Fail => return None,
        Outcome::Ok(_) if !item.open => u64::from(operation.returned),
        Outcome::Ok(_) | Outcome::Info => OPEN,
    };
    let reply = match outcome {
        Outcome::Ok(reply) if ret != OPEN => reply,
        _ => Reply::Done { revision: None },
    };
    let (to, when) = match history.call(operation)? {
        Call::Get => (None, None),
        Call::Put { value, when } => (Some(scratch.get(value)), Some(scratch.condition(&when))),
        // A delete asks for presence. One that asks for absence as well never takes effect: no value is at revision -2.
        Call::Delete { when: Condition { exists: Some(false), .. } } => {
            (Some(MISSING), Some(Condition { revision: Some(-2), ..Condition::ALWAYS }))
        }
        Call::Delete { when } => (Some(MISSING), Some(Condition { exists: Some(true), ..scratch.condition(&when) })),
    };
    let act = match reply {
        Reply::Got(seen) => {
            let (value, revision) = scratch.seen(seen);
            Act::See { value, revision, refused: None }
        }
        Reply::Refused(seen) => {
            let (value, revision) = scratch.seen(seen);
            Act::See { value, revision, refused: Some(when?) }
        }
        Reply::Declined => Act::See { value: ANY, revision: None, refused: Some(when?) },
        Reply::Done { revision } => {
            // Where `cmprev n` held, the write took revision n + 1, told or not.
            let asked = when?.revision.filter(|_| ret != OPEN).and_then(|n| u64::try_from(n).ok()).map(|n| n + 1);
            Act::Change { to: to?, when: when?, revision: revision.or(asked) }
        }
    };
    Some(Op { source: item.op, call: u64::from(operation.called), ret, act, class: NONE })
}
