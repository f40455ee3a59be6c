//! The cluster under test: nodes booted on the simulated world exactly as a server boots, observed by the oracle.
//!
//! Under quorums and under Raft all keys are in the default bucket. Under quorums it has the plan's policy.

use super::abort::Abort;
use super::key_timeline::{TimelineObserver, Watch};
use super::tcp::{self, Way};
use super::{EPOCH, Traces, lock, nodes};
use crate::mutants::Planted;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::report::Mode;
use crate::settings::Link;
use crate::world::clock::ClockSettings;
use crate::world::disk::DiskSettings;
use crate::world::net::{Carriage, LinkFault, LinkSettings, NetSettings};
use crate::world::runtime::{CpuSettings, NodeEnv, World, WorldSettings};
use crate::world::{Latency, TimeSource};
use seaworthy::dynamo;
use seaworthy::identity::Origin;
use seaworthy::mutant::Mutant;
use seaworthy::node::tcp::{TcpConfig, TcpTransport};
use seaworthy::node::{Driver, Memory, NodeConfig};
use seaworthy::placement::{Buckets, Layout, Member};
use seaworthy::raft;
use seaworthy::storage::{StorageError, Store, StoreConfig};
use seaworthy::types::{self, Addr, GroupId, NodeId, Rng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The name of the CP bucket beside an AP one.
pub(super) const BESIDE: &str = "raft";

/// The ledger's name for the latency between regions, which is not a fault.
pub(super) const REGIONS: &str = "regions";

/// Nodes that stopped because of their storage, with the error.
pub(super) type Refusals = Arc<Mutex<Vec<(NodeId, StorageError)>>>;

/// The name of the cluster.
pub(super) const CLUSTER: &str = "sim";

/// The servers of a run and their world.
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) oracle: Oracle,
    pub(super) layout: Arc<Layout>,
    pub(super) replicas_of_a_key: usize,
    pub(super) disk_settings: DiskSettings,
    incarnations: Incarnations,
}

impl Cluster {
    /// Creates the world and boots every node.
    pub(super) fn start(plan: &Plan, (mode, mutant): (Mode, Option<Planted>), traces: &Traces) -> Cluster {
        let bug = Planted::in_world(mutant);
        let carriage = if plan.network.is_ordered() { Carriage::Ordered } else { Carriage::Datagrams };
        // Divides the memory for outbound queues as the deployed transport does.
        let memory = Memory(memory_bytes(plan));
        let [_, bulk] = memory.to_peer(plan.cluster.nodes as usize);
        let queue = plan.network.carriage.queue.min(bulk as u64);
        let links = link_settings(&plan.network.link);
        let settings = WorldSettings {
            seed: plan.seed,
            net: NetSettings {
                server_links: links.clone(),
                client_links: links,
                carriage,
                link_limit: 10_000,
                queue,
                to_clients: memory.to_clients() as u64,
                mailbox_limit: 100_000,
                bug,
                mailbox_bytes: memory.from_peers(),
            },
            disk: DiskSettings {
                per_operation: plan.disk.operation,
                per_kib: plan.disk.per_kib,
                sync: Latency::uniform(plan.disk.sync, plan.disk.jitter),
                capacity: plan.disk.capacity,
                block_sectors: plan.disk.block.sectors(),
                bug,
            },
            tcp: tcp::latency(plan),
            cpu: CpuSettings { per_frame: plan.cpu.per_frame, per_kib: plan.cpu.per_kib },
        };
        let disk_settings = settings.disk;
        let world = World::new(settings, traces.trace.clone(), traces.ledger.clone());
        let nodes = nodes(plan);
        let layout = Arc::new(layout(plan, mode));
        let incarnations = Incarnations::default();
        for &id in &nodes {
            let mut rng = Rng::new(plan.seed, &format!("clock {id}"));
            let clock = ClockSettings { start: rng.below(1_000_000_000_000), epoch: EPOCH, drift_ppm: 0, bug };
            let boot = Boot {
                config: node_config(plan, id, layout.clone(), mutant),
                store: store_config(plan, id, (CLUSTER, &layout), mutant),
                seed: plan.seed,
                tcp: tcp::config(plan, id, layout.digest(), planted(mutant)),
                oracle: traces.oracle.clone(),
                refusals: traces.refusals.clone(),
                abort: traces.abort.clone(),
                watch: traces.watch.clone(),
                time: world.time_source(),
                incarnations: incarnations.clone(),
            };
            let boot = Arc::new(boot);
            let spread = super::nanos(plan.cluster.boot_spread);
            let boots = if spread == 0 { 0 } else { Rng::new(plan.seed, &format!("boot {id}")).below(spread) };
            world.add_node(id, (clock, boots), move |env| Box::pin(boot.clone().run(env)));
        }
        spread(plan, &layout, &world);
        let replicas_of_a_key = plan.bucket.n as usize;
        Cluster { world, nodes, oracle: traces.oracle.clone(), layout, replicas_of_a_key, disk_settings, incarnations }
    }

