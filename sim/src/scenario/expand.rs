//! Scenario + seed → plan.
//!
//! Each concern draws from its own random stream, named after it (each fault's after the fault). So adding a fault does
//! not change the operations or the other faults. Only integer arithmetic and IEEE division are used: the same seed
//! gives the same plan on any machine.

use super::{Act, FaultSpec, Lasts, Scenario, Schedule, ops, swarm};
use crate::plan::{Clients, Event, Fault, FaultId, Kind, Plan, Selector, Shape, Target, Unsynced, What};
use crate::settings::{Between, Cluster, Shift, Times};
use seaworthy::types::{NodeId, Rng};
use std::collections::BTreeMap;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

impl Plan {
    /// Draws the plan of a scenario for a seed. Times are whole milliseconds, the simulator's own resolution.
    #[must_use]
    pub fn expand(scenario: &Scenario, seed: u64) -> Plan {
        let scenario = swarm::vary(scenario, seed);
        let mut faults = Faults { scenario: &scenario, drawn: Vec::new(), of: BTreeMap::new() };
        for spec in &scenario.faults {
            faults.draw(spec, &mut Rng::new(seed, &format!("fault/{}", spec.name)));
        }
        faults.lose_servers(&mut Rng::new(seed, "lost"));
        let mut events = faults.events();
        events.extend(ops::draw(&scenario.workload, &scenario.bucket, &scenario.time, seed));
        events.extend(scenario.script.iter().cloned());
        events.sort_by_cached_key(Event::order);
        let Scenario { name, cluster, network, disk, cpu, bucket, workload, time, expect, .. } = scenario;
        Plan { scenario: name, seed, cluster, network, disk, cpu, bucket, workload, time, expect, events }
    }
}

/// One planned fault. `SameAs` holds an index into the list until all faults are numbered.
struct Drawn {
    begin: Duration,
    end: Option<Duration>,
    fault: Fault<Target>,
}

