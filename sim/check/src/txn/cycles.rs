//! Cycles of the dependency graph, with Adya's names.
//!
//! A cycle's name says which dependencies it needs: only write-write (G0); also write-read (G1c); exactly one
//! anti-dependency (G-single); several anti-dependencies, no two of them adjacent (G-nonadjacent: Cerone and Gotsman's
//! criterion for snapshot isolation); or any (G2-item). `-process` and `-realtime` say that the cycle needs the order
//! within a client, or real time. Cycles that a weaker name already covers are not searched for again.
//!
//! Strongly connected components decide in linear time whether there is a cycle of a kind: components of the graph
//! itself, for snapshot isolation of [`Graph::apart`], and for prefix consistency of [`Graph::after_reads`]. So no
//! limit can make a level look possible that is not, with one exception: parallel snapshot isolation asks for a cycle
//! with exactly one anti-dependency, and if the search for it ends early, [`find`] says so. Other limits only end the
//! search for shorter cycles.

use super::explain::Why;
use super::found::Found;
use super::graph::{Components, Graph, Link};
use super::index::Index;
use super::levels::{Isolation, weakest};
use crate::history::End;
use std::collections::VecDeque;

const WW: u8 = Link::Ww.mask();
const WR: u8 = Link::Wr.mask();
const RW: u8 = Link::Rw.mask();
const VIA: u8 = Link::Via.mask();
const PROCESS: u8 = Link::Process.mask();
const REALTIME: u8 = Link::Realtime.mask();

/// An edge: from, to, why.
type Edge = (u32, u32, Link);

/// Finds cycles of each kind. Returns how many edges were examined, and whether a G-single may have been missed.
pub fn find(index: &Index<'_>, why: &Why<'_, '_>, graph: &Graph, limit: u64, found: &mut Found) -> (u64, bool) {
    let edges = graph.edges() as u64;
    let tangled = graph.components(WW | WR | RW | REALTIME | VIA);
    let mut nodes: Vec<u32> = tangled.nodes.into_iter().flatten().collect();
    if nodes.is_empty() {
        return (edges, false);
    }
    nodes.sort_unstable();
    let mut search = Search {
        index,
        why,
        graph: &graph.part(&nodes),
        found,
        paths: Paths { distance: Vec::new(), parent: Vec::new(), touched: Vec::new(), spent: 0, limit },
        missed: false,
    };
    for order in [0, PROCESS, REALTIME] {
        search.dependencies("G0", WW, WW | VIA | order);
        search.dependencies("G1c", WR, WW | WR | VIA | order);
        search.anti_dependencies(order);
    }
    search.skew();
    search.prefixes();
    (edges + search.paths.spent, search.missed)
}

struct Search<'a, 'h> {
    index: &'a Index<'h>,
    why: &'a Why<'a, 'h>,
    graph: &'a Graph,
    found: &'a mut Found,
    paths: Paths,
    /// Whether a search for a G-single ended at the limit.
    missed: bool,
}

impl Search<'_, '_> {
    /// Whether a cycle of this kind was found already. It needs no more of the orders (client, real time) than the
    /// current search allows.
    fn covered(&self, kind: &str) -> bool {
        self.found
            .counts
            .iter()
            .any(|count| matches!(count.name.strip_prefix(kind), Some("" | "-process" | "-realtime")))
    }

    /// Finds a cycle in every component that has an edge of `first`.
    fn dependencies(&mut self, kind: &str, first: u8, mask: u8) {
        if self.covered(kind) {
            return;
        }
        let components = self.graph.components(mask);
        for label in 0..components.nodes.len() as u32 {
            let starts = starts(self.graph, &components, label, first);
            if let Some(path) = self.paths.shortest(self.graph, &components.of, mask, &starts, true) {
                self.tell(&path, 1);
            }
        }
    }

    fn anti_dependencies(&mut self, order: u8) {
        let mask = WW | WR | RW | VIA | order;
        let apart = self.graph.apart(mask);
        let knots = apart.components(mask);
        let mut forbidden = vec![false; self.graph.nodes()];
        let tangles = self.graph.components(mask);
        let known = self.covered("G-single") || self.covered("G-nonadjacent");
        for label in 0..knots.nodes.len() as u32 {
            let starts = starts(&apart, &knots, label, RW);
            if starts.is_empty() {
                continue; // No anti-dependency: found as a G0 or G1c.
            }
            knots.nodes[label as usize].iter().for_each(|&node| forbidden[node as usize / 2] = true);
            if known {
                continue;
            }
            // The way back uses only dependencies, so the cycle has exactly one anti-dependency.
            let anti: Vec<Edge> = starts.iter().map(|&(u, v, link)| (u / 2, v / 2, link)).collect();
            let path = self.paths.shortest(self.graph, &tangles.of, mask & !RW, &anti, false);
            self.missed |= path.is_none() && order == 0 && self.paths.spent >= self.paths.limit;
            if let Some(path) = path {
                self.tell(&path, 1);
            } else if let Some(path) = self.paths.shortest(&apart, &knots.of, mask, &starts, true) {
                self.tell(&path, 2);
            }
        }
        if self.covered("G2-item") {
            return;
        }
        for (label, nodes) in (0u32..).zip(&tangles.nodes) {
            // Look only where every cycle has adjacent anti-dependencies. Elsewhere a cycle was found already.
            if nodes.iter().any(|&node| forbidden[node as usize]) {
                continue;
            }
            let starts = starts(self.graph, &tangles, label, RW);
            if let Some(path) = self.paths.shortest(self.graph, &tangles.of, mask, &starts, true) {
                self.tell(&path, 1);
            }
        }
    }

