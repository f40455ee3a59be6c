//! What the AP core says, keeps and asks for: the vocabulary, without behaviour.

use super::crdt;
use super::siblings::{Siblings, Version, WriteId};
use super::version_vector::{Dot, VersionVector};
use crate::mutant::Mutant;
use crate::types::{Bytes, Hlc, Key, Level, NodeId, Value, Wall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Chosen by the node to recognise the answer to a client's request; unique among the node's open ones.
pub type RequestId = u64;
/// Chosen by a coordinator to recognise replies; unique within its process.
pub type OpId = u64;
/// Counts the rounds in which all nodes have seen off what was under way (see `epoch`).
pub type Epoch = u64;

/// A server's permission to ask it for writes, drawn by it; 0: none yet (see `coordinator/windows.rs`).
pub type WindowId = u64;

/// Which request for a write this is: what bears the same place is the same request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// The server that is to see to the write, and no other.
    pub server: NodeId,
    /// A lane that it has given.
    pub window: WindowId,
    /// Which in the lane; later requests have greater numbers.
    pub number: u64,
}

/// What a client asks of a bucket of quorums.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientRequest {
    /// The versions of a key.
    Get {
        /// Which.
        key: Key,
        /// How many replicas to ask; the bucket's R if not said.
        r: Option<Level>,
        /// Milliseconds after which the coordinator gives up.
        deadline_ms: u32,
    },
    /// A write.
    Put {
        /// Who is to see to it. A repeated request has the same place, and is answered as the first was.
        slot: Slot,
        /// Its name; no other write has the same.
        write: WriteId,
        /// Where.
        key: Key,
        /// What.
        update: Update,
        /// What the writer had seen, as a read gave it: that is superseded. Empty: nothing.
        #[serde(deserialize_with = "crate::codec::bytes")]
        context: Bytes,
        /// How many replicas must hold it; the bucket's W if not said.
        w: Option<Level>,
        /// Whether stand-ins count; as the bucket says if not said.
        sloppy: Option<bool>,
        /// Milliseconds after which the coordinator gives up.
        deadline_ms: u32,
        /// Answer with the versions as they are then and a context for the next write.
        read_back: bool,
    },
}

impl ClientRequest {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            ClientRequest::Get { key, .. } | ClientRequest::Put { key, .. } => key,
        }
    }

    /// About how many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        let ClientRequest::Put { key, update, context, .. } = self else { return self.key().len() };
        let update = match update {
            Update::Set(value) => value.len(),
            Update::Delete => 0,
            Update::Merge(op) => op.bytes(),
        };
        key.len() + context.len() + update
    }
}

/// What a write does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Update {
    /// Sets a value.
    Set(#[serde(deserialize_with = "crate::codec::bytes")] Value),
    /// Deletes the key.
    Delete,
    /// Changes a mergeable value.
    Merge(crdt::Op),
}

/// How many replicas took part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Achieved {
    /// How many had to.
    pub wanted: u8,
    /// Replicas of the key that did.
    pub replicas: u8,
    /// Stand-ins that did, each holding a hint for a replica.
    pub hints: u8,
}

impl Achieved {
    /// Whether replicas alone sufficed.
    #[must_use]
    pub fn is_strict(self) -> bool {
        self.replicas >= self.wanted
    }
}

/// One version as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sibling {
    /// The value; of a mergeable type its JSON. `None` is a delete that is concurrent with the other versions.
    pub value: Option<Value>,
    /// Its name.
    pub dot: Dot,
    /// When its coordinator believed to write it.
    pub stamp: Hlc,
    /// The client's write that made it.
    pub write: WriteId,
}

