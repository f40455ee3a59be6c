//! An index of all writes: the writes of each key in one table, and a look-up from key and value to the write.
//!
//! Each value of a key should be written once. Then a read shows which write it read from. If a value was written more
//! than once, reads of it show nothing, and [`Index::unclear`] says so.

pub use crate::history::MicroOp as Step;
use crate::history::{End, Function, History, KeyId, OpId, Value};

/// No transaction, no write, no position.
pub const NONE: u32 = u32::MAX;
/// Returned instead of a transaction if there are several.
const SEVERAL: u32 = u32::MAX - 1;

/// What is known of a transaction's outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It committed.
    Committed,
    /// It certainly did not commit.
    Aborted,
    /// Its outcome is unknown, and no committed transaction saw it.
    Unknown,
    /// Its outcome is unknown, but a committed transaction read what it wrote: it committed, or this is an aborted
    /// read.
    Seen,
    /// Not a transaction.
    Other,
}

/// A write of a key.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// What was written or appended.
    pub value: Value,
    /// The transaction.
    pub op: u32,
    /// Whether it is the transaction's last write of the key.
    pub last: bool,
}

/// How a key is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Only read, and no read saw a value.
    Unused,
    /// A list.
    List,
    /// A register.
    Register,
}

/// The tables.
pub struct Index<'h> {
    /// The history.
    pub history: &'h History,
    /// By operation.
    pub fates: Vec<Fate>,
    /// By key.
    pub uses: Vec<Use>,
    /// Where each key's writes begin, and the end.
    pub first: Vec<u32>,
    /// All writes, sorted by key, then by operation and step.
    pub writes: Vec<Write>,
    /// By key: where its slots begin, and its smallest value, or [`NONE`] if the slots are a hash table.
    tables: Vec<(u32, u32)>,
    /// Places in `writes`.
    slots: Vec<u32>,
    /// A message about the first value that was written to its key more than once, or that a register held from the
    /// beginning.
    pub unclear: Option<String>,
}

impl<'h> Index<'h> {
    /// Indexes a history.
    ///
    /// # Errors
    /// What in the history is not a transaction on lists and registers.
    pub fn new(history: &'h History) -> Result<Index<'h>, String> {
        let fates = history.operations().iter().map(|op| match (op.f, op.end) {
            (Function::Txn, End::Ok) => Fate::Committed,
            (Function::Txn, End::Fail | End::Refused) => Fate::Aborted,
            (Function::Txn, End::Info) => Fate::Unknown,
            _ => Fate::Other,
        });
        let fates: Vec<Fate> = fates.collect();
        if let Some(at) = fates.iter().position(|&fate| fate == Fate::Other) {
            let f = history.function(history.operations()[at].f);
            return Err(format!("operation {at} is no transaction but a {f}"));
        }
        let keys = history.keys() as usize;
        let mut uses = vec![Use::Unused; keys];
        let mut first = vec![0u32; keys + 2];
        for (_, step) in steps(history) {
            let seen = match step.f {
                Function::Append => Use::List,
                Function::Write => Use::Register,
                Function::Read if history.list(step).is_some() => Use::List,
                Function::Read if step.value == Value::NIL || step.value == Value::UNTOLD => Use::Unused,
                Function::Read => Use::Register,
                f => return Err(format!("a transaction on lists or registers has no {}", history.function(f))),
            };
            let key = step.key.0 as usize;
            if seen != Use::Unused && uses[key] != seen {
                if uses[key] != Use::Unused {
                    let key = history.key(step.key);
                    return Err(format!("key {key} is used as a list and as a register"));
                }
                uses[key] = seen;
            }
            first[key + 2] += u32::from(step.f != Function::Read);
        }
        for key in 2..first.len() {
            first[key] += first[key - 1];
        }
        let nothing = Write { value: Value::NIL, op: NONE, last: false };
        let mut writes = vec![nothing; first[keys + 1] as usize];
        for (op, step) in steps(history).filter(|(_, step)| step.f != Function::Read) {
            let slot = &mut first[step.key.0 as usize + 1];
            writes[*slot as usize] = Write { value: step.value, op, last: true };
            *slot += 1;
        }
        first.pop();
        for (at, key) in first.windows(2).flat_map(|pair| (pair[0]..pair[1]).map(|at| (at as usize, pair[1] as usize)))
        {
            writes[at].last = at + 1 == key || writes[at + 1].op != writes[at].op;
        }
        let mut index =
            Index { history, fates, uses, first, writes, tables: Vec::new(), slots: Vec::new(), unclear: None };
        index.build();
        Ok(index)
    }

    /// Whether a transaction counts as committed.
    pub fn counts(&self, op: u32) -> bool {
        op < SEVERAL && matches!(self.fates[op as usize], Fate::Committed | Fate::Seen)
    }

    /// Whether a transaction certainly aborted.
    pub fn aborted(&self, op: u32) -> bool {
        op < SEVERAL && self.fates[op as usize] == Fate::Aborted
    }

    /// Records that a committed transaction read what this one wrote.
    pub fn seen(&mut self, op: u32) {
        if op < SEVERAL && self.fates[op as usize] == Fate::Unknown {
            self.fates[op as usize] = Fate::Seen;
        }
    }

    /// Returns the steps of one transaction.
    pub fn steps(&self, op: u32) -> &'h [Step] {
        self.history.micro_ops(self.history.operation(OpId(op)))
    }

