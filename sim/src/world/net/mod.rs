//! The network: endpoints with mailboxes, and a directed link between each pair.
//!
//! Servers and clients are both endpoints, so a client can be partitioned too. A partition of any shape is a set of
//! directed pairs with [`LinkFault::Block`] on them; the caller chooses the shape. Frames in flight on a datagram link
//! are lost when it is blocked, and on any link when it is reset. Frames in flight to a process are lost when it dies.
//! Frames that a dead process has already sent still arrive.
//!
//! Servers have two links in each direction, one per lane, as they have two connections when deployed: bulk data does
//! not delay heartbeats. A mailbox also has these two lanes, and a third for client requests. The control lane is
//! emptied first, and the client lane last.
//!
//! Limits: frames in flight on a datagram link, bytes that wait to be sent on a link and from a server to all clients,
//! frames and bytes in a mailbox. Frames over a limit are dropped and counted in [`NetStats`].
//!
//! A link carries datagrams, or is an ordered connection like those of the deployed transport ([`Carriage`], `stream`).
//!
//! Caveat: the network does not report failures. A receiver does not learn that a sender has died, which is the harsher
//! model.

mod link;
mod port;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

pub use link::{DropCause, LinkFault, LinkSettings};
pub use port::Waiting;
pub use stats::NetStats;

use super::Nanos;
use super::bug::WorldBug;
use super::ledger::{Effect, FaultId, Ledger};
use super::schedule::Schedule;
use super::trace::{Kind, Trace, payload};
use bytes::Bytes;
use hashbrown::HashMap;
use link::{Late, Link, Route};
use port::{FROM_CLIENTS, Port};
use seaworthy::types::{Addr, Lane, Rng};
use seaworthy::wire::Packet;
use std::sync::Arc;
use std::task::Waker;
use stream::Stream;

/// The settings of the network without faults.
#[derive(Clone, PartialEq, Debug)]
pub struct NetSettings {
    /// Links between servers.
    pub server_links: LinkSettings,
    /// Links with a client at one end.
    pub client_links: LinkSettings,
    /// Whether links carry datagrams or are ordered connections.
    pub carriage: Carriage,
    /// Maximum number of frames in flight on a datagram link.
    pub link_limit: u32,
    /// Maximum number of bytes that wait to be sent on a link. An empty queue takes a frame of any size.
    pub queue: u64,
    /// Maximum number of bytes that wait to be sent from a server to all clients.
    pub to_clients: u64,
    /// Maximum number of frames in a mailbox.
    pub mailbox_limit: usize,
    /// The bug planted in the network.
    pub bug: Option<WorldBug>,
    /// Maximum number of bytes of frames in each lane of a mailbox. An empty lane takes a frame of any size.
    pub mailbox_bytes: usize,
}

/// How links carry frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carriage {
    /// Each frame is independent.
    Datagrams,
    /// One ordered stream per direction and lane.
    Ordered,
}

/// Number of lanes; each lane between two servers is ordered on its own.
const LANES: usize = Lane::ALL.len();

/// Identifies an endpoint of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint(u16);

/// The right to receive at an endpoint. A later binding of the same address makes it void.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The bound endpoint.
    pub endpoint: Endpoint,
    generation: u64,
}

/// What an owner gets from its mailbox.
#[derive(PartialEq, Eq, Debug)]
pub enum Mail {
    /// A frame: sender, bytes and arrival time; also the decoded packet, if the sender provided it and the frame
    /// arrived unchanged.
    Frame(Addr, Bytes, Nanos, Option<Box<Packet>>),
    /// No frame yet; the waker will be woken.
    Empty,
    /// The binding is void: its process is dead.
    Void,
}

struct Flight {
    from: Endpoint,
    to: Endpoint,
    lane: Lane,
    epoch: u32,
    number: u64,
    copy: bool,
    late: Option<Late>,
    frame: Bytes,
    packet: Option<Box<Packet>>,
}

/// The network of one run.
pub struct Net {
    seed: u64,
    settings: NetSettings,
    ports: Vec<Port>,
    /// Used for look-ups only, never iterated.
    index: HashMap<Addr, Endpoint>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    frames: u64,
    stats: NetStats,
    trace: Trace,
    ledger: Ledger,
}

