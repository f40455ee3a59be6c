//! The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the linked list of pending
//! calls and returns and the memory of configurations of Lowe ("Testing for linearizability", 2017), depth first
//! with undo. A configuration is the set of operations placed so far and the state they led to. On top of it:
//!
//! - Reads and refused writes are placed as soon as they fit: they change nothing, so waiting cannot help.
//! - What [`Problem`] knows about revisions, supply and classes rules out candidates before they are tried.
//! - Among candidates, those that the next return waits for go first; open writes come last.
//! - A configuration that was a dead end is remembered by a 128-bit hash of its set, updated incrementally (Zobrist).
//!   Two sets may share a hash, which could only make a possible order look impossible. So a refutation in which the
//!   memory pruned anything is repeated with exact sets before it counts.

use super::problem::{NONE, OPEN, Op, Problem};
use super::state::{ANY, Act, MISSING, State, UNSEEN};
use crate::linear::events::Events;
use crate::linear::hash::{Already, zobrist};
use crate::linear::{Answer, Limits};
use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasherDefault;

/// A choice point.
struct Frame {
    state: State,
    set: u128,
    /// The latest required operation placed so far.
    highest: u32,
    placed: usize,
    choices: usize,
    /// The required operation whose return comes next.
    blocker: u32,
    open_tried: bool,
}

/// The configurations that were dead ends.
pub enum Memory {
    Hashed(HashSet<u128, BuildHasherDefault<Already>>),
    Exact(BTreeSet<Box<[u32]>>),
}

impl Memory {
    pub fn hashed() -> Memory {
        Memory::Hashed(HashSet::default())
    }

    pub fn exact() -> Memory {
        Memory::Exact(BTreeSet::new())
    }
}

/// The search; it can be continued with larger limits.
pub struct Search<'a> {
    problem: &'a Problem,
    pub limits: Limits,
    /// For [`longest`].
    pub keep_longest: bool,
    memory: Memory,
    remembered: usize,
    /// Whether the memory ever cut a branch off.
    pub recalled: bool,
    pub steps: u64,
    next_look: u64,
    /// Of required operations not placed.
    events: Events,
    state: State,
    set: u128,
    highest: u32,
    /// Operations in the order they were placed.
    pub placed: Vec<u32>,
    /// Optional ones among them.
    open_placed: Vec<u32>,
    /// By class: how many members were placed.
    used: Vec<u32>,
    readers: Vec<u32>,
    readers_at: Vec<u32>,
    supply: Vec<u32>,
    /// Candidates of all frames; a frame's begin at [`Frame::choices`] and the last is tried first.
    choices: Vec<u32>,
    frames: Vec<Frame>,
    pub longest: Vec<u32>,
}

