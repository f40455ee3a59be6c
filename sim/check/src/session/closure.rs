//! A growing transitive relation as a bit matrix, with the edges that were added to it.

use super::graph::{Adjacency, Edge, Why, path_between};

pub struct Closure {
    words: usize,
    /// Row a: the nodes that a is before.
    rows: Vec<u64>,
    pub edges: Vec<Edge>,
    /// Matrix words touched.
    pub steps: u64,
    cyclic: Option<Edge>,
}

impl Closure {
    /// Returns the size in bytes of a relation on `nodes` nodes.
    pub fn bytes(nodes: usize) -> usize {
        nodes.div_ceil(64).saturating_mul(8).saturating_mul(nodes)
    }

    pub fn new(nodes: usize) -> Closure {
        let words = nodes.div_ceil(64);
        Closure { words, rows: vec![0; words * nodes], edges: Vec::new(), steps: 0, cyclic: None }
    }

    pub fn has(&self, from: u32, to: u32) -> bool {
        self.rows[from as usize * self.words + to as usize / 64] >> (to % 64) & 1 == 1
    }

    /// Adds an edge and what follows from it. Returns whether it is new.
    pub fn add(&mut self, from: u32, to: u32, why: Why) -> bool {
        if self.has(from, to) {
            return false;
        }
        let edge = Edge { from, to, why };
        self.edges.push(edge);
        if from == to || self.has(to, from) {
            self.cyclic.get_or_insert(edge);
        }
        let words = self.words;
        let mut gain = self.rows[to as usize * words..][..words].to_vec();
        gain[to as usize / 64] |= 1 << (to % 64);
        for node in 0..self.rows.len() / words.max(1) {
            if node == from as usize || self.has(node as u32, from) {
                self.rows[node * words..][..words].iter_mut().zip(&gain).for_each(|(row, gain)| *row |= gain);
                self.steps += words as u64;
            }
        }
        self.steps += self.rows.len() as u64 / words.max(1) as u64;
        true
    }

    /// Returns a shortest cycle through the first edge that closed one.
    pub fn cycle(&self) -> Option<Vec<Edge>> {
        let closing = self.cyclic?;
        let mut edges = self.edges.clone();
        edges.sort_unstable();
        let mut path = path_between(&edges, &Adjacency::new(&edges), closing.to, closing.from, |_| true)?;
        path.insert(0, closing);
        Some(path)
    }
}
