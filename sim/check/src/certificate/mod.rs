//! Certificates: verdicts that can be verified independently. For every part, a certificate has an order that explains
//! it, or the operations that no order explains.
//!
//! A certificate is JSON lines: a header, then one claim for each part of the history, in the order of the parts.
//!
//! ```text
//! {"certificate":1,"property":"linearizable","model":"kv","operations":5,"parts":2,"fingerprint":"9f0c…"}
//! {"verdict":"valid","part":0,"name":"k1","order":[0,2,1]}
//! {"verdict":"invalid","part":1,"name":"k2","core":[3,4]}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `certificate` | version of this format: 1 |
//! | `property`, `model` | what is claimed, and the sequential specification used |
//! | `operations`, `parts`, `fingerprint` | of the history: [`fingerprint()`] ties the certificate to it |
//! | `part`, `name` | the key's number, from 0 in the order of first use; the name is only for display |
//! | `order` | operations, by their number from 0 in the order of their calls |
//! | `core` | operations that cannot be ordered, whatever the other operations of the part did |
//! | `why` | the reason of an `unknown` verdict, which claims nothing |
//!
//! **What is verified** ([`verify()`]).
//!
//! - For an order: it has only operations of its part, no operation twice, none that failed, and all with a known
//!   outcome (except reads without a recorded value). No operation comes after one that was called after its return.
//!   The specification gives all the replies in this order. Verifying this takes one pass.
//! - For a core: it has no order together with the other operations of the part, each of which may take place at any
//!   time after its call, or never. The verifier tries all orders, up to [`verify::MAX_CORE`] operations and
//!   [`verify::MAX_STATES`] configurations. Beyond these limits the claim counts as unverified.
//!
//! **Transactions** (`property`: an isolation level) are one part. A `valid` claim has an order of the transactions,
//! which is replayed one after the other. It shows every level. A `cycle` lists dependencies, each with its `key`. A
//! `ww` between appends also has the transaction `by` that read the list. Each dependency is looked up in the history,
//! and the level must forbid the cycle. An `anomaly` names a violation without a cycle, and the operations that show
//! it. The claim is `unknown` if a level weaker than serializable holds but no serial order exists, or if no serial
//! order of registers is found. The first claim below is broken into two lines here; in a file each claim is one line.
//!
//! ```text
//! {"verdict":"cycle","part":0,"name":"transactions","anomaly":"G-single",
//!  "cycle":[{"from":3,"to":5,"why":"rw","key":0}, …]}
//! {"verdict":"anomaly","part":0,"name":"transactions","anomaly":"G1a","operations":[3,5],"by":null}
//! ```
//!
//! **Sequential consistency** is certified if it holds, by an order of all operations that respects the order of each
//! client. If it does not hold, the claim is `unknown`. There are no certificates for the weaker properties.
//!
//! **What is not verified.** That the history file says what happened. That the reader interpreted it as intended. That
//! the fingerprint does not collide (it is not a cryptographic hash). That a core or cycle is the smallest. The words
//! of the evidence.

mod facts;
mod fingerprint;
mod prove;
pub(crate) mod step;
mod transactions;
pub mod verify;

pub use fingerprint::fingerprint;
pub use prove::{sequential, transactions};
pub use verify::{Error, Verified, verify};

use crate::history::{History, KeyId, OpId};
use crate::linear::{Item, Limits, Options, Report, Verdict, parts};
use crate::model::Kind;
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const VERSION: u32 = 1;

/// The first line of a certificate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    certificate: u32,
    property: String,
    model: String,
    operations: u64,
    parts: u32,
    fingerprint: String,
}

/// A claim about a part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase", deny_unknown_fields)]
enum Claim {
    Valid { part: u32, name: String, order: Vec<u32> },
    Invalid { part: u32, name: String, core: Vec<u32> },
    Unknown { part: u32, name: String, why: String },
    Cycle { part: u32, name: String, anomaly: String, cycle: Vec<Dependency> },
    Anomaly { part: u32, name: String, anomaly: String, operations: Vec<u32>, by: Option<u32> },
}

