//! The verifier's own sequential specifications, one step at a time. They are written from the descriptions of the
//! models, not from their code.

use crate::history::{Condition, Datum, End, Function as F, History, OpId, Operation, UNTOLD_REVISION, Value};
use crate::model::Kind;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Replays operations in an order and passes each state and its index to `see`, for pages. Returns `None` if some
/// operation cannot give its reply.
pub(crate) fn replay(history: &History, kind: Kind, order: &[OpId], mut see: impl FnMut(usize, &State)) -> Option<()> {
    let mut state = State::first(kind, history);
    for (place, &op) in order.iter().enumerate() {
        let op = history.operation(op);
        state.step(history, op, &history.condition(op), op.settled().is_some()).then_some(())?;
        see(place, &state);
    }
    Some(())
}

/// The state of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    /// A register or key: its value ([`Value::NIL`] if missing), and the number of modifications.
    Cell(Value, u64),
    /// A text or list, as the pieces that were appended.
    Pieces(Vec<Value>),
    /// A counter.
    Sum(i128),
    /// A set.
    Set(BTreeSet<Value>),
    /// A queue, head first.
    Queue(VecDeque<Value>),
    /// An unordered queue, and the number of its elements that were taken without it being known which.
    Bag(BTreeMap<Value, usize>, usize),
    /// A lock: its holder, and the last token given.
    Lock(Option<u32>, Option<i128>),
    /// A sequence: the last known number, and how many unknown numbers were given since.
    Last(Option<i128>, u32),
}

fn number(history: &History, value: Value) -> Option<i128> {
    match history.datum(value) {
        Datum::Int(n) => Some(i128::from(n)),
        _ => None,
    }
}

/// The elements of a list; nil has none.
fn elements(history: &History, value: Value) -> Option<&[Value]> {
    match history.datum(value) {
        Datum::List(list) => Some(list),
        Datum::Nil => Some(&[]),
        _ => None,
    }
}

/// The elements of a list; any other value is one piece.
fn pieces(history: &History, value: Value) -> Vec<Value> {
    elements(history, value).map_or_else(|| vec![value], <[Value]>::to_vec)
}

/// Whether the pieces make up the value read or, if `partly`, a prefix of it.
pub(super) fn makes(history: &History, held: &[Value], read: Value, partly: bool) -> bool {
    let text = |value| match history.datum(value) {
        Datum::Text(text) => Some(text),
        _ => None,
    };
    let Some(mut left) = text(read) else {
        let bare = history.datum(read) == Datum::Nil && held.iter().all(|&piece| text(piece) == Some(""));
        return bare || elements(history, read).is_some_and(|read| read == held || partly && read.starts_with(held));
    };
    for &piece in held {
        let piece = if piece == Value::NIL { Some("") } else { text(piece) };
        let Some(rest) = piece.and_then(|piece| left.strip_prefix(piece)) else { return false };
        left = rest;
    }
    partly || left.is_empty()
}

impl State {
    /// The state before the first operation.
    pub(super) fn first(kind: Kind, history: &History) -> State {
        let initial = history.initial();
        match kind {
            Kind::Register | Kind::CasRegister | Kind::Kv => State::Cell(initial, 0),
            Kind::Append => State::Pieces(pieces(history, initial)),
            Kind::Counter => State::Sum(number(history, initial).unwrap_or(0)),
            Kind::Set => State::Set(elements(history, initial).unwrap_or_default().iter().copied().collect()),
            Kind::Queue => State::Queue(elements(history, initial).unwrap_or_default().iter().copied().collect()),
            Kind::UnorderedQueue => {
                let mut held = BTreeMap::new();
                for &element in elements(history, initial).unwrap_or_default() {
                    *held.entry(element).or_default() += 1;
                }
                State::Bag(held, 0)
            }
            Kind::Lock => State::Lock(None, number(history, initial)),
            Kind::Sequence => State::Last(number(history, initial), 0),
        }
    }

