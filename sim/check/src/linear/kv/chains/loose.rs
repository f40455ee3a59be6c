//! Checks the constraints that the chains ignore against one order of the versions: conditions on more than a value,
//! revisions in no reply, and replies that do not show which version they saw.
//!
//! A positive answer comes with an explicit order, so "possible" is always correct. A failed check is a proof only if
//! the replies force that order and all of its members ([`Told::All`], no gap, no open change left out): each reply is
//! put at the earliest place where it fits, and a later place never helps another reply.

use super::order::{Order, Told};
use super::versions::{CONDITIONS, FILLS, HAPPENED, Versions};
use super::{NONE, Stop};
use crate::history::{End, Function, History, NEVER, OpId, Operation, Value};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Number of places tried, per existing place, before this gives up.
const TRIES: usize = 8;

#[derive(Default)]
pub struct Loose {
    /// Where each ambiguous reply was placed, as the number of changes before it.
    pub placed: Vec<(OpId, u32)>,
    /// Refused compare-and-sets that fit nowhere, if that is all that is wrong with the order.
    pub failed: Vec<OpId>,
    /// By number of changes: the latest call of what is then certainly over or needed, and the earliest return of all
    /// later.
    called: Vec<u32>,
    returned: Vec<u32>,
    used: Vec<bool>,
    /// By version: the place among the open changes of one that was left out and asks for it.
    asking: Vec<u32>,
    /// The places of those that were left out and ask for none.
    plain: Vec<u32>,
    /// By version: its place.
    place_of: Vec<u32>,
    /// Those placed so far, by return.
    early: BinaryHeap<Reverse<(u32, u32)>>,
}

/// A state of the key.
#[derive(Clone, Copy)]
struct State {
    value: Value,
    count: u32,
}

impl State {
    /// Whether all conditions of a write or delete hold.
    fn holds(self, history: &History, op: &Operation) -> bool {
        let (when, present) = (history.condition(op), self.value != Value::NIL);
        let revision = |n: i64| if present { n >= 0 && n == i64::from(self.count) - 1 } else { n == -1 };
        (present || op.f != Function::Delete)
            && when.exists.is_none_or(|wanted| wanted == present)
            && when.value.is_none_or(|value| value == self.value)
            && when.revision.is_none_or(revision)
    }

    /// Whether an operation that changed nothing can have given its reply here.
    fn explains(self, history: &History, op: &Operation) -> bool {
        let shows = op.reply == Value::UNTOLD
            || op.reply == self.value
                && (self.value == Value::NIL
                    || op.told_revision().is_none_or(|r| r.checked_add(1) == Some(self.count)));
        shows && (op.end != End::Refused || !self.holds(history, op))
    }
}

impl Loose {
    /// Whether there is anything to check beyond the order of the chains.
    pub fn has_work(&self, of: &Versions) -> bool {
        of.missing_loose
            || !of.refusals.is_empty()
            || of.list.iter().any(|version| version.is(HAPPENED) && version.is(CONDITIONS))
    }

    /// Checks all remaining constraints against the order.
    pub fn check(&mut self, history: &History, of: &mut Versions, order: &mut Order, told: Told) -> Result<(), Stop> {
        self.placed.clear();
        self.failed.clear();
        let gaps = told != Told::Nothing && order.versions.contains(&NONE);
        if !gaps && !self.has_work(of) && told != Told::Some {
            return Ok(());
        }
        let idle = of.open.iter().any(|&at| !of.list[at as usize].is(HAPPENED));
        if gaps {
            self.fill_gaps(history, of, order)?;
        }
        if told == Told::Some && !order.respects_time(of) {
            return Err(Stop::NotCovered);
        }
        for (before, pair) in order.versions.windows(2).enumerate() {
            let (old, new) = (&of.list[pair[0] as usize], &of.list[pair[1] as usize]);
            let state = State { value: old.value, count: before as u32 };
            if new.is(CONDITIONS) && !state.holds(history, history.operation(OpId(new.writer))) {
                // Told and not given to a gap: these two follow each other in any order.
                let forced = told == Told::All && !old.is(FILLS) && !new.is(FILLS);
                return Err(if forced { Stop::clash(&[old.told_by(), new.told_by()]) } else { Stop::NotCovered });
            }
        }
        if self.place_all(history, of, order) && self.failed.is_empty() {
            return Ok(());
        }
        Err(if told == Told::All && !gaps && !idle { Stop::clash(&[]) } else { Stop::NotCovered })
    }

    /// The latest calls up to each place, and the earliest returns beyond it.
    fn bounds(&mut self, of: &Versions, order: &Order) {
        let length = order.versions.len();
        self.called.clear();
        self.returned.clear();
        self.returned.resize(length, NEVER);
        let mut last = 0;
        for &at in &order.versions {
            let version = of.list.get(at as usize);
            self.called.push(last.max(version.map_or(0, |version| version.call)));
            last = last.max(version.map_or(0, |version| version.last()));
        }
        let mut first = NEVER;
        for place in (0..length).rev() {
            self.returned[place] = first;
            first = first.min(of.list.get(order.versions[place] as usize).map_or(NEVER, |version| version.first()));
        }
    }

