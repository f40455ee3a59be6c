//! One `[[fault]]` of a scenario: its kind, targets, times and duration, and the checks that need the cluster and
//! times.

use crate::plan::{Fault, Kind, Lie, Selector, Shape, Unsynced};
use crate::settings::{Between, Cluster, Fields, KINDS, Network, Problem, Setting, Times, Transport, suggestion};
use std::time::Duration;

/// One `[[fault]]`.
#[derive(Clone, PartialEq, Debug)]
pub struct FaultSpec {
    /// Its name, for `follows`. The default is the name of its kind.
    pub name: String,
    /// What happens.
    pub what: Act,
    /// When it begins.
    pub schedule: Schedule,
    /// When it ends.
    pub lasts: Lasts,
}

/// What a `[[fault]]` expands to at each occurrence.
#[derive(Clone, PartialEq, Debug)]
pub enum Act {
    /// One fault. With `flap`: several, each of a duration drawn from this range, with pauses drawn from it in between.
    Fault(Fault<Selector>, Option<Between<Duration>>),
    /// Every server is killed or stopped in turn, in random order, with pauses drawn from this range in between.
    RollingRestart(Kind, Between<Duration>),
    /// A random half of the catalogue.
    Swarm(Vec<FaultSpec>),
}

/// When faults begin.
#[derive(Clone, PartialEq, Debug)]
pub enum Schedule {
    /// At these times since the start of the run.
    At(Vec<Duration>),
    /// Repeatedly. The next one begins 0.5 to 1.5 times this duration after the previous one began, but not before it
    /// ended.
    Every(Duration),
    /// A number of times drawn from this range, at instants drawn uniformly within the storm.
    Count(Between<u64>),
    /// At each occurrence of the named fault, with a delay drawn from this range.
    Follows(String, Between<Duration>),
    /// With the storm. (The faults of a swarm have their own times.)
    Storm,
}

/// When faults end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasts {
    /// Immediately: the kind is instantaneous.
    Instant,
    /// After a duration drawn from this range, but no later than the end of the storm.
    For(Between<Duration>),
    /// Never.
    Forever,
}

impl Setting for Lasts {
    fn what() -> String {
        format!("{}, or forever", Between::<Duration>::what())
    }
    fn parse(text: &str) -> Option<Self> {
        match text {
            "forever" => Some(Lasts::Forever),
            _ => Between::parse(text).map(Lasts::For),
        }
    }
    fn show(&self) -> String {
        match self {
            Lasts::Instant => "0s".into(),
            Lasts::For(between) => between.show(),
            Lasts::Forever => "forever".into(),
        }
    }
}

struct Instants(Vec<Duration>);

impl Setting for Instants {
    fn what() -> String {
        format!("{}, or a list of them", Duration::what())
    }
    fn parse(text: &str) -> Option<Self> {
        text.split(',').map(Duration::parse).collect::<Option<_>>().map(Instants)
    }
    fn show(&self) -> String {
        self.0.iter().map(Duration::show).collect::<Vec<_>>().join(",")
    }
}

/// What is known when a fault is read.
pub(super) struct Context<'a> {
    pub cluster: &'a Cluster,
    /// `None` inside a swarm, where the seed chooses.
    pub network: Option<&'a Network>,
    pub time: &'a Times,
    /// The faults before this one.
    pub earlier: &'a [FaultSpec],
    /// Maximum number of servers already lost for good.
    pub lost: u32,
    /// The swarm's catalogue, or `None` inside the catalogue.
    pub swarm: Option<&'a [FaultSpec]>,
}

const fn seconds(low: u64, high: u64) -> Between<Duration> {
    Between { low: Duration::from_secs(low), high: Duration::from_secs(high) }
}

impl FaultSpec {
    /// Reads one `[[fault]]`.
    pub(super) fn read(fields: &mut Fields<'_>, context: &Context<'_>) -> Result<FaultSpec, Problem> {
        let kind: String = fields.need("kind")?;
        let name = read_name(fields, &kind, context.earlier)?;
        if kind == "swarm" {
            let Some(catalogue) = context.swarm else {
                return Err(fields.problem("kind", "a swarm within a swarm"));
            };
            let what = Act::Swarm(catalogue.to_vec());
            return Ok(FaultSpec { name, what, schedule: Schedule::Storm, lasts: Lasts::Instant });
        }
        let what = match kind.as_str() {
            "rolling-restart" => {
                let kill = Kind::Kill { unsynced: fields.or("unsynced", Unsynced::Tear)? };
                let kind = if fields.or("stop", false)? { Kind::Stop } else { kill };
                Act::RollingRestart(kind, fields.or("gap", seconds(1, 2))?)
            }
            _ => read_fault(&kind, fields, context)?,
        };
        let schedule = read_schedule(fields, context)?;
        let lasts = read_lasts(fields, &what)?;
        let spec = FaultSpec { name, what, schedule, lasts };
        spec.check_times(fields, context)?;
        let Some(lost) = spec.lost(context.cluster).map(|n| n + context.lost) else {
            let what = "a fault that takes servers away for good; expected `at` or `count`, which bound it";
            return Err(fields.problem("kind", what));
        };
        if lost > context.cluster.minority() {
            let (all, may) = (context.cluster.nodes, context.cluster.minority());
            let what = format!("up to {lost} of {all} servers are then lost for good; expected at most {may}");
            return Err(fields.problem("target", what));
        }
        Ok(spec)
    }

