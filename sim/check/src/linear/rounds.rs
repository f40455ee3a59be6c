//! Judges the parts of a history in rounds, several at a time.
//!
//! Each round has a larger budget of steps for each part than the one before and takes up the parts that are still open.
//! A part's budgets and its memory depend on the options and on nothing else, so that the verdict is the same with any
//! number of threads. Evidence is gathered where a part is refuted.

use super::{Answer, Decision, Item, Judge, Limits, Options, Part, PartReport, Parts, Verdict, parts};
use crate::evidence;
use crate::history::History;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Steps for each part in the first round, and how much larger each round is than the one before.
const FIRST_ROUND: u64 = 500_000;
const GROWTH: u64 = 10;
/// Steps for each operation of a part in the first round, where that is more.
const STEPS_PER_OPERATION: u64 = 100;

struct Round<'a, F> {
    /// Makes a judge for a thread.
    judge: F,
    history: &'a History,
    parts: &'a Parts,
    options: &'a Options,
    until: Option<Instant>,
    /// Grows by [`GROWTH`] in each round.
    scale: u64,
}

/// Decides all parts of a history, each thread with a judge of its own; the reports are in their order.
pub fn decide<J: Judge>(judge: impl Fn() -> J + Sync, history: &History, options: &Options) -> Vec<PartReport> {
    let until = options.time.and_then(|time| Instant::now().checked_add(time));
    let parts = parts(history);
    let mut round = Round { judge, history, parts: &parts, options, until, scale: 1 };
    let mut spent = vec![0; parts.len()];
    let mut reports: Vec<Option<PartReport>> = parts.iter().map(|_| None).collect();
    let mut open: Vec<usize> = (0..parts.len()).collect();
    while !open.is_empty() {
        for (part, report) in round.judge_all(&open) {
            spent[part] += report.steps;
            reports[part] = Some(PartReport { steps: spent[part], ..report });
        }
        open.retain(|&part| {
            let more = round.budget(part) < options.steps && until.is_none_or(|until| Instant::now() < until);
            let undecided =
                |report: &PartReport| matches!(&report.verdict, Verdict::Unknown(why) if why == super::OUT_OF_STEPS);
            more && reports[part].as_ref().is_some_and(undecided)
        });
        round.scale = round.scale.saturating_mul(GROWTH);
    }
    reports.into_iter().flatten().collect()
}

impl<J: Judge, F: Fn() -> J + Sync> Round<'_, F> {
    fn part(&self, part: usize) -> Part<'_> {
        self.parts.get(part).expect("invariant: only numbers of parts are given")
    }

    /// Steps for a part.
    fn budget(&self, part: usize) -> u64 {
        let first = FIRST_ROUND.max(STEPS_PER_OPERATION * self.part(part).ops.len() as u64);
        first.saturating_mul(self.scale).min(self.options.steps)
    }

    /// Judges parts, on as many threads as there may be.
    fn judge_all(&self, open: &[usize]) -> Vec<(usize, PartReport)> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut judge = (self.judge)();
            let mut reports = Vec::new();
            while let Some(&part) = open.get(next.fetch_add(1, Ordering::Relaxed)) {
                reports.push((part, self.judge(&mut judge, part)));
            }
            reports
        };
        let threads = self.options.threads.min(open.len());
        if threads <= 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut reports = work();
            for other in others {
                match other.join() {
                    Ok(more) => reports.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            reports
        })
    }

    fn judge(&self, judge: &mut dyn Judge, part: usize) -> PartReport {
        let limits = Limits { steps: self.budget(part), memory: self.options.memory, until: self.until };
        let part = self.part(part);
        let items: Vec<Item> = part.ops.iter().map(|&op| Item { op, open: false }).collect();
        let mut next_look = 0;
        let Decision { answer, by, steps } = match limits.exceeded(0, &mut next_look) {
            Some(why) => Decision { answer: Answer::GaveUp(why), by: "nothing", steps: 0 },
            None => judge.decide(self.history, &items, limits),
        };
        let verdict = match answer {
            Answer::Possible => Verdict::Valid,
            Answer::Impossible => {
                Verdict::Invalid(Box::new(evidence::gather(judge, self.history, part.key, &items, self.options)))
            }
            Answer::GaveUp(why) => Verdict::Unknown(why.to_owned()),
        };
        PartReport {
            name: self.history.key(part.key).into_owned(),
            operations: part.ops.len(),
            verdict,
            by,
            steps,
            counts: Vec::new(),
        }
    }
}
