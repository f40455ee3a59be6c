//! Backward search: just-in-time linearization over reversed events, of one key without revisions.
//!
//! Orders are built from their ends. A configuration has the set of values that the key may hold before everything
//! placed so far. At the end this is any value. Before a change it is the values for which the change's condition holds
//! (if the value written may be held after it). Before a read it is the value read, if that may be held. A sequence of
//! operations explains its replies from the initial value exactly if the initial value is in the set at its beginning,
//! since every operation is a partial function of the state. Operations arrive at their returns and must be explained
//! when their calls are passed. As in [`super::jit`], operations are placed only when a call is passed: delay every
//! placement of an order until just before the next passed call of an operation that is placed there or later; then
//! each batch ends with the operation whose call is passed. In addition:
//!
//! - **Moments.** Placing a change to t means that the key held t after it. Every pending operation that t explains,
//!   and that leaves t unchanged, is explained at once. Reads narrow the set only when their calls are passed.
//! - **Free.** A pending change whose value is in the set, and that may come before any value of the set, could be
//!   placed without loss. It may still be used until its call is passed, but need not. (If it is used later, the place
//!   where it would have been is given up, which changes nothing for the others.)
//! - **Idle.** A change that adds nothing to the set and explains no operation is not placed.
//! - **Dominance.** A configuration dominates another if its set has all values of the other's, it needs no more, has
//!   all that the other has, and used no more open writes. Only undominated ones are kept.
//! - **Open writes** may be used until their calls are passed. Uses of one kind take those that were called last. So it
//!   is enough to count the uses, and to decrement the count (if positive) whenever a call of the kind is passed. This
//!   forgets what no longer matters, while the forward search has to keep it forever. If the last call of the kind is
//!   unused when it is passed, it is placed then or dropped. A pending write and an open one of one kind are both
//!   tried. At first, too many uses only mark a configuration. If no unmarked configuration is left, the kinds that
//!   were used too often are limited from then on, and the search restarts.
//!
//! Configurations are compared exactly. Caveats: at most 64 values and 64 kinds of open writes, and 128 operations
//! pending at a time apart from open ones. The search returns no order.

mod config;

use super::problem::{NONE, OPEN, Problem};
use super::state::{ANY, Act, Local, State};
use crate::history::Condition;
use crate::linear::{Answer, Limits};
use config::{Best, COUNTERS, Config};
use hashbrown::HashMap;

/// Pending operations that a configuration has room for, apart from open ones.
const SLOTS: usize = 128;
/// Cost of each event apart from the configurations, in steps.
const OVERHEAD: u64 = 2;

/// Changes of equal effect and condition.
struct Kind {
    /// The value written, as a set.
    to: u64,
    /// The values for which the condition holds.
    before: u64,
    /// Its place in [`Config::used`] if some are open, else [`NONE`].
    counter: u32,
    /// How many open ones there are, and how many of them have not been passed.
    open: u32,
    left: u32,
    /// Slots of pending ones.
    pending: u128,
}

/// What is passed.
#[derive(Clone, Copy)]
enum Target {
    /// The call of a required operation.
    Slot(u128),
    /// The call of an open write of this kind.
    Open(u32),
}

/// The search; it can be continued with larger limits.
pub struct Backward<'a> {
    problem: &'a Problem,
    kinds: Vec<Kind>,
    /// By operation; [`NONE`] for reads.
    kind_of: Vec<u32>,
    /// By operation: the values that explain it.
    explained_by: Vec<u64>,
    /// All values that there may be.
    any: u64,
    /// By slot: the pending operation.
    slots: Vec<u32>,
    vacant: u128,
    /// By operation.
    slot_of: Vec<u8>,
    changes: u128,
    /// Arrived since the last call was passed.
    fresh: u128,
    /// By set of values: pending operations that may come without loss; for the present slots.
    contented: Vec<(u64, u128)>,
    /// Returns and operations that are still to come.
    returns: usize,
    calls: usize,
    frontier: Best,
    following: Best,
    visited: Best,
    stack: Vec<Config>,
    target: Option<Target>,
    started: bool,
    pub steps: u64,
    next_look: u64,
}

