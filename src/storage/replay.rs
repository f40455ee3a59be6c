//! From records to state: what each group's records, in the order they were appended, amount to.
//!
//! Entries that the snapshot includes are dropped at once, so the entries always follow the snapshot. What the core
//! kept behind its snapshot for lagging followers is therefore gone after a restart; such a follower gets the snapshot.

use crate::raft::{Entry, Index, Record, Recovered, SnapshotMeta};
use crate::types::GroupId;
use std::collections::BTreeMap;

/// State of all groups so far.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) groups: BTreeMap<GroupId, Recovered>,
}

impl Replay {
    /// Adds one record; the error says why it cannot follow the ones before.
    pub(super) fn apply(&mut self, group: GroupId, record: Record) -> Result<(), String> {
        let state = self.groups.entry(group).or_default();
        match record {
            Record::HardState { term, .. } if term < state.term => {
                Err(format!("term goes back from {} to {term}", state.term))
            }
            Record::HardState { term, vote } => {
                (state.term, state.vote) = (term, vote);
                Ok(())
            }
            Record::Append { first, entries } => append(state, first, entries),
            Record::Snapshot(meta) => snapshot(state, meta),
        }
    }
}

fn append(state: &mut Recovered, first: Index, mut entries: Vec<Entry>) -> Result<(), String> {
    let next = state.snapshot.index + 1;
    let after = next.saturating_add(state.entries.len() as u64);
    if first == 0 || first > after {
        return Err(format!("entries from {first} on do not follow a log that ends before {after}"));
    }
    let included = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX).min(entries.len());
    entries.drain(..included);
    state.entries.truncate(first.max(next).saturating_sub(next) as usize);
    state.entries.append(&mut entries);
    Ok(())
}

fn snapshot(state: &mut Recovered, meta: SnapshotMeta) -> Result<(), String> {
    let now = state.snapshot;
    if meta == now {
        return Ok(());
    }
    if meta.index <= now.index || meta.index == Index::MAX {
        return Err(format!("snapshot {meta:?} cannot follow snapshot {now:?}"));
    }
    let behind = usize::try_from(meta.index - now.index).unwrap_or(usize::MAX);
    if state.entries.get(behind - 1).is_some_and(|entry| entry.term == meta.term) {
        state.entries.drain(..behind);
    } else {
        state.entries.clear();
    }
    state.snapshot = meta;
    Ok(())
}
