//! The verifier's own sequential specifications, one step at a time: written from the descriptions of the models, not from
//! their code.

use crate::history::{Condition, Datum, End, Function as F, History, OpId, Operation, UNTOLD_REVISION, Value};
use crate::model::Kind;
use std::collections::{BTreeSet, VecDeque};

/// Takes operations in an order, and shows each state that this leads to with its place; for pages. `None`: some operation
/// cannot give its reply there.
pub(crate) fn replay(history: &History, kind: Kind, order: &[OpId], mut see: impl FnMut(usize, &State)) -> Option<()> {
    let mut state = State::first(kind, history);
    for (place, &op) in order.iter().enumerate() {
        let op = history.operation(op);
        state.step(history, op, &history.condition(op), op.settled().is_some()).then_some(())?;
        see(place, &state);
    }
    Some(())
}

/// What an object holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum State {
    /// A register or key: its value, [`Value::NIL`] when missing, and how often it was modified.
    Cell(Value, u64),
    /// A text or list, in the pieces that were appended.
    Pieces(Vec<Value>),
    /// A counter.
    Sum(i128),
    /// A set.
    Set(BTreeSet<Value>),
    /// A queue, its head in front.
    Queue(VecDeque<Value>),
    /// A lock: who holds it, and the last token given.
    Lock(Option<u32>, Option<i128>),
    /// A sequence: the last number told, and whether a larger one may have been given since.
    Last(Option<i128>, bool),
}

fn number(history: &History, value: Value) -> Option<i128> {
    match history.datum(value) {
        Datum::Int(n) => Some(i128::from(n)),
        _ => None,
    }
}

/// A list's elements; one piece of anything else.
fn pieces(history: &History, value: Value) -> Vec<Value> {
    match history.datum(value) {
        Datum::List(list) => list.to_vec(),
        Datum::Nil => Vec::new(),
        _ => vec![value],
    }
}

/// Whether the pieces make up, or (`partly`) begin, what was read.
pub(super) fn makes(history: &History, held: &[Value], read: Value, partly: bool) -> bool {
    let Datum::Text(mut text) = history.datum(read) else {
        let read = pieces(history, read);
        return held == read || partly && read.starts_with(held);
    };
    for &piece in held {
        let Datum::Text(piece) = history.datum(piece) else { return false };
        let Some(rest) = text.strip_prefix(piece) else { return false };
        text = rest;
    }
    partly || text.is_empty()
}

impl State {
    /// Before the first operation.
    pub(super) fn first(kind: Kind, history: &History) -> State {
        let initial = history.initial();
        match kind {
            Kind::Register | Kind::CasRegister | Kind::Kv => State::Cell(initial, 0),
            Kind::Append => State::Pieces(pieces(history, initial)),
            Kind::Counter => State::Sum(number(history, initial).unwrap_or(0)),
            Kind::Set => State::Set(pieces(history, initial).into_iter().collect()),
            Kind::Queue => State::Queue(pieces(history, initial).into()),
            Kind::Lock => State::Lock(None, None),
            Kind::Sequence => State::Last(number(history, initial), false),
        }
    }

    /// Takes an operation's turn: whether it can give its reply here, or, where that is not `told`, any reply.
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
                let says =
                    |yes: bool| answer.is_none_or(|answer| answer == if yes { Value::TRUE } else { Value::FALSE });
                match op.f {
                    F::Read => answer.is_none_or(|read| {
                        let read = pieces(h, read);
                        read.len() == set.len() && read.iter().all(|item| set.contains(item))
                    }),
                    F::Contains => says(set.contains(&op.arg)),
                    F::Add if refused => set.contains(&op.arg),
                    F::Add => says(set.insert(op.arg)),
                    _ if refused => !set.contains(&op.arg),
                    _ => says(set.remove(&op.arg)),
                }
            }
            State::Queue(queue) => match op.f {
                F::Enqueue if refused => true,
                F::Enqueue => {
                    queue.push_back(op.arg);
                    true
                }
                _ if refused => queue.is_empty(),
                _ => {
                    let head = queue.pop_front().unwrap_or(Value::NIL);
                    answer.is_none_or(|answer| answer == head)
                }
            },
            State::Lock(holder, last) => match op.f {
                F::Acquire if refused => holder.is_some(),
                F::Acquire if holder.is_some() => !told,
                F::Acquire => {
                    let token = answer.and_then(|token| number(h, token));
                    let grows = token.is_none() || token > *last;
                    (*holder, *last) = (Some(op.process), token.or(*last));
                    grows
                }
                _ if refused => *holder != Some(op.process),
                _ if *holder != Some(op.process) => !ok,
                _ => {
                    *holder = None;
                    true
                }
            },
            State::Last(last, larger) => {
                let Some(seen) = answer else {
                    *larger |= op.f == F::Next && !refused;
                    return true;
                };
                let seen = number(h, seen);
                let least = last.map(|last| last + i128::from(*larger));
                let fits = match op.f {
                    F::Next => seen.is_some() && seen > least,
                    _ => seen == *last && !*larger || *larger && seen.is_some() && seen >= least,
                };
                (*last, *larger) = (seen, false);
                fits
            }
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
