//! Collects the versions in one pass over a key's operations. Every value becomes a [`Version`], with its writer and
//! the times when it was seen.

use super::table::Table;
use super::{Clash, NONE, Stop};
use crate::history::{End, Function, History, NEVER, OpId, Operation, Value};
use crate::linear::Item;

/// The value has more than one possible writer.
pub const REPEATED: u8 = 1;
/// It was certainly written.
pub const HAPPENED: u8 = 2;
/// Its writer's conditions are not all in [`Version::from`]; an order must be checked for them.
pub const CONDITIONS: u8 = 4;
/// It was never seen, but some revision needs it.
pub const FILLS: u8 = 8;

/// Operations looked at together.
const FETCHED: usize = 64;

/// The writer of what was there at first.
pub const INITIAL: u32 = u32::MAX - 1;

/// What a key held between one change and the next.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    /// [`Value::NIL`]: the key was missing.
    pub value: Value,
    /// The operation that wrote it: an [`OpId`], [`INITIAL`], or [`NONE`] as long as there is none.
    pub writer: u32,
    /// The writer's call and return; [`NEVER`]: it is open.
    pub call: u32,
    pub ret: u32,
    /// The earliest return and the latest call of the operations that saw it; [`NEVER`] and 0 if there are none.
    pub seen_first: u32,
    pub seen_last: u32,
    /// The version that was there just before, where a condition of the writer tells.
    pub from: u32,
    /// The version that was there just after, where a condition of its writer tells.
    pub next: u32,
    /// Number of changes up to and including it, from the writer's revision: revision + 1.
    pub count: u32,
    /// The same, from the operations that saw it, and the call of one of these.
    pub seen_count: u32,
    pub teller: u32,
    pub flags: u8,
}

impl Version {
    fn new(value: Value) -> Version {
        Version {
            value,
            writer: NONE,
            call: 0,
            ret: NEVER,
            seen_first: NEVER,
            seen_last: 0,
            from: NONE,
            next: NONE,
            count: NONE,
            seen_count: NONE,
            teller: NONE,
            flags: 0,
        }
    }

    /// The first return among the operations that belong to it.
    pub fn first(&self) -> u32 {
        self.ret.min(self.seen_first)
    }

    /// The last call.
    pub fn last(&self) -> u32 {
        self.call.max(self.seen_last)
    }

    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The call of an operation that told the revision.
    pub fn told_by(&self) -> u32 {
        if self.seen_count == NONE { self.call } else { self.teller }
    }
}

/// All versions of one key. The first is what was there at first.
#[derive(Default)]
pub struct Versions {
    pub table: Table,
    pub list: Vec<Version>,
    /// Versions that may have been written or not, by call.
    pub open: Vec<u32>,
    /// The operations that saw that the key was missing.
    pub missing: Vec<OpId>,
    /// Refusals that do not tell enough to know which version they saw, or whether it explains them.
    pub refusals: Vec<OpId>,
    /// How many operations may have changed the key.
    pub changes: u32,
    /// Whether any value has several possible writers, whether such a value was seen, and whether missing is such a
    /// value and was seen.
    repeated: bool,
    pub repeated_seen: bool,
    pub missing_loose: bool,
    /// Two revisions of one version: wrong if it is not [`REPEATED`].
    conflicts: Vec<(u32, Clash)>,
}

/// The condition of a change.
struct Asked {
    /// The value that must be there; [`Value::UNTOLD`]: not known from the condition.
    from: Value,
    /// Changes with this one, where a condition tells.
    count: u32,
    /// Whether there is more to check.
    more: bool,
}

impl Versions {
    /// Reads the operations, which are in the order of their calls.
    pub fn collect(&mut self, history: &History, items: &[Item]) -> Result<(), Stop> {
        self.clear();
        self.table.clear(items.len());
        let first = self.version(history.initial());
        self.list[first as usize] = Version { writer: INITIAL, flags: HAPPENED, count: 0, ..self.list[first as usize] };
        // Operations on one of many keys are far apart: fetching many at a time does not wait for each.
        let mut fetched: Vec<Operation> = Vec::with_capacity(FETCHED);
        for some in items.chunks(FETCHED) {
            fetched.clear();
            fetched.extend(some.iter().map(|item| *history.operation(item.op)));
            for (item, op) in some.iter().zip(&fetched) {
                self.take(history, *item, op)?;
            }
        }
        self.resolve()
    }

