//! A link: one direction between two endpoints, and what happens to a frame on it.
//!
//! A link has its normal [`LinkSettings`] and any number of faults on top of them. Each layer makes its own random
//! draws, so each fault is charged for exactly its own effects. Each link draws from its own random stream, so a fault
//! on one link does not change the draws of another.
//!
//! Without reordering a link is first in, first out: a frame never arrives before one sent earlier. A datagram link
//! loses frames individually, and all frames in flight at a cut or a reset. An ordered connection behaves as described
//! in [`Stream`].

use super::super::bug::WorldBug;
use super::super::ledger::{Effect, FaultId, Ledger};
use super::super::{Latency, Nanos, nanos};
use super::stream::Stream;
use bytes::Bytes;
use seaworthy::types::Rng;
use std::collections::VecDeque;
use std::time::Duration;

/// How a link treats frames.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkSettings {
    /// Time from leaving the sender to arrival.
    pub latency: Latency,
    /// Bytes per second; frames queue for it. `None` means unlimited.
    pub bandwidth: Option<u64>,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a second copy arrives, up to `reorder_by` later.
    pub duplicate: f64,
    /// Probability that a frame is delayed by up to `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// Maximum extra delay of a reordered frame or a copy.
    pub reorder_by: Duration,
    /// Probability that one bit is flipped.
    pub corrupt: f64,
}

impl LinkSettings {
    /// No effect: the starting point for a fault that changes one setting.
    pub const CLEAN: LinkSettings = LinkSettings {
        latency: Latency::ZERO,
        bandwidth: None,
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_by: Duration::ZERO,
        corrupt: 0.0,
    };
}

/// A fault on a link.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkFault {
    /// Nothing passes. On a datagram link, frames in flight when the fault begins are lost.
    Block,
    /// Nothing arrives during the fault; frames sent during it are delivered when it ends, as after a stalled
    /// connection.
    Hang,
    /// Frames sent during the fault arrive later by this duration, and frames sent after it overtake them, like the
    /// remainder of an older connection.
    Delay(Duration),
    /// Latency is added, the smallest bandwidth applies, and loss and the other probabilities apply independently of
    /// the link's own.
    Degrade(LinkSettings),
}

/// Why a frame was dropped. The trace shows the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DropCause {
    /// By chance.
    Lost = 0,
    /// The link is blocked.
    Blocked = 1,
    /// The link is full: too many frames in flight, or too many bytes waiting to be sent.
    LinkFull = 2,
    /// The receiver's mailbox is full.
    MailboxFull = 3,
    /// The address has no listener.
    Unbound = 4,
    /// The connection broke while sending it.
    Broken = 5,
}

/// The outcome of sending one frame.
pub(super) enum Route {
    Drop(DropCause),
    Hold,
    /// The connection breaks, caused by this fault if any. All frames in flight are lost.
    Break(Option<FaultId>),
    Arrive {
        at: Nanos,
        late: Option<Late>,
        copy: Option<Nanos>,
        flip: Option<u64>,
        /// The link's epoch.
        epoch: u32,
    },
}

/// Marks a frame that was delayed to be overtaken, by this fault if any.
#[derive(Clone, Copy)]
pub(super) struct Late(pub(super) Option<FaultId>);

pub(super) struct Link {
    pub(super) base: LinkSettings,
    faults: Vec<(FaultId, LinkFault)>,
    rng: Rng,
    bug: Option<WorldBug>,
    sending_until: Nanos,
    last_arrival: Nanos,
    /// Arrival time of the newest frame delayed by `LinkFault::Delay`.
    last_delayed: Nanos,
    /// The state of an ordered connection; `None` for datagrams.
    pub(super) stream: Option<Stream>,
    /// Bytes of the held frames.
    held_bytes: u64,
    /// Frames that were sent and have not left yet: when each leaves, and its bytes. `leaving_bytes` is their sum.
    leaving: VecDeque<(Nanos, u64)>,
    leaving_bytes: u64,
    /// Frames in flight. Frames of an older epoch are lost and not counted.
    pub(super) in_flight: u32,
    pub(super) epoch: u32,
    /// Number of the newest frame delivered, to detect overtaking.
    pub(super) newest: u64,
    /// Frames held by a hang or by a cut of an ordered connection, with their numbers.
    pub(super) held: Vec<(u64, Bytes)>,
}

impl Link {
    pub(super) fn new(base: LinkSettings, rng: Rng, bug: Option<WorldBug>, stream: Option<Stream>) -> Link {
        Link {
            base,
            faults: Vec::new(),
            rng,
            bug,
            sending_until: 0,
            last_arrival: 0,
            last_delayed: 0,
            stream,
            held_bytes: 0,
            leaving: VecDeque::new(),
            leaving_bytes: 0,
            in_flight: 0,
            epoch: 0,
            newest: 0,
            held: Vec::new(),
        }
    }

    /// Applies a fault at `now`. Returns whether frames in flight must be cut.
    pub(super) fn lay(&mut self, now: Nanos, id: FaultId, fault: LinkFault) -> bool {
        let blocks = fault == LinkFault::Block;
        self.faults.push((id, fault));
        if let (Some(stream), true) = (&mut self.stream, blocks) {
            stream.cut_since.get_or_insert(now);
            return false;
        }
        blocks
    }

