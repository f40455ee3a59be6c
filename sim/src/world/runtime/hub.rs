//! Connects simulated time to the models: one lock over the event schedule and the network, and a wakeup per event,
//! woken by madsim.
//!
//! Every scheduled event has one madsim timer, which wakes its [`Wakeup`]. The wakeup executes the event immediately,
//! without a task: at a thousand operations a second, a task would account for every second poll of the executor.
//!
//! madsim fires a timer while its timers are locked and, when it skips ahead, before its clock shows the new time. So
//! an event only wakes tasks and sets no timer, and it happens at its own scheduled time. A timer is set through
//! `Sleep::reset`, because a fresh madsim sleep lasts at least a millisecond; this way events keep nanosecond
//! precision. An event that is due immediately is scheduled one nanosecond later: the clock advances by more than that
//! with every poll. Timers of the same instant fire in an order that depends only on which timers were set and when.
//! Where order matters (frames on a link), the instants differ.

use super::super::net::Net;
use super::super::schedule::{Due, Schedule, TimerKey};
use super::super::{Nanos, TimeSource, lock, nanos};
use madsim::time::{Instant, Sleep, TimeHandle};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// State shared by everything that schedules events.
pub(super) struct Hub {
    time: TimeHandle,
    /// The start of simulated time.
    origin: Instant,
    core: Mutex<Core>,
}

pub(super) struct Core {
    pub(super) schedule: Schedule,
    pub(super) net: Net,
    /// Sets madsim's timers; reset for each event.
    timer: Sleep,
    hub: Weak<Hub>,
    /// Used wakeups, kept for reuse: as many as the maximum number of events pending at once.
    wakeups: Vec<Arc<Wakeup>>,
    stopped: bool,
}

/// Woken by madsim's timer when an event is due. It holds the hub weakly, because madsim's timers hold the wakeup.
struct Wakeup {
    hub: Weak<Hub>,
    at: Nanos,
    due: Due,
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        if let Some(hub) = self.hub.upgrade() {
            hub.ring(self);
        }
    }
}

impl Hub {
    /// Creates the hub of the running simulation.
    pub(super) fn start(net: Net) -> Arc<Hub> {
        let time = TimeHandle::current();
        Arc::new_cyclic(|hub| Hub {
            origin: time.now_instant() - time.elapsed(),
            core: Mutex::new(Core {
                schedule: Schedule::default(),
                net,
                timer: time.sleep(Duration::ZERO),
                hub: hub.clone(),
                wakeups: Vec::new(),
                stopped: false,
            }),
            time,
        })
    }

    /// Returns the true time.
    pub(super) fn now(&self) -> Nanos {
        nanos(self.time.elapsed())
    }

    /// Returns a source of true time, for the models.
    pub(super) fn time_source(&self) -> TimeSource {
        let time = self.time.clone();
        Arc::new(move || nanos(time.elapsed()))
    }

    /// Runs `work` on the schedule and the network at the current time, then sets timers for the new events.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Core, Nanos) -> T) -> T {
        let mut core = lock(&self.core);
        let now = self.now();
        core.schedule.begin(now);
        let result = work(&mut core, now);
        while let Some((at, due)) = core.schedule.take() {
            core.arm(self.origin + Duration::from_nanos(at), at, due);
        }
        result
    }

    /// Runs `work`, which must not schedule events.
    pub(super) fn look<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut lock(&self.core))
    }

    /// Stops the hub: no event is executed any more.
    pub(super) fn stop(&self) {
        lock(&self.core).stopped = true;
    }

    /// Executes a wakeup's event.
    fn ring(&self, wakeup: Arc<Wakeup>) {
        let mut core = lock(&self.core);
        if core.stopped {
            return;
        }
        match wakeup.due {
            Due::Frame(slot) => core.net.deliver(self.now().max(wakeup.at), slot),
            Due::Timer(key) => core.schedule.fire(key),
        }
        core.wakeups.push(wakeup);
    }
}

impl Core {
    /// Sets a madsim timer for an event in the future.
    fn arm(&mut self, instant: Instant, at: Nanos, due: Due) {
        let mut wakeup =
            self.wakeups.pop().unwrap_or_else(|| Arc::new(Wakeup { hub: self.hub.clone(), at: 0, due: Due::Frame(0) }));
        let set = Arc::get_mut(&mut wakeup).expect("a wakeup that has fired has no other owner");
        (set.at, set.due) = (at, due);
        let wakeup = Waker::from(wakeup);
        let mut timer = Pin::new(&mut self.timer);
        timer.as_mut().reset(instant);
        let early = timer.poll(&mut Context::from_waker(&wakeup)).is_ready();
        assert!(!early, "a wakeup in the past");
    }
}

/// One timer of the schedule, set while its owner waits and cancelled when dropped.
pub(super) struct Timer {
    hub: Arc<Hub>,
    /// The timer's key, and the waker that it will wake.
    set: Option<(TimerKey, Waker)>,
    fired: Arc<AtomicBool>,
}

impl Timer {
    pub(super) fn new(hub: Arc<Hub>) -> Timer {
        Timer { hub, set: None, fired: Arc::default() }
    }

    /// Whether the timer is set. If so, it will wake this waker.
    pub(super) fn is_set(&mut self, waker: &Waker) -> bool {
        let Some((key, woken)) = &mut self.set else { return false };
        if self.fired.load(Relaxed) {
            return false;
        }
        if woken.will_wake(waker) {
            return true;
        }
        woken.clone_from(waker);
        let key = *key;
        self.hub.look(|core| core.schedule.is_set(key, waker))
    }

    /// Sets the timer again. With `None` it fires only through [`Schedule::fire`].
    pub(super) fn set(&mut self, at: Option<Nanos>, waker: Waker) -> TimerKey {
        let old = self.key();
        self.fired.store(false, Relaxed);
        let (woken, fired) = (waker.clone(), self.fired.clone());
        let key = self.hub.with(|core, _| {
            if let Some(old) = old {
                core.schedule.cancel(old);
            }
            core.schedule.timer(at, waker, fired)
        });
        self.set = Some((key, woken));
        key
    }

    pub(super) fn key(&self) -> Option<TimerKey> {
        self.set.as_ref().map(|(key, _)| *key)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key() {
            self.hub.look(|core| core.schedule.cancel(key));
        }
    }
}

/// Waits until a true time.
pub struct TrueSleep {
    timer: Timer,
    at: Nanos,
}

impl TrueSleep {
    pub(super) fn new(hub: Arc<Hub>, at: Nanos) -> TrueSleep {
        TrueSleep { timer: Timer::new(hub), at }
    }
}

impl Future for TrueSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.timer.is_set(context.waker()) {
            return Poll::Pending;
        }
        if this.timer.hub.now() >= this.at {
            return Poll::Ready(());
        }
        this.timer.set(Some(this.at), context.waker().clone());
        Poll::Pending
    }
}
