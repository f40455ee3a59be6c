//! Compaction and snapshot transfer (§7), one chunk at a time.
//!
//! ```text
//! leader            node's disk          follower          node's disk
//!   │ LoadChunk ─────▶ │                     │                  │
//!   │ ◀── ChunkLoaded  │                     │                  │
//!   │ Snapshot ────────┼───────────────────▶ │ SaveChunk ─────▶ │
//!   │                  │                     │ ◀──── ChunkSaved │
//!   │ ◀────────────────┼──────SnapshotReply─ │                  │  … and after the last chunk: Restore
//! ```
//! The follower tells which byte it wants next. So either side may forget its position, and a late or duplicate chunk
//! does no harm. A chunk that is not answered within an election timeout is loaded and sent again. A chunk for which
//! the disk or the follower had no room is sent again at the next heartbeat. In neither case does the transfer restart.
//!
//! # Pins
//! While a follower receives a snapshot, the leader keeps that file ([`Raft::pinned_snapshots`]) and the log after it,
//! whatever is compacted in the meantime. Afterwards it keeps the log that the follower still lacks. So a follower that
//! is slower than its leader compacts can catch up under load. A pin ends when the follower makes no progress for
//! [`PATIENCE`] election timeouts. It holds at most `Config::max_pinned_bytes` of log; beyond that the oldest entries
//! are dropped, and the transfer restarts with the newest snapshot.

use super::log::Log;
use super::progress::Phase;
use super::{Body, Effect, Index, LIMIT, Loaded, Message, Raft, Record, Saved, SnapshotMeta, State};
use crate::mutant::{Bug, Mutant};
use crate::protocol::Outbox;
use crate::types::{Bytes, NodeId, Time};
use std::time::Duration;

/// Number of election timeouts without progress after which a follower's pin ends.
const PATIENCE: u32 = 4;

/// A snapshot transfer to one follower, on the leader.
#[derive(Debug)]
pub(super) struct Sending {
    pub meta: SnapshotMeta,
    /// Offset of the current chunk.
    offset: u64,
    /// The highest offset the follower has asked for.
    reached: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Must be loaded at the next tick.
    Wanted,
    /// The node's disk is loading it.
    Loading,
    /// Sent, or failed to load, at this time: waiting for a reply or for the retry.
    Waiting(Time),
    /// The disk or the follower had no room for it: must be loaded after the next heartbeat.
    Postponed,
}

impl Sending {
    pub fn new(meta: SnapshotMeta) -> Sending {
        Sending { meta, offset: 0, reached: 0, stage: Stage::Wanted }
    }

    pub fn wants(&self) -> bool {
        self.stage == Stage::Wanted
    }

    /// Returns the chunk to load now, if any. Switches to the newest snapshot if the log no longer continues from this
    /// one.
    pub fn load(&mut self, log: &Log) -> Option<(SnapshotMeta, u64)> {
        if !self.wants() {
            return None;
        }
        if log.term_at(self.meta.index) != Some(self.meta.term) {
            *self = Sending::new(log.snapshot());
        }
        self.stage = Stage::Loading;
        Some((self.meta, self.offset))
    }

    /// Schedules the chunk again at a heartbeat if it was postponed, or was not answered for `timeout`.
    pub fn retry_after(&mut self, timeout: Duration, now: Time, mutant: Mutant) {
        let due = match self.stage {
            Stage::Waiting(since) => now >= since + timeout,
            stage => stage == Stage::Postponed,
        };
        if due {
            self.stage = Stage::Wanted;
            self.offset = if mutant.is(Bug::ChunkRestartsAtZero) { 0 } else { self.offset };
        }
    }

    /// Notes that the follower has reached `index`, which the log no longer holds. If the snapshot ends there, a newer
    /// one is needed.
    pub fn on_matched(&mut self, index: Index) {
        if index >= self.meta.index && self.stage != Stage::Loading {
            self.stage = Stage::Wanted;
        }
    }

