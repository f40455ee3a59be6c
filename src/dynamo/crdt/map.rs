//! Maps of named fields. A field has one value for each type it was concurrently created with; nearly always that is
//! one.

use super::leaf::Leaf;
use super::{LEN, MARK, Op, Size, short};
use crate::dynamo::version_vector::{Dot, VersionVector};
use crate::types::{Hlc, MAX_KEY_BYTES, MergeKind, Resolve};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub(super) type Field = BTreeMap<MergeKind, Leaf>;

/// A map. Each field has at least one value, and no value is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Map(pub(super) BTreeMap<String, Field>);

impl Map {
    /// Applies a write.
    ///
    /// # Errors
    /// The write is not for a map or not for the field's type, or the name is too long.
    pub(super) fn change(&mut self, op: &Op, dot: Dot, stamp: Hlc) -> Result<(), String> {
        match op {
            Op::RemoveField { name } => drop(self.0.remove(name)),
            Op::Field { name, kind, op } => {
                short("a field's name", name.len())?;
                let Some(new) = Leaf::new(*kind) else {
                    return Err("maps do not nest: a field is a counter, a register or a set".to_owned());
                };
                let field = self.0.entry(name.clone()).or_default();
                if let Some(held) = field.keys().next().filter(|_| !field.contains_key(kind)) {
                    let held = Resolve::Merge(*held);
                    return Err(format!("the field `{name}` is a {held} already; remove it first"));
                }
                let leaf = field.entry(*kind).or_insert(new);
                leaf.change(&op.clone().into(), dot, stamp)?;
                self.tidy();
            }
            _ => return Err("a map only takes changes of its fields".to_owned()),
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, mine: &VersionVector, other: &Map, theirs: &VersionVector) {
        let none = Field::new();
        let names: BTreeSet<String> = self.0.keys().chain(other.0.keys()).cloned().collect();
        for name in names {
            let facing = other.0.get(&name).unwrap_or(&none);
            let field = self.0.entry(name).or_default();
            for kind in MergeKind::ALL.map(|(_, kind)| kind) {
                let Some(empty) = Leaf::new(kind) else { continue };
                if field.contains_key(&kind) || facing.contains_key(&kind) {
                    let leaf = field.entry(kind).or_insert_with(|| empty.clone());
                    leaf.merge(mine, facing.get(&kind).unwrap_or(&empty), theirs);
                }
            }
        }
        self.tidy();
    }

    /// Drops empty values and empty fields.
    fn tidy(&mut self) {
        self.0.values_mut().for_each(|field| field.retain(|_, leaf| !leaf.is_empty()));
        self.0.retain(|_, field| !field.is_empty());
    }

    pub(super) fn is_sane(&self, clock: &VersionVector) -> bool {
        let value = |(kind, leaf): (&MergeKind, &Leaf)| leaf.kind() == *kind && !leaf.is_empty() && leaf.is_sane(clock);
        self.0.iter().all(|(name, field)| name.len() <= MAX_KEY_BYTES && !field.is_empty() && field.iter().all(value))
    }

    pub(super) fn size(&self) -> Size {
        let bytes = |bytes| Size { parts: 0, bytes };
        let field = |(name, field): (&String, &Field)| {
            let values = field.values().map(|leaf| bytes(MARK) + leaf.size());
            values.fold(bytes(LEN + name.len() + LEN), |sum, size| sum + size)
        };
        self.0.iter().map(field).fold(bytes(LEN), |sum, size| sum + size)
    }

    pub(super) fn render(&self) -> serde_json::Value {
        let value = |field: &Field| match field.first_key_value() {
            Some((_, leaf)) if field.len() == 1 => leaf.render(),
            _ => field.iter().map(|(kind, leaf)| (Resolve::Merge(*kind).to_string(), leaf.render())).collect(),
        };
        serde_json::Value::Object(self.0.iter().map(|(name, field)| (name.clone(), value(field))).collect())
    }
}