    /// Lifts a fault. Returns whether it was on this link.
    pub(super) fn lift(&mut self, id: FaultId) -> bool {
        let before = self.faults.len();
        self.faults.retain(|(other, _)| *other != id);
        self.faults.len() != before
    }

    /// Lifts all faults. Returns whether there was one.
    pub(super) fn heal(&mut self) -> bool {
        !std::mem::take(&mut self.faults).is_empty()
    }

    /// Loses all frames in flight. Returns how many.
    pub(super) fn cut(&mut self) -> u32 {
        self.epoch += 1;
        (self.held_bytes, self.leaving_bytes) = (0, 0);
        self.leaving.clear();
        let held = std::mem::take(&mut self.held).len() as u32;
        std::mem::take(&mut self.in_flight) + held
    }

    /// Returns the fault that holds frames back: a hang, or a cut of an ordered connection.
    pub(super) fn holds(&self) -> Option<FaultId> {
        let holds = |fault: &LinkFault| match fault {
            LinkFault::Hang => true,
            LinkFault::Block => self.stream.is_some(),
            _ => false,
        };
        self.faults.iter().find(|(_, fault)| holds(fault)).map(|(id, _)| *id)
    }

    /// Holds a frame until the fault that holds it ends.
    pub(super) fn hold(&mut self, number: u64, frame: Bytes) {
        self.held_bytes += frame.len() as u64;
        self.held.push((number, frame));
    }

