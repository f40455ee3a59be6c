//! A server's transport: a listener, one link out to every peer, and the connections that were accepted.

use super::hello::{ClusterName, HANDSHAKE, Hello, HelloError};
use super::link::{Closed, Delivery, Inbox, Outbound, read_frames, write};
use crate::node::Transport;
use crate::types::{Addr, Bytes, NodeId, Rng};
use crate::wire::{Packet, frame};
use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

/// Most bytes of frames waiting for the driver: from peers, and as much again from clients.
pub const INBOX_BYTES: usize = 32 << 20;
/// Most bytes of frames waiting to be written to one peer; a frame that finds no room is dropped and counted.
pub const PEER_QUEUE_BYTES: usize = 64 << 20;
/// Most bytes of answers waiting to be written to one client; beyond it the connection is closed.
pub const CLIENT_QUEUE_BYTES: usize = 16 << 20;
/// Most accepted connections that have not introduced themselves.
pub const MAX_STRANGERS: usize = 256;
/// A client connection on which nothing was asked for this long, or up to twice as long, is closed.
pub const CLIENT_IDLE: Duration = Duration::from_secs(300);
/// The accepting side of a link between servers says one byte this often…
const PULSE: Duration = Duration::from_secs(1);
/// …and the dialling side gives the link up when it has heard nothing for this long. Without it a link over which the
/// network fell silent would stay silent long after the network healed, for as long as TCP waits to send again.
const SILENCE: Duration = Duration::from_secs(4);
/// Pause before dialling again: doubled with each failure, drawn between half and whole.
const BACKOFF_LEAST: Duration = Duration::from_millis(50);
const BACKOFF_MOST: Duration = Duration::from_secs(2);

/// Where a server is and with whom it speaks.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// This server.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Where it listens, `host:port`.
    pub listen: String,
    /// Every server of the cluster and where the others reach it; this one's own entry is not used.
    pub nodes: BTreeMap<NodeId, String>,
    /// Most client connections at a time.
    pub max_clients: usize,
    /// The cluster's layout as this server has it ([`Layout::digest`](crate::placement::Layout::digest)).
    pub layout: u64,
    /// Where that is said, for messages: the configuration file.
    pub source: String,
}

/// Frames between the servers of a cluster and to their clients, over TCP.
///
/// Each direction between two servers has a connection of its own, dialled by the sender; answers to a client go back on
/// the connection it asked on. Dropping the transport ends all its tasks.
pub struct TcpTransport {
    shared: Arc<Shared>,
    peers: BTreeMap<NodeId, Arc<Outbound>>,
    arrived: mpsc::UnboundedReceiver<Delivery>,
    address: SocketAddr,
    _running: watch::Sender<()>,
}

/// What the tasks of one server have in common.
struct Shared {
    config: TcpConfig,
    from_peers: Inbox,
    from_clients: Inbox,
    clients: Mutex<BTreeMap<u64, Arc<Outbound>>>,
    /// For each peer the connection it last opened to us; dropping the sender closes it.
    links_in: Mutex<BTreeMap<NodeId, oneshot::Sender<()>>>,
    next_client: AtomicU64,
    bad_frames: AtomicU64,
    dropped: AtomicU64,
}

impl TcpTransport {
    /// Listens, and begins to dial the peers.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(config: TcpConfig, mut rng: Rng) -> io::Result<TcpTransport> {
        let listener = TcpListener::bind(config.listen.as_str()).await?;
        let address = listener.local_addr()?;
        let (sender, arrived) = mpsc::unbounded_channel();
        let (running, stop) = watch::channel(());
        let shared = Arc::new(Shared {
            from_peers: Inbox::new(sender.clone(), INBOX_BYTES),
            from_clients: Inbox::new(sender, INBOX_BYTES),
            clients: Mutex::default(),
            links_in: Mutex::default(),
            next_client: AtomicU64::new(1),
            bad_frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            config,
        });
        let mut peers = BTreeMap::new();
        for (peer, address) in shared.config.nodes.iter().filter(|(id, _)| **id != shared.config.id) {
            let outbound = Arc::new(Outbound::new(PEER_QUEUE_BYTES));
            peers.insert(*peer, outbound.clone());
            let rng = Rng::new(rng.next(), "dial");
            let link = Dialler { shared: shared.clone(), peer: *peer, address: address.clone(), outbound, rng };
            spawn_until(stop.clone(), link.run());
        }
        spawn_until(stop.clone(), accept(listener, shared.clone(), stop));
        Ok(TcpTransport { shared, peers, arrived, address, _running: running })
    }

    /// Where this server listens: of use when the port was left to the system to choose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Frames that were not sent because a queue was full or a link lost, since start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Clients connected now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients().len()
    }

    /// Queues a frame; false when it is dropped.
    fn push(&self, to: Addr, frame: &Bytes) -> bool {
        match to {
            Addr::Node(peer) => self.peers.get(&peer).is_some_and(|outbound| outbound.push(frame)),
            Addr::Client(client) => self.shared.clients().get(&client).is_some_and(|outbound| {
                let room = outbound.push(frame);
                if !room {
                    outbound.cut();
                }
                room
            }),
        }
    }
}

