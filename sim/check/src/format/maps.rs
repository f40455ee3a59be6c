//! Maps among the values of a history, which keeps them in one spelling ([`Tree::canonical`]): their entries.

use super::edn;
use super::tree::{Tree, What};

/// What an entry of a map has as its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A whole number.
    Number(i64),
    /// Nothing.
    Nil,
    /// Anything else, as it is spelled.
    Other(String),
}

/// The entries of a map by the names of their keys, in the order of their spelling; `None`: it is no map.
#[must_use]
pub fn entries(spelling: &str) -> Option<Vec<(String, Entry)>> {
    let mut tree = Tree::default();
    if !spelling.starts_with('{') || edn::form(spelling, 0, &mut tree).ok().flatten() != Some(spelling.len()) {
        return None;
    }
    let parts: Vec<usize> = tree.content(0).collect();
    let entry = |pair: &[usize]| {
        let name = tree.name(pair[0], spelling).map_or_else(|| tree.canonical(pair[0], spelling), str::to_owned);
        let value = match tree.node(pair[1]).what {
            What::Int(n) => Entry::Number(n),
            What::Nil => Entry::Nil,
            _ => Entry::Other(tree.canonical(pair[1], spelling)),
        };
        (name, value)
    };
    Some(parts.chunks_exact(2).map(entry).collect())
}
