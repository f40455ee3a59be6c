//! Client requests: which core, or which other node, executes each.
//!
//! With one Raft group of all nodes, a node that does not lead it returns the leader, and the client goes there. With
//! several groups, any node forwards a request to the leader of the key's group, under a ticket of its own, and passes
//! the response back. A node that receives a forwarded request and does not lead refuses it. If it names another
//! leader, the request is sent there once; after that the client must retry. The outcome of a forwarded request that is
//! not answered in time is unknown, so the client gets no response.
//!
//! With several groups a session's name on the wire includes its group, so that no write is applied under the name of
//! another group's session.

use super::driver::Driver;
use super::group::Group;
use super::intake::{busy, writes};
use super::memory::Memory;
use super::pending::WriteName;
use super::sessions::session_of;
use super::turn::{Now, TurnContext};
use super::{NodeConfig, Observer};
use crate::dynamo::{self, ClientRequest};
use crate::env::{Clock, StorageHost, Transport};
use crate::kv::Op;
use crate::protocol::Input;
use crate::types::{Addr, CoreId, GroupId, Key, Mode, NodeId, Time};
use crate::wire::{self, ApStatus, Packet, Refused, RequestBody, ResponseBody};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Maximum wait for the response to a forwarded request: a client's default timeout.
const PATIENCE: Duration = Duration::from_secs(5);
/// Number of answered forwarded requests whose deadlines may still be kept.
const ANSWERED: usize = 1000;

/// A forwarded request.
struct Relayed {
    group: GroupId,
    to: NodeId,
    /// The request, to be sent to another node if this one does not lead. `None` after it was sent again.
    again: Option<RequestBody>,
    bytes: usize,
    /// When it is given up, and whether the client sent it as a retry, at the time it was told to.
    until: Time,
    returns: bool,
}

/// Only one in this many open requests may wait for the same other node: a slow node must not exhaust them.
const OF_ALL: usize = 4;

/// The deadline and the retry flag of a forwarded request.
#[derive(Clone, Copy)]
pub(super) struct Passed {
    until: Time,
    returns: bool,
}

/// What to do with the response to a forwarded request.
pub(super) enum Relay {
    /// Pass it to the client.
    Give(ResponseBody),
    /// Send the request to that node instead.
    Ask(NodeId, RequestBody, Passed),
    /// Ignore it: it is too late, or does not belong to a request.
    Drop,
}

/// Forwarded requests without a response: at most as many as open requests, and a bounded number of deadlines of
/// others.
#[derive(Default)]
pub(super) struct Relays {
    /// By ticket.
    open: BTreeMap<u64, Relayed>,
    /// The deadlines, in order.
    until: BTreeSet<(Time, u64)>,
    /// The presumed leaders of groups that this node is not a member of.
    leaders: BTreeMap<GroupId, NodeId>,
    /// Number of requests that wait for each node, and their bytes.
    waiting: BTreeMap<NodeId, (usize, usize)>,
}

impl Relays {
    /// Returns whether one more request with `bytes` may wait for `to`.
    pub(super) fn has_room(&self, to: NodeId, bytes: usize, config: &NodeConfig) -> bool {
        let (count, waiting) = self.waiting.get(&to).copied().unwrap_or_default();
        let most = Memory(config.memory_bytes).admitted(config.layout.nodes().count());
        count < (config.max_open_requests / OF_ALL).max(1) && (count == 0 || waiting + bytes <= most)
    }

    fn waits(&mut self, relayed: Relayed, ticket: u64) {
        let (count, bytes) = self.waiting.entry(relayed.to).or_default();
        (*count, *bytes) = (*count + 1, *bytes + relayed.bytes);
        self.open.insert(ticket, relayed);
    }

    fn remove(&mut self, ticket: u64) -> Option<Relayed> {
        let relayed = self.open.remove(&ticket)?;
        if let Some((count, bytes)) = self.waiting.get_mut(&relayed.to) {
            (*count, *bytes) = (*count - 1, *bytes - relayed.bytes);
        }
        Some(relayed)
    }

    fn insert(&mut self, ticket: u64, relayed: Relayed) {
        self.until.insert((relayed.until, ticket));
        self.waits(relayed, ticket);
        if self.until.len() > 2 * self.open.len() + ANSWERED {
            self.until.retain(|(_, ticket)| self.open.contains_key(ticket));
        }
    }

