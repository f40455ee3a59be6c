//! Checks of stores without a leader, from what clients did and saw and from what replicas hold at the end, and from nothing
//! else.
//!
//! Such a store promises no order. What it promises instead: an acknowledged write is there in the end, unless somebody who had
//! seen it wrote over it; what was overwritten or deleted stays so; all replicas come to hold the same. Each write has a value of
//! its own, and tells which values its writer had seen: the causal history is read off that, not off the store's own versions.

mod closure;
mod counter;
mod figures;
mod history;
pub mod jsonl;
mod policy;
mod reads;
mod set;
mod verdicts;
mod words;

pub use figures::{AGES, Figures, Histogram, Level, Tally};

use history::Keyed;
use serde::Serialize;
use std::collections::BTreeMap;

/// An acknowledged write is there in the end, or explained.
pub const NONE_LOST: &str = "no acknowledged write lost";
/// What was overwritten or deleted does not come back.
pub const NONE_RESURRECTED: &str = "no resurrection";
/// What is read was written.
pub const NONE_INVENTED: &str = "no invented value";
/// No value twice among siblings.
pub const ONCE: &str = "written once";
/// In the end all replicas of a key hold the same.
pub const CONVERGED: &str = "convergence";
/// A strict read quorum meets every strict write quorum.
pub const LATEST: &str = "strict quorums read the latest";
/// A counter is in the end the sum of what was added.
pub const COUNTED: &str = "counters add up";
/// Each write has a value of its own: else the history tells nothing.
pub const USABLE: &str = "usable history";

/// All the properties, in the order in which they are told.
pub const PROPERTIES: [&str; 8] =
    [NONE_LOST, NONE_RESURRECTED, NONE_INVENTED, ONCE, CONVERGED, LATEST, COUNTED, USABLE];

/// Violations of one property that are told in words; more are counted.
const TOLD: u64 = 20;

/// How concurrent writes of a key are resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// All are kept, as siblings.
    #[default]
    Siblings,
    /// One of them wins; the others are lost, as was agreed.
    LastWriter,
    /// The keys are counters: additions, and reads of one whole number.
    Counter,
}

/// What was promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How concurrent writes are resolved.
    pub policy: Policy,
    /// Reads and writes met strict quorums, R + W > N, and no disk was lost: a stale read is a violation.
    pub strict: bool,
    /// At this time the replicas had converged: reads called then or later must not return what had been overwritten before.
    pub final_from: Option<u64>,
}

impl Options {
    /// The properties that are judged, in the order of [`PROPERTIES`].
    pub fn properties(&self) -> impl Iterator<Item = &'static str> {
        let (counter, strict) = (self.policy == Policy::Counter, self.strict);
        PROPERTIES.into_iter().filter(move |&property| match property {
            NONE_LOST | NONE_RESURRECTED | USABLE => !counter,
            LATEST => strict,
            COUNTED => counter,
            _ => true,
        })
    }
}

/// What was found.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Findings {
    /// What was promised and not kept, by property and key; of each property the first few.
    pub violations: Vec<Violation>,
    /// How many violations there are of each property that has any.
    pub counts: BTreeMap<&'static str, u64>,
    /// Measures; never verdicts.
    pub figures: Figures,
}

/// A promise not kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// Which: one of [`PROPERTIES`].
    pub property: &'static str,
    /// Of which key.
    pub key: String,
    /// Why, in words.
    pub words: String,
    /// The operations that show it, as positions in [`Observed::operations`].
    pub operations: Vec<usize>,
}

impl Findings {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds a violation; the words are made only for those that are told.
    fn violated(&mut self, property: &'static str, key: &str, operations: &[u32], words: impl FnOnce() -> String) {
        let count = self.counts.entry(property).or_default();
        *count += 1;
        if *count <= TOLD {
            let operations = operations.iter().map(|&op| op as usize).collect();
            self.violations.push(Violation { property, key: key.to_owned(), words: words(), operations });
        }
    }
}

/// Judges what clients saw and what replicas hold at the end.
#[must_use]
pub fn check(observed: &Observed, options: &Options) -> Findings {
    let mut findings = Findings::default();
    for part in history::by_key(observed) {
        findings.figures.keys += 1;
        findings.figures.keys_not_dumped += u64::from(part.dumps.is_empty());
        verdicts::converged(observed, &part, &mut findings);
        if options.policy == Policy::Counter {
            counter::check(observed, &part, options, &mut findings);
            continue;
        }
        let keyed = Keyed::new(observed, &part, &mut findings);
        let Some(closure) = keyed.closure() else {
            findings.figures.keys_too_large += 1;
            continue;
        };
        verdicts::check(&keyed, &closure, options, &mut findings);
        reads::check(&keyed, &closure, options, &mut findings);
    }
    count(observed, &mut findings.figures);
    let order = |property| PROPERTIES.iter().position(|&p| p == property);
    findings.violations.sort_by_key(|violation| order(violation.property));
    findings
}

/// Counts what needs no judgement.
fn count(observed: &Observed, figures: &mut Figures) {
    figures.operations += observed.operations.len() as u64;
    for op in observed.operations.iter().filter(|op| op.call != Call::Get) {
        let kind = match (&op.end, op.returned) {
            (End::Ok(_), Some(_)) => &mut figures.acknowledged,
            (End::Fail, _) => &mut figures.failed,
            _ => &mut figures.unknown,
        };
        *kind += 1;
    }
}

/// What clients did and what replicas held at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// The operations, in the order of their calls.
    pub operations: Vec<Operation>,
    /// What each replica that should hold a key held at the end, one for each replica and key.
    pub dumps: Vec<Dump>,
}

/// One operation of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who.
    pub client: u32,
    /// On which key.
    pub key: String,
    /// When it was called, in nanoseconds.
    pub called: u64,
    /// When it was answered; `None`: never.
    pub returned: Option<u64>,
    /// What was asked for.
    pub call: Call,
    /// How it ended.
    pub end: End,
    /// The consistency level it was done at, such as `quorum` or `quorum, sloppy`: figures are told apart by it.
    pub level: String,
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A read.
    Get,
    /// A write.
    Put {
        /// Of this value, which no other write of the history writes.
        value: String,
        /// The values its writer had seen and meant to overwrite.
        saw: Vec<String>,
    },
    /// A delete.
    Delete {
        /// The values that whoever deletes had seen.
        saw: Vec<String>,
    },
    /// An addition to a counter.
    Add(i64),
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// A read found these values, none if the key is not there; or a write was acknowledged, and left these values behind if it
    /// was asked to tell.
    Ok(Option<Vec<String>>),
    /// It certainly did not happen.
    Fail,
    /// It may have happened, or may yet.
    Info,
}

/// What one replica held of one key at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    /// The replica.
    pub replica: String,
    /// The key.
    pub key: String,
    /// The values, none if it does not hold the key.
    pub values: Vec<String>,
    /// A text that is equal for replicas that hold the same versions.
    pub state: String,
}
