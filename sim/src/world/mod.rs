//! The simulated world that a cluster runs in: network, disks and clocks, plus the trace and the fault ledger.
//!
//! Every model is a pure function of the seed and of its requests. It takes the time as an argument (or from a
//! [`TimeSource`]), draws from its own labelled [`Rng`] stream, and does not depend on madsim, so it is unit-tested in
//! both builds. Only `runtime` uses madsim: it delivers time-stamped events from the [`schedule`] to their receivers,
//! and starts and stops nodes.
//!
//! - [`net`]: directed links with latency, loss, duplication, reordering, corruption, cuts and hangs.
//! - [`disk`]: files made of sectors, which become durable only when the latency of a sync has passed.
//! - [`clock`]: a node's monotonic and wall clocks, with drift, jumps, strobes and freezes.
//! - [`bug`]: bugs planted in these models, to check that they are detected.
//! - [`ledger`]: the requested faults and their effects. [`trace`]: the hash over all events.
//!
//! Invariants: no model reads ambient time or entropy. Equal (seed, requests) give equal traces, recorded or not. A
//! fault is charged to the [`ledger::FaultId`] that caused it. Every queue has a limit and counts what it drops.

pub mod bug;
pub mod clock;
pub mod disk;
pub mod ledger;
pub mod net;
#[cfg(madsim)]
pub mod runtime;
pub mod schedule;
pub mod trace;

use seaworthy::types::Rng;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// True simulated time: nanoseconds since the simulation began. No node can read it; see [`clock`] for what nodes see.
pub type Nanos = u64;

/// Reads the true simulated time.
pub type TimeSource = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// A random delay: `base` plus a uniform part of up to `jitter`. With probability `tail`, a heavy-tailed part of up to
/// `tail_max` is added (`tail_max · u³` for uniform `u`: a quarter of `tail_max` on average; exact on every machine).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Latency {
    /// The minimum delay.
    pub base: Duration,
    /// Width of the uniform part.
    pub jitter: Duration,
    /// Probability of the heavy-tailed part, 0 to 1.
    pub tail: f64,
    /// The largest heavy-tailed part.
    pub tail_max: Duration,
}

impl Latency {
    /// No delay.
    pub const ZERO: Latency = Latency::uniform(Duration::ZERO, Duration::ZERO);

    /// `base` plus up to `jitter`, without a tail.
    #[must_use]
    pub const fn uniform(base: Duration, jitter: Duration) -> Latency {
        Latency { base, jitter, tail: 0.0, tail_max: Duration::ZERO }
    }

    /// Draws one delay.
    pub fn sample(&self, rng: &mut Rng) -> Nanos {
        let mut delay = nanos(self.base);
        if !self.jitter.is_zero() {
            delay += rng.below(nanos(self.jitter) + 1);
        }
        if self.tail > 0.0 && rng.chance(self.tail) {
            let u = rng.unit();
            delay += (nanos(self.tail_max) as f64 * u * u * u) as u64;
        }
        delay
    }

    /// The longest delay that can be drawn.
    #[must_use]
    pub fn max(&self) -> Nanos {
        nanos(self.base) + nanos(self.jitter) + if self.tail > 0.0 { nanos(self.tail_max) } else { 0 }
    }
}

/// Converts a duration to nanoseconds. Saturates if it is longer than 584 years.
pub(crate) fn nanos(d: Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Locks the mutex even if it is poisoned: a failing run must still be able to unwind and report.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_stays_within_its_bounds_and_uses_them() {
        let ms = Duration::from_millis;
        let latency = Latency { base: ms(2), jitter: ms(3), tail: 0.1, tail_max: ms(100) };
        let mut rng = Rng::new(1, "latency");
        let samples: Vec<u64> = (0..20_000).map(|_| latency.sample(&mut rng)).collect();
        assert!(samples.iter().all(|&s| (2_000_000..=latency.max()).contains(&s)));
        let tail = samples.iter().filter(|&&s| s > 5_000_000).count();
        assert!((1_000..2_100).contains(&tail), "{tail} of 20000 in the tail, expected a bit under 2000");
        assert!(samples.iter().any(|&s| s > 90_000_000), "the tail reaches out");
    }
}
