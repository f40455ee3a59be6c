//! The readings of a node's clocks: a pure function of true time and of the faults applied to them.
//!
//! One oscillator drives both clocks. Its rate is off by a drift, or zero while frozen. The **monotonic** clock is its
//! reading: it starts at an offset of its own, never goes back, and continues across restarts of the node's process, as
//! a machine's clock does. The **wall** clock is the monotonic clock plus an offset that can jump either way. A strobe
//! moves it back and forth.

use super::Nanos;
use super::bug::WorldBug;
use seaworthy::types::{Time, Wall};
use std::time::Duration;

/// The settings of a node's clocks without faults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ClockSettings {
    /// The monotonic clock's reading at true time 0.
    pub start: Nanos,
    /// The wall clock's reading at true time 0, in nanoseconds since the Unix epoch.
    pub epoch: Nanos,
    /// How much too fast the oscillator is, in parts per million; negative means too slow.
    pub drift_ppm: i64,
    /// The bug planted in the clocks.
    pub bug: Option<WorldBug>,
}

/// A clock fault. If several affect the rate, the newest one applies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ClockFault {
    /// The wall clock jumps by this many nanoseconds. The jump is permanent.
    Jump(i64),
    /// The oscillator's rate is off by this many additional parts per million.
    Drift(i64),
    /// Both clocks stop.
    Freeze,
    /// The wall clock shows this many additional nanoseconds in every second period.
    Strobe {
        /// The offset, in nanoseconds; may be negative.
        by: i64,
        /// How long the clock stays on each side.
        period: Duration,
    },
}

/// Parts in a million.
const MILLION: i128 = 1_000_000;

/// The state of a node's clocks.
#[derive(Clone, Debug)]
pub struct ClockModel {
    /// The clocks without faults.
    settings: ClockSettings,
    /// True time, the monotonic reading at that time, and the rate since then.
    anchor: (Nanos, Nanos, i64),
    wall_offset: i64,
    strobe: Option<(Nanos, i64, Nanos)>,
}

impl ClockModel {
    /// Clocks at true time 0.
    #[must_use]
    pub fn new(settings: ClockSettings) -> ClockModel {
        ClockModel {
            settings,
            anchor: (0, settings.start, settings.drift_ppm),
            wall_offset: signed(i128::from(settings.epoch) - i128::from(settings.start)),
            strobe: None,
        }
    }

    /// Returns the monotonic clock at true time `at`, which must not be before the last change.
    #[must_use]
    pub fn monotonic(&self, at: Nanos) -> Time {
        let (since, reading, ppm) = self.anchor;
        let elapsed = at.saturating_sub(since);
        // The common case; a 128-bit division for each reading is measurably slow.
        if ppm == 0 {
            return Time(reading.saturating_add(elapsed));
        }
        Time(reading.saturating_add(unsigned(i128::from(elapsed) * (MILLION + i128::from(ppm)) / MILLION)))
    }

    /// Returns the wall clock at true time `at`.
    #[must_use]
    pub fn wall(&self, at: Nanos) -> Wall {
        let thrown = match self.strobe {
            Some((since, by, period)) if (at.saturating_sub(since) / period) % 2 == 1 => by,
            _ => 0,
        };
        Wall(unsigned(i128::from(self.monotonic(at).0) + i128::from(self.wall_offset) + i128::from(thrown)))
    }

    /// Returns the earliest true time at which the monotonic clock shows at least `deadline`, if the clock is not
    /// changed before then; `None` while it is stopped.
    #[must_use]
    pub fn true_time_of(&self, deadline: Time) -> Option<Nanos> {
        let (since, reading, ppm) = self.anchor;
        let ahead = i128::from(deadline.0.saturating_sub(reading));
        let rate = MILLION + i128::from(ppm);
        if ahead > 0 && rate <= 0 {
            return None;
        }
        let rate = rate.max(1);
        Some(since.saturating_add(unsigned((ahead * MILLION + rate - 1) / rate)))
    }

    /// Applies `fault` to the clocks at true time `at`.
    pub fn disturb(&mut self, at: Nanos, fault: ClockFault) {
        match fault {
            ClockFault::Jump(by) => {
                if self.settings.bug != Some(WorldBug::JumpsIgnored) {
                    self.wall_offset = self.wall_offset.saturating_add(by);
                }
            }
            ClockFault::Drift(ppm) => self.set_rate(at, (self.settings.drift_ppm + ppm).max(-MILLION as i64)),
            ClockFault::Freeze => self.set_rate(at, -MILLION as i64),
            ClockFault::Strobe { by, period } => self.strobe = Some((at, by, super::nanos(period).max(1))),
        }
    }

    /// Ends `fault` at true time `at`: rate and strobe return to normal. A jump is permanent.
    pub fn settle(&mut self, at: Nanos, fault: ClockFault) {
        match fault {
            ClockFault::Jump(_) => {}
            ClockFault::Drift(_) | ClockFault::Freeze => self.set_rate(at, self.settings.drift_ppm),
            ClockFault::Strobe { .. } => self.strobe = None,
        }
    }

