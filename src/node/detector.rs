//! The failure detector: which peers seem to be up, judged by when each was last heard. It can be wrong, and no safety
//! property depends on it. The AP core uses it to choose which replicas to ask and which to stand in for. The driver
//! uses it to choose where to forward a request and which groups to wake.

use crate::types::{NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Judges which peers seem to be up. At the start all do.
pub trait Detector: Send {
    /// Records that a packet came from `peer`.
    fn heard(&mut self, peer: NodeId, now: Time);
    /// Records that this node was late by `by`: it may have missed packets from its peers in that time.
    fn was_late(&mut self, by: Duration);
    /// Returns whether `peer` seems to be up. Unknown peers count as up.
    fn is_up(&self, peer: NodeId) -> bool;
    /// Returns when the opinion on `peer` last changed; `None`: never since the start.
    fn since(&self, peer: NodeId) -> Option<Time>;
    /// Returns when to check for changes next: no later than the first change.
    fn next_change(&self) -> Option<Time>;
    /// Returns the changes up to `now` that were not returned before: each peer, and whether it seems to be up.
    fn changes(&mut self, now: Time) -> Vec<(NodeId, bool)>;
}

/// A detector with adaptive timeouts: a peer that is silent for too long is down, and a peer that is heard is up.
///
/// The timeout adapts to the peer as TCP's retransmission timeout does (Jacobson 1988; Bertier and others 2002 for
/// failure detectors). It is the mean pause between the peer's heartbeats plus six times their mean deviation, at least
/// the configured time and at most eight times that. The node's own lateness does not count against its peers.
#[derive(Debug)]
pub struct Adaptive {
    after: Duration,
    peers: BTreeMap<NodeId, Peer>,
    /// Peers that were down and have been heard since the last check.
    risen: BTreeSet<NodeId>,
    /// Before this time no peer that is up can reach its timeout.
    next: Option<Time>,
}

/// Maximum timeout, as a multiple of the configured minimum.
pub const MOST: u32 = 8;

#[derive(Debug)]
struct Peer {
    heard: Time,
    up: bool,
    since: Option<Time>,
    /// Mean pause between two heartbeats, and mean deviation from it, in nanoseconds.
    mean: u64,
    deviation: u64,
}

impl Peer {
    /// Returns when the peer's timeout ends.
    fn falls(&self, after: Duration) -> Time {
        let adapted = Duration::from_nanos(self.mean.saturating_add(self.deviation.saturating_mul(6)));
        self.heard + adapted.clamp(after, after.saturating_mul(MOST))
    }

    fn heard(&mut self, now: Time) {
        let pause = now.since(self.heard).as_nanos() as u64;
        // Packets that arrive together count as one heartbeat.
        if pause > 0 {
            self.deviation = self.deviation - self.deviation / 8 + self.mean.abs_diff(pause) / 8;
            self.mean = self.mean - self.mean / 8 + pause / 8;
        }
        self.heard = now;
    }
}

impl Adaptive {
    /// Creates a detector for `peers` with a minimum timeout of `after`.
    #[must_use]
    pub fn new(peers: impl Iterator<Item = NodeId>, after: Duration, now: Time) -> Adaptive {
        let peer = Peer { heard: now, up: true, since: None, mean: 0, deviation: 0 };
        let peers = peers.map(|id| (id, Peer { ..peer })).collect();
        let mut detector = Adaptive { after, peers, risen: BTreeSet::new(), next: None };
        detector.next = detector.first_silence();
        detector
    }

    /// Returns when the first timeout of a peer that is up ends.
    fn first_silence(&self) -> Option<Time> {
        self.peers.values().filter(|peer| peer.up).map(|peer| peer.falls(self.after)).min()
    }
}

impl Detector for Adaptive {
    fn heard(&mut self, peer: NodeId, now: Time) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if known.up {
            return known.heard(now);
        }
        // The outage is not counted: it says nothing about the peer's usual pauses.
        (known.heard, known.up, known.since) = (now, true, Some(now));
        self.risen.insert(peer);
        self.next.get_or_insert(now + self.after);
    }

    fn was_late(&mut self, by: Duration) {
        for peer in self.peers.values_mut() {
            peer.heard = peer.heard + by;
        }
        self.next = self.first_silence();
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
            if known.up && known.falls(self.after) <= now {
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
        let mut detector = Adaptive::new([A, B].into_iter(), Duration::from_nanos(10), Time(0));
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
        let mut detector = Adaptive::new([A].into_iter(), Duration::from_nanos(10), Time(0));
        assert_eq!(detector.changes(Time(10)), [(A, false)]);
        detector.heard(A, Time(11));
        assert_eq!(detector.changes(Time(40)), [(A, true), (A, false)]);
    }

    #[test]
    fn patience_grows_with_irregular_signs_of_life_and_shrinks_again() {
        let after = Duration::from_nanos(1000);
        let mut detector = Adaptive::new([A].into_iter(), after, Time(0));
        let patience = |detector: &Adaptive, now: u64| detector.next_change().map(|at| at.0 - now);
        let mut now = 0;
        let mut hear = |detector: &mut Adaptive, pause| {
            now += pause;
            detector.heard(A, Time(now));
            detector.was_late(Duration::ZERO);
            now
        };
        for _ in 0..50 {
            hear(&mut detector, 100);
        }
        let at = hear(&mut detector, 100);
        assert_eq!(patience(&detector, at), Some(1000), "regular");
        for _ in 0..20 {
            hear(&mut detector, 50);
            hear(&mut detector, 900);
        }
        let at = hear(&mut detector, 900);
        assert!(patience(&detector, at).is_some_and(|patience| (2000..=8000).contains(&patience)));
        for _ in 0..60 {
            hear(&mut detector, 100);
        }
        let at = hear(&mut detector, 100);
        assert_eq!(patience(&detector, at), Some(1000), "regular again");
    }

    #[test]
    fn a_node_that_was_stalled_itself_does_not_blame_its_peers() {
        let mut detector = Adaptive::new([A].into_iter(), Duration::from_nanos(10), Time(0));
        detector.was_late(Duration::from_nanos(100));
        assert_eq!(detector.changes(Time(109)), []);
        assert_eq!(detector.changes(Time(110)), [(A, false)]);
    }
}
