//! Writes certificates of verdicts on transactions and on sequential consistency.
//!
//! Nothing is claimed that the verifier would reject. In that case the claim is `unknown`, with the verifier's message.

use super::facts::Facts;
use super::transactions::Level;
use super::verify::{Verified, judge};
use super::{Claim, Dependency, NotOffered, Why, header, line, numbers};
use crate::evidence::{Edge, Evidence, Link};
use crate::history::{End, Function, History, KeyId};
use crate::linear::{Report, Verdict};
use crate::model::Kind;
use crate::session::{self, sequential_witness};
use crate::txn::serial_order;

/// Certifies a report on an isolation level.
///
/// # Errors
/// If the report is on another property.
pub fn transactions(history: &History, report: &Report) -> Result<String, NotOffered> {
    let Some((level, part)) = Level::named(report.property).zip(report.parts.first()) else {
        return Err(NotOffered(format!("no level of isolation is called {}", report.property)));
    };
    let name = part.name.clone();
    let claim = match &part.verdict {
        Verdict::Valid => serial_order(history, level.order).map_or_else(
            || Err("no order of the transactions, one after the other, was found that explains all replies".to_owned()),
            |order| Ok(Claim::Valid { part: 0, name, order: numbers(&order) }),
        ),
        Verdict::Invalid(evidence)
            if (evidence.anomaly.starts_with('G') || evidence.anomaly == "fractured read")
                && evidence.edges.len() > 1 =>
        {
            cycle(history, &evidence.edges)
                .map(|cycle| Claim::Cycle { part: 0, name, anomaly: evidence.anomaly.clone(), cycle })
                .ok_or_else(|| "the cycle needs more than its transactions say".to_owned())
        }
        Verdict::Invalid(evidence) => anomaly(history, evidence, name)
            .ok_or_else(|| format!("not valid, but no rule of the verifier shows the {}", evidence.anomaly)),
        Verdict::Unknown(why) => Err(why.clone()),
    };
    let model =
        if history.operations().iter().any(|op| writes_registers(history, op)) { "rw-register" } else { "list-append" };
    finish(history, report, model, claim)
}

/// Certifies a report on sequential consistency, if an order shows that it holds.
///
/// # Errors
/// If the report is on another property.
pub fn sequential(
    history: &History,
    kind: Kind,
    report: &Report,
    options: &session::Options,
) -> Result<String, NotOffered> {
    if report.property != super::verify::SEQUENTIAL {
        return Err(NotOffered(format!("there are no certificates of what is {}", report.property)));
    }
    let Some(part) = report.parts.first() else { return Err(NotOffered("the report has no part".to_owned())) };
    let claim = match &part.verdict {
        Verdict::Valid => match sequential_witness(history, options) {
            Some(order) => Ok(Claim::Valid { part: 0, name: part.name.clone(), order: numbers(&order) }),
            None => Err("valid, but no order was found within the limits".to_owned()),
        },
        Verdict::Invalid(_) => Err("not valid, but only orders are certified of this property".to_owned()),
        Verdict::Unknown(why) => Err(why.clone()),
    };
    finish(history, report, kind.name(), claim)
}

fn finish(history: &History, report: &Report, model: &str, claim: Result<Claim, String>) -> Result<String, NotOffered> {
    let header = header(history, report.property, model, 1);
    let name = report.parts.first().map_or_else(String::new, |part| part.name.clone());
    let claim = claim.and_then(|claim| match judge(history, &header, &claim) {
        Ok(Verified::Unknown(why)) | Err(why) => Err(format!("what was found is not verified: {why}")),
        Ok(_) => Ok(claim),
    });
    let claim = claim.unwrap_or_else(|why| Claim::Unknown { part: 0, name, why });
    Ok(format!("{}\n{}\n", line(&header)?, line(&claim)?))
}

fn writes_registers(history: &History, op: &crate::history::Operation) -> bool {
    history.micro_ops(op).iter().any(|step| step.f == Function::Write)
}

fn cycle(history: &History, edges: &[Edge]) -> Option<Vec<Dependency>> {
    let all = edges.iter().map(|edge| {
        let (why, key) = match edge.link {
            Link::Ww(key) => (Why::Ww, Some(key)),
            Link::Wr(key) => (Why::Wr, Some(key)),
            Link::Rw(key) => (Why::Rw, Some(key)),
            Link::Process => (Why::Process, None),
            Link::Realtime => (Why::Realtime, None),
            Link::Other => return None,
        };
        let by = key.filter(|_| why == Why::Ww).and_then(|key| longest(history, key));
        Some(Dependency { from: edge.from.0, to: edge.to.0, why, key: key.map(|key| key.0), by })
    });
    all.collect()
}

/// The transaction that read the longest list of a key.
fn longest(history: &History, key: KeyId) -> Option<u32> {
    let reads = (0..).zip(history.operations()).filter(|(_, op)| op.end == End::Ok).filter_map(|(i, op)| {
        let lists = history.micro_ops(op).iter().filter(|step| step.key == key).filter_map(|step| history.list(step));
        Some((lists.map(<[_]>::len).max()?, i))
    });
    reads.max_by_key(|&(length, i)| (length, std::cmp::Reverse(i))).map(|(_, i)| i)
}

/// The claim of an anomaly without a cycle. Its operations are in the order that the verifier expects, the writer
/// before the reader.
fn anomaly(history: &History, evidence: &Evidence, name: String) -> Option<Claim> {
    let facts = Facts::new(history).ok()?;
    let (core, kind) = (numbers(&evidence.core), evidence.anomaly.clone());
    if kind == "cyclic versions" {
        let cycle = circle(&facts, &core)?;
        return Some(Claim::Cycle { part: 0, name, anomaly: kind, cycle });
    }
    let keys = || core.iter().flat_map(|&op| facts.steps(op)).map(|step| longest(history, step.key));
    for operations in [core.clone(), core.iter().rev().copied().collect()] {
        let reads = [None].into_iter().chain(keys());
        if let Some(by) = reads.into_iter().find(|&by| facts.anomaly(&kind, &operations, by).is_some()) {
            return Some(Claim::Anomaly { part: 0, name, anomaly: kind, operations, by });
        }
    }
    None
}

/// A cycle of transactions, each of which read something that the one before wrote.
fn circle(facts: &Facts<'_>, ops: &[u32]) -> Option<Vec<Dependency>> {
    let link = |from: u32, to: u32| {
        let key =
            facts.steps(from).iter().map(|step| step.key).find(|&key| facts.depends((from, to), Why::Wr, key, None))?;
        Some(Dependency { from, to, why: Why::Wr, key: Some(key.0), by: None })
    };
    for &start in ops {
        let (mut ways, mut next) = (vec![(start, Vec::new())], 0);
        while let Some((at, way)) = ways.get(next).cloned() {
            next += 1;
            for edge in ops.iter().filter_map(|&to| link(at, to)) {
                let mut way = way.clone();
                way.push(edge);
                if edge.to == start {
                    return Some(way);
                }
                if !ways.iter().any(|&(seen, _)| seen == edge.to) {
                    ways.push((edge.to, way));
                }
            }
        }
    }
    None
}
