//! Messages, records, requests and effects of Raft: the types of the core, without behavior.

use crate::mutant::Mutant;
use crate::types::{Bytes, NodeId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Position in the log; the first entry has index 1, 0 means "before the log".
pub type Index = u64;
/// Election term; 0 means "before any election".
pub type Term = u64;
/// Chosen by the node to match an answer to its request; unique among the node's open requests.
pub type RequestId = u64;

/// One log entry. Its position in the log determines its index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that created it.
    pub term: Term,
    /// The state machine's command; empty for the no-op a leader appends on election (§8).
    #[serde(deserialize_with = "crate::codec::bytes")]
    pub command: Bytes,
}

/// Bytes that an entry costs in addition to its command, for every limit on bytes: an empty command is not free.
pub const ENTRY_OVERHEAD: usize = 32;

/// The last log position that a snapshot includes: every entry up to and including `index` is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Last index included.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
}

/// A message between two members of a group. Every message carries the sender's term (§5.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The sender's term; for a pre-vote, the term it would campaign in.
    pub term: Term,
    /// The content.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// Requests a vote, or with `pre` asks whether the vote would be granted (§5.2, thesis §9.6).
    Vote {
        /// Whether this is a pre-vote, which changes no state anywhere.
        pre: bool,
        /// Index of the candidate's last entry (§5.4.1).
        last_index: Index,
        /// Term of that entry.
        last_term: Term,
        /// Set when the leader itself asked for this election (thesis §3.10), so that stickiness and leases do not
        /// prevent it.
        transfer: bool,
    },
    /// The reply to `Vote`.
    VoteReply {
        /// Copied from the request.
        pre: bool,
        /// Whether the vote is granted.
        granted: bool,
    },
    /// Entries to append; a heartbeat if there are none (§5.3).
    Append {
        /// Index just before the first entry.
        prev_index: Index,
        /// Term of that entry.
        prev_term: Term,
        /// The entries that follow it.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// Number of the leadership-confirmation round this message takes part in (thesis §6.4).
        round: u64,
    },
    /// The reply to `Append`.
    AppendReply {
        /// The result.
        result: AppendResult,
        /// Copied from the request.
        round: u64,
    },
    /// A chunk of a snapshot for a follower that is too far behind (§7).
    Snapshot {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Byte offset of `data` in the snapshot file.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether this is the last chunk.
        last: bool,
        /// As in `Append`.
        round: u64,
    },
    /// The reply to `Snapshot`.
    SnapshotReply {
        /// The snapshot.
        meta: SnapshotMeta,
        /// Offset of the next byte wanted.
        next: u64,
        /// Whether the whole snapshot is installed and durable.
        installed: bool,
        /// Copied from the request.
        round: u64,
    },
    /// Tells the follower to campaign now: leadership transfer (thesis §3.10).
    TimeoutNow,
    /// The last heartbeat before the group quiesces, if all members agree: everything is committed, and every member
    /// has it. The reply is an `AppendReply`.
    Quiesce {
        /// Index of the leader's last entry, which is committed and of the leader's own term.
        last: Index,
        /// As in `Append`.
        round: u64,
    },
    /// A state machine's digest after an index, sent to the other members' state machines. The core ignores it.
    Digest {
        /// The index.
        index: Index,
        /// The digest of the state that includes it.
        digest: u64,
    },
}

impl Body {
    /// Whether this is a reply, which belongs to the term of its request.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Body::VoteReply { .. } | Body::AppendReply { .. } | Body::SnapshotReply { .. })
    }
}

/// The result of an `Append`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AppendResult {
    /// Everything up to this index is durable in the follower's log and matches the leader's log.
    Matched(Index),
    /// The follower's log does not match at `prev_index`. The leader must retry at `hint` or earlier (the accelerated
    /// backtracking of §5.3). `hint` is the follower's last index up to `rejected` whose term is at most the message's
    /// `prev_term`, but at least its commit index; 0 if the message was of an older term. Entries between the two have
    /// terms that the leader does not have there.
    Conflict {
        /// The `prev_index` that did not match.
        rejected: Index,
        /// Where to retry.
        hint: Index,
        /// The term of the follower's entry at `hint`, 0 if there is none.
        hint_term: Term,
    },
}

