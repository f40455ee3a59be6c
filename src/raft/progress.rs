//! A leader's knowledge of one follower, and what to send it next (§5.3, thesis §10.2.1).
//!
//! ```text
//!            Matched                    the log no longer reaches back
//!   Probe ───────────────▶ Replicate ──────────────────────────────────▶ Snapshot
//!     ▲   ◀───────────────     ▲                                             │
//!     │       Conflict         └─────────────────────────────────────────────┘
//!     └── elected                 installed, or the follower's log is in reach
//! ```
//! In `Probe`, the leader sends one `Append` and waits. In `Replicate`, it pipelines up to `Config::max_in_flight` of
//! them. No timer resends anything: every heartbeat names the entry before the next one to send, so a follower that
//! missed something rejects it. While bulk data is in flight, that heartbeat queues behind it. A second heartbeat,
//! which names a position known to match, overtakes both.

use super::log::Log;
use super::snapshot::Sending;
use super::{Config, Entry, Index, Term, pop_front_if};
use crate::mutant::{Bug, Mutant};
use crate::types::{Lane, NodeId, Time};
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Progress {
    pub id: NodeId,
    /// Last index known to be durable on the follower and to match the leader's log ("matchIndex").
    pub matched: Index,
    /// Next index to send ("nextIndex"); always above `matched`.
    pub next: Index,
    pub phase: Phase,
    /// Last indexes of the `Append`s with entries in flight; used only in `Replicate`.
    in_flight: VecDeque<Index>,
    /// The lowest index that an `Append` was rejected for since `matched` last grew. See [`Progress::on_conflict`].
    gap: Option<Index>,
    /// The last index sent in the bulk lane. Until it is matched, later entries must not overtake it in the other lane.
    bulk_to: Index,
    /// When the follower last answered in this term.
    pub heard: Time,
    /// The follower receives a snapshot, or has not caught up since: the log it needs next is kept.
    pinned: bool,
    /// When the follower last made progress, in the log or in the snapshot it receives.
    pub moved: Time,
    /// Highest round the follower answered (thesis §6.4).
    pub round: u64,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Searching for the position up to which the logs match; `waiting` for the reply to one `Append`.
    Probe {
        waiting: bool,
    },
    Replicate,
    Snapshot(Sending),
}

impl Progress {
    pub fn new(id: NodeId, last: Index, now: Time) -> Progress {
        Progress {
            id,
            matched: 0,
            next: last + 1,
            phase: Phase::Probe { waiting: false },
            in_flight: VecDeque::new(),
            gap: None,
            bulk_to: 0,
            heard: now,
            pinned: false,
            moved: now,
            round: 0,
        }
    }

    /// Whether there is something to send before the next heartbeat.
    pub fn wants(&self, last: Index, config: &Config) -> bool {
        match &self.phase {
            Phase::Probe { waiting } => !waiting,
            Phase::Replicate => self.next <= last && self.in_flight.len() < config.max_in_flight,
            Phase::Snapshot(sending) => sending.wants(),
        }
    }

    /// Returns the next `Append` to send, as the previous entry's index and term and the entries. A probe may have no
    /// entries.
    pub fn next_append(&mut self, log: &Log, config: &Config, now: Time) -> Option<(Index, Term, Vec<Entry>)> {
        if matches!(self.phase, Phase::Snapshot(_)) {
            return None;
        }
        let prev = self.next - 1;
        let Some(prev_term) = log.term_at(prev) else {
            self.phase = Phase::Snapshot(Sending::new(log.snapshot()));
            (self.pinned, self.moved) = (true, now);
            return None;
        };
        if !self.wants(log.last(), config) {
            return None;
        }
        let entries = log.batch(self.next, config.max_append_bytes);
        match &mut self.phase {
            Phase::Probe { waiting } => *waiting = true,
            _ => {
                self.next += entries.len() as u64;
                self.in_flight.push_back(self.next - 1);
            }
        }
        Some((prev, prev_term, entries))
    }

    /// Whether bulk data is in flight to the follower.
    pub fn is_behind_bulk(&self) -> bool {
        self.matched < self.bulk_to
    }