    /// Takes the held frames, in the order in which they were sent.
    pub(super) fn release(&mut self) -> Vec<(u64, Bytes)> {
        self.held_bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|(number, _)| *number);
        held
    }

    /// Whether a queue of at most `queue` bytes has no room for a frame. An empty queue takes a frame of any size.
    fn is_full(&mut self, now: Nanos, bytes: usize, queue: u64) -> bool {
        let queued = self.queued(now);
        queued > 0 && queued + bytes as u64 > queue && self.bug != Some(WorldBug::QueuesUnbounded)
    }

    /// Bytes that wait to be sent: held, waiting for the dial or for bandwidth, or waiting to be retransmitted.
    pub(super) fn queued(&mut self, now: Nanos) -> u64 {
        while let Some((_, bytes)) = self.leaving.pop_front_if(|(leaves, _)| *leaves <= now) {
            self.leaving_bytes -= bytes;
        }
        self.held_bytes + self.leaving_bytes
    }

    /// Decides the outcome of a frame sent now. The receiver has been reachable since `reachable`.
    pub(super) fn route(
        &mut self,
        now: Nanos,
        (bytes, limit, queue): (usize, u32, u64),
        reachable: Nanos,
        ledger: &Ledger,
    ) -> Route {
        if self.stream.is_some() {
            return self.route_in_order(now, (bytes, queue), reachable, ledger);
        }
        if let Some((id, _)) = self.faults.iter().find(|(_, fault)| *fault == LinkFault::Block) {
            ledger.affected(*id, Effect::MessagesDropped, 1);
            return Route::Drop(DropCause::Blocked);
        }
        if let Some(id) = self.strikes(|s| s.loss).filter(|_| self.bug != Some(WorldBug::FramesNeverLost)) {
            ledger.charge(id, Effect::MessagesDropped, 1);
            return Route::Drop(DropCause::Lost);
        }
        if self.in_flight as usize + self.held.len() >= limit as usize || self.is_full(now, bytes, queue) {
            return Route::Drop(DropCause::LinkFull);
        }
        if let Some((id, _)) = self.faults.iter().find(|(_, fault)| *fault == LinkFault::Hang) {
            ledger.affected(*id, Effect::MessagesHeld, 1);
            return Route::Hold;
        }
        self.arrival((now, now), bytes, ledger)
    }

    fn route_in_order(&mut self, now: Nanos, (bytes, queue): (usize, u64), reachable: Nanos, ledger: &Ledger) -> Route {
        if self.is_full(now, bytes, queue) {
            return Route::Drop(DropCause::LinkFull);
        }
        if let Some(id) = self.holds() {
            ledger.affected(id, Effect::MessagesHeld, 1);
            return Route::Hold;
        }
        if let Some(id) = self.strikes(|s| s.corrupt).filter(|_| bytes > 0) {
            return Route::Break(id);
        }
        let mut by = None;
        let late = Stream::retransmits(|| {
            let struck = self.strikes(|s| s.loss).filter(|_| self.bug != Some(WorldBug::FramesNeverLost));
            by = struck.or(by);
            struck.is_some()
        });
        let Some(late) = late else { return Route::Break(by.flatten()) };
        if late > 0 {
            ledger.charge(by.flatten(), Effect::MessagesRetransmitted, 1);
        }
        let leaves = match &mut self.stream {
            Some(stream) => stream.departs(now, reachable, &mut self.rng),
            None => now,
        };
        let leaves = if leaves > now { leaves + self.handshake() } else { now };
        self.arrival((now, leaves + late), bytes, ledger)
    }

    /// Computes the arrival of a frame that was `sent` and is not lost, if it can leave at `now`. Counts it as in
    /// flight.
    pub(super) fn arrival(&mut self, (sent, now): (Nanos, Nanos), bytes: usize, ledger: &Ledger) -> Route {
        let leaves = self.depart(now, bytes, ledger);
        if leaves > sent {
            let after = self.leaving.back().map_or(0, |(leaves, _)| *leaves);
            self.leaving.push_back((leaves.max(after), bytes as u64));
            self.leaving_bytes += bytes as u64;
        }
        let mut at = leaves + self.base.latency.sample(&mut self.rng);
        for (id, fault) in &self.faults {
            if let LinkFault::Degrade(settings) = fault
                && settings.latency != Latency::ZERO
            {
                let added = settings.latency.sample(&mut self.rng);
                ledger.affected(*id, Effect::MessagesDelayed, u64::from(added > 0));
                at += added;
            }
        }
        self.in_flight += 1;
        let epoch = self.epoch;
        match self.bug {
            Some(WorldBug::LatencyIgnored) => at = now + 1,
            Some(WorldBug::OvertakenUnasked) => self.last_arrival = 0,
            _ => {}
        }
        if let Some((id, by)) = self.delays() {
            ledger.affected(id, Effect::MessagesDelayed, 1);
            self.last_delayed = (at + nanos(by)).max(self.last_delayed + 1);
            return Route::Arrive { at: self.last_delayed, late: Some(Late(Some(id))), copy: None, flip: None, epoch };
        }
        // Strictly later than the frame before, so that the order is kept.
        at = at.max(self.last_arrival + 1).max(now + 1);
        if self.stream.is_some() {
            self.last_arrival = at;
            return Route::Arrive { at, late: None, copy: None, flip: None, epoch };
        }
        let late = self.strikes(|s| s.reorder).map(Late);
        if late.is_some() {
            at += self.late_by();
        } else {
            self.last_arrival = at;
        }
        let copy = self.strikes(|s| s.duplicate).map(|id| {
            ledger.charge(id, Effect::MessagesDuplicated, 1);
            at + self.late_by()
        });
        self.in_flight += u32::from(copy.is_some());
        let flip = self.strikes(|s| s.corrupt).filter(|_| bytes > 0).map(|id| {
            ledger.charge(id, Effect::MessagesCorrupted, 1);
            self.rng.below(bytes as u64 * 8)
        });
        Route::Arrive { at, late, copy, flip, epoch }
    }

    /// Returns the fault that delays frames, and the delay.
    fn delays(&self) -> Option<(FaultId, Duration)> {
        self.faults.iter().find_map(|(id, fault)| match fault {
            LinkFault::Delay(by) => Some((*id, *by)),
            _ => None,
        })
    }

    /// Returns the smallest bandwidth, and the fault that sets it, if any.
    fn narrowest(&self) -> Option<(u64, Option<FaultId>)> {
        let mut narrowest = self.base.bandwidth.map(|bandwidth| (bandwidth, None));
        for (id, fault) in &self.faults {
            if let LinkFault::Degrade(LinkSettings { bandwidth: Some(bandwidth), .. }) = fault
                && narrowest.is_none_or(|(narrow, _)| *bandwidth < narrow)
            {
                narrowest = Some((*bandwidth, Some(*id)));
            }
        }
        narrowest
    }

    /// Returns when the last byte leaves, after the frames queued before it.
    fn depart(&mut self, now: Nanos, bytes: usize, ledger: &Ledger) -> Nanos {
        let Some((bandwidth, id)) = self.narrowest() else { return now };
        ledger.charge(id, Effect::MessagesDelayed, 1);
        self.sending_until = self.sending_until.max(now) + bytes as u64 * 1_000_000_000 / bandwidth.max(1);
        self.sending_until
    }

    /// Draws for the link itself and for each fault on it. Returns the first that strikes, if any (`Some(None)`: the
    /// link).
    fn strikes(&mut self, probability: impl Fn(&LinkSettings) -> f64) -> Option<Option<FaultId>> {
        let own = probability(&self.base);
        if own > 0.0 && self.rng.chance(own) {
            return Some(None);
        }
        for (id, fault) in &self.faults {
            if let LinkFault::Degrade(settings) = fault {
                let p = probability(settings);
                if p > 0.0 && self.rng.chance(p) {
                    return Some(Some(*id));
                }
            }
        }
        None
    }

    /// Draws the extra delay of a reordered frame or a copy: 1 ns to the largest `reorder_by` on the link.
    fn late_by(&mut self) -> Nanos {
        let added = self.faults.iter().filter_map(|(_, fault)| match fault {
            LinkFault::Degrade(settings) => Some(settings),
            _ => None,
        });
        let late = added.chain([&self.base]).filter(|settings| settings.reorder > 0.0 || settings.duplicate > 0.0);
        let widest = late.map(|settings| settings.reorder_by).max().unwrap_or_default();
        self.rng.between(1, nanos(widest).max(1))
    }
}
