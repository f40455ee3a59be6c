//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the linked list of pending calls
//! and returns and the memory of configurations of Lowe ("Testing for linearizability", 2017), depth first with undo,
//! on a stack of its own. A configuration is the set of operations placed so far and the state they led to.
//!
//! Choices that are skipped because another choice is equivalent or better:
//!
//! - A read that fits is placed at once: it changes nothing, so waiting cannot help.
//! - Of the operations of one class that may come next, only the one that returns first is tried: an order that begins
//!   with another stays valid if the two are exchanged. An open operation is tried only if no required one of its class
//!   may come next.
//! - An open operation that would change nothing is not tried.
//!
//! So if all changes are of one class, such as increments by one, the search never backtracks to another choice.
//! Operations that the next return waits for are tried first, open operations last.
//!
//! A configuration that was a dead end is remembered by a 128-bit hash of its set, updated incrementally (Zobrist), and
//! its state. Two configurations may share a hash, which could only make a possible order look impossible. So a
//! refutation in which the memory pruned anything is repeated with whole configurations before it counts. The search
//! does not split at quiescent points: with the memory it visits each state once there, which is all that splitting
//! would achieve.
//!
//! Time and memory are bounded by [`Limits`]; beyond them the answer is unknown.

use super::{NONE, Problem};
use crate::history::NEVER;
use crate::linear::events::Events;
use crate::linear::hash::{Already, Mix, zobrist};
use crate::linear::{Answer, Decision, Limits};
use crate::model::Model;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash};

/// Decides the part.
pub fn decide<M: Model>(problem: &Problem<M>, limits: Limits) -> Decision {
    decide_with(problem, limits, u128::MAX)
}

/// `mask` has the bits of fingerprints that count: all of them, except in tests.
pub fn decide_with<M: Model>(problem: &Problem<M>, limits: Limits, mask: u128) -> Decision {
    let mut search = Search::new(problem, limits, Memory::Hashed(HashSet::default(), mask));
    let (answer, by) = (search.run(), "search");
    if !(search.recalled && answer == Answer::Impossible) {
        return Decision { answer, by, steps: search.steps };
    }
    let steps = search.steps;
    drop(search);
    let mut again = Search::new(problem, limits, Memory::Exact(HashSet::default()));
    Decision { answer: again.run(), by, steps: steps + again.steps }
}

/// An order that explains everything, as indices into the problem's operations.
pub fn witness<M: Model>(problem: &Problem<M>, limits: Limits) -> Option<Vec<u32>> {
    let mut search = Search::new(problem, limits, Memory::Hashed(HashSet::default(), u128::MAX));
    (search.run() == Answer::Possible).then_some(search.placed)
}

/// The longest order of some of the operations that the search finds within the limits. It looks at what has happened
/// only, not at what is still to be explained.
pub fn longest<M: Model>(problem: &Problem<M>, limits: Limits) -> Vec<u32> {
    let mut search = Search::new(problem, limits, Memory::Hashed(HashSet::default(), u128::MAX));
    search.keep_longest = true;
    search.run();
    if search.placed.len() > search.longest.len() { search.placed } else { search.longest }
}

/// What comes next.
enum Next {
    /// Everything required is placed.
    Done,
    /// Something can no longer be placed.
    Never,
    /// A change: at the latest, this operation must take place.
    Change(u32),
}

/// A choice point.
struct Frame<S> {
    state: S,
    set: u128,
    /// The latest required operation placed so far.
    highest: u32,
    placed: usize,
    choices: usize,
    /// The required operation whose return comes next.
    blocker: u32,
    open_tried: bool,
}

/// Required operations not placed up to the highest one that is; then the open ones that are.
type Set = Box<[u32]>;

/// Whether what is waited for fits afterwards; the model's promise; the return. The highest is tried first.
type Rank = (bool, u8, Reverse<u32>);

enum Memory<S> {
    Hashed(HashSet<u128, BuildHasherDefault<Already>>, u128),
    Exact(HashSet<(Set, S), BuildHasherDefault<Mix>>),
}

