//! Keys: any bytes, mostly short, compared and copied more often than anything else.

use super::Bytes;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// Most bytes of a key that is stored inline: as many as fit without making it larger than a key that is not.
const SHORT: usize = 23;

/// A key: any bytes, at most [`MAX_KEY_BYTES`](super::MAX_KEY_BYTES).
///
/// A short key is stored inline: it is copied without allocating and compared without following a pointer.
#[derive(Clone)]
pub struct Key(Repr);

#[derive(Clone)]
enum Repr {
    /// The bytes after the first `len` are zero.
    Short {
        len: u8,
        bytes: [u8; SHORT],
    },
    Long(Bytes),
}

impl Key {
    /// Creates a key from static bytes.
    #[must_use]
    pub const fn from_static(key: &'static [u8]) -> Key {
        if key.len() > SHORT {
            return Key(Repr::Long(Bytes::from_static(key)));
        }
        let mut bytes = [0; SHORT];
        let mut at = 0;
        while at < key.len() {
            bytes[at] = key[at];
            at += 1;
        }
        Key(Repr::Short { len: key.len() as u8, bytes })
    }

    fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(bytes) => bytes,
        }
    }

    /// Returns the key if it is short, `None` otherwise.
    fn short(key: &[u8]) -> Option<Key> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(Key(Repr::Short { len: key.len() as u8, bytes }))
    }
}

impl Default for Key {
    fn default() -> Key {
        Key(Repr::Short { len: 0, bytes: [0; SHORT] })
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (&self.0, &other.0) {
            // Both are padded with zeros. If they differ in nothing else, the shorter one is less.
            (Repr::Short { len, bytes }, Repr::Short { len: len2, bytes: bytes2 }) => {
                words(bytes).cmp(&words(bytes2)).then(len.cmp(len2))
            }
            _ => self.as_slice().cmp(other.as_slice()),
        }
    }
}

/// The bytes as big-endian numbers, which compare in the same order. The second and third overlap in one byte.
fn words(bytes: &[u8; SHORT]) -> [u64; 3] {
    [0, 8, SHORT - 8].map(|at| {
        let (_, rest) = bytes.split_at(at);
        u64::from_be_bytes(*rest.first_chunk().expect("eight bytes are there"))
    })
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

/// Hashes as its bytes, so that a map can be queried with them.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl From<&[u8]> for Key {
    fn from(key: &[u8]) -> Key {
        Key::short(key).unwrap_or_else(|| Key(Repr::Long(Bytes::copy_from_slice(key))))
    }
}

impl<const N: usize> From<&[u8; N]> for Key {
    fn from(key: &[u8; N]) -> Key {
        Key::from(&key[..])
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Key {
        Key::from(key.as_bytes())
    }
}

impl From<Bytes> for Key {
    fn from(key: Bytes) -> Key {
        Key::short(&key).unwrap_or(Key(Repr::Long(key)))
    }
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Key {
        Key::short(&key).unwrap_or_else(|| Key(Repr::Long(key.into())))
    }
}

impl From<String> for Key {
    fn from(key: String) -> Key {
        Key::from(key.into_bytes())
    }
}

/// Serializes as a byte string.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key, D::Error> {
        struct Taken;
        impl<'de> Visitor<'de> for Taken {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key::from(bytes))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Key, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Key::from(bytes))
            }
        }
        from.deserialize_bytes(Taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::hash_map::DefaultHasher;

    fn hash(of: &(impl Hash + ?Sized)) -> u64 {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn a_key_is_no_larger_than_bytes() {
        assert_eq!(size_of::<Key>(), size_of::<Bytes>());
    }

    proptest! {
        /// Few different byte values, zeros among them, so that keys are often equal or share a prefix.
        #[test]
        fn keys_are_like_their_bytes(
            a in prop::collection::vec(0u8..3, 0..50),
            b in prop::collection::vec(0u8..3, 0..50),
            shared in 0usize..50,
        ) {
            let mut b = b;
            let shared = shared.min(a.len()).min(b.len());
            b[..shared].copy_from_slice(&a[..shared]);
            let keys = [Key::from(&a[..]), Key::from(b.clone())];
            prop_assert_eq!(&keys[0][..], &a[..]);
            prop_assert_eq!(keys[0].cmp(&keys[1]), a.cmp(&b));
            prop_assert_eq!(keys[0] == keys[1], a == b);
            prop_assert_eq!(hash(&keys[0]), hash(&a[..]));
            prop_assert_eq!(&keys[0], &Key::from(Bytes::from(a.clone())));
            let mut encoded = Vec::new();
            crate::codec::append(&keys[0], &mut encoded).unwrap();
            let mut as_bytes = Vec::new();
            crate::codec::append(&Bytes::from(a), &mut as_bytes).unwrap();
            prop_assert_eq!(&encoded, &as_bytes);
            prop_assert_eq!(crate::codec::decode::<Key, 1024>(&encoded).unwrap(), keys[0].clone());
        }
    }
}
