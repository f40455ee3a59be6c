//! Mergeable types: values whose concurrent versions have one right merge (Shapiro and others, 2011).
//!
//! A write to a key of a mergeable bucket is an [`Op`], applied by its coordinator to what it holds; what travels and is
//! stored is the [`State`]. Concurrent states stay siblings until the next write or read of the key merges them.
//!
//! Caveat: adding to a counter is not idempotent. A retry that another coordinator takes before it has heard of the first try
//! counts twice; clients therefore do not retry such writes once they may have been taken.

use super::clock::Actor;
use super::clock::Dot;
use crate::types::{Hlc, MergeKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a write does to a mergeable value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Adds to a counter; below zero only to one that goes both ways.
    Add(i64),
}

/// A mergeable value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// What each actor added.
    Counter(BTreeMap<Actor, u64>),
}

impl State {
    /// The value before any write.
    #[must_use]
    pub fn new(_kind: MergeKind) -> State {
        State::Counter(BTreeMap::new())
    }

    /// Applies a write named `dot`, made at `stamp`.
    ///
    /// # Errors
    /// The write does not fit the type or its limits; a sentence for the user. Nothing has changed.
    pub fn apply(&mut self, op: &Op, dot: Dot, _stamp: Hlc) -> Result<(), String> {
        match (self, op) {
            (State::Counter(counts), Op::Add(n)) => match u64::try_from(*n) {
                Ok(n) => {
                    let count = counts.entry(dot.actor).or_default();
                    *count = count.saturating_add(n);
                    Ok(())
                }
                Err(_) => Err("this counter only grows".to_owned()),
            },
        }
    }

    /// Takes in a concurrent state of the same type; one of another type is ignored.
    pub fn merge(&mut self, other: &State) {
        let (State::Counter(mine), State::Counter(theirs)) = (self, other);
        for (actor, count) in theirs {
            let held = mine.entry(*actor).or_default();
            *held = (*held).max(*count);
        }
    }

    /// The value as JSON, for people and clients.
    #[must_use]
    pub fn render(&self) -> serde_json::Value {
        let State::Counter(counts) = self;
        counts.values().fold(0u64, |sum, n| sum.saturating_add(*n)).into()
    }
}
