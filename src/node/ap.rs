//! The AP core within its node: told the date, its messages kept back until the disk has them, its answers passed on.

use super::Observer;
use super::gate::Gate;
use super::turn::{Now, TurnContext};
use crate::dynamo::{Dynamo, Effect, Message, Record, Request};
use crate::mutant::Bug;
use crate::protocol::{Input, Outbox, Protocol, Ticket};
use crate::types::Time;
use crate::wire::{ResponseBody, ap_bytes};

/// The AP core and what belongs to it alone.
pub(super) struct ApHost {
    pub(super) dynamo: Dynamo,
    outbox: Outbox<Dynamo>,
    gate: Gate<Message>,
    /// It was told the date in this turn, as the first thing it had to do.
    active: bool,
    /// When it wants a turn, as of the end of this one.
    deadline: Option<Time>,
    /// How many of the records that wait to be taken the observer has been shown.
    shown: usize,
    /// How many are being written.
    writing: usize,
    /// Its snapshot is being written, or waits to be.
    pub(super) snapshotting: bool,
}

impl ApHost {
    pub(super) fn new(dynamo: Dynamo) -> ApHost {
        let deadline = dynamo.deadline();
        let (outbox, gate) = (Outbox::default(), Gate::new());
        ApHost { dynamo, outbox, gate, active: false, deadline, shown: 0, writing: 0, snapshotting: false }
    }

    pub(super) fn step(&mut self, input: Input<Dynamo>, at: Now) {
        if !self.active {
            self.active = true;
            self.dynamo.step(at.time, Input::Request(Request::Date(at.wall)), &mut self.outbox);
        }
        self.dynamo.step(at.time, input, &mut self.outbox);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// A batch with records of it is durable.
    pub(super) fn persisted(&mut self, ticket: Ticket, at: Now, turn: &mut TurnContext, observer: &mut impl Observer) {
        observer.ap_durable(std::mem::take(&mut self.writing));
        self.gate.durable(ticket);
        self.step(Input::Persisted(ticket), at);
        while let Some((to, lane, message)) = self.gate.next(&mut turn.held) {
            turn.outbound.ap((to, lane), message);
        }
    }

    /// Carries out what it asked for.
    pub(super) fn settle(&mut self, at: Now, turn: &mut TurnContext, observer: &mut impl Observer) {
        if self.active {
            self.deadline = self.dynamo.deadline();
        }
        if self.deadline.is_some_and(|deadline| deadline <= at.time) {
            self.step(Input::Tick, at);
            self.deadline = self.dynamo.deadline();
        }
        let records = self.outbox.records();
        if records.len() > self.shown {
            observer.ap_changes(&records[self.shown..]);
            self.shown = records.len();
        }
        let early = turn.config.mutant.is(Bug::AckBeforeFsync);
        for outgoing in self.outbox.sends.drain(..) {
            if let Some((to, lane, message)) = self.gate.pass(outgoing, early, ap_bytes, &mut turn.held) {
                turn.outbound.ap((to, lane), message);
            }
        }
        for effect in self.outbox.effects.drain(..) {
            observer.ap_effect(&effect);
            match effect {
                Effect::Reply { id, reply } => turn.respond(id, ResponseBody::Ap(reply)),
                Effect::Note(_) => {}
            }
        }
    }

    pub(super) fn take_records(&mut self) -> Option<(Ticket, Vec<Record>)> {
        self.writing = std::mem::take(&mut self.shown);
        self.outbox.take_records()
    }

    /// Ends the turn.
    pub(super) fn end_turn(&mut self) {
        self.active = false;
    }
}
