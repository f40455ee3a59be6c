//! Comparison of replica states: a disk, a processor or a bug may change one of them unnoticed.
//!
//! After every `digest_entries` entries each member of a group sends the others the digest of its state at that index
//! ([`Kv::digest`](crate::kv::Kv::digest), which covers everything and costs one hash). A member whose digest differs
//! from that of most members stops serving the group. A member that finds another one different reports it. If no
//! digest has a majority, all members report it and none stops.
//!
//! Invariants: a verdict needs digests from more than half of the members, all at the same index. Memory is bounded:
//! only digests of the last [`KEPT`] indexes are kept.
//!
//! Caveats: a diverged state is not repaired, and what the member answered before the next comparison may be wrong. A
//! member that is further behind than [`KEPT`] comparisons is not compared until it has caught up. A restart begins
//! from snapshot and log; if the damage is in the snapshot, the next comparison finds it again.

use crate::raft::{Index, Quorum};
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Number of indexes for which digests are kept.
const KEPT: usize = 16;

/// The result of a comparison: the members whose state differs from that of most, at this index. None are named if no
/// state has a majority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) index: Index,
    pub(super) minority: Vec<NodeId>,
}

/// The digests received from the members of one group.
#[derive(Default)]
pub(super) struct Digests {
    told: BTreeMap<Index, BTreeMap<NodeId, u64>>,
    /// The latest difference found. `None` once all members agree again.
    pub(super) found: Option<Found>,
}

impl Digests {
    /// Records the digest of member `of`, one of `members`, at `index`. Returns the difference found, if it is new.
    pub(super) fn tell(&mut self, of: NodeId, (index, digest): (Index, u64), members: &Quorum) -> Option<&Found> {
        self.told.entry(index).or_default().entry(of).or_insert(digest);
        while self.told.len() > KEPT {
            self.told.pop_first();
        }
        let told = self.told.get(&index)?;
        let Some(minority) = minority(told, members) else {
            let later = self.found.as_ref().is_some_and(|found| found.index < index);
            if later && members.voters().all(|node| told.contains_key(&node)) {
                self.found = None;
            }
            return None;
        };
        let found = Some(Found { index, minority });
        if self.found == found {
            return None;
        }
        self.found = found;
        self.found.as_ref()
    }
}

/// Returns the members outside the majority. `None` while no difference is established: all agree so far, or too few
/// have reported.
fn minority(told: &BTreeMap<NodeId, u64>, members: &Quorum) -> Option<Vec<NodeId>> {
    let digests: BTreeSet<u64> = told.values().copied().collect();
    if digests.len() < 2 {
        return None;
    }
    let most = digests.into_iter().find(|digest| members.is_reached(|node| told.get(&node) == Some(digest)));
    match most {
        Some(most) => Some(told.iter().filter(|(_, digest)| **digest != most).map(|(node, _)| *node).collect()),
        None => members.voters().all(|node| told.contains_key(&node)).then(Vec::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(digests: &mut Digests, node: u32, index: Index, digest: u64, members: u32) -> Option<Vec<NodeId>> {
        let members = Quorum::simple((1..=members).map(NodeId).collect());
        digests.tell(NodeId(node), (index, digest), &members).map(|found| found.minority.clone())
    }

    #[test]
    fn a_minority_is_found_as_soon_as_there_is_a_majority() {
        let mut digests = Digests::default();
        assert_eq!(tell(&mut digests, 1, 10, 7, 3), None);
        assert_eq!(tell(&mut digests, 3, 10, 8, 3), None, "one against one of three");
        assert_eq!(tell(&mut digests, 2, 10, 7, 3), Some(vec![NodeId(3)]));
        assert_eq!(tell(&mut digests, 2, 10, 7, 3), None, "a copy is no news");
        assert_eq!(digests.found, Some(Found { index: 10, minority: vec![NodeId(3)] }));
        for node in 1..=3 {
            assert_eq!(tell(&mut digests, node, 20, 9, 3), None, "alike");
        }
        assert_eq!(digests.found, None, "alike again");
    }

    #[test]
    fn without_a_majority_no_member_is_named() {
        let mut digests = Digests::default();
        for (node, digest) in [(1, 5), (2, 5), (3, 6)] {
            assert_eq!(tell(&mut digests, node, 10, digest, 4), None);
        }
        assert_eq!(tell(&mut digests, 4, 10, 6, 4), Some(vec![]));
    }

    #[test]
    fn only_the_last_indexes_are_kept() {
        let mut digests = Digests::default();
        for index in 1..1000 {
            tell(&mut digests, 1, index, 5, 3);
        }
        assert_eq!(digests.told.len(), KEPT);
        assert_eq!(tell(&mut digests, 2, 1, 6, 3), None, "long gone");
    }
}
