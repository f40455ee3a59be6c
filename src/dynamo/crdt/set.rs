//! Add-wins sets: each element with the dots of the writes that inserted it and that no remove has known.

use super::dots::Dots;
use super::{LEN, Size, text};
use crate::dynamo::version_vector::{Dot, VersionVector};
use crate::types::{MAX_KEY_BYTES, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set. Each element has at least one dot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Set(pub(super) BTreeMap<Value, Dots<()>>);

impl Set {
    /// Inserts an element. The new dot replaces all the dots that the element had here.
    pub(super) fn insert(&mut self, element: &Value, dot: Dot) {
        self.0.insert(element.clone(), Dots(BTreeMap::from([(dot, ())])));
    }

    pub(super) fn remove(&mut self, element: &Value) {
        self.0.remove(element);
    }

    pub(super) fn merge(&mut self, mine: &VersionVector, other: &Set, theirs: &VersionVector) {
        let none = Dots::default();
        for (element, dots) in &mut self.0 {
            dots.merge(mine, other.0.get(element).unwrap_or(&none), theirs);
        }
        for (element, dots) in &other.0 {
            if !self.0.contains_key(element) {
                let mut news = Dots::default();
                news.merge(mine, dots, theirs);
                self.0.insert(element.clone(), news);
            }
        }
        self.0.retain(|_, dots| !dots.0.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_sane(&self, clock: &VersionVector) -> bool {
        let sane = |(element, dots): (&Value, &Dots<()>)| {
            element.len() <= MAX_KEY_BYTES && !dots.0.is_empty() && dots.known_to(clock)
        };
        self.0.iter().all(sane)
    }

    pub(super) fn size(&self) -> Size {
        let element =
            |(element, dots): (&Value, &Dots<()>)| Size { parts: 0, bytes: LEN + element.len() } + dots.size(|()| 0);
        self.0.iter().map(element).fold(Size { parts: 0, bytes: LEN }, |sum, size| sum + size)
    }

    pub(super) fn render(&self) -> serde_json::Value {
        self.0.keys().map(|element| text(element)).collect::<Vec<_>>().into()
    }
}
