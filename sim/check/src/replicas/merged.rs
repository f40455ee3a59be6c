//! Registers and sets. What is read, and what is held at the end, must follow from what was done and when, whatever the
//! store's own merge function does.
//!
//! **Registers.** A register holds at most one value, which some client wrote before. Once a write has been
//! acknowledged, the register has a value. If the timestamps of writes are near true time ([`Options::skew`]), a write
//! that returned more than twice the skew before another was called has the earlier timestamp. The register does not
//! hold it once the other write is present.
//!
//! **Sets.** A removal takes out the insertions that its coordinator knew of. The coordinator cannot have known of an
//! insertion that was called after the removal had returned. So an element must be present if it was inserted, and
//! every removal of it had returned before that insertion was called. An element must be absent if no client had
//! inserted it. It must also be absent if all replicas held every insertion when a removal was called that has been
//! acknowledged since: the coordinator of that removal knew of all of them. Other elements may be present or absent.
//!
//! The same rules apply to reads, restricted to what had been acknowledged by a quorum that the read met.

use super::history::Part;
use super::words;
use super::{
    Call, End, Findings, NONE_INVENTED, NONE_LOST, NONE_RESURRECTED, ONCE, Observed, Operation, Options, Policy,
};
use super::{LATEST, history::NEVER};
use std::collections::BTreeMap;

/// Returns the policy by which a key is checked.
pub fn policy_of(observed: &Observed, part: &Part, policy: Policy) -> Policy {
    if policy != Policy::Map {
        return policy;
    }
    let any = |is: fn(&Call) -> bool| part.operations.iter().any(|&at| is(&observed.operations[at as usize].call));
    if any(|call| matches!(call, Call::Add(_))) {
        Policy::Counter
    } else if any(|call| matches!(call, Call::Insert(_) | Call::Remove(_))) {
        Policy::Set
    } else {
        Policy::Register
    }
}

/// A change, with its position among the operations.
#[derive(Clone, Copy)]
struct Change<'a> {
    at: u32,
    op: &'a Operation,
}

impl Change<'_> {
    /// Returns the time of the acknowledgement, or [`NEVER`].
    fn acked(&self) -> u64 {
        self.op.returned.filter(|_| matches!(self.op.end, End::Ok(_))).unwrap_or(NEVER)
    }
}

/// An observation: by an operation, or of a replica at the end.
struct Found<'a> {
    who: String,
    /// Position of the operation.
    at: Option<u32>,
    op: Option<&'a Operation>,
    called: u64,
    returned: u64,
    values: &'a [String],
}

impl Found<'_> {
    /// Returns whether a change had been acknowledged before, by a quorum that this observation met.
    fn met(&self, change: &Change, options: &Options) -> bool {
        change.acked() < self.called && self.op.is_none_or(|op| options.meet(op, change.op))
    }

    fn with(&self, others: &[u32]) -> Vec<u32> {
        self.at.into_iter().chain(others.iter().copied()).collect()
    }

    /// Returns the property that a missing value violates.
    fn missing(&self) -> &'static str {
        if self.op.is_some() { LATEST } else { NONE_LOST }
    }
}

/// Returns all observations, and counts the reads.
fn found<'a>(observed: &'a Observed, part: &Part, findings: &mut Findings) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for &at in &part.operations {
        let op = &observed.operations[at as usize];
        let (Call::Get, End::Ok(Some(values)), Some(returned)) = (&op.call, &op.end, op.returned) else { continue };
        let level = findings.figures.level(&op.level);
        level.reads += 1;
        level.values_max = level.values_max.max(values.len() as u64);
        all.push(Found { who: words::op(op), at: Some(at), op: Some(op), called: op.called, returned, values });
    }
    for &at in &part.dumps {
        let dump = &observed.dumps[at as usize];
        let who = format!("at the end, replica {}", dump.replica);
        all.push(Found { who, at: None, op: None, called: NEVER, returned: NEVER, values: &dump.values });
    }
    all
}

/// Returns the changes that may have happened.
fn changes<'a>(observed: &'a Observed, part: &'a Part) -> impl Iterator<Item = Change<'a>> {
    let change = |&at: &u32| Change { at, op: &observed.operations[at as usize] };
    part.operations.iter().map(change).filter(|change| change.op.end != End::Fail && change.op.call != Call::Get)
}

fn name<'a>(observed: &'a Observed, part: &Part) -> &'a str {
    let first = part.operations.first().map(|&at| observed.operations[at as usize].key.as_str());
    first.or_else(|| part.dumps.first().map(|&at| observed.dumps[at as usize].key.as_str())).unwrap_or_default()
}

