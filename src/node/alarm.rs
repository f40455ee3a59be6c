//! A timer that costs little to move back.

use super::Clock;
use crate::types::Time;
use std::future::{Future, pending};
use std::pin::Pin;

/// A timer that is re-armed only when it must ring earlier: a follower's election deadline moves back with every
/// heartbeat, and an early ring costs less than a new timer each time.
pub(super) struct Alarm<'a, C> {
    clock: &'a C,
    at: Option<Time>,
    sleep: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<'a, C: Clock> Alarm<'a, C> {
    pub(super) fn new(clock: &'a C) -> Self {
        Alarm { clock, at: None, sleep: Box::pin(pending()) }
    }

    /// Rings at `deadline` at the latest, perhaps earlier.
    pub(super) fn set(&mut self, deadline: Option<Time>) {
        if let Some(deadline) = deadline
            && self.at.is_none_or(|at| deadline < at)
        {
            self.at = Some(deadline);
            self.sleep = Box::pin(self.clock.sleep_until(deadline));
        }
    }

    /// Waits until it rings. Cancel-safe.
    pub(super) async fn rings(&mut self) {
        self.sleep.as_mut().await;
        self.at = None;
        self.sleep = Box::pin(pending());
    }
}
