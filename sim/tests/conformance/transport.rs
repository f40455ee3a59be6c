//! Checks that every transport must pass. Frames may be lost, so each check sends until enough have arrived.

use seaworthy::env::{Clock, Transport};
use seaworthy::types::{Addr, NodeId};
use seaworthy::wire::{Packet, Request, RequestBody};
use std::future::Future;
use std::time::Duration;

/// A network of two servers.
pub trait Bench {
    type Transport: Transport;
    type Clock: Clock;
    /// Listens as server 1 or 2. An earlier transport of the same server must have been dropped.
    fn listen(&mut self, node: NodeId) -> impl Future<Output = Self::Transport>;
    fn clock(&self) -> Self::Clock;
    /// The minimum latency of a frame.
    fn least_latency(&self) -> Duration;
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const PATIENCE: Duration = Duration::from_secs(20);

pub const CHECKS: [&str; 6] = [
    "frames keep their order and their contents",
    "nothing comes of nothing",
    "an address without a listener does no harm",
    "the mail of the dead is lost",
    "giving up a wait loses nothing",
    "frames take their time",
];

/// Runs the check of this name on its own network.
pub async fn check<B: Bench>(name: &str, bench: &mut B) {
    match name {
        "frames keep their order and their contents" => order(bench).await,
        "nothing comes of nothing" => nothing(bench).await,
        "an address without a listener does no harm" => nobody(bench).await,
        "the mail of the dead is lost" => the_dead(bench).await,
        "giving up a wait loses nothing" => giving_up(bench).await,
        _ => takes_time(bench).await,
    }
}

/// A packet that contains a number twice: as its id and in its body.
fn packet(number: u32) -> Packet {
    Packet::from(Request::new(u64::from(number), RequestBody::Transfer { to: NodeId(number) }))
}

fn number(packet: &Packet) -> u32 {
    let Packet::Request(request) = packet else { panic!("only requests were sent: {packet:?}") };
    let RequestBody::Transfer { to: NodeId(number) } = request.body else { panic!("another body: {request:?}") };
    assert_eq!(request.id, u64::from(number), "the two halves of one frame");
    number
}

/// Returns the next number that arrives at `receiver` within `patience`.
async fn next<B: Bench>(bench: &B, receiver: &mut B::Transport, patience: Duration) -> Option<u32> {
    let clock = bench.clock();
    let deadline = clock.now() + patience;
    tokio::select! {
        biased;
        (from, packet) = receiver.recv() => {
            assert_eq!(from, Addr::Node(ONE), "the sender's address");
            Some(number(&packet))
        }
        () = clock.sleep_until(deadline) => None,
    }
}

/// Sends from 1 to 2, counting up from `first`, until a number arrives. Returns the last number sent and the one that
/// arrived.
async fn connect<B: Bench>(bench: &B, from: &mut B::Transport, to: &mut B::Transport, first: u32) -> (u32, u32) {
    let end = bench.clock().now() + PATIENCE;
    for n in first.. {
        from.send(Addr::Node(TWO), &packet(n));
        if let Some(arrived) = next(bench, to, Duration::from_millis(20)).await {
            return (n, arrived);
        }
        assert!(bench.clock().now() < end, "nothing arrives");
    }
    unreachable!("numbers do not end")
}

async fn order<B: Bench>(bench: &mut B) {
    let (mut one, mut two) = (bench.listen(ONE).await, bench.listen(TWO).await);
    let (sent, mut last) = connect(bench, &mut one, &mut two, 1).await;
    for n in sent + 1..=sent + 500 {
        one.send(Addr::Node(TWO), &packet(n));
    }
    while last < sent + 500 {
        let arrived = next(bench, &mut two, PATIENCE).await.expect("no frame is lost while nothing is wrong");
        assert!(arrived > last, "{arrived} after {last}");
        last = arrived;
    }
    assert_eq!((one.bad_frames(), two.bad_frames()), (0, 0));
}

async fn nothing<B: Bench>(bench: &mut B) {
    let (_one, mut two) = (bench.listen(ONE).await, bench.listen(TWO).await);
    assert!(two.try_recv().is_none());
    assert_eq!(next(bench, &mut two, Duration::from_millis(100)).await, None);
}

async fn nobody<B: Bench>(bench: &mut B) {
    let mut one = bench.listen(ONE).await;
    for n in 1..=100 {
        one.send(Addr::Node(TWO), &packet(n));
        one.send(Addr::Client(77), &packet(n));
    }
    let mut two = bench.listen(TWO).await;
    connect(bench, &mut one, &mut two, 101).await;
}

async fn the_dead<B: Bench>(bench: &mut B) {
    let (mut one, mut two) = (bench.listen(ONE).await, bench.listen(TWO).await);
    let (sent, _) = connect(bench, &mut one, &mut two, 1).await;
    for n in sent + 1..=sent + 20 {
        one.send(Addr::Node(TWO), &packet(n));
    }
    // They arrive, are not read, and the process dies.
    let clock = bench.clock();
    clock.sleep_until(clock.now() + Duration::from_millis(300)).await;
    drop(two);
    clock.sleep_until(clock.now() + Duration::from_millis(100)).await;
    let mut two = bench.listen(TWO).await;
    let (_, arrived) = connect(bench, &mut one, &mut two, 1_000).await;
    assert!(arrived >= 1_000, "{arrived} was for the one that died");
}

async fn giving_up<B: Bench>(bench: &mut B) {
    let (mut one, mut two) = (bench.listen(ONE).await, bench.listen(TWO).await);
    let (sent, mut last) = connect(bench, &mut one, &mut two, 1).await;
    let mut given_up = 0;
    for n in sent + 1..=sent + 50 {
        one.send(Addr::Node(TWO), &packet(n));
        match next(bench, &mut two, Duration::from_micros(500)).await {
            Some(arrived) => last = arrived,
            None => given_up += 1,
        }
    }
    while last < sent + 50 {
        let arrived = next(bench, &mut two, PATIENCE).await.expect("a wait given up takes no frame with it");
        assert_eq!(arrived, last + 1);
        last = arrived;
    }
    assert!(given_up < 51);
}

async fn takes_time<B: Bench>(bench: &mut B) {
    let (mut one, mut two) = (bench.listen(ONE).await, bench.listen(TWO).await);
    let (sent, _) = connect(bench, &mut one, &mut two, 1).await;
    let clock = bench.clock();
    for n in sent + 1..=sent + 20 {
        let before = clock.now();
        one.send(Addr::Node(TWO), &packet(n));
        while next(bench, &mut two, PATIENCE).await.expect("it arrives") < n {}
        let took = clock.now().since(before);
        assert!(took >= bench.least_latency(), "{took:?} under way");
        assert!(took < PATIENCE);
    }
}
