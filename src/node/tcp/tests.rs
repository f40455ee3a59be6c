//! Tests the TCP transport on real loopback connections, with honest and dishonest peers.

use super::*;
use crate::env::Transport;
use crate::identity::Origin;
use crate::mutant::Mutant;
use crate::node::Memory;
use crate::raft::{Body, Message};
use crate::types::{Addr, GroupId, Lane, NodeId, Rng};
use crate::wire::{Packet, Request, RequestBody, Response, ResponseBody, frame};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn config(id: u32, listen: &str, nodes: &[(u32, String)]) -> TcpConfig {
    TcpConfig {
        id: NodeId(id),
        cluster: "harbour".parse().expect("valid"),
        secret: Secret::new(b"nothing but the tide").expect("long enough"),
        listen: listen.to_owned(),
        nodes: nodes.iter().map(|(id, address)| (NodeId(*id), address.clone())).collect(),
        limits: Limits { clients: 3, per_address: 3, strangers: 4 },
        layout: 5,
        memory: Memory(256 << 20),
        source: "n.toml".to_owned(),
        mutant: Mutant::default(),
    }
}

/// Bytes of frames from clients that wait to be processed.
const SERVER_INBOX: usize = Memory(256 << 20).from_clients();

async fn bind(config: TcpConfig) -> TcpTransport {
    // The port of a dropped transport is free only when its tasks have ended.
    for _ in 0..1_000 {
        let rng = Rng::new(u64::from(config.id.0), "tcp test");
        match TcpTransport::bind(config.clone(), rng).await {
            Ok(transport) => return transport,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("{} stays in use", config.listen);
}

/// Starts n1, which listens, in a cluster whose n2 is at `n2`.
async fn server(n2: &str) -> TcpTransport {
    bind(config(1, "127.0.0.1:0", &[(1, String::new()), (2, n2.to_owned())])).await
}

fn client(server: &TcpTransport) -> TcpClientTransport {
    let nodes = BTreeMap::from([(NodeId(1), server.local_addr().to_string())]);
    TcpClientTransport::new(Servers { cluster: None, nodes })
}

fn request(id: u64) -> Packet {
    Packet::from(Request::new(id, RequestBody::Status))
}

fn peer_packet(term: u64) -> Packet {
    Packet::Peer {
        origin: Origin::default(),
        lane: Lane::Control,
        raft: vec![(GroupId(1), Message { term, body: Body::TimeoutNow })],
        ap: Vec::new(),
    }
}

async fn next(transport: &mut impl Transport) -> (Addr, Packet) {
    timeout(PATIENCE, transport.recv()).await.expect("a packet in time")
}

/// Waits until the server has closed the connection, and discards what it sends before.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset counts as closed too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
}

#[tokio::test]
async fn peers_hear_each_other_in_order() {
    // n1 and n2 must know each other's address: take a free port for n2 first.
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

/// Sends until something arrives: packets queued before the connection is up may be lost with a failed dial.
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

/// Returns a server's answer to `hello`. Checks that it then closes the connection, whatever else it is sent.
async fn turned_away(server: &TcpTransport, hello: &Hello) -> Hello {
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    hello.write(&mut stream).await.expect("written");
    let answer = Hello::read(&mut stream).await.expect("answered");
    let _ = stream.write_all(&frame::encode(&peer_packet(1 << 61)).expect("small")).await;
    closed(&mut stream).await;
    answer
}

#[tokio::test]
async fn strangers_are_turned_away_and_learn_nothing() {
    let mut server = server("127.0.0.1:1").await;
    let nonce = Nonce([1; 32]);
    let dials = |node: u32, to: u32| Hello::Server { node: NodeId(node), to: NodeId(to), lane: Lane::Control, nonce };
    let elsewhere = Hello::Client { cluster: Some("elsewhere".parse().expect("valid")) };
    for (hello, why) in [
        (dials(1, 1), Turned::Unknown),
        (dials(3, 1), Turned::Unknown),
        (dials(2, 3), Turned::OtherServer),
        (elsewhere, Turned::OtherCluster),
    ] {
        assert_eq!(turned_away(&server, &hello).await, Hello::Refused(why), "{hello:?}");
    }
    // A dialler that claims to be n2 is asked for a proof. A frame is not a proof.
    let challenge = turned_away(&server, &dials(2, 1)).await;
    assert!(matches!(challenge, Hello::Challenge { node: NodeId(1), .. }), "{challenge:?}");
    let welcome = greeted(&server).await.1;
    for answer in [challenge, welcome] {
        let bytes = answer.encode();
        assert!(!bytes.windows(7).any(|window| window == b"harbour"), "the cluster's name");
        assert!(!bytes.windows(8).any(|window| window == 5u64.to_le_bytes()), "the layout");
    }
    assert_eq!(server.try_recv(), None, "nothing they sent was taken in");
    assert_eq!(server.bad_frames(), 0, "they spoke properly, only to the wrong server");
}

/// Opens a client's connection and exchanges hellos.
async fn greeted(server: &TcpTransport) -> (TcpStream, Hello) {
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    Hello::Client { cluster: None }.write(&mut stream).await.expect("written");
    let answer = Hello::read(&mut stream).await.expect("answered");
    (stream, answer)
}

/// An impostor with another secret is refused. So is one that replays what a real peer sent.
#[tokio::test]
async fn impostors_and_recordings_are_turned_away() {
    let n2_port = free_port().await;
    let mut n1 = server(&n2_port).await;
    let nodes = [(1, n1.local_addr().to_string()), (2, n2_port.clone())];
    let secret = Secret::new(b"something like the tide").expect("long enough");
    let mut impostor = bind(TcpConfig { secret, ..config(2, "127.0.0.1:0", &nodes) }).await;
    for term in 0..50 {
        impostor.send(Addr::Node(NodeId(1)), &peer_packet(term));
        assert!(timeout(Duration::from_millis(5), n1.recv()).await.is_err());
    }
    drop(impostor);

    // n2 dials n1 through a relay that records everything n2 sends.
    let wiretap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let through = [(1, wiretap.local_addr().expect("bound").to_string()), (2, n2_port.clone())];
    let mut n2 = bind(config(2, &n2_port, &through)).await;
    let (mut near, _) = wiretap.accept().await.expect("n2 dials");
    let mut far = TcpStream::connect(n1.local_addr()).await.expect("connects");
    let mut recorded = Vec::new();
    let mut buffer = [0; 4096];
    n2.send(Addr::Node(NodeId(1)), &peer_packet(7));
    let heard = loop {
        tokio::select! {
            biased;
            arrived = n1.recv() => break arrived,
            read = near.read(&mut buffer) => {
                let count = read.expect("n2 speaks");
                recorded.extend_from_slice(&buffer[..count]);
                far.write_all(&buffer[..count]).await.expect("n1 listens");
                let mut answer = [0; 4096];
                while let Ok(Ok(count)) = timeout(Duration::from_millis(20), far.read(&mut answer)).await {
                    near.write_all(&answer[..count]).await.expect("n2 listens");
                }
            }
        }
    };
    assert_eq!(heard, (Addr::Node(NodeId(2)), peer_packet(7)), "it was a real conversation");
    // Bytes inserted after the recording, or sent again, are detected.
    far.write_all(&recorded[recorded.len() - 40..]).await.expect("n1 listens");
    closed(&mut far).await;
    assert_eq!(n1.bad_frames(), 1);
    let mut again = TcpStream::connect(n1.local_addr()).await.expect("connects");
    again.write_all(&recorded).await.expect("written");
    closed(&mut again).await;
    assert_eq!(n1.try_recv(), None);
}

/// A server's own messages are not valid as answers to it: not its challenge as a proof, and not its proof to a server
/// that it dials.
#[tokio::test]
async fn reflections_are_turned_away() {
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut n1 = server(&trap.local_addr().expect("bound").to_string()).await;
    // n1 dials n2 but reaches an impostor, which dials n1 and reflects n1's messages.
    let (mut dialled, _) = trap.accept().await.expect("n1 dials");
    let Ok(Hello::Server { node: NodeId(1), to: NodeId(2), nonce, .. }) = Hello::read(&mut dialled).await else {
        panic!("n1 says who it is")
    };
    let mut back = TcpStream::connect(n1.local_addr()).await.expect("connects");
    Hello::Server { node: NodeId(2), to: NodeId(1), lane: Lane::Control, nonce }
        .write(&mut back)
        .await
        .expect("written");
    let Ok(Hello::Challenge { nonce, .. }) = Hello::read(&mut back).await else { panic!("a challenge") };
    Hello::Challenge { node: NodeId(2), nonce }.write(&mut dialled).await.expect("written");
    let mut proof = [0; 32];
    dialled.read_exact(&mut proof).await.expect("n1 proves itself");
    back.write_all(&proof).await.expect("written");
    let mut verdict = [0; 41];
    back.read_exact(&mut verdict).await.expect("a verdict");
    assert_eq!((verdict[0], &verdict[1..]), (Turned::Unproven as u8, &[0; 40][..]), "and nothing made with the secret");
    closed(&mut back).await;
    // n1's own proof, sent back as the impostor's, is not accepted either.
    dialled.write_all(&[&[0; 9][..], &proof].concat()).await.expect("written");
    closed(&mut dialled).await;
    assert_eq!(n1.try_recv(), None);
}

#[tokio::test]
async fn a_server_with_another_layout_keeps_away() {
    let n2_port = free_port().await;
    let mut n1 = server(&n2_port).await;
    let nodes = [(1, n1.local_addr().to_string()), (2, n2_port.clone())];
    let mut n2 = bind(TcpConfig { layout: 6, ..config(2, &n2_port, &nodes) }).await;
    for term in 0..20 {
        n2.send(Addr::Node(NodeId(1)), &peer_packet(term));
        n1.send(Addr::Node(NodeId(2)), &peer_packet(term));
        assert!(timeout(Duration::from_millis(5), n1.recv()).await.is_err());
    }
    assert_eq!((n1.try_recv(), n2.try_recv()), (None, None));
}

#[tokio::test]
async fn who_says_nothing_gives_way() {
    let mut server = server("127.0.0.1:1").await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.local_addr()).await.expect("connects"));
        silent.push(greeted(&server).await.0);
    }
    let mut honest = client(&server);
    honest.send(Addr::Node(NodeId(1)), &request(5));
    let (from, arrived) = next(&mut server).await;
    assert_eq!(arrived, request(5));
    let body = ResponseBody::TransferStarted;
    server.send(from, &Packet::Response(Response { id: 5, body }));
    next(&mut honest).await;
    assert!(server.clients() <= 3);
    closed(&mut silent[0]).await;
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
        Hello::Client { cluster: None }.write(&mut stream).await.expect("written");
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
    Hello::Client { cluster: None }.write(&mut stream).await.expect("written");
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
    Hello::Client { cluster: None }.write(&mut stream).await.expect("written");
    closed(&mut stream).await;
    assert_eq!(server.clients(), 3);
}

