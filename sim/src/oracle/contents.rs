//! What state machines hold, compared by a digest that is not theirs: that of a state machine is kept up change by change, and may
//! be wrong in the same way as the state.

use super::Picture;
use seaworthy::kv::Kv;
use seaworthy::raft::Index;
use seaworthy::types::NodeId;

/// One in so many states is looked into.
pub(super) const LOOKED_INTO: Index = 16;

impl Picture {
    /// The digest that a state machine keeps of itself.
    pub(super) fn state(&mut self, node: NodeId, applied: Index, digest: impl FnOnce() -> u64) {
        let log = self.logs.entry(node).or_default();
        if applied == 0 || log.checked_state == applied {
            return;
        }
        log.checked_state = applied;
        self.checks += 1;
        let digest = digest();
        let (known, by) = *self.states.entry(applied).or_insert((digest, node));
        if known != digest {
            let detail =
                format!("after entry {applied} the state of {node} is {digest:016x}, that of {by} {known:016x}");
            self.violated("equal states", detail);
        }
    }

    /// What a state machine holds after an index, of which no key may have a lower revision than after an earlier one.
    pub(super) fn revisions(&mut self, node: NodeId, kv: &Kv) {
        let applied = kv.applied();
        if applied == 0 || !applied.is_multiple_of(LOOKED_INTO) || self.looked_into.get(&node) == Some(&applied) {
            return;
        }
        let mut lower = None;
        for (key, revision, _) in kv.entries() {
            let (index, known) = self.revisions.entry(key.clone()).or_insert((applied, revision));
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

    /// What a state machine holds after an index.
    pub(super) fn contents(&mut self, node: NodeId, applied: Index, contents: impl FnOnce() -> u64) {
        if applied == 0 || !applied.is_multiple_of(LOOKED_INTO) || self.looked_into.get(&node) == Some(&applied) {
            return;
        }
        self.looked_into.insert(node, applied);
        self.checks += 1;
        let digest = contents();
        let (known, by) = *self.contents.entry(applied).or_insert((digest, node));
        if known != digest {
            let detail = format!("after entry {applied} the keys of {node} are not those of {by}");
            self.violated("equal states", detail);
        }
    }
}

/// A digest of all keys with what they hold (FNV-1a, 64 bits).
pub(super) fn contents(kv: &Kv) -> u64 {
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    for (key, revision, held) in kv.entries() {
        digest.add(&(key.len() as u64).to_le_bytes()).add(key).add(&revision.to_le_bytes());
        if let Some(held) = held {
            let deadline = held.deadline.map_or(u64::MAX, |at| at.0);
            digest.add(&held.commit.0.to_le_bytes()).add(&deadline.to_le_bytes()).add(held.value);
        }
    }
    digest.0
}

struct Digest(u64);

impl Digest {
    fn add(&mut self, bytes: &[u8]) -> &mut Digest {
        self.0 = bytes.iter().fold(self.0, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        self
    }
}
