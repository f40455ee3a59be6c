//! Tests with nodes that start, stop, lose and mix up their directories, on a simulated network.

use super::*;
use crate::types::Rng;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const PATIENCE: Duration = Duration::from_millis(500);

/// The durable state of a node.
#[derive(Clone, Default)]
struct Directory {
    number: u64,
    records: Vec<Record>,
    batches: u64,
}

impl Directory {
    fn recovered(&self) -> Recovered {
        let mut recovered = Recovered { directory: self.number, ..Recovered::default() };
        self.records.iter().for_each(|record| recovered.replay(*record));
        recovered
    }
}

struct Node {
    core: Identity,
    out: Outbox<Identity>,
    directory: Directory,
    /// Greetings that wait for the disk.
    held: Vec<(Ticket, NodeId, Greeting)>,
    durable: Ticket,
    effects: Vec<Effect>,
}

/// A packet: a greeting, or only the origin that goes with another packet.
type Mail = (NodeId, NodeId, Result<Greeting, Origin>);

struct Town {
    nodes: BTreeMap<NodeId, Node>,
    mail: Vec<Mail>,
    now: Time,
    rng: Rng,
    all: Vec<NodeId>,
    mutant: Mutant,
}

impl Town {
    fn new(nodes: u32) -> Town {
        let all = (1..=nodes).map(NodeId).collect();
        let (nodes, mail) = (BTreeMap::new(), Vec::new());
        Town { nodes, mail, now: Time(0), rng: Rng::new(7, "identity"), all, mutant: Mutant::default() }
    }

    /// Starts a process on a directory, as the storage does.
    fn start(&mut self, id: NodeId, mut directory: Directory) {
        if directory.number == 0 {
            directory.number = self.rng.next();
        }
        let start = directory.recovered().start(self.rng.next(), directory.batches);
        directory.records.push(start);
        directory.batches += 1;
        let config = Config {
            id,
            peers: self.all.clone(),
            patience: PATIENCE,
            beat: Duration::from_millis(100),
            mutant: self.mutant,
        };
        let core = Identity::new(config, directory.recovered(), self.now);
        let (out, held) = (Outbox::default(), Vec::new());
        self.nodes.insert(id, Node { core, out, directory, held, durable: Ticket(0), effects: Vec::new() });
    }

    fn stop(&mut self, id: NodeId) -> Directory {
        self.nodes.remove(&id).expect("it runs").directory
    }

    fn step(&mut self, id: NodeId, input: Input<Identity>) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.core.step(now, input, &mut node.out);
        }
        self.settle(id);
    }

    fn settle(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.effects.append(&mut node.out.effects);
        for sent in node.out.sends.drain(..) {
            match sent.after.filter(|after| *after > node.durable) {
                Some(after) => node.held.push((after, sent.to, sent.message)),
                None => self.mail.push((id, sent.to, Ok(sent.message))),
            }
        }
    }

    /// Writes what waits for the disk; with `work`, writes a batch in any case.
    fn write(&mut self, id: NodeId, work: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let taken = node.out.take_records();
        if taken.is_none() && !work {
            return;
        }
        if let Some((_, records)) = &taken {
            node.directory.records.extend(records);
        }
        node.directory.records.extend(node.core.claims());
        node.directory.batches += 1;
        let batch = node.directory.batches;
        if let Some((ticket, _)) = taken {
            node.durable = ticket;
            let (leave, stay) = std::mem::take(&mut node.held).into_iter().partition(|(after, ..)| *after <= ticket);
            node.held = stay;
            let leave: Vec<(Ticket, NodeId, Greeting)> = leave;
            self.mail.extend(leave.into_iter().map(|(_, to, greeting)| (id, to, Ok(greeting))));
        }
        self.step(id, Input::Request(Durable(batch)));
        if let Some((ticket, _)) = taken {
            self.step(id, Input::Persisted(ticket));
        }
    }

    fn deliver(&mut self, (from, to, what): Mail) -> bool {
        match what {
            Ok(greeting) => self.step(to, Input::Message(from, greeting)),
            Err(origin) => {
                let Some(node) = self.nodes.get_mut(&to) else { return false };
                let taken = node.core.accepts(from, origin, &mut node.out) == Accepted::All;
                self.settle(to);
                return taken;
            }
        }
        true
    }

    /// Returns whether `to` accepts what the current process of `from` sends.
    fn takes(&mut self, from: NodeId, to: NodeId) -> bool {
        let origin = self.nodes[&from].core.origin();
        self.deliver((from, to, Err(origin)))
    }

    /// Lets time pass in steps of 50 ms. Messages arrive at once.
    fn pass(&mut self, millis: u64) {
        for _ in 0..=millis / 50 {
            for id in self.all.clone() {
                let due = self.nodes.get(&id).and_then(|node| node.core.deadline()).is_some_and(|at| at <= self.now);
                if due {
                    self.step(id, Input::Tick);
                }
            }
            while !self.mail.is_empty() || self.nodes.values().any(|node| node.out.has_records()) {
                for id in self.all.clone() {
                    self.write(id, false);
                }
                for mail in std::mem::take(&mut self.mail) {
                    self.deliver(mail);
                }
            }
            self.now = self.now + Duration::from_millis(50);
        }
    }

    fn standing(&self, id: NodeId) -> Standing {
        self.nodes[&id].core.standing()
    }

    /// Creates three members, each with some batches that the others know of.
    fn of_three() -> Town {
        let mut town = Town::new(3);
        for id in [N1, N2, N3] {
            town.start(id, Directory::default());
        }
        town.pass(200);
        for id in [N1, N2, N3] {
            (0..5).for_each(|_| town.write(id, true));
            assert_eq!(town.standing(id), Standing::Member);
        }
        town.pass(2000);
        town
    }
}

