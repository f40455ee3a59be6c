//! The AP core within its node: gives it the date, holds its messages until the disk has their records, and passes on
//! its replies.

use super::Observer;
use super::host::Host;
use super::turn::{Now, TurnContext};
use crate::dynamo::{Dynamo, Effect, Record, Request, StoreSnapshot};
use crate::mutant::Bug;
use crate::protocol::{Input, Protocol, Ticket};
use crate::types::Time;
use crate::wire::{ResponseBody, ap_bytes};

/// The AP core and its own state in the driver.
pub(super) struct ApHost {
    host: Host<Dynamo>,
    /// Whether it was given the date in this turn. This is always its first step of a turn.
    active: bool,
    /// When it needs its next turn, as of the end of this one.
    deadline: Option<Time>,
    /// Number of records not yet taken that the observer has been shown.
    shown: usize,
    /// Number of records being written.
    writing: usize,
    /// Whether its snapshot is being written or waits to be written.
    pub(super) snapshotting: bool,
}

impl ApHost {
    pub(super) fn new(dynamo: Dynamo) -> ApHost {
        let deadline = dynamo.deadline();
        let host = Host::new(dynamo);
        ApHost { host, active: false, deadline, shown: 0, writing: 0, snapshotting: false }
    }

    pub(super) fn dynamo(&self) -> &Dynamo {
        &self.host.core
    }

    pub(super) fn begin_snapshot(&mut self) -> StoreSnapshot {
        self.host.core.begin_snapshot()
    }

    pub(super) fn snapshot_finished(&mut self) {
        self.host.core.snapshot_finished();
        self.snapshotting = false;
    }

    pub(super) fn step(&mut self, input: Input<Dynamo>, at: Now) {
        if !self.active {
            self.active = true;
            self.host.step(Input::Request(Request::Date(at.wall)), at.time);
        }
        self.host.step(input, at.time);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Handles the completion of a batch that contains its records.
    pub(super) fn persisted(&mut self, ticket: Ticket, at: Now, turn: &mut TurnContext, observer: &mut impl Observer) {
        observer.ap_durable(std::mem::take(&mut self.writing));
        self.step(Input::Persisted(ticket), at);
        let (outbound, held) = (&mut turn.outbound, &mut turn.held);
        self.host.durable(ticket, held, |(to, lane, message)| outbound.ap((to, lane), message));
    }

    /// Carries out the core's effects and passes on its messages.
    pub(super) fn settle(&mut self, at: Now, turn: &mut TurnContext, observer: &mut impl Observer) {
        if self.active {
            self.deadline = self.host.core.deadline();
        }
        if self.deadline.is_some_and(|deadline| deadline <= at.time) {
            self.step(Input::Tick, at);
            self.deadline = self.host.core.deadline();
        }
        let records = self.host.outbox.records();
        if records.len() > self.shown {
            observer.ap_changes(&records[self.shown..]);
            self.shown = records.len();
        }
        let early = turn.config.mutant.is(Bug::AckBeforeFsync);
        let (outbound, held) = (&mut turn.outbound, &mut turn.held);
        self.host.send(early, ap_bytes, held, |(to, lane, message)| outbound.ap((to, lane), message));
        for effect in self.host.outbox.effects.drain(..) {
            observer.ap_effect(&effect);
            match effect {
                Effect::Reply { id, reply } => turn.respond(id, ResponseBody::Ap(reply)),
                Effect::Note(_) => {}
            }
        }
    }

    pub(super) fn take_records(&mut self) -> Option<(Ticket, Vec<Record>)> {
        self.writing = std::mem::take(&mut self.shown);
        self.host.take_records()
    }

    pub(super) fn end_turn(&mut self) {
        self.active = false;
    }
}
