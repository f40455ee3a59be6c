//! Registers: the assignments that no other has replaced. All are kept, since only the merged state tells which of them
//! is the value. If a merge of two dropped the earlier one, a removal of the later one could not bring it back, and the
//! outcome would depend on the order of the merges.

use super::dots::Dots;
use super::text;
use crate::dynamo::version_vector::Dot;
use crate::types::{Hlc, MAX_VALUE_BYTES, Value};
use serde::{Deserialize, Serialize};

/// An assignment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct Assigned {
    pub(super) stamp: Hlc,
    #[serde(deserialize_with = "crate::codec::bytes")]
    pub(super) value: Value,
}

/// A register.
pub(super) type Register = Dots<Assigned>;

/// Assigns a value, which replaces everything the register holds.
pub(super) fn assign(register: &mut Register, value: &Value, dot: Dot, stamp: Hlc) {
    register.0.clear();
    register.0.insert(dot, Assigned { stamp, value: value.clone() });
}

/// Whether each value could have been assigned.
pub(super) fn is_sane(register: &Register) -> bool {
    register.0.values().all(|assigned| assigned.value.len() <= MAX_VALUE_BYTES)
}

/// Returns the value with the latest stamp; of several with the same stamp, that with the greatest dot.
pub(super) fn render(register: &Register) -> serde_json::Value {
    let latest = register.0.iter().max_by_key(|(dot, assigned)| (assigned.stamp, **dot));
    latest.map_or(serde_json::Value::Null, |(_, assigned)| text(&assigned.value))
}
