//! One key's writes and what they overwrote.
//!
//! A write overwrites the values that its writer had seen, and what these had overwritten: the transitive closure of
//! `saw`. A value is seen only after it was written, so `saw` leads from later calls to earlier ones and has no cycles.
//! A hand-written history that contradicts this is reported as a violation, and the contradicting entry is left out.

use super::closure::{Closure, MOST};
use super::words;
use super::{Call, Dump, End, Findings, NONE_INVENTED, Observed, Operation, USABLE};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::ops::Range;

/// A time after all events.
pub const NEVER: u64 = u64::MAX;

/// The operations and dumps of one key.
#[derive(Default)]
pub struct Part {
    /// Positions in [`Observed::operations`], by call.
    pub operations: Vec<u32>,
    /// Positions in [`Observed::dumps`].
    pub dumps: Vec<u32>,
}

/// Splits a history by key, in the order of the keys' first appearance.
pub fn by_key(observed: &Observed) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut part = |key, parts: &mut Vec<Part>| {
        *numbers.entry(key).or_insert_with(|| {
            parts.push(Part::default());
            parts.len() - 1
        })
    };
    for (i, op) in (0u32..).zip(&observed.operations) {
        let at = part(op.key.as_str(), &mut parts);
        parts[at].operations.push(i);
    }
    for (i, dump) in (0u32..).zip(&observed.dumps) {
        let at = part(dump.key.as_str(), &mut parts);
        parts[at].dumps.push(i);
    }
    for part in &mut parts {
        part.operations.sort_by_key(|&op| observed.operations[op as usize].called);
    }
    parts
}

/// A write or delete that may have happened.
pub struct Write {
    /// Its position in [`Observed::operations`].
    pub op: u32,
    /// Whether it is a put, not a delete.
    pub put: bool,
    /// Time of its call.
    pub called: u64,
    /// Time of its acknowledgement, or [`NEVER`].
    pub acked: u64,
    /// The writes whose values it overwrote directly, as a range of `Keyed::seen`.
    saw: Range<usize>,
    /// The first acknowledged write or delete that overwrote it, directly or not: time of the acknowledgement, and
    /// which write it was.
    pub overwritten: (u64, u32),
    /// Time of the call of the first delete that overwrote it, directly or not.
    pub deleted: u64,
}

/// One key's history.
pub struct Keyed<'a> {
    /// The whole history.
    pub observed: &'a Observed,
    /// The key.
    pub name: &'a str,
    /// The key's operations and dumps.
    pub part: &'a Part,
    /// The writes and deletes that may have happened, in the order of their calls.
    pub writes: Vec<Write>,
    /// The writes of the dumped values, by dump. Unknown values are left out.
    pub dumped: Vec<Vec<u32>>,
    /// What reads showed, and writes that were asked to return values, in the order of their calls.
    pub shown: Vec<Shown>,
    /// Time of the call of the first delete that may have happened.
    pub first_delete: u64,
    /// The storage of [`Write::saw`] and [`Shown::writes`].
    seen: Vec<u32>,
    by_value: HashMap<&'a str, u32>,
    failed: HashMap<&'a str, u32>,
}

/// Values that a client was shown.
pub struct Shown {
    /// The operation that showed them.
    pub op: u32,
    /// The writes of the values, ascending and distinct, as a range of `Keyed::seen`. Unknown values are left out.
    writes: Range<usize>,
}

/// Returns the values that an operation showed.
pub fn shown(op: &Operation) -> Option<&[String]> {
    match (&op.end, op.returned, &op.call) {
        (End::Ok(Some(values)), Some(_), Call::Get | Call::Put { .. } | Call::Delete { .. }) => Some(values),
        _ => None,
    }
}

