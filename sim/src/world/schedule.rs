//! The world's event schedule: frames to deliver and sleepers to wake.
//!
//! madsim's own timers cannot be cancelled: a sleep that loses a race still fires and wakes its task for nothing. A
//! driver that waits for "the next message or my deadline" would leave one behind every turn. A timer of this schedule
//! has a key by which it can be cancelled; then nothing happens when its time comes.
//!
//! The owner of the schedule collects new events with [`Schedule::take`] and keeps them until they are due. Events of
//! the same instant have no defined order.

use super::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Waker;

/// Identifies one timer; not reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

/// An event that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// The frame in this slot of the network's flight table arrives.
    Frame(u32),
    /// This timer fires.
    Timer(TimerKey),
}

#[derive(Default)]
struct Timer {
    generation: u32,
    waker: Option<Waker>,
    /// Set when the timer has fired.
    fired: Arc<AtomicBool>,
}

/// The event schedule.
#[derive(Default)]
pub struct Schedule {
    timers: Vec<Timer>,
    free: Vec<u32>,
    /// The current time; new events are later than this.
    now: Nanos,
    /// Events that have not been taken yet.
    new: Vec<(Nanos, Due)>,
}

impl Schedule {
    /// Schedules a frame's arrival.
    pub fn frame(&mut self, at: Nanos, slot: u32) {
        self.push(at, Due::Frame(slot));
    }

    /// Sets a timer that wakes `waker` at `at` and sets `fired`. With `None` it never fires on its own, only through
    /// [`Schedule::fire`].
    pub fn timer(&mut self, at: Option<Nanos>, waker: Waker, fired: Arc<AtomicBool>) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.timers.push(Timer::default());
            u32::try_from(self.timers.len() - 1).expect("fewer than 2³² timers")
        });
        let timer = &mut self.timers[slot as usize];
        (timer.waker, timer.fired) = (Some(waker), fired);
        let key = TimerKey { slot, generation: timer.generation };
        if let Some(at) = at {
            self.push(at, Due::Timer(key));
        }
        key
    }

    /// Whether the timer has yet to fire. If so, it will wake `waker` instead of the previous waker.
    pub fn is_set(&mut self, key: TimerKey, waker: &Waker) -> bool {
        match self.live(key).and_then(|timer| timer.waker.as_mut()) {
            Some(old) => {
                old.clone_from(waker);
                true
            }
            None => false,
        }
    }

    /// Fires the timer now, unless it has fired or was cancelled.
    pub fn fire(&mut self, key: TimerKey) {
        let Some(timer) = self.live(key) else { return };
        timer.fired.store(true, Relaxed);
        if let Some(waker) = timer.waker.take() {
            self.release(key);
            waker.wake();
        }
    }

    /// Cancels the timer, unless it has fired.
    pub fn cancel(&mut self, key: TimerKey) {
        if self.live(key).is_some() {
            self.release(key);
        }
    }

    /// Sets the current time: events added from here on come later.
    pub fn begin(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Takes an event added since the last call, and its due time.
    pub fn take(&mut self) -> Option<(Nanos, Due)> {
        self.new.pop()
    }

    fn push(&mut self, at: Nanos, due: Due) {
        self.new.push((at.max(self.now + 1), due));
    }

    fn live(&mut self, key: TimerKey) -> Option<&mut Timer> {
        self.timers.get_mut(key.slot as usize).filter(|timer| timer.generation == key.generation)
    }

    fn release(&mut self, key: TimerKey) {
        let timer = &mut self.timers[key.slot as usize];
        timer.generation = timer.generation.wrapping_add(1);
        timer.waker = None;
        self.free.push(key.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_event_is_taken_once_and_what_is_due_at_once_comes_a_nanosecond_later() {
        let mut schedule = Schedule::default();
        schedule.begin(7);
        schedule.frame(3, 0);
        schedule.frame(9, 1);
        let mut taken: Vec<_> = std::iter::from_fn(|| schedule.take()).collect();
        taken.sort_by_key(|(at, _)| *at);
        assert_eq!(taken, [(8, Due::Frame(0)), (9, Due::Frame(1))]);
    }

    #[test]
    fn a_cancelled_timer_is_forgotten_and_a_stale_key_is_harmless() {
        let mut schedule = Schedule::default();
        let count = Arc::new(Count::default());
        let waker = || Waker::from(count.clone());
        let first = schedule.timer(Some(10), waker(), Arc::default());
        assert!(schedule.is_set(first, &waker()));
        schedule.cancel(first);
        let fired = Arc::<AtomicBool>::default();
        let second = schedule.timer(Some(20), waker(), fired.clone());
        schedule.cancel(first);
        assert_eq!(schedule.take(), Some((20, Due::Timer(second))));
        schedule.fire(first);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        schedule.fire(second);
        schedule.fire(second);
        assert_eq!((count.0.load(Ordering::Relaxed), fired.load(Relaxed)), (1, true));
        assert!(!schedule.is_set(second, &waker()));
    }
}
