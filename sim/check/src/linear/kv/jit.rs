//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017, section 5) of one key without revisions.
//!
//! Events are processed in order. A configuration is what the key holds and the status of the pending operations.
//! Nothing else of the past matters, so only the configurations of one moment are kept at a time. Writes take place
//! only when some operation returns: the returning operation must have taken place by then, and if it is a write, this
//! is the last moment for it. In addition:
//!
//! - **Free.** A pending operation is *needed* until there has been a moment since its call that would have done for
//!   it. For a read that is the end. A write of x would have done while the key held x already (if its condition allows
//!   that), and an unconditional write just before another one, which hides it. From then on it is *free*: it may take
//!   place up to its return, but need not. That is as good as having been used, and as good as being needed.
//! - **No useless writes.** An unconditional write hides what was there before. So another write right before it is
//!   tried only if that explains some operation that the unconditional write alone would not.
//! - **Dominance.** Of two configurations with the same value, one dominates the other if it needs no more, has all the
//!   writes that the other has, and used no more of the open ones. Only undominated ones are kept.
//! - **Equals.** Of pending writes with the same effect and condition, the one that returns first is placed first. Open
//!   ones are placed last, and only their number counts.
//! - **Open writes on demand.** At first an open write may take place any number of times. A history that is impossible
//!   then is impossible. If every order found uses more writes of some kind than there are, that kind is counted from
//!   then on, and the search restarts. Rough counts of the others show early when this will happen.
//!
//! Configurations are compared exactly, without hashes, so refutations are final.
//!
//! Caveats: revisions are ignored (if they matter, the search does not apply), at most 128 operations may be pending at
//! a time apart from open ones, and at most sixteen kinds of open writes can be counted.

mod config;
mod kind;
mod pending;
mod replay;

use super::problem::{NONE, OPEN, Problem};
use super::state::{ANY, Act, Local, State};
use crate::linear::{Answer, Limits};
use config::{Best, COUNTED, COUNTERS, Config};
use kind::{Kind, kinds};
use replay::Replay;

/// Pending operations that a configuration has room for, apart from open ones.
const SLOTS: usize = 128;
/// Cost of each operation apart from the configurations, in steps.
const OVERHEAD: u64 = 2;

/// A write that took place.
#[derive(Clone, Copy)]
struct Step {
    before: u32,
    /// The operation; of an open one some operation of its kind.
    op: u32,
    /// The return that asked for it.
    event: u32,
}

/// A configuration to go on from.
struct Node {
    config: Config,
    /// Whether unconditional writes may follow: the last write did more than they would undo.
    gained: bool,
}

/// The search; it can be continued with larger limits.
pub struct Jit<'a> {
    problem: &'a Problem,
    /// Keep a trace of all writes, not of open ones only.
    full_trace: bool,
    kinds: Vec<Kind>,
    /// Whether some reply or condition holds for more than one value.
    choosy: bool,
    /// By operation; [`NONE`] for reads.
    kind_of: Vec<u32>,
    counted: usize,
    /// By shared counter: how many open writes have been called.
    shared_called: [u32; COUNTERS - COUNTED],
    /// By slot: the pending operation.
    slots: Vec<u32>,
    vacant: u128,
    /// By operation.
    slot_of: Vec<u8>,
    /// Kinds of conditional writes by the value asked for, and all others, with something pending or open.
    active_from: Vec<Vec<u32>>,
    active: Vec<u32>,
    /// How many of these others are conditional.
    conditional: usize,
    /// Slots of unconditional writes, of all changes, and of reads that more than one value explains.
    plain: u128,
    changes: u128,
    fussy: u128,
    /// By value: slots of other operations that a moment with this value explains.
    content: Vec<u128>,
    /// Called since the last return.
    fresh: u128,
    next_call: usize,
    next_return: usize,
    frontier: Best,
    following: Best,
    visited: Best,
    stack: Vec<Node>,
    expanding: bool,
    trace: Vec<Step>,
    pub steps: u64,
    /// Whether a pass has begun.
    started: bool,
    result: u32,
    next_look: u64,
}