impl<'a> Backward<'a> {
    /// `None` where it does not apply.
    pub fn new(problem: &'a Problem) -> Option<Backward<'a>> {
        let values = problem.supply.len();
        if problem.last_count > 0 || values > 64 {
            return None;
        }
        let possible = |&value: &usize| problem.supply[value] > 0 || value == problem.initial.value as usize;
        let any = (0..values).filter(possible).fold(0, |any, value| any | 1 << value);
        let (kinds, kind_of) = kinds(problem, any)?;
        let explained_by = |(op, &kind): (&super::problem::Op, &u32)| match op.act {
            Act::Change { .. } => kinds[kind as usize].before,
            Act::See { value: ANY, .. } => filter(any, |state| op.act.allowed(state)),
            Act::See { value, .. } => filter(any & 1 << value, |state| op.act.allowed(state)),
        };
        let explained_by = problem.ops.iter().zip(&kind_of).map(explained_by).collect();
        Some(Backward {
            problem,
            kinds,
            kind_of,
            explained_by,
            any,
            slots: vec![NONE; SLOTS],
            vacant: u128::MAX,
            slot_of: vec![0; problem.ops.len()],
            changes: 0,
            fresh: 0,
            contented: Vec::new(),
            returns: 0,
            calls: 0,
            frontier: Best::default(),
            following: Best::default(),
            visited: Best::default(),
            stack: Vec::new(),
            target: None,
            started: false,
            steps: 0,
            next_look: 0,
        })
    }

    /// Searches until a limit is reached.
    pub fn run(&mut self, limits: Limits) -> Answer {
        loop {
            if !self.started {
                self.restart();
            }
            while self.target.is_some() || self.calls > 0 {
                if self.target.is_none() && !self.pass_call() {
                    return Answer::GaveUp("more than 128 operations are pending at a time");
                }
                while let Some(config) = self.stack.pop() {
                    self.expand(&config);
                    if let Some(why) = self.exceeded(limits) {
                        return Answer::GaveUp(why);
                    }
                }
                self.finish_call();
                if let Some(why) = self.exceeded(limits) {
                    return Answer::GaveUp(why);
                }
                if self.frontier.all().all(|config| config.overdrawn != 0) {
                    break;
                }
            }
            let first = 1u64 << self.problem.initial.value;
            let over = self.target.is_none() && self.calls == 0;
            let good = |config: &&Config| !over || config.wanted & first != 0;
            let mut overdrawn = 0u64;
            for config in self.frontier.all().filter(good) {
                match config.overdrawn {
                    0 => return Answer::Possible,
                    kind => overdrawn |= 1 << (kind - 1),
                }
            }
            if overdrawn == 0 {
                return Answer::Impossible;
            }
            if !self.count(overdrawn) {
                return Answer::GaveUp("too many open writes had to be counted");
            }
        }
    }

    /// Counts these kinds exactly from now on.
    fn count(&mut self, overdrawn: u64) -> bool {
        self.started = false;
        for best in [&mut self.frontier, &mut self.following, &mut self.visited] {
            best.counted |= overdrawn;
        }
        let mut counted = self.kinds.iter().filter(|kind| kind.counter != NONE && overdrawn & 1 << kind.counter != 0);
        counted.all(|kind| kind.open < u32::from(u8::MAX))
    }

    fn restart(&mut self) {
        self.started = true;
        (self.vacant, self.changes, self.fresh) = (u128::MAX, 0, 0);
        (self.returns, self.calls) = (self.problem.returns.len(), self.problem.ops.len());
        for kind in &mut self.kinds {
            (kind.left, kind.pending) = (kind.open, 0);
        }
        for best in [&mut self.frontier, &mut self.following, &mut self.visited] {
            best.clear();
        }
        self.contented.clear();
        self.stack.clear();
        self.target = None;
        let first = Config { wanted: self.any, need: 0, have: 0, used: [0; COUNTERS], overdrawn: 0 };
        self.frontier.insert(first, &mut self.steps);
    }

    fn exceeded(&mut self, limits: Limits) -> Option<&'static str> {
        let configs = self.frontier.size + self.following.size + self.visited.size + self.stack.len();
        // Vectors grow by doubling.
        if 2 * configs * size_of::<Config>() > limits.memory {
            return Some("the memory limit was reached");
        }
        limits.exceeded(self.steps, &mut self.next_look)
    }

