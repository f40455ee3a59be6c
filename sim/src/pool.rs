//! Many runs, several in parallel, each on its own thread.
//!
//! madsim keeps its random state and its current time in thread-local storage, and two runtimes on one thread influence
//! each other (measured). So a run never shares a thread with another. Results arrive in the order in which runs end. A
//! caller that needs another order can sort by job number.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Runs `work(n)` for `n` in `0..count`, `jobs` in parallel, and passes each result to `each`, one at a time. When
/// `each` returns false no further runs are started. Runs in progress on other threads are finished and passed to
/// `each`.
pub fn each<R>(count: usize, jobs: usize, work: impl Fn(usize) -> R + Sync, each: impl FnMut(usize, R) -> bool + Send) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let each = Mutex::new(each);
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= count {
                        break;
                    }
                    let result = work(n);
                    // Handled under the lock, so that a thread running alone starts nothing more after a stop.
                    let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                    if !each(n, result) {
                        stop.store(true, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let mut done = Vec::new();
        each(
            100,
            3,
            |n| n * n,
            |n, square| {
                done.push((n, square));
                true
            },
        );
        done.sort_unstable();
        assert_eq!(done, (0..100).map(|n| (n, n * n)).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_begun_after_a_stop() {
        for jobs in [1, 2] {
            let mut seen = 0;
            each(
                1_000_000,
                jobs,
                |n| n,
                |_, _| {
                    seen += 1;
                    false
                },
            );
            assert!((1..=jobs).contains(&seen), "{seen} runs of {jobs} at a time");
        }
    }
}
