//! The verdict on a finished run: the properties in order of importance; the first broken one is reported with its
//! evidence.
//!
//! 1. No node broke an invariant of its own (a release-mode assertion), and the oracle saw no invariant broken across
//!    nodes.
//! 2. Under Raft the history is linearizable, including final reads. Under quorums no acknowledged write is lost,
//!    nothing overwritten comes back, and so on (`seaworthy_check::replicas`).
//! 3. Recovery: no server refuses to start unless its disk was damaged, and no server stops unless its disk refuses
//!    operations.
//! 4. Progress: after the storm and the grace period every operation succeeds, except writes that a healthy cluster
//!    refuses. If the plan asks for it, there is also a limit on the longest time without any answer.
//! 5. Convergence: at the end all servers that can run have the same state.
//! 6. Catch-up, if the plan asks for it: what existed at the end of the storm reaches all live servers in time, under
//!    load. Similarly, log entries are sent only once, and tombstones are collected.
//! 7. Enough operations succeeded, and every required kind of fault had an effect; otherwise the run proves nothing
//!    (`inert`).

use super::data_checks::{DataChecks, by_quorums, by_raft};
use crate::oracle::Violation;
use crate::plan::{Kind, Plan, What, unmet, waits_for};
use crate::report::{Availability, FaultTally, Histogram, Ops, Share, Verdict};
use crate::settings::MustFire;
use crate::world::{ledger, nanos};
use seaworthy::storage::StorageError;
use seaworthy::types::NodeId;
use seaworthy_check as check;
use seaworthy_check::replicas::{Observed, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The evidence that a run leaves.
pub struct Evidence<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// What clients did and saw.
    pub history: &'a check::History,
    /// The TTLs of the history's writes and extensions.
    pub lives: &'a BTreeMap<check::OpId, Duration>,
    /// In a run against quorums: the operations as the replica checker needs them, and what replicas held at the end.
    pub observed: Option<(&'a Observed, &'a Options)>,
    /// Writes that a healthy cluster refuses. They do not count as lack of progress.
    pub refusable: &'a BTreeSet<check::OpId>,
    /// A node's broken assertion, or the oracle's observation.
    pub violation: Option<Violation>,
    /// When the history became impossible, if that ended the run.
    pub impossible: Option<String>,
    /// The fault ledger, added up by kind.
    pub faults: &'a [FaultTally],
    /// How long after the storm all servers had what existed at its end, or `None` if they never did.
    pub heal: Option<Duration>,
    /// The ledger itself.
    pub ledger: &'a [ledger::Entry],
    /// Why the servers' states differ at the end, if they do.
    pub divergence: Option<String>,
    /// Servers that stopped because of their storage, with the error.
    pub refusals: &'a [(NodeId, StorageError)],
    /// Elections won after the warm-up.
    pub elections: u64,
    /// Log entries that leaders sent, and how many of these they had sent to the same follower before.
    pub entries: (u64, u64),
    /// The largest number of tombstones that a server holds at the end.
    pub tombstones: u64,
}

/// Returns the verdict, by the list at the top of this file, and the figures found on the way.
#[must_use]
pub fn judge(evidence: &Evidence<'_>) -> (Verdict, DataChecks) {
    let (promises, data_checks) = match evidence.observed {
        None => by_raft(evidence.plan, (evidence.history, evidence.lives), evidence.impossible.as_deref()),
        Some(observed) => by_quorums(evidence.history, observed),
    };
    if let Some(Violation { property, detail }) = &evidence.violation {
        return (fail(property, detail.clone()), data_checks);
    }
    let verdict = promises.unwrap_or_else(|| judge_liveness(evidence, &data_checks));
    (verdict, data_checks)
}

