//! What Raft says, keeps and asks for: the vocabulary of the core, without behaviour.

use crate::mutant::Mutant;
use crate::types::{Bytes, NodeId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Position in the log; the first entry has index 1, 0 means "before the log".
pub type Index = u64;
/// Election term; 0 means "before any election".
pub type Term = u64;
/// Chosen by the node to recognise the answer to a request; unique among the node's open requests.
pub type RequestId = u64;

/// One log entry. Its index is known from where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that created it.
    pub term: Term,
    /// The state machine's command; empty for the no-op a leader appends on election (§8).
    #[serde(deserialize_with = "crate::codec::bytes")]
    pub command: Bytes,
}

/// What an entry costs beside its command, in bytes, wherever a limit on bytes is checked: an empty command is not free.
pub const ENTRY_OVERHEAD: usize = 32;

/// The point a snapshot stands for: every entry up to and including `index` is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// Last index included.
    pub index: Index,
    /// Term of that entry.
    pub term: Term,
}

/// A message between two members of a group. Every one carries the sender's term (§5.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The sender's term; for a pre-vote, the term it would campaign in.
    pub term: Term,
    /// What is said.
    pub body: Body,
}

/// The kinds of message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// "Vote for me", or with `pre` "would you?" (§5.2, thesis §9.6).
    Vote {
        /// A pre-vote changes no state anywhere.
        pre: bool,
        /// The candidate's last entry (§5.4.1).
        last_index: Index,
        /// Its term.
        last_term: Term,
        /// Set when the leader itself asked for this election (thesis §3.10), so that leases do not stand in its way.
        transfer: bool,
    },
    /// The answer to `Vote`.
    VoteReply {
        /// Echoes the question.
        pre: bool,
        /// Whether the vote is granted.
        granted: bool,
    },
    /// Entries, and with none a heartbeat (§5.3).
    Append {
        /// Index just before the first entry.
        prev_index: Index,
        /// Term of that entry.
        prev_term: Term,
        /// What follows it.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// Number of the leadership-confirmation round this message takes part in (thesis §6.4).
        round: u64,
    },
    /// The answer to `Append`.
    AppendReply {
        /// What became of it.
        result: AppendResult,
        /// Echoes the round.
        round: u64,
    },
    /// A piece of a snapshot for a follower that is too far behind (§7).
    Snapshot {
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Byte offset of `data` in the snapshot file.
        offset: u64,
        /// The bytes.
        data: Bytes,
        /// Whether this is the last piece.
        last: bool,
        /// Echoed, as in `Append`.
        round: u64,
    },
    /// The answer to `Snapshot`.
    SnapshotReply {
        /// Which snapshot.
        meta: SnapshotMeta,
        /// The next byte wanted.
        next: u64,
        /// Whether the whole snapshot is installed and durable.
        installed: bool,
        /// Echoes the round.
        round: u64,
    },
    /// "Campaign now": leadership transfer (thesis §3.10).
    TimeoutNow,
    /// A heartbeat after which there will be no more, if all agree: everything is committed, and everyone has it. Answered
    /// by `AppendReply`.
    Quiesce {
        /// The leader's last entry, which is committed and of its own term.
        last: Index,
        /// As in `Append`.
        round: u64,
    },
    /// From a member's state machine to the others': its digest after an index. The core takes no notice of it.
    Digest {
        /// The index.
        index: Index,
        /// The digest of the state that includes it.
        digest: u64,
    },
}

impl Body {
    /// Whether it answers a question, whose term it is then of.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Body::VoteReply { .. } | Body::AppendReply { .. } | Body::SnapshotReply { .. })
    }
}

/// A follower's answer to `Append`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AppendResult {
    /// Everything up to this index is in the follower's log, durably, and matches the leader's.
    Matched(Index),
    /// The entry before was not there. Try again no later than `hint` (the accelerated backtracking of §5.3): the
    /// follower's last index up to `rejected` whose term is not above that of the message's `prev_term`. Whatever
    /// lies between is of terms the leader does not have there.
    Conflict {
        /// The `prev_index` that did not match.
        rejected: Index,
        /// Where to try next.
        hint: Index,
        /// The term the follower has there, 0 if none.
        hint_term: Term,
    },
}

