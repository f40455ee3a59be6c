//! The view of a history that the weaker properties use: sessions, and which write each operation read from.
//!
//! An *access* is an operation that happened and carries information: a read (or a refused write) whose reply says what
//! it saw, a write, a delete, or both at once: a write that took effect under a condition on the value (or revision)
//! has also read it. The *source* of a read is the access that wrote what it saw. It is known only if exactly one
//! operation can have written that value to that key; revisions in replies distinguish equal values. Otherwise it is
//! [`UNSURE`], and no verdict rests on a guess.
//!
//! - A write of unknown outcome happened if it is the source of an access that happened. Otherwise it counts as never
//!   called, which makes every property here easier to satisfy. It comes after the earlier operations of its session,
//!   but no operation of its session comes after it: if the session goes on, the write forms a chain of its own.
//! - Conditions that only exclude something (a refusal without a value, "present", a delete's presence) are ignored,
//!   except by the search of [`super::sequential`].
//! - The order of a session is the order of its calls.

use crate::history::{Call, End, History, OpId, Outcome, Reply, UNTOLD_REVISION, Value};
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// No access. As a source: the operation reads nothing.
pub const NONE: u32 = u32::MAX;
/// A source: what every key held before the first write.
pub const INITIAL: u32 = u32::MAX - 1;
/// A source: several operations can have written the value.
pub const UNSURE: u32 = u32::MAX - 2;
/// A source: no operation can have written the value.
pub const NOBODY: u32 = u32::MAX - 3;

/// Whether a source is an access.
#[must_use]
pub fn is_access(source: u32) -> bool {
    source < NOBODY
}

/// An operation that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// The operation.
    pub op: OpId,
    /// Its key.
    pub key: u32,
    /// Its chain: see [`Trace::chains`].
    pub chain: u32,
    /// Its place in the chain.
    pub at: u32,
    /// The access before it in its session, or [`NONE`].
    pub before: u32,
    /// The source of what it read: an access, or one of the constants.
    pub source: u32,
    /// Whether it wrote a version.
    pub writes: bool,
    /// Whether its outcome is unknown to its client.
    pub unknown: bool,
    /// The revision of that version, or [`UNTOLD_REVISION`].
    pub revision: u32,
}

/// The assumed sources of unsure operations; `None`: the initial value.
pub type Choices = BTreeMap<OpId, Option<OpId>>;

/// The accesses of a history, in the order of their calls.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// All accesses. A version is identified by the access that wrote it.
    pub accesses: Vec<Access>,
    /// The sessions, then one chain for each write of unknown outcome that happened and whose session went on.
    pub chains: Vec<Vec<u32>>,
    /// The number of chains that are sessions.
    pub sessions: usize,
    /// Writes of each key.
    pub writes: Vec<Vec<u32>>,
    /// Operations that may have happened and whose source is unsure.
    pub unsure: Vec<OpId>,
}

/// What an operation reports to have seen.
#[derive(Clone, Copy)]
struct Saw {
    value: Option<Value>,
    revision: Option<u32>,
}

/// Returns the value that an operation writes if it takes effect; `None` if it writes nothing.
#[must_use]
pub fn written(history: &History, op: OpId) -> Option<Value> {
    let op = history.operation(op);
    if op.end == End::Fail || op.end == End::Refused {
        return None;
    }
    match history.call(op)? {
        Call::Put { value, .. } => Some(value),
        Call::Delete { .. } => Some(Value::NIL),
        Call::Get => None,
    }
}

