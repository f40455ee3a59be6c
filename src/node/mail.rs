//! What leaves a node for its peers: one packet a peer and turn, or several when they would be too large, and an empty one
//! as a sign of life to whom nothing else was sent for a while.

use super::{Observer, Transport};
use crate::codec;
use crate::dynamo::siblings::{Content, Siblings};
use crate::dynamo::{self, ClientReply, ClientRequest, Update};
use crate::identity::{Greeting, Origin};
use crate::raft::{Body, Message};
use crate::types::{Addr, GroupId, NodeId, Time};
use crate::wire::Packet;
use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

/// Payload bytes after which a packet to a peer is closed and another begun; well below the frame limit.
const PACKET_BYTES: usize = 1 << 20;

/// Messages for which a letter keeps room.
const KEPT: usize = 1024;

/// What waits for the end of the turn.
#[derive(Default)]
pub(super) struct Mail {
    peers: BTreeMap<NodeId, Letter>,
    /// Greetings, which leave first.
    greetings: Vec<(NodeId, Greeting)>,
    /// Pause after which a peer gets a sign of life; `None`: never.
    beat: Option<Duration>,
    /// When the next sign of life is due, or a little before.
    next_beat: Option<Time>,
    /// There is something to send.
    waiting: bool,
}

/// What one peer is to be told.
#[derive(Default)]
struct Letter {
    raft: Vec<(GroupId, Message)>,
    ap: Vec<dynamo::Message>,
    /// When something was last sent.
    sent: Time,
}

impl Mail {
    /// With signs of life to `peers` from `now` on, at every `beat`.
    pub(super) fn with_beats(peers: impl Iterator<Item = NodeId>, beat: Duration) -> Mail {
        let peers: BTreeMap<_, _> = peers.map(|peer| (peer, Letter::default())).collect();
        let next_beat = (!peers.is_empty()).then_some(Time(0) + beat);
        Mail { peers, beat: Some(beat), next_beat, ..Mail::default() }
    }

    pub(super) fn greet(&mut self, to: NodeId, greeting: Greeting) {
        self.waiting = true;
        self.greetings.push((to, greeting));
    }

    pub(super) fn raft(&mut self, to: NodeId, group: GroupId, message: Message) {
        self.waiting = true;
        self.peers.entry(to).or_default().raft.push((group, message));
    }

    pub(super) fn ap(&mut self, to: NodeId, message: dynamo::Message) {
        self.waiting = true;
        self.peers.entry(to).or_default().ap.push(message);
    }

    /// When to look next whether a sign of life is due.
    pub(super) fn next_beat(&self) -> Option<Time> {
        self.next_beat
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
        for (&peer, letter) in &mut self.peers {
            let due = self.beat.is_some_and(|beat| letter.sent + beat <= now);
            if due || !letter.is_empty() {
                letter.sent = now;
                letter.send((peer, origin), transport, observer);
            }
        }
        if beats && let Some(beat) = self.beat {
            self.next_beat = self.peers.values().map(|letter| letter.sent + beat).min();
        }
    }
}

impl Letter {
    fn is_empty(&self) -> bool {
        self.raft.is_empty() && self.ap.is_empty()
    }

    /// Sends it in as many packets as it takes, and keeps the room it had, within reason.
    fn send(&mut self, (peer, origin): (NodeId, Origin), transport: &mut impl Transport, observer: &mut impl Observer) {
        loop {
            let (raft, ap) = self.packet();
            raft.iter().for_each(|(group, message)| observer.sending(peer, *group, message));
            let packet = Packet::Peer { origin, raft, ap };
            transport.send(Addr::Node(peer), &packet);
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

    /// Takes as much as goes into one packet: at least one message, if there is any.
    fn packet(&mut self) -> (Vec<(GroupId, Message)>, Vec<dynamo::Message>) {
        let mut bytes = 0;
        let raft = take(&mut self.raft, &mut bytes, |(_, message)| raft_bytes(message));
        let ap = take(&mut self.ap, &mut bytes, ap_bytes);
        (raft, ap)
    }
}

/// Takes messages from the front until `bytes` exceeds what a packet holds.
fn take<M>(messages: &mut Vec<M>, bytes: &mut usize, size: impl Fn(&M) -> usize) -> Vec<M> {
    if *bytes > PACKET_BYTES {
        return Vec::new();
    }
    let closes = |message: &M| {
        *bytes += size(message);
        *bytes > PACKET_BYTES
    };
    let end = messages.iter().position(closes).map_or(messages.len(), |last| last + 1);
    let rest = messages.split_off(end);
    mem::replace(messages, rest)
}

fn raft_bytes(message: &Message) -> usize {
    match &message.body {
        Body::Append { entries, .. } => entries.iter().map(|entry| entry.command.len() + 32).sum(),
        Body::Snapshot { data, .. } => data.len(),
        _ => 64,
    }
}

fn ap_bytes(message: &dynamo::Message) -> usize {
    use dynamo::Message;
    let payload = match message {
        Message::Put { key, siblings, .. } => key.len() + siblings_bytes(siblings),
        Message::GetReply { siblings, .. } => siblings_bytes(siblings),
        Message::Forward { request, .. } => match &**request {
            ClientRequest::Put { key, update: Update::Set(value), .. } => key.len() + value.len(),
            // An operation of a mergeable type is bounded by what a value may have.
            request => request.key().len() + 1024,
        },
        Message::ForwardReply { reply: ClientReply::Value { siblings, context, .. }, .. } => {
            context.len() + siblings.iter().map(|s| 64 + s.value.as_ref().map_or(0, |value| value.len())).sum::<usize>()
        }
        Message::Ask(keys) | Message::Held(keys) | Message::Forget(keys) | Message::Forgotten(keys) => {
            keys.iter().map(|(key, clock)| key.len() + 24 * clock.len()).sum()
        }
        _ => 0,
    };
    64 + payload
}

fn siblings_bytes(siblings: &Siblings) -> usize {
    let content = |content: &Content| match content {
        Content::Value(value) => value.len(),
        Content::Tombstone => 0,
        Content::Merge(state) => {
            let mut bytes = Vec::new();
            codec::append(state, &mut bytes).map_or(0, |()| bytes.len())
        }
    };
    24 * siblings.clock().len() + siblings.versions().iter().map(|v| 64 + content(&v.content)).sum::<usize>()
}
