//! The client's side of buckets kept by quorums.
//!
//! Any server can coordinate, so a client has no leader to look for: it asks its favourite, and the next one when that does not
//! answer or cannot reach enough others. A retried write bears the same [`WriteId`], so that it is one write however many
//! coordinators take it. Only additions to a mergeable value are not retried once they may have been taken.

use super::{Client, ClientError, Tried};
use crate::dynamo::siblings::WriteId;
use crate::dynamo::{Achieved, ClientReply, ClientRequest, Refusal, Sibling, Update};
use crate::node::{Clock, Transport};
use crate::types::{Bytes, Key, Level};
use crate::wire::{Refused, RequestBody, ResponseBody};
use std::time::Duration;

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The versions that no other supersedes; none: there is no such key.
    pub siblings: Vec<Sibling>,
    /// To be given back with the next write of this key.
    pub context: Bytes,
    /// Who took part.
    pub achieved: Achieved,
}

/// What became of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrote {
    /// Who took part.
    pub achieved: Achieved,
    /// What the write left behind, if that was asked for.
    pub found: Option<Found>,
}

/// How a write is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ApWrite {
    /// How many replicas must hold it; the bucket's W if not said.
    pub w: Option<Level>,
    /// Whether stand-ins count; as the bucket says if not said.
    pub sloppy: Option<bool>,
    /// Tell what the write left behind, with a context for the next.
    pub read_back: bool,
}

impl<T: Transport, C: Clock> Client<T, C> {
    /// Reads a key of an AP bucket.
    ///
    /// # Errors
    /// See [`ClientError`]; a read has no effect.
    pub async fn ap_get(&mut self, key: Key, r: Option<Level>) -> Result<Found, ClientError> {
        match self.ap_call(ClientRequest::Get { key, r, deadline_ms: 0 }).await {
            Ok((achieved, Some(found))) => Ok(Found { achieved, ..found }),
            Ok((_, None)) => Err(ClientError::Confused("a read was answered without versions".to_owned())),
            // Whatever became of the attempts: a read has no effect.
            Err(ClientError::Unknown(patience)) => Err(ClientError::NotDone(patience)),
            Err(error) => Err(error),
        }
    }

    /// Writes a key of an AP bucket; `context` is what the last read of it gave, or empty.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ap_put(
        &mut self,
        key: Key,
        update: Update,
        context: Bytes,
        how: ApWrite,
    ) -> Result<Wrote, ClientError> {
        self.ap_number += 1;
        let write = WriteId { client: self.ap_name, number: self.ap_number };
        let ApWrite { w, sloppy, read_back } = how;
        let request = ClientRequest::Put { write, key, update, context, w, sloppy, deadline_ms: 0, read_back };
        let (achieved, found) = self.ap_call(request).await?;
        Ok(Wrote { achieved, found })
    }

    async fn ap_call(&mut self, mut request: ClientRequest) -> Result<(Achieved, Option<Found>), ClientError> {
        let again = !matches!(request, ClientRequest::Put { update: Update::Merge(_), .. });
        let patience = self.patience.operation;
        let end = self.clock.now() + patience;
        let mut backoff = self.patience.backoff;
        let mut tried = Tried::new(self.next_id);
        // Why nothing was done, for when nobody does better.
        let mut refused = None;
        loop {
            let now = self.clock.now();
            if now >= end || !tried.again(self.patience.tries) {
                let error = tried.error(patience);
                return Err(refused.map_or(error, |why| tried.refused(ClientError::Refused(why), patience)));
            }
            let node = self.nodes[self.favourite];
            let until = end.min(now + self.patience.attempt);
            request.set_deadline(until.since(now));
            match self.attempt(node, RequestBody::Ap(request.clone()), tried.first, until).await {
                Some(ResponseBody::Ap(ClientReply::Value { siblings, context, achieved })) => {
                    return Ok((achieved, Some(Found { siblings, context, achieved })));
                }
                Some(ResponseBody::Ap(ClientReply::Done { achieved })) => return Ok((achieved, None)),
                Some(ResponseBody::Ap(ClientReply::Refused(why @ (Refusal::Busy | Refusal::Unavailable { .. })))) => {
                    refused = Some(why);
                }
                Some(ResponseBody::Refused(Refused::Busy)) => refused = Some(Refusal::Busy),
                Some(ResponseBody::Ap(ClientReply::Refused(Refusal::Invalid(why))))
                | Some(ResponseBody::Refused(Refused::Invalid(why))) => {
                    return Err(tried.refused(ClientError::Invalid(why), patience));
                }
                Some(ResponseBody::Ap(ClientReply::Refused(why))) => {
                    return Err(tried.refused(ClientError::Refused(why), patience));
                }
                // All servers have the same buckets, so whoever was asked before has not taken it either.
                Some(ResponseBody::Refused(Refused::OtherMode(ap))) => return Err(ClientError::OtherMode(ap)),
                Some(ResponseBody::Ap(ClientReply::Unfinished { .. })) | None => tried.maybe = true,
                Some(answer) => return Err(ClientError::Confused(format!("{answer:?}"))),
            }
            if tried.maybe && !again {
                return Err(tried.error(self.patience.attempt));
            }
            self.favourite = (self.favourite + 1) % self.nodes.len();
            backoff = self.pause(backoff, end).await;
        }
    }
}

impl ClientRequest {
    /// A coordinator gives up a little before the client does, to tell it how far it got.
    fn set_deadline(&mut self, left: Duration) {
        let (ClientRequest::Get { deadline_ms, .. } | ClientRequest::Put { deadline_ms, .. }) = self;
        *deadline_ms = u32::try_from(left.as_millis() * 9 / 10).unwrap_or(u32::MAX).max(1);
    }
}
