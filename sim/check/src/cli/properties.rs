//! What can be checked of which model, by name, and who decides it.

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

/// Of registers and keys; weaker than linearizability.
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

/// Figures, not a verdict.
const STALENESS: &str = "staleness";

/// All names that mean something for a model.
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

/// Whether the queue was drained in the end, so that everything should have come out.
fn drained(history: &History) -> bool {
    history.names().iter().any(|name| name == "drain")
}

/// Why a property should not be asked of a history, unless somebody knows better.
pub fn moot(property: &str, history: &History) -> Option<&'static str> {
    (property == Analysis::TotalQueue.name() && !drained(history)).then_some("nothing drains the queue in the end")
}

/// The properties that were asked for; else the strictest, and of a queue that was drained that all came out.
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

/// Whether a linearizable history has this property too: the one order of its operations is then the order that is asked for.
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

/// Says of a report that was not decided, that its property is implied.
pub fn imply(report: &mut Report) {
    for part in &mut report.parts {
        if let Verdict::Unknown(_) = part.verdict {
            (part.verdict, part.by) = (Verdict::Valid, "implied, as it is linearizable");
        }
    }
}

/// Joins the reports on a history in which a read of nil says that nothing was there, and on one in which it says nothing:
/// what both agree on is the verdict, with the evidence that holds for both.
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

/// Why a report that refutes nothing is not decided either, if all that is missing is what the property speaks of.
pub fn idle(report: &Report) -> Option<String> {
    let idle = |missing: &str| {
        let idle = report.unknowns().filter(|(_, why)| why.starts_with(missing)).count();
        let decided = report.violations().next().is_none() && report.unknowns().count() == idle;
        (decided && idle > 0).then(|| format!("{idle} of {} parts have {missing}", report.parts.len()))
    };
    idle("no final reads").or_else(|| idle(NOTHING))
}

/// What was found.
pub enum Finding {
    /// A verdict.
    Report(Report),
    /// Figures.
    Staleness(Staleness),
    /// An operation that the property says nothing of.
    Misfit(Misfit),
}

/// How stale reads were.
pub struct Staleness {
    measures: Figures,
    k: Vec<Bound>,
    delta: Vec<Bound>,
    unit: Unit,
}

/// What may be spent and taken for granted.
pub struct Terms {
    /// Of linearizability.
    pub options: Options,
    /// Of transactions.
    pub transactions: txn::Options,
    /// Of a bank.
    pub accounts: jepsen::Terms,
    /// When the time for all properties ends.
    pub until: Option<Instant>,
}

/// Decides one property.
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
    // Without a clock of their own: a step of these takes some nanoseconds.
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

/// Bytes that a property takes for each operation and each key beside the history, as measured and a half more; `None`: its
/// procedures look at the limit themselves.
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

/// That a property is not decided, if it takes more memory than there is.
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
        // Bounds that would take more than this are told as bounds.
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

    /// For people.
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

    /// For programs.
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

/// The largest over all keys: one number where every key's is known, else what is known.
fn worst(bounds: &[Bound]) -> String {
    let lower = bounds.iter().map(|bound| bound.lower).max().unwrap_or(0);
    let upper = bounds.iter().map(|bound| bound.upper).try_fold(0, |most, upper| Some(most.max(upper?)));
    match upper {
        Some(upper) if upper == lower => lower.to_string(),
        Some(upper) => format!("{lower}…{upper}"),
        None => format!("at least {lower}"),
    }
}
