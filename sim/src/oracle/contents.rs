//! Compares the contents of state machines by the oracle's own digest. A state machine's own digest is updated change
//! by change, and may be wrong in the same way as the state.

use super::GroupChecker;
use seaworthy::kv::Kv;
use seaworthy::raft::Index;
use seaworthy::types::NodeId;
use xxhash_rust::xxh3::xxh3_64;

/// The contents are compared at indexes that are multiples of this.
pub(super) const LOOKED_INTO: Index = 16;

impl GroupChecker {
    /// Whether a node has applied entries since its state machine was last checked.
    pub(super) fn has_applied(&mut self, node: NodeId, applied: Index) -> bool {
        let log = self.logs.entry(node).or_default();
        let before = std::mem::replace(&mut log.checked_state, applied);
        applied > 0 && before != applied
    }

    /// Checks the digest that a state machine keeps of itself.
    pub(super) fn state(&mut self, node: NodeId, applied: Index, digest: impl FnOnce() -> u64) {
        self.checks += 1;
        let digest = digest();
        let (known, by) = *self.states.entry(applied).or_insert((digest, node));
        if known != digest {
            let detail =
                format!("after entry {applied} the state of {node} is {digest:016x}, that of {by} {known:016x}");
            self.violated("equal states", detail);
        }
    }

    /// Checks the revisions of a state machine: no key may have a lower revision than after an earlier index.
    pub(super) fn revisions(&mut self, kv: &Kv) {
        let applied = kv.applied();
        let mut lower = None;
        for (key, revision, _) in kv.entries() {
            let Some((index, known)) = self.revisions.get_mut(key) else {
                self.revisions.insert(key.clone(), (applied, revision));
                continue;
            };
            if applied > *index && revision < *known {
                let key = String::from_utf8_lossy(key);
                lower = Some(format!("{key} has revision {revision} after entry {applied}, had {known} after {index}"));
            } else if applied > *index {
                (*index, *known) = (applied, revision);
            }
        }
        if let Some(detail) = lower {
            self.violated("revisions never go back", detail);
        }
    }

    /// Checks the contents of a state machine after an index. Returns whether they are the first checked at that index.
    pub(super) fn contents(&mut self, node: NodeId, applied: Index, contents: impl FnOnce() -> u64) -> bool {
        if !applied.is_multiple_of(LOOKED_INTO) {
            return false;
        }
        self.checks += 1;
        let digest = contents();
        let Some((known, by)) = self.contents.get(&applied) else {
            self.contents.insert(applied, (digest, node));
            return true;
        };
        if *known != digest {
            let detail = format!("after entry {applied} the keys of {node} are not those of {by}");
            self.violated("equal states", detail);
        }
        false
    }
}

/// Computes a digest of all keys and their contents (xxHash, 64 bits), from the whole state at once.
pub(super) fn contents(kv: &Kv) -> u64 {
    let mut bytes = Vec::with_capacity(8 << 10);
    for (key, revision, held) in kv.entries() {
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&revision.to_le_bytes());
        if let Some(held) = held {
            let deadline = held.deadline.map_or(u64::MAX, |at| at.0);
            [held.commit.0, deadline, held.value.len() as u64]
                .iter()
                .for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
            bytes.extend_from_slice(held.value);
        }
    }
    xxh3_64(&bytes)
}
