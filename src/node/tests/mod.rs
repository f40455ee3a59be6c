//! Tests of whole nodes, driven by hand: the clock, the network and the disk do what the test says.

mod differ;
mod many;
mod power;
mod turns;

use super::*;
use crate::dynamo::{ClientReply, ClientRequest};
use crate::identity::{Answer, Greeting, Origin, Standing};
use crate::mutant::Mutant;
use crate::node::LogRoles;
use crate::placement::{Buckets, Layout};
use crate::storage::mem_disk::MemDisk;
use crate::storage::{Store, StoreConfig};
use crate::types::{Mode, Policy, Wall};
use crate::wire::{Request as Ask, RequestBody, Response, ResponseBody};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What was sent, and by which node.
type Post = Arc<Mutex<VecDeque<(NodeId, Addr, Packet)>>>;

/// A network that keeps what is sent, and a clock that the test sets.
#[derive(Clone)]
struct World {
    me: NodeId,
    post: Post,
    time: Arc<AtomicU64>,
}

impl Transport for World {
    fn send(&mut self, to: Addr, packet: &Packet) {
        self.post.lock().unwrap().push_back((self.me, to, packet.clone()));
    }
    fn recv(&mut self) -> impl Future<Output = (Addr, Packet)> + Send {
        pending()
    }
    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        None
    }
    fn bad_frames(&self) -> u64 {
        0
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        Time(self.time.load(Ordering::Relaxed))
    }
    fn wall(&self) -> Wall {
        Wall(1_000_000_000 + self.now().0)
    }
    fn sleep_until(&self, _deadline: Time) -> impl Future<Output = ()> + Send {
        pending()
    }
}

/// Runs jobs at once.
struct AtOnce(Mutex<Store<MemDisk>>);

impl StorageHost for AtOnce {
    type Disk = MemDisk;
    fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store<MemDisk>) -> R + Send + 'static,
    ) -> impl Future<Output = R> + Send {
        std::future::ready(job(&mut self.0.lock().unwrap()))
    }
}

/// A node whose turns the test runs.
struct Node {
    driver: Driver<World, World, AtOnce, LogRoles>,
    store: AtOnce,
    disk: MemDisk,
    /// Jobs that the disk has been given and has not done yet.
    job: Option<Job>,
}

impl Node {
    /// Starts a node with the contents of `disk`.
    fn start(world: World, layout: &Arc<Layout>, disk: MemDisk) -> Node {
        Node::try_start(world, layout, disk, |_, _| {}).unwrap()
    }

    /// Starts a node with other settings, on a disk that may fail.
    fn try_start(
        world: World,
        layout: &Arc<Layout>,
        disk: MemDisk,
        tune: impl FnOnce(&mut NodeConfig, &mut StoreConfig),
    ) -> Result<Node, StorageError> {
        let mut store_config = StoreConfig { segment_bytes: 1 << 16, ..StoreConfig::new(world.me) };
        let mut config = NodeConfig::new(raft::Config::new(world.me, Vec::new()), layout.clone());
        tune(&mut config, &mut store_config);
        let mut rng = Rng::new(u64::from(world.me.0) << 32 | disk.changes(), "store");
        let (store, recovery) = Store::open(disk.clone(), &store_config, &mut rng)?;
        let store = AtOnce(Mutex::new(store));
        let rng = Rng::new(u64::from(world.me.0), "node");
        let driver = now_or_never(Driver::boot(config, recovery, (world.clone(), world), &store, LogRoles, rng))?;
        Ok(Node { driver, store, disk, job: None })
    }

    /// Lets its peers confirm that it has all its data.
    fn vouch(&mut self) -> Result<(), StorageError> {
        let answer = Some(Answer { to: self.driver.standing.origin().incarnation, objection: None });
        let config = &self.driver.turn.config;
        let peers: Vec<NodeId> = config.layout.nodes().filter(|peer| *peer != config.raft.id).collect();
        for peer in peers {
            let (origin, standing) = (origin_of(peer), Standing::Member);
            let greeting = Greeting { directory: 1, origin, found: 0, standing, asks: false, answer };
            self.hears(Addr::Node(peer), Packet::Greeting(greeting));
        }
        for _ in 0..2 {
            self.try_turn()?;
            self.try_disk_works()?;
        }
        Ok(())
    }

    /// Runs one turn. An idle disk is given the next job.
    fn turn(&mut self) {
        self.try_turn().unwrap();
    }

    fn try_turn(&mut self) -> Result<(), StorageError> {
        let at = self.driver.now();
        now_or_never(self.driver.settle(at, &self.store))?;
        if self.job.is_none() {
            self.job = self.driver.next_job();
        }
        self.driver.flush(at);
        self.driver.end_turn();
        Ok(())
    }