impl<'a> Jit<'a> {
    /// `None` where it does not apply.
    pub fn new(problem: &'a Problem, full_trace: bool) -> Option<Jit<'a>> {
        if problem.last_count > 0 {
            return None;
        }
        let values = problem.readers.len();
        let best =
            || Best { by_value: (0..values).map(|_| Vec::new()).collect(), values: Vec::new(), size: 0, counted: 0 };
        let (kinds, kind_of) = kinds(problem);
        Some(Jit {
            problem,
            full_trace,
            choosy: problem.ops.iter().any(|op| match &op.act {
                Act::See { value, .. } => *value == ANY,
                Act::Change { when, .. } => when.exists.is_some() || when.revision.is_some(),
            }),
            kinds,
            kind_of,
            counted: 0,
            shared_called: [0; COUNTERS - COUNTED],
            slots: vec![NONE; SLOTS],
            vacant: u128::MAX,
            slot_of: vec![0; problem.ops.len()],
            active_from: vec![Vec::new(); values],
            active: Vec::new(),
            conditional: 0,
            plain: 0,
            changes: 0,
            fussy: 0,
            content: vec![0; values],
            fresh: 0,
            next_call: 0,
            next_return: 0,
            frontier: best(),
            following: best(),
            visited: best(),
            stack: Vec::new(),
            expanding: false,
            trace: Vec::new(),
            steps: 0,
            started: false,
            result: NONE,
            next_look: 0,
        })
    }

    /// Searches until a limit is reached.
    pub fn run(&mut self, limits: Limits) -> Answer {
        loop {
            if !self.started {
                self.restart();
            }
            let answer = self.pass(limits);
            if answer != Answer::Possible {
                return answer;
            }
            match self.count_overused() {
                None => return Answer::GaveUp("too many kinds of open writes had to be counted"),
                Some(0) if self.started => return Answer::Possible,
                Some(_) => self.started = false,
            }
        }
    }

    fn restart(&mut self) {
        self.started = true;
        (self.plain, self.changes, self.fussy, self.fresh, self.vacant) = (0, 0, 0, 0, u128::MAX);
        (self.next_call, self.next_return) = (0, 0);
        self.content.fill(0);
        self.shared_called.fill(0);
        self.active.clear();
        self.conditional = 0;
        self.active_from.iter_mut().for_each(Vec::clear);
        for kind in &mut self.kinds {
            (kind.called, kind.pending) = (0, 0);
        }
        for best in [&mut self.frontier, &mut self.following, &mut self.visited] {
            best.clear();
            best.counted = self.counted;
        }
        self.stack.clear();
        self.expanding = false;
        self.trace.clear();
        let value = self.problem.initial.value;
        let first = Config { value, trace: NONE, need: 0, have: 0, used: [0; COUNTERS], overdrawn: false };
        self.frontier.insert(first, &mut self.steps);
    }

    /// Processes the events, or continues.
    fn pass(&mut self, limits: Limits) -> Answer {
        loop {
            if !self.expanding {
                let Some(&(ret, op)) = self.problem.returns.get(self.next_return) else {
                    self.take_result();
                    return Answer::Possible;
                };
                if !self.call_until(ret) {
                    return Answer::GaveUp("more than 128 operations are pending at a time");
                }
                if !self.begin_return(op) && self.counted > 0 {
                    // Whatever follows, some open writes have to be counted for this.
                    self.take_result();
                    self.started = false;
                    return Answer::Possible;
                }
            }
            let op = self.problem.returns[self.next_return].1;
            let bit = 1u128 << self.slot_of[op as usize];
            while let Some(node) = self.stack.pop() {
                self.expand(&node, bit);
                if let Some(why) = self.exceeded(limits) {
                    return Answer::GaveUp(why);
                }
            }
            self.finish_return(op, bit);
            if self.frontier.size == 0 {
                return Answer::Impossible;
            }
            if let Some(why) = self.exceeded(limits) {
                return Answer::GaveUp(why);
            }
        }
    }

    /// Takes the best configuration's trace.
    fn take_result(&mut self) {
        let all = self.frontier.values.iter().flat_map(|&value| &self.frontier.by_value[value as usize]);
        self.result = all.min_by_key(|config| config.overdrawn).map_or(NONE, |config| config.trace);
    }

    fn exceeded(&mut self, limits: Limits) -> Option<&'static str> {
        let configs = self.frontier.size + self.following.size + self.visited.size + self.stack.len();
        // Vectors grow by doubling.
        if 2 * (configs * size_of::<Config>() + self.trace.len() * size_of::<Step>()) > limits.memory {
            return Some("the memory limit was reached");
        }
        limits.exceeded(self.steps, &mut self.next_look)
    }

