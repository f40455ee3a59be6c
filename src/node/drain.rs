//! Graceful stop: the node hands over the groups it leads, answers what is in progress, and accepts nothing new.
//!
//! Each group that it leads goes to the member that holds most of its log. Requests that arrive meanwhile wait until
//! the new leader is known. Then their clients are sent to it, so they lose no more time than the election takes. The
//! node stops when it leads no group that another member could lead, owes no answer, and has received no request for
//! [`QUIET`]: a client that was just answered sends its next request, and must be told where the leader is now. It
//! stops after [`patience`] in any case.

use super::Observer;
use super::driver::Driver;
use super::group::Group;
use super::requests::group_key;
use super::turn::Now;
use crate::env::{Clock, StorageHost, Transport};
use crate::mutant::Bug;
use crate::types::{GroupId, NodeId, Time};
use crate::wire::{Packet, Refused, RequestBody};
use std::collections::BTreeSet;
use std::time::Duration;

/// A node with nothing else to do waits until it has received no request for this long.
const QUIET: Duration = Duration::from_millis(20);

/// Maximum time that a node takes to stop, given its election timeout: enough for a failed transfer and another one.
#[must_use]
pub fn patience(election_timeout: Duration) -> Duration {
    election_timeout * 3
}

/// A stop in progress.
pub(super) struct Drain {
    /// When to stop in any case.
    until: Time,
    /// When there was last something to do or to answer.
    busy: Time,
    /// Groups for which a transfer was started.
    given: BTreeSet<GroupId>,
    /// Requests that wait until the new leader of their group is known, by ticket.
    parked: Vec<(GroupId, u64)>,
}

impl Drain {
    /// Returns when to look again even if nothing arrives.
    pub(super) fn deadline(&self, now: Time) -> Time {
        if self.busy + QUIET > now { self.until.min(self.busy + QUIET) } else { self.until }
    }
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    pub(super) fn begin_drain(&mut self, at: Now) {
        let until = at.time + patience(self.turn.config.raft.election_timeout);
        self.drain = Some(Drain { until, busy: at.time, given: BTreeSet::new(), parked: Vec::new() });
    }

    /// Called at the end of a turn. Returns whether the node may stop now.
    pub(super) fn drained(&mut self, at: Now) -> bool {
        let Some(mut drain) = self.drain.take() else { return false };
        let over = at.time >= drain.until;
        drain.parked.retain(|(id, ticket)| {
            let leader = self.elsewhere(*id);
            if over || leader.is_some() || !drain.given.contains(id) {
                self.turn.refuse(*ticket, Refused::NotLeader(leader));
                return false;
            }
            true
        });
        let mine = |(id, group): (&GroupId, &Group)| {
            let leads = group.leads() && group.raft().best_successor().is_some();
            leads || drain.given.contains(id) && self.elsewhere(*id).is_none()
        };
        let busy = !self.skips_drain() && self.groups.iter().any(mine) || self.turn.pending.open_count() > 0;
        if busy || !self.turn.responses.is_empty() {
            drain.busy = at.time;
        }
        let quiet = drain.busy + QUIET <= at.time;
        self.drain = Some(drain);
        self.send_responses();
        quiet || over
    }

    /// Called at the beginning of a turn. Starts a transfer of every group that is led here and not yet being
    /// transferred.
    pub(super) fn hand_over(&mut self, at: Now) {
        if self.skips_drain() {
            return;
        }
        let Some(drain) = &mut self.drain else { return };
        for (id, group) in &mut self.groups {
            if !group.raft().hands_over()
                && let Some(to) = group.raft().best_successor()
            {
                drain.given.insert(*id);
                group.transfer(None, to, at);
                self.dirty.push(*id);
            }
        }
    }

    /// Returns whether the planted bug is on.
    fn skips_drain(&self) -> bool {
        self.turn.config.mutant.is(Bug::DrainSkipped)
    }

    /// Returns the leader of a group if it is another node.
    fn elsewhere(&self, id: GroupId) -> Option<NodeId> {
        let leader = self.groups.get(&id)?.status().soft.leader;
        leader.filter(|leader| *leader != self.turn.config.raft.id)
    }

    /// Refuses a new request, or parks it until the new leader is known.
    pub(super) fn turn_away(&mut self, ticket: u64, body: &RequestBody) {
        let Some(key) = group_key(body) else {
            return self.turn.refuse(ticket, Refused::Busy { retry_ms: 0 });
        };
        // A parked request is looked at when this turn ends, and refused there if the leader is already known.
        let id = self.turn.config.layout.group_of(key);
        match &mut self.drain {
            Some(drain) if self.groups.contains_key(&id) => drain.parked.push((id, ticket)),
            _ => self.turn.refuse(ticket, Refused::NotLeader(None)),
        }
    }

    /// Sends the responses of this turn.
    pub(super) fn send_responses(&mut self) {
        for (client, response) in self.turn.responses.drain(..) {
            self.transport.send(client, &Packet::Response(response));
        }
    }
}
