//! What leaves a node for its peers: one packet a peer, lane and turn, or several when they would be too large, and an empty one
//! as a sign of life to whom nothing else was sent for a while.
//!
//! What is large goes in the bulk lane, and so does what must not overtake it; a sign of life is what goes in the other.

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

/// Messages for which a letter keeps room.
const KEPT: usize = 1024;

/// To whom, and in which lane if the size does not say.
pub(super) type To = (NodeId, Option<Lane>);

/// What waits for the end of the turn.
#[derive(Default)]
pub(super) struct Outbound {
    peers: BTreeMap<NodeId, Peer>,
    /// Greetings, which leave first.
    greetings: Vec<(NodeId, Greeting)>,
    mutant: Mutant,
    /// Payload bytes after which a packet is closed and another begun.
    packet_bytes: usize,
    /// Pause after which a peer gets a sign of life; `None`: never.
    beat: Option<Duration>,
    /// When the next sign of life is due, or a little before.
    next_beat: Option<Time>,
    /// There is something to send.
    waiting: bool,
}

/// What one peer is to be told.
#[derive(Default)]
struct Peer {
    control: Letter,
    bulk: Letter,
    /// When something was last sent in the control lane.
    sent: Time,
}

/// What it is to be told in one lane.
#[derive(Default)]
struct Letter {
    raft: Vec<(GroupId, Message)>,
    ap: Vec<dynamo::Message>,
}

impl Outbound {
    /// With signs of life to `peers` from `now` on, at every `beat`.
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

    /// Without signs of life.
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

    /// When to look next whether a sign of life is due.
    pub(super) fn next_beat(&self) -> Option<Time> {
        self.next_beat
    }

    /// When each peer was last sent a packet in the control lane.
    pub(super) fn sent(&self) -> impl Iterator<Item = (NodeId, Time)> {
        self.peers.iter().map(|(to, peer)| (*to, peer.sent))
    }

    /// Sends all of it, as from `origin`.
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

    /// Sends it in as many packets as it takes, and keeps the room it had, within reason.
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

    /// Takes as much as goes into one packet of so many bytes: at least one message, if there is any.
    fn packet(&mut self, most: usize) -> (Vec<(GroupId, Message)>, Vec<dynamo::Message>) {
        let mut bytes = 0;
        let raft = take(&mut self.raft, (&mut bytes, most), |(_, message)| raft_bytes(message));
        let ap = take(&mut self.ap, (&mut bytes, most), ap_bytes);
        (raft, ap)
    }
}

/// Takes messages from the front until `bytes` exceeds what a packet holds.
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