    /// The origin that a server's current process puts into each packet, as far as an eavesdropper needs it.
    pub(super) fn origin(&self, id: NodeId) -> Origin {
        Origin { incarnation: lock(&self.incarnations).get(&id).copied().unwrap_or(0), durable: 0 }
    }

    /// The node elected last, even if it no longer leads. With several groups: the node elected last in the most
    /// groups.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.oracle.leader()
    }

    /// The live members of a Raft group, without those that know that they have lost data.
    pub(super) fn members(&self, group: GroupId) -> impl Iterator<Item = NodeId> {
        let voters = self.layout.voters_of(group).into_iter();
        voters.filter(|id| self.world.is_alive(*id) && !self.oracle.is_lost(*id))
    }

    /// Waits until all live servers that must hold the same state do. Returns a difference if `patience` runs out
    /// first.
    pub(super) async fn converge(&self, mode: Mode, patience: Duration) -> Option<String> {
        let end = self.world.now() + super::nanos(patience);
        loop {
            let differs = match mode {
                Mode::Cp => self.logs_differ(),
                Mode::Ap => self.replicas_differ(),
            };
            if differs.is_none() || self.world.now() >= end {
                return differs;
            }
            self.world.sleep_until(self.world.now() + 50_000_000).await;
        }
    }

    /// Describes a group whose live members have not all applied what is committed, if there is one.
    fn logs_differ(&self) -> Option<String> {
        let committed = self.oracle.committed();
        committed.iter().find_map(|(group, last)| {
            let applied: Vec<(NodeId, u64)> =
                self.members(*group).map(|id| (id, self.oracle.applied(*group, id))).collect();
            let behind = applied.iter().any(|(_, index)| index != last);
            let told =
                || applied.iter().map(|(id, index)| format!("{id} up to {index}")).collect::<Vec<_>>().join(", ");
            behind.then(|| {
                let of = if committed.len() > 1 { format!(" of group {}", group.0) } else { String::new() };
                format!("{last} entries{of} are committed, but {} are applied", told())
            })
        })
    }
}

/// Adds latency to frames between regions.
fn spread(plan: &Plan, layout: &Layout, world: &World) {
    let latency = plan.cluster.region_latency;
    let far = |a: &NodeId, b: &NodeId| layout.region(*a) != layout.region(*b);
    let nodes: Vec<NodeId> = layout.nodes().collect();
    let pairs = nodes.iter().flat_map(|a| nodes.iter().filter(|b| far(a, b)).map(|b| (Addr::Node(*a), Addr::Node(*b))));
    let pairs: Vec<(Addr, Addr)> = pairs.collect();
    if !latency.is_zero() && !pairs.is_empty() {
        let entry = world.ledger().request(REGIONS, "distance".to_owned(), 0, None);
        let further = Link { latency, ..Link::default() };
        world.lay(entry, &pairs, &LinkFault::Degrade(link_settings(&further)));
    }
}

/// The layout of a run of `plan`: which servers store what.
pub(super) fn layout(plan: &Plan, mode: Mode) -> Layout {
    let crate::settings::Cluster { nodes, groups, voters, regions, zones, .. } = plan.cluster;
    let place = |n: u32| Member {
        id: NodeId(n + 1),
        capacity: 1,
        region: format!("r{}", n % regions + 1),
        zone: format!("r{}z{}", n % regions + 1, n / regions % zones + 1),
    };
    let default = match mode {
        Mode::Cp => types::Mode::Cp,
        Mode::Ap => types::Mode::Ap(plan.bucket.policy()),
    };
    let beside = (mode == Mode::Ap && plan.bucket.beside).then(|| (BESIDE.to_owned(), types::Mode::Cp));
    let buckets = Buckets { default, named: beside.into_iter().collect() };
    Layout::new((0..nodes).map(place).collect(), buckets, groups, voters.unwrap_or(nodes))
}

/// The parts from which a node's process is started, each time.
struct Boot {
    config: NodeConfig,
    store: StoreConfig,
    seed: u64,
    /// The configuration of the deployed transport, if the plan uses it.
    tcp: Option<TcpConfig>,
    oracle: Oracle,
    refusals: Refusals,
    abort: Abort,
    watch: Option<Watch>,
    time: TimeSource,
    incarnations: Incarnations,
}

/// The incarnation of each server's latest process.
type Incarnations = Arc<Mutex<BTreeMap<NodeId, u64>>>;

