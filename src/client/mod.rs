//! The client: finds the leader, retries, and says what became of each operation.
//!
//! One operation at a time. A write bears (session, number) and a retry repeats both, so that it is applied at most once
//! however often it is sent (Raft thesis §6.3). The client is generic over the node's own seams, so that the same code
//! runs in the shell, in the simulator's workload and in tests.
//!
//! What an error means is never left open: [`ClientError::happened`] tells whether the operation certainly had no effect
//! or may have had (and, for a write of unknown outcome, may still).

mod ap;

pub use ap::{ApWrite, Found, Wrote};

use crate::dynamo::ClientReply;
use crate::kv::{Condition, Reply, SessionId, Versioned};
use crate::node::{Clock, Transport};
use crate::types::{Addr, Key, NodeId, Rng, Time, Value};
use crate::wire::{NodeStatus, Packet, Refused, Request, RequestBody, Response, ResponseBody, Write};
use std::time::Duration;

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After this the whole operation is given up.
    pub operation: Duration,
    /// After this one server is given up and the next one asked.
    pub attempt: Duration,
    /// After so many tries the whole operation is given up.
    pub tries: u32,
    /// Pause before asking again after a refusal; doubled with each, up to `attempt`, and drawn between half and whole.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            operation: Duration::from_secs(5),
            attempt: Duration::from_millis(1000),
            tries: u32::MAX,
            backoff: Duration::from_millis(20),
        }
    }
}

/// Why an operation did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// No server took it in time.
    #[error("no server carried it out within {0:?}: it certainly did not happen")]
    NotDone(Duration),
    /// Some server may have taken it.
    #[error("no answer within {0:?}: it may have happened, or may yet")]
    Unknown(Duration),
    /// The session was forgotten by the servers. Whether an earlier try (or a copy made by the network) was applied
    /// before that, they no longer know.
    #[error("the session has expired: the write may have happened")]
    SessionExpired,
    /// A server answered what was not asked.
    #[error("the server gave an answer of the wrong kind, so what happened is not known: {0}")]
    Confused(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The key's bucket is of the other mode: AP if this is true.
    #[error("the key is in {} bucket", if *.0 { "an AP" } else { "a CP" })]
    OtherMode(bool),
}

impl ClientError {
    /// Whether the operation may have taken effect.
    #[must_use]
    pub fn happened(&self) -> bool {
        matches!(self, ClientError::Unknown(_) | ClientError::SessionExpired | ClientError::Confused(_))
    }
}

/// One client of a cluster.
pub struct Client<T, C> {
    transport: T,
    clock: C,
    rng: Rng,
    nodes: Vec<NodeId>,
    /// Index into `nodes` of the server to ask first.
    favourite: usize,
    patience: Patience,
    session: Option<SessionId>,
    number: u64,
    next_id: u64,
    /// This client's name and count among writes of AP buckets.
    ap_name: u64,
    ap_number: u64,
}

impl<T: Transport, C: Clock> Client<T, C> {
    /// A client of the cluster made of `nodes` (at least one).
    pub fn new(transport: T, clock: C, nodes: Vec<NodeId>, patience: Patience, mut rng: Rng) -> Client<T, C> {
        assert!(!nodes.is_empty(), "a client needs at least one server to ask");
        let favourite = rng.below(nodes.len() as u64) as usize;
        // Ids start at a random place, so that answers to an earlier client at the same address are not taken for ours.
        let next_id = rng.next() >> 1;
        let ap_name = rng.next();
        let (session, number, ap_number) = (None, 0, 0);
        Client { transport, clock, rng, nodes, favourite, patience, session, number, next_id, ap_name, ap_number }
    }

    /// The value of `key`, as of some moment between call and return.
    ///
    /// # Errors
    /// A read has no effect, so never [`ClientError::Unknown`] or [`ClientError::SessionExpired`].
    pub async fn get(&mut self, key: Key) -> Result<Option<Versioned>, ClientError> {
        match self.call(RequestBody::Get { key }).await {
            Ok(ResponseBody::Reply(Reply::Value(found))) => Ok(found),
            Err(ClientError::Unknown(patience)) => Err(ClientError::NotDone(patience)),
            other => Err(unexpected(other)),
        }
    }

