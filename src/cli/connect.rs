//! Creates a client from the command line's description of a cluster.

use super::output::{Exit, Failure};
use super::{config, fields};
use crate::client::{Client, Patience};
use crate::env::{SystemClock, entropy};
use crate::node::tcp::{Servers, TcpClientTransport, identify};
use crate::types::{NodeId, Rng};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// First port of `local-cluster` by default, and therefore also where a client looks by default.
pub(super) const BASE_PORT: u16 = 7101;

/// Pause between attempts to find a server that answers.
const LOOK: Duration = Duration::from_millis(50);

/// Which cluster, and how patiently.
#[derive(Args, Clone)]
pub(super) struct Target {
    /// Configuration file of any node of the cluster
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    cluster: Option<PathBuf>,
    /// Addresses of some or all nodes [default: where `local-cluster` runs, 127.0.0.1:7101 to 7103]
    #[arg(long, value_name = "ADDR,…", value_delimiter = ',', value_parser = fields::address)]
    node: Vec<String>,
    /// Give up after this many milliseconds
    #[arg(long, value_name = "MS", default_value = "5000", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout: u64,
    /// Keys and values are given and printed as hexadecimal digits
    #[arg(long)]
    pub(super) hex: bool,
}

/// A client over TCP.
pub(super) type TcpClient = Client<TcpClientTransport, SystemClock>;

impl Target {
    pub(super) fn patience(&self) -> Patience {
        let operation = Duration::from_millis(self.timeout);
        Patience { operation, attempt: operation.min(Duration::from_millis(500)), ..Patience::default() }
    }

    /// Returns the servers of the cluster. If only addresses are given, asks each once for its id; those that do not
    /// answer are left out and returned separately.
    pub(super) async fn servers(&self) -> Result<(Servers, Vec<String>), Failure> {
        if let Some(file) = &self.cluster {
            return Ok((config::load(file).map_err(Failure::bad_input)?.servers(), Vec::new()));
        }
        let addresses = match self.node.as_slice() {
            [] => (0..3).map(|i| format!("127.0.0.1:{}", BASE_PORT + i)).collect(),
            given => given.to_vec(),
        };
        let attempt = self.patience().attempt;
        let ask = |a: String| tokio::spawn(async move { (tokio::time::timeout(attempt, identify(&a, None)).await, a) });
        let asked: Vec<_> = addresses.into_iter().map(ask).collect();
        let (mut nodes, mut silent, mut first) = (BTreeMap::new(), Vec::new(), None::<(u64, String)>);
        for answer in asked {
            let Ok((answer, address)) = answer.await else { continue };
            match answer {
                Err(_) | Ok(Err(_)) => silent.push(address),
                Ok(Ok((node, tag))) => {
                    let (known, other) = first.get_or_insert_with(|| (tag, address.clone()));
                    if *known != tag {
                        let message = format!("{address} and {other} are not of one cluster");
                        return Err(Failure::bad_input(message));
                    }
                    nodes.insert(node, address);
                }
            }
        }
        if nodes.is_empty() {
            let message = format!("no server answers at {}", silent.join(", "));
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok((Servers { cluster: None, nodes }, silent))
    }

    /// Leaves out the servers of a configuration file that do not answer. A request sent to such a server might always
    /// have been executed, so a command could not report what the other servers answered.
    async fn reachable(&self, servers: Servers) -> Result<Servers, Failure> {
        if self.cluster.is_none() {
            return Ok(servers);
        }
        let asked: Vec<_> = servers
            .nodes
            .iter()
            .map(|(node, address)| {
                let (servers, node, attempt) = (servers.clone(), *node, self.patience().attempt);
                (node, address, tokio::spawn(async move { why_not(&servers, node, attempt).await }))
            })
            .collect();
        let (mut nodes, mut reasons) = (BTreeMap::new(), Vec::new());
        for (node, address, answer) in asked {
            match answer.await {
                Ok(None) => drop(nodes.insert(node, address.clone())),
                Ok(Some(why)) => reasons.push(format!("{node} at {address}: {why}")),
                Err(_) => {}
            }
        }
        if nodes.is_empty() {
            let message = format!("no server answers: {}", reasons.join("; "));
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok(Servers { nodes, ..servers.clone() })
    }

    /// Returns a client of the cluster, once any of its servers answers.
    pub(super) async fn connect(&self) -> Result<TcpClient, Failure> {
        let begun = Instant::now();
        loop {
            let reached = match self.servers().await {
                Ok((servers, _)) => self.reachable(servers).await,
                Err(failure) => Err(failure),
            };
            match reached {
                Ok(servers) => return Ok(client(&servers, self.patience())),
                Err(failure) if failure.exit != Exit::Failed => return Err(failure),
                Err(failure) if begun.elapsed() + LOOK > self.patience().operation => return Err(failure),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Returns why a server of the cluster cannot be reached at its address, or `None` if it can.
pub(super) async fn why_not(servers: &Servers, node: NodeId, attempt: Duration) -> Option<String> {
    let address = servers.nodes.get(&node)?;
    match tokio::time::timeout(attempt, identify(address, servers.cluster.clone())).await {
        Err(_) => Some("no answer".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok((other, _))) => {
            (other != node).then(|| format!("{other} answers there: compare the addresses in [nodes]"))
        }
    }
}

/// Creates a client of `servers` with its own connections.
pub(super) fn client(servers: &Servers, patience: Patience) -> TcpClient {
    let nodes: Vec<NodeId> = servers.nodes.keys().copied().collect();
    let transport = TcpClientTransport::new(servers.clone());
    Client::new(transport, SystemClock::start(), nodes, patience, Rng::new(entropy(), "client"))
}

/// Runs a command's future on this thread.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::new(Exit::Failed, format!("cannot start: {e}")))?.block_on(future)
}
