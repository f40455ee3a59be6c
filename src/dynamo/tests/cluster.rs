//! Several nodes in one process: a minimal driver, with network, disks, clocks and failure detector controlled by the
//! test.

use super::super::siblings::Siblings;
use super::oracle::Oracle;
use super::*;
use crate::placement::{Buckets, Member};
use crate::protocol::Ticket;
use crate::types::{Mode, Policy, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The start of the tests' clocks; transcripts show stamps as nanoseconds from here.
pub const EPOCH: u64 = 1_000_000_000_000;

/// A message in transit.
#[derive(Clone)]
pub struct Packet {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// A node, its driver and its disk.
pub struct Server {
    pub dynamo: Dynamo,
    pub up: bool,
    config: Config,
    out: Outbox<Dynamo>,
    disk: Recovered,
    /// What was on the disk before the last batch.
    before: Recovered,
    /// Writes that are not durable yet.
    pub writes: VecDeque<(Ticket, Vec<Record>)>,
    durable: Ticket,
    /// Messages that wait for a ticket.
    held: Vec<(Ticket, Packet)>,
    /// Error of its wall clock, in nanoseconds.
    pub skew: i64,
}

pub struct Cluster {
    pub nodes: BTreeMap<NodeId, Server>,
    pub layout: Arc<Layout>,
    pub net: Vec<Packet>,
    pub now: Time,
    /// Whether writes become durable at once.
    pub instant_disk: bool,
    /// The transcript so far, if one is recorded.
    pub transcript: Option<String>,
    /// The answer to each request; no request is answered twice.
    pub replies: BTreeMap<RequestId, ClientReply>,
    pub notes: Vec<(NodeId, Note)>,
    pub oracle: Oracle,
    /// Requests in progress.
    asked: BTreeMap<RequestId, ClientRequest>,
    /// The names of keys in the transcript.
    pub names: BTreeMap<Key, String>,
    seed: u64,
    next_request: RequestId,
    /// The clients' dedup window at each node, and the latest number in it.
    windows: BTreeMap<NodeId, (WindowId, u64)>,
}

impl Cluster {
    pub fn new(size: u32, seed: u64, policy: Policy, configure: impl Fn(&mut Config)) -> Cluster {
        let members = (1..=size).map(|n| Member::plain(NodeId(n))).collect();
        Cluster::of(members, seed, policy, configure)
    }

    /// Creates a cluster of nodes located as `members` says.
    pub fn of(members: Vec<Member>, seed: u64, policy: Policy, configure: impl Fn(&mut Config)) -> Cluster {
        let ids: Vec<NodeId> = members.iter().map(|member| member.id).collect();
        let buckets = Buckets { default: Mode::Ap(policy), ..Buckets::default() };
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            layout: Arc::new(Layout::new(members, buckets, 1, u32::MAX)),
            net: Vec::new(),
            now: Time(0),
            instant_disk: true,
            transcript: None,
            replies: BTreeMap::new(),
            notes: Vec::new(),
            oracle: Oracle::default(),
            asked: BTreeMap::new(),
            names: BTreeMap::new(),
            seed,
            next_request: 1,
            windows: BTreeMap::new(),
        };
        for id in ids {
            let mut config = Config { repair_permille: 0, ..Config::new(id) };
            configure(&mut config);
            let dynamo = cluster.start(&config, Recovered::default());
            let server = Server {
                dynamo,
                up: true,
                config,
                out: Outbox::default(),
                disk: Recovered::default(),
                before: Recovered::default(),
                writes: VecDeque::new(),
                durable: Ticket(0),
                held: Vec::new(),
                skew: 0,
            };
            cluster.nodes.insert(id, server);
        }
        // All nodes tell each other that they are up.
        cluster.wake();
        cluster.deliver_unless(|_| false);
        cluster
    }

    fn start(&mut self, config: &Config, recovered: Recovered) -> Dynamo {
        self.seed += 1;
        let rng = Rng::new(self.seed, &config.id.to_string());
        Dynamo::new(config.clone(), self.layout.clone(), recovered, self.now, rng)
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Returns a key whose preference list begins with these nodes, and gives it a name for the transcript.
    pub fn key(&mut self, name: &str, order: &[u32]) -> Key {
        let order: Vec<NodeId> = order.iter().copied().map(NodeId).collect();
        let fits = |key: &Key| self.layout.order(key).starts_with(&order) && !self.names.contains_key(key);
        let key = (0..100_000).map(|n| Key::from(format!("{name}-{n}"))).find(fits).expect("such a key");
        self.names.insert(key.clone(), name.to_owned());
        key
    }

    /// Adds a line to the transcript.
    pub fn note(&mut self, line: &str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push_str(line);
            transcript.push('\n');
        }
    }

    /// One turn of the driver: passes the date and an input, then processes the outbox.
    pub fn step(&mut self, id: NodeId, input: Input<Dynamo>) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.up {
            return;
        }
        let wall = Wall((EPOCH + now.0).saturating_add_signed(node.skew));
        node.dynamo.step(now, Input::Request(Request::Date(wall)), &mut node.out);
        node.dynamo.step(now, input, &mut node.out);
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let effects = std::mem::take(&mut node.out.effects);
        let records = node.out.take_records();
        for sent in std::mem::take(&mut node.out.sends) {
            assert_ne!(sent.to, id, "a message to oneself");
            let packet = Packet { from: id, to: sent.to, message: sent.message };
            match sent.after {
                Some(ticket) if ticket > node.durable => node.held.push((ticket, packet)),
                _ => self.net.push(packet),
            }
        }
        for effect in effects {
            if self.transcript.is_some() {
                let line = transcript::effect(&effect, &self.names);
                self.note(&format!("{id} {line}"));
            }
            match effect {
                Effect::Reply { id: request, reply } => {
                    if let Some(of) = self.asked.remove(&request) {
                        self.oracle.told(request, &of, &reply);
                    }
                    let twice = self.replies.insert(request, reply);
                    assert!(twice.is_none(), "request {request} was answered twice");
                }
                Effect::Note(note) => self.notes.push((id, note)),
            }
        }
        if let Some((ticket, records)) = records {
            if !self.instant_disk && self.transcript.is_some() {
                self.note(&format!("{id} writes {} record(s)", records.len()));
            }
            self.nodes.get_mut(&id).unwrap().writes.push_back((ticket, records));
        }
        if self.instant_disk {
            self.sync(id);
        }
    }

    /// Nodes whose writes are not durable yet.
    pub fn writing(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.writes.is_empty()).map(|(id, _)| *id).collect()
    }

    /// Makes everything that a node has written durable.
    pub fn sync(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(&(ticket, _)) = node.writes.back() else { return };
        node.before = node.disk.clone();
        let written = std::mem::take(&mut node.writes).into_iter().flat_map(|(_, records)| records);
        for record in written {
            self.oracle.writes(&record, &node.disk);
            node.disk.replay(record).expect("a node's own record");
        }
        node.durable = ticket;
        for (_, packet) in node.held.extract_if(.., |(t, _)| *t <= ticket) {
            self.net.push(packet);
        }
        if !self.instant_disk {
            self.note(&format!("{id} has it durable"));
        }
        self.step(id, Input::Persisted(ticket));
    }

    /// The next slot in a dedup window that `server` has granted to the clients.
    pub fn slot(&mut self, server: NodeId) -> Slot {
        if !self.windows.contains_key(&server) {
            let slot = Slot { server, window: 0, number: 1 };
            let key = self.names.keys().next().cloned().unwrap_or_else(|| Key::from_static(b"k"));
            let write = super::super::siblings::WriteId { client: 0, number: 0 };
            let (update, context) = (Update::Delete, Bytes::new());
            let (w, sloppy, deadline_ms, read_back) = (None, None, 1, false);
            let ask = ClientRequest::Put { slot, write, key, update, context, w, sloppy, deadline_ms, read_back };
            let node = self.nodes.get_mut(&server).unwrap();
            let mut out = Outbox::default();
            node.dynamo.step(self.now, Input::Request(Request::Client { id: 0, request: ask }), &mut out);
            let [Effect::Reply { reply: ClientReply::UnknownWindow { refused: 0, granted }, .. }] = out.effects[..]
            else {
                panic!("{:?}", out.effects)
            };
            self.windows.insert(server, (granted, 0));
        }
        let (window, number) = self.windows.get_mut(&server).unwrap();
        *number += 1;
        Slot { server, window: *window, number: *number }
    }

    /// Sends a client's request to a node; a write gets a slot of that node.
    pub fn request(&mut self, to: NodeId, mut request: ClientRequest) -> RequestId {
        if let ClientRequest::Put { slot, .. } = &mut request {
            *slot = self.slot(to);
        }
        self.send(to, request)
    }

    /// Sends a client's request to a node, with the slot it already has.
    pub fn send(&mut self, to: NodeId, request: ClientRequest) -> RequestId {
        let number = self.next_request;
        self.next_request += 1;
        if self.transcript.is_some() {
            let line = transcript::request(&request, &self.names);
            self.note(&format!("c{number} → {to} {line}"));
        }
        self.oracle.asked(number, &request);
        self.asked.insert(number, request.clone());
        self.step(to, Input::Request(Request::Client { id: number, request }));
        number
    }

    /// Sets what all other nodes' failure detectors report about a node.
    pub fn believe(&mut self, node: NodeId, up: bool) {
        self.note(&format!("{node} seems {}", if up { "up" } else { "down" }));
        for id in self.ids() {
            if id != node {
                self.step(id, Input::Request(Request::Peer { node, up }));
            }
        }
    }

    /// Sets what the failure detectors of the nodes in `some` and of all others report about each other.
    pub fn believe_apart(&mut self, some: &[u32], up: bool) {
        let (some, others): (Vec<NodeId>, Vec<NodeId>) = self.ids().into_iter().partition(|id| some.contains(&id.0));
        let list = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ");
        let seem = if up { "up" } else { "down" };
        self.note(&format!("{} and {} seem {seem} to each other", list(&some), list(&others)));
        for (at, node) in some.iter().flat_map(|a| others.iter().flat_map(|b| [(*a, *b), (*b, *a)])) {
            self.step(at, Input::Request(Request::Peer { node, up }));
        }
    }

    /// Crashes a node. Of the writes that are not durable, the first `lucky` records survive.
    pub fn crash(&mut self, id: NodeId, lucky: usize) {
        self.note(&format!("{id} crashes"));
        let node = self.nodes.get_mut(&id).unwrap();
        let written = std::mem::take(&mut node.writes).into_iter().flat_map(|(_, records)| records);
        for record in written.take(lucky) {
            self.oracle.writes(&record, &node.disk);
            node.disk.replay(record).expect("a node's own record");
        }
        node.held.clear();
        node.up = false;
        // What is in transit to a dead process does not reach the next one.
        self.net.retain(|packet| packet.to != id);
    }

    /// The content of a node's disk before the last batch.
    pub fn disk_before(&self, id: NodeId) -> Recovered {
        self.nodes[&id].before.clone()
    }

    /// The content of a node's disk.
    pub fn disk(&self, id: NodeId) -> Recovered {
        self.nodes[&id].disk.clone()
    }

    /// Restarts a node with another disk content; it is told that it has lost data if `told`.
    pub fn restart_from(&mut self, id: NodeId, disk: Recovered, told: bool) {
        self.nodes.get_mut(&id).unwrap().disk = disk;
        self.start_again(id, told);
    }

    /// Restarts a node from its disk; it assumes all others to be up.
    pub fn restart(&mut self, id: NodeId) {
        self.start_again(id, false);
    }

    fn start_again(&mut self, id: NodeId, told: bool) {
        self.note(&format!("{id} restarts"));
        let node = self.nodes.get_mut(&id).unwrap();
        let mut recovered = node.disk.clone();
        recovered.rejoining |= told;
        self.windows.remove(&id);
        let config = node.config.clone();
        let dynamo = self.start(&config, recovered);
        let node = self.nodes.get_mut(&id).unwrap();
        (node.dynamo, node.out, node.durable, node.up) = (dynamo, Outbox::default(), Ticket(0), true);
    }

    /// Advances time by `ms`: wakes nodes when their deadlines are due, and delivers messages as they come.
    pub fn run(&mut self, ms: u64, lost: impl Fn(&Packet) -> bool) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            self.deliver_unless(&lost);
            let due = self.nodes.values().filter(|n| n.up).filter_map(|n| n.dynamo.deadline()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.wake();
        }
        self.now = end;
    }

    /// Wakes the nodes whose deadline has passed.
    pub fn wake(&mut self) {
        for id in self.ids() {
            if self.nodes[&id].dynamo.deadline().is_some_and(|due| due <= self.now) {
                self.step(id, Input::Tick);
            }
        }
    }

    /// Delivers messages, oldest first, until none is left; drops those that `lost` selects.
    pub fn deliver_unless(&mut self, lost: impl Fn(&Packet) -> bool) {
        let mut budget = 100_000;
        while !self.net.is_empty() {
            let packet = self.net.remove(0);
            if !lost(&packet) {
                self.deliver(packet);
            } else if self.transcript.is_some() {
                let line = transcript::message(&packet.message, &self.names);
                self.note(&format!("{} → {} {line}: lost", packet.from, packet.to));
            }
            budget -= 1;
            assert!(budget > 0, "messages without end");
        }
    }

    /// Delivers a message.
    pub fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, message } = packet;
        if self.nodes[&to].up {
            if self.transcript.is_some() {
                let line = transcript::message(&message, &self.names);
                self.note(&format!("{from} → {to} {line}"));
            }
            self.step(to, Input::Message(from, message));
        }
    }

    /// What a node holds of a key as a replica, hints excluded.
    pub fn held(&self, id: NodeId, key: &Key) -> Siblings {
        self.nodes[&id].dynamo.store.holds(key).map(|entry| entry.siblings.clone()).unwrap_or_default()
    }
}
