//! The data types of the AP core: messages, records, requests and effects, without behaviour.

use super::crdt;
use super::siblings::{Siblings, Version, WriteId};
use super::version_vector::{Dot, VersionVector};
use crate::mutant::Mutant;
use crate::types::{Bytes, Hlc, Key, Level, NodeId, Value, Wall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Chosen by the node to match an answer to a client's request; unique among the node's open requests.
pub type RequestId = u64;
/// Chosen by a coordinator to match replies to an operation; unique within its process.
pub type OpId = u64;
/// Counts the rounds by which nodes determine that nothing old is in flight any more (see `epoch`).
pub type Epoch = u64;

/// The number of a dedup window: a server draws it and so permits the sender to send it writes. 0: none yet (see
/// `coordinator/dedup.rs`).
pub type WindowId = u64;

/// Identifies a write request. Two requests with the same slot are the same request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// The only server that may execute the write.
    pub server: NodeId,
    /// A dedup window granted by that server.
    pub window: WindowId,
    /// Position in the window; later requests have greater numbers.
    pub number: u64,
}

/// What a client asks of an AP bucket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Reads the versions of a key.
    Get {
        /// The key.
        key: Key,
        /// The number of replicas that must answer; `None`: the bucket's R.
        r: Option<Level>,
        /// Milliseconds after which the coordinator gives up.
        deadline_ms: u32,
    },
    /// Writes a key.
    Put {
        /// The server that executes the write, and the request's number there. A repeated request has the same slot and
        /// gets the same answer as the first.
        slot: Slot,
        /// The write's identifier; no other write has the same.
        write: WriteId,
        /// The key.
        key: Key,
        /// The change.
        update: Update,
        /// What the writer had seen, as the context that a read returned: the write supersedes that. Empty: the writer
        /// has seen nothing.
        #[serde(deserialize_with = "crate::codec::bytes")]
        context: Bytes,
        /// The number of replicas that must hold it; `None`: the bucket's W.
        w: Option<Level>,
        /// Whether stand-ins count; `None`: as the bucket is configured.
        sloppy: Option<bool>,
        /// Milliseconds after which the coordinator gives up.
        deadline_ms: u32,
        /// Whether the answer includes the versions after the write and a context for the next write.
        read_back: bool,
    },
}

impl ClientRequest {
    /// Returns the key of the request.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            ClientRequest::Get { key, .. } | ClientRequest::Put { key, .. } => key,
        }
    }

    /// Approximate size in bytes.
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
    /// The number required.
    pub wanted: u8,
    /// Replicas of the key that took part.
    pub replicas: u8,
    /// Stand-ins that took part, each holding a hint for a replica.
    pub hints: u8,
}

impl Achieved {
    /// Returns whether replicas alone sufficed.
    #[must_use]
    pub fn is_strict(self) -> bool {
        self.replicas >= self.wanted
    }
}

/// One version as shown to a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sibling {
    /// The value; a mergeable value is given as JSON. `None` is a delete that is concurrent with the other versions.
    pub value: Option<Value>,
    /// Its dot.
    pub dot: Dot,
    /// The coordinator's timestamp of the write.
    pub stamp: Hlc,
    /// The client's write that made it.
    pub write: WriteId,
}

/// The coordinator's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientReply {
    /// The versions found by a read, or left by a write with `read_back`. No versions: the key does not exist. All
    /// mergeable versions are merged into one. If all versions are deletes, none are returned.
    Value {
        /// The versions that no other version supersedes, in the order of their dots.
        siblings: Vec<Sibling>,
        /// Must be given back with the next write of this key.
        #[serde(deserialize_with = "crate::codec::bytes")]
        context: Bytes,
        /// How many nodes took part.
        achieved: Achieved,
    },
    /// As many nodes as required hold the write.
    Done {
        /// How many nodes took part.
        achieved: Achieved,
    },
    /// The request was not executed and will not be.
    Refused(Refusal),
    /// The server does not know this dedup window, so it did not execute this copy of the request. Whether an earlier
    /// copy was executed is unknown. The answer grants a window that the server knows.
    UnknownWindow {
        /// The window named by the request.
        refused: WindowId,
        /// The window to use instead.
        granted: WindowId,
    },
    /// Too few nodes took part before the deadline. A read has no effect; a write may have happened or may still
    /// happen.
    Unfinished {
        /// How many nodes had taken part by then.
        achieved: Achieved,
    },
}

/// Why a request was definitely not executed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The node has reached a limit on work in progress.
    #[error("too much is under way; try again")]
    Busy,
    /// Fewer servers are reachable than the request requires.
    #[error("{reachable} of the {wanted} servers needed can be reached")]
    Unavailable {
        /// The number required.
        wanted: u8,
        /// The number that seem to be up.
        reachable: u8,
    },
    /// The key has the maximum number of versions: read it and write with the context.
    #[error("the key has {0} concurrent versions already; read it, merge them, and write with the context it gave")]
    TooManySiblings(u32),
    /// The key's version vector has the maximum number of actors.
    #[error("the key's clock has {0} entries; wait until all servers are up and old ones are pruned")]
    TooManyActors(u32),
    /// The request itself is invalid; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// The server has lost its data and is being refilled.
    #[error("the server has lost its data and is being refilled by the others; ask another one")]
    Rejoining,
    /// The key's versions together have the maximum number of bytes.
    #[error(
        "the key's concurrent versions have {0} bytes together; read it, merge them, and write with the context it gave"
    )]
    TooManyBytes(u64),
}

