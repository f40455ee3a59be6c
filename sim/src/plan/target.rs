//! The targets of a fault.
//!
//! In a scenario a target is a [`Selector`] ("a random minority"). Expansion draws its random parts and leaves a
//! [`Target`], which may still depend on the run ("the current leader"). The run resolves a target once, when the fault
//! begins. The end of the fault applies to the same servers.

use crate::settings::Setting;
use seaworthy::types::NodeId;
use std::collections::BTreeMap;

/// The id of a fault within its plan: f1, f2, …
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FaultId(pub u32);

impl Setting for FaultId {
    fn what() -> String {
        "a fault such as f3".into()
    }
    fn parse(text: &str) -> Option<Self> {
        numbered('f', text).map(FaultId)
    }
    fn show(&self) -> String {
        format!("f{}", self.0)
    }
}

impl Setting for NodeId {
    fn what() -> String {
        "a server such as n1".into()
    }
    fn parse(text: &str) -> Option<Self> {
        numbered('n', text).map(NodeId)
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// The number in `n3` or `c3`. Signs and leading zeros are rejected, so that each number has one spelling.
pub(super) fn numbered(letter: char, text: &str) -> Option<u32> {
    let digits = text.strip_prefix(letter)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

pub(super) fn show_list(letter: char, numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|n| format!("{letter}{n}")).collect::<Vec<_>>().join(",")
}

fn nodes_of(text: &str) -> Option<Vec<NodeId>> {
    let ids: Vec<NodeId> = text.split(',').map(|t| numbered('n', t).map(NodeId)).collect::<Option<_>>()?;
    let distinct = ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id));
    distinct.then_some(ids)
}

/// The target of a fault in a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// The leader when the fault begins.
    Leader,
    /// A server that does not lead when the fault begins.
    Follower,
    /// The leader and enough others to form a minority with it: with five servers, one more.
    LeaderMinority,
    /// One random server.
    Random,
    /// Random servers, as many as the cluster can do without.
    Minority,
    /// A random half of the servers, rounded down.
    Half,
    /// A random smallest majority.
    Majority,
    /// All servers of a random region.
    Region,
    /// All servers.
    All,
    /// The targets of the fault that this one follows.
    Same,
    /// These servers.
    Nodes(Vec<NodeId>),
}

const SELECTORS: [(&str, Selector); 10] = [
    ("leader", Selector::Leader),
    ("follower", Selector::Follower),
    ("leader-minority", Selector::LeaderMinority),
    ("random", Selector::Random),
    ("minority", Selector::Minority),
    ("half", Selector::Half),
    ("majority", Selector::Majority),
    ("region", Selector::Region),
    ("all", Selector::All),
    ("same", Selector::Same),
];

impl Setting for Selector {
    fn what() -> String {
        format!("one of {}, or servers such as n1,n3", SELECTORS.map(|s| s.0).join(", "))
    }
    fn parse(text: &str) -> Option<Self> {
        let named = SELECTORS.iter().find(|(name, _)| *name == text).map(|(_, s)| s.clone());
        named.or_else(|| nodes_of(text).map(Selector::Nodes))
    }
    fn show(&self) -> String {
        match self {
            Selector::Nodes(nodes) => show_list('n', nodes.iter().map(|n| n.0)),
            _ => SELECTORS.iter().find(|(_, s)| s == self).map_or("", |(name, _)| name).into(),
        }
    }
}

impl Selector {
    /// The number of servers selected, in a cluster of `nodes`. For `Same` it is not known here and given as 1.
    pub(crate) fn size(&self, nodes: u32) -> u32 {
        match self {
            Selector::Leader | Selector::Follower | Selector::Random | Selector::Same => 1,
            Selector::LeaderMinority | Selector::Minority => (nodes - 1) / 2,
            Selector::Half => nodes / 2,
            // At most: with two regions or more, the size of the largest.
            Selector::Region => nodes.div_ceil(2),
            Selector::Majority => nodes / 2 + 1,
            Selector::All => nodes,
            Selector::Nodes(list) => list.len() as u32,
        }
    }
}

