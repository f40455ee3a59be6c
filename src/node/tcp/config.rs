//! The settings of a server's transport.

use super::handshake::ClusterName;
use super::secret::Secret;
use crate::mutant::Mutant;
use crate::node::Memory;
use crate::types::NodeId;
use std::collections::BTreeMap;

/// The address of a server and its cluster.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// This server.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// The address where it listens, `host:port`.
    pub listen: String,
    /// The secret that the cluster's servers share.
    pub secret: Secret,
    /// The addresses of all servers of the cluster. This server's own entry is not used.
    pub nodes: BTreeMap<NodeId, String>,
    /// Limits on the number of connections.
    pub limits: Limits,
    /// The memory budget of this server's queues.
    pub memory: Memory,
    /// The cluster's layout as this server has it ([`Layout::digest`](crate::placement::Layout::digest)).
    pub layout: u64,
    /// Where the layout is configured, for messages: the configuration file.
    pub source: String,
    /// The planted bug, if any.
    pub mutant: Mutant,
}

/// Limits on accepted connections; connections of peers are not counted. The sum must leave enough file descriptors for
/// the log and for the connections between servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Maximum number of client connections.
    pub clients: usize,
    /// Maximum number of client connections from one address.
    pub per_address: usize,
    /// Maximum number of connections that have not introduced themselves. The oldest gives way to a new one.
    pub strangers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { clients: 1024, per_address: 768, strangers: 256 }
    }
}
