//! Ends a run early: when a node panics, or when the clients' history becomes impossible.
//!
//! A panic that unwinds through madsim makes its executor print a line about the task to standard error, in the middle
//! of tables. This cannot be turned off. So the panic is caught around the node's own future and stored, and the run is
//! notified.

use super::lock;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::sync::Notify;

/// The payload of a panic.
pub(super) type Payload = Box<dyn Any + Send>;

/// The first panic among the nodes of a run. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Abort(Arc<Shared>);

#[derive(Default)]
struct Shared {
    payload: Mutex<Option<Payload>>,
    aborted: Notify,
}

impl Abort {
    /// Runs `process` and returns its output, or `None` if it panicked.
    pub(super) async fn catch<F: Future>(&self, process: F) -> Option<F::Output> {
        let mut process = pin!(process);
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| process.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(payload) => {
                lock(&self.0.payload).get_or_insert(payload);
                self.0.aborted.notify_one();
                Poll::Ready(None)
            }
        })
        .await
    }

    /// Ends the run without a panic.
    pub(super) fn abort(&self) {
        self.0.aborted.notify_one();
    }

    /// Returns when a node has panicked or the run must end for another reason.
    pub(super) async fn aborted(&self) {
        self.0.aborted.notified().await;
    }

    /// Takes the payload of the first panic. Later calls return `None`.
    pub(super) fn take(&self) -> Option<Payload> {
        lock(&self.0.payload).take()
    }
}
