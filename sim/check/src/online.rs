//! Online linearizability: takes a history event by event, and reports the first event that makes it impossible.
//!
//! This is just-in-time linearization (Lowe, "Testing for linearizability", 2017), without knowledge of later replies.
//! For each key it keeps the *configurations* that explain all replies so far. A configuration has a state, the open
//! operations that have already taken effect (each with the state in which it did), and the states passed since the
//! oldest operation still open was called. An operation takes effect only when a return needs it. At a return, open
//! operations are put before it in every order that the model allows. A read or a refused write fits if one of the
//! states passed since its call shows what it saw. If no configuration is left, the events so far are impossible. This
//! is exact, and since nothing was impossible before, this event is the first.
//!
//! An operation of unknown outcome stays open forever. If two configurations differ only in that one of them has used
//! more of these operations, the other one is kept, because everything possible for the first is possible for it too.
//!
//! [`Bounds`] limit memory and time. A key beyond them is given up ([`Online::given_up`]) and left to the check of the
//! whole history. Without revisions, many open writes on one key soon reach the bounds.
//!
//! A key is also given up if its model needs more than can be checked online. This happens if a reply changes the state
//! that its operation left behind, after others have taken effect on that state (the token of a lock). It also happens
//! if an operation is known to change the state only after its reply (the read of a sequence).

use crate::history::{End, History, KeyId, NEVER, OpId};
use crate::model::Model;
use std::collections::VecDeque;

/// Limits per key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Number of configurations examined for one event.
    pub configurations: usize,
    /// Number of open operations at a time, including those of unknown outcome.
    pub open: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { configurations: 300, open: 100 }
    }
}

/// The error that the history has become impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Impossible {
    /// The operation whose return made it impossible.
    pub op: OpId,
    /// The position of that return.
    pub event: u32,
}

/// Checks a history while it grows.
pub struct Online<M: Model> {
    model: M,
    bounds: Bounds,
    /// Keys by number.
    keys: Vec<Key<M>>,
}

struct Key<M: Model> {
    open: Vec<Open<M>>,
    configurations: Vec<Configuration<M::State>>,
    given_up: bool,
}

/// An operation that was called and has no known outcome yet.
struct Open<M: Model> {
    op: OpId,
    /// Its effect if it takes effect before its reply is known; `None` if the effect is not visible.
    effect: Option<M::Op>,
    /// Whether its outcome is unknown forever.
    info: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Configuration<S> {
    state: S,
    /// Open operations that have taken effect, ordered by operation, each with the state before its effect.
    done: Vec<(OpId, S)>,
    /// States passed before `state`, oldest first. Each has the youngest operation called by the time the state was
    /// left.
    trail: VecDeque<(S, OpId)>,
}

impl<M: Model> Online<M> {
    /// Creates a checker for a model.
    pub fn new(model: M, bounds: Bounds) -> Online<M> {
        Online { model, bounds, keys: Vec::new() }
    }

    /// The keys that were given up. Nothing more is known about them.
    pub fn given_up(&self) -> impl Iterator<Item = KeyId> {
        (0u32..).zip(&self.keys).filter(|(_, key)| key.given_up).map(|(i, _)| KeyId(i))
    }

    /// Records that an operation was called.
    pub fn called(&mut self, history: &History, op: OpId) {
        let operation = history.operation(op);
        let at = operation.key.0 as usize;
        if operation.key == KeyId::NONE {
            return;
        }
        while self.keys.len() <= at {
            let first = Configuration { state: self.model.initial(history), done: Vec::new(), trail: VecDeque::new() };
            self.keys.push(Key { open: Vec::new(), configurations: vec![first], given_up: false });
        }
        let effect = self.model.compile(history, operation, false);
        let key = &mut self.keys[at];
        if key.open.len() >= self.bounds.open {
            key.give_up();
        }
        if !key.given_up {
            key.open.push(Open { op, effect, info: false });
        }
    }

    /// Records that an operation ended, with any outcome.
    ///
    /// # Errors
    /// The events so far are impossible. Later events on this key are not checked.
    pub fn ended(&mut self, history: &History, op: OpId) -> Result<(), Impossible> {
        let operation = history.operation(op);
        let Some(key) = self.keys.get_mut(operation.key.0 as usize).filter(|key| !key.given_up) else { return Ok(()) };
        let Some(place) = key.open.iter().position(|open| open.op == op) else { return Ok(()) };
        match operation.end {
            End::Info if operation.returned == NEVER => return Ok(()),
            End::Info => {
                key.open[place].info = true;
                if key.open[place].effect.is_none() {
                    key.open.remove(place);
                    key.forget();
                }
                return Ok(());
            }
            End::Fail => key.never_happened(op),
            End::Ok | End::Refused => match self.model.compile(history, operation, true) {
                Some(told) => {
                    let late = key.open[place].effect.is_none() && !self.model.reads(&told);
                    if late || !key.settle(&self.model, op, &told, self.bounds.configurations) {
                        key.give_up();
                        return Ok(());
                    }
                }
                None => key.never_happened(op),
            },
        }
        key.open.retain(|open| open.op != op);
        key.forget();
        if key.configurations.is_empty() {
            key.give_up();
            return Err(Impossible { op, event: operation.returned });
        }
        Ok(())
    }
}

impl<M: Model> Key<M> {
    fn give_up(&mut self) {
        self.given_up = true;
        self.open = Vec::new();
        self.configurations = Vec::new();
    }

