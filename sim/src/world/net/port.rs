//! An endpoint: its mailbox, its links, and what its owner may know of both without asking the network.

use super::link::Link;
use super::{LANES, Nanos};
use bytes::Bytes;
use seaworthy::types::Addr;
use seaworthy::wire::Packet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Waker;

/// An endpoint's place in the network.
pub(super) struct Port {
    pub(super) addr: Addr,
    pub(super) generation: u64,
    pub(super) bound: bool,
    /// Since when somebody listens.
    pub(super) since: Nanos,
    /// Frames that have arrived: by their lane, and apart from these a server's from clients.
    pub(super) mailbox: [Lodged; 3],
    /// Of each binding its own.
    pub(super) waiting: Arc<Waiting>,
    pub(super) waker: Option<Waker>,
    /// Bytes of its frames that are under way, and whether any were ever held back.
    pub(super) flying: usize,
    pub(super) holds: bool,
    /// Links by receiver and lane.
    pub(super) links: Vec<Option<Box<Link>>>,
}

/// What waits at a port, for its present owner to look at without asking the network.
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

    /// More than [`Net::waiting_bytes`](super::Net::waiting_bytes) cannot be.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

/// The place of clients' frames in a mailbox.
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

    /// The oldest frame of the first lane that has one.
    pub(super) fn pop(&mut self) -> Option<(Addr, Bytes, Nanos, Option<Box<Packet>>)> {
        let lane = self.mailbox.iter_mut().find(|lane| !lane.frames.is_empty())?;
        let mail = lane.frames.pop_front()?;
        lane.bytes -= mail.1.len();
        self.tell();
        Some(mail)
    }

    /// Bytes in the mailbox, without those from clients.
    pub(super) fn mail_bytes(&self) -> usize {
        self.mailbox[..FROM_CLIENTS].iter().map(|lane| lane.bytes).sum()
    }

    /// Tells its owner what waits.
    pub(super) fn tell(&self) {
        let bytes = if self.holds { usize::MAX } else { self.mail_bytes() + self.flying };
        self.waiting.frames.store(self.mail(), Relaxed);
        self.waiting.bytes.store(bytes, Relaxed);
    }

    /// Frames are held back on one of its links.
    pub(super) fn holds(&mut self) {
        self.holds = true;
        self.tell();
    }
}