    /// Gives up the requests that were not answered in time.
    pub(super) fn expire(&mut self, now: Time, turn: &mut TurnContext) {
        while self.until.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, ticket)) = self.until.pop_first() else { return };
            if let Some(relayed) = self.remove(ticket) {
                self.leaders.remove(&relayed.group);
                turn.pending.close(ticket);
            }
        }
    }

    /// Returns the number of forwarded requests without a response.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Handles the response of `from` to the request forwarded under `ticket`.
    pub(super) fn answered(&mut self, from: NodeId, ticket: u64, body: ResponseBody) -> Relay {
        if self.open.get(&ticket).is_none_or(|relayed| relayed.to != from) {
            return Relay::Drop;
        }
        let Some(mut relayed) = self.remove(ticket) else { return Relay::Drop };
        let group = relayed.group;
        match &body {
            ResponseBody::Refused(Refused::NotLeader(Some(leader))) => {
                self.leaders.insert(group, *leader);
                if let Some(request) = relayed.again.take().filter(|_| *leader != from) {
                    let passed = Passed { until: relayed.until, returns: relayed.returns };
                    relayed.to = *leader;
                    self.waits(relayed, ticket);
                    return Relay::Ask(*leader, request, passed);
                }
            }
            // That node leads, but is busy.
            ResponseBody::Refused(Refused::Busy { .. }) => {}
            ResponseBody::Refused(_) => drop(self.leaders.remove(&group)),
            _ => drop(self.leaders.insert(group, from)),
        }
        Relay::Give(body)
    }
}

/// Returns the key of a request that a Raft group executes.
pub(super) fn group_key(body: &RequestBody) -> Option<&Key> {
    match body {
        RequestBody::OpenSession { key } | RequestBody::Get { key } | RequestBody::Expect { key, ap: false, .. } => {
            Some(key)
        }
        RequestBody::Write { write, .. } => Some(write.key()),
        _ => None,
    }
}

/// Which node executes a request. A request for no Raft group is executed here.
#[derive(Clone, Copy)]
pub(super) enum Route {
    Here,
    Pass(NodeId),
    Nobody,
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    pub(super) fn on_request(&mut self, client: Addr, request: wire::Request, at: Now) {
        let wire::Request { id, body, forwarded, patience_ms, again } = request;
        // The client has given up.
        if patience_ms == 0 || self.turn.pending.repeated(client, id) {
            return;
        }
        let group = group_key(&body).map(|key| self.turn.config.layout.group_of(key));
        // A retry of a write that is under way gets the answer to it.
        let name = self.name_of(&body, group);
        if name.is_some_and(|name| self.turn.pending.join(name, client, id)) {
            return;
        }
        let patience = Duration::from_millis(u64::from(patience_ms));
        let route = group.map_or(Route::Here, |group| self.route(group, forwarded));
        let ticket = match self.admits(client, id, &body, (group, route), (again, patience)) {
            Ok(ticket) => ticket,
            Err(retry) => {
                let body = ResponseBody::Refused(busy(retry));
                return self.turn.responses.push((client, wire::Response { id, body }));
            }
        };
        if self.drain.is_some() && !matches!(body, RequestBody::Status | RequestBody::Why { .. }) {
            return self.turn_away(ticket, &body);
        }
        if let Some(why) = self.standing.refusal().filter(|_| !self.answers_always(&body)) {
            return self.turn.refuse(ticket, Refused::NotServing(why));
        }
        if let Some(group) = group {
            let passed = Passed { until: at.time + patience.min(PATIENCE), returns: again };
            return self.on_group_request(ticket, (group, route), (body, passed), at);
        }
        self.on_own_request(ticket, body, name, at);
    }

    /// The name of a write that this node executes itself: a retry has the same.
    fn name_of(&self, body: &RequestBody, group: Option<GroupId>) -> Option<WriteName> {
        match body {
            RequestBody::Write { session, number, .. } => {
                group.filter(|group| self.leads(*group)).map(|group| (CoreId::Group(group), *session, *number))
            }
            RequestBody::Ap(ClientRequest::Put { slot, .. }) if slot.window != 0 => {
                Some((CoreId::Ap, slot.window, slot.number))
            }
            _ => None,
        }
    }

    /// Whether a node that takes no part in Raft groups answers the request all the same. The AP core checks for itself
    /// what it can do.
    fn answers_always(&self, body: &RequestBody) -> bool {
        match body {
            RequestBody::Status => true,
            RequestBody::Ap(_) | RequestBody::Why { .. } | RequestBody::Expect { ap: true, .. } => self.ap.is_some(),
            _ => false,
        }
    }

