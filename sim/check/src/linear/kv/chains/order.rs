//! Orders the versions: first within chains, where the order is forced, then the chains among each other.

use super::versions::{HAPPENED, Versions};
use super::{Clash, NONE, Stop};
use crate::history::NEVER;

/// Versions that follow each other immediately.
#[derive(Clone, Copy)]
pub struct Chain {
    /// The smaller of `first` and `last`.
    key: u32,
    pub head: u32,
    /// The first return, 0 of the chain that begins with what was there at first.
    pub first: u32,
    /// The last call.
    pub last: u32,
}

/// How much the revisions determine the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// No revision is known.
    Nothing,
    /// Some are.
    Some,
    /// All are.
    All,
}

#[derive(Default)]
pub struct Order {
    /// Sorted by [`Chain::key`], unless all revisions are known.
    pub chains: Vec<Chain>,
    /// By number of changes: the version; [`NONE`]: some open change that is not known.
    pub versions: Vec<u32>,
}

impl Order {
    /// Checks every chain in itself, and all of them against each other.
    pub fn arrange(&mut self, of: &mut Versions) -> Result<Told, Stop> {
        self.chains.clear();
        self.versions.clear();
        let (mut reached, mut happened, mut told) = (0, 0, 0);
        for head in 0..of.list.len() as u32 {
            let version = &of.list[head as usize];
            if version.is(HAPPENED) {
                happened += 1;
                if version.from == NONE {
                    let (chain, length) = walk(of, head)?;
                    told += usize::from(of.list[head as usize].count != NONE);
                    reached += length;
                    self.chains.push(chain);
                }
            }
        }
        if reached != happened {
            return Err(cycle(of));
        }
        let told = match told {
            n if n == self.chains.len() => Told::All,
            1 => Told::Nothing,
            _ => Told::Some,
        };
        if told != Told::Nothing {
            self.place_told(of)?;
        }
        if told != Told::All {
            self.compare(of)?;
        }
        Ok(told)
    }

    /// Sorted by [`Chain::key`] no chain may have to precede an earlier one.
    fn compare(&mut self, of: &Versions) -> Result<(), Stop> {
        self.chains.sort_unstable_by_key(|chain| (chain.key, chain.head));
        let Some(mut last) = self.chains.first() else { return Ok(()) };
        for chain in &self.chains[1..] {
            if chain.first < last.last {
                return Err(clash(of, last, chain));
            }
            if chain.last > last.last {
                last = chain;
            }
        }
        Ok(())
    }

    /// Puts versions whose revision is known in their places.
    fn place_told(&mut self, of: &Versions) -> Result<(), Stop> {
        let known = of.list.iter().filter(|version| version.is(HAPPENED) && version.count != NONE);
        if let Some(version) = known.max_by_key(|version| version.count) {
            if version.count > of.changes {
                return Err(Stop::clash(&[version.told_by()]));
            }
            self.versions.resize(version.count as usize + 1, NONE);
        }
        for (at, version) in (0u32..).zip(&of.list).filter(|(_, v)| v.is(HAPPENED) && v.count != NONE) {
            let place = &mut self.versions[version.count as usize];
            if *place != NONE {
                return Err(Stop::clash(&[of.list[*place as usize].told_by(), version.told_by()]));
            }
            *place = at;
        }
        let (mut last, mut who) = (0, 0);
        for &at in self.versions.iter().filter(|&&at| at != NONE) {
            let version = &of.list[at as usize];
            if version.first() < last {
                let other = &of.list[who as usize];
                let events = [version.first(), last, version.told_by(), other.told_by(), of.shown(who)];
                return Err(Stop::clash(&events));
            }
            if version.last() > last {
                (last, who) = (version.last(), at);
            }
        }
        Ok(())
    }