/// Judges the properties that come after the promises about data.
fn judge_liveness(evidence: &Evidence<'_>, data_checks: &DataChecks) -> Verdict {
    let expect = &evidence.plan.expect;
    let wrongly = |(_, why): &&(NodeId, StorageError)| !may_stop(evidence.plan, why);
    if let Some((node, why)) = evidence.refusals.iter().find(wrongly) {
        return fail(
            "recovery",
            format!("{node} stopped, though nothing was done to its disk that explains it: {why}"),
        );
    }
    if let Some(stuck) = stuck(evidence) {
        return fail("progress", stuck);
    }
    if let Some(outage) = outage(evidence) {
        return fail("no long outage", outage);
    }
    if let Some(overload) = overload(evidence) {
        return overload;
    }
    if let Some(divergence) = evidence.divergence.as_ref().or(data_checks.diverged.as_ref()) {
        return fail("convergence", divergence.clone());
    }
    if let Some(most) = expect.heal.filter(|most| evidence.heal.is_none_or(|took| took > *most)) {
        let took = evidence.heal.map_or("not before the run ended".to_owned(), |took| format!("only after {took:?}"));
        return fail(
            "catch-up",
            format!("the servers had what was there at the end of the storm {took}, not within {most:?}"),
        );
    }
    let (all, again) = evidence.entries;
    if expect.resent.is_some_and(|most| again as f64 > most.0 * all as f64) {
        return fail(
            "entries sent once",
            format!("{again} of {all} entries were sent to a follower that was sent them before"),
        );
    }
    if expect.tombstones.is_some_and(|most| evidence.tombstones > most) {
        return fail("tombstones collected", format!("a server holds {} tombstones at the end", evidence.tombstones));
    }
    let ok = evidence.history.operations().iter().filter(|op| op.settled().is_some()).count() as u64;
    if ok < expect.min_ok {
        return fail(
            "enough operations",
            format!("{ok} operations succeeded, at least {} were expected", expect.min_ok),
        );
    }
    let inert = inert(evidence.faults, &unmet(evidence.ledger), &expect.must_fire);
    if inert.is_empty() { Verdict::Pass } else { Verdict::Inert { faults: inert } }
}

/// Judges what is expected of an overloaded cluster, and returns a verdict if it does not hold.
fn overload(evidence: &Evidence<'_>) -> Option<Verdict> {
    let expect = &evidence.plan.expect;
    if expect.elections.is_some_and(|most| evidence.elections > most) {
        let detail = format!("{} elections were won after the warm-up", evidence.elections);
        return Some(fail("no elections", detail));
    }
    let (storm, best) = goodput(evidence.plan, evidence.history);
    (storm < expect.goodput.0 * best).then(|| {
        let detail =
            format!("{storm:.1} operations a second succeeded in the storm, {best:.0} in the best five seconds");
        fail("goodput", detail)
    })
}

/// Successful operations per second: the average in the storm without its first second, and the best five seconds
/// overall.
fn goodput(plan: &Plan, history: &check::History) -> (f64, f64) {
    const SECOND: u64 = 1_000_000_000;
    let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
    for answered in history.operations().iter().filter_map(check::Operation::settled) {
        *seconds.entry(history.time(answered) / SECOND).or_default() += 1;
    }
    let storm = nanos(plan.time.warmup) / SECOND + 1..nanos(plan.time.storm_ends()) / SECOND;
    let of_storm: u64 = seconds.range(storm.clone()).map(|(_, count)| count).sum();
    let five = |first: &u64| seconds.range(*first..*first + 5).map(|(_, count)| count).sum();
    let best: u64 = seconds.keys().map(five).max().unwrap_or(0);
    (of_storm as f64 / (storm.end.saturating_sub(storm.start)).max(1) as f64, best as f64 / 5.0)
}

/// The required kinds of fault that had no effect or only part of their expected effects, with what they were waiting
/// for.
fn inert(faults: &[FaultTally], unmet: &BTreeMap<&str, Vec<ledger::Effect>>, must_fire: &MustFire) -> Vec<String> {
    let required = |fault: &&FaultTally| match must_fire {
        MustFire::All => true,
        MustFire::Any => faults.iter().all(|f| f.affected == 0),
        MustFire::Kinds(kinds) => kinds.contains(&fault.kind),
    };
    let told = |fault: &FaultTally| match (fault.affected, unmet.get(fault.kind.as_str())) {
        (0, _) => Some(format!("{} (it waited for {})", fault.kind, waits_for(&fault.kind))),
        (_, Some(effects)) => {
            let effects: Vec<String> = effects.iter().map(|effect| effect.to_string()).collect();
            Some(format!("{} (it never had: {})", fault.kind, effects.join(", ")))
        }
        (_, None) => None,
    };
    faults.iter().filter(required).filter_map(told).collect()
}

pub(super) fn fail(property: &str, detail: String) -> Verdict {
    Verdict::Fail { property: property.to_owned(), detail }
}

