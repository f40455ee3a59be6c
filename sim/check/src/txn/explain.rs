//! Explains in words why one transaction is before another. The reasons are looked up again from the reads that show
//! them.

use super::append::{Lists, seen};
use super::found::{SHOWN_TRANSACTIONS, Words};
use super::graph::Link;
use super::index::{Index, NONE, Step, Use};
use super::register::{Registers, version};
use crate::evidence::Link as Shown;
use crate::history::{Function, KeyId, OpId, Value};
use hashbrown::HashMap;

/// Looks up reasons.
pub struct Why<'a, 'h> {
    /// The index of all writes.
    pub index: &'a Index<'h>,
    /// The orders of lists.
    pub lists: &'a Lists<'h>,
    /// The orders of registers.
    pub registers: &'a Registers,
}

impl Why<'_, '_> {
    /// Explains a cycle, step by step.
    pub fn cycle(&self, words: &mut Words<'_, '_>, cycle: &[(u32, u32, Link)]) -> String {
        let mut text = match cycle.len() {
            2 => "T1 and T2 would each have to be before the other".to_owned(),
            n => format!("{n} transactions would each have to be before all the others"),
        };
        for (i, &(from, to, link)) in cycle.iter().enumerate() {
            let (shown, reason) = self.edge(words, from, to, link);
            if i < SHOWN_TRANSACTIONS {
                text += &format!(".\n  - {} is before {}: {reason}", words.name(from), words.name(to));
            }
            let label = match shown {
                Shown::Ww(key) => format!("ww {}", words.key(key)),
                Shown::Wr(key) => format!("wr {}", words.key(key)),
                Shown::Rw(key) => format!("rw {}", words.key(key)),
                Shown::Process | Shown::Realtime | Shown::Other => format!("{link:?}").to_lowercase(),
            };
            words.edge(from, to, shown, format!("{label}: {reason}"));
        }
        if cycle.len() > SHOWN_TRANSACTIONS {
            text += &format!(".\n  - and so on, up to T{}, which is before T1", cycle.len());
        }
        text
    }

    /// Returns what an edge is based on, and the reason.
    fn edge(&self, words: &Words<'_, '_>, a: u32, b: u32, link: Link) -> (Shown, String) {
        let operation = |op: u32| self.index.history.operation(OpId(op));
        let reason = match link {
            Link::Ww => self.write_write(words, a, b),
            Link::Wr => self.write_read(words, a, b),
            Link::Rw => self.read_write(words, a, b),
            Link::Process => {
                let process = operation(a).process;
                Some((Shown::Process, format!("process {process} ran {} first", words.name(a))))
            }
            Link::Realtime => {
                let (returned, called) = (operation(a).returned, operation(b).called);
                let (a, b) = (words.name(a), words.name(b));
                Some((Shown::Realtime, format!("{a} had returned (#{returned}) when {b} was called (#{called})")))
            }
            Link::Via => None,
        };
        reason.unwrap_or_else(|| (Shown::Other, "its replies depend on it".to_owned()))
    }

    /// Returns the steps of a transaction that write, with the places of their writes.
    fn writes(&self, op: u32) -> impl Iterator<Item = (&Step, u32)> {
        let steps = self.index.steps(op).iter().filter(|step| step.f != Function::Read);
        steps.filter_map(|step| Some((step, self.index.find(step.key, step.value).ok()?)))
    }

    /// Returns the reads of lists by a transaction, without the elements that it had appended itself.
    fn reads(&self, op: u32) -> impl Iterator<Item = (&Step, &[Value])> {
        let index = self.index;
        let mut own: HashMap<KeyId, usize> = HashMap::new(); // Look-ups only: never iterated.
        index.steps(op).iter().filter_map(move |step| {
            let own = own.entry(step.key).or_insert(0);
            *own += usize::from(step.f == Function::Append);
            let list = seen(index, step)?;
            Some((step, list.get(..list.len().checked_sub(*own)?)?))
        })
    }

    /// Returns the last element that a transaction appended to the list of a key, up to a length.
    fn element(&self, step: &Step, length: usize, op: u32) -> Option<Value> {
        let list = self.lists.longest[step.key.0 as usize].0;
        list[..length].iter().rev().copied().find(|&value| self.index.writer(step.key, value) == op)
    }

    /// Whether the order of two transactions' writes is known whatever the database guarantees: a read of a list shows
    /// it, or it is assumed of a register. That a transaction overwrote what it had read is not such a case.
    pub fn is_ordered(&self, a: u32, b: u32) -> bool {
        self.writes(b).filter(|&(_, place)| place != NONE).any(|(step, place)| {
            let key = step.key.0 as usize;
            if self.index.uses[key] == Use::Register {
                let of_key = |(other, from): (&Step, u32)| (other.key == step.key && from != NONE).then_some(from);
                return self.writes(a).filter_map(of_key).any(|from| self.registers.is_assumed(from, place));
            }
            let position = self.lists.position[place as usize];
            let length = if position == NONE { self.lists.longest[key].0.len() } else { position as usize - 1 };
            self.lists.around(step.key, length).is_some_and(|(before, _)| before == a)
        })
    }

