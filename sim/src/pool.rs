//! Many runs, several at a time, each on a thread of its own.
//!
//! madsim keeps its random state and its notion of "now" in thread-local storage, and two runtimes on one thread
//! influence each other (measured). A run therefore never shares a thread with another. Results arrive in whatever order
//! runs end; whoever needs an order sorts by the number each job bears.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Runs `work(n)` for `n` in `0..count`, `jobs` at a time, and hands each result to `each` on the calling thread. When
/// `each` returns false no further runs are begun; those under way are finished and handed over.
pub fn each<R: Send>(
    count: usize,
    jobs: usize,
    work: impl Fn(usize) -> R + Sync,
    mut each: impl FnMut(usize, R) -> bool,
) {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count || sender.send((n, work(n))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (n, result) in receiver {
            if !each(n, result) {
                stop.store(true, Ordering::Relaxed);
            }
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
        let mut seen = 0;
        each(
            1_000_000,
            2,
            |n| n,
            |_, _| {
                seen += 1;
                false
            },
        );
        assert!(seen < 1_000_000);
    }
}
