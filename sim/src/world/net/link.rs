//! One direction between two endpoints: what happens to a frame on its way.
//!
//! A link has its ordinary [`LinkSettings`] and any number of faults laid over them. Each layer makes its own draws, so
//! each fault is charged for exactly what it did. The link draws from its own random stream: a fault on one link does
//! not shift what happens on another.
//!
//! Without reordering a link is first in, first out: a frame never arrives before one sent earlier. Frames are lost one
//! by one, as on a datagram network; a cut or a reset loses everything in flight, as a broken connection does.

use super::super::bug::WorldBug;
use super::super::ledger::{Effect, FaultId, Ledger};
use super::super::{Latency, Nanos, nanos};
use bytes::Bytes;
use seaworthy::types::Rng;
use std::time::Duration;

/// How a link treats frames.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkSettings {
    /// Time under way.
    pub latency: Latency,
    /// Bytes a second; frames queue for it. `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a second copy arrives, up to `reorder_by` later.
    pub duplicate: f64,
    /// Probability that a frame is set aside for up to `reorder_by`, so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered frame or a copy may be late.
    pub reorder_by: Duration,
    /// Probability that one bit is flipped.
    pub corrupt: f64,
}

impl LinkSettings {
    /// Changes nothing: the starting point for a fault that changes one thing.
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

/// What can be laid over a link.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkFault {
    /// Nothing passes; what is in flight when it begins is lost.
    Block,
    /// Nothing arrives while it lasts, but what was sent is delivered when it ends, as after a stalled connection.
    Hang,
    /// Latency is added, the narrowest bandwidth counts, and loss and the rest strike independently of the link's own.
    Degrade(LinkSettings),
}

/// Why a frame was dropped; the number a trace shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum DropCause {
    /// By chance.
    Lost = 0,
    /// The link is blocked.
    Blocked = 1,
    /// Too many frames are on the link.
    LinkFull = 2,
    /// The receiver's mailbox is full.
    MailboxFull = 3,
    /// Nobody listens at the address.
    Unbound = 4,
}

/// What becomes of one frame.
pub(super) enum Route {
    Drop(DropCause),
    Hold,
    Arrive { at: Nanos, late: Option<Late>, copy: Option<Nanos>, flip: Option<u64> },
}

/// A frame was set aside to be overtaken, by this fault if by one.
#[derive(Clone, Copy)]
pub(super) struct Late(pub(super) Option<FaultId>);

pub(super) struct Link {
    base: LinkSettings,
    faults: Vec<(FaultId, LinkFault)>,
    rng: Rng,
    bug: Option<WorldBug>,
    sending_until: Nanos,
    last_arrival: Nanos,
    /// Frames under way; those of an older epoch are lost and no longer counted.
    pub(super) in_flight: u32,
    pub(super) epoch: u32,
    /// Order of the newest frame delivered, to see overtaking.
    pub(super) newest: u64,
    /// Frames held by a hang, with their numbers.
    pub(super) held: Vec<(u64, Bytes)>,
}

impl Link {
    pub(super) fn new(base: LinkSettings, rng: Rng, bug: Option<WorldBug>) -> Link {
        Link {
            base,
            faults: Vec::new(),
            rng,
            bug,
            sending_until: 0,
            last_arrival: 0,
            in_flight: 0,
            epoch: 0,
            newest: 0,
            held: Vec::new(),
        }
    }

    /// Lays a fault on; true if what is in flight must be cut.
    pub(super) fn lay(&mut self, id: FaultId, fault: LinkFault) -> bool {
        let cuts = fault == LinkFault::Block;
        self.faults.push((id, fault));
        cuts
    }

    /// Takes a fault off; true if it was on.
    pub(super) fn lift(&mut self, id: FaultId) -> bool {
        let before = self.faults.len();
        self.faults.retain(|(other, _)| *other != id);
        self.faults.len() != before
    }

    /// Takes all faults off; true if there was one.
    pub(super) fn heal(&mut self) -> bool {
        !std::mem::take(&mut self.faults).is_empty()
    }

