//! Room for large frames of clients while they arrive, bounded in bytes for all of them together.
//!
//! A connection without room is not read, so TCP slows its sender down. A frame keeps its room for [`ARRIVES_WITHIN`]
//! at most, so that a stalled client does not hold it. The newest waiting frame gets room first: a client that has
//! waited long has given up by then, or never meant to send the whole frame.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Time within which a frame must arrive after it got room.
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Arrivals {
    limit: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    waiting: Vec<(usize, oneshot::Sender<Room>)>,
}

/// Room for one frame, given back when dropped.
pub(super) struct Room {
    of: Arc<Arrivals>,
    bytes: usize,
    /// When the frame must have arrived.
    pub(super) until: Instant,
}

impl Arrivals {
    pub(super) fn new(limit: usize) -> Arc<Arrivals> {
        Arc::new(Arrivals { limit, state: Mutex::new(State { free: limit, waiting: Vec::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(self: &Arc<Self>, bytes: usize) -> Room {
        Room { of: self.clone(), bytes, until: Instant::now() + ARRIVES_WITHIN }
    }

    /// Waits for room for a frame of `bytes`. A frame larger than the limit takes all of it.
    pub(super) async fn enter(self: &Arc<Self>, bytes: usize) -> Room {
        let bytes = bytes.min(self.limit);
        loop {
            let called = {
                let mut state = self.state();
                if state.free >= bytes {
                    state.free -= bytes;
                    return self.room(bytes);
                }
                let (call, called) = oneshot::channel();
                state.waiting.retain(|(_, call)| !call.is_closed());
                state.waiting.push((bytes, call));
                called
            };
            if let Ok(room) = called.await {
                return room;
            }
        }
    }

    fn give_back(self: &Arc<Self>, bytes: usize) {
        let State { free, waiting } = &mut *self.state();
        *free += bytes;
        while let Some((bytes, call)) = waiting.pop_if(|(bytes, _)| *bytes <= *free) {
            match call.send(self.room(bytes)) {
                Ok(()) => *free -= bytes,
                // The waiter is gone: it takes nothing and has nothing to give back.
                Err(mut room) => room.bytes = 0,
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.of.clone().give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn the_last_to_come_is_let_in_first_and_nothing_is_lost() {
        let arrivals = Arrivals::new(10);
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(arrivals.enter(100));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("there is room") };
        let (mut second, mut third) = (pin!(arrivals.enter(6)), pin!(arrivals.enter(6)));
        let mut gone = Box::pin(arrivals.enter(6));
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert!(gone.as_mut().poll(&mut context).is_pending());
        drop(gone);
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_pending(), "it has waited longest");
        let Poll::Ready(third) = third.as_mut().poll(&mut context) else { panic!("it came last") };
        drop(third);
        // This waiter was given room, but it is dropped before it runs again.
        let mut late = Box::pin(arrivals.enter(10));
        assert!(late.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(second) = second.as_mut().poll(&mut context) else { panic!("its turn") };
        drop(second);
        drop(late);
        assert_eq!(arrivals.state().free, 10);
    }
}