impl Transport for TcpTransport {
    fn send(&mut self, to: Addr, packet: &Packet) {
        let sent = match frame::encode(packet) {
            Ok(frame) => self.push(to, &frame),
            Err(error) => {
                error!("cannot send to {to}: {error}");
                false
            }
        };
        if !sent {
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    async fn recv(&mut self) -> (Addr, Packet) {
        match self.arrived.recv().await {
            Some((from, packet, _)) => (from, packet),
            None => pending().await, // `Shared` holds a sender for as long as we live.
        }
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        self.arrived.try_recv().ok().map(|(from, packet, _)| (from, packet))
    }

    fn bad_frames(&self) -> u64 {
        self.shared.bad_frames.load(Relaxed)
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Outbound>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links_in(&self) -> MutexGuard<'_, BTreeMap<NodeId, oneshot::Sender<()>>> {
        self.links_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hello(&self) -> Hello {
        Hello::server(self.config.id, self.config.cluster.clone(), self.config.layout)
    }

    fn report(&self, who: &str, address: SocketAddr, closed: &Closed) {
        if closed.is_bad_frame() {
            self.bad_frames.fetch_add(1, Relaxed);
            warn!(%address, "connection from {who} closed: {closed}");
        } else {
            debug!(%address, "connection from {who} ended: {closed}");
        }
    }

    /// Who keeps what is computed, not agreed upon: servers that compute different things must not work together.
    fn other_layout(&self, node: NodeId, theirs: u64) -> HelloError {
        let TcpConfig { layout, source, .. } = &self.config;
        HelloError::Unwanted(format!(
            "{node} has another layout of the cluster ({theirs:016x}, here {layout:016x}): compare [nodes], [places], \
             [[bucket]], groups and voters in its configuration file with {source}"
        ))
    }

    /// Whether this server speaks with whoever says `hello`.
    fn admit(&self, hello: &Hello) -> Result<(), HelloError> {
        let unwanted = |why: String| Err(HelloError::Unwanted(why));
        match (&hello.cluster, hello.node) {
            (Some(theirs), _) if *theirs != self.config.cluster => {
                unwanted(format!("belongs to cluster {theirs}, this is cluster {}", self.config.cluster))
            }
            (_, Some(node)) if node == self.config.id => unwanted(format!("claims to be {node}, which is this server")),
            (_, Some(node)) if !self.config.nodes.contains_key(&node) => {
                unwanted(format!("claims to be {node}, which is not in this cluster's configuration"))
            }
            (_, Some(node)) if hello.layout != self.config.layout => Err(self.other_layout(node, hello.layout)),
            (_, None) if self.clients().len() >= self.config.max_clients => {
                unwanted(format!("{} clients are connected already", self.config.max_clients))
            }
            _ => Ok(()),
        }
    }
}

/// Runs `task` until it ends or the transport is dropped.
fn spawn_until(mut stop: watch::Receiver<()>, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = task => {}
        }
    });
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<()>) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                warn!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(stranger) = strangers.clone().try_acquire_owned() else {
            warn!(%address, "connection refused: {MAX_STRANGERS} others have not introduced themselves yet");
            continue;
        };
        let shared = shared.clone();
        spawn_until(stop.clone(), async move {
            match introduce(stream, &shared).await {
                Ok((stream, hello)) => {
                    drop(stranger);
                    match hello.node {
                        Some(peer) => serve_peer(stream, peer, address, &shared).await,
                        None => serve_client(stream, address, &shared).await,
                    }
                }
                Err(error) => {
                    if matches!(error, HelloError::Malformed(_)) {
                        shared.bad_frames.fetch_add(1, Relaxed);
                    }
                    warn!(%address, "connection refused: {error}");
                }
            }
        });
    }
}

async fn introduce(mut stream: TcpStream, shared: &Shared) -> Result<(TcpStream, Hello), HelloError> {
    stream.set_nodelay(true)?;
    let hello = Hello::read(&mut stream).await?;
    // Even one who is turned away is told with whom it spoke, so that its own log can say what is wrong.
    shared.hello().write(&mut stream).await?;
    shared.admit(&hello)?;
    Ok((stream, hello))
}