/// What must survive a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// The current term and vote (figure 2, "persistent state"). A later one replaces it.
    HardState {
        /// Current term.
        term: Term,
        /// Who got this node's vote in it.
        vote: Option<NodeId>,
    },
    /// Entries from `first` on; whatever the log held from there is replaced.
    Append {
        /// Index of the first entry.
        first: Index,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A snapshot file for this point is durable. The log restarts behind it unless it already holds an entry of that
    /// index and term, in which case what follows the entry is kept (§7).
    Snapshot(SnapshotMeta),
}

/// What the disk held when the node started; the default is a new node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Current term.
    pub term: Term,
    /// Vote in that term.
    pub vote: Option<NodeId>,
    /// The newest durable snapshot.
    pub snapshot: SnapshotMeta,
    /// Entries from `snapshot.index + 1` on: what a snapshot includes is not kept across a restart.
    pub entries: Vec<Entry>,
}

/// What the node asks of the core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Append a command; answered by `Accepted` or `Refused`.
    Propose {
        /// To recognise the answer.
        id: RequestId,
        /// What to append.
        command: Bytes,
    },
    /// A linearizable read (thesis §6.4); answered by `ReadAt` or `Refused`.
    Read {
        /// To recognise the answer.
        id: RequestId,
    },
    /// Hand leadership to `to` (thesis §3.10); answered by `TransferStarted` or `Refused`.
    Transfer {
        /// To recognise the answer.
        id: RequestId,
        /// The new leader.
        to: NodeId,
    },
    /// A snapshot of the applied state up to `meta` is in a durable file: the log before it may go. The core persists
    /// `Record::Snapshot` and keeps `Config::keep_entries` entries for lagging followers, and what followers that catch up
    /// still need ([`Raft::pinned_snapshots`](super::Raft::pinned_snapshots)). `NotCompacted` says that it did not.
    Compact {
        /// What the snapshot includes.
        meta: SnapshotMeta,
    },
    /// The answer to `Effect::LoadChunk`.
    ChunkLoaded {
        /// For whom.
        to: NodeId,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Offset asked for.
        offset: u64,
        /// What became of it.
        loaded: Loaded,
    },
    /// The answer to `Effect::SaveChunk`.
    ChunkSaved {
        /// From whom.
        from: NodeId,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// What became of it.
        saved: Saved,
    },
    /// The leader's node seems to be down, or someone is in doubt: a sleeping follower starts its election timer again, a
    /// sleeping leader makes itself heard. Whoever is awake takes no notice. See `Config::quiesce`.
    Wake,
}

/// What became of a piece of a snapshot that was to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// The bytes, and whether the file ends with them.
    Piece(Bytes, bool),
    /// The disk has no time now: the same piece is asked for again at the next heartbeat.
    Busy,
    /// The file is gone or cannot be read: the transfer starts again with the newest snapshot.
    Gone,
}

/// What became of a piece of a snapshot that was to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    /// It is written, or another one is missing before it: the next byte wanted.
    Next(u64),
    /// The file is complete, checked and durable. If it is still needed, `Effect::Restore` follows in this very step; if
    /// not, the log has got there meanwhile and the file may go.
    Complete,
    /// The node has no room for it now: the transfer goes on with this same piece later.
    Busy,
    /// The complete file is not a snapshot: the transfer starts again at its first byte.
    Refused,
}

