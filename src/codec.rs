//! The only user of bincode: a compact encoding for values that are written and read by the same release. Data that
//! must outlive a release (log records, commands, snapshots, frame headers) has an explicit encoding instead.
//!
//! Integers are little-endian and of fixed width: measured on a heartbeat, this takes a third less time than bincode's
//! variable lengths and 60 more bytes.

use crate::types::Bytes;
use bincode::config::{self, Configuration, Fixint, LittleEndian};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use std::fmt;

const CONFIG: Configuration<LittleEndian, Fixint> = config::standard().with_fixed_int_encoding();

/// Appends the encoding of `value` to `out`.
///
/// # Errors
/// A message, if `value` is of a kind bincode cannot write (no type of this crate is).
pub fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    bincode::serde::encode_into_std_write(value, out, CONFIG).map(|_| ()).map_err(|e| e.to_string())
}

/// Decodes the value whose encoding is exactly `bytes`.
///
/// Memory use is proportional to `bytes`: nothing is allocated for an announced length that the bytes do not cover,
/// beyond serde's initial reservation of at most 1 MiB per sequence and `LIMIT` bytes per byte string.
///
/// # Errors
/// A message saying what does not fit.
pub fn decode<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, String> {
    let config = CONFIG.with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes left over", bytes.len() - used)),
        Err(e) => Err(e.to_string()),
    }
}

/// For `deserialize_with` on a byte string: makes one copy of exactly its size. The implementation of [`Bytes`] would
/// allocate and zero a vector first and then fill it. A format without byte strings, such as JSON, gives a sequence of
/// numbers.
///
/// # Errors
/// Those of the deserializer.
pub fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    struct Copied;
    impl<'de> Visitor<'de> for Copied {
        type Value = Bytes;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Bytes, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes.into())
        }
    }
    from.deserialize_bytes(Copied)
}
