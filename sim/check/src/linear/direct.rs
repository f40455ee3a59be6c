//! Direct procedures: exact and near-linear in time, for the histories of one model that have the required form.
//!
//! A [`Procedure`] returns `None` for histories that it cannot decide; these go to the search ([`General`]). A
//! procedure must never be wrong; tests compare it with trying every order.

use super::general::General;
use super::{Answer, Decision, Item, Judge, Limits};
use crate::history::{End, History, NEVER, OpId, Operation};
use crate::model::{Kind, Model};

/// The result of a procedure.
pub struct Finding {
    /// The answer.
    pub answer: Answer,
    /// Short human-readable name of the procedure.
    pub by: &'static str,
    /// Steps of the searches that it started, plus one per operation.
    pub steps: u64,
    /// If the answer is [`Answer::Impossible`], operations that are impossible on their own.
    pub clash: Vec<OpId>,
}

impl Finding {
    /// The finding of a procedure that visited each operation once.
    pub fn new(by: &'static str, items: &[Item], result: Result<(), Vec<OpId>>) -> Finding {
        let answer = if result.is_ok() { Answer::Possible } else { Answer::Impossible };
        Finding { answer, by, steps: items.len() as u64, clash: result.err().unwrap_or_default() }
    }
}

/// A direct procedure.
pub trait Procedure {
    /// The specification that it decides.
    type Model: Model;
    /// Its kind, if the functions in a history do not determine it.
    const KIND: Option<Kind> = None;

    /// Returns the answer, or `None` if the history does not have the form that this procedure decides.
    fn find(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Finding>;

    /// Returns a smaller set of conflicting operations, if that is cheap to compute.
    fn spare(&mut self, _history: &History, _items: &[Item], clash: Vec<OpId>) -> Vec<OpId> {
        clash
    }

    /// Returns an order of operations that were found possible. Also `None` if the history does not have the required
    /// form.
    fn order(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>>;
}

/// A judge that tries a direct procedure first and then searches.
pub struct Direct<P: Procedure> {
    procedure: P,
    general: General<P::Model>,
}

impl<P: Procedure> Direct<P> {
    /// Creates a judge from a procedure and its specification.
    pub fn new(procedure: P, model: P::Model) -> Direct<P> {
        Direct { procedure, general: General(model) }
    }
}

impl<P: Procedure> Judge for Direct<P> {
    fn decide(&mut self, history: &History, items: &[Item], limits: Limits) -> Decision {
        match self.procedure.find(history, items, limits) {
            Some(Finding { answer, by, steps, .. }) => Decision { answer, by, steps },
            None => self.general.decide(history, items, limits),
        }
    }

    fn witness(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>> {
        let order = self.procedure.order(history, items, limits);
        order.or_else(|| self.general.witness(history, items, limits))
    }

    fn suspects(&mut self, history: &History, items: &[Item]) -> Option<Vec<OpId>> {
        let limits = Limits::new(1_000_000, 64 << 20);
        let mut clash = self.procedure.find(history, items, limits)?.clash;
        clash.sort_unstable();
        clash.dedup();
        let clash = self.procedure.spare(history, items, clash);
        (!clash.is_empty()).then_some(clash)
    }

    fn kind(&self) -> Option<Kind> {
        P::KIND
    }

    /// Returns the order of the longest possible prefix, found by bisection.
    fn longest(&mut self, history: &History, items: &[Item], limits: Limits) -> Vec<OpId> {
        let returns: Vec<u32> = {
            let mut returns: Vec<u32> = entries(history, items).map(|e| e.ret).filter(|&ret| ret != NEVER).collect();
            returns.sort_unstable();
            returns
        };
        // The prefix of the first `low` returns is possible, that of `high` is not known to be.
        let (mut low, mut high) = (0, returns.len() + 1);
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            match self.procedure.find(history, &until(history, items, returns[middle - 1]), limits) {
                None => return self.general.longest(history, items, limits),
                Some(Finding { answer: Answer::Possible, .. }) => low = middle,
                Some(_) => high = middle,
            }
        }
        let event = low.checked_sub(1).map_or(0, |last| returns[last]);
        let prefix = until(history, items, event);
        self.procedure.order(history, &prefix, limits).unwrap_or_default()
    }
}

/// Returns the operations called up to an event. Those that return later are open.
fn until(history: &History, items: &[Item], event: u32) -> Vec<Item> {
    let called = items.iter().take_while(|item| history.operation(item.op).called <= event);
    called.map(|item| Item { open: item.open || history.operation(item.op).returned > event, ..*item }).collect()
}

/// An operation that may have happened.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Its id.
    pub id: OpId,
    /// The recorded operation.
    pub op: &'a Operation,
    /// Position of its call.
    pub call: u32,
    /// Position of its return; [`NEVER`]: its outcome is unknown or forgotten.
    pub ret: u32,
}

impl Entry<'_> {
    /// Returns whether its outcome is known and counts.
    pub fn told(&self) -> bool {
        self.ret != NEVER
    }
}

/// Returns the operations that may have happened, in call order.
pub fn entries<'a>(history: &'a History, items: &'a [Item]) -> impl Iterator<Item = Entry<'a>> {
    items.iter().filter_map(move |item| {
        let op = history.operation(item.op);
        let ret = op.settled().filter(|_| !item.open).unwrap_or(NEVER);
        (op.end != End::Fail).then_some(Entry { id: item.op, op, call: op.called, ret })
    })
}