    /// A request that concerns no Raft group.
    fn on_own_request(&mut self, ticket: u64, body: RequestBody, name: Option<WriteName>, at: Now) {
        let bytes = if writes(&body) { body.bytes() } else { 0 };
        match body {
            RequestBody::Status => {
                let status = self.status();
                self.turn.respond(ticket, ResponseBody::Status(Box::new(status)));
            }
            RequestBody::Transfer { to } => self.transfer(ticket, to, at),
            RequestBody::Ap(request) => {
                if self.is_mode(ticket, request.key(), true)
                    && let Some(ap) = &mut self.ap
                {
                    if let Some(name) = name {
                        self.turn.pending.underway(ticket, name);
                    }
                    self.turn.records.add(bytes);
                    ap.step(Input::Request(dynamo::Request::Client { id: ticket, request }), at);
                }
            }
            RequestBody::Why { key } => {
                if self.is_mode(ticket, &key, true)
                    && let Some(ap) = &self.ap
                {
                    let holdings = ap.dynamo().why(&key);
                    self.turn.respond(ticket, ResponseBody::Why(holdings));
                }
            }
            RequestBody::Expect { ap: true, key, .. } if self.is_mode(ticket, &key, true) => {
                self.turn.respond(ticket, ResponseBody::Continue);
            }
            _ => {}
        }
    }

    /// Returns whether the key's bucket has the mode that the request is for; refuses the request if not.
    fn is_mode(&mut self, ticket: u64, key: &Key, ap: bool) -> bool {
        let is_ap = matches!(self.turn.config.layout.buckets.mode(key), Mode::Ap(_));
        if is_ap != ap {
            self.turn.refuse(ticket, Refused::OtherMode(is_ap));
        }
        is_ap == ap
    }

    fn on_group_request(
        &mut self,
        ticket: u64,
        (id, route): (GroupId, Route),
        (body, passed): (RequestBody, Passed),
        at: Now,
    ) {
        if let Some(key) = group_key(&body)
            && !self.is_mode(ticket, &key.clone(), false)
        {
            return;
        }
        match (route, self.groups.get_mut(&id)) {
            (Route::Here, Some(group)) => {
                self.dirty.push(id);
                ask(group, ticket, body, at, &mut self.turn);
            }
            (Route::Pass(to), _) => {
                let Passed { until, returns } = passed;
                let (again, bytes) = (Some(body.clone()), body.bytes());
                self.relays.insert(ticket, Relayed { group: id, to, again, bytes, until, returns });
                self.pass_on(ticket, to, (body, passed), at);
            }
            _ => self.turn.refuse(ticket, Refused::NotLeader(None)),
        }
    }

    fn pass_on(&mut self, ticket: u64, to: NodeId, (body, passed): (RequestBody, Passed), at: Now) {
        let patience_ms = u32::try_from(passed.until.since(at.time).as_millis()).unwrap_or(u32::MAX).max(1);
        let request = wire::Request { id: ticket, forwarded: true, patience_ms, again: passed.returns, body };
        self.transport.send(Addr::Node(to), &Packet::from(request));
    }

    /// Handles another node's response.
    pub(super) fn on_response(&mut self, from: NodeId, response: wire::Response, at: Now) {
        match self.relays.answered(from, response.id, response.body) {
            Relay::Give(body) => self.turn.respond(response.id, body),
            // This node itself was elected meanwhile.
            Relay::Ask(to, body, _) if to == self.turn.config.raft.id => {
                let Some(relayed) = self.relays.remove(response.id) else { return };
                match self.groups.get_mut(&relayed.group) {
                    Some(group) => {
                        self.dirty.push(relayed.group);
                        ask(group, response.id, body, at, &mut self.turn);
                    }
                    None => self.turn.refuse(response.id, Refused::NotLeader(None)),
                }
            }
            Relay::Ask(to, body, passed) => self.pass_on(response.id, to, (body, passed), at),
            Relay::Drop => {}
        }
    }

