//! Where simulated time meets the models: one lock over the agenda and the network, and a bell for each event, rung by madsim.
//!
//! Every event on the agenda has one timer of madsim's, which wakes its [`Wakeup`]. That carries the event out on the spot,
//! without a task: at a thousand operations a second a task of its own would be every second poll of the executor.
//!
//! madsim rings with its timers locked and, when it leaps, before its clock shows the new time. So whatever happens at a ring
//! only wakes tasks and sets no timer, and its time is the event's. A timer is set through `Sleep::reset`, because a fresh
//! madsim sleep never lasts less than a millisecond; so events keep their nanosecond. What is due at once is due one
//! nanosecond later: the clock moves on by more than that with every poll. Timers of one instant ring in an order that depends on
//! nothing but which timers were set and when; where order matters (frames on a link), instants differ.

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

/// What everyone who puts events on the agenda shares.
pub(super) struct Hub {
    time: TimeHandle,
    /// When simulated time began.
    origin: Instant,
    core: Mutex<Core>,
}

pub(super) struct Core {
    pub(super) schedule: Schedule,
    pub(super) net: Net,
    /// Sets madsim's timers; reset each time.
    timer: Sleep,
    hub: Weak<Hub>,
    /// Bells that have rung, to be used again: as many as events were ever under way at once.
    wakeups: Vec<Arc<Wakeup>>,
    stopped: bool,
}

/// Woken by madsim's timer when an event is due. It does not hold the world, for madsim's timers hold it.
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
    /// The hub of the running simulation.
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

    /// True time.
    pub(super) fn now(&self) -> Nanos {
        nanos(self.time.elapsed())
    }

    /// True time, for models that ask for it.
    pub(super) fn time_source(&self) -> TimeSource {
        let time = self.time.clone();
        Arc::new(move || nanos(time.elapsed()))
    }

    /// Works on the agenda and the network at the present time; new events will be kept.
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

    /// Works on what puts no events on the agenda.
    pub(super) fn look<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut lock(&self.core))
    }

    /// Nothing is delivered and nobody is woken any more.
    pub(super) fn stop(&self) {
        lock(&self.core).stopped = true;
    }

    /// Carries out a bell's event.
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
    /// Has a bell rung for what is due at a time to come.
    fn arm(&mut self, instant: Instant, at: Nanos, due: Due) {
        let mut wakeup =
            self.wakeups.pop().unwrap_or_else(|| Arc::new(Wakeup { hub: self.hub.clone(), at: 0, due: Due::Frame(0) }));
        let set = Arc::get_mut(&mut wakeup).expect("nobody keeps a bell that has rung");
        (set.at, set.due) = (at, due);
        let wakeup = Waker::from(wakeup);
        let mut timer = Pin::new(&mut self.timer);
        timer.as_mut().reset(instant);
        let early = timer.poll(&mut Context::from_waker(&wakeup)).is_ready();
        assert!(!early, "the bell was to ring in the past");
    }
}

/// One timer on the agenda, set while its owner waits and cancelled with it.
pub(super) struct Timer {
    hub: Arc<Hub>,
    /// Its timer, and whom that will wake.
    set: Option<(TimerKey, Waker)>,
    fired: Arc<AtomicBool>,
}

impl Timer {
    pub(super) fn new(hub: Arc<Hub>) -> Timer {
        Timer { hub, set: None, fired: Arc::default() }
    }

    /// Whether it is set, now for this waker.
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

    /// Sets it anew; `None` only for [`Schedule::fire`] to end.
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

/// Waits for a point of true time.
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