    fn write_write(&self, words: &Words<'_, '_>, a: u32, b: u32) -> Option<(Shown, String)> {
        let (first, second) = (words.name(a), words.name(b));
        for (step, place) in self.writes(b).filter(|&(_, place)| place != NONE) {
            let (key, new) = (words.key(step.key), words.value(step.value));
            let label = Shown::Ww(step.key);
            if self.index.uses[step.key.0 as usize] == Use::Register {
                let from = |(other, from): (&Step, u32)| {
                    other.key == step.key && from != NONE && self.registers.precedes(self.index, from, place)
                };
                let Some((other, _)) = self.writes(a).find(|&write| from(write)) else { continue };
                let old = words.value(other.value);
                let read = self
                    .index
                    .steps(b)
                    .iter()
                    .any(|read| read.f == Function::Read && read.key == step.key && read.value == other.value);
                return Some((
                    label,
                    match read {
                        true => format!("{second} read {key} = {old}, which {first} wrote, and then wrote {new}"),
                        false => format!(
                            "by the assumption about keys, the {old} that {first} wrote to {key} comes before \
                                      the {new} that {second} wrote"
                        ),
                    },
                ));
            }
            let (longest, by) = self.lists.longest[step.key.0 as usize];
            let position = self.lists.position[place as usize];
            let length = if position == NONE { longest.len() } else { position as usize - 1 };
            if self.lists.around(step.key, length).is_none_or(|(before, _)| before != a) {
                continue;
            }
            let old = words.value(self.element(step, length, a)?);
            let proof = |length: usize| format!("{} read {key} = {}", words.name(by), words.list(&longest[..length]));
            return Some((
                label,
                match position {
                    NONE => format!(
                        "{second}'s append of {new} to {key} is in no read, so it came after {first}'s append of \
                                 {old}: {}",
                        proof(longest.len())
                    ),
                    _ => format!(
                        "{second} appended {new} to {key} after {first} had appended {old}: {}",
                        proof(position as usize)
                    ),
                },
            ));
        }
        None
    }

    fn write_read(&self, words: &Words<'_, '_>, a: u32, b: u32) -> Option<(Shown, String)> {
        let (first, second) = (words.name(a), words.name(b));
        for (step, list) in self.reads(b) {
            let around = self.lists.around(step.key, list.len());
            let last = list.last().map_or(NONE, |&value| self.index.writer(step.key, value));
            if around.map_or(last, |(before, _)| before) != a {
                continue;
            }
            let key = words.key(step.key);
            let value = list.iter().rev().copied().find(|&value| self.index.writer(step.key, value) == a);
            let (list, value) = (words.list(list), words.value(value?));
            return Some((
                Shown::Wr(step.key),
                format!("{second} read {key} = {list}, where {first} had appended {value}"),
            ));
        }
        for step in self.index.steps(b) {
            let written = self.index.writes.get(version(self.index, step) as usize);
            if written.is_some_and(|write| write.op == a) {
                let (key, value) = (words.key(step.key), words.value(step.value));
                return Some((Shown::Wr(step.key), format!("{second} read {key} = {value}, which {first} wrote")));
            }
        }
        None
    }

    fn read_write(&self, words: &Words<'_, '_>, a: u32, b: u32) -> Option<(Shown, String)> {
        let (first, second) = (words.name(a), words.name(b));
        for (step, list) in self.reads(a) {
            let Some((_, after)) = self.lists.around(step.key, list.len()) else { continue };
            let missed = self.writes(b).find(|&(write, place)| {
                let position = self.lists.position.get(place as usize).copied().unwrap_or(0);
                write.key == step.key && position > list.len() as u32
            });
            let Some((write, place)) = missed.filter(|_| after == b || after == NONE) else { continue };
            let (longest, by) = self.lists.longest[step.key.0 as usize];
            let (key, list, value) = (words.key(step.key), words.list(list), words.value(write.value));
            let text = format!("{first} read {key} = {list}, without the {value} that {second} appended");
            let text = match self.lists.position[place as usize] {
                NONE => text,
                position => {
                    let shown = words.list(&longest[..position as usize]);
                    format!("{text}: {} read {key} = {shown}", words.name(by))
                }
            };
            return Some((Shown::Rw(step.key), text));
        }
        for step in self.index.steps(a) {
            let from = version(self.index, step);
            if from == NONE {
                continue;
            }
            let later = self.writes(b).find(|&(write, place)| {
                write.key == step.key && place != NONE && self.registers.precedes(self.index, from, place)
            });
            let Some((write, _)) = later else { continue };
            let (key, old, new) = (words.key(step.key), words.value(step.value), words.value(write.value));
            let initial = from >= self.index.writes.len() as u32;
            let old = if initial { format!("{old}, the initial value,") } else { old };
            return Some((
                Shown::Rw(step.key),
                format!("{first} read {key} = {old} before {second} overwrote it with {new}"),
            ));
        }
        None
    }
}
