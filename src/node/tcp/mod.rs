//! Packets over TCP: what a deployed server and its clients have behind [`Transport`](super::Transport).
//!
//! A connection begins with a [`Hello`] each way and then carries frames ([`crate::wire::frame`]). Between two servers
//! each direction has a connection of its own, dialled by the one who sends; it dials again, with a growing and jittered
//! pause, for as long as it lives. A client's connection carries its questions one way and the answers back.
//!
//! Invariants:
//! - **Best effort, never altered.** A frame that fails its checks closes the connection, is counted and logged with
//!   the sender's address; nothing in it is acted on.
//! - **Every queue is bounded in bytes** (the constants below) and so is the number of connections. A full inbox stops
//!   reading; a full queue to a peer drops the newest frame; a client that does not read its answers is disconnected.
//! - **Order within a connection** is kept; across a reconnection frames are lost, and never repeated by us.
//!
//! Caveat: there is no authentication and no encryption. Whoever reaches the port can read, write and, by claiming a
//! server's id, vote. Keep it inside a trusted network.

mod client;
mod hello;
mod link;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Servers, TcpClientTransport, identify};
pub use hello::{ClusterName, HELLO_BYTES, Hello, HelloError, VERSION};
pub use server::{
    CLIENT_IDLE, CLIENT_QUEUE_BYTES, INBOX_BYTES, MAX_STRANGERS, PEER_QUEUE_BYTES, TcpConfig, TcpTransport,
};
