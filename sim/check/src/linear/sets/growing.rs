//! Sets that only grow, with reads of the whole set.
//!
//! Reads must form a chain by inclusion: that puts them into levels. An element enters before the reads of the first
//! level that contains it, and after those of the level before. An element that no read contains enters after all
//! reads, if it must enter. So stages of entrances and of reads alternate, and each entrance or read has an earliest
//! and a latest time. Within a stage there is no order. The history is possible exactly if no latest time is before the
//! earliest time of a member of an earlier stage: then everything takes place as early as it can.
//!
//! The time is linear in the operations and the lengths of the reads.

use super::{Entrance, Place, Problem, Read, Say, Word, after, entrance, place};
use crate::history::{NEVER, OpId, Value};
use hashbrown::HashMap;

/// A read or an entrance. Stage 2l: entrances before level l; 2l + 1: its reads.
struct Member {
    stage: u32,
    low: u32,
    low_by: Option<OpId>,
    high: u32,
    high_by: Option<OpId>,
    /// The `add` or the read.
    id: OpId,
    /// The element that enters.
    value: Option<Value>,
}

/// Everything that has a stage, by stage.
pub struct Stages(Vec<Member>);

/// The elements, numbered.
struct Numbers {
    count: usize,
    /// Numbers of integers not much larger than the number of elements; [`NEVER`]: none.
    small: Vec<u32>,
    /// Numbers of all other elements.
    rest: HashMap<Value, u32>,
}

impl Numbers {
    fn new(problem: &Problem<'_>) -> Numbers {
        let known = 4 * (problem.words.len() + problem.initial.len());
        let mut numbers = Numbers { count: 0, small: vec![NEVER; known], rest: HashMap::new() };
        for value in problem.each().map(|words| words[0].value).chain(problem.initial.iter().copied()) {
            if numbers.of(value).is_none() {
                let number = numbers.count as u32;
                match numbers.small.get_mut(value.bits() as usize) {
                    Some(place) => *place = number,
                    None => {
                        numbers.rest.insert(value, number);
                    }
                }
                numbers.count += 1;
            }
        }
        numbers
    }

    fn of(&self, value: Value) -> Option<usize> {
        let number = match self.small.get(value.bits() as usize) {
            Some(&number) => number,
            None => *self.rest.get(&value)?,
        };
        (number != NEVER).then_some(number as usize)
    }
}

/// The levels of the reads.
struct Levels<'a> {
    /// The first level that has an element, by its number; [`NEVER`]: none.
    of: Vec<u32>,
    /// A read of each level.
    reads: Vec<Read<'a>>,
    /// The level of each read.
    each: Vec<u32>,
}

/// Conflicting operations, with the operations on the elements that cause the conflict.
struct Clash {
    ops: Vec<OpId>,
    of: [Option<Value>; 2],
}

impl From<Vec<OpId>> for Clash {
    fn from(ops: Vec<OpId>) -> Clash {
        Clash { ops, of: [None, None] }
    }
}

/// Assigns stages and checks their times. The error is a set of conflicting operations.
pub fn check(problem: &Problem<'_>) -> Result<Stages, Vec<OpId>> {
    stages(problem).map_err(|Clash { mut ops, of }| {
        // With their outcomes forgotten, refused removes might remove anything, and refused adds add these elements.
        let matters = |word: &&Word| word.refused && (word.say == Say::Missing || of.contains(&Some(word.value)));
        ops.extend(problem.words.iter().filter(matters).map(|word| word.id));
        ops
    })
}

fn stages(problem: &Problem<'_>) -> Result<Stages, Clash> {
    let numbers = Numbers::new(problem);
    let levels = Levels::new(problem, &numbers)?;
    let level = |value: Value| numbers.of(value).map_or(NEVER, |number| levels.of[number]);
    if let Some(smallest) = levels.reads.first().filter(|_| problem.initial.iter().any(|&value| level(value) != 0)) {
        return Err(vec![smallest.id].into());
    }
    let mut members = Vec::with_capacity(numbers.count + problem.reads.len());
    for (&Read { id, call, ret, .. }, level) in problem.reads.iter().zip(&levels.each) {
        let by = Some(id);
        members.push(Member { stage: 2 * level + 1, low: call, low_by: by, high: ret, high_by: by, id, value: None });
    }
    for words in problem.each() {
        let (at_first, level) = (problem.at_first(words[0].value), level(words[0].value));
        let of = [Some(words[0].value), None];
        match entrance(words, at_first).map_err(|ops| Clash { ops, of })? {
            Some(Entrance { low, low_by, high, high_by, by }) if level != NEVER || high != NEVER => {
                let stage = 2 * level.min(levels.reads.len() as u32);
                members.push(Member { stage, low, low_by, high, high_by, id: by, value: Some(words[0].value) });
            }
            None if level != NEVER && !at_first => {
                return Err(Clash { ops: vec![levels.reads[level as usize].id], of });
            }
            _ => {}
        }
    }
    members.sort_by_key(|member| member.stage);
    in_time(&members, &levels)?;
    Ok(Stages(members))
}

