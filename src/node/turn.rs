//! The turn context, shared by all cores of a node: pending requests, outbound messages, and jobs for the disk.

use super::NodeConfig;
use super::gate::Held;
use super::jobs::Job;
use super::memory::{Memory, Records};
use super::outbound::Outbound;
use super::pending::PendingRequests;
use crate::dynamo::ClientReply;
use crate::kv::Reply;
use crate::mutant::Bug;
use crate::types::{Addr, GroupId, Time, Wall};
use crate::wire::{self, ResponseBody};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Maximum number of jobs that wait for the disk. Beyond it, or beyond the memory for them, a chunk of a snapshot is
/// put off, and its transfer continues later.
const MAX_JOBS: usize = 64;
/// Maximum number of groups that receive a snapshot at a time. Each keeps a file open. The others wait.
const MAX_ARRIVALS: usize = 16;
/// How long a group that receives no further chunk keeps its place.
const ARRIVAL_IDLE: Duration = Duration::from_secs(2);

/// The node's clocks, as read in this turn.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) time: Time,
    pub(super) wall: Wall,
}

/// What all cores of a node share.
pub(super) struct TurnContext {
    pub(super) config: NodeConfig,
    pub(super) pending: PendingRequests,
    /// Responses of this turn, in order.
    pub(super) responses: Vec<(Addr, wire::Response)>,
    pub(super) outbound: Outbound,
    pub(super) jobs: VecDeque<Job>,
    /// Groups that are receiving a snapshot, and when the last chunk of each arrived.
    arrivals: BTreeMap<GroupId, Time>,
    /// Messages that wait for the disk.
    pub(super) held: Held,
    /// Records that wait for the disk.
    pub(super) records: Records,
}

impl TurnContext {
    pub(super) fn new(config: NodeConfig, pending: PendingRequests, outbound: Outbound) -> TurnContext {
        let memory = Memory(config.memory_bytes);
        let limit = |share: usize| if config.mutant.is(Bug::BudgetIgnored) { usize::MAX } else { share };
        let (held, records) = (Held::new(limit(memory.held())), Records::new(limit(memory.records())));
        let (responses, jobs, arrivals) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        TurnContext { config, pending, responses, outbound, jobs, arrivals, held, records }
    }

    pub(super) fn respond(&mut self, ticket: u64, body: ResponseBody) {
        match &body {
            ResponseBody::Reply(Reply::Value(_)) => self.pending.found(false, body.bytes()),
            ResponseBody::Ap(ClientReply::Value { .. }) => self.pending.found(true, body.bytes()),
            _ => {}
        }
        let refused = matches!(
            body,
            ResponseBody::Refused(_) | ResponseBody::Ap(ClientReply::Refused(_) | ClientReply::UnknownWindow { .. })
        );
        if refused {
            self.pending.untimed(ticket);
        }
        if let Some((client, id)) = self.pending.close(ticket) {
            self.responses.push((client, wire::Response { id, body }));
        }
    }

    pub(super) fn refuse(&mut self, ticket: u64, why: wire::Refused) {
        self.respond(ticket, ResponseBody::Refused(why));
    }

    /// Returns whether too many records wait for the disk. While this node's disk is stalled the other nodes may go on
    /// without it, but its queue must not grow.
    pub(super) fn writes_pile_up(&self) -> bool {
        self.records.pile_up()
    }

    /// Returns whether there is room for another job with `bytes` of a snapshot.
    pub(super) fn takes_job(&self, bytes: usize) -> bool {
        let limit = Memory(self.config.memory_bytes).snapshots();
        self.jobs.len() < MAX_JOBS && (self.jobs.is_empty() || self.job_bytes() + bytes <= limit)
    }

    fn job_bytes(&self) -> usize {
        let bytes = |job: &Job| if let Job::SaveChunk { data, .. } = job { data.len() } else { 0 };
        self.jobs.iter().map(bytes).sum()
    }

    /// Returns the bytes in the queues that the node's memory budget bounds.
    pub(super) fn queued(&self) -> usize {
        self.pending.bytes() + self.held.bytes + self.records.bytes() + self.job_bytes()
    }

    /// Returns whether a chunk of `bytes` of a snapshot for `group` may be written now. A waiting group asks again at
    /// every heartbeat, so each gets a place when another group is done.
    pub(super) fn takes_arrival(&mut self, group: GroupId, bytes: usize, now: Time) -> bool {
        self.arrivals.retain(|other, last| *other == group || *last + ARRIVAL_IDLE > now);
        let room = self.arrivals.contains_key(&group)
            || self.arrivals.len() < MAX_ARRIVALS
            || self.config.mutant.is(Bug::BusyStartsOver);
        let takes = room && self.takes_job(bytes);
        if takes {
            self.arrivals.insert(group, now);
        }
        takes
    }

    /// Frees the place of a group whose snapshot has arrived or was refused.
    pub(super) fn arrived(&mut self, group: GroupId) {
        self.arrivals.remove(&group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::admission::Admission;
    use crate::placement::{Buckets, Layout};
    use crate::raft;
    use crate::types::NodeId;
    use std::sync::Arc;

    #[test]
    fn groups_take_turns_at_receiving_snapshots() {
        let layout = Arc::new(Layout::new(Vec::new(), Buckets::default(), 1, 1));
        let config = NodeConfig::new(raft::Config::new(NodeId(1), Vec::new()), layout);
        let admission = || Admission::new(1 << 20, Duration::from_secs(1), Time(0), config.mutant);
        let pending = PendingRequests::new(1, 1, (admission(), admission()));
        let mut turn = TurnContext::new(config, pending, Outbound::default());
        let group = |n: usize| GroupId(n as u32);
        let mut now = Time(0);
        assert!((0..MAX_ARRIVALS).all(|n| turn.takes_arrival(group(n), 1, now)));
        assert!(!turn.takes_arrival(group(99), 1, now), "it waits");
        assert!(turn.takes_arrival(group(0), 1, now), "one that has its turn goes on");
        turn.arrived(group(0));
        assert!(turn.takes_arrival(group(99), 1, now) && !turn.takes_arrival(group(0), 1, now));
        now = now + ARRIVAL_IDLE;
        assert!(turn.takes_arrival(group(0), 1, now), "the others were sent nothing for long");
        assert_eq!(turn.arrivals.len(), 1);
    }
}
