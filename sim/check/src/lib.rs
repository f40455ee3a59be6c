//! Checks histories of concurrent operations. A history records the requests of clients and the replies. A check
//! decides whether the history satisfies a property, and explains why if it does not.
//!
//! The package does not depend on any store. Its input is a [`History`]. Its output is a report with a verdict for
//! every part, and evidence for every violation.
//!
//! - [`history`]: the record: operations with call, return and outcome. [`Recorder`] builds histories in memory.
//! - [`mod@format`]: history files: reading them, with the position of errors, and writing them.
//! - [`model`]: the sequential specifications: how an object behaves if one client at a time uses it.
//! - [`linear`]: linearizability: which procedure decides which part of a history, and the verdicts.
//! - [`online`]: linearizability of a running system: the first event that makes a history impossible.
//! - [`session`]: weaker properties: sequential and causal consistency, session guarantees, staleness, convergence.
//! - [`txn`]: transactions: isolation levels, by cycles of dependencies.
//! - [`jepsen`]: Jepsen's own checks of queues, sets, banks and long forks.
//! - [`evidence`]: the shortest impossible prefix and the few operations in it that conflict, in words and drawn.
//! - [`certificate`]: written verdicts that a second, small program can verify.
//! - [`generate`]: random histories for measurements and for learning.
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
/// The generator and the oracle of the tests.
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
