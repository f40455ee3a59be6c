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
//! The follower says which byte it wants next, and the first chunk always starts the file afresh, so either side may
//! forget where it was. A chunk that is not answered within an election timeout is loaded and sent again. When the
//! leader has compacted meanwhile, the transfer starts again with the newer snapshot; a follower that is slower than the
//! leader compacts is never done, so snapshots should be far enough apart.

use super::progress::Phase;
use super::{Body, Effect, Index, LIMIT, Message, Raft, Record, SnapshotMeta, State};
use crate::protocol::Outbox;
use crate::types::{Bytes, NodeId, Time};
use std::time::Duration;

/// A transfer to one follower, as the leader sees it.
#[derive(Debug)]
pub(super) struct Sending {
    meta: SnapshotMeta,
    /// Where the chunk under way begins.
    offset: u64,
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
}

impl Sending {
    pub fn new(meta: SnapshotMeta) -> Sending {
        Sending { meta, offset: 0, stage: Stage::Wanted }
    }

    pub fn wants(&self) -> bool {
        self.stage == Stage::Wanted
    }

    /// The chunk to load now, if any: of the `newest` snapshot, from its start if that is another one.
    pub fn load(&mut self, newest: SnapshotMeta) -> Option<(SnapshotMeta, u64)> {
        if !self.wants() {
            return None;
        }
        if self.meta != newest {
            *self = Sending::new(newest);
        }
        self.stage = Stage::Loading;
        Some((self.meta, self.offset))
    }

    pub fn retry_after(&mut self, timeout: Duration, now: Time) {
        if matches!(self.stage, Stage::Waiting(since) if now >= since + timeout) {
            self.stage = Stage::Wanted;
        }
    }

    /// The follower has reached `index`, which the log does not: if the snapshot ends there, a newer one is needed.
    pub fn on_matched(&mut self, index: Index) {
        if index >= self.meta.index && self.stage != Stage::Loading {
            self.stage = Stage::Wanted;
        }
    }

    /// The follower wants the byte at `next`. If it still wants the chunk that is under way, that was lost or refused, and
    /// goes out again when the time is up.
    fn on_wanted(&mut self, meta: SnapshotMeta, next: u64) {
        let waiting = matches!(self.stage, Stage::Waiting(_));
        if waiting && meta == self.meta && next != self.offset {
            self.offset = next;
            self.stage = Stage::Wanted;
        }
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
        if self.log.compact(meta, self.config.keep_entries) {
            self.persist(Record::Snapshot(meta), out);
        }
    }

    /// Sends the chunk that was loaded, or tries again later.
    pub(super) fn on_chunk_loaded(
        &mut self,
        to: NodeId,
        meta: SnapshotMeta,
        offset: u64,
        data: Option<(Bytes, bool)>,
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
        match data.filter(|(bytes, last)| *last || !bytes.is_empty()) {
            Some((data, last)) => {
                let body = Body::Snapshot { meta, offset, data, last, round };
                out.send(to, Message { term: self.term, body });
            }
            None => sending.offset = 0,
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
            follower.on_matched(meta.index, &self.log);
        } else if let Phase::Snapshot(sending) = &mut follower.phase {
            sending.on_wanted(meta, next);
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
        if meta.index <= self.log.commit() {
            return self.answer_chunk(from, meta, 0, true, round, out);
        }
        let mut receiving = match self.receiving.take() {
            Some(other) if other.saving && (other.from, other.meta) != (from, meta) => {
                self.receiving = Some(other);
                return;
            }
            Some(same) if (same.from, same.meta) == (from, meta) => same,
            _ => Receiving { from, meta, next: 0, saving: false, round },
        };
        receiving.round = round;
        if offset == 0 && !receiving.saving {
            receiving.next = 0;
        }
        let (saving, next) = (receiving.saving, receiving.next);
        if !saving && offset == next {
            receiving.saving = true;
            out.effect(Effect::SaveChunk { from, meta, offset, data, last });
        }
        self.receiving = Some(receiving);
        if !saving && offset != next {
            self.answer_chunk(from, meta, next, false, round, out);
        }
    }

    /// The node's disk has the chunk; `next` is `None` if it refused it.
    pub(super) fn on_chunk_saved(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        next: Option<u64>,
        complete: bool,
        out: &mut Outbox<Raft>,
    ) {
        let expected = |r: &mut Receiving| r.saving && (r.from, r.meta) == (from, meta);
        let Some(mut receiving) = self.receiving.take_if(expected) else { return };
        if !matches!(self.state, State::Follower) {
            return;
        }
        let round = receiving.round;
        if complete && next.is_some() {
            self.install(meta, out);
            return self.answer_chunk(from, meta, 0, true, round, out);
        }
        let next = next.unwrap_or(0).min(LIMIT);
        receiving.next = next;
        receiving.saving = false;
        self.receiving = Some(receiving);
        self.answer_chunk(from, meta, next, false, round, out);
    }

    /// The received snapshot takes the place of log and state machine, unless the log has got there on its own.
    fn install(&mut self, meta: SnapshotMeta, out: &mut Outbox<Raft>) {
        if meta.index > self.log.commit() {
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
