//! What the cores of a node have in common: who waits for answers, what is to leave, what the disk is to do.

use super::NodeConfig;
use super::answers::Answers;
use super::jobs::Job;
use super::mail::Mail;
use crate::types::{Addr, Time, Wall};
use crate::wire::{self, ResponseBody};
use std::collections::VecDeque;

/// Jobs that wait for the disk; beyond it a piece of a snapshot is refused, and the transfer begins again later.
const MAX_JOBS: usize = 64;

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
    /// Messages that wait for the disk.
    pub(super) held: usize,
    /// Bytes of commands proposed here that the disk has not been given yet.
    pub(super) unwritten: usize,
}

impl Shared {
    pub(super) fn new(config: NodeConfig, answers: Answers, mail: Mail) -> Shared {
        Shared { config, answers, responses: Vec::new(), mail, jobs: VecDeque::new(), held: 0, unwritten: 0 }
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
}