/// A record that must survive a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// The current term and vote (figure 2, "persistent state"). A later record replaces it.
    HardState {
        /// Current term.
        term: Term,
        /// The candidate that got this node's vote in that term.
        vote: Option<NodeId>,
    },
    /// Entries from `first` on. They replace whatever the log held from there.
    Append {
        /// Index of the first entry.
        first: Index,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The snapshot file for this position is durable. The log restarts after it. If the log already holds an entry of
    /// that index and term, the entries after it are kept (§7).
    Snapshot(SnapshotMeta),
}

/// What the disk held when the node started. The default is a new node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Current term.
    pub term: Term,
    /// Vote in that term.
    pub vote: Option<NodeId>,
    /// The newest durable snapshot.
    pub snapshot: SnapshotMeta,
    /// Entries from `snapshot.index + 1` on. Entries that the snapshot includes are not kept across a restart.
    pub entries: Vec<Entry>,
}

/// A request from the node to the core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Append a command; answered by `Accepted` or `Refused`.
    Propose {
        /// Identifies the answer.
        id: RequestId,
        /// The command to append.
        command: Bytes,
    },
    /// A linearizable read (thesis §6.4); answered by `ReadAt` or `Refused`.
    Read {
        /// Identifies the answer.
        id: RequestId,
    },
    /// Transfer leadership to `to` (thesis §3.10); answered by `TransferStarted` or `Refused`.
    Transfer {
        /// Identifies the answer.
        id: RequestId,
        /// The new leader.
        to: NodeId,
    },
    /// A durable file holds a snapshot of the applied state up to `meta`, so the log before it may be dropped. The core
    /// persists `Record::Snapshot`. It keeps `Config::keep_entries` entries for lagging followers, and the entries that
    /// followers catching up still need ([`Raft::pinned_snapshots`](super::Raft::pinned_snapshots)). If nothing was
    /// compacted, the answer is `NotCompacted`.
    Compact {
        /// The position up to which the snapshot goes.
        meta: SnapshotMeta,
    },
    /// The answer to `Effect::LoadChunk`.
    ChunkLoaded {
        /// The follower that needs the chunk.
        to: NodeId,
        /// The snapshot.
        meta: SnapshotMeta,
        /// The requested offset.
        offset: u64,
        /// The result.
        loaded: Loaded,
    },
    /// The answer to `Effect::SaveChunk`.
    ChunkSaved {
        /// The leader that sent the chunk.
        from: NodeId,
        /// The snapshot.
        meta: SnapshotMeta,
        /// The result.
        saved: Saved,
    },
    /// The leader's node seems to be down, or the group's state is in doubt. A quiesced follower restarts its election
    /// timer; a quiesced leader sends a heartbeat. A node that is not quiesced ignores it. See `Config::quiesce`.
    Wake,
}

/// The result of reading a snapshot chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// The bytes, and whether the file ends with them.
    Piece(Bytes, bool),
    /// The disk is busy: the core asks for the same chunk again at the next heartbeat.
    Busy,
    /// The file is missing or unreadable: the transfer restarts with the newest snapshot.
    Gone,
}

/// The result of writing a snapshot chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    /// Offset of the next byte wanted. The chunk was written, or an earlier one is missing.
    Next(u64),
    /// The file is complete, verified and durable. If it is still needed, `Effect::Restore` follows in the same step.
    /// If not, the log has caught up in the meantime and the file may be deleted.
    Complete,
    /// The node has no room for the chunk now: the transfer resumes with the same chunk later.
    Busy,
    /// The complete file is not a valid snapshot: the transfer restarts at its first byte.
    Refused,
}

