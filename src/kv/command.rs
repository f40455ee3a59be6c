//! Commands of the revisioned store and their replies.

use crate::types::{Key, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, Value, Wall};
use serde::{Deserialize, Serialize};

/// A client's session, identified by the log index that opened it (Raft thesis §6.3).
pub type SessionId = u64;

/// A group's own time, in nanoseconds. Its leaders count it one after another, each on its monotonic clock. It stops
/// while no member of the group runs. Deadlines are points in this time, so no date can bring them closer or delay
/// them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct GroupTime(pub u64);

/// One entry of the replicated log, as the state machine sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// The proposing leader's wall clock. The state machine derives a commit stamp from it, which grows with every
    /// command and runs at most at twice the speed of `time`.
    pub stamp: Wall,
    /// The group's time as the leader counts it. In the state machine it never goes back, and advances by at most
    /// [`MAX_STEP`](super::MAX_STEP) per command.
    pub time: GroupTime,
    /// The client's session and the number of the write in it; `None` for the node's own commands.
    pub session: Option<(SessionId, u64)>,
    /// The operation.
    pub op: Op,
}

/// The operation of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Open a session. The reply is its id.
    OpenSession,
    /// A client's write.
    Write(Write),
    /// Remove what has expired at this command's time, and tell all replicas that time. The leader proposes it when a
    /// deadline has passed. Expiry is an event in the log, so every replica and every reader agrees on its order among
    /// the writes.
    Expire,
}

/// The writes that a client may ask for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Write {
    /// Write a value if the conditions hold. Without `ttl_ms` an earlier expiry is cleared.
    Put {
        /// The key.
        key: Key,
        /// The value.
        #[serde(deserialize_with = "crate::codec::bytes")]
        value: Value,
        /// The conditions to check.
        when: Condition,
        /// Milliseconds until the key expires.
        ttl_ms: Option<u64>,
    },
    /// Remove a key if the conditions hold.
    Delete {
        /// The key.
        key: Key,
        /// The conditions to check.
        when: Condition,
    },
    /// Set a new expiry. The value and the revision do not change.
    Extend {
        /// The key.
        key: Key,
        /// Milliseconds until the key expires.
        ttl_ms: u64,
    },
}

/// Conditions on the current state of the key. All conditions that are set must hold (design §5).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Condition {
    /// `Some(false)` is `nx`, `Some(true)` is `xx`.
    pub exists: Option<bool>,
    /// `cmp`: the current value must be equal to this. A missing key equals no value, not even the empty one.
    pub value: Option<Value>,
    /// `cmprev`: the current revision must be equal to this. A missing or deleted key matches only -1.
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
    /// Number of modifications of the key before this one. It is higher if the key is one of many that were deleted
    /// before: see [`MAX_TOMBSTONES`](super::MAX_TOMBSTONES).
    pub revision: Revision,
    /// Stamp of the change, close to real time (nanoseconds since 1970). It grows with every change in the group.
    pub commit: Wall,
    /// Approximate time of expiry: the group's stamp at the time of the reply plus the time left.
    pub expires: Option<Wall>,
}

/// The state machine's reply.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// A session was opened.
    Session(SessionId),
    /// The key was written, extended or deleted.
    Done {
        /// Revision of the key after the change.
        revision: Revision,
        /// Stamp of the change.
        commit: Wall,
    },
    /// A condition did not hold, or there was nothing to delete or extend. Nothing changed. Contains the key's current
    /// value.
    Refused(Option<Versioned>),
    /// The result of a read.
    Value(Option<Versioned>),
    /// The session is unknown: it was never opened, or was forgotten because too many newer ones are open. The command
    /// was not applied now. Whether an earlier attempt was applied is unknown.
    SessionExpired,
    /// A newer command of the same session was already applied. This one is a late duplicate and was not applied now.
    Stale,
    /// The node's own command was applied.
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

    /// Checks that the key and value sizes are within their limits.
    ///
    /// # Errors
    /// A message for the user that tells which size is out of bounds.
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
