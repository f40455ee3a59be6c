//! Packets over TCP: the [`Transport`](crate::env::Transport) of deployed servers and of clients.
//!
//! A connection begins with a [`Hello`] in each direction and then carries frames ([`crate::wire::frame`]). Between two
//! servers each direction has two connections, one per lane ([`Lane`](crate::types::Lane)). The sender dials them, and
//! dials again after a failure, with a growing and jittered pause, for as long as it runs. Servers first prove to each
//! other that they know the cluster's [`Secret`] (`auth`), and seal what they send (`sealed`). A client's connection
//! carries its requests in one direction and the responses in the other.
//!
//! Invariants:
//! - **Best effort, never altered.** A frame that fails its checks closes the connection, and is counted and logged
//!   with the sender's address. Nothing in it is acted on.
//! - **A sender that has proved nothing can only make requests.** Frames count as a server's only after its proof. All
//!   others count as a client's, and the driver accepts only requests from clients.
//! - **Every queue is bounded in bytes** ([`Memory`](super::Memory)). So are the number of connections (`door`) and the
//!   frames that arrive slowly (`arrivals`). A full inbox stops reading. A full queue to a peer drops the newest frame.
//!   A client that does not read its responses is disconnected. Servers always get in: connections that have said
//!   nothing give way to them, and their own connections are not counted.
//! - **Order within a connection** is kept. Across a reconnection frames may be lost, but this transport never repeats
//!   one.
//!
//! Caveats: clients prove nothing, so anyone who reaches the port can read and write. Nothing is encrypted.

mod arrivals;
mod auth;
mod client;
mod config;
mod connection;
mod door;
mod handshake;
mod sealed;
mod secret;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Servers, TcpClientTransport, identify};
pub use config::{Limits, TcpConfig};
pub use door::IDLE_GIVES_WAY;
pub use handshake::{ClusterName, HELLO_BYTES, Hello, HelloError, Nonce, Turned, VERSION};
pub use secret::{LEAST_SECRET_BYTES, Secret};
pub use server::{CLIENT_IDLE, FIRST_REQUEST, TcpTransport};
