//! The running world: starts, stops and kills nodes on madsim, on top of the models.
//!
//! A [`World`] is created inside a madsim runtime. It owns what survives a node's process (its disk, its clocks, its
//! address) and starts a new process after a kill. A kill does three things at one instant: the process's tasks never
//! run again, its mailbox is lost, and its disk loses power (or, if only the process dies, just its open file handles).
//! It is not a `plugin::Simulator`: madsim tells plugins of a kill but not of a process that ends on its own, and the
//! order of these three steps matters.
//!
//! Determinism: one runtime per thread, a new thread per seed. madsim picks the next ready task at random from the seed
//! and lets each take 50 to 100 ns, so any extra wake-up changes the run. Recording the trace adds none.
//!
//! Caveat: a run must end with [`World::shutdown`]; otherwise tasks, timers and models hold each other and are leaked.

mod cpu;
mod env;
mod hub;
#[cfg(test)]
mod tests;

pub use cpu::CpuSettings;
pub use env::{SimClock, SimStorage, SimTransport};
pub use hub::TrueSleep;

use super::clock::{ClockModel, ClockSettings};
use super::disk::{DiskHandle, DiskSettings, DiskStats, SimDisk};
use super::ledger::{Effect, FaultId, Ledger};
use super::net::{LinkFault, Net, NetSettings, NetStats};
use super::trace::{Kind, Trace};
use super::{Nanos, TimeSource, lock};
use cpu::Cpu;
use hub::Hub;
use madsim::net::NetSim;
use madsim::runtime::{Handle, NodeHandle};
use seaworthy::storage::Store;
use seaworthy::types::{Addr, NodeId};
use seaworthy::wire::{Packet, frame};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// The settings of a world.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldSettings {
    /// Determines everything random in the models.
    pub seed: u64,
    /// The network's settings.
    pub net: NetSettings,
    /// The settings of every node's disk.
    pub disk: DiskSettings,
    /// If set, packets travel over madsim's TCP instead of the simulated network, with a one-way latency in this range.
    pub tcp: Option<Range<Duration>>,
    /// The settings of every node's processor.
    pub cpu: CpuSettings,
}

/// The way a node dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// Its process is killed; the operating system keeps its writes.
    Process,
    /// Its machine loses power; unsynced writes may be lost.
    PowerLoss,
    /// Its machine loses power, and physical blocks that were being written may contain anything.
    GarblingPowerLoss,
}

/// A node's process, as a future that runs from start to end.
pub type Process = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a node's process gets from the world, created for each start.
pub struct NodeEnv {
    /// The node's identifier.
    pub id: NodeId,
    /// The number of earlier starts.
    pub restarts: u64,
    /// Its endpoint, bound to its address.
    pub transport: SimTransport,
    /// Its clocks.
    pub clock: SimClock,
    stop: oneshot::Receiver<()>,
    disk: DiskHandle,
    cpu: Cpu,
    hub: Arc<Hub>,
}

