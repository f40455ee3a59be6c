//! The properties that can be checked for each model, by name, and the procedures that check them.

use super::Trouble;
use seaworthy_check::jepsen::{self, Analysis, NOTHING};
use seaworthy_check::linear::PartReport;
use seaworthy_check::model::Misfit;
use seaworthy_check::model::detect::Meant;
use seaworthy_check::session::{self, Bound, Figures, Guarantee, Unit};
use seaworthy_check::txn::{self, Isolation};
use seaworthy_check::{History, Kind, Options, Report, Verdict, check_as};
use serde_json::json;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Decided by the model's own procedures.
pub const LINEARIZABLE: &str = "linearizable";

/// Properties of registers and keys that are weaker than linearizability.
const WEAKER: [&str; 11] = [
    "sequential",
    "causal-memory",
    "causal-convergence",
    "causal",
    "read-your-writes",
    "monotonic-reads",
    "monotonic-writes",
    "writes-follow-reads",
    "convergence",
    "lost-writes",
    "phantom-writes",
];

/// Yields figures, not a verdict.
const STALENESS: &str = "staleness";

/// The names of all properties that apply to a model.
fn known(meant: Meant) -> Vec<&'static str> {
    match meant {
        Meant::ListAppend => Isolation::ALL.iter().map(|level| level.name()).collect(),
        Meant::RwRegister => {
            let levels = Isolation::ALL.iter().map(|level| level.name());
            levels.chain([Analysis::LongFork.name()]).collect()
        }
        Meant::Bank => vec![Analysis::Bank.name()],
        Meant::Objects(Kind::Register | Kind::CasRegister | Kind::Kv) => {
            [LINEARIZABLE].into_iter().chain(WEAKER).chain([STALENESS]).collect()
        }
        Meant::Objects(Kind::Queue | Kind::UnorderedQueue) => vec![LINEARIZABLE, Analysis::TotalQueue.name()],
        Meant::Objects(Kind::Set) => {
            vec![LINEARIZABLE, Analysis::SetFull.name(), Analysis::SetFullLinearizable.name()]
        }
        Meant::Objects(_) => vec![LINEARIZABLE],
    }
}

/// Whether the queue was drained at the end, so that every element should have come out.
fn drained(history: &History) -> bool {
    history.names().iter().any(|name| name == "drain")
}

/// Why a property should not be checked for a history unless it is explicitly requested.
pub fn moot(property: &str, history: &History) -> Option<&'static str> {
    (property == Analysis::TotalQueue.name() && !drained(history)).then_some("nothing drains the queue in the end")
}

