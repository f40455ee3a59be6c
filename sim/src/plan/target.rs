//! Whom a fault meets.
//!
//! In a scenario a target is a [`Selector`] ("a random minority"); expansion draws what can be drawn and leaves a
//! [`Target`], which may still depend on the run ("whoever leads then"). The run resolves a target once, when the fault
//! begins, and its end concerns the same servers.

use crate::scenario::Setting;
use seaworthy::types::NodeId;
use std::collections::BTreeMap;

/// Names a fault within its plan: f1, f2, …
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

/// The number in `n3` or `c3`; no sign, no leading zero, so that each has one spelling.
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

/// Whom a scenario's fault meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// Whoever leads when the fault begins.
    Leader,
    /// One that does not lead then.
    Follower,
    /// The leader and as many as make a minority with it: in five servers, one more.
    LeaderMinority,
    /// One, drawn.
    Random,
    /// As many as the cluster can do without, drawn.
    Minority,
    /// Half of them, rounded down, drawn.
    Half,
    /// The least majority, drawn.
    Majority,
    /// Those of one region, drawn.
    Region,
    /// Every one.
    All,
    /// The same as the fault that this one follows.
    Same,
    /// These.
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
    /// How many servers it stands for, in a cluster of `nodes`; that of `Same` is not known here and given as 1.
    pub(crate) fn size(&self, nodes: u32) -> u32 {
        match self {
            Selector::Leader | Selector::Follower | Selector::Random | Selector::Same => 1,
            Selector::LeaderMinority | Selector::Minority => (nodes - 1) / 2,
            Selector::Half => nodes / 2,
            // At most: of two regions or more, the largest.
            Selector::Region => nodes.div_ceil(2),
            Selector::Majority => nodes / 2 + 1,
            Selector::All => nodes,
            Selector::Nodes(list) => list.len() as u32,
        }
    }
}

/// Whom a plan's fault meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// These. Their order matters to a ring only.
    Nodes(Vec<NodeId>),
    /// Whoever leads when the fault begins, and this many that follow it in the order of ids, around the end. `leader`,
    /// `leader+1`.
    Leader(u32),
    /// The n-th after the leader in the order of ids, around the end; from 1. `follower1`.
    Follower(u32),
    /// The servers that an earlier fault met. `f3`.
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
    /// Who leads, or led last; before any has led, the first server stands in.
    pub leader: Option<NodeId>,
    /// Whom the faults that have begun met.
    pub met: &'a BTreeMap<FaultId, Vec<NodeId>>,
}

impl Target {
    /// The servers meant. Empty only when an earlier fault is meant that met none.
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
