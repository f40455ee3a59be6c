//! The host of a core: what its node keeps for any [`Protocol`], whatever it decides.
//!
//! The host steps the core, keeps its messages back until what they promise is durable ([`gate`](super::gate)), and hands over its
//! records. Effects are the owner's to carry out: they are what cores differ in.

use super::gate::{Free, Gate, Held};
use crate::protocol::{Input, Outbox, Protocol, Ticket};
use crate::types::Time;

/// A core, what it wants done, and its messages that wait for the disk.
pub(super) struct Host<P: Protocol> {
    pub(super) core: P,
    pub(super) outbox: Outbox<P>,
    gate: Gate<P::Message>,
}

impl<P: Protocol> Host<P> {
    pub(super) fn new(core: P) -> Host<P> {
        Host { core, outbox: Outbox::default(), gate: Gate::new() }
    }

    pub(super) fn step(&mut self, input: Input<P>, now: Time) {
        self.core.step(now, input, &mut self.outbox);
    }

    /// Whether the core's deadline has passed.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.core.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// The records under `ticket` and all earlier ones are durable: sends what waited for them. The owner tells the core.
    pub(super) fn durable(&mut self, ticket: Ticket, held: &mut Held, mut send: impl FnMut(Free<P::Message>)) {
        self.gate.durable(ticket);
        while let Some(free) = self.gate.next(held) {
            send(free);
        }
    }

    /// Sends what may leave (`early`: everything) and keeps the rest. `size` gives the payload bytes of a message.
    pub(super) fn send(
        &mut self,
        early: bool,
        size: impl Fn(&P::Message) -> usize,
        held: &mut Held,
        mut send: impl FnMut(Free<P::Message>),
    ) {
        for outgoing in self.outbox.sends.drain(..) {
            if let Some(free) = self.gate.pass(outgoing, early, &size, held) {
                send(free);
            }
        }
    }

    /// The records that are not handed over yet, and their ticket.
    pub(super) fn take_records(&mut self) -> Option<(Ticket, Vec<P::Record>)> {
        self.outbox.take_records()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Lane, NodeId};
    use std::time::Duration;

    /// A toy core: it records every number it hears, then tells its sender the sum; and counts ticks, one a second.
    #[derive(Default)]
    struct Adder {
        sum: u64,
        ticks: u64,
    }

    impl Protocol for Adder {
        type Message = u64;
        type Record = u64;
        type Request = ();
        type Effect = ();

        fn step(&mut self, _: Time, input: Input<Self>, out: &mut Outbox<Self>) {
            match input {
                Input::Message(from, number) => {
                    self.sum += number;
                    let ticket = out.persist(number);
                    out.send_after(Some(ticket), from, self.sum);
                    out.send(from, 0);
                }
                Input::Tick => self.ticks += 1,
                Input::Request(()) | Input::Persisted(_) => {}
            }
        }

        fn deadline(&self) -> Option<Time> {
            Some(Time(0) + Duration::from_secs(self.ticks))
        }
    }

    #[test]
    fn a_core_hosted_sends_after_its_records_are_durable() {
        let (mut host, mut held, mut sent) = (Host::new(Adder::default()), Held::new(1 << 20), Vec::new());
        let (peer, now) = (NodeId(2), Time(0) + Duration::from_millis(500));
        let mut send = |(to, _, message): (NodeId, Option<Lane>, u64)| sent.push((to, message));
        assert!(host.is_due(now));
        host.step(Input::Tick, now);
        assert!(!host.is_due(now));
        host.step(Input::Message(peer, 3), now);
        let first = host.take_records().expect("a record");
        host.step(Input::Message(peer, 4), now);
        let second = host.take_records().expect("another");
        assert_eq!((&first.1[..], &second.1[..], host.take_records()), (&[3][..], &[4][..], None));
        host.send(false, |_| 8, &mut held, &mut send);
        host.durable(first.0, &mut held, &mut send);
        host.step(Input::Persisted(first.0), now);
        host.durable(second.0, &mut held, &mut send);
        assert_eq!(sent, [(peer, 0), (peer, 0), (peer, 3), (peer, 7)]);
        assert_eq!(held.bytes, 0);
    }
}
