//! The TCP transport on real loopback connections, with honest and dishonest far ends.

use super::*;
use crate::node::Transport;
use crate::raft::{Body, Message};
use crate::types::{Addr, GroupId, NodeId, Rng};
use crate::wire::{Packet, Request, RequestBody, Response, ResponseBody, frame};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn config(id: u32, listen: &str, nodes: &[(u32, String)]) -> TcpConfig {
    TcpConfig {
        id: NodeId(id),
        cluster: "harbour".parse().expect("valid"),
        listen: listen.to_owned(),
        nodes: nodes.iter().map(|(id, address)| (NodeId(*id), address.clone())).collect(),
        max_clients: 3,
        layout: 5,
        source: "n.toml".to_owned(),
    }
}

async fn bind(config: TcpConfig) -> TcpTransport {
    // A transport that was dropped gives its port back when its tasks notice.
    for _ in 0..1_000 {
        let rng = Rng::new(u64::from(config.id.0), "tcp test");
        match TcpTransport::bind(config.clone(), rng).await {
            Ok(transport) => return transport,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("{} stays in use", config.listen);
}

/// n1, listening, in a cluster whose n2 is at `n2`.
async fn server(n2: &str) -> TcpTransport {
    bind(config(1, "127.0.0.1:0", &[(1, String::new()), (2, n2.to_owned())])).await
}

fn client(server: &TcpTransport) -> TcpClientTransport {
    let nodes = BTreeMap::from([(NodeId(1), server.local_addr().to_string())]);
    TcpClientTransport::new(Servers { cluster: None, nodes })
}

fn request(id: u64) -> Packet {
    Packet::from(Request { id, forwarded: false, body: RequestBody::Status })
}

fn peer_packet(term: u64) -> Packet {
    Packet::Peer { raft: vec![(GroupId(1), Message { term, body: Body::TimeoutNow })], ap: Vec::new() }
}

async fn next(transport: &mut impl Transport) -> (Addr, Packet) {
    timeout(PATIENCE, transport.recv()).await.expect("a packet in time")
}

/// Waits until the server has closed the connection, reading whatever it says before.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good an end as any.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
}

#[tokio::test]
async fn peers_hear_each_other_in_order() {
    // n2 must know where n1 is and n1 where n2 is: take a free port for n2 first.
    let n2_port = free_port().await;
    let mut n1 = server(&n2_port).await;
    let nodes = [(1, n1.local_addr().to_string()), (2, n2_port.clone())];
    let mut n2 = bind(config(2, &n2_port, &nodes)).await;

    link_up((1, &mut n1), (2, &mut n2)).await;
    for term in 1..5_000 {
        n1.send(Addr::Node(NodeId(2)), &peer_packet(term));
    }
    for term in 1..5_000 {
        assert_eq!(next(&mut n2).await, (Addr::Node(NodeId(1)), peer_packet(term)));
    }
    link_up((2, &mut n2), (1, &mut n1)).await;
    n2.send(Addr::Node(NodeId(1)), &peer_packet(7));
    assert_eq!(next(&mut n1).await, (Addr::Node(NodeId(2)), peer_packet(7)));
    assert_eq!((n1.bad_frames(), n2.bad_frames()), (0, 0));
}

/// Sends until something arrives: what was queued before the link was up may be lost with a failed dial.
async fn link_up((a, from): (u32, &mut TcpTransport), (b, to): (u32, &mut TcpTransport)) {
    let (source, target) = (Addr::Node(NodeId(a)), Addr::Node(NodeId(b)));
    let arrived = async {
        loop {
            from.send(target, &peer_packet(0));
            if let Ok(arrived) = timeout(Duration::from_millis(20), to.recv()).await {
                assert_eq!(arrived, (source, peer_packet(0)));
                return;
            }
        }
    };
    timeout(PATIENCE, arrived).await.expect("the link comes up");
    while timeout(Duration::from_millis(20), to.recv()).await.is_ok() {}
}

async fn free_port() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("has an address").to_string()
}

#[tokio::test]
async fn a_peer_that_returns_is_dialled_again() {
    let n2_port = free_port().await;
    let mut n1 = server(&n2_port).await;
    let nodes = [(1, n1.local_addr().to_string()), (2, n2_port.clone())];
    for _ in 0..2 {
        let mut n2 = bind(config(2, &n2_port, &nodes)).await;
        link_up((1, &mut n1), (2, &mut n2)).await;
    }
}

