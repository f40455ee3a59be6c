//! Node identity: lets peers detect that a node has lost data. Pure ([`Protocol`]).
//!
//! A node cannot tell that its disk was replaced, or that an old copy of its data directory was restored. Its peers
//! can. Each data directory has a random number, drawn when it is created. Each start of a process has another, its
//! *incarnation*. And the log numbers its batches. A node greets its peers with all three. A peer durably records the
//! directory of each node and how far that node has claimed its log to be durable. It *objects* to a node that returns
//! with another directory or with a shorter log. A node with an objection has *lost data*: it may have forgotten what
//! it promised to others. It records this durably, tells its peers, and no longer votes, acknowledges, leads or counts
//! in Raft groups. For AP buckets its peers refill it.
//!
//! A node is *starting* until enough peers have answered without an objection:
//! - With a directory that has been a member's: half of the peers, rounded up. With the node itself they are a
//!   majority, without which no Raft group could make progress anyway. It also stops waiting when its patience ends, so
//!   that the remaining nodes can serve AP buckets.
//! - With a directory that has never been a member's: the same number, without a time limit. Its peers answer only when
//!   they have recorded the new directory.
//!
//! # Invariants
//! - A peer accepts nothing from a process that it has not judged or objects to, unless the process itself says that it
//!   has lost data ([`Identity::accepts`]). So a node's promise to a peer that knows of its loss never counts.
//! - What a member claims to be durable is found by its next start, unless data was lost.
//! - An objection applies to one incarnation, so that a late one does not harm a later process.
//!
//! # Caveats
//! A loss that no reachable peer knows of cannot be detected. If a node lost its disk, and its peers start for the
//! first time or were cut off since the node's directory was created, they look like a new cluster. A peer knows the
//! length of a node's log only as it was told last: with every packet, and within three seconds. If a node continued
//! after its patience ended, and restarts before it reaches a peer that knows better, its log has grown meanwhile and
//! the loss may go undetected. Peers are trusted; authenticating them is the transport's task.

#[cfg(test)]
mod tests;

use crate::mutant::{Bug, Mutant};
use crate::protocol::{Input, Outbox, Protocol, Ticket};
use crate::raft::{Index, Term};
use crate::types::{GroupId, NodeId, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Time between claims to peers, and between records of what peers claim.
const CLAIMS: Duration = Duration::from_secs(1);
/// Time after which an unchanged claim is repeated, in case it was lost.
const REPEATED: Duration = Duration::from_secs(10);

/// How a node takes part in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// Its peers have not confirmed yet that it has all its data.
    Starting,
    /// It takes part fully.
    Member,
    /// It has lost data. It takes part in no Raft group, and in AP buckets once it is refilled ([`crate::dynamo`]).
    Lost,
}

/// What a node says about itself in everything it sends to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The process.
    pub incarnation: u64,
    /// The last batch of its log that its next start is sure to find.
    pub durable: u64,
}

/// The message that nodes exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// The sender's data directory.
    pub directory: u64,
    /// The sender's process and log.
    pub origin: Origin,
    /// The last batch that the process found in its log when it started.
    pub found: u64,
    /// The sender's standing.
    pub standing: Standing,
    /// Whether the sender asks for an answer: the receiver has not answered this process yet.
    pub asks: bool,
    /// The sender's verdict on the latest process of the receiver that it has heard of.
    pub answer: Option<Answer>,
}

/// A node's verdict on a process of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The incarnation of that process.
    pub to: u64,
    /// Why the process cannot have all its node's data, if so.
    pub objection: Option<Objection>,
}

/// Why a process cannot have all its node's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Objection {
    /// The node had this data directory.
    Directory(u64),
    /// The node's log was durable up to this batch.
    Batch(u64),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objection::Directory(directory) => write!(f, "knows it under another data directory, {directory:016x}"),
            Objection::Batch(batch) => write!(f, "knows that its log was durable up to batch {batch}"),
        }
    }
}

/// Which of a peer's messages are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// None: the peer's process has not been judged, or there is an objection to it.
    Nothing,
    /// Messages about AP buckets only: the process says that it has lost data, and is refilled there.
    Quorums,
    /// All.
    All,
}

/// A durable record of this core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A process starts.
    Start {
        /// Its incarnation, drawn at random.
        incarnation: u64,
        /// The last batch that it found, or that an earlier process found that was never a member.
        found: u64,
    },
    /// The node becomes a member.
    Member,
    /// The node has lost data.
    Lost,
    /// A peer's data directory, and how far its log was claimed to be durable.
    Peer(NodeId, Known),
    /// A leader contradicted an entry that is committed here: the node must stop.
    Contradiction(Contradiction),
}

