//! Buckets: names for keys that are kept alike.
//!
//! A bucket `carts` owns every key that begins with `carts/`. Keys of no declared bucket belong to the default one. So a key
//! says by itself where it belongs, requests need no other field, and no two buckets share a key.

use crate::types::Mode;
use std::collections::BTreeMap;

/// The declared buckets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Buckets {
    /// How keys of no declared bucket are kept.
    pub default: Mode,
    /// The others by name; a name has no `/`.
    pub named: BTreeMap<String, Mode>,
}

impl Buckets {
    /// How `key` is kept.
    #[must_use]
    pub fn mode(&self, key: &[u8]) -> &Mode {
        if self.named.is_empty() {
            return &self.default;
        }
        let name = key.iter().position(|b| *b == b'/').and_then(|end| std::str::from_utf8(&key[..end]).ok());
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.default)
    }

    /// Whether any bucket is kept by quorums.
    #[must_use]
    pub fn any_ap(&self) -> bool {
        std::iter::once(&self.default).chain(self.named.values()).any(|mode| matches!(mode, Mode::Ap(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Policy;

    #[test]
    fn a_key_belongs_to_the_bucket_before_its_first_slash() {
        let ap = Mode::Ap(Policy::default());
        let buckets = Buckets { default: Mode::Cp, named: BTreeMap::from([("carts".to_owned(), ap)]) };
        assert_eq!(*buckets.mode(b"carts/17"), ap);
        assert_eq!(*buckets.mode(b"carts/17/x"), ap);
        for key in [&b"carts"[..], b"cart/17", b"x/carts/17", b"\xff/carts", b"/", b""] {
            assert_eq!(*buckets.mode(key), Mode::Cp, "{key:?}");
        }
        assert!(buckets.any_ap() && !Buckets::default().any_ap());
    }
}
