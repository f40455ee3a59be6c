//! Transactions of a strictly serializable store. Each takes effect at once when it is called.

use super::{Rng, Shape};
use crate::history::recorder::Step;
use crate::history::{End, Function, History, OpId, Recorder, Value};

/// Number of writes to a key before a new key replaces it.
const WRITES: u32 = 32;

/// A step with its result.
struct Told {
    f: Function,
    key: Value,
    value: Value,
    list: Vec<Value>,
}

/// A pending transaction.
struct Open {
    op: OpId,
    client: usize,
    time: u64,
    steps: Vec<Told>,
}

pub(super) fn transactions(append: bool, shape: &Shape, seed: u64) -> History {
    let mut rng = Rng(seed);
    let mut recorder = Recorder::default();
    let mut keys = Keys::new(shape.keys.max(1));
    let clients = shape.clients.max(1);
    let mut processes: Vec<u32> = (0..clients).collect();
    let mut next_process = clients;
    let mut free: Vec<usize> = (0..processes.len()).collect();
    let mut open: Vec<Open> = Vec::new();
    let mut planted = !shape.plant;
    let mut called = 0;
    while called < shape.operations || !open.is_empty() {
        if called < shape.operations && !free.is_empty() && (open.is_empty() || rng.below(2) == 0) {
            let client = free.swap_remove(rng.below(free.len() as u32) as usize);
            let mut steps: Vec<Told> = (0..=rng.below(4)).map(|_| keys.step(append, &mut rng)).collect();
            if called > shape.operations / 10 * 9 && !planted {
                planted = make_wrong(append, &mut steps[0]);
            }
            let time = u64::from(called) * 1_000;
            let asked: Vec<Step<'_>> = steps.iter().map(|step| step.asked()).collect();
            let op = recorder.begin_txn(processes[client], time, &asked);
            open.push(Open { op, client, time, steps });
            called += 1;
            continue;
        }
        let Open { op, client, time, steps } = open.swap_remove(rng.below(open.len() as u32) as usize);
        let unknown = rng.below(1_000) < shape.info;
        let told: Vec<Step<'_>> = steps.iter().map(|step| step.told(append)).collect();
        let end = if unknown { End::Info } else { End::Ok };
        recorder.end_txn(op, time + 500, end, (!unknown).then_some(&told));
        if unknown {
            processes[client] = next_process;
            next_process += 1;
        }
        free.push(client);
    }
    recorder.finish()
}

/// The keys in use, with all values written to them.
struct Keys {
    active: Vec<(u32, Vec<Value>)>,
    next: u32,
}

impl Keys {
    fn new(keys: u32) -> Keys {
        Keys { active: (0..keys).map(|key| (key, Vec::new())).collect(), next: keys }
    }

    /// Executes a random step.
    fn step(&mut self, append: bool, rng: &mut Rng) -> Told {
        let slot = rng.below(self.active.len() as u32) as usize;
        let (key, list) = &mut self.active[slot];
        let name = small(*key);
        if rng.below(2) == 0 {
            let value = list.last().copied().unwrap_or(Value::NIL);
            return Told { f: Function::Read, key: name, value, list: list.clone() };
        }
        let value = small(list.len() as u32 + 1);
        list.push(value);
        if list.len() as u32 == WRITES {
            self.active[slot] = (self.next, Vec::new());
            self.next += 1;
        }
        let f = if append { Function::Append } else { Function::Write };
        Told { f, key: name, value, list: Vec::new() }
    }
}

impl Told {
    fn asked(&self) -> Step<'static> {
        let value = if self.f == Function::Read { Value::UNTOLD } else { self.value };
        Step { f: self.f, key: self.key, value, list: None }
    }

    fn told(&self, append: bool) -> Step<'_> {
        if append && self.f == Function::Read {
            return Step { f: self.f, key: self.key, value: Value::UNTOLD, list: Some(&self.list) };
        }
        Step { f: self.f, key: self.key, value: self.value, list: None }
    }
}

/// Makes a read return an old state (of a list) or a value never written (of a register). Returns whether the step
/// allows this.
fn make_wrong(append: bool, step: &mut Told) -> bool {
    let can = step.f == Function::Read && step.list.len() > 4;
    if can {
        step.list.truncate(2);
        step.value = small(if append { 2 } else { WRITES + 1 });
    }
    can
}

fn small(n: u32) -> Value {
    Value::small(n).unwrap_or(Value::NIL)
}
