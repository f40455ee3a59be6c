//! The outbound queue of a node: one packet per peer, lane and turn, or several if one would be too large. A peer that
//! was sent nothing for a while gets an empty packet as a heartbeat.
//!
//! Large messages go in the bulk lane, and so do messages that must not overtake them. Only packets in the control lane
//! count as heartbeats.

use super::Observer;
use crate::dynamo;
use crate::env::Transport;
use crate::identity::{Greeting, Origin};
use crate::mutant::{Bug, Mutant};
use crate::raft::Message;
use crate::types::{Addr, GroupId, Lane, NodeId, Time};
use crate::wire::{Packet, ap_bytes, raft_bytes};
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// Maximum number of messages for which a letter keeps its capacity.
const KEPT: usize = 1024;

/// The receiver, and the lane if the size does not decide it.
pub(super) type To = (NodeId, Option<Lane>);

/// What is sent at the end of the turn.
#[derive(Default)]
pub(super) struct Outbound {
    peers: BTreeMap<NodeId, Peer>,
    /// Greetings; they are sent first.
    greetings: Vec<(NodeId, Greeting)>,
    mutant: Mutant,
    /// Payload bytes after which a packet is closed and another begun.
    packet_bytes: usize,
    /// Time without a packet after which a peer gets a heartbeat; `None`: never.
    beat: Option<Duration>,
    /// When the next heartbeat is due, or a little before.
    next_beat: Option<Time>,
    /// There is something to send.
    waiting: bool,
}

/// What waits for one peer.
#[derive(Default)]
struct Peer {
    control: Letter,
    bulk: Letter,
    /// When something was last sent in the control lane.
    sent: Time,
}

/// What waits for one peer in one lane.
#[derive(Default)]
struct Letter {
    raft: Vec<(GroupId, Message)>,
    ap: Vec<dynamo::Message>,
}

impl Outbound {
    /// Creates a queue that sends heartbeats to `peers` at every `beat`.
    pub(super) fn with_beats(
        peers: impl Iterator<Item = NodeId>,
        beat: Duration,
        (packet_bytes, mutant): (usize, Mutant),
    ) -> Outbound {
        let peers: BTreeMap<_, _> = peers.map(|peer| (peer, Peer::default())).collect();
        let next_beat = (!peers.is_empty()).then_some(Time(0) + beat);
        Outbound { peers, mutant, packet_bytes, beat: Some(beat), next_beat, ..Outbound::default() }
    }

    pub(super) fn greet(&mut self, to: NodeId, greeting: Greeting) {
        self.waiting = true;
        self.greetings.push((to, greeting));
    }

    /// Creates a queue without heartbeats.
    pub(super) fn silent(packet_bytes: usize, mutant: Mutant) -> Outbound {
        Outbound { mutant, packet_bytes, ..Outbound::default() }
    }

    pub(super) fn raft(&mut self, (to, lane): To, group: GroupId, message: Message) {
        self.letter(to, lane.unwrap_or_else(|| Lane::of(raft_bytes(&message)))).raft.push((group, message));
    }

    pub(super) fn ap(&mut self, (to, lane): To, message: dynamo::Message) {
        self.letter(to, lane.unwrap_or_else(|| Lane::of(ap_bytes(&message)))).ap.push(message);
    }

    fn letter(&mut self, to: NodeId, lane: Lane) -> &mut Letter {
        self.waiting = true;
        let peer = self.peers.entry(to).or_default();
        match lane {
            Lane::Bulk if !self.mutant.is(Bug::ControlBehindBulk) => &mut peer.bulk,
            _ => &mut peer.control,
        }
    }

    /// Returns when to check next whether a heartbeat is due.
    pub(super) fn next_beat(&self) -> Option<Time> {
        self.next_beat
    }

    /// Returns when each peer was last sent a packet in the control lane.
    pub(super) fn sent(&self) -> impl Iterator<Item = (NodeId, Time)> {
        self.peers.iter().map(|(to, peer)| (*to, peer.sent))
    }

    /// Sends everything, with `origin` as the sender.
    pub(super) fn flush(
        &mut self,
        (now, origin): (Time, Origin),
        transport: &mut impl Transport,
        observer: &mut impl Observer,
    ) {
        let beats = self.next_beat.is_some_and(|at| at <= now);
        if !mem::take(&mut self.waiting) && !beats {
            return;
        }
        for (peer, greeting) in self.greetings.drain(..) {
            transport.send(Addr::Node(peer), &Packet::Greeting(greeting));
        }
        let most = self.packet_bytes;
        for (&to, peer) in &mut self.peers {
            let due = self.beat.is_some_and(|beat| peer.sent + beat <= now);
            if due || !peer.control.is_empty() {
                peer.sent = now;
                peer.control.send((to, Lane::Control, origin), most, transport, observer);
            }
            if !peer.bulk.is_empty() {
                peer.bulk.send((to, Lane::Bulk, origin), most, transport, observer);
            }
        }
        if beats && let Some(beat) = self.beat {
            self.next_beat = self.peers.values().map(|peer| peer.sent + beat).min();
        }
    }
}

impl Letter {
    fn is_empty(&self) -> bool {
        self.raft.is_empty() && self.ap.is_empty()
    }

    /// Sends the messages in as many packets as needed. Keeps the capacity of the vectors, up to a limit.
    fn send(
        &mut self,
        (to, lane, origin): (NodeId, Lane, Origin),
        most: usize,
        transport: &mut impl Transport,
        observer: &mut impl Observer,
    ) {
        loop {
            let (raft, ap) = self.packet(most);
            raft.iter().for_each(|(group, message)| observer.sending(to, *group, message));
            let packet = Packet::Peer { origin, lane, raft, ap };
            transport.send(Addr::Node(to), &packet);
            if self.is_empty() {
                if let Packet::Peer { mut raft, mut ap, .. } = packet {
                    raft.clear();
                    raft.shrink_to(KEPT);
                    ap.clear();
                    ap.shrink_to(KEPT);
                    (self.raft, self.ap) = (raft, ap);
                }
                return;
            }
        }
    }

    /// Takes the messages for one packet of about `most` bytes: at least one message, if there is any.
    fn packet(&mut self, most: usize) -> (Vec<(GroupId, Message)>, Vec<dynamo::Message>) {
        let mut bytes = 0;
        let raft = take(&mut self.raft, (&mut bytes, most), |(_, message)| raft_bytes(message));
        let ap = take(&mut self.ap, (&mut bytes, most), ap_bytes);
        (raft, ap)
    }
}

/// Takes messages from the front until `bytes` exceeds what a packet holds. The message that exceeds it is taken too.
fn take<M>(messages: &mut Vec<M>, (bytes, most): (&mut usize, usize), size: impl Fn(&M) -> usize) -> Vec<M> {
    if *bytes > most {
        return Vec::new();
    }
    let closes = |message: &M| {
        *bytes += size(message);
        *bytes > most
    };
    let end = messages.iter().position(closes).map_or(messages.len(), |last| last + 1);
    let rest = messages.split_off(end);
    mem::replace(messages, rest)
}
