//! The wire protocol between processes: messages (here) and the frames around them ([`frame`], byte layout in
//! docs/formats.md).

pub mod frame;
mod size;
#[cfg(test)]
mod tests;

use crate::dynamo::{self, ClientReply, ClientRequest, Holding};
use crate::identity::{Greeting, Origin, Standing};
use crate::kv::{Reply, SessionId, Write};
use crate::raft;
use crate::types::{GroupId, Key, Lane, NodeId};
use serde::{Deserialize, Serialize};
pub(crate) use size::ap_request_bytes;
pub use size::{ap_bytes, raft_bytes};

/// The body of a frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Packet {
    /// Server to server: the messages of its cores since the last frame, those of each core in order. An empty packet
    /// only shows that the sender is up.
    Peer {
        /// The sending process, and how far its log is durable.
        origin: Origin,
        /// The lane it is sent in.
        lane: Lane,
        /// Messages of its Raft groups.
        raft: Vec<(GroupId, raft::Message)>,
        /// Messages of its AP side.
        ap: Vec<dynamo::Message>,
    },
    /// Server to server: its identity, and its view of the other's data.
    Greeting(Greeting),
    /// Client to server. Boxed, since most packets are small.
    Request(Box<Request>),
    /// Server to client.
    Response(Response),
}

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, echoed in the response.
    pub id: u64,
    /// A server has forwarded it. A server that cannot execute it says so instead of forwarding it again.
    pub forwarded: bool,
    /// How long the client still waits, in milliseconds. An older request is dropped without an answer.
    pub patience_ms: u32,
    /// It was refused as [`Refused::Busy`], and is sent again at the time it was told.
    pub again: bool,
    /// The operation.
    pub body: RequestBody,
}

impl Request {
    /// Creates a request sent for the first time, by a client that waits without limit.
    #[must_use]
    pub fn new(id: u64, body: RequestBody) -> Request {
        Request { id, forwarded: false, patience_ms: u32::MAX, again: false, body }
    }

    /// Deducts the time it has waited in a queue, in milliseconds.
    pub fn ages(&mut self, by_ms: u64) {
        if self.patience_ms != u32::MAX {
            self.patience_ms = u32::try_from(u64::from(self.patience_ms).saturating_sub(by_ms)).unwrap_or(0);
        }
    }
}

/// The operations of a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// Open a session (needed for writes) with the Raft group of a key.
    OpenSession {
        /// The key, in a CP bucket.
        key: Key,
    },
    /// A linearizable read.
    Get {
        /// The key.
        key: Key,
    },
    /// A write, applied at most once for each `(session, number)`.
    Write {
        /// The session.
        session: SessionId,
        /// Increases by one with every new write of the session; a retry repeats it.
        number: u64,
        /// The write.
        write: Write,
    },
    /// A read or write of a key in an AP bucket.
    Ap(ClientRequest),
    /// Asks whether there is room for a write of this size. Sent before a large write to a server that was busy before,
    /// like `Expect: 100-continue` of HTTP.
    Expect {
        /// The key.
        key: Key,
        /// Size of the write in bytes.
        bytes: u32,
        /// Whether the client takes the key's bucket for an AP bucket.
        ap: bool,
    },
    /// Asks what this node holds of a key in an AP bucket, and how it got there.
    Why {
        /// The key.
        key: Key,
    },
    /// Asks for the node's status.
    Status,
    /// Transfers the leadership of every group that the asked node leads, and that `to` is a member of, to `to`.
    Transfer {
        /// The new leader.
        to: NodeId,
    },
}

/// A server's response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's `id`.
    pub id: u64,
    /// The answer.
    pub body: ResponseBody,
}

/// The answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ResponseBody {
    /// Done by the leader and committed by a majority.
    Reply(Reply),
    /// A session was opened.
    Session {
        /// Its ID within its group.
        id: SessionId,
        /// The group.
        group: GroupId,
        /// The number of groups. It determines which keys the session is valid for
        /// ([`crate::placement::Layout::group_of`]).
        groups: u32,
    },
    /// The coordinator's answer about a key in an AP bucket.
    Ap(ClientReply),
    /// What this node holds of a key.
    Why(Vec<Holding>),
    /// The status of this node.
    Status(Box<NodeStatus>),
    /// The transfer has begun.
    TransferStarted,
    /// There is room for the write that was announced, for a while.
    Continue,
    /// The request was not executed and will not be.
    Refused(Refused),
}

/// Why a request was certainly not executed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refused {
    /// This node is not the leader; the leader, if known.
    NotLeader(Option<NodeId>),
    /// The key's bucket is of the other mode: AP if this is true.
    OtherMode(bool),
    /// Too many requests are in progress.
    Busy {
        /// When there is likely to be room, in milliseconds from now; 0 means soon.
        retry_ms: u32,
    },
    /// The proposal was overwritten by another leader's; it can never commit. Safe to retry.
    Displaced,
    /// The request itself is wrong; the text says how.
    Invalid(String),
    /// This server does not serve requests, temporarily or permanently; the text says why. Ask another.
    NotServing(String),
}

/// The status of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// All members of the first Raft group that the node is in.
    pub voters: Vec<NodeId>,
    /// The status of that group's Raft core; [`NO_GROUP`] if the node is in no group.
    pub raft: raft::Status,
    /// Last index applied in that group.
    pub applied: u64,
    /// Keys that hold a value, in all groups.
    pub keys: u64,
    /// Open sessions, in all groups.
    pub sessions: u64,
    /// Frames refused since the start (bad checksum, version, length or content).
    pub bad_frames: u64,
    /// Number of Raft groups in the cluster.
    pub all_groups: u32,
    /// Number of Raft groups that it is in.
    pub groups: u32,
    /// Number of Raft groups that it leads.
    pub led: u32,
    /// The status of its AP side, if any bucket is kept by quorums.
    pub ap: Option<ApStatus>,
    /// The digest of the cluster's layout that it uses ([`Layout::digest`](crate::placement::Layout::digest)).
    pub layout: u64,
    /// Groups whose members were found to have different states.
    pub diverged: Vec<Divergence>,
    /// Its standing in the cluster.
    pub standing: Standing,
    /// The reason if it does not serve requests.
    pub idle: Option<String>,
    /// Peers that seem to be down. With a single Raft group and no AP bucket there is no failure detector.
    pub down: Vec<NodeId>,
}

/// Members of a Raft group whose state differs from that of the majority at one index of the log. They no longer serve
/// the group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Divergence {
    /// The group.
    pub group: GroupId,
    /// The index.
    pub index: u64,
    /// The members; none if no state has a majority.
    pub minority: Vec<NodeId>,
}

/// The status of the AP side of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApStatus {
    /// Keys of which it holds state, deleted ones included.
    pub keys: u64,
    /// Hints it keeps for other nodes.
    pub hints: u64,
    /// Its epoch.
    pub epoch: dynamo::Epoch,
}

/// The status reported by a node that is in no Raft group.
pub const NO_GROUP: raft::Status = raft::Status {
    soft: raft::SoftState { role: raft::Role::Follower, term: 0, leader: None },
    vote: None,
    commit: 0,
    last: 0,
    durable: 0,
    snapshot: raft::SnapshotMeta { index: 0, term: 0 },
    first: 0,
    log_bytes: 0,
};

impl From<Request> for Packet {
    fn from(request: Request) -> Packet {
        Packet::Request(Box::new(request))
    }
}