    /// Applies an operation. Returns whether it can give its reply here or, if not `told`, any reply.
    pub(super) fn step(&mut self, h: &History, op: &Operation, when: &Condition, told: bool) -> bool {
        let (ok, refused) = (told && op.end == End::Ok, told && op.end == End::Refused);
        let answer = op.reply.told().filter(|_| told);
        match self {
            State::Cell(value, count) => cell(value, count, op, when, told),
            State::Pieces(held) => match op.f {
                F::Read => answer.is_none_or(|read| makes(h, held, read, false)),
                _ if refused => true,
                F::Write => {
                    *held = pieces(h, op.arg);
                    true
                }
                _ => {
                    held.push(op.arg);
                    true
                }
            },
            State::Sum(sum) => match op.f {
                F::Read => {
                    answer.is_none_or(|read| number(h, read).or((read == Value::NIL).then_some(0)) == Some(*sum))
                }
                _ if refused => true,
                _ => number(h, op.arg).or((op.arg == Value::NIL).then_some(0)).is_some_and(|n| {
                    *sum += n;
                    true
                }),
            },
            State::Set(set) => {
                let answer = if refused { Some(Value::FALSE) } else { answer };
                let says = |yes: bool| answer != Some(if yes { Value::FALSE } else { Value::TRUE });
                match op.f {
                    F::Read => answer.is_none_or(|read| {
                        let distinct = |read: &[Value]| read.iter().copied().collect::<BTreeSet<Value>>();
                        let same = |read: &[Value]| read.len() == set.len() && distinct(read) == *set;
                        elements(h, read).is_some_and(same)
                    }),
                    F::Contains => {
                        let yes_or_no = answer.is_none_or(|answer| matches!(answer, Value::TRUE | Value::FALSE));
                        yes_or_no && says(set.contains(&op.arg))
                    }
                    F::Add => says(set.insert(op.arg)),
                    _ => says(set.remove(&op.arg)),
                }
            }
            State::Queue(queue) => match (op.f, answer) {
                (F::Enqueue, _) => {
                    queue.extend((!refused).then_some(op.arg));
                    true
                }
                (_, Some(Value::NIL)) => queue.is_empty(),
                _ if refused => queue.is_empty(),
                (_, None) => {
                    queue.pop_front();
                    true
                }
                (_, answer) => queue.pop_front() == answer,
            },
            State::Bag(held, taken) => bag(held, taken, op, answer, refused),
            State::Lock(holder, last) => {
                let refused = refused || answer == Some(Value::FALSE);
                let mine = *holder == Some(op.process);
                let token = answer.and_then(|token| number(h, token));
                match op.f {
                    F::Acquire if refused => holder.is_some(),
                    F::Acquire if holder.is_some() => !told,
                    F::Acquire => {
                        let grows = token.is_none() || token > *last;
                        (*holder, *last) = (Some(op.process), token.or(*last));
                        grows
                    }
                    _ if refused => !mine,
                    _ => {
                        *holder = holder.filter(|_| !mine);
                        mine || !ok
                    }
                }
            }
            State::Last(last, unknown) => {
                let Some(seen) = answer else {
                    *unknown += u32::from(op.f == F::Next && !refused);
                    return true;
                };
                let number = number(h, seen);
                // Count of numbers between the last known one and this one, both excluded.
                let room = number.map(|n| last.map_or(i128::MAX, |last| n - last - 1));
                let fits = match (op.f, *unknown) {
                    _ if refused => return true,
                    (F::Read, 0) => number == *last && (number.is_some() || seen == Value::NIL),
                    (F::Read, unknown) => room.is_some_and(|room| room >= i128::from(unknown) - 1),
                    (_, unknown) => room.is_some_and(|room| room >= i128::from(unknown)),
                };
                (*last, *unknown) = (number, 0);
                fits
            }
        }
    }
}

/// Applies an operation to an unordered queue. A dequeue of unknown outcome takes its element right before an "empty"
/// reply, or never.
fn bag(
    held: &mut BTreeMap<Value, usize>,
    taken: &mut usize,
    op: &Operation,
    answer: Option<Value>,
    refused: bool,
) -> bool {
    let count: usize = held.values().sum();
    match (op.f, answer) {
        (F::Enqueue, _) if refused => true,
        (F::Dequeue, None) if !refused => {
            *taken = count.min(*taken + 1);
            true
        }
        (F::Dequeue, answer) if refused || answer == Some(Value::NIL) => {
            let nothing = count == std::mem::take(taken);
            held.clear();
            nothing
        }
        _ if *taken > 0 => false,
        (F::Enqueue, _) => {
            *held.entry(op.arg).or_default() += 1;
            true
        }
        (_, answer) => {
            let Some(count) = answer.and_then(|element| held.get_mut(&element)).filter(|count| **count > 0) else {
                return false;
            };
            *count -= 1;
            held.retain(|_, count| *count > 0);
            true
        }
    }
}

fn cell(value: &mut Value, count: &mut u64, op: &Operation, when: &Condition, told: bool) -> bool {
    let present = *value != Value::NIL;
    let revision = |r: u32| r == UNTOLD_REVISION || u64::from(r) + 1 == *count;
    let shown = op.reply == Value::UNTOLD || op.reply == *value && (!present || revision(op.revision));
    if op.f == F::Read {
        return !told || shown;
    }
    let at = |n: i64| if present { u64::try_from(n).is_ok_and(|n| n.checked_add(1) == Some(*count)) } else { n == -1 };
    let holds = when.exists.is_none_or(|exists| exists == present)
        && when.value.is_none_or(|wanted| wanted == *value)
        && when.revision.is_none_or(at)
        && (op.f != F::Delete || present);
    if told && op.end == End::Refused {
        return !holds && shown;
    }
    if told && (!holds || op.revision != UNTOLD_REVISION && u64::from(op.revision) != *count) {
        return false;
    }
    if holds {
        *value = if op.f == F::Delete { Value::NIL } else { op.arg };
        *count += 1;
    }
    true
}
