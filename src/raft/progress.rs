//! What a leader knows of one follower, and what to send it next (§5.3, thesis §10.2.1).
//!
//! ```text
//!            Matched                    the log no longer reaches back
//!   Probe ───────────────▶ Replicate ──────────────────────────────────▶ Snapshot
//!     ▲   ◀───────────────     ▲                                             │
//!     │       Conflict         └─────────────────────────────────────────────┘
//!     └── elected                 installed, or the follower's log is in reach
//! ```
//! A prober sends one `Append` and waits; a replicator sends ahead, up to `Config::max_in_flight`. Nothing is sent again
//! by timer: every heartbeat names the entry before the next one to send, so a follower that missed something says so. While
//! bulk data is on its way that heartbeat stands behind it, and another one, which names what is agreed, overtakes both.

use super::log::Log;
use super::snapshot::Sending;
use super::{Config, Entry, Index, Term, pop_front_if};
use crate::mutant::{Bug, Mutant};
use crate::types::{Lane, NodeId, Time};
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Progress {
    pub id: NodeId,
    /// Last index known to be durable there and equal to the leader's ("matchIndex").
    pub matched: Index,
    /// Next index to send ("nextIndex"); always above `matched`.
    pub next: Index,
    pub phase: Phase,
    /// Last indexes of the `Append`s with entries on their way; used by replicators only.
    in_flight: VecDeque<Index>,
    /// The lowest index that an `Append` found missing since `matched` last grew: see [`Progress::on_conflict`].
    gap: Option<Index>,
    /// The last index sent in the bulk lane: until it is matched, later entries must not overtake it in the other.
    bulk_to: Index,
    /// When it last answered in this term.
    pub heard: Time,
    /// It is sent a snapshot, or has not caught up since: what it needs next is kept for it.
    pinned: bool,
    /// When it last got further: in the log, or in the snapshot that it is sent.
    pub moved: Time,
    /// Highest round it answered (thesis §6.4).
    pub round: u64,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Looking for the point where the logs agree; `waiting` for the answer to one `Append`.
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

    /// The next `Append` to send, as the point before it and its entries; a prober's may have none.
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

    /// Whether bulk data is on its way to it.
    pub fn is_behind_bulk(&self) -> bool {
        self.matched < self.bulk_to
    }

    /// The lane of an `Append` of these entries behind `prev`.
    pub fn lane(&mut self, prev: Index, entries: &[Entry]) -> Lane {
        if Lane::of(entries.iter().map(|entry| entry.command.len()).sum()) == Lane::Bulk {
            self.bulk_to = self.bulk_to.max(prev + entries.len() as Index);
        }
        if self.is_behind_bulk() { Lane::Bulk } else { Lane::Control }
    }

    /// A point that the follower is known to share, for a heartbeat that overtakes bulk data.
    pub fn agreed(&self, log: &Log) -> (Index, Term) {
        log.term_at(self.matched).map_or((0, 0), |term| (self.matched, term))
    }

    /// The point a heartbeat names. During a snapshot the follower's log is out of reach and the start of the log serves:
    /// everyone agrees on it.
    pub fn heartbeat(&self, log: &Log) -> (Index, Term) {
        let prev = self.next - 1;
        match self.phase {
            Phase::Snapshot(_) => (0, 0),
            _ => (prev, log.term_at(prev).expect("otherwise a snapshot is being sent")),
        }
    }

    /// The follower holds all up to `index`.
    pub fn on_matched(&mut self, index: Index, log: &Log, now: Time) {
        if index > self.matched {
            (self.matched, self.moved, self.gap) = (index, now, None);
        }
        self.pinned &= index < log.commit();
        while pop_front_if(&mut self.in_flight, |last| *last <= index).is_some() {}
        match &mut self.phase {
            Phase::Replicate => self.next = self.next.max(self.matched + 1),
            // An answer to what was probed; one that says less comes from a follower whose disk is busy.
            Phase::Probe { .. } if index + 1 >= self.next => self.replicate(),
            Phase::Probe { .. } => {}
            Phase::Snapshot(_) if log.term_at(self.matched).is_some() => self.replicate(),
            Phase::Snapshot(sending) => sending.on_matched(self.matched),
        }
    }

    /// Where what is kept for it begins: what follows this index. Nothing if it has got no further since `since`.
    pub fn needs_after(&self, since: Time) -> Option<Index> {
        let index = match &self.phase {
            Phase::Snapshot(sending) => sending.meta.index,
            _ => self.matched,
        };
        (self.pinned && self.moved >= since).then_some(index)
    }

    /// The follower did not have entry `rejected`; where its log may agree, it has `hint_term` at `hint` (§5.3).
    ///
    /// One that overtook others is no reason to send anything again: the follower keeps it until they arrive. It shows
    /// that something was lost if a later one finds the gap still there, and so does the next heartbeat, which follows all
    /// that was sent.
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

    /// Whether a conflict may come from a change of order alone: the logs agree up to the hint, more was sent after the
    /// `Append` that was rejected, and none before it was rejected yet.
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