impl Claim {
    fn part(&self) -> u32 {
        match self {
            Claim::Valid { part, .. }
            | Claim::Invalid { part, .. }
            | Claim::Unknown { part, .. }
            | Claim::Cycle { part, .. }
            | Claim::Anomaly { part, .. } => *part,
        }
    }
}

/// A dependency: one transaction precedes another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    from: u32,
    to: u32,
    why: Why,
    /// The key's number, for `ww`, `wr` and `rw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<u32>,
    /// For `ww`: a transaction that read the list and shows the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<u32>,
}

/// The kind of a dependency, as in [`crate::evidence::Link`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Why {
    Ww,
    Wr,
    Rw,
    Process,
    Realtime,
}

/// Why there is no certificate for a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotOffered(pub String);

impl std::fmt::Display for NotOffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotOffered {}

/// Certifies a report on the linearizability of a history. `witness` returns an order of a valid part. If it returns
/// none, the claim is `unknown`.
///
/// # Errors
/// If the report is on another property, or does not have the parts of this history.
pub fn write(
    history: &History,
    kind: Kind,
    report: &Report,
    mut witness: impl FnMut(KeyId) -> Option<Vec<OpId>>,
) -> Result<String, NotOffered> {
    if report.property != "linearizable" {
        let what = format!("there are certificates of linearizability only, not of what is {}", report.property);
        return Err(NotOffered(what));
    }
    let named = |(key, part): (u32, &crate::PartReport)| part.name == history.key(KeyId(key));
    if report.parts.len() != history.keys() as usize || !(0..).zip(&report.parts).all(named) {
        return Err(NotOffered("the report is not on the parts of this history".to_owned()));
    }
    let mut lines = vec![line(&header(history, report.property, kind.name(), history.keys()))?];
    for (part, verdict) in (0..).zip(&report.parts) {
        let name = verdict.name.clone();
        let claim = match &verdict.verdict {
            Verdict::Valid => match witness(KeyId(part)) {
                Some(order) => Claim::Valid { part, name, order: numbers(&order) },
                None => {
                    Claim::Unknown { part, name, why: "valid, but no order was found within the limits".to_owned() }
                }
            },
            Verdict::Invalid(evidence) => Claim::Invalid { part, name, core: numbers(&core(evidence)) },
            Verdict::Unknown(why) => Claim::Unknown { part, name, why: why.clone() },
        };
        lines.push(line(&claim)?);
    }
    Ok(lines.join("\n") + "\n")
}

fn header(history: &History, property: &str, model: &str, parts: u32) -> Header {
    Header {
        certificate: VERSION,
        property: property.to_owned(),
        model: model.to_owned(),
        operations: history.operations().len() as u64,
        parts,
        fingerprint: format!("{:032x}", fingerprint(history)),
    }
}

/// The operations that cannot be ordered, whatever the others did.
fn core(evidence: &crate::Evidence) -> Vec<OpId> {
    let mut core = [&evidence.core[..], &evidence.given[..]].concat();
    core.sort_unstable();
    core.dedup();
    core
}

fn numbers(ops: &[OpId]) -> Vec<u32> {
    ops.iter().map(|op| op.0).collect()
}

fn line(value: &impl Serialize) -> Result<String, NotOffered> {
    serde_json::to_string(value).map_err(|error| NotOffered(error.to_string()))
}

/// Certifies a report like [`write()`], with orders found by the model's own procedures.
///
/// # Errors
/// As [`write()`].
pub fn certify(history: &History, kind: Kind, report: &Report, options: &Options) -> Result<String, NotOffered> {
    let parts = parts(history);
    let mut judge = kind.judge();
    write(history, kind, report, |key| {
        let ops = parts.get(key.0 as usize)?.ops.iter();
        let items: Vec<Item> = ops.map(|&op| Item { op, open: false }).collect();
        judge.witness(history, &items, Limits::new(options.steps, options.memory))
    })
}