    /// Keeps the configurations in which the operation has not taken effect.
    fn never_happened(&mut self, op: OpId) {
        self.configurations.retain(|c| c.done.iter().all(|(done, _)| *done != op));
    }

    /// Keeps the configurations that explain this reply, after letting open operations take effect if needed. Returns
    /// whether the work stayed within the bound and the reply did not contradict the effect that the operation had
    /// before it.
    fn settle(&mut self, model: &M, op: OpId, told: &M::Op, bound: usize) -> bool {
        let youngest = self.open.last().map_or(op, |open| open.op);
        let mut todo = std::mem::take(&mut self.configurations);
        let mut looked_at: Vec<Configuration<M::State>> = Vec::new();
        let mut work = 0;
        while let Some(configuration) = todo.pop() {
            work += 1 + looked_at.len() / 64;
            if work > bound {
                return false;
            }
            if let Some(at) = configuration.done.iter().position(|(done, _)| *done == op) {
                if !self.keep_done(model, configuration, at, told) {
                    return false;
                }
                continue;
            }
            if model.reads(told) {
                let since = configuration.trail.iter().filter(|(_, youngest)| *youngest >= op).map(|(state, _)| state);
                if since.chain([&configuration.state]).any(|state| model.apply(state, told).is_some()) {
                    self.configurations.push(configuration);
                    continue;
                }
            } else if let Some(next) = model.apply(&configuration.state, told) {
                let mut placed = configuration.clone();
                placed.step(next, youngest);
                self.configurations.push(placed);
            }
            for open in self.open.iter().filter(|open| open.op != op) {
                let Some(effect) = &open.effect else { continue };
                if model.reads(effect) || configuration.done.iter().any(|(done, _)| *done == open.op) {
                    continue;
                }
                let next = model.apply(&configuration.state, effect);
                let Some(next) = next.filter(|next| !model.hopeless(next, told)) else { continue };
                let mut further = configuration.clone();
                let at = further.done.partition_point(|(done, _)| *done < open.op);
                further.done.insert(at, (open.op, further.state.clone()));
                further.step(next, youngest);
                if !looked_at.contains(&further) {
                    looked_at.push(further.clone());
                    todo.push(further);
                }
            }
        }
        true
    }

    /// The operation has already taken effect, so its reply must fit the state at that time. Returns `false` if the
    /// reply shows that the effect differs from the one assumed without it.
    fn keep_done(&mut self, model: &M, mut configuration: Configuration<M::State>, at: usize, told: &M::Op) -> bool {
        let (op, before) = configuration.done.remove(at);
        let effect = self.open.iter().find(|open| open.op == op).and_then(|open| open.effect.as_ref());
        let then = effect.and_then(|effect| model.apply(&before, effect));
        let Some(now) = model.apply(&before, told).filter(|_| !model.reads(told)) else { return true };
        if then.as_ref() == Some(&now) {
            self.configurations.push(configuration);
        }
        then.is_none_or(|then| then == now)
    }

    /// Drops what can no longer matter: states passed before every open call, and configurations that are covered by
    /// others.
    fn forget(&mut self) {
        let oldest = self.open.iter().find(|open| !open.info).map(|open| open.op);
        for configuration in &mut self.configurations {
            while configuration
                .trail
                .front()
                .is_some_and(|(_, youngest)| oldest.is_none_or(|oldest| *youngest < oldest))
            {
                configuration.trail.pop_front();
            }
        }
        if self.configurations.len() < 2 {
            return;
        }
        let all = std::mem::take(&mut self.configurations);
        let info = |op: OpId| self.open.iter().any(|open| open.op == op && open.info);
        for configuration in all {
            if self.configurations.iter().any(|other| other.stands_for(&configuration, info)) {
                continue;
            }
            self.configurations.retain(|other| !configuration.stands_for(other, info));
            self.configurations.push(configuration);
        }
    }
}

impl<S: Clone + PartialEq> Configuration<S> {
    fn step(&mut self, next: S, youngest: OpId) {
        let before = std::mem::replace(&mut self.state, next);
        self.trail.push_back((before, youngest));
    }

    /// Whether everything that can still happen to `other` can happen to this configuration.
    fn stands_for(&self, other: &Configuration<S>, info: impl Fn(OpId) -> bool) -> bool {
        // The state in which an operation of unknown outcome took effect is never needed.
        let known = |(op, _): &&(OpId, S)| !info(*op);
        self.state == other.state
            && self.trail == other.trail
            && self.done.iter().filter(known).eq(other.done.iter().filter(known))
            && self.done.iter().filter(|d| info(d.0)).all(|(op, _)| other.done.iter().any(|(done, _)| done == op))
    }
}
