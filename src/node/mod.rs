//! The node: the driver, the only place that awaits, and the seams it sees the world through.
//!
//! [`seams`](self): [`Transport`], [`Clock`], [`StorageHost`], behind which simulation and deployment differ.
//! [`Driver`]: turns the pure cores. [`Observer`]: looks on. In deployment: [`tcp`] and [`SystemClock`].

mod alarm;
mod answers;
mod driver;
mod jobs;
mod observer;
mod seams;
mod system;
pub mod tcp;

pub use driver::{Driver, GROUP, NodeConfig};
pub use observer::{LogRoles, Observer};
pub use seams::*;
pub use system::{SystemClock, entropy};
