//! The dependency graph. Its nodes are transactions, numbered as their operations. Its edges are stored in compressed
//! rows, four bytes each.
//!
//! Two relations would need quadratically many edges, and use helper nodes instead, which are never shown. Real time
//! (everything that returned before, to everything called after) is a chain of barriers. "Before every member of a set
//! except oneself" is a [`Fan`]. An edge into a helper node has the kind of the edges that the helper node replaces; an
//! edge out of one is [`Link::Via`]. Every path from one transaction to another through helper nodes is one edge of
//! that kind, and no such path leads from a transaction back to itself.

use crate::history::{History, NEVER};
use hashbrown::HashMap;

/// Why one transaction is before another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Link {
    /// It wrote an earlier version.
    Ww,
    /// The other read what it wrote.
    Wr,
    /// It read a version that the other overwrote.
    Rw,
    /// The same client ran it earlier.
    Process,
    /// It had returned before the other was called.
    Realtime,
    /// Continues from a helper node.
    Via,
}

impl Link {
    const ALL: [Link; 6] = [Link::Ww, Link::Wr, Link::Rw, Link::Process, Link::Realtime, Link::Via];

    /// Returns the bit mask that contains only this kind.
    pub const fn mask(self) -> u8 {
        1 << self as u8
    }
}

/// Bits of the target node's number in an edge; the other bits are the edge's [`Link`].
const NODE_BITS: u32 = 29;
/// A graph must have fewer nodes than this.
const MAX_NODES: u32 = 1 << NODE_BITS;

/// Collects edges.
pub struct Builder {
    real: u32,
    nodes: u32,
    /// The source, and the target with its link.
    edges: Vec<(u32, u32)>,
}

/// Helper nodes for edges to each member of a set, except to oneself. Each member has one node that leads to it and to
/// all members before it, and one that leads to it and to all members after it.
pub struct Fan {
    members: Vec<u32>,
    prefix: u32,
    suffix: u32,
}

impl Builder {
    /// Creates a builder for `nodes` transactions and about `edges` edges.
    pub fn new(nodes: usize, edges: usize) -> Builder {
        let real = nodes as u32;
        Builder { real, nodes: real, edges: Vec::with_capacity(edges) }
    }

    /// Adds an edge, except from a node to itself.
    pub fn add(&mut self, from: u32, to: u32, link: Link) {
        if from != to && self.nodes < MAX_NODES {
            self.edges.push((from, to | (link as u32) << NODE_BITS));
        }
    }

    fn helpers(&mut self, count: usize) -> u32 {
        let first = self.nodes;
        self.nodes = self.nodes.saturating_add(count as u32);
        first
    }

    /// Creates a fan to these transactions.
    pub fn fan(&mut self, mut members: Vec<u32>) -> Fan {
        members.sort_unstable();
        members.dedup();
        let few = members.len() <= 3;
        let (prefix, suffix) = if few { (0, 0) } else { (self.helpers(members.len()), self.helpers(members.len())) };
        if !few {
            for (i, &member) in (0u32..).zip(&members) {
                self.add(prefix + i, member, Link::Via);
                self.add(suffix + i, member, Link::Via);
                if i > 0 {
                    self.add(prefix + i, prefix + i - 1, Link::Via);
                    self.add(suffix + i - 1, suffix + i, Link::Via);
                }
            }
        }
        Fan { members, prefix, suffix }
    }

    /// Adds edges from a transaction to every member of a fan except itself.
    pub fn spread(&mut self, from: u32, fan: &Fan, link: Link) {
        if fan.members.len() <= 3 {
            for &member in &fan.members {
                self.add(from, member, link);
            }
            return;
        }
        match fan.members.binary_search(&from) {
            Ok(at) => {
                let at = at as u32;
                if at > 0 {
                    self.add(from, fan.prefix + at - 1, link);
                }
                if at + 1 < fan.members.len() as u32 {
                    self.add(from, fan.suffix + at + 1, link);
                }
            }
            Err(_) => self.add(from, fan.suffix, link),
        }
    }

