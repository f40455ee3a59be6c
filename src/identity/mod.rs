//! Whose data a node has, and whether it is all of it: loss of memory, noticed by peers. Pure ([`Protocol`]).
//!
//! A node cannot tell that its disk was replaced, or that an old copy of its data directory was put back; its peers can. Each
//! data directory has a random number, drawn when it is made; each start of a process has another, its *incarnation*; and the
//! log counts its batches. A node greets its peers with all three. A peer remembers, durably, the directory of each node and how
//! far that node has claimed its log to be durable, and *objects* to a node that returns with another directory or with a
//! shorter log. Whoever is objected to has *lost data*: what it has promised to others may be forgotten here. It says so,
//! durably, and neither votes, acknowledges, leads nor counts in Raft groups any more. For AP buckets the others refill it.
//!
//! A node is *starting* until enough peers have answered without an objection:
//! - With a directory that has been a member's: half of the peers, rounded up (with itself they are a majority, without which
//!   no Raft group could go on anyway), or until its patience ends, so that an AP bucket is served by who is left.
//! - With one that has never been: the same number, for however long it takes. Its peers answer only when they have recorded
//!   the new directory.
//!
//! # Invariants
//! - A peer takes nothing from a process that it has not judged, or objects to, unless that says itself that it has lost data
//!   ([`Identity::accepts`]): what a node promises to a peer that knows better never counts.
//! - What a member claims to be durable is found by its next start, unless data was lost.
//! - An objection is about one incarnation, so that a late one harms no later process.
//!
//! # Caveats
//! What no reachable peer knows cannot be noticed. A node that lost its disk, and peers that start for the first time or were
//! cut off since the node's directory was made, look like a new cluster being born. Of how far a log had come, a peer knows
//! what it was told last: with every packet, and within three seconds. A node that went on after its patience had ended, and
//! started again before it met who knew better, has a log that grew meanwhile, and may pass.
//! Peers are believed; that they are peers is the transport's affair.

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

/// Pause between claims to peers, and between records of what peers claim.
const CLAIMS: Duration = Duration::from_secs(1);
/// Pause after which a claim is repeated that says nothing new, in case it was lost.
const REPEATED: Duration = Duration::from_secs(10);

/// How a node takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// Its peers have not confirmed yet that it has all its data.
    Starting,
    /// As a member.
    Member,
    /// It has lost data: in no Raft group; in AP buckets once it is refilled ([`crate::dynamo`]).
    Lost,
}

/// What a node says of itself with everything it sends to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The process.
    pub incarnation: u64,
    /// The last batch of its log that is sure to be found by its next start.
    pub durable: u64,
}

/// What nodes tell each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// The sender's data directory.
    pub directory: u64,
    /// The sender's process and log.
    pub origin: Origin,
    /// The last batch of its log that the process found as it started.
    pub found: u64,
    /// How it takes part.
    pub standing: Standing,
    /// The receiver has not answered this process yet.
    pub asks: bool,
    /// What the sender thinks of the receiver's latest process that it has heard of.
    pub answer: Option<Answer>,
}

/// What a node thinks of a process of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The process.
    pub to: u64,
    /// Why it cannot be what it was.
    pub objection: Option<Objection>,
}

/// Why a node cannot be what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Objection {
    /// It had this data directory.
    Directory(u64),
    /// Its log was durable up to this batch.
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

/// What of a peer's messages is taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// Nothing: it has not been judged, or is objected to.
    Nothing,
    /// It says that it has lost data: what is about AP buckets, where it is refilled.
    Quorums,
    /// All of it.
    All,
}

/// What a node must find again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A process starts.
    Start {
        /// Its number, drawn at random.
        incarnation: u64,
        /// The last batch that it found, or that an earlier process found which was never a member.
        found: u64,
    },
    /// The node takes part from now on.
    Member,
    /// It has lost data.
    Lost,
    /// A peer's data directory and how far its log was claimed to be durable.
    Peer(NodeId, Known),
    /// A leader contradicted what is committed here: the node must not go on.
    Contradiction(Contradiction),
}

/// What is remembered of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its data directory.
    pub directory: u64,
    /// Its latest process that was not objected to.
    pub incarnation: u64,
    /// The last batch of its log that it claimed to be durable.
    pub batch: u64,
}