#[tokio::test]
async fn a_newer_link_of_a_peer_replaces_the_older() {
    let mut server = server("127.0.0.1:1").await;
    let n2 = config(2, "", &[(1, String::new()), (2, String::new())]);
    let mut rng = Rng::new(2, "links");
    let mut links = Vec::new();
    for term in 0..2 {
        let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
        let (key, layout) = auth::dial(&mut stream, &n2, (NodeId(1), Lane::Control), &mut rng).await.expect("proven");
        assert_eq!(layout, 5);
        let mut link = sealed::Sealing::new(stream, key);
        link.write_all(&frame::encode(&peer_packet(term)).expect("small")).await.expect("written");
        link.flush().await.expect("written");
        assert_eq!(next(&mut server).await, (Addr::Node(NodeId(2)), peer_packet(term)));
        links.push(link);
    }
    let mut pulse = [0; 64];
    let ended = async { while links[0].get_mut().read(&mut pulse).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, ended).await.expect("closed in time");
    links[1].write_all(&frame::encode(&peer_packet(9)).expect("small")).await.expect("written");
    links[1].flush().await.expect("written");
    assert_eq!(next(&mut server).await.1, peer_packet(9));
}

#[tokio::test]
async fn the_inbox_pushes_back_instead_of_growing() {
    let mut server = server("127.0.0.1:1").await;
    let mut stream = TcpStream::connect(server.local_addr()).await.expect("connects");
    Hello::Client { cluster: None }.write(&mut stream).await.expect("written");
    let key = vec![7; 1 << 20].into();
    let frame = frame::encode(&Packet::from(Request::new(1, RequestBody::Get { key }))).expect("fits");
    // Nothing is taken out of the inbox: before long, nothing more is accepted.
    let mut sent = 0;
    while timeout(Duration::from_millis(300), stream.write_all(&frame)).await.is_ok() {
        sent += 1;
        assert!(sent * (1 << 20) < 4 * SERVER_INBOX, "the server reads without end");
    }
    assert!(sent * (1 << 20) >= SERVER_INBOX);
    let mut taken = 0;
    while server.try_recv().is_some() {
        taken += 1;
    }
    assert!((1..=SERVER_INBOX >> 20).contains(&taken), "{taken} were waiting");
}

#[tokio::test]
async fn a_server_says_who_it_is() {
    let server = server("127.0.0.1:1").await;
    let other = bind(TcpConfig { cluster: "bay".parse().expect("valid"), ..config(2, "127.0.0.1:0", &[]) }).await;
    let (node, tag) = identify(&server.local_addr().to_string(), None).await.expect("answers");
    assert_eq!(node, NodeId(1));
    assert_eq!(identify(&server.local_addr().to_string(), None).await.expect("answers").1, tag);
    assert_ne!(identify(&other.local_addr().to_string(), None).await.expect("answers").1, tag);
}
