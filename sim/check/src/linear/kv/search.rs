//! Decides whether one key's operations can be put in an order that respects real time and the model: three searches in
//! competition.
//!
//! The depth-first search finds most orders quickly. If it does not decide within a few steps per operation, [`zones`]
//! runs, then the just-in-time search as well, where it applies, and a round later the backward search
//! ([`super::backward`]). They alternate with growing budgets, so that none waits long for another; which one is best
//! is not known in advance. The backward search added five to nine percent to the steps of what the others decide. It
//! refuted stale reads among a hundred clients and twenty values that the others left undecided after ten times as many
//! steps.
//!
//! There is no separate splitting at quiescent points: the just-in-time searches pass such a point with only the
//! possible states.
//!
//! Time and memory are bounded by [`Limits`]; beyond them the answer is unknown.

use super::backward::Backward;
use super::depth_first::{Memory, Search};
use super::jit::Jit;
use super::problem::Problem;
use super::zones;
use crate::linear::{Answer, Decision, Limits, OUT_OF_STEPS as STEPS};

/// Steps per operation before anything else is tried.
const QUICK_STEPS: u64 = 16;
/// Steps of the first round of two searches in competition, and how much longer each round is than the one before.
const MIN_BUDGET: u64 = 10_000;
const GROWTH: u64 = 4;

/// Decides the part.
pub fn decide(problem: &Problem, limits: Limits) -> Decision {
    if problem.broken {
        return Decision { answer: Answer::Impossible, by: "replies that exclude each other", steps: 0 };
    }
    // Most histories are decided within a few steps an operation; the others get a look at their zones before more.
    let mut budget = limits.steps.min(QUICK_STEPS * problem.ops.len() as u64);
    let mut search = Search::new(problem, limits, Memory::hashed());
    let mut answer = search.run_to(budget);
    if !matches!(answer, Answer::GaveUp(_)) {
        return confirm(problem, limits, &search, answer, 0);
    }
    if zones::clash(problem) {
        return Decision { answer: Answer::Impossible, by: "zones", steps: search.steps };
    }
    let mut others: Vec<Other<'_>> = Vec::new();
    others.extend(Jit::new(problem, false).map(|search| Other::Forward(Box::new(search))));
    others.extend(Backward::new(problem).map(|search| Other::Backward(Box::new(search))));
    let mut spent = 0;
    loop {
        budget = budget.max(MIN_BUDGET).saturating_mul(GROWTH);
        let mut at = 0;
        while let Some(other) = others.get_mut(at) {
            let before = other.steps();
            let steps = (before + limits.steps).saturating_sub(search.steps + spent);
            answer = other.run(budget, Limits { steps, memory: limits.memory / 3, ..limits });
            spent += other.steps() - before;
            match answer {
                Answer::GaveUp(why) if why != STEPS || spent + search.steps >= limits.steps => drop(others.remove(at)),
                Answer::GaveUp(_) => at += 1,
                _ => return Decision { answer, by: other.by(), steps: spent + search.steps },
            }
        }
        search.limits.memory = if others.is_empty() { limits.memory } else { limits.memory / 3 };
        answer = search.run_to(budget.min(limits.steps.saturating_sub(spent)));
        match answer {
            Answer::GaveUp(why) if others.is_empty() && (why != STEPS || spent + search.steps >= limits.steps) => {
                return Decision { answer, by: "search", steps: spent + search.steps };
            }
            Answer::GaveUp(_) => {}
            _ => return confirm(problem, limits, &search, answer, spent),
        }
    }
}

/// A just-in-time search that competes with the depth-first one.
enum Other<'a> {
    Forward(Box<Jit<'a>>),
    Backward(Box<Backward<'a>>),
}

impl Other<'_> {
    fn steps(&self) -> u64 {
        match self {
            Other::Forward(search) => search.steps,
            Other::Backward(search) => search.steps,
        }
    }

    fn by(&self) -> &'static str {
        match self {
            Other::Forward(_) => "just-in-time search",
            Other::Backward(_) => "just-in-time search from the end",
        }
    }

    /// Runs one turn. The backward search is one round behind.
    fn run(&mut self, budget: u64, limits: Limits) -> Answer {
        match self {
            Other::Forward(search) => search.run(Limits { steps: budget.min(limits.steps), ..limits }),
            Other::Backward(search) => search.run(Limits { steps: (budget / GROWTH).min(limits.steps), ..limits }),
        }
    }
}

/// Repeats a refutation in which hashes pruned anything without them.
fn confirm(problem: &Problem, limits: Limits, search: &Search<'_>, answer: Answer, spent: u64) -> Decision {
    let steps = search.steps + spent;
    if !(search.recalled && answer == Answer::Impossible) {
        return Decision { answer, by: "search", steps };
    }
    let mut again = Search::new(problem, limits, Memory::exact());
    Decision { answer: again.run(), by: "search", steps: steps + again.steps }
}

/// An order that explains everything, as indices into [`Problem::ops`].
pub fn witness(problem: &Problem, limits: Limits) -> Option<Vec<u32>> {
    if problem.broken {
        return None;
    }
    let mut search = Search::new(problem, limits, Memory::hashed());
    let mut jit = Jit::new(problem, true);
    let quick = QUICK_STEPS * problem.ops.len() as u64;
    let quick = if jit.is_some() { quick.min(limits.steps) } else { limits.steps };
    if search.run_to(quick) == Answer::Possible {
        return Some(search.placed);
    }
    if let Some(jit) = &mut jit
        && jit.run(limits) == Answer::Possible
    {
        return Some(jit.order());
    }
    (quick < limits.steps && search.run_to(limits.steps) == Answer::Possible).then_some(search.placed)
}

/// The longest order of some of the operations that the search finds within the limits, as indices into
/// [`Problem::ops`]. It looks at what has happened only, not at what is still to be explained.
pub fn longest(problem: &Problem, limits: Limits) -> Vec<u32> {
    let mut search = Search::new(problem, limits, Memory::hashed());
    search.keep_longest = true;
    search.run();
    if search.placed.len() > search.longest.len() { search.placed } else { search.longest }
}
