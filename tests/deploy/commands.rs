//! The command line against a running cluster: its output and its exit status.

use crate::cluster::{Cluster, PATIENCE, eventually, finished, free_ports, run, seaworthy, signal};
use seaworthy::env::Transport;
use seaworthy::mutant::Mutant;
use seaworthy::node::tcp::{Limits, Secret, TcpConfig, TcpTransport};
use seaworthy::types::{NodeId, Rng};
use seaworthy::wire::{Packet, Request, RequestBody, Response, ResponseBody};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

/// A cluster, and a way to run commands against it.
struct Shell(Cluster);

impl Shell {
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(&[arguments, &["--cluster", &self.0.config(), "--timeout", "20000"]].concat())
    }

    /// Returns the exit status and the output without the time at its end.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let (status, out, err) = self.run(arguments);
        assert_eq!(err, "", "{arguments:?}");
        let (text, time) = out.trim_end().rsplit_once(' ').expect("a time at the end");
        assert!(time.ends_with("ms"), "{out}");
        (status, text.to_owned())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (status, out, _) = self.run(&[arguments, &["--json"]].concat());
        (status, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}")))
    }
}

#[tokio::test]
async fn commands_say_what_happened() {
    let shell = Shell(Cluster::started(3, ""));
    let says = |arguments: &[&str], status, text: &str| {
        assert_eq!(shell.says(arguments), (status, text.to_owned()), "{arguments:?}");
    };
    says(&["get", "k"], 1, "no such key");
    says(&["put", "k", "one"], 0, "r0 set");
    says(&["get", "k"], 0, "r0 one");
    says(&["put", "k", "two", "--nx"], 1, "refused: r0 one");
    says(&["put", "k", "two", "--xx"], 0, "r1 set");
    says(&["put", "k", "three", "--cmp", "one"], 1, "refused: r1 two");
    says(&["put", "k", "three", "--cmprev", "1"], 0, "r2 set");
    says(&["put", "k", "-x", "--cmprev", "-1"], 1, "refused: r2 three");
    says(&["extend", "k", "600000"], 0, "r2 extended");
    says(&["delete", "k", "--cmp", "two"], 1, "refused: r2 three");
    says(&["delete", "k"], 0, "r3 deleted");
    says(&["delete", "k"], 1, "refused: no such key");
    says(&["put", "k", "back", "--ttl", "600000"], 0, "r4 set");
    says(&["put", "--hex", "00ff", "c0ffee"], 0, "r0 set");
    says(&["get", "--hex", "00ff"], 0, "r0 c0ffee");

    let (status, found) = shell.json(&["get", "k"]);
    assert_eq!((status, &found["value"], &found["revision"]), (0, &"back".into(), &4.into()));
    assert!(found["expires"].as_u64() > found["commit"].as_u64(), "{found}");
    let (status, refused) = shell.json(&["put", "k", "x", "--nx"]);
    assert_eq!((status, &refused["refused"], &refused["present"]["revision"]), (1, &true.into(), &4.into()));
    let long = "x".repeat(4097);
    for (key, bytes) in [("", 0), (&long, 4097)] {
        for command in [&["get", key][..], &["put", key, "v"], &["delete", key]] {
            let (status, out, err) = shell.run(command);
            let expected = format!("error: a key has 1 to 4096 bytes, this one has {bytes}\n");
            assert_eq!((status, out.as_str(), err), (2, "", expected), "{}", command[0]);
        }
    }
    let (status, wrong) = shell.json(&["get", "--hex", "0"]);
    assert_eq!((status, &wrong["exit"]), (2, &2.into()));
}

#[tokio::test]
async fn values_pass_through_pipes_unchanged() {
    let shell = Shell(Cluster::started(1, ""));
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let config = shell.0.config();
    let mut put = seaworthy();
    put.args(["put", "photo", "-", "--timeout", "20000", "--cluster", &config]).stdin(Stdio::piped());
    let mut put = put.stdout(Stdio::null()).spawn().expect("starts");
    put.stdin.take().expect("piped").write_all(&bytes).expect("written");
    assert!(put.wait().expect("ends").success());
    let get = seaworthy().args(["get", "photo", "--raw", "--cluster", &config]).output().expect("runs");
    assert!(get.status.success() && get.stdout == bytes);
}

