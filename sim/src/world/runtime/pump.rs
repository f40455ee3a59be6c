//! Where simulated time meets the models: one lock over the agenda and the network, and one task that keeps the agenda.
//!
//! The pump is woken by madsim's timers only. Whoever puts an earlier event on the agenda arms one more timer with the
//! pump's waker, from where it stands; the pump itself runs only when something is due. A timer is armed through
//! `Sleep::reset`, because a fresh madsim sleep never lasts less than a millisecond; so events keep their nanosecond.

use super::super::net::Net;
use super::super::schedule::{Due, Schedule, TimerKey};
use super::super::{Nanos, TimeSource, lock, nanos};
use madsim::time::{Sleep, TimeHandle};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What the pump and everyone who puts events on the agenda share.
pub(super) struct Hub {
    time: TimeHandle,
    core: Mutex<Core>,
}

pub(super) struct Core {
    pub(super) schedule: Schedule,
    pub(super) net: Net,
    pump: Option<Waker>,
    /// Arms madsim's timers; reset each time.
    timer: Sleep,
    /// When madsim will wake the pump; all in the future.
    armed: BinaryHeap<Reverse<Nanos>>,
    stopped: bool,
}

impl Hub {
    /// The hub of the running simulation, its pump started.
    pub(super) fn start(net: Net) -> Arc<Hub> {
        let hub = Arc::new(Hub {
            time: TimeHandle::current(),
            core: Mutex::new(Core {
                schedule: Schedule::default(),
                net,
                pump: None,
                timer: TimeHandle::current().sleep(Duration::ZERO),
                armed: BinaryHeap::new(),
                stopped: false,
            }),
        });
        let pump = hub.clone();
        madsim::task::spawn(async move { poll_fn(|context| pump.poll(context)).await });
        hub
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
        let result = work(&mut core, now);
        core.arm(&self.time, now);
        result
    }

    /// Works on what puts no events on the agenda.
    pub(super) fn look<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut lock(&self.core))
    }

    /// Ends the pump: nothing is delivered and nobody is woken any more.
    pub(super) fn stop(&self) {
        let mut core = lock(&self.core);
        core.stopped = true;
        if let Some(pump) = core.pump.take() {
            pump.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut core = lock(&self.core);
        if core.stopped {
            return Poll::Ready(());
        }
        match &mut core.pump {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        let now = self.now();
        while core.armed.peek().is_some_and(|Reverse(at)| *at <= now) {
            core.armed.pop();
        }
        while let Some(due) = core.schedule.pop(now) {
            match due {
                Due::Frame(slot) => core.net.deliver(now, slot),
                Due::Timer(key) => core.schedule.fire(key),
            }
        }
        core.arm(&self.time, now);
        Poll::Pending
    }
}

impl Core {
    /// Has madsim wake the pump when the next event is due, unless it will be awake by then.
    fn arm(&mut self, time: &TimeHandle, now: Nanos) {
        let (Some(at), Some(pump)) = (self.schedule.next_due(), &self.pump) else { return };
        if self.armed.peek().is_some_and(|Reverse(armed)| *armed <= at) {
            return;
        }
        let mut timer = Pin::new(&mut self.timer);
        timer.as_mut().reset(time.now_instant() + Duration::from_nanos(at.saturating_sub(now)));
        self.armed.push(Reverse(at));
        if timer.poll(&mut Context::from_waker(pump)).is_ready() {
            pump.wake_by_ref();
        }
    }
}

/// One timer on the agenda, set while its owner waits and cancelled with it.
pub(super) struct Alarm {
    hub: Arc<Hub>,
    key: Option<TimerKey>,
}

impl Alarm {
    pub(super) fn new(hub: Arc<Hub>) -> Alarm {
        Alarm { hub, key: None }
    }

    /// Whether it is set, now for this waker.
    pub(super) fn is_set(&self, waker: &Waker) -> bool {
        self.key.is_some_and(|key| self.hub.look(|core| core.schedule.is_set(key, waker)))
    }

    /// Sets it anew; `None` only for [`Schedule::fire`] to end.
    pub(super) fn set(&mut self, at: Option<Nanos>, waker: Waker) -> TimerKey {
        let old = self.key;
        let key = self.hub.with(|core, _| {
            if let Some(old) = old {
                core.schedule.cancel(old);
            }
            core.schedule.timer(at, waker)
        });
        self.key = Some(key);
        key
    }

    pub(super) fn key(&self) -> Option<TimerKey> {
        self.key
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.hub.look(|core| core.schedule.cancel(key));
        }
    }
}

/// Waits for a point of true time.
pub struct TrueSleep {
    alarm: Alarm,
    at: Nanos,
}

impl TrueSleep {
    pub(super) fn new(hub: Arc<Hub>, at: Nanos) -> TrueSleep {
        TrueSleep { alarm: Alarm::new(hub), at }
    }
}

impl Future for TrueSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.alarm.hub.now() >= this.at {
            return Poll::Ready(());
        }
        if !this.alarm.is_set(context.waker()) {
            this.alarm.set(Some(this.at), context.waker().clone());
        }
        Poll::Pending
    }
}
