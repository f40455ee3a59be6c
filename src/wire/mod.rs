//! What travels between processes: messages (here) and the frames around them ([`frame`], byte layout in
//! docs/formats.md).

pub mod frame;
#[cfg(test)]
mod tests;

use crate::kv::{Condition, Op, Reply, SessionId};
use crate::raft;
use crate::types::{GroupId, Key, NodeId, Value};
use serde::{Deserialize, Serialize};

/// The body of a frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Packet {
    /// From a server to a server: what its groups have to say since the last frame, in order.
    Peer(Vec<(GroupId, raft::Message)>),
    /// From a client.
    Request(Request),
    /// To a client.
    Response(Response),
}

/// A client's question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, echoed in the response.
    pub id: u64,
    /// What it wants.
    pub body: RequestBody,
}

/// What a client may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// Open a session (needed for writes).
    OpenSession,
    /// A linearizable read.
    Get {
        /// Which key.
        #[serde(deserialize_with = "crate::codec::bytes")]
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
    /// How is this node?
    Status,
    /// Hand leadership to another node.
    Transfer {
        /// The new leader.
        to: NodeId,
    },
}

/// The writes a client may ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// See `kv::Op::Put`.
    Put {
        /// Where.
        #[serde(deserialize_with = "crate::codec::bytes")]
        key: Key,
        /// What.
        #[serde(deserialize_with = "crate::codec::bytes")]
        value: Value,
        /// When to refuse.
        when: Condition,
        /// Milliseconds until it expires.
        ttl_ms: Option<u64>,
    },
    /// See `kv::Op::Delete`.
    Delete {
        /// Which.
        key: Key,
        /// When to refuse.
        when: Condition,
    },
    /// See `kv::Op::Extend`.
    Extend {
        /// Which.
        key: Key,
        /// Milliseconds from now.
        ttl_ms: u64,
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
    /// How this node is.
    Status(NodeStatus),
    /// The transfer has begun.
    TransferStarted,
    /// Not done, and it will not be.
    Refused(Refused),
}

/// Why a request was certainly not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refused {
    /// Ask this one, where known.
    NotLeader(Option<NodeId>),
    /// Too much is under way.
    Busy,
    /// The proposal was displaced by another leader's; it can never commit. Safe to retry.
    Displaced,
    /// The request itself is wrong; the text says how.
    Invalid(String),
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// All members of the group.
    pub voters: Vec<NodeId>,
    /// The Raft core.
    pub raft: raft::Status,
    /// Last index applied.
    pub applied: u64,
    /// Keys that hold a value.
    pub keys: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Frames refused since start (bad checksum, version, length or content).
    pub bad_frames: u64,
}

impl From<Write> for Op {
    fn from(write: Write) -> Op {
        match write {
            Write::Put { key, value, when, ttl_ms } => Op::Put { key, value, when, ttl_ms },
            Write::Delete { key, when } => Op::Delete { key, when },
            Write::Extend { key, ttl_ms } => Op::Extend { key, ttl_ms },
        }
    }
}
