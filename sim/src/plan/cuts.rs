//! Partitions: which pairs of servers they cut, and which side clients are on.

use super::target::{numbered, show_list};
use crate::settings::Setting;
use crate::settings::setting::words;
use seaworthy::types::NodeId;

words! {
    /// Which pairs a partition cuts. The target's servers are "the side".
    Shape {
        /// Cuts the side from the rest, in both directions.
        Split = "split",
        /// Messages from the side to the rest are lost; the side still receives.
        Mute = "mute",
        /// Messages from the rest to the side are lost; the side can still send.
        Deaf = "deaf",
        /// The side reaches all servers. The rest is split into two halves that do not reach each other.
        Bridge = "bridge",
        /// Each server reaches only its two neighbours in the order of the target. With five servers each sees a
        /// majority, and no two see the same one.
        Ring = "ring",
    }
}

impl Shape {
    /// The directed pairs (from, to) that are cut between servers.
    #[must_use]
    pub fn cuts(self, side: &[NodeId], nodes: &[NodeId]) -> Vec<(NodeId, NodeId)> {
        let inside = |id: NodeId| side.contains(&id);
        let rest: Vec<NodeId> = nodes.iter().copied().filter(|id| !inside(*id)).collect();
        let half = rest.len() / 2;
        let first_half = |id: NodeId| rest[..half].contains(&id);
        let neighbours = |a: NodeId, b: NodeId| {
            let place = |id| side.iter().position(|s| *s == id);
            place(a).zip(place(b)).is_some_and(|(a, b)| [1, side.len() - 1].contains(&a.abs_diff(b)))
        };
        let cut = |from: NodeId, to: NodeId| match self {
            Shape::Split => inside(from) != inside(to),
            Shape::Mute => inside(from) && !inside(to),
            Shape::Deaf => !inside(from) && inside(to),
            Shape::Bridge => !inside(from) && !inside(to) && first_half(from) != first_half(to),
            Shape::Ring => !neighbours(from, to),
        };
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| from != to && cut(*from, *to)).collect()
    }
}

/// Which clients are on the side of a `split`. Clients reach only the servers of their own side. The other shapes do
/// not affect clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Clients {
    /// Clients reach all servers.
    Free,
    /// Each client is put on one side or the other at random (scenarios only; a plan lists them).
    Drawn,
    /// The listed clients are on the side, the others with the rest.
    Inside(Vec<u32>),
}

impl Setting for Clients {
    fn what() -> String {
        "drawn, free, none, or clients such as c1,c4".into()
    }
    fn parse(text: &str) -> Option<Self> {
        match text {
            "free" => Some(Clients::Free),
            "drawn" => Some(Clients::Drawn),
            "none" => Some(Clients::Inside(Vec::new())),
            _ => text.split(',').map(|t| numbered('c', t)).collect::<Option<_>>().map(Clients::Inside),
        }
    }
    fn show(&self) -> String {
        match self {
            Clients::Free => "free".into(),
            Clients::Drawn => "drawn".into(),
            Clients::Inside(list) if list.is_empty() => "none".into(),
            Clients::Inside(list) => show_list('c', list.iter().copied()),
        }
    }
}

impl Clients {
    /// The (client, server) pairs that a partition cuts, both ways, among clients 1 to `count`.
    #[must_use]
    pub fn cuts(&self, shape: Shape, side: &[NodeId], nodes: &[NodeId], count: u32) -> Vec<(u32, NodeId)> {
        let (Clients::Inside(list), Shape::Split) = (self, shape) else { return Vec::new() };
        let pairs = (1..=count).flat_map(|client| nodes.iter().map(move |node| (client, *node)));
        pairs.filter(|(client, node)| list.contains(client) != side.contains(node)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &[u32]) -> Vec<NodeId> {
        list.iter().map(|n| NodeId(*n)).collect()
    }

    fn reach(shape: Shape, side: &[u32], n: u32) -> Vec<(u32, u32)> {
        let nodes: Vec<NodeId> = (1..=n).map(NodeId).collect();
        shape.cuts(&ids(side), &nodes).into_iter().map(|(a, b)| (a.0, b.0)).collect()
    }

    #[test]
    fn shapes_cut_what_they_say() {
        assert_eq!(reach(Shape::Split, &[2], 3), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        assert_eq!(reach(Shape::Mute, &[2], 3), [(2, 1), (2, 3)]);
        assert_eq!(reach(Shape::Deaf, &[2], 3), [(1, 2), (3, 2)]);
        assert_eq!(reach(Shape::Bridge, &[2], 3), [(1, 3), (3, 1)]);
        let ring = reach(Shape::Ring, &[3, 1, 5, 2, 4], 5);
        assert_eq!(ring.len(), 10);
        for node in 1..=5 {
            assert_eq!(ring.iter().filter(|(from, _)| *from == node).count(), 2, "n{node} still reaches two");
        }
        assert!(!ring.contains(&(3, 1)) && !ring.contains(&(4, 3)) && ring.contains(&(3, 5)));
    }

    #[test]
    fn clients_reach_their_own_side_only() {
        let cuts = Clients::Inside(vec![1]).cuts(Shape::Split, &ids(&[2]), &ids(&[1, 2, 3]), 2);
        assert_eq!(cuts, [(1, NodeId(1)), (1, NodeId(3)), (2, NodeId(2))]);
        assert!(Clients::Free.cuts(Shape::Split, &ids(&[2]), &ids(&[1, 2, 3]), 2).is_empty());
        assert!(Clients::Inside(vec![1]).cuts(Shape::Mute, &ids(&[2]), &ids(&[1, 2, 3]), 2).is_empty());
    }
}
