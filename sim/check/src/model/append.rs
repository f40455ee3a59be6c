//! A text or list that grows: append adds to its end, read returns the whole content, and write (put) replaces it. This
//! is the key-value model of Porcupine's logs.
//!
//! Usually later reads show the order of the appends, and then `blocks` decides. If texts are ambiguous (concurrently
//! repeated, empty, or a prefix of another), the search decides by the model here.
//!
//! The content itself is never stored. All that matters is which contents returned by reads it is a prefix of. If these
//! are sorted, those that begin with it are adjacent, so a state is a range of them and a length (`Place`). All
//! contents that are a prefix of none are equivalent: only a write leads back from them. This is exact and costs twelve
//! bytes per state, and an append is two comparisons.

mod blocks;

use super::Model;
use crate::history::{Datum, End, Function, History, OpId, Operation, Value};
use crate::linear::general::General;
use crate::linear::{Answer, Decision, Item, Judge, Limits};

use blocks::Finding;

/// Its procedures.
#[must_use]
pub fn judge() -> Box<dyn Judge> {
    Box::new(AppendJudge)
}

/// Returns the operation's value if it must be a content (a text or a list) but is not.
pub(super) fn odd(history: &History, op: &Operation) -> Option<Value> {
    let value = match op.f {
        Function::Append => return (op.arg == Value::UNTOLD).then_some(op.arg),
        Function::Write => op.arg,
        _ => op.reply.told()?,
    };
    let content = matches!(history.datum(value), Datum::Text(_) | Datum::List(_) | Datum::Nil);
    (!content).then_some(value)
}

struct AppendJudge;

impl Judge for AppendJudge {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        if are_texts(history, items) {
            decide::<u8>(history, items, limits)
        } else {
            decide::<Value>(history, items, limits)
        }
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        if are_texts(history, items) {
            witness::<u8>(history, items, limits)
        } else {
            witness::<Value>(history, items, limits)
        }
    }

    fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        let texts = are_texts(history, items);
        let finding = if texts { blocks::examine::<u8> } else { blocks::examine::<Value> }(history, items);
        let Finding::Impossible(mut suspects) = finding else { return None };
        suspects.sort_unstable();
        suspects.dedup();
        Some(suspects)
    }

    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        if are_texts(history, items) {
            General(Contents::<u8>::new(history, items)).longest(history, items, limits)
        } else {
            General(Contents::<Value>::new(history, items)).longest(history, items, limits)
        }
    }
}

fn decide<T: Element>(history: &History, items: &[Item], limits: Limits) -> Decision {
    let answer = match blocks::examine::<T>(history, items) {
        Finding::Possible(_) => Answer::Possible,
        Finding::Impossible(_) => Answer::Impossible,
        Finding::Unclear => return General(Contents::<T>::new(history, items)).decide(history, items, limits),
    };
    Decision { answer, by: "blocks", steps: items.len() as u64 }
}

fn witness<T: Element>(history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
    match blocks::examine::<T>(history, items) {
        Finding::Possible(blocks) => Some(blocks.order()),
        Finding::Impossible(_) => None,
        Finding::Unclear => General(Contents::<T>::new(history, items)).witness(history, items, limits),
    }
}

/// Whether the object is a text; else it is a list.
fn are_texts(history: &History, items: &[Item]) -> bool {
    let is_text = |value| matches!(history.datum(value), Datum::Text(_) | Datum::Nil | Datum::Untold);
    let mut ops = items.iter().map(|item| history.operation(item.op));
    is_text(history.initial()) && ops.all(|op| is_text(op.arg) && is_text(op.reply))
}

/// What contents consist of: bytes of texts, elements of lists.
trait Element: Copy + Ord {
    /// A value as a whole content, or `None` if it is not a content.
    fn content(history: &History, value: Value) -> Option<&[Self]>;
    /// What appending a value adds.
    fn appended<'a>(history: &'a History, value: &'a Value) -> Option<&'a [Self]>;
}

impl Element for u8 {
    fn content(history: &History, value: Value) -> Option<&[u8]> {
        match history.datum(value) {
            Datum::Text(text) => Some(text.as_bytes()),
            Datum::Nil => Some(&[]),
            _ => None,
        }
    }

    fn appended<'a>(history: &'a History, value: &'a Value) -> Option<&'a [u8]> {
        u8::content(history, *value)
    }
}

impl Element for Value {
    fn content(history: &History, value: Value) -> Option<&[Value]> {
        match history.datum(value) {
            Datum::List(list) => Some(list),
            Datum::Nil => Some(&[]),
            _ => None,
        }
    }

