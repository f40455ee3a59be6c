//! The seam between pure protocols and the world.
//!
//! A protocol is a value with one method, [`Protocol::step`]: an input goes in, outputs come out. It does no IO, reads
//! no clock, owns no thread and has no entropy of its own, so the very same value runs in a script test, in the
//! simulator and in the deployed server. Three rules make that safe:
//!
//! 1. **Time is an input.** Every step is told the node's own monotonic time. A protocol that wants to be woken says
//!    when ([`Protocol::deadline`]); the driver then steps it with [`Input::Tick`].
//! 2. **Persist before send is data.** [`Outbox::persist`] returns a [`Ticket`]; a message sent with
//!    [`Outbox::send_after`] must not leave the node before the driver has made that ticket durable. The driver reports
//!    durability with [`Input::Persisted`], tickets in increasing order, each covering all earlier ones.
//! 3. **`step` is infallible.** Whatever a peer sent, it answers, ignores or refuses; it never panics on input. It does
//!    panic (in release builds too) when its own safety invariant is broken: a node that would lie must stop.

use crate::types::{Lane, NodeId, Time};

/// A deterministic state machine driven from outside.
pub trait Protocol {
    /// What it says to its peers.
    type Message;
    /// What it must find again after a crash.
    type Record;
    /// What the node itself asks of it.
    type Request;
    /// What it asks of the node, apart from sending and persisting.
    type Effect;

    /// Takes one input at the node's time `now`, appending what follows from it to `out`.
    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>);

    /// When it wants to be stepped with [`Input::Tick`] at the latest, on the clock that `step` is given.
    fn deadline(&self) -> Option<Time>;
}

/// One input to a protocol.
#[derive(Debug)]
pub enum Input<P: Protocol + ?Sized> {
    /// Time has passed; nothing else happened.
    Tick,
    /// A peer's message arrived. It may be old, duplicated or nonsense.
    Message(NodeId, P::Message),
    /// The node wants something.
    Request(P::Request),
    /// Everything persisted under this ticket and all earlier ones is durable.
    Persisted(Ticket),
}

/// Stands for one batch of records on their way to the disk. Grows; never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Ticket(pub u64);

/// A message and what must be durable before it may leave.
#[derive(Debug)]
pub struct Outgoing<M> {
    /// The peer it is for.
    pub to: NodeId,
    /// What to say.
    pub message: M,
    /// The ticket that must be durable first, if any.
    pub after: Option<Ticket>,
    /// The lane it has to take although it is small, because it must not overtake what went there.
    pub lane: Option<Lane>,
}

/// What a protocol wants done, collected over one or more steps and drained by the driver.
#[derive(Debug)]
pub struct Outbox<P: Protocol + ?Sized> {
    ticket: Ticket,
    records: Vec<P::Record>,
    /// Messages in the order they were sent.
    pub sends: Vec<Outgoing<P::Message>>,
    /// Effects in the order they were asked for.
    pub effects: Vec<P::Effect>,
}

impl<P: Protocol + ?Sized> Default for Outbox<P> {
    fn default() -> Self {
        Outbox { ticket: Ticket(1), records: Vec::new(), sends: Vec::new(), effects: Vec::new() }
    }
}

impl<P: Protocol + ?Sized> Outbox<P> {
    /// Asks for `record` to be made durable; the ticket says when it is.
    pub fn persist(&mut self, record: P::Record) -> Ticket {
        self.records.push(record);
        self.ticket
    }

    /// Sends a message that promises nothing durable.
    pub fn send(&mut self, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after: None, lane: None });
    }

    /// Sends a message that promises nothing durable in a lane, whatever its size.
    pub fn send_in(&mut self, lane: Lane, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after: None, lane: Some(lane) });
    }

    /// Sends a message that must wait until `after`, if any, is durable.
    pub fn send_after(&mut self, after: Option<Ticket>, to: NodeId, message: P::Message) {
        self.sends.push(Outgoing { to, message, after, lane: None });
    }

    /// Asks the node for something.
    pub fn effect(&mut self, effect: P::Effect) {
        self.effects.push(effect);
    }

    /// Whether records are waiting to be taken.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Those that are waiting.
    #[must_use]
    pub fn records(&self) -> &[P::Record] {
        &self.records
    }

    /// Takes the records persisted since the last call and the ticket they bear; later records get a later ticket.
    /// `None` when there are none.
    pub fn take_records(&mut self) -> Option<(Ticket, Vec<P::Record>)> {
        if self.records.is_empty() {
            return None;
        }
        let ticket = self.ticket;
        self.ticket.0 += 1;
        Some((ticket, std::mem::take(&mut self.records)))
    }
}