/// The properties requested. The default is the strictest one and, for a queue that was drained, also `total-queue`.
pub fn asked(names: &[String], meant: Meant, history: &History) -> Result<Vec<&'static str>, Trouble> {
    let known = known(meant);
    if names.is_empty() {
        let total = known.contains(&Analysis::TotalQueue.name()) && drained(history);
        return Ok(match meant {
            Meant::Objects(_) if total => vec![LINEARIZABLE, Analysis::TotalQueue.name()],
            Meant::Objects(_) => vec![LINEARIZABLE],
            Meant::Bank => known,
            Meant::ListAppend | Meant::RwRegister => vec![Isolation::StrictSerializable.name()],
        });
    }
    if names.iter().any(|name| name == "all") {
        return Ok(known);
    }
    let find = |name: &String| {
        let found = known.iter().find(|known| *known == name).copied();
        found.ok_or_else(|| {
            Trouble::new(format!("no property of {meant} is called {name:?}; there are: {}, all", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// Whether every linearizable history has this property too. The linearization is then the order that the property
/// requires.
pub fn implied(property: &str) -> bool {
    const GUARANTEES: [&str; 8] = [
        "sequential",
        "causal-memory",
        "causal-convergence",
        "causal",
        "read-your-writes",
        "monotonic-reads",
        "monotonic-writes",
        "writes-follow-reads",
    ];
    GUARANTEES.contains(&property)
}

/// Marks the undecided parts of a report as valid, because linearizability implies the property.
pub fn imply(report: &mut Report) {
    for part in &mut report.parts {
        if let Verdict::Unknown(_) = part.verdict {
            (part.verdict, part.by) = (Verdict::Valid, "implied, as it is linearizable");
        }
    }
}

/// Joins two reports: `report`, in which a read of nil means that nothing was there, and `other`, in which it means
/// nothing. The verdict is what both agree on, with evidence that is valid for both.
pub fn both(report: &mut Report, other: Report) {
    for (part, second) in report.parts.iter_mut().zip(other.parts) {
        let hangs = |there: &str, nothing: &str| {
            let why =
                format!("it hangs on what a read of nil says: {there} if that nothing was there, {nothing} if nothing");
            Verdict::Unknown(why)
        };
        part.verdict = match (&part.verdict, second.verdict) {
            (Verdict::Unknown(_), _) => continue,
            (Verdict::Valid, Verdict::Valid) => Verdict::Valid,
            (Verdict::Valid, Verdict::Invalid(_)) => hangs("valid", "not valid"),
            (Verdict::Invalid(_), Verdict::Valid) => hangs("not valid", "valid"),
            (_, second) => second,
        };
    }
}

/// Returns why a report without violations is undecided, if the only reason is that the history has nothing that the
/// property is about.
pub fn idle(report: &Report) -> Option<String> {
    let idle = |missing: &str| {
        let idle = report.unknowns().filter(|(_, why)| why.starts_with(missing)).count();
        let decided = report.violations().next().is_none() && report.unknowns().count() == idle;
        (decided && idle > 0).then(|| format!("{idle} of {} parts have {missing}", report.parts.len()))
    };
    idle("no final reads").or_else(|| idle(NOTHING))
}

/// The result of checking a property.
pub enum Finding {
    /// A verdict.
    Report(Report),
    /// Figures.
    Staleness(Staleness),
    /// An operation to which the property does not apply.
    Misfit(Misfit),
}

/// The staleness of reads.
pub struct Staleness {
    measures: Figures,
    k: Vec<Bound>,
    delta: Vec<Bound>,
    unit: Unit,
}

/// Limits and assumptions of a check.
pub struct Terms {
    /// Options of linearizability.
    pub options: Options,
    /// Options of transactions.
    pub transactions: txn::Options,
    /// Assumptions about a bank.
    pub accounts: jepsen::Terms,
    /// When the time for all properties ends.
    pub until: Option<Instant>,
}

/// Checks one property.
pub fn decide(property: &'static str, meant: Meant, history: &History, terms: &Terms) -> Finding {
    let Terms { options, transactions, accounts, until } = terms;
    let time = until.map(|until| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
    let options = &Options { time, ..*options };
    if let Some(report) = too_large(property, history, options.memory) {
        return Finding::Report(report);
    }
    if let Some(analysis) = Analysis::named(property) {
        return analysis.check(history, accounts).map_or_else(Finding::Misfit, Finding::Report);
    }
    if let (Meant::ListAppend | Meant::RwRegister, Some(isolation)) = (meant, Isolation::named(property)) {
        return Finding::Report(txn::check(history, isolation, transactions));
    }
    // These procedures have no clock. One of their steps takes some nanoseconds.
    let steps = time.map_or(u64::MAX, |time| u64::try_from(time.as_nanos() / 5).unwrap_or(u64::MAX));
    let weaker = session::Options { steps, memory: options.memory, ..session::Options::default() };
    let guarantee = |guarantee| session::check_guarantee(history, guarantee, &weaker);
    Finding::Report(match (property, meant) {
        ("sequential", _) => session::check_sequential(history, &weaker),
        ("causal-memory", _) => session::check_causal_memory(history, &weaker),
        ("causal-convergence", _) => session::check_causal_convergence(history, &weaker),
        ("causal", _) => session::check_causal(history, &weaker),
        ("read-your-writes", _) => guarantee(Guarantee::ReadYourWrites),
        ("monotonic-reads", _) => guarantee(Guarantee::MonotonicReads),
        ("monotonic-writes", _) => guarantee(Guarantee::MonotonicWrites),
        ("writes-follow-reads", _) => guarantee(Guarantee::WritesFollowReads),
        ("convergence", _) => session::check_convergence(history, &weaker),
        ("lost-writes", _) => session::check_lost_writes(history, &weaker),
        ("phantom-writes", _) => session::check_phantom_writes(history),
        (STALENESS, _) => return Finding::Staleness(Staleness::new(history, options)),
        (_, Meant::Objects(kind)) => check_as(kind, history, options),
        (_, _) => txn::check(history, Isolation::StrictSerializable, transactions),
    })
}

/// Memory in bytes that checking a property takes per operation and per key, in addition to the history: the measured
/// values and half as much again. `None`: the procedures check the limit themselves.
fn bytes(property: &str) -> Option<(usize, usize)> {
    match property {
        "sequential" => Some((450, 200)),
        STALENESS => Some((320, 200)),
        _ if WEAKER.contains(&property) => Some((110, 200)),
        _ if Analysis::named(property).is_some() => Some((160, 200)),
        _ if Isolation::named(property).is_some() => Some((400, 200)),
        _ => None,
    }
}

/// Returns an undecided report if checking the property takes more memory than there is.
fn too_large(property: &'static str, history: &History, memory: usize) -> Option<Report> {
    let (operation, key) = bytes(property)?;
    let operations = history.operations().len();
    let needed = operations * operation + history.keys() as usize * key;
    let mega = |bytes: usize| bytes.div_ceil(1_000_000);
    let why = format!(
        "the limit of memory was reached: to judge {operations} operations on {} keys takes about {} MB beside the history, and \
         {} MB are left",
        history.keys(),
        mega(needed),
        memory / 1_000_000
    );
    let part = PartReport {
        name: "history".to_owned(),
        operations,
        verdict: Verdict::Unknown(why),
        by: "nothing",
        steps: 0,
        counts: Vec::new(),
        figures: Vec::new(),
    };
    (needed > memory).then(|| Report { property, parts: vec![part] })
}

impl Staleness {
    fn new(history: &History, options: &Options) -> Staleness {
        let timed = (0..history.events()).any(|event| history.time(event) != 0);
        let unit = if timed { Unit::Nanoseconds } else { Unit::Events };
        // Bounds that would take more steps than this are reported as intervals.
        let options = Options { steps: options.steps.min(20_000_000), evidence_steps: 0, ..*options };
        Staleness {
            measures: session::measure(history),
            k: session::smallest_k(history, &options),
            delta: session::smallest_delta(history, unit, &options),
            unit,
        }
    }

    fn unit(&self) -> &'static str {
        match self.unit {
            Unit::Nanoseconds => "ns",
            Unit::Events => "events",
        }
    }

    /// The figures as text.
    pub fn text(&self) -> String {
        let mut text = "staleness: what the history would pass, key by key taken together\n".to_owned();
        let _ = writeln!(text, "  {:<44} {:>14}", "smallest k (versions; 1 is linearizable)", worst(&self.k));
        let delta = format!("smallest Δ ({}; 0 is linearizable)", self.unit());
        let _ = writeln!(text, "  {delta:<44} {:>14}", worst(&self.delta));
        for line in self.measures.to_string().lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// The figures as JSON.
    pub fn json(&self) -> serde_json::Value {
        let bounds = |bounds: &[Bound]| -> Vec<_> {
            let one = |b: &Bound| json!({ "key": b.key, "at_least": b.lower, "at_most": b.upper, "by": b.by });
            bounds.iter().map(one).collect()
        };
        json!({
            "k": bounds(&self.k), "delta": bounds(&self.delta), "delta_unit": self.unit(), "measures": self.measures,
        })
    }
}

/// The maximum over all keys: one number if it is known for every key, an interval or a lower bound otherwise.
fn worst(bounds: &[Bound]) -> String {
    let lower = bounds.iter().map(|bound| bound.lower).max().unwrap_or(0);
    let upper = bounds.iter().map(|bound| bound.upper).try_fold(0, |most, upper| Some(most.max(upper?)));
    match upper {
        Some(upper) if upper == lower => lower.to_string(),
        Some(upper) => format!("{lower}…{upper}"),
        None => format!("at least {lower}"),
    }
}