    /// Checks that the storm is long enough for the fault to happen and not be cut off.
    fn check_times(&self, fields: &Fields<'_>, context: &Context<'_>) -> Result<(), Problem> {
        let Times { warmup, storm, .. } = *context.time;
        let length = match self.lasts {
            Lasts::For(Between { high, .. }) => high,
            Lasts::Instant | Lasts::Forever => Duration::ZERO,
        };
        if length >= storm {
            let what = format!("lasts up to {} in a storm of {}; expected less", length.show(), storm.show());
            return Err(fields.problem("lasts", what));
        }
        match &self.schedule {
            Schedule::At(list) => match list.iter().find(|at| **at < warmup || **at >= warmup + storm) {
                None => Ok(()),
                Some(at) => {
                    let (from, to) = (warmup.show(), (warmup + storm).show());
                    let what = format!("{} is outside the storm; expected {from} to before {to}", at.show());
                    Err(fields.problem("at", what))
                }
            },
            Schedule::Every(mean) if *mean + length > storm => {
                let what = format!(
                    "every {} for up to {} may never happen in a storm of {}: the run would be inert",
                    mean.show(),
                    length.show(),
                    storm.show()
                );
                Err(fields.problem("every", what))
            }
            Schedule::Every(mean) if *mean < Duration::from_millis(10) => {
                Err(fields.problem("every", format!("every {}; expected 10ms or more", mean.show())))
            }
            Schedule::Count(n) if n.low == 0 || n.high > 1000 => {
                Err(fields.problem("count", format!("{} times; expected 1 to 1000", n.show())))
            }
            _ => Ok(()),
        }
    }

    /// The maximum number of servers that this takes away for good, or `None` if there is no bound.
    pub(super) fn lost(&self, cluster: &Cluster) -> Option<u32> {
        let Act::Fault(fault, _) = &self.what else { return Some(0) };
        if self.lasts != Lasts::Forever && !fault.kind.forfeits() || fault.target == Selector::Same {
            return Some(0);
        }
        let times = match &self.schedule {
            Schedule::At(list) => list.len() as u32,
            Schedule::Count(n) => n.high as u32,
            Schedule::Every(_) | Schedule::Follows(..) | Schedule::Storm => return None,
        };
        Some(times * fault.target.size(cluster.nodes))
    }
}

/// The given name, which must be new. The default is the kind, with a number if that is taken.
fn read_name(fields: &mut Fields<'_>, kind: &str, earlier: &[FaultSpec]) -> Result<String, Problem> {
    let taken = |name: &str| earlier.iter().any(|f| f.name == name);
    match fields.take::<String>("name")? {
        Some(name) if taken(&name) => Err(fields.problem("name", format!("another fault is called `{name}` already"))),
        Some(name) => Ok(name),
        None if !taken(kind) => Ok(kind.into()),
        None => Ok((2..).map(|n| format!("{kind}-{n}")).find(|name| !taken(name)).unwrap_or_default()),
    }
}

fn read_fault(kind: &str, fields: &mut Fields<'_>, context: &Context<'_>) -> Result<Act, Problem> {
    if !KINDS.iter().any(|k| k.0 == kind) {
        let names: Vec<&str> = KINDS.iter().map(|k| k.0).chain(["rolling-restart", "swarm"]).collect();
        let near = suggestion(kind, &names);
        return Err(fields.problem("kind", format!("`{kind}` is no kind of fault{near}")));
    }
    let kind = Kind::read(kind, fields)?;
    if context.cluster.transport == Transport::Tcp && !kind.suits_tcp() {
        let what = format!("a `{}` needs the simulator's own network; expected transport = \"model\"", kind.name());
        return Err(fields.problem("kind", what));
    }
    if let (Kind::Link { add, .. }, Some(network)) = (&kind, context.network) {
        network.suits(add, fields)?;
    }
    if context.cluster.transport == Transport::Model && kind == (Kind::Forge { lie: Lie::Entries }) {
        let what = "whoever is believed can overwrite anything; expected transport = \"tcp\", where servers prove who they are";
        return Err(fields.problem("lie", what));
    }
    let usual = match &kind {
        Kind::Link { .. } | Kind::Reset { .. } | Kind::Partition { shape: Shape::Ring, .. } => Selector::All,
        Kind::Transfer => Selector::Follower,
        _ => Selector::Random,
    };
    let target = fields.or("target", usual)?;
    let flap = match &kind {
        Kind::Partition { .. } => fields.take::<Between<Duration>>("flap")?,
        _ => None,
    };
    if flap.is_some_and(|f| f.low < Duration::from_millis(1)) {
        return Err(fields.problem("flap", "spells below 1ms; expected 1ms or more"));
    }
    if target == Selector::Region && context.cluster.regions < 2 {
        return Err(fields.problem("target", "`region` in a cluster of one; expected `regions` of 2 or more"));
    }
    check_target(fields, &kind, &target, context.cluster.nodes)?;
    Ok(Act::Fault(Fault { kind, target }, flap))
}

