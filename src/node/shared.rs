//! What the cores of a node have in common: who waits for answers, what is to leave, what the disk is to do.

use super::NodeConfig;
use super::answers::Answers;
use super::jobs::Job;
use super::mail::Mail;
use crate::types::{Addr, GroupId, Time, Wall};
use crate::wire::{self, ResponseBody};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Jobs that wait for the disk; beyond it a piece of a snapshot is put off, and its transfer goes on later.
const MAX_JOBS: usize = 64;
/// Groups that may be receiving a snapshot at a time, each of which keeps a file open; the others wait for their turn.
const MAX_ARRIVALS: usize = 16;
/// How long a group that is sent no further piece keeps its turn.
const ARRIVAL_IDLE: Duration = Duration::from_secs(2);

/// The node's clocks as they stand.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) time: Time,
    pub(super) wall: Wall,
}

/// The common part.
pub(super) struct Shared {
    pub(super) config: NodeConfig,
    pub(super) answers: Answers,
    /// Answers of this turn, in order.
    pub(super) responses: Vec<(Addr, wire::Response)>,
    pub(super) mail: Mail,
    pub(super) jobs: VecDeque<Job>,
    /// Groups that are receiving a snapshot, and when the last piece of each came.
    arrivals: BTreeMap<GroupId, Time>,
    /// Messages that wait for the disk.
    pub(super) held: usize,
    /// Bytes of commands proposed here that the disk has not been given yet.
    pub(super) unwritten: usize,
}

impl Shared {
    pub(super) fn new(config: NodeConfig, answers: Answers, mail: Mail) -> Shared {
        Shared {
            config,
            answers,
            responses: Vec::new(),
            mail,
            jobs: VecDeque::new(),
            arrivals: BTreeMap::new(),
            held: 0,
            unwritten: 0,
        }
    }

    pub(super) fn respond(&mut self, ticket: u64, body: ResponseBody) {
        if let Some((client, id)) = self.answers.close(ticket) {
            self.responses.push((client, wire::Response { id, body }));
        }
    }

    pub(super) fn refuse(&mut self, ticket: u64, why: wire::Refused) {
        self.respond(ticket, ResponseBody::Refused(why));
    }

    /// With a stalled disk the groups may go on committing without it; what this node has to write must not pile up.
    pub(super) fn writes_pile_up(&self) -> bool {
        self.unwritten > self.config.raft.max_uncommitted_bytes
    }

    pub(super) fn takes_jobs(&self) -> bool {
        self.jobs.len() < MAX_JOBS
    }

    /// Whether a piece of a snapshot for `group` may be written now. Each of the groups that wait is asked again at every
    /// heartbeat, so all get their turn as others are done.
    pub(super) fn takes_arrival(&mut self, group: GroupId, now: Time) -> bool {
        self.arrivals.retain(|other, last| *other == group || *last + ARRIVAL_IDLE > now);
        let room = self.arrivals.contains_key(&group) || self.arrivals.len() < MAX_ARRIVALS;
        let takes = room && self.takes_jobs();
        if takes {
            self.arrivals.insert(group, now);
        }
        takes
    }

    /// The group's snapshot has arrived, or was refused.
    pub(super) fn arrived(&mut self, group: GroupId) {
        self.arrivals.remove(&group);
    }
}
