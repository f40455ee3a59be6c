//! The fault ledger: the requested faults, whether they were switched on, and what they affected.
//!
//! A fault that was requested but affected nothing tests nothing. [`Ledger::inert`] lists such faults; a run with one
//! must not count as passed. An effect is counted where a node observes it, not where it is caused: an error when the
//! node receives it, a clock fault when a reading differs from true time. Models keep the [`FaultId`] of each active
//! fault and charge it at the moment it takes effect, so there is no cost without faults.

use super::{Nanos, lock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Identifies a requested fault: its index in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FaultId(pub u32);

/// An effect of a fault on the world; each is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Messages lost: blocked, cut off in flight, lost by chance, or on a link that was reset.
    MessagesDropped,
    /// Messages delivered twice.
    MessagesDuplicated,
    /// Messages overtaken by a later message on the same link.
    MessagesReordered,
    /// Messages with a bit flipped.
    MessagesCorrupted,
    /// Messages slowed by added latency or reduced bandwidth.
    MessagesDelayed,
    /// Messages held back by a hanging link, or by a cut of an ordered connection.
    MessagesHeld,
    /// Messages that arrived only after a retransmission, together with all messages behind them.
    MessagesRetransmitted,
    /// Ordered connections that broke.
    ConnectionsBroken,
    /// Power failures at a time when there was unsynced data.
    UnsyncedAtStake,
    /// Unsynced sectors that did not survive a crash.
    SectorsLost,
    /// Files that lost some of their unsynced sectors in a crash and kept others.
    FilesTorn,
    /// Creations, renames and removals that did not survive a crash.
    NamesLost,
    /// Sectors filled with random bytes by a power failure.
    SectorsGarbled,
    /// Sectors and names lost although their sync had been reported as done.
    AcknowledgedLost,
    /// Syncs that failed.
    SyncsFailed,
    /// Writes that failed, for lack of space or for another reason.
    WritesFailed,
    /// Writes that landed at another place in their file.
    WritesMisdirected,
    /// Bits flipped in durable sectors.
    BitsFlipped,
    /// Sectors made unreadable.
    SectorsSpoiled,
    /// Reads of sectors with flipped bits or of unreadable sectors.
    BadReads,
    /// Reads that failed.
    ReadsFailed,
    /// Disk operations slowed or stalled.
    DiskOpsDelayed,
    /// Files lost with a whole disk.
    FilesWiped,
    /// Clock readings that differ from those of a clock without faults.
    ClockReads,
    /// Nodes killed.
    NodesKilled,
    /// Nodes paused.
    NodesPaused,
    /// Leaders asked to transfer leadership.
    LeadersAsked,
    /// Nodes told to stop.
    NodesStopped,
    /// Directed links cut, where messages cannot be counted.
    LinksCut,
    /// Messages sent in another sender's name.
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
    /// The kind, as the scenario names it.
    pub kind: String,
    /// Details for the reader of a report.
    pub description: String,
    /// The planned begin.
    pub from: Nanos,
    /// The planned end; `None` for an instantaneous fault.
    pub until: Option<Nanos>,
    /// Effects that faults of this kind must have had for the run to count. In any case it must have had some effect.
    pub expects: Vec<Effect>,
    /// How often it was switched on.
    pub fired: u64,
    /// The effects, with counts above zero.
    pub effects: BTreeMap<Effect, u64>,
}

/// The ledger of one run. Clones share it.
#[derive(Clone, Default, Debug)]
pub struct Ledger(Arc<Mutex<Vec<Entry>>>);

impl Ledger {
    /// Records a requested fault.
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

    /// Records the effects that this fault or another of its kind must have at least once.
    pub fn expect(&self, id: FaultId, effects: Vec<Effect>) {
        lock(&self.0)[id.0 as usize].expects = effects;
    }

    /// Records that the fault was switched on.
    pub fn fired(&self, id: FaultId) {
        lock(&self.0)[id.0 as usize].fired += 1;
    }

    /// Charges `count` effects to the fault.
    pub fn affected(&self, id: FaultId, effect: Effect, count: u64) {
        if count > 0 {
            *lock(&self.0)[id.0 as usize].effects.entry(effect).or_default() += count;
        }
    }

    /// Charges an effect to the fault that caused it, if there is one. Loss and delay without a fault are not charged.
    pub fn charge(&self, id: Option<FaultId>, effect: Effect, count: u64) {
        if let Some(id) = id {
            self.affected(id, effect, count);
        }
    }

    /// Returns all entries, in the order of their requests.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        lock(&self.0).clone()
    }

    /// Returns the requested faults that never affected anything.
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
