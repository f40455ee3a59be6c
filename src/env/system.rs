//! The clocks and the entropy of the machine that a deployed node runs on.

use super::Clock;
use crate::types::{Time, Wall};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant, SystemTime};

/// The system's monotonic clock and date. Copies share one start.
///
/// Caveat: on Linux the monotonic clock stops while the machine is suspended, so a suspended leader does not notice how
/// long it was away. It still stops answering at the next round (check-quorum, ReadIndex); lease reads assume that
/// machines are not suspended.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Creates a clock that starts at zero now.
    #[must_use]
    pub fn start() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::default() + self.0.elapsed()
    }

    fn wall(&self) -> Wall {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Wall(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, deadline: Time) {
        // Tokio's timer counts whole milliseconds and may fire a fraction of one early.
        loop {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// An unpredictable number, from the entropy that the standard library takes from the system for its hash keys: the
/// seed of a deployed process's [`crate::types::Rng`].
#[must_use]
pub fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_at_least_until_the_deadline() {
        let clock = SystemClock::start();
        for micros in [0, 300, 1_700] {
            let deadline = clock.now() + Duration::from_micros(micros);
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
        }
    }

    #[test]
    fn the_date_is_after_this_was_written_and_entropy_differs() {
        let clock = SystemClock::start();
        assert!(clock.wall() > Wall(1_700_000_000_000_000_000));
        assert_ne!(entropy(), entropy());
    }
}
