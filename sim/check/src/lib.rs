//! Checks histories of concurrent operations: what was promised, what was seen, and why the two do not fit.
//!
//! The package knows nothing of any store: a [`History`] goes in, a report comes out, with a verdict for every part and
//! evidence for every refusal.
//!
//! - [`history`]: what was recorded: operations with call, return and outcome; [`Recorder`] builds them in memory.
//! - [`mod@format`]: histories on disk: reading them, with located errors, and writing them.
//! - [`model`]: the sequential specifications: what an object does when one client at a time uses it.
//! - [`linear`]: linearizability: which procedure decides which part of a history, and the verdicts.
//! - [`online`]: linearizability while it happens: the first event that makes a history impossible.
//! - [`session`]: weaker properties: sequential and causal consistency, session guarantees, staleness, convergence.
//! - [`txn`]: transactions: isolation levels by cycles of dependencies.
//! - [`jepsen`]: Jepsen's own accounts of queues, sets, banks and long forks.
//! - [`evidence`]: the smallest impossible prefix and the few operations in it that clash, in words and drawn.
//! - [`certificate`]: verdicts written down so that a second, small program can verify them.
//! - [`generate`]: random histories to measure and to learn with.
//!
//! ```
//! use seaworthy_check::{Call, Options, Recorder, Reply, Verdict, check};
//! let mut log = Recorder::default();
//! let write = log.invoke(0, 10, "k", Call::put("new"));
//! log.ok(write, 20, Reply::Done { revision: Some(0) });
//! let read = log.invoke(1, 30, "k", Call::Get);
//! log.ok(read, 40, Reply::Got(None)); // stale: the write had returned
//! let report = check(&log.finish(), &Options::default());
//! assert!(matches!(report.parts[0].verdict, Verdict::Invalid(_)));
//! println!("{report}");
//! ```

pub mod certificate;
pub mod evidence;
pub mod format;
pub mod generate;
pub mod history;
pub mod jepsen;
pub mod linear;
pub mod model;
pub mod online;
pub mod replicas;
pub mod session;
pub mod txn;

#[cfg(test)]
extern crate self as seaworthy_check;
/// The tests' generator and oracle.
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod testing;

pub use evidence::Evidence;
pub use history::{
    Call, Condition, Datum, End, Function, History, KeyId, KvOperation, Moment, OpId, Operation, Outcome, Recorder,
    Reply, Request, Value, Version,
};
pub use linear::{
    Amount, Count, Figure, Options, PartReport, Report, Verdict, check, check_as, check_final, explain_as,
};
pub use model::Kind;
