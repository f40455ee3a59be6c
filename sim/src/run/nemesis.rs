//! The nemesis: lays the plan's faults on the world at their instants and takes them off again.
//!
//! Faults overlap freely. Those of links, disks and clocks lie in layers in the world, each under its own name. A server
//! is down while any fault that keeps it down lasts, and paused while any pause lasts; when the last one ends, it is
//! started or goes on. When the storm is over everything is taken off and every server that is down is started, but for
//! those the plan loses for ever.

use super::cluster::{Cluster, link_settings};
use super::{OPERATOR, lock, nanos, nodes};
use crate::plan::{Fault, FaultId, Kind, Links, Pages, Part, Plan, Sight, Target, Unsynced, Way, What};
use crate::scenario::Setting;
use crate::world::clock::ClockFault;
use crate::world::disk::{Damage, DiskHandle, DiskTrouble, Scope};
use crate::world::ledger::{self, Effect};
use crate::world::net::LinkFault;
use crate::world::runtime::Death;
use seaworthy::node::Transport;
use seaworthy::types::{Addr, NodeId};
use seaworthy::wire::{Packet, Request, RequestBody};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A fault that has begun and not ended.
struct Active {
    kind: Kind,
    met: Vec<NodeId>,
    forever: bool,
}

/// Whom each fault met.
pub type Met = BTreeMap<FaultId, Vec<NodeId>>;

struct Nemesis {
    plan: Arc<Plan>,
    cluster: Arc<Cluster>,
    /// The plan's faults as the ledger knows them.
    entries: BTreeMap<FaultId, ledger::FaultId>,
    ends: BTreeMap<FaultId, Duration>,
    active: BTreeMap<FaultId, Active>,
    /// Whom each fault met.
    met: Met,
    /// Whom it met in an earlier run of the same plan, which it shall meet again.
    as_before: Met,
    operator: crate::world::runtime::SimTransport,
    orders: u64,
}

/// Carries out the plan's faults, from its beginning to the end of the storm. Whom they met is noted in `met` as they begin;
/// what is there already is whom they shall meet.
pub(super) async fn storm(plan: Arc<Plan>, cluster: Arc<Cluster>, met_of: Arc<Mutex<Met>>) {
    let world = cluster.world.clone();
    let mut ends = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for event in &plan.events {
        if let What::End(id) = event.what {
            ends.insert(id, event.at);
        }
    }
    for event in &plan.events {
        if let What::Begin { id, fault, .. } = &event.what {
            let until = ends.get(id).map(|end| nanos(*end));
            let about = format!("{} {}", fault.kind.name(), fault.target.show());
            let entry = world.ledger().request(fault.kind.name(), about, nanos(event.at), until);
            world.ledger().expect(entry, fault.kind.expects(plan.network.is_ordered()));
            entries.insert(*id, entry);
        }
    }
    let operator = world.client(OPERATOR);
    let (active, met, as_before) = (BTreeMap::new(), BTreeMap::new(), lock(&met_of).clone());
    let mut nemesis =
        Nemesis { plan: plan.clone(), cluster, entries, ends, active, met, as_before, operator, orders: 0 };
    let mut calm = false;
    for event in &plan.events {
        if !matches!(event.what, What::Op { .. }) {
            if !calm && event.at > plan.time.storm_ends() {
                nemesis.calm_at(plan.time.storm_ends()).await;
                calm = true;
            }
            world.sleep_until(nanos(event.at)).await;
            match &event.what {
                What::Begin { id, fault, forever } => {
                    nemesis.begin(*id, fault, *forever);
                    lock(&met_of).clone_from(&nemesis.met);
                }
                What::End(id) => nemesis.end(*id),
                What::Op { .. } => {}
            }
        }
    }
    if !calm {
        nemesis.calm_at(plan.time.storm_ends()).await;
    }
}

impl Nemesis {
    fn begin(&mut self, id: FaultId, fault: &Fault<Target>, forever: bool) {
        let nodes = self.cluster.nodes.clone();
        let sight = Sight { nodes: &nodes, leader: self.cluster.leader(), met: &self.met };
        let met = self.as_before.get(&id).cloned().unwrap_or_else(|| fault.target.resolve(&sight));
        self.met.insert(id, met.clone());
        let entry = self.entries[&id];
        for &node in &met {
            self.strike(id, entry, &fault.kind, node);
        }
        let world = &self.cluster.world;
        match &fault.kind {
            Kind::Partition { shape, clients } => {
                let between = shape.cuts(&met, &nodes).into_iter().map(|(a, b)| (Addr::Node(a), Addr::Node(b)));
                let count = self.plan.workload.clients;
                let to_clients = clients.cuts(*shape, &met, &nodes, count).into_iter().flat_map(|(client, node)| {
                    let ends = (Addr::Client(u64::from(client)), Addr::Node(node));
                    [ends, (ends.1, ends.0)]
                });
                let pairs: Vec<_> = between.chain(to_clients).collect();
                world.lay(entry, &pairs, &LinkFault::Block);
            }
            Kind::Link { on, add } => {
                world.lay(entry, &self.links_of(&met, *on), &LinkFault::Degrade(link_settings(add)));
            }
            Kind::Hang { on } => world.lay(entry, &self.links_of(&met, *on), &LinkFault::Hang),
            Kind::Delay { on, way, by } => {
                let meant = |(from, to): &(Addr, Addr)| {
                    let ours = |addr: &Addr| matches!(addr, Addr::Node(node) if met.contains(node));
                    (*way != Way::In && ours(from)) || (*way != Way::Out && ours(to))
                };
                let pairs: Vec<_> = self.links_of(&met, *on).into_iter().filter(meant).collect();
                world.lay(entry, &pairs, &LinkFault::Delay(*by));
            }
            Kind::Reset { on } => world.reset_links(entry, &self.links_of(&met, *on)),
            _ => {}
        }
        if fault.kind.lasts() {
            self.active.insert(id, Active { kind: fault.kind.clone(), met, forever });
        }
    }