/// The coordinator's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientReply {
    /// What a read found, or a write that asked for it left behind. No versions: there is no such key. All mergeable
    /// versions are one. Versions that are all deletes are no versions.
    Value {
        /// The versions that no other supersedes, in the order of their dots.
        siblings: Vec<Sibling>,
        /// Give it back with the next write of this key.
        #[serde(deserialize_with = "crate::codec::bytes")]
        context: Bytes,
        /// Who took part.
        achieved: Achieved,
    },
    /// The write is held by as many as asked for.
    Done {
        /// Who took part.
        achieved: Achieved,
    },
    /// Not done, and it will not be.
    Refused(Refusal),
    /// The server knows no such lane, so this copy of the request was not carried out; whether an earlier one was is not known. Here
    /// is a lane that it does know.
    UnknownWindow {
        /// The one that was asked for.
        refused: WindowId,
        /// The one to use.
        granted: WindowId,
    },
    /// Not as many as asked for took part in time. A read has no effect; a write may have happened or may yet.
    Unfinished {
        /// Who took part until then.
        achieved: Achieved,
    },
}

/// Why a request was certainly not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Too much is under way.
    #[error("too much is under way; try again")]
    Busy,
    /// Fewer servers can be reached than the request asks for.
    #[error("{reachable} of the {wanted} servers needed can be reached")]
    Unavailable {
        /// How many are needed.
        wanted: u8,
        /// How many seem to be up.
        reachable: u8,
    },
    /// The key has as many versions as it may have: read it and write with the context.
    #[error("the key has {0} concurrent versions already; read it, merge them, and write with the context it gave")]
    TooManySiblings(u32),
    /// The key's clock has as many actors as it may have.
    #[error("the key's clock has {0} entries; wait until all servers are up and old ones are pruned")]
    TooManyActors(u32),
    /// The request itself is wrong; the text says how.
    #[error("{0}")]
    Invalid(String),
    /// The server has lost what it held and is being refilled.
    #[error("the server has lost its data and is being refilled by the others; ask another one")]
    Rejoining,
    /// The key's versions together have as many bytes as they may have.
    #[error(
        "the key's concurrent versions have {0} bytes together; read it, merge them, and write with the context it gave"
    )]
    TooManyBytes(u64),
}

/// How versions came to a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// A client's write, coordinated by this node.
    Write(NodeId),
    /// A hint that this node held.
    Handoff(NodeId),
    /// Read repair by this node.
    Repair(NodeId),
}

/// What nodes say to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// "Take these versions in."
    Put {
        /// To recognise the reply.
        op: OpId,
        /// Of this key.
        key: Key,
        /// The versions.
        siblings: Siblings,
        /// For this node, which cannot be reached: keep them for it. `None`: for the receiver itself.
        owner: Option<NodeId>,
        /// Why.
        cause: Cause,
        /// The epoch in which the sender gathered them.
        epoch: Epoch,
    },
    /// The answer, once what was taken in is durable.
    PutReply {
        /// Echoes the question.
        op: OpId,
        /// What became of it.
        result: PutResult,
    },
    /// "What have you of this key?"
    Get {
        /// To recognise the reply.
        op: OpId,
        /// Which.
        key: Key,
    },
    /// The answer.
    GetReply {
        /// Echoes the question.
        op: OpId,
        /// What the replica holds, or holds for others.
        siblings: Siblings,
        /// The epoch from which it may be old: its own, or that of the oldest hint among it.
        epoch: Epoch,
        /// The replica is a full member. One that is being refilled (see `rejoin`) does not count toward R.
        member: bool,
    },
    /// A client's request, for who can coordinate it.
    Forward {
        /// To recognise the reply.
        op: OpId,
        /// What the client wants, with the place that counts for the receiver.
        request: Box<ClientRequest>,
    },
    /// The answer to the client.
    ForwardReply {
        /// Echoes the question.
        op: OpId,
        /// The answer.
        reply: ClientReply,
    },
    /// The sender has come to this epoch, and wants all to come to that one.
    Epoch {
        /// Where it is.
        at: Epoch,
        /// Where it wants to get, for the sake of tombstones it would like to be rid of.
        want: Epoch,
    },
    /// "Do you hold nothing of these keys but what these clocks know?"
    Ask(Vec<(Key, VersionVector)>),
    /// Of those asked about: so it is, durably.
    Held(Vec<(Key, VersionVector)>),
    /// "Nothing that these clocks know is left anywhere: forget it, if deletes are all you have."
    Forget(Vec<(Key, VersionVector)>),
    /// Of those: forgotten, or not forgotten because there is something newer.
    Forgotten(Vec<(Key, VersionVector)>),
    /// "I have lost what I held: tell me your epoch, and send me what you hold of my keys."
    Rejoin {
        /// Which attempt this is; answers to earlier ones mean nothing.
        round: u64,
        /// Where it is itself, whatever it has said before.
        at: Epoch,
        /// It has come to the others' epoch and takes in what they hold.
        refill: bool,
    },
    /// The answer.
    Welcome {
        /// Echoes the question.
        round: u64,
        /// The sender's epoch.
        at: Epoch,
        /// The sender has lost what it held itself.
        rejoins: bool,
        /// All that the sender holds of the asker's keys is durable there.
        refilled: bool,
    },
    /// "Of which of these keys do you hold something else than what has this digest?"
    Compare {
        /// To recognise the reply.
        op: OpId,
        /// The keys, with digests of what the sender holds.
        keys: Vec<(Key, u64)>,
    },
    /// The answer.
    Differ {
        /// Echoes the question.
        op: OpId,
        /// These.
        keys: Vec<Key>,
    },
}

