//! Decides one key whose written values identify their writers: exactly, in about the time of a sort.
//!
//! After Gibbons and Korach ("Testing shared memories", 1997), extended by compare-and-set, unknown outcomes and
//! revisions.
//!
//! **Versions.** A value with one possible writer names a version of the key: what it held from that write to the next
//! change. An operation that saw the value saw that version. A write with the condition that the value is v came
//! directly after v's version. The initial content is a version too, written before everything.
//!
//! **What happened.** Required writes happened. An open write happened if its value was seen, or if a write that
//! happened compared with its value: no other write can have written it. All other open writes can be left out of any
//! order: no remaining operation saw or needs their values, and the next write had no condition or asked for a value
//! that was not there.
//!
//! **Chains.** Versions linked by conditions follow each other immediately, in one way only. Two writes that replace
//! one version, a version without a writer, or writes that each need another one first are impossible. A chain is one
//! interval without a change by other writes. Within it real time is respected exactly if no operation of a version was
//! called after one of a later version had returned, and no writer was called after its value was seen. Operations that
//! see the same version may come in any order.
//!
//! **Among chains** let f be a chain's first return and s its last call. A must be before B if f(A) < s(B), and any
//! order of the chains that respects this is valid: operations of different chains are otherwise independent. Sort by k
//! = min(f, s). *If in this order no chain A comes after a chain B with f(A) < s(B), the order is valid; otherwise
//! there is none.* Proof: let f(A) < s(B) and k(B) < k(A). If k(B) were s(B), then s(B) < k(A) ≤ f(A) < s(B), a
//! contradiction. So k(B) = f(B), and f(B) < k(A) ≤ s(A): each must be before the other. (Moments of different chains
//! are different events. The chain of the initial content has f = 0 and comes first.)
//!
//! **Revisions.** If a reply has revision r, r + 1 changes had been made, including that version. If that is known for
//! every chain, the order is forced and only has to be checked. Revisions in no reply were taken by open writes that
//! were never seen. If it is known for some chains only, both checks can refute, and an order is built as below.
//!
//! **The rest** ([`loose`]): conditions that name no value, refusals that do not report what was there, and repeated
//! values. Leaving out constraints never makes an order impossible, so refutations that ignore these are valid. If
//! nothing is refuted, an order is built and all ignored constraints are checked against it. If they hold, the order is
//! the answer. If not, the search must decide, unless the order was forced. A missing key is treated as a value like
//! any other, which every delete writes.

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

/// Events whose operations are impossible on their own, as far as they are known.
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
    /// This procedure does not decide it.
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
    /// Returns whether there is an order, and the evidence used. `None` if not decided.
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
        // Sorted by place: first the writer, then the operations that saw it, by call.
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

    /// Returns a few operations that are impossible on their own, if this procedure refutes and can name some.
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
