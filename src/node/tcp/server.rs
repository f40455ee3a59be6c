//! A server's transport: a listener, outgoing connections to every peer, and the accepted connections.

use super::auth;
use super::config::TcpConfig;
use super::connection::{Closed, Delivery, Full, Inbox, Pool, SendQueue, read_frames, write};
use super::door::{Door, LogLimit, Seat};
use super::handshake::{Hello, HelloError, Nonce, Turned, in_time};
use super::sealed::{Opening, Sealing, SessionKey};
use crate::env::Transport;
use crate::types::{Addr, Bytes, Lane, NodeId, Rng};
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
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

/// Time without a request after which a client connection is closed.
pub const CLIENT_IDLE: Duration = Duration::from_secs(300);
/// Time after which a client connection is closed if it never made a request.
pub const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Interval of the check for idle client connections.
const LOOK: Duration = Duration::from_secs(2);
/// How often the accepting side of a connection between servers sends one byte.
const PULSE: Duration = Duration::from_secs(1);
/// Silence after which the dialling side closes the connection. Without this, a connection that went silent with the
/// network would stay silent long after the network recovers, until TCP retransmits.
const SILENCE: Duration = Duration::from_secs(4);
/// Failures to connect cause no warning in this time after the start: servers that start together do not find each
/// other at once.
const YOUTH: Duration = Duration::from_secs(3);
/// Pause before dialling again. It doubles with each failure, and is drawn between half and the whole.
const BACKOFF_LEAST: Duration = Duration::from_millis(50);
const BACKOFF_MOST: Duration = Duration::from_secs(2);

/// The transport between the servers of a cluster and to their clients, over TCP.
///
/// Each direction between two servers has one connection per lane, dialled by the sender. Responses go back on the
/// client's own connection. Packets in the control lane are received first, then the bulk lane, and requests of clients
/// last: work that servers have begun precedes new requests. Dropping the transport ends all its tasks.
pub struct TcpTransport {
    shared: Arc<Shared>,
    peers: BTreeMap<(NodeId, Lane), Arc<SendQueue>>,
    control: mpsc::UnboundedReceiver<Delivery>,
    bulk: mpsc::UnboundedReceiver<Delivery>,
    asked: mpsc::UnboundedReceiver<Delivery>,
    address: SocketAddr,
    _running: watch::Sender<()>,
}

/// What the tasks of one server share.
struct Shared {
    config: TcpConfig,
    from_peers: [Inbox; 2],
    from_clients: Inbox,
    to_clients: Arc<Pool>,
    clients: Mutex<BTreeMap<u64, Arc<SendQueue>>>,
    /// Seats for clients, and for connections that have not introduced themselves yet.
    seats: Arc<Door>,
    hall: Arc<Door>,
    refusals: LogLimit,
    complaints: LogLimit,
    /// Notified when a peer dials this server: then the peer is up, and there is no reason to wait before dialling it.
    up: BTreeMap<(NodeId, Lane), Notify>,
    /// For each peer and lane, the connection that it opened last.
    links_in: Mutex<BTreeMap<(NodeId, Lane), LinkIn>>,
    next_client: AtomicU64,
    bad_frames: AtomicU64,
    dropped: AtomicU64,
}

impl TcpTransport {
    /// Listens, and starts to dial the peers.
    ///
    /// # Errors
    /// The server cannot listen on the address.
    pub async fn bind(config: TcpConfig, mut rng: Rng) -> io::Result<TcpTransport> {
        let listener = TcpListener::bind(config.listen.as_str()).await?;
        let address = listener.local_addr()?;
        let (first, control) = mpsc::unbounded_channel();
        let (second, bulk) = mpsc::unbounded_channel();
        let (third, asked) = mpsc::unbounded_channel();
        let memory = config.memory;
        let links = |id: &NodeId| Lane::ALL.map(|lane| (*id, lane));
        let (running, stop) = watch::channel(());
        let shared = Arc::new(Shared {
            from_peers: [first, second].map(|sender| Inbox::new(sender, memory.from_peers())),
            from_clients: Inbox::of_strangers(third, memory.from_clients(), memory.arriving()),
            to_clients: Pool::new(memory.to_clients() / 2),
            clients: Mutex::default(),
            seats: Door::new(config.limits.clients, config.limits.per_address),
            hall: Door::new(config.limits.strangers, config.limits.strangers),
            refusals: LogLimit::default(),
            complaints: LogLimit::default(),
            up: config.nodes.keys().flat_map(links).map(|link| (link, Notify::new())).collect(),
            links_in: Mutex::default(),
            next_client: AtomicU64::new(1),
            bad_frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            config,
        });
        let mut peers = BTreeMap::new();
        let limits = memory.to_peer(shared.config.nodes.len());
        for (peer, address) in shared.config.nodes.iter().filter(|(id, _)| **id != shared.config.id) {
            for (lane, limit) in Lane::ALL.into_iter().zip(limits) {
                let outbound = Arc::new(SendQueue::new(limit, Pool::new(limit)));
                peers.insert((*peer, lane), outbound.clone());
                let (rng, shared, address) = (Rng::new(rng.next(), "dial"), shared.clone(), address.clone());
                let link = Dialler { shared, peer: *peer, lane, address, outbound, rng };
                spawn_until(stop.clone(), link.run());
            }
        }
        let rng = Rng::new(rng.next(), "accept");
        spawn_until(stop.clone(), accept(listener, shared.clone(), stop, rng));
        Ok(TcpTransport { shared, peers, control, bulk, asked, address, _running: running })
    }

