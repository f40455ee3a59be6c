//! How long replicas take to answer, and so how long to wait before a further one is asked or the same again.
//!
//! What is asked again under load is more load: a cluster that is slow because much is asked of it must not be asked more. So
//! the configured pauses are only the least; beyond them patience follows the answers' mean time and four times its mean
//! deviation, as TCP's retransmission timeout does (Jacobson 1988).

use std::time::Duration;

/// Mean time of answers and mean deviation from it, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    mean: u64,
    deviation: u64,
}

impl Pace {
    /// A replica has answered.
    pub fn answered(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.deviation = self.deviation - self.deviation / 8 + self.mean.abs_diff(took) / 8;
        self.mean = self.mean - self.mean / 8 + took / 8;
    }

    /// None has answered for so long, after the first `pause` or a later one: an answer takes at least the first. Who is dead or
    /// cut off says nothing of how long the others take.
    pub fn silent(&mut self, took: Duration, pause: Duration) {
        if took < pause + pause / 4 {
            self.answered(took);
        }
    }

    /// How long to wait for one: at least this long, and else not longer than a quarter of the time that is left.
    pub fn patience(&self, least: Duration, left: Duration) -> Duration {
        let adapted = Duration::from_nanos(self.mean.saturating_add(self.deviation.saturating_mul(4)));
        adapted.min(left / 4).max(least)
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
        assert_eq!((pace.patience(ms(30), long), pace.patience(ms(3000), long)), (ms(2000), ms(3000)));
    }
}
