//! The sequential specification of one key, over values renumbered for that key.
//!
//! A key is missing, or present with a value. Every modification takes the next revision, from 0: a put, and a delete
//! of a present key. A delete of a missing key and a write whose condition does not hold are refused and change
//! nothing. Expiry is not part of the model: a history with operations that set one must not be judged by it.

use crate::history::Condition;

/// A value of one key, renumbered: [`MISSING`], [`UNSEEN`], or one that some reply or condition names.
pub type Local = u32;
/// The key is missing.
pub const MISSING: Local = 0;
/// Any value that no reply and no condition names. These values are indistinguishable.
pub const UNSEEN: Local = 1;
/// The value seen is unknown. Only for a refused write.
pub const ANY: Local = u32::MAX;

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Its value, or [`MISSING`].
    pub value: Local,
    /// How often it was modified; a present value has revision `count - 1`.
    pub count: u64,
}

impl State {
    /// Whether a condition holds.
    pub fn holds(self, when: &Condition<Local>) -> bool {
        let present = self.value != MISSING;
        when.exists.is_none_or(|wanted| wanted == present)
            && when.value.is_none_or(|value| value == self.value)
            && when
                .revision
                .is_none_or(|n| if present { u64::try_from(n).is_ok_and(|n| n + 1 == self.count) } else { n == -1 })
    }

    /// Whether a reader may have seen this: a value or [`MISSING`], and the revision if it is known.
    pub fn shows(self, value: Local, revision: Option<u64>) -> bool {
        (value == ANY || value == self.value) && revision.is_none_or(|r| r.checked_add(1) == Some(self.count))
    }
}

/// What an operation does, as far as a verdict depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Saw the state and changed nothing: a read, or a write that was refused.
    See {
        /// What was seen, [`MISSING`], or [`ANY`].
        value: Local,
        /// The revision that was told.
        revision: Option<u64>,
        /// Of a write: the conditions, which must not all hold. Those of a delete ask for presence.
        refused: Option<Condition<Local>>,
    },
    /// Changed the state.
    Change {
        /// What the key holds afterwards; [`MISSING`] for a delete.
        to: Local,
        /// Held at that moment.
        when: Condition<Local>,
        /// The revision that it took, if known.
        revision: Option<u64>,
    },
}

impl Act {
    /// Whether it can come next in this state.
    pub fn allowed(&self, state: State) -> bool {
        match self {
            Act::See { value, revision, refused } => {
                state.shows(*value, *revision) && !refused.is_some_and(|when| state.holds(&when))
            }
            Act::Change { when, revision, .. } => revision.is_none_or(|r| r == state.count) && state.holds(when),
        }
    }

    /// The state after it.
    pub fn after(&self, state: State) -> State {
        match self {
            Act::See { .. } => state,
            Act::Change { to, .. } => State { value: *to, count: state.count + 1 },
        }
    }
}