    /// Returns the address where this server listens. Useful if the system chose the port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of frames dropped since the start because a queue was full or a connection was lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients().len()
    }

    /// Waits until all responses to clients are handed to the operating system, at most for `patience`.
    pub async fn answered(&self, patience: Duration) {
        let written = |shared: &Shared| shared.clients().values().all(|outbound| outbound.is_written());
        let begun = Instant::now();
        while !written(&self.shared) && begun.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Queues a frame. Returns false if it is dropped.
    fn push(&self, to: Addr, lane: Lane, frame: &Bytes) -> bool {
        match to {
            Addr::Node(peer) => self.peers.get(&(peer, lane)).is_some_and(|outbound| outbound.push(frame).is_ok()),
            Addr::Client(client) => self.shared.clients().get(&client).is_some_and(|outbound| {
                let pushed = outbound.push(frame);
                if pushed == Err(Full::Queue) {
                    outbound.cut();
                }
                pushed.is_ok()
            }),
        }
    }
}

impl Transport for TcpTransport {
    fn send(&mut self, to: Addr, packet: &Packet) {
        let sent = match frame::encode(packet) {
            Ok(frame) => self.push(to, packet.lane(), &frame),
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
        // `Shared` holds a sender of each channel as long as `self` exists.
        let arrived = tokio::select! {
            biased;
            arrived = self.control.recv() => arrived,
            arrived = self.bulk.recv() => arrived,
            arrived = self.asked.recv() => arrived,
        };
        match arrived {
            Some(delivery) => delivery.open(),
            None => pending().await,
        }
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        let peers = self.control.try_recv().or_else(|_| self.bulk.try_recv());
        peers.or_else(|_| self.asked.try_recv()).ok().map(Delivery::open)
    }

    fn bad_frames(&self) -> u64 {
        self.shared.bad_frames.load(Relaxed)
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<SendQueue>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links_in(&self) -> MutexGuard<'_, BTreeMap<(NodeId, Lane), LinkIn>> {
        self.links_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a refused connection. At most one line per second, because strangers can cause these at will.
    fn refused(&self, address: SocketAddr, why: &str) {
        if let Some(others) = self.refusals.pass(Instant::now()) {
            warn!(%address, others, "connection refused: {why}");
        }
    }

    fn report(&self, who: &str, address: SocketAddr, closed: &Closed) {
        if !closed.is_bad_frame() {
            return debug!(%address, "connection from {who} ended: {closed}");
        }
        self.bad_frames.fetch_add(1, Relaxed);
        if let Some(others) = self.complaints.pass(Instant::now()) {
            warn!(%address, others, "connection from {who} closed: {closed}");
        }
    }

    /// Returns the error for a peer with another layout. Placement is computed, not agreed upon, so servers that
    /// compute different placements must not work together.
    fn other_layout(&self, node: NodeId, theirs: u64) -> HelloError {
        let TcpConfig { layout, source, .. } = &self.config;
        HelloError::Unwanted(format!(
            "{node} has another layout of the cluster ({theirs:016x}, here {layout:016x}): compare [nodes], [places], \
             [[bucket]], groups and voters in its configuration file with {source}"
        ))
    }

    /// Returns an error unless this server talks to a dialler that claims to be `node` and wants to reach `to`.
    fn knows(&self, node: NodeId, to: NodeId) -> Result<(), Turned> {
        if to != self.config.id {
            return Err(Turned::OtherServer);
        }
        let known = node != self.config.id && self.config.nodes.contains_key(&node);
        known.then_some(()).ok_or(Turned::Unknown)
    }
}

/// A connection that a peer has opened to this server. Dropping it closes the connection.
struct LinkIn {
    close: oneshot::Sender<()>,
    from: SocketAddr,
    since: Instant,
}

impl LinkIn {
    /// Returns whether its peer cannot have given it up yet. Then a new connection comes from another process.
    fn is_held(&self) -> bool {
        !self.close.is_closed() && self.since.elapsed() < SILENCE
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

/// What an accepted connection turned out to be.
enum Guest {
    Peer((NodeId, Lane), SessionKey),
    Client(Seat, Arc<AtomicU64>),
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<()>, mut rng: Rng) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely there are no file descriptors left: wait until some are closed.
                if let Some(others) = shared.complaints.pass(Instant::now()) {
                    warn!(others, "cannot accept: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(mut seat) = shared.hall.enter(address.ip(), Arc::default(), Instant::now()).await else { continue };
        let (shared, nonce) = (shared.clone(), Nonce::draw(&mut rng));
        spawn_until(stop.clone(), async move {
            let welcomed = tokio::select! {
                biased;
                () = seat.displaced() => Err(HelloError::Unwanted("said nothing, and others wait".to_owned())),
                welcomed = in_time(welcome(stream, address, &shared, nonce)) => welcomed,
            };
            drop(seat);
            match welcomed {
                Ok((stream, Guest::Peer(peer, key))) => serve_peer(stream, (peer, key), address, &shared).await,
                Ok((stream, Guest::Client(seat, heard))) => serve_client(stream, seat, &heard, address, &shared).await,
                Err(error) => {
                    if matches!(error, HelloError::Malformed(_)) {
                        shared.bad_frames.fetch_add(1, Relaxed);
                    }
                    shared.refused(address, &error.to_string());
                }
            }
        });
    }
}

/// The handshake of an accepted connection: everything before the first frame.
async fn welcome(
    mut stream: TcpStream,
    address: SocketAddr,
    shared: &Shared,
    nonce: Nonce,
) -> Result<(TcpStream, Guest), HelloError> {
    stream.set_nodelay(true)?;
    let turned = match Hello::read(&mut stream).await? {
        Hello::Server { node, to, lane, nonce: theirs } => match shared.knows(node, to) {
            Ok(()) => {
                let key = auth::accept(&mut stream, &shared.config, (node, theirs), nonce).await?;
                return Ok((stream, Guest::Peer((node, lane), key)));
            }
            Err(why) => (why, format!("claims to be {node} and asks for {to}: no server of [nodes], or not this one")),
        },
        Hello::Client { cluster: Some(theirs) } if theirs != shared.config.cluster => {
            (Turned::OtherCluster, format!("asks for cluster {theirs}, this is cluster {}", shared.config.cluster))
        }
        Hello::Client { .. } => {
            let heard = Arc::<AtomicU64>::default();
            match shared.seats.enter(address.ip(), heard.clone(), Instant::now()).await {
                Some(seat) => {
                    let TcpConfig { id: node, secret, cluster, .. } = &shared.config;
                    Hello::Welcome { node: *node, tag: secret.tag(cluster) }.write(&mut stream).await?;
                    return Ok((stream, Guest::Client(seat, heard)));
                }
                None => (Turned::Full, "all seats for clients, or for this address, are taken by busy ones".to_owned()),
            }
        }
        other => return Err(HelloError::Unwanted(format!("begins with {other:?}"))),
    };
    let (turned, why) = turned;
    Hello::Refused(turned).write(&mut stream).await?;
    Err(HelloError::Unwanted(why))
}

/// Receives what a peer sends over the connection it dialled. A peer's newest connection replaces an older one.
async fn serve_peer(
    stream: TcpStream,
    (link, key): ((NodeId, Lane), SessionKey),
    address: SocketAddr,
    shared: &Shared,
) {
    let (close, replaced) = oneshot::channel();
    let (peer, lane) = link;
    let before = shared.links_in().insert(link, LinkIn { close, from: address, since: Instant::now() });
    if let Some(other) = before.filter(LinkIn::is_held)
        && let Some(others) = shared.complaints.pass(Instant::now())
    {
        warn!(%address, others, "two processes dial as {peer}, the other one from {}: stop the one that is not {peer}", other.from);
    }
    for bell in Lane::ALL.iter().filter_map(|lane| shared.up.get(&(peer, *lane))) {
        bell.notify_one();
    }
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
        closed = read_frames(Opening::new(reader, key), Addr::Node(peer), &shared.from_peers[lane as usize], &heard) => closed,
        closed = pulse => closed,
        _ = replaced => Closed::Given("replaced by a newer link"),
    };
    shared.report(&peer.to_string(), address, &closed);
}

async fn serve_client(stream: TcpStream, mut seat: Seat, heard: &AtomicU64, address: SocketAddr, shared: &Shared) {
    let client = shared.next_client.fetch_add(1, Relaxed);
    let outbound = Arc::new(SendQueue::new(shared.config.memory.to_clients() / 8, shared.to_clients.clone()));
    let _registered = Registered::new(shared, client, outbound.clone());
    let (reader, writer) = tokio::io::split(stream);
    // One task both reads and writes. The connection ends when either of them does.
    let closed = tokio::select! {
        biased;
        closed = read_frames(reader, Addr::Client(client), &shared.from_clients, heard) => closed,
        closed = outbound.write_to(writer) => closed,
        closed = outbound.overflowed() => closed,
        closed = idle(&mut seat, heard) => closed,
    };
    shared.report("a client", address, &closed);
}

/// Waits until a client has made no request for too long, or must give way to another.
async fn idle(seat: &mut Seat, heard: &AtomicU64) -> Closed {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        if tokio::time::timeout(LOOK, seat.displaced()).await.is_ok() {
            return Closed::Given("idle, and others wait");
        }
        let (count, now) = (heard.load(Relaxed), Instant::now());
        if count != before {
            (before, since) = (count, now);
            seat.active(now);
        }
        match now.duration_since(since) {
            quiet if quiet >= CLIENT_IDLE => return Closed::Given("idle"),
            quiet if count == 0 && quiet >= FIRST_REQUEST => return Closed::Given("asked nothing"),
            _ => {}
        }
    }
}

/// A client's entry in the list of connections, removed when its task ends for any reason.
struct Registered<'a>(&'a Shared, u64);

impl<'a> Registered<'a> {
    fn new(shared: &'a Shared, client: u64, outbound: Arc<SendQueue>) -> Self {
        shared.clients().insert(client, outbound);
        Registered(shared, client)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.clients().remove(&self.1);
    }
}

/// The outgoing connection to one peer, for one lane.
struct Dialler {
    shared: Arc<Shared>,
    peer: NodeId,
    lane: Lane,
    address: String,
    outbound: Arc<SendQueue>,
    rng: Rng,
}

impl Dialler {
    async fn run(mut self) {
        let mut backoff = BACKOFF_LEAST;
        // An unreachable peer gets one warning per reason, not one per second.
        let mut told = String::new();
        let born = Instant::now();
        let (peer, address) = (self.peer, self.address.clone());
        let (link, bulk) = if self.lane == Lane::Bulk { ("bulk link", true) } else { ("link", false) };
        loop {
            match self.dial().await {
                Ok((stream, key)) => {
                    info!("{link} to {peer} at {address} is up");
                    let since = Instant::now();
                    let closed = self.speak(stream, key).await;
                    warn!("{link} to {peer} at {address} is down: {closed}");
                    told.clear();
                    if since.elapsed() > BACKOFF_MOST {
                        backoff = BACKOFF_LEAST;
                    }
                }
                Err(HelloError::Io(error)) if born.elapsed() < YOUTH => {
                    debug!("cannot reach {peer} at {address}: {error}");
                }
                // The other lane logs the same.
                Err(error) if bulk || told == error.to_string() => debug!("cannot reach {peer} at {address}: {error}"),
                Err(error) => {
                    warn!("cannot reach {peer} at {address}, trying on: {error}");
                    told = error.to_string();
                }
            }
            // Drop what was queued meanwhile: it is outdated, and Raft sends it again.
            self.shared.dropped.fetch_add(self.outbound.clear(), Relaxed);
            let half = backoff / 2;
            let pause = half + Duration::from_nanos(self.rng.below(half.as_nanos() as u64 + 1));
            backoff = (backoff * 2).min(BACKOFF_MOST);
            let pause = tokio::time::timeout(pause, self.heard_of());
            if pause.await.is_ok() {
                backoff = BACKOFF_LEAST;
                tokio::time::sleep(BACKOFF_LEAST / 10).await;
            }
        }
    }

    /// Waits until the peer dials this server.
    async fn heard_of(&self) {
        match self.shared.up.get(&(self.peer, self.lane)) {
            Some(bell) => bell.notified().await,
            None => pending().await,
        }
    }

    async fn dial(&mut self) -> Result<(TcpStream, SessionKey), HelloError> {
        let (config, peer) = (&self.shared.config, self.peer);
        let (stream, key, layout) = in_time(async {
            let mut stream = TcpStream::connect(self.address.as_str()).await?;
            stream.set_nodelay(true)?;
            let (key, layout) = auth::dial(&mut stream, config, (peer, self.lane), &mut self.rng).await?;
            Ok((stream, key, layout))
        })
        .await?;
        if layout != config.layout {
            return Err(self.shared.other_layout(peer, layout));
        }
        Ok((stream, key))
    }

    async fn speak(&self, stream: TcpStream, key: SessionKey) -> Closed {
        let (reader, writer) = tokio::io::split(stream);
        tokio::select! {
            biased;
            closed = hear_pulse(reader) => closed,
            closed = self.outbound.write_to(Sealing::new(writer, key)) => closed,
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