/// Whether a server of this plan may legitimately stop with this storage error. A power loss is not a valid reason. A
/// disk that refuses operations is, as long as it refuses; but durable data must be intact.
fn may_stop(plan: &Plan, why: &StorageError) -> bool {
    let refused = matches!(why, StorageError::Disk(_) | StorageError::Poisoned);
    has(plan, Kind::forfeits) || refused && has(plan, refuses)
}

/// Whether a disk of this plan may lose data that was given to it.
pub fn spoils_disks(plan: &Plan) -> bool {
    has(plan, |kind| kind.forfeits() || refuses(kind))
}

fn refuses(kind: &Kind) -> bool {
    matches!(kind, Kind::DiskFull { .. } | Kind::FsyncFail { .. })
}

fn has(plan: &Plan, is: impl Fn(&Kind) -> bool) -> bool {
    plan.events.iter().any(|event| matches!(&event.what, What::Begin { fault, .. } if is(&fault.kind)))
}

/// Describes the first operation that began after the grace period and did not succeed.
fn stuck(evidence: &Evidence<'_>) -> Option<String> {
    let Evidence { plan, history, refusable, .. } = *evidence;
    let from = plan.time.storm_ends() + plan.time.grace;
    let late = |op: &&check::Operation| Duration::from_nanos(history.time(op.called)) >= from;
    let refused =
        |at: usize, op: &check::Operation| op.end == check::End::Fail && refusable.contains(&check::OpId(at as u32));
    let unsettled = |(at, op): &(usize, &check::Operation)| op.settled().is_none() && !refused(*at, op);
    let (_, op) = history.operations().iter().enumerate().filter(|(_, op)| late(op)).find(unsettled)?;
    Some(format!(
        "process {}'s operation on {} began {:.3} s into the run, {:.3} s after the storm, and did not succeed ({})",
        op.process,
        history.key(op.key),
        Duration::from_nanos(history.time(op.called)).as_secs_f64(),
        (Duration::from_nanos(history.time(op.called)) - plan.time.storm_ends()).as_secs_f64(),
        match op.end {
            check::End::Fail => "refused until its time was over",
            _ => "no answer within its time",
        },
    ))
}

/// Describes the longest time without any answer from the beginning of the storm on, if it is longer than expected.
fn outage(evidence: &Evidence<'_>) -> Option<String> {
    let Evidence { plan, history, .. } = *evidence;
    let most = plan.expect.max_outage?;
    let from = nanos(plan.time.warmup);
    let answered = history.operations().iter().filter_map(|op| op.settled().map(|event| history.time(event)));
    let mut answers: Vec<u64> = answered.filter(|at| *at > from).collect();
    answers.extend([from, nanos(plan.time.ends())]);
    answers.sort_unstable();
    let longest = answers.windows(2).max_by_key(|pair| pair[1] - pair[0])?;
    let (begins, lasts) = (Duration::from_nanos(longest[0]), Duration::from_nanos(longest[1] - longest[0]));
    (lasts > most).then(|| {
        format!(
            "nothing was answered for {:.3} s from {:.3} s into the run on",
            lasts.as_secs_f64(),
            begins.as_secs_f64()
        )
    })
}

/// Adds up the ledger's entries by kind, in the order in which kinds first appear.
#[must_use]
pub fn tally(entries: &[ledger::Entry]) -> Vec<FaultTally> {
    let mut tallies: Vec<FaultTally> = Vec::new();
    for entry in entries {
        let place = tallies.iter().position(|t| t.kind == entry.kind).unwrap_or_else(|| {
            let kind = entry.kind.clone();
            tallies.push(FaultTally { kind, requested: 0, fired: 0, affected: 0, inert: 0 });
            tallies.len() - 1
        });
        let tally = &mut tallies[place];
        tally.requested += 1;
        tally.fired += entry.fired;
        tally.affected += entry.effects.values().sum::<u64>();
        tally.inert += u64::from(entry.effects.is_empty());
    }
    tallies
}

/// Figures of the clients' side of a run.
pub struct Figures {
    /// Operations by outcome.
    pub ops: Ops,
    /// Operations answered, out of those asked, by phase.
    pub availability: Availability,
    /// Latency of the operations that were answered.
    pub latency: Histogram,
    /// Time from the end of the storm to the first answer after it.
    pub recovery_ms: Option<u64>,
}