impl Boot {
    async fn run(self: Arc<Self>, env: NodeEnv) {
        let id = env.id;
        match self.abort.catch(self.serve(env)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => lock(&self.refusals).push((id, error)),
            // The run is over. The process does not continue, and does not end either.
            None => std::future::pending().await,
        }
    }

    async fn serve(&self, mut env: NodeEnv) -> Result<(), StorageError> {
        let mut rng = Rng::new(self.seed, &format!("store {} {}", env.id, env.restarts));
        let (host, recovery) = env.open(|disk| Store::open(disk, &self.store, &mut rng))?;
        lock(&self.incarnations).insert(env.id, recovery.identity.incarnation);
        env.disk_idle().await;
        let fresh = raft::Recovered::default();
        let layout = &self.config.layout;
        let hosted = layout.all_groups().filter(|group| layout.voters_of(*group).contains(&env.id));
        let groups = hosted.map(|group| (group, recovery.groups.get(&group).unwrap_or(&fresh)));
        let handle = self.oracle.handle((env.id, self.config.memory_bytes), groups).minds(env.transport.queued());
        let handle = TimelineObserver::new(handle, self.watch.clone(), (env.id, self.time.clone()));
        let rng = Rng::new(self.seed, &format!("raft {} {}", env.id, env.restarts));
        let stop = env.stopped();
        let transport = match &self.tcp {
            None => Way::Model(env.transport),
            Some(config) => {
                let rng = Rng::new(self.seed, &format!("tcp {} {}", env.id, env.restarts));
                Way::Tcp(TcpTransport::bind(config.clone(), rng).await.expect("the address is free"))
            }
        };
        let world = (transport, env.clock, host);
        let ended = Driver::run(self.config.clone(), recovery, world, handle, rng, stop).await?;
        if let Way::Tcp(transport) = ended {
            transport.answered(self.config.raft.election_timeout).await;
        }
        Ok(())
    }
}

/// The storage configuration of a server in the cluster with this name.
pub(super) fn store_config(
    plan: &Plan,
    id: NodeId,
    (name, layout): (&str, &Layout),
    mutant: Option<Planted>,
) -> StoreConfig {
    let config = StoreConfig::new(id).bound_to(name, layout);
    StoreConfig { segment_bytes: plan.cluster.segment_bytes, mutant: planted(mutant), ..config }
}

fn node_config(plan: &Plan, id: NodeId, layout: Arc<Layout>, mutant: Option<Planted>) -> NodeConfig {
    let cluster = &plan.cluster;
    let raft = raft::Config {
        election_timeout: cluster.election_timeout,
        heartbeat: cluster.heartbeat,
        max_in_flight: cluster.max_in_flight as usize,
        max_append_bytes: usize::try_from(cluster.max_append_bytes).unwrap_or(usize::MAX),
        keep_entries: cluster.keep_entries,
        snapshot_chunk: usize::try_from(cluster.snapshot_chunk).unwrap_or(usize::MAX),
        lease_ppm: cluster.lease_ppm,
        mutant: planted(mutant),
        ..raft::Config::new(id, nodes(plan))
    };
    let ap = dynamo::Config {
        hint_after: cluster.hint_after,
        hedge_after: cluster.hedge_after,
        repair_permille: cluster.repair_permille,
        max_siblings: cluster.max_siblings as usize,
        hint_bytes: usize::try_from(cluster.hint_bytes).unwrap_or(usize::MAX),
        hint_age: cluster.hint_age,
        housekeeping: cluster.housekeeping,
        mutant: planted(mutant),
        ..dynamo::Config::new(id)
    };
    let memory_bytes = memory_bytes(plan);
    NodeConfig {
        ap,
        snapshot_entries: cluster.snapshot_entries,
        max_tombstones: cluster.max_tombstones,
        digest_entries: 50,
        memory_bytes,
        ..NodeConfig::new(raft, layout)
    }
}

/// The memory budget of each server.
pub(super) fn memory_bytes(plan: &Plan) -> usize {
    usize::try_from(plan.cluster.memory_bytes).unwrap_or(usize::MAX)
}

/// Plans refer to bugs by name; nodes contain them.
fn planted(bug: Option<Planted>) -> Mutant {
    #[cfg(feature = "mutants")]
    if let Some(Planted::Code(bug)) = bug {
        return Mutant::planted(bug);
    }
    let _ = bug;
    Mutant::default()
}

/// Converts a plan's link to network settings.
pub(super) fn link_settings(link: &Link) -> LinkSettings {
    LinkSettings {
        latency: Latency { base: link.latency, jitter: link.jitter, tail: link.tail.0, tail_max: link.tail_max },
        bandwidth: link.bandwidth,
        loss: link.loss.0,
        duplicate: link.duplicate.0,
        reorder: link.reorder.0,
        reorder_by: link.reorder_by,
        corrupt: link.corrupt.0,
    }
}
