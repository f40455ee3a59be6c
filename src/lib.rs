#![doc = "Seaworthy: a distributed key-value store that is proven in a storm before it goes to sea."]
//!
//! The modules in reading order (docs/architecture.md follows one put through all of them):
//!
//! - [`types`]: node, key, time, randomness. [`protocol`]: the interface between pure protocols and their environment.
//! - [`raft`]: the CP core, pure. [`kv`]: the revisioned state machine it replicates.
//! - [`placement`]: which servers hold a key. [`dynamo`]: the AP core, pure: quorums, versions, hinted handoff.
//! - [`storage`]: the disk interface, the write-ahead log, snapshot files.
//! - [`wire`]: messages and frames. [`codec`]: the only user of bincode.
//! - [`mod@env`]: network, clocks and storage as traits; simulation and deployment implement them.
//! - [`node`]: the driver, the only place that awaits.
//! - [`client`]: the retrying client. [`cli`]: commands of the `seaworthy` binary.
//! - [`mutant`]: planted bugs.

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
