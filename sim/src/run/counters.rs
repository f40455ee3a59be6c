//! What becomes of a plan's operations in a bucket of counters, which takes additions and nothing else.
//!
//! A put is an addition. Its amount is the length of its value, as the plan tells it: a `counter` grows by that; a `pn-counter`
//! grows by an even length and shrinks by an odd one. No length is zero, so whatever is lost or done twice changes the sum. A
//! condition has no counterpart: the addition is done. A delete is a read, since nobody could say what a counter is
//! worth that somebody deleted while others added to it.

use crate::plan::Tag;
use seaworthy::types::{MergeKind, Resolve};

/// Whether the bucket's keys are counters.
pub(super) fn are_kept(resolve: Resolve) -> bool {
    matches!(resolve, Resolve::Merge(MergeKind::Counter | MergeKind::PnCounter))
}

/// What a put of `value` adds, if the bucket's keys are counters.
pub(super) fn amount(resolve: Resolve, value: &Tag) -> Option<i64> {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    match resolve {
        Resolve::Merge(MergeKind::PnCounter) if length % 2 == 1 => Some(-length),
        resolve => are_kept(resolve).then_some(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_adds_the_length_of_its_value() {
        let tag = |word: &str, size| Tag { word: word.into(), size };
        let of = |kind, size| amount(Resolve::Merge(kind), &tag("c1-1", size));
        assert_eq!([8, 9].map(|size| of(MergeKind::Counter, size)), [Some(8), Some(9)]);
        assert_eq!([8, 9].map(|size| of(MergeKind::PnCounter, size)), [Some(8), Some(-9)]);
        assert_eq!(of(MergeKind::Counter, 1), Some(4), "a value is at least its word");
        assert_eq!(of(MergeKind::Set, 8), None);
        assert_eq!(amount(Resolve::Siblings, &tag("c1-1", 8)), None);
    }
}
