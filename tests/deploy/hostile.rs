//! Unauthenticated connections, malicious or merely idle: their data and their number must not harm a cluster.

use crate::cluster::{Cluster, PATIENCE, finished, run, seaworthy};
use seaworthy::client::{Client, Patience};
use seaworthy::env::Transport;
use seaworthy::identity::Origin;
use seaworthy::kv::{Condition, Reply};
use seaworthy::mutant::Mutant;
use seaworthy::node::tcp::{Limits, Secret, TcpConfig, TcpTransport};
use seaworthy::raft::{Body, Entry, Message};
use seaworthy::types::{Addr, Bytes, GroupId, Lane, NodeId, Rng};
use seaworthy::wire::{Packet, Request, RequestBody, frame};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// A handshake, byte by byte as in docs/formats.md.
pub fn hello(kind: u8, node: u32, to: u32, body: [u8; 32]) -> Vec<u8> {
    let mut bytes = b"SEA!".to_vec();
    bytes.extend(3u16.to_le_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(node.to_le_bytes());
    bytes.extend(to.to_le_bytes());
    bytes.extend(body);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

fn peer_frame(term: u64, body: Body) -> Vec<u8> {
    let origin = Origin::default();
    let packet =
        Packet::Peer { origin, lane: Lane::Control, raft: vec![(GroupId(1), Message { term, body })], ap: Vec::new() };
    frame::encode(&packet).expect("small").to_vec()
}

/// Forged messages in another server's name: the highest of all terms, and entries that replace committed ones.
fn lies() -> Vec<Vec<u8>> {
    let entries = vec![Entry { term: 1 << 30, command: Bytes::from_static(b"nonsense") }; 3];
    vec![
        peer_frame(1 << 62, Body::TimeoutNow),
        peer_frame(1 << 30, Body::Append { prev_index: 1, prev_term: 1, entries, commit: 4, round: 1 }),
    ]
}

/// Sends all bytes and reads the reply until the connection is closed.
fn say(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

async fn put(client: &mut Client<impl Transport, impl seaworthy::env::Clock>, key: &str, value: Bytes) {
    let reply = client.put(key.to_owned().into(), value, Condition::ALWAYS, None).await;
    assert!(matches!(reply, Ok(Reply::Done { .. })), "{key}: {reply:?}");
}

/// Regression test: one forged frame of 54 bytes could disable a cluster permanently, and two could overwrite committed
/// entries.
#[tokio::test]
async fn what_strangers_say_changes_nothing() {
    let mut cluster = Cluster::started(3, "");
    let mut client = cluster.client(Patience { operation: PATIENCE, ..Patience::default() });
    put(&mut client, "k", "true".into()).await;
    let term = cluster.statuses().await.into_iter().flatten().map(|s| s.raft.soft.term).max().expect("answers");

    let (servers, mut impostors) = (cluster.servers(), Vec::new());
    for (&target, address) in &servers.nodes {
        let other = target.0 % 3 + 1;
        let dials = hello(1, other, target.0, [7; 32]);
        for lie in lies() {
            // Without a handshake, as a client, as a server without a proof, or with a proof of zeros.
            say(address, &lie);
            say(address, &[hello(2, 0, 0, [0; 32]), lie.clone()].concat());
            let answer = say(address, &[dials.clone(), lie.clone()].concat());
            assert!(answer.len() >= 52 && answer[6] == 3, "a challenge: {answer:02x?}");
            let answer = say(address, &[dials.clone(), vec![0; 32], lie.clone()].concat());
            assert_eq!((answer.get(52), answer.len()), (Some(&5), 93), "and a refusal: {answer:02x?}");
            assert!(answer[53..].iter().all(|byte| *byte == 0), "with nothing made with the secret in it");
        }
        // Truncated, of another version, too long, and not a handshake at all.
        say(address, &dials[..30]);
        say(address, &{
            let mut old = dials.clone();
            old[4] = 2;
            old
        });
        say(address, &vec![b'x'; 1 << 20]);
        say(address, &hello(9, other, target.0, [7; 32]));
        // A correct server of this cluster except for the secret.
        for secret in [Secret::none(), Secret::new(b"a secret of another cluster").expect("long enough")] {
            let config = TcpConfig {
                id: NodeId(other),
                cluster: "test".parse().expect("valid"),
                secret,
                listen: "127.0.0.1:0".to_owned(),
                nodes: servers.nodes.clone(),
                memory: seaworthy::node::Memory(256 << 20),
                limits: Limits::default(),
                layout: 0,
                source: String::new(),
                mutant: Mutant::default(),
            };
            impostors.push((target, TcpTransport::bind(config, Rng::new(1, "impostor")).await.expect("listens")));
        }
    }
    let until = Instant::now() + Duration::from_millis(600);
    while Instant::now() < until {
        for (target, impostor) in &mut impostors {
            let message = Message { term: 1 << 62, body: Body::TimeoutNow };
            let (origin, raft, ap) = (Origin::default(), vec![(GroupId(1), message)], Vec::new());
            impostor.send(Addr::Node(*target), &Packet::Peer { origin, lane: Lane::Control, raft, ap });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(impostors);

    for restarted in [false, true] {
        if restarted {
            cluster.kill_all();
            cluster.start_all();
        }
        put(&mut client, "more", "of it".into()).await;
        let found = client.get("k".to_owned().into()).await.expect("read").expect("there");
        assert_eq!(found.value, "true");
        let statuses: Vec<_> = cluster.statuses().await.into_iter().flatten().collect();
        assert_eq!(statuses.len(), 3);
        let terms: Vec<u64> = statuses.iter().map(|s| s.raft.soft.term).collect();
        assert!(terms.iter().all(|now| *now <= term + 5), "terms {terms:?}, {term} before");
    }
}

/// `serve` with at most this many open files.
fn with_files(cluster: &Cluster, i: usize, files: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" serve --config \"$1\"")]);
    command.arg(seaworthy().get_program()).arg(cluster.path(&format!("n{i}.toml")));
    command.env_remove("RUST_LOG").stdin(std::process::Stdio::null());
    command
}

/// Regression test: idle connections could use up the files that a leader's log needs, and the connections of clients.
#[tokio::test]
async fn idle_connections_neither_stop_a_node_nor_shut_clients_out() {
    let mut cluster = Cluster::new(3, "segment_mib = 1\n");
    for i in 1..=3 {
        cluster.start_by(i, with_files(&cluster, i, 128));
    }
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let mut known = cluster.client(patience);
    put(&mut known, "k", "before".into()).await;
    let leader = cluster.leader().await;
    let address = cluster.servers().nodes[&NodeId(leader as u32)].clone();

    // Half of them send nothing and half only a client's handshake: 480 in all, several hundred per second.
    let mut idle = Vec::new();
    for round in 0..240 {
        for greets in [false, true] {
            let Ok(mut stream) = TcpStream::connect(&address) else { continue };
            if greets {
                let _ = stream.write_all(&hello(2, 0, 0, [0; 32]));
            }
            idle.push(stream);
        }
        // Meanwhile the log continues in new files, an active client stays connected, and new clients are accepted.
        if round % 12 == 0 {
            put(&mut known, &format!("big/{round}"), vec![1; 200_000].into()).await;
        }
        if round % 60 == 0 {
            put(&mut cluster.client(patience), &format!("new/{round}"), "here".into()).await;
        }
    }
    assert!(idle.len() > 400, "only {} connections were opened", idle.len());
    let child = cluster.child(leader);
    assert!(child.try_wait().expect("a process").is_none(), "the leader runs on");
    let log = cluster.log(leader);
    let refused = log.lines().filter(|line| line.contains("refused") || line.contains("closed")).count();
    assert!((1..60).contains(&refused), "{refused} lines about {} connections", idle.len());
    assert!(log.contains("128 files may be open: at most"), "the start says what the files allow");

    // Its peers are still accepted.
    let follower = leader % 3 + 1;
    cluster.kill(follower);
    cluster.start_by(follower, with_files(&cluster, follower, 128));
    let up = format!("link to n{leader} at");
    let begun = Instant::now();
    while !cluster.log(follower).rsplit("listens on").next().is_some_and(|end| end.contains(&up)) {
        assert!(begun.elapsed() < PATIENCE, "n{follower} does not get through to n{leader}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the resident memory of process `i`, in MiB.
fn resident(cluster: &mut Cluster, i: usize) -> u64 {
    let path = format!("/proc/{}/status", cluster.child(i).id());
    let text = std::fs::read_to_string(path).expect("runs");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") >> 10
}

/// Regression test: 60 connections could occupy 480 MiB of a server by sending all of a frame except its end, and 60
/// MiB permanently by one request of 1 MiB each.
#[tokio::test]
async fn large_frames_take_no_more_than_their_share_of_memory() {
    let mut cluster = Cluster::started(1, "memory_mib = 32\n");
    let patience = Patience { operation: PATIENCE, ..Patience::default() };
    let mut known = cluster.client(patience);
    put(&mut known, "k", "before".into()).await;
    let before = resident(&mut cluster, 1);
    let address = cluster.servers().nodes.into_values().next().expect("one node");
    let request = |body| frame::encode(&Packet::from(Request::new(1, body))).expect("fits");
    let open = || {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.write_all(&hello(2, 0, 0, [0; 32])).expect("written");
        stream
    };

    // A key that is much too long is refused, but its frame is complete.
    let large = request(RequestBody::Get { key: vec![b'k'; 1 << 20].into() });
    let mut served = Vec::new();
    for _ in 0..60 {
        let mut stream = open();
        stream.write_all(&large).expect("written");
        stream.read_exact(&mut [0; 80]).expect("a welcome and an answer");
        served.push(stream);
    }
    let kept = resident(&mut cluster, 1).saturating_sub(before);
    assert!(kept < 25, "60 connections keep {kept} MiB when they are served");

    let mut unfinished = frame::encode(&Packet::from(Request::new(2, RequestBody::Status))).expect("small").to_vec();
    let mut endless = large[..frame::HEADER_BYTES].to_vec();
    endless[12..16].copy_from_slice(&((frame::MAX_FRAME_BYTES - frame::HEADER_BYTES) as u32).to_le_bytes());
    unfinished.extend(endless);
    unfinished.resize(unfinished.len() + frame::MAX_FRAME_BYTES - frame::HEADER_BYTES - 1, b'x');
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut stream = open();
        stream.set_write_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        // Sends as much as the server accepts.
        let _ = stream.write_all(&unfinished);
        slow.push(stream);
    }
    let taken = resident(&mut cluster, 1).saturating_sub(before);
    assert!(taken < 40, "60 unfinished frames take {taken} MiB");

    // Other clients are served meanwhile: small requests at once, large ones soon.
    let begun = Instant::now();
    put(&mut known, "k", "small".into()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "a small request took {:?}", begun.elapsed());
    put(&mut known, "k", vec![1; 1 << 20].into()).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "a large request took {:?}", begun.elapsed());
}

#[tokio::test]
async fn too_few_files_are_no_start() {
    let cluster = Cluster::new(3, "");
    let (status, _, err) = finished(&with_files(&cluster, 1, 70).output().expect("runs"));
    assert!(status == 1 && err.contains("only 70 files may be open") && err.contains("ulimit -n"), "{status}: {err}");
}

#[tokio::test]
async fn a_secret_is_asked_for_and_made() {
    let cluster = Cluster::new(3, "");
    let config = cluster.config();
    let text = std::fs::read_to_string(&config).expect("there");
    let with = |line: &str| {
        std::fs::write(&config, text.replace("secret_file = \"secret\"\n", line)).expect("written");
        let serve = seaworthy().args(["serve", "--until-stdin-ends", "--config", &config]).output();
        finished(&serve.expect("runs"))
    };
    let (status, _, err) = with("");
    assert!(status == 2 && err.contains("no secret") && err.contains("insecure = true"), "{status}: {err}");
    let made = cluster.path("made").display().to_string();
    let (status, _, err) = with("secret_file = \"made\"\n");
    assert!(status == 2 && err.contains(&format!("`seaworthy secret {made}`")), "{status}: {err}");
    assert_eq!(run(&["secret", &made]), (0, String::new(), String::new()));
    let (status, _, err) = with("secret_file = \"made\"\n");
    assert!(status == 0 && err.contains("listens on"), "{status}: {err}");
    let (status, _, err) = with("insecure = true\n");
    assert!(status == 0 && err.contains("can pass for a server"), "{status}: {err}");
    let (status, out, _) = run(&["secret"]);
    assert_eq!((status, out.trim_end().len()), (0, 64));
}
