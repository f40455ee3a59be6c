//! Checks histories of concurrent operations against a key-value store's promises, as Jepsen does.
//!
//! The package knows nothing of any store: a [`History`] goes in, a [`Report`] comes out, with a verdict for every key
//! and evidence for every refusal.
//!
//! - [`history`]: what was recorded: operations with call, return and outcome; [`Recorder`] builds them in memory.
//! - [`jsonl`]: our own format on disk, one event a line, with located errors. [`edn`]: export for Jepsen's tools.
//! - [`linearizable`]: the verdict. `model` is the sequential specification, `problem` prepares one key for
//!   `search`, which decides it; `zones` refutes quickly.
//! - [`evidence`]: the smallest impossible prefix and the few operations in it that clash; `explain` puts it in words.
//!
//! ```
//! use seaworthy_check::{Call, Options, Recorder, Reply, Verdict, Version, check};
//! let mut log = Recorder::default();
//! let write = log.invoke(0, 10, "k", Call::put("new"));
//! log.ok(write, 20, Reply::Done { revision: Some(0) });
//! let read = log.invoke(1, 30, "k", Call::Get);
//! log.ok(read, 40, Reply::Got(None)); // stale: the write had returned
//! let report = check(&log.finish(), &Options::default());
//! assert!(matches!(report.keys[0].verdict, Verdict::Invalid(_)));
//! println!("{report}");
//! ```

pub mod edn;
pub mod evidence;
mod explain;
pub mod history;
pub mod jsonl;
pub mod linearizable;
mod model;
mod problem;
mod search;
mod zones;

#[cfg(test)]
extern crate self as seaworthy_check;
/// The tests' generator and oracle.
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod testing;

pub use evidence::Evidence;
pub use history::{
    Call, Condition, History, KeyId, Moment, OpId, Operation, Outcome, Recorder, Reply, ValueId, Version,
};
pub use linearizable::{KeyReport, Options, Report, Verdict, check, check_final};
