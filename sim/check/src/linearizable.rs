//! Linearizability (Herlihy and Wing, 1990) of a key-value store's history, decided key by key.
//!
//! A history of independent objects is linearizable exactly if each object's part is (the locality theorem), so
//! every key gets its own verdict. The answer is exact: valid, not valid with evidence, or unknown with the reason when a
//! limit was reached. The model is in `model`: revisions and conditional writes, no expiry.

use crate::evidence::{self, Evidence};
use crate::history::{Call, History, KeyId, OpId, Recorder, Reply, Version};
use crate::problem::{Item, Problem, Scratch};
use crate::search::{Answer, Limits, decide};
use std::collections::BTreeMap;
use std::fmt;

/// What a check may spend on each key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Steps of the search; a step takes tens of nanoseconds.
    pub steps: u64,
    /// Bytes for remembered configurations.
    pub memory: usize,
    /// Steps of all the checks that look for smaller evidence, once a key is known not to be linearizable. 0: the evidence
    /// is the whole history of the key.
    pub evidence_steps: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { steps: 50_000_000, memory: 256 << 20, evidence_steps: 20_000_000 }
    }
}

/// What was decided about a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order of the operations that explains every reply.
    Valid,
    /// There is none.
    Invalid(Box<Evidence>),
    /// Not decided, and why.
    Unknown(String),
}

/// One key's verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyReport {
    /// The key.
    pub key: KeyId,
    /// Its text.
    pub name: String,
    /// How many operations it has.
    pub operations: usize,
    /// What was decided.
    pub verdict: Verdict,
}

/// The verdicts on a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// One for each key, in the order of their ids.
    pub keys: Vec<KeyReport>,
}

impl Report {
    /// Whether every key is certainly linearizable.
    pub fn is_valid(&self) -> bool {
        self.keys.iter().all(|key| key.verdict == Verdict::Valid)
    }

    /// Evidence against the keys that are certainly not linearizable.
    pub fn violations(&self) -> impl Iterator<Item = &Evidence> {
        self.keys.iter().filter_map(|key| match &key.verdict {
            Verdict::Invalid(evidence) => Some(&**evidence),
            Verdict::Valid | Verdict::Unknown(_) => None,
        })
    }

    /// Names of the keys that were not decided, and why.
    pub fn unknowns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().filter_map(|key| match &key.verdict {
            Verdict::Unknown(why) => Some((key.name.as_str(), why.as_str())),
            Verdict::Valid | Verdict::Invalid(_) => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violations, unknowns) = (self.violations().count(), self.unknowns().count());
        let operations: usize = self.keys.iter().map(|key| key.operations).sum();
        write!(f, "{operations} operations on {} keys: ", self.keys.len())?;
        match (violations, unknowns) {
            (0, 0) => return writeln!(f, "linearizable"),
            (0, _) => writeln!(f, "unknown for {unknowns} keys")?,
            (_, 0) => writeln!(f, "NOT linearizable on {violations} keys")?,
            _ => writeln!(f, "NOT linearizable on {violations} keys, unknown for {unknowns}")?,
        }
        for (key, why) in self.unknowns() {
            writeln!(f, "\nkey {key}: unknown, {why}")?;
        }
        for evidence in self.violations() {
            write!(f, "\n{evidence}")?;
        }
        Ok(())
    }
}

/// Decides every key of a history.
pub fn check(history: &History, options: &Options) -> Report {
    let mut by_key: Vec<Vec<OpId>> = vec![Vec::new(); history.keys() as usize];
    for (i, op) in (0u32..).zip(history.operations()) {
        by_key[op.key.0 as usize].push(OpId(i));
    }
    let mut scratch = Scratch::new(history);
    let keys = (0u32..).map(KeyId).zip(&by_key);
    let keys = keys.map(|(key, ops)| KeyReport {
        key,
        name: history.key(key).to_owned(),
        operations: ops.len(),
        verdict: check_key(history, key, ops, options, &mut scratch),
    });
    Report { keys: keys.collect() }
}

/// Decides a history followed by a look at the final state: what each key holds when all is over. A key that is not
/// mentioned is not looked at; one that the history does not know gets a verdict too.
pub fn check_final(history: &History, last: &BTreeMap<String, Option<Version<String>>>, options: &Options) -> Report {
    let mut recorder = Recorder::continuing(history.clone());
    let time =
        history.operations().iter().flat_map(|op| [Some(op.called), op.returned]).flatten().map(|m| m.time).max();
    let process = history.operations().iter().map(|op| op.process).max().map_or(0, |last| last.saturating_add(1));
    for (key, seen) in last {
        let read = recorder.invoke(process, time.unwrap_or(0), key, Call::Get);
        let seen = seen.as_ref().map(|v| Version { value: v.value.as_str(), revision: v.revision });
        recorder.ok(read, time.unwrap_or(0), Reply::Got(seen));
    }
    check(&recorder.finish(), options)
}

fn check_key(history: &History, key: KeyId, ops: &[OpId], options: &Options, scratch: &mut Scratch) -> Verdict {
    let items: Vec<Item> = ops.iter().map(|&op| Item { op, open: false }).collect();
    let limits = Limits { steps: options.steps, memory: options.memory };
    match decide(&Problem::new(history, &items, scratch), limits).0 {
        Answer::Possible => Verdict::Valid,
        Answer::Impossible => Verdict::Invalid(Box::new(evidence::gather(history, key, &items, options, scratch))),
        Answer::GaveUp(why) => Verdict::Unknown(why.to_owned()),
    }
}
