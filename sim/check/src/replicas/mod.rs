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
mod merged;
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
/// What a strict read found, a later one that meets it does not miss, acknowledged or not.
pub const FORWARD: &str = "strict reads never go back";
/// A counter is in the end the sum of what was added.
pub const COUNTED: &str = "counters add up";
/// Each write has a value of its own: else the history tells nothing.
pub const USABLE: &str = "usable history";

/// All the properties, in the order in which they are told.
pub const PROPERTIES: [&str; 9] =
    [NONE_LOST, NONE_RESURRECTED, NONE_INVENTED, ONCE, CONVERGED, LATEST, FORWARD, COUNTED, USABLE];

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
    /// The keys are registers: the write of the latest date holds, and is what all are shown.
    Register,
    /// The keys are sets of elements, in which an insertion wins over a concurrent removal.
    Set,
    /// Each key is what is done to it: a counter, a set, or else a register. So are the fields of a map.
    Map,
}

/// What was promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How concurrent writes are resolved.
    pub policy: Policy,
    /// Reads and writes met strict quorums, R + W > N, and no disk was lost: a stale read is a violation. Without it only
    /// those pairs are judged that meet by their own quorums ([`Operation::quorum`]), as pairs of reads always are.
    pub strict: bool,
    /// A read brings as many replicas up to date as it waited for before it returns: reads that meet by their own quorums,
    /// R + R > N, never go back.
    pub forward: bool,
    /// How far the dates that servers give to writes of registers may be from true time, in nanoseconds; `None`: any.
    pub skew: Option<u64>,
    /// At this time the replicas had converged: reads called then or later must not return what had been overwritten before.
    pub final_from: Option<u64>,
}

impl Options {
    /// The properties that are judged of this, in the order of [`PROPERTIES`].
    pub fn properties(&self, observed: &Observed) -> impl Iterator<Item = &'static str> {
        let quorums = observed.operations.iter().any(|op| op.quorum.is_some());
        let (policy, strict, forward) = (self.policy, self.strict || quorums, self.forward);
        let merged = matches!(policy, Policy::Register | Policy::Set | Policy::Map);
        PROPERTIES.into_iter().filter(move |&property| match property {
            NONE_LOST => policy != Policy::Counter,
            NONE_RESURRECTED => !matches!(policy, Policy::Counter | Policy::Register),
            USABLE => !matches!(policy, Policy::Counter | Policy::Set),
            LATEST => strict,
            FORWARD => forward && !merged && policy != Policy::Counter,
            COUNTED => matches!(policy, Policy::Counter | Policy::Map),
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
        match merged::policy_of(observed, &part, options.policy) {
            Policy::Counter => {
                counter::check(observed, &part, options, &mut findings);
                continue;
            }
            Policy::Register => {
                merged::register(observed, &part, options, &mut findings);
                continue;
            }
            Policy::Set => {
                merged::set(observed, &part, options, &mut findings);
                continue;
            }
            Policy::Siblings | Policy::LastWriter | Policy::Map => {}
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
    /// How many of the key's replicas certainly took part, if that is known.
    pub quorum: Option<Quorum>,
}

/// So many of the replicas of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Quorum {
    /// So many.
    pub replicas: u32,
    /// Of how many.
    pub of: u32,
    /// All of them in this region; 0: in any.
    pub region: u32,
}

impl Quorum {
    /// Whether some replica certainly took part in both: R + W > N.
    #[must_use]
    pub fn meets(self, other: Quorum) -> bool {
        let all = match (self.region, other.region) {
            (one, another) if one == another => self.of.max(other.of),
            (0, _) => self.of,
            (_, 0) => other.of,
            _ => return false,
        };
        self.replicas + other.replicas > all
    }
}

impl Options {
    /// Whether a read met a write.
    fn meet(&self, read: &Operation, write: &Operation) -> bool {
        self.strict || read.quorum.zip(write.quorum).is_some_and(|(read, write)| read.meets(write))
    }
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
    /// Puts an element into a set.
    Insert(String),
    /// Takes an element out of a set.
    Remove(String),
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