impl NodeEnv {
    /// Waits until the node is told to stop. Only the first call gets the signal; a second one waits forever.
    pub fn stopped(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let (_, never) = oneshot::channel();
        let told = std::mem::replace(&mut self.stop, never);
        async move {
            if told.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Opens the node's store with `open` and makes it available as storage of the node. Opening takes the disk some
    /// time: [`NodeEnv::disk_idle`] waits for it.
    ///
    /// # Errors
    /// The error of `open`.
    pub fn open<T, E>(
        &self,
        open: impl FnOnce(SimDisk) -> Result<(Store<SimDisk>, T), E>,
    ) -> Result<(SimStorage, T), E> {
        let (store, found) = open(self.disk.attach())?;
        Ok((SimStorage::new(self.hub.clone(), (self.disk.clone(), self.cpu.clone()), store), found))
    }

    /// Waits until the disk has finished all requested operations, such as opening the store.
    pub fn disk_idle(&self) -> TrueSleep {
        TrueSleep::new(self.hub.clone(), self.disk.busy_until())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Paused,
    Dead,
}

struct Node {
    madsim: madsim::task::NodeId,
    disk: DiskHandle,
    cpu: Cpu,
    clock: SimClock,
    start: Arc<dyn Fn(NodeEnv) -> Process + Send + Sync>,
    starts: u64,
    state: State,
    /// Tells the running process to stop.
    stop: Option<oneshot::Sender<()>>,
}

/// Returns the address of a machine on madsim's network.
#[must_use]
pub fn ip(addr: Addr) -> IpAddr {
    let (net, number) = match addr {
        Addr::Node(id) => (0, u64::from(id.0)),
        Addr::Client(number) => (1, number),
    };
    Ipv4Addr::new(10, net, (number >> 8) as u8, number as u8).into()
}

/// The world of one run.
pub struct World {
    hub: Arc<Hub>,
    madsim: Handle,
    settings: WorldSettings,
    trace: Trace,
    ledger: Ledger,
    nodes: Mutex<BTreeMap<NodeId, Node>>,
    /// Machines of clients and of others that are not servers.
    hosts: Mutex<BTreeMap<Addr, NodeHandle>>,
    /// The cut links of madsim's network, by the fault that cut them.
    clogged: Mutex<BTreeMap<FaultId, Vec<(Addr, Addr)>>>,
    this: Weak<World>,
}

impl World {
    /// Creates a world without nodes. Must be called inside a madsim runtime, on its main node.
    #[must_use]
    pub fn new(settings: WorldSettings, trace: Trace, ledger: Ledger) -> Arc<World> {
        let net = Net::new(settings.seed, settings.net.clone(), trace.clone(), ledger.clone());
        let hub = Hub::start(net);
        if let Some(latency) = &settings.tcp {
            NetSim::current().update_config(|config| config.send_latency = latency.clone());
        }
        Arc::new_cyclic(|this| World {
            hub,
            madsim: Handle::current(),
            settings,
            trace,
            ledger,
            nodes: Mutex::default(),
            hosts: Mutex::default(),
            clogged: Mutex::default(),
            this: this.clone(),
        })
    }

    /// Returns the true time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.hub.now()
    }

    /// Returns a source of true time, for recording.
    #[must_use]
    pub fn time_source(&self) -> TimeSource {
        self.hub.time_source()
    }

    /// Waits until a true time.
    pub fn sleep_until(&self, at: Nanos) -> TrueSleep {
        TrueSleep::new(self.hub.clone(), at)
    }

    /// Returns the trace.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the fault ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the network's counts so far.
    #[must_use]
    pub fn net_stats(&self) -> NetStats {
        self.hub.with(|core, _| core.net.stats())
    }

    /// Returns the counts of a node's disk so far.
    #[must_use]
    pub fn disk_stats(&self, id: NodeId) -> DiskStats {
        self.disk(id).stats()
    }

    /// Binds a client's endpoint on the network.
    #[must_use]
    pub fn client(&self, number: u64) -> SimTransport {
        self.endpoint(Addr::Client(number))
    }

    /// Binds an endpoint on the network at any address. A node's process has its own; this one is for tests of the
    /// network.
    #[must_use]
    pub fn endpoint(&self, addr: Addr) -> SimTransport {
        SimTransport::bind(self.hub.clone(), addr, Cpu::default())
    }

    /// Creates a clock with these settings. Clients have one that is not faulty.
    #[must_use]
    pub fn new_clock(&self, addr: Addr, settings: ClockSettings) -> SimClock {
        self.clock_of(addr, settings, Cpu::default())
    }

    fn clock_of(&self, addr: Addr, settings: ClockSettings, cpu: Cpu) -> SimClock {
        let model = ClockModel::new(settings);
        SimClock::new((self.hub.clone(), cpu), addr, model, self.trace.clone(), self.ledger.clone())
    }

    /// Adds a node with an empty disk and starts it, now or at a later time. `start` is called for every start and must
    /// not hold the world.
    pub fn add_node(
        &self,
        id: NodeId,
        (clock, at): (ClockSettings, Nanos),
        start: impl Fn(NodeEnv) -> Process + Send + Sync + 'static,
    ) {
        let disk = DiskHandle::new(
            self.settings.seed,
            id,
            self.settings.disk,
            self.hub.time_source(),
            self.trace.clone(),
            self.ledger.clone(),
        );
        let cpu = Cpu::new(self.settings.cpu);
        let mut node = Node {
            madsim: self.madsim.create_node().name(id.to_string()).ip(ip(Addr::Node(id))).build().id(),
            disk,
            clock: self.clock_of(Addr::Node(id), clock, cpu.clone()),
            cpu,
            start: Arc::new(start),
            starts: 0,
            state: State::Dead,
            stop: None,
        };
        if at <= self.now() {
            self.start(id, &mut node);
        } else {
            let (world, sleep) = (self.this.clone(), self.sleep_until(at));
            madsim::task::spawn(async move {
                sleep.await;
                world.upgrade().map(|world| world.restart(id));
            });
        }
        let before = lock(&self.nodes).insert(id, node);
        assert!(before.is_none(), "{id} was added twice");
    }

    /// Kills a node, because of `fault` if given. Returns false if it was dead already; a power loss still takes
    /// effect.
    pub fn kill(&self, id: NodeId, death: Death, fault: Option<FaultId>) -> bool {
        let was = self.with(id, |node| std::mem::replace(&mut node.state, State::Dead));
        if was == State::Dead {
            if death != Death::Process {
                // The machine is still on, although the process is dead: the process's unsynced writes can be lost.
                self.stop_dead(id, death, fault);
            }
            return false;
        }
        let numbers = [death as u64, 0, 0];
        self.event(Kind::Kill, id, numbers);
        if let Some(fault) = fault {
            self.ledger.fired(fault);
            self.ledger.affected(fault, Effect::NodesKilled, 1);
        }
        self.stop_dead(id, death, fault);
        true
    }

    /// Tells a node to stop, as SIGTERM does, because of `fault` if given. Returns false if it is not running.
    pub fn stop(&self, id: NodeId, fault: Option<FaultId>) -> bool {
        let told = self.with(id, |node| (node.state == State::Running).then(|| node.stop.take()).flatten());
        let Some(told) = told.filter(|told| !told.is_closed()) else { return false };
        self.event(Kind::Stop, id, [0; 3]);
        if let Some(fault) = fault {
            self.ledger.fired(fault);
            self.ledger.affected(fault, Effect::NodesStopped, 1);
        }
        told.send(()).is_ok()
    }

    /// Returns the machine of a client or of another party that is not a server, for tasks that use madsim's TCP.
    #[must_use]
    pub fn host(&self, addr: Addr) -> NodeHandle {
        let mut hosts = lock(&self.hosts);
        let made = || self.madsim.create_node().name(addr.to_string()).ip(ip(addr)).build();
        hosts.entry(addr).or_insert_with(made).clone()
    }

    /// Sends a frame to `to` in the name of `from`.
    pub fn forge(&self, fault: FaultId, from: Addr, to: Addr, packet: &Packet) {
        let frame = frame::encode(packet).expect("a forged packet is small");
        self.hub.with(|core, now| {
            let from = core.net.endpoint(from);
            core.net.send(now, from, (to, packet.lane()), (frame, None), &mut core.schedule);
        });
        self.ledger.fired(fault);
        self.ledger.affected(fault, Effect::MessagesForged, 1);
    }

    /// Restarts a dead node on the disk that it left. Returns false if it is alive.
    pub fn restart(&self, id: NodeId) -> bool {
        self.with(id, |node| {
            if node.state != State::Dead {
                return false;
            }
            self.madsim.restart(node.madsim);
            self.start(id, node);
            true
        })
    }

    /// Pauses a running node, because of `fault` if given; frames in its mailbox and its timers wait. Returns false if
    /// it was not running.
    pub fn pause(&self, id: NodeId, fault: Option<FaultId>) -> bool {
        self.with(id, |node| {
            if node.state != State::Running {
                return false;
            }
            node.state = State::Paused;
            self.madsim.pause(node.madsim);
            self.event(Kind::Pause, id, [0; 3]);
            if let Some(fault) = fault {
                self.ledger.fired(fault);
                self.ledger.affected(fault, Effect::NodesPaused, 1);
            }
            true
        })
    }

    /// Resumes a paused node. Returns false if it was not paused.
    pub fn resume(&self, id: NodeId) -> bool {
        self.with(id, |node| {
            if node.state != State::Paused {
                return false;
            }
            node.state = State::Running;
            self.madsim.resume(node.madsim);
            self.event(Kind::Resume, id, [0; 3]);
            true
        })
    }

    /// Whether the node's process runs or is paused.
    #[must_use]
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.with(id, |node| node.state != State::Dead)
    }

    /// Returns a node's disk, to apply faults to it.
    #[must_use]
    pub fn disk(&self, id: NodeId) -> DiskHandle {
        self.with(id, |node| node.disk.clone())
    }

    /// Returns a node's clocks, to apply faults to them.
    #[must_use]
    pub fn clock(&self, id: NodeId) -> SimClock {
        self.with(id, |node| node.clock.clone())
    }

    /// Applies a fault to directed links. Over madsim's TCP links can only be cut.
    pub fn lay(&self, id: FaultId, pairs: &[(Addr, Addr)], fault: &LinkFault) {
        if self.settings.tcp.is_none() {
            return self.hub.with(|core, now| core.net.lay(now, id, pairs, fault));
        }
        assert_eq!(*fault, LinkFault::Block, "madsim's links can be cut, and nothing else");
        for (from, to) in pairs {
            NetSim::current().clog_link(self.machine(*from), self.machine(*to));
        }
        lock(&self.clogged).insert(id, pairs.to_vec());
        self.ledger.fired(id);
        self.ledger.affected(id, Effect::LinksCut, pairs.len() as u64);
    }

    /// Returns the madsim node of a server or client.
    fn machine(&self, addr: Addr) -> madsim::task::NodeId {
        match addr {
            Addr::Node(id) => self.with(id, |node| node.madsim),
            Addr::Client(_) => self.host(addr).id(),
        }
    }

    /// Lifts a fault from madsim's links, except those that another fault still cuts.
    fn unclog(&self, id: FaultId) {
        let mut clogged = lock(&self.clogged);
        for pair in clogged.remove(&id).unwrap_or_default() {
            if !clogged.values().any(|pairs| pairs.contains(&pair)) {
                NetSim::current().unclog_link(self.machine(pair.0), self.machine(pair.1));
            }
        }
    }

    /// Lifts a fault from every link, disk and clock that it is on.
    pub fn lift(&self, id: FaultId) {
        self.hub.with(|core, now| core.net.lift(now, id, &mut core.schedule));
        self.unclog(id);
        for (disk, clock) in self.belongings() {
            disk.lift(id);
            clock.lift(id);
        }
    }

    /// Lifts all faults from all links, disks and clocks. Lasting damage remains: jumped clocks, damaged sectors, dead
    /// and paused nodes.
    pub fn heal(&self) {
        self.hub.with(|core, now| core.net.heal_all(now, &mut core.schedule));
        for (disk, clock) in self.belongings() {
            disk.heal();
            clock.heal();
        }
    }

    /// Loses all frames in flight on directed links.
    pub fn reset_links(&self, id: FaultId, pairs: &[(Addr, Addr)]) {
        self.hub.with(|core, now| core.net.reset_links(now, id, pairs));
    }

    /// Ends the run: kills every node, stops all delivery, and lets their resources be freed.
    pub async fn shutdown(&self) {
        let nodes = std::mem::take(&mut *lock(&self.nodes));
        for node in nodes.values() {
            self.madsim.kill(node.madsim);
        }
        drop(nodes);
        for host in std::mem::take(&mut *lock(&self.hosts)).values() {
            self.madsim.kill(host.id());
        }
        madsim::time::sleep(std::time::Duration::from_millis(1)).await;
        self.hub.stop();
        madsim::time::sleep(std::time::Duration::from_millis(1)).await;
    }

    fn start(&self, id: NodeId, node: &mut Node) {
        node.state = State::Running;
        node.starts += 1;
        let starts = node.starts;
        node.cpu.reset();
        self.event(Kind::Start, id, [starts, 0, 0]);
        let (tell, stop) = oneshot::channel();
        node.stop = Some(tell);
        let env = NodeEnv {
            id,
            restarts: starts - 1,
            transport: SimTransport::bind(self.hub.clone(), Addr::Node(id), node.cpu.clone()),
            clock: node.clock.clone(),
            stop,
            disk: node.disk.clone(),
            cpu: node.cpu.clone(),
            hub: self.hub.clone(),
        };
        let (process, world) = ((node.start)(env), self.this.clone());
        let spawner = self.madsim.get_node(node.madsim).expect("the node was created");
        spawner.spawn(async move {
            process.await;
            if let Some(world) = world.upgrade() {
                world.exited(id, starts);
            }
        });
    }

    /// The process ended on its own: its writes stay with the operating system, and everything else of it ends.
    fn exited(&self, id: NodeId, starts: u64) {
        let ended = self.with(id, |node| {
            let current = node.starts == starts && node.state != State::Dead;
            if current {
                node.state = State::Dead;
            }
            current
        });
        if ended {
            self.event(Kind::Exit, id, [0; 3]);
            self.stop_dead(id, Death::Process, None);
        }
    }

    /// The disk and clocks of each node, which survive its processes.
    fn belongings(&self) -> Vec<(DiskHandle, SimClock)> {
        lock(&self.nodes).values().map(|node| (node.disk.clone(), node.clock.clone())).collect()
    }

    fn stop_dead(&self, id: NodeId, death: Death, fault: Option<FaultId>) {
        let (madsim, disk) = self.with(id, |node| (node.madsim, node.disk.clone()));
        self.madsim.kill(madsim);
        self.hub.with(|core, now| core.net.reset(now, Addr::Node(id)));
        match death {
            Death::Process => disk.detach(),
            Death::PowerLoss => disk.crash(fault),
            Death::GarblingPowerLoss => disk.crash_garbled(fault),
        }
    }

    fn with<T>(&self, id: NodeId, work: impl FnOnce(&mut Node) -> T) -> T {
        work(lock(&self.nodes).get_mut(&id).unwrap_or_else(|| panic!("there is no {id}")))
    }

    fn event(&self, kind: Kind, id: NodeId, numbers: [u64; 3]) {
        self.trace.event(self.now(), kind, Addr::Node(id), Addr::Node(id), numbers);
    }
}
