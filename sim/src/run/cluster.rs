//! The cluster under test: nodes booted on the simulated world exactly as a server boots, with the oracle looking on.
//!
//! Under quorums all keys are in the default bucket, with the plan's policy; under Raft likewise.

use super::story::{Teller, Watch};
use super::wreck::Wreck;
use super::{EPOCH, Traces, lock, nodes};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::report::Mode;
use crate::scenario::Link;
use crate::world::clock::ClockSettings;
use crate::world::disk::DiskSettings;
use crate::world::net::{LinkSettings, NetSettings};
use crate::world::runtime::{CpuSettings, NodeEnv, World, WorldSettings};
use crate::world::{Latency, TimeSource};
use seaworthy::dynamo;
use seaworthy::mutant::{Bug, Mutant};
use seaworthy::node::{Driver, Memory, NodeConfig};
use seaworthy::placement::{Buckets, Layout, Member};
use seaworthy::raft;
use seaworthy::storage::{StorageError, Store, StoreConfig};
use seaworthy::types::{self, NodeId, Rng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Nodes that stopped over their storage, and why.
pub(super) type Refusals = Arc<Mutex<Vec<(NodeId, StorageError)>>>;

/// The servers of a run and their world.
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) oracle: Oracle,
    pub(super) layout: Arc<Layout>,
    pub(super) replicas_of_a_key: usize,
}

impl Cluster {
    /// Makes the world and boots every node.
    pub(super) fn start(plan: &Plan, (mode, mutant): (Mode, Option<Bug>), traces: &Traces) -> Cluster {
        let links = link_settings(&plan.network);
        let settings = WorldSettings {
            seed: plan.seed,
            net: NetSettings {
                server_links: links.clone(),
                client_links: links,
                link_limit: 10_000,
                mailbox_limit: 100_000,
                mailbox_bytes: Memory(memory_bytes(plan)).from_peers(),
            },
            disk: DiskSettings {
                per_operation: plan.disk.operation,
                per_kib: plan.disk.per_kib,
                sync: Latency::uniform(plan.disk.sync, plan.disk.jitter),
                capacity: plan.disk.capacity,
                block_sectors: plan.disk.block.sectors(),
            },
            cpu: CpuSettings { per_frame: plan.cpu.per_frame, per_kib: plan.cpu.per_kib },
        };
        let world = World::new(settings, traces.trace.clone(), traces.ledger.clone());
        let nodes = nodes(plan);
        let layout = Arc::new(layout(plan, mode));
        for &id in &nodes {
            let mut rng = Rng::new(plan.seed, &format!("clock {id}"));
            let clock = ClockSettings { start: rng.below(1_000_000_000_000), epoch: EPOCH, drift_ppm: 0 };
            let boot = Boot {
                config: node_config(plan, id, layout.clone(), mutant),
                store: StoreConfig {
                    segment_bytes: plan.cluster.segment_bytes,
                    mutant: planted(mutant),
                    ..StoreConfig::new(id)
                },
                seed: plan.seed,
                oracle: traces.oracle.clone(),
                refusals: traces.refusals.clone(),
                wreck: traces.wreck.clone(),
                watch: traces.watch.clone(),
                time: world.time_source(),
            };
            let boot = Arc::new(boot);
            let spread = super::nanos(plan.cluster.boot_spread);
            let boots = if spread == 0 { 0 } else { Rng::new(plan.seed, &format!("boot {id}")).below(spread) };
            world.add_node(id, (clock, boots), move |env| Box::pin(boot.clone().run(env)));
        }
        let replicas_of_a_key = plan.bucket.n as usize;
        Cluster { world, nodes, oracle: traces.oracle.clone(), layout, replicas_of_a_key }
    }

    /// Who was elected last, whether or not that is still so; with several groups in most of them.
    pub(super) fn leader(&self) -> Option<NodeId> {
        self.oracle.leader()
    }

    /// Waits until every live server holds the same as the others that are to; what differs if `patience` ends before.
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

    /// A group whose live members have not all applied what is committed, if there is one.
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

/// Who keeps what, in a run of `plan`.
pub(super) fn layout(plan: &Plan, mode: Mode) -> Layout {
    let crate::scenario::Cluster { nodes, groups, voters, regions, zones, .. } = plan.cluster;
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
    let buckets = Buckets { default, named: BTreeMap::new() };
    Layout::new((0..nodes).map(place).collect(), buckets, groups, voters.unwrap_or(nodes))
}

/// What a node's process is made of, each time it starts.
struct Boot {
    config: NodeConfig,
    store: StoreConfig,
    seed: u64,
    oracle: Oracle,
    refusals: Refusals,
    wreck: Wreck,
    watch: Option<Watch>,
    time: TimeSource,
}

impl Boot {
    async fn run(self: Arc<Self>, env: NodeEnv) {
        let id = env.id;
        match self.wreck.catch(self.serve(env)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => lock(&self.refusals).push((id, error)),
            // The run is over. The process neither goes on nor ends.
            None => std::future::pending().await,
        }
    }

    async fn serve(&self, env: NodeEnv) -> Result<(), StorageError> {
        let (host, recovery) = env.open(|disk| Store::open(disk, self.store))?;
        env.disk_idle().await;
        let fresh = raft::Recovered::default();
        let layout = &self.config.layout;
        let hosted = layout.all_groups().filter(|group| layout.voters_of(*group).contains(&env.id));
        let groups = hosted.map(|group| (group, recovery.groups.get(&group).unwrap_or(&fresh)));
        let witness = self.oracle.witness((env.id, self.config.memory_bytes), groups);
        let witness = Teller::new(witness, self.watch.clone(), (env.id, self.time.clone()));
        let rng = Rng::new(self.seed, &format!("raft {} {}", env.id, env.restarts));
        let never = std::future::pending();
        Driver::run(self.config.clone(), recovery, (env.transport, env.clock, host), witness, rng, never).await?;
        Ok(())
    }
}

fn node_config(plan: &Plan, id: NodeId, layout: Arc<Layout>, mutant: Option<Bug>) -> NodeConfig {
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
    NodeConfig { ap, snapshot_entries: cluster.snapshot_entries, memory_bytes, ..NodeConfig::new(raft, layout) }
}

fn memory_bytes(plan: &Plan) -> usize {
    usize::try_from(plan.cluster.memory_bytes).unwrap_or(usize::MAX)
}

/// Plans speak of bugs by name; nodes carry them.
fn planted(bug: Option<Bug>) -> Mutant {
    #[cfg(feature = "mutants")]
    if let Some(bug) = bug {
        return Mutant::planted(bug);
    }
    let _ = bug;
    Mutant::default()
}

/// A plan's link as the network has it.
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
