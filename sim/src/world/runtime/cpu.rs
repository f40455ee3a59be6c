//! A node's processor: receiving and sending frames costs time. While a process is busy, nothing else happens in it:
//! frames wait in its mailbox, and its timers and storage results are late.
//!
//! Work is charged to a turn as it is done. What the turn sends leaves at once, and the process is busy afterwards.
//! With costs of zero nothing is charged and nothing waits.

use super::super::{Nanos, nanos};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The costs of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSettings {
    /// Time per frame received or sent.
    pub per_frame: Duration,
    /// Additional time per KiB received or sent.
    pub per_kib: Duration,
}

/// The processor of one process. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpu {
    settings: CpuSettings,
    busy_until: Arc<AtomicU64>,
}

impl Cpu {
    pub fn new(settings: CpuSettings) -> Cpu {
        Cpu { settings, busy_until: Arc::default() }
    }

    /// The process has ended; its pending work is dropped.
    pub fn reset(&self) {
        self.busy_until.store(0, Relaxed);
    }

    /// Charges for receiving or sending a frame of `bytes` bytes.
    pub fn frame(&self, now: impl FnOnce() -> Nanos, bytes: usize) {
        let CpuSettings { per_frame, per_kib } = self.settings;
        let cost = nanos(per_frame) + nanos(per_kib) * bytes as u64 / 1024;
        if cost > 0 {
            self.busy_until.store(self.busy_until.load(Relaxed).max(now()) + cost, Relaxed);
        }
    }

    /// Returns the time until which the process is busy.
    pub fn busy_until(&self) -> Nanos {
        self.busy_until.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_adds_up_and_none_is_free() {
        let cpu = Cpu::new(CpuSettings { per_frame: Duration::from_nanos(10), per_kib: Duration::from_nanos(4) });
        cpu.frame(|| 100, 0);
        cpu.frame(|| 100, 512);
        assert_eq!(cpu.busy_until(), 122);
        cpu.frame(|| 500, 2048);
        assert_eq!(cpu.busy_until(), 518);
        cpu.reset();
        assert_eq!(cpu.busy_until(), 0);
        let free = Cpu::default();
        free.frame(|| 100, 1 << 20);
        assert_eq!(free.busy_until(), 0);
    }
}
