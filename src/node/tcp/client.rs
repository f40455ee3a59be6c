//! A client's transport: one connection per server, dialled at the first request to it.

use super::connection::{Closed, Delivery, Inbox, Pool, SendQueue, read_frames};
use super::handshake::{ClusterName, Hello, HelloError, in_time};
use crate::env::Transport;
use crate::types::{Addr, NodeId};
use crate::wire::{Packet, frame};
use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error};

/// Maximum bytes of responses that wait to be processed.
const INBOX_BYTES: usize = 32 << 20;
/// Maximum bytes of requests that wait to be written to one server.
const QUEUE_BYTES: usize = 16 << 20;

/// The servers of a cluster, for a client.
#[derive(Clone, Debug)]
pub struct Servers {
    /// The cluster's name, if known. Servers of another cluster are then refused.
    pub cluster: Option<ClusterName>,
    /// The address of each server, `host:port`.
    pub nodes: BTreeMap<NodeId, String>,
}

/// The transport between one client and the servers of a cluster, over TCP. A packet for a server that cannot be
/// reached is lost, as the trait allows; the next packet dials again. Dropping the transport ends all its tasks.
pub struct TcpClientTransport {
    servers: Servers,
    links: BTreeMap<NodeId, Weak<SendQueue>>,
    inbox: Inbox,
    arrived: mpsc::UnboundedReceiver<Delivery>,
    bad_frames: Arc<AtomicU64>,
    running: watch::Sender<()>,
}

impl TcpClientTransport {
    /// Creates a transport that has no connections yet.
    #[must_use]
    pub fn new(servers: Servers) -> TcpClientTransport {
        let (sender, arrived) = mpsc::unbounded_channel();
        let inbox = Inbox::new(sender, INBOX_BYTES);
        let (running, _) = watch::channel(());
        TcpClientTransport { servers, links: BTreeMap::new(), inbox, arrived, bad_frames: Arc::default(), running }
    }

    /// Returns the open connection to `node`, or a new one. `None` if its address is unknown.
    fn link(&mut self, node: NodeId) -> Option<Arc<SendQueue>> {
        // Only the connection's task keeps a strong reference: when the task ends, the queue is dropped.
        if let Some(open) = self.links.get(&node).and_then(Weak::upgrade) {
            return Some(open);
        }
        let address = self.servers.nodes.get(&node)?.clone();
        let outbound = Arc::new(SendQueue::new(QUEUE_BYTES, Pool::new(QUEUE_BYTES)));
        self.links.insert(node, Arc::downgrade(&outbound));
        let (queue, cluster) = (outbound.clone(), self.servers.cluster.clone());
        let (inbox, bad_frames) = (self.inbox.clone(), self.bad_frames.clone());
        let mut stop = self.running.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                ended = converse(node, &address, cluster, &queue, &inbox, &bad_frames) => match ended {
                    Ok(closed) => debug!("connection to {node} at {address} ended: {closed}"),
                    Err(error) => debug!("cannot reach {node} at {address}: {error}"),
                },
            }
        });
        Some(outbound)
    }
}

impl Transport for TcpClientTransport {
    fn send(&mut self, to: Addr, packet: &Packet) {
        if let Addr::Node(node) = to
            && let Some(link) = self.link(node)
        {
            match frame::encode(packet) {
                Ok(frame) => drop(link.push(&frame).is_ok()),
                Err(error) => error!("cannot send to {node}: {error}"),
            }
        }
    }

    async fn recv(&mut self) -> (Addr, Packet) {
        match self.arrived.recv().await {
            Some(delivery) => delivery.open(),
            None => pending().await, // `inbox` holds a sender as long as `self` exists.
        }
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        self.arrived.try_recv().ok().map(Delivery::open)
    }

    fn bad_frames(&self) -> u64 {
        self.bad_frames.load(Relaxed)
    }
}

/// Exchanges frames with one server until the connection ends.
async fn converse(
    node: NodeId,
    address: &str,
    cluster: Option<ClusterName>,
    outbound: &SendQueue,
    inbox: &Inbox,
    bad_frames: &AtomicU64,
) -> Result<Closed, HelloError> {
    let (stream, (theirs, _)) = in_time(greet(address, cluster)).await?;
    if theirs != node {
        return Err(HelloError::Unwanted(format!("not {node} answers there, but {theirs}")));
    }
    let (reader, writer) = tokio::io::split(stream);
    let heard = AtomicU64::new(0);
    let closed = tokio::select! {
        biased;
        closed = read_frames(reader, Addr::Node(node), inbox, &heard) => closed,
        closed = outbound.write_to(writer) => closed,
    };
    if closed.is_bad_frame() {
        bad_frames.fetch_add(1, Relaxed);
    }
    Ok(closed)
}

/// Connects as a client and exchanges hellos. Returns the server's id and its cluster's tag.
async fn greet(address: &str, cluster: Option<ClusterName>) -> Result<(TcpStream, (NodeId, u64)), HelloError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Hello::Client { cluster }.write(&mut stream).await?;
    match Hello::read(&mut stream).await? {
        Hello::Welcome { node, tag } => Ok((stream, (node, tag))),
        Hello::Refused(why) => Err(HelloError::Turned(why)),
        other => Err(HelloError::Unwanted(format!("no server for clients answers there: {other:?}"))),
    }
}

/// Asks the server at `address` which server it is. Returns its id and a tag that is equal on all servers of a cluster.
///
/// # Errors
/// No server answers there, or it is not a Seaworthy server, or it belongs to another cluster than `cluster`.
pub async fn identify(address: &str, cluster: Option<ClusterName>) -> Result<(NodeId, u64), HelloError> {
    in_time(greet(address, cluster)).await.map(|(_, found)| found)
}