/// A request from the core to the node, or a notification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The proposal was appended at this index in this term. It is applied if and only if `Commit` delivers this index
    /// with this term.
    Accepted {
        /// The proposal.
        id: RequestId,
        /// Its index.
        index: Index,
        /// The term it was appended in.
        term: Term,
    },
    /// The request was refused and had no effect.
    Refused {
        /// The request.
        id: RequestId,
        /// The reason.
        why: Refusal,
    },
    /// The leadership transfer has started.
    TransferStarted {
        /// The request.
        id: RequestId,
    },
    /// The read may be answered from any state that includes this index.
    ReadAt {
        /// The request.
        id: RequestId,
        /// What the state must include.
        index: Index,
    },
    /// These entries are committed: apply them in order, the first at index `first`. Each index is delivered once.
    Commit {
        /// Index of the first entry.
        first: Index,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// The leader's log has a different entry at an index that is committed here: one of the two nodes does not have
    /// the data it wrote. The node must stop permanently.
    Contradicted {
        /// The leader.
        from: NodeId,
        /// The index.
        index: Index,
        /// The term of the entry committed here.
        committed: Term,
        /// The term of the leader's entry.
        sent: Term,
    },
    /// Read a chunk of the snapshot file (at most `Config::snapshot_chunk` bytes).
    LoadChunk {
        /// The follower that needs the chunk.
        to: NodeId,
        /// The snapshot.
        meta: SnapshotMeta,
        /// Offset to read from.
        offset: u64,
    },
    /// Write a chunk of an incoming snapshot to a temporary file. Offset 0 starts the file afresh. If `last` is set,
    /// verify the file, make it durable under its final name and answer `Saved::Complete`.
    SaveChunk {
        /// The leader that sent the chunk.
        from: NodeId,
        /// The snapshot.
        meta: SnapshotMeta,
        /// Offset to write to.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether the file ends here.
        last: bool,
    },
    /// `Request::Compact` changed nothing: the position is not committed here, has another term, or is older than the
    /// current snapshot. The file may be deleted.
    NotCompacted {
        /// The position up to which the snapshot goes.
        meta: SnapshotMeta,
    },
    /// The log now starts from this snapshot: replace the state machine with the file's contents. Later `Commit`s start
    /// after its index. The older snapshot file must stay until the `Record::Snapshot` of this step is durable.
    Restore {
        /// The snapshot.
        meta: SnapshotMeta,
    },
    /// This node's role, term or known leader changed.
    Became(SoftState),
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// This node is not the leader. Contains the leader, if known.
    NotLeader(Option<NodeId>),
    /// The limit on uncommitted entries or open reads is reached, or a leadership transfer is in progress. Retry later.
    Busy,
    /// The target of a transfer is not a member.
    NoSuchNode,
}

/// The role of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Accepts entries from a leader.
    Follower,
    /// Asks whether it could win an election before it disturbs the group (thesis §9.6).
    PreCandidate,
    /// Campaigns in an election.
    Candidate,
    /// Leads.
    Leader,
}

/// The part of a node's state that is not persisted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoftState {
    /// Role.
    pub role: Role,
    /// Term.
    pub term: Term,
    /// Leader of the term, if known.
    pub leader: Option<NodeId>,
}

/// The core's state, for status replies, metrics and cross-node checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Role, term and leader.
    pub soft: SoftState,
    /// Vote in this term.
    pub vote: Option<NodeId>,
    /// Commit index.
    pub commit: Index,
    /// Last index in the log (persisted or not).
    pub last: Index,
    /// Last index known durable here.
    pub durable: Index,
    /// The newest snapshot.
    pub snapshot: SnapshotMeta,
    /// First index still in the log.
    pub first: Index,
    /// Bytes of the entries held in the log: each entry's command plus [`ENTRY_OVERHEAD`].
    pub log_bytes: usize,
}