    /// Writes `value` under `key` if `when` holds.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put(
        &mut self,
        key: Key,
        value: Value,
        when: Condition,
        ttl: Option<Duration>,
    ) -> Result<Reply, ClientError> {
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.write(Write::Put { key, value, when, ttl_ms }).await
    }

    /// Removes `key` if `when` holds.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&mut self, key: Key, when: Condition) -> Result<Reply, ClientError> {
        self.write(Write::Delete { key, when }).await
    }

    /// Carries out a write, opening a session first if there is none.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`ClientError::SessionExpired`] the next write opens a new session.
    pub async fn write(&mut self, write: Write) -> Result<Reply, ClientError> {
        let session = match self.session {
            Some(session) => session,
            None => self.open_session(write.key().clone()).await?,
        };
        self.number += 1;
        match self.call(RequestBody::Write { session, number: self.number, write }).await {
            Ok(ResponseBody::Reply(reply @ (Reply::Done { .. } | Reply::Refused(_)))) => Ok(reply),
            Ok(ResponseBody::Reply(Reply::SessionExpired)) => {
                self.session = None;
                Err(ClientError::SessionExpired)
            }
            other => Err(unexpected(other)),
        }
    }

    async fn open_session(&mut self, key: Key) -> Result<SessionId, ClientError> {
        match self.call(RequestBody::OpenSession { key }).await {
            Ok(ResponseBody::Session { id, .. }) => {
                self.session = Some(id);
                self.number = 0;
                Ok(id)
            }
            // A session too many does no harm: it is forgotten in time. The write itself was not sent.
            Err(ClientError::Unknown(patience)) => Err(ClientError::NotDone(patience)),
            other => Err(unexpected(other)),
        }
    }

    /// How the server `node` is, asked once.
    ///
    /// # Errors
    /// [`ClientError::NotDone`] when it does not answer.
    pub async fn status(&mut self, node: NodeId) -> Result<NodeStatus, ClientError> {
        let deadline = self.clock.now() + self.patience.attempt;
        match self.attempt(node, RequestBody::Status, self.next_id, deadline).await {
            Some(ResponseBody::Status(status)) => Ok(status),
            _ => Err(ClientError::NotDone(self.patience.attempt)),
        }
    }

    /// Asks the leader to hand over to `to`. Returns when the transfer has begun.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transfer(&mut self, to: NodeId) -> Result<(), ClientError> {
        match self.call(RequestBody::Transfer { to }).await {
            Ok(ResponseBody::TransferStarted) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks one server after another until one answers or patience ends.
    async fn call(&mut self, body: RequestBody) -> Result<ResponseBody, ClientError> {
        let end = self.clock.now() + self.patience.operation;
        let mut backoff = self.patience.backoff;
        let mut tried = Tried::new(self.next_id);
        loop {
            let now = self.clock.now();
            if now >= end || !tried.again(self.patience.tries) {
                return Err(tried.error(self.patience.operation));
            }
            let node = self.nodes[self.favourite];
            let hint = match self.attempt(node, body.clone(), tried.first, end.min(now + self.patience.attempt)).await {
                Some(ResponseBody::Refused(Refused::Invalid(why))) => return Err(ClientError::Invalid(why)),
                Some(ResponseBody::Refused(Refused::OtherMode(ap))) => return Err(ClientError::OtherMode(ap)),
                Some(ResponseBody::Refused(Refused::NotLeader(hint))) => hint,
                Some(ResponseBody::Refused(Refused::Busy | Refused::Displaced)) => Some(node),
                Some(answer) => return Ok(answer),
                None => {
                    tried.maybe = true;
                    self.favour_next();
                    continue;
                }
            };
            match hint.and_then(|hint| self.nodes.iter().position(|n| *n == hint)) {
                Some(leader) if leader != self.favourite => {
                    self.favourite = leader;
                    // A hint can be wrong, and two nodes can point at each other: never ask without a pause twice.
                    if backoff == self.patience.backoff {
                        backoff *= 2;
                        continue;
                    }
                }
                Some(_) => {}
                None => self.favour_next(),
            }
            let half = backoff / 2;
            let pause = half + Duration::from_nanos(self.rng.below(half.as_nanos() as u64 + 1));
            self.clock.sleep_until(end.min(self.clock.now() + pause)).await;
            backoff = (backoff * 2).min(self.patience.attempt);
        }
    }

    /// Asks this server first the next time, if it is one of the cluster.
    pub fn favour(&mut self, node: NodeId) {
        self.favourite = self.nodes.iter().position(|n| *n == node).unwrap_or(self.favourite);
    }

    fn favour_next(&mut self) {
        self.favourite = (self.favourite + 1) % self.nodes.len();
    }

    /// Asks one server once; `None` when it does not answer by `deadline`. An answer to an earlier attempt at the same
    /// operation, the `first` of which is given, is as good, however late: without it a group that takes longer than an
    /// attempt would never be heard. A late refusal is not, for it says nothing of this attempt.
    async fn attempt(&mut self, node: NodeId, body: RequestBody, first: u64, deadline: Time) -> Option<ResponseBody> {
        let id = self.next_id;
        self.next_id += 1;
        self.transport.send(Addr::Node(node), Packet::Request(Request { id, forwarded: false, body }));
        let clock = self.clock.clone();
        let timeout = clock.sleep_until(deadline);
        tokio::pin!(timeout);
        loop {
            tokio::select! {
                biased;
                (_, packet) = self.transport.recv() => match packet {
                    Packet::Response(Response { id: of, body }) if of == id => return Some(body),
                    Packet::Response(Response { id: of, body })
                        if (first..id).contains(&of) && succeeded(&body) =>
                    {
                        return Some(body);
                    }
                    _ => {} // Too late: of another operation, or a refusal.
                },
                () = &mut timeout => return None,
            }
        }
    }
}

/// How one operation fares.
struct Tried {
    /// The id of its first attempt.
    first: u64,
    tries: u32,
    /// Some server may have taken it.
    maybe: bool,
}

impl Tried {
    fn new(first: u64) -> Tried {
        Tried { first, tries: 0, maybe: false }
    }

    /// Counts another try; whether it is one of the first `most`.
    fn again(&mut self, most: u32) -> bool {
        self.tries += 1;
        self.tries <= most
    }

    fn error(&self, patience: Duration) -> ClientError {
        if self.maybe { ClientError::Unknown(patience) } else { ClientError::NotDone(patience) }
    }
}

/// Whether an answer ends an operation well, whichever attempt at it was answered.
fn succeeded(body: &ResponseBody) -> bool {
    !matches!(
        body,
        ResponseBody::Refused(_) | ResponseBody::Ap(ClientReply::Refused(_) | ClientReply::Unfinished { .. })
    )
}

fn unexpected(answer: Result<ResponseBody, ClientError>) -> ClientError {
    match answer {
        Err(error) => error,
        Ok(answer) => ClientError::Confused(format!("{answer:?}")),
    }
}
