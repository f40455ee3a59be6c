//! The effects that faults of a kind must have for a run to count, and the conditions that a fault needs to have an
//! effect.

use super::Kind;
use crate::world::ledger::{Effect, Entry};
use std::collections::{BTreeMap, BTreeSet};

/// Number of power failures with unsynced data after which some data must have been lost. Each of them spares all of
/// the data with a probability of at most one half.
const CRASHES: u64 = 20;

impl Kind {
    /// The effects that a fault of this kind must have at least once, besides any effect at all. `ordered`: frames use
    /// ordered connections, which hide duplicates and reordering.
    #[must_use]
    pub fn expects(&self, ordered: bool) -> Vec<Effect> {
        match self {
            Kind::Link { add, .. } => {
                let slower = !add.latency.is_zero() || !add.jitter.is_zero() || add.bandwidth.is_some();
                let lost = if ordered { Effect::MessagesRetransmitted } else { Effect::MessagesDropped };
                let ruined = if ordered { Effect::ConnectionsBroken } else { Effect::MessagesCorrupted };
                let parts = [
                    (add.loss.0 > 0.0, lost),
                    (add.duplicate.0 > 0.0 && !ordered, Effect::MessagesDuplicated),
                    (add.reorder.0 > 0.0 && !ordered, Effect::MessagesReordered),
                    (add.corrupt.0 > 0.0, ruined),
                    (slower, Effect::MessagesDelayed),
                ];
                parts.into_iter().filter_map(|(expected, effect)| expected.then_some(effect)).collect()
            }
            Kind::Kill { .. } => vec![Effect::NodesKilled],
            Kind::FsyncFail { .. } => vec![Effect::SyncsFailed],
            _ => Vec::new(),
        }
    }
}

/// The expected effects that never occurred, by kind of fault. A kind without any effect is left out.
#[must_use]
pub fn unmet(entries: &[Entry]) -> BTreeMap<&str, Vec<Effect>> {
    let mut done: BTreeMap<&str, BTreeMap<Effect, u64>> = BTreeMap::new();
    let mut expected: BTreeMap<&str, BTreeSet<Effect>> = BTreeMap::new();
    for entry in entries {
        let done = done.entry(&entry.kind).or_default();
        entry.effects.iter().for_each(|(effect, count)| *done.entry(*effect).or_default() += count);
        expected.entry(&entry.kind).or_default().extend(&entry.expects);
    }
    let left = |kind: &str, expected: &BTreeSet<Effect>| {
        let stakes = done[kind].get(&Effect::UnsyncedAtStake).copied().unwrap_or(0) >= CRASHES;
        let lost = stakes.then_some(&Effect::SectorsLost);
        let all: BTreeSet<Effect> = expected.iter().chain(lost).copied().collect();
        all.into_iter().filter(|effect| !done[kind].contains_key(effect)).collect::<Vec<_>>()
    };
    let kinds = expected.iter().filter(|(kind, _)| !done[*kind].is_empty());
    kinds.map(|(kind, expected)| (*kind, left(kind, expected))).filter(|(_, left)| !left.is_empty()).collect()
}

/// The condition that a fault of this kind needs to have an effect.
#[must_use]
pub fn waits_for(kind: &str) -> &'static str {
    match kind {
        "partition" => "a frame between two that it cuts off from each other",
        "link" | "hang" | "delay" => "a frame on its target's links",
        "reset" => "a frame that is on its way over its target's links at that moment",
        "kill" | "pause" | "stop" => "a target that runs",
        "directory" => "a target that has a directory by then",
        "forge" => "a server that takes the forged frame in",
        "disk-slow" | "disk-stall" => "an operation of its target's disk",
        "disk-full" => "a write, or a file that grows, beyond the space that is left",
        "fsync-fail" => "a sync of something that was written",
        "fsync-lie" => "a power failure (a `kill` with `unsynced=tear`) while it lasts, with something to lose",
        "read-error" | "rot" => "something durable in the files that it is `of`",
        "misdirect" => "a write into a file that has room elsewhere",
        "clock-jump" | "clock-strobe" => "a reading of its target's date",
        "clock-drift" | "clock-freeze" => "a reading of its target's clocks",
        _ => "a target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::ledger::Ledger;

    #[test]
    fn what_a_fault_was_to_do_and_did_not_is_missed() {
        let ledger = Ledger::default();
        let link = ledger.request("link", "", 0, None);
        ledger.expect(link, vec![Effect::MessagesDropped, Effect::MessagesDuplicated]);
        let again = ledger.request("link", "", 0, None);
        assert!(unmet(&ledger.entries()).is_empty(), "a kind that did nothing is inert, not half done");
        ledger.affected(link, Effect::MessagesDuplicated, 3);
        assert_eq!(unmet(&ledger.entries()), [("link", vec![Effect::MessagesDropped])].into());
        ledger.affected(again, Effect::MessagesDropped, 1);
        assert!(unmet(&ledger.entries()).is_empty());
    }

    #[test]
    fn many_power_failures_with_something_unsynced_must_lose_some_of_it() {
        let ledger = Ledger::default();
        let kill = ledger.request("kill", "", 0, None);
        ledger.affected(kill, Effect::UnsyncedAtStake, CRASHES - 1);
        assert!(unmet(&ledger.entries()).is_empty());
        ledger.affected(kill, Effect::UnsyncedAtStake, 1);
        assert_eq!(unmet(&ledger.entries()), [("kill", vec![Effect::SectorsLost])].into());
        ledger.affected(kill, Effect::SectorsLost, 1);
        assert!(unmet(&ledger.entries()).is_empty());
    }

    #[test]
    fn every_kind_says_what_it_waits_for() {
        for (kind, ..) in crate::settings::KINDS {
            assert!(kind == "transfer" || waits_for(kind) != "a target", "{kind}");
        }
    }
}
