//! What travels between processes: messages (here) and the frames around them ([`frame`], byte layout in
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
    /// From a server to a server: what its cores have to say since the last frame, each in order. An empty one only shows
    /// that the sender is up.
    Peer {
        /// The process that sends it, and how far its log is durable.
        origin: Origin,
        /// The lane that it takes.
        lane: Lane,
        /// Its Raft groups.
        raft: Vec<(GroupId, raft::Message)>,
        /// Its AP side.
        ap: Vec<dynamo::Message>,
    },
    /// From a server to a server: who it is, and what it thinks of the other's data.
    Greeting(Greeting),
    /// From a client; in a box, since most packets are small.
    Request(Box<Request>),
    /// To a client.
    Response(Response),
}

/// A client's question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, echoed in the response.
    pub id: u64,
    /// A server passed it on: who cannot carry it out says so instead of passing it on again.
    pub forwarded: bool,
    /// How long the client still waits, in milliseconds: what is older is dropped unanswered.
    pub patience_ms: u32,
    /// It was refused as [`Refused::Busy`], and comes again when it was told to.
    pub again: bool,
    /// What it wants.
    pub body: RequestBody,
}

impl Request {
    /// Of a client that waits for as long as it takes, for the first time.
    #[must_use]
    pub fn new(id: u64, body: RequestBody) -> Request {
        Request { id, forwarded: false, patience_ms: u32::MAX, again: false, body }
    }

    /// It has waited in a queue for so long, in milliseconds.
    pub fn ages(&mut self, by_ms: u64) {
        if self.patience_ms != u32::MAX {
            self.patience_ms = u32::try_from(u64::from(self.patience_ms).saturating_sub(by_ms)).unwrap_or(0);
        }
    }
}

/// What a client may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// Open a session (needed for writes) with the Raft group of a key.
    OpenSession {
        /// The key, in a CP bucket.
        key: Key,
    },
    /// A linearizable read.
    Get {
        /// Which key.
        key: Key,
    },
    /// A write, applied at most once for each `(session, number)`.
    Write {
        /// The session.
        session: SessionId,
        /// Grows by one with every new write of the session; a retry repeats it.
        number: u64,
        /// The write.
        write: Write,
    },
    /// A read or write of a key in an AP bucket.
    Ap(ClientRequest),
    /// May a write of so many bytes come? Asked before a large one is sent to a server that was busy before, as `Expect:
    /// 100-continue` of HTTP is.
    Expect {
        /// Which key.
        key: Key,
        /// Bytes of the write.
        bytes: u32,
        /// Whether the key is thought to be in an AP bucket.
        ap: bool,
    },
    /// What this node holds of a key in an AP bucket, and how it came here.
    Why {
        /// Which key.
        key: Key,
    },
    /// How is this node?
    Status,
    /// Hand leadership of every group that the asked node leads, and `to` is a member of, to that one.
    Transfer {
        /// The new leader.
        to: NodeId,
    },
}

/// A server's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// Echoes the request.
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
        /// Its name within its group.
        id: SessionId,
        /// The group.
        group: GroupId,
        /// How many groups there are: it tells which keys the session is good for ([`crate::placement::Layout::group_of`]).
        groups: u32,
    },
    /// The coordinator's answer about a key in an AP bucket.
    Ap(ClientReply),
    /// What this node holds of a key.
    Why(Vec<Holding>),
    /// How this node is.
    Status(Box<NodeStatus>),
    /// The transfer has begun.
    TransferStarted,
    /// There is room for the write that was announced, for a while.
    Continue,
    /// Not done, and it will not be.
    Refused(Refused),
}

/// Why a request was certainly not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refused {
    /// Ask this one, where known.
    NotLeader(Option<NodeId>),
    /// The key's bucket is of the other mode; AP if this is true.
    OtherMode(bool),
    /// Too much is under way.
    Busy {
        /// When there is likely to be room, in milliseconds from now; 0: soon.
        retry_ms: u32,
    },
    /// The proposal was displaced by another leader's; it can never commit. Safe to retry.
    Displaced,
    /// The request itself is wrong; the text says how.
    Invalid(String),
    /// This server takes no part, now or for good; the text says why. Ask another.
    NotServing(String),
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// All members of the first Raft group that it is in.
    pub voters: Vec<NodeId>,
    /// Its core; of a node that is in none, [`NO_GROUP`].
    pub raft: raft::Status,
    /// Last index applied in it.
    pub applied: u64,
    /// Keys that hold a value, in all groups.
    pub keys: u64,
    /// Open sessions, in all groups.
    pub sessions: u64,
    /// Frames refused since start (bad checksum, version, length or content).
    pub bad_frames: u64,
    /// All Raft groups of the cluster.
    pub all_groups: u32,
    /// Those of them that it is in.
    pub groups: u32,
    /// Those that it leads.
    pub led: u32,
    /// Its AP side, if any bucket is kept by quorums.
    pub ap: Option<ApStatus>,
    /// The cluster's layout as it has it ([`Layout::digest`](crate::placement::Layout::digest)).
    pub layout: u64,
    /// Groups in which the states of the members were found to differ.
    pub diverged: Vec<Divergence>,
    /// How it takes part.
    pub standing: Standing,
    /// If it takes no part: why.
    pub idle: Option<String>,
    /// Peers that seem to be down; with a single Raft group and no AP bucket nobody watches.
    pub down: Vec<NodeId>,
}

/// Members of a Raft group whose state differs from that of most, at one index of its log. They no longer serve the group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Divergence {
    /// The group.
    pub group: GroupId,
    /// The index.
    pub index: u64,
    /// The members; none where no state has a majority.
    pub minority: Vec<NodeId>,
}

/// How the AP side of a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApStatus {
    /// Keys it holds state of, deleted ones included.
    pub keys: u64,
    /// Hints it keeps for others.
    pub hints: u64,
    /// Its epoch.
    pub epoch: dynamo::Epoch,
}

/// What stands for the core of a node that is in no Raft group.
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