    /// Adds the order of real time and the order within each client, among the operations that count.
    pub fn orders(&mut self, history: &History, counts: impl Fn(u32) -> bool) {
        let operations = history.operations();
        let mut returns = vec![NEVER; history.events() as usize];
        // By process: its last operation that returned, and when it returned. For look-ups only, never iterated.
        let mut last: HashMap<u32, (u32, u32)> = HashMap::new();
        for (i, op) in (0u32..).zip(operations).filter(|&(i, _)| counts(i)) {
            // After an operation of unknown outcome, the operation before it still counts as the last.
            let slot = last.entry(op.process).or_insert((NEVER, i));
            if slot.0 < op.called {
                self.add(slot.1, i, Link::Process);
            }
            if let Some(returned) = op.settled() {
                *slot = (returned, i);
            }
            if let Some(slot) = op.settled().and_then(|at| returns.get_mut(at as usize)) {
                *slot = i;
            }
        }
        // Everything that returned since the last barrier leads to the next one. A call needs a new barrier only if
        // something did.
        let (mut barrier, mut waiting) = (None, Vec::new());
        let mut event = 0;
        for (i, op) in (0u32..).zip(operations).filter(|&(i, _)| counts(i)) {
            let passed = &returns[event..(op.called as usize).max(event)];
            waiting.extend(passed.iter().copied().filter(|&done| done != NEVER));
            event = event.max(op.called as usize);
            if !waiting.is_empty() {
                let next = self.helpers(1);
                if let Some(last) = barrier.replace(next) {
                    self.add(last, next, Link::Via);
                }
                for done in waiting.drain(..) {
                    self.add(done, next, Link::Realtime);
                }
            }
            if let Some(barrier) = barrier {
                self.add(barrier, i, Link::Via);
            }
        }
    }

    /// Returns the graph; `None` if it is too large.
    pub fn finish(self) -> Option<Graph> {
        if self.nodes >= MAX_NODES || self.edges.len() >= u32::MAX as usize {
            return None;
        }
        let mut start = vec![0u32; self.nodes as usize + 2];
        for &(from, _) in &self.edges {
            start[from as usize + 2] += 1;
        }
        for i in 2..start.len() {
            start[i] += start[i - 1];
        }
        let mut out = vec![0u32; self.edges.len()];
        for &(from, to) in &self.edges {
            let slot = &mut start[from as usize + 1];
            out[*slot as usize] = to;
            *slot += 1;
        }
        start.pop();
        Some(Graph { real: self.real, start, out, names: Vec::new() })
    }
}

/// A finished graph.
pub struct Graph {
    /// Nodes from here on are helper nodes.
    real: u32,
    /// Where each node's edges begin, and the end.
    start: Vec<u32>,
    out: Vec<u32>,
    /// The operation of each node; empty if the numbers are the same.
    names: Vec<u32>,
}

/// Strongly connected components of more than one node.
pub struct Components {
    /// The component of each node; `u32::MAX` if it is alone.
    pub of: Vec<u32>,
    /// The nodes of each component, ascending.
    pub nodes: Vec<Vec<u32>>,
}

impl Graph {
    /// Returns the number of nodes.
    pub fn nodes(&self) -> usize {
        self.start.len() - 1
    }

    /// Returns the number of edges.
    pub fn edges(&self) -> usize {
        self.out.len()
    }

    /// Whether a node is a transaction.
    pub fn is_real(&self, node: u32) -> bool {
        node < self.real
    }

    /// Returns the operation of a node.
    pub fn op(&self, node: u32) -> u32 {
        self.names.get(node as usize).copied().unwrap_or(node)
    }

