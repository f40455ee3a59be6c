//! A node that is told to stop ends well: it hands over what it leads, answers what is under way and takes on nothing new.
//!
//! Each group that it leads goes to the member that holds most of its log. Requests that come meanwhile wait until the new leader
//! is known and are then sent there, so that clients lose no more time than the election takes. The node stops when it leads nothing
//! that another could lead, owes no answer and was asked nothing for [`QUIET`] (who has just been answered asks again, and is to hear
//! where the leader is now), or after [`patience`].

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

/// A node that has done all else waits until nobody has asked it anything for this long.
const QUIET: Duration = Duration::from_millis(20);

/// How long a node takes to stop at most, given its election timeout: time for a transfer that fails and another.
#[must_use]
pub fn patience(election_timeout: Duration) -> Duration {
    election_timeout * 3
}

/// A stop under way.
pub(super) struct Drain {
    /// When to stop in any case.
    until: Time,
    /// When something was last to be done or answered.
    busy: Time,
    /// Groups that are or were handed over.
    given: BTreeSet<GroupId>,
    /// Requests that wait for the new leader of their group to be known, by ticket.
    parked: Vec<(GroupId, u64)>,
}

impl Drain {
    /// When to look again, whatever arrives.
    pub(super) fn deadline(&self, now: Time) -> Time {
        if self.busy + QUIET > now { self.until.min(self.busy + QUIET) } else { self.until }
    }
}

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    pub(super) fn begin_drain(&mut self, at: Now) {
        let until = at.time + patience(self.turn.config.raft.election_timeout);
        self.drain = Some(Drain { until, busy: at.time, given: BTreeSet::new(), parked: Vec::new() });
    }

    /// At the end of a turn: whether the node may stop now.
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

    /// At the beginning of a turn: begins to hand over what is led here and not being handed over yet.
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

    /// The planted bug.
    fn skips_drain(&self) -> bool {
        self.turn.config.mutant.is(Bug::DrainSkipped)
    }

    /// Who leads a group, if that is another node.
    fn elsewhere(&self, id: GroupId) -> Option<NodeId> {
        let leader = self.groups.get(&id)?.status().soft.leader;
        leader.filter(|leader| *leader != self.turn.config.raft.id)
    }

    /// Takes on nothing new.
    pub(super) fn turn_away(&mut self, ticket: u64, body: &RequestBody) {
        let Some(key) = group_key(body) else {
            return self.turn.refuse(ticket, Refused::Busy { retry_ms: 0 });
        };
        // Parked, it is looked at when this turn ends, and refused there if the leader is known already.
        let id = self.turn.config.layout.group_of(key);
        match &mut self.drain {
            Some(drain) if self.groups.contains_key(&id) => drain.parked.push((id, ticket)),
            _ => self.turn.refuse(ticket, Refused::NotLeader(None)),
        }
    }

    /// Sends the answers that have come together.
    pub(super) fn send_responses(&mut self) {
        for (client, response) in self.turn.responses.drain(..) {
            self.transport.send(client, &Packet::Response(response));
        }
    }
}
