//! Swarm testing (Groce, Zhang, Eide, Chen, Regehr: "Swarm Testing", ISSTA 2012): a run that uses some features finds
//! bugs that runs which use all of them hide, because features mask each other. So each seed takes a random half of the
//! catalogue of faults, with random intensities, and random settings of cluster, network and workload as well.

use crate::scenario::{
    Act, Between, Cluster, Connections, FaultSpec, Lasts, Problem, Scenario, Schedule, Skew, Source, Times,
    parse_catalogue,
};
use seaworthy::types::Rng;
use std::time::Duration;

/// What a swarm chooses from: every kind of fault that a cluster must survive with all its servers.
const CATALOGUE: &str = include_str!("swarm.toml");

/// The catalogue for this cluster; entries that need more servers are left out.
///
/// # Errors
/// The storm is too short for one of them.
pub(crate) fn catalogue(cluster: &Cluster, time: &Times) -> Result<Vec<FaultSpec>, Problem> {
    let text = match cluster.nodes {
        ..=4 => CATALOGUE.split("# From five servers on.").next().unwrap_or_default(),
        _ => CATALOGUE,
    };
    parse_catalogue(Source { file: "swarm", text }, cluster, time)
}

/// Replaces each swarm by what the seed takes from it. Without one the scenario stays as it is.
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

/// A quarter of it up to all of it.
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
        // One entry a round trip is less than clients ask for on a slow network; they would have to give up in the calm.
        cluster.max_in_flight = cluster.max_in_flight.max(4);
    }
    cluster.snapshot_chunk = one_of(rng, &[256, 4 << 10, 64 << 10]);
    cluster.segment_bytes = one_of(rng, &[16 << 10, 64 << 10, 1 << 20]);
    // Slow for the servers, but not so slow that clients give up in fair weather, or no progress could be demanded.
    let slow = (timeout / 20).min(workload.attempt.as_millis() as u64 / 20).max(1);
    network.link.latency = Duration::from_millis(one_of(rng, &[1, 5, slow]));
    network.link.jitter = Duration::from_millis(one_of(rng, &[1, 5, slow]));
    // No more than they can do on a slow network: else what piles up in the storm is still being done in the calm.
    workload.clients = one_of(rng, &[5, 10, 20]);
    workload.rate = 3 * u64::from(workload.clients);
    workload.keys = one_of(rng, &[1, 3, 10, 50]);
    workload.skew = one_of(rng, &[Skew::Zipf, Skew::Uniform]);
    workload.get *= one_of(rng, &[1, 2, 4]);
    workload.put *= one_of(rng, &[1, 2, 4]);
    workload.delete *= one_of(rng, &[0, 1, 4]);
    workload.cas *= one_of(rng, &[0, 1, 4]);
    workload.conditional *= one_of(rng, &[0, 1, 4]);
}

/// What concerns quorums only, so that runs against Raft stay what they were.
fn vary_quorums(scenario: &mut Scenario, rng: &mut Rng) {
    use seaworthy::types::Level::{All, One, Quorum};
    let Scenario { cluster, bucket, .. } = scenario;
    // With servers lost for good nothing can ask for all.
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

fn one_of<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.below(items.len() as u64) as usize]
}