struct Search<'a, M: Model> {
    problem: &'a Problem<'a, M>,
    limits: Limits,
    /// For [`longest`].
    keep_longest: bool,
    memory: Memory<M::State>,
    /// Bytes remembered, and in frames.
    bytes: usize,
    /// Whether the memory ever pruned a branch.
    recalled: bool,
    steps: u64,
    next_look: u64,
    /// Of required operations not placed.
    events: Events,
    state: M::State,
    set: u128,
    highest: u32,
    /// Operations in the order they were placed.
    placed: Vec<u32>,
    /// Open ones among them.
    open_placed: Vec<u32>,
    /// By class: how many open members were placed.
    used: Vec<u32>,
    /// By class: the member to try; [`NONE`] between uses.
    first: Vec<u32>,
    /// Candidates of all frames; a frame's begin at [`Frame::choices`] and the last is tried first.
    choices: Vec<u32>,
    /// For sorting candidates.
    ranked: Vec<(Rank, u32)>,
    frames: Vec<Frame<M::State>>,
    longest: Vec<u32>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(problem: &'a Problem<'a, M>, limits: Limits, memory: Memory<M::State>) -> Search<'a, M> {
        let calls = problem.ops.iter().map(|op| (u64::from(op.call), op.ret != NEVER));
        let events = Events::new(calls, problem.returns.iter().map(|&(ret, op)| (u64::from(ret), op)));
        Search {
            problem,
            limits,
            keep_longest: false,
            memory,
            bytes: 0,
            recalled: false,
            steps: 0,
            next_look: 0,
            events,
            state: problem.initial.clone(),
            set: 0,
            highest: 0,
            placed: Vec::with_capacity(problem.ops.len()),
            open_placed: Vec::new(),
            used: vec![0; problem.classes.len()],
            first: vec![NONE; problem.classes.len()],
            choices: Vec::new(),
            ranked: Vec::new(),
            frames: Vec::new(),
            longest: Vec::new(),
        }
    }

    fn run(&mut self) -> Answer {
        loop {
            let choices = self.choices.len();
            match self.settle() {
                Next::Done => return Answer::Possible,
                Next::Never => self.choices.truncate(choices),
                Next::Change(_) if self.recalls() => self.choices.truncate(choices),
                Next::Change(blocker) => {
                    self.keep_first_of_classes(choices);
                    self.rank(choices, blocker);
                    self.push_frame(choices, blocker);
                }
            }
            let Some((op, state)) = self.choose() else { return Answer::Impossible };
            self.place(op);
            self.state = state;
            if let Some(why) = self.limits.exceeded(self.steps, &mut self.next_look) {
                return Answer::GaveUp(why);
            }
            if self.bytes + 4 * self.choices.len() > self.limits.memory {
                return Answer::GaveUp("the memory limit was reached");
            }
        }
    }

    /// Places every read that fits, and collects the candidates for the next change.
    fn settle(&mut self) -> Next {
        let problem = self.problem;
        let mut node = self.events.after(0);
        while node != 0 {
            let i = (node - 1) / 2;
            if node.is_multiple_of(2) {
                return Next::Change(i);
            }
            self.steps += 1;
            let op = &problem.ops[i as usize];
            if !op.reads {
                self.choices.push(i);
            } else if problem.model.apply(&self.state, &op.op).is_some() {
                self.place(i);
            }
            // A removed node still has its successor.
            let waits = !op.reads || self.placed.last() != Some(&i);
            if waits && !self.keep_longest && problem.model.hopeless(&self.state, &op.op) {
                return Next::Never;
            }
            node = self.events.after(node);
        }
        Next::Done
    }

    fn push_frame(&mut self, choices: usize, blocker: u32) {
        self.bytes += self.frame_bytes(&self.state);
        self.frames.push(Frame {
            state: self.state.clone(),
            set: self.set,
            highest: self.highest,
            placed: self.placed.len(),
            choices,
            blocker,
            open_tried: false,
        });
    }

    fn frame_bytes(&self, state: &M::State) -> usize {
        size_of::<Frame<M::State>>() + self.problem.model.weight(state)
    }

    /// Of the candidates of one class only the one whose return is the first is kept.
    fn keep_first_of_classes(&mut self, from: usize) {
        let ops = &self.problem.ops;
        if self.first.is_empty() || self.choices.len() - from < 2 {
            return;
        }
        for &i in &self.choices[from..] {
            let op = &ops[i as usize];
            if let Some(first) = self.first.get_mut(op.class as usize)
                && (*first == NONE || op.ret < ops[*first as usize].ret)
            {
                *first = i;
            }
        }
        let mut kept = from;
        for at in from..self.choices.len() {
            let i = self.choices[at];
            if self.first.get(ops[i as usize].class as usize).is_none_or(|&first| first == i) {
                self.choices[kept] = i;
                kept += 1;
            }
        }
        self.choices.truncate(kept);
        self.forget_first(from);
    }

    fn forget_first(&mut self, from: usize) {
        for &i in &self.choices[from..] {
            if let Some(first) = self.first.get_mut(self.problem.ops[i as usize].class as usize) {
                *first = NONE;
            }
        }
    }

    /// Drops candidates that the model does not allow, that are open and change nothing, or after which what is waited
    /// for cannot come any more; the most promising goes last.
    fn rank(&mut self, from: usize, blocker: u32) {
        let Problem { model, ops, .. } = self.problem;
        let waiting = &ops[blocker as usize];
        self.ranked.clear();
        for &i in &self.choices[from..] {
            let op = &ops[i as usize];
            self.steps += 1;
            let Some(next) = model.apply(&self.state, &op.op) else { continue };
            let useless = op.ret == NEVER && next == self.state;
            if useless || !self.keep_longest && i != blocker && model.hopeless(&next, &waiting.op) {
                continue;
            }
            let helps = i == blocker || waiting.reads && model.apply(&next, &waiting.op).is_some();
            self.ranked.push(((helps, model.promise(&next), Reverse(op.ret)), i));
        }
        self.ranked.sort_unstable();
        self.choices.truncate(from);
        self.choices.extend(self.ranked.iter().map(|&(_, i)| i));
    }

    /// Adds the open operations that may come next: the first of each class of which no required one may.
    fn push_open(&mut self, blocker: u32) {
        let Problem { ops, classes, .. } = self.problem;
        let from = self.choices.len();
        let mut node = self.events.after(0);
        while node % 2 == 1 {
            let i = (node - 1) / 2;
            if let Some(first) = self.first.get_mut(ops[i as usize].class as usize) {
                *first = i;
                self.choices.push(i);
            }
            self.steps += 1;
            node = self.events.after(node);
        }
        let marked = self.choices.len();
        for (class, open) in classes.iter().enumerate() {
            let member = open.get(self.used[class] as usize).copied();
            if let Some(i) = member
                && self.first[class] == NONE
                && ops[i as usize].call < ops[blocker as usize].ret
            {
                self.choices.push(i);
            }
        }
        self.steps += classes.len() as u64 / 8;
        self.forget_first(from);
        self.choices.drain(from..marked);
        self.rank(from, blocker);
    }

    /// Returns the next candidate to try and the state it leads to, after backtracking to its frame.
    fn choose(&mut self) -> Option<(u32, M::State)> {
        loop {
            let frame = self.frames.last()?;
            let (placed, choices, blocker, tried) = (frame.placed, frame.choices, frame.blocker, frame.open_tried);
            (self.set, self.highest) = (frame.set, frame.highest);
            if self.keep_longest && self.placed.len() > self.longest.len() {
                self.longest.clone_from(&self.placed);
                self.steps += self.placed.len() as u64 / 8;
            }
            self.undo_to(placed);
            let frame = self.frames.last_mut()?;
            if self.choices.len() > choices {
                let op = self.choices.pop()?;
                // Ranking has found it allowed.
                let Some(next) = self.problem.model.apply(&frame.state, &self.problem.ops[op as usize].op) else {
                    continue;
                };
                return Some((op, next));
            }
            if tried {
                let frame = self.frames.pop()?;
                self.bytes -= self.frame_bytes(&frame.state);
                self.state = frame.state;
                self.remember();
            } else {
                frame.open_tried = true;
                if !self.used.is_empty() {
                    self.state = frame.state.clone();
                    self.push_open(blocker);
                }
            }
        }
    }

    /// Places an operation; the caller changes the state.
    fn place(&mut self, i: u32) {
        let op = &self.problem.ops[i as usize];
        self.set ^= zobrist(i);
        if op.ret == NEVER {
            self.open_placed.push(i);
            self.used[op.class as usize] += 1;
        } else {
            self.highest = self.highest.max(i + 1);
            self.events.take(i);
        }
        self.placed.push(i);
        self.steps += 1;
    }

    /// Takes operations back, all but what is kept in a [`Frame`].
    fn undo_to(&mut self, length: usize) {
        while self.placed.len() > length {
            let Some(i) = self.placed.pop() else { return };
            let op = &self.problem.ops[i as usize];
            if op.ret == NEVER {
                self.open_placed.pop();
                self.used[op.class as usize] -= 1;
                continue;
            }
            self.events.put_back(i);
        }
    }

    /// Whether this configuration is known to be a dead end.
    fn recalls(&mut self) -> bool {
        let known = match &self.memory {
            Memory::Hashed(seen, _) if seen.is_empty() => false,
            Memory::Hashed(seen, mask) => seen.contains(&(self.hashed() & mask)),
            Memory::Exact(seen) if seen.is_empty() => false,
            Memory::Exact(seen) => seen.contains(&(self.exact(), self.state.clone())),
        };
        self.recalled |= known;
        known
    }

    fn remember(&mut self) {
        let (hashed, exact) = match &self.memory {
            Memory::Hashed(..) => (self.hashed(), None),
            Memory::Exact(_) => (0, Some(self.exact())),
        };
        match (&mut self.memory, exact) {
            (Memory::Exact(seen), Some(set)) => {
                self.bytes += 4 * set.len() + self.problem.model.weight(&self.state);
                self.bytes += 32 + 2 * size_of::<(Set, M::State)>();
                seen.insert((set, self.state.clone()));
            }
            (Memory::Hashed(seen, mask), _) => {
                self.bytes += 32;
                seen.insert(hashed & *mask);
            }
            (Memory::Exact(_), None) => {}
        }
    }

    fn hashed(&self) -> u128 {
        let mut mix = Mix::default();
        self.state.hash(&mut mix);
        self.set ^ mix.finish_128()
    }

    fn exact(&self) -> Set {
        let mut set = vec![self.highest];
        set.extend(self.events.below(self.highest));
        set.push(NONE);
        let open = set.len();
        set.extend_from_slice(&self.open_placed);
        set[open..].sort_unstable();
        set.into_boxed_slice()
    }
}

/// The search with fingerprints only, right or wrong.
#[cfg(test)]
pub fn hashed_alone<M: Model>(problem: &Problem<M>, limits: Limits, mask: u128) -> Answer {
    Search::new(problem, limits, Memory::Hashed(HashSet::default(), mask)).run()
}
