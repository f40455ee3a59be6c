//! The storage task of a deployed node: one thread that owns the [`Store`] and runs jobs on it in order.

use super::StorageHost;
use crate::storage::{Disk, Store};
use std::future::Future;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most jobs that may wait. The driver awaits each batch before it submits the next, so there are never more than a
/// handful.
const QUEUE: usize = 128;

type Job<D> = Box<dyn FnOnce(&mut Store<D>) + Send>;

/// Runs jobs on a dedicated thread.
///
/// A job that panics ends the thread, and with it the node: this and every later `run` panics in the caller rather than
/// wait for an answer that cannot come. Dropping the host finishes the submitted jobs, then closes the store.
pub struct ThreadHost<D: Disk + 'static> {
    /// `None` only while being dropped.
    jobs: Option<SyncSender<Job<D>>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk + 'static> ThreadHost<D> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn spawn(mut store: Store<D>) -> std::io::Result<ThreadHost<D>> {
        let (jobs, inbox) = sync_channel::<Job<D>>(QUEUE);
        let thread = std::thread::Builder::new().name("storage".into()).spawn(move || {
            for job in inbox {
                job(&mut store);
            }
        })?;
        Ok(ThreadHost { jobs: Some(jobs), thread: Some(thread) })
    }
}

const GONE: &str = "the storage thread has panicked; a node without storage must not go on";

impl<D: Disk + 'static> StorageHost for ThreadHost<D> {
    type Disk = D;

    /// Submits the job at once, before the future is polled, so that dropping the future never cancels it. If `QUEUE`
    /// jobs are waiting, this blocks until the storage thread has taken one; that thread never waits for another.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store<D>) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let (answer, result) = oneshot::channel();
        let job: Job<D> = Box::new(move |store| {
            // The caller may have stopped waiting; the job is done all the same.
            let _ = answer.send(job(store));
        });
        self.jobs.as_ref().expect("not dropped").send(job).expect(GONE);
        async move { result.await.expect(GONE) }
    }
}

impl<D: Disk + 'static> Drop for ThreadHost<D> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}
