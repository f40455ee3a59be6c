//! Random fault schedules ("storms"): loss, repetition, reordering, partitions, crashes that lose what was not durable,
//! a failure detector that errs, wall clocks that differ, directories that come back with less than they had. The
//! oracle checks every answer; then the faults end and all replicas must converge.

use super::super::siblings::{Siblings, WriteId};
use super::cluster::Cluster;
use super::*;
use crate::types::{Level, Policy, Resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the storms did, so that a test can check that enough happened.
#[derive(Default, Debug)]
struct Tally {
    acked: usize,
    read: usize,
    unfinished: usize,
    siblings: usize,
    forgotten: usize,
    notes: BTreeMap<&'static str, usize>,
}

struct Storm {
    cluster: Cluster,
    rng: Rng,
    keys: Vec<Key>,
    /// The last context of each key that each client saw.
    contexts: BTreeMap<(u64, Key), Bytes>,
    /// Requests in progress, with the client's number.
    open: BTreeMap<RequestId, (u64, ClientRequest)>,
    /// Writes that no client has seen acknowledged.
    unsure: Vec<(u64, ClientRequest)>,
    writes: u64,
    /// Directed connections that lose every message.
    cut: BTreeSet<(NodeId, NodeId)>,
    deletes: f64,
    /// The faults that directories may suffer.
    amnesia: Amnesia,
    /// An old copy of each node's directory.
    copies: BTreeMap<NodeId, Recovered>,
    tally: Tally,
}

/// What a node may find on its disk when it restarts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Amnesia {
    /// Everything that was durable.
    None,
    /// Once, everything except the last batch; the node is not told.
    LastBatch,
    /// Sometimes an old copy or nothing, which the node is told. At most one node at a time has lost data.
    Told,
}

const CLIENTS: u64 = 3;

