//! The types that every part of the store shares: identities, times, keys and values.
//!
//! Times are plain nanosecond counts so that protocols stay pure: [`Time`] is a node's own monotonic clock (meaningless
//! on another node), [`Wall`] is the date according to that node's clock. Nothing here reads a clock; these types only
//! carry times.

mod key;
mod policy;
mod rng;

pub use bytes::Bytes;
pub use key::Key;
pub use policy::{Level, MAX_REPLICAS, MergeKind, Mode, Policy, Resolve};
pub use rng::Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Add, time::Duration};

/// A value: any bytes, at most [`MAX_VALUE_BYTES`].
pub type Value = Bytes;
/// The number of times a key was modified; the first write is revision 0 (design §5).
pub type Revision = u64;

/// Longest key accepted, in bytes.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// Longest value accepted, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// A server of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One replicated log and its state machine. A node hosts several; they share its write-ahead log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct GroupId(pub u32);

/// A core of a node: each has records in the log, tickets, and perhaps snapshots of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CoreId {
    /// That of the AP buckets.
    Ap,
    /// A Raft group.
    Group(GroupId),
    /// The node's standing among its peers.
    Node,
}

impl CoreId {
    /// The number that the files of a core carry. No Raft group has 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            CoreId::Ap => 0,
            CoreId::Group(GroupId(number)) => number,
            CoreId::Node => u32::MAX,
        }
    }

    /// The core whose files carry this number.
    #[must_use]
    pub const fn of_number(number: u32) -> CoreId {
        match number {
            0 => CoreId::Ap,
            u32::MAX => CoreId::Node,
            number => CoreId::Group(GroupId(number)),
        }
    }
}

/// A point on a node's own monotonic clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The time elapsed since `earlier`, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A date according to one node's clock: nanoseconds since the Unix epoch. May jump and differ between nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// A hybrid logical clock: nanoseconds since the Unix epoch by the writer's clock, pushed past every stamp it had seen
/// (Kulkarni and others, 2014). It orders writes of the last-writer-wins policy and of registers, nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Hlc(pub u64);

/// The priority class of a message. It prevents head-of-line blocking: heartbeats, votes and acknowledgements never
/// wait behind bulk data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// Small messages that other nodes wait for.
    Control,
    /// All other messages.
    Bulk,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Lane; 2] = [Lane::Control, Lane::Bulk];
    /// A message with more payload bytes than this goes in the bulk lane.
    pub const BULK_BYTES: usize = 8 << 10;

    /// The lane of a message with this many bytes of payload.
    #[must_use]
    pub fn of(bytes: usize) -> Lane {
        if bytes > Lane::BULK_BYTES { Lane::Bulk } else { Lane::Control }
    }
}

/// The other end of a connection: a server, or a client, identified by its connection's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Addr {
    /// A server of the cluster.
    Node(NodeId),
    /// A client; the number is local to the transport that delivered its first frame.
    Client(u64),
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Node(n) => write!(f, "{n}"),
            Addr::Client(c) => write!(f, "c{c}"),
        }
    }
}