    /// Puts chains without a known revision into the first gaps between known revisions that fit. The order may be
    /// wrong.
    pub fn merge(&mut self, of: &Versions) {
        let mut returned = vec![NEVER; self.versions.len()];
        let mut first = NEVER;
        for (place, &at) in self.versions.iter().enumerate().rev() {
            first = first.min(of.list.get(at as usize).map_or(NEVER, |version| version.first()));
            returned[place] = first;
        }
        let mut place = 0;
        for chain in self.chains.iter().filter(|chain| of.list[chain.head as usize].count == NONE) {
            // After everything that had returned before its last call.
            place = place.max(returned.partition_point(|&ret| ret < chain.last));
            let mut at = chain.head;
            let (mut start, mut length) = (place, 0);
            while at != NONE {
                (at, length) = (of.list[at as usize].next, length + 1);
            }
            while let Some(taken) =
                (start..start + length).rev().find(|&p| self.versions.get(p).is_some_and(|&at| at != NONE))
            {
                start = taken + 1;
            }
            if self.versions.len() < start + length {
                self.versions.resize(start + length, NONE);
            }
            at = chain.head;
            for p in start..start + length {
                self.versions[p] = at;
                at = of.list[at as usize].next;
            }
            place = start + length;
        }
    }

    /// Whether the order respects real time.
    pub fn respects_time(&self, of: &Versions) -> bool {
        let mut last = 0;
        self.versions.iter().all(|&at| {
            let Some(version) = of.list.get(at as usize) else { return true };
            let fits = last <= version.first();
            last = last.max(version.last());
            fits
        })
    }

    /// The order that [`Order::compare`] found.
    pub fn lay_out(&mut self, of: &Versions) {
        self.versions.clear();
        for chain in &self.chains {
            let mut at = chain.head;
            while at != NONE {
                self.versions.push(at);
                at = of.list[at as usize].next;
            }
        }
    }
}

/// Checks a chain: it must respect real time, and its revisions must count up. The revision of one version determines
/// those of all.
fn walk(of: &mut Versions, head: u32) -> Result<(Chain, usize), Stop> {
    let mut chain = Chain { key: 0, head, first: of.list[head as usize].first(), last: 0 };
    let (mut at, mut length) = (head, 0u32);
    // The number of changes before the head, as told by `teller`.
    let (mut base, mut teller, mut partly) = (None, NONE, false);
    while at != NONE {
        let version = &of.list[at as usize];
        if version.first() < chain.last {
            return Err(Stop::clash(&[version.first(), chain.last]));
        }
        if version.count == NONE {
            partly = true;
        } else {
            let this = i64::from(version.count) - i64::from(length);
            let least = i64::from(head != 0);
            if this < least || base.is_some_and(|base| base != this) {
                return Err(Stop::clash(&[version.told_by(), teller]));
            }
            (base, teller) = (Some(this), version.told_by());
        }
        chain.first = chain.first.min(version.first());
        chain.last = chain.last.max(version.last());
        length += 1;
        at = version.next;
    }
    if let (true, Some(base)) = (partly, base) {
        let (mut at, mut count) = (head, base as u32);
        while at != NONE {
            let version = &mut of.list[at as usize];
            if version.count == NONE {
                (version.count, version.seen_count) = (count, count);
                version.teller = teller;
            }
            (at, count) = (version.next, count + 1);
        }
    }
    if head == 0 {
        chain.first = 0;
    }
    chain.key = chain.first.min(chain.last);
    Ok((chain, length as usize))
}

/// Two chains that must each be before the other: the operations of the first returns and last calls.
fn clash(of: &Versions, a: &Chain, b: &Chain) -> Stop {
    let mut clash = Clash::of(&[b.first, a.last, a.first, b.last]);
    for chain in [a, b] {
        // An open writer with the last call: what shows that it took place belongs to it.
        let mut at = chain.head;
        while at != NONE && of.list[at as usize].last() != chain.last {
            at = of.list[at as usize].next;
        }
        if at != NONE {
            clash.add(of.shown(at));
        }
    }
    Stop::Clash(clash)
}

/// Compare-and-sets that each need another one first.
fn cycle(of: &Versions) -> Stop {
    let mut reached = vec![false; of.list.len()];
    for head in (0..of.list.len()).filter(|&at| of.list[at].from == NONE) {
        let mut at = head as u32;
        while at != NONE {
            reached[at as usize] = true;
            at = of.list[at as usize].next;
        }
    }
    let lost = (0u32..).zip(&of.list).find(|(at, version)| version.is(HAPPENED) && !reached[*at as usize]);
    Stop::clash(&[lost.map_or(NONE, |(at, _)| of.shown(at))])
}