fn saw(history: &History, op: OpId) -> Option<Saw> {
    let op = history.operation(op);
    let call = history.call(op)?;
    match history.outcome(op) {
        Outcome::Ok(Reply::Got(seen) | Reply::Refused(seen)) => Some(Saw {
            value: Some(seen.map_or(Value::NIL, |v| v.value)),
            revision: seen.and_then(|v| v.revision).and_then(|r| u32::try_from(r).ok()),
        }),
        Outcome::Ok(Reply::Done { .. }) | Outcome::Info => {
            let when = call.condition()?;
            let revision = when.revision.and_then(|r| u32::try_from(r).ok());
            let missing = when.exists == Some(false) || when.revision.is_some_and(|r| r < 0);
            match (when.value, missing, revision) {
                (None, false, None) => None,
                (None, true, _) => Some(Saw { value: Some(Value::NIL), revision: None }),
                (value, _, revision) => Some(Saw { value, revision }),
            }
        }
        Outcome::Ok(Reply::Declined) | Outcome::Fail => None,
    }
}

/// The possible writers of each value.
struct Writers<'a> {
    history: &'a History,
    /// By key and value: the first writer, and the number of writers.
    by_value: HashMap<(u32, Value), (u32, u32)>,
    /// By key, revision and value: the first write whose reply gave that revision. [`Value::UNTOLD`]: any value.
    by_revision: HashMap<(u32, u32, Value), u32>,
}

impl<'a> Writers<'a> {
    fn new(history: &'a History) -> Writers<'a> {
        let operations = history.operations();
        let mut writers =
            Writers { history, by_value: HashMap::with_capacity(operations.len() / 2), by_revision: HashMap::new() };
        for (i, op) in (0u32..).zip(operations) {
            let Some(value) = written(history, OpId(i)) else { continue };
            writers.by_value.entry((op.key.0, value)).or_insert((i, 0)).1 += 1;
            if let (End::Ok, Some(r)) = (op.end, op.told_revision()) {
                for value in [value, Value::UNTOLD] {
                    writers.by_revision.entry((op.key.0, r, value)).or_insert(i);
                }
            }
        }
        writers
    }

    /// Returns the source of an operation: an operation, or one of the constants.
    fn source(&self, op: OpId, saw: Saw) -> u32 {
        let key = self.history.operation(op).key.0;
        if let Some(r) = saw.revision
            && let Some(&w) = self.by_revision.get(&(key, r, saw.value.unwrap_or(Value::UNTOLD)))
            && w != op.0
        {
            return w;
        }
        let Some(value) = saw.value else { return UNSURE };
        let initial = value == self.history.initial() && saw.revision.is_none();
        let (first, mut count) = self.by_value.get(&(key, value)).copied().unwrap_or((NONE, 0));
        if written(self.history, op) == Some(value) {
            count -= 1; // An operation does not read from itself.
        }
        match (count, initial) {
            (0, true) => INITIAL,
            (0, false) => NOBODY,
            (1, false) if first != op.0 => first,
            _ => UNSURE,
        }
    }
}

/// Returns the operations that `op` can have read from, judged by the value alone; `None`: the initial value.
#[must_use]
pub fn candidates(history: &History, op: OpId) -> Vec<Option<OpId>> {
    let Some(saw) = saw(history, op) else { return Vec::new() };
    let key = history.operation(op).key;
    let writers = (0u32..).map(OpId).take(history.operations().len()).filter(|&w| {
        let writer = history.operation(w);
        w != op
            && writer.key == key
            && written(history, w).is_some_and(|value| saw.value.is_none_or(|seen| seen == value))
    });
    let initial = (saw.value == Some(history.initial()) && saw.revision.is_none()).then_some(None);
    writers.map(Some).chain(initial).collect()
}

impl Trace {
    /// Collects the accesses of a history.
    #[must_use]
    pub fn new(history: &History) -> Trace {
        Trace::assuming(history, &Choices::new())
    }

