//! The suite on this machine: files, TCP and the system's clock.

use super::{assert_all, clock, disk, outcome, transport};
use seaworthy::env::SystemClock;
use seaworthy::mutant::Mutant;
use seaworthy::node::Memory;
use seaworthy::node::tcp::{ClusterName, Limits, Secret, TcpConfig, TcpTransport};
use seaworthy::storage::RealDisk;
use seaworthy::types::{NodeId, Rng};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

struct Files {
    path: PathBuf,
    disk: Option<RealDisk>,
}

impl disk::Bench for Files {
    type Disk = RealDisk;

    fn disk(&mut self) -> &mut RealDisk {
        self.disk.get_or_insert_with(|| RealDisk::open(&self.path).expect("a directory of ours"))
    }

    fn restart(&mut self) {
        self.disk = None;
    }
}

#[test]
fn the_real_disk_conforms() {
    let results = disk::checks::<Files>().map(|(name, check)| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut bench = Files { path: dir.path().join("data"), disk: None };
        (name, outcome(|| check(&mut bench)))
    });
    assert_all(&results);
}

struct Machine {
    ports: BTreeMap<NodeId, String>,
    clock: SystemClock,
}

impl Machine {
    fn new() -> Machine {
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("an address").to_string()
        };
        Machine { ports: [(NodeId(1), free()), (NodeId(2), free())].into(), clock: SystemClock::start() }
    }
}

impl transport::Bench for Machine {
    type Transport = TcpTransport;
    type Clock = SystemClock;

    async fn listen(&mut self, node: NodeId) -> TcpTransport {
        let config = TcpConfig {
            id: node,
            cluster: "conformance".parse::<ClusterName>().expect("a name"),
            listen: self.ports[&node].clone(),
            secret: Secret::none(),
            nodes: self.ports.clone(),
            limits: Limits::default(),
            memory: Memory(64 << 20),
            layout: 7,
            source: "the conformance suite".to_owned(),
            mutant: Mutant::default(),
        };
        for _ in 0..100 {
            match TcpTransport::bind(config.clone(), Rng::new(1, "conformance")).await {
                Ok(transport) => return transport,
                // The previous transport is still shutting down.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("{} stays taken", self.ports[&node]);
    }

    fn clock(&self) -> SystemClock {
        self.clock
    }

    fn least_latency(&self) -> Duration {
        Duration::ZERO
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn tcp_conforms() {
    let results = transport::CHECKS.map(|name| (name, outcome(|| run(transport::check(name, &mut Machine::new())))));
    assert_all(&results);
}

#[test]
fn the_system_clock_conforms() {
    let results = clock::CHECKS.map(|name| (name, outcome(|| run(clock::check(name, &SystemClock::start())))));
    assert_all(&results);
}