impl<'a> Keyed<'a> {
    /// Finds which write each value comes from and what it overwrote. A value that no client wrote is a violation.
    pub fn new(observed: &'a Observed, part: &'a Part, findings: &mut Findings) -> Keyed<'a> {
        let first = part.operations.first().map(|&op| observed.operations[op as usize].key.as_str());
        let name = first.or_else(|| part.dumps.first().map(|&dump| observed.dumps[dump as usize].key.as_str()));
        let mut keyed = Keyed {
            observed,
            name: name.unwrap_or_default(),
            part,
            writes: Vec::new(),
            dumped: Vec::new(),
            shown: Vec::new(),
            first_delete: NEVER,
            seen: Vec::with_capacity(2 * part.operations.len()),
            by_value: HashMap::with_capacity(part.operations.len()),
            failed: HashMap::new(),
        };
        keyed.find_writes(findings);
        keyed.find_saw(findings);
        keyed.find_overwritten();
        keyed.find_shown(findings);
        keyed.find_dumped(findings);
        keyed
    }

    /// Returns the operation at a position.
    pub fn op(&self, at: u32) -> &'a Operation {
        &self.observed.operations[at as usize]
    }

    /// Returns the operation of a write.
    pub fn write(&self, write: u32) -> &'a Operation {
        self.op(self.writes[write as usize].op)
    }

    /// Returns the value of a write; empty for a delete.
    pub fn value(&self, write: u32) -> &'a str {
        match &self.write(write).call {
            Call::Put { value, .. } => value,
            _ => "",
        }
    }

    /// Returns the writes whose values a write overwrote directly, ascending.
    pub fn saw(&self, write: &Write) -> &[u32] {
        &self.seen[write.saw.clone()]
    }

    /// Returns the writes of the values that were shown, ascending.
    pub fn found(&self, shown: &Shown) -> &[u32] {
        &self.seen[shown.writes.clone()]
    }

    /// Returns a dump by its position among the key's dumps.
    pub fn dump(&self, at: usize) -> &'a Dump {
        &self.observed.dumps[self.part.dumps[at] as usize]
    }

    fn find_writes(&mut self, findings: &mut Findings) {
        for &at in &self.part.operations {
            let op = self.op(at);
            let value = match &op.call {
                Call::Put { value, .. } => Some(value.as_str()),
                Call::Delete { .. } => None,
                Call::Get | Call::Add(_) | Call::Insert(_) | Call::Remove(_) => continue,
            };
            if op.end == End::Fail {
                if let Some(value) = value {
                    self.failed.insert(value, at);
                }
                continue;
            }
            let number = u32::try_from(self.writes.len()).unwrap_or(u32::MAX);
            match value.map(|value| self.by_value.entry(value)) {
                None => self.first_delete = self.first_delete.min(op.called),
                Some(Entry::Vacant(free)) => {
                    free.insert(number);
                }
                Some(Entry::Occupied(taken)) => {
                    let other = self.writes[*taken.get() as usize].op;
                    findings.violated(USABLE, self.name, &[other, at], || {
                        format!("{} and {} write the same value", words::op(self.op(other)), words::op(op))
                    });
                    continue;
                }
            }
            let acked = if matches!(op.end, End::Ok(_)) { op.returned.unwrap_or(NEVER) } else { NEVER };
            let (put, called, saw) = (value.is_some(), op.called, 0..0);
            let write = Write { op: at, put, called, acked, saw, overwritten: (NEVER, 0), deleted: NEVER };
            self.writes.push(write);
        }
    }

    /// Returns the write of a value that was found. A value that no client can have written by then is a violation.
    fn source(&self, value: &str, by: u64, at: &[u32], who: &dyn Fn() -> String, to: &mut Findings) -> Option<u32> {
        match self.by_value.get(value) {
            Some(&write) if self.writes[write as usize].called <= by => Some(write),
            _ => {
                self.invented(value, at, who, to);
                None
            }
        }
    }

    #[cold]
    fn invented(&self, value: &str, at: &[u32], who: &dyn Fn() -> String, to: &mut Findings) {
        let written = self.by_value.get(value).map(|&write| self.writes[write as usize].op);
        let failed = self.failed.get(value).copied();
        let involved: Vec<u32> = at.iter().copied().chain(written.or(failed)).collect();
        to.violated(NONE_INVENTED, self.name, &involved, || match (written, failed) {
            (Some(write), _) => {
                format!("{} found {value:?} before it was written: {}", who(), words::op(self.op(write)))
            }
            (None, Some(failed)) => {
                format!("{} found {value:?}, though its write certainly failed: {}", who(), words::op(self.op(failed)))
            }
            (None, None) => format!("{} found {value:?}, which nobody wrote to this key", who()),
        });
    }

    fn find_saw(&mut self, findings: &mut Findings) {
        for number in 0..self.writes.len() {
            let at = self.writes[number].op;
            let op = self.op(at);
            let (Call::Put { saw, .. } | Call::Delete { saw }) = &op.call else { continue };
            let who = || format!("whoever called {}", words::op(op));
            let start = self.seen.len();
            for value in saw {
                let source = self.source(value, op.called, &[at], &who, findings);
                // Calls at the same time count in the order of the history.
                self.seen.extend(source.filter(|&write| (write as usize) < number));
            }
            self.seen[start..].sort_unstable();
            let length = dedup(&mut self.seen[start..]);
            self.seen.truncate(start + length);
            self.writes[number].saw = start..start + length;
        }
    }

    fn find_overwritten(&mut self) {
        for number in (0..self.writes.len()).rev() {
            let write = &self.writes[number];
            let by = if write.acked == NEVER {
                write.overwritten
            } else {
                write.overwritten.min((write.acked, u32::try_from(number).unwrap_or(u32::MAX)))
            };
            let deleted = if write.put { write.deleted } else { write.called };
            for at in write.saw.clone() {
                let before = &mut self.writes[self.seen[at] as usize];
                before.overwritten = before.overwritten.min(by);
                before.deleted = before.deleted.min(deleted);
            }
        }
    }

    fn find_shown(&mut self, findings: &mut Findings) {
        let mut all = Vec::new();
        for &at in &self.part.operations {
            let op = self.op(at);
            let (Some(values), Some(returned)) = (shown(op), op.returned) else { continue };
            let who = || words::op(op);
            let start = self.seen.len();
            for value in values {
                self.seen.extend(self.source(value, returned, &[at], &who, findings));
            }
            let length = self.once(start, &[at], &who, findings);
            all.push(Shown { op: at, writes: start..start + length });
        }
        self.shown = all;
    }

    fn find_dumped(&mut self, findings: &mut Findings) {
        let mut all = Vec::new();
        for at in 0..self.part.dumps.len() {
            let dump = self.dump(at);
            let who = || format!("at the end, replica {}", dump.replica);
            let start = self.seen.len();
            for value in &dump.values {
                self.seen.extend(self.source(value, NEVER, &[], &who, findings));
            }
            // A write that was retried may leave several copies among a replica's siblings. Readers must see only one.
            self.seen[start..].sort_unstable();
            let length = dedup(&mut self.seen[start..]);
            self.seen.truncate(start + length);
            all.push(self.seen.split_off(start));
        }
        self.dumped = all;
    }

    /// Sorts and deduplicates the siblings from `start` on, and returns their number. A duplicate is a violation.
    fn once(&mut self, start: usize, at: &[u32], who: &dyn Fn() -> String, to: &mut Findings) -> usize {
        self.seen[start..].sort_unstable();
        if let Some(twice) = self.seen[start..].windows(2).find(|pair| pair[0] == pair[1]) {
            let involved = [at, &[self.writes[twice[0] as usize].op]].concat();
            to.violated(super::ONCE, self.name, &involved, || {
                format!(
                    "{} found {:?} more than once among the siblings; it was written once: {}",
                    who(),
                    self.value(twice[0]),
                    words::op(self.write(twice[0]))
                )
            });
        }
        let length = dedup(&mut self.seen[start..]);
        self.seen.truncate(start + length);
        length
    }

    /// Returns what each write overwrote, directly or not; `None` if that would take too much memory.
    pub fn closure(&self) -> Option<Closure> {
        Closure::new(self.writes.iter().map(|write| self.saw(write)), MOST)
    }
}

/// Moves the distinct numbers of a sorted slice to its front and returns how many there are.
fn dedup(numbers: &mut [u32]) -> usize {
    let mut kept = 0;
    for at in 0..numbers.len() {
        if kept == 0 || numbers[kept - 1] != numbers[at] {
            numbers[kept] = numbers[at];
            kept += 1;
        }
    }
    kept
}