#[tokio::test]
async fn a_client_is_answered_on_its_own_connection() {
    let mut server = server("127.0.0.1:1").await;
    let (mut a, mut b) = (client(&server), client(&server));
    a.send(Addr::Node(NodeId(1)), &request(10));
    b.send(Addr::Node(NodeId(1)), &request(20));
    for _ in 0..2 {
        let (from, Packet::Request(request)) = next(&mut server).await else { panic!("not a request") };
        let id = request.id;
        server.send(from, &Packet::Response(Response { id, body: ResponseBody::TransferStarted }));
    }
    for (client, id) in [(&mut a, 10), (&mut b, 20)] {
        let expected = Packet::Response(Response { id, body: ResponseBody::TransferStarted });
        assert_eq!(next(client).await, (Addr::Node(NodeId(1)), expected));
    }
    drop((a, b));
    let gone = async {
        while server.clients() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("connections are forgotten when they end");
}

#[tokio::test]
async fn strangers_and_impostors_are_turned_away() {
    let mut server = server("127.0.0.1:1").await;
    let other: ClusterName = "elsewhere".parse().expect("valid");
    let ours: ClusterName = "harbour".parse().expect("valid");
    for hello in [
        Hello::server(NodeId(2), other.clone(), 5),
        Hello::server(NodeId(1), ours.clone(), 5),
        Hello::server(NodeId(3), ours.clone(), 5),
        Hello::server(NodeId(2), ours.clone(), 6),
        Hello::client(Some(other)),
    ] {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
        hello.write(&mut stream).await.expect("written");
        assert_eq!(Hello::read(&mut stream).await.expect("answered"), Hello::server(NodeId(1), ours.clone(), 5));
        let _ = stream.write_all(&frame::encode(&request(1)).expect("small")).await;
        closed(&mut stream).await;
    }
    assert_eq!(server.try_recv(), None, "nothing they sent was taken in");
    assert_eq!(server.bad_frames(), 0, "they spoke properly, only to the wrong server");
}

#[tokio::test]
async fn bad_frames_close_the_connection_and_are_counted() {
    let mut server = server("127.0.0.1:1").await;
    let good = frame::encode(&request(1)).expect("small").to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    let bad: [(&str, Vec<u8>); 6] = [
        ("random bytes", (0..200u32).map(|i| (i * 97 + 13) as u8).collect()),
        ("giant length", with(8, &u32::MAX.to_le_bytes())),
        ("just too large", with(8, &(frame::MAX_FRAME_BYTES as u32).to_le_bytes())),
        ("another version", with(4, &[9])),
        ("a flipped bit", with(good.len() - 1, &[good[good.len() - 1] ^ 1])),
        ("cut short", good[..good.len() - 1].to_vec()),
    ];
    for (count, (what, bytes)) in (1..).zip(bad) {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
        Hello::client(None).write(&mut stream).await.expect("written");
        stream.write_all(&bytes).await.expect("written");
        if what == "cut short" {
            stream.shutdown().await.expect("shut down");
        }
        closed(&mut stream).await;
        assert_eq!(server.bad_frames(), count, "{what}");
    }
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    stream.write_all(&[b'G'; HELLO_BYTES]).await.expect("written");
    closed(&mut stream).await;
    assert_eq!(server.bad_frames(), 7, "a malformed hello");

    assert_eq!(server.try_recv(), None, "nothing bad was taken in");
    let mut honest = client(&server);
    honest.send(Addr::Node(NodeId(1)), &request(5));
    assert_eq!(next(&mut server).await.1, request(5), "and the server serves on");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let mut server = server("127.0.0.1:1").await;
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    Hello::client(None).write(&mut stream).await.expect("written");
    stream.write_all(&frame::encode(&request(1)).expect("small")).await.expect("written");
    let (from, _) = next(&mut server).await;
    let big = || {
        let refused = crate::wire::Refused::Invalid("x".repeat(1 << 20));
        Packet::Response(Response { id: 1, body: ResponseBody::Refused(refused) })
    };
    let cut_off = async {
        while server.clients() > 0 {
            server.send(from, &big());
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cut_off).await.expect("cut off in time");
    assert!(server.dropped() > 0);
}

#[tokio::test]
async fn there_are_only_so_many_clients() {
    let mut server = server("127.0.0.1:1").await;
    let mut clients: Vec<_> = (0..3).map(|_| client(&server)).collect();
    for client in &mut clients {
        client.send(Addr::Node(NodeId(1)), &request(1));
        next(&mut server).await;
    }
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    Hello::client(None).write(&mut stream).await.expect("written");
    closed(&mut stream).await;
    assert_eq!(server.clients(), 3);
}

#[tokio::test]
async fn a_newer_link_of_a_peer_replaces_the_older() {
    let mut server = server("127.0.0.1:1").await;
    let mut links = Vec::new();
    for term in 0..2 {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
        Hello::server(NodeId(2), "harbour".parse().expect("valid"), 5).write(&mut stream).await.expect("written");
        stream.write_all(&frame::encode(&peer_packet(term)).expect("small")).await.expect("written");
        assert_eq!(next(&mut server).await, (Addr::Node(NodeId(2)), peer_packet(term)));
        links.push(stream);
    }
    closed(&mut links[0]).await;
    links[1].write_all(&frame::encode(&peer_packet(9)).expect("small")).await.expect("written");
    assert_eq!(next(&mut server).await.1, peer_packet(9));
}

#[tokio::test]
async fn the_inbox_pushes_back_instead_of_growing() {
    let mut server = server("127.0.0.1:1").await;
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    Hello::client(None).write(&mut stream).await.expect("written");
    let key = vec![7; 1 << 20].into();
    let frame = frame::encode(&Packet::from(Request { id: 1, forwarded: false, body: RequestBody::Get { key } }))
        .expect("fits");
    // Nobody takes anything out: before long, nothing more goes in.
    let mut sent = 0;
    while timeout(Duration::from_millis(300), stream.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(sent * (1 << 20) < 4 * INBOX_BYTES, "the server reads without end");
    }
    assert!(sent * (1 << 20) >= INBOX_BYTES);
    let mut taken = 0;
    while server.try_recv().is_some() {
        taken += 1;
    }
    assert!((1..=INBOX_BYTES >> 20).contains(&taken), "{taken} were waiting");
}

#[tokio::test]
async fn a_server_says_who_it_is() {
    let server = server("127.0.0.1:1").await;
    let (node, cluster) = identify(&server.local_addr().to_string()).await.expect("answers");
    assert_eq!((node, cluster.to_string()), (NodeId(1), "harbour".to_owned()));
}
