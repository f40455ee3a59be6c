//! The node: the driver, which is the only place that awaits, and what it is built of.
//!
//! The traits `Transport`, `Clock` and `StorageHost` (`env`) hide what differs between simulation and deployment.
//! [`Driver`] runs the pure cores: all Raft groups, the AP side, and the node's standing among its peers. [`Detector`]
//! is the failure detector. [`Memory`] bounds the queues. [`Observer`] is told what the node does. A deployment uses
//! [`tcp`] and `SystemClock`.

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
mod sessions;
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