    fn take(&mut self, history: &History, item: Item, op: &Operation) -> Result<(), Stop> {
        let settled = if item.open { None } else { op.settled() };
        match (op.f, op.end, settled) {
            (_, End::Fail, _) => {}
            (Function::Read, End::Ok, Some(ret)) if op.reply != Value::UNTOLD => self.see(item.op, op, ret),
            (Function::Write | Function::Delete, End::Refused, Some(ret)) => {
                return self.refusal(history, item.op, op, ret);
            }
            (Function::Write | Function::Delete, ..) => return self.change(history, item.op, op, settled),
            _ => {}
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.list.clear();
        self.open.clear();
        self.missing.clear();
        self.refusals.clear();
        self.conflicts.clear();
        self.changes = 0;
        (self.repeated, self.repeated_seen, self.missing_loose) = (false, false, false);
    }

    /// The version of a value; a new one where it was not mentioned yet.
    fn version(&mut self, value: Value) -> u32 {
        let new = self.list.len() as u32;
        let at = self.table.find_or(value, new);
        if at == new {
            self.list.push(Version::new(value));
        }
        at
    }

    /// `op` saw what it replied, and had returned by `ret`.
    fn see(&mut self, id: OpId, op: &Operation, ret: u32) {
        let at = self.version(op.reply);
        let version = &mut self.list[at as usize];
        version.seen_first = version.seen_first.min(ret);
        version.seen_last = version.seen_last.max(op.called);
        if op.reply == Value::NIL {
            self.missing.push(id);
        } else if let Some(revision) = op.told_revision() {
            let count = (revision + 1).min(NONE - 1);
            if version.seen_count == NONE {
                (version.seen_count, version.teller) = (count, op.called);
            } else if version.seen_count != count {
                self.conflicts.push((at, Clash::of(&[version.teller, op.called])));
            }
        }
    }

    fn refusal(&mut self, history: &History, id: OpId, op: &Operation, ret: u32) -> Result<(), Stop> {
        let when = history.condition(op);
        let deletes = op.f == Function::Delete;
        if op.reply == Value::UNTOLD {
            if !deletes && when.is_always() {
                return Err(Stop::clash(&[ret]));
            }
            self.refusals.push(id);
            return Ok(());
        }
        self.see(id, op, ret);
        let present = op.reply != Value::NIL;
        let explained = deletes && !present
            || when.exists.is_some_and(|wanted| wanted != present)
            || when.value.is_some_and(|value| value != op.reply);
        if explained {
            return Ok(());
        }
        match (when.revision, op.told_revision().filter(|_| present)) {
            (Some(-1), _) if present => Ok(()),
            (Some(n), _) if !present && n != -1 => Ok(()),
            (Some(n), Some(told)) if n != i64::from(told) => Ok(()),
            (Some(_), None) if present => {
                self.refusals.push(id);
                Ok(())
            }
            _ => Err(Stop::clash(&[ret])),
        }
    }

    fn change(&mut self, history: &History, id: OpId, op: &Operation, settled: Option<u32>) -> Result<(), Stop> {
        let (asked, told) = (asked(history, op), op.told_revision().filter(|_| settled.is_some()));
        let count = told.map_or(NONE, |revision| (revision + 1).min(NONE - 1));
        let (Some(asked), Some(ret)) = (asked, settled.or(Some(NEVER))) else {
            // Its conditions never hold.
            return settled.map_or(Ok(()), |ret| Err(Stop::clash(&[ret])));
        };
        if count != NONE && asked.count != NONE && count != asked.count {
            return Err(Stop::clash(&[ret]));
        }
        self.changes += 1;
        let value = if op.f == Function::Delete { Value::NIL } else { op.arg };
        let from = if asked.from == Value::UNTOLD { NONE } else { self.version(asked.from) };
        let mut at = self.version(value);
        if self.list[at as usize].writer != NONE {
            self.list[at as usize].flags |= REPEATED;
            self.repeated = true;
            at = self.list.len() as u32;
            self.list.push(Version::new(value));
        }
        let version = &mut self.list[at as usize];
        version.writer = id.0;
        (version.call, version.ret) = (op.called, ret);
        version.from = from;
        version.count = if count == NONE { asked.count } else { count };
        version.flags |= if asked.more { CONDITIONS } else { 0 };
        if settled.is_none() {
            self.open.push(at);
        }
        Ok(())
    }

    /// Determines which changes happened, and which version followed which.
    fn resolve(&mut self) -> Result<(), Stop> {
        if self.repeated {
            for version in self.list.iter_mut().filter(|version| version.is(REPEATED)) {
                // It is unknown which operation saw which version.
                let seen = version.seen_first != NEVER;
                self.repeated_seen |= seen && version.value != Value::NIL;
                self.missing_loose |= seen && version.value == Value::NIL;
                (version.seen_first, version.seen_last, version.seen_count) = (NEVER, 0, NONE);
            }
        }
        for (at, clash) in &self.conflicts {
            if !self.list[*at as usize].is(REPEATED) {
                return Err(Stop::Clash(*clash));
            }
        }
        for at in 0..self.list.len() as u32 {
            let version = &self.list[at as usize];
            if version.first() != NEVER && (at == 0 || !version.is(HAPPENED)) {
                self.happened(at)?;
            }
        }
        Ok(())
    }

    /// A version was there, so what its writer replaced was there before.
    fn happened(&mut self, mut at: u32) -> Result<(), Stop> {
        loop {
            let version = &mut self.list[at as usize];
            version.flags |= HAPPENED;
            if version.writer == NONE || version.seen_first < version.call {
                let event = if version.seen_first < version.call { version.seen_first } else { self.shown(at) };
                return Err(Stop::clash(&[event]));
            }
            if version.count == NONE {
                version.count = version.seen_count;
            } else if version.seen_count != NONE && version.seen_count != version.count {
                return Err(Stop::clash(&[version.call, version.teller]));
            }
            let from = version.from;
            if from == NONE {
                return Ok(());
            }
            let before = &mut self.list[from as usize];
            if before.is(REPEATED) {
                self.repeated_seen |= before.value != Value::NIL;
                self.list[at as usize].from = NONE;
                self.list[at as usize].flags |= CONDITIONS;
                return Ok(());
            }
            if before.next != NONE {
                let other = before.next;
                return Err(Stop::clash(&[self.shown(other), self.shown(at)]));
            }
            before.next = at;
            if before.is(HAPPENED) {
                return Ok(());
            }
            at = from;
        }
    }

    /// The earliest return of the operations that show that a version was there: its own, or those of the next version
    /// that has any.
    pub fn shown(&self, at: u32) -> u32 {
        let mut version = &self.list[at as usize];
        for _ in 0..self.list.len() {
            match self.list.get(version.next as usize) {
                Some(next) if version.first() == NEVER => version = next,
                _ => break,
            }
        }
        version.first()
    }
}

/// Returns the condition of a change, or `None` if it never holds.
fn asked(history: &History, op: &Operation) -> Option<Asked> {
    let deletes = op.f == Function::Delete;
    if !deletes && !op.has_further_conditions() {
        return Some(Asked { from: op.compare, count: NONE, more: false });
    }
    let when = history.condition(op);
    let wanted = [
        deletes.then_some(true),
        when.exists,
        when.value.map(|value| value != Value::NIL),
        when.revision.map(|revision| revision != -1),
    ];
    let (some, none) = (wanted.contains(&Some(true)), wanted.contains(&Some(false)));
    if some && none || when.revision.is_some_and(|revision| revision < -1) {
        return None;
    }
    let count = when.revision.and_then(|n| u64::try_from(n).ok());
    let count = count.map_or(NONE, |n| u32::try_from(n.saturating_add(2)).map_or(NONE - 1, |n| n.min(NONE - 1)));
    let from = if none { Value::NIL } else { op.compare };
    Some(Asked { from, count, more: count != NONE || some && when.value.is_none() })
}
