//! Direct procedures: exact and near linear, for the histories of one model that have the right form.
//!
//! A [`Procedure`] answers what it can and says `None` to everything else, which then goes to the search ([`General`]).
//! It must never be wrong; that it is not is tested against trying every order.

use super::general::General;
use super::{Answer, Decision, Item, Judge, Limits};
use crate::history::{End, History, NEVER, OpId, Operation};
use crate::model::{Kind, Model};

/// What a procedure found.
pub struct Finding {
    /// The answer.
    pub answer: Answer,
    /// How, in a few words for people.
    pub by: &'static str,
    /// Steps of searches that it started, and one for each operation.
    pub steps: u64,
    /// Where the answer is [`Answer::Impossible`]: operations that alone are impossible.
    pub clash: Vec<OpId>,
}

impl Finding {
    /// Of a procedure that looked at each operation once.
    pub fn new(by: &'static str, items: &[Item], result: Result<(), Vec<OpId>>) -> Finding {
        let answer = if result.is_ok() { Answer::Possible } else { Answer::Impossible };
        Finding { answer, by, steps: items.len() as u64, clash: result.err().unwrap_or_default() }
    }
}

/// A direct procedure.
pub trait Procedure {
    /// The specification that it decides.
    type Model: Model;
    /// Its kind, where the functions in a history do not tell it.
    const KIND: Option<Kind> = None;

    /// The answer; `None`: the history has not the form that this procedure decides.
    fn find(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Finding>;

    /// Fewer of the operations that clash, where that is cheap to find out.
    fn spare(&mut self, _history: &History, _items: &[Item], clash: Vec<OpId>) -> Vec<OpId> {
        clash
    }

    /// An order of operations that were found possible; `None` also when the form is not the right one.
    fn order(&mut self, history: &History, items: &[Item], limits: Limits) -> Option<Vec<OpId>>;
}

/// A judge that asks a direct procedure first and then searches.
pub struct Direct<P: Procedure> {
    procedure: P,
    general: General<P::Model>,
}

impl<P: Procedure> Direct<P> {
    /// Of a procedure and its specification.
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

    /// The order of the longest possible prefix, found by bisection.
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

/// The operations called up to an event; those that return later are open.
fn until(history: &History, items: &[Item], event: u32) -> Vec<Item> {
    let called = items.iter().take_while(|item| history.operation(item.op).called <= event);
    called.map(|item| Item { open: item.open || history.operation(item.op).returned > event, ..*item }).collect()
}

/// An operation that may have happened.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Which.
    pub id: OpId,
    /// What was recorded.
    pub op: &'a Operation,
    /// Position of its call.
    pub call: u32,
    /// Position of its return; [`NEVER`]: its outcome is unknown or forgotten.
    pub ret: u32,
}

impl Entry<'_> {
    /// Whether its outcome counts.
    pub fn told(&self) -> bool {
        self.ret != NEVER
    }
}

/// The operations that may have happened, in the order of their calls.
pub fn entries<'a>(history: &'a History, items: &'a [Item]) -> impl Iterator<Item = Entry<'a>> {
    items.iter().filter_map(move |item| {
        let op = history.operation(item.op);
        let ret = op.settled().filter(|_| !item.open).unwrap_or(NEVER);
        (op.end != End::Fail).then_some(Entry { id: item.op, op, call: op.called, ret })
    })
}
