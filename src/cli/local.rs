//! `seaworthy local-cluster`: a cluster of child processes, for trying things out.

use super::buckets;
use super::connect::{BASE_PORT, block_on, client};
use super::output::{Exit, Failure, Paint, paint, say};
use crate::client::Patience;
use crate::node::tcp::{ClusterName, Servers};
use crate::placement::SLOTS;
use crate::types::NodeId;
use clap::Args;
use host_tokio::signal::unix::{SignalKind, signal};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _, stderr, stdout};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long nodes get to stop by themselves.
const PARTING: Duration = Duration::from_secs(5);
/// Name of the secret's file in the cluster's directory.
const SECRET_FILE: &str = "secret";
/// How often to check whether a node is still running.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct Options {
    /// How many nodes
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Where configurations and data go
    #[arg(long, default_value = "seaworthy-cluster")]
    dir: PathBuf,
    /// Port of the first node; the others follow
    #[arg(long, default_value_t = BASE_PORT, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    base_port: u16,
    /// Declare a bucket: NAME=cp or NAME=ap[,n=3][,r=quorum][,w=quorum][,sloppy|,strict][,resolve=siblings]. The one
    /// named `default` has all keys of no other
    #[arg(long = "bucket", value_name = "BUCKET", value_parser = buckets::bucket_flag)]
    buckets: Vec<String>,
    /// Raft groups among which the keys are divided
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS)))]
    groups: Option<u32>,
}

impl Options {
    fn servers(&self) -> Servers {
        let address = |i: u16| format!("127.0.0.1:{}", self.base_port + i - 1);
        let cluster: Option<ClusterName> = "local".parse().ok();
        Servers { cluster, nodes: (1..=self.nodes).map(|i| (NodeId(u32::from(i)), address(i))).collect() }
    }
}

fn config(node: NodeId, options: &Options) -> String {
    let servers = options.servers();
    let mut text = format!(
        "# Written by `seaworthy local-cluster`. docs/deploying.md says what else can be set.\n\
         cluster = \"local\"\nnode = \"{node}\"\ndata_dir = \"{node}\"\nsecret_file = \"{SECRET_FILE}\"\n"
    );
    if let Some(groups) = options.groups {
        let _ = writeln!(text, "groups = {groups}");
    }
    text.push_str("\n[nodes]\n");
    for (id, address) in &servers.nodes {
        let _ = writeln!(text, "{id} = \"{address}\"");
    }
    for section in &options.buckets {
        let _ = write!(text, "\n{section}");
    }
    text
}

/// Writes the configurations, or checks that existing ones are equal: the data of a cluster with other members must not
/// be run as this cluster.
fn prepare(options: &Options) -> Result<Vec<(NodeId, PathBuf)>, Failure> {
    let (dir, servers) = (options.dir.as_path(), options.servers());
    if let Some(text) = servers.nodes.keys().next().map(|id| config(*id, options)) {
        super::config::parse(&text, dir).map_err(|(_, what)| Failure::bad_input(what))?;
    }
    let wanted: Vec<_> =
        servers.nodes.keys().map(|id| (*id, dir.join(format!("{id}.toml")), config(*id, options))).collect();
    let more = dir.join(format!("n{}.toml", servers.nodes.len() + 1));
    let differs = wanted.iter().any(|(_, path, text)| std::fs::read_to_string(path).is_ok_and(|found| found != *text));
    if differs || more.exists() {
        let dir = dir.display();
        let message = format!(
            "{dir} holds a cluster with other settings; run its nodes with `serve --config {dir}/n1.toml` and so on, \
             or choose another --dir"
        );
        return Err(Failure::bad_input(message));
    }
    let unwritable = |e| Failure::new(Exit::Failed, format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(unwritable)?;
    let secret = dir.join(SECRET_FILE);
    if !secret.exists() {
        super::secret::write_new(&secret).map_err(unwritable)?;
    }
    for (_, path, text) in &wanted {
        std::fs::write(path, text).map_err(unwritable)?;
    }
    Ok(wanted.into_iter().map(|(id, path, _)| (id, path)).collect())
}

fn start(node: NodeId, config: &Path) -> std::io::Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["serve", "--until-stdin-ends", "--config"])
        .arg(config)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(log) = child.stderr.take() {
        let prefix = paint(Paint::Dim, &format!("{node} |"), &stderr());
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let _ = writeln!(stderr(), "{prefix} {line}");
            }
        });
    }
    Ok(child)
}

/// Checks that the ports are free. Another process listening on a node's port would be mistaken for the node.
fn ports_are_free(servers: &Servers) -> Result<(), Failure> {
    for address in servers.nodes.values() {
        TcpListener::bind(address).map_err(|e| {
            let message = format!(
                "cannot listen on {address}: {e}; is another cluster running there? Choose another --base-port"
            );
            Failure::new(Exit::Failed, message)
        })?;
    }
    Ok(())
}

