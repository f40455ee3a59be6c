//! Ordered connections: a link that behaves like the deployed transport (`seaworthy::node::tcp`) over TCP.
//!
//! There is one stream per direction, dialled by the sender. A lost frame is retransmitted after a time-out and delays
//! all frames behind it (head-of-line blocking). A cut does not lose frames sent during it: they arrive late, when TCP
//! retries after the cut, unless the cut lasts longer than the sender's silence time-out. A connection that breaks
//! loses all frames in flight. It is dialled again after a pause that grows with each failure; frames sent meanwhile
//! wait.
//!
//! Caveat: a blocked or narrow link delays frames only; acknowledgements in the reverse direction are not modelled.

use super::super::{Nanos, nanos};
use super::link::Link;
use seaworthy::types::Rng;
use std::time::Duration;

/// TCP's first retransmission time-out; doubled each time.
const RETRANSMIT: Nanos = nanos_of_ms(200);
/// A side that hears nothing for this long closes the connection.
const SILENCE: Nanos = nanos_of_ms(4_000);
/// A sender closes the connection after a frame is lost this many times in a row.
const LOSSES: u32 = 5;
/// Minimum pause before dialling again: doubled with each failure; the actual pause is drawn between half and all of
/// it.
const BACKOFF_LEAST: Nanos = nanos_of_ms(50);
const BACKOFF_MOST: Nanos = nanos_of_ms(2_000);

const fn nanos_of_ms(ms: u64) -> Nanos {
    ms * 1_000_000
}

/// The state of an ordered connection.
pub(super) struct Stream {
    /// Whether the sender pauses before it dials again. A client dials with its next request.
    patient: bool,
    /// When the connection broke; `None` once it has been dialled again.
    pub(super) broken: Option<Nanos>,
    /// When the connection is up, or will be up again.
    up: Nanos,
    backoff: Nanos,
    /// The receiver is reachable from this time on, as far as cuts are concerned.
    reachable: Nanos,
    /// When the current cut began.
    pub(super) cut_since: Option<Nanos>,
}

impl Stream {
    pub(super) fn new(patient: bool) -> Stream {
        Stream { patient, broken: None, up: 0, backoff: BACKOFF_LEAST, reachable: 0, cut_since: None }
    }

    /// The connection broke at `at`; the next frame dials again.
    pub(super) fn breaks(&mut self, at: Nanos) {
        if at.saturating_sub(self.up) > BACKOFF_MOST {
            self.backoff = BACKOFF_LEAST;
        }
        self.broken = Some(at);
    }

    /// The sender has a new process, which dials afresh.
    pub(super) fn begins(&mut self) {
        (self.broken, self.backoff) = (None, BACKOFF_LEAST);
    }

    /// Returns the earliest time from `now` on at which a frame can leave. The receiver has been reachable since
    /// `reachable`.
    pub(super) fn departs(&mut self, now: Nanos, reachable: Nanos, rng: &mut Rng) -> Nanos {
        let reachable = reachable.max(self.reachable);
        if let Some(mut dial) = self.broken.take() {
            loop {
                let half = self.backoff / 2;
                dial += if self.patient { half + rng.below(half + 1) } else { 0 };
                self.backoff = (self.backoff * 2).min(BACKOFF_MOST);
                if dial >= reachable {
                    break;
                }
                if !self.patient {
                    dial = reachable;
                }
            }
            self.up = dial.max(if self.patient { 0 } else { now });
        }
        self.up.max(now)
    }

    /// Returns the delay of a frame due to retransmissions; `lost` draws whether one attempt is lost. `None` if the
    /// sender closes the connection.
    pub(super) fn retransmits(lost: impl FnMut() -> bool) -> Option<Nanos> {
        let losses = std::iter::repeat_with(lost).take(LOSSES as usize).take_while(|lost| *lost).count() as u32;
        (losses < LOSSES).then(|| RETRANSMIT * ((1 << losses) - 1))
    }

    /// The cut ends at `now`. Returns when TCP retries; `None` if the sender has closed the connection.
    pub(super) fn resumes(&mut self, now: Nanos) -> Option<Nanos> {
        let since = self.cut_since.take().unwrap_or(now);
        if now - since >= SILENCE {
            self.breaks(since + SILENCE);
            self.reachable = now;
            return None;
        }
        (0..).map(|tries| since + RETRANSMIT * ((2 << tries) - 1)).find(|again| *again >= now)
    }
}

impl Link {
    /// Breaks the ordered connection, if the link is one. Frames in flight are lost in any case; returns how many.
    pub(super) fn breaks(&mut self, now: Nanos) -> u32 {
        self.stream.iter_mut().for_each(|stream| stream.breaks(now));
        self.cut()
    }

    /// The time of a handshake: two round trips.
    pub(super) fn handshake(&self) -> Nanos {
        4 * nanos(self.base.latency.base.max(Duration::from_micros(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_frame_lost_twice_is_six_hundred_milliseconds_late_and_patience_ends() {
        let losing = |mut times: u32| {
            Stream::retransmits(move || {
                let lost = times > 0;
                times = times.saturating_sub(1);
                lost
            })
        };
        assert_eq!([0, 1, 2, 4].map(losing), [Some(0), Some(200 * MS), Some(600 * MS), Some(3_000 * MS)]);
        assert_eq!(losing(5), None);
    }

    #[test]
    fn after_a_cut_tcp_tries_again_or_the_connection_is_gone() {
        let mut stream = Stream::new(true);
        for (lasted, again) in [(1, Some(200)), (200, Some(200)), (201, Some(600)), (2_000, Some(3_000)), (4_000, None)]
        {
            stream.cut_since = Some(10_000 * MS);
            assert_eq!(stream.resumes((10_000 + lasted) * MS), again.map(|ms| (10_000 + ms) * MS), "{lasted} ms");
        }
        assert_eq!(stream.broken, Some(14_000 * MS));
    }

    #[test]
    fn a_broken_connection_is_dialled_with_growing_pauses() {
        let mut rng = Rng::new(1, "stream");
        let mut stream = Stream::new(true);
        stream.breaks(10_000 * MS);
        let up = stream.departs(10_000 * MS, 0, &mut rng);
        assert!((10_025 * MS..=10_050 * MS).contains(&up), "{up}");
        assert_eq!(stream.departs(10_001 * MS, 0, &mut rng), up, "the same attempt");
        // The receiver is down for three seconds; failed attempts make the pauses grow.
        stream.breaks(10_100 * MS);
        let up = stream.departs(13_200 * MS, 13_100 * MS, &mut rng);
        assert!((13_100 * MS..=15_200 * MS).contains(&up), "{up}");
        assert_eq!(stream.departs(up + 5, 0, &mut rng), up + 5);
        let mut client = Stream::new(false);
        client.breaks(7 * MS);
        assert_eq!(client.departs(9 * MS, 8 * MS, &mut rng), 9 * MS, "a client does not wait");
    }
}