    /// Loses everything under way: how many frames.
    pub(super) fn cut(&mut self) -> u32 {
        self.epoch += 1;
        let held = std::mem::take(&mut self.held).len() as u32;
        std::mem::take(&mut self.in_flight) + held
    }

    pub(super) fn hangs(&self) -> bool {
        self.faults.iter().any(|(_, fault)| *fault == LinkFault::Hang)
    }

    /// Decides over a frame sent now.
    pub(super) fn route(&mut self, now: Nanos, bytes: usize, limit: u32, ledger: &Ledger) -> Route {
        if let Some((id, _)) = self.faults.iter().find(|(_, fault)| *fault == LinkFault::Block) {
            ledger.affected(*id, Effect::MessagesDropped, 1);
            return Route::Drop(DropCause::Blocked);
        }
        if let Some(id) = self.strikes(|s| s.loss).filter(|_| self.bug != Some(WorldBug::FramesNeverLost)) {
            ledger.charge(id, Effect::MessagesDropped, 1);
            return Route::Drop(DropCause::Lost);
        }
        if self.in_flight as usize + self.held.len() >= limit as usize {
            return Route::Drop(DropCause::LinkFull);
        }
        if let Some((id, _)) = self.faults.iter().find(|(_, fault)| *fault == LinkFault::Hang) {
            ledger.affected(*id, Effect::MessagesHeld, 1);
            return Route::Hold;
        }
        self.arrival(now, bytes, ledger)
    }

    /// Decides when a frame that is not lost arrives, and how.
    pub(super) fn arrival(&mut self, now: Nanos, bytes: usize, ledger: &Ledger) -> Route {
        let mut at = self.depart(now, bytes, ledger) + self.base.latency.sample(&mut self.rng);
        for (id, fault) in &self.faults {
            if let LinkFault::Degrade(settings) = fault
                && settings.latency != Latency::ZERO
            {
                let added = settings.latency.sample(&mut self.rng);
                ledger.affected(*id, Effect::MessagesDelayed, u64::from(added > 0));
                at += added;
            }
        }
        match self.bug {
            Some(WorldBug::LatencyIgnored) => at = now + 1,
            Some(WorldBug::OvertakenUnasked) => self.last_arrival = 0,
            _ => {}
        }
        // Never in the same instant as the one before, so that the order is kept.
        at = at.max(self.last_arrival + 1).max(now + 1);
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
        let flip = self.strikes(|s| s.corrupt).filter(|_| bytes > 0).map(|id| {
            ledger.charge(id, Effect::MessagesCorrupted, 1);
            self.rng.below(bytes as u64 * 8)
        });
        Route::Arrive { at, late, copy, flip }
    }

    /// When the last byte leaves, after those queued before it.
    fn depart(&mut self, now: Nanos, bytes: usize, ledger: &Ledger) -> Nanos {
        let mut narrowest = self.base.bandwidth.map(|bandwidth| (bandwidth, None));
        for (id, fault) in &self.faults {
            if let LinkFault::Degrade(LinkSettings { bandwidth: Some(bandwidth), .. }) = fault
                && narrowest.is_none_or(|(narrow, _)| *bandwidth < narrow)
            {
                narrowest = Some((*bandwidth, Some(*id)));
            }
        }
        let Some((bandwidth, id)) = narrowest else { return now };
        ledger.charge(id, Effect::MessagesDelayed, 1);
        self.sending_until = self.sending_until.max(now) + bytes as u64 * 1_000_000_000 / bandwidth.max(1);
        self.sending_until
    }

    /// Draws for the link itself and for each fault on it; who struck first, if any did (`Some(None)`: the link).
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

    /// How late a reordered frame or a copy is: 1 ns to the widest `reorder_by` on the link.
    fn late_by(&mut self) -> Nanos {
        let widest = self.faults.iter().filter_map(|(_, fault)| match fault {
            LinkFault::Degrade(settings) => Some(settings.reorder_by),
            _ => None,
        });
        let widest = widest.fold(self.base.reorder_by, Duration::max);
        self.rng.between(1, nanos(widest).max(1))
    }
}
