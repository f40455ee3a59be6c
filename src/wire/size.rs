//! Approximate payload sizes of messages, used by byte limits, lanes and packets. Only parts that may be large are
//! counted exactly.

use super::{Packet, RequestBody, ResponseBody};
use crate::dynamo::siblings::Siblings;
use crate::dynamo::{self, ClientReply, ClientRequest, Update};
use crate::kv::{Reply, Write};
use crate::raft::{self, Body};
use crate::types::Lane;

/// Bytes of a message besides its payload.
const MESSAGE: usize = 64;
/// Most bytes assumed for an operation of a mergeable type; it is bounded by the limit on values.
const OPERATION: usize = 1024;

/// Approximate payload bytes of a message of a Raft group.
#[must_use]
pub fn raft_bytes(message: &raft::Message) -> usize {
    match &message.body {
        Body::Append { entries, .. } => entries.iter().map(|entry| entry.command.len() + 32).sum(),
        Body::Snapshot { data, .. } => data.len(),
        _ => MESSAGE,
    }
}

/// Approximate bytes of a message between replicas.
#[must_use]
pub fn ap_bytes(message: &dynamo::Message) -> usize {
    use dynamo::Message;
    let payload = match message {
        Message::Put { key, siblings, .. } => key.len() + siblings_bytes(siblings),
        Message::GetReply { siblings, .. } => siblings_bytes(siblings),
        Message::Forward { request, .. } => client_request_bytes(request),
        Message::ForwardReply { reply, .. } => client_reply_bytes(reply),
        Message::Ask(keys) | Message::Held(keys) | Message::Forget(keys) | Message::Forgotten(keys) => {
            keys.iter().map(|(key, clock)| key.len() + 24 * clock.len()).sum()
        }
        Message::Compare { keys, .. } => keys.iter().map(|(key, _)| key.len() + 8).sum(),
        Message::Differ { keys, .. } => keys.iter().map(|key| key.len()).sum(),
        _ => 0,
    };
    MESSAGE + payload
}

fn siblings_bytes(siblings: &Siblings) -> usize {
    24 * siblings.clock().len() + MESSAGE * siblings.versions().len() + siblings.bytes()
}

fn client_request_bytes(request: &ClientRequest) -> usize {
    match request {
        ClientRequest::Put { key, update: Update::Set(value), context, .. } => key.len() + value.len() + context.len(),
        request => request.key().len() + OPERATION,
    }
}

fn client_reply_bytes(reply: &ClientReply) -> usize {
    match reply {
        ClientReply::Value { siblings, context, .. } => {
            let value = |s: &dynamo::Sibling| MESSAGE + s.value.as_ref().map_or(0, |value| value.len());
            context.len() + siblings.iter().map(value).sum::<usize>()
        }
        _ => 0,
    }
}

/// Approximate bytes of a request for an AP bucket.
pub(crate) fn ap_request_bytes(request: &ClientRequest) -> usize {
    MESSAGE + client_request_bytes(request)
}

impl RequestBody {
    /// Approximate size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            RequestBody::Write { write: Write::Put { key, value, .. }, .. } => MESSAGE + key.len() + value.len(),
            RequestBody::Ap(request) => ap_request_bytes(request),
            _ => MESSAGE,
        }
    }
}

impl ResponseBody {
    /// Approximate size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            ResponseBody::Reply(Reply::Value(Some(found)) | Reply::Refused(Some(found))) => found.value.len(),
            ResponseBody::Ap(reply) => client_reply_bytes(reply),
            _ => 0,
        }
    }
}

impl Packet {
    /// Approximate size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        MESSAGE
            + match self {
                Packet::Peer { raft, ap, .. } => {
                    raft.iter().map(|(_, message)| raft_bytes(message)).sum::<usize>()
                        + ap.iter().map(ap_bytes).sum::<usize>()
                }
                Packet::Greeting(_) => 0,
                Packet::Request(request) => request.body.bytes(),
                Packet::Response(response) => response.body.bytes(),
            }
    }

    /// The lane in which it is sent and received: clients' requests never go ahead of messages between servers.
    #[must_use]
    pub fn lane(&self) -> Lane {
        match self {
            Packet::Peer { lane, .. } => *lane,
            Packet::Greeting(_) => Lane::Control,
            Packet::Request(_) => Lane::Bulk,
            Packet::Response(_) => Lane::of(self.bytes()),
        }
    }
}