    /// Assigns every revision in no reply to the first open change that fits.
    fn fill_gaps(&mut self, history: &History, of: &mut Versions, order: &mut Order) -> Result<(), Stop> {
        self.bounds(of, order);
        let Versions { open, list, .. } = of;
        self.used.clear();
        self.used.extend(open.iter().map(|&at| list[at as usize].is(HAPPENED)));
        self.plain.clear();
        self.asking.clear();
        self.asking.resize(list.len(), NONE);
        for (i, &at) in (0u32..).zip(open.iter()) {
            let version = &list[at as usize];
            match version.from {
                _ if version.is(HAPPENED) => {}
                NONE => self.plain.push(i),
                from => self.asking[from as usize] = i,
            }
        }
        let (mut first, mut called, mut spare, mut tries) = (0, 0, 0, 0);
        for place in 1..order.versions.len() {
            if order.versions[place] != NONE {
                continue;
            }
            // Every gap needs one that was called before anything later had returned.
            while called < open.len() && list[open[called] as usize].call < self.returned[place] {
                spare += usize::from(!self.used[called]);
                called += 1;
            }
            if spare == 0 {
                let next = order.versions[place..].iter().find_map(|&at| list.get(at as usize));
                let teller = next.map_or(NONE, |next| next.told_by());
                return Err(Stop::clash(&[self.returned[place], teller]));
            }
            spare -= 1;
            let before = order.versions[place - 1] as usize;
            let state = State { value: list[before].value, count: place as u32 - 1 };
            let next = order.versions.get(place + 1).and_then(|&at| list.get(at as usize));
            let mut fits = |i: usize| {
                tries += 1;
                let version = &list[open[i] as usize];
                let after = State { value: version.value, count: place as u32 };
                !self.used[i]
                    && state.holds(history, history.operation(OpId(version.writer)))
                    && next.is_none_or(|next| {
                        !next.is(CONDITIONS) || after.holds(history, history.operation(OpId(next.writer)))
                    })
            };
            while self.plain.get(first).is_some_and(|&i| self.used[i as usize]) {
                first += 1;
            }
            // What asks for the very version that is there, then what asks for none, then whatever fits.
            let asks = Some(self.asking[before] as usize).filter(|&i| i < called && fits(i));
            let plain = self.plain[first..].iter().map(|&i| i as usize).take_while(|&i| i < called);
            let found = asks.or_else(|| plain.take(TRIES).find(|&i| fits(i)));
            let found = found.or_else(|| (0..called).take(TRIES * TRIES).find(|&i| fits(i)));
            let Some(i) = found.filter(|_| tries <= TRIES * order.versions.len() + 1_000) else {
                return Err(Stop::NotCovered);
            };
            self.used[i] = true;
            order.versions[place] = open[i];
            list[open[i] as usize].flags |= HAPPENED | FILLS;
        }
        Ok(())
    }

    /// Puts every ambiguous reply at the earliest place where it fits. Returns false if there is none. Refused
    /// compare-and-sets that fit nowhere are listed in [`Loose::failed`].
    fn place_all(&mut self, history: &History, of: &Versions, order: &Order) -> bool {
        self.bounds(of, order);
        self.early.clear();
        let mut ops = of.refusals.clone();
        if of.missing_loose {
            ops.extend(&of.missing);
            ops.sort_unstable();
            ops.dedup();
        }
        self.place_of.clear();
        self.place_of.resize(of.list.len(), NONE);
        for (place, &at) in (0u32..).zip(&order.versions) {
            self.place_of[at as usize] = place;
        }
        let places = order.versions.len();
        let (mut reached, mut tries) = (0, 0);
        for id in ops {
            let op = history.operation(id);
            while let Some(&Reverse((ret, place))) = self.early.peek()
                && ret < op.called
            {
                reached = reached.max(place as usize);
                self.early.pop();
            }
            let known = op.reply != Value::UNTOLD && !(op.reply == Value::NIL && of.missing_loose);
            let mut place = reached.max(self.returned.partition_point(|&ret| ret < op.called));
            if known {
                place = of.table.get(op.reply).map_or(places, |at| self.place_of[at as usize] as usize);
            }
            let fits = loop {
                tries += 1;
                if place >= places || self.called[place] >= op.returned || tries > TRIES * places + 1_000 {
                    break false;
                }
                let value = of.list[order.versions[place] as usize].value;
                let explains = (State { value, count: place as u32 }).explains(history, op);
                if explains || known {
                    break explains;
                }
                place += 1;
            };
            if fits {
                self.placed.push((id, place as u32));
                self.early.push(Reverse((op.returned, place as u32)));
            } else if op.f == Function::Write && op.reply == Value::UNTOLD && !op.has_further_conditions() {
                self.failed.push(id);
            } else {
                self.failed.clear();
                return false;
            }
        }
        true
    }
}