/// What is recorded about a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its data directory.
    pub directory: u64,
    /// The incarnation of its latest process without an objection.
    pub incarnation: u64,
    /// The last batch that its log was claimed to hold durably.
    pub batch: u64,
}

/// A leader sent an entry that conflicts with a committed entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contradiction {
    /// The group.
    pub group: GroupId,
    /// The leader that sent it.
    pub from: NodeId,
    /// The index of the entry.
    pub index: Index,
    /// The term of the entry committed here.
    pub committed: Term,
    /// The term of the entry sent.
    pub sent: Term,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contradiction { group, from, index, committed, sent } = self;
        let group = group.0;
        write!(
            f,
            "{from}, which leads group {group}, sends entry {index} of term {sent}; here it is committed of term {committed}"
        )
    }
}

/// The state recovered from the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The data directory's number.
    pub directory: u64,
    /// The incarnation of the latest process; 0 if there was none.
    pub incarnation: u64,
    /// The last batch that it found, or that an earlier process found that was never a member.
    pub found: u64,
    /// Whether that process was a member or had lost data.
    pub settled: bool,
    /// The recorded standing of the node; `None` if it was never a member.
    pub standing: Option<Standing>,
    /// What is recorded about peers.
    pub peers: BTreeMap<NodeId, Known>,
    /// Why the node must not continue.
    pub contradiction: Option<Contradiction>,
}

impl Recovered {
    /// Applies a record of the log. Must be called in log order.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::Start { incarnation, found } => {
                (self.incarnation, self.found, self.settled) = (incarnation, found, false);
            }
            Record::Member => (self.standing, self.settled) = (Some(Standing::Member), true),
            Record::Lost => (self.standing, self.settled) = (Some(Standing::Lost), true),
            Record::Peer(node, known) => drop(self.peers.insert(node, known)),
            Record::Contradiction(found) => self.contradiction = Some(found),
        }
    }

    /// Returns the start record of the next process, which has found the log to end with `batch`.
    #[must_use]
    pub fn start(&self, incarnation: u64, batch: u64) -> Record {
        let found = if self.settled || self.incarnation == 0 { batch } else { self.found };
        Record::Start { incarnation, found }
    }
}

/// Configuration of the core.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The nodes of the cluster. This node may be among them.
    pub peers: Vec<NodeId>,
    /// How long a node that has been a member waits for its peers.
    pub patience: Duration,
    /// Time before peers are asked again.
    pub beat: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

/// A request from the driver: the log is durable up to this batch.
#[derive(Debug)]
pub struct Durable(pub u64);

/// An effect for the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The node is a member from now on. True if its peers have confirmed it, false if its patience ended.
    Member(bool),
    /// The node has lost data, according to a peer and its objection.
    Lost(NodeId, Objection),
}

#[derive(Debug, Default)]
struct Peer {
    known: Option<Known>,
    /// The batch in the latest record about this peer.
    recorded: u64,
    /// The latest process that greeted, and the objection to it.
    heard: Option<(u64, Option<Objection>)>,
    /// The incarnation of its latest process that said that it has lost data.
    lost: Option<u64>,
    /// Whether it has answered this process.
    answered: bool,
    /// When it was last asked for its identity.
    asked: Option<Time>,
    /// When it was last sent a packet, which also carried a claim.
    sent: Option<Time>,
    /// When it was last greeted, and the claim in that greeting.
    greeted: Option<(Time, u64)>,
}

impl Peer {
    /// Returns whether it must be greeted: it was sent no claim for a while, and the last greeting's claim is outdated
    /// or may have been lost.
    fn is_due(&self, now: Time, durable: u64) -> bool {
        let long_ago = |at: Time, pause| at + pause <= now;
        let sent = self.sent.is_some_and(|at| !long_ago(at, CLAIMS));
        let knows = |(at, claimed)| claimed == durable && !long_ago(at, REPEATED);
        !sent && !self.greeted.is_some_and(knows)
    }
}