#[tokio::test]
async fn status_and_transfer() {
    let mut shell = Shell(Cluster::started(3, ""));
    let leader = shell.0.leader().await;
    let next = leader % 3 + 1;
    assert_eq!(shell.says(&["transfer", &format!("n{next}")]), (0, format!("n{next} leads")));
    let (status, out, _) = shell.run(&["status"]);
    let led: Vec<&str> = out.lines().filter(|line| line.contains(" leader ")).collect();
    assert!(led.len() == 2 && led[1].starts_with(&format!("n{next} ")), "the heading and the new leader: {out}");
    assert_eq!((status, out.lines().count()), (0, 4));
    let (status, _, err) = shell.run(&["transfer", "n9"]);
    assert_eq!((status, err.as_str()), (2, "error: no such node in this cluster\n"));

    // One of three is a minority: it answers, but there is no leader.
    shell.0.kill(leader);
    shell.0.kill(next);
    let last = 6 - leader - next;
    eventually("the last one knows that it is alone", async || {
        let (status, found) = shell.json(&["status"]);
        let nodes = found["nodes"].as_array()?;
        let reachable = nodes.iter().filter(|node| node["reachable"] == true).count();
        (status == 1 && found["healthy"] == false && reachable == 1).then_some(())
    })
    .await;
    let address = shell.0.servers().nodes[&NodeId(last as u32)].clone();
    let (status, _, err) = run(&["put", "k", "v", "--node", &address, "--timeout", "300"]);
    assert_eq!(status, 1, "certainly not done: {err}");
}

#[tokio::test]
async fn the_load_tool_counts_what_was_acknowledged() {
    let shell = Shell(Cluster::started(3, ""));
    let (status, found) = shell.json(&["bench", "--clients", "3", "--seconds", "1"]);
    let puts = found["puts"].as_u64().expect("a count");
    assert_eq!((status, &found["refused"], &found["clients"]), (0, &0.into(), &3.into()), "{found}");
    // Each put is in the log, as are three sessions, three warm-up writes and the leader's no-op.
    let commit = shell.0.statuses().await.into_iter().flatten().map(|s| s.raft.commit).max().expect("answers");
    assert!(puts > 0 && commit >= puts + 7, "{puts} puts, commit index {commit}");
}