    /// Collects the accesses of a history, with the unsure sources taken from `choices`.
    #[must_use]
    pub fn assuming(history: &History, choices: &Choices) -> Trace {
        let operations = history.operations();
        let writers = Writers::new(history);
        let mut unsure = Vec::new();
        let mut sources = vec![NONE; operations.len()];
        for (i, source) in (0u32..).zip(&mut sources) {
            let Some(saw) = saw(history, OpId(i)) else { continue };
            *source = writers.source(OpId(i), saw);
            if *source == UNSURE {
                match choices.get(&OpId(i)) {
                    Some(Some(op)) => *source = op.0,
                    Some(None) => *source = INITIAL,
                    None => unsure.push(OpId(i)),
                }
            }
        }
        let happened = happened(history, &sources);
        let mut trace = Trace { unsure, ..Trace::default() };
        trace.collect(history, &sources, &happened);
        trace
    }

    fn collect(&mut self, history: &History, sources: &[u32], happened: &[bool]) {
        let operations = history.operations();
        let mut places = vec![NONE; operations.len()];
        // Growing by doubling would briefly need three times as much memory.
        self.accesses.reserve_exact(operations.len());
        let mut sessions: HashMap<u32, u32> = HashMap::new();
        let mut open: Vec<u32> = Vec::new();
        self.writes = vec![Vec::new(); history.keys() as usize];
        for (i, op) in (0u32..).zip(operations) {
            let writes = written(history, OpId(i)).is_some();
            let source = sources[i as usize];
            if !happened[i as usize] || !writes && source == NONE {
                continue;
            }
            let session = *sessions.entry(op.process).or_insert_with(|| {
                self.chains.push(Vec::new());
                self.chains.len() as u32 - 1
            });
            let id = self.accesses.len() as u32;
            places[i as usize] = id;
            let chain = &mut self.chains[session as usize];
            let revision = if op.end == End::Ok { op.revision } else { UNTOLD_REVISION };
            let before = chain.last().copied().unwrap_or(NONE);
            let at = chain.len() as u32;
            let (op_id, key, unknown) = (OpId(i), op.key.0, op.end == End::Info);
            let access = Access { op: op_id, key, chain: session, at, before, source, writes, unknown, revision };
            self.accesses.push(access);
            if unknown {
                open.push(id);
            } else {
                chain.push(id);
            }
            if writes {
                self.writes[op.key.0 as usize].push(id);
            }
        }
        self.sessions = self.chains.len();
        for id in open {
            let access = &mut self.accesses[id as usize];
            if self.chains[access.chain as usize].len() == access.at as usize {
                self.chains[access.chain as usize].push(id);
                continue;
            }
            (access.chain, access.at) = (self.chains.len() as u32, 0);
            self.chains.push(vec![id]);
        }
        for access in &mut self.accesses {
            if is_access(access.source) {
                access.source = places[access.source as usize];
            }
        }
    }

    /// Returns the event at which an access returned, or `u32::MAX` if its outcome is unknown.
    #[must_use]
    pub fn returned(&self, history: &History, access: u32) -> u32 {
        history.operation(self.accesses[access as usize].op).settled().unwrap_or(u32::MAX)
    }

    /// Returns the operations of some accesses, in the order of their calls, without duplicates.
    #[must_use]
    pub fn ops(&self, accesses: &[u32]) -> Vec<OpId> {
        let mut ops: Vec<OpId> = accesses.iter().map(|&a| self.accesses[a as usize].op).collect();
        ops.sort_unstable();
        ops.dedup();
        ops
    }
}

/// Returns which operations certainly happened, given their sources.
fn happened(history: &History, sources: &[u32]) -> Vec<bool> {
    let operations = history.operations();
    let mut happened: Vec<bool> = operations.iter().map(|op| matches!(op.end, End::Ok | End::Refused)).collect();
    let mut news: Vec<u32> = Vec::new();
    for (i, &source) in sources.iter().enumerate() {
        if happened[i] && is_access(source) && operations[source as usize].end == End::Info {
            news.push(source);
        }
    }
    while let Some(i) = news.pop() {
        if std::mem::replace(&mut happened[i as usize], true) {
            continue;
        }
        let source = sources[i as usize];
        if is_access(source) && operations[source as usize].end == End::Info {
            news.push(source);
        }
    }
    happened
}
