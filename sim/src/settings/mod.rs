//! Settings: the vocabulary that scenarios and plans share, as text and as values.
//!
//! Every setting is read, checked and written in one place ([`Setting`]), so its text is the same in a scenario (TOML)
//! and in a plan. A [`Problem`] contains the position of an error, what was found and what was expected.

mod bucket;
mod fields;
mod kinds;
mod sections;
pub(crate) mod setting;

pub use bucket::{Bucket, Contexts, Levels, Mode, Suits};
pub use fields::Problem;
pub(crate) use fields::{Fields, Source, suggestion};
pub use kinds::KINDS;
pub use sections::{
    Cluster, Connections, Cpu, Disk, Expect, Link, MustFire, Network, Skew, Times, Transport, Workload,
};
pub use setting::{Between, Probability, Setting, Shift};
