//! Cycles in large graphs whose edges mostly point forward in time.
//!
//! Nodes are numbered in the order of their calls. On a cycle, an edge that points back crosses every gap between the
//! cycle's smallest and largest node. If each backward edge is seen as an interval, every cycle is therefore within one
//! of the segments that these intervals cover together. So edges are generated twice. The first pass keeps only the
//! backward edges, and merges them into segments. The second pass keeps only the edges within one segment. A history
//! that is nearly in order needs next to no memory.
//!
//! The generator of the edges gets a floor for each node: it may omit edges into the node from nodes below the floor.

use super::trace::NONE;

/// Why one access must be before another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// The same session did them in this order.
    Session,
    /// The second read what the first wrote.
    ReadsFrom,
    /// The revisions in the replies.
    Revisions,
    /// The first had returned before the second was called.
    RealTime,
    /// This access must see the first (its version or a newer one), and saw the second.
    Seen(u32),
    /// The first saw a version that this write must be before, so the second is after the first.
    Unseen(u32),
    /// A session guarantee requires it, because of this access.
    Guarantee(u32),
}

/// An edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Edge {
    /// The earlier.
    pub from: u32,
    /// The later.
    pub to: u32,
    /// The reason.
    pub why: Why,
}

/// The limit of kept edges or of steps was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany;

/// Receives edges.
pub struct Sink {
    /// By node: the start of its segment, or the node itself if it is in none.
    floor: Vec<u32>,
    second: bool,
    /// Backward edges in the first pass, edges within segments in the second.
    kept: Vec<Edge>,
    limit: usize,
    /// Steps that may still be taken.
    pub steps: u64,
    full: bool,
}

impl Sink {
    /// Returns the floor of a node: edges into it from nodes below the floor may be omitted.
    #[must_use]
    pub fn floor(&self, to: u32) -> u32 {
        let floor = self.floor[to as usize];
        if floor == to { to + 1 } else { floor }
    }

    /// Adds an edge, if this pass needs it.
    pub fn add(&mut self, from: u32, to: u32, why: Why) {
        let keep =
            if self.second { self.floor[from as usize] == self.floor[to as usize] && from != to } else { from > to };
        if keep && self.kept.len() < self.limit {
            self.kept.push(Edge { from, to, why });
        } else {
            self.full |= keep;
        }
    }

    /// Spends steps.
    ///
    /// # Errors
    /// When there are none left, or the limit of kept edges was reached.
    pub fn spend(&mut self, steps: u64) -> Result<(), TooMany> {
        self.steps = self.steps.checked_sub(steps).ok_or(TooMany)?;
        if self.full { Err(TooMany) } else { Ok(()) }
    }
}

/// The part of a graph that can be on cycles: its strongly connected components of more than one node.
#[derive(Clone, Debug, Default)]
pub struct Cyclic {
    /// The edges within components.
    pub edges: Vec<Edge>,
    /// A short cycle of each component.
    pub cycles: Vec<Vec<Edge>>,
    /// Steps that were spent.
    pub steps: u64,
}

/// Finds the cycles of a graph of `nodes` nodes.
///
/// # Errors
/// When there are too many edges or steps.
pub fn cycles(
    nodes: usize,
    limit: usize,
    steps: u64,
    make: &mut dyn FnMut(&mut Sink) -> Result<(), TooMany>,
) -> Result<Cyclic, TooMany> {
    let floor = (0u32..).take(nodes).collect();
    let mut sink = Sink { floor, second: false, kept: Vec::new(), limit, steps, full: false };
    make(&mut sink)?;
    sink.spend(0)?;
    if sink.kept.is_empty() {
        return Ok(Cyclic { steps: steps - sink.steps, ..Cyclic::default() });
    }
    merge(&mut sink.floor, &sink.kept);
    sink.kept.clear();
    sink.second = true;
    make(&mut sink)?;
    sink.spend(0)?;
    let Sink { mut kept, steps: left, .. } = sink;
    kept.sort_unstable();
    kept.dedup_by_key(|edge| (edge.from, edge.to));
    let mut found = components(nodes, kept);
    found.steps = steps - left;
    Ok(found)
}

/// Sets the floor of each node to the start of its segment.
fn merge(floor: &mut [u32], back: &[Edge]) {
    // `floor[a]` becomes the farthest node that has an edge back to `a`.
    for edge in back {
        let reach = &mut floor[edge.to as usize];
        *reach = (*reach).max(edge.from);
    }
    let (mut start, mut end) = (0, 0);
    for node in 0..floor.len() as u32 {
        let reach = floor[node as usize];
        // If one segment ends at this node and another starts at it, they are the same segment.
        if node > end || node == 0 {
            (start, end) = (node, reach);
        } else {
            end = end.max(reach);
        }
        floor[node as usize] = start;
    }
}