/// A server that opens sessions and then stops answering.
#[tokio::test]
async fn an_unknown_outcome_has_an_exit_status_of_its_own() {
    let config = TcpConfig {
        id: NodeId(1),
        cluster: "test".parse().expect("valid"),
        listen: "127.0.0.1:0".to_owned(),
        nodes: BTreeMap::from([(NodeId(1), String::new())]),
        secret: Secret::none(),
        memory: seaworthy::node::Memory(256 << 20),
        limits: Limits::default(),
        layout: 0,
        source: String::new(),
        mutant: Mutant::default(),
    };
    let mut server = TcpTransport::bind(config, Rng::new(1, "silent")).await.expect("listens");
    let address = server.local_addr().to_string();
    let command = std::thread::spawn(move || run(&["put", "k", "v", "--node", &address, "--timeout", "700"]));
    let mut writes = 0;
    while !command.is_finished() {
        let Ok((from, packet)) = tokio::time::timeout(PATIENCE / 100, server.recv()).await else { continue };
        let Packet::Request(request) = packet else { panic!("{packet:?}") };
        match *request {
            Request { id, body: RequestBody::OpenSession { .. }, .. } => {
                let body = ResponseBody::Session { id: 5, group: seaworthy::types::GroupId(1), groups: 1 };
                server.send(from, &Packet::Response(Response { id, body }));
            }
            Request { body: RequestBody::Write { session: 5, number: 1, .. }, .. } => writes += 1,
            other => panic!("{other:?}"),
        }
    }
    let (status, out, err) = command.join().expect("ran");
    assert_eq!((status, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("it may have happened"), "{err}");
    assert!(writes >= 2, "it was tried again under the same number, {writes} times");
}

#[tokio::test]
async fn a_signal_stops_a_node_with_status_0() {
    let mut cluster = Cluster::started(1, "");
    for name in ["TERM", "INT"] {
        cluster.leader().await;
        signal(cluster.child(1), name);
        assert_eq!(cluster.child(1).wait().expect("ends").code(), Some(0), "{name}");
        cluster.start(1);
    }
}

#[tokio::test]
async fn a_local_cluster_starts_serves_and_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = loop {
        let base = free_ports(1)[0];
        if base < 65_000 && (1..3).all(|i| std::net::TcpListener::bind(("127.0.0.1", base + i)).is_ok()) {
            break base.to_string();
        }
    };
    let shown = dir.path().display().to_string();
    let mut local = seaworthy();
    local.args(["local-cluster", "--dir", &shown, "--base-port", &base]);
    let log = dir.path().join("log");
    let written = std::fs::File::create(&log).expect("a log");
    let mut local = local.stdout(Stdio::piped()).stderr(written).spawn().expect("starts");
    let mut lines = BufReader::new(local.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("says something").expect("readable");
    assert!(first.starts_with("A cluster of 3 nodes, n"), "{first}");
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("listens on") && !log.contains("WARN"), "nothing is wrong: {log}");
    let printed = lines.nth(1).expect("an example").expect("readable");
    let arguments: Vec<&str> = printed.split_whitespace().skip(1).collect();
    let (status, out, err) = run(&arguments);
    assert!(status == 0 && out.starts_with("r0 set "), "what it printed works: {printed}: {out}{err}");

    let (status, _, err) =
        finished(&seaworthy().args(["local-cluster", "--nodes", "5", "--dir", &shown]).output().expect("runs"));
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("holds a cluster with other settings"), "{err}");
    let other = dir.path().join("other").display().to_string();
    let second = seaworthy().args(["local-cluster", "--dir", &other, "--base-port", &base]).output().expect("runs");
    let (status, out, err) = finished(&second);
    assert_eq!((status, out.as_str()), (1, ""), "another cluster's nodes are not taken for its own: {err}");
    assert!(err.contains("Choose another --base-port"), "{err}");

    signal(&local, "INT");
    assert_eq!(local.wait().expect("ends").code(), Some(0));
    let port: u16 = base.parse().expect("a port");
    assert!((0..3).all(|i| std::net::TcpListener::bind(("127.0.0.1", port + i)).is_ok()), "no node is left");
}

/// With a configuration that sends a client to the wrong servers, the command reports what answers there.
#[tokio::test]
async fn a_client_says_why_no_server_takes_it() {
    let cluster = Cluster::started(3, "");
    cluster.leader().await;
    let (mine, theirs) = (cluster.config(), cluster.path("theirs.toml"));
    let theirs = theirs.to_str().expect("a path");
    let text = std::fs::read_to_string(&mine).expect("read");
    let wrong = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        std::fs::write(theirs, text.replace(from, to)).expect("written");
    };
    wrong("cluster = \"test\"", "cluster = \"elsewhere\"");
    let (status, out, err) = run(&["get", "k", "--cluster", theirs, "--timeout", "300"]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    for n in 1..=3 {
        let address = &cluster.servers().nodes[&NodeId(n)];
        assert!(err.contains(&format!("n{n} at {address}: the server belongs to another cluster")), "{err}");
    }
    let (status, out, _) = run(&["status", "--cluster", theirs]);
    assert!(status == 1 && out.contains("n1 is not reached: the server belongs to another cluster"), "{out}");

    // All three are listed at each other's addresses.
    let turned = |line: &str| {
        line.replace("n1 =", "n0 =").replace("n2 =", "n1 =").replace("n3 =", "n2 =").replace("n0 =", "n3 =")
    };
    std::fs::write(theirs, text.lines().map(turned).collect::<Vec<_>>().join("\n")).expect("written");
    let (status, _, err) = run(&["put", "k", "v", "--cluster", theirs, "--timeout", "300"]);
    assert!(status == 1 && err.contains("n2 answers there: compare the addresses in [nodes]"), "{status}: {err}");
    let (status, out, _) = run(&["status", "--cluster", theirs]);
    assert!(status == 1 && out.contains("n1 is not reached: n2 answers there"), "{out}");
}
