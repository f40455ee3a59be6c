//! Anomalies planted by hand: each must be found by its name, with its transactions and edges, and put in words that are
//! golden. And the levels that it rules out.

mod txn_common;

use seaworthy_check::txn::{Anomaly, Findings, Isolation, Options, check, find};
use seaworthy_check::{History, OpId, Verdict};
use txn_common::{Txn, record, sequence, together, txn};

fn findings(txns: &[Txn]) -> Findings {
    find(&record(txns), &Options::default()).expect("a history of transactions")
}

/// The names found, with how often.
fn names(findings: &Findings) -> Vec<(&str, u64)> {
    findings.counts.iter().map(|count| (count.name, count.times)).collect()
}

/// The labels of an anomaly's edges with the operations that they join.
fn edges(anomaly: &Anomaly) -> Vec<(u32, &str, u32)> {
    let label = |why: &'_ str| why.find(':').unwrap_or(why.len());
    anomaly.edges.iter().map(|edge| (edge.from.0, &edge.why[..label(&edge.why)], edge.to.0)).collect()
}

fn ops(anomaly: &Anomaly) -> Vec<u32> {
    anomaly.ops.iter().map(|op| op.0).collect()
}

/// The example of a name.
fn the<'a>(findings: &'a Findings, name: &str) -> &'a Anomaly {
    findings.anomalies.iter().find(|anomaly| anomaly.name == name).unwrap_or_else(|| panic!("no {name}: {findings:#?}"))
}

fn report(history: &History, isolation: Isolation) -> String {
    check(history, isolation, &Options::default()).to_string()
}

#[test]
fn dump() {
    for text in [
        &["ax1 ay1", "ax2 ay2", "rx12 ry21"][..],
        &["ax1 ry1", "ax2 ay1", "rx12"],
        &["rx[] ay1", "ry[] ax1", "rx1 ry1"],
        &["rx1 ax2", "ax1!"],
        &["rx[] ax1", "rx[] ax2", "rx12"],
        &["rx[] ax1", "rx[] ax2"],
    ] {
        let txns = together(text);
        let f = findings(&txns);
        println!("{:?} {:?}\n{}", names(&f), f.strongest(), report(&record(&txns), Isolation::StrictSerializable));
    }
}
