//! What the network counts.

use serde::Serialize;

/// What the network did, in frames unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct NetStats {
    /// Handed over by senders.
    pub sent: u64,
    /// Bytes handed over by senders.
    pub bytes: u64,
    /// Put into mailboxes, copies included.
    pub delivered: u64,
    /// Second copies put under way.
    pub duplicated: u64,
    /// Delivered after a later frame of the same link.
    pub reordered: u64,
    /// With a bit flipped.
    pub corrupted: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Sent into a blocked link.
    pub blocked: u64,
    /// In flight when their link was cut, or their receiver died.
    pub cut: u64,
    /// Refused by a full link.
    pub link_full: u64,
    /// Refused by a full mailbox.
    pub mailbox_full: u64,
    /// Arrived at an address without a listener.
    pub unbound: u64,
    /// Sent at the moment when their connection broke.
    pub broken: u64,
}
