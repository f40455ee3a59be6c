//! A value of any type except a map.

use super::counter::{self, Counter};
use super::register::{self, Register};
use super::set::Set;
use super::{LEN, MARK, Op, Size, short};
use crate::dynamo::version_vector::{Dot, VersionVector};
use crate::types::{Hlc, MergeKind};
use serde::{Deserialize, Serialize};

/// A counter, register or set. Its dots have a meaning only together with the state's version vector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Leaf {
    Counter(Counter),
    PnCounter(Counter),
    Register(Register),
    Set(Set),
}

impl Leaf {
    /// Returns an empty value, or `None` if `kind` is a map.
    pub(super) fn new(kind: MergeKind) -> Option<Leaf> {
        Some(match kind {
            MergeKind::Counter => Leaf::Counter(Counter::default()),
            MergeKind::PnCounter => Leaf::PnCounter(Counter::default()),
            MergeKind::Register => Leaf::Register(Register::default()),
            MergeKind::Set => Leaf::Set(Set::default()),
            MergeKind::Map => return None,
        })
    }

    pub(super) fn kind(&self) -> MergeKind {
        match self {
            Leaf::Counter(_) => MergeKind::Counter,
            Leaf::PnCounter(_) => MergeKind::PnCounter,
            Leaf::Register(_) => MergeKind::Register,
            Leaf::Set(_) => MergeKind::Set,
        }
    }

    /// Applies a write.
    ///
    /// # Errors
    /// The write is not for this type, the counter is full, or the element is too long.
    pub(super) fn change(&mut self, op: &Op, dot: Dot, stamp: Hlc) -> Result<(), String> {
        match (self, op) {
            (Leaf::Counter(_), Op::Add(n)) if *n < 0 => return Err("this counter only grows".to_owned()),
            (Leaf::Counter(counter) | Leaf::PnCounter(counter), Op::Add(n)) => counter::add(counter, *n, dot)?,
            (Leaf::Register(register), Op::Assign(value)) => register::assign(register, value, dot, stamp),
            (Leaf::Set(set), Op::Insert(element)) => {
                short("an element", element.len())?;
                set.insert(element, dot);
            }
            (Leaf::Set(set), Op::Remove(element)) => set.remove(element),
            (Leaf::Counter(_) | Leaf::PnCounter(_), _) => return Err("a counter can only be added to".to_owned()),
            (Leaf::Register(_), _) => return Err("a register can only be assigned to".to_owned()),
            (Leaf::Set(_), _) => return Err("a set only takes inserts and removes of elements".to_owned()),
        }
        Ok(())
    }

    /// Merges a value of the same type; a value of another type is ignored.
    pub(super) fn merge(&mut self, mine: &VersionVector, other: &Leaf, theirs: &VersionVector) {
        match (self, other) {
            (Leaf::Counter(a), Leaf::Counter(b)) | (Leaf::PnCounter(a), Leaf::PnCounter(b)) => a.merge(mine, b, theirs),
            (Leaf::Register(a), Leaf::Register(b)) => a.merge(mine, b, theirs),
            (Leaf::Set(a), Leaf::Set(b)) => a.merge(mine, b, theirs),
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Leaf::Counter(counter) | Leaf::PnCounter(counter) => counter.0.is_empty(),
            Leaf::Register(register) => register.0.is_empty(),
            Leaf::Set(set) => set.is_empty(),
        }
    }

    pub(super) fn is_sane(&self, clock: &VersionVector) -> bool {
        match self {
            Leaf::Counter(counter) => counter.known_to(clock) && counter::is_sane(counter, true),
            Leaf::PnCounter(counter) => counter.known_to(clock) && counter::is_sane(counter, false),
            Leaf::Register(register) => register.known_to(clock) && register::is_sane(register),
            Leaf::Set(set) => set.is_sane(clock),
        }
    }

    pub(super) fn size(&self) -> Size {
        let mark = Size { parts: 0, bytes: MARK };
        mark + match self {
            Leaf::Counter(counter) | Leaf::PnCounter(counter) => counter.size(|_| 2 * LEN),
            Leaf::Register(register) => register.size(|assigned| 2 * LEN + assigned.value.len()),
            Leaf::Set(set) => set.size(),
        }
    }

    pub(super) fn render(&self) -> serde_json::Value {
        match self {
            Leaf::Counter(counter) | Leaf::PnCounter(counter) => counter::render(counter),
            Leaf::Register(register) => register::render(register),
            Leaf::Set(set) => set.render(),
        }
    }
}