impl<'a> Search<'a> {
    pub fn new(problem: &'a Problem, limits: Limits, memory: Memory) -> Search<'a> {
        let calls = problem.ops.iter().map(|op| (op.call, op.ret != OPEN));
        let events = Events::new(calls, problem.returns.iter().copied());
        Search {
            problem,
            limits,
            keep_longest: false,
            memory,
            remembered: 0,
            recalled: false,
            steps: 0,
            next_look: 0,
            events,
            state: problem.initial,
            set: 0,
            highest: 0,
            placed: Vec::with_capacity(problem.ops.len()),
            open_placed: Vec::new(),
            used: vec![0; problem.classes.len()],
            readers: problem.readers.clone(),
            readers_at: problem.readers_at.clone(),
            supply: problem.supply.clone(),
            choices: Vec::new(),
            frames: Vec::new(),
            longest: Vec::new(),
        }
    }

    /// Goes on until this many steps have been taken in all.
    pub fn run_to(&mut self, steps: u64) -> Answer {
        let all = std::mem::replace(&mut self.limits.steps, steps);
        let answer = self.run();
        self.limits.steps = all;
        answer
    }

    pub fn run(&mut self) -> Answer {
        loop {
            let choices = self.choices.len();
            let Some(blocker) = self.settle() else { return Answer::Possible };
            if self.recalls() {
                self.choices.truncate(choices);
            } else {
                self.frames.push(Frame {
                    state: self.state,
                    set: self.set,
                    highest: self.highest,
                    placed: self.placed.len(),
                    choices,
                    blocker,
                    open_tried: false,
                });
            }
            let Some(op) = self.choose() else { return Answer::Impossible };
            self.place(op);
            if self.remembered > self.limits.memory {
                return Answer::GaveUp("the memory limit was reached");
            }
            if let Some(why) = self.limits.exceeded(self.steps, &mut self.next_look) {
                return Answer::GaveUp(why);
            }
        }
    }

    /// Places every read that fits, and collects the candidates for the next change. Returns the operation that must
    /// take place next at the latest, `None` when all required ones are placed.
    fn settle(&mut self) -> Option<u32> {
        let first = self.choices.len();
        let mut node = self.events.after(0);
        let blocker = loop {
            if node == 0 {
                return None;
            }
            let op = (node - 1) / 2;
            if node.is_multiple_of(2) {
                break op;
            }
            let act = &self.problem.ops[op as usize].act;
            if act.allowed(self.state) {
                match act {
                    Act::See { .. } => self.place(op),
                    Act::Change { .. } => self.choices.push(op),
                }
            }
            self.steps += 1;
            node = self.events.after(node);
        };
        let mut kept = first;
        for at in first..self.choices.len() {
            if self.may_change(self.choices[at]) {
                self.choices[kept] = self.choices[at];
                kept += 1;
            }
        }
        self.choices.truncate(kept);
        self.choices[first..].reverse();
        self.prefer(first, blocker);
        Some(blocker)
    }

    /// Moves what the next return waits for to the end, where it is tried first.
    fn prefer(&mut self, first: usize, blocker: u32) {
        let owner = self.problem.owner.get(self.state.count as usize).copied().unwrap_or(NONE);
        if owner != NONE {
            if self.problem.ops[owner as usize].ret == OPEN {
                self.push_open(owner, blocker);
            }
            return;
        }
        let wanted = match self.problem.ops[blocker as usize].act {
            Act::See { value, .. } => value,
            Act::Change { .. } => {
                if let Some(at) = self.choices[first..].iter().rposition(|&op| op == blocker) {
                    self.choices[first..][at..].rotate_left(1);
                }
                return;
            }
        };
        let writes = |op: u32| matches!(self.problem.ops[op as usize].act, Act::Change { to, .. } if to == wanted);
        if let Some(at) = self.choices[first..].iter().rposition(|&op| writes(op)) {
            self.choices[first..][at..].rotate_left(1);
            return;
        }
        let classes = &self.problem.classes;
        let start = classes.partition_point(|class| class.to < wanted);
        for class in start..start + classes[start..].partition_point(|class| class.to == wanted) {
            self.push_class(class, blocker);
        }
    }

    /// Whether a change that the model allows may come next, by what the replies tell.
    fn may_change(&self, op: u32) -> bool {
        let Act::Change { to, .. } = self.problem.ops[op as usize].act else { return false };
        let State { value, count } = self.state;
        let slot = count as usize;
        if self.keep_longest {
            return true;
        }
        if count > 0 && self.readers_at.get(slot - 1).is_some_and(|&n| n > 0) {
            return false;
        }
        if to != value && self.readers[value as usize] > 0 && self.supply[value as usize] == 0 {
            return false;
        }
        let told = |facts: &[u32], mine: u32| facts.get(slot).is_none_or(|&fact| fact == NONE || fact == mine);
        told(&self.problem.owner, op) && told(&self.problem.value_at, to)
    }

    fn push_open(&mut self, op: u32, blocker: u32) {
        self.steps += 1;
        let Op { call, act, .. } = &self.problem.ops[op as usize];
        let called = *call < self.problem.ops[blocker as usize].ret;
        if called && act.allowed(self.state) && self.may_change(op) {
            self.choices.push(op);
        }
    }

    fn push_class(&mut self, class: usize, blocker: u32) {
        if let Some(&op) = self.problem.classes[class].members.get(self.used[class] as usize) {
            self.push_open(op, blocker);
        }
    }

    /// Adds the open writes that could help. Once no reply depends on the number of writes, writing the current value
    /// cannot help. Replacing a value by one that no operation looks for cannot help either, unless some refused write
    /// did not report what it saw.
    fn push_all_open(&mut self, blocker: u32) {
        if self.problem.owner.get(self.state.count as usize).is_some_and(|&owner| owner != NONE) {
            return;
        }
        let State { value, count } = self.state;
        let counting = count < self.problem.last_count;
        let classes = &self.problem.classes;
        // The last one pushed is tried first. Push values that no operation asks for, then deletes, then values that
        // may be needed later.
        let named = classes.partition_point(|class| class.to <= UNSEEN);
        let deletes = classes.partition_point(|class| class.to == MISSING);
        self.steps += classes.len() as u64 / 8;
        for class in (named..classes.len()).chain(0..deletes).chain(deletes..named) {
            let to = classes[class].to;
            let looked_for = self.readers[to as usize] > 0 || self.problem.compared[to as usize];
            if counting || to != value && (value == MISSING || to == MISSING || looked_for || self.problem.untold) {
                self.push_class(class, blocker);
            }
        }
    }

    /// Returns the next candidate to try, after backtracking to its frame.
    fn choose(&mut self) -> Option<u32> {
        loop {
            let frame = self.frames.last_mut()?;
            let (placed, choices, blocker) = (frame.placed, frame.choices, frame.blocker);
            let tried = frame.open_tried;
            (self.state, self.set, self.highest) = (frame.state, frame.set, frame.highest);
            if self.keep_longest && self.placed.len() > self.longest.len() {
                self.longest.clone_from(&self.placed);
                self.steps += self.placed.len() as u64 / 8;
            }
            self.undo_to(placed);
            if self.choices.len() > choices {
                return self.choices.pop();
            }
            if tried {
                self.remember();
                self.frames.pop();
            } else {
                self.frames.last_mut()?.open_tried = true;
                self.push_all_open(blocker);
            }
        }
    }

    fn place(&mut self, op: u32) {
        let Op { act, ret, class, .. } = &self.problem.ops[op as usize];
        match *act {
            Act::See { value, revision, .. } => {
                if value != ANY {
                    self.readers[value as usize] -= 1;
                }
                if let Some(r) = revision {
                    self.readers_at[r as usize] -= 1;
                }
            }
            Act::Change { to, .. } => self.supply[to as usize] -= 1,
        }
        self.state = act.after(self.state);
        self.set ^= zobrist(op);
        if *ret == OPEN {
            self.open_placed.push(op);
            if *class != NONE {
                self.used[*class as usize] += 1;
            }
        } else {
            self.highest = self.highest.max(op + 1);
            self.events.take(op);
        }
        self.placed.push(op);
        self.steps += 1;
    }

    /// Takes operations back, all but what is kept in a [`Frame`].
    fn undo_to(&mut self, length: usize) {
        while self.placed.len() > length {
            let Some(op) = self.placed.pop() else { return };
            let Op { act, ret, class, .. } = &self.problem.ops[op as usize];
            match *act {
                Act::See { value, revision, .. } => {
                    if value != ANY {
                        self.readers[value as usize] += 1;
                    }
                    if let Some(r) = revision {
                        self.readers_at[r as usize] += 1;
                    }
                }
                Act::Change { to, .. } => self.supply[to as usize] += 1,
            }
            if *ret == OPEN {
                self.open_placed.pop();
                if *class != NONE {
                    self.used[*class as usize] -= 1;
                }
                continue;
            }
            self.events.put_back(op);
        }
    }

    /// Whether this configuration is known to be a dead end.
    fn recalls(&mut self) -> bool {
        if self.remembered == 0 {
            return false;
        }
        let known = match &self.memory {
            Memory::Hashed(seen) => seen.contains(&self.hashed()),
            Memory::Exact(seen) => seen.contains(&self.exact()),
        };
        self.recalled |= known;
        known
    }

    fn remember(&mut self) {
        let (hashed, exact) = match &self.memory {
            Memory::Hashed(_) => (self.hashed(), None),
            Memory::Exact(_) => (0, Some(self.exact())),
        };
        match (&mut self.memory, exact) {
            (Memory::Exact(seen), Some(key)) => {
                self.remembered += 4 * key.len() + 32;
                seen.insert(key);
            }
            (Memory::Hashed(seen), _) => {
                self.remembered += 40;
                seen.insert(hashed);
            }
            (Memory::Exact(_), None) => {}
        }
    }

    fn hashed(&self) -> u128 {
        self.set ^ zobrist(u32::MAX - self.state.value)
    }

    /// The configuration itself: every required operation up to the highest placed one is in the set but those listed;
    /// then the optional ones in it.
    fn exact(&self) -> Box<[u32]> {
        let mut key = vec![self.state.value, self.highest];
        key.extend(self.events.below(self.highest));
        key.push(NONE);
        let open = key.len();
        key.extend_from_slice(&self.open_placed);
        key[open..].sort_unstable();
        key.into_boxed_slice()
    }
}
