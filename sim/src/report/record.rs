//! The record of one run.
//!
//! [`Outcome`] is a pure function of scenario, mode, seed, planted bug and code: two runs with the same inputs must
//! compare equal on any machine. Values that depend on the machine are in [`RunRecord`].

use super::Histogram;
use crate::settings::Mode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, fmt, ops::AddAssign};

/// One run: its outcome, and its cost on this machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// The outcome, which is the same on every machine.
    pub outcome: Outcome,
    /// Wall-clock time of the run, including checks, in nanoseconds.
    pub wall_ns: u64,
}

/// The outcome of one run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The database that was run.
    pub mode: Mode,
    /// The seed of all random choices.
    pub seed: u64,
    /// The planted bug, if any.
    pub mutant: Option<String>,
    /// Servers in the cluster.
    pub nodes: u32,
    /// Operations invoked by clients, by result.
    pub ops: Ops,
    /// Faults by kind, in the order of the scenario.
    pub faults: Vec<FaultTally>,
    /// The verdict of the checkers.
    pub verdict: Verdict,
    /// The share of operations that were answered.
    pub availability: Availability,
    /// Latency of the operations that ended ok, in nanoseconds of simulated time. Measured from the instant at which
    /// they were due to the answer, including waiting and retries.
    pub latency: Histogram,
    /// Milliseconds of simulated time from the start of the calm phase to the first operation that ended ok in it;
    /// `None` if none did.
    pub recovery_ms: Option<u64>,
    /// Simulated time, in nanoseconds.
    pub sim_ns: u64,
    /// Hash over the full event trace.
    pub trace_hash: TraceHash,
    /// Events in the trace.
    pub events: u64,
    /// Frames sent.
    pub messages: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Whether the clients' history is linearizable, or `None` if that was not decided. This is a figure only; the
    /// verdict says whether it was required.
    #[serde(default)]
    pub linearizable: Option<bool>,
    /// Stale reads (`ok`) of the reads judged (`of`; 0 if there were none).
    #[serde(default)]
    pub stale: Share,
    /// How far behind the stale reads were.
    #[serde(default)]
    pub staleness: Staleness,
    /// Reads that returned several versions (`ok`) of the reads that returned any (`of`).
    #[serde(default)]
    pub conflicts: Share,
    /// Acknowledged writes that were looked for at the end. If 0, there was no such check and `lost` has no meaning.
    #[serde(default)]
    pub acknowledged: u64,
    /// Acknowledged writes lost: not present at the end, not overwritten by a write that had seen them, and not
    /// discarded by the declared policy.
    #[serde(default)]
    pub lost: u64,
    /// Acknowledged writes that last-writer-wins discarded in favour of an older value. The policy permits this; they
    /// are not included in `lost`.
    #[serde(default)]
    pub lost_to_policy: u64,
    /// Milliseconds of simulated time from the end of the storm until all replicas agreed, or `None` if they were never
    /// seen to agree.
    #[serde(default)]
    pub heal_ms: Option<u64>,
    /// By consistency level: operations judged, then the number of violations of each session guarantee, in the order
    /// of [`GUARANTEES`].
    #[serde(default)]
    pub sessions: BTreeMap<String, [u64; 5]>,
    /// Other activity of quorums, or `None` in a run without them.
    #[serde(default)]
    pub ap: Option<ApCounts>,
}

/// The session guarantees (Terry et al., 1994), in the order in which [`Outcome::sessions`] counts them after the
/// operations judged.
pub const GUARANTEES: [&str; 4] = ["read your writes", "monotonic reads", "monotonic writes", "writes follow reads"];

/// How far behind stale reads were, as probabilistically bounded staleness measures it (Bailis et al., 2012).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Staleness {
    /// Number of versions behind (k).
    pub versions: Histogram,
    /// How long the value read had been overwritten, in nanoseconds of simulated time (t).
    pub time: Histogram,
}

impl AddAssign<&Staleness> for Staleness {
    fn add_assign(&mut self, o: &Staleness) {
        self.versions += &o.versions;
        self.time += &o.time;
    }
}

/// Activity of quorums in a run, other than answering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ApCounts {
    /// Hints stored by stand-ins.
    pub hints_stored: u64,
    /// Hints handed over to their owners.
    pub handed_over: u64,
    /// Hints refused because there was no room.
    pub hints_refused: u64,
    /// Hints given to other replicas because they were too old.
    pub hints_expired: u64,
    /// Replicas that were behind and were repaired.
    pub repairs: u64,
    /// Tombstones collected.
    pub collected: u64,
    /// Version vector entries pruned.
    pub pruned: u64,
}

