//! The nemesis: applies the plan's faults to the world at their instants and removes them again.
//!
//! Faults can overlap freely. Faults of links, disks and clocks are stacked in the world, each under its own id. A
//! server is down while any fault that keeps it down lasts, and paused while any pause lasts. When the last one ends,
//! the server is restarted or resumed. At the end of the storm all faults are removed and every server that is down is
//! started, except those that the plan loses for ever.

use super::cluster::{Cluster, link_settings};
use super::directories;
use super::{OPERATOR, lock, nanos, nodes, tcp};
use crate::plan::{Directory, Fault, FaultId, Kind, Lie, Links, Pages, Part, Plan, Sight, Target, Unsynced, Way, What};
use crate::settings::{self, Setting};
use crate::world::clock::ClockFault;
use crate::world::disk::{Damage, DirectoryCopy, DiskHandle, DiskTrouble, Scope};
use crate::world::ledger::{self, Effect};
use crate::world::net::LinkFault;
use crate::world::runtime::Death;
use seaworthy::env::Transport;
use seaworthy::types::{Addr, NodeId};
use seaworthy::wire::{Packet, Request, RequestBody};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long after the storm an operation begun in it may still stop a server.
const LATE: Duration = Duration::from_secs(1);

/// A fault that has begun and not ended.
struct Active {
    kind: Kind,
    met: Vec<NodeId>,
    forever: bool,
}

/// The servers that each fault hit.
pub type FaultTargets = BTreeMap<FaultId, Vec<NodeId>>;

struct Nemesis {
    plan: Arc<Plan>,
    cluster: Arc<Cluster>,
    /// The ledger ids of the plan's faults.
    entries: BTreeMap<FaultId, ledger::FaultId>,
    ends: BTreeMap<FaultId, Duration>,
    active: BTreeMap<FaultId, Active>,
    /// The servers that each fault has hit so far.
    met: FaultTargets,
    /// The servers that each fault hit in an earlier run of the same plan. It hits the same ones again.
    as_before: FaultTargets,
    /// Every server's directory, copied in advance for a later fault.
    copies: BTreeMap<(FaultId, NodeId), DirectoryCopy>,
    operator: crate::world::runtime::SimTransport,
    orders: u64,
}

/// Applies the plan's faults, from its beginning to the end of the storm. Writes the targets to `met_of` as faults
/// begin. Targets that are already in it are used again.
pub(super) async fn storm(plan: Arc<Plan>, cluster: Arc<Cluster>, met_of: Arc<Mutex<FaultTargets>>) {
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
    let mut nemesis = Nemesis {
        plan: plan.clone(),
        cluster,
        entries,
        ends,
        active: BTreeMap::new(),
        met: BTreeMap::new(),
        as_before: lock(&met_of).clone(),
        copies: BTreeMap::new(),
        operator,
        orders: 0,
    };
    let mut calm = false;
    for (at, step) in steps(&plan) {
        if !calm && at > plan.time.storm_ends() {
            nemesis.calm_at(plan.time.storm_ends()).await;
            calm = true;
        }
        world.sleep_until(nanos(at)).await;
        match step {
            Step::Copy(id) => nemesis.copy_directories(id),
            Step::Event(What::Begin { id, fault, forever }) => {
                nemesis.begin(*id, fault, *forever);
                lock(&met_of).clone_from(&nemesis.met);
            }
            Step::Event(What::End(id)) => nemesis.end(*id),
            Step::Event(What::Op { .. }) => {}
        }
    }
    if !calm {
        nemesis.calm_at(plan.time.storm_ends()).await;
    }
    // A disk operation requested in the storm may fail after it and stop the server.
    world.sleep_until(nanos((plan.time.storm_ends() + LATE).min(plan.time.ends()))).await;
    nodes(&plan).into_iter().for_each(|node| nemesis.raise(node));
}

/// What the nemesis does at one instant.
enum Step<'a> {
    /// Copies all directories for a later fault.
    Copy(FaultId),
    Event(&'a What),
}

/// The steps of the nemesis, in order of time.
fn steps(plan: &Plan) -> Vec<(Duration, Step<'_>)> {
    let faults = || plan.events.iter().filter(|event| !matches!(event.what, What::Op { .. }));
    let copies = faults().filter_map(|event| match &event.what {
        What::Begin { id, fault: Fault { kind: Kind::Directory { with: Directory::Old, age }, .. }, .. } => {
            Some((event.at.saturating_sub(*age), Step::Copy(*id)))
        }
        _ => None,
    });
    let mut steps: Vec<_> = copies.chain(faults().map(|event| (event.at, Step::Event(&event.what)))).collect();
    steps.sort_by_key(|(at, _)| *at);
    steps
}