    fn appended<'a>(_: &'a History, value: &'a Value) -> Option<&'a [Value]> {
        (*value != Value::UNTOLD).then(|| std::slice::from_ref(value))
    }
}

/// The contents that were read of one object.
struct Contents<'a, T> {
    history: &'a History,
    /// In order, each once.
    read: Vec<&'a [T]>,
    /// Whether nothing is ever replaced.
    grows: bool,
}

/// A content, as the range of the contents read that begin with it. [`LOST`] if there are none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Place {
    first: u32,
    last: u32,
    length: u32,
}

const LOST: Place = Place { first: 0, last: 0, length: 0 };

/// An operation, ready to be applied.
enum Step {
    /// Appends.
    Append(Value),
    /// Replaces the content.
    Write(Place),
    /// Returned this content, or [`LOST`] if the reply cannot be a content.
    Read(Place),
}

impl<'a, T: Element> Contents<'a, T> {
    fn new(history: &'a History, items: &[Item]) -> Contents<'a, T> {
        let told = |item: &&Item| !item.open && history.operation(item.op).end == End::Ok;
        let ops = items.iter().filter(told).map(|item| history.operation(item.op));
        let mut values: Vec<Value> = ops.filter(|op| op.f == Function::Read).map(|op| op.reply).collect();
        values.sort_unstable();
        values.dedup();
        let mut read: Vec<&[T]> = values.into_iter().filter_map(|value| T::content(history, value)).collect();
        read.sort_unstable();
        read.dedup();
        let grows = items.iter().all(|item| history.operation(item.op).f != Function::Write);
        Contents { history, read, grows }
    }

    /// The content that begins like those in `place` and goes on with `rest`.
    fn extended(&self, place: Place, rest: &[T]) -> Place {
        let Place { first, last, length } = place;
        let range = &self.read[first as usize..last as usize];
        let goes_on = |content: &[T]| content[length as usize..].starts_with(rest);
        let length = length + rest.len() as u32;
        match range {
            [] => LOST,
            // Everything sorted between two contents that continue this way also continues this way.
            [a, .., b] if goes_on(a) && goes_on(b) => Place { first, last, length },
            range => {
                let start = place.length as usize;
                let before = range.partition_point(|content| &content[start..] < rest);
                let count = range[before..].partition_point(|content| goes_on(content));
                let first = first + before as u32;
                if count == 0 { LOST } else { Place { first, last: first + count as u32, length } }
            }
        }
    }

    fn place(&self, content: &[T]) -> Place {
        self.extended(Place { first: 0, last: self.read.len() as u32, length: 0 }, content)
    }
}

impl<T: Element> Model for Contents<'_, T> {
    type State = Place;
    type Op = Step;

    fn initial(&self, history: &History) -> Place {
        T::content(history, history.initial()).map_or(LOST, |content| self.place(content))
    }

    fn compile(&self, history: &History, op: &Operation, told: bool) -> Option<Step> {
        match op.f {
            _ if told && op.end == End::Refused => None,
            Function::Append => T::appended(history, &op.arg).map(|_| Step::Append(op.arg)),
            Function::Write => Some(Step::Write(self.place(T::content(history, op.arg)?))),
            Function::Read if told => {
                let seen = T::content(history, op.reply.told()?);
                Some(Step::Read(seen.map_or(LOST, |content| self.place(content))))
            }
            _ => None,
        }
    }

    fn apply(&self, place: &Place, op: &Step) -> Option<Place> {
        match op {
            Step::Append(value) => Some(self.extended(*place, T::appended(self.history, value)?)),
            Step::Write(place) => Some(*place),
            Step::Read(seen) => (seen == place && *seen != LOST).then_some(*place),
        }
    }

    fn reads(&self, op: &Step) -> bool {
        matches!(op, Step::Read(_))
    }

    fn class(&self, op: &Step) -> Option<u64> {
        match op {
            Step::Append(value) => Some(u64::from(value.bits())),
            Step::Write(LOST) => Some(u64::MAX),
            Step::Write(place) => Some(1 << 63 | u64::from(place.first) << 32 | u64::from(place.length)),
            Step::Read(_) => None,
        }
    }

    fn hopeless(&self, place: &Place, op: &Step) -> bool {
        let Step::Read(seen) = op else { return false };
        let begins = (place.first..place.last).contains(&seen.first) && place.length <= seen.length;
        *seen == LOST || self.grows && !begins
    }

    fn promise(&self, place: &Place) -> u8 {
        u8::from(*place != LOST)
    }
}
