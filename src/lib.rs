#![doc = "Seaworthy: a distributed key-value store that is proven in a storm before it goes to sea."]
//!
//! The code in the order a newcomer reads it (docs/architecture.md walks one put through all of it):
//!
//! - [`types`]: node, key, time, randomness. [`protocol`]: the seam between pure protocols and the world.
//! - [`raft`]: the CP core, pure. [`kv`]: the revisioned state machine it replicates.
//! - [`placement`]: where a key lives. [`dynamo`]: the AP core, pure: quorums, versions, hand-off.
//! - [`storage`]: the disk seam, the write-ahead log, snapshot files.
//! - [`wire`]: messages and frames. [`codec`]: bincode, kept in one place.
//! - [`env`]: network, clocks and storage as traits; simulation and deployment implement them.
//! - [`node`]: the driver, the only place that awaits.
//! - [`client`]: the retrying client. [`cli`]: commands of the `seaworthy` binary.
//! - [`mutant`]: bugs planted on purpose.

pub mod cli;
pub mod client;
pub mod codec;
pub mod dynamo;
pub mod env;
pub mod identity;
pub mod kv;
pub mod mutant;
pub mod node;
pub mod placement;
pub mod protocol;
pub mod raft;
pub mod storage;
pub mod types;
pub mod wire;