    fn route(&self, id: GroupId, forwarded: bool) -> Route {
        let layout = &self.turn.config.layout;
        let up = |node: &NodeId| self.detector.as_ref().is_none_or(|detector| detector.is_up(*node));
        let Some(group) = self.groups.get(&id).filter(|group| group.serves()) else {
            let me = self.turn.config.raft.id;
            let known = self.relays.leaders.get(&id).copied().filter(|node| up(node) && *node != me);
            let any = || layout.voters_of(id).into_iter().find(|node| up(node) && *node != me);
            return match known.or_else(any) {
                Some(to) if !forwarded => Route::Pass(to),
                _ => Route::Nobody,
            };
        };
        match group.status().soft.leader.filter(|leader| *leader != self.turn.config.raft.id) {
            // The group would only name a leader that does not answer. Another is about to be elected.
            Some(leader) if !up(&leader) => Route::Nobody,
            Some(leader) if !forwarded && layout.groups > 1 => Route::Pass(leader),
            _ => Route::Here,
        }
    }

    /// Starts a transfer of every group that this node leads and that `to` is a member of.
    fn transfer(&mut self, ticket: u64, to: NodeId, at: Now) {
        if self.turn.config.layout.groups == 1
            && let Some((id, group)) =
                self.groups.first_key_value().map(|(id, _)| *id).zip(self.groups.values_mut().next())
        {
            self.dirty.push(id);
            return group.transfer(Some(ticket), to, at);
        }
        if self.turn.config.layout.nodes().all(|node| node != to) {
            return self.turn.refuse(ticket, Refused::Invalid("no such node in this cluster".to_owned()));
        }
        let mut begun = false;
        for (id, group) in &mut self.groups {
            if group.leads() && group.raft().quorum().contains(to) {
                group.transfer(None, to, at);
                self.dirty.push(*id);
                begun = true;
            }
        }
        let body = if begun { ResponseBody::TransferStarted } else { ResponseBody::Refused(Refused::NotLeader(None)) };
        self.turn.respond(ticket, body);
    }

    fn status(&self) -> wire::NodeStatus {
        let config = &self.turn.config;
        let first = self.groups.values().next();
        let sum = |of: fn(&Group) -> u64| self.groups.values().map(of).sum();
        let down = |detector: &dyn super::Detector| config.layout.nodes().filter(|n| !detector.is_up(*n)).collect();
        wire::NodeStatus {
            node: config.raft.id,
            voters: first.map_or(Vec::new(), |group| group.raft().quorum().voters().collect()),
            raft: first.map_or(wire::NO_GROUP, Group::status),
            applied: first.map_or(0, |group| group.kv.applied()),
            keys: sum(|group| group.kv.len()),
            sessions: sum(|group| group.kv.sessions()),
            bad_frames: self.transport.bad_frames(),
            all_groups: config.layout.groups,
            groups: self.groups.len() as u32,
            led: self.groups.values().filter(|group| group.leads()).count() as u32,
            ap: self.ap.as_ref().map(|ap| ApStatus {
                keys: ap.dynamo().keys().len() as u64,
                hints: ap.dynamo().hints().len() as u64,
                epoch: ap.dynamo().epoch(),
            }),
            layout: config.layout.digest(),
            diverged: self.groups.values().filter_map(Group::divergence).collect(),
            standing: self.standing.standing(),
            idle: self.standing.refusal(),
            down: self.detector.as_deref().map_or(Vec::new(), down),
        }
    }
}

/// Executes a request in a group.
fn ask(group: &mut Group, ticket: u64, body: RequestBody, at: Now, turn: &mut TurnContext) {
    match body {
        RequestBody::Get { key } => group.read(ticket, key, at),
        RequestBody::OpenSession { .. } | RequestBody::Write { .. } if turn.writes_pile_up() => {
            turn.refuse(ticket, Refused::Busy { retry_ms: 0 });
        }
        RequestBody::Expect { .. } if group.leads() => turn.respond(ticket, ResponseBody::Continue),
        RequestBody::Expect { .. } => turn.refuse(ticket, Refused::NotLeader(group.status().soft.leader)),
        RequestBody::OpenSession { .. } => group.propose(ticket, None, Op::OpenSession, at, turn),
        RequestBody::Write { session: name, number, write } => {
            let (session, of) = session_of(name, turn.config.layout.groups);
            let wrong = write.check_limits().err();
            let elsewhere = (of != group.id).then(|| "the session is of another group than the key".to_owned());
            if let Some(why) = wrong.or(elsewhere) {
                return turn.refuse(ticket, Refused::Invalid(why));
            }
            turn.pending.underway(ticket, (CoreId::Group(group.id), name, number));
            group.propose(ticket, Some((session, number)), Op::Write(write), at, turn);
        }
        _ => {}
    }
}
