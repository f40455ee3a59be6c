//! Sets decided element by element, and sets that only grow, with reads of the whole set.
//!
//! **Without reads of the whole set** the elements are independent objects (P-compositionality). Each is decided alone:
//! - An element that is never removed enters once: every operation that found it missing is before, every operation
//!   that found it present is after (`entrance`).
//! - An element that can be added only once is present during one `stay`.
//! - Any other element is searched alone.
//!
//! **With reads of the whole set and no removals** the reads form a chain, and each element enters before the first
//! read that contains it: `growing`.
//!
//! Open operations may or may not have happened. An open `add` can insert its element, but need not.
//!
//! Histories with both reads of the whole set and removals go to the search.

mod growing;
mod stay;

use super::direct::{Entry, Finding, Procedure, entries};
use super::general::General;
use super::{Answer, Item, Judge, Limits};
use crate::history::{End, Function, History, NEVER, OpId, Value};
use crate::model::Model;
use crate::model::set::{Set, elements};

/// The procedure.
pub struct Sets;

/// What an operation shows about one element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Say {
    /// It was added, and was missing before.
    New,
    /// It was added if it was missing.
    Put,
    /// It was removed, and was present before.
    Gone,
    /// It was removed if it was present.
    Cut,
    /// It was present.
    There,
    /// It was missing.
    Missing,
}

/// One operation on one element.
#[derive(Clone, Copy)]
struct Word {
    value: Value,
    say: Say,
    id: OpId,
    call: u32,
    /// [`NEVER`] if it need not have happened.
    ret: u32,
    /// Whether it is an `add` or `remove` that changed nothing.
    refused: bool,
}

impl Word {
    fn told(&self) -> bool {
        self.ret != NEVER
    }
}

/// A place in the order of a part: a moment (event p is moment 4p, and no operation is placed on it) and a rank among
/// the operations placed at that moment.
type Place = (i64, u32, OpId);

/// A moment just after an event.
fn after(event: u32) -> i64 {
    4 * i64::from(event) + 1
}

/// A read of the whole set.
#[derive(Clone, Copy)]
struct Read<'a> {
    id: OpId,
    call: u32,
    ret: u32,
    list: &'a [Value],
}

/// A part: the operations on each element, and the reads.
struct Problem<'a> {
    /// Sorted by element, then by call.
    words: Vec<Word>,
    reads: Vec<Read<'a>>,
    /// Sorted.
    initial: Vec<Value>,
}

/// The events between which an element enters.
struct Entrance {
    low: u32,
    low_by: Option<OpId>,
    /// [`NEVER`] if it need not enter.
    high: u32,
    high_by: Option<OpId>,
    /// The operation that adds it.
    by: OpId,
}