/// What became of a `Put`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PutResult {
    /// It is durable.
    Stored,
    /// The node has no room for more hints, or the key no room for more versions.
    NoRoom,
    /// It was gathered too long ago.
    TooOld,
    /// It is durable, on a node that is being refilled and does not count toward W (see `rejoin`).
    Refilling,
}

/// A replica's state of a key: what all replicas agree on in the end, and what is known here only.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The versions.
    pub siblings: Siblings,
    /// How the versions came here.
    pub arrivals: Vec<Arrival>,
}

/// How a version came to a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// Which.
    pub dot: Dot,
    /// By what.
    pub cause: Cause,
    /// When, by this node's clock.
    pub at: Wall,
}

/// What a node keeps for another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    /// The versions.
    pub entry: Arc<Entry>,
    /// The epoch in which the oldest of them were gathered.
    pub epoch: Epoch,
    /// When the first came.
    pub since: Wall,
}

/// What must survive a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// All of a key's state; `None`: it is forgotten.
    Key(Key, Option<Arc<Entry>>),
    /// All that is kept for a node of a key; `None`: it has been handed over or is no longer needed.
    Hint(NodeId, Key, Option<Hint>),
    /// The node has come to this epoch.
    Epoch(Epoch),
    /// A snapshot file of the whole store is durable, with the number given: it replaces all before it.
    Snapshot(u64),
    /// The node has lost what it held and is being refilled; or it is a full member again.
    Rejoin(bool),
}

/// What the node asks of the core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// A client's request; answered by `Effect::Reply`.
    Client {
        /// To recognise the answer.
        id: RequestId,
        /// What it wants.
        request: ClientRequest,
    },
    /// What the date is; said before anything else in a turn.
    Date(Wall),
    /// The failure detector's opinion of a peer has changed.
    Peer {
        /// Of whom.
        node: NodeId,
        /// Whether it seems to be up.
        up: bool,
    },
    /// The directory holds less than this node has said to be durable: it is empty, or an old copy. The node is to be refilled
    /// by the others before it counts again. Of one that is being refilled this changes nothing.
    Rejoin,
}

/// What the core asks of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The answer to a client's request; each is answered once.
    Reply {
        /// The request.
        id: RequestId,
        /// The answer.
        reply: ClientReply,
    },
    /// Something worth counting or telling; nothing is to be done.
    Note(Note),
}