    /// Whether these readings at true time `at` differ from those of clocks without faults: first the monotonic clock,
    /// then the wall clock relative to it. Computed from true time, not from the faults that were applied.
    #[must_use]
    pub fn differs(&self, at: Nanos, time: Time, wall: Wall) -> (bool, bool) {
        let ClockSettings { start, epoch, drift_ppm, .. } = self.settings;
        let elapsed = i128::from(at) * (MILLION + i128::from(drift_ppm)) / MILLION;
        // A change of rate truncates a fraction of a nanosecond.
        let rate = (i128::from(time.0) - i128::from(start) - elapsed).abs() > 1_000;
        let date = (i128::from(wall.0) - i128::from(time.0)) != i128::from(epoch) - i128::from(start);
        (rate, date)
    }

    /// How much too early a sleep ends.
    #[must_use]
    pub fn impatience(&self) -> Nanos {
        if self.settings.bug == Some(WorldBug::SleepsEndEarly) { 1_000_000 } else { 0 }
    }

    fn set_rate(&mut self, at: Nanos, ppm: i64) {
        self.anchor = (at, self.monotonic(at).0, ppm);
    }
}

fn unsigned(n: i128) -> u64 {
    n.clamp(0, i128::from(u64::MAX)) as u64
}

fn signed(n: i128) -> i64 {
    n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    fn model(drift_ppm: i64) -> ClockModel {
        ClockModel::new(ClockSettings { start: 7 * S, epoch: 1_000 * S, drift_ppm, bug: None })
    }

    #[test]
    fn drift_offsets_and_jumps_are_as_configured() {
        let mut clock = model(200);
        assert_eq!(clock.monotonic(0), Time(7 * S));
        assert_eq!(clock.monotonic(10 * S), Time(17 * S + 2_000_000));
        assert_eq!(clock.wall(10 * S), Wall(1_010 * S + 2_000_000));
        clock.disturb(10 * S, ClockFault::Jump(-(60 * S as i64)));
        assert_eq!(clock.monotonic(10 * S), Time(17 * S + 2_000_000), "a jump leaves monotonic time alone");
        assert_eq!(clock.wall(10 * S), Wall(950 * S + 2_000_000));
        clock.disturb(10 * S, ClockFault::Drift(-500_200));
        assert_eq!(clock.monotonic(12 * S), Time(18 * S + 2_000_000), "half as fast");
        clock.settle(12 * S, ClockFault::Drift(-500_200));
        assert_eq!(clock.monotonic(13 * S), Time(19 * S + 2_000_000 + 200_000));
    }

    #[test]
    fn a_frozen_clock_stands_still_and_a_strobe_alternates() {
        let mut clock = model(0);
        clock.disturb(S, ClockFault::Freeze);
        assert_eq!((clock.monotonic(9 * S), clock.wall(9 * S)), (Time(8 * S), Wall(1_001 * S)));
        assert_eq!(clock.true_time_of(Time(8 * S)), Some(S));
        assert_eq!(clock.true_time_of(Time(8 * S + 1)), None);
        clock.settle(9 * S, ClockFault::Freeze);
        assert_eq!(clock.true_time_of(Time(9 * S)), Some(10 * S));
        let strobe = ClockFault::Strobe { by: -(5 * S as i64), period: Duration::from_secs(1) };
        clock.disturb(10 * S, strobe);
        assert_eq!([10, 11, 12].map(|t| clock.wall(t * S).0 / S), [1_002, 998, 1_004]);
        clock.settle(13 * S, strobe);
        assert_eq!(clock.wall(13 * S), Wall(1_005 * S));
    }

    proptest! {
        /// Monotonic time never goes back, and `true_time_of` returns the first moment at which the deadline is
        /// reached.
        #[test]
        fn monotonic_and_its_inverse_agree(
            drift in -1_000i64..1_000,
            steps in prop::collection::vec((0u64..S, 0u8..5, -2_000_000i64..2_000_000), 1..20),
            ahead in 1u64..5 * S,
        ) {
            let (mut clock, mut at) = (model(drift), 0);
            for (wait, what, amount) in steps {
                let before = clock.monotonic(at);
                at += wait;
                prop_assert!(clock.monotonic(at) >= before);
                let shown = clock.monotonic(at);
                match what {
                    0 => clock.disturb(at, ClockFault::Jump(amount)),
                    1 => clock.disturb(at, ClockFault::Drift(amount)),
                    2 => clock.disturb(at, ClockFault::Freeze),
                    _ => clock.settle(at, ClockFault::Freeze),
                }
                prop_assert_eq!(clock.monotonic(at), shown, "no change moves the present reading");
            }
            let deadline = Time(clock.monotonic(at).0 + ahead);
            if let Some(when) = clock.true_time_of(deadline) {
                prop_assert!(clock.monotonic(when) >= deadline);
                prop_assert!(clock.monotonic(when - 1) < deadline);
            }
        }
    }
}
