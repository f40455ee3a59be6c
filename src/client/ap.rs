//! The client for AP buckets (kept by quorums).
//!
//! Any server can coordinate, so a client has no leader to look for. It asks its favourite server, and the next one
//! when that one does not answer or cannot reach enough others. Reads need nothing more. A write is executed by one
//! server only (`dynamo/coordinator/dedup.rs`): while the server that was asked first may have accepted it, other
//! servers are only asked to forward the same request to that one. If that server is down for them too, the outcome of
//! the write is unknown.
//!
//! To keep such outcomes rare, the client first asks for a new dedup window if it has not heard from the server for the
//! length of an attempt. That costs a round trip, and if there is no answer, nothing has happened and the next server
//! is asked.

use super::{Client, ClientError, Tried};
use crate::dynamo::siblings::WriteId;
use crate::dynamo::{self, Achieved, ClientReply, ClientRequest, Refusal, Sibling, Slot, Update};
use crate::env::{Clock, Transport};
use crate::types::{Bytes, Key, Level, NodeId, Time};
use crate::wire::{Refused, RequestBody, ResponseBody, ap_request_bytes};
use std::time::Duration;

/// What a read found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The versions that no other supersedes; if empty, the key does not exist.
    pub siblings: Vec<Sibling>,
    /// The context to send with the next write of this key.
    pub context: Bytes,
    /// How many replicas and stand-ins took part.
    pub achieved: Achieved,
}

/// The result of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrote {
    /// How many replicas and stand-ins took part.
    pub achieved: Achieved,
    /// The state after the write, if that was asked for.
    pub found: Option<Found>,
    /// The server that had to execute it; if it is not a replica of the key, it has picked another.
    pub through: NodeId,
}

/// The options of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ApWrite {
    /// How many replicas must hold it; the bucket's W if `None`.
    pub w: Option<Level>,
    /// Whether stand-ins count; the bucket's setting if `None`.
    pub sloppy: Option<bool>,
    /// Return the state after the write, with a context for the next write.
    pub read_back: bool,
}

/// A dedup window that a server has granted this client, the number of the latest request in it, and when that server
/// last answered.
#[derive(Clone, Copy)]
pub(super) struct Window {
    id: dynamo::WindowId,
    number: u64,
    pub(super) heard: Time,
}