    /// What a fault does to one server.
    fn strike(&mut self, id: FaultId, entry: ledger::FaultId, kind: &Kind, node: NodeId) {
        let world = &self.cluster.world;
        let disk = world.disk(node);
        let clock = world.clock(node);
        match kind {
            Kind::Kill { unsynced } => {
                let death = match unsynced {
                    Unsynced::Keep => Death::Process,
                    Unsynced::Tear => Death::PowerLoss,
                    Unsynced::Garble => Death::GarblingPowerLoss,
                };
                world.kill(node, death, Some(entry));
            }
            Kind::Pause => {
                world.pause(node, Some(entry));
            }
            Kind::DiskSlow { times } => disk.trouble(entry, DiskTrouble::Slow(*times)),
            Kind::DiskStall => {
                let until = self.ends.get(&id).copied().unwrap_or(self.plan.time.storm_ends());
                disk.trouble(entry, DiskTrouble::StallUntil(nanos(until)));
            }
            Kind::DiskFull { free, refuses } => {
                disk.trouble(entry, DiskTrouble::Full { limit: *free, room: *refuses });
            }
            Kind::FsyncFail { pages: Pages::Dropped } => disk.trouble(entry, DiskTrouble::FailSyncs(u64::MAX)),
            Kind::FsyncFail { pages: Pages::Clean } => disk.trouble(entry, DiskTrouble::FailDirtySyncs),
            Kind::FsyncLie { loses } => {
                self.cluster.oracle.distrust(node);
                disk.trouble(entry, DiskTrouble::LieSyncs(*loses));
            }
            Kind::ReadError { of, sectors, oldest } => {
                spoil(&disk, entry, Damage::Unreadable, (*of, *sectors, oldest.0));
            }
            Kind::Rot { of, sectors, oldest } => spoil(&disk, entry, Damage::Rotten, (*of, *sectors, oldest.0)),
            Kind::Misdirect { writes } => {
                self.cluster.oracle.distrust(node);
                disk.trouble(entry, DiskTrouble::Misdirect(*writes));
            }
            Kind::ClockJump { by } => clock.disturb(entry, ClockFault::Jump(by.0)),
            Kind::ClockDrift { ppm } => clock.disturb(entry, ClockFault::Drift(*ppm)),
            Kind::ClockStrobe { by, period } => {
                clock.disturb(entry, ClockFault::Strobe { by: by.0, period: *period });
            }
            Kind::ClockFreeze => clock.disturb(entry, ClockFault::Freeze),
            Kind::Transfer => {
                // The operator asks every server; the one that leads obeys.
                world.ledger().fired(entry);
                for &server in &self.cluster.nodes {
                    self.orders += 1;
                    let body = RequestBody::Transfer { to: node };
                    self.operator
                        .send(Addr::Node(server), &Packet::from(Request { id: self.orders, forwarded: false, body }));
                }
                world.ledger().affected(entry, Effect::LeadersAsked, 1);
            }
            Kind::Partition { .. }
            | Kind::Link { .. }
            | Kind::Hang { .. }
            | Kind::Delay { .. }
            | Kind::Reset { .. } => {}
        }
    }

    fn links_of(&self, met: &[NodeId], on: Links) -> Vec<(Addr, Addr)> {
        let peers = self.cluster.nodes.iter().map(|n| Addr::Node(*n)).filter(|_| on != Links::Clients);
        let clients =
            (1..=self.plan.workload.clients).map(|c| Addr::Client(u64::from(c))).filter(|_| on != Links::Peers);
        let others: Vec<Addr> = peers.chain(clients).collect();
        let mut pairs = BTreeSet::new();
        for &node in met {
            for &other in others.iter().filter(|other| **other != Addr::Node(node)) {
                pairs.insert((Addr::Node(node), other));
                pairs.insert((other, Addr::Node(node)));
            }
        }
        pairs.into_iter().collect()
    }

    fn end(&mut self, id: FaultId) {
        let Some(ended) = self.active.remove(&id) else { return };
        self.cluster.world.lift(self.entries[&id]);
        for node in ended.met {
            self.raise(node);
        }
    }

    /// Starts a server that is down, or lets it go on, unless a fault still keeps it.
    fn raise(&self, node: NodeId) {
        let kept = |keeps: fn(&Kind) -> bool| self.active.values().any(|a| keeps(&a.kind) && a.met.contains(&node));
        if !kept(|kind| matches!(kind, Kind::Pause)) {
            self.cluster.world.resume(node);
        }
        if !kept(|kind| matches!(kind, Kind::Kill { .. } | Kind::FsyncFail { .. } | Kind::DiskFull { .. })) {
            self.cluster.world.restart(node);
        }
    }

    async fn calm_at(&mut self, at: Duration) {
        self.cluster.world.sleep_until(nanos(at)).await;
        let over: Vec<FaultId> = self.active.iter().filter(|(_, a)| !a.forever).map(|(id, _)| *id).collect();
        for id in over {
            self.end(id);
        }
        for node in nodes(&self.plan) {
            self.raise(node);
        }
    }
}

/// Damages durable sectors, among the given share of them from the oldest on.
fn spoil(disk: &DiskHandle, entry: ledger::FaultId, damage: Damage, (of, sectors, oldest): (Part, u64, f64)) {
    let (prefix, bytes) = of.place();
    let scope = Scope { prefix: prefix.to_owned(), oldest, bytes };
    disk.damage(entry, &scope, damage, usize::try_from(sectors).unwrap_or(usize::MAX));
}
