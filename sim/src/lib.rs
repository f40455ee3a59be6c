//! Seaworthy in a storm: seeded simulation, fault injection, checking, reports.
//!
//! - [`scenario`] (TOML) and a seed expand to a [`plan`]; `run` executes a plan against a cluster in the simulated [`world`].
//! - [`oracle`] watches Raft's safety across nodes while it runs; the history is judged by `seaworthy-check`.
//! - [`placement`] measures how many keys move when a cluster changes.
//! - [`report`] adds recorded runs up and shows them; [`pool`] makes many of them; `cli` is the `sim` binary.

#[cfg(madsim)]
pub mod cli;
#[cfg(madsim)]
pub mod mutants;
pub mod oracle;
pub mod placement;
pub mod plan;
pub mod pool;
pub mod report;
#[cfg(madsim)]
pub mod run;
pub mod scenario;
pub mod world;
