//! The network's counters.

use serde::Serialize;

/// What the network did, in frames unless stated otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct NetStats {
    /// Sent by their senders.
    pub sent: u64,
    /// Bytes sent by the senders.
    pub bytes: u64,
    /// Put into mailboxes, copies included.
    pub delivered: u64,
    /// Second copies sent on their way.
    pub duplicated: u64,
    /// Delivered after a later frame of the same link.
    pub reordered: u64,
    /// With a bit flipped.
    pub corrupted: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Sent into a blocked link.
    pub blocked: u64,
    /// In flight when their link was cut or their receiver died.
    pub cut: u64,
    /// Dropped because the link was full.
    pub link_full: u64,
    /// Dropped because the mailbox was full.
    pub mailbox_full: u64,
    /// Arrived at an address without a listener.
    pub unbound: u64,
    /// Sent at the moment when their connection broke.
    pub broken: u64,
}