#[test]
fn a_new_cluster_begins_when_a_majority_is_up() {
    let mut town = Town::new(3);
    town.start(N1, Directory::default());
    town.pass(60_000);
    assert_eq!(town.standing(N1), Standing::Starting, "alone, for however long");
    town.start(N2, Directory::default());
    town.pass(200);
    assert_eq!((town.standing(N1), town.standing(N2)), (Standing::Member, Standing::Member));
    assert!(town.takes(N1, N2) && town.takes(N2, N1));
    town.start(N3, Directory::default());
    assert!(!town.takes(N3, N1), "not judged yet");
    town.pass(200);
    assert_eq!(town.standing(N3), Standing::Member);
    assert!(town.takes(N3, N1));
}

#[test]
fn a_node_alone_needs_nobody() {
    let mut town = Town::new(1);
    town.start(N1, Directory::default());
    town.pass(0);
    assert_eq!(town.nodes[&N1].effects, [Effect::Member(true)]);
}

#[test]
fn a_restart_is_confirmed_by_a_peer_or_by_the_end_of_patience() {
    let mut town = Town::of_three();
    let directory = town.stop(N2);
    town.start(N2, directory);
    assert!(!town.takes(N2, N1), "a new process");
    town.pass(0);
    assert_eq!(town.nodes[&N2].effects, [Effect::Member(true)]);
    assert!(town.takes(N2, N1) && town.takes(N1, N2));

    let directory = town.stop(N2);
    town.stop(N1);
    town.stop(N3);
    town.start(N2, directory);
    town.pass(400);
    assert_eq!(town.standing(N2), Standing::Starting);
    town.pass(200);
    assert_eq!(town.nodes[&N2].effects, [Effect::Member(false)]);
}

#[test]
fn an_empty_directory_is_objected_to_for_good() {
    let mut town = Town::of_three();
    town.stop(N2);
    town.start(N2, Directory::default());
    town.pass(200);
    assert!(matches!(town.nodes[&N2].effects[..], [Effect::Lost(N1 | N3, Objection::Directory(_))]));
    assert!(!town.takes(N2, N1) && !town.takes(N2, N3));
    let directory = town.stop(N2);
    town.stop(N1);
    town.stop(N3);
    town.start(N2, directory);
    town.pass(60_000);
    assert_eq!(town.standing(N2), Standing::Lost, "it remembers");
}

#[test]
fn whoever_has_its_own_directory_again_is_what_it_was() {
    let mut town = Town::of_three();
    let own = town.stop(N2);
    town.start(N2, Directory::default());
    town.pass(200);
    let origin = town.nodes[&N2].core.origin();
    let other = town.nodes.get_mut(&N1).unwrap();
    assert_eq!(other.core.accepts(N2, origin, &mut other.out), Accepted::Quorums, "it says so itself");
    assert_eq!(town.standing(N2), Standing::Lost);
    town.stop(N2);
    town.start(N2, own);
    town.pass(200);
    assert_eq!(town.standing(N2), Standing::Member);
}

#[test]
fn an_old_copy_is_objected_to_however_often_it_starts() {
    let mut town = Town::of_three();
    let mut copy = town.nodes[&N2].directory.clone();
    town.write(N2, true);
    town.pass(1500);
    town.stop(N2);
    for _ in 0..10 {
        // Each start adds a batch, and none of these processes reaches a peer.
        town.start(N2, copy);
        copy = town.stop(N2);
    }
    town.start(N2, copy);
    town.pass(200);
    assert!(matches!(town.nodes[&N2].effects[..], [Effect::Lost(_, Objection::Batch(_))]));
    assert!(!town.takes(N2, N1));
}

