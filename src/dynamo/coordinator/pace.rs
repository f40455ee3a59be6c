//! Retry pacing: how long replicas take to answer, and so how long to wait before asking a further one or retrying.
//!
//! Retries under load add load: a cluster that is slow because of many requests must not get more of them. So the
//! configured pauses are only minimums. Beyond them the patience follows the mean response time plus four times its
//! mean deviation, as TCP's retransmission timeout does (Jacobson 1988). Retries also have a budget, a fraction of the
//! answers, as the retries of gRPC and Finagle do.

use crate::types::Time;
use std::time::Duration;

/// Mean response time and mean deviation from it, in nanoseconds.
#[derive(Debug)]
pub(super) struct Pace {
    mean: u64,
    deviation: u64,
    /// The retry budget, in thousandths of a retry, and the time as of which it is computed.
    budget: u64,
    since: Time,
}

/// Retry budget, in thousandths of a retry: the maximum, the amount gained per second, and per answer.
const MOST: u64 = 20_000;
const A_SECOND: u64 = 20_000;
const AN_ANSWER: u64 = 100;

impl Default for Pace {
    fn default() -> Pace {
        Pace { mean: 0, deviation: 0, budget: MOST, since: Time(0) }
    }
}

impl Pace {
    /// Records the response time of a replica.
    pub fn answered(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.deviation = self.deviation - self.deviation / 8 + self.mean.abs_diff(took) / 8;
        self.mean = self.mean - self.mean / 8 + took / 8;
        self.budget = (self.budget + AN_ANSWER).min(MOST);
    }

    /// Whether a retry is allowed; if so, it is deducted from the budget.
    pub fn spends(&mut self, now: Time) -> bool {
        let earned = now.since(self.since).as_nanos() * u128::from(A_SECOND) / 1_000_000_000;
        self.budget = self.budget.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(MOST);
        self.since = now;
        let may = self.budget >= 1000;
        self.budget -= if may { 1000 } else { 0 };
        may
    }

    /// Records that no replica has answered for `took`, after the first `pause` or a later one. Only the first counts:
    /// a response takes at least that long. A replica that is dead or cut off says nothing about the response time of
    /// the others.
    pub fn silent(&mut self, took: Duration, pause: Duration) {
        if took < pause + pause / 4 {
            self.answered(took);
        }
    }

    /// How long to wait for an answer: at least `least`, and otherwise at most half of the time that is left.
    pub fn patience(&self, least: Duration, left: Duration) -> Duration {
        let adapted = Duration::from_nanos(self.mean.saturating_add(self.deviation.saturating_mul(4)));
        adapted.min(left / 2).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_answers() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        let long = ms(8000);
        assert_eq!(pace.patience(ms(30), long), ms(30));
        for _ in 0..50 {
            pace.answered(ms(2));
        }
        assert_eq!(pace.patience(ms(30), long), ms(30), "the least");
        for _ in 0..50 {
            pace.answered(ms(400));
        }
        assert!((ms(390)..ms(500)).contains(&pace.patience(ms(30), long)));
        pace.silent(ms(9000), ms(3000));
        assert!(pace.patience(ms(30), long) < ms(500), "not the first pause");
        for _ in 0..50 {
            pace.silent(ms(9000), ms(9000));
        }
        assert_eq!((pace.patience(ms(30), long), pace.patience(ms(5000), long)), (ms(4000), ms(5000)));
    }

    #[test]
    fn asking_again_has_a_budget() {
        let mut pace = Pace::default();
        let now = Time(0) + Duration::from_secs(1);
        let times = |pace: &mut Pace| (0..1000).take_while(|_| pace.spends(now)).count();
        assert_eq!((times(&mut pace), times(&mut pace)), (20, 0), "twenty a second");
        (0..50).for_each(|_| pace.answered(Duration::from_millis(1)));
        assert_eq!(times(&mut pace), 5, "and one for ten answers");
    }
}