impl<'a> Problem<'a> {
    /// Returns an error with an operation whose reply can never be right.
    fn new(history: &'a History, items: &[Item]) -> Result<Problem<'a>, Vec<OpId>> {
        let initial = Set.initial(history);
        let mut problem = Problem { words: Vec::with_capacity(items.len()), reads: Vec::new(), initial };
        for Entry { id, op, call, ret } in entries(history, items) {
            let reply = match op.end {
                _ if ret == NEVER => Value::UNTOLD,
                End::Refused => Value::FALSE,
                _ => op.reply,
            };
            let say = match (op.f, reply) {
                (Function::Add, Value::TRUE) => Say::New,
                (Function::Contains | Function::Remove, Value::FALSE) => Say::Missing,
                (Function::Add, Value::FALSE) | (Function::Contains, Value::TRUE) => Say::There,
                (Function::Add, _) => Say::Put,
                (Function::Remove, Value::TRUE) => Say::Gone,
                (Function::Remove, _) => Say::Cut,
                (Function::Contains | Function::Read, Value::UNTOLD) => continue,
                (Function::Contains, _) => return Err(vec![id]),
                (Function::Read, list) => {
                    let list = elements(history, list).ok_or_else(|| vec![id])?;
                    problem.reads.push(Read { id, call, ret, list });
                    continue;
                }
                _ => continue,
            };
            let refused = op.f != Function::Contains && reply == Value::FALSE;
            problem.words.push(Word { value: op.arg, say, id, call, ret, refused });
        }
        // The sort is stable: calls stay in order.
        problem.words.sort_by_key(|word| word.value);
        Ok(problem)
    }

    /// The operations on each element.
    fn each(&self) -> impl Iterator<Item = &[Word]> {
        self.words.chunk_by(|a, b| a.value == b.value)
    }

    fn at_first(&self, value: Value) -> bool {
        self.initial.binary_search(&value).is_ok()
    }

    fn removes(&self) -> bool {
        removes(&self.words)
    }
}

fn removes(words: &[Word]) -> bool {
    words.iter().any(|word| matches!(word.say, Say::Gone | Say::Cut))
}

/// Returns when an element that is never removed enters. `None` if it was there initially, or if it cannot enter and
/// need not. The error is a set of conflicting operations.
fn entrance(words: &[Word], at_first: bool) -> Result<Option<Entrance>, Vec<OpId>> {
    let (mut low, mut low_by) = (0, None);
    let (mut high, mut high_by) = (NEVER, None);
    let (mut new, mut put) = (None::<&Word>, None::<&Word>);
    for word in words {
        match word.say {
            Say::New | Say::Missing if at_first => return Err(vec![word.id]),
            Say::Missing if low_by.is_none() || low < word.call => (low, low_by) = (word.call, Some(word.id)),
            Say::New => {
                if let Some(other) = new.replace(word) {
                    return Err(vec![other.id, word.id]);
                }
            }
            _ => {}
        }
        if matches!(word.say, Say::Put | Say::There) && word.ret < high {
            (high, high_by) = (word.ret, Some(word.id));
        }
        if word.say == Say::Put && put.is_none() {
            put = Some(word);
        }
    }
    let Some(by) = new.or(put).filter(|_| !at_first) else {
        return match high_by.filter(|_| !at_first) {
            Some(seen) => Err(vec![seen]),
            None => Ok(None),
        };
    };
    if low_by.is_none() || low < by.call {
        (low, low_by) = (by.call, new.map(|new| new.id));
    }
    if by.say == Say::New && by.ret < high {
        (high, high_by) = (by.ret, Some(by.id));
    }
    if high < low {
        return Err([low_by, high_by].into_iter().flatten().collect());
    }
    Ok(Some(Entrance { low, low_by, high, high_by, by: by.id }))
}

/// Places the operations on an element that is never removed and enters at a moment with a rank.
fn place(words: &[Word], enters: Option<(i64, u32, OpId)>, plan: &mut Vec<Place>) {
    plan.extend(enters);
    let entered = enters.map_or(i64::MIN, |(moment, ..)| moment);
    let enters = enters.map(|(.., id)| id);
    for word in words.iter().filter(|word| word.told() && Some(word.id) != enters) {
        plan.push(match word.say {
            Say::Missing => (after(word.call), 0, word.id),
            _ => (after(word.call).max(entered), u32::MAX, word.id),
        });
    }
}

/// How a single element is decided.
enum Way {
    Entrance(Option<Entrance>),
    Stay(stay::Stay),
    Search,
}

/// Returns how to decide an element. The error is a set of conflicting operations.
fn way(words: &[Word], at_first: bool) -> Result<Way, Vec<OpId>> {
    if !removes(words) {
        return entrance(words, at_first).map(Way::Entrance);
    }
    stay::find(words, at_first).map_or(Ok(Way::Search), |found| found.map(Way::Stay))
}

fn items_of(words: &[Word]) -> Vec<Item> {
    words.iter().map(|word| Item { op: word.id, open: !word.told() }).collect()
}

/// Decides every element independently.
fn one_by_one(history: &History, problem: &Problem<'_>, size: usize, limits: Limits) -> Finding {
    let mut found =
        Finding { answer: Answer::Possible, by: "elements one by one", steps: size as u64, clash: Vec::new() };
    for words in problem.each() {
        match way(words, problem.at_first(words[0].value)) {
            Err(mut clash) => {
                clash.extend(words.iter().filter(|word| word.refused).map(|word| word.id));
                return Finding { answer: Answer::Impossible, clash, ..found };
            }
            Ok(Way::Entrance(_) | Way::Stay(_)) => continue,
            Ok(Way::Search) => {}
        }
        let left = Limits { steps: limits.steps.saturating_sub(found.steps), ..limits };
        let decision = General(Set).decide(history, &items_of(words), left);
        found.steps += decision.steps;
        found.by = "elements one by one, some searched";
        match decision.answer {
            Answer::Possible => {}
            Answer::Impossible => {
                let clash = words.iter().filter(|word| word.told()).map(|word| word.id).collect();
                return Finding { answer: Answer::Impossible, clash, ..found };
            }
            Answer::GaveUp(_) => found.answer = decision.answer,
        }
    }
    found
}

impl Procedure for Sets {
    type Model = Set;

