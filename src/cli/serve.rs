//! `seaworthy serve`: one node, from its configuration to its end.

use super::config::{Config, load};
use super::connect::block_on;
use super::output::{Exit, Failure};
use crate::node::tcp::TcpTransport;
use crate::node::{Driver, LogRoles, SystemClock, entropy};
use crate::storage::{RealDisk, StorageError, Store, ThreadHost};
use crate::types::{NodeId, Rng};
use host_tokio::signal::unix::{SignalKind, signal};
use std::io::{IsTerminal, Read};
use std::path::Path;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Runs the node until a signal ends it or its disk fails.
pub(super) fn run(path: &Path, until_stdin_ends: bool) -> Result<Exit, Failure> {
    let config = load(path).map_err(Failure::bad_input)?;
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env();
    let filter = filter.map_err(|e| Failure::bad_input(format!("RUST_LOG: {e}")))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();

    // One thread for the driver and the network, one for the disk: the driver's turns follow each other anyway.
    block_on(async {
        tokio::select! {
            biased;
            why = stop(until_stdin_ends) => {
                info!("{}: stopping, {}", config.tcp.id, why?);
                Ok(Exit::Done)
            }
            failure = serve(&config) => Err(failure),
        }
    })
}

async fn serve(config: &Config) -> Failure {
    let located = |error: StorageError| {
        let why = match error {
            // Its own words suffice: nothing is wrong with the disk.
            StorageError::Disk(in_use) if in_use.op == "lock" => in_use.to_string(),
            other => other.to_string(),
        };
        Failure::new(Exit::Storage, format!("in {}: {why}", config.data_dir.display()))
    };
    let (store, recovery) = match RealDisk::open(&config.data_dir)
        .map_err(StorageError::from)
        .and_then(|disk| Store::open(disk, config.store))
    {
        Ok(opened) => opened,
        Err(error) => return located(error),
    };
    let host = match ThreadHost::spawn(store) {
        Ok(host) => host,
        Err(e) => return Failure::new(Exit::Failed, format!("cannot start a thread for the disk: {e}")),
    };
    let mut rng = Rng::new(entropy(), "node");
    let transport = match TcpTransport::bind(config.tcp.clone(), Rng::new(rng.next(), "tcp")).await {
        Ok(transport) => transport,
        Err(e) => return Failure::new(Exit::Failed, format!("cannot listen on {}: {e}", config.tcp.listen)),
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
    let Err(error) = Driver::run(config.node.clone(), recovery, world, LogRoles, rng).await;
    located(error)
}

/// Waits for a reason to stop; tells it.
async fn stop(until_stdin_ends: bool) -> Result<&'static str, Failure> {
    let no_signals = |e| Failure::new(Exit::Failed, format!("cannot listen to signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let stdin_ends = async {
        if !until_stdin_ends {
            std::future::pending::<()>().await;
        }
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        // A blocking read needs a thread of its own; it ends with the process.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock().by_ref(), &mut std::io::sink());
            drop(ended);
        });
        let _ = end.await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("interrupted"),
        () = stdin_ends => Ok("standard input ended"),
    }
}
