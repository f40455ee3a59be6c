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
//! The follower says which byte it wants next, so either side may forget where it was, and a piece that comes late or
//! twice does no harm. A piece that is not answered within an election timeout is loaded and sent again; one for which the
//! disk or the follower had no room, at the next heartbeat. Neither sends a transfer back to its beginning.
//!
//! # Pins
//! While a follower is sent a snapshot, that file stays ([`Raft::pinned_snapshots`]), and the log behind it, whatever is
//! compacted meanwhile; afterwards the log stays that the follower still lacks. So one that is slower than its leader
//! compacts catches up while the load goes on. A pin ends when the follower gets no further for [`PATIENCE`] election
//! timeouts, and holds at most `Config::max_pinned_bytes` of log; beyond it the oldest entries go, and the transfer starts
//! again with the newest snapshot.

use super::log::Log;
use super::progress::Phase;
use super::{Body, Effect, Index, LIMIT, Loaded, Message, Raft, Record, Saved, SnapshotMeta, State};
use crate::mutant::{Bug, Mutant};
use crate::protocol::Outbox;
use crate::types::{Bytes, NodeId, Time};
use std::time::Duration;

/// Election timeouts without progress after which nothing is kept for a follower any more.
const PATIENCE: u32 = 4;

/// A transfer to one follower, as the leader sees it.
#[derive(Debug)]
pub(super) struct Sending {
    pub meta: SnapshotMeta,
    /// Where the chunk under way begins.
    offset: u64,
    /// The furthest byte that the follower has wanted.
    reached: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// To be loaded at the next tick.
    Wanted,
    /// The node's disk is at it.
    Loading,
    /// Sent, or failed to load: waiting since then for an answer, or to try again.
    Waiting(Time),
    /// There was no room for it, here or there: to be loaded after the next heartbeat.
    Postponed,
}

impl Sending {
    pub fn new(meta: SnapshotMeta) -> Sending {
        Sending { meta, offset: 0, reached: 0, stage: Stage::Wanted }
    }

    pub fn wants(&self) -> bool {
        self.stage == Stage::Wanted
    }

    /// The chunk to load now, if any. If the log no longer goes on where the snapshot ends, of the newest one instead.
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

    /// At a heartbeat: what was postponed is due, and what was not answered for `timeout`.
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

    /// The follower has reached `index`, which the log does not: if the snapshot ends there, a newer one is needed.
    pub fn on_matched(&mut self, index: Index) {
        if index >= self.meta.index && self.stage != Stage::Loading {
            self.stage = Stage::Wanted;
        }
    }

    /// The follower wants the byte at `next`. If it still wants the chunk that was sent, it had no room for it, and gets it
    /// again after the next heartbeat. Says whether the transfer has got further.
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

/// A transfer from the leader, as the follower sees it.
#[derive(Debug)]
pub(super) struct Receiving {
    from: NodeId,
    meta: SnapshotMeta,
    /// The next byte wanted.
    next: u64,
    /// The node's disk is at it; whatever arrives meanwhile is dropped and will be sent again.
    saving: bool,
    /// The latest round this leader asked about in this term; 0 after a change of term, for an answer given late must
    /// not confirm a round of another term.
    round: u64,
}

impl Raft {
    /// The node has a snapshot file up to `meta`.
    pub(super) fn compact(&mut self, meta: SnapshotMeta, out: &mut Outbox<Raft>) {
        if self.log.compact(meta, self.config.keep_entries, (self.pinned(), self.config.max_pinned_bytes)) {
            self.persist(Record::Snapshot(meta), out);
        } else {
            out.effect(Effect::NotCompacted { meta });
        }
    }

    /// The least index behind which a follower that gets on needs the log.
    fn pinned(&self) -> Index {
        let State::Leader(leader) = &self.state else { return Index::MAX };
        if self.config.mutant.is(Bug::CompactPastPin) {
            return Index::MAX;
        }
        let since = Time(self.now.0.saturating_sub((self.config.election_timeout * PATIENCE).as_nanos() as u64));
        leader.followers.iter().filter_map(|follower| follower.needs_after(since)).min().unwrap_or(Index::MAX)
    }

    /// The snapshots that followers are being sent: their files are still needed, whatever newer ones there are.
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

    /// A chunk arrives: `place` is the snapshot, the offset and the round.
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
            // The log holds the point, so it agrees with the leader's up to there (§5.3), and there all is committed.
            self.commit_to(meta.index, out);
        }
        let stale = meta.index <= self.log.commit();
        if stale && !self.config.mutant.is(Bug::StaleSnapshotInstalled) {
            return self.answer_chunk(from, meta, 0, true, round, out);
        }
        let mut receiving = match self.receiving.take() {
            Some(same) if (same.from, same.meta) == (from, meta) => same,
            // A late piece of an older snapshot does not end the transfer of the newer one.
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

    /// What became of the chunk on the node's disk.
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

    /// The received snapshot takes the place of log and state machine, unless the log has got there on its own.
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

    /// Rounds of an older term count no more.
    pub(super) fn forget_round(&mut self) {
        if let Some(receiving) = &mut self.receiving {
            receiving.round = 0;
        }
    }
}
