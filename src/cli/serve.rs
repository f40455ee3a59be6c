//! `seaworthy serve`: runs one node, from reading its configuration to its shutdown.

use super::config::{Config, SecretFrom, load};
use super::connect::block_on;
use super::output::{Exit, Failure};
use crate::env::ThreadHost;
use crate::env::{SystemClock, entropy};
use crate::node::tcp::{Limits, TcpTransport};
use crate::node::{Driver, LogRoles};
use crate::storage::{RealDisk, StorageError, Store};
use crate::types::{NodeId, Rng};
use host_tokio::signal::unix::{Signal, SignalKind, signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Files that the process needs besides connections: its log and snapshots, standard streams, those of the system.
const OTHER_FILES: u64 = 48;
/// Files per peer: connections in both directions, and some that are being replaced.
const PEER_FILES: u64 = 8;
/// Minimum number of connections; with fewer the server does not start.
const LEAST_CONNECTIONS: u64 = 16;
/// How long outgoing replies may take after everything else has stopped.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the node until a signal ends it or its disk fails.
pub(super) fn run(path: &Path, until_stdin_ends: bool) -> Result<Exit, Failure> {
    let mut config = load(path).map_err(Failure::bad_input)?;
    config.tcp.secret = config.secret().map_err(Failure::bad_input)?;
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env();
    let filter = filter.map_err(|e| Failure::bad_input(format!("RUST_LOG: {e}")))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    config.tcp.limits = within_files(&config)?;
    if config.secret == SecretFrom::Nowhere && config.tcp.nodes.len() > 1 {
        warn!("insecure = true: whoever reaches {} can pass for a server of this cluster", config.tcp.listen);
    }

    // One thread for the driver and the network, one for the disk: the driver's turns are sequential anyway.
    block_on(async {
        let mut stops = Stops::listen(until_stdin_ends)?;
        let (tell, told) = oneshot::channel::<()>();
        let twice = async {
            info!("{}: {}: handing over, then stopping", config.tcp.id, stops.next().await);
            drop(tell);
            info!("{}: {} again: stopping at once", config.tcp.id, stops.next().await);
        };
        tokio::select! {
            biased;
            () = twice => Ok(Exit::Done),
            ended = serve(&config, told) => ended,
        }
    })
}

/// Limits the configured number of connections to what the process's file limit allows.
fn within_files(config: &Config) -> Result<Limits, Failure> {
    let files = open_files();
    let peers = config.tcp.nodes.len() as u64 - 1;
    let reserved = OTHER_FILES + peers * PEER_FILES;
    let left = files.saturating_sub(reserved);
    if left < LEAST_CONNECTIONS {
        let message = format!(
            "only {files} files may be open, {reserved} of them for the log and the links to other servers: allow at least {} \
             (ulimit -n)",
            reserved + LEAST_CONNECTIONS
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    let wanted = config.tcp.limits;
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let strangers = wanted.strangers.min(left / 4);
    let clients = wanted.clients.min(left - strangers);
    if clients < wanted.clients {
        warn!("{files} files may be open: at most {clients} clients instead of {} (ulimit -n)", wanted.clients);
    }
    let per_address = wanted.per_address.min(clients.div_ceil(4) * 3);
    Ok(Limits { clients, per_address, strangers })
}

/// Raises the process's limit on open files as far as possible and returns it.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let now = limit.current.unwrap_or(u64::MAX);
    let more = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if now < most && setrlimit(Resource::Nofile, more).is_ok() { most } else { now }
}

async fn serve(config: &Config, stop: oneshot::Receiver<()>) -> Result<Exit, Failure> {
    let located =
        |error: StorageError| Failure::new(Exit::Storage, format!("in {}: {error}", config.data_dir.display()));
    let mut rng = Rng::new(entropy(), "node");
    let disk = match RealDisk::open(&config.data_dir) {
        Ok(disk) => disk,
        Err(error) => return Err(Failure::new(Exit::Storage, format!("cannot use data_dir: {error}"))),
    };
    let (store, recovery) = match Store::open(disk, &config.store, &mut rng) {
        Ok(opened) => opened,
        Err(error) => return Err(located(error)),
    };
    let host = match ThreadHost::spawn(store) {
        Ok(host) => host,
        Err(e) => return Err(Failure::new(Exit::Failed, format!("cannot start a thread for the disk: {e}"))),
    };
    let transport = match TcpTransport::bind(config.tcp.clone(), Rng::new(rng.next(), "tcp")).await {
        Ok(transport) => transport,
        Err(e) => {
            let message = format!("cannot listen on {}: {e}", config.tcp.listen);
            return Err(Failure::new(Exit::Failed, message));
        }
    };
    let nodes: Vec<NodeId> = config.tcp.nodes.keys().copied().collect();
    info!(
        groups = recovery.groups.len(),
        entries = recovery.groups.values().map(|group| group.entries.len()).sum::<usize>(),
        ap_keys = recovery.ap.keys.len(),
        ap_hints = recovery.ap.hints.len(),
        "{} of cluster {} {nodes:?} listens on {}",
        config.tcp.id,
        config.tcp.cluster,
        transport.local_addr(),
    );
    let world = (transport, SystemClock::start(), host);
    let stopped = async { drop(stop.await) };
    match Driver::run(config.node.clone(), recovery, world, LogRoles, rng, stopped).await {
        Ok(transport) => {
            transport.answered(LAST_WORDS).await;
            info!("{}: stopped", config.tcp.id);
            Ok(Exit::Done)
        }
        Err(error) => Err(located(error)),
    }
}

/// The events that stop the server.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
    /// Resolves when standard input ends, if that is a reason to stop.
    input: Option<oneshot::Receiver<()>>,
}

impl Stops {
    fn listen(until_stdin_ends: bool) -> Result<Stops, Failure> {
        let no_signals = |e| Failure::new(Exit::Failed, format!("cannot listen to signals: {e}"));
        let terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        let input = until_stdin_ends.then(|| {
            let (ended, end) = oneshot::channel::<()>();
            // A blocking read needs its own thread; the thread ends with the process.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
                drop(ended);
            });
            end
        });
        Ok(Stops { terminate, interrupt, input })
    }

    /// Waits for the next event and returns its description.
    async fn next(&mut self) -> &'static str {
        let input = async {
            match &mut self.input {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "interrupted",
            () = input => {
                self.input = None;
                "standard input ended"
            }
        }
    }
}