impl Net {
    /// Creates a network without endpoints.
    #[must_use]
    pub fn new(seed: u64, settings: NetSettings, trace: Trace, ledger: Ledger) -> Net {
        Net {
            seed,
            settings,
            ports: Vec::new(),
            index: HashMap::new(),
            flights: Vec::new(),
            free: Vec::new(),
            frames: 0,
            stats: NetStats::default(),
            trace,
            ledger,
        }
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn stats(&self) -> NetStats {
        self.stats
    }

    /// Listens at `addr`. An earlier binding becomes void, and its mailbox is lost.
    pub fn bind(&mut self, now: Nanos, addr: Addr) -> Binding {
        let endpoint = self.endpoint(addr);
        let port = &mut self.ports[endpoint.0 as usize];
        port.generation += 1;
        (port.bound, port.since) = (true, now);
        if self.settings.bug != Some(WorldBug::MailOutlives) {
            port.mailbox = Default::default();
        }
        port.waiting = Arc::default();
        port.tell();
        port.waker = None;
        Binding { endpoint, generation: port.generation }
    }

    /// Returns the counters of what waits at a port, for its current owner.
    #[must_use]
    pub fn waiting(&self, binding: Binding) -> Arc<Waiting> {
        self.ports[binding.endpoint.0 as usize].waiting.clone()
    }

    /// Stops listening, if the binding is the current one. Frames in flight to it are lost.
    pub fn unbind(&mut self, now: Nanos, binding: Binding) {
        if self.ports[binding.endpoint.0 as usize].generation == binding.generation {
            self.reset(now, self.ports[binding.endpoint.0 as usize].addr);
        }
    }

    /// The process at `addr` is dead: frames in its mailbox and in flight to it are lost.
    pub fn reset(&mut self, now: Nanos, addr: Addr) {
        let endpoint = self.endpoint(addr);
        let port = &mut self.ports[endpoint.0 as usize];
        if !std::mem::take(&mut port.bound) {
            return;
        }
        port.generation += 1;
        if self.settings.bug == Some(WorldBug::MailOutlives) {
            return;
        }
        self.stats.cut += port.mail() as u64;
        port.mailbox = Default::default();
        port.tell();
        port.waker = None;
        for link in port.links.iter_mut().flatten() {
            link.release();
            link.stream.iter_mut().for_each(Stream::begins);
        }
        for from in 0..self.ports.len() {
            let to = endpoint.0 as usize * LANES;
            let links = self.ports[from].links.get_mut(to..to + LANES).unwrap_or_default();
            let cut = links.iter_mut().flatten().map(|link| link.breaks(now)).sum();
            self.note_cut(now, self.ports[from].addr, addr, cut, None);
        }
    }

    /// Sends a frame in a lane, with its decoded packet if known. Never waits; the frame may be dropped.
    pub fn send(
        &mut self,
        now: Nanos,
        from: Endpoint,
        (to, lane): (Addr, Lane),
        (frame, packet): (Bytes, Option<Box<Packet>>),
        schedule: &mut Schedule,
    ) {
        let number = self.frames;
        self.frames += 1;
        self.stats.sent += 1;
        self.stats.bytes += frame.len() as u64;
        let sender = self.ports[from.0 as usize].addr;
        self.trace.event(now, Kind::Send, sender, to, [number, frame.len() as u64, payload(&frame)]);
        let to_endpoint = self.endpoint(to);
        let (limit, queue) = (self.settings.link_limit, self.settings.queue);
        let (listens, since) = (self.ports[to_endpoint.0 as usize].bound, self.ports[to_endpoint.0 as usize].since);
        let port = &self.ports[from.0 as usize];
        let to_client = matches!((sender, to), (Addr::Node(_), Addr::Client(_)));
        // A cheap upper bound on the bytes that wait for clients; the exact sum is computed only if it is over the
        // limit.
        let crowded = to_client && (port.holds || (port.flying + frame.len()) as u64 > self.settings.to_clients);
        let full =
            crowded && self.link(from, to_endpoint, lane).queued(now) > 0 && !self.has_room(now, from, frame.len());
        let link = link_of(&mut self.ports, (&self.settings, self.seed), (from, to_endpoint, lane));
        if link.stream.is_some() && !listens {
            // Dialling fails: the frame is dropped.
            return self.dropped(now, sender, to, number, DropCause::Unbound);
        }
        if full {
            return self.dropped(now, sender, to, number, DropCause::LinkFull);
        }
        match link.route(now, (frame.len(), limit, queue), since, &self.ledger) {
            Route::Drop(cause) => self.dropped(now, sender, to, number, cause),
            Route::Hold => {
                link.hold(number, frame);
                self.ports[from.0 as usize].holds();
            }
            Route::Break(id) => {
                let cut = link.breaks(now);
                self.ledger.charge(id, Effect::ConnectionsBroken, 1);
                self.note_cut(now, sender, to, cut, id);
                self.dropped(now, sender, to, number, DropCause::Broken);
            }
            arrive => self.launch(now, (from, to_endpoint, lane), (number, frame, packet), &arrive, schedule),
        }
    }

    /// Whether a server's queues to clients, taken together, have room for a frame.
    fn has_room(&mut self, now: Nanos, from: Endpoint, bytes: usize) -> bool {
        self.queued(now, from).1 + bytes as u64 <= self.settings.to_clients
    }

    /// Bytes that wait to be sent from an endpoint: to servers, and to clients.
    fn queued(&mut self, now: Nanos, from: Endpoint) -> (u64, u64) {
        let (mut peers, mut clients) = (0, 0);
        for place in 0..self.ports[from.0 as usize].links.len() {
            let sum = if matches!(self.ports[place / LANES].addr, Addr::Node(_)) { &mut peers } else { &mut clients };
            *sum += self.ports[from.0 as usize].links[place].as_mut().map_or(0, |link| link.queued(now));
        }
        (peers, clients)
    }

    /// Bytes of a server's frames that wait to be received or sent. Requests from clients do not count: they wait on
    /// the client's side.
    pub fn waiting_bytes(&mut self, now: Nanos, endpoint: Endpoint) -> usize {
        let (peers, clients) = self.queued(now, endpoint);
        self.ports[endpoint.0 as usize].mail_bytes() + usize::try_from(peers + clients).unwrap_or(usize::MAX)
    }

    /// The frame in `slot` of the flight table arrives.
    pub fn deliver(&mut self, now: Nanos, slot: u32) {
        let flight = self.flights[slot as usize].take().expect("a frame arrives once");
        self.free.push(slot);
        if !flight.copy {
            let port = &mut self.ports[flight.from.0 as usize];
            port.flying -= flight.frame.len();
            port.tell();
        }
        let sender = self.ports[flight.from.0 as usize].addr;
        let link = self.link(flight.from, flight.to, flight.lane);
        if link.epoch != flight.epoch {
            return; // Counted when the link was cut.
        }
        link.in_flight -= 1;
        if let (Some(id), true) = (link.holds(), link.stream.is_some()) {
            link.hold(flight.number, flight.frame);
            self.ports[flight.from.0 as usize].holds();
            return self.ledger.affected(id, Effect::MessagesHeld, 1);
        }
        let overtaken = !flight.copy && flight.number < link.newest;
        link.newest = link.newest.max(flight.number);
        if overtaken {
            self.stats.reordered += 1;
            self.ledger.charge(flight.late.and_then(|late| late.0), Effect::MessagesReordered, 1);
        }
        let port = &mut self.ports[flight.to.0 as usize];
        let receiver = port.addr;
        if !port.bound {
            return self.dropped(now, sender, receiver, flight.number, DropCause::Unbound);
        }
        let full = port.mail() >= self.settings.mailbox_limit;
        let place = if matches!(sender, Addr::Client(_)) { FROM_CLIENTS } else { flight.lane as usize };
        let lodged = &mut port.mailbox[place];
        // Frames from clients are not dropped for size: TCP flow control makes them wait in the connection.
        let crowded = lodged.bytes > 0 && lodged.bytes + flight.frame.len() > self.settings.mailbox_bytes;
        if full || crowded && place != FROM_CLIENTS {
            return self.dropped(now, sender, receiver, flight.number, DropCause::MailboxFull);
        }
        lodged.bytes += flight.frame.len();
        lodged.frames.push_back((sender, flight.frame, now, flight.packet));
        port.tell();
        if let Some(waker) = port.waker.take() {
            waker.wake();
        }
        self.stats.delivered += 1;
        self.trace.event(now, Kind::Deliver, sender, receiver, [flight.number, 0, 0]);
    }

    /// Takes the oldest frame of a mailbox, from the control lane first. If there is none and a waker is given, the
    /// next frame wakes it.
    pub fn take(&mut self, binding: Binding, waker: Option<&Waker>) -> Mail {
        let port = &mut self.ports[binding.endpoint.0 as usize];
        if port.generation != binding.generation {
            return Mail::Void;
        }
        match (port.pop(), waker) {
            (Some((from, frame, at, packet)), _) => Mail::Frame(from, frame, at, packet),
            (None, Some(waker)) => {
                match &mut port.waker {
                    Some(old) => old.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                Mail::Empty
            }
            (None, None) => Mail::Empty,
        }
    }

    /// Applies a fault to directed links.
    pub fn lay(&mut self, now: Nanos, id: FaultId, pairs: &[(Addr, Addr)], fault: &LinkFault) {
        self.ledger.fired(id);
        let one_way_ignored = *fault == LinkFault::Block && self.settings.bug == Some(WorldBug::OneWayIgnored);
        for &(from, to) in pairs.iter().filter(|(from, to)| !one_way_ignored || pairs.contains(&(*to, *from))) {
            let ends = (self.endpoint(from), self.endpoint(to));
            let mut cut = 0;
            for lane in lanes(from, to) {
                let link = self.link(ends.0, ends.1, *lane);
                cut += if link.lay(now, id, fault.clone()) { link.cut() } else { 0 };
            }
            self.trace.event(now, Kind::LinkFault, from, to, [u64::from(id.0), 1, 0]);
            self.note_cut(now, from, to, cut, Some(id));
        }
    }

    /// Lifts a fault from every link it is on. Frames held by a hang that ends continue on their way.
    pub fn lift(&mut self, now: Nanos, id: FaultId, schedule: &mut Schedule) {
        self.relax(now, u64::from(id.0), |link| link.lift(id), schedule);
    }

    /// Lifts all faults from all links.
    pub fn heal_all(&mut self, now: Nanos, schedule: &mut Schedule) {
        self.relax(now, u64::MAX, Link::heal, schedule);
    }

    /// Loses all frames in flight on directed links, which then continue to work as before.
    pub fn reset_links(&mut self, now: Nanos, id: FaultId, pairs: &[(Addr, Addr)]) {
        self.ledger.fired(id);
        for &(from, to) in pairs {
            let ends = (self.endpoint(from), self.endpoint(to));
            let cut = lanes(from, to).iter().map(|lane| self.link(ends.0, ends.1, *lane).breaks(now)).sum();
            self.note_cut(now, from, to, cut, Some(id));
        }
    }

    fn relax(&mut self, now: Nanos, id: u64, off: impl Fn(&mut Link) -> bool, schedule: &mut Schedule) {
        for from in 0..self.ports.len() {
            for place in 0..self.ports[from].links.len() {
                let Some(link) = &mut self.ports[from].links[place] else { continue };
                if !off(link) {
                    continue;
                }
                let (to, lane) = (place / LANES, Lane::ALL[place % LANES]);
                let ends = (self.ports[from].addr, self.ports[to].addr);
                self.trace.event(now, Kind::LinkFault, ends.0, ends.1, [id, 0, 0]);
                if self.ports[from].links[place].as_ref().is_some_and(|link| link.holds().is_none()) {
                    self.resume(now, (Endpoint(from as u16), Endpoint(to as u16), lane), schedule);
                }
            }
        }
    }

    /// Nothing holds frames back any more: held frames continue on their way, or are lost with their connection.
    fn resume(&mut self, now: Nanos, (from, to, lane): (Endpoint, Endpoint, Lane), schedule: &mut Schedule) {
        let link = self.link(from, to, lane);
        let goes_on = match &mut link.stream {
            Some(stream) if stream.cut_since.is_some() => stream.resumes(now),
            _ => Some(now),
        };
        let Some(goes_on) = goes_on else {
            let cut = link.cut();
            return self.note_cut(now, self.ports[from.0 as usize].addr, self.ports[to.0 as usize].addr, cut, None);
        };
        for (number, frame) in link.release() {
            let link = link_of(&mut self.ports, (&self.settings, self.seed), (from, to, lane));
            let arrive = link.arrival((now, goes_on), frame.len(), &self.ledger);
            self.launch(now, (from, to, lane), (number, frame, None), &arrive, schedule);
        }
    }

    fn launch(
        &mut self,
        now: Nanos,
        (from, to, lane): (Endpoint, Endpoint, Lane),
        (number, mut frame, mut packet): (u64, Bytes, Option<Box<Packet>>),
        route: &Route,
        schedule: &mut Schedule,
    ) {
        let Route::Arrive { at, late, copy, flip, epoch } = *route else {
            unreachable!("only frames that arrive are launched")
        };
        let addrs = (self.ports[from.0 as usize].addr, self.ports[to.0 as usize].addr);
        if let Some(at) = copy {
            self.stats.duplicated += 1;
            self.trace.event(now, Kind::Duplicate, addrs.0, addrs.1, [number, 0, 0]);
            let (late, frame, packet) = (None, frame.clone(), packet.clone());
            self.fly(at, Flight { from, to, lane, epoch, number, copy: true, late, frame, packet }, schedule);
        }
        if let Some(bit) = flip {
            self.stats.corrupted += 1;
            self.trace.event(now, Kind::Corrupt, addrs.0, addrs.1, [number, bit, 0]);
            let mut bytes = frame.to_vec();
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            (frame, packet) = (bytes.into(), None);
        }
        let port = &mut self.ports[from.0 as usize];
        port.flying += frame.len();
        port.tell();
        self.fly(at, Flight { from, to, lane, epoch, number, copy: false, late, frame, packet }, schedule);
    }

    fn fly(&mut self, at: Nanos, flight: Flight, schedule: &mut Schedule) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.flights[slot as usize] = Some(flight);
                slot
            }
            None => {
                self.flights.push(Some(flight));
                u32::try_from(self.flights.len() - 1).expect("bounded by the links' limits")
            }
        };
        schedule.frame(at, slot);
    }

    fn dropped(&mut self, now: Nanos, from: Addr, to: Addr, number: u64, cause: DropCause) {
        *match cause {
            DropCause::Lost => &mut self.stats.lost,
            DropCause::Blocked => &mut self.stats.blocked,
            DropCause::LinkFull => &mut self.stats.link_full,
            DropCause::MailboxFull => &mut self.stats.mailbox_full,
            DropCause::Unbound => &mut self.stats.unbound,
            DropCause::Broken => &mut self.stats.broken,
        } += 1;
        self.trace.event(now, Kind::Drop, from, to, [number, cause as u64, 0]);
    }

    fn note_cut(&mut self, now: Nanos, from: Addr, to: Addr, frames: u32, id: Option<FaultId>) {
        if frames > 0 {
            self.stats.cut += u64::from(frames);
            self.ledger.charge(id, Effect::MessagesDropped, u64::from(frames));
            self.trace.event(now, Kind::Cut, from, to, [u64::from(frames), 0, 0]);
        }
    }

    /// Returns the endpoint of an address.
    pub fn endpoint(&mut self, addr: Addr) -> Endpoint {
        if let Some(&endpoint) = self.index.get(&addr) {
            return endpoint;
        }
        let endpoint = Endpoint(u16::try_from(self.ports.len()).expect("fewer than 65536 endpoints"));
        let (mailbox, waiting, links) = (Default::default(), Arc::default(), Vec::new());
        self.ports.push(Port {
            addr,
            generation: 0,
            bound: false,
            since: 0,
            mailbox,
            waiting,
            waker: None,
            flying: 0,
            holds: false,
            links,
        });
        self.index.insert(addr, endpoint);
        endpoint
    }

    /// Returns the link of a lane. Between a client and a server one link serves both lanes.
    fn link(&mut self, from: Endpoint, to: Endpoint, lane: Lane) -> &mut Link {
        link_of(&mut self.ports, (&self.settings, self.seed), (from, to, lane))
    }
}