/// What the core asks of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The proposal stands at this index in this term. It is applied if and only if `Commit` brings this index with
    /// this term.
    Accepted {
        /// The proposal.
        id: RequestId,
        /// Where it stands.
        index: Index,
        /// The term it was appended in.
        term: Term,
    },
    /// The request was refused and has had no effect.
    Refused {
        /// The request.
        id: RequestId,
        /// Why.
        why: Refusal,
    },
    /// A transfer to another leader is under way.
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
    /// These entries are committed: apply them in order, the first at index `first`. Each index is brought once.
    Commit {
        /// Index of the first.
        first: Index,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// A leader's log has another entry where one is committed here: one of the two nodes does not have its own data. The
    /// node must stop, for good.
    Contradicted {
        /// The leader.
        from: NodeId,
        /// Where.
        index: Index,
        /// The term of the entry committed here.
        committed: Term,
        /// The term of the entry there.
        sent: Term,
    },
    /// Read a piece of the snapshot file (at most `Config::snapshot_chunk` bytes).
    LoadChunk {
        /// For whom.
        to: NodeId,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Where to read.
        offset: u64,
    },
    /// Write a piece of an arriving snapshot to a temporary file; at offset 0 start it afresh. When `last`: check the
    /// file, make it durable under its name and answer `complete`.
    SaveChunk {
        /// From whom.
        from: NodeId,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Where to write.
        offset: u64,
        /// What to write.
        data: Bytes,
        /// Whether the file ends here.
        last: bool,
    },
    /// `Request::Compact` changed nothing: the point is not committed here, is of another term, or lies behind a newer
    /// snapshot. The file may go.
    NotCompacted {
        /// What the snapshot includes.
        meta: SnapshotMeta,
    },
    /// The log now starts from this snapshot: replace the state machine by the file's contents. Later `Commit`s follow
    /// its index. The older snapshot file must stay until the `Record::Snapshot` of this step is durable.
    Restore {
        /// Which snapshot.
        meta: SnapshotMeta,
    },
    /// This node's role, term or known leader changed.
    Became(SoftState),
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// This node does not lead; try this one if known.
    NotLeader(Option<NodeId>),
    /// The limit on uncommitted entries or open reads is reached, or a leadership transfer is under way: try later.
    Busy,
    /// The target of a transfer is not a member.
    NoSuchNode,
}

/// What role a node plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Takes entries from a leader.
    Follower,
    /// Asks whether it could win before disturbing anyone (thesis §9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// What is not persisted but worth telling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoftState {
    /// Role.
    pub role: Role,
    /// Term.
    pub term: Term,
    /// Leader of the term, where known.
    pub leader: Option<NodeId>,
}

/// A look at the core from outside, for status replies, metrics and cross-node checks.
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
    /// Bytes of entries held in the log: commands and [`ENTRY_OVERHEAD`] each.
    pub log_bytes: usize,
}

/// How a group is run. Every member must have the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// All members, this node included; order does not matter.
    pub voters: Vec<NodeId>,
    /// Least election timeout; the real one is drawn from one to two times this, afresh for each wait (§5.2).
    pub election_timeout: Duration,
    /// Pause between heartbeats; at most a third of `election_timeout`.
    pub heartbeat: Duration,
    /// Most `Append`s with entries on their way to one follower at a time (pipelining, thesis §10.2.1).
    pub max_in_flight: usize,
    /// Most bytes of entries in one `Append`, unless one entry alone is larger. An entry counts as its command and
    /// [`ENTRY_OVERHEAD`].
    pub max_append_bytes: usize,
    /// Most bytes of entries not yet committed, counted likewise; beyond it proposals are refused as `Busy`.
    pub max_uncommitted_bytes: usize,
    /// Most reads waiting for a round; beyond it reads are refused as `Busy`.
    pub max_pending_reads: usize,
    /// Entries kept behind a snapshot for followers that lag a little.
    pub keep_entries: u64,
    /// Most bytes of log kept beyond `keep_entries` for followers that are sent a snapshot or catch up.
    pub max_pinned_bytes: usize,
    /// Bytes in one snapshot piece.
    pub snapshot_chunk: usize,
    /// A peer's term that is further ahead of one's own is not believed: terms grow by one with each election. Without a bound one
    /// wrong message could use up all terms there are, and with them the group.
    pub max_term_jump: u64,
    /// Lease reads (thesis §6.4.1), off when `None`: the greatest rate by which two nodes' monotonic clocks may differ,
    /// in parts per million. Reads are then answered without a round while a majority was heard within
    /// `election_timeout · (1 - ppm·10⁻⁶)`. **Wrong answers are possible if the bound is broken.**
    pub lease_ppm: Option<u32>,
    /// Whether an idle group falls asleep: no heartbeats, no timers, until there is a request or a message. The driver must
    /// then say [`Request::Wake`] to the groups whose leader's node seems to be down, and again when a message from that
    /// node still arrives.
    pub quiesce: bool,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

impl Config {
    /// The defaults for a group of `voters`: heartbeat 100 ms, election timeout 500 ms to 1 s.
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

    /// Whether a group can be run so.
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
    /// What it is.
    pub value: String,
    /// What it may be.
    pub bound: String,
}
