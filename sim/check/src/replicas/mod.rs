//! Checks leaderless stores. The evidence is what clients did and saw, and what replicas hold at the end; nothing else
//! is used.
//!
//! A leaderless store promises no order. It promises instead that an acknowledged write is present at the end unless a
//! later write that had seen it overwrote it, that overwritten and deleted values do not return, and that all replicas
//! converge. Each write has a value of its own and lists the values its writer had seen. The causal history is derived
//! from these lists, not from the store's own versions.

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

/// An acknowledged write is present at the end, or its absence is explained.
pub const NONE_LOST: &str = "no acknowledged write lost";
/// An overwritten or deleted value does not come back.
pub const NONE_RESURRECTED: &str = "no resurrection";
/// Every value read was written.
pub const NONE_INVENTED: &str = "no invented value";
/// No value appears twice among siblings.
pub const ONCE: &str = "written once";
/// At the end all replicas of a key hold the same.
pub const CONVERGED: &str = "convergence";
/// A strict read returns the latest acknowledged writes: its quorum meets every strict write quorum.
pub const LATEST: &str = "strict quorums read the latest";
/// A read does not miss what an earlier read that it meets has found, acknowledged or not.
pub const FORWARD: &str = "strict reads never go back";
/// At the end a counter is the sum of what was added.
pub const COUNTED: &str = "counters add up";
/// Each write has a value of its own. Without that, the history proves nothing.
pub const USABLE: &str = "usable history";

/// All the properties, in the order in which they are reported.
pub const PROPERTIES: [&str; 9] =
    [NONE_LOST, NONE_RESURRECTED, NONE_INVENTED, ONCE, CONVERGED, LATEST, FORWARD, COUNTED, USABLE];

/// Maximum number of violations of one property that are described; further ones are only counted.
const TOLD: u64 = 20;

/// How concurrent writes of a key are resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// All writes are kept, as siblings.
    #[default]
    Siblings,
    /// One write wins. The others are lost, as the policy allows.
    LastWriter,
    /// The keys are counters: operations are additions, and reads of one integer.
    Counter,
    /// The keys are registers: the write with the latest timestamp wins, and every read returns it.
    Register,
    /// The keys are sets of elements. An insertion wins over a concurrent removal.
    Set,
    /// The type of a key follows from its operations: a counter, a set, or else a register. Likewise for the fields of
    /// a map.
    Map,
}

/// What the store promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// How concurrent writes are resolved.
    pub policy: Policy,
    /// Reads and writes used strict quorums, R + W > N, and no disk was lost: a stale read is a violation. Without this
    /// flag, only pairs that meet by their own quorums ([`Operation::quorum`]) are checked. Pairs of reads are always
    /// checked that way.
    pub strict: bool,
    /// Before a read returns, it brings as many replicas up to date as it waited for: reads that meet by their own
    /// quorums, R + R > N, never go back.
    pub forward: bool,
    /// Maximum error of the timestamps that servers assign to register writes, in nanoseconds; `None`: unbounded.
    pub skew: Option<u64>,
    /// The time at which the replicas had converged. Reads called then or later must not return values overwritten
    /// before.
    pub final_from: Option<u64>,
}

impl Options {
    /// Returns the properties checked under these options, in the order of [`PROPERTIES`].
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

/// The result of a check.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Findings {
    /// The violations, by property and key; at most a fixed number per property.
    pub violations: Vec<Violation>,
    /// Number of violations of each property that has any.
    pub counts: BTreeMap<&'static str, u64>,
    /// Measurements. They never affect the verdict.
    pub figures: Figures,
}

/// A violation of one property.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// The property: one of [`PROPERTIES`].
    pub property: &'static str,
    /// The key.
    pub key: String,
    /// The explanation.
    pub words: String,
    /// The operations that prove it, as positions in [`Observed::operations`].
    pub operations: Vec<usize>,
}

impl Findings {
    /// Returns whether there are no violations.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds a violation. `words` is called only if the violation is described, not just counted.
    fn violated(&mut self, property: &'static str, key: &str, operations: &[u32], words: impl FnOnce() -> String) {
        let count = self.counts.entry(property).or_default();
        *count += 1;
        if *count <= TOLD {
            let operations = operations.iter().map(|&op| op as usize).collect();
            self.violations.push(Violation { property, key: key.to_owned(), words: words(), operations });
        }
    }
}

/// Checks what clients saw and what replicas hold at the end.
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

/// Counts the operations by outcome.
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
    /// What each replica that should hold a key held at the end: one dump per replica and key.
    pub dumps: Vec<Dump>,
}

/// One operation of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The client.
    pub client: u32,
    /// The key.
    pub key: String,
    /// Time of the call, in nanoseconds.
    pub called: u64,
    /// Time of the response; `None`: there was none.
    pub returned: Option<u64>,
    /// The request.
    pub call: Call,
    /// The outcome.
    pub end: End,
    /// The consistency level, such as `quorum` or `quorum, sloppy`. Figures are kept per level.
    pub level: String,
    /// How many of the key's replicas certainly took part, if known.
    pub quorum: Option<Quorum>,
}

/// The replicas that took part in an operation, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Quorum {
    /// Number of replicas that took part.
    pub replicas: u32,
    /// Number of replicas that could have taken part.
    pub of: u32,
    /// The region that all of them belong to; 0: any region.
    pub region: u32,
}

impl Quorum {
    /// Returns whether some replica certainly took part in both operations: R + W > N.
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
    /// Returns whether the quorum of a read meets that of a write.
    fn meet(&self, read: &Operation, write: &Operation) -> bool {
        self.strict || read.quorum.zip(write.quorum).is_some_and(|(read, write)| read.meets(write))
    }
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A read.
    Get,
    /// A write.
    Put {
        /// The value. No other write of the history writes it.
        value: String,
        /// The values that the writer had seen and meant to overwrite.
        saw: Vec<String>,
    },
    /// A delete.
    Delete {
        /// The values that the deleting client had seen.
        saw: Vec<String>,
    },
    /// An addition to a counter.
    Add(i64),
    /// Inserts an element into a set.
    Insert(String),
    /// Removes an element from a set.
    Remove(String),
}

/// The outcome of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// A read found these values, none if the key is absent; or a write was acknowledged. A write that was asked to
    /// return the resulting values has them here.
    Ok(Option<Vec<String>>),
    /// The operation certainly did not happen.
    Fail,
    /// The operation may have happened, or may yet happen.
    Info,
}

/// What one replica held of one key at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    /// The replica.
    pub replica: String,
    /// The key.
    pub key: String,
    /// The values; none if the replica does not hold the key.
    pub values: Vec<String>,
    /// A text that is equal for replicas that hold the same versions.
    pub state: String,
}
