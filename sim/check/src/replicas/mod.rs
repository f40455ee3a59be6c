//! Checks of stores without a leader, from what clients did and saw and from what replicas hold at the end, and from nothing
//! else.
//!
//! Such a store promises no order. What it promises instead: an acknowledged write is there in the end, unless somebody who had
//! seen it wrote over it; what was overwritten or deleted stays so; all replicas come to hold the same. Each write has a value of
//! its own, and tells which values its writer had seen: the causal history is read off that, not off the store's own versions.

/// What clients did and what replicas held at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// The operations, in the order of their calls.
    pub operations: Vec<Operation>,
    /// What each replica that should hold a key held at the end, one for each replica and key.
    pub dumps: Vec<Dump>,
}

/// One operation of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Who.
    pub client: u32,
    /// On which key.
    pub key: String,
    /// When it was called, in nanoseconds.
    pub called: u64,
    /// When it was answered; `None`: never.
    pub returned: Option<u64>,
    /// What was asked for.
    pub call: Call,
    /// How it ended.
    pub end: End,
    /// The consistency level it was done at, such as `quorum` or `quorum, sloppy`: figures are told apart by it.
    pub level: String,
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// A read.
    Get,
    /// A write.
    Put {
        /// Of this value, which no other write of the history writes.
        value: String,
        /// The values its writer had seen and meant to overwrite.
        saw: Vec<String>,
    },
    /// A delete.
    Delete {
        /// The values that whoever deletes had seen.
        saw: Vec<String>,
    },
    /// An addition to a counter.
    Add(i64),
}

/// How an operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// A read found these values, none if the key is not there; or a write was acknowledged, and left these values behind if it
    /// was asked to tell.
    Ok(Option<Vec<String>>),
    /// It certainly did not happen.
    Fail,
    /// It may have happened, or may yet.
    Info,
}

/// What one replica held of one key at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dump {
    /// The replica.
    pub replica: String,
    /// The key.
    pub key: String,
    /// The values, none if it does not hold the key.
    pub values: Vec<String>,
    /// A text that is equal for replicas that hold the same versions.
    pub state: String,
}