/// How a version reached a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cause {
    /// A client's write, coordinated by this node.
    Write(NodeId),
    /// A hint held by this node.
    Handoff(NodeId),
    /// Read repair by this node.
    Repair(NodeId),
}

/// A message between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Asks the receiver to merge these versions.
    Put {
        /// Matches the reply.
        op: OpId,
        /// The key.
        key: Key,
        /// The versions.
        siblings: Siblings,
        /// The unreachable node for which the receiver must keep the versions as a hint. `None`: they are for the
        /// receiver itself.
        owner: Option<NodeId>,
        /// How the versions reach the receiver.
        cause: Cause,
        /// The epoch in which the sender gathered them.
        epoch: Epoch,
    },
    /// The answer to `Put`, sent once the versions are durable.
    PutReply {
        /// The `op` of the `Put`.
        op: OpId,
        /// The result.
        result: PutResult,
    },
    /// Asks what the receiver holds of a key.
    Get {
        /// Matches the reply.
        op: OpId,
        /// The key.
        key: Key,
    },
    /// The answer to `Get`.
    GetReply {
        /// The `op` of the `Get`.
        op: OpId,
        /// What the replica holds, for itself or for others.
        siblings: Siblings,
        /// The epoch in which the oldest part was gathered: the replica's own epoch, or that of the oldest hint
        /// included.
        epoch: Epoch,
        /// Whether the replica is a full member. One that is being refilled (see `rejoin`) does not count toward R.
        member: bool,
    },
    /// Forwards a client's request to a node that can coordinate it.
    Forward {
        /// Matches the reply.
        op: OpId,
        /// The client's request, with the slot that is valid at the receiver.
        request: Box<ClientRequest>,
    },
    /// The answer to `Forward`, for the client.
    ForwardReply {
        /// The `op` of the `Forward`.
        op: OpId,
        /// The answer.
        reply: ClientReply,
    },
    /// Announces the sender's epoch and the epoch it wants all nodes to reach.
    Epoch {
        /// The sender's epoch.
        at: Epoch,
        /// The epoch it wants to reach, so that it can drop tombstones.
        want: Epoch,
    },
    /// Asks whether the receiver knows every write that these version vectors cover.
    Ask(Vec<(Key, VersionVector)>),
    /// The answer to `Ask`: the keys for which that is so, durably.
    Held(Vec<(Key, VersionVector)>),
    /// Nothing that these version vectors supersede is left anywhere: the receiver must drop the keys of which it holds
    /// only deletes, and prune the version vectors of the others.
    Forget(Vec<(Key, VersionVector)>),
    /// The answer to `Forget`: these keys were dropped, or kept because the receiver holds something newer.
    Forgotten(Vec<(Key, VersionVector)>),
    /// The sender has lost its data: it asks for the receiver's epoch, and for what the receiver holds of the sender's
    /// keys.
    Rejoin {
        /// The attempt; answers to earlier attempts are ignored.
        round: u64,
        /// The sender's present epoch, which may be lower than one it has announced before.
        at: Epoch,
        /// Whether the sender has reached the others' epoch and is ready to be refilled.
        refill: bool,
    },
    /// The answer to `Rejoin`.
    Welcome {
        /// The `round` of the `Rejoin`.
        round: u64,
        /// The sender's epoch.
        at: Epoch,
        /// Whether the sender has lost its own data too.
        rejoins: bool,
        /// Whether everything that the sender holds of the receiver's keys is durable at the receiver.
        refilled: bool,
    },
    /// Asks for which of these keys the receiver's state has another digest.
    Compare {
        /// Matches the reply.
        op: OpId,
        /// The keys, with digests of the sender's states.
        keys: Vec<(Key, u64)>,
    },
    /// The answer to `Compare`.
    Differ {
        /// The `op` of the `Compare`.
        op: OpId,
        /// The keys that differ.
        keys: Vec<Key>,
    },
}

/// The result of a `Put`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PutResult {
    /// The versions are durable.
    Stored,
    /// The node has no room for more hints, or the key has no room for more versions.
    NoRoom,
    /// The versions were gathered in too old an epoch.
    TooOld,
    /// The versions are durable, but the node is being refilled and does not count toward W (see `rejoin`).
    Refilling,
}

/// A replica's state of a key: the versions, on which all replicas converge, and data local to this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// The versions.
    pub siblings: Siblings,
    /// How each version reached this node.
    pub arrivals: Vec<Arrival>,
}

/// How a version reached a replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// The version.
    pub dot: Dot,
    /// The cause.
    pub cause: Cause,
    /// When, by this node's clock.
    pub at: Wall,
}