/// A leader sent an entry that cannot stand where another is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contradiction {
    /// The group.
    pub group: GroupId,
    /// Who sent it.
    pub from: NodeId,
    /// Where in the log.
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

/// What the disk held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// The data directory's number.
    pub directory: u64,
    /// The latest process; 0 for none.
    pub incarnation: u64,
    /// The last batch that it found, or that an earlier process found which was never a member.
    pub found: u64,
    /// That process has been a member.
    pub settled: bool,
    /// What the node is; `None` if it was never a member.
    pub standing: Option<Standing>,
    /// What is known of peers.
    pub peers: BTreeMap<NodeId, Known>,
    /// Why the node must not go on.
    pub contradiction: Option<Contradiction>,
}

impl Recovered {
    /// Takes in a record of the log, in order.
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

    /// The start of the next process, which has found the log to end with `batch`.
    #[must_use]
    pub fn start(&self, incarnation: u64, batch: u64) -> Record {
        let found = if self.settled || self.incarnation == 0 { batch } else { self.found };
        Record::Start { incarnation, found }
    }
}

/// How it is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The others.
    pub peers: Vec<NodeId>,
    /// How long a node that has been a member waits for its peers.
    pub patience: Duration,
    /// Pause before they are asked again.
    pub beat: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

/// What the node itself tells it: the log is durable up to this batch.
#[derive(Debug)]
pub struct Durable(pub u64);

/// What it tells the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The node is a member from now on; whether by its peers' word.
    Member(bool),
    /// The node has lost data, as a peer says.
    Lost(NodeId, Objection),
}

#[derive(Debug, Default)]
struct Peer {
    known: Option<Known>,
    /// The batch that was recorded last.
    recorded: u64,
    /// The latest process that greeted, and what is held against it.
    heard: Option<(u64, Option<Objection>)>,
    /// Its latest process that said that it has lost data.
    lost: Option<u64>,
    /// It has answered this process.
    answered: bool,
    /// When it was last asked who it is.
    asked: Option<Time>,
    /// When it was last sent anything, which had a claim with it.
    sent: Option<Time>,
    /// What the last greeting claimed, and when.
    greeted: Option<(Time, u64)>,
}

impl Peer {
    /// Whether it is to be greeted, for it has not been sent any claim for a while, and what was claimed is no longer all or may
    /// not have arrived.
    fn is_due(&self, now: Time, durable: u64) -> bool {
        let long_ago = |at: Time, pause| at + pause <= now;
        let sent = self.sent.is_some_and(|at| !long_ago(at, CLAIMS));
        let knows = |(at, claimed)| claimed == durable && !long_ago(at, REPEATED);
        !sent && !self.greeted.is_some_and(knows)
    }
}

/// The standing of one node, and what it knows of its peers.
#[derive(Debug)]
pub struct Identity {
    config: Config,
    now: Time,
    directory: u64,
    incarnation: u64,
    found: u64,
    durable: u64,
    standing: Standing,
    /// The record of this process' membership is durable.
    settled: bool,
    member: Option<Ticket>,
    /// The latest ticket.
    undurable: Option<Ticket>,
    /// When the node takes part without having been confirmed.
    patience_ends: Option<Time>,
    peers: BTreeMap<NodeId, Peer>,
    /// When to greet again.
    round: Time,
    /// When claims were last recorded.
    noted: Time,
}

impl Identity {
    /// A node that finds `recovered`, the start of this process included, on its disk at `now`.
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

    /// How this node takes part.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What is said with everything sent to a peer.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { incarnation: self.incarnation, durable: if self.settled { self.durable } else { self.found } }
    }

    /// What of a peer's process is to be taken in; its claim is noted. Who is not known yet is asked.
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

    /// What peers have claimed since it was last recorded, to be written with the next batch; at most once in a while.
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

    /// What a fresh segment of the log must restate.
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

    /// A packet was sent to a peer at that time.
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
        // Whoever is answered may rely on its directory being remembered.
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

    /// Compares what a process says of itself with what is known of its node.
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

    /// A peer knows what is not here.
    fn lose(&mut self, from: NodeId, objection: Objection, out: &mut Outbox<Identity>) {
        if self.standing == Standing::Lost {
            return;
        }
        self.standing = Standing::Lost;
        self.persist(Record::Lost, out);
        out.effect(Effect::Lost(from, objection));
        self.round = self.now;
    }

    /// Takes part if enough peers have answered, or patience has ended.
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
