//! Summaries of runs: one [`Group`] for each scenario and planted bug, and within it one [`ModeSummary`] for each mode.
//! CP and AP under the same storm are next to each other.

use super::record::{
    ApCounts, Availability, FaultTally, Ops, Outcome, RunRecord, Share, Staleness, TraceHash, Verdict,
};
use super::{Histogram, ScenarioInfo};
use crate::settings::Mode;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// All groups, in the order of their first run in the records.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// The groups.
    pub groups: Vec<Group>,
}

/// One scenario, without a planted bug or with one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Group {
    /// The scenario's name.
    pub scenario: String,
    /// The planted bug, if any.
    pub mutant: Option<String>,
    /// By mode, in the order of columns.
    pub modes: BTreeMap<Mode, ModeSummary>,
}

/// The runs of one group in one mode, added up.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ModeSummary {
    /// Servers in the cluster.
    pub nodes: u32,
    /// Number of runs, one per seed.
    pub seeds: u64,
    /// Operations by result.
    pub ops: Ops,
    /// Faults by kind.
    pub faults: Vec<FaultTally>,
    /// Runs by verdict.
    pub verdicts: Verdicts,
    /// The share of operations that were answered.
    pub availability: Availability,
    /// Latency of the operations that ended ok.
    #[serde(serialize_with = "quantiles")]
    pub latency: Histogram,
    /// The slowest recovery of any run, in milliseconds; `None` if no run recovered.
    pub slowest_recovery_ms: Option<u64>,
    /// Runs in which no operation ended ok after the storm.
    pub unrecovered: u64,
    /// Simulated time, in nanoseconds.
    pub sim_ns: u64,
    /// Wall-clock time, in nanoseconds, summed over the runs. With parallel runs this is more than the elapsed time.
    pub wall_ns: u64,
    /// Events in the traces.
    pub events: u64,
    /// Frames sent.
    pub messages: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Operations of the runs whose frames were counted: the divisor for frames and bytes per operation.
    pub counted_ops: u64,
    /// Runs by whether their history is linearizable.
    pub linearizable: Decided,
    /// Stale reads, out of the reads judged.
    pub stale: Share,
    /// How far behind the stale reads were.
    #[serde(serialize_with = "staleness")]
    pub staleness: Staleness,
    /// Reads that returned several versions, out of the reads that returned any.
    pub conflicts: Share,
    /// Acknowledged writes that were looked for at the end.
    pub acknowledged: u64,
    /// Acknowledged writes that were lost.
    pub lost: u64,
    /// Acknowledged writes that last-writer-wins discarded.
    pub lost_to_policy: u64,
    /// The longest time that any run took to heal, in milliseconds, or `None` if no run was seen to heal.
    pub slowest_heal_ms: Option<u64>,
    /// Runs that were seen to heal.
    pub healed: u64,
    /// By consistency level: operations judged, then violations of each session guarantee.
    pub sessions: BTreeMap<String, [u64; 5]>,
    /// Other activity of quorums.
    pub ap: Option<ApCounts>,
    /// Every run, those that did not pass first (broken properties, then undecided, then inert), then by seed.
    pub runs: Vec<RunLine>,
}

/// One run, as shown in a list of runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunLine {
    /// Its seed.
    pub seed: u64,
    /// The verdict of the checkers.
    pub verdict: Verdict,
    /// The hash that a rerun must reproduce.
    pub trace_hash: TraceHash,
    /// The command that repeats this run, for the root of the repository.
    pub replay: String,
}

/// Runs by whether their history is linearizable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Decided {
    /// It is linearizable.
    pub yes: u64,
    /// It is not linearizable.
    pub no: u64,
    /// Not decided.
    pub undecided: u64,
}

impl std::ops::AddAssign for Decided {
    fn add_assign(&mut self, o: Decided) {
        self.yes += o.yes;
        self.no += o.no;
        self.undecided += o.undecided;
    }
}

/// Runs by verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdicts {
    /// Every property held and every fault had an effect.
    pub pass: u64,
    /// A property was broken.
    pub fail: u64,
    /// A fault never had an effect.
    pub inert: u64,
    /// The checkers could not decide.
    pub unknown: u64,
}

impl Verdicts {
    /// The total.
    #[must_use]
    pub fn total(self) -> u64 {
        self.pass + self.fail + self.inert + self.unknown
    }

    /// Whether there were runs and all of them passed.
    #[must_use]
    pub fn passed(self) -> bool {
        self.pass > 0 && self.pass == self.total()
    }

    fn count(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail { .. } => &mut self.fail,
            Verdict::Inert { .. } => &mut self.inert,
            Verdict::Unknown { .. } => &mut self.unknown,
        } += 1;
    }
}

impl std::ops::AddAssign for Verdicts {
    fn add_assign(&mut self, o: Verdicts) {
        self.pass += o.pass;
        self.fail += o.fail;
        self.inert += o.inert;
        self.unknown += o.unknown;
    }
}

