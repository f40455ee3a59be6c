//! The fault ledger: what was asked for, whether it happened, and what it hit.
//!
//! A fault that was requested but touched nothing tests nothing; a run that has one is [`Ledger::inert`] and must not
//! count as passed. What a fault does is counted where somebody gets it, not where it is made: an error when it is given
//! to the node, a clock's fault when a reading differs from true time. Models carry the [`FaultId`] of whatever is upon them and charge it at the moment it bites, so the
//! cost without faults is nil.

use super::{Nanos, lock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// A requested fault; its place in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FaultId(pub u32);

/// What a fault did to the world; each is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Messages lost: blocked, cut off in flight, lost on the way, or on a link that was reset.
    MessagesDropped,
    /// Messages delivered twice.
    MessagesDuplicated,
    /// Messages overtaken by a later one of the same link.
    MessagesReordered,
    /// Messages with a bit flipped.
    MessagesCorrupted,
    /// Messages slowed by added latency or a narrowed link.
    MessagesDelayed,
    /// Messages held back by a link that hangs, or by a cut of an ordered connection.
    MessagesHeld,
    /// Messages that arrived only when they were sent again, and all behind them.
    MessagesRetransmitted,
    /// Ordered connections that broke.
    ConnectionsBroken,
    /// Power failures that found something unsynced.
    UnsyncedAtStake,
    /// Unsynced sectors that did not survive a crash.
    SectorsLost,
    /// Files of which some unsynced sectors survived a crash and some did not.
    FilesTorn,
    /// Creations, renames and removals that did not survive a crash.
    NamesLost,
    /// Sectors filled with noise by a power failure.
    SectorsGarbled,
    /// Sectors and names lost whose sync had been reported as done.
    AcknowledgedLost,
    /// Syncs that failed.
    SyncsFailed,
    /// Writes that failed, for want of space or otherwise.
    WritesFailed,
    /// Writes that landed elsewhere in their file.
    WritesMisdirected,
    /// Bits flipped in durable sectors.
    BitsFlipped,
    /// Sectors made unreadable.
    SectorsSpoiled,
    /// Sectors read that were flipped or unreadable.
    BadReads,
    /// Reads that failed.
    ReadsFailed,
    /// Disk operations slowed or stalled.
    DiskOpsDelayed,
    /// Files lost with a whole disk.
    FilesWiped,
    /// Clock readings that differed from what they would have been.
    ClockReads,
    /// Nodes killed.
    NodesKilled,
    /// Nodes paused.
    NodesPaused,
    /// Leaders asked to hand over.
    LeadersAsked,
    /// Nodes told to stop.
    NodesStopped,
    /// Directed links cut, where messages cannot be counted.
    LinksCut,
    /// Messages sent in another's name.
    MessagesForged,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self).ok();
        f.write_str(&name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().replace('_', " "))
    }
}

/// One line of the ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The fault.
    pub id: FaultId,
    /// What kind, in the scenario's word.
    pub kind: String,
    /// What exactly, for the reader of a report.
    pub description: String,
    /// When it was to begin.
    pub from: Nanos,
    /// When it was to end; `None` for what happens in an instant.
    pub until: Option<Nanos>,
    /// What faults of its kind must have done in a run that is to count, besides anything at all.
    pub expects: Vec<Effect>,
    /// How often it was switched on.
    pub fired: u64,
    /// What it did, with counts above zero.
    pub effects: BTreeMap<Effect, u64>,
}

/// The ledger of one run. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct Ledger(Arc<Mutex<Vec<Entry>>>);

impl Ledger {
    /// Enters a requested fault.
    pub fn request(
        &self,
        kind: impl Into<String>,
        description: impl Into<String>,
        from: Nanos,
        until: Option<Nanos>,
    ) -> FaultId {
        let mut entries = lock(&self.0);
        let id = FaultId(u32::try_from(entries.len()).expect("fewer than 2³² faults"));
        let (kind, description) = (kind.into(), description.into());
        entries.push(Entry {
            id,
            kind,
            description,
            from,
            until,
            expects: Vec::new(),
            fired: 0,
            effects: BTreeMap::new(),
        });
        id
    }

    /// Notes what the fault must do at least once, or another of its kind.
    pub fn expect(&self, id: FaultId, effects: Vec<Effect>) {
        lock(&self.0)[id.0 as usize].expects = effects;
    }

    /// Notes that the fault was switched on.
    pub fn fired(&self, id: FaultId) {
        lock(&self.0)[id.0 as usize].fired += 1;
    }

    /// Charges `count` effects to the fault.
    pub fn affected(&self, id: FaultId, effect: Effect, count: u64) {
        if count > 0 {
            *lock(&self.0)[id.0 as usize].effects.entry(effect).or_default() += count;
        }
    }

    /// Charges an effect to whoever caused it, if anybody did: the world's ordinary unreliability belongs to nobody.
    pub fn charge(&self, id: Option<FaultId>, effect: Effect, count: u64) {
        if let Some(id) = id {
            self.affected(id, effect, count);
        }
    }

    /// All entries, in the order of their requests.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.0).clone()
    }

    /// Requested faults that never affected anything.
    #[must_use]
    pub fn inert(&self) -> Vec<Entry> {
        lock(&self.0).iter().filter(|e| e.effects.is_empty()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_inert_until_it_affects_something() {
        let ledger = Ledger::default();
        let cut = ledger.request("partition", "n1 | n2", 5, Some(9));
        let slow = ledger.request("slow-disk", "n3 ×10", 5, None);
        ledger.fired(cut);
        ledger.fired(slow);
        ledger.affected(cut, Effect::MessagesDropped, 2);
        ledger.affected(cut, Effect::MessagesDropped, 1);
        ledger.affected(slow, Effect::DiskOpsDelayed, 0);
        ledger.charge(None, Effect::MessagesDropped, 7);
        assert_eq!(ledger.entries()[0].effects[&Effect::MessagesDropped], 3);
        assert_eq!(ledger.inert().iter().map(|e| e.id).collect::<Vec<_>>(), [slow]);
        let json = serde_json::to_string(&ledger.entries()[0]).unwrap();
        assert!(json.contains(r#""messages_dropped":3"#), "{json}");
    }
}
