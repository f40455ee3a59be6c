//! Random histories of an atomic store, and a checker that tries every order. Both know the model only from its
//! description, and share no code with the package.
#![allow(dead_code)] // Each test uses only a part.

pub mod naive;
pub mod objects;
pub mod workloads;

use seaworthy_check::{Call, Condition, History, KvOperation, OpId, Outcome, Recorder, Reply, Value, Version};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    pub fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// Parameters of a generated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub ops: usize,
    pub processes: usize,
    pub keys: u64,
    /// Number of different values; 0: every write has its own.
    pub values: u64,
    /// Percentage of operations whose outcome stays unknown.
    pub info: u64,
    /// Percentage that certainly fail.
    pub fail: u64,
    /// Percentage of conditional writes.
    pub conditional: u64,
    /// Percentage of replies that report revisions.
    pub revisions: u64,
}

/// An operation before it is recorded; `events` are the positions of its call and return.
#[derive(Clone, Debug)]
pub struct Raw {
    pub process: u32,
    pub events: (usize, Option<usize>),
    pub key: u64,
    pub call: Call<String>,
    pub end: End,
}

#[derive(Clone, Debug)]
pub enum End {
    Ok(Reply<String>),
    Fail,
    Info,
}

#[derive(Clone, Default)]
struct Cell {
    value: Option<String>,
    count: u64,
}

impl Cell {
    fn version(&self, told: bool) -> Option<Version<String>> {
        self.value.clone().map(|value| Version { value, revision: told.then(|| self.count - 1) })
    }

    fn meets(&self, when: &Condition<String>) -> bool {
        let there = self.value.is_some();
        let number = if there { self.count as i64 - 1 } else { -1 };
        !(when.exists.is_some_and(|e| e != there)
            || when.value.is_some() && when.value != self.value
            || when.revision.is_some_and(|n| n != number))
    }

    fn apply(&mut self, call: &Call<String>, told: bool) -> Reply<String> {
        let (next, when) = match call {
            Call::Get => return Reply::Got(self.version(told)),
            Call::Put { value, when } => (Some(value.clone()), when),
            Call::Delete { when } => (None, when),
        };
        if !self.meets(when) || next.is_none() && self.value.is_none() {
            return Reply::Refused(self.version(told));
        }
        self.value = next;
        self.count += 1;
        Reply::Done { revision: told.then(|| self.count - 1) }
    }
}

/// Generates a linearizable history: each operation takes effect at a random moment between its call and its return.
pub fn generate(shape: Shape, rng: &mut Rng) -> Vec<Raw> {
    #[derive(Clone, Copy)]
    enum At {
        Idle,
        Called(usize),
        Applied(usize),
    }
    let mut raws: Vec<Raw> = Vec::new();
    let mut cells = vec![Cell::default(); shape.keys as usize];
    let mut at = vec![At::Idle; shape.processes];
    let mut adrift: Vec<usize> = Vec::new();
    let (mut event, mut returned) = (0, 0);
    while returned < shape.ops {
        if !adrift.is_empty() && rng.percent(10) {
            let i = adrift.swap_remove(rng.below(adrift.len() as u64) as usize);
            let raw = &raws[i];
            cells[raw.key as usize].apply(&raw.call, false);
            continue;
        }
        let p = rng.below(shape.processes as u64) as usize;
        at[p] = match at[p] {
            At::Idle if raws.len() == shape.ops => At::Idle,
            At::Idle => {
                let key = rng.below(shape.keys);
                let call = call(shape, raws.len(), &cells[key as usize], rng);
                raws.push(Raw { process: p as u32, events: (event, None), key, call, end: End::Info });
                event += 1;
                At::Called(raws.len() - 1)
            }
            At::Called(i) => {
                let fate = rng.below(100);
                if fate < shape.info + shape.fail {
                    if fate >= shape.info {
                        raws[i].end = End::Fail;
                    } else if rng.percent(60) {
                        adrift.push(i);
                    }
                    if fate >= shape.info || rng.percent(80) {
                        raws[i].events.1 = Some(event);
                        event += 1;
                    }
                    returned += 1;
                    At::Idle
                } else {
                    let told = rng.percent(shape.revisions);
                    let raw = &mut raws[i];
                    raw.end = End::Ok(cells[raw.key as usize].apply(&raw.call, told));
                    At::Applied(i)
                }
            }
            At::Applied(i) => {
                raws[i].events.1 = Some(event);
                event += 1;
                returned += 1;
                At::Idle
            }
        };
    }
    raws
}