    /// Returns the places of a key's writes.
    pub fn of_key(&self, key: KeyId) -> std::ops::Range<usize> {
        self.first[key.0 as usize] as usize..self.first[key.0 as usize + 1] as usize
    }

    /// Returns the place of a write; [`NONE`] if the value was never written. `Err` if it was written more than once.
    pub fn find(&self, key: KeyId, value: Value) -> Result<u32, Several> {
        let (start, least) = self.tables[key.0 as usize];
        let end = self.tables.get(key.0 as usize + 1).map_or(self.slots.len(), |next| next.0 as usize);
        let slots = &self.slots[start as usize..end];
        let found = if least == NONE {
            let mut at = hash(value, slots.len());
            loop {
                match slots.get(at) {
                    Some(&slot) if slot == NONE || self.writes[(slot & !TWICE) as usize].value == value => break slot,
                    Some(_) => at = (at + 1) & (slots.len() - 1),
                    None => break NONE,
                }
            }
        } else {
            slots.get(value.bits().wrapping_sub(least) as usize).copied().unwrap_or(NONE)
        };
        if found != NONE && found & TWICE != 0 { Err(Several) } else { Ok(found) }
    }

    /// Returns the one transaction that wrote a value of a key, or [`NONE`]. If there are several, the result is
    /// another number: not a transaction, and not [`NONE`].
    pub fn writer(&self, key: KeyId, value: Value) -> u32 {
        match self.find(key, value) {
            Ok(NONE) => NONE,
            Ok(at) => self.writes[at as usize].op,
            Err(Several) => SEVERAL,
        }
    }

    fn build(&mut self) {
        for key in 0..self.history.keys() {
            let range = self.of_key(KeyId(key));
            let writes = &self.writes[range.clone()];
            let bits = || writes.iter().map(|write| write.value.bits());
            let (least, most) = (bits().min().unwrap_or(0), bits().max().unwrap_or(0));
            let dense = (most - least) as usize <= 4 * writes.len() + 64;
            let size = match (dense, writes.len()) {
                (_, 0) => 0,
                (true, _) => (most - least) as usize + 1,
                (false, n) => (2 * n).next_power_of_two(),
            };
            let start = self.slots.len();
            self.tables.push((start as u32, if dense { least } else { NONE }));
            self.slots.resize(start + size, NONE);
            let slots = &mut self.slots[start..];
            for at in range {
                let value = self.writes[at].value;
                if value == self.history.initial() && self.uses[key as usize] == Use::Register && self.unclear.is_none()
                {
                    let (key, value) = (self.history.key(KeyId(key)), self.history.show(value));
                    self.unclear = Some(format!("{value} was written to {key}, which holds it at first"));
                }
                let mut slot = if dense { (value.bits() - least) as usize } else { hash(value, size) };
                let same = |slot: u32| self.writes[(slot & !TWICE) as usize].value == value;
                while slots[slot] != NONE && !same(slots[slot]) {
                    slot = (slot + 1) & (size - 1);
                }
                if slots[slot] == NONE {
                    slots[slot] = at as u32;
                } else {
                    slots[slot] |= TWICE;
                    if self.unclear.is_none() {
                        let (key, value) = (self.history.key(KeyId(key)), self.history.show(value));
                        self.unclear = Some(format!("{value} was written to {key} more than once"));
                    }
                }
            }
        }
    }
}

/// A value was written to its key more than once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Several;

/// Flags a slot whose value was written more than once. A history has fewer than 2^31 steps, so this bit is free.
const TWICE: u32 = 1 << 31;

/// Returns the place of a value in a table whose size is a power of two.
fn hash(value: Value, size: usize) -> usize {
    let mixed = u64::from(value.bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    mixed as usize & size.wrapping_sub(1)
}

/// Returns all steps with their transactions.
pub fn steps(history: &History) -> impl Iterator<Item = (u32, &Step)> {
    (0u32..).zip(history.operations()).flat_map(|(i, op)| history.micro_ops(op).iter().map(move |step| (i, step)))
}
