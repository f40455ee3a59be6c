//! A group of nodes in one process, with a minimal driver. The test controls the network, disks and clocks.

use super::oracle::Oracle;
use super::*;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A message in flight.
#[derive(Clone)]
pub struct Packet {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// What survives a crash.
#[derive(Default)]
struct Disk {
    records: Vec<Record>,
    /// Snapshot files. Each contains the index and the digest of the applied state.
    files: BTreeMap<SnapshotMeta, Vec<u8>>,
}

/// A node and its driver.
pub struct Server {
    pub raft: Raft,
    pub up: bool,
    out: Outbox<Raft>,
    disk: Disk,
    /// Written but not durable yet.
    writes: VecDeque<(Ticket, Vec<Record>)>,
    durable: Ticket,
    /// Messages that wait for a ticket.
    held: Vec<(Ticket, Packet)>,
    /// Index and digest of the applied state.
    applied: (Index, u64),
    arriving: Vec<u8>,
    /// This node's clock runs at 1 + `rate` · 10⁻⁶.
    rate: i64,
}

pub struct Cluster {
    pub nodes: BTreeMap<NodeId, Server>,
    pub net: Vec<Packet>,
    pub now: Time,
    pub oracle: Oracle,
    /// Writes become durable at once.
    pub instant_disk: bool,
    /// The next read or write of a snapshot chunk is answered as `Busy`, on whichever node it happens.
    pub busy: bool,
    /// The transcript so far, if one is kept.
    pub transcript: Option<String>,
    seed: u64,
    next_request: RequestId,
}

/// Returns the digest of a history extended by `entry`.
fn digest(before: u64, entry: &Entry) -> u64 {
    let fold = |h: u64, b: u64| (h ^ b).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    entry.command.iter().fold(fold(before, entry.term), |h, b| fold(h, u64::from(*b)))
}

fn file((index, digest): (Index, u64)) -> Vec<u8> {
    [index.to_le_bytes(), digest.to_le_bytes()].concat()
}

fn parse(file: &[u8]) -> (Index, u64) {
    let number = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}

impl Cluster {
    pub fn new(size: u32, seed: u64, configure: impl Fn(&mut Config)) -> Cluster {
        let voters: Vec<NodeId> = (1..=size).map(NodeId).collect();
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            net: Vec::new(),
            now: Time(0),
            oracle: Oracle::default(),
            instant_disk: true,
            busy: false,
            transcript: None,
            seed,
            next_request: 1,
        };
        for &id in &voters {
            let mut config = Config { snapshot_chunk: 7, ..Config::new(id, voters.clone()) };
            configure(&mut config);
            let raft = Raft::new(config, Recovered::default(), Time(0), Rng::new(seed, &id.to_string()));
            let server = Server {
                raft,
                up: true,
                out: Outbox::default(),
                disk: Disk::default(),
                writes: VecDeque::new(),
                durable: Ticket(0),
                held: Vec::new(),
                applied: (0, 0),
                arriving: Vec::new(),
                rate: 0,
            };
            cluster.nodes.insert(id, server);
        }
        cluster
    }

    pub fn set_clock_rate(&mut self, id: NodeId, ppm: i64) {
        self.nodes.get_mut(&id).unwrap().rate = ppm;
    }

    pub fn raft(&self, n: u32) -> &Raft {
        &self.nodes[&id(n)].raft
    }