    /// Adds the new calls to all configurations, and finds those in which the operation is still needed. Returns false
    /// if all of them used more open writes than there are.
    fn begin_return(&mut self, op: u32) -> bool {
        let bit = 1u128 << self.slot_of[op as usize];
        let (fresh, changes) = (self.fresh, self.fresh & self.changes);
        self.fresh = 0;
        self.steps += OVERHEAD + self.frontier.size as u64 / 4;
        let (mut needed, mut sound) = (false, false);
        let mut some = 0;
        for at in 0..self.frontier.values.len() {
            let value = self.frontier.values[at];
            let contented = self.contented(value);
            for config in &mut self.frontier.by_value[value as usize] {
                config.need |= fresh & !contented;
                config.have |= changes;
                needed |= config.need & bit != 0;
                some |= config.have;
                sound |= !config.overdrawn;
            }
        }
        self.expanding = true;
        if !needed && some & bit == 0 {
            // A read that every configuration has explained.
            std::mem::swap(&mut self.frontier, &mut self.following);
            return true;
        }
        let useful = self.is_useful(self.problem.ops[op as usize].act.after(self.problem.initial).value);
        for at in 0..self.frontier.values.len() {
            let value = self.frontier.values[at];
            for at in 0..self.frontier.by_value[value as usize].len() {
                let config = self.frontier.by_value[value as usize][at];
                let free = config.need & bit == 0;
                if free {
                    self.following.insert(Config { have: config.have & !bit, ..config }, &mut self.steps);
                }
                if free && (config.have & bit == 0 || !useful) {
                    continue;
                }
                let node = Node { config, gained: true };
                if free && self.plain & bit != 0 && config.need & !self.plain == 0 {
                    // No other write before it can help.
                    self.attempt(&node, self.kind_of[op as usize], bit);
                } else {
                    self.stack.push(node);
                }
            }
        }
        sound
    }

    /// Whether any operation looks for this value.
    fn is_useful(&self, value: Local) -> bool {
        self.choosy || self.problem.readers[value as usize] > 0 || self.problem.compared[value as usize]
    }

    fn finish_return(&mut self, op: u32, bit: u128) {
        self.frontier.clear();
        self.visited.clear();
        std::mem::swap(&mut self.frontier, &mut self.following);
        self.release(op, bit);
        self.next_return += 1;
        self.expanding = false;
    }

    /// Tries every write that may come next.
    fn expand(&mut self, node: &Node, bit: u128) {
        let from = node.config.value as usize;
        for at in 0..self.active_from[from].len() {
            self.attempt(node, self.active_from[from][at], bit);
        }
        for at in 0..self.active.len() {
            self.attempt(node, self.active[at], bit);
        }
    }

    /// Uses a write of a kind, if there is one: the pending one that returns first, or else an open one.
    fn take(&self, config: &mut Config, number: u32) -> Option<u32> {
        let kind = &self.kinds[number as usize];
        match self.first_to_return(config.have & kind.pending) {
            Some(slot) => {
                config.need &= !(1u128 << slot);
                config.have &= !(1u128 << slot);
                Some(self.slots[slot as usize])
            }
            None if kind.called == 0 => None,
            None => {
                let exact = kind.counter != NONE;
                let shared = COUNTED + number as usize % (COUNTERS - COUNTED);
                let counter = if exact { kind.counter as usize } else { shared };
                let there = if exact { kind.called } else { self.shared_called[shared - COUNTED] };
                let used = &mut config.used[counter];
                if u32::from(*used) >= there {
                    if exact {
                        return None;
                    }
                    config.overdrawn = true;
                }
                *used = used.saturating_add(1);
                kind.members.first().copied()
            }
        }
    }

