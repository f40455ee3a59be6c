//! The disk's work: batches of the log alternate with snapshots and their chunks.

use super::Observer;
use super::ap::ApHost;
use super::driver::Driver;
use super::group::Group;
use super::jobs::{Batch, Blocks, Job};
use crate::env::{Clock, StorageHost, Transport};
use crate::storage::{LogRecord, ap_meta};
use crate::types::{CoreId, GroupId};
use std::mem;

impl<T: Transport, C: Clock, H: StorageHost, O: Observer> Driver<T, C, H, O> {
    /// Starts the next snapshot. One is written at a time, in the order of the requests.
    #[inline(never)]
    pub(super) fn begin_snapshot(&mut self) {
        while !self.snapshotting
            && let Some(id) = self.snapshots.pop_front()
        {
            let begun = match id {
                CoreId::Group(id) => self.groups.get_mut(&id).and_then(|group| {
                    let begun = group.snapshot();
                    group.snapshotting = begun.is_some();
                    begun
                }),
                CoreId::Ap => self.ap.as_mut().map(|ap| {
                    let snapshot = ap.begin_snapshot();
                    (ap_meta(snapshot.number()), Blocks::Ap(snapshot))
                }),
                CoreId::Node => None,
            };
            if let Some((meta, blocks)) = begun {
                self.snapshotting = true;
                self.turn.jobs.push_back(Job::BeginSnapshot(id, meta, blocks));
            }
        }
    }

    /// Returns the disk's next job. Batches of the log alternate with other jobs, so that neither waits forever under a
    /// constant load.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if mem::take(&mut self.jobs_next)
            && let Some(job) = self.turn.jobs.pop_front()
        {
            return Some(job);
        }
        let mut batch = Batch::default();
        if let Some((ticket, records)) = self.standing.take_records() {
            batch.tickets.push((CoreId::Node, ticket));
            batch.records.extend(records.into_iter().map(LogRecord::Node));
        }
        if let Some((ticket, records)) = self.ap.as_mut().and_then(ApHost::take_records) {
            batch.tickets.push((CoreId::Ap, ticket));
            batch.records.extend(records.into_iter().map(LogRecord::Ap));
        }
        for id in mem::take(&mut self.writing) {
            if let Some((ticket, records)) = self.groups.get_mut(&id).and_then(Group::take_records) {
                self.observer.persisting(id, &records);
                batch.pinned.extend(self.groups[&id].raft().pinned_snapshots().map(|meta| (CoreId::Group(id), meta)));
                batch.tickets.push((CoreId::Group(id), ticket));
                batch.records.extend(records.into_iter().map(|record| LogRecord::Raft(id, record)));
            }
        }
        if batch.tickets.is_empty() {
            self.turn.records.none();
            return self.turn.jobs.pop_front();
        }
        batch.records.extend(self.standing.claims().into_iter().map(LogRecord::Node));
        self.jobs_next = true;
        self.turn.records.written();
        batch.checkpoint = mem::take(&mut self.checkpoint_due);
        if batch.checkpoint {
            batch.records = self.restated();
        }
        Some(Job::Write(batch))
    }

    /// Returns all live state of every core.
    #[inline(never)]
    fn restated(&self) -> Vec<LogRecord> {
        let of_group = |(id, group): (&GroupId, &Group)| {
            let id = *id;
            group.raft().state_records().into_iter().map(move |record| LogRecord::Raft(id, record))
        };
        let cores = self.ap.iter().chain(&self.shelf.ap);
        let ap = cores.flat_map(|ap| ap.dynamo().state_records()).map(LogRecord::Ap);
        let node = self.standing.state_records().into_iter().map(LogRecord::Node);
        node.chain(self.groups.iter().chain(&self.shelf.groups).flat_map(of_group)).chain(ap).collect()
    }
}
