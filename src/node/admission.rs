//! Admission control: how many requests a node accepts, separately for each mode.
//!
//! The bytes of open requests are limited, and the limit adapts. If responses take longer than a target, requests only
//! wait in queues, and the limit shrinks. If they do not, and the limit was reached, it grows. This is additive
//! increase and multiplicative decrease, as in TCP's congestion window, with time as the signal. All other requests are
//! refused as busy at once, while that is still cheap. So an accepted request is finished while its client still waits,
//! and an overloaded mode leaves the other mode its share.
//!
//! A refusal includes the time to retry. Refused clients retry one after another, at twice the rate at which requests
//! are finished: refusing one more is cheaper than idling. They retry within half a second, so that the end of the
//! overload is noticed. A client that retries at its time has precedence over new requests, which meanwhile get at most
//! half of the limit.

use crate::mutant::{Bug, Mutant};
use crate::types::{Addr, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes charged for a request besides its payload.
const REQUEST: usize = 256;

/// The admission control of one mode: limits the bytes of its open requests.
#[derive(Debug)]
pub(super) struct Admission {
    least: usize,
    most: usize,
    limit: usize,
    open: usize,
    /// Target for the response time.
    target: Duration,
    /// The current interval: its end, bytes answered in it, their response times weighted by bytes, and the peak of
    /// open bytes.
    until: Time,
    answered: u128,
    waited: u128,
    peak: usize,
    /// Responses have never been slow: the limit doubles, as in TCP's slow start.
    starts: bool,
    /// Bytes finished per second, as an estimate.
    pace: u64,
    /// When the next refused request should retry.
    next: Time,
    /// Bytes that were promised room, by client, and until when each client is expected.
    promised: BTreeMap<Addr, (Time, usize)>,
    coming: usize,
    /// When to check next for promises that expired.
    looks: Time,
    mutant: Mutant,
}

/// Minimum time after which a refused request should retry.
const SOON: Duration = Duration::from_millis(10);
/// Maximum time. A client that waits longer notices the end of the overload too late.
const LATE: Duration = Duration::from_millis(500);

impl Admission {
    pub(super) fn new(most: usize, target: Duration, now: Time, mutant: Mutant) -> Admission {
        Admission {
            least: most / 64,
            most,
            limit: most / 64,
            starts: true,
            open: 0,
            target,
            until: now + target,
            answered: 0,
            waited: 0,
            peak: 0,
            pace: 0,
            next: now,
            promised: BTreeMap::new(),
            coming: 0,
            looks: now,
            mutant,
        }
    }

    /// Returns the bytes of open requests.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Returns whether there is room for `bytes`. A request that retries (`again`) has precedence.
    fn has_room(&self, bytes: usize, again: bool, now: Time) -> bool {
        let limit = if again || self.next <= now { self.limit } else { self.limit / 2 };
        let taken = self.open + self.coming;
        taken == 0 || taken + bytes <= limit || self.mutant.is(Bug::BusyNever)
    }

    /// Admits a request with `payload` bytes if there is room. Returns the bytes to give back at its end.
    pub(super) fn admit(&mut self, (from, payload): (Addr, usize), again: bool, now: Time) -> Option<usize> {
        let bytes = REQUEST + payload;
        self.forget_promises(now);
        let promised = self.comes(from, bytes);
        if !self.has_room(bytes, again || promised, now) {
            self.peak = self.peak.max(self.limit);
            return None;
        }
        self.open += bytes;
        self.peak = self.peak.max(self.open);
        Some(bytes)
    }

    /// Forgets the promises whose requests did not arrive in time.
    fn forget_promises(&mut self, now: Time) {
        if self.coming > 0 && now >= self.looks {
            self.looks = now + self.target;
            self.promised.retain(|_, (until, _)| *until > now);
            self.coming = self.promised.values().map(|(_, bytes)| bytes).sum();
        }
    }

    /// Uses up a client's promise for a request that has arrived, or for another one in its place. Returns whether
    /// there was a promise.
    fn comes(&mut self, from: Addr, bytes: usize) -> bool {
        let Some((_, promised)) = self.promised.get_mut(&from) else { return false };
        let came = bytes.min(*promised);
        (*promised, self.coming) = (*promised - came, self.coming - came);
        if *promised == 0 {
            self.promised.remove(&from);
        }
        true
    }

    /// Returns whether a request with `payload` bytes is accepted. If so, room is reserved for it for a while.
    pub(super) fn promises(&mut self, (from, payload): (Addr, usize), again: bool, now: Time) -> bool {
        let bytes = REQUEST + payload;
        self.forget_promises(now);
        let room = self.has_room(bytes, again, now);
        if room {
            let (until, promised) = self.promised.entry(from).or_insert((now, 0));
            (*until, *promised) = (now + self.target * 4, *promised + bytes);
            self.coming += bytes;
        }
        self.peak = self.peak.max(if room { self.open + self.coming } else { self.limit });
        room
    }

    /// Returns the time after which a request with `payload` bytes should retry. A client that does not wait that long
    /// gets no place in the queue.
    pub(super) fn comes_again(&mut self, payload: usize, patience: Duration, now: Time) -> Duration {
        if self.mutant.is(Bug::NoRetryAfter) {
            return Duration::ZERO;
        }
        let at = self.next.max(now + SOON);
        let wait = at.since(now);
        if wait >= LATE {
            return LATE;
        }
        if wait <= patience {
            let nanos = 1_000_000_000 * (REQUEST + payload) as u64 / self.pace.max(1);
            self.next = at + Duration::from_nanos(nanos / 2).min(SOON);
        }
        wait
    }

    /// Ends a request. `took` is its response time if this node itself answered it.
    pub(super) fn end(&mut self, bytes: usize, took: Option<Duration>, now: Time) {
        self.open -= bytes;
        if let Some(took) = took {
            self.answered += bytes as u128;
            self.waited += bytes as u128 * took.as_nanos();
        }
        if now >= self.until {
            self.adapt();
            self.until = now + self.target;
            (self.answered, self.waited, self.peak) = (0, 0, self.open);
        }
    }

    fn adapt(&mut self) {
        if self.answered == 0 {
            return;
        }
        let mean = u64::try_from(self.waited / self.answered).unwrap_or(u64::MAX);
        let done = self.answered * 1_000_000_000 / self.target.as_nanos().max(1);
        self.pace = u64::try_from(done).unwrap_or(u64::MAX).max(self.pace - self.pace / 8);
        let target = u64::try_from(self.target.as_nanos()).unwrap_or(u64::MAX);
        if mean > target {
            // The bytes that finish within the target at this rate, but the limit changes only by a bounded factor at
            // once.
            let open = self.limit.min(self.peak) as u128;
            let fits = usize::try_from(open * u128::from(target) / u128::from(mean)).unwrap_or(usize::MAX);
            self.limit = fits.clamp(self.limit / 4, self.limit / 4 * 3).max(self.least);
            self.starts = false;
        } else if self.peak > self.limit / 4 * 3 {
            let more = if self.starts { self.limit } else { self.most / 16 };
            self.limit = (self.limit + more).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Addr = Addr::Client(1);

    #[test]
    fn what_takes_too_long_is_taken_on_less() {
        let ms = Duration::from_millis;
        let mut now = Time(0);
        let mut admission = Admission::new(1 << 20, ms(100), now, Mutant::default());
        let payload = (1 << 14) - REQUEST;
        let mut interval = |admission: &mut Admission, took| {
            let mut open = Vec::new();
            while let Some(bytes) = admission.admit((ANN, payload), true, now) {
                open.push(bytes);
            }
            now = now + ms(101);
            let count = open.len();
            open.into_iter().for_each(|bytes| admission.end(bytes, Some(took), now));
            count
        };
        assert_eq!(interval(&mut admission, ms(10)), 1, "the least to begin with");
        for _ in 0..40 {
            interval(&mut admission, ms(10));
        }
        assert_eq!((interval(&mut admission, ms(10)), admission.open()), (64, 0), "the most");
        let counts = [200, 200, 200].map(|took| interval(&mut admission, ms(took)));
        assert_eq!(counts[1..], [64, 32], "as many as are done in time");
        for _ in 0..20 {
            interval(&mut admission, ms(300));
        }
        assert_eq!(interval(&mut admission, ms(300)), 1, "the least");
        assert!(admission.admit((ANN, 1 << 30), true, now).is_some(), "one of any size, if there is no other");
        assert!(admission.admit((ANN, 0), true, now).is_none());
    }

    #[test]
    fn who_is_refused_comes_again_one_after_another_and_before_newcomers() {
        let ms = Duration::from_millis;
        let now = Time(0) + ms(1000);
        let mut admission = Admission::new(1 << 20, ms(100), now, Mutant::default());
        (admission.limit, admission.pace) = (1 << 16, 1 << 20);
        let payload = (1 << 14) - REQUEST;
        assert!((0..4).all(|_| admission.admit((ANN, payload), false, now).is_some()));
        assert!(!admission.promises((ANN, payload), false, now));
        let mut told = |patience| admission.comes_again(payload, patience, now).as_micros();
        assert_eq!([told(ms(500)), told(ms(500))], [10_000, 17_812], "twice the pace of a mebibyte a second");
        assert_eq!([told(ms(20)), told(ms(20))], [25_625, 25_625], "too late for this one: no place for it");
        (0..100).for_each(|_| assert!(told(ms(900)) <= 500_000));
        admission.next = now + ms(50);
        (0..3).for_each(|_| admission.end(1 << 14, Some(ms(100)), now));
        assert!(admission.admit((ANN, payload), false, now).is_some());
        assert!(admission.admit((ANN, payload), false, now).is_none(), "newcomers get half while others are to come");
        assert!(admission.admit((ANN, payload), true, now).is_some());
        let later = now + ms(100);
        assert!(admission.admit((ANN, payload), false, later).is_some(), "all that were told have had their turn");
    }
}