/// What is worth counting or telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A hint for `owner` was stored here.
    HintStored {
        /// For whom.
        owner: NodeId,
        /// Of which key.
        key: Key,
    },
    /// Its owner has it now.
    HintHandedOver {
        /// Who.
        owner: NodeId,
        /// Of which key.
        key: Key,
    },
    /// There was no room for a hint.
    HintRefused {
        /// For whom.
        owner: NodeId,
    },
    /// A hint became too old and was dropped, because another replica holds all of it.
    HintExpired {
        /// For whom.
        owner: NodeId,
        /// Of which key.
        key: Key,
    },
    /// A read found a replica behind and sent it what it lacked.
    Repaired {
        /// Who was behind.
        node: NodeId,
        /// In which key.
        key: Key,
    },
    /// A key whose deletion every replica has acknowledged was forgotten.
    Collected {
        /// Which.
        key: Key,
    },
    /// Entries of a key's clock that nothing needs any more were forgotten.
    Pruned {
        /// Which key.
        key: Key,
        /// How many.
        entries: u32,
    },
    /// Something was refused because the key has too many versions, bytes of versions, or actors.
    Full {
        /// Which key.
        key: Key,
    },
    /// Something was refused because the disk is behind: too much waits to become durable.
    Behind {
        /// How many bytes wait.
        bytes: usize,
    },
    /// A peer sent what no sane peer sends; it was ignored.
    Nonsense {
        /// Who.
        from: NodeId,
    },
    /// The node has lost what it held: it neither coordinates nor counts until the others have refilled it.
    Rejoins,
    /// It is a full member again.
    Rejoined,
}

/// How the core is run. Durations are of the node's own monotonic clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// A write not acknowledged by a replica after this long is given to a stand-in.
    pub hint_after: Duration,
    /// A read not answered by a replica after this long asks a further one.
    pub hedge_after: Duration,
    /// Of a thousand reads, how many ask all replicas and repair them in the background.
    pub repair_permille: u32,
    /// Client requests and forwarded ones that may be open at a time.
    pub max_open: usize,
    /// Versions of a key beyond which writes without context are refused.
    pub max_siblings: usize,
    /// Bytes of hints kept for all nodes together.
    pub hint_bytes: usize,
    /// Age after which a hint is given to another replica instead and dropped.
    pub hint_age: Duration,
    /// Hints under way to one owner at a time.
    pub handoff_window: usize,
    /// Bytes of records that may wait for the disk; beyond that writes are refused.
    pub unsynced_bytes: usize,
    /// Bytes that the operations under way may keep; beyond that further ones are refused.
    pub open_bytes: usize,
    /// Pause between attempts to hand over, to collect tombstones, and to move epochs.
    pub housekeeping: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl Config {
    /// The defaults of node `id`.
    #[must_use]
    pub fn new(id: NodeId) -> Config {
        Config {
            id,
            hint_after: Duration::from_millis(150),
            hedge_after: Duration::from_millis(30),
            repair_permille: 100,
            max_open: 10_000,
            max_siblings: 64,
            hint_bytes: 256 << 20,
            hint_age: Duration::from_secs(3 * 3600),
            handoff_window: 16,
            unsynced_bytes: 64 << 20,
            open_bytes: 256 << 20,
            housekeeping: Duration::from_millis(500),
            mutant: Mutant::default(),
        }
    }
}

/// What is held of a key on one node, for `why` and for dumps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// The node.
    pub node: NodeId,
    /// Its place among those that are to hold the key, from 0; `None`: it is none of them.
    pub place: Option<u32>,
    /// For whom it is held, if for another.
    pub owner: Option<NodeId>,
    /// What is known.
    pub clock: VersionVector,
    /// The versions.
    pub versions: Vec<Version>,
    /// How each came here, as far as it is remembered.
    pub arrivals: Vec<Arrival>,
}