fn call(shape: Shape, n: usize, cell: &Cell, rng: &mut Rng) -> Call<String> {
    let value = |rng: &mut Rng| match shape.values {
        0 => format!("v{n}"),
        k => format!("v{}", rng.below(k)),
    };
    let when = if rng.percent(shape.conditional) {
        let guess = rng.below(4) as i64;
        match rng.below(5) {
            0 => Condition { exists: Some(rng.percent(50)), ..no_condition() },
            1 => Condition { value: Some(value(rng)), ..no_condition() },
            2 => Condition { revision: Some(guess - 1), ..no_condition() },
            3 => Condition { revision: Some(cell.count as i64 - 1), ..no_condition() },
            _ => Condition { value: cell.value.clone(), ..no_condition() },
        }
    } else {
        no_condition()
    };
    match rng.below(10) {
        0..5 => Call::Get,
        5..9 => Call::Put { value: value(rng), when },
        _ => Call::Delete { when },
    }
}

fn no_condition() -> Condition<String> {
    Condition { exists: None, value: None, revision: None }
}

/// Changes a reply. The new one may or may not still be possible.
pub fn mutate(raws: &mut [Raw], rng: &mut Rng) {
    let values: Vec<String> = raws
        .iter()
        .filter_map(|raw| match &raw.call {
            Call::Put { value, .. } => Some(value.clone()),
            _ => None,
        })
        .chain(["phantom".to_owned()])
        .collect();
    let raw = rng.below(raws.len() as u64) as usize;
    let End::Ok(reply) = &mut raws[raw].end else { return };
    let other = values[rng.below(values.len() as u64) as usize].clone();
    let number = rng.below(4);
    match reply {
        Reply::Got(seen) | Reply::Refused(seen) => match (seen.as_mut(), rng.below(3)) {
            (_, 0) => *seen = None,
            (Some(Version { revision: Some(r), .. }), 1) => *r = number,
            _ => *seen = Some(Version { value: other, revision: None }),
        },
        Reply::Done { revision } => match revision {
            Some(_) => *revision = Some(number),
            None => *reply = Reply::Refused(None),
        },
        Reply::Declined => *reply = Reply::Done { revision: None },
    }
}

/// Records operations.
pub fn record(raws: &[Raw]) -> History {
    let mut events: Vec<(usize, usize, bool)> = Vec::new();
    for (i, raw) in raws.iter().enumerate() {
        events.push((raw.events.0, i, false));
        events.extend(raw.events.1.map(|event| (event, i, true)));
    }
    events.sort_unstable();
    let mut recorder = Recorder::default();
    let mut ids = vec![None; raws.len()];
    for (n, (_, i, returned)) in events.into_iter().enumerate() {
        let (raw, time) = (&raws[i], 1_000 * n as u64);
        if !returned {
            ids[i] = Some(recorder.invoke(raw.process, time, &format!("k{}", raw.key), borrow_call(&raw.call)));
            continue;
        }
        let id = ids[i].expect("the call comes before the return");
        match &raw.end {
            End::Ok(reply) => recorder.ok(id, time, borrow_reply(reply)),
            End::Fail => recorder.fail(id, time),
            End::Info => recorder.info(id, time),
        }
    }
    recorder.finish()
}

fn borrow_call(call: &Call<String>) -> Call<&str> {
    match call {
        Call::Get => Call::Get,
        Call::Put { value, when } => Call::Put { value, when: borrow_condition(when) },
        Call::Delete { when } => Call::Delete { when: borrow_condition(when) },
    }
}

