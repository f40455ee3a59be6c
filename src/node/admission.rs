//! Admission control: how many of the requests that come a node takes on, of each mode its own.
//!
//! Bytes of requests may be open up to a limit that moves. If answers take
//! longer than a target, requests only wait in line, and fewer are taken on; if they do not, and the limit was reached, more are.
//! It is additive increase and multiplicative decrease, as of TCP's window, with time as the signal. The rest is refused as
//! busy at once, while that costs nothing yet. So what is taken on is done while its client still waits, and a mode that is
//! overloaded leaves the other its share.
//!
//! Who is refused is told when to come again: one after another, at twice the pace at which requests are done, since to refuse one
//! more is cheaper than to idle, and within half a second, so that the end of the load is noticed. Who comes when told goes
//! before newcomers, who get at most half of the limit meanwhile.

use crate::mutant::{Bug, Mutant};
use crate::types::{Addr, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests are counted with so many bytes besides their payload.
const REQUEST: usize = 256;

/// How many bytes of requests of a mode may be open.
#[derive(Debug)]
pub(super) struct Admission {
    least: usize,
    most: usize,
    limit: usize,
    open: usize,
    /// How long answers should take at most.
    target: Duration,
    /// The present interval: until when it lasts, bytes answered in it, how long they took by bytes, and most bytes open.
    until: Time,
    answered: u128,
    waited: u128,
    peak: usize,
    /// Answers have never been slow: the limit is doubled, as TCP's slow start does.
    starts: bool,
    /// Bytes done a second, as far as is known.
    pace: u64,
    /// When the next one that is refused is to come again.
    next: Time,
    /// Bytes that were told to come, by who asked, and until when they are expected.
    promised: BTreeMap<Addr, (Time, usize)>,
    coming: usize,
    /// When to look next for promises that were not kept.
    looks: Time,
    mutant: Mutant,
}

/// Earliest time after which one that was refused is to come again.
const SOON: Duration = Duration::from_millis(10);
/// And the latest: who waits longer finds out too late that the load has gone.
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

    /// Bytes of open requests.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether there is room for so many bytes; who was told to come `again` goes before the others.
    fn has_room(&self, bytes: usize, again: bool, now: Time) -> bool {
        let limit = if again || self.next <= now { self.limit } else { self.limit / 2 };
        let taken = self.open + self.coming;
        taken == 0 || taken + bytes <= limit || self.mutant.is(Bug::BusyNever)
    }

    /// Takes on a request with so many bytes of payload, if there is room; the bytes to give back later.
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

    /// What was promised room and did not come in time.
    fn forget_promises(&mut self, now: Time) {
        if self.coming > 0 && now >= self.looks {
            self.looks = now + self.target;
            self.promised.retain(|_, (until, _)| *until > now);
            self.coming = self.promised.values().map(|(_, bytes)| bytes).sum();
        }
    }

    /// What was promised room, or another request in its place, has come; whether there was such.
    fn comes(&mut self, from: Addr, bytes: usize) -> bool {
        let Some((_, promised)) = self.promised.get_mut(&from) else { return false };
        let came = bytes.min(*promised);
        (*promised, self.coming) = (*promised - came, self.coming - came);
        if *promised == 0 {
            self.promised.remove(&from);
        }
        true
    }

    /// Whether a request with so many bytes of payload is taken on: then there is room for it for a while.
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

    /// After how long one with so many bytes of payload is to come again. If it does not wait for so long it gets no place in
    /// the line.
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

    /// A request has ended; `took`: after how long it was answered, if that was by this node itself.
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
            // As many as are done within the target at this pace, but not all of the change at once.
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