/// The standing of one node, and what it knows about its peers.
#[derive(Debug)]
pub struct Identity {
    config: Config,
    now: Time,
    directory: u64,
    incarnation: u64,
    found: u64,
    durable: u64,
    standing: Standing,
    /// Whether the record of this process's membership is durable.
    settled: bool,
    member: Option<Ticket>,
    /// The latest ticket that is not durable yet.
    undurable: Option<Ticket>,
    /// When the node becomes a member without confirmation.
    patience_ends: Option<Time>,
    peers: BTreeMap<NodeId, Peer>,
    /// When to greet again.
    round: Time,
    /// When claims were last recorded.
    noted: Time,
}

impl Identity {
    /// Creates the core of a node that finds `recovered`, including the start of this process, on its disk at `now`.
    #[must_use]
    pub fn new(config: Config, recovered: Recovered, now: Time) -> Identity {
        let Recovered { directory, incarnation, found, standing, peers: known, .. } = recovered;
        let known = |node: &NodeId| known.get(node).copied().filter(|_| !config.mutant.is(Bug::PeersForget));
        let peer = |node: NodeId| {
            let known = known(&node);
            (node, Peer { known, recorded: known.map_or(0, |known| known.batch), ..Peer::default() })
        };
        let peers = config.peers.iter().copied().filter(|node| *node != config.id).map(peer).collect();
        Identity {
            now,
            directory,
            incarnation,
            found,
            durable: found,
            standing: if standing == Some(Standing::Lost) { Standing::Lost } else { Standing::Starting },
            settled: false,
            member: None,
            undurable: None,
            patience_ends: standing.map(|_| now + config.patience),
            peers,
            round: now,
            noted: now,
            config,
        }
    }