    /// Handles the follower's request for the byte at `next`. If it still wants the chunk that was sent, it had no room
    /// for it and gets it again after the next heartbeat. Returns whether the transfer has made progress.
    fn on_wanted(&mut self, meta: SnapshotMeta, next: u64) -> bool {
        if !matches!(self.stage, Stage::Waiting(_)) || meta != self.meta {
            return false;
        }
        self.stage = if next == self.offset { Stage::Postponed } else { Stage::Wanted };
        self.offset = next;
        let further = next > self.reached;
        self.reached = self.reached.max(next);
        further
    }
}

/// A snapshot transfer from the leader, on the follower.
#[derive(Debug)]
pub(super) struct Receiving {
    from: NodeId,
    meta: SnapshotMeta,
    /// Offset of the next byte wanted.
    next: u64,
    /// The node's disk is writing a chunk. Chunks that arrive in the meantime are dropped and will be sent again.
    saving: bool,
    /// The latest round this leader asked about in this term. 0 after a change of term, because a late reply must not
    /// confirm a round of another term.
    round: u64,
}

impl Raft {
    /// Compacts the log: the node has a snapshot file up to `meta`.
    pub(super) fn compact(&mut self, meta: SnapshotMeta, out: &mut Outbox<Raft>) {
        if self.log.compact(meta, self.config.keep_entries, (self.pinned(), self.config.max_pinned_bytes)) {
            self.persist(Record::Snapshot(meta), out);
        } else {
            out.effect(Effect::NotCompacted { meta });
        }
    }

    /// Returns the lowest index after which a follower that makes progress still needs the log.
    fn pinned(&self) -> Index {
        let State::Leader(leader) = &self.state else { return Index::MAX };
        if self.config.mutant.is(Bug::CompactPastPin) {
            return Index::MAX;
        }
        let since = Time(self.now.0.saturating_sub((self.config.election_timeout * PATIENCE).as_nanos() as u64));
        leader.followers.iter().filter_map(|follower| follower.needs_after(since)).min().unwrap_or(Index::MAX)
    }

    /// Returns the snapshots that are being sent to followers. Their files are still needed, even if there are newer
    /// ones.
    pub fn pinned_snapshots(&self) -> impl Iterator<Item = SnapshotMeta> {
        let followers = if let State::Leader(leader) = &self.state { &leader.followers[..] } else { &[] };
        followers.iter().filter_map(|follower| match &follower.phase {
            Phase::Snapshot(sending) => Some(sending.meta),
            _ => None,
        })
    }

    /// Sends the chunk that was loaded, or tries again later.
    pub(super) fn on_chunk_loaded(
        &mut self,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        loaded: Loaded,
        out: &mut Outbox<Raft>,
    ) {
        let State::Leader(leader) = &mut self.state else { return };
        let round = leader.rounds.current();
        let Some(follower) = leader.follower(to) else { return };
        let Phase::Snapshot(sending) = &mut follower.phase else { return };
        if sending.stage != Stage::Loading || (sending.meta, sending.offset) != (meta, offset) {
            return;
        }
        sending.stage = Stage::Waiting(self.now);
        match loaded {
            Loaded::Piece(data, last) if last || !data.is_empty() => {
                let body = Body::Snapshot { meta, offset, data, last, round };
                out.send(to, Message { term: self.term, body });
            }
            Loaded::Busy => sending.stage = Stage::Postponed,
            Loaded::Piece(..) | Loaded::Gone => {
                *sending = Sending { stage: sending.stage, ..Sending::new(self.log.snapshot()) };
            }
        }
    }

    pub(super) fn on_snapshot_reply(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        next: u64,
        installed: bool,
        round: u64,
        out: &mut Outbox<Raft>,
    ) {
        let State::Leader(leader) = &mut self.state else { return };
        let current = leader.rounds.current();
        let Some(follower) = leader.follower(from) else { return };
        follower.heard = self.now;
        follower.round = follower.round.max(round.min(current));
        if installed && meta.index <= self.log.commit() {
            follower.on_matched(meta.index, &self.log, self.now);
        } else if let Phase::Snapshot(sending) = &mut follower.phase
            && sending.on_wanted(meta, next)
        {
            follower.moved = self.now;
        }
        leader.busy |= follower.wants(self.log.last(), &self.config);
        self.confirm_round(out);
    }