    fn hears(&mut self, from: Addr, packet: Packet) {
        let at = self.driver.now();
        self.driver.on_packet(from, packet, at);
    }

    /// Lets the disk do its job.
    fn disk_works(&mut self) {
        self.try_disk_works().unwrap();
    }

    fn try_disk_works(&mut self) -> Result<(), StorageError> {
        if let Some(job) = self.job.take() {
            let done = now_or_never(self.store.run(move |store| job.run(store)))?;
            let at = self.driver.now();
            self.driver.on_done(done, at);
        }
        Ok(())
    }
}

/// Returns the origin of a peer that does not run in the test.
fn origin_of(peer: NodeId) -> Origin {
    Origin { incarnation: u64::from(peer.0), durable: 0 }
}

/// Returns the result of a future that never has to wait.
fn now_or_never<F: Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    let waker = std::task::Waker::noop();
    match future.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

/// A cluster on a network that loses nothing and takes no time.
struct Town {
    nodes: Vec<Node>,
    post: Post,
    time: Arc<AtomicU64>,
    /// Responses to clients that no one has collected.
    answers: Vec<(NodeId, u64, Response)>,
    next: u64,
}

const CLIENT: u64 = 9;

impl Town {
    fn new(layout: Layout) -> Town {
        let (post, time) = (Post::default(), Arc::new(AtomicU64::new(0)));
        let layout = Arc::new(layout);
        let start = |me| {
            let world = World { me, post: post.clone(), time: time.clone() };
            Node::start(world, &layout, MemDisk::default())
        };
        let nodes = layout.nodes().map(start).collect();
        let mut town = Town { nodes, post, time, answers: Vec::new(), next: 1 };
        town.deliver();
        town
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.driver.turn.config.raft.id == id).unwrap()
    }

    /// Delivers what was sent until there is nothing more to deliver.
    fn deliver(&mut self) {
        loop {
            for node in &mut self.nodes {
                node.disk_works();
                node.turn();
            }
            let post = mem::take(&mut *self.post.lock().unwrap());
            if post.is_empty() && self.nodes.iter().all(|node| node.job.is_none()) {
                return;
            }
            for (from, to, packet) in post {
                match (to, packet) {
                    (Addr::Node(to), packet) => self.node(to).hears(Addr::Node(from), packet),
                    (Addr::Client(client), Packet::Response(response)) => self.answers.push((from, client, response)),
                    _ => panic!("a packet to nowhere"),
                }
            }
        }
    }

    /// Lets time pass in steps of 10 ms.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.time.fetch_add(10_000_000, Ordering::Relaxed);
            self.deliver();
        }
    }

    /// Sends a request to a node and returns the response, if there is one within a second. A write of an AP bucket
    /// uses the dedup window that the node gives it.
    fn ask(&mut self, node: u32, mut body: RequestBody) -> Option<ResponseBody> {
        let answer = self.ask_once(node, body.clone())?;
        if take_window(&mut body, &answer) { self.ask_once(node, body) } else { Some(answer) }
    }

    fn ask_once(&mut self, node: u32, body: RequestBody) -> Option<ResponseBody> {
        self.next += 1;
        let id = self.next;
        let request = Packet::from(Ask::new(id, body));
        self.node(NodeId(node)).hears(Addr::Client(CLIENT), request);
        for _ in 0..100 {
            self.pass(10);
            if let Some(at) = self.answers.iter().position(|(_, _, response)| response.id == id) {
                return Some(self.answers.remove(at).2.body);
            }
        }
        None
    }
}

/// Sets the dedup window of a write to the one that was returned instead of an answer, if there was one.
fn take_window(body: &mut RequestBody, answer: &ResponseBody) -> bool {
    let (
        RequestBody::Ap(ClientRequest::Put { slot, .. }),
        ResponseBody::Ap(ClientReply::UnknownWindow { granted, .. }),
    ) = (body, answer)
    else {
        return false;
    };
    slot.window = *granted;
    true
}

fn ids(nodes: u32) -> Vec<NodeId> {
    (1..=nodes).map(NodeId).collect()
}

/// Buckets where `cart/…` is stored by quorums.
fn carts() -> Buckets {
    Buckets { default: Mode::Cp, named: BTreeMap::from([("cart".to_owned(), Mode::Ap(Policy::default()))]) }
}

fn layout(nodes: u32, buckets: Buckets, groups: u32, voters: u32) -> Layout {
    let members = ids(nodes).into_iter().map(crate::placement::Member::plain).collect();
    Layout::new(members, buckets, groups, voters)
}
