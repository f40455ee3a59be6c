//! An endpoint: its mailbox, its links, and the counters that its owner may read without locking the network.

use super::link::Link;
use super::{LANES, Nanos};
use bytes::Bytes;
use seaworthy::types::Addr;
use seaworthy::wire::Packet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;

/// The network's state for one endpoint.
pub(super) struct Port {
    pub(super) addr: Addr,
    pub(super) generation: u64,
    pub(super) bound: bool,
    /// When the current listener was bound.
    pub(super) since: Nanos,
    /// Frames that have arrived: one queue per lane, and another for a server's frames from clients.
    pub(super) mailbox: [Lodged; 3],
    /// Counters for the current owner; each binding has its own.
    pub(super) waiting: Arc<Waiting>,
    pub(super) waker: Option<Waker>,
    /// Bytes of its sent frames that are in flight. `holds` tells whether any were ever held back.
    pub(super) flying: usize,
    pub(super) holds: bool,
    /// Links by receiver and lane.
    pub(super) links: Vec<Option<Box<Link>>>,
}

/// Counters of what waits at a port, for its current owner to read without locking the network.
#[derive(Default)]
pub struct Waiting {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// Whether no frame is in the mailbox.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.load(Relaxed) == 0
    }

    /// An upper bound on [`Net::waiting_bytes`](super::Net::waiting_bytes).
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

/// Index of the mailbox lane for frames from clients.
pub(super) const FROM_CLIENTS: usize = LANES;

/// One lane of a mailbox.
#[derive(Default)]
pub(super) struct Lodged {
    pub(super) frames: VecDeque<(Addr, Bytes, Nanos, Option<Box<Packet>>)>,
    pub(super) bytes: usize,
}

impl Port {
    pub(super) fn mail(&self) -> usize {
        self.mailbox.iter().map(|lane| lane.frames.len()).sum()
    }

    /// Takes the oldest frame of the first lane that has one.
    pub(super) fn pop(&mut self) -> Option<(Addr, Bytes, Nanos, Option<Box<Packet>>)> {
        let lane = self.mailbox.iter_mut().find(|lane| !lane.frames.is_empty())?;
        let mail = lane.frames.pop_front()?;
        lane.bytes -= mail.1.len();
        self.tell();
        Some(mail)
    }

    /// Bytes in the mailbox, except those from clients.
    pub(super) fn mail_bytes(&self) -> usize {
        self.mailbox[..FROM_CLIENTS].iter().map(|lane| lane.bytes).sum()
    }

    /// Updates the owner's counters.
    pub(super) fn tell(&self) {
        let bytes = if self.holds { usize::MAX } else { self.mail_bytes() + self.flying };
        self.waiting.frames.store(self.mail(), Relaxed);
        self.waiting.bytes.store(bytes, Relaxed);
    }

    /// Notes that frames are held back on one of its links.
    pub(super) fn holds(&mut self) {
        self.holds = true;
        self.tell();
    }
}
