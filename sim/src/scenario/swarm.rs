//! Swarm testing (Groce, Zhang, Eide, Chen, Regehr: "Swarm Testing", ISSTA 2012). Features mask each other, so a run
//! that uses only some of them finds bugs that stay hidden when all are used. Each seed takes a random half of the
//! catalogue of faults, with random intensities, and also random settings of cluster, network and workload.

use super::{Act, FaultSpec, Lasts, Scenario, Schedule, parse_catalogue};
use crate::plan::Kind;
use crate::settings::{Between, Cluster, Connections, Problem, Skew, Source, Times};
use seaworthy::types::Rng;
use std::time::Duration;

/// The faults that a swarm chooses from: every kind that a cluster must survive with all its servers.
const CATALOGUE: &str = include_str!("swarm.toml");

/// The catalogue for this cluster. Entries that need more servers are left out.
///
/// # Errors
/// The storm is too short for one of the entries.
pub(crate) fn catalogue(cluster: &Cluster, time: &Times) -> Result<Vec<FaultSpec>, Problem> {
    let text = match cluster.nodes {
        ..=4 => CATALOGUE.split("# From five servers on.").next().unwrap_or_default(),
        _ => CATALOGUE,
    };
    parse_catalogue(Source { file: "swarm", text }, cluster, time)
}

/// Replaces each swarm by the seed's selection from it. A scenario without a swarm is not changed.
pub(super) fn vary(scenario: &Scenario, seed: u64) -> Scenario {
    let mut varied = scenario.clone();
    if !scenario.faults.iter().any(|f| matches!(f.what, Act::Swarm(_))) {
        return varied;
    }
    let mut rng = Rng::new(seed, "swarm");
    varied.faults = scenario.faults.iter().flat_map(|spec| choose(spec, &scenario.time, &mut rng)).collect();
    vary_settings(&mut varied, &mut rng);
    varied.network.carriage.connections =
        one_of(&mut Rng::new(seed, "swarm of connections"), &[Connections::Ordered, Connections::Datagrams]);
    vary_quorums(&mut varied, &mut Rng::new(seed, "swarm of quorums"));
    vary_groups(&mut varied, &mut Rng::new(seed, "swarm of groups"));
    varied
}

fn choose(spec: &FaultSpec, time: &Times, rng: &mut Rng) -> Vec<FaultSpec> {
    let Act::Swarm(catalogue) = &spec.what else { return vec![spec.clone()] };
    let certain = rng.below(catalogue.len() as u64) as usize;
    let mut chosen = Vec::new();
    for (index, fault) in catalogue.iter().enumerate() {
        let taken = rng.chance(0.5) || index == certain;
        let mut fault = fault.clone();
        fault.name = format!("{}/{}", spec.name, fault.name);
        if let Lasts::For(range) = &mut fault.lasts {
            *range = scale(*range, rng);
        }
        if let Schedule::Every(mean) = &mut fault.schedule {
            *mean = (*mean * one_of(rng, &[2, 4, 8]) / 4).min(time.storm / 2);
        }
        if taken {
            chosen.push(fault);
        }
    }
    chosen
}

/// Scales the range by a quarter, a half or one.
fn scale(range: Between<Duration>, rng: &mut Rng) -> Between<Duration> {
    let quarters = one_of(rng, &[1, 2, 4]);
    let least = Duration::from_millis(1);
    Between { low: (range.low * quarters / 4).max(least), high: (range.high * quarters / 4).max(least) }
}

fn vary_settings(scenario: &mut Scenario, rng: &mut Rng) {
    let Scenario { cluster, network, workload, .. } = scenario;
    let timeout = one_of(rng, &[150, 300, 500, 1000]);
    cluster.election_timeout = Duration::from_millis(timeout);
    cluster.heartbeat = Duration::from_millis(timeout / 5);
    cluster.snapshot_entries = one_of(rng, &[20, 100, 1000]);
    cluster.keep_entries = one_of(rng, &[0, 10, 100]);
    cluster.max_append_bytes = one_of(rng, &[1, 256, 256 << 10]);
    cluster.max_in_flight = one_of(rng, &[1, 4, 32]);
    if cluster.max_append_bytes == 1 {
        // One entry per round trip is less than clients request on a slow network. Without a minimum they would time
        // out in the calm.
        cluster.max_in_flight = cluster.max_in_flight.max(4);
    }
    cluster.snapshot_chunk = one_of(rng, &[256, 4 << 10, 64 << 10]);
    cluster.segment_bytes = one_of(rng, &[16 << 10, 64 << 10, 1 << 20]);
    // Slow for the servers, but not so slow that clients time out without faults. Otherwise no progress could be
    // demanded.
    let slow = (timeout / 20).min(workload.attempt.as_millis() as u64 / 20).max(1);
    network.link.latency = Duration::from_millis(one_of(rng, &[1, 5, slow]));
    network.link.jitter = Duration::from_millis(one_of(rng, &[1, 5, slow]));
    // No more than the servers can do on a slow network. Otherwise the backlog of the storm would last into the calm.
    workload.clients = one_of(rng, &[5, 10, 20]);
    workload.rate = 3 * u64::from(workload.clients);
    workload.keys = one_of(rng, &[1, 3, 10, 50]);
    workload.skew = one_of(rng, &[Skew::Zipf, Skew::Uniform]);
    workload.get *= one_of(rng, &[1, 2, 4]);
    workload.put *= one_of(rng, &[1, 2, 4]);
    workload.delete *= one_of(rng, &[0, 1, 4]);
    workload.cas *= one_of(rng, &[0, 1, 4]);
    workload.conditional *= one_of(rng, &[0, 1, 4]);
    cluster.boot_spread = Duration::from_millis(one_of(rng, &[0, 100, 700]));
}

/// Varies settings that only concern quorums. Drawn separately, so that runs against Raft stay as they were.
fn vary_quorums(scenario: &mut Scenario, rng: &mut Rng) {
    use seaworthy::types::Level::{All, One, Quorum};
    let Scenario { cluster, bucket, .. } = scenario;
    // With servers lost for good, no operation can require all replicas.
    let levels: &[_] = match scenario.time.lost_nodes.high {
        0 => &[(Quorum, Quorum), (One, All), (All, One), (One, Quorum), (One, One)],
        _ => &[(Quorum, Quorum), (One, Quorum)],
    };
    (bucket.r, bucket.w) = one_of(rng, levels);
    bucket.sloppy = one_of(rng, &[true, false]);
    cluster.hint_after = Duration::from_millis(one_of(rng, &[50, 150, 300]));
    cluster.repair_permille = one_of(rng, &[0, 100, 1000]);
    cluster.hint_bytes = one_of(rng, &[4 << 10, 256 << 20]);
    cluster.housekeeping = Duration::from_millis(one_of(rng, &[100, 500, 2000]));
}

/// Varies the number of groups and enables leases, each for every other seed; most of the groups are quiescent. Under
/// leases no clock freezes, because that exceeds any bound on clock drift. Clocks that drift stay within the bound.
fn vary_groups(scenario: &mut Scenario, rng: &mut Rng) {
    let Scenario { cluster, faults, .. } = scenario;
    cluster.groups = one_of(rng, &[1, 1, 4, 16]);
    cluster.lease_ppm = one_of(rng, &[None, Some(100_000)]);
    if cluster.lease_ppm.is_some() && faults.len() > 1 {
        let freezes = |spec: &FaultSpec| matches!(&spec.what, Act::Fault(fault, _) if fault.kind == Kind::ClockFreeze);
        faults.retain(|spec| !freezes(spec));
    }
}

fn one_of<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len() as u64) as usize]
}