/// What a node keeps for another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hint {
    /// The versions.
    pub entry: Arc<Entry>,
    /// The epoch in which the oldest of them were gathered.
    pub epoch: Epoch,
    /// When the first of them arrived.
    pub since: Wall,
}

/// What must survive a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The whole state of a key; `None`: the key was dropped.
    Key(Key, Option<Arc<Entry>>),
    /// The whole hint for this node and key; `None`: it was handed over or is no longer needed.
    Hint(NodeId, Key, Option<Hint>),
    /// The node has reached this epoch.
    Epoch(Epoch),
    /// The snapshot file with this number, of the whole store, is durable: it replaces all records before this one.
    Snapshot(u64),
    /// `true`: the node has lost its data and is being refilled. `false`: it is a full member again.
    Rejoin(bool),
}

/// What the node asks the core to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// A client's request; answered by `Effect::Reply`.
    Client {
        /// Matches the answer.
        id: RequestId,
        /// The client's request.
        request: ClientRequest,
    },
    /// Sets the wall-clock time; sent before anything else in a turn.
    Date(Wall),
    /// The failure detector's opinion of a peer has changed.
    Peer {
        /// The peer.
        node: NodeId,
        /// Whether it seems to be up.
        up: bool,
    },
    /// The directory holds less than this node has reported as durable: it is empty, or an old copy. The other nodes
    /// must refill this node before it counts again. No effect if the node is already being refilled.
    Rejoin,
}

/// What the core asks the node to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The answer to a client's request; each request is answered once.
    Reply {
        /// The request.
        id: RequestId,
        /// The answer.
        reply: ClientReply,
    },
    /// An event to count or log; no action is required.
    Note(Note),
}

/// An event worth counting or logging.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// A hint for `owner` was stored here.
    HintStored {
        /// The owner.
        owner: NodeId,
        /// The key.
        key: Key,
    },
    /// The owner of a hint has acknowledged it.
    HintHandedOver {
        /// The owner.
        owner: NodeId,
        /// The key.
        key: Key,
    },
    /// A hint was refused for lack of room.
    HintRefused {
        /// The owner.
        owner: NodeId,
    },
    /// A hint exceeded its maximum age and was dropped, because another replica holds all of it.
    HintExpired {
        /// The owner.
        owner: NodeId,
        /// The key.
        key: Key,
    },
    /// A read found a stale replica and sent it what it lacked.
    Repaired {
        /// The stale replica.
        node: NodeId,
        /// The key.
        key: Key,
    },
    /// A key was dropped after every replica acknowledged its deletion.
    Collected {
        /// The key.
        key: Key,
    },
    /// Unneeded entries of a key's version vector were pruned.
    Pruned {
        /// The key.
        key: Key,
        /// The number of entries.
        entries: u32,
    },
    /// A write was refused because the key has too many versions, bytes of versions, or actors.
    Full {
        /// The key.
        key: Key,
    },
    /// A write was refused because too many bytes are waiting to become durable.
    Behind {
        /// The number of bytes waiting.
        bytes: usize,
    },
    /// A peer sent an invalid message; it was ignored.
    Nonsense {
        /// The peer.
        from: NodeId,
    },
    /// The node has lost its data: until the others have refilled it, it coordinates nothing and does not count toward
    /// quorums.
    Rejoins,
    /// The node is a full member again.
    Rejoined,
}

/// Configuration of the core. Durations are measured by the node's own monotonic clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// Time after which a write that a replica has not acknowledged is given to a stand-in.
    pub hint_after: Duration,
    /// Time after which a read that a replica has not answered is sent to a further replica.
    pub hedge_after: Duration,
    /// The number of reads per thousand that ask all replicas and repair them in the background.
    pub repair_permille: u32,
    /// Maximum number of open requests, from clients and forwarded.
    pub max_open: usize,
    /// Number of versions of a key from which on writes without context are refused.
    pub max_siblings: usize,
    /// Maximum bytes of hints, for all nodes together.
    pub hint_bytes: usize,
    /// Age after which a hint is given to another replica instead and then dropped.
    pub hint_age: Duration,
    /// Maximum number of hints in flight to one owner.
    pub handoff_window: usize,
    /// Bytes of records waiting for the disk from which on writes are refused.
    pub unsynced_bytes: usize,
    /// Bytes kept by the operations in progress beyond which further ones are refused.
    pub open_bytes: usize,
    /// Pause between attempts to hand over hints, to collect tombstones, and to advance the epoch.
    pub housekeeping: Duration,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl Config {
    /// Returns the defaults for node `id`.
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

/// What one node holds of a key, for `why` and for dumps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// The node.
    pub node: NodeId,
    /// Its position in the key's preference list, from 0; `None`: it is not a replica of the key.
    pub place: Option<u32>,
    /// The owner, if this is a hint.
    pub owner: Option<NodeId>,
    /// The writes that are known.
    pub clock: VersionVector,
    /// The versions.
    pub versions: Vec<Version>,
    /// How each version reached the node, as far as that is remembered.
    pub arrivals: Vec<Arrival>,
}