    fn find(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Finding> {
        let problem = match Problem::new(history, items) {
            Ok(problem) => problem,
            Err(clash) => return Some(Finding::new("elements one by one", items, Err(clash))),
        };
        if problem.reads.is_empty() {
            return Some(one_by_one(history, &problem, items.len(), limits));
        }
        let growing = (!problem.removes()).then(|| growing::check(&problem).map(|_| ()))?;
        Some(Finding::new("reads that only grow", items, growing))
    }

    fn order(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let problem = Problem::new(history, items).ok()?;
        let mut plan: Vec<Place> = Vec::with_capacity(items.len());
        if !problem.reads.is_empty() {
            let stages = (!problem.removes()).then(|| growing::check(&problem).ok())??;
            stages.place(&problem, &mut plan);
        } else {
            for words in problem.each() {
                match way(words, problem.at_first(words[0].value)).ok()? {
                    Way::Entrance(enters) => {
                        let enters = enters.filter(|e| e.high != NEVER);
                        place(words, enters.map(|e| (after(e.low), 1, e.by)), &mut plan);
                    }
                    Way::Stay(stay) => stay.place(words, &mut plan),
                    Way::Search => {
                        let order = General(Set).witness(history, &items_of(words), limits)?;
                        let mut latest = 0;
                        plan.extend(order.into_iter().zip(0..).map(|(id, rank)| {
                            latest = after(history.operation(id).called).max(latest);
                            (latest, rank, id)
                        }));
                    }
                }
            }
        }
        plan.sort_by_key(|&(moment, rank, _)| (moment, rank));
        Some(plan.into_iter().map(|(.., id)| id).collect())
    }

    /// Without reads the conflicting operations are on one element. Removes as many of them as it can.
    fn spare(&mut self, history: &History, items: &[Item], clash: Vec<OpId>) -> Vec<OpId> {
        let element = |op: OpId| history.operation(op).arg;
        let alone =
            clash.iter().all(|&op| history.operation(op).f != Function::Read && element(op) == element(clash[0]));
        if clash.len() < 2 || clash.len() > 200 || !alone {
            return clash;
        }
        let value = element(clash[0]);
        let mut items: Vec<Item> = items.iter().copied().filter(|item| element(item.op) == value).collect();
        items.retain(|item| history.operation(item.op).f != Function::Read);
        for item in &mut items {
            item.open |= !clash.contains(&item.op);
        }
        let limits = Limits::new(100_000, 1 << 24);
        for i in 0..items.len() {
            if items[i].open {
                continue;
            }
            items[i].open = true;
            let found = self.find(history, &items, limits);
            items[i].open = found.is_some_and(|found| found.answer == Answer::Impossible);
        }
        items.iter().filter(|item| !item.open).map(|item| item.op).collect()
    }
}