/// Takes in what a peer sends over the link it dialled. Its newest link replaces an older one.
async fn serve_peer(stream: TcpStream, peer: NodeId, address: SocketAddr, shared: &Shared) {
    let (mine, replaced) = oneshot::channel();
    shared.links_in().insert(peer, mine);
    let (reader, mut writer) = tokio::io::split(stream);
    let heard = AtomicU64::new(0);
    let pulse = async {
        loop {
            tokio::time::sleep(PULSE).await;
            if let Err(closed) = write(&mut writer, &[0]).await {
                return closed;
            }
        }
    };
    let closed = tokio::select! {
        biased;
        closed = read_frames(reader, Addr::Node(peer), &shared.from_peers, &heard) => closed,
        closed = pulse => closed,
        _ = replaced => Closed::Given("replaced by a newer link"),
    };
    shared.report(&peer.to_string(), address, &closed);
}

async fn serve_client(stream: TcpStream, address: SocketAddr, shared: &Shared) {
    let client = shared.next_client.fetch_add(1, Relaxed);
    let outbound = Arc::new(Outbound::new(CLIENT_QUEUE_BYTES));
    let _registered = Registered::new(shared, client, outbound.clone());
    let (reader, writer) = tokio::io::split(stream);
    let heard = AtomicU64::new(0);
    let idle = async {
        let mut before = u64::MAX;
        while before != heard.load(Relaxed) {
            before = heard.load(Relaxed);
            tokio::time::sleep(CLIENT_IDLE).await;
        }
    };
    // Reading and writing take turns in one task; either's end is the connection's.
    let closed = tokio::select! {
        biased;
        closed = read_frames(reader, Addr::Client(client), &shared.from_clients, &heard) => closed,
        closed = outbound.write_to(writer) => closed,
        closed = outbound.overflowed() => closed,
        () = idle => Closed::Given("idle"),
    };
    shared.report("a client", address, &closed);
}

/// A client's place among the connected, given up when its task ends in whatever way.
struct Registered<'a>(&'a Shared, u64);

impl<'a> Registered<'a> {
    fn new(shared: &'a Shared, client: u64, outbound: Arc<Outbound>) -> Self {
        shared.clients().insert(client, outbound);
        Registered(shared, client)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.clients().remove(&self.1);
    }
}

/// The link out to one peer.
struct Dialler {
    shared: Arc<Shared>,
    peer: NodeId,
    address: String,
    outbound: Arc<Outbound>,
    rng: Rng,
}

impl Dialler {
    async fn run(mut self) {
        let mut backoff = BACKOFF_LEAST;
        // A peer that stays away is worth one line for each reason, not one a second.
        let mut told = String::new();
        let (peer, address) = (self.peer, self.address.clone());
        loop {
            match self.dial().await {
                Ok(stream) => {
                    info!("link to {peer} at {address} is up");
                    let since = Instant::now();
                    let closed = self.speak(stream).await;
                    warn!("link to {peer} at {address} is down: {closed}");
                    told.clear();
                    if since.elapsed() > BACKOFF_MOST {
                        backoff = BACKOFF_LEAST;
                    }
                }
                Err(error) if told == error.to_string() => debug!("cannot reach {peer} at {address}: {error}"),
                Err(error) => {
                    warn!("cannot reach {peer} at {address}, trying on: {error}");
                    told = error.to_string();
                }
            }
            // What gathered meanwhile is old news; Raft says it again.
            self.shared.dropped.fetch_add(self.outbound.clear(), Relaxed);
            let half = backoff / 2;
            let pause = half + Duration::from_nanos(self.rng.below(half.as_nanos() as u64 + 1));
            tokio::time::sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MOST);
        }
    }

    async fn dial(&self) -> Result<TcpStream, HelloError> {
        let connecting = TcpStream::connect(self.address.as_str());
        let mut stream = tokio::time::timeout(HANDSHAKE, connecting).await.map_err(|_| HelloError::Silent)??;
        stream.set_nodelay(true)?;
        self.shared.hello().write(&mut stream).await?;
        let theirs = Hello::read(&mut stream).await?;
        let wanted = Hello::server(self.peer, self.shared.config.cluster.clone(), theirs.layout);
        if theirs == wanted && theirs.layout != self.shared.config.layout {
            return Err(self.shared.other_layout(self.peer, theirs.layout));
        }
        if theirs != wanted {
            let (who, what) = (theirs.node.map(|n| n.to_string()), theirs.cluster.map(|c| c.to_string()));
            let (who, what) = (who.unwrap_or("a client".to_owned()), what.unwrap_or("none".to_owned()));
            return Err(HelloError::Unwanted(format!("{who} of cluster {what} answers there")));
        }
        Ok(stream)
    }

    async fn speak(&self, stream: TcpStream) -> Closed {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            biased;
            closed = hear_pulse(reader) => closed,
            closed = self.outbound.write_to(writer) => closed,
        }
    }
}

async fn hear_pulse(mut reader: impl AsyncRead + Unpin) -> Closed {
    let mut bytes = [0; 64];
    loop {
        match tokio::time::timeout(SILENCE, reader.read(&mut bytes)).await {
            Err(_) => return Closed::Given("silent for 4 s"),
            Ok(Ok(0)) => return Closed::Eof,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.into(),
        }
    }
}
