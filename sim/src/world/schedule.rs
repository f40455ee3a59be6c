//! The world's one agenda: frames to deliver and sleepers to wake, ordered by (time, sequence).
//!
//! madsim's own timers cannot be cancelled: a sleep that loses a race still fires, and wakes its task for nothing. A
//! driver that waits for "the next message or my deadline" would leave one behind every turn. Here a cancelled timer keeps its
//! place and does nothing when its time comes.

use super::Nanos;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::task::Waker;

/// Names one timer; not reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

/// Something that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// The frame in this slot of the network's table arrives.
    Frame(u32),
    /// This timer fires.
    Timer(TimerKey),
}

/// A line of the agenda; the greatest comes first.
struct Entry {
    at: Nanos,
    sequence: u64,
    due: Due,
}

impl Entry {
    fn order(&self) -> Reverse<(Nanos, u64)> {
        Reverse((self.at, self.sequence))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Entry {}

#[derive(Default)]
struct Timer {
    generation: u32,
    waker: Option<Waker>,
}

/// The agenda.
#[derive(Default)]
pub struct Schedule {
    heap: BinaryHeap<Entry>,
    sequence: u64,
    timers: Vec<Timer>,
    free: Vec<u32>,
    /// No event can be due by this any more.
    now: Nanos,
    /// When events are due of which nobody has been told.
    unarmed: Vec<Nanos>,
}

impl Schedule {
    /// Puts a frame's arrival on the agenda.
    pub fn frame(&mut self, at: Nanos, slot: u32) {
        self.push(at, Due::Frame(slot));
    }

    /// Sets a timer that wakes `waker` at `at`; with `None` it never fires by itself, only by [`Schedule::fire`].
    pub fn timer(&mut self, at: Option<Nanos>, waker: Waker) -> TimerKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.timers.push(Timer::default());
            u32::try_from(self.timers.len() - 1).expect("fewer than 2³² timers")
        });
        let timer = &mut self.timers[slot as usize];
        timer.waker = Some(waker);
        let key = TimerKey { slot, generation: timer.generation };
        if let Some(at) = at {
            self.push(at, Due::Timer(key));
        }
        key
    }

    /// Whether the timer is still to fire; if so, it will wake `waker` instead.
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
        if let Some(waker) = self.live(key).and_then(|timer| timer.waker.take()) {
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

    /// It is `now`: what is asked for from here on comes later.
    pub fn begin(&mut self, now: Nanos) {
        self.now = now;
    }

    /// When an event is due that was put on the agenda since the last time all were told; each once, cancelled ones too.
    pub fn unarmed(&mut self) -> Option<Nanos> {
        self.unarmed.pop()
    }

    /// Takes the first event if it is due by then, and when it is due.
    pub fn pop(&mut self, by: Nanos) -> Option<(Nanos, Due)> {
        self.heap.peek().filter(|first| first.at <= by)?;
        self.heap.pop().map(|first| (first.at, first.due))
    }

    fn push(&mut self, at: Nanos, due: Due) {
        let at = at.max(self.now + 1);
        self.unarmed.push(at);
        self.heap.push(Entry { at, sequence: self.sequence, due });
        self.sequence += 1;
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
    use std::sync::Arc;
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
    fn events_come_by_time_then_in_the_order_they_were_asked_for() {
        let mut schedule = Schedule::default();
        for (at, slot) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            schedule.frame(at, slot);
        }
        assert_eq!(std::iter::from_fn(|| schedule.unarmed()).count(), 4, "each is told");
        assert_eq!(schedule.pop(2), None);
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop(9)).collect();
        assert_eq!(order, [(3, 1), (3, 3), (5, 0), (5, 2)].map(|(at, slot)| (at, Due::Frame(slot))));
    }

    #[test]
    fn what_is_due_at_once_comes_a_nanosecond_later() {
        let mut schedule = Schedule::default();
        schedule.begin(7);
        schedule.frame(3, 0);
        assert_eq!((schedule.unarmed(), schedule.unarmed()), (Some(8), None));
        assert_eq!(schedule.pop(20), Some((8, Due::Frame(0))));
    }

    #[test]
    fn a_cancelled_timer_is_forgotten_and_a_stale_key_is_harmless() {
        let mut schedule = Schedule::default();
        let count = Arc::new(Count::default());
        let waker = || Waker::from(count.clone());
        let first = schedule.timer(Some(10), waker());
        assert!(schedule.is_set(first, &waker()));
        schedule.cancel(first);
        let second = schedule.timer(Some(20), waker());
        schedule.cancel(first);
        assert_eq!(schedule.pop(20), Some((10, Due::Timer(first))));
        schedule.fire(first);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert_eq!(schedule.pop(20), Some((20, Due::Timer(second))));
        schedule.fire(second);
        schedule.fire(second);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!schedule.is_set(second, &waker()));
    }
}