impl Summary {
    /// Adds up `runs`. `scenarios` contains each scenario's file. For a scenario without an entry, replay commands
    /// contain the name instead.
    #[must_use]
    pub fn of(runs: &[RunRecord], scenarios: &[ScenarioInfo]) -> Summary {
        let mut summary = Summary { groups: Vec::new() };
        for run in runs {
            let o = &run.outcome;
            let file = scenarios.iter().find(|s| s.name == o.scenario).map_or(&o.scenario, |s| &s.file);
            let group = summary.group(&o.scenario, o.mutant.as_deref());
            *group.modes.entry(o.mode).or_default() += &ModeSummary::one(run, file);
        }
        for mode in summary.groups.iter_mut().flat_map(|g| g.modes.values_mut()) {
            mode.runs.sort_by_key(|r| (rank(&r.verdict), r.seed));
        }
        summary
    }

    /// The modes that any group ran in, in order.
    #[must_use]
    pub fn modes(&self) -> Vec<Mode> {
        let mut modes: Vec<Mode> = self.groups.iter().flat_map(|g| g.modes.keys().copied()).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    }

    /// The groups that ran in both modes, which can be compared.
    pub fn pairs(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|g| g.modes.len() > 1)
    }

    /// The totals of all pairs, by mode; empty if there are no pairs.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Mode, ModeSummary> {
        let mut totals: BTreeMap<Mode, ModeSummary> = BTreeMap::new();
        for (mode, m) in self.pairs().flat_map(|g| &g.modes) {
            *totals.entry(*mode).or_default() += m;
        }
        totals
    }

    /// Runs by verdict, over all groups and modes.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        let mut all = Verdicts::default();
        self.groups.iter().flat_map(|g| g.modes.values()).for_each(|m| all += m.verdicts);
        all
    }

    /// The summary as JSON, for `--json`. Latencies are given as percentiles.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("invariant: plain data with text keys always serialises")
    }

    fn group(&mut self, scenario: &str, mutant: Option<&str>) -> &mut Group {
        let same = |g: &Group| g.scenario == scenario && g.mutant.as_deref() == mutant;
        let at = self.groups.iter().position(same).unwrap_or_else(|| {
            let modes = BTreeMap::new();
            self.groups.push(Group { scenario: scenario.into(), mutant: mutant.map(Into::into), modes });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }
}

impl ModeSummary {
    /// The number of faults applied, of all kinds.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.faults.iter().map(|f| f.fired).sum()
    }

    /// The summary of one run.
    fn one(run: &RunRecord, file: &str) -> ModeSummary {
        let o: &Outcome = &run.outcome;
        let mut verdicts = Verdicts::default();
        verdicts.count(&o.verdict);
        let line =
            RunLine { seed: o.seed, verdict: o.verdict.clone(), trace_hash: o.trace_hash, replay: replay(run, file) };
        ModeSummary {
            nodes: o.nodes,
            seeds: 1,
            ops: o.ops,
            faults: o.faults.clone(),
            verdicts,
            availability: o.availability,
            latency: o.latency.clone(),
            slowest_recovery_ms: o.recovery_ms,
            unrecovered: u64::from(o.recovery_ms.is_none()),
            sim_ns: o.sim_ns,
            wall_ns: run.wall_ns,
            events: o.events,
            messages: o.messages,
            bytes: o.bytes,
            counted_ops: if o.messages > 0 { o.ops.total() } else { 0 },
            linearizable: Decided {
                yes: u64::from(o.linearizable == Some(true)),
                no: u64::from(o.linearizable == Some(false)),
                undecided: u64::from(o.linearizable.is_none()),
            },
            stale: o.stale,
            staleness: o.staleness.clone(),
            conflicts: o.conflicts,
            acknowledged: o.acknowledged,
            lost: o.lost,
            lost_to_policy: o.lost_to_policy,
            slowest_heal_ms: o.heal_ms,
            healed: u64::from(o.heal_ms.is_some()),
            sessions: o.sessions.clone(),
            ap: o.ap,
            runs: vec![line],
        }
    }

    fn add_fault(&mut self, fault: &FaultTally) {
        match self.faults.iter_mut().find(|f| f.kind == fault.kind) {
            None => self.faults.push(fault.clone()),
            Some(sum) => {
                sum.requested += fault.requested;
                sum.fired += fault.fired;
                sum.affected += fault.affected;
                sum.inert += fault.inert;
            }
        }
    }
}

impl std::ops::AddAssign<&ModeSummary> for ModeSummary {
    fn add_assign(&mut self, o: &ModeSummary) {
        self.nodes = self.nodes.max(o.nodes);
        self.seeds += o.seeds;
        self.ops += o.ops;
        o.faults.iter().for_each(|fault| self.add_fault(fault));
        self.verdicts += o.verdicts;
        self.availability += o.availability;
        self.latency += &o.latency;
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(o.slowest_recovery_ms);
        self.unrecovered += o.unrecovered;
        self.sim_ns += o.sim_ns;
        self.wall_ns += o.wall_ns;
        self.events += o.events;
        self.messages += o.messages;
        self.bytes += o.bytes;
        self.counted_ops += o.counted_ops;
        self.linearizable += o.linearizable;
        self.stale += o.stale;
        self.staleness += &o.staleness;
        self.conflicts += o.conflicts;
        self.acknowledged += o.acknowledged;
        self.lost += o.lost;
        self.lost_to_policy += o.lost_to_policy;
        self.slowest_heal_ms = self.slowest_heal_ms.max(o.slowest_heal_ms);
        self.healed += o.healed;
        for (level, counts) in &o.sessions {
            let sum = self.sessions.entry(level.clone()).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        if let Some(counts) = o.ap {
            *self.ap.get_or_insert_default() += counts;
        }
        self.runs.extend_from_slice(&o.runs);
    }
}

/// The sort rank of a verdict: what needs attention comes first.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Fail { .. } => 0,
        Verdict::Unknown { .. } => 1,
        Verdict::Inert { .. } => 2,
        Verdict::Pass => 3,
    }
}