/// The outgoing edges of each node, as ranges of a list of edges that is sorted by `from`.
pub struct Adjacency {
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Adjacency {
    /// Indexes edges that are sorted by `from`.
    #[must_use]
    pub fn new(edges: &[Edge]) -> Adjacency {
        let (mut starts, mut nodes) = (Vec::new(), Vec::new());
        for (i, edge) in (0u32..).zip(edges) {
            if nodes.last() != Some(&edge.from) {
                nodes.push(edge.from);
                starts.push(i);
            }
        }
        starts.push(edges.len() as u32);
        Adjacency { starts, nodes }
    }

    /// Returns the range of the edges from a node.
    #[must_use]
    pub fn from(&self, node: u32) -> std::ops::Range<usize> {
        match self.nodes.binary_search(&node) {
            Ok(i) => self.starts[i] as usize..self.starts[i + 1] as usize,
            Err(_) => 0..0,
        }
    }
}

/// Tarjan's algorithm, with an explicit stack instead of recursion.
fn components(nodes: usize, edges: Vec<Edge>) -> Cyclic {
    let adjacency = Adjacency::new(&edges);
    let mut index = vec![NONE; nodes];
    let mut low = vec![NONE; nodes];
    let mut component = vec![NONE; nodes];
    let (mut next, mut components) = (0, 0);
    let (mut stack, mut path): (Vec<u32>, Vec<(u32, usize, usize)>) = (Vec::new(), Vec::new());
    for &root in &adjacency.nodes {
        if index[root as usize] != NONE {
            continue;
        }
        let mut enter = Some(root);
        loop {
            if let Some(node) = enter.take() {
                (index[node as usize], low[node as usize]) = (next, next);
                next += 1;
                stack.push(node);
                let range = adjacency.from(node);
                path.push((node, range.start, range.end));
            }
            let Some((node, at, end)) = path.last_mut() else { break };
            let node = *node;
            if at < end {
                let to = edges[*at].to;
                *at += 1;
                if index[to as usize] == NONE {
                    enter = Some(to);
                } else if component[to as usize] == NONE {
                    low[node as usize] = low[node as usize].min(index[to as usize]);
                }
                continue;
            }
            path.pop();
            if low[node as usize] == index[node as usize] {
                while let Some(member) = stack.pop() {
                    component[member as usize] = components;
                    if member == node {
                        break;
                    }
                }
                components += 1;
            }
            if let Some(&(parent, ..)) = path.last() {
                low[parent as usize] = low[parent as usize].min(low[node as usize]);
            }
        }
    }
    drop(adjacency);
    let mut inside = edges;
    inside.retain(|edge| component[edge.from as usize] == component[edge.to as usize]);
    let adjacency = Adjacency::new(&inside);
    let mut seen = vec![false; components as usize];
    let mut found = Cyclic::default();
    for edge in &inside {
        let mark = &mut seen[component[edge.from as usize] as usize];
        if !std::mem::replace(mark, true) {
            found.cycles.extend(path_between(&inside, &adjacency, edge.to, edge.from, |_| true).map(|mut path| {
                path.insert(0, *edge);
                path
            }));
        }
    }
    found.cycles.sort_by_key(Vec::len);
    found.edges = inside;
    found
}

/// Returns a shortest path; `None` if there is none. The edges must be sorted by `from`. The path from a node to itself
/// is empty.
#[must_use]
pub fn path_between(
    edges: &[Edge],
    adjacency: &Adjacency,
    from: u32,
    to: u32,
    usable: impl Fn(&Edge) -> bool,
) -> Option<Vec<Edge>> {
    let mut reached: hashbrown::HashMap<u32, usize> = hashbrown::HashMap::new();
    let mut queue = vec![from];
    let mut head = 0;
    while head < queue.len() && queue[head] != to {
        for i in adjacency.from(queue[head]) {
            if usable(&edges[i]) && edges[i].to != from && !reached.contains_key(&edges[i].to) {
                reached.insert(edges[i].to, i);
                queue.push(edges[i].to);
            }
        }
        head += 1;
    }
    if head == queue.len() {
        return None;
    }
    let mut path = Vec::new();
    let mut node = to;
    while node != from {
        let edge = edges[*reached.get(&node)?];
        path.push(edge);
        node = edge.from;
    }
    path.reverse();
    Some(path)
}

/// Returns a topological order of the nodes, close to `base`. The edges must have no cycle.
#[must_use]
pub fn topological(nodes: usize, base: &[u32], edges: &[Edge]) -> Vec<u32> {
    let mut rank = vec![0; nodes];
    for (i, &node) in (0u32..).zip(base) {
        rank[node as usize] = i;
    }
    let mut waiting = vec![0u32; nodes];
    let mut next: Vec<Vec<u32>> = vec![Vec::new(); nodes];
    for edge in edges {
        waiting[edge.to as usize] += 1;
        next[edge.from as usize].push(edge.to);
    }
    let first = base.iter().filter(|&&node| waiting[node as usize] == 0);
    let mut ready: std::collections::BTreeSet<(u32, u32)> = first.map(|&node| (rank[node as usize], node)).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some((_, node)) = ready.pop_first() {
        order.push(node);
        for &to in &next[node as usize] {
            waiting[to as usize] -= 1;
            if waiting[to as usize] == 0 {
                ready.insert((rank[to as usize], to));
            }
        }
    }
    order
}
