//! The client: finds the leader, retries, and reports the outcome of each operation.
//!
//! A client executes one operation at a time. A write carries (session, number) and a retry repeats both, so that it is
//! applied at most once however often it is sent (Raft thesis §6.3). The client is generic over the node's environment
//! traits, so that the same code runs in the CLI, in the simulator's workload and in tests.
//!
//! Sessions belong to Raft groups. The first write of a key opens a session; the answer names the key's group and the
//! number of groups. From then on the client computes a key's group, and looks up its session and its leader.
//!
//! The meaning of an error is never left open: [`ClientError::happened`] tells whether the operation certainly had no
//! effect or may have had one (a write of unknown outcome may still take effect).

mod ap;
#[cfg(test)]
mod tests;

pub use ap::{ApWrite, Found, Wrote};

use crate::dynamo::{self, ClientReply, Holding};
use crate::env::{Clock, Timer, Transport};
use crate::kv::{Condition, Reply, SessionId, Versioned, Write};
use crate::placement::{SLOTS, group_of};
use crate::types::{Addr, GroupId, Key, NodeId, Rng, Time, Value};
use crate::wire::{NodeStatus, Packet, Refused, Request, RequestBody, Response, ResponseBody};
use std::collections::BTreeMap;
use std::time::Duration;

/// The timeouts and retry limits of a client.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The time after which the client gives up the whole operation.
    pub operation: Duration,
    /// The time after which the client gives up one server and asks the next one.
    pub attempt: Duration,
    /// The number of tries after which the client gives up the whole operation.
    pub tries: u32,
    /// Pause before a retry after a refusal. It doubles with each, up to `attempt`, and the actual pause is drawn
    /// between half of it and all of it.
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
    /// No server accepted it in time.
    #[error("no server carried it out within {0:?}: it certainly did not happen")]
    NotDone(Duration),
    /// All servers are overloaded.
    #[error("the servers have too much to do: it certainly did not happen; try again in {0:?}")]
    Busy(Duration),
    /// Some server may have accepted it.
    #[error("not confirmed within {0:?}: it may have happened, or may yet")]
    Unknown(Duration),
    /// The servers no longer know the session. They cannot tell whether an earlier try (or a copy made by the network)
    /// was applied before it expired.
    #[error("the session has expired: the write may have happened")]
    SessionExpired,
    /// A server gave an answer that does not match the request.
    #[error("the server gave an answer of the wrong kind, so what happened is not known: {0}")]
    Confused(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The reachable servers could not do it in their present state.
    #[error("not done: {0}")]
    Refused(dynamo::Refusal),
    /// The key's bucket is of the other mode: AP if this is true, CP if it is false.
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

/// How long after a busy refusal a client asks for room before it sends a large write.
const WARY: Duration = Duration::from_secs(5);
/// Size of a large write, in bytes.
const LARGE: usize = 4 << 10;

/// A session with one group.
#[derive(Clone, Copy)]
struct Session {
    id: SessionId,
    /// The number of its latest write.
    number: u64,
}

/// One client of a cluster.
pub struct Client<T, C> {
    transport: T,
    clock: C,
    /// Fires when a server has not answered.
    timer: Timer<C>,
    rng: Rng,
    nodes: Vec<NodeId>,
    /// Index into `nodes` of the server to ask first, unless a group's leader is known.
    favourite: usize,
    patience: Patience,
    /// The number of Raft groups, once the first session is open.
    groups: Option<u32>,
    sessions: BTreeMap<GroupId, Session>,
    /// The server to ask first for a group's keys, if that is not the favourite: an index into `nodes`.
    leaders: BTreeMap<GroupId, usize>,
    next_id: u64,
    /// This client's ID and write counter for AP buckets.
    ap_name: u64,
    ap_number: u64,
    /// The dedup window that each server has granted to this client, for writes to AP buckets.
    windows: BTreeMap<NodeId, ap::Window>,
    /// Until this time the client asks for room before it sends a large write.
    wary: Time,
}

impl<T: Transport, C: Clock> Client<T, C> {
    /// Creates a client of the cluster made of `nodes` (at least one).
    pub fn new(transport: T, clock: C, nodes: Vec<NodeId>, patience: Patience, mut rng: Rng) -> Client<T, C> {
        assert!(!nodes.is_empty(), "a client needs at least one server to ask");
        let favourite = rng.below(nodes.len() as u64) as usize;
        // Ids start at a random number, so that answers to an earlier client at the same address are not taken for
        // answers to this one.
        let next_id = rng.next() >> 1;
        let ap_name = rng.next();
        let (groups, sessions, leaders, ap_number) = (None, BTreeMap::new(), BTreeMap::new(), 0);
        Client {
            transport,
            timer: Timer::new(clock.clone()),
            clock,
            rng,
            nodes,
            favourite,
            patience,
            groups,
            sessions,
            leaders,
            next_id,
            ap_name,
            ap_number,
            windows: BTreeMap::new(),
            wary: Time(0),
        }
    }

    /// Returns the value of `key`, as of some moment between call and return.
    ///
    /// # Errors
    /// A read has no effect, so the error is never [`ClientError::Unknown`] or [`ClientError::SessionExpired`].
    pub async fn get(&mut self, key: Key) -> Result<Option<Versioned>, ClientError> {
        let group = self.group(&key);
        match self.call(group, RequestBody::Get { key }).await {
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

    /// Executes a write; opens a session with the key's group first if there is none.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`ClientError::SessionExpired`] the next write to a key of that group opens a new
    /// session.
    pub async fn write(&mut self, write: Write) -> Result<Reply, ClientError> {
        let end = self.clock.now() + self.patience.operation;
        let known = self.groups.and_then(|groups| self.sessions.get_key_value(&group_of(write.key(), groups)));
        let (group, mut session) = match known {
            Some((group, session)) => (*group, *session),
            None => self.open_session(write.key().clone(), end).await?,
        };
        session.number += 1;
        self.sessions.insert(group, session);
        let Session { id, number } = session;
        match self.call_until(end, group, RequestBody::Write { session: id, number, write }).await {
            Ok(ResponseBody::Reply(reply @ (Reply::Done { .. } | Reply::Refused(_)))) => Ok(reply),
            Ok(ResponseBody::Reply(Reply::SessionExpired)) => {
                self.sessions.remove(&group);
                Err(ClientError::SessionExpired)
            }
            other => Err(unexpected(other)),
        }
    }

    /// The key's group; group 1 if the number of groups is not known yet.
    fn group(&self, key: &Key) -> GroupId {
        group_of(key, self.groups.unwrap_or(1))
    }

    async fn open_session(&mut self, key: Key, end: Time) -> Result<(GroupId, Session), ClientError> {
        let asked = self.group(&key);
        match self.call_until(end, asked, RequestBody::OpenSession { key: key.clone() }).await {
            Ok(ResponseBody::Session { id, group, groups }) => {
                let possible = (1..=SLOTS).contains(&groups) && group_of(&key, groups) == group;
                if !possible || self.groups.is_some_and(|known| known != groups) {
                    let what = format!("a session with group {} of {groups}, of {:?} as known", group.0, self.groups);
                    return Err(ClientError::Confused(what));
                }
                self.groups = Some(groups);
                if asked != group
                    && let Some(leader) = self.leaders.remove(&asked)
                {
                    self.leaders.insert(group, leader);
                }
                let session = Session { id, number: 0 };
                self.sessions.insert(group, session);
                Ok((group, session))
            }
            // An extra session does no harm: it expires in time. The write itself was not sent.
            Err(ClientError::Unknown(patience)) => Err(ClientError::NotDone(patience)),
            other => Err(unexpected(other)),
        }
    }

    /// Returns the status of the server `node`, which is asked once.
    ///
    /// # Errors
    /// [`ClientError::NotDone`] when it does not answer.
    pub async fn status(&mut self, node: NodeId) -> Result<NodeStatus, ClientError> {
        let deadline = self.clock.now() + self.patience.attempt;
        match self.attempt(node, RequestBody::Status, &Tried::new(self.next_id, deadline), deadline).await {
            Some(ResponseBody::Status(status)) => Ok(*status),
            _ => Err(ClientError::NotDone(self.patience.attempt)),
        }
    }

    /// Returns what the server `node` holds of a key in an AP bucket. The server is asked once.
    ///
    /// # Errors
    /// [`ClientError::NotDone`] when it does not answer; [`ClientError::OtherMode`].
    pub async fn why(&mut self, node: NodeId, key: Key) -> Result<Vec<Holding>, ClientError> {
        let deadline = self.clock.now() + self.patience.attempt;
        match self.attempt(node, RequestBody::Why { key }, &Tried::new(self.next_id, deadline), deadline).await {
            Some(ResponseBody::Why(holdings)) => Ok(holdings),
            Some(ResponseBody::Refused(Refused::OtherMode(ap))) => Err(ClientError::OtherMode(ap)),
            Some(ResponseBody::Refused(Refused::Invalid(why))) => Err(ClientError::Invalid(why)),
            _ => Err(ClientError::NotDone(self.patience.attempt)),
        }
    }

    /// Asks the server `node`, once, to transfer to `to` the leadership of all groups that it leads and that `to` is
    /// in. Returns whether there are any.
    ///
    /// # Errors
    /// [`ClientError::NotDone`] when it does not answer; [`ClientError::Invalid`].
    pub async fn transfer_from(&mut self, node: NodeId, to: NodeId) -> Result<bool, ClientError> {
        let deadline = self.clock.now() + self.patience.attempt;
        match self.attempt(node, RequestBody::Transfer { to }, &Tried::new(self.next_id, deadline), deadline).await {
            Some(ResponseBody::TransferStarted) => Ok(true),
            Some(ResponseBody::Refused(Refused::NotLeader(_))) => Ok(false),
            Some(ResponseBody::Refused(Refused::Invalid(why))) => Err(ClientError::Invalid(why)),
            _ => Err(ClientError::NotDone(self.patience.attempt)),
        }
    }

    /// Asks the leader of the only group to transfer its leadership to `to`. Returns when the transfer has begun.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn transfer(&mut self, to: NodeId) -> Result<(), ClientError> {
        match self.call(GroupId(1), RequestBody::Transfer { to }).await {
            Ok(ResponseBody::TransferStarted) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Asks one server after another, first the leader of `group`, until one answers or the time is up.
    async fn call(&mut self, group: GroupId, body: RequestBody) -> Result<ResponseBody, ClientError> {
        self.call_until(self.clock.now() + self.patience.operation, group, body).await
    }

    async fn call_until(&mut self, end: Time, group: GroupId, body: RequestBody) -> Result<ResponseBody, ClientError> {
        let mut backoff = self.patience.backoff;
        let mut tried = Tried::new(self.next_id, end);
        loop {
            let now = self.clock.now();
            if now >= end || !tried.again(self.patience.tries) {
                return Err(tried.error(self.patience.operation));
            }
            let at = self.leaders.get(&group).copied().unwrap_or(self.favourite);
            let (node, next) = (self.nodes[at], (at + 1) % self.nodes.len());
            let expect = match &body {
                RequestBody::Write { write, .. } => self.expect((write.key(), body.bytes(), false), &tried, now),
                _ => None,
            };
            let asks = expect.is_some();
            let request = expect.unwrap_or_else(|| body.clone());
            let hint = match self.attempt(node, request, &tried, end.min(now + self.patience.attempt)).await {
                Some(ResponseBody::Continue) if asks => {
                    tried.may_send();
                    continue;
                }
                Some(ResponseBody::Refused(Refused::Busy { retry_ms })) if retry_ms > 0 => {
                    self.wait_in_line(retry_ms, &mut tried).await?;
                    continue;
                }
                Some(ResponseBody::Refused(Refused::Invalid(why))) => {
                    return Err(tried.refused(ClientError::Invalid(why), self.patience.operation));
                }
                // All servers have the same buckets, so no server that was asked before has accepted it either.
                Some(ResponseBody::Refused(Refused::OtherMode(ap))) => return Err(ClientError::OtherMode(ap)),
                Some(ResponseBody::Refused(Refused::NotLeader(hint))) => hint,
                Some(ResponseBody::Refused(Refused::NotServing(_))) => None,
                Some(ResponseBody::Refused(Refused::Busy { .. } | Refused::Displaced)) => Some(node),
                Some(answer) => return Ok(answer),
                None => {
                    self.is_wary(&mut tried);
                    tried.maybe |= !asks;
                    self.leaders.insert(group, next);
                    continue;
                }
            };
            match hint.and_then(|hint| self.nodes.iter().position(|n| *n == hint)) {
                Some(leader) if leader != at => {
                    self.leaders.insert(group, leader);
                    // A hint can be wrong, and two nodes can point at each other: never retry without a pause twice in
                    // a row.
                    if backoff == self.patience.backoff {
                        backoff *= 2;
                        continue;
                    }
                }
                Some(_) => {}
                None => {
                    self.leaders.insert(group, next);
                }
            }
            backoff = self.pause(backoff, end).await;
        }
    }

    /// The server that is asked first: the one that answered last, if any did.
    pub fn asked(&self) -> NodeId {
        self.nodes[self.favourite]
    }

    /// Makes this server the one to ask first, if it is in the cluster.
    pub fn favour(&mut self, node: NodeId) {
        if let Some(at) = self.nodes.iter().position(|n| *n == node) {
            self.favourite = at;
            self.leaders.clear();
        }
    }

    /// Returns the question to ask before a write of this size is sent: whether there is room for it. `None` if the
    /// write is small, if no server was busy or silent lately, or if room was already confirmed.
    fn expect(&self, (key, bytes, ap): (&Key, usize, bool), tried: &Tried, now: Time) -> Option<RequestBody> {
        let asks = bytes >= LARGE && now < self.wary && !tried.may_send;
        asks.then(|| RequestBody::Expect { key: key.clone(), bytes: u32::try_from(bytes).unwrap_or(u32::MAX), ap })
    }

    /// A server has not answered; it may be overloaded.
    fn is_wary(&mut self, tried: &mut Tried) {
        self.wary = self.clock.now() + WARY;
        tried.may_send = false;
    }

    /// A server is busy: waits until the time that the server named, or fails if that is too late.
    async fn wait_in_line(&mut self, retry_ms: u32, tried: &mut Tried) -> Result<(), ClientError> {
        let retry = Duration::from_millis(u64::from(retry_ms)).max(tried.pause);
        tried.pause = (retry * 2).min(self.patience.attempt / 2);
        let now = self.clock.now();
        let at = now + retry + Duration::from_nanos(self.rng.below(retry.as_nanos() as u64 / 16 + 1));
        self.wary = now.max(at) + WARY;
        (tried.may_send, tried.returns) = (false, true);
        if at >= tried.end {
            return Err(tried.refused(ClientError::Busy(retry), self.patience.operation));
        }
        self.clock.sleep_until(at).await;
        Ok(())
    }

    /// Waits before a retry, until `end` at most. Returns the length of the next pause.
    async fn pause(&mut self, backoff: Duration, end: Time) -> Duration {
        let half = backoff / 2;
        let pause = half + Duration::from_nanos(self.rng.below(half.as_nanos() as u64 + 1));
        self.clock.sleep_until(end.min(self.clock.now() + pause)).await;
        (backoff * 2).min(self.patience.attempt)
    }

    /// Asks one server once; `None` when it does not answer by `deadline`. A late answer to an earlier attempt at the
    /// same operation counts as well: without it, a group that takes longer than an attempt would never get its answer
    /// through. A late refusal does not count, because it says nothing about this attempt.
    async fn attempt(
        &mut self,
        node: NodeId,
        body: RequestBody,
        tried: &Tried,
        deadline: Time,
    ) -> Option<ResponseBody> {
        let (id, first) = (self.next_id, tried.first);
        self.next_id += 1;
        let left = tried.end.since(self.clock.now()).as_millis();
        let patience_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        let request = Request { id, forwarded: false, patience_ms, again: tried.returns, body };
        self.transport.send(Addr::Node(node), &Packet::from(request));
        loop {
            self.timer.set(Some(deadline));
            tokio::select! {
                biased;
                (_, packet) = self.transport.recv() => match packet {
                    Packet::Response(Response { id: of, body }) if of == id => {
                        if let Some(window) = self.windows.get_mut(&node) {
                            window.heard = self.clock.now();
                        }
                        return Some(body);
                    }
                    Packet::Response(Response { id: of, body })
                        if (first..id).contains(&of) && succeeded(&body) =>
                    {
                        return Some(body);
                    }
                    _ => {} // Answers another operation, or is a late refusal.
                },
                () = self.timer.fires() => if self.clock.now() >= deadline {
                    return None;
                },
            }
        }
    }
}

/// The progress of one operation.
struct Tried {
    /// The id of its first attempt.
    first: u64,
    tries: u32,
    /// Some server may have accepted it.
    maybe: bool,
    /// When the client gives it up.
    end: Time,
    /// A server has said that there is room for it.
    may_send: bool,
    /// It was refused as busy, and is sent again at the time that the server named.
    returns: bool,
    /// Minimum wait when it is refused as busy again.
    pause: Duration,
    /// It was sent to another server because the first was busy.
    moved: bool,
}

impl Tried {
    fn new(first: u64, end: Time) -> Tried {
        Tried {
            first,
            tries: 0,
            maybe: false,
            end,
            may_send: false,
            returns: false,
            pause: Duration::ZERO,
            moved: false,
        }
    }

    /// There is room for it. The try that asked for room does not count.
    fn may_send(&mut self) {
        self.may_send = true;
        self.tries -= 1;
    }

    /// Counts another try; returns whether it is one of the first `most`.
    fn again(&mut self, most: u32) -> bool {
        self.tries += 1;
        self.tries <= most
    }

    /// What a refusal of this attempt means for the operation: an earlier attempt may have been accepted.
    fn refused(&self, why: ClientError, patience: Duration) -> ClientError {
        if self.maybe { ClientError::Unknown(patience) } else { why }
    }

    fn error(&self, patience: Duration) -> ClientError {
        if self.maybe { ClientError::Unknown(patience) } else { ClientError::NotDone(patience) }
    }
}

/// Whether an answer completes an operation successfully, whichever attempt it answers.
fn succeeded(body: &ResponseBody) -> bool {
    !matches!(
        body,
        ResponseBody::Refused(_)
            | ResponseBody::Continue
            | ResponseBody::Ap(
                ClientReply::Refused(_) | ClientReply::UnknownWindow { .. } | ClientReply::Unfinished { .. }
            )
    )
}

fn unexpected(answer: Result<ResponseBody, ClientError>) -> ClientError {
    match answer {
        Err(error) => error,
        Ok(answer) => ClientError::Confused(format!("{answer:?}")),
    }
}