    /// Looks for cycles with adjacent anti-dependencies in components that have other cycles too. Reports those that
    /// turn up.
    fn skew(&mut self) {
        if self.covered("G2-item") {
            return;
        }
        let mask = WW | WR | RW | VIA;
        let components = self.graph.components(mask);
        for label in 0..components.nodes.len() as u32 {
            let starts = starts(self.graph, &components, label, RW);
            let mut paths = starts
                .iter()
                .filter_map(|&start| self.paths.shortest(self.graph, &components.of, mask, &[start], false));
            let path = paths.find(|path| name(&path.edges).starts_with("G2-item"));
            if let Some(path) = path {
                self.tell(&Path { sure: false, ..path }, 1);
            }
        }
    }

    /// Finds a cycle in which every anti-dependency follows a read dependency, unless one was already reported.
    fn prefixes(&mut self) {
        if self.found.rules_out(Isolation::PrefixConsistency) {
            return;
        }
        let mask = WW | WR | RW | VIA;
        let follows = self.graph.after_reads(mask);
        let components = follows.components(mask);
        for label in 0..components.nodes.len() as u32 {
            let starts = starts(&follows, &components, label, RW);
            if let Some(path) = self.paths.shortest(&follows, &components.of, mask, &starts, true) {
                self.tell(&path, 2);
                return;
            }
        }
    }

    /// Reports a cycle, whose node `n` is node `n / copies` of the graph.
    fn tell(&mut self, path: &Path, copies: u32) {
        let cycle =
            path.edges.iter().map(|&(from, to, link)| (self.graph.op(from / copies), self.graph.op(to / copies), link));
        let mut cycle: Vec<Edge> = cycle.collect();
        let earliest = (0..cycle.len()).min_by_key(|&i| cycle[i].0).unwrap_or(0);
        cycle.rotate_left(earliest);
        let ops: Vec<u32> = cycle.iter().map(|&(from, ..)| from).collect();
        let name = name(&cycle);
        let levels = self.forbidden_by(name, &cycle);
        self.found.add_told(self.index, name, (&ops, path.sure), &levels, |words| self.why.cycle(words, &cycle));
    }

    /// Returns the weakest levels that a cycle rules out.
    fn forbidden_by(&self, name: &str, cycle: &[Edge]) -> Vec<Isolation> {
        let operations = self.index.history.operations();
        // A transaction of unknown outcome is known to have committed only because a committed one read from it. That
        // may be a dirty read.
        let committed = |&(from, ..): &Edge| operations[from as usize].end != End::Info;
        // That a transaction overwrote what it had read is known only if the database provides read committed.
        let ordered = |&(from, to, link): &Edge| link != Link::Ww || self.why.is_ordered(from, to);
        if name == "G0" && !(cycle.iter().all(committed) && cycle.iter().all(ordered)) {
            return vec![Isolation::ReadCommitted];
        }
        let mut levels = weakest(name).to_vec();
        let before = |at: usize| cycle[(at + cycle.len() - 1) % cycle.len()].2;
        let follows = |at: usize| cycle[at].2 != Link::Rw || before(at) == Link::Wr;
        if matches!(name, "G-single" | "G-nonadjacent") && (0..cycle.len()).all(follows) {
            levels.push(Isolation::PrefixConsistency);
        }
        levels
    }
}

/// Returns the edges of the kinds in `first` from transactions of a component to nodes of the component.
fn starts(graph: &Graph, components: &Components, label: u32, first: u8) -> Vec<Edge> {
    let nodes = components.nodes[label as usize].iter().filter(|&&node| graph.is_real(node));
    nodes
        .flat_map(|&from| graph.out(from).map(move |(to, link)| (from, to, link)))
        .filter(|&(_, to, link)| first & link.mask() != 0 && components.of[to as usize] == label)
        .collect()
}

