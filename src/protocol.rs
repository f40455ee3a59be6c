//! The interface between pure protocols and their environment.
//!
//! A protocol is a value with one method, [`Protocol::step`]: it takes one input and produces outputs. It does no IO,
//! reads no clock, owns no thread and has no source of entropy, so the same value runs in script tests, in the
//! simulator and in the deployed server. Three rules make that safe:
//!
//! 1. **Time is an input.** Every step receives the node's own monotonic time. A protocol that must be woken says when
//!    ([`Protocol::deadline`]); the driver then steps it with [`Input::Tick`].
//! 2. **Persist before send is data.** [`Outbox::persist`] returns a [`Ticket`]; a message sent with
//!    [`Outbox::send_after`] must not leave the node before the driver has made that ticket durable. The driver reports
//!    durability with [`Input::Persisted`], tickets in increasing order, each covering all earlier ones.
//! 3. **`step` is infallible.** Whatever a peer sent, the protocol answers, ignores or refuses it; it never panics on
//!    input. It does panic (in release builds too) when its own safety invariant is broken: a node that would return
//!    wrong data must stop.

use crate::types::{Lane, NodeId, Time};

/// A deterministic state machine driven from outside.
pub trait Protocol {
    /// A message to or from a peer.
    type Message;
    /// A record to make durable; it must be recovered after a crash.
    type Record;
    /// A request from the node itself.
    type Request;
    /// A request to the node, other than sending and persisting.
    type Effect;

    /// Processes one input at the node's time `now` and appends its outputs to `out`.
    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>);

    /// Latest time at which to step it with [`Input::Tick`], on the same clock as `step`'s `now`.
    fn deadline(&self) -> Option<Time>;
}

/// One input to a protocol.
#[derive(Debug)]
pub enum Input<P: Protocol + ?Sized> {
    /// Time has passed; nothing else happened.
    Tick,
    /// A peer's message arrived. It may be old, duplicated or nonsense.
    Message(NodeId, P::Message),
    /// A request from the node.
    Request(P::Request),
    /// Everything persisted under this ticket and all earlier ones is durable.
    Persisted(Ticket),
}

/// Identifies one batch of records to make durable. Increasing; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub u64);

/// A message, and what must be durable before it may be sent.
#[derive(Debug)]
pub struct Outgoing<M> {
    /// The destination.
    pub to: NodeId,
    /// The message.
    pub message: M,
    /// The ticket that must be durable first, if any.
    pub after: Option<Ticket>,
    /// The lane to use regardless of the message's size, so that it does not overtake earlier messages in that lane.
    pub lane: Option<Lane>,
}

/// The outputs of one or more steps, drained by the driver.
#[derive(Debug)]
pub struct Outbox<P: Protocol + ?Sized> {
    ticket: Ticket,
    records: Vec<P::Record>,
    /// Messages in the order they were sent.
    pub sends: Vec<Outgoing<P::Message>>,
    /// Effects in the order they were requested.
    pub effects: Vec<P::Effect>,
}

impl<P: Protocol + ?Sized> Default for Outbox<P> {
    fn default() -> Self {
        Outbox { ticket: Ticket(1), records: Vec::new(), sends: Vec::new(), effects: Vec::new() }
    }
}

impl<P: Protocol + ?Sized> Outbox<P> {
    /// Requests that `record` be made durable; returns the ticket that reports it.
    pub fn persist(&mut self, record: P::Record) -> Ticket {
        self.records.push(record);
        self.ticket
    }

    /// Sends a message that does not depend on durability.
    pub fn send(&mut self, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after: None, lane: None });
    }

    /// Sends a message that does not depend on durability in the given lane, regardless of its size.
    pub fn send_in(&mut self, lane: Lane, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after: None, lane: Some(lane) });
    }

    /// Sends a message that must wait until `after`, if any, is durable.
    pub fn send_after(&mut self, after: Option<Ticket>, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after, lane: None });
    }

    /// Requests an effect from the node.
    pub fn effect(&mut self, effect: P::Effect) {
        self.effects.push(effect);
    }

    /// Whether records are waiting to be taken.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Returns the waiting records.
    #[must_use]
    pub fn records(&self) -> &[P::Record] {
        &self.records
    }

    /// Takes the records persisted since the last call, with their ticket; later records get a later ticket. Returns
    /// `None` if there are none.
    pub fn take_records(&mut self) -> Option<(Ticket, Vec<P::Record>)> {
        if self.records.is_empty() {
            return None;
        }
        let ticket = self.ticket;
        self.ticket.0 += 1;
        Some((ticket, std::mem::take(&mut self.records)))
    }
}