    /// Places a write of a kind next, if that is possible.
    fn attempt(&mut self, node: &Node, number: u32, bit: u128) {
        self.steps += 1;
        let config = &node.config;
        let kind = &self.kinds[number as usize];
        let plain = kind.is_plain();
        let idle = kind.to == config.value && !(plain && config.need & self.plain != 0);
        if idle || plain && !node.gained || !state(config.value).holds(&kind.when) {
            return;
        }
        let mut next = *config;
        let Some(op) = self.take(&mut next, number) else { return };
        if plain {
            next.need &= !self.plain;
        }
        next.value = kind.to;
        let contented = self.contented(next.value);
        next.need &= !contented;
        let hidden = !self.plain;
        let gained = next.need & hidden != config.need & hidden;
        let traced = self.full_trace || self.problem.ops[op as usize].ret == OPEN;
        let before = config.trace;
        if traced {
            next.trace = self.trace.len() as u32;
        }
        let placed = op == self.problem.returns[self.next_return].1;
        let done = placed || config.need & contented & bit != 0;
        let mut kept = done && self.following.insert(Config { have: next.have & !bit, ..next }, &mut self.steps);
        // A write that this moment explains may still take place after others.
        let goes_on = !(placed || done && self.changes & bit == 0);
        let dead = !gained && self.active_from[next.value as usize].is_empty() && self.conditional == 0;
        if goes_on && !dead && self.visited.insert(next, &mut self.steps) {
            self.stack.push(Node { config: next, gained });
            kept = true;
        }
        if kept && traced {
            self.trace.push(Step { before, op, event: self.next_return as u32 });
        }
    }

    /// The writes of the order that was found, first to last.
    fn steps_taken(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = self.result;
        while let Some(&step) = self.trace.get(at as usize) {
            steps.push(step);
            at = step.before;
        }
        steps.reverse();
        steps
    }

    /// Starts to count the kinds of open writes of which the order uses more than there are. Returns how many kinds, or
    /// `None` if there is no room to count them.
    fn count_overused(&mut self) -> Option<usize> {
        let mut used = vec![0usize; self.kinds.len()];
        let before = self.counted;
        for step in self.steps_taken() {
            if self.problem.ops[step.op as usize].ret != OPEN {
                continue;
            }
            let number = self.kind_of[step.op as usize] as usize;
            let kind = &mut self.kinds[number];
            let member = kind.members.get(used[number]);
            let there = member
                .is_some_and(|&op| self.problem.ops[op as usize].call < self.problem.returns[step.event as usize].0);
            used[number] += 1;
            if !there && kind.counter == NONE {
                if self.counted == COUNTED || kind.members.len() > usize::from(u8::MAX) {
                    return None;
                }
                kind.counter = self.counted as u32;
                self.counted += 1;
                break;
            }
        }
        Some(self.counted - before)
    }

    /// The order that was found, as indices into [`Problem::ops`].
    pub fn order(&self) -> Vec<u32> {
        let mut order = Replay::new(self);
        let mut used = vec![0usize; self.kinds.len()];
        for step in self.steps_taken() {
            let number = self.kind_of[step.op as usize] as usize;
            let mut op = step.op;
            if self.problem.ops[op as usize].ret == OPEN {
                op = self.kinds[number].members[used[number]];
                used[number] += 1;
            }
            order.write(op, self.problem.returns[step.event as usize].0, self.kinds[number].is_plain());
        }
        order.call_until(OPEN);
        order.order
    }
}

fn state(value: Local) -> State {
    State { value, count: 0 }
}
