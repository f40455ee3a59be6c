//! What the checkers find out about a run's data: broken promises, and figures.

use super::merges;
use super::verdict::fail;
use crate::oracle::expiry;
use crate::plan::{How, Plan, What};
use crate::report::{Histogram, Share, Staleness, Verdict};
use crate::settings::Levels;
use seaworthy::types::{Level, MergeKind, Resolve};
use seaworthy_check as check;
use seaworthy_check::replicas::{self, Observed};
use std::collections::BTreeMap;
use std::time::Duration;

/// Figures about data, as they appear in the record of a run.
#[derive(Default)]
pub struct DataChecks {
    /// Whether the history is linearizable, if that was decided.
    pub linearizable: Option<bool>,
    /// Stale reads, out of the reads judged.
    pub stale: Share,
    /// How far behind the stale reads were.
    pub staleness: Staleness,
    /// Reads that found several values, out of those that found any.
    pub conflicts: Share,
    /// Acknowledged writes that were looked for at the end.
    pub acknowledged: u64,
    /// Acknowledged writes that were lost.
    pub lost: u64,
    /// Acknowledged writes that the last-writer-wins policy discarded.
    pub lost_to_policy: u64,
    /// By level: operations judged, and violations of each session guarantee.
    pub sessions: BTreeMap<String, [u64; 5]>,
    /// Why replicas differed at the end, if they did.
    pub diverged: Option<String>,
}

/// Step limit for computing a figure. A verdict may cost more.
const FIGURE: check::Options =
    check::Options { steps: 5_000_000, memory: 64 << 20, evidence_steps: 0, threads: 1, time: None };

/// Step limit for a counter's figure. The check decides at once, or hardly ever.
const SUMS: check::Options = check::Options { steps: 100_000, ..FIGURE };

/// Judges a run against Raft. Returns the verdict, if it is decided here, and figures. `impossible` says when the
/// history became impossible. `lives` has the TTLs of operations of the history.
pub fn by_raft(
    plan: &Plan,
    (history, lives): (&check::History, &BTreeMap<check::OpId, Duration>),
    impossible: Option<&str>,
) -> (Option<Verdict>, DataChecks) {
    let judged = plan.expect.linearizable;
    let options = if judged { check::Options::default() } else { FIGURE };
    let expires = !lives.is_empty();
    let report = match expires {
        true => expiry::check(history, lives, Some(plan.expect.expiry), &options),
        false => check::check(history, &options),
    };
    let linearizable = decided(&report).filter(|yes| !yes || impossible.is_none());
    let mut data_checks = DataChecks { linearizable, ..DataChecks::default() };
    // An expired value is not stale, so no session figures are measured on such a history.
    let measured = if expires { check::session::Figures::default() } else { check::session::measure(history) };
    let count = |name| measured.get(name).map_or(0, |value| value as u64);
    data_checks.stale = Share { ok: count("stale reads"), of: count("reads measured") };
    data_checks.conflicts.of = data_checks.stale.of;
    if linearizable == Some(true) {
        // Linearizable: no acknowledged write is lost, and every session guarantee holds.
        let writes = |op: &&check::Operation| op.f != check::Function::Read && op.end == check::End::Ok;
        data_checks.acknowledged = history.operations().iter().filter(writes).count() as u64;
        data_checks.sessions.insert("linearizable".to_owned(), [data_checks.stale.of, 0, 0, 0, 0]);
    }
    if !judged {
        return (None, data_checks);
    }
    if let Some(violation) = report.violations().next() {
        let when = impossible.unwrap_or("seen in the whole history");
        let detail = format!("{}\n\n{when}", violation.to_string().trim_end());
        // If the history is linearizable when keys may expire at any time or never, the expiry times are wrong.
        let timely = !expires || !expiry::check(history, lives, None, &FIGURE).is_valid();
        return (Some(fail(if timely { "linearizable" } else { "expiry" }, detail)), data_checks);
    }
    if let Some(when) = impossible {
        let detail = format!("the history has become impossible, and nothing says why\n{when}");
        return (Some(fail("linearizable", detail)), data_checks);
    }
    let unknown = report.unknowns().next();
    let verdict = unknown.map(|(key, why)| Verdict::Unknown { why: format!("linearizability of {key}: {why}") });
    (verdict, data_checks)
}

fn decided(report: &check::Report) -> Option<bool> {
    if report.violations().next().is_some() {
        return Some(false);
    }
    report.unknowns().next().is_none().then_some(true)
}

/// Whether a history of additions and numbers is linearizable. With different amounts this depends on which sums are
/// possible, and is often left undecided.
fn counts(history: &check::History) -> Option<bool> {
    decided(&check::check_as(check::Kind::Counter, history, &SUMS))
}

/// Without faults all timestamps are the same. Writes move theirs slightly apart, so that each is later than what it
/// saw.
const TICK: u64 = 1_000_000;

