//! An element that can be added only once. It is present during one stay, from a moment t1 to a moment t2.
//!
//! t1 is a moment of the `add`, before every return that saw the element; t2 one of the `remove` that ends the stay,
//! after every call that saw it. Operations that found the element missing, and the other removes, must not be in
//! between, so a later t1 and an earlier t2 are never worse. Let f be the latest t1 and s the earliest t2 (if f is not
//! before s, the stay can be an instant that constrains no operation). All of these operations must be able to be
//! before f or after s. If no `remove` replied that it ended the stay, each is tried in turn.

use super::{Place, Say, Word, after};
use crate::history::{NEVER, OpId};

/// Limit of candidates times operations.
const TRIES: usize = 1 << 20;

/// When the element is there.
pub enum Stay {
    /// Never.
    Never,
    /// From just before event `f` on. `add`: the operation, or none if the element was there at first.
    Forever { add: Option<OpId>, f: i64 },
    /// From just before event `f`, or if that is later from just after event `s`, to just after event `s`.
    Until { add: Option<OpId>, f: i64, s: i64, remove: OpId },
}

/// What all candidates have in common.
struct Bounds {
    add: Option<OpId>,
    /// The `add`'s call.
    call: i64,
    /// When the element has certainly entered.
    f: i64,
    /// When it is certainly still there or yet to come.
    s: i64,
}

fn ret(word: &Word) -> i64 {
    if word.told() { i64::from(word.ret) } else { i64::MAX / 8 }
}

/// Returns `None` if the element can be added more than once, or if there are too many removes. The error is a set of
/// conflicting operations.
pub fn find(words: &[Word], at_first: bool) -> Option<Result<Stay, Vec<OpId>>> {
    let of = |wanted: &'static [Say]| words.iter().filter(move |word| wanted.contains(&word.say));
    let mut adds = of(&[Say::New, Say::Put]);
    let add = adds.next();
    if adds.next().is_some() || add.is_some() && at_first {
        return None;
    }
    let gone: Vec<&Word> = of(&[Say::Gone]).collect();
    if let [a, b, ..] = gone[..] {
        return Some(Err(vec![a.id, b.id]));
    }
    if add.is_none() && !at_first {
        return Some(of(&[Say::There, Say::Gone]).next().map_or(Ok(Stay::Never), |word| Err(vec![word.id])));
    }
    let seen = of(&[Say::There]).next().is_some();
    if add.is_some_and(|add| !add.told()) && !seen && gone.is_empty() {
        return Some(Ok(Stay::Never));
    }
    let (call, returned) = add.map_or((-2, -1), |add| (i64::from(add.call), ret(add)));
    let f = of(&[Say::There]).map(ret).min().map_or(returned, |first| first.min(returned));
    let s = of(&[Say::There]).map(|word| i64::from(word.call)).max().map_or(call, |last| last.max(call));
    let bounds = Bounds { add: add.map(|add| add.id), call, f, s };
    // An open `remove` that was called later than another adds no possibility.
    let open = of(&[Say::Cut]).find(|word| !word.told());
    let mut candidates: Vec<&Word> = of(&[Say::Cut]).filter(|word| word.told()).chain(open).collect();
    if !gone.is_empty() {
        candidates.clone_from(&gone);
    }
    if candidates.len().saturating_mul(words.len()) > TRIES {
        return None;
    }
    let forever = gone.is_empty() && call < f && outsiders(words, None).all(|word| i64::from(word.call) < f);
    if forever {
        return Some(Ok(Stay::Forever { add: bounds.add, f }));
    }
    let found = candidates.into_iter().find_map(|remove| bounds.until(words, remove));
    Some(found.ok_or_else(|| words.iter().filter(|word| word.told()).map(|word| word.id).collect()))
}

/// All that must not be during the stay, which a `remove` ends.
fn outsiders(words: &[Word], remove: Option<OpId>) -> impl Iterator<Item = &Word> {
    let outside = |word: &Word| matches!(word.say, Say::Missing | Say::Cut) && word.ret != NEVER;
    words.iter().filter(move |word| outside(word) && Some(word.id) != remove)
}

impl Bounds {
    /// The stay that this `remove` ends, if there can be one.
    fn until(&self, words: &[Word], remove: &Word) -> Option<Stay> {
        let (f, s) = (self.f.min(ret(remove)), self.s.max(i64::from(remove.call)));
        let fits = |word: &Word| f > s || i64::from(word.call) < f || ret(word) > s;
        let possible = self.call < f && self.s < ret(remove) && outsiders(words, Some(remove.id)).all(fits);
        possible.then_some(Stay::Until { add: self.add, f, s, remove: remove.id })
    }
}

impl Stay {
    /// Places the element's operations.
    pub fn place(&self, words: &[Word], plan: &mut Vec<Place>) {
        let never = i64::MAX / 2;
        let (add, from, until, remove) = match *self {
            Stay::Never => (None, never, never, None),
            Stay::Forever { add, f } => (add, 4 * f - 1, never, None),
            Stay::Until { add, f, s, remove } => (add, (4 * f - 1).min(4 * s + 1), 4 * s + 1, Some(remove)),
        };
        plan.extend(add.map(|id| (from, 1, id)));
        plan.extend(remove.map(|id| (until, 3, id)));
        for word in words.iter().filter(|word| word.told() && Some(word.id) != add && Some(word.id) != remove) {
            let moment = after(word.call);
            plan.push(match word.say {
                Say::There => (moment.max(from), 2, word.id),
                _ if moment < from => (moment, 0, word.id),
                _ => (moment.max(until), 4, word.id),
            });
        }
    }
}