fn check_target(fields: &Fields<'_>, kind: &Kind, target: &Selector, nodes: u32) -> Result<(), Problem> {
    if let Selector::Nodes(list) = target
        && let Some(stranger) = list.iter().find(|n| n.0 > nodes)
    {
        return Err(fields.problem("target", format!("{stranger} in a cluster of {nodes}; expected n1 to n{nodes}")));
    }
    let size = target.size(nodes);
    if size == 0 {
        let what = format!("`{}` names no node in a cluster of {nodes}; expected a larger cluster", target.show());
        return Err(fields.problem("target", what));
    }
    let Kind::Partition { shape, .. } = kind else { return Ok(()) };
    let (fits, expected) = match shape {
        Shape::Split | Shape::Mute | Shape::Deaf => (size < nodes, "fewer than all servers".to_string()),
        Shape::Bridge => (size + 2 <= nodes, "a target that leaves at least two servers to be parted".to_string()),
        Shape::Ring => (size == nodes && nodes >= 4, "all servers, and at least four of them".to_string()),
    };
    match fits {
        true => Ok(()),
        false => {
            let what = format!(
                "a {} partition of `{}`, {size} of {nodes} servers, cuts nothing; expected {expected}",
                shape.show(),
                target.show()
            );
            Err(fields.problem("target", what))
        }
    }
}

fn read_schedule(fields: &mut Fields<'_>, context: &Context<'_>) -> Result<Schedule, Problem> {
    let at = fields.take::<Instants>("at")?.map(|list| ("at", Schedule::At(list.0)));
    let every = fields.take("every")?.map(|mean| ("every", Schedule::Every(mean)));
    let count = fields.take("count")?.map(|n| ("count", Schedule::Count(n)));
    let followed: Option<String> = fields.take("follows")?;
    let delay: Option<Between<Duration>> = fields.take("delay")?;
    if followed.is_none() && delay.is_some() {
        return Err(fields.problem("delay", "`delay` without `follows`: after what?"));
    }
    let target: Option<Selector> = fields.take("target")?;
    if followed.is_none() && target == Some(Selector::Same) {
        return Err(fields.problem("target", "`same` without `follows`: the same as what?"));
    }
    if let Some(name) = &followed {
        let names: Vec<&str> = context.earlier.iter().map(|f| f.name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let near = if names.is_empty() { String::new() } else { suggestion(name, &names) };
            return Err(fields.problem("follows", format!("no fault above is called `{name}`{near}")));
        }
    }
    let follows = followed.map(|name| {
        let delay = delay.unwrap_or(Between { low: Duration::ZERO, high: Duration::from_secs(1) });
        ("follows", Schedule::Follows(name, delay))
    });
    let mut given = [at, every, count, follows].into_iter().flatten();
    let Some((first, schedule)) = given.next() else {
        return Err(fields.problem("", "this fault has no time; expected one of at, every, count, follows"));
    };
    match given.next() {
        None => Ok(schedule),
        Some((second, _)) => Err(fields.problem(second, format!("both `{first}` and `{second}`; expected only one"))),
    }
}

fn read_lasts(fields: &mut Fields<'_>, what: &Act) -> Result<Lasts, Problem> {
    let given: Option<Lasts> = fields.take("lasts")?;
    let instant = matches!(what, Act::Fault(fault, _) if !fault.kind.lasts());
    match given {
        Some(_) if instant => Err(fields.problem("lasts", "this kind of fault is instantaneous; expected no `lasts`")),
        None if instant => Ok(Lasts::Instant),
        Some(Lasts::For(Between { low, .. })) if low < Duration::from_millis(1) => {
            Err(fields.problem("lasts", format!("`lasts` from {}; expected 1ms or more", low.show())))
        }
        Some(Lasts::Forever) if !matches!(what, Act::Fault(Fault { kind: Kind::Kill { .. }, .. }, None)) => {
            Err(fields.problem("lasts", "only a `kill` can last forever"))
        }
        Some(lasts) => Ok(lasts),
        None => Ok(Lasts::For(seconds(1, 3))),
    }
}
