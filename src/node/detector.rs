//! Who seems to be up.
//!
//! An opinion, never a fact: a peer that is slow or cut off looks like one that is down. Nothing safe rests on it; the AP core
//! chooses by it whom to ask and whom to stand in for, and the driver whom to pass a request on to and which groups to wake.

use crate::types::{NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Says who seems to be up. At the start everybody does.
pub trait Detector: Send {
    /// Something came from `peer`.
    fn heard(&mut self, peer: NodeId, now: Time);
    /// Whether `peer` seems to be up. Of those it does not know everybody does.
    fn is_up(&self, peer: NodeId) -> bool;
    /// Since when it has seemed to be as it seems; `None`: since the start.
    fn since(&self, peer: NodeId) -> Option<Time>;
    /// When to look next whether an opinion has changed: not later than the first does.
    fn next_change(&self) -> Option<Time>;
    /// The opinions that have changed by `now` and were not told before: of whom, and whether it seems to be up.
    fn changes(&mut self, now: Time) -> Vec<(NodeId, bool)>;
}

/// A peer that has not been heard for a while is down; one that is heard is up.
#[derive(Debug)]
pub struct TimeOut {
    after: Duration,
    peers: BTreeMap<NodeId, Peer>,
    /// Peers that were down and have been heard since the last look.
    risen: BTreeSet<NodeId>,
    /// No peer that is up can have been silent too long before this.
    next: Option<Time>,
}

#[derive(Debug)]
struct Peer {
    heard: Time,
    up: bool,
    since: Option<Time>,
}

impl TimeOut {
    /// An opinion of `peers`, that they are down when silent for longer than `after`.
    #[must_use]
    pub fn new(peers: impl Iterator<Item = NodeId>, after: Duration, now: Time) -> TimeOut {
        let peers = peers.map(|peer| (peer, Peer { heard: now, up: true, since: None })).collect();
        let mut detector = TimeOut { after, peers, risen: BTreeSet::new(), next: None };
        detector.next = detector.first_silence();
        detector
    }

    /// When the first peer that is up will have been silent too long.
    fn first_silence(&self) -> Option<Time> {
        self.peers.values().filter(|peer| peer.up).map(|peer| peer.heard + self.after).min()
    }
}

impl Detector for TimeOut {
    fn heard(&mut self, peer: NodeId, now: Time) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.heard = now;
        if !known.up {
            (known.up, known.since) = (true, Some(now));
            self.risen.insert(peer);
            self.next.get_or_insert(now + self.after);
        }
    }

    fn is_up(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_none_or(|known| known.up)
    }

    fn since(&self, peer: NodeId) -> Option<Time> {
        self.peers.get(&peer).and_then(|known| known.since)
    }

    fn next_change(&self) -> Option<Time> {
        self.next
    }

    fn changes(&mut self, now: Time) -> Vec<(NodeId, bool)> {
        if self.risen.is_empty() && self.next_change().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut changes: Vec<(NodeId, bool)> = std::mem::take(&mut self.risen).into_iter().map(|p| (p, true)).collect();
        for (peer, known) in &mut self.peers {
            if known.up && known.heard + self.after <= now {
                (known.up, known.since) = (false, Some(now));
                changes.push((*peer, false));
            }
        }
        self.next = self.first_silence();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn who_is_silent_too_long_is_down_until_heard() {
        let mut detector = TimeOut::new([A, B].into_iter(), Duration::from_nanos(10), Time(0));
        assert_eq!((detector.next_change(), detector.is_up(A)), (Some(Time(10)), true));
        detector.heard(A, Time(5));
        assert_eq!(detector.changes(Time(9)), []);
        assert_eq!(detector.changes(Time(10)), [(B, false)]);
        assert_eq!(detector.changes(Time(10)), [], "told once");
        assert_eq!((detector.next_change(), detector.since(B)), (Some(Time(15)), Some(Time(10))));
        detector.heard(B, Time(12));
        assert!(detector.is_up(B));
        assert_eq!(detector.changes(Time(13)), [(B, true)]);
        assert_eq!(detector.changes(Time(30)), [(A, false), (B, false)]);
        assert_eq!(detector.next_change(), None);
    }

    #[test]
    fn who_rises_and_falls_between_two_looks_is_told_of_in_that_order() {
        let mut detector = TimeOut::new([A].into_iter(), Duration::from_nanos(10), Time(0));
        assert_eq!(detector.changes(Time(10)), [(A, false)]);
        detector.heard(A, Time(11));
        assert_eq!(detector.changes(Time(40)), [(A, true), (A, false)]);
    }
}