impl Storm {
    fn new(seed: u64, mutant: Mutant) -> Storm {
        let mut rng = Rng::new(seed, "storm");
        let size = *rng.pick(&[3, 4, 5, 5]).unwrap();
        let levels = [(Level::Quorum, Level::Quorum), (Level::One, Level::All), (Level::All, Level::One)];
        let loose = [(Level::One, Level::One), (Level::Quorum, Level::One)];
        let strict = rng.chance(0.5);
        let sloppy = !strict && rng.chance(0.8);
        let (r, w) = if strict || rng.chance(0.3) { *rng.pick(&levels).unwrap() } else { *rng.pick(&loose).unwrap() };
        let resolve = if rng.chance(0.15) { Resolve::LastWriter } else { Resolve::Siblings };
        let policy = Policy { n: 3, r, w, sloppy, resolve };
        let permille = *rng.pick(&[0, 100, 1000]).unwrap();
        let mut cluster = Cluster::new(size, seed, policy, |config| {
            config.mutant = mutant;
            config.repair_permille = permille;
        });
        cluster.instant_disk = rng.chance(0.3);
        cluster.oracle.strict = strict;
        cluster.oracle.keeps_siblings = resolve == Resolve::Siblings;
        for node in cluster.nodes.values_mut() {
            node.skew = rng.below(2_000_000_000) as i64 - 1_000_000_000;
        }
        let keys = (0..2).map(|n| Key::from(format!("k{n}"))).collect();
        let deletes = *rng.pick(&[0.0, 0.0, 0.2]).unwrap();
        // Data that only one server holds is lost with its disk.
        let several = !sloppy && w != Level::One;
        let amnesia = match rng.below(4) {
            0 if several => Amnesia::LastBatch,
            1..3 if several => Amnesia::Told,
            _ => Amnesia::None,
        };
        // A read may miss what a disk has lost silently.
        cluster.oracle.strict &= amnesia != Amnesia::LastBatch;
        Storm {
            cluster,
            rng,
            keys,
            contexts: BTreeMap::new(),
            open: BTreeMap::new(),
            unsure: Vec::new(),
            writes: 0,
            cut: BTreeSet::new(),
            deletes,
            amnesia,
            copies: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    fn someone(&mut self) -> NodeId {
        id(self.rng.between(1, self.cluster.nodes.len() as u64) as u32)
    }

    fn event(&mut self) {
        match self.rng.below(100) {
            0..14 => self.ask(),
            14..17 => self.retry(),
            17..72 => self.deliver(),
            72..84 => {
                let ms = *self.rng.pick(&[1, 5, 20, 60, 200]).unwrap();
                self.cluster.now = self.cluster.now + Duration::from_millis(ms);
                self.cluster.wake();
            }
            84..93 => {
                let writing = self.cluster.writing();
                if let Some(node) = self.rng.pick(&writing) {
                    self.cluster.sync(*node);
                }
            }
            93..95 => {
                let node = self.someone();
                if self.cluster.nodes[&node].up {
                    let lucky = self.rng.below(4) as usize;
                    self.cluster.crash(node, lucky);
                } else {
                    self.restart(node);
                }
            }
            95..98 => {
                // Mostly right, sometimes wrong.
                let (node, by) = (self.someone(), self.someone());
                let up = self.cluster.nodes[&node].up != self.rng.chance(0.2);
                if node != by {
                    self.cluster.step(by, Input::Request(Request::Peer { node, up }));
                }
            }
            _ => {
                let link = (self.someone(), self.someone());
                if !self.cut.remove(&link) && self.cut.len() < 3 {
                    self.cut.insert(link);
                }
            }
        }
        self.hear();
    }

    fn restart(&mut self, node: NodeId) {
        let whole = self.cluster.ids().into_iter().all(|id| !self.cluster.disk(id).rejoining);
        match self.amnesia {
            Amnesia::LastBatch if self.rng.chance(0.3) => {
                self.amnesia = Amnesia::None;
                self.cluster.restart_from(node, self.cluster.disk_before(node), false);
            }
            Amnesia::Told if whole && self.rng.chance(0.8) => {
                self.tally.forgotten += 1;
                let copy = self.copies.get(&node).filter(|_| self.rng.chance(0.5)).cloned().unwrap_or_default();
                self.cluster.restart_from(node, Recovered { rejoining: true, ..copy }, true);
            }
            _ => self.cluster.restart(node),
        }
        if self.rng.chance(0.5) {
            self.copies.insert(node, self.cluster.disk(node));
        }
    }

    fn ask(&mut self) {
        let client = self.rng.below(CLIENTS);
        let key = self.rng.pick(&self.keys).unwrap().clone();
        let deadline_ms = *self.rng.pick(&[50, 300, 1000]).unwrap();
        if self.rng.chance(0.4) {
            return self.send(client, ClientRequest::Get { key, r: None, deadline_ms });
        }
        self.writes += 1;
        let update = match self.rng.chance(self.deletes) {
            true => Update::Delete,
            false => Update::Set(Bytes::from(format!("v{}", self.writes))),
        };
        let blind = self.rng.chance(0.2);
        let context = self.contexts.get(&(client, key.clone())).filter(|_| !blind).cloned().unwrap_or_default();
        let write = WriteId { client, number: self.writes };
        let read_back = self.rng.chance(0.2);
        self.send(
            client,
            ClientRequest::Put {
                slot: Slot { server: NodeId(0), window: 0, number: 0 },
                write,
                key,
                update,
                context,
                w: None,
                sloppy: None,
                deadline_ms,
                read_back,
            },
        );
    }

    fn retry(&mut self) {
        if !self.unsure.is_empty() {
            let at = self.rng.below(self.unsure.len() as u64) as usize;
            let (client, request) = self.unsure[at].clone();
            let node = self.someone();
            if self.cluster.nodes[&node].up {
                let number = self.cluster.send(node, request.clone());
                self.open.insert(number, (client, request));
            }
        }
    }

    fn send(&mut self, client: u64, mut request: ClientRequest) {
        let node = self.someone();
        if self.cluster.nodes[&node].up {
            if let ClientRequest::Put { slot, .. } = &mut request {
                *slot = self.cluster.slot(node);
                self.unsure.push((client, request.clone()));
                self.unsure.drain(..self.unsure.len().saturating_sub(4));
            }
            let number = self.cluster.send(node, request.clone());
            self.open.insert(number, (client, request));
        }
    }

    fn deliver(&mut self) {
        if self.cluster.net.is_empty() {
            return;
        }
        let near = if self.rng.chance(0.7) { 3 } else { u64::MAX };
        let at = self.rng.below(near.min(self.cluster.net.len() as u64)) as usize;
        if self.rng.chance(0.08) {
            let copy = self.cluster.net[at].clone();
            self.cluster.net.push(copy);
        }
        let packet = self.cluster.net.remove(at);
        if !self.cut.contains(&(packet.from, packet.to)) && !self.rng.chance(0.03) {
            self.cluster.deliver(packet);
        }
    }

    /// Clients handle their answers.
    fn hear(&mut self) {
        while let Some((number, reply)) = self.cluster.replies.pop_first() {
            let Some((client, request)) = self.open.remove(&number) else { continue };
            match (&reply, &request) {
                (ClientReply::Value { siblings, context, .. }, _) => {
                    self.contexts.insert((client, request.key().clone()), context.clone());
                    self.tally.siblings += usize::from(siblings.len() > 1);
                    self.tally.read += 1;
                }
                (ClientReply::Unfinished { .. }, _) => self.tally.unfinished += 1,
                _ => {}
            }
            if let (ClientReply::UnknownWindow { .. }, ClientRequest::Put { write, .. }) = (&reply, &request) {
                self.unsure.retain(|(_, r)| !matches!(r, ClientRequest::Put { write: w, .. } if w == write));
            }
            if let (ClientReply::Value { .. } | ClientReply::Done { .. }, ClientRequest::Put { write, .. }) =
                (&reply, &request)
            {
                self.tally.acked += 1;
                self.unsure.retain(|(_, r)| !matches!(r, ClientRequest::Put { write: w, .. } if w == write));
            }
        }
    }

    /// Ends the faults: all nodes are up and see each other, hints are delivered, reads repair the rest, and all
    /// replicas must converge.
    fn calm(mut self) -> Tally {
        self.cut.clear();
        self.cluster.instant_disk = true;
        for node in self.cluster.ids() {
            if self.cluster.nodes[&node].up {
                self.cluster.sync(node);
            } else {
                self.cluster.restart(node);
            }
        }
        for node in self.cluster.ids() {
            self.cluster.believe(node, true);
        }
        // Long enough to resend a hint that was sent to a dead node, and to refill a node that has lost its disk.
        self.cluster.run(6000, |_| false);
        assert!(self.cluster.ids().into_iter().all(|id| !self.cluster.disk(id).rejoining), "a node rejoins for ever");
        for key in self.keys.clone() {
            for node in [1, 2] {
                let get = ClientRequest::Get { key: key.clone(), r: Some(Level::All), deadline_ms: 1000 };
                self.cluster.request(id(node), get);
                self.cluster.run(200, |_| false);
            }
        }
        self.hear();
        for key in &self.keys {
            let order = self.cluster.layout.order(key);
            let states: Vec<_> = order.iter().take(3).map(|node| self.cluster.held(*node, key)).collect();
            // Some nodes may already have forgotten a deleted key, and parts of the version vector that nothing needs.
            let of = |s: &Siblings| s.versions().iter().filter(|_| !s.is_deleted()).cloned().collect::<Vec<_>>();
            assert!(states.iter().all(|s| of(s) == of(&states[0])), "replicas differ in the end: {states:?}");
            // A replica that has nothing needs no tombstone.
            let all = states.iter().fold(Siblings::default(), |mut all, state| {
                all.merge(state, Resolve::Siblings, Mutant::default());
                all
            });
            self.cluster.oracle.in_the_end(key, &all);
        }
        for (_, note) in &self.cluster.notes {
            let name = match note {
                Note::HintStored { .. } => "stored",
                Note::HintHandedOver { .. } => "handed over",
                Note::Repaired { .. } => "repaired",
                Note::Collected { .. } => "collected",
                Note::Rejoined => "rejoined",
                _ => continue,
            };
            *self.tally.notes.entry(name).or_default() += 1;
        }
        self.tally
    }
}

fn storm(seed: u64, mutant: Mutant, events: usize) -> Tally {
    let mut storm = Storm::new(seed, mutant);
    for _ in 0..events {
        storm.event();
    }
    storm.calm()
}

/// Run `STORMS=100000 cargo test --release …` for more.
#[test]
fn storms_break_nothing() {
    let mut total = Tally::default();
    let storms = std::env::var("STORMS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for seed in 0..storms {
        let result = std::panic::catch_unwind(|| storm(seed, Mutant::default(), 400));
        let tally = result.unwrap_or_else(|_| panic!("seed {seed}"));
        total.acked += tally.acked;
        total.read += tally.read;
        total.unfinished += tally.unfinished;
        total.siblings += tally.siblings;
        total.forgotten += tally.forgotten;
        tally.notes.iter().for_each(|(name, n)| *total.notes.entry(name).or_default() += n);
    }
    println!("{total:?}");
    assert!(total.acked > 2_000 && total.read > 1_500 && total.siblings > 500, "a calm, not a storm: {total:?}");
    assert!(total.forgotten > 20, "no directory was lost: {total:?}");
}

/// The oracle detects every planted bug, by the property that it violates.
#[cfg(feature = "mutants")]
#[test]
fn planted_bugs_are_caught() {
    use crate::mutant::Bug;
    std::panic::set_hook(Box::new(|_| {}));
    let cases = [
        (Bug::AckBeforeW, vec!["stale read", "is lost"]),
        (Bug::RepairOlder, vec!["was not shown", "is lost", "stale read", "an invented write"]),
        (Bug::ForwardedTwice, vec!["an invented write"]),
        (Bug::SiblingDropped, vec!["was not shown", "is lost", "stale read"]),
        (Bug::DotNotAdvanced, vec!["two writes of one name", "is lost"]),
        (Bug::DotReused, vec!["two writes of one name", "is lost"]),
    ];
    let caught = cases.map(|(bug, properties)| {
        let found = (0..500).find_map(|seed| {
            let panic = std::panic::catch_unwind(|| storm(seed, Mutant::planted(bug), 400)).err()?;
            let text = panic.downcast::<String>().map_or_else(|_| "?".to_string(), |text| *text);
            Some((seed, text))
        });
        (bug, properties, found)
    });
    let _ = std::panic::take_hook();
    for (bug, _, found) in &caught {
        println!("{bug:?}: {found:?}");
    }
    for (bug, properties, found) in caught {
        let (_, text) = found.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        assert!(properties.iter().any(|p| text.contains(p)), "{bug:?}: {text}");
    }
}
