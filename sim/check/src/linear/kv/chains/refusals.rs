//! Looks for another order if refused compare-and-sets do not fit the first one.
//!
//! A refusal that only shows that value v was not there needs a moment before v's version or after it. If v was there
//! all the time in the order found, one of three changes is made. Each narrows the time in which a writer may have
//! taken place, so any order found afterwards was possible before:
//!
//! - v's writer comes after the refusal's call;
//! - the writer that replaced v, where it is known, comes before the refusal's return;
//! - some other chain, or an open write that was never seen, comes between v and the refusal's return.
//!
//! If the replies leave a choice, the change is a guess, so a later failure is not a proof. The only proof is a refusal
//! that, by the replies themselves, cannot precede the version and cannot follow it.

use super::order::{Chain, Order};
use super::versions::{CONDITIONS, HAPPENED, INITIAL, REPEATED, Version, Versions};
use super::{NONE, Stop};
use crate::history::{History, OpId, Operation};

/// Chains to each side that may come between.
const NEIGHBOURS: usize = 128;

#[derive(Default)]
pub struct Refusals {
    /// By version: the place of its chain.
    chain_of: Vec<u32>,
    /// Chains by first return; with it the latest call of all up to there.
    latest: Vec<(u32, u32)>,
    /// Open changes that were left out, by call: those that ask for nothing.
    spare: Vec<u32>,
    /// Open changes that were left out, and the version that each asks for.
    asking: Vec<(u32, u32)>,
}

impl Refusals {
    /// Narrows times so that refusals that did not fit may fit. Returns false if nothing was changed. `first` is set if
    /// nothing was narrowed before.
    pub fn repair(
        &mut self,
        history: &History,
        of: &mut Versions,
        order: &Order,
        failed: &[OpId],
        first: bool,
    ) -> Result<bool, Stop> {
        self.prepare(of, order);
        let (mut changed, mut busy) = (false, 0);
        for &id in failed {
            let op = history.operation(id);
            // What was changed for one refusal is looked at again before the next one in its neighbourhood.
            if op.called <= busy {
                continue;
            }
            if let Some(until) = self.fit(of, order, op, first)? {
                (changed, busy) = (true, until.max(op.returned));
            }
        }
        Ok(changed)
    }

    fn prepare(&mut self, of: &Versions, order: &Order) {
        self.chain_of.clear();
        self.chain_of.resize(of.list.len(), NONE);
        for (place, chain) in (0u32..).zip(&order.chains) {
            let mut at = chain.head;
            while let Some(version) = of.list.get(at as usize) {
                self.chain_of[at as usize] = place;
                at = version.next;
            }
        }
        self.latest.clear();
        self.latest.extend(order.chains.iter().map(|chain| (chain.first, chain.last)));
        self.latest.sort_unstable();
        let mut last = 0;
        for entry in &mut self.latest {
            last = last.max(entry.1);
            entry.1 = last;
        }
        let idle = |&&at: &&u32| {
            let version = &of.list[at as usize];
            !version.is(HAPPENED) && !version.is(CONDITIONS)
        };
        self.spare.clear();
        self.spare.extend(of.open.iter().filter(idle).filter(|&&at| of.list[at as usize].from == NONE));
        // The last called is taken first.
        self.asking.clear();
        let asks = of.open.iter().filter(idle).map(|&at| (of.list[at as usize].from, at));
        self.asking.extend(asks.filter(|&(from, _)| from != NONE));
        self.asking.sort_unstable();
    }

    /// The last call of all chains of which something had returned before an event.
    fn latest_before(&self, event: u32) -> u32 {
        let among = self.latest.partition_point(|&(first, _)| first < event);
        among.checked_sub(1).map_or(0, |i| self.latest[i].1)
    }

