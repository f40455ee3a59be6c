//! Judges the parts of a history in rounds, several in parallel.
//!
//! Each round judges the parts that are still undecided, with a larger step budget per part than the round before. A
//! part's step budgets and memory limit do not depend on the number of threads, so its verdict does not either.
//! Evidence is gathered in the remaining time, after all parts have verdicts.

use super::{Answer, Decision, Item, Judge, Limits, Options, Part, PartReport, Parts, Verdict, parts};
use crate::evidence;
use crate::history::History;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Steps per part in the first round, and the growth factor from one round to the next.
const FIRST_ROUND: u64 = 500_000;
const GROWTH: u64 = 10;
/// Steps per operation of a part in the first round, if that is more than `FIRST_ROUND`.
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

/// Decides all parts of a history and looks for evidence. Each thread has its own judge. Reports are in part order.
pub fn decide<J: Judge>(judge: impl Fn() -> J + Sync, history: &History, options: &Options) -> Vec<PartReport> {
    let until = options.time.and_then(|time| Instant::now().checked_add(time));
    let parts = parts(history);
    let mut round = Round { judge, history, parts: &parts, options, until, scale: 1 };
    let mut reports = round.verdicts();
    round.explain(&mut reports);
    reports
}

/// Looks for evidence against the parts that [`decide`] refuted without it.
pub fn explain<J: Judge>(
    judge: impl Fn() -> J + Sync,
    history: &History,
    reports: &mut [PartReport],
    options: &Options,
) {
    let until = options.time.and_then(|time| Instant::now().checked_add(time));
    Round { judge, history, parts: &parts(history), options, until, scale: 1 }.explain(reports);
}

/// Runs `work` for each part on up to `threads` threads. `work` gets a judge, the part, and the number of parts not yet
/// started.
fn each<J: Judge, T: Send>(
    judge: impl Fn() -> J + Sync,
    parts: &[usize],
    threads: usize,
    work: impl Fn(&mut dyn Judge, usize, usize) -> T + Sync,
) -> Vec<(usize, T)> {
    let next = AtomicUsize::new(0);
    let all = || {
        let mut judge = judge();
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(&part) = parts.get(place) else { return done };
            done.push((part, work(&mut judge, part, parts.len() - place - 1)));
        }
    };
    let threads = threads.min(parts.len());
    if threads <= 1 {
        return all();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(all)).collect();
        let mut done = all();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

