//! One key whose written values tell their writers apart: decided exactly, in about the time that it takes to sort.
//!
//! After Gibbons and Korach ("Testing shared memories", 1997), extended by compare-and-set, unknown outcomes and revisions.
//!
//! **Versions.** A value with one possible writer names a version of the key: what it held from that write to the next
//! change. Who saw the value saw that version; a write with the condition that the value is v came directly after v's
//! version. What was there at first is a version too, written before everything.
//!
//! **What happened.** Required writes did. An open write did if its value was seen, or was compared with by a write that did:
//! nobody else can have written it. All other open writes can be left out of any order: nobody who stays in saw their
//! values or needs them, and whoever came next asked for nothing or for a value that was not there.
//!
//! **Chains.** Versions tied by conditions follow each other immediately, in one way only; two writes that replace one
//! version, a version without a writer, or writes that each need another one first are impossible. A chain lasts for
//! one stretch of time without a change by others. Within it real time is respected exactly if no operation of a version was
//! called after one of a later version had returned, nor a writer after its value was seen. Those who see one version may come in
//! any order.
//!
//! **Among chains** let f be a chain's first return and s its last call. A must be before B if f(A) < s(B), and any
//! order of the chains that respects this will do: operations of different chains are otherwise independent. Sort by
//! k = min(f, s). *If in this order no chain A comes after a chain B with f(A) < s(B), the order will do; else there is none.*
//! For let f(A) < s(B) and k(B) < k(A). If k(B) were s(B), then s(B) < k(A) ≤ f(A) < s(B). So k(B) = f(B), and
//! f(B) < k(A) ≤ s(A): each must be before the other. (Moments of different chains are different events. The chain of
//! what was there at first has f = 0 and comes first.)
//!
//! **Revisions.** Where a reply tells revision r, r + 1 changes had been made with that version. If that is known of every
//! chain, the order is forced and only has to be checked; revisions that nobody told were taken by open writes that nobody saw. If it
//! is known of some only, both checks can refute; an order is made as below.
//!
//! **The rest** ([`loose`]): conditions that name no value, refusals that do not tell what was there, and repeated values.
//! Leaving constraints out never makes an order impossible, so refutations stay true when they are ignored. Where nothing is
//! refuted an order is made and everything that was ignored checked against it: if it holds, the order is the answer, and
//! if not the search has to decide, except where the order was forced. A missing key is treated as a value like any other,
//! which every delete writes.

mod loose;
mod order;
mod refusals;
mod table;
mod versions;

use crate::history::{End, Function, History, OpId, Value};
use crate::linear::{Answer, Item};
use loose::Loose;
use order::{Order, Told};
use refusals::Refusals;
use versions::{INITIAL, Versions};

/// No version, no revision, no operation.
const NONE: u32 = u32::MAX;
/// Orders tried until all refusals fit.
const ORDERS: usize = 64;

/// Events whose operations alone are impossible, as far as they are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clash {
    events: [u32; 6],
}

impl Clash {
    fn of(events: &[u32]) -> Clash {
        let mut clash = Clash { events: [NONE; 6] };
        events.iter().for_each(|&event| clash.add(event));
        clash
    }

    fn add(&mut self, event: u32) {
        if let Some(free) = self.events.iter_mut().find(|known| **known == NONE) {
            *free = event;
        }
    }
}

/// Why there is no order to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// There is none.
    Clash(Clash),
    /// This does not decide it.
    NotCovered,
}

impl Stop {
    fn clash(events: &[u32]) -> Stop {
        Stop::Clash(Clash::of(events))
    }
}

/// The procedure with its buffers.
#[derive(Default)]
pub struct Chains {
    versions: Versions,
    order: Order,
    loose: Loose,
    refusals: Refusals,
    told: bool,
}

impl Chains {
    /// Whether there is an order, and what tells; `None`: not decided.
    pub fn decide(&mut self, history: &History, items: &[Item]) -> Option<(Answer, &'static str)> {
        let answer = match self.run(history, items) {
            Ok(_) => Answer::Possible,
            Err(Stop::Clash(_)) => Answer::Impossible,
            Err(Stop::NotCovered) => return None,
        };
        let by = if self.told { "revisions (they tell the order)" } else { "zones (each value has one writer)" };
        Some((answer, by))
    }

    fn run(&mut self, history: &History, items: &[Item]) -> Result<Told, Stop> {
        let Chains { versions, order, loose, refusals, told: by_revisions } = self;
        *by_revisions = false;
        versions.collect(history, items)?;
        let told = order.arrange(versions)?;
        if versions.repeated_seen {
            return Err(Stop::NotCovered);
        }
        *by_revisions = told != Told::Nothing && order.versions.len() > 1;
        match told {
            Told::Nothing if loose.has_work(versions) => order.lay_out(versions),
            Told::Some => order.merge(versions),
            Told::Nothing | Told::All => {}
        }
        for tried in 0..ORDERS {
            match loose.check(history, versions, order, told) {
                // Another order might have done.
                Err(Stop::Clash(_)) if told == Told::Some => return Err(Stop::NotCovered),
                Err(Stop::NotCovered) if told == Told::Nothing && !loose.failed.is_empty() => {}
                checked => return checked.map(|()| told),
            }
            let changed = refusals.repair(history, versions, order, &loose.failed, tried == 0)?;
            if !changed || order.arrange(versions) != Ok(Told::Nothing) {
                return Err(Stop::NotCovered);
            }
            order.lay_out(versions);
        }
        Err(Stop::NotCovered)
    }

    /// An order, for operations that are possible; `None`: not decided.
    pub fn witness(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        if self.run(history, items).ok()? == Told::Nothing {
            self.order.lay_out(&self.versions);
        }
        let Chains { versions, order, loose, .. } = self;
        let mut place_of = vec![NONE; versions.list.len()];
        // By place: first the writer, then those who saw it, by call.
        let mut placed: Vec<(u32, bool, OpId)> = Vec::with_capacity(items.len());
        for (place, &at) in (0u32..).zip(&order.versions) {
            place_of[at as usize] = place;
            let writer = versions.list[at as usize].writer;
            if writer != INITIAL {
                placed.push((place, false, OpId(writer)));
            }
        }
        placed.extend(loose.placed.iter().map(|&(op, place)| (place, true, op)));
        for item in items.iter().filter(|item| !item.open) {
            let op = history.operation(item.op);
            let saw = match op.f {
                Function::Read => op.end == End::Ok,
                Function::Write | Function::Delete => op.end == End::Refused,
                _ => false,
            };
            if saw && op.reply != Value::UNTOLD && loose.placed.binary_search_by_key(&item.op, |&(op, _)| op).is_err() {
                let place = versions.table.get(op.reply).map(|at| place_of[at as usize]);
                placed.extend(place.map(|place| (place, true, item.op)));
            }
        }
        placed.sort_unstable();
        Some(placed.into_iter().map(|(_, _, op)| op).collect())
    }

    /// A few operations that alone are impossible, where this refutes and can name some.
    pub fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        let Err(Stop::Clash(Clash { events })) = self.run(history, items) else { return None };
        let named = |event: u32| event != NONE && events.contains(&event);
        let required = items.iter().filter(|item| !item.open);
        let named = required.filter(|item| {
            let op = history.operation(item.op);
            op.settled().is_some_and(|ret| named(op.called) || named(ret))
        });
        let suspects: Vec<OpId> = named.map(|item| item.op).collect();
        (!suspects.is_empty()).then_some(suspects)
    }
}
