//! Parses maps among the values of a history. The history stores a map in its canonical spelling ([`Tree::canonical`]).

use super::edn;
use super::tree::{Tree, What};

/// The value of an entry of a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A whole number.
    Number(i64),
    /// Nothing.
    Nil,
    /// Anything else, in its canonical spelling.
    Other(String),
}

/// Returns the entries of a map with the names of their keys, in the order of the spelling; `None` if it is not a map.
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
