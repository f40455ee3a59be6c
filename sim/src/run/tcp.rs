//! The transport of the deployed server inside the simulator: the same code that listens, dials, authenticates and
//! seals there, over madsim's TCP.
//!
//! What madsim's TCP models: it delays each flush by a latency drawn from one range for all links, and keeps the order
//! within a connection. Nothing is lost and bandwidth is unlimited. A partition holds data back and refuses new
//! connections; data held back arrives up to 10 s after the partition ends. It never resets a connection. The peer of a
//! killed process sees the end of the connection at once, even across a partition. So this shows that the transport
//! works under kills, stops and partitions, deterministically. The model shows the effects of a bad network on packets.

use super::nodes;
use crate::plan::{Lie, Plan};
use crate::settings::Transport as Kind;
use crate::world::ledger::{Effect, FaultId};
use crate::world::runtime::{World, ip};
use bytes::Bytes;
use seaworthy::env::Transport;
use seaworthy::identity::Origin;
use seaworthy::mutant::Mutant;
use seaworthy::node::Memory;
use seaworthy::node::tcp::{ClusterName, Limits, Secret, Servers, TcpConfig, TcpTransport};
use seaworthy::raft::{AppendResult, Body, Entry, Message};
use seaworthy::types::{Addr, GroupId, Lane, NodeId, Rng};
use seaworthy::wire::Packet;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// The port of every server.
const PORT: u16 = 7100;
/// The machine that impostors use.
const IMPOSTOR: Addr = Addr::Client(60_000);
/// How long an impostor tries, and the pause between its attempts.
const INSISTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(20));

/// One of two transports, chosen by the plan.
pub(super) enum Way<A, B> {
    Model(A),
    Tcp(B),
}

impl<A: Transport, B: Transport> Transport for Way<A, B> {
    fn send(&mut self, to: Addr, packet: &Packet) {
        match self {
            Way::Model(way) => way.send(to, packet),
            Way::Tcp(way) => way.send(to, packet),
        }
    }

    async fn recv(&mut self) -> (Addr, Packet) {
        match self {
            Way::Model(way) => way.recv().await,
            Way::Tcp(way) => way.recv().await,
        }
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        match self {
            Way::Model(way) => way.try_recv(),
            Way::Tcp(way) => way.try_recv(),
        }
    }

    fn bad_frames(&self) -> u64 {
        match self {
            Way::Model(way) => way.bad_frames(),
            Way::Tcp(way) => way.bad_frames(),
        }
    }
}

/// The latency range over TCP, if TCP is used.
pub(super) fn latency(plan: &Plan) -> Option<Range<Duration>> {
    let least = plan.network.link.latency;
    let most = least + plan.network.link.jitter.max(Duration::from_micros(1));
    (plan.cluster.transport == Kind::Tcp).then_some(least..most)
}

fn addresses(plan: &Plan) -> BTreeMap<NodeId, String> {
    nodes(plan).into_iter().map(|id| (id, format!("{}:{PORT}", ip(Addr::Node(id))))).collect()
}

fn cluster() -> ClusterName {
    "simulated".parse().expect("a valid name")
}

/// The servers as clients know them.
pub(super) fn servers(plan: &Plan) -> Servers {
    Servers { cluster: Some(cluster()), nodes: addresses(plan) }
}

/// The transport configuration of a server, if the transport is TCP.
pub(super) fn config(plan: &Plan, id: NodeId, layout: u64, mutant: Mutant) -> Option<TcpConfig> {
    let nodes = addresses(plan);
    (plan.cluster.transport == Kind::Tcp).then(|| TcpConfig {
        id,
        cluster: cluster(),
        secret: Secret::new(b"only the servers of a run know it").expect("long enough"),
        listen: nodes[&id].clone(),
        nodes,
        limits: Limits::default(),
        memory: Memory(super::cluster::memory_bytes(plan)),
        layout,
        source: "the scenario".to_owned(),
        mutant,
    })
}

/// The forged packets of an attacker that has overheard `origin`, one for each group.
pub(super) fn lies(lie: Lie, groups: u32, origin: Origin) -> Vec<Packet> {
    let message = match lie {
        Lie::Term => Message { term: 1 << 63, body: Body::AppendReply { result: AppendResult::Matched(0), round: 0 } },
        Lie::Entries => {
            let term = 1000;
            let entries = vec![Entry { term, command: Bytes::from_static(b"forged") }; 3000];
            let commit = entries.len() as u64;
            Message { term, body: Body::Append { prev_index: 0, prev_term: 0, entries, commit, round: 1 } }
        }
    };
    let packet = |group| Packet::Peer {
        origin,
        lane: Lane::Control,
        raft: vec![(GroupId(group), message.clone())],
        ap: Vec::new(),
    };
    (1..=groups).map(packet).collect()
}

/// Lets an attacker that does not know the secret dial a server in another server's name and send it forged packets.
pub(super) fn impostor(
    world: &World,
    fault: FaultId,
    (from, to): (NodeId, NodeId),
    (plan, layout): (&Plan, u64),
    lies: Vec<Packet>,
) {
    let Some(config) = config(plan, from, layout, Mutant::default()) else { return };
    let mut nodes = config.nodes.clone();
    nodes.retain(|node, _| [from, to].contains(node));
    let listen = format!("{}:{PORT}", ip(IMPOSTOR));
    let config = TcpConfig { secret: Secret::none(), listen, nodes, ..config };
    let rng = Rng::new(plan.seed, &format!("impostor {}", fault.0));
    let ledger = world.ledger().clone();
    ledger.fired(fault);
    let clock = world.time_source();
    world.host(IMPOSTOR).spawn(async move {
        let Ok(mut liar) = TcpTransport::bind(config, rng).await else { return };
        let until = clock() + super::nanos(INSISTS.0);
        while clock() < until {
            for lie in &lies {
                liar.send(Addr::Node(to), lie);
                ledger.affected(fault, Effect::MessagesForged, 1);
            }
            tokio::time::sleep(INSISTS.1).await;
        }
    });
}
