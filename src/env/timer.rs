//! A timer whose deadline is cheap to move back.

use super::Clock;
use crate::types::Time;
use std::future::{Future, pending};
use std::pin::Pin;

/// A timer that is re-armed only when it must fire earlier. A follower's election deadline moves back with every
/// heartbeat, a client's with every request, and an early firing costs less than a new timer each time.
pub(crate) struct Timer<C> {
    clock: C,
    at: Option<Time>,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<C: Clock> Timer<C> {
    pub(crate) fn new(clock: C) -> Self {
        Timer { clock, at: None, sleep: Box::pin(pending()) }
    }

    /// Fires at `deadline` at the latest, perhaps earlier.
    pub(crate) fn set(&mut self, deadline: Option<Time>) {
        if let Some(deadline) = deadline
            && self.at.is_none_or(|at| deadline < at)
        {
            self.at = Some(deadline);
            let clock = self.clock.clone();
            self.sleep = Box::pin(async move { clock.sleep_until(deadline).await });
        }
    }

    /// Waits until it fires. Cancel-safe.
    pub(crate) async fn fires(&mut self) {
        self.sleep.as_mut().await;
        self.at = None;
        self.sleep = Box::pin(pending());
    }
}
