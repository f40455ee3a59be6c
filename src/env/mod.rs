//! The environment of nodes and clients: network, clocks and storage as traits.
//!
//! Simulation and deployment differ only in the implementations of these traits. [`SystemClock`] and [`entropy`] are
//! those of deployment.

mod storage_thread;
mod system;
mod timer;

pub use storage_thread::ThreadHost;
pub use system::{SystemClock, entropy};
pub(crate) use timer::Timer;

use crate::storage::{Disk, Store};
use crate::types::{Addr, Time, Wall};
use crate::wire::Packet;
use std::future::Future;

/// Sends and receives packets between peers and clients, best effort: any packet may be lost, delayed, repeated or
/// reordered, but none is ever altered (frames carry checksums; a bad frame is dropped and counted, and its connection
/// closed).
pub trait Transport: Send {
    /// Sends without waiting: if the connection is blocked or the queue is full, the packet is dropped and counted.
    fn send(&mut self, to: Addr, packet: &Packet);
    /// Waits for the next packet. Cancel-safe.
    fn recv(&mut self) -> impl Future<Output = (Addr, Packet)> + Send;
    /// Returns the next packet if one is there already.
    fn try_recv(&mut self) -> Option<(Addr, Packet)>;
    /// The number of frames refused so far.
    fn bad_frames(&self) -> u64;
}

/// A node's clocks.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Monotonic time.
    fn now(&self) -> Time;
    /// The date according to this node's clock.
    fn wall(&self) -> Wall;
    /// Both at once.
    fn read(&self) -> (Time, Wall) {
        (self.now(), self.wall())
    }
    /// Waits until `now() >= deadline`. Cancel-safe.
    fn sleep_until(&self, deadline: Time) -> impl Future<Output = ()> + Send;
}

/// Owns a node's storage and runs jobs on it one at a time, in the order they were submitted.
pub trait StorageHost: Send {
    /// The disk underneath.
    type Disk: Disk + 'static;
    /// Runs `job` and waits for its result. If the future is dropped the job still runs.
    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store<Self::Disk>) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;
}
