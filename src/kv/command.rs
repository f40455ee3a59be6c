//! What clients ask of the revisioned store and what it answers.

use crate::types::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, Value, Wall};
use serde::{Deserialize, Serialize};

/// A client's session, named by the log index that opened it (Raft thesis §6.3).
pub type SessionId = u64;

/// A group's own time: nanoseconds that its leaders have counted, one after another, each on its monotonic clock. It stands
/// still while no member of the group runs. Deadlines are points in it, so no date can bring them closer or put them off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct GroupTime(pub u64);

/// One entry of the replicated log, as the state machine sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The proposing leader's wall clock. The state machine makes a commit stamp of it that grows with every command and
    /// runs at most at twice the speed of `time`.
    pub stamp: Wall,
    /// The group's time as the leader has counted it. The state machine never lets it go back, and forward by at most
    /// [`MAX_STEP`](super::MAX_STEP) at a time.
    pub time: GroupTime,
    /// The session that asks, and the number of the write in it; `None` for what the node itself proposes.
    pub session: Option<(SessionId, u64)>,
    /// What to do.
    pub op: Op,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Open a session; the answer is its id.
    OpenSession,
    /// A client's write.
    Write(Write),
    /// Remove what has expired at this command's time, and tell all replicas that time. Proposed by the leader when a deadline has passed: expiry is an
    /// event in the log, so that every replica and every reader agrees on its place among the writes.
    Expire,
}

/// The writes that a client may ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// Write a value if the conditions hold. Without `ttl_ms` an earlier expiry is cleared.
    Put {
        /// Where.
        key: Key,
        /// What.
        #[serde(deserialize_with = "crate::codec::bytes")]
        value: Value,
        /// When to refuse.
        when: Condition,
        /// Milliseconds until the key expires.
        ttl_ms: Option<u64>,
    },
    /// Remove a key if the conditions hold.
    Delete {
        /// Which.
        key: Key,
        /// When to refuse.
        when: Condition,
    },
    /// Set a new expiry; value and revision stay.
    Extend {
        /// Which.
        key: Key,
        /// Milliseconds from now.
        ttl_ms: u64,
    },
}

/// Conditions on the present state of the key; all that are set must hold (design §5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Condition {
    /// `Some(false)` is `nx`, `Some(true)` is `xx`.
    pub exists: Option<bool>,
    /// `cmp`: the present value must be this one. A missing key equals no value, not even the empty one.
    pub value: Option<Value>,
    /// `cmprev`: the present revision must be this one; a missing or deleted key matches only -1.
    pub revision: Option<i64>,
}

impl Condition {
    /// No condition.
    pub const ALWAYS: Condition = Condition { exists: None, value: None, revision: None };
}

/// A value as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Versioned {
    /// The bytes.
    #[serde(deserialize_with = "crate::codec::bytes")]
    pub value: Value,
    /// How often the key was modified before this. More than that if the key is one of many that were deleted before: see
    /// [`MAX_TOMBSTONES`](super::MAX_TOMBSTONES).
    pub revision: Revision,
    /// The stamp of the change: grows with every change of the group, near to real time (nanoseconds since 1970).
    pub commit: Wall,
    /// About when it expires: the group's stamp at the time of the answer, and the time that is left.
    pub expires: Option<Wall>,
}

/// The state machine's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A session was opened.
    Session(SessionId),
    /// The key was written, extended or deleted; its revision now.
    Done {
        /// Revision of the key after the change.
        revision: Revision,
        /// Stamp of the change.
        commit: Wall,
    },
    /// A condition did not hold, or there was nothing to delete or extend. Nothing changed; what the key holds instead.
    Refused(Option<Versioned>),
    /// What a read found.
    Value(Option<Versioned>),
    /// The session is not known: it was never opened, or forgotten because too many newer ones are open. The command
    /// was not applied now; whether an earlier try was is unknown.
    SessionExpired,
    /// A newer command of the same session was already applied: this one is a stray duplicate and was not applied now.
    Stale,
    /// The node's own command is done.
    Nothing,
}

impl Write {
    /// The key that is written.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } | Write::Extend { key, .. } => key,
        }
    }

    /// Whether the sizes are within bounds; the message says which is not.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn check_limits(&self) -> Result<(), String> {
        let (key, value) = (self.key(), if let Write::Put { value, .. } = self { value.len() } else { 0 });
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {}", key.len()));
        }
        if value > MAX_VALUE_BYTES {
            return Err(format!("a value has at most {MAX_VALUE_BYTES} bytes, this one has {value}"));
        }
        Ok(())
    }
}
