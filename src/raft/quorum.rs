//! Quorums: which sets of voters decide, in one configuration or in two at once (§6, joint consensus).
//!
//! A simple quorum is a majority of the voters. While a membership change is under way a joint quorum needs a majority of
//! the old voters *and* a majority of the new ones, so that no decision can be made by either configuration alone.
//!
//! Invariant: any two quorums of one `Quorum` have a voter in common. So have a quorum of `Joint` and one of either of its
//! configurations.

use crate::types::NodeId;

/// The voters of a group, and what counts as a decision of theirs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Quorum {
    /// A majority of these voters, in ascending order.
    Simple(Vec<NodeId>),
    /// A majority of each of the two sets, both in ascending order.
    Joint(Vec<NodeId>, Vec<NodeId>),
}

impl Quorum {
    /// A majority of these voters, in any order.
    #[must_use]
    pub fn simple(voters: Vec<NodeId>) -> Quorum {
        Quorum::Simple(sorted(voters))
    }

    /// A majority of each of these sets of voters, in any order.
    #[must_use]
    pub fn joint(old: Vec<NodeId>, new: Vec<NodeId>) -> Quorum {
        Quorum::Joint(sorted(old), sorted(new))
    }

    fn majorities(&self) -> [&[NodeId]; 2] {
        match self {
            Quorum::Simple(voters) => [voters, &[]],
            Quorum::Joint(old, new) => [old, new],
        }
    }

    /// Whether `node` votes.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.majorities().iter().any(|voters| voters.binary_search(&node).is_ok())
    }

    /// All voters, each once.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> {
        let [old, new] = self.majorities();
        old.iter().chain(new.iter().filter(|node| old.binary_search(node).is_err())).copied()
    }

    /// Whether the voters that `agree` are a quorum.
    #[must_use]
    pub fn is_reached(&self, agree: impl Fn(NodeId) -> bool) -> bool {
        let majority = |voters: &[NodeId]| voters.iter().filter(|node| agree(**node)).count() > voters.len() / 2;
        self.majorities().into_iter().filter(|voters| !voters.is_empty()).all(majority)
    }

    /// The greatest value that a quorum has reached. `scratch` is overwritten; it is there so that nothing is allocated.
    #[must_use]
    pub fn reached(&self, scratch: &mut Vec<u64>, value: impl Fn(NodeId) -> u64) -> u64 {
        let mut least = u64::MAX;
        for voters in self.majorities().into_iter().filter(|voters| !voters.is_empty()) {
            scratch.clear();
            scratch.extend(voters.iter().map(|node| value(*node)));
            scratch.sort_unstable_by(|a, b| b.cmp(a));
            least = least.min(scratch[voters.len() / 2]);
        }
        least
    }
}

fn sorted(mut voters: Vec<NodeId>) -> Vec<NodeId> {
    voters.sort_unstable();
    voters.dedup();
    voters
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;

    fn quorum() -> impl Strategy<Value = Quorum> {
        let voters = || btree_set((1..8u32).prop_map(NodeId), 1..7).prop_map(|set| set.into_iter().collect::<Vec<_>>());
        prop_oneof![
            voters().prop_map(Quorum::simple),
            (voters(), voters()).prop_map(|(old, new)| Quorum::joint(old, new))
        ]
    }

    proptest! {
        /// `reached` is the greatest value for which the voters at or above it are a quorum.
        #[test]
        fn a_value_is_reached_if_a_quorum_has_it(
            quorum in quorum(),
            values in btree_map((1..8u32).prop_map(NodeId), 0..20u64, 7..=7),
        ) {
            let at_least = |least: u64| quorum.is_reached(|node| values[&node] >= least);
            let reached = quorum.reached(&mut Vec::new(), |node| values[&node]);
            prop_assert!(at_least(reached) && !at_least(reached + 1));
        }

        /// Two quorums, of one configuration or of a joint one and one of its parts, have a voter in common.
        #[test]
        fn any_two_quorums_intersect(quorum in quorum(), a in 0..256u32, b in 0..256u32) {
            let has = |set: u32| move |node: NodeId| set >> node.0 & 1 == 1;
            let parts = match &quorum {
                Quorum::Joint(old, new) => vec![quorum.clone(), Quorum::simple(old.clone()), Quorum::simple(new.clone())],
                Quorum::Simple(_) => vec![quorum.clone()],
            };
            for part in parts {
                if quorum.is_reached(has(a)) && part.is_reached(has(b)) {
                    prop_assert!(quorum.voters().any(|node| has(a)(node) && has(b)(node)));
                }
            }
        }
    }

    #[test]
    fn a_joint_quorum_needs_both_majorities() {
        let id = |n: &u32| NodeId(*n);
        let joint = Quorum::joint([3, 1, 2].iter().map(id).collect(), [3, 4, 5].iter().map(id).collect());
        let reached = |nodes: &[u32]| joint.is_reached(|node| nodes.contains(&node.0));
        assert!(!reached(&[1, 2, 3]) && !reached(&[3, 4, 5]) && !reached(&[1, 2, 4]));
        assert!(reached(&[1, 3, 4]) && reached(&[1, 2, 4, 5]));
        assert_eq!(joint.voters().map(|node| node.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(joint.contains(NodeId(5)) && !joint.contains(NodeId(6)));
    }
}