impl<'a> Levels<'a> {
    fn new(problem: &Problem<'a>, numbers: &Numbers) -> Result<Levels<'a>, Vec<OpId>> {
        let mut levels = Levels { of: vec![NEVER; numbers.count], reads: Vec::new(), each: Vec::new() };
        levels.each.resize(problem.reads.len(), 0);
        let mut by_size: Vec<u32> = (0u32..).take(problem.reads.len()).collect();
        by_size.sort_by_key(|&i| problem.reads[i as usize].list.len());
        let mut stamps = vec![NEVER; numbers.count];
        for i in by_size {
            let read = &problem.reads[i as usize];
            levels.each[i as usize] = levels.add(read, i, numbers, &mut stamps)?;
        }
        Ok(levels)
    }

    /// The level of a read that is at least as large as all before.
    fn add(&mut self, read: &Read<'a>, stamp: u32, numbers: &Numbers, stamps: &mut [u32]) -> Result<u32, Vec<OpId>> {
        let below = self.reads.last().copied();
        let level = self.reads.len() as u32;
        // The same list in the same spelling: equal values are kept once.
        if below.is_some_and(|below| std::ptr::eq(below.list, read.list)) {
            return Ok(level - 1);
        }
        let mut old = 0;
        for value in read.list {
            // An element that was never added, or that is listed twice.
            let number = numbers.of(*value).ok_or_else(|| vec![read.id])?;
            if std::mem::replace(&mut stamps[number], stamp) == stamp {
                return Err(vec![read.id]);
            }
            if self.of[number] == NEVER {
                self.of[number] = level;
            } else {
                old += 1;
            }
        }
        if let Some(below) = below.filter(|below| old < below.list.len()) {
            return Err(vec![below.id, read.id]);
        }
        if below.is_some() && old == read.list.len() {
            return Ok(level - 1);
        }
        self.reads.push(*read);
        Ok(level)
    }
}

/// Looks for a member whose latest time is before the earliest time of a member of an earlier stage.
fn in_time(members: &[Member], levels: &Levels<'_>) -> Result<(), Clash> {
    let mut latest: Option<&Member> = None;
    for stage in members.chunk_by(|a, b| a.stage == b.stage) {
        for member in stage {
            let Some(early) = latest.filter(|early| member.high < early.low) else { continue };
            // Two entrances are ordered because a read contains one element and not the other.
            let entrances = early.stage % 2 == 0 && member.stage % 2 == 0;
            let link = entrances.then(|| levels.reads[early.stage as usize / 2].id);
            let ops = [early.low_by, link, member.high_by].into_iter().flatten().collect();
            return Err(Clash { ops, of: [early.value, member.value] });
        }
        let last = stage.iter().max_by_key(|member| member.low);
        if latest.map(|member| member.low) < last.map(|member| member.low) {
            latest = last;
        }
    }
    Ok(())
}

impl Stages {
    /// Places all operations.
    pub fn place(&self, problem: &Problem<'_>, plan: &mut Vec<Place>) {
        let mut entered: HashMap<OpId, (i64, u32)> = HashMap::with_capacity(self.0.len());
        let (mut before, mut reached) = (0, 0);
        for stage in self.0.chunk_by(|a, b| a.stage == b.stage) {
            for member in stage {
                let moment = after(member.low).max(before);
                reached = moment.max(reached);
                if member.stage % 2 == 1 {
                    plan.push((moment, member.stage + 1, member.id));
                } else {
                    entered.insert(member.id, (moment, member.stage + 1));
                }
            }
            before = reached;
        }
        for words in problem.each() {
            let enters = words.iter().find_map(|word| entered.get(&word.id).map(|&(at, rank)| (at, rank, word.id)));
            place(words, enters, plan);
        }
    }
}
