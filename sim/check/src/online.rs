//! Linearizability while it happens: fed event by event, it tells the first event that makes a history impossible.
//!
//! Just-in-time linearization (Lowe, "Testing for linearizability", 2017), without knowledge of replies still to come. For
//! each key it keeps the *configurations* that explain all replies so far: a state, the operations that have taken effect
//! though they have not returned (with the state in which each did), and the states that were passed since the oldest
//! operation still open was called. Nothing takes effect before a return needs it: at a return, open operations are put
//! before it in every order that the model allows. A read, or a refused write, fits if one of the states passed since its
//! call shows what it saw. When no configuration is left, the events so far are impossible; that is exact, and since
//! nothing was impossible before, this event is the first.
//!
//! An operation of unknown outcome stays open for ever. Of two configurations that differ only in that one of them has used
//! more of these, the other is kept: it can do all that this one can.
//!
//! Memory and time are bounded by [`Bounds`]: a key beyond them is given up, which [`Online::given_up`] tells, and left to the
//! check of the whole history. Without revisions many open writes on one key soon lead there.
//!
//! So is a key whose model says more than can be judged here: where a reply changes the state that its operation left
//! behind, after others have taken effect on it (a lock's token), and where what changes the state is not known to do so
//! before its reply (a sequence's read).

use crate::history::{End, History, KeyId, NEVER, OpId};
use crate::model::Model;
use std::collections::VecDeque;

/// What a key may need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Configurations looked at for one event.
    pub configurations: usize,
    /// Operations open at a time, those of unknown outcome among them.
    pub open: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { configurations: 300, open: 100 }
    }
}

/// The history has become impossible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Impossible {
    /// The operation by whose return.
    pub op: OpId,
    /// The position of that return.
    pub event: u32,
}

/// Judges a history as it grows.
pub struct Online<M: Model> {
    model: M,
    bounds: Bounds,
    /// By key.
    keys: Vec<Key<M>>,
}

struct Key<M: Model> {
    open: Vec<Open<M>>,
    configurations: Vec<Configuration<M::State>>,
    given_up: bool,
}

/// An operation called and not settled.
struct Open<M: Model> {
    op: OpId,
    /// What it does if it takes effect before its reply is known; `None`: nothing that anybody can see.
    effect: Option<M::Op>,
    /// Its outcome is unknown for ever.
    info: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Configuration<S> {
    state: S,
    /// Open operations that have taken effect, each with the state before; by operation.
    done: Vec<(OpId, S)>,
    /// States passed before `state`, oldest first, each with the youngest operation called by the time it was left.
    trail: VecDeque<(S, OpId)>,
}

impl<M: Model> Online<M> {
    /// Judges by a model.
    pub fn new(model: M, bounds: Bounds) -> Online<M> {
        Online { model, bounds, keys: Vec::new() }
    }

    /// Keys that were given up: nothing is known about them any more.
    pub fn given_up(&self) -> impl Iterator<Item = KeyId> {
        (0u32..).zip(&self.keys).filter(|(_, key)| key.given_up).map(|(i, _)| KeyId(i))
    }

    /// An operation was called.
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

    /// An operation ended, in whatever way.
    ///
    /// # Errors
    /// The events so far are impossible. What is fed afterwards on this key is not judged.
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

    /// Keeps what does not need the operation.
    fn never_happened(&mut self, op: OpId) {
        self.configurations.retain(|c| c.done.iter().all(|(done, _)| *done != op));
    }

    /// Keeps what explains this reply, after open operations have taken effect where that is needed. Whether it stayed
    /// within the bound, and the reply told nothing of how the operation took effect before.
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

    /// The operation has taken effect before: its reply must be the one that it got then. False if it shows that the effect
    /// was another than without it.
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

    /// Drops what cannot matter any more: states passed before every open call, and configurations that others stand for.
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

    /// Whether everything that can still happen to the other can happen to this one.
    fn stands_for(&self, other: &Configuration<S>, info: impl Fn(OpId) -> bool) -> bool {
        // An operation of unknown outcome is never asked for the state in which it took effect.
        let known = |(op, _): &&(OpId, S)| !info(*op);
        self.state == other.state
            && self.trail == other.trail
            && self.done.iter().filter(known).eq(other.done.iter().filter(known))
            && self.done.iter().filter(|d| info(d.0)).all(|(op, _)| other.done.iter().any(|(done, _)| done == op))
    }
}