impl Nemesis {
    fn copy_directories(&mut self, id: FaultId) {
        for node in &self.cluster.nodes {
            self.copies.insert((id, *node), self.cluster.world.disk(*node).copy());
        }
    }

    /// The directory that the server will find.
    fn directory(&self, id: FaultId, with: Directory, node: NodeId) -> DirectoryCopy {
        let nodes = &self.cluster.nodes;
        match with {
            Directory::Empty => DirectoryCopy::default(),
            Directory::Old => self.copies.get(&(id, node)).cloned().unwrap_or_default(),
            Directory::Another => {
                let next = nodes.iter().position(|other| *other == node).map_or(0, |at| (at + 1) % nodes.len());
                self.cluster.world.disk(nodes[next]).copy()
            }
            Directory::Foreign => directories::of_another_cluster(&self.plan, node, &self.cluster),
            Directory::Altered => directories::with_another_state(&self.plan, node, &self.cluster),
        }
    }

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

    /// Applies a fault to one server.
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
            Kind::Directory { with, .. } => {
                world.kill(node, Death::Process, Some(entry));
                self.cluster.oracle.distrust(node);
                if *with == Directory::Altered {
                    self.cluster.oracle.alter(node);
                }
                disk.replace(entry, &self.directory(id, *with, node));
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
                // The operator asks every server; the leader obeys.
                world.ledger().fired(entry);
                for &server in &self.cluster.nodes {
                    self.orders += 1;
                    let body = RequestBody::Transfer { to: node };
                    self.operator.send(Addr::Node(server), &Packet::from(Request::new(self.orders, body)));
                }
                world.ledger().affected(entry, Effect::LeadersAsked, 1);
            }
            Kind::Stop => {
                world.stop(node, Some(entry));
            }
            Kind::Forge { lie } => self.forge(entry, *lie, node),
            Kind::Partition { .. }
            | Kind::Link { .. }
            | Kind::Hang { .. }
            | Kind::Delay { .. }
            | Kind::Reset { .. } => {}
        }
    }

    /// Sends a server forged messages in the name of another.
    fn forge(&self, entry: ledger::FaultId, lie: Lie, to: NodeId) {
        let Some(from) = self.cluster.nodes.iter().copied().find(|node| *node != to) else { return };
        let packets = tcp::lies(lie, self.plan.cluster.groups, self.cluster.origin(from));
        match self.plan.cluster.transport {
            settings::Transport::Model => {
                packets.iter().for_each(|p| self.cluster.world.forge(entry, Addr::Node(from), Addr::Node(to), p));
            }
            settings::Transport::Tcp => {
                let of = (&*self.plan, self.cluster.layout.digest());
                tcp::impostor(&self.cluster.world, entry, (from, to), of, packets);
            }
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
            if ended.kind == Kind::Stop {
                self.cluster.world.kill(node, Death::Process, None);
            }
            self.raise(node);
        }
    }

    /// Restarts a server that is down, or resumes a paused one, unless a fault still prevents it.
    fn raise(&self, node: NodeId) {
        let kept = |keeps: fn(&Kind) -> bool| self.active.values().any(|a| keeps(&a.kind) && a.met.contains(&node));
        if !kept(|kind| matches!(kind, Kind::Pause)) {
            self.cluster.world.resume(node);
        }
        let down = |kind: &Kind| {
            let gone = matches!(kind, Kind::Kill { .. } | Kind::Stop | Kind::Directory { .. });
            gone || matches!(kind, Kind::FsyncFail { .. } | Kind::DiskFull { .. })
        };
        if !kept(down) {
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

/// Damages durable sectors, chosen among the oldest ones. `oldest` is the share of all sectors to choose from.
fn spoil(disk: &DiskHandle, entry: ledger::FaultId, damage: Damage, (of, sectors, oldest): (Part, u64, f64)) {
    let (prefix, bytes) = of.place();
    let scope = Scope { prefix: prefix.to_owned(), oldest, bytes };
    disk.damage(entry, &scope, damage, usize::try_from(sectors).unwrap_or(usize::MAX));
}
