//! Leaderless replication, as a pure state machine ([`Protocol`]) for all keys of all AP buckets of a node.
//!
//! Follows "Dynamo: Amazon's Highly Available Key-value Store" (DeCandia and others, 2007; cited as §n), with dotted
//! version vectors in place of its vector clocks. Read in this order: `version_vector` and `siblings` (what versions
//! are), `message` (the messages, records and requests), this file (dispatch), `coordinator` (how clients' requests are
//! executed), `store` (what a replica holds) and `rejoin` (how a node that has lost its data is refilled).

pub mod context;
mod coordinator;
pub mod crdt;
pub mod encoding;
mod epoch;
mod handoff;
mod hints;
mod message;
mod recovery;
mod rejoin;
pub mod siblings;
mod snapshot;
mod store;
mod tombstone_gc;
pub mod version_vector;
mod write;

pub use message::*;
pub use recovery::Recovered;
pub use snapshot::StoreSnapshot;

use crate::placement::Layout;
use crate::protocol::{Input, Outbox, Protocol};
use crate::types::{Key, NodeId, Rng, Time};
use coordinator::{Caller, Coordinator, Turn};
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Minimum of every configured pause. With a pause of zero, a repeated task would be due again at once, forever.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// The AP side of one node.
#[derive(Debug)]
pub struct Dynamo {
    store: Store,
    coordinator: Coordinator,
}

impl Dynamo {
    /// Creates the state of a node that finds `recovered` on its disk at time `now`.
    #[must_use]
    pub fn new(mut config: Config, layout: Arc<Layout>, recovered: Recovered, now: Time, mut rng: Rng) -> Dynamo {
        for pause in [&mut config.hint_after, &mut config.hedge_after, &mut config.housekeeping] {
            *pause = MIN_PAUSE.max(*pause);
        }
        let incarnations = Rng::new(rng.next(), "births");
        let store = Store::new(&config, layout.clone(), recovered, now, incarnations);
        let mut coordinator = Coordinator::new(config, layout, now, rng);
        if !store.keys.is_empty() {
            coordinator.starts_again();
        }
        Dynamo { store, coordinator }
    }

    /// Returns the current epoch of the node.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn message(&mut self, from: NodeId, message: Message, out: &mut Outbox<Dynamo>) {
        let (coordinator, turn) = (&mut self.coordinator, &mut Turn { store: &mut self.store, out });
        match message {
            Message::PutReply { op, result } if op % 2 == 0 => coordinator.put_reply(from, op, result, turn),
            Message::Get { op, key } => {
                let (siblings, epoch) = coordinator::reads(&self.store, &key);
                let member = !self.store.rejoins();
                out.send_after(self.store.unsure(&key), from, Message::GetReply { op, siblings, epoch, member });
            }
            Message::GetReply { op, siblings, epoch, member } if siblings.is_sane() => {
                coordinator.get_reply(from, op, (siblings, epoch, member), turn);
            }
            Message::GetReply { .. } => out.effect(Effect::Note(Note::Nonsense { from })),
            Message::Forward { op, request } => {
                coordinator.request(Caller::Node { node: from, op, slot: None }, *request, turn);
            }
            Message::ForwardReply { op, reply } => coordinator.forward_reply(from, op, reply, turn),
            Message::Rejoin { round, at, refill } => {
                coordinator.is_refilled(from);
                self.store.asked_to_refill(from, (round, at, refill), out);
            }
            Message::Compare { op, keys } => {
                let holds = |key: &Key| self.store.holds(key).map(|entry| &entry.siblings);
                out.send(from, Message::Differ { op, keys: coordinator::differing(keys, holds) });
            }
            Message::Differ { op, keys } => coordinator.differs(from, op, &keys),
            message => self.store.message(from, message, out),
        }
    }
}

impl Protocol for Dynamo {
    type Message = Message;
    type Record = Record;
    type Request = Request;
    type Effect = Effect;

    fn step(&mut self, now: Time, input: Input<Self>, out: &mut Outbox<Self>) {
        self.coordinator.pass(now);
        let rejoined = self.store.rejoins();
        self.carry_out(now, input, out);
        let turn = &mut Turn { store: &mut self.store, out };
        match (rejoined, turn.store.rejoins()) {
            (false, true) => self.coordinator.steps_back(turn),
            (true, false) => self.coordinator.starts_again(),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        [self.coordinator.deadline(), self.store.deadline()].into_iter().flatten().min()
    }
}

impl Dynamo {
    fn carry_out(&mut self, now: Time, input: Input<Dynamo>, out: &mut Outbox<Dynamo>) {
        let turn = &mut Turn { store: &mut self.store, out };
        match input {
            Input::Tick => {
                self.coordinator.tick(turn);
                self.store.tick(now, out);
            }
            Input::Message(from, message) if self.coordinator.knows(from) => self.message(from, message, out),
            Input::Message(..) => {}
            Input::Request(Request::Client { id, request }) => {
                self.coordinator.request(Caller::Client { id, slot: None }, request, turn);
            }
            Input::Request(Request::Date(wall)) => self.store.date(wall),
            Input::Request(Request::Rejoin) => self.store.begin_rejoin(out),
            Input::Request(Request::Peer { node, up }) => {
                self.coordinator.peer(node, up);
                self.store.peer(node, up);
            }
            Input::Persisted(ticket) => {
                self.store.persisted(ticket, now, out);
                self.coordinator.persisted(ticket, &mut Turn { store: &mut self.store, out });
            }
        }
    }
}

#[cfg(test)]
mod tests;