/// The promises that a run against quorums must keep. `lost_disks`: a disk may have lost data that it had confirmed.
pub fn promised(plan: &Plan, lost_disks: bool, final_from: Option<u64>) -> replicas::Options {
    let policy = match plan.bucket.resolve {
        Resolve::LastWriter => replicas::Policy::LastWriter,
        resolve => match merges::are_kept(resolve) {
            None => replicas::Policy::Siblings,
            Some(MergeKind::Counter | MergeKind::PnCounter) => replicas::Policy::Counter,
            Some(MergeKind::Register) => replicas::Policy::Register,
            Some(MergeKind::Set) => replicas::Policy::Set,
            Some(MergeKind::Map) => replicas::Policy::Map,
        },
    };
    let forward = !plan.bucket.sloppy && !lost_disks;
    let wrong_dates = plan.faults().keys().any(|kind| kind.starts_with("clock-"));
    let skew = (!wrong_dates).then_some(TICK);
    replicas::Options { policy, strict: is_strict(plan) && !lost_disks, forward, skew, final_from }
}

/// Judges a run against quorums. Returns the verdict, if a promise was broken, and figures.
pub fn by_quorums(
    history: &check::History,
    (observed, promised): (&Observed, &replicas::Options),
) -> (Option<Verdict>, DataChecks) {
    let found = replicas::check(observed, promised);
    let of = |property| found.counts.get(property).copied().unwrap_or(0);
    let all = found.figures.overall();
    let counting = promised.policy == replicas::Policy::Counter;
    let collects = matches!(promised.policy, replicas::Policy::Set | replicas::Policy::Map);
    let mut data_checks = DataChecks {
        linearizable: match (counting, collects) {
            (true, _) => counts(history),
            (_, true) => None,
            _ => decided(&check::check(history, &FIGURE)),
        },
        stale: Share { ok: all.stale.violated, of: all.stale.judged },
        conflicts: Share { ok: all.conflicts, of: all.reads },
        // A sum does not tell which additions it includes.
        acknowledged: if counting || collects { 0 } else { found.figures.acknowledged },
        lost: of(replicas::NONE_LOST),
        lost_to_policy: found.figures.lost_to_policy,
        ..DataChecks::default()
    };
    let spread = |from: &replicas::Histogram, to: &mut Histogram, scale: u64| {
        for (number, count) in from.buckets() {
            (0..count).for_each(|_| to.record(number.saturating_mul(scale)));
        }
    };
    spread(&all.versions, &mut data_checks.staleness.versions, 1);
    spread(&all.micros, &mut data_checks.staleness.time, 1000);
    // For the same reason, a sum does not tell whether a session has seen them.
    for (name, level) in found.figures.levels.iter().filter(|_| !counting && !collects) {
        let broken = [level.read_your_writes, level.monotonic_reads, level.monotonic_writes, level.writes_follow_reads];
        let [a, b, c, d] = broken.map(|tally| tally.violated);
        data_checks.sessions.insert(name.clone(), [level.reads, a, b, c, d]);
    }
    let told = |violation: &replicas::Violation| format!("{}: {}", violation.key, violation.words);
    let (diverged, broken): (Vec<_>, Vec<_>) =
        found.violations.iter().partition(|violation| violation.property == replicas::CONVERGED);
    data_checks.diverged = diverged.first().map(|violation| told(violation));
    let verdict = broken.first().map(|violation| {
        let count = of(violation.property);
        let more = if count > 1 { format!("\n({count} such in all)") } else { String::new() };
        fail(violation.property, format!("{}{more}", told(violation)))
    });
    (verdict, data_checks)
}

/// Whether every read quorum overlaps every write quorum, so that each read sees every acknowledged write.
fn is_strict(plan: &Plan) -> bool {
    let bucket = &plan.bucket;
    let n = bucket.n.min(plan.cluster.nodes) as usize;
    // A quorum of one region need not overlap a quorum of another.
    let local = if plan.cluster.regions == 1 { n } else { 1 };
    let drawn = |what: &What| matches!(what, What::Op { how: How { level: Some(_), .. }, .. });
    let own_levels = bucket.levels == Levels::Mixed || plan.events.iter().any(|event| drawn(&event.what));
    let of = |level: Level| level.of(n, local);
    !bucket.sloppy && bucket.resolve != Resolve::LastWriter && !own_levels && of(bucket.r) + of(bucket.w) > n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn plan(bucket: &str, ops: &str) -> Plan {
        let head = "seaworthy-plan 1\nscenario x\nseed 7\ncluster\nnetwork\ndisk\nworkload\ntime\nexpect\n";
        Plan::read("x", &format!("{head}bucket {bucket}\n{ops}")).unwrap_or_else(|p| panic!("{p}"))
    }

    #[test]
    fn counters_are_promised_their_sum() {
        let policy = |bucket| promised(&plan(bucket, ""), false, None).policy;
        assert_eq!(policy("mode=ap resolve=pn-counter"), replicas::Policy::Counter);
        assert_eq!(policy("resolve=last-writer"), replicas::Policy::LastWriter);
        assert_eq!(policy(""), replicas::Policy::Siblings);
    }

    #[test]
    fn quorums_are_strict_when_each_read_meets_each_write() {
        assert!(is_strict(&plan("sloppy=false", "")));
        assert!(is_strict(&plan("sloppy=false r=one w=all", "")));
        assert!(!is_strict(&plan("sloppy=false r=one", "")));
        assert!(!is_strict(&plan("", "")), "sloppy");
        assert!(!is_strict(&plan("sloppy=false resolve=last-writer", "")));
        assert!(!is_strict(&plan("sloppy=false levels=mixed", "")));
        assert!(!is_strict(&plan("sloppy=false", "3s c1 get k1 r=one\n")));
    }
}