impl AddAssign for ApCounts {
    fn add_assign(&mut self, o: ApCounts) {
        self.hints_stored += o.hints_stored;
        self.handed_over += o.handed_over;
        self.hints_refused += o.hints_refused;
        self.hints_expired += o.hints_expired;
        self.repairs += o.repairs;
        self.collected += o.collected;
        self.pruned += o.pruned;
    }
}

/// Operations by result, as Jepsen counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ops {
    /// Answered.
    pub ok: u64,
    /// Certainly not executed.
    pub fail: u64,
    /// Unknown, and so pending for ever.
    pub info: u64,
}

impl Ops {
    /// The total.
    #[must_use]
    pub fn total(self) -> u64 {
        self.ok + self.fail + self.info
    }
}

impl AddAssign for Ops {
    fn add_assign(&mut self, o: Ops) {
        self.ok += o.ok;
        self.fail += o.fail;
        self.info += o.info;
    }
}

/// The counts of one kind of fault, from the fault ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultTally {
    /// Its name in the scenario.
    pub kind: String,
    /// How often the plan requested it.
    pub requested: u64,
    /// How often it was applied.
    pub fired: u64,
    /// Number of things it affected: messages, writes, reads, clock readings, processes.
    pub affected: u64,
    /// How many of the requested ones never had an effect.
    pub inert: u64,
}

/// The verdict of the checkers on a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Verdict {
    /// Every property was checked and held, and every fault had an effect.
    Pass,
    /// A property was broken.
    Fail {
        /// The name of the property, such as `linearizable`.
        property: String,
        /// The evidence as readable text; may have several lines.
        detail: String,
    },
    /// Nothing was broken, but these faults never had an effect, so the run proves nothing.
    Inert {
        /// Kinds of fault.
        faults: Vec<String>,
    },
    /// The checkers could not decide.
    Unknown {
        /// The reason, such as an exhausted budget.
        why: String,
    },
}

/// The share of clients' operations that were answered, by phase.
///
/// An operation belongs to the phase in which it was due, even if it ends in the other. It counts as ok if its history
/// entry is `ok` and came within the client's timeout, measured from the instant at which it was due. It is not
/// measured from the instant at which a client delayed by an outage began it. A compare that was answered "no" counts
/// as answered; a refusal (`fail`) and silence (`info`) do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Availability {
    /// During the storm.
    pub storm: Share,
    /// After the storm.
    pub calm: Share,
}

impl AddAssign for Availability {
    fn add_assign(&mut self, o: Availability) {
        self.storm += o.storm;
        self.calm += o.calm;
    }
}

/// A fraction stored as its two counts, so that fractions of many runs can be added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Share {
    /// The part that is counted, such as operations that ended ok.
    pub ok: u64,
    /// The whole, such as operations invoked.
    pub of: u64,
}

impl Share {
    /// The fraction in `0.0..=1.0`, or `None` if the whole is zero.
    #[must_use]
    pub fn fraction(self) -> Option<f64> {
        (self.of > 0).then(|| self.ok as f64 / self.of as f64)
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, o: Share) {
        self.ok += o.ok;
        self.of += o.of;
    }
}

/// Hash of a run's event trace. Sixteen hex digits in text and JSON, because many readers limit JSON numbers to 2⁵³.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TraceHash(pub u64);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for TraceHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<TraceHash, D::Error> {
        let text = String::deserialize(d)?;
        u64::from_str_radix(&text, 16)
            .map(TraceHash)
            .map_err(|_| serde::de::Error::custom(format!("trace hash {text:?} is not hexadecimal")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_record_survives_json() {
        for run in fixture::runs() {
            let text = serde_json::to_string(&run).unwrap();
            assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), run);
        }
        let hash = serde_json::to_string(&TraceHash(0xab)).unwrap();
        assert_eq!(hash, "\"00000000000000ab\"");
        assert!(serde_json::from_str::<TraceHash>("\"xyz\"").is_err());
    }

    #[test]
    fn nothing_asked_is_no_fraction() {
        assert_eq!(Share::default().fraction(), None);
        let mut share = Share { ok: 1, of: 2 };
        share += Share { ok: 0, of: 2 };
        assert_eq!(share.fraction(), Some(0.25));
    }
}