/// Checks one register.
pub fn register(observed: &Observed, part: &Part, options: &Options, findings: &mut Findings) {
    let key = name(observed, part);
    let writes: Vec<Change> = changes(observed, part).collect();
    if writes.iter().any(|write| matches!(write.op.call, Call::Delete { .. })) {
        return;
    }
    let by_value: BTreeMap<&str, Change> = writes.iter().filter_map(|write| Some((value(write)?, *write))).collect();
    for found in found(observed, part, findings) {
        let shown = match found.values {
            [] => None,
            [one] => Some(one.as_str()),
            many => {
                findings.violated(ONCE, key, &found.with(&[]), || {
                    format!("{} found {} in one register", found.who, words::values(many))
                });
                continue;
            }
        };
        let holds = shown.and_then(|value| by_value.get(value));
        if holds.is_some_and(|write| write.op.called > found.returned) || shown.is_some() && holds.is_none() {
            findings.violated(NONE_INVENTED, key, &found.with(&[]), || {
                format!("{} found {}, which nobody had written by then", found.who, words::values(found.values))
            });
            continue;
        }
        // The acknowledgement of the value found plus twice the skew. A write called after that has a later timestamp.
        let dated = match (holds, options.skew) {
            (None, _) => Some(0),
            (Some(write), Some(skew)) => write.acked().checked_add(2 * skew),
            (Some(_), None) => None,
        };
        let later = |write: &&Change| found.met(write, options) && dated.is_some_and(|dated| dated < write.op.called);
        if let Some(later) = writes.iter().find(later) {
            findings.violated(found.missing(), key, &found.with(&[later.at]), || {
                let (who, values, write) = (&found.who, words::values(found.values), words::op(later.op));
                format!("{who} found {values}, though a later write had been acknowledged: {write}")
            });
        }
    }
}

fn value<'a>(write: &Change<'a>) -> Option<&'a str> {
    match &write.op.call {
        Call::Put { value, .. } => Some(value),
        _ => None,
    }
}

/// The changes of one element.
#[derive(Default)]
struct Element<'a> {
    inserted: Vec<Change<'a>>,
    removed: Vec<Change<'a>>,
}

impl<'a> Element<'a> {
    /// Returns an insertion that must be visible, if there is one.
    fn certain(&self, found: &Found, options: &Options) -> Option<&Change<'a>> {
        let knew = |removal: &&Change, insertion: &Change| {
            removal.op.called <= found.returned && removal.acked() >= insertion.op.called
        };
        let stays = |insertion: &&Change| !self.removed.iter().any(|removal| knew(&removal, insertion));
        self.inserted.iter().find(|insertion| found.met(insertion, options) && stays(insertion))
    }

    /// Returns a removal after which the element must not be visible, if there is one.
    fn certainly_gone(&self, found: &Found, options: &Options) -> Option<&Change<'a>> {
        let everywhere =
            |op: &Operation| op.quorum.is_some_and(|quorum| quorum.replicas == quorum.of && quorum.region == 0);
        let may_be = || self.inserted.iter().filter(|insertion| insertion.op.called <= found.returned);
        let held = may_be().all(|insertion| everywhere(insertion.op));
        let last = may_be().map(Change::acked).max().filter(|_| held)?;
        self.removed.iter().find(|removal| last < removal.op.called && found.met(removal, options))
    }
}

/// Checks one set.
pub fn set(observed: &Observed, part: &Part, options: &Options, findings: &mut Findings) {
    let key = name(observed, part);
    let mut elements: BTreeMap<&str, Element> = BTreeMap::new();
    for change in changes(observed, part) {
        match &change.op.call {
            Call::Insert(element) => elements.entry(element).or_default().inserted.push(change),
            Call::Remove(element) => elements.entry(element).or_default().removed.push(change),
            _ => return,
        }
    }
    for found in found(observed, part, findings) {
        if (1..found.values.len()).any(|at| found.values[..at].contains(&found.values[at])) {
            findings.violated(ONCE, key, &found.with(&[]), || {
                format!("{} found {}, one of them twice", found.who, words::values(found.values))
            });
        }
        for value in found.values {
            let known = elements.get(value.as_str());
            let inserted = known.is_some_and(|e| e.inserted.iter().any(|i| i.op.called <= found.returned));
            if !inserted {
                findings.violated(NONE_INVENTED, key, &found.with(&[]), || {
                    format!("{} found {value:?}, which nobody had inserted by then", found.who)
                });
            } else if let Some(removal) = known.and_then(|element| element.certainly_gone(&found, options)) {
                findings.violated(NONE_RESURRECTED, key, &found.with(&[removal.at]), || {
                    let removal = words::op(removal.op);
                    format!(
                        "{} found {value:?}, of which all insertions were known when it was removed: {removal}",
                        found.who
                    )
                });
            }
        }
        for (name, element) in &elements {
            if found.values.iter().any(|value| value == name) {
                continue;
            }
            if let Some(insertion) = element.certain(&found, options) {
                findings.violated(found.missing(), key, &found.with(&[insertion.at]), || {
                    let insertion = words::op(insertion.op);
                    format!(
                        "{} misses {name:?}, and no removal can have known of its insertion: {insertion}",
                        found.who
                    )
                });
            }
        }
    }
}