pub(super) fn run(options: &Options) -> Result<Exit, Failure> {
    let servers = options.servers();
    let configs = prepare(options)?;
    ports_are_free(&servers)?;
    let mut nodes = BTreeMap::new();
    for (node, path) in &configs {
        let child = start(*node, path).map_err(|e| Failure::new(Exit::Failed, format!("cannot start {node}: {e}")))?;
        nodes.insert(*node, child);
    }
    let result = block_on(async {
        let no_signals = |e| Failure::new(Exit::Failed, format!("cannot listen to signals: {e}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
        tokio::select! {
            biased;
            _ = terminate.recv() => Ok(Exit::Done),
            _ = interrupt.recv() => Ok(Exit::Done),
            never = announce(options, &servers) => match never {},
            failure = watch(&mut nodes, &configs) => Err(failure),
        }
    });
    part(nodes);
    result
}

/// Reports when the cluster is ready and how to use it; then waits forever.
async fn announce(options: &Options, servers: &Servers) -> Infallible {
    let mut client = client(servers, Patience::default());
    let led = loop {
        let (mut led, mut leader) = (0, None);
        for node in servers.nodes.keys() {
            let here = client.status(*node).await.map_or(0, |status| status.led);
            led += here;
            leader = leader.or((here > 0).then_some(*node));
        }
        match (options.groups.unwrap_or(1), leader) {
            (1, Some(leader)) => break format!("{leader} leads"),
            (groups @ 2.., _) if led >= groups => break format!("{groups} groups"),
            _ => tokio::time::sleep(LOOK).await,
        }
    };
    let default = options.base_port == BASE_PORT && options.nodes == 3;
    let cluster = if default { String::new() } else { format!(" --cluster {}/n1.toml", options.dir.display()) };
    say(&format!(
        "{} of {} nodes, {led}; data in {}. Now, in another terminal:\n\
         \n  seaworthy put greeting ahoy{cluster}\n  seaworthy get greeting{cluster}\n  seaworthy status{cluster}\n\
         \nCtrl-C stops it.\n",
        paint(Paint::Good, "A cluster", &stdout()),
        servers.nodes.len(),
        options.dir.display(),
    ));
    std::future::pending().await
}

/// Reports each node that ends, and how to start it again; returns a failure once none is left.
async fn watch(nodes: &mut BTreeMap<NodeId, Child>, configs: &[(NodeId, PathBuf)]) -> Failure {
    while !nodes.is_empty() {
        tokio::time::sleep(LOOK).await;
        nodes.retain(|node, child| {
            let Ok(Some(status)) = child.try_wait() else { return true };
            let path = configs.iter().find(|(id, _)| id == node).map(|(_, path)| path.display().to_string());
            let again = format!("seaworthy serve --config {}", path.unwrap_or_default());
            say(&format!(
                "{} ({status}); to start it again: {again}",
                paint(Paint::Bad, &format!("{node} ended"), &stdout())
            ));
            false
        });
    }
    Failure::new(Exit::Failed, "no node is left")
}

/// Stops every node: closes its standard input, and kills those that do not stop in time.
fn part(mut nodes: BTreeMap<NodeId, Child>) {
    for child in nodes.values_mut() {
        drop(child.stdin.take());
    }
    let deadline = Instant::now() + PARTING;
    for child in nodes.values_mut() {
        while let Ok(None) = child.try_wait() {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Mode;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn prepared(flags: &[&str], dir: &Path) -> Result<Vec<(NodeId, PathBuf)>, Failure> {
        let dir = dir.display().to_string();
        prepare(&Line::parse_from([&["x", "--dir", &dir], flags].concat()).options)
    }

    #[test]
    fn every_node_gets_the_same_buckets_and_groups() {
        let dir = tempfile::tempdir().expect("a directory");
        let flags = ["--groups", "8", "--bucket", "carts=ap,n=2,strict", "--bucket", "default=ap,resolve=counter"];
        for (node, path) in prepared(&flags, dir.path()).expect("written") {
            let config = crate::cli::load(&path).expect("our own configuration");
            let buckets = &config.node.layout.buckets;
            assert_eq!((config.tcp.id, config.node.layout.groups, buckets.named.len()), (node, 8, 1));
            assert!(matches!(buckets.mode(b"carts/1"), Mode::Ap(policy) if policy.n == 2 && !policy.sloppy));
            assert!(matches!(buckets.default, Mode::Ap(policy) if policy.resolve.to_string() == "counter"));
        }
        let other = prepared(&["--groups", "9"], dir.path()).expect_err("another cluster");
        assert!(other.message.contains("holds a cluster with other settings"), "{}", other.message);
    }

    #[test]
    fn nothing_is_written_for_buckets_that_contradict_each_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let twice = prepared(&["--bucket", "a=ap", "--bucket", "a=cp"], &dir.path().join("new")).expect_err("twice");
        assert!(twice.message.contains("bucket \"a\" is here twice"), "{}", twice.message);
        assert!(!dir.path().join("new").exists());
    }
}