/// Returns the name of a cycle.
fn name(cycle: &[Edge]) -> &'static str {
    let has = |wanted: Link| cycle.iter().any(|&(.., link)| link == wanted);
    let anti = cycle.iter().filter(|&&(.., link)| link == Link::Rw).count();
    let adjacent = (0..cycle.len()).any(|i| cycle[i].2 == Link::Rw && cycle[(i + 1) % cycle.len()].2 == Link::Rw);
    let names = match (anti, adjacent && anti > 1) {
        (0, _) if has(Link::Wr) => ["G1c", "G1c-process", "G1c-realtime"],
        (0, _) => ["G0", "G0-process", "G0-realtime"],
        (1, _) => ["G-single", "G-single-process", "G-single-realtime"],
        (_, false) => ["G-nonadjacent", "G-nonadjacent-process", "G-nonadjacent-realtime"],
        (_, true) => ["G2-item", "G2-item-process", "G2-item-realtime"],
    };
    match (has(Link::Realtime), has(Link::Process)) {
        (true, _) => names[2],
        (false, true) => names[1],
        (false, false) => names[0],
    }
}

/// A cycle of transactions.
struct Path {
    edges: Vec<Edge>,
    /// Whether it is certain that no shorter cycle of those searched for exists.
    sure: bool,
}

/// Shortest paths, by breadth-first search. Helper nodes cost nothing.
struct Paths {
    /// By node: the number of transactions from the start to it; `u32::MAX` until it is reached.
    distance: Vec<u32>,
    parent: Vec<(u32, Link)>,
    /// Nodes whose distance is set.
    touched: Vec<u32>,
    /// Edges examined.
    spent: u64,
    limit: u64,
}

impl Paths {
    /// Returns the shortest cycle through one of these edges, within the component of its start, over edges of the
    /// mask. `one`: there is a cycle through the first edge, and it is found at any cost.
    fn shortest(&mut self, graph: &Graph, of: &[u32], mask: u8, starts: &[Edge], one: bool) -> Option<Path> {
        self.distance.resize(graph.nodes().max(self.distance.len()), u32::MAX);
        self.parent.resize(self.distance.len(), (0, Link::Via));
        let mut best: Option<(u32, Vec<(u32, Link)>)> = None;
        let mut sure = true;
        for &start in starts {
            let length = best.as_ref().map_or(u32::MAX, |&(length, _)| length);
            if length <= 2 {
                break;
            }
            let bound = if one && best.is_none() { u64::MAX } else { self.limit };
            if self.spent >= bound {
                sure = false;
                break;
            }
            let reached = self.search(graph, of, mask, start, length, bound);
            sure &= self.spent < bound;
            if let Some(length) = reached {
                let mut nodes = vec![(start.0, start.2)];
                let mut back = Vec::new();
                let (mut at, mut link) = self.parent[start.0 as usize];
                loop {
                    back.push((at, link));
                    if at == start.1 {
                        break;
                    }
                    (at, link) = self.parent[at as usize];
                }
                nodes.extend(back.into_iter().rev());
                best = Some((length, nodes));
            }
            for node in self.touched.drain(..) {
                self.distance[node as usize] = u32::MAX;
            }
        }
        let (_, nodes) = best?;
        let real: Vec<(u32, Link)> = nodes.into_iter().filter(|&(node, _)| graph.is_real(node)).collect();
        let edges = (0..real.len()).map(|i| (real[i].0, real[(i + 1) % real.len()].0, real[i].1));
        Some(Path { edges: edges.collect(), sure })
    }

    /// Searches for a path from the end of an edge back to its start, in a cycle of fewer than `length` transactions.
    /// The parents give the path.
    fn search(&mut self, graph: &Graph, of: &[u32], mask: u8, start: Edge, length: u32, bound: u64) -> Option<u32> {
        let (target, first, _) = start;
        let mut queue = VecDeque::from([first]);
        self.distance[first as usize] = u32::from(graph.is_real(first));
        self.touched.push(first);
        while let Some(node) = queue.pop_front() {
            let distance = self.distance[node as usize];
            if distance >= length - 1 || self.spent >= bound {
                return None;
            }
            for (to, link) in graph.out(node) {
                self.spent += 1;
                if mask & link.mask() == 0 || of[to as usize] != of[target as usize] {
                    continue;
                }
                if to == target {
                    self.parent[to as usize] = (node, link);
                    return Some(distance + 1);
                }
                let next = distance + u32::from(graph.is_real(to));
                if next < self.distance[to as usize] {
                    if self.distance[to as usize] == u32::MAX {
                        self.touched.push(to);
                    }
                    self.distance[to as usize] = next;
                    self.parent[to as usize] = (node, link);
                    if graph.is_real(to) { queue.push_back(to) } else { queue.push_front(to) }
                }
            }
        }
        None
    }
}
