//! The failure detector: who seems to be up, from who was heard when. It can be wrong, and nothing's safety rests on it; the AP core
//! chooses by it whom to ask and whom to stand in for, and the driver whom to pass a request on to and which groups to wake.

use crate::types::{NodeId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Says who seems to be up. At the start everybody does.
pub trait Detector: Send {
    /// Something came from `peer`.
    fn heard(&mut self, peer: NodeId, now: Time);
    /// This node itself was so late to look: peers may have been heard meanwhile, had it listened.
    fn was_late(&mut self, by: Duration);
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
///
/// How long that while is adapts to the peer, as TCP's retransmission timeout does (Jacobson 1988; Bertier and others 2002 for
/// failure detectors): the mean of the pauses between its signs of life and six times their mean deviation, but not less than
/// the configured time and not more than eight times that. The node's own lateness does not count against its peers.
#[derive(Debug)]
pub struct Adaptive {
    after: Duration,
    peers: BTreeMap<NodeId, Peer>,
    /// Peers that were down and have been heard since the last look.
    risen: BTreeSet<NodeId>,
    /// No peer that is up can have been silent too long before this.
    next: Option<Time>,
}

/// Longest patience, in times of the least.
pub const MOST: u32 = 8;

#[derive(Debug)]
struct Peer {
    heard: Time,
    up: bool,
    since: Option<Time>,
    /// Mean pause between two signs of life and mean deviation from it, in nanoseconds.
    mean: u64,
    deviation: u64,
}

impl Peer {
    /// When it will have been silent too long.
    fn falls(&self, after: Duration) -> Time {
        let adapted = Duration::from_nanos(self.mean.saturating_add(self.deviation.saturating_mul(6)));
        self.heard + adapted.clamp(after, after.saturating_mul(MOST))
    }

    fn heard(&mut self, now: Time) {
        let pause = now.since(self.heard).as_nanos() as u64;
        // What comes together is one sign of life.
        if pause > 0 {
            self.deviation = self.deviation - self.deviation / 8 + self.mean.abs_diff(pause) / 8;
            self.mean = self.mean - self.mean / 8 + pause / 8;
        }
        self.heard = now;
    }
}

impl Adaptive {
    /// An opinion of `peers`, that they are down when silent for longer than `after`, or than they use to be.
    #[must_use]
    pub fn new(peers: impl Iterator<Item = NodeId>, after: Duration, now: Time) -> Adaptive {
        let peer = Peer { heard: now, up: true, since: None, mean: 0, deviation: 0 };
        let peers = peers.map(|id| (id, Peer { ..peer })).collect();
        let mut detector = Adaptive { after, peers, risen: BTreeSet::new(), next: None };
        detector.next = detector.first_silence();
        detector
    }

    /// When the first peer that is up will have been silent too long.
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
        // How long it was away says nothing of how it is otherwise.
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