/// The command that repeats this run.
fn replay(run: &RunRecord, file: &str) -> String {
    let o = &run.outcome;
    let mut command = format!("cargo sim run {} --seed {}", shell_word(file), o.seed);
    if o.mode != Mode::Cp {
        command += " --mode ap";
    }
    if let Some(mutant) = &o.mutant {
        command += &format!(" --mutant {}", shell_word(mutant));
    }
    command
}

/// Quotes `word` as one word for a POSIX shell.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Serializes latencies as their percentiles, in nanoseconds.
fn quantiles<S: Serializer>(latency: &Histogram, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Quantiles {
        count: u64,
        p50_ns: Option<u64>,
        p90_ns: Option<u64>,
        p99_ns: Option<u64>,
        p999_ns: Option<u64>,
        max_ns: Option<u64>,
    }
    let at = |permille| latency.permille(permille);
    let (count, max_ns) = (latency.count(), latency.max());
    Quantiles { count, p50_ns: at(500), p90_ns: at(900), p99_ns: at(990), p999_ns: at(999), max_ns }.serialize(s)
}

/// Serializes staleness as its percentiles.
fn staleness<S: Serializer>(staleness: &Staleness, s: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Quantiles {
        versions_p50: Option<u64>,
        versions_p99: Option<u64>,
        versions_max: Option<u64>,
        time_p50_ns: Option<u64>,
        time_p99_ns: Option<u64>,
        time_max_ns: Option<u64>,
    }
    let (versions, time) = (&staleness.versions, &staleness.time);
    Quantiles {
        versions_p50: versions.permille(500),
        versions_p99: versions.permille(990),
        versions_max: versions.max(),
        time_p50_ns: time.permille(500),
        time_p99_ns: time.permille(990),
        time_max_ns: time.max(),
    }
    .serialize(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use proptest::prelude::*;

    #[test]
    fn what_failed_comes_first_with_the_command_that_makes_it_again() {
        let summary = Summary::of(&fixture::runs(), &fixture::scenarios());
        let swarm = &summary.groups[2].modes[&Mode::Cp];
        assert_eq!(swarm.verdicts, Verdicts { pass: 1, fail: 1, inert: 1, unknown: 1 });
        let order: Vec<u64> = swarm.runs.iter().map(|r| r.seed).collect();
        assert_eq!(order, [3, 4, 2, 1]);
        assert_eq!(swarm.runs[0].replay, "cargo sim run 'scenarios/it'\\''s a swarm.toml' --seed 3");
        assert!(!summary.verdicts().passed());
        assert!(!Verdicts::default().passed(), "no runs prove nothing");
    }

    #[test]
    fn mutants_and_modes_are_kept_apart() {
        let mut runs = vec![fixture::run("a", 1), fixture::run("a", 1), fixture::run("a", 2)];
        runs[1].outcome.mutant = Some("vote-twice".into());
        runs[2].outcome.mode = Mode::Ap;
        let summary = Summary::of(&runs, &[]);
        assert_eq!(summary.groups.len(), 2);
        assert_eq!(summary.modes(), [Mode::Cp, Mode::Ap]);
        assert_eq!(summary.groups[0].modes[&Mode::Ap].runs[0].replay, "cargo sim run a --seed 2 --mode ap");
        assert_eq!(summary.groups[1].modes[&Mode::Cp].runs[0].replay, "cargo sim run a --seed 1 --mutant vote-twice");
    }

    #[test]
    fn one_run_that_never_recovers_is_not_hidden_by_others() {
        let mut runs = vec![fixture::run("a", 1), fixture::run("a", 2)];
        runs[1].outcome.recovery_ms = None;
        let mode = &Summary::of(&runs, &[]).groups[0].modes[&Mode::Cp];
        assert_eq!((mode.unrecovered, mode.slowest_recovery_ms), (1, runs[0].outcome.recovery_ms));
    }

    proptest! {
        /// The same seeds in any order give the same summary.
        #[test]
        fn order_does_not_matter(seeds in Just((0..8).collect::<Vec<u64>>()).prop_shuffle()) {
            let sum = |seeds: &[u64]| Summary::of(&seeds.iter().map(|&s| fixture::run("a", s)).collect::<Vec<_>>(), &[]);
            prop_assert_eq!(sum(&seeds), sum(&[0, 1, 2, 3, 4, 5, 6, 7]));
        }
    }
}
