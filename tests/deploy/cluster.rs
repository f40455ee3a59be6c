//! Real processes of the real binary, in temporary directories, on free ports.

use seaworthy::cli;
use seaworthy::client::{Client, Patience};
use seaworthy::env::{SystemClock, entropy};
use seaworthy::node::tcp::{Servers, TcpClientTransport};
use seaworthy::raft::Role;
use seaworthy::types::{NodeId, Rng};
use seaworthy::wire::NodeStatus;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test fails. Generous, since only a failure ever uses it up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The secret by which the servers of a test's cluster authenticate each other.
pub const SECRET: &str = "known to the servers of this test only";

pub type TcpClient = Client<TcpClientTransport, SystemClock>;

pub fn seaworthy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs a command to completion: exit status, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    finished(&seaworthy().args(arguments).output().expect("runs"))
}

pub fn finished(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("ended by itself"), text(&output.stdout), text(&output.stderr))
}

/// Sends a signal by name.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Returns ports that were free a moment ago.
pub fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|listener| listener.local_addr().expect("has an address").port()).collect()
}

/// Polls `look` until it returns a value.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn client_of(servers: Servers, patience: Patience) -> TcpClient {
    let nodes = servers.nodes.keys().copied().collect();
    let rng = Rng::new(entropy(), "test client");
    Client::new(TcpClientTransport::new(servers), SystemClock::start(), nodes, patience, rng)
}

pub struct Cluster {
    dir: TempDir,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// Writes the configurations of `count` nodes; no node is started.
    pub fn new(count: usize, tuning: &str) -> Cluster {
        Cluster::with(count, "", tuning)
    }

    /// The same, with settings of the cluster in addition to those in `tuning`.
    pub fn with(count: usize, settings: &str, tuning: &str) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("secret"), SECRET).expect("written");
        let lines: Vec<String> =
            (1..).zip(free_ports(count)).map(|(i, port)| format!("n{i} = \"127.0.0.1:{port}\"\n")).collect();
        for i in 1..=count {
            let text = format!(
                "cluster = \"test\"\nnode = \"n{i}\"\ndata_dir = \"n{i}\"\nsecret_file = \"secret\"\n{settings}[nodes]\n{}[tuning]\n{tuning}",
                lines.concat()
            );
            std::fs::write(dir.path().join(format!("n{i}.toml")), text).expect("written");
        }
        Cluster { dir, nodes: (0..count).map(|_| None).collect() }
    }

    pub fn started(count: usize, tuning: &str) -> Cluster {
        let mut cluster = Cluster::new(count, tuning);
        cluster.start_all();
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> String {
        self.path("n1.toml").display().to_string()
    }

    /// Returns the `serve` command of node `i` (from 1), not started.
    pub fn serve(&self, i: usize) -> Command {
        let mut command = seaworthy();
        command.args(["serve", "--config"]).arg(self.path(&format!("n{i}.toml")));
        command
    }

    pub fn start(&mut self, i: usize) {
        let command = self.serve(i);
        self.start_by(i, command);
    }

    /// Starts node `i` with a given command.
    pub fn start_by(&mut self, i: usize, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.path(&format!("n{i}.log"))).expect("a log");
        self.nodes[i - 1] = Some(command.stderr(log).spawn().expect("starts"));
    }

    /// Returns the log output of node `i`.
    pub fn log(&self, i: usize) -> String {
        std::fs::read_to_string(self.path(&format!("n{i}.log"))).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the process to end; returns its exit status and how long that took.
    pub async fn stop(&mut self, i: usize) -> (Option<i32>, Duration) {
        let mut child = self.nodes[i - 1].take().expect("runs");
        let begun = Instant::now();
        signal(&child, "TERM");
        loop {
            if let Some(status) = child.try_wait().expect("a process") {
                return (status.code(), begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub fn start_all(&mut self) {
        for i in 1..=self.nodes.len() {
            self.start(i);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, i: usize) {
        let mut child = self.nodes[i - 1].take().expect("runs");
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    pub fn kill_all(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            child.kill().expect("killed");
        }
        for i in 1..=self.nodes.len() {
            self.kill(i);
        }
    }

    pub fn child(&mut self, i: usize) -> &mut Child {
        self.nodes[i - 1].as_mut().expect("runs")
    }

    pub fn servers(&self) -> Servers {
        cli::load(Path::new(&self.config())).expect("our own configuration").servers()
    }

    pub fn client(&self, patience: Patience) -> TcpClient {
        client_of(self.servers(), patience)
    }

    /// Returns the status of every node; `None` for one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let mut client = self.client(Patience { attempt: Duration::from_millis(500), ..Patience::default() });
        let mut statuses = Vec::new();
        for i in (1..).take(self.nodes.len()) {
            statuses.push(client.status(NodeId(i)).await.ok());
        }
        statuses
    }

    /// Returns the number of the node that leads in the highest term reported by any node.
    pub async fn leader(&self) -> usize {
        eventually("a leader", async || {
            let statuses: Vec<_> = self.statuses().await.into_iter().flatten().collect();
            let term = statuses.iter().map(|s| s.raft.soft.term).max()?;
            let leads = |s: &&NodeStatus| s.raft.soft.role == Role::Leader && s.raft.soft.term == term;
            statuses.iter().find(leads).map(|s| s.node.0 as usize)
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for i in 1..=self.nodes.len() {
                let log = std::fs::read_to_string(self.path(&format!("n{i}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n");
                eprintln!("--- the end of n{i}'s log:\n{tail}");
            }
        }
    }
}