    /// Processes the returns after the next call, which is passed. Finds the configurations in which the operation is
    /// still needed, or may be used. Returns false if there are too many pending operations.
    fn pass_call(&mut self) -> bool {
        self.calls -= 1;
        let op = &self.problem.ops[self.calls];
        let kind = self.kind_of[self.calls];
        if !self.arrive_until(op.call) {
            return false;
        }
        self.greet();
        let target = if op.ret == OPEN { Target::Open(kind) } else { Target::Slot(1u128 << self.slot_of[self.calls]) };
        self.target = Some(target);
        self.steps += OVERHEAD + self.frontier.size as u64 / 4;
        if let Target::Slot(bit) = target
            && self.frontier.all().all(|config| (config.need | config.have) & bit == 0)
        {
            std::mem::swap(&mut self.frontier, &mut self.following);
            return true;
        }
        let frontier = std::mem::take(&mut self.frontier.buckets);
        for config in frontier.iter().flat_map(|(_, bucket)| bucket) {
            match target {
                Target::Slot(bit) => {
                    let free = config.need & bit == 0;
                    if free {
                        self.following.insert(Config { have: config.have & !bit, ..*config }, &mut self.steps);
                    } else {
                        self.narrow(config, bit);
                    }
                    if !free || config.have & bit != 0 {
                        self.stack.push(*config);
                    }
                }
                Target::Open(kind) => {
                    let mut next = *config;
                    let counter = self.kinds[kind as usize].counter as usize;
                    if next.used[counter] == 0 || self.visited.counted & 1 << counter == 0 {
                        self.stack.push(next);
                    }
                    next.used[counter] = next.used[counter].saturating_sub(1);
                    self.following.insert(next, &mut self.steps);
                }
            }
        }
        true
    }

    fn finish_call(&mut self) {
        self.frontier.clear();
        self.visited.clear();
        std::mem::swap(&mut self.frontier, &mut self.following);
        match self.target.take() {
            Some(Target::Slot(bit)) => {
                self.contented.clear();
                self.vacant |= bit;
                self.changes &= !bit;
                let kind = self.kind_of[self.calls];
                if kind != NONE {
                    self.kinds[kind as usize].pending &= !bit;
                }
            }
            Some(Target::Open(kind)) => self.kinds[kind as usize].left -= 1,
            None => {}
        }
    }

    /// The operations that return after a moment arrive.
    fn arrive_until(&mut self, call: u64) -> bool {
        while self.returns > 0 && self.problem.returns[self.returns - 1].0 > call {
            if self.vacant == 0 {
                return false;
            }
            self.returns -= 1;
            let op = self.problem.returns[self.returns].1;
            let slot = self.vacant.trailing_zeros();
            let bit = 1u128 << slot;
            self.vacant &= !bit;
            self.slots[slot as usize] = op;
            self.slot_of[op as usize] = slot as u8;
            self.fresh |= bit;
            let kind = self.kind_of[op as usize];
            if kind != NONE {
                self.changes |= bit;
                self.kinds[kind as usize].pending |= bit;
            }
            self.contented.clear();
        }
        true
    }

    /// Adds the operations that arrived to all configurations.
    fn greet(&mut self) {
        let (fresh, changes) = (self.fresh, self.fresh & self.changes);
        if fresh == 0 {
            return;
        }
        self.fresh = 0;
        let mut buckets = std::mem::take(&mut self.frontier.buckets);
        for (wanted, bucket) in &mut buckets {
            let contented = self.contented(*wanted);
            for config in bucket {
                config.need |= fresh & !contented;
                config.have |= changes;
            }
        }
        self.frontier.buckets = buckets;
    }

    /// The pending operations that may be placed before a set of values without changing it for the worse.
    fn contented(&mut self, wanted: u64) -> u128 {
        if let Some(&(_, known)) = self.contented.iter().find(|(of, _)| *of == wanted) {
            return known;
        }
        let (mut contented, mut rest) = (0, !self.vacant);
        self.steps += u64::from(rest.count_ones()) / 8;
        while rest != 0 {
            let slot = rest.trailing_zeros();
            rest &= rest - 1;
            let op = self.slots[slot as usize] as usize;
            let kind = self.kind_of[op];
            let kept = kind == NONE || self.kinds[kind as usize].to & wanted != 0;
            if kept && wanted & !self.explained_by[op] == 0 {
                contented |= 1 << slot;
            }
        }
        self.contented.push((wanted, contented));
        contented
    }

    /// Places a read whose call is passed next.
    fn narrow(&mut self, config: &Config, bit: u128) {
        let wanted = config.wanted & self.explained_by[self.calls];
        if bit & self.changes != 0 || wanted == 0 {
            return;
        }
        let need = config.need & !self.contented(wanted);
        self.following.insert(Config { wanted, need, ..*config }, &mut self.steps);
    }