    /// Returns the edges from a node.
    pub fn out(&self, node: u32) -> impl Iterator<Item = (u32, Link)> + '_ {
        let range = self.start[node as usize] as usize..self.start[node as usize + 1] as usize;
        self.out[range].iter().map(|&edge| (edge & (MAX_NODES - 1), Link::ALL[(edge >> NODE_BITS) as usize]))
    }

    /// Finds strongly connected components over the edges of a mask: Tarjan's algorithm (1972), with an explicit stack
    /// instead of recursion.
    pub fn components(&self, mask: u8) -> Components {
        const NEW: u32 = u32::MAX;
        const DONE: u32 = u32::MAX - 1;
        let n = self.nodes();
        let mut low = vec![NEW; n];
        let mut of = vec![u32::MAX; n];
        let mut found: Vec<Vec<u32>> = Vec::new();
        let (mut open, mut path): (Vec<u32>, Vec<(u32, u32, u32)>) = (Vec::new(), Vec::new());
        let mut count = 0;
        for root in 0..n as u32 {
            if low[root as usize] != NEW {
                continue;
            }
            low[root as usize] = count;
            path.push((root, self.start[root as usize], count));
            open.push(root);
            count += 1;
            while let Some((node, cursor, index)) = path.last_mut() {
                let (v, i) = (*node as usize, *index);
                if *cursor == self.start[v + 1] {
                    path.pop();
                    let least = low[v];
                    if let Some((parent, _, _)) = path.last() {
                        let parent = *parent as usize;
                        low[parent] = low[parent].min(least);
                    }
                    if least == i {
                        let mut nodes = Vec::new();
                        while let Some(member) = open.pop() {
                            low[member as usize] = DONE;
                            nodes.push(member);
                            if member as usize == v {
                                break;
                            }
                        }
                        if nodes.len() > 1 {
                            nodes.sort_unstable();
                            nodes.iter().for_each(|&member| of[member as usize] = found.len() as u32);
                            found.push(nodes);
                        }
                    }
                    continue;
                }
                let edge = self.out[*cursor as usize];
                *cursor += 1;
                if mask & (1 << (edge >> NODE_BITS)) == 0 {
                    continue;
                }
                let to = edge & (MAX_NODES - 1);
                match low[to as usize] {
                    NEW => {
                        low[to as usize] = count;
                        path.push((to, self.start[to as usize], count));
                        open.push(to);
                        count += 1;
                    }
                    DONE => {}
                    other => low[v] = low[v].min(other),
                }
            }
        }
        Components { of, nodes: found }
    }

    /// Returns the part of the graph with these nodes, which must be ascending, and the edges between them.
    pub fn part(&self, nodes: &[u32]) -> Graph {
        let mut place = vec![u32::MAX; self.nodes()];
        for (i, &node) in (0u32..).zip(nodes) {
            place[node as usize] = i;
        }
        let (mut start, mut out) = (vec![0], Vec::new());
        for &node in nodes {
            let kept = self.out(node).map(|(to, link)| (place[to as usize], link)).filter(|&(to, _)| to != u32::MAX);
            out.extend(kept.map(|(to, link)| to | (link as u32) << NODE_BITS));
            start.push(out.len() as u32);
        }
        let real = nodes.partition_point(|&node| self.is_real(node)) as u32;
        Graph { real, start, out, names: nodes.iter().map(|&node| self.op(node)).collect() }
    }

    /// Returns a graph with two copies of each node: `2v`, reached by any other edge, and `2v + 1`, reached by an
    /// anti-dependency; no further anti-dependency may leave it. Its cycles are the walks without adjacent
    /// anti-dependencies.
    pub fn apart(&self, mask: u8) -> Graph {
        self.twice(mask, |link, late| match link {
            Link::Rw if late => None,
            Link::Rw => Some(true),
            Link::Via => Some(late),
            _ => Some(false),
        })
    }

    /// Returns a graph with two copies of each node: `2v`, reached by any other edge, and `2v + 1`, reached by a read
    /// dependency; an anti-dependency may leave only the latter. Its cycles are the walks in which each anti-dependency
    /// follows a read dependency.
    pub fn after_reads(&self, mask: u8) -> Graph {
        self.twice(mask, |link, read| match link {
            Link::Rw if !read => None,
            Link::Via => Some(read),
            link => Some(link == Link::Wr),
        })
    }

    /// Returns a graph with two copies of each node. `to_copy` says which copy an edge leads to, or `None` if the edge
    /// may not leave the given copy.
    fn twice(&self, mask: u8, to_copy: impl Fn(Link, bool) -> Option<bool>) -> Graph {
        let mut start = vec![0];
        let mut out = Vec::new();
        for node in 0..self.nodes() as u32 {
            for second in [false, true] {
                for (to, link) in self.out(node).filter(|&(_, link)| mask & link.mask() != 0) {
                    if let Some(copy) = to_copy(link, second) {
                        out.push((2 * to + u32::from(copy)) | (link as u32) << NODE_BITS);
                    }
                }
                start.push(out.len() as u32);
            }
        }
        Graph { real: 2 * self.real, start, out, names: Vec::new() }
    }
}
