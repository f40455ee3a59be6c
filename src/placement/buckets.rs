//! Buckets: named sets of keys stored in the same mode.
//!
//! A bucket `carts` owns every key that begins with `carts/`. Keys of no declared bucket belong to the default bucket.
//! The key alone determines its bucket, so requests need no extra field and no two buckets share a key.

use crate::types::Mode;
use std::collections::BTreeMap;

/// The declared buckets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Buckets {
    /// Mode of keys in no declared bucket.
    pub default: Mode,
    /// Modes of the declared buckets by name; a name contains no `/`.
    pub named: BTreeMap<String, Mode>,
}

impl Buckets {
    /// Returns the mode of `key`'s bucket.
    #[must_use]
    pub fn mode(&self, key: &[u8]) -> &Mode {
        if self.named.is_empty() {
            return &self.default;
        }
        let name = key.iter().position(|b| *b == b'/').and_then(|end| std::str::from_utf8(&key[..end]).ok());
        name.and_then(|name| self.named.get(name)).unwrap_or(&self.default)
    }

    /// Whether any bucket is in quorum mode.
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