impl<J: Judge, F: Fn() -> J + Sync> Round<'_, F> {
    fn part(&self, part: usize) -> Part<'_> {
        self.parts.get(part).expect("invariant: only numbers of parts are given")
    }

    /// The step budget of a part in this round.
    fn budget(&self, part: usize) -> u64 {
        let first = FIRST_ROUND.max(STEPS_PER_OPERATION * self.part(part).ops.len() as u64);
        first.saturating_mul(self.scale).min(self.options.steps)
    }

    fn items(&self, part: usize) -> Vec<Item> {
        self.part(part).ops.iter().map(|&op| Item { op, open: false }).collect()
    }

    /// Decides all parts, without evidence.
    fn verdicts(&mut self) -> Vec<PartReport> {
        let mut spent = vec![0; self.parts.len()];
        let mut reports: Vec<Option<PartReport>> = self.parts.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..self.parts.len()).collect();
        while !open.is_empty() {
            let threads = self.options.threads;
            for (part, report) in each(&self.judge, &open, threads, |judge, part, _| self.judge(judge, part)) {
                spent[part] += report.steps;
                reports[part] = Some(PartReport { steps: spent[part], ..report });
            }
            open.retain(|&part| {
                let more = self.budget(part) < self.options.steps && self.until.is_none_or(|end| Instant::now() < end);
                let undecided = |report: &PartReport| {
                    matches!(&report.verdict, Verdict::Unknown(why) if why == super::OUT_OF_STEPS)
                };
                more && reports[part].as_ref().is_some_and(undecided)
            });
            self.scale = self.scale.saturating_mul(GROWTH);
        }
        reports.into_iter().flatten().collect()
    }

    /// Looks for evidence against each refuted part, within its share of the remaining time.
    fn explain(&self, reports: &mut [PartReport]) {
        if self.options.evidence_steps == 0 {
            return;
        }
        let refuted = |part: &usize| matches!(reports[*part].verdict, Verdict::Invalid(_));
        let refuted: Vec<usize> = (0..reports.len()).filter(refuted).collect();
        let threads = self.options.threads.max(1);
        let found = each(&self.judge, &refuted, threads, |judge, part, waiting| {
            let now = Instant::now();
            let at_a_time = u32::try_from(threads.min(waiting + 1)).unwrap_or(1);
            let share = |until: Instant| until.saturating_duration_since(now) * at_a_time / (waiting as u32 + 1);
            let until = self.until.map(|until| until.min(now + share(until)));
            evidence::gather(judge, self.history, self.part(part).key, &self.items(part), self.options, until)
        });
        for (part, evidence) in found {
            reports[part].verdict = Verdict::Invalid(Box::new(evidence));
        }
    }

    fn judge(&self, judge: &mut dyn Judge, part: usize) -> PartReport {
        let limits = Limits { steps: self.budget(part), memory: self.options.memory, until: self.until };
        let items = self.items(part);
        let part = self.part(part);
        let mut next_look = 0;
        let Decision { answer, by, steps } = match limits.exceeded(0, &mut next_look) {
            Some(why) => Decision { answer: Answer::GaveUp(why), by: "nothing", steps: 0 },
            None => judge.decide(self.history, &items, limits),
        };
        let verdict = match answer {
            Answer::Possible => Verdict::Valid,
            Answer::Impossible => Verdict::Invalid(Box::new(evidence::bare(self.history, part.key, &items))),
            Answer::GaveUp(why) => Verdict::Unknown(why.to_owned()),
        };
        PartReport {
            name: self.history.key(part.key).into_owned(),
            operations: part.ops.len(),
            verdict,
            by,
            steps,
            counts: Vec::new(),
            figures: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Call, OpId, Recorder, Reply, Version};
    use std::sync::Mutex;
    use std::time::Duration;

    /// Refutes any part that has a read with a known outcome, and records the keys that it is asked about.
    struct Refuses<'a>(&'a Mutex<Vec<u32>>);

    impl Judge for Refuses<'_> {
        fn decide(&mut self, history: &History, items: &[Item], _: Limits) -> Decision {
            self.0.lock().expect("no panic").push(history.operation(items[0].op).key.0);
            let read = |item: &Item| !item.open && history.call(history.operation(item.op)) == Some(Call::Get);
            let answer = if items.iter().any(read) { Answer::Impossible } else { Answer::Possible };
            Decision { answer, by: "refusal", steps: 1 }
        }

        fn witness(&mut self, _: &History, _: &[Item], _: Limits) -> Option<Vec<OpId>> {
            None
        }

        fn longest(&mut self, _: &History, _: &[Item], _: Limits) -> Vec<OpId> {
            Vec::new()
        }
    }

    fn history() -> History {
        let mut log = Recorder::default();
        for key in ["a", "b", "c"] {
            for _ in 0..4 {
                let op = log.invoke(0, 0, key, Call::put("x"));
                log.ok(op, 0, Reply::Done { revision: None });
            }
            let op = log.invoke(0, 0, key, Call::Get);
            log.ok(op, 0, Reply::Got(Some(Version { value: "x", revision: None })));
        }
        log.finish()
    }

    #[test]
    fn all_verdicts_come_before_any_evidence() {
        let asked = Mutex::new(Vec::new());
        let reports = decide(|| Refuses(&asked), &history(), &Options::default());
        let asked = asked.into_inner().expect("no panic");
        assert_eq!(asked[..3], [0, 1, 2], "{asked:?}");
        assert!(asked.len() >= 9, "and then evidence is looked for: {asked:?}");
        for report in reports {
            let Verdict::Invalid(evidence) = report.verdict else { panic!("{report:?}") };
            assert_eq!((evidence.core.len(), evidence.minimal), (1, true));
        }
    }

    #[test]
    fn no_evidence_is_looked_for_when_the_time_is_up() {
        let (asked, history) = (Mutex::new(Vec::new()), history());
        let mut reports = decide(|| Refuses(&asked), &history, &Options { evidence_steps: 0, ..Options::default() });
        assert_eq!(asked.lock().expect("no panic").len(), 3);
        let bare = reports.clone();
        let late = Options { time: Some(Duration::ZERO), ..Options::default() };
        explain(|| Refuses(&asked), &history, &mut reports, &late);
        assert_eq!(reports, bare, "the verdicts stay");
        explain(|| Refuses(&asked), &history, &mut reports, &Options::default());
        assert!(reports.iter().all(|report| matches!(&report.verdict, Verdict::Invalid(e) if e.core.len() == 1)));
    }
}
