//! The node: the driver, the only place that awaits, and the seams it sees the world through.
//!
//! [`seams`](self): [`Transport`], [`Clock`], [`StorageHost`], behind which simulation and deployment differ.
//! [`Driver`]: turns the pure cores of all Raft groups and of the AP side, and that of the node's standing among its peers; [`Detector`]: who seems to be up. [`Memory`]: what its queues may hold. [`Observer`]: looks on. In deployment: [`tcp`] and [`SystemClock`].

mod admission;
mod ap;
mod config;
mod detector;
mod digests;
mod drain;
mod driver;
mod gate;
mod group;
mod host;
mod intake;
mod jobs;
mod memory;
mod observer;
mod outbound;
mod pending;
mod requests;
mod standing;
pub mod tcp;
mod turn;
mod work;

pub use config::NodeConfig;
pub use detector::{Adaptive, Detector};
pub use drain::patience as stop_patience;
pub use driver::{Driver, GROUP};
pub use memory::{MIN_MEMORY_BYTES, Memory};
pub use observer::{LogRoles, Observer};