    /// Makes room for one refusal. Returns the last event that this touched, or `None`.
    fn fit(&mut self, of: &mut Versions, order: &Order, op: &Operation, first: bool) -> Result<Option<u32>, Stop> {
        let Some(at) = of.table.get(op.compare) else { return Ok(None) };
        let version = of.list[at as usize];
        let place = self.chain_of[at as usize];
        let Some(chain) = order.chains.get(place as usize).copied() else { return Ok(None) };
        if version.is(REPEATED) {
            return Ok(None);
        }
        let before = version.writer != INITIAL && op.called <= version.first();
        let next = of.list.get(version.next as usize).copied();
        let after = op.returned >= version.last() && next.is_none_or(|next| next.call < op.returned);
        match (before, after) {
            (false, false) if first => {
                let replaced = next.map_or(NONE, |_| of.shown(version.next));
                Err(Stop::clash(&[op.returned, version.first(), version.last(), of.shown(at), replaced]))
            }
            (false, false) => Ok(None),
            // No other chain has to be before this one then that must be after it.
            (true, true) if self.latest_before(op.called) <= chain.first => Ok(put_off(of, at, op)),
            (true, false) => Ok(put_off(of, at, op)),
            (_, true) => {
                Ok(self.replace(of, order, op, at, place as usize).or_else(|| before.then(|| put_off(of, at, op))?))
            }
        }
    }

    /// Has a version replaced before the refusal returned.
    fn replace(&mut self, of: &mut Versions, order: &Order, op: &Operation, at: u32, place: usize) -> Option<u32> {
        let (chain, next) = (order.chains[place], of.list[at as usize].next);
        if let Some(next) = of.list.get_mut(next as usize) {
            let narrower = next.ret > op.returned;
            next.ret = next.ret.min(op.returned);
            return narrower.then_some(op.returned);
        }
        if chain.last >= op.returned {
            return None;
        }
        let earliest = chain.last + 1;
        if let Some(other) = self.between(of, order, op, place) {
            let head = &mut of.list[other.head as usize];
            narrow(head, earliest, op.returned);
            return Some(other.first.max(head.first()));
        }
        // Nothing that was seen can have replaced it.
        let asked = self.asking.partition_point(|&(from, _)| from < at);
        let asking = self.asking.get(asked).filter(|&&(from, _)| from == at).map(|&(_, open)| open);
        if let Some(open) = asking.filter(|&open| of.list[open as usize].call < op.returned) {
            of.list[at as usize].next = open;
            of.list[open as usize].flags |= HAPPENED;
            narrow(&mut of.list[open as usize], 0, op.returned);
            return Some(op.returned);
        }
        let called = self.spare.partition_point(|&open| of.list[open as usize].call < op.returned);
        let open = self.spare.get(called.checked_sub(1)?).copied()?;
        self.spare.remove(called - 1);
        of.list[open as usize].flags |= HAPPENED;
        narrow(&mut of.list[open as usize], earliest, op.returned);
        Some(op.returned)
    }

    /// Moves a nearby chain right after this one, before the refusal returned.
    fn between(&self, of: &Versions, order: &Order, op: &Operation, place: usize) -> Option<Chain> {
        let chain = order.chains[place];
        let latest = self.latest_before(chain.last + 1);
        let fits = |other: &&Chain| {
            let head = &of.list[other.head as usize];
            head.writer != INITIAL
                && head.call < op.returned
                && other.first > chain.last
                && other.first.min(op.returned) >= latest
        };
        let earlier = order.chains[..place].iter().rev().take(NEIGHBOURS).find(fits);
        earlier.or_else(|| order.chains[place + 1..].iter().take(NEIGHBOURS).find(fits)).copied()
    }
}

/// A version's writer comes after the refusal was called.
fn put_off(of: &mut Versions, at: u32, op: &Operation) -> Option<u32> {
    let version = &mut of.list[at as usize];
    let narrower = version.call < op.called;
    version.call = version.call.max(op.called);
    narrower.then(|| version.first())
}

fn narrow(version: &mut Version, call: u32, ret: u32) {
    version.call = version.call.max(call);
    version.ret = version.ret.min(ret);
}