/// The target of a fault in a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// These servers. Their order matters only to a ring.
    Nodes(Vec<NodeId>),
    /// The leader when the fault begins, and this many servers after it in the order of ids, wrapping around. `leader`,
    /// `leader+1`.
    Leader(u32),
    /// The n-th server after the leader in the order of ids, wrapping around; from 1. `follower1`.
    Follower(u32),
    /// The targets of an earlier fault. `f3`.
    SameAs(FaultId),
}

impl Setting for Target {
    fn what() -> String {
        "servers such as n1,n3, or leader, leader+1, follower1, or an earlier fault such as f3".into()
    }
    fn parse(text: &str) -> Option<Self> {
        if text == "leader" {
            return Some(Target::Leader(0));
        }
        if let Some(more) = text.strip_prefix("leader+") {
            return more.parse().ok().filter(|n| (1..=9).contains(n)).map(Target::Leader);
        }
        if let Some(nth) = text.strip_prefix("follower") {
            return nth.parse().ok().filter(|n| (1..=9).contains(n)).map(Target::Follower);
        }
        FaultId::parse(text).map(Target::SameAs).or_else(|| nodes_of(text).map(Target::Nodes))
    }
    fn show(&self) -> String {
        match self {
            Target::Nodes(nodes) => show_list('n', nodes.iter().map(|n| n.0)),
            Target::Leader(0) => "leader".into(),
            Target::Leader(more) => format!("leader+{more}"),
            Target::Follower(nth) => format!("follower{nth}"),
            Target::SameAs(id) => id.show(),
        }
    }
}

/// What a run knows when a fault begins.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// All servers, in the order of their ids.
    pub nodes: &'a [NodeId],
    /// The current or latest leader. Before any server has led, the first server is used instead.
    pub leader: Option<NodeId>,
    /// The targets of the faults that have begun.
    pub met: &'a BTreeMap<FaultId, Vec<NodeId>>,
}

impl Target {
    /// The servers that are targeted. Empty only if an earlier fault is named that had no targets.
    #[must_use]
    pub fn resolve(&self, sight: &Sight<'_>) -> Vec<NodeId> {
        let n = sight.nodes.len();
        let leader = sight.leader.and_then(|l| sight.nodes.iter().position(|id| *id == l)).unwrap_or(0);
        let after = |steps: usize| sight.nodes[(leader + steps) % n];
        match self {
            _ if n == 0 => Vec::new(),
            Target::Nodes(nodes) => nodes.clone(),
            Target::Leader(more) => (0..n.min(*more as usize + 1)).map(after).collect(),
            Target::Follower(nth) => vec![after(*nth as usize)],
            Target::SameAs(id) => sight.met.get(id).cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[u32]) -> Vec<NodeId> {
        list.iter().map(|n| NodeId(*n)).collect()
    }

    #[test]
    fn targets_resolve_around_the_leader() {
        let (nodes, met) = (ids(&[1, 2, 3, 4, 5]), BTreeMap::from([(FaultId(7), ids(&[2, 3]))]));
        let sight = Sight { nodes: &nodes, leader: Some(NodeId(4)), met: &met };
        assert_eq!(Target::Leader(0).resolve(&sight), ids(&[4]));
        assert_eq!(Target::Leader(2).resolve(&sight), ids(&[4, 5, 1]));
        assert_eq!(Target::Follower(2).resolve(&sight), ids(&[1]));
        assert_eq!(Target::SameAs(FaultId(7)).resolve(&sight), ids(&[2, 3]));
        assert_eq!(Target::SameAs(FaultId(8)).resolve(&sight), []);
        let nobody = Sight { leader: None, ..sight };
        assert_eq!(Target::Leader(0).resolve(&nobody), ids(&[1]));
        assert!(Target::Leader(1).resolve(&Sight { nodes: &[], ..nobody }).is_empty());
    }
}
