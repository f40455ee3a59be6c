//! The simulated implementations of a node's environment traits: [`SimTransport`], [`SimClock`], [`SimStorage`].

use super::super::clock::{ClockFault, ClockModel};
use super::super::disk::{DiskHandle, SimDisk};
use super::super::ledger::{Effect, FaultId, Ledger};
use super::super::lock;
use super::super::net::{Binding, Mail, Waiting};
use super::super::schedule::TimerKey;
use super::super::trace::{Kind, Trace};
use super::cpu::Cpu;
use super::hub::{Hub, Timer, TrueSleep};
use seaworthy::env::{Clock, StorageHost, Transport};
use seaworthy::storage::Store;
use seaworthy::types::{Addr, Bytes, Time, Wall};
use seaworthy::wire::{Packet, frame};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// An endpoint on the simulated network. Frames are really encoded and decoded; a frame that does not decode is
/// counted.
pub struct SimTransport {
    hub: Arc<Hub>,
    binding: Binding,
    /// The counters of what waits at the endpoint.
    waiting: Arc<Waiting>,
    /// The waker given to the network. `asleep` tells whether the network has yet to wake it.
    waker: Option<Waker>,
    asleep: bool,
    bad_frames: u64,
    /// The buffer in which frames are encoded.
    frame: Vec<u8>,
    cpu: Cpu,
    /// Fires when the processor is free again.
    free: Timer,
}

impl SimTransport {
    pub(super) fn bind(hub: Arc<Hub>, addr: Addr, cpu: Cpu) -> SimTransport {
        let (binding, waiting) = hub.with(|core, now| {
            let binding = core.net.bind(now, addr);
            (binding, core.net.waiting(binding))
        });
        let free = Timer::new(hub.clone());
        SimTransport { hub, binding, waiting, waker: None, asleep: false, bad_frames: 0, frame: Vec::new(), cpu, free }
    }

    /// Returns a function that counts the bytes of the endpoint's frames that wait to be received or sent. If an upper
    /// bound is not over the argument, the function returns the bound; otherwise it returns the exact count.
    pub fn queued(&self) -> impl Fn(usize) -> usize + Send + use<> {
        let (hub, endpoint, waiting) = (self.hub.clone(), self.binding.endpoint, self.waiting.clone());
        move |enough| {
            let most = waiting.most_bytes();
            if most <= enough {
                return most;
            }
            let now = hub.now();
            hub.look(|core| core.net.waiting_bytes(now, endpoint))
        }
    }

    /// Whether the processor is busy. If so, the waker will be woken when it is free.
    fn is_busy(&mut self, waker: &Waker) -> bool {
        let until = self.cpu.busy_until();
        let busy = until > 0 && until > self.hub.now();
        if busy && !self.free.is_set(waker) {
            self.free.set(Some(until), waker.clone());
        }
        busy
    }

    /// Takes the next packet that decodes; `None` if there is none yet. The mailbox of a dead process is always empty.
    fn take(&mut self, waker: Option<&Waker>) -> Option<(Addr, Packet)> {
        loop {
            match self.hub.look(|core| core.net.take(self.binding, waker)) {
                Mail::Empty | Mail::Void => return None,
                Mail::Frame(from, bytes, arrived, packet) => {
                    self.asleep = false;
                    self.cpu.frame(|| self.hub.now(), bytes.len());
                    match packet.map_or_else(|| frame::decode(&bytes), |packet| Ok(*packet)) {
                        Ok(mut packet) => {
                            if let Packet::Request(request) = &mut packet {
                                request.ages((self.hub.now() - arrived) / 1_000_000);
                            }
                            return Some((from, packet));
                        }
                        Err(_) => self.bad_frames += 1,
                    }
                }
            }
        }
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        self.hub.with(|core, now| core.net.unbind(now, self.binding));
    }
}

