//! What ends a run before its time: a node that panics does, at once and without a word; so does a history that cannot be
//! explained any more.
//!
//! Were the panic left to unwind through madsim, its executor would print a line about the task to standard error, in
//! the middle of tables, and nothing can keep it from that. So it is caught around the node's own future, kept, and the
//! run is told.

use super::lock;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::sync::Notify;

/// What a panic carries.
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
    /// What `process` comes to; `None` if it panicked.
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

    /// Ends the run though no node has panicked.
    pub(super) fn abort(&self) {
        self.0.aborted.notify_one();
    }

    /// Returns when a node has panicked, or the run is to end for another reason.
    pub(super) async fn aborted(&self) {
        self.0.aborted.notified().await;
    }

    /// What the node panicked with, once.
    pub(super) fn take(&self) -> Option<Payload> {
        lock(&self.0.payload).take()
    }
}