/// Computes the figures of a history. Warm-up belongs to neither phase.
///
/// Everything is measured from the instant at which an operation was `due`. In an open loop a client that waited
/// through an outage starts all later operations late. Measured from their calls, these operations would hide the
/// outage that delayed them (coordinated omission). An operation that was due but never begun counts as asked and not
/// answered.
#[must_use]
pub fn figures(plan: &Plan, history: &check::History, due: &[u64]) -> Figures {
    let mut figures = Figures {
        ops: Ops::default(),
        availability: Availability::default(),
        latency: Histogram::default(),
        recovery_ms: None,
    };
    let calm = nanos(plan.time.storm_ends());
    let patience = nanos(plan.workload.timeout.high);
    let mut first_answer: Option<u64> = None;
    for (op, due) in history.operations().iter().zip(due) {
        match op.end {
            check::End::Ok | check::End::Refused => figures.ops.ok += 1,
            check::End::Fail => figures.ops.fail += 1,
            check::End::Info => figures.ops.info += 1,
        }
        let answered = op.settled().map(|event| history.time(event));
        if let Some(share) = phase(plan, &mut figures.availability, *due) {
            share.of += 1;
            share.ok += u64::from(answered.is_some_and(|at| at - due <= patience));
        }
        if let Some(at) = answered {
            figures.latency.record(at - due);
            if at >= calm {
                first_answer = Some(first_answer.map_or(at, |first| first.min(at)));
            }
        }
    }
    for at in never_begun(plan, history) {
        if let Some(share) = phase(plan, &mut figures.availability, at) {
            share.of += 1;
        }
    }
    figures.recovery_ms = first_answer.map(|at| (at - calm) / 1_000_000);
    figures
}

/// The phase in which an operation was due.
fn phase<'a>(plan: &Plan, availability: &'a mut Availability, due: u64) -> Option<&'a mut Share> {
    if due < nanos(plan.time.warmup) {
        None
    } else if due < nanos(plan.time.storm_ends()) {
        Some(&mut availability.storm)
    } else {
        Some(&mut availability.calm)
    }
}

/// The due times of open-loop operations that clients never began. Each client performs its operations in order.
fn never_begun(plan: &Plan, history: &check::History) -> Vec<u64> {
    if plan.workload.think.is_some() {
        return Vec::new();
    }
    let mut begun: BTreeMap<u32, u64> = BTreeMap::new();
    for op in history.operations() {
        *begun.entry(op.process % (plan.workload.all_clients() + 1)).or_default() += 1;
    }
    let mut left = Vec::new();
    for event in &plan.events {
        if let What::Op { client, .. } = event.what
            && client <= plan.workload.clients
        {
            match begun.get_mut(&(client % (plan.workload.all_clients() + 1))) {
                Some(count) if *count > 0 => *count -= 1,
                _ => left.push(nanos(event.at)),
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_have_had_an_effect() {
        let fault = |kind: &str, affected| {
            let kind = kind.to_owned();
            FaultTally { kind, requested: 1, fired: 1, affected, inert: u64::from(affected == 0) }
        };
        let some = [fault("kill", 3), fault("pause", 0), fault("rot", 0)];
        let of = |faults: &[FaultTally], unmet, must_fire| -> Vec<String> {
            let told = inert(faults, &unmet, &must_fire);
            told.iter().map(|told| told.split_once(" (").expect("a hint").0.to_owned()).collect()
        };
        let none = BTreeMap::new;
        assert_eq!(of(&some, none(), MustFire::All), ["pause", "rot"]);
        assert_eq!(of(&some, none(), MustFire::Kinds(vec!["kill".into(), "rot".into()])), ["rot"]);
        assert!(of(&some, none(), MustFire::Any).is_empty());
        assert_eq!(of(&some[1..], none(), MustFire::Any), ["pause", "rot"]);
        assert!(of(&some, none(), MustFire::Kinds(Vec::new())).is_empty());
        assert!(of(&[], none(), MustFire::Any).is_empty());
        let half = || BTreeMap::from([("kill", vec![ledger::Effect::SectorsLost])]);
        assert_eq!(of(&some[..1], half(), MustFire::All), ["kill"]);
        assert!(of(&some, half(), MustFire::Any).is_empty());
        assert_eq!(inert(&some[..1], &half(), &MustFire::All), ["kill (it never had: sectors lost)"]);
    }
}