impl Transport for SimTransport {
    fn send(&mut self, to: Addr, packet: &Packet) {
        match frame::encode_into(packet, &mut self.frame) {
            Ok(()) => {
                // The receiver gets the packet as decoded here.
                let read = frame::decode(&self.frame);
                assert!(read.as_ref() == Ok(packet), "a packet that cannot be read back: {packet:?}");
                let (from, bytes) = (self.binding.endpoint, Bytes::copy_from_slice(&self.frame));
                self.cpu.frame(|| self.hub.now(), bytes.len());
                let (to, read) = ((to, packet.lane()), read.ok().map(Box::new));
                self.hub.with(|core, now| core.net.send(now, from, to, (bytes, read), &mut core.schedule));
            }
            Err(_) => self.bad_frames += 1,
        }
    }

    fn recv(&mut self) -> impl Future<Output = (Addr, Packet)> + Send {
        poll_fn(|context| {
            let waker = context.waker();
            if self.is_busy(waker) {
                return Poll::Pending;
            }
            let known = self.waker.as_ref().is_some_and(|known| known.will_wake(waker));
            if self.asleep && known && self.waiting.is_empty() {
                return Poll::Pending;
            }
            let packet = self.take(Some(waker));
            self.asleep = packet.is_none();
            if !known {
                self.waker = Some(waker.clone());
            }
            packet.map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn try_recv(&mut self) -> Option<(Addr, Packet)> {
        if self.waiting.is_empty() { None } else { self.take(None) }
    }

    fn bad_frames(&self) -> u64 {
        self.bad_frames
    }
}

/// A node's clocks. Clones are the same clocks.
#[derive(Clone)]
pub struct SimClock(Arc<Clocks>);

struct Clocks {
    hub: Arc<Hub>,
    cpu: Cpu,
    state: Mutex<ClockState>,
}

struct ClockState {
    addr: Addr,
    model: ClockModel,
    /// The faults that can make readings differ from those of clocks without faults.
    faults: Vec<(FaultId, ClockFault)>,
    sleepers: Vec<TimerKey>,
    trace: Trace,
    ledger: Ledger,
}

impl ClockState {
    /// Charges a reading that differs from that of clocks without faults to the faults that can have caused it.
    fn charge(&self, now: u64, wall: bool) {
        if self.faults.is_empty() {
            return;
        }
        let (rate, date) = self.model.differs(now, self.model.monotonic(now), self.model.wall(now));
        // During a strobe it is impossible to tell whether the wall clock has jumped as well.
        let strobes = self.faults.iter().any(|(_, fault)| matches!(fault, ClockFault::Strobe { .. }));
        for (id, fault) in &self.faults {
            let shows = match fault {
                ClockFault::Drift(_) | ClockFault::Freeze => rate,
                ClockFault::Jump(_) => date && wall && !strobes,
                ClockFault::Strobe { .. } => date && wall,
            };
            self.ledger.affected(*id, Effect::ClockReads, u64::from(shows));
        }
    }
}

impl SimClock {
    pub(super) fn new(
        (hub, cpu): (Arc<Hub>, Cpu),
        addr: Addr,
        model: ClockModel,
        trace: Trace,
        ledger: Ledger,
    ) -> SimClock {
        let state = ClockState { addr, model, faults: Vec::new(), sleepers: Vec::new(), trace, ledger };
        SimClock(Arc::new(Clocks { hub, cpu, state: Mutex::new(state) }))
    }

    /// Applies `fault` to the clocks.
    pub fn disturb(&self, id: FaultId, fault: ClockFault) {
        self.change(|state, now| {
            state.ledger.fired(id);
            state.model.disturb(now, fault);
            state.faults.push((id, fault));
            state.note(id, now);
        });
    }

    /// Ends a fault, if it is on these clocks. A jump of the wall clock is permanent and continues to be charged.
    pub fn lift(&self, id: FaultId) {
        if lock(&self.0.state).faults.iter().any(|(other, fault)| *other == id && lasts(*fault)) {
            self.change(|state, now| {
                let ended = state.faults.iter().filter(|(other, _)| *other == id);
                ended.for_each(|(_, fault)| state.model.settle(now, *fault));
                state.faults.retain(|(other, fault)| *other != id || !lasts(*fault));
                let left = state.faults.iter().filter(|(_, fault)| lasts(*fault));
                left.for_each(|(_, fault)| state.model.disturb(now, *fault));
                state.note(id, now);
            });
        }
    }

    /// Ends every fault, except jumps.
    pub fn heal(&self) {
        let ids: Vec<FaultId> = lock(&self.0.state).faults.iter().map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.lift(id));
    }

    /// Changes the clocks and wakes all sleepers so that they check again.
    fn change(&self, work: impl FnOnce(&mut ClockState, u64)) {
        let sleepers = {
            let mut state = lock(&self.0.state);
            work(&mut state, self.0.hub.now());
            std::mem::take(&mut state.sleepers)
        };
        self.0.hub.with(|core, _| sleepers.into_iter().for_each(|key| core.schedule.fire(key)));
    }
}

/// Whether a fault can end.
fn lasts(fault: ClockFault) -> bool {
    !matches!(fault, ClockFault::Jump(_))
}

impl ClockState {
    fn note(&self, id: FaultId, now: u64) {
        let shown = (self.model.monotonic(now).0, self.model.wall(now).0);
        self.trace.event(now, Kind::ClockFault, self.addr, self.addr, [u64::from(id.0), shown.0, shown.1]);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        let (state, now) = (lock(&self.0.state), self.0.hub.now());
        state.charge(now, false);
        state.model.monotonic(now)
    }

    fn wall(&self) -> Wall {
        let (state, now) = (lock(&self.0.state), self.0.hub.now());
        state.charge(now, true);
        state.model.wall(now)
    }

    fn read(&self) -> (Time, Wall) {
        let (state, now) = (lock(&self.0.state), self.0.hub.now());
        state.charge(now, true);
        (state.model.monotonic(now), state.model.wall(now))
    }

    fn sleep_until(&self, deadline: Time) -> impl Future<Output = ()> + Send {
        let deadline = Time(deadline.0.saturating_sub(lock(&self.0.state).model.impatience()));
        ClockSleep { clock: self.clone(), deadline, timer: Timer::new(self.0.hub.clone()) }
    }
}

/// Waits until a node's own clock shows a time, even if the clock is changed meanwhile, and its processor is free.
struct ClockSleep {
    clock: SimClock,
    deadline: Time,
    timer: Timer,
}

impl Future for ClockSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Every change of the clock fires this timer.
        if this.timer.is_set(context.waker()) {
            return Poll::Pending;
        }
        let mut state = lock(&this.clock.0.state);
        let (now, busy_until) = (this.clock.0.hub.now(), this.clock.0.cpu.busy_until());
        let rings = state.model.monotonic(now) >= this.deadline;
        if rings && now >= busy_until {
            return Poll::Ready(());
        }
        let old = this.timer.key();
        state.sleepers.retain(|key| Some(*key) != old);
        let at = if rings { Some(busy_until) } else { state.model.true_time_of(this.deadline) };
        state.sleepers.push(this.timer.set(at, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for ClockSleep {
    fn drop(&mut self) {
        if let Some(own) = self.timer.key() {
            lock(&self.clock.0.state).sleepers.retain(|key| *key != own);
        }
    }
}

/// A node's storage: each job runs at once, and its result arrives when the disk would be done.
pub struct SimStorage {
    store: Mutex<Store<SimDisk>>,
    disk: DiskHandle,
    cpu: Cpu,
    hub: Arc<Hub>,
}

impl SimStorage {
    pub(super) fn new(hub: Arc<Hub>, (disk, cpu): (DiskHandle, Cpu), store: Store<SimDisk>) -> SimStorage {
        SimStorage { store: Mutex::new(store), disk, cpu, hub }
    }
}

impl StorageHost for SimStorage {
    type Disk = SimDisk;

    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Store<SimDisk>) -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        let result = job(&mut lock(&self.store));
        let (hub, cpu) = (self.hub.clone(), self.cpu.clone());
        let done = TrueSleep::new(self.hub.clone(), self.disk.busy_until());
        async move {
            done.await;
            while cpu.busy_until() > hub.now() {
                TrueSleep::new(hub.clone(), cpu.busy_until()).await;
            }
            result
        }
    }
}