/// Configuration of a group. It must be the same on every member, except for `id`.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// All members, this node included; order does not matter.
    pub voters: Vec<NodeId>,
    /// Minimum election timeout. Each actual timeout is drawn at random from one to two times this (§5.2).
    pub election_timeout: Duration,
    /// Interval between heartbeats; at most a third of `election_timeout`.
    pub heartbeat: Duration,
    /// Maximum number of `Append`s with entries in flight to one follower (pipelining, thesis §10.2.1).
    pub max_in_flight: usize,
    /// Maximum bytes of entries in one `Append`, unless a single entry is larger. An entry counts as its command plus
    /// [`ENTRY_OVERHEAD`].
    pub max_append_bytes: usize,
    /// Maximum bytes of uncommitted entries, counted the same way. Beyond it, proposals are refused as `Busy`.
    pub max_uncommitted_bytes: usize,
    /// Maximum number of reads that wait for a round. Beyond it, reads are refused as `Busy`.
    pub max_pending_reads: usize,
    /// Number of entries kept before a snapshot's index, for followers that lag a little.
    pub keep_entries: u64,
    /// Maximum bytes of log kept beyond `keep_entries` for followers that receive a snapshot or catch up after one.
    pub max_pinned_bytes: usize,
    /// Bytes in one snapshot chunk.
    pub snapshot_chunk: usize,
    /// Maximum difference between a peer's term and this node's term. A message with a higher term is ignored. Terms
    /// grow by one with each election; without a bound, one wrong message could use up all terms and make the group
    /// useless.
    pub max_term_jump: u64,
    /// Lease reads (thesis §6.4.1), disabled when `None`: the maximum rate by which two nodes' monotonic clocks may
    /// differ, in parts per million. Reads are then answered without a round while a majority was heard from within
    /// `election_timeout · (1 - ppm·10⁻⁶)`. **Reads may be stale if the clocks exceed the bound.**
    pub lease_ppm: Option<u32>,
    /// Whether an idle group quiesces: it sends no heartbeats and runs no timers until a request or a message arrives.
    /// The driver must then send [`Request::Wake`] to the groups whose leader's node seems to be down, and again if a
    /// message from that node still arrives.
    pub quiesce: bool,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl Config {
    /// Returns the defaults for a group of `voters`: heartbeat 100 ms, election timeout 500 ms to 1 s.
    #[must_use]
    pub fn new(id: NodeId, voters: Vec<NodeId>) -> Config {
        Config {
            id,
            voters,
            election_timeout: Duration::from_millis(500),
            heartbeat: Duration::from_millis(100),
            max_in_flight: 32,
            max_append_bytes: 256 << 10,
            max_uncommitted_bytes: 16 << 20,
            max_pending_reads: 10_000,
            keep_entries: 500,
            max_pinned_bytes: 64 << 20,
            snapshot_chunk: 256 << 10,
            max_term_jump: 1 << 40,
            lease_ppm: None,
            quiesce: false,
            mutant: Mutant::default(),
        }
    }

    /// Checks that every field is within its bounds.
    ///
    /// # Errors
    /// The first field out of bounds.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let bad = |field, value: &dyn std::fmt::Debug, bound: &str| {
            Err(BadConfig { field, value: format!("{value:?}"), bound: bound.to_owned() })
        };
        if !self.voters.contains(&self.id) {
            return bad("voters", &self.voters, &format!("expected to hold this node, {}", self.id));
        }
        if self.election_timeout.is_zero() {
            return bad("election_timeout", &self.election_timeout, "expected more than 0");
        }
        if self.heartbeat.is_zero() || self.heartbeat * 3 > self.election_timeout {
            let bound = format!("expected more than 0 and at most a third of {:?}", self.election_timeout);
            return bad("heartbeat", &self.heartbeat, &bound);
        }
        if let Some(ppm) = self.lease_ppm.filter(|ppm| *ppm >= 1_000_000) {
            return bad("lease_ppm", &ppm, "expected less than 1000000");
        }
        for (field, value) in [
            ("max_in_flight", self.max_in_flight),
            ("max_append_bytes", self.max_append_bytes),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
            ("max_pending_reads", self.max_pending_reads),
            ("snapshot_chunk", self.snapshot_chunk),
        ] {
            if value == 0 {
                return bad(field, &value, "expected at least 1");
            }
        }
        Ok(())
    }
}

/// A field of a [`Config`] that is out of bounds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {value}; {bound}")]
pub struct BadConfig {
    /// The field's name.
    pub field: &'static str,
    /// The field's value.
    pub value: String,
    /// The allowed range.
    pub bound: String,
}
