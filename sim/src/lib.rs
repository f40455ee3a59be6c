//! Simulation of Seaworthy: seeded runs, fault injection, checking, reports.
//!
//! - [`settings`] are the vocabulary of scenarios and plans. A [`scenario`] (TOML) and a seed expand to a [`plan`]; `run` executes a plan against a cluster in the simulated
//!   [`world`].
//! - [`oracle`] checks Raft's safety across nodes during the run; `seaworthy-check` judges the history.
//! - [`placement`] measures how many keys move when a cluster changes.
//! - [`report`] adds up recorded runs and shows them; [`pool`] executes many runs; `cli` is the `sim` binary.

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
pub mod settings;
pub mod world;
