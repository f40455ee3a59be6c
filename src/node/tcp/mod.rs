//! Packets over TCP: what a deployed server and its clients have behind [`Transport`](super::Transport).
//!
//! A connection begins with a [`Hello`] each way and then carries frames ([`crate::wire::frame`]). Between two servers
//! each direction has two connections, one a lane ([`Lane`](crate::types::Lane)), dialled by the one who sends; it dials again, with a growing and jittered
//! pause, for as long as it lives. Servers first prove to each other that they know the cluster's [`Secret`] (`auth`), and what
//! they send is sealed (`sealed`). A client's connection carries its questions one way and the answers back.
//!
//! Invariants:
//! - **Best effort, never altered.** A frame that fails its checks closes the connection, is counted and logged with
//!   the sender's address; nothing in it is acted on.
//! - **Who has proved nothing can ask, and nothing else.** Frames count as a server's only after its proof; others are taken for a
//!   client's, from which the driver takes requests only.
//! - **Every queue is bounded in bytes** ([`Memory`](super::Memory)) and so is the number of connections (`door`), and so are
//!   frames that arrive slowly (`arrivals`). A full inbox stops reading; a full queue to a peer drops the newest frame; a client that does not read its answers is disconnected.
//!   Servers always get in: who says nothing gives way to them, and their links are not counted.
//! - **Order within a connection** is kept; across a reconnection frames are lost, and never repeated by us.
//!
//! Caveats: clients prove nothing; whoever reaches the port can read and write. Nothing is encrypted.

mod arrivals;
mod auth;
mod client;
mod connection;
mod door;
mod handshake;
mod sealed;
mod server;
#[cfg(test)]
mod tests;

pub use auth::{LEAST_SECRET_BYTES, Nonce, Secret};
pub use client::{Servers, TcpClientTransport, identify};
pub use door::IDLE_GIVES_WAY;
pub use handshake::{ClusterName, HELLO_BYTES, Hello, HelloError, Turned, VERSION};
pub use server::{CLIENT_IDLE, FIRST_REQUEST, Limits, TcpConfig, TcpTransport};
