//! What one run leaves behind.
//!
//! [`Outcome`] is a pure function of scenario, mode, seed, planted bug and code: two runs of the same must compare
//! equal, whatever the machine. What depends on the machine stands beside it, in [`RunRecord`].

use super::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, fmt, ops::AddAssign};

/// One run: what happened, and what it cost here.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// What happened; the same on every machine.
    pub outcome: Outcome,
    /// Wall-clock time the run took, checks included, in nanoseconds.
    pub wall_ns: u64,
}

/// What happened in one run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// How the store was run.
    pub mode: Mode,
    /// The seed everything random was drawn from.
    pub seed: u64,
    /// The planted bug, if any.
    pub mutant: Option<String>,
    /// Servers in the cluster.
    pub nodes: u32,
    /// Operations clients invoked, by how they ended.
    pub ops: Ops,
    /// Faults by kind, in the order of the scenario.
    pub faults: Vec<FaultTally>,
    /// What the checkers said.
    pub verdict: Verdict,
    /// How much of what was asked was answered.
    pub availability: Availability,
    /// Latency of the operations that ended ok, in nanoseconds of simulated time from the instant at which they were due
    /// to the answer, waiting and retries included.
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
    /// Whether the clients' history is linearizable; `None` if that was not decided. A figure: whether it had to be is
    /// for the verdict to say.
    #[serde(default)]
    pub linearizable: Option<bool>,
    /// Stale reads (`ok`) of the reads judged (`of`; 0: none were).
    #[serde(default)]
    pub stale: Share,
    /// How far behind the stale reads were.
    #[serde(default)]
    pub staleness: Staleness,
    /// Reads that returned several versions (`ok`) of the reads that returned any (`of`).
    #[serde(default)]
    pub conflicts: Share,
    /// Acknowledged writes that were looked for in the end; 0 if nobody looked, and then `lost` says nothing.
    #[serde(default)]
    pub acknowledged: u64,
    /// Acknowledged writes lost: neither present in the end, nor overwritten by one that knew them, nor resolved by the
    /// declared policy.
    #[serde(default)]
    pub lost: u64,
    /// Acknowledged writes that last-writer-wins lost to an older value: what the policy
    /// promises, and not among `lost`.
    #[serde(default)]
    pub lost_to_policy: u64,
    /// Milliseconds of simulated time from the end of the storm until all replicas agreed; `None` if they were not seen
    /// to.
    #[serde(default)]
    pub heal_ms: Option<u64>,
    /// By consistency level: operations judged, then how often each session guarantee was broken, in the order of
    /// [`GUARANTEES`].
    #[serde(default)]
    pub sessions: BTreeMap<String, [u64; 5]>,
    /// What the quorums did besides; `None` in a run without them.
    #[serde(default)]
    pub ap: Option<ApCounts>,
}

/// The session guarantees (Terry et al., 1994), in the order in which [`Outcome::sessions`] counts them after the
/// operations judged.
pub const GUARANTEES: [&str; 4] = ["read your writes", "monotonic reads", "monotonic writes", "writes follow reads"];

/// How far behind stale reads were, as probabilistically bounded staleness measures it (Bailis et al., 2012).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Staleness {
    /// By how many versions (k).
    pub versions: Histogram,
    /// For how long, in nanoseconds of simulated time, what was read had been overwritten (t).
    pub time: Histogram,
}

impl AddAssign<&Staleness> for Staleness {
    fn add_assign(&mut self, o: &Staleness) {
        self.versions += &o.versions;
        self.time += &o.time;
    }
}

/// What the quorums did in a run besides answering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ApCounts {
    /// Hints stored by stand-ins.
    pub hints_stored: u64,
    /// Hints handed over to their owners.
    pub handed_over: u64,
    /// Hints refused for want of room.
    pub hints_refused: u64,
    /// Hints given to other replicas because they had become too old.
    pub hints_expired: u64,
    /// Replicas that were behind and were repaired.
    pub repairs: u64,
    /// Tombstones collected.
    pub collected: u64,
    /// Clock entries pruned.
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

/// Which of the two databases a run was made against. The order is the order of columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Raft groups.
    Cp,
    /// Dynamo-style quorums.
    Ap,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Cp => "CP",
            Mode::Ap => "AP",
        })
    }
}

/// Operations by how they ended, as Jepsen counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ops {
    /// Answered.
    pub ok: u64,
    /// Certainly not carried out.
    pub fail: u64,
    /// Unknown, and therefore open for ever.
    pub info: u64,
}

impl Ops {
    /// All of them.
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

/// One kind of fault, from the fault ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FaultTally {
    /// Its name in the scenario.
    pub kind: String,
    /// How often the plan asked for it.
    pub requested: u64,
    /// How often it was applied.
    pub fired: u64,
    /// What it touched: messages, writes, reads, clock readings, processes.
    pub affected: u64,
    /// How many of those requested never touched anything.
    pub inert: u64,
}

/// What the checkers said of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Verdict {
    /// Every property was checked and held, and every fault bit.
    Pass,
    /// A property was broken.
    Fail {
        /// Its name, such as `linearizable`.
        property: String,
        /// The evidence, readable; may have several lines.
        detail: String,
    },
    /// Nothing was broken, but these faults never touched anything, so that says nothing.
    Inert {
        /// Kinds of fault.
        faults: Vec<String>,
    },
    /// The checkers could not decide.
    Unknown {
        /// Why, such as a budget that ran out.
        why: String,
    },
}

/// How much of what clients asked was answered, by phase.
///
/// An operation belongs to the phase in which it was due, even if it ends in the other. It counts as ok if its history
/// entry is `ok` and came within the client's time of the instant at which it was due, not of that at which a client held
/// up by an outage came to it. A compare that was answered "no" was answered; a refusal (`fail`) and silence (`info`)
/// were not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Availability {
    /// While faults were on.
    pub storm: Share,
    /// After they ended.
    pub calm: Share,
}

impl AddAssign for Availability {
    fn add_assign(&mut self, o: Availability) {
        self.storm += o.storm;
        self.calm += o.calm;
    }
}

/// A fraction kept as its two counts, so that fractions of many runs add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Share {
    /// How many of them are counted, such as operations that ended ok.
    pub ok: u64,
    /// How many there were, such as operations invoked.
    pub of: u64,
}

impl Share {
    /// The fraction in `0.0..=1.0`; `None` of nothing.
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

/// Hash over a run's event trace. Sixteen hex digits in text and JSON, whose numbers stop at 2⁵³ in many readers.
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