impl<T: Transport, C: Clock> Client<T, C> {
    /// Reads a key of an AP bucket.
    ///
    /// # Errors
    /// See [`ClientError`]; a read has no effect.
    pub async fn ap_get(&mut self, key: Key, r: Option<Level>) -> Result<Found, ClientError> {
        match self.ap_read(ClientRequest::Get { key, r, deadline_ms: 0 }).await {
            Ok((achieved, Some(found))) => Ok(Found { achieved, ..found }),
            Ok((_, None)) => Err(ClientError::Confused("a read was answered without versions".to_owned())),
            // A read has no effect, whatever happened to its attempts.
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
        let slot = Slot { server: self.nodes[self.favourite], window: 0, number: 0 };
        let request = ClientRequest::Put { slot, write, key, update, context, w, sloppy, deadline_ms: 0, read_back };
        let (achieved, found, through) = self.ap_write(request).await?;
        Ok(Wrote { achieved, found, through })
    }

    async fn ap_read(&mut self, mut request: ClientRequest) -> Result<(Achieved, Option<Found>), ClientError> {
        let patience = self.patience.operation;
        let end = self.clock.now() + patience;
        let mut backoff = self.patience.backoff;
        let mut tried = Tried::new(self.next_id, end);
        // The latest refusal, reported if no server does better.
        let mut refused = None;
        loop {
            let now = self.clock.now();
            if now >= end || !tried.again(self.patience.tries) {
                return Err(refused.map_or(ClientError::NotDone(patience), ClientError::Refused));
            }
            let until = end.min(now + self.patience.attempt);
            request.set_deadline(until.since(now));
            let node = self.nodes[self.favourite];
            match self.attempt(node, RequestBody::Ap(request.clone()), &tried, until).await.map(took) {
                Some(Took::Done(achieved, found)) => return Ok((achieved, found)),
                Some(Took::Busy(retry_ms)) if self.stays(retry_ms, &mut tried) => {
                    self.wait_in_line(retry_ms, &mut tried).await?;
                    continue;
                }
                Some(Took::Refused(why) | Took::NotTaken(why)) if passes(&why) => refused = Some(why),
                Some(Took::Refused(why) | Took::NotTaken(why)) => return Err(error_of(why)),
                Some(Took::Fails(error)) => return Err(error),
                Some(Took::Maybe | Took::UnknownWindow(_) | Took::Busy(_) | Took::Room) | None => {}
            }
            self.favourite = (self.favourite + 1) % self.nodes.len();
            backoff = self.pause(backoff, end).await;
        }
    }

    async fn ap_write(&mut self, mut request: ClientRequest) -> Result<(Achieved, Option<Found>, NodeId), ClientError> {
        let patience = self.patience.operation;
        let end = self.clock.now() + patience;
        let mut backoff = self.patience.backoff;
        let mut tried = Tried::new(self.next_id, end);
        let mut refused = None;
        // The request's slot, and how often it was sent with that slot, while some server may have accepted it there.
        let mut at: Option<(Slot, u32)> = None;
        loop {
            let now = self.clock.now();
            if now >= end || !tried.again(self.patience.tries) {
                let error = tried.error(patience);
                return Err(refused.map_or(error, |why| tried.refused(ClientError::Refused(why), patience)));
            }
            let node = self.nodes[self.favourite];
            let until = end.min(now + self.patience.attempt);
            if let Some(expect) = self.expect((request.key(), ap_request_bytes(&request), true), &tried, now) {
                match self.attempt(node, expect, &tried, until).await.map(took) {
                    Some(Took::Room) => tried.may_send(),
                    Some(Took::Busy(retry_ms)) if self.stays(retry_ms, &mut tried) => {
                        self.wait_in_line(retry_ms, &mut tried).await?;
                    }
                    Some(Took::NotTaken(why)) if !passes(&why) => return Err(tried.refused(error_of(why), patience)),
                    Some(Took::Fails(error)) => return Err(error),
                    _ => {
                        self.favourite = (self.favourite + 1) % self.nodes.len();
                        backoff = self.pause(backoff, end).await;
                    }
                }
                continue;
            }
            let (slot, sent) = at.unwrap_or_else(|| (self.slot(node, now), 0));
            request.take_slot(slot);
            // The server that accepted it works on it for as long as the client waits.
            request.set_deadline(end.since(now));
            match self.attempt(node, RequestBody::Ap(request.clone()), &tried, until).await.map(took) {
                Some(Took::Done(achieved, found)) => return Ok((achieved, found, slot.server)),
                Some(Took::Busy(retry_ms)) if self.stays(retry_ms, &mut tried) => {
                    self.wait_in_line(retry_ms, &mut tried).await?;
                    continue;
                }
                Some(Took::Busy(_) | Took::Room) => refused = Some(Refusal::Busy),
                Some(Took::UnknownWindow(granted)) => {
                    let heard = self.clock.now();
                    self.windows.insert(slot.server, Window { id: granted, number: 0, heard });
                    if sent > 0 {
                        return Err(ClientError::Unknown(patience));
                    }
                    tried.tries -= 1;
                    continue;
                }
                // The refusal covers every copy of the request.
                Some(Took::Refused(why)) => {
                    (tried.maybe, at) = (false, None);
                    if !passes(&why) {
                        return Err(error_of(why));
                    }
                    refused = Some(why);
                }
                // The refusal covers this copy only.
                Some(Took::NotTaken(why)) if passes(&why) => refused = Some(why),
                Some(Took::NotTaken(why)) => return Err(tried.refused(error_of(why), patience)),
                Some(Took::Fails(error)) => return Err(error),
                Some(Took::Maybe) => return Err(ClientError::Unknown(patience)),
                // Without a dedup window the request is not executed.
                None if slot.window == 0 => self.is_wary(&mut tried),
                None => {
                    self.is_wary(&mut tried);
                    (tried.maybe, at) = (true, Some((slot, sent + 1)));
                }
            }
            self.favourite = (self.favourite + 1) % self.nodes.len();
            backoff = self.pause(backoff, end).await;
        }
    }

    /// Whether to wait for the busy server, instead of trying another server first, once.
    fn stays(&self, retry_ms: u32, tried: &mut Tried) -> bool {
        let soon = Duration::from_millis(u64::from(retry_ms)) < self.patience.attempt;
        retry_ms > 0 && (soon || std::mem::replace(&mut tried.moved, true))
    }

    /// The next slot in the window that the server has granted, or a slot in no window, in which nothing is executed.
    fn slot(&mut self, server: NodeId, now: Time) -> Slot {
        match self.windows.get_mut(&server).filter(|window| now <= window.heard + self.patience.attempt) {
            Some(window) => {
                window.number += 1;
                Slot { server, window: window.id, number: window.number }
            }
            None => Slot { server, window: 0, number: 0 },
        }
    }
}

/// What a server's answer means for the request it answers.
enum Took {
    Done(Achieved, Option<Found>),
    /// The request is not executed, and no copy of it is.
    Refused(Refusal),
    /// This copy of it was not executed.
    NotTaken(Refusal),
    /// Not executed: unknown dedup window. Use this one.
    UnknownWindow(dynamo::WindowId),
    Maybe,
    /// This copy was not executed for lack of room; there is likely to be room in this many milliseconds.
    Busy(u32),
    /// There is room for what was announced.
    Room,
    Fails(ClientError),
}

fn took(answer: ResponseBody) -> Took {
    match answer {
        ResponseBody::Ap(ClientReply::Value { siblings, context, achieved }) => {
            Took::Done(achieved, Some(Found { siblings, context, achieved }))
        }
        ResponseBody::Ap(ClientReply::Done { achieved }) => Took::Done(achieved, None),
        ResponseBody::Ap(ClientReply::Refused(why)) => Took::Refused(why),
        ResponseBody::Ap(ClientReply::UnknownWindow { granted, .. }) => Took::UnknownWindow(granted),
        ResponseBody::Ap(ClientReply::Unfinished { .. }) => Took::Maybe,
        ResponseBody::Refused(Refused::Busy { retry_ms }) if retry_ms > 0 => Took::Busy(retry_ms),
        ResponseBody::Refused(Refused::Busy { .. } | Refused::NotServing(_)) => Took::NotTaken(Refusal::Busy),
        ResponseBody::Continue => Took::Room,
        ResponseBody::Refused(Refused::Invalid(why)) => Took::NotTaken(Refusal::Invalid(why)),
        // All servers have the same buckets, so no server that was asked before has accepted it either.
        ResponseBody::Refused(Refused::OtherMode(ap)) => Took::Fails(ClientError::OtherMode(ap)),
        answer => Took::Fails(ClientError::Confused(format!("{answer:?}"))),
    }
}

/// Whether another server, or the same one later, may do better.
fn passes(why: &Refusal) -> bool {
    matches!(why, Refusal::Busy | Refusal::Unavailable { .. } | Refusal::Rejoining)
}

fn error_of(why: Refusal) -> ClientError {
    match why {
        Refusal::Invalid(why) => ClientError::Invalid(why),
        why => ClientError::Refused(why),
    }
}

impl ClientRequest {
    /// Sets the coordinator's deadline a little before the client's, so that it can still report how far it got.
    fn set_deadline(&mut self, left: Duration) {
        let (ClientRequest::Get { deadline_ms, .. } | ClientRequest::Put { deadline_ms, .. }) = self;
        *deadline_ms = u32::try_from(left.as_millis() * 9 / 10).unwrap_or(u32::MAX).max(1);
    }

    fn take_slot(&mut self, at: Slot) {
        if let ClientRequest::Put { slot, .. } = self {
            *slot = at;
        }
    }
}