    /// Handles a chunk from the leader. `place` is the snapshot, the offset and the round.
    pub(super) fn on_snapshot(
        &mut self,
        from: NodeId,
        place: (SnapshotMeta, u64, u64),
        data: Bytes,
        last: bool,
        out: &mut Outbox<Raft>,
    ) {
        let (meta, offset, round) = place;
        if self.log.term_at(meta.index) == Some(meta.term) {
            // The log contains the snapshot's position. So it matches the leader's log up to there (§5.3), where
            // everything is committed.
            self.commit_to(meta.index, out);
        }
        let stale = meta.index <= self.log.commit();
        if stale && !self.config.mutant.is(Bug::StaleSnapshotInstalled) {
            return self.answer_chunk(from, meta, 0, true, round, out);
        }
        let mut receiving = match self.receiving.take() {
            Some(same) if (same.from, same.meta) == (from, meta) => same,
            // A late chunk of an older snapshot does not end the transfer of the newer one.
            Some(other) if other.saving || (other.from == from && meta.index <= other.meta.index) => {
                self.receiving = Some(other);
                return;
            }
            _ => Receiving { from, meta, next: 0, saving: false, round },
        };
        receiving.round = round;
        if offset == 0 && !receiving.saving && self.config.mutant.is(Bug::ChunkRestartsAtZero) {
            receiving.next = 0;
        }
        let (saving, next) = (receiving.saving, receiving.next);
        let taken = offset == next || self.config.mutant.is(Bug::PiecesAsTheyCome);
        if !saving && taken {
            receiving.saving = true;
            out.effect(Effect::SaveChunk { from, meta, offset, data, last });
        }
        self.receiving = Some(receiving);
        if !saving && !taken {
            self.answer_chunk(from, meta, next, false, round, out);
        }
    }

    /// Handles the result of writing a chunk to the node's disk.
    pub(super) fn on_chunk_saved(&mut self, from: NodeId, meta: SnapshotMeta, saved: Saved, out: &mut Outbox<Raft>) {
        let expected = |r: &mut Receiving| r.saving && (r.from, r.meta) == (from, meta);
        let Some(mut receiving) = self.receiving.take_if(expected) else { return };
        if !matches!(self.state, State::Follower) {
            return;
        }
        let round = receiving.round;
        receiving.saving = false;
        receiving.next = match saved {
            Saved::Complete => {
                self.install(meta, out);
                return self.answer_chunk(from, meta, 0, true, round, out);
            }
            Saved::Next(next) => next.min(LIMIT),
            Saved::Busy if self.config.mutant.is(Bug::BusyStartsOver) => 0,
            Saved::Busy => receiving.next,
            Saved::Refused => 0,
        };
        let next = receiving.next;
        self.receiving = Some(receiving);
        self.answer_chunk(from, meta, next, false, round, out);
    }

    /// Replaces the log and the state machine with the received snapshot, unless the log has caught up by itself.
    fn install(&mut self, meta: SnapshotMeta, out: &mut Outbox<Raft>) {
        if meta.index > self.log.commit() || self.config.mutant.is(Bug::StaleSnapshotInstalled) {
            self.log.restore(meta);
            self.persist(Record::Snapshot(meta), out);
            out.effect(Effect::Restore { meta });
        }
    }

    fn answer_chunk(
        &mut self,
        to: NodeId,
        meta: SnapshotMeta,
        next: u64,
        installed: bool,
        round: u64,
        out: &mut Outbox<Raft>,
    ) {
        self.say(to, self.term, Body::SnapshotReply { meta, next, installed, round }, out);
    }

    /// Clears the round of a snapshot transfer: rounds of an older term no longer count.
    pub(super) fn forget_round(&mut self) {
        if let Some(receiving) = &mut self.receiving {
            receiving.round = 0;
        }
    }
}