    /// Adds a line to the transcript.
    pub fn note(&mut self, line: &str) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push_str(line);
            transcript.push('\n');
        }
    }

    fn note_of(&mut self, id: NodeId, what: &str) {
        if self.transcript.is_some() {
            let term = self.nodes[&id].raft.status().soft.term;
            self.note(&format!("{id}@{term} {what}"));
        }
    }

    fn clock(&self, id: NodeId) -> Time {
        let now = self.now.0 as i128;
        Time((now + now * i128::from(self.nodes[&id].rate) / 1_000_000) as u64)
    }

    /// Runs one turn of a driver: an input, a tick if one is due, then the outbox.
    pub fn step(&mut self, id: NodeId, input: Input<Raft>) {
        let now = self.clock(id);
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.up {
            return;
        }
        node.raft.step(now, input, &mut node.out);
        let leads = node.raft.status().soft.role == Role::Leader;
        if leads && node.raft.deadline().is_some_and(|d| d <= now.max(node.raft.now)) {
            node.raft.step(now, Input::Tick, &mut node.out);
        }
        self.drain(id);
    }

    fn drain(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let effects = std::mem::take(&mut node.out.effects);
        let records = node.out.take_records();
        for sent in std::mem::take(&mut node.out.sends) {
            let packet = Packet { from: id, to: sent.to, message: sent.message };
            match sent.after {
                Some(ticket) if ticket > node.durable => node.held.push((ticket, packet)),
                _ => self.net.push(packet),
            }
        }
        for effect in effects {
            self.oracle.see(&self.nodes[&id].raft, &effect);
            if let Some(text) = transcript::effect(&effect) {
                self.note_of(id, &text);
            }
            self.carry_out(id, effect);
        }
        if let Some((ticket, records)) = records {
            if !self.instant_disk {
                let text: Vec<String> = records.iter().map(transcript::record).collect();
                self.note_of(id, &format!("writes {}", text.join(", ")));
            }
            self.nodes.get_mut(&id).unwrap().writes.push_back((ticket, records));
        }
        if self.instant_disk {
            self.sync(id);
        }
    }

    /// Nodes whose writes are not durable yet.
    pub fn writing(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| !node.writes.is_empty()).map(|(id, _)| *id)
    }

    /// Makes everything a node has written durable.
    pub fn sync(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(&(ticket, _)) = node.writes.back() else { return };
        node.disk.records.extend(std::mem::take(&mut node.writes).into_iter().flat_map(|(_, records)| records));
        node.durable = ticket;
        for (_, packet) in node.held.extract_if(.., |(t, _)| *t <= ticket) {
            self.net.push(packet);
        }
        if !self.instant_disk {
            self.note_of(id, "has it durable");
        }
        self.step(id, Input::Persisted(ticket));
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let node = self.nodes.get_mut(&id).unwrap();
        match effect {
            Effect::Commit { first, entries } => {
                assert_eq!(first, node.applied.0 + 1, "an entry was skipped or brought twice");
                for entry in &entries {
                    node.applied = (node.applied.0 + 1, digest(node.applied.1, entry));
                }
            }
            Effect::LoadChunk { to, meta, offset } => {
                let chunk = node.raft.config().snapshot_chunk;
                let file = node.disk.files.get(&meta).and_then(|file| file.get(offset as usize..));
                let loaded = match file {
                    _ if std::mem::take(&mut self.busy) => Loaded::Busy,
                    None => Loaded::Gone,
                    Some(rest) => {
                        let len = rest.len().min(chunk);
                        Loaded::Piece(Bytes::copy_from_slice(&rest[..len]), len == rest.len())
                    }
                };
                self.step(id, Input::Request(Request::ChunkLoaded { to, meta, offset, loaded }));
            }
            Effect::SaveChunk { from, meta, offset, data, last } => {
                let saved = if std::mem::take(&mut self.busy) {
                    Saved::Busy
                } else {
                    node.arriving.truncate(offset as usize);
                    node.arriving.extend_from_slice(&data);
                    if last {
                        node.disk.files.insert(meta, node.arriving.clone());
                    }
                    if last { Saved::Complete } else { Saved::Next(node.arriving.len() as u64) }
                };
                self.step(id, Input::Request(Request::ChunkSaved { from, meta, saved }));
            }
            Effect::Restore { meta } => {
                node.applied = parse(&node.disk.files[&meta]);
                assert_eq!(node.applied.0, meta.index);
            }
            _ => {}
        }
    }

    pub fn request(&mut self, id: NodeId, request: impl FnOnce(RequestId) -> Request) -> RequestId {
        let number = self.next_request;
        self.next_request += 1;
        let request = request(number);
        if matches!(request, Request::Read { .. }) {
            self.oracle.asked(number);
        }
        self.step(id, Input::Request(request));
        number
    }

    /// Writes a snapshot of the node's state and compacts its log.
    pub fn compact(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let index = node.applied.0;
        let Some(term) = node.raft.term_at(index).filter(|_| node.up && index > 0) else { return };
        let meta = SnapshotMeta { index, term };
        node.disk.files.insert(meta, file(node.applied));
        self.step(id, Input::Request(Request::Compact { meta }));
    }

    /// Starts a new log segment on disk from the records that the core restates.
    pub fn checkpoint(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        if node.up && node.writes.is_empty() && !node.out.has_records() {
            node.disk.records = node.raft.state_records();
        }
    }

    /// Stops a node. Of the records that were written but not durable, the first `lucky` survive.
    pub fn crash(&mut self, id: NodeId, lucky: usize) {
        self.note_of(id, "crashes");
        let node = self.nodes.get_mut(&id).unwrap();
        let written = std::mem::take(&mut node.writes).into_iter().flat_map(|(_, records)| records);
        node.disk.records.extend(written.take(lucky));
        node.held.clear();
        node.up = false;
    }

    /// Restarts a node from its disk.
    pub fn restart(&mut self, id: NodeId) {
        let now = self.clock(id);
        let node = self.nodes.get_mut(&id).unwrap();
        let mut recovered = Recovered::default();
        for record in &node.disk.records {
            recovered.replay(record.clone()).expect("a node's own records");
        }
        node.applied = match recovered.snapshot {
            SnapshotMeta { index: 0, .. } => (0, 0),
            meta => parse(&node.disk.files[&meta]),
        };
        self.seed += 1;
        let rng = Rng::new(self.seed, &id.to_string());
        node.raft = Raft::new(node.raft.config().clone(), recovered, now, rng);
        (node.out, node.durable, node.up) = (Outbox::default(), Ticket(0), true);
        node.arriving.clear();
        self.note_of(id, "restarts");
    }

    /// Puts `recovered` on the node's disk and restarts the node from it.
    pub fn start_with(&mut self, id: NodeId, recovered: Recovered) {
        let node = self.nodes.get_mut(&id).unwrap();
        let config = node.raft.config().clone();
        node.disk.records = Raft::new(config, recovered, Time(0), Rng::new(0, "")).state_records();
        self.restart(id);
    }

    /// Advances time without waking any node.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    /// Wakes the nodes whose deadline has passed.
    pub fn wake(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&id].raft.deadline().is_some_and(|d| d <= self.clock(id)) {
                self.step(id, Input::Tick);
            }
        }
    }

    /// Delivers a message.
    pub fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, message } = packet;
        if self.nodes[&to].up {
            if self.transcript.is_some() {
                self.note(&format!("{from}@{} → {to} {}", message.term, transcript::body(&message.body)));
            }
            self.step(to, Input::Message(from, message));
        }
    }

    pub fn check_logs(&self) {
        self.oracle.check_matching(&self.nodes.values().map(|n| &n.raft));
        let mut applied: Vec<_> = self.nodes.values().filter(|n| n.up).map(|n| n.applied).collect();
        applied.sort_unstable();
        assert!(applied.windows(2).all(|w| w[0].0 < w[1].0 || w[0] == w[1]), "applied states differ");
    }
}