    /// Returns how this node takes part.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Returns what is sent with every packet to a peer.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { incarnation: self.incarnation, durable: if self.settled { self.durable } else { self.found } }
    }

    /// Returns which messages of a peer's process are accepted, and notes its claim. Asks an unknown process for its
    /// identity.
    pub fn accepts(&mut self, from: NodeId, origin: Origin, out: &mut Outbox<Identity>) -> Accepted {
        let (now, beat) = (self.now, self.config.beat);
        let Some(peer) = self.peers.get_mut(&from) else { return Accepted::Nothing };
        if peer.lost == Some(origin.incarnation) {
            let counts = self.config.mutant.is(Bug::AmnesiacCounts);
            return if counts { Accepted::All } else { Accepted::Quorums };
        }
        if let Some(known) = peer.known.as_mut().filter(|known| known.incarnation == origin.incarnation) {
            known.batch = known.batch.max(origin.durable);
            return Accepted::All;
        }
        let judged = peer.heard.is_some_and(|(process, _)| process == origin.incarnation);
        if !judged && peer.asked.is_none_or(|asked| asked + beat <= now) {
            peer.asked = Some(now);
            self.greet(from, true, out);
        }
        Accepted::Nothing
    }

    /// Returns the claims of peers since they were last recorded, to be written with the next batch. Returns them at
    /// most once a second.
    pub fn claims(&mut self) -> Vec<Record> {
        if self.now < self.noted + CLAIMS {
            return Vec::new();
        }
        self.noted = self.now;
        let news = self.peers.iter_mut().filter_map(|(node, peer)| {
            let known = peer.known.filter(|known| known.batch > peer.recorded)?;
            peer.recorded = known.batch;
            Some(Record::Peer(*node, known))
        });
        news.collect()
    }

    /// Returns the records that a checkpoint must restate.
    #[must_use]
    pub fn state_records(&self) -> Vec<Record> {
        let start = Record::Start { incarnation: self.incarnation, found: self.found };
        let standing = match self.standing {
            Standing::Starting => None,
            Standing::Member => Some(Record::Member),
            Standing::Lost => Some(Record::Lost),
        };
        let peers = self.peers.iter().filter_map(|(node, peer)| Some(Record::Peer(*node, peer.known?)));
        std::iter::once(start).chain(standing).chain(peers).collect()
    }

    fn persist(&mut self, record: Record, out: &mut Outbox<Identity>) -> Ticket {
        let ticket = out.persist(record);
        self.undurable = Some(ticket);
        ticket
    }

    /// Records that a packet was sent to a peer at that time.
    pub fn sent(&mut self, to: NodeId, at: Time) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.sent = peer.sent.max(Some(at));
        }
    }

    fn greet(&mut self, to: NodeId, asks: bool, out: &mut Outbox<Identity>) {
        let origin = self.origin();
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.greeted = Some((self.now, origin.durable));
        let greeting = Greeting {
            directory: self.directory,
            origin,
            found: self.found,
            standing: self.standing,
            asks,
            answer: peer.heard.map(|(process, objection)| Answer { to: process, objection }),
        };
        // Wait for the disk: a peer that gets an answer relies on its directory being recorded here.
        out.send_after(self.undurable, to, greeting);
    }

    fn hear(&mut self, from: NodeId, greeting: &Greeting, out: &mut Outbox<Identity>) {
        if !self.peers.contains_key(&from) {
            return;
        }
        self.judge(from, greeting, out);
        if let Some(answer) = greeting.answer.filter(|answer| answer.to == self.incarnation) {
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.answered = true;
            }
            match answer.objection {
                Some(objection) => self.lose(from, objection, out),
                None => self.confirm(out),
            }
        }
        if greeting.asks {
            let asks = self.peers.get(&from).is_some_and(|peer| !peer.answered);
            self.greet(from, asks, out);
        }
    }

    /// Compares what a process says about itself with what is known about its node.
    fn judge(&mut self, from: NodeId, greeting: &Greeting, out: &mut Outbox<Identity>) {
        let Greeting { directory, origin, found, standing, .. } = *greeting;
        let mutant = self.config.mutant;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if standing == Standing::Lost {
            peer.lost = Some(origin.incarnation);
        }
        let objection = match peer.known {
            Some(known) if known.incarnation == origin.incarnation => None,
            Some(known) if known.directory != directory && !mutant.is(Bug::AmnesiacVotes) => {
                Some(Objection::Directory(known.directory))
            }
            Some(known)
                if known.directory == directory && found < known.batch && !mutant.is(Bug::RollbackUnnoticed) =>
            {
                Some(Objection::Batch(known.batch))
            }
            _ => None,
        };
        peer.heard = Some((origin.incarnation, objection));
        if objection.is_some() {
            return;
        }
        let before = peer.known.filter(|known| known.directory == directory);
        let batch = before.map_or(0, |known| known.batch).max(origin.durable);
        let known = Known { directory, incarnation: origin.incarnation, batch };
        peer.known = Some(known);
        if before.is_none() {
            peer.recorded = known.batch;
            self.persist(Record::Peer(from, known), out);
        }
    }

    /// Handles a peer's objection: this node has lost data.
    fn lose(&mut self, from: NodeId, objection: Objection, out: &mut Outbox<Identity>) {
        if self.standing == Standing::Lost {
            return;
        }
        self.standing = Standing::Lost;
        self.persist(Record::Lost, out);
        out.effect(Effect::Lost(from, objection));
        self.round = self.now;
    }

    /// Becomes a member if enough peers have answered or patience has ended.
    fn confirm(&mut self, out: &mut Outbox<Identity>) {
        let answers = self.peers.values().filter(|peer| peer.answered).count();
        let enough = answers >= self.peers.len().div_ceil(2);
        let waited = self.patience_ends.is_some_and(|end| end <= self.now);
        if self.standing == Standing::Starting && (enough || waited) {
            self.standing = Standing::Member;
            self.member = Some(self.persist(Record::Member, out));
            out.effect(Effect::Member(enough));
        }
    }

    fn tick(&mut self, out: &mut Outbox<Identity>) {
        self.confirm(out);
        if self.round > self.now {
            return;
        }
        let (now, standing, durable) = (self.now, self.standing, self.origin().durable);
        self.round = now + if standing == Standing::Starting { self.config.beat } else { CLAIMS };
        let due = |(node, peer): (&NodeId, &Peer)| {
            let due = match standing {
                Standing::Starting => false,
                Standing::Member => peer.is_due(now, durable),
                Standing::Lost => true,
            };
            (due || !peer.answered).then_some((*node, !peer.answered))
        };
        for (node, asks) in self.peers.iter().filter_map(due).collect::<Vec<_>>() {
            self.greet(node, asks, out);
        }
    }
}

impl Protocol for Identity {
    type Message = Greeting;
    type Record = Record;
    type Request = Durable;
    type Effect = Effect;

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => self.tick(out),
            Input::Message(from, greeting) => self.hear(from, &greeting, out),
            Input::Request(Durable(batch)) => self.durable = self.durable.max(batch),
            Input::Persisted(ticket) => {
                self.undurable = self.undurable.filter(|last| *last > ticket);
                self.settled |= self.member.is_some_and(|member| member <= ticket);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let patience = self.patience_ends.filter(|_| self.standing == Standing::Starting);
        Some(patience.map_or(self.round, |end| end.min(self.round)))
    }
}