    /// Returns the lane of an `Append` with these entries after `prev`.
    pub fn lane(&mut self, prev: Index, entries: &[Entry]) -> Lane {
        if Lane::of(entries.iter().map(|entry| entry.command.len()).sum()) == Lane::Bulk {
            self.bulk_to = self.bulk_to.max(prev + entries.len() as Index);
        }
        if self.is_behind_bulk() { Lane::Bulk } else { Lane::Control }
    }

    /// Returns a position where the follower's log is known to match, for a heartbeat that overtakes bulk data.
    pub fn agreed(&self, log: &Log) -> (Index, Term) {
        log.term_at(self.matched).map_or((0, 0), |term| (self.matched, term))
    }

    /// Returns the previous entry to name in a heartbeat. While a snapshot is sent, the leader does not know where the
    /// follower's log matches, so this is the start of the log, where all logs match.
    pub fn heartbeat(&self, log: &Log) -> (Index, Term) {
        let prev = self.next - 1;
        match self.phase {
            Phase::Snapshot(_) => (0, 0),
            _ => (prev, log.term_at(prev).expect("otherwise a snapshot is being sent")),
        }
    }

    /// Handles a reply that the follower holds everything up to `index`.
    pub fn on_matched(&mut self, index: Index, log: &Log, now: Time) {
        if index > self.matched {
            (self.matched, self.moved, self.gap) = (index, now, None);
        }
        self.pinned &= index < log.commit();
        while pop_front_if(&mut self.in_flight, |last| *last <= index).is_some() {}
        match &mut self.phase {
            Phase::Replicate => self.next = self.next.max(self.matched + 1),
            // A reply to the probe. A reply with a lower index comes from a follower whose disk is busy.
            Phase::Probe { .. } if index + 1 >= self.next => self.replicate(),
            Phase::Probe { .. } => {}
            Phase::Snapshot(_) if log.term_at(self.matched).is_some() => self.replicate(),
            Phase::Snapshot(sending) => sending.on_matched(self.matched),
        }
    }

    /// Returns the index after which log entries are kept for the follower. `None` if it is not pinned, or has made no
    /// progress since `since`.
    pub fn needs_after(&self, since: Time) -> Option<Index> {
        let index = match &self.phase {
            Phase::Snapshot(sending) => sending.meta.index,
            _ => self.matched,
        };
        (self.pinned && self.moved >= since).then_some(index)
    }

    /// Handles a rejection: the follower does not have entry `rejected`. Where its log may match, it has `hint_term` at
    /// `hint` (§5.3).
    ///
    /// If the `Append` only overtook others, nothing needs to be resent: the follower keeps it until they arrive.
    /// Something was lost if a later `Append` still finds the gap. The next heartbeat, which follows everything sent,
    /// shows the loss as well.
    pub fn on_conflict(&mut self, rejected: Index, (hint, hint_term): (Index, Term), log: &Log, mutant: Mutant) {
        let news = match self.phase {
            Phase::Probe { .. } => rejected == self.next - 1,
            Phase::Replicate => {
                let overtaken = |progress: &mut Progress| progress.was_overtaken(rejected, (hint, hint_term), log);
                rejected > self.matched && (!overtaken(self) || mutant.is(Bug::ProbeOnReorder))
            }
            Phase::Snapshot(_) => false,
        };
        if news {
            let agree = log.last_at_most(hint, hint_term).min(hint);
            self.next = rejected.min(agree + 1).min(log.last() + 1).max(self.matched + 1);
            self.in_flight.clear();
            self.phase = Phase::Probe { waiting: false };
        }
    }

    /// Whether reordering alone may explain a conflict: the logs match up to the hint, more was sent after the rejected
    /// `Append`, and no `Append` at or before its position was rejected yet.
    fn was_overtaken(&mut self, rejected: Index, (hint, hint_term): (Index, Term), log: &Log) -> bool {
        let lacks = hint < rejected && log.term_at(hint) == Some(hint_term);
        let first = self.gap.is_none_or(|gap| rejected < gap);
        if first {
            self.gap = Some(rejected);
        }
        lacks && first && rejected < self.next - 1
    }

    fn replicate(&mut self) {
        self.next = self.matched + 1;
        self.gap = None;
        self.in_flight.clear();
        self.phase = Phase::Replicate;
    }
}