fn borrow_condition(when: &Condition<String>) -> Condition<&str> {
    Condition { exists: when.exists, value: when.value.as_deref(), revision: when.revision }
}

fn borrow_reply(reply: &Reply<String>) -> Reply<&str> {
    match reply {
        Reply::Got(seen) => Reply::Got(seen.as_ref().map(borrow_version)),
        Reply::Done { revision } => Reply::Done { revision: *revision },
        Reply::Refused(seen) => Reply::Refused(seen.as_ref().map(borrow_version)),
        Reply::Declined => Reply::Declined,
    }
}

fn borrow_version(seen: &Version<String>) -> Version<&str> {
    Version { value: &seen.value, revision: seen.revision }
}

/// Returns whether the operations of one key can be ordered, by trying every order. Only the first `events` events
/// count. If `core` is given, only the outcomes of its operations count; the others are unknown.
pub fn brute_force(history: &History, key: &str, events: u32, core: Option<&[OpId]>) -> bool {
    let key = history.find_key(key);
    let ops: Vec<KvOperation> = (0u32..)
        .take(history.operations().len())
        .map(|i| (i, history.kv(OpId(i))))
        .filter(|(_, op)| Some(op.key) == key && op.called.index < events && op.outcome != Outcome::Fail)
        .map(|(i, mut op)| {
            let forgotten = core.is_some_and(|core| !core.contains(&OpId(i)));
            if forgotten || op.returned.is_none_or(|ret| ret.index >= events) {
                op.outcome = Outcome::Info;
            }
            op
        })
        .collect();
    extend(&ops, &mut vec![false; ops.len()], present(history.initial()), 0)
}

/// Writing nil makes the key missing.
fn present(value: Value) -> Option<Value> {
    (value != Value::NIL).then_some(value)
}

fn extend(ops: &[KvOperation], done: &mut [bool], value: Option<Value>, count: u64) -> bool {
    let ret = |op: &KvOperation| match op.outcome {
        Outcome::Ok(_) => op.returned.map_or(u32::MAX, |m| m.index),
        _ => u32::MAX,
    };
    let deadline = (0..ops.len()).filter(|&i| !done[i]).map(|i| ret(&ops[i])).min().unwrap_or(u32::MAX);
    if deadline == u32::MAX {
        return true;
    }
    for i in 0..ops.len() {
        if done[i] || ops[i].called.index > deadline {
            continue;
        }
        let Some((value, count)) = after(&ops[i], value, count) else { continue };
        done[i] = true;
        if extend(ops, done, value, count) {
            return true;
        }
        done[i] = false;
    }
    false
}

/// Returns the state after an operation; `None` if its reply is impossible in this state.
fn after(op: &KvOperation, value: Option<Value>, count: u64) -> Option<(Option<Value>, u64)> {
    let matches = |seen: Option<Version>| match seen {
        None => value.is_none(),
        Some(v) => present(v.value) == value && v.revision.is_none_or(|r| Some(r) == count.checked_sub(1)),
    };
    let (next, when) = match op.call {
        Call::Get => {
            let fits = match op.outcome {
                Outcome::Ok(Reply::Got(seen)) => matches(seen),
                _ => true,
            };
            return fits.then_some((value, count));
        }
        Call::Put { value, when } => (present(value), when),
        Call::Delete { when } => (None, when),
    };
    let number = if value.is_some() { count as i64 - 1 } else { -1 };
    let accepted = when.exists.is_none_or(|e| e == value.is_some())
        && when.value.is_none_or(|v| present(v) == value)
        && when.revision.is_none_or(|n| n == number)
        && (matches!(op.call, Call::Put { .. }) || value.is_some());
    match op.outcome {
        Outcome::Ok(Reply::Done { revision }) => {
            (accepted && revision.is_none_or(|r| r == count)).then_some((next, count + 1))
        }
        Outcome::Ok(Reply::Refused(seen)) => (!accepted && matches(seen)).then_some((value, count)),
        Outcome::Ok(Reply::Declined) => (!accepted).then_some((value, count)),
        _ if accepted => Some((next, count + 1)),
        _ => Some((value, count)),
    }
}
