//! The encoding of a state on disk, as part of a record of the AP store. The terms are those of `dynamo::encoding`.
//!
//! ```text
//! state     version vector: count (4), each dot; value
//! value     1 counter | 2 pn-counter: count (4), each dot, added (8), subtracted (8)
//!           3 register: count (4), each dot, stamp (8), length (4), bytes
//!           4 set: count (4), each length (4), bytes of the element, count (4), its dots
//!           5 map: count (4), each length (4), name, count (4), its values, none of them a map
//! ```
//!
//! Everything is sorted, so equal states have equal bytes. Bytes that are not sorted are rejected.

use super::counter::Tally;
use super::dots::Dots;
use super::leaf::Leaf;
use super::map::{Field, Map};
use super::register::Assigned;
use super::set::Set;
use super::{Body, State};
use crate::dynamo::encoding::{Reader, put_bytes32, put_dot, put_u32, put_u64, put_version_vector};
use crate::types::{Hlc, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use std::collections::BTreeMap;

const COUNTER: u8 = 1;
const PN_COUNTER: u8 = 2;
const REGISTER: u8 = 3;
const SET: u8 = 4;
const MAP: u8 = 5;

impl State {
    /// Appends the state.
    pub(in crate::dynamo) fn encode(&self, out: &mut Vec<u8>) {
        put_version_vector(out, &self.clock);
        match &self.body {
            Body::Leaf(leaf) => put_leaf(out, leaf),
            Body::Map(map) => {
                out.push(MAP);
                put_u32(out, map.0.len() as u32);
                for (name, field) in &map.0 {
                    put_bytes32(out, name.as_bytes());
                    put_u32(out, field.len() as u32);
                    field.values().for_each(|leaf| put_leaf(out, leaf));
                }
            }
        }
    }

    /// Decodes a state from the front of the bytes.
    pub(in crate::dynamo) fn decode(from: &mut Reader<'_>) -> Option<State> {
        let clock = from.clock()?;
        let body = match from.u8()? {
            MAP => Body::Map(Map(in_order(from.many(|from| {
                let name = String::from_utf8(from.bytes32(MAX_KEY_BYTES)?.to_vec()).ok()?;
                let values = from.many(|from| {
                    let kind = from.u8()?;
                    leaf(from, kind)
                });
                let field: Field = in_order(values?.into_iter().map(|leaf| (leaf.kind(), leaf)).collect())?;
                Some((name, field))
            })?)?)),
            kind => Body::Leaf(leaf(from, kind)?),
        };
        Some(State { clock, body }).filter(State::is_sane)
    }
}

fn put_leaf(out: &mut Vec<u8>, leaf: &Leaf) {
    match leaf {
        Leaf::Counter(counter) | Leaf::PnCounter(counter) => {
            out.push(if matches!(leaf, Leaf::Counter(_)) { COUNTER } else { PN_COUNTER });
            put_dots(out, counter, |out, tally| {
                put_u64(out, tally.up);
                put_u64(out, tally.down);
            });
        }
        Leaf::Register(register) => {
            out.push(REGISTER);
            put_dots(out, register, |out, assigned| {
                put_u64(out, assigned.stamp.0);
                put_bytes32(out, &assigned.value);
            });
        }
        Leaf::Set(set) => {
            out.push(SET);
            put_u32(out, set.0.len() as u32);
            for (element, dots) in &set.0 {
                put_bytes32(out, element);
                put_dots(out, dots, |_, ()| {});
            }
        }
    }
}

fn put_dots<T>(out: &mut Vec<u8>, dots: &Dots<T>, put: impl Fn(&mut Vec<u8>, &T)) {
    put_u32(out, dots.0.len() as u32);
    for (dot, thing) in &dots.0 {
        put_dot(out, *dot);
        put(out, thing);
    }
}

fn leaf(from: &mut Reader<'_>, kind: u8) -> Option<Leaf> {
    let tally = |from: &mut Reader<'_>| Some(Tally { up: from.u64()?, down: from.u64()? });
    let assigned = |from: &mut Reader<'_>| {
        let stamp = Hlc(from.u64()?);
        Some(Assigned { stamp, value: from.bytes32(MAX_VALUE_BYTES)? })
    };
    Some(match kind {
        COUNTER => Leaf::Counter(dots(from, tally)?),
        PN_COUNTER => Leaf::PnCounter(dots(from, tally)?),
        REGISTER => Leaf::Register(dots(from, assigned)?),
        SET => {
            let element = |from: &mut Reader<'_>| Some((from.bytes32(MAX_KEY_BYTES)?, dots(from, |_| Some(()))?));
            Leaf::Set(Set(in_order(from.many(element)?)?))
        }
        _ => return None,
    })
}

fn dots<T>(from: &mut Reader<'_>, thing: impl Fn(&mut Reader<'_>) -> Option<T>) -> Option<Dots<T>> {
    in_order(from.many(|from| Some((from.dot()?, thing(from)?)))?).map(Dots)
}

/// Returns these entries as a map, if they are sorted and no key occurs twice.
fn in_order<K: Ord, V>(entries: Vec<(K, V)>) -> Option<BTreeMap<K, V>> {
    entries.windows(2).all(|pair| pair[0].0 < pair[1].0).then(|| entries.into_iter().collect())
}