#[test]
fn peers_remember_over_a_restart() {
    let mut town = Town::of_three();
    for id in [N1, N3] {
        // The claims of peers are written with the next batch.
        town.write(id, true);
        let directory = town.stop(id);
        town.start(id, directory);
        town.pass(200);
    }
    let copy = Directory { batches: 2, ..town.stop(N2) };
    town.start(N2, copy);
    town.pass(200);
    assert_eq!(town.standing(N2), Standing::Lost);
    town.stop(N2);
    town.start(N2, Directory::default());
    town.pass(200);
    assert_eq!(town.standing(N2), Standing::Lost);
}

/// Returns the greetings that a node sends within `millis`, in which it sends `busy` a packet every 50 ms.
fn greetings(town: &mut Town, from: NodeId, busy: Option<NodeId>, millis: u64) -> Vec<NodeId> {
    let mut greeted = Vec::new();
    for _ in 0..millis / 50 {
        town.now = town.now + Duration::from_millis(50);
        let now = town.now;
        if let (Some(to), Some(node)) = (busy, town.nodes.get_mut(&from)) {
            node.core.sent(to, now);
        }
        town.step(from, Input::Tick);
        greeted.extend(std::mem::take(&mut town.mail).into_iter().map(|(_, to, _)| to));
    }
    greeted
}

#[test]
fn greetings_say_what_no_packet_has_said() {
    let mut town = Town::of_three();
    town.write(N1, true);
    assert_eq!(greetings(&mut town, N1, None, 2_000), [N2, N3]);
    assert_eq!(greetings(&mut town, N1, None, 8_000), [], "all is said");
    assert_eq!(greetings(&mut town, N1, None, 3_000), [N2, N3], "but it may not have arrived");
    town.write(N1, true);
    assert_eq!(greetings(&mut town, N1, Some(N2), 2_000), [N3], "packets say it too");
    town.write(N1, true);
    let mut greeted = greetings(&mut town, N1, None, 3_000);
    greeted.sort_unstable();
    assert_eq!(greeted, [N2, N3], "when it is due for each");
    town.stop(N2);
    town.start(N2, Directory::default());
    town.pass(200);
    assert_eq!(town.standing(N2), Standing::Lost);
    town.pass(0);
    assert_eq!(greetings(&mut town, N2, Some(N1), 3_000).len(), 6, "who has lost data says so every second");
}

#[test]
fn state_records_restate() {
    let town = Town::of_three();
    let core = &town.nodes[&N2].core;
    let mut restated = Recovered { directory: core.directory, ..Recovered::default() };
    core.state_records().into_iter().for_each(|record| restated.replay(record));
    let mut held = town.nodes[&N2].directory.recovered();
    held.peers.iter_mut().for_each(|(node, known)| known.batch = restated.peers[node].batch);
    assert_eq!(restated, held);
}

/// An honest node is never taken for one that lost data, whatever packets are delayed, repeated or lost, and whichever
/// nodes restart.
#[test]
fn an_honest_node_is_never_objected_to() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed, "honest");
        let mut town = Town::new(3);
        town.rng = Rng::new(seed, "town");
        for id in [N1, N2, N3] {
            town.start(id, Directory::default());
        }
        let mut members = 0;
        for _ in 0..600 {
            let id = NodeId(rng.between(1, 3) as u32);
            match rng.below(20) {
                0 => {
                    let directory = town.stop(id);
                    town.start(id, directory);
                }
                1..=3 => {
                    town.now = town.now + Duration::from_millis(rng.below(300));
                    town.step(id, Input::Tick);
                }
                4..=7 => {
                    let member = town.standing(id) == Standing::Member;
                    town.write(id, member);
                    members += u32::from(member);
                }
                8..=9 => {
                    let to = NodeId(rng.between(1, 3) as u32);
                    let origin = town.nodes[&id].core.origin();
                    town.mail.push((id, to, Err(origin)));
                }
                _ if town.mail.is_empty() => {}
                luck => {
                    let at = rng.below(town.mail.len() as u64) as usize;
                    let mail = if luck == 10 { town.mail[at] } else { town.mail.swap_remove(at) };
                    if luck != 11 {
                        town.deliver(mail);
                    }
                }
            }
            for (id, node) in &town.nodes {
                assert_ne!(node.core.standing(), Standing::Lost, "{id} with seed {seed}: {:?}", node.effects);
                let objected = node.core.peers.iter().find(|(_, peer)| {
                    let now = |(process, objection): (u64, Option<Objection>)| objection.is_some() && process != 0;
                    peer.heard.is_some_and(now)
                        && town.all.iter().any(|other| {
                            other != id && Some(town.nodes[other].core.incarnation) == peer.heard.map(|heard| heard.0)
                        })
                });
                assert!(objected.is_none(), "{id} objects to a running process with seed {seed}");
            }
        }
        assert!(members > 0, "seed {seed}: no node ever took part");
    }
}