    /// Tries every change that may come next.
    fn expand(&mut self, config: &Config) {
        for number in 0..self.kinds.len() {
            let kind = &self.kinds[number];
            if kind.to & config.wanted == 0 || kind.before == 0 {
                continue;
            }
            let (pending, left) = (config.have & kind.pending, kind.left);
            // An idle change is only useful if it is needed itself, or if its value explains a needed operation.
            let mut next = Config { wanted: kind.before, ..*config };
            let at_value = kind.to;
            if pending == 0 && left == 0 {
                continue;
            }
            self.steps += 1;
            next.need &= !(self.contented(at_value) | self.contented(next.wanted));
            if pending != 0 {
                let slot = self.first_to_leave(pending);
                let bit = 1u128 << slot;
                let (need, have) = (next.need & !bit, next.have & !bit);
                self.attempt(config, Config { need, have, ..next }, Some(slot), number as u32);
            }
            if left > 0 {
                self.attempt_open(config, next, number as u32);
            }
        }
    }

    fn attempt_open(&mut self, config: &Config, mut next: Config, number: u32) {
        let kind = &self.kinds[number as usize];
        let counter = kind.counter as usize;
        if u32::from(next.used[counter]) >= kind.left || next.used[counter] == u8::MAX {
            if self.visited.counted & 1 << counter != 0 {
                return;
            }
            if next.overdrawn == 0 {
                next.overdrawn = counter as u8 + 1;
            }
        }
        next.used[counter] = next.used[counter].saturating_add(1);
        self.attempt(config, next, None, number);
    }

    /// Goes on from what a change leads to, if that is anywhere. `slot`: of a pending one.
    fn attempt(&mut self, config: &Config, next: Config, slot: Option<u32>, number: u32) {
        if next.wanted & !config.wanted == 0 && next.need == config.need {
            return;
        }
        match self.target {
            Some(Target::Slot(bit)) => {
                let placed = slot.is_some_and(|slot| 1u128 << slot == bit);
                let done = placed || (config.need & bit != 0 && next.need & bit == 0);
                if done {
                    self.following.insert(Config { have: next.have & !bit, ..next }, &mut self.steps);
                } else if next.need & bit != 0 {
                    self.narrow(&next, bit);
                }
                // A change for which this moment did may still take place after others.
                if placed || (done && self.changes & bit == 0) {
                    return;
                }
            }
            Some(Target::Open(kind)) if kind == number && slot.is_none() => {
                let counter = self.kinds[kind as usize].counter as usize;
                let mut next = next;
                next.used[counter] -= 1;
                self.following.insert(next, &mut self.steps);
                return;
            }
            _ => {}
        }
        if self.visited.insert(next, &mut self.steps) {
            self.stack.push(next);
        }
    }

    /// Of some slots of writes, the one whose call is passed first.
    fn first_to_leave(&self, mut slots: u128) -> u32 {
        let mut first = slots.trailing_zeros();
        while slots != 0 {
            let slot = slots.trailing_zeros();
            slots &= slots - 1;
            // Operations are in the order of their calls.
            if self.slots[slot as usize] > self.slots[first as usize] {
                first = slot;
            }
        }
        first
    }
}

/// The kinds of changes, and each operation's; `None`: too many kinds of open ones.
fn kinds(problem: &Problem, any: u64) -> Option<(Vec<Kind>, Vec<u32>)> {
    let mut numbers: HashMap<(Local, Condition<Local>), u32> = HashMap::new();
    let mut kinds: Vec<Kind> = Vec::new();
    let mut kind_of = vec![NONE; problem.ops.len()];
    let mut counters = 0;
    for (i, op) in problem.ops.iter().enumerate() {
        let Act::Change { to, when, .. } = op.act else { continue };
        let number = *numbers.entry((to, when)).or_insert_with(|| {
            let before = filter(any, |state| state.holds(&when));
            kinds.push(Kind { to: 1 << to, before, counter: NONE, open: 0, left: 0, pending: 0 });
            kinds.len() as u32 - 1
        });
        kind_of[i] = number;
        let kind = &mut kinds[number as usize];
        if op.ret == OPEN {
            if kind.open == 0 {
                kind.counter = counters;
                counters += 1;
            }
            kind.open += 1;
        }
    }
    (counters as usize <= COUNTERS).then_some((kinds, kind_of))
}

/// The values among these with which the key may be in a state.
fn filter(values: u64, allowed: impl Fn(State) -> bool) -> u64 {
    (0..64).filter(|value| values & 1 << value != 0).fold(0, |all, value| {
        let fits = allowed(State { value, count: 0 });
        all | u64::from(fits) << value
    })
}