struct Faults<'a> {
    scenario: &'a Scenario,
    drawn: Vec<Drawn>,
    /// The indices into `drawn` of each named fault's occurrences.
    of: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Faults<'a> {
    fn draw(&mut self, spec: &'a FaultSpec, rng: &mut Rng) {
        let Times { warmup, .. } = self.scenario.time;
        let over = self.scenario.time.storm_ends();
        match &spec.schedule {
            Schedule::At(list) => list.iter().for_each(|at| self.once(spec, *at, None, rng)),
            Schedule::Count(n) => {
                let length = match spec.lasts {
                    Lasts::For(between) => between.high,
                    Lasts::Instant | Lasts::Forever => MS,
                };
                let window = Between { low: warmup, high: over - length };
                let mut times: Vec<Duration> = (0..rng.between(n.low, n.high)).map(|_| pick(rng, window)).collect();
                times.sort();
                times.into_iter().for_each(|at| self.once(spec, at, None, rng));
            }
            Schedule::Every(mean) => {
                let mut at = warmup + pick(rng, Between { low: Duration::ZERO, high: *mean });
                while at < over {
                    let before = self.drawn.len();
                    self.once(spec, at, None, rng);
                    let ended = self.drawn[before..].iter().filter_map(|d| d.end).max().unwrap_or(at);
                    at = (at + pick(rng, Between { low: *mean / 2, high: *mean * 3 / 2 })).max(ended + MS);
                }
            }
            Schedule::Follows(name, delay) => {
                for leading in self.of.get(name.as_str()).cloned().unwrap_or_default() {
                    let at = self.drawn[leading].begin + pick(rng, *delay);
                    self.once(spec, at, Some(leading), rng);
                }
            }
            Schedule::Storm => {}
        }
    }

    /// Adds one occurrence of a fault, unless the storm is over by then.
    fn once(&mut self, spec: &'a FaultSpec, at: Duration, leading: Option<usize>, rng: &mut Rng) {
        let over = self.scenario.time.storm_ends();
        if at >= over {
            return;
        }
        self.of.entry(&spec.name).or_default().push(self.drawn.len());
        let end = |at: Duration, rng: &mut Rng| match spec.lasts {
            Lasts::For(between) => Some((at + pick(rng, between)).min(over)),
            Lasts::Instant | Lasts::Forever => None,
        };
        match &spec.what {
            Act::Fault(fault, flap) => {
                let fault = self.settle(fault, leading, rng);
                let end = end(at, rng);
                match flap.zip(end) {
                    None => self.drawn.push(Drawn { begin: at, end, fault }),
                    Some((flap, end)) => self.flap(&fault, at, end, flap, rng),
                }
            }
            Act::RollingRestart(kind, gap) => {
                let mut at = at;
                for node in shuffled(&self.scenario.cluster, rng) {
                    if at >= over {
                        break;
                    }
                    let fault = Fault { kind: kind.clone(), target: Target::Nodes(vec![node]) };
                    let end = end(at, rng).unwrap_or(over);
                    self.drawn.push(Drawn { begin: at, end: Some(end), fault });
                    at = end + pick(rng, *gap);
                }
            }
            Act::Swarm(_) => {}
        }
    }

    /// Makes a fault come and go between `at` and `end`.
    fn flap(&mut self, fault: &Fault<Target>, at: Duration, end: Duration, spell: Between<Duration>, rng: &mut Rng) {
        let mut at = at;
        while at < end {
            let until = (at + pick(rng, spell)).min(end);
            self.drawn.push(Drawn { begin: at, end: Some(until), fault: fault.clone() });
            at = until + pick(rng, spell);
        }
    }

    /// Draws the random parts of a fault's target and parameters.
    fn settle(&self, fault: &Fault<Selector>, leading: Option<usize>, rng: &mut Rng) -> Fault<Target> {
        let cluster = &self.scenario.cluster;
        let some = |rng: &mut Rng| {
            let mut nodes = shuffled(cluster, rng);
            nodes.truncate(fault.target.size(cluster.nodes) as usize);
            nodes.sort();
            Target::Nodes(nodes)
        };
        let target = match &fault.target {
            Selector::Leader => Target::Leader(0),
            Selector::LeaderMinority => Target::Leader(cluster.minority() - 1),
            Selector::Follower => Target::Follower(rng.between(1, u64::from(cluster.nodes.max(2) - 1)) as u32),
            Selector::All if matches!(fault.kind, Kind::Partition { shape: Shape::Ring, .. }) => {
                Target::Nodes(shuffled(cluster, rng))
            }
            Selector::Random | Selector::Minority | Selector::Half | Selector::Majority | Selector::All => some(rng),
            Selector::Region => {
                let region = rng.below(u64::from(cluster.regions)) as u32;
                let of_region = |n: &u32| (n - 1) % cluster.regions == region;
                Target::Nodes((1..=cluster.nodes).filter(of_region).map(NodeId).collect())
            }
            Selector::Nodes(nodes) => Target::Nodes(nodes.clone()),
            Selector::Same => match leading.map(|index| (index, &self.drawn[index].fault.target)) {
                Some((_, Target::Nodes(nodes))) => Target::Nodes(nodes.clone()),
                Some((_, Target::SameAs(first))) => Target::SameAs(*first),
                Some((index, _)) => Target::SameAs(FaultId(index as u32)),
                None => some(rng),
            },
        };
        Fault { kind: self.settle_kind(&fault.kind, rng), target }
    }

    fn settle_kind(&self, kind: &Kind, rng: &mut Rng) -> Kind {
        let either = |rng: &mut Rng, most: i64| {
            let amount = rng.between(most.unsigned_abs() / 4, most.unsigned_abs()) as i64;
            if rng.chance(0.5) { -amount } else { amount }
        };
        match kind {
            Kind::Partition { shape: Shape::Split, clients: Clients::Drawn } => {
                let inside = (1..=self.scenario.workload.clients).filter(|_| rng.chance(0.5)).collect();
                Kind::Partition { shape: Shape::Split, clients: Clients::Inside(inside) }
            }
            Kind::Partition { shape, .. } if *shape != Shape::Split => {
                Kind::Partition { shape: *shape, clients: Clients::Free }
            }
            Kind::ClockJump { by } => Kind::ClockJump { by: whole_ms(either(rng, by.0)) },
            Kind::ClockStrobe { by, period } => Kind::ClockStrobe { by: whole_ms(either(rng, by.0)), period: *period },
            Kind::ClockDrift { ppm } => Kind::ClockDrift { ppm: either(rng, *ppm) },
            other => other.clone(),
        }
    }

    /// Kills the servers that are lost for good at the end of the storm, chosen among those not lost yet.
    fn lose_servers(&mut self, rng: &mut Rng) {
        let Times { lost_nodes, .. } = self.scenario.time;
        let gone: Vec<NodeId> = self.drawn.iter().filter(|d| d.end.is_none()).flat_map(|d| known(&d.fault)).collect();
        let mut left = shuffled(&self.scenario.cluster, rng);
        left.retain(|node| !gone.contains(node));
        left.truncate(rng.between(u64::from(lost_nodes.low), u64::from(lost_nodes.high)) as usize);
        left.sort();
        if !left.is_empty() {
            let fault = Fault { kind: Kind::Kill { unsynced: Unsynced::Tear }, target: Target::Nodes(left) };
            self.drawn.push(Drawn { begin: self.scenario.time.storm_ends(), end: None, fault });
        }
    }

    /// Numbers the faults in order of time and writes each as one or two events.
    fn events(self) -> Vec<Event> {
        let mut order: Vec<usize> = (0..self.drawn.len()).collect();
        order.sort_by_key(|i| self.drawn[*i].begin);
        let mut number = vec![FaultId(0); order.len()];
        order.iter().zip(1..).for_each(|(index, id)| number[*index] = FaultId(id));
        let mut events = Vec::new();
        for index in order {
            let Drawn { begin, end, fault } = &self.drawn[index];
            let mut fault = fault.clone();
            if let Target::SameAs(id) = &mut fault.target {
                *id = number[id.0 as usize];
            }
            let forever = fault.kind.lasts() && end.is_none();
            events.push(Event { at: *begin, what: What::Begin { id: number[index], fault, forever } });
            events.extend(end.map(|at| Event { at, what: What::End(number[index]) }));
        }
        events
    }
}

/// The servers that a fault takes away for good, if they are known before the run.
fn known(fault: &Fault<Target>) -> Vec<NodeId> {
    match &fault.target {
        Target::Nodes(nodes) if fault.kind.forfeits() || fault.kind.lasts() => nodes.clone(),
        _ => Vec::new(),
    }
}

fn shuffled(cluster: &Cluster, rng: &mut Rng) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = (1..=cluster.nodes).map(NodeId).collect();
    rng.shuffle(&mut nodes);
    nodes
}

/// Draws a whole number of milliseconds in the range, at least 1 unless the range is 0.
fn pick(rng: &mut Rng, range: Between<Duration>) -> Duration {
    let ms = |d: Duration| d.as_nanos().div_ceil(1_000_000) as u64;
    Duration::from_millis(rng.between(ms(range.low), ms(range.high)))
}

fn whole_ms(nanos: i64) -> Shift {
    Shift(nanos / 1_000_000 * 1_000_000)
}