/// Returns the link between two endpoints, created on first use.
fn link_of<'a>(
    ports: &'a mut [Port],
    (settings, seed): (&NetSettings, u64),
    (from, to, lane): (Endpoint, Endpoint, Lane),
) -> &'a mut Link {
    let receiver = ports[to.0 as usize].addr;
    let port = &mut ports[from.0 as usize];
    let sender = port.addr;
    let lane = if lanes(sender, receiver).contains(&lane) { lane } else { Lane::Control };
    let place = to.0 as usize * LANES + lane as usize;
    if port.links.len() <= place {
        port.links.resize_with((to.0 as usize + 1) * LANES, || None);
    }
    port.links[place].get_or_insert_with(|| {
        let between_servers = matches!((sender, receiver), (Addr::Node(_), Addr::Node(_)));
        let base = if between_servers { &settings.server_links } else { &settings.client_links };
        let bulk = if lane == Lane::Bulk { " bulk" } else { "" };
        let rng = Rng::new(seed, &format!("link {sender}→{receiver}{bulk}"));
        let stream = match settings.carriage {
            Carriage::Datagrams => None,
            Carriage::Ordered => Some(Stream::new(between_servers)),
        };
        Box::new(Link::new(base.clone(), rng, settings.bug, stream))
    })
}

/// The lanes that have their own links.
fn lanes(from: Addr, to: Addr) -> &'static [Lane] {
    match (from, to) {
        (Addr::Node(_), Addr::Node(_)) => &Lane::ALL,
        _ => &Lane::ALL[..1],
    }
}
